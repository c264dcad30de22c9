//! Draw what a report shows: each figure as SVG and PNG, with a text for whoever cannot see it.
//!
//! Figures are drawn from [`Results`] and compute nothing that is not there, except how long a bar is. The same results
//! give the same bytes on every machine: no clock, no font but the library's own, places rounded to hundredths of a
//! pixel. `canvas` alone knows what draws; `bars`, `plot` and `table` are the shapes; `work`, `lines` and
//! `contracts` say what is drawn.

mod bars;
mod canvas;
mod contracts;
mod lines;
mod plot;
mod scale;
mod sheet;
mod table;
mod work;

use crate::{
    results::{Line, Results},
    tally::Mode,
};

use canvas::{Canvas, Colour, palette};
use sheet::Words;

pub use canvas::DrawError;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its file's name without an ending, as in `cost-by-specialty-row`.
    pub name: String,
    /// What is seen.
    pub title: String,
    /// What it shows, in words, for whoever cannot see it.
    pub alt: String,
    /// As SVG.
    pub svg: String,
    /// As PNG, with twice as many pixels.
    pub png: Vec<u8>,
}

impl Figure {
    fn of(name: String, words: &Words, alt: String, canvas: Canvas) -> Result<Self, DrawError> {
        let (svg, png) = canvas.finish(&name)?;
        Ok(Self { name, title: words.title.clone(), alt, svg, png })
    }
}

/// Every figure that these results have something for, in the order of a report.
///
/// # Errors
///
/// [`DrawError`] when a picture could not be written.
pub fn draw(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let mut figures = Vec::new();
    figures.extend(work::dataset(results)?);
    figures.extend(contracts::pending(results)?);
    figures.extend(work::by_specialty(results)?);
    figures.extend(work::codes(results)?);
    figures.extend(lines::fits(results)?);
    figures.extend(work::by_attribute(results)?);
    figures.extend(lines::months(results)?);
    figures.extend(lines::days(results)?);
    figures.extend(work::modes(results)?);
    figures.extend(contracts::operations(results)?);
    figures.extend(contracts::deployment(results)?);
    figures.extend(contracts::workflows(results)?);
    Ok(figures)
}

/// How rows became transactions, in words.
const fn told(mode: Mode) -> &'static str {
    match mode {
        Mode::Row => "one transaction for each row",
        Mode::Patient => "one transaction for each patient",
        Mode::Batch => "one transaction for each hospital and month",
    }
}

/// In a file's name.
const fn named(mode: Mode) -> &'static str {
    match mode {
        Mode::Row => "row",
        Mode::Patient => "patient",
        Mode::Batch => "batch",
    }
}

const fn colour_of(mode: Mode) -> Colour {
    match mode {
        Mode::Row => palette::BLUE,
        Mode::Patient => palette::VERMILION,
        Mode::Batch => palette::GREEN,
    }
}

/// Which money a figure shows: all of its values in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    OnDay,
    Fixed,
}

impl Basis {
    fn of(total: &Line) -> Self {
        if total.on_day.is_some() { Self::OnDay } else { Self::Fixed }
    }

    /// In US dollars. A line without a price of its day is part of no total that has one.
    fn usd(self, line: &Line) -> f64 {
        match self {
            Self::OnDay => line.on_day.unwrap_or(line.fixed).usd.as_amount(),
            Self::Fixed => line.fixed.usd.as_amount(),
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::OnDay => "at the gas and ether prices of each archive date",
            Self::Fixed => "at the fixed price",
        }
    }
}

/// Where the rows are from.
fn source_of_rows(results: &Results) -> String {
    let dataset = &results.dataset;
    if dataset.synthetic {
        return "A list that was made up from a seed, not published by anybody.".into();
    }
    let rows: u64 = dataset.sources.iter().map(|source| source.rows_used).sum();
    let files = match dataset.sources.len() {
        1 => "1 file".into(),
        files => format!("{files} files"),
    };
    let rows = scale::count(rows);
    format!(
        "Rows: National Treatment Purchase Fund (Ireland), waiting lists as published, {rows} rows of {files}."
    )
}

/// Where gas and money are from, too.
fn source_of_costs(results: &Results, basis: Basis) -> String {
    format!("{} {}", source_of_rows(results), source_of_prices(results, basis))
}

fn source_of_prices(results: &Results, basis: Basis) -> String {
    let prices = match (&results.prices.daily, basis) {
        (Some(daily), Basis::OnDay) => daily.origin.as_str(),
        _ => results.prices.fixed.origin.as_str(),
    };
    // The report marks names of files; a picture has one kind of letter.
    let prices = prices.replace('`', "");
    format!("{GAS} Prices: {}.", prices.trim_end_matches('.'))
}

const GAS: &str = "Gas: receipts of executed transactions.";

#[cfg(test)]
mod tests;
