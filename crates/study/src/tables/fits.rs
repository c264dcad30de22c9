//! Tables of gas against patients and rows.

use super::{Table, columns, mode_name, or_empty};
use crate::{
    fit::{Against, Fit, Over, StraightLine},
    results::Results,
};

pub(super) fn tables(results: &Results) -> Vec<Table> {
    vec![lines(results), points(results)]
}

const fn over_name(over: Over) -> &'static str {
    match over {
        Over::Specialties => "specialties",
        Over::Dates => "archive dates",
    }
}

const fn against_name(against: Against) -> &'static str {
    match against {
        Against::Patients => "patients",
        Against::Rows => "rows",
    }
}

fn names(fit: &Fit) -> Vec<String> {
    vec![mode_name(fit.mode).into(), over_name(fit.over).into(), against_name(fit.against).into()]
}

fn lines(results: &Results) -> Table {
    let number = |fit: &Fit, of: fn(&StraightLine) -> f64, decimals: usize| {
        or_empty(fit.line.as_ref().map(|line| format!("{:.decimals$}", of(line))))
    };
    let row = |fit: &Fit| {
        let mut cells = names(fit);
        cells.push(fit.points.len().to_string());
        cells.push(number(fit, |line| line.slope, 3));
        cells.push(number(fit, |line| line.intercept, 0));
        cells.push(number(fit, |line| line.r_squared, 6));
        cells.push(number(fit, |line| line.residual_rms, 0));
        cells
    };
    Table {
        name: "fit",
        about: "Straight lines through gas used, by least squares. Empty where all points have one size.",
        columns: columns(&[
            ("mode", "row, patient or batch"),
            ("over", "what the points are: specialties or archive dates"),
            ("against", "what the gas is held against: patients or rows"),
            ("points", "how many points there are"),
            ("slope_gas", "gas for one more patient or row"),
            ("intercept_gas", "gas at none"),
            ("r_squared", "the share of the variance that the line explains, from 0 to 1"),
            ("residual_rms_gas", "the root of the mean of the squared residuals, in gas"),
        ]),
        rows: results.fits.iter().map(row).collect(),
    }
}

fn points(results: &Results) -> Table {
    let mut rows = Vec::new();
    for fit in &results.fits {
        let residuals = fit.residuals();
        for (index, point) in fit.points.iter().enumerate() {
            let mut cells = names(fit);
            cells.push(point.label.clone());
            cells.push(point.size.to_string());
            cells.push(point.gas_used.to_string());
            cells.push(or_empty(fit.line.map(|line| format!("{:.0}", line.at(point.size)))));
            cells.push(or_empty(residuals.get(index).map(|residual| format!("{residual:.0}"))));
            rows.push(cells);
        }
    }
    Table {
        name: "fit-points",
        about: "The points of each line, and what they are off by.",
        columns: columns(&[
            ("mode", "row, patient or batch"),
            ("over", "what the points are: specialties or archive dates"),
            ("against", "what the gas is held against: patients or rows"),
            ("point", "which specialty, or which date"),
            ("size", "how many patients or rows"),
            ("gas_used", "what the receipts say"),
            ("fitted_gas", "what the line says"),
            ("residual_gas", "what the point lies above the line"),
        ]),
        rows,
    }
}
