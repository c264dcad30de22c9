//! A table as a picture.

use super::{
    canvas::{Anchor, Canvas, Ink, cut, palette, width_of},
    sheet::{MARGIN, Sheet, Words},
};

const SIZE: u32 = 10;
const LINE: f64 = 19.0;
const GAP: f64 = 14.0;
/// The most that a column takes, in pixels.
const WIDEST: f64 = 330.0;

pub(super) struct TableFigure {
    pub(super) words: Words,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl TableFigure {
    pub(super) fn draw(&self) -> Canvas {
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column: usize| {
            let head = width_of(&self.columns[column], SIZE) * 1.12;
            let cells = self.rows.iter().map(|row| width_of(&cell(row, column), SIZE));
            cells.fold(head, f64::max).min(WIDEST)
        };
        let widths: Vec<f64> = (0..self.columns.len()).map(width).collect();
        let inner = widths.iter().map(|width| width + GAP).sum::<f64>() + GAP;
        let body = (self.rows.len() as f64 + 1.0) * LINE + 10.0;
        let mut sheet = Sheet::new(&self.words, (inner + 2.0 * MARGIN).max(640.0), body);
        let (canvas, top) = (&mut sheet.canvas, sheet.top);
        let right = MARGIN + inner;
        for (index, row) in std::iter::once(&self.columns).chain(&self.rows).enumerate() {
            let y = top + index as f64 * LINE;
            if index > 0 && index % 2 == 0 {
                canvas.rect((MARGIN, y), (inner, LINE), palette::FAINT);
            }
            let mut x = MARGIN + GAP;
            for (column, width) in widths.iter().enumerate() {
                let text = cut(&cell(row, column), SIZE, width + 1.0);
                let ink = if index == 0 { Ink::of(SIZE).bold() } else { Ink::of(SIZE) };
                if self.is_number(column) {
                    canvas.text(x + width, y + 13.0, ink.at(Anchor::End), &text);
                } else {
                    canvas.text(x, y + 13.0, ink, &text);
                }
                x += width + GAP;
            }
        }
        let bottom = top + (self.rows.len() as f64 + 1.0) * LINE;
        for y in [top, top + LINE, bottom] {
            canvas.line((MARGIN, y), (right, y), 1.0, palette::INK);
        }
        sheet.canvas
    }

    /// Whether all cells of a column are numbers, which end at the same place.
    fn is_number(&self, column: usize) -> bool {
        let is_number = |text: &String| {
            text.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ',' | '.'))
        };
        self.rows.iter().all(|row| row.get(column).is_none_or(is_number))
    }
}
