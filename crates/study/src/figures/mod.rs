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
    results::{Basis, ModeResults, Results},
    row::Day,
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
        Mode::Batch => "one transaction for each hospital and date",
    }
}

const fn colour_of(mode: Mode) -> Colour {
    match mode {
        Mode::Row => palette::BLUE,
        Mode::Patient => palette::VERMILION,
        Mode::Batch => palette::GREEN,
    }
}

/// Where the rows are from: all that were read.
fn source_of_rows(results: &Results) -> String {
    let sources = &results.dataset.sources;
    let rows: u64 = sources.iter().map(|source| source.rows_used).sum();
    let files = if sources.len() == 1 { "file" } else { "files" };
    origin_of_rows(results, &format!("{} rows of {} {files}", scale::count(rows), sources.len()))
}

fn origin_of_rows(results: &Results, rows: &str) -> String {
    if results.dataset.synthetic {
        format!("Rows: made up from a seed, not published by anybody; {rows}.")
    } else {
        format!("Rows: waiting lists of the National Treatment Purchase Fund (Ireland); {rows}.")
    }
}

/// Where the rows are from, which of them a figure is of, and where gas is from.
fn source_of_work(results: &Results, rows: u64, dates: &[Day]) -> String {
    let rows = scale::count(rows);
    let rows = match dates {
        [] => format!("{rows} rows"),
        [only] => format!("here {rows} rows of {only}"),
        [first, .., last] => {
            format!("here {rows} rows of {} archive dates from {first} to {last}", dates.len())
        }
    };
    format!("{} Gas: receipts of executed transactions.", origin_of_rows(results, &rows))
}

/// Of all that one mode did.
fn source_of_mode(results: &Results, of: &ModeResults) -> String {
    let dates: Vec<Day> = of.dates.keys().copied().collect();
    source_of_work(results, of.total.sums.rows, &dates)
}

/// Where money is from.
fn source_of_prices(results: &Results, basis: Basis) -> String {
    let (name, prices) = match (&results.prices.daily, basis) {
        (Some(daily), Basis::OnDay) => ("Prices", &daily.origin),
        _ => ("Fixed price", &results.prices.fixed.origin),
    };
    // The report marks names of files; a picture has one kind of letter.
    let prices = prices.replace('`', "");
    format!("{name}: {}.", prices.trim_end_matches('.'))
}

#[cfg(test)]
mod tests;
