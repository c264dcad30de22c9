//! Cost against size, and cost in time.

use crate::{
    fit::{Against, Fit, Over, StraightLine},
    results::{Line, Results},
    row::Day,
    tally::Mode,
};

use super::{
    Basis, DrawError, Figure, GAS,
    canvas::palette,
    colour_of, named,
    plot::{Mark, Note, Panel, Plot, Series},
    scale::{Scale, amount, number_of},
    sheet::Words,
    source_of_costs, source_of_prices, source_of_rows, told,
};

const WIDTH: f64 = 900.0;

/// Gas against patients or rows, with the line that fits best and what it leaves: is the cost linear?
pub(super) fn fits(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let mut figures = Vec::new();
    for fit in &results.fits {
        // The paper speaks of patients. Only of a transaction for each row is more to be shown: that it goes by rows.
        let shown = fit.against == Against::Patients || fit.mode == Mode::Row;
        if let Some(line) = fit.line
            && shown
            && !fit.points.is_empty()
        {
            figures.push(draw_fit(results, fit, line)?);
        }
    }
    Ok(figures)
}

fn draw_fit(results: &Results, fit: &Fit, line: StraightLine) -> Result<Figure, DrawError> {
    let points: Vec<(f64, f64)> =
        fit.points.iter().map(|point| (point.size as f64, point.gas_used as f64)).collect();
    let says = |size: f64| line.slope * size + line.intercept;
    let residuals: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, y - says(*x))).collect();
    let scale = Scale::linear(points.iter().map(|(x, _)| *x));
    let most = points.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let (over, each) = match fit.over {
        Over::Specialties => ("specialties", "specialty"),
        Over::Dates => ("dates", "archive date"),
    };
    let (against, one) = match fit.against {
        Against::Patients => ("patients", "patient"),
        Against::Rows => ("rows", "row"),
    };
    let r_squared = format!("{:.4}", line.r_squared);
    let words = Words {
        title: format!("Gas against number of {against}, {}: R² = {r_squared}", told(fit.mode)),
        subtitle: format!(
            "A dot for each {each} ({}). Line, least squares: {} gas for each {one}, and {} gas besides. Below: what the \
             line leaves (root mean square {} gas)",
            points.len(),
            amount(line.slope),
            amount(line.intercept),
            amount(line.residual_rms)
        ),
        source: format!("{} {GAS}", source_of_rows(results)),
    };
    let colour = colour_of(fit.mode);
    let dots =
        |points: Vec<(f64, f64)>| Series { colour, mark: Mark::Dots { radius: 3.5 }, points };
    let ends = vec![(0.0, says(0.0)), (most, says(most))];
    let values = points.iter().chain(&ends).map(|(_, y)| *y);
    // The three largest have their names.
    let mut largest: Vec<_> = fit.points.iter().collect();
    largest.sort_by_key(|point| std::cmp::Reverse(point.size));
    let notes = largest.into_iter().take(3).map(|point| Note {
        at: (point.size as f64, point.gas_used as f64),
        text: point.label.clone(),
    });
    let plot = Plot {
        words: words.clone(),
        axis: format!("number of {against}"),
        scale,
        panels: vec![
            Panel {
                axis: "gas used".into(),
                scale: Scale::linear(values),
                series: vec![
                    Series { colour: palette::INK, mark: Mark::Line { width: 1.5 }, points: ends },
                    dots(points.clone()),
                ],
                notes: notes.collect(),
                height: 340.0,
            },
            Panel {
                axis: "residual (gas)".into(),
                scale: Scale::linear(residuals.iter().map(|(_, y)| *y)),
                series: vec![dots(residuals)],
                notes: Vec::new(),
                height: 140.0,
            },
        ],
        legend: Vec::new(),
        width: WIDTH,
    };
    let alt = format!(
        "Dots, one for each {each}: gas against number of {against}, with a straight line of {} gas for each {one}, which \
         explains {r_squared} of the variance; below it the residuals.",
        amount(line.slope)
    );
    let name = format!("fit-{}-{over}-{against}", named(fit.mode));
    Figure::of(name, &words, alt, plot.draw())
}

