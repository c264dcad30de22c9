//! The study's report: `report.md` and `report.html`, readable as a paper's evaluation section.
//!
//! Every sentence with a number or a verdict is made of [`Results`], so that the text holds for any list: a published
//! one, a made-up one, one of twenty rows. What cannot be said of this list is left out.

mod claims;
mod contracts;
mod data;
mod document;
mod words;
mod work;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::{
    figures::Figure,
    results::Results,
    row::Day,
    tables::{code_and_name, mode_name},
    tally::Mode,
};

use document::{Block, Document, Drawn, Shown};
use words::{count, many};

/// What a study was asked for, as far as its results depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// From what all keys, and a list that is made up, are derived.
    pub seed: u64,
    /// How many rows were asked for; `None` for those that there are.
    pub rows: Option<u64>,
    /// The only date that patient mode was run for, because there are so many patients.
    pub patients_only_of: Option<Day>,
    /// Whether files were allowed to overlap.
    pub overlap_allowed: bool,
    /// The program's version.
    pub version: String,
    /// The digest of all contracts' creation code.
    pub contracts: B256,
}

/// A report, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// As Markdown; figures are files beside it.
    pub markdown: String,
    /// As one HTML file.
    pub html: String,
}

/// Writes a report of these results and figures.
#[must_use]
pub fn report(results: &Results, setup: &Setup, figures: &[Figure]) -> Report {
    let mut writer = Writer { results, setup, blocks: Vec::new(), left: figures.iter().collect() };
    writer.summary();
    writer.method();
    writer.data();
    writer.prices();
    writer.heading("Results");
    writer.work();
    writer.contracts();
    writer.claims();
    writer.rest();
    let document = Document { title: title(results), blocks: writer.blocks };
    Report { markdown: document::markdown(&document), html: document::html(&document) }
}

fn title(results: &Results) -> String {
    let made_up = if results.dataset.synthetic { "a made-up list: " } else { "" };
    format!("What sharing waiting lists on a chain costs: {made_up}an execution study")
}

/// A report as it is being written.
struct Writer<'a> {
    results: &'a Results,
    setup: &'a Setup,
    blocks: Vec<Block>,
    /// Figures that have no place yet.
    left: Vec<&'a Figure>,
}

impl Writer<'_> {
    fn heading(&mut self, text: &str) {
        self.blocks.push(Block::Heading(2, text.into()));
    }

    fn subheading(&mut self, text: &str) {
        self.blocks.push(Block::Heading(3, text.into()));
    }

    fn say(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    fn bullets(&mut self, items: Vec<String>) {
        if !items.is_empty() {
            self.blocks.push(Block::Bullets(items));
        }
    }

    /// A table, unless it is empty. Columns that hold numbers are named by their places.
    fn table(
        &mut self,
        caption: impl Into<String>,
        columns: &[&str],
        numbers: &[usize],
        rows: Vec<Vec<String>>,
    ) {
        if !rows.is_empty() {
            let columns = columns.iter().map(ToString::to_string).collect();
            let (caption, numbers) = (caption.into(), numbers.to_vec());
            self.blocks.push(Block::Table(Shown { caption, columns, numbers, rows }));
        }
    }

    /// The figures whose names begin so.
    fn figures(&mut self, beginning: &str) {
        let (here, left) = self
            .left
            .iter()
            .partition::<Vec<&Figure>, _>(|figure| figure.name.starts_with(beginning));
        self.left = left;
        for figure in here {
            self.blocks.push(Block::Figure(Drawn {
                name: figure.name.clone(),
                caption: format!("{}.", figure.title.trim_end_matches('.')),
                alt: figure.alt.clone(),
                svg: figure.svg.clone(),
            }));
        }
    }

    /// Figures that no section asked for.
    fn rest(&mut self) {
        if !self.left.is_empty() {
            self.heading("Further figures");
            self.figures("");
        }
    }

    fn has(&self, mode: Mode) -> bool {
        self.results.modes.contains_key(&mode)
    }
}