/// What each archive date's work costs, at that day's prices and at the fixed one.
pub(super) fn months(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let mut figures = Vec::new();
    for (mode, of) in &results.modes {
        let (Some((first, _)), Some((last, _))) =
            (of.dates.first_key_value(), of.dates.last_key_value())
        else {
            continue;
        };
        // One date is no line; its costs stand in the other figures.
        if first == last {
            continue;
        }
        let basis = Basis::of(&of.total);
        let costs = |usd: &dyn Fn(&Line) -> Option<f64>| -> Vec<(f64, f64)> {
            let point = |(day, line): (&Day, &Line)| Some((number_of(*day), usd(line)?));
            of.dates.iter().filter_map(point).filter(|(_, usd)| *usd > 0.0).collect()
        };
        let on_day = costs(&|line| line.on_day.map(|cost| cost.usd.as_amount()));
        let fixed = costs(&|line| Some(line.fixed.usd.as_amount()));
        let patients: Vec<(f64, f64)> = of
            .dates
            .iter()
            .map(|(day, line)| (number_of(*day), line.sums.patients as f64))
            .collect();
        let words = Words {
            title: format!("Cost of each archive date's list, {}", told(*mode)),
            subtitle: "US dollars on a logarithmic axis; below, how many patients the list counts"
                .into(),
            source: source_of_costs(results, basis),
        };
        let mut legend = Vec::new();
        let mut series = Vec::new();
        for (points, colour, name) in [
            (&on_day, colour_of(*mode), "at the date's gas and ether prices"),
            (&fixed, palette::ORANGE, "at the fixed price"),
        ] {
            if !points.is_empty() {
                legend.push((colour, name.into()));
                series.push(Series { colour, mark: Mark::Both, points: points.clone() });
            }
        }
        let plot = Plot {
            words: words.clone(),
            axis: "archive date".into(),
            scale: Scale::days(of.dates.keys().map(|day| number_of(*day))),
            panels: vec![
                Panel {
                    axis: "cost (USD)".into(),
                    scale: Scale::log(on_day.iter().chain(&fixed).map(|(_, usd)| *usd)),
                    series,
                    notes: Vec::new(),
                    height: 320.0,
                },
                Panel {
                    axis: "patients".into(),
                    scale: Scale::linear(patients.iter().map(|(_, number)| *number)),
                    series: vec![Series {
                        colour: palette::SKY,
                        mark: Mark::Both,
                        points: patients,
                    }],
                    notes: Vec::new(),
                    height: 130.0,
                },
            ],
            legend,
            width: WIDTH,
        };
        let alt = format!(
            "Lines over {} archive dates from {first} to {last}: what each date's list costs in US dollars, and how many \
             patients it counts.",
            of.dates.len()
        );
        let name = format!("cost-by-month-{}", named(*mode));
        figures.push(Figure::of(name, &words, alt, plot.draw())?);
    }
    Ok(figures)
}

/// The same work at the prices of every day.
pub(super) fn days(results: &Results) -> Result<Option<Figure>, DrawError> {
    let Some(days) = &results.days else { return Ok(None) };
    let line_of = |mode: Mode| -> Vec<(f64, f64)> {
        let point = |line: &crate::results::DayLine| {
            let usd = line.costs.get(&mode)?.usd.as_amount();
            (usd > 0.0).then(|| (number_of(line.price.day), usd))
        };
        days.lines.iter().filter_map(point).collect()
    };
    let lines: Vec<(Mode, Vec<(f64, f64)>)> =
        days.work.keys().map(|mode| (*mode, line_of(*mode))).collect();
    let lines: Vec<_> = lines.into_iter().filter(|(_, points)| !points.is_empty()).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let words = Words {
        title: format!("The same work on every other day: the list of {}", days.of),
        subtitle:
            "US dollars on a logarithmic axis, at each day's average gas price and its ether price"
                .into(),
        source: format!("{} {}", source_of_rows(results), source_of_prices(results, Basis::OnDay)),
    };
    let said = |number: f64| {
        let at = |line: &&crate::results::DayLine| number_of(line.price.day) == number;
        days.lines.iter().find(at).map_or(String::new(), |line| line.price.day.to_string())
    };
    let mut notes = Vec::new();
    let mut extremes = Vec::new();
    for (mode, points) in &lines {
        let by_cost = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (Some(least), Some(most)) =
            (points.iter().min_by(by_cost), points.iter().max_by(by_cost))
        else {
            continue;
        };
        let of = number_of(days.of);
        let then = points.iter().find(|(day, _)| *day == of);
        for (day, usd) in std::iter::once(most).chain(then) {
            let text = format!("{}: USD {}", said(*day), amount(*usd));
            notes.push(Note { at: (*day, *usd), text });
        }
        extremes.push(format!(
            "{} from USD {} ({}) to USD {} ({})",
            told(*mode),
            amount(least.1),
            said(least.0),
            amount(most.1),
            said(most.0)
        ));
    }
    let series = |(mode, points): &(Mode, Vec<(f64, f64)>)| Series {
        colour: colour_of(*mode),
        mark: Mark::Line { width: 1.0 },
        points: points.clone(),
    };
    let marked = notes.iter().map(|note| note.at).collect();
    let marked = Series { colour: palette::INK, mark: Mark::Dots { radius: 3.5 }, points: marked };
    let all = || lines.iter().flat_map(|(_, points)| points);
    let plot = Plot {
        words: words.clone(),
        axis: "day".into(),
        scale: Scale::days(all().map(|(day, _)| *day)),
        panels: vec![Panel {
            axis: "cost (USD)".into(),
            scale: Scale::log(all().map(|(_, usd)| *usd)),
            series: lines.iter().map(series).chain([marked]).collect(),
            notes,
            height: 420.0,
        }],
        legend: lines.iter().map(|(mode, _)| (colour_of(*mode), told(*mode).into())).collect(),
        width: WIDTH,
    };
    let alt =
        format!("A line over the days for each mode, in US dollars: {}.", extremes.join("; "));
    Figure::of("cost-per-day".into(), &words, alt, plot.draw()).map(Some)
}
