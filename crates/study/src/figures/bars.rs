//! Bars that lie, with one line for each name, so that long names can be read: as many lines as there are names.

use super::{
    canvas::{Anchor, Canvas, Colour, Ink, cut, palette, width_of},
    scale::Scale,
    sheet::{MARGIN, Sheet, Words},
};

const LINE: f64 = 16.0;
const LABEL: Ink = Ink::of(10);
const AXIS: f64 = 44.0;
const GAP: f64 = 26.0;

/// What a panel's marks look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// Bars from zero, of as many parts as there are.
    Bars,
    /// Dots along an axis from zero, for what is no amount.
    Dots,
    /// Dots along a logarithmic axis, which has no zero that a bar could begin at.
    LogDots,
}

/// One value, or several that add up, for each line.
pub(super) struct Panel {
    /// What the axis has, with its unit.
    pub(super) axis: String,
    pub(super) marks: Marks,
    /// One for each part.
    pub(super) colours: Vec<Colour>,
    /// For each line its parts.
    pub(super) values: Vec<Vec<f64>>,
    /// For each line what stands beside the bar.
    pub(super) notes: Vec<String>,
}

impl Panel {
    /// A panel of bars of one part.
    pub(super) fn plain(axis: &str, colour: Colour, values: Vec<(f64, String)>) -> Self {
        let (values, notes) = values.into_iter().map(|(value, note)| (vec![value], note)).unzip();
        Self { axis: axis.into(), marks: Marks::Bars, colours: vec![colour], values, notes }
    }

    fn sums(&self) -> Vec<f64> {
        self.values.iter().map(|parts| parts.iter().sum()).collect()
    }

    fn scale(&self) -> Scale {
        match self.marks {
            Marks::Bars => {
                Scale::linear(self.sums().into_iter().filter(|sum| *sum < self.broken()))
            }
            Marks::Dots => Scale::linear(self.sums()),
            Marks::LogDots => Scale::log(self.sums()),
        }
    }

    /// From which length on a bar is drawn broken: where it is more than twice as long as the next of many, which could
    /// not be told from each other beside it.
    fn broken(&self) -> f64 {
        let mut sums = self.sums();
        sums.sort_by(f64::total_cmp);
        match sums.as_slice() {
            [.., next, longest] if sums.len() > 30 && *longest > 2.0 * next => *longest,
            _ => f64::INFINITY,
        }
    }
}

/// Panels beside each other that share their lines' names.
pub(super) struct BarChart {
    pub(super) words: Words,
    pub(super) labels: Vec<String>,
    pub(super) panels: Vec<Panel>,
    /// What the parts are called.
    pub(super) legend: Vec<(Colour, String)>,
    /// In how many columns the lines stand: more where there are too many for one.
    pub(super) columns: usize,
    pub(super) width: f64,
}

impl BarChart {
    pub(super) fn draw(&self) -> Canvas {
        let lines = self.labels.len().div_ceil(self.columns).max(1);
        let legend = if self.legend.is_empty() { 0.0 } else { 24.0 };
        let body = legend + lines as f64 * LINE + AXIS;
        let mut sheet = Sheet::new(&self.words, self.width, body);
        let top = sheet.top + legend;
        draw_legend(&mut sheet.canvas, &self.legend, sheet.top + 10.0);
        let column =
            (self.width - 2.0 * MARGIN - GAP * (self.columns - 1) as f64) / self.columns as f64;
        for index in 0..self.columns {
            let range = index * lines..((index + 1) * lines).min(self.labels.len());
            let left = MARGIN + index as f64 * (column + GAP);
            self.draw_column(&mut sheet.canvas, range, (left, top), column, lines as f64 * LINE);
        }
        sheet.canvas
    }

    fn draw_column(
        &self,
        canvas: &mut Canvas,
        lines: std::ops::Range<usize>,
        (left, top): (f64, f64),
        width: f64,
        height: f64,
    ) {
        let widest =
            self.labels.iter().map(|label| width_of(label, LABEL.size)).fold(0.0, f64::max);
        let names = (widest + 8.0).min(width * 0.42);
        let panels = self.panels.len() as f64;
        let room = (width - names - GAP * (panels - 1.0)) / panels;
        for line in (lines.start..lines.end).step_by(2) {
            let y = top + (line - lines.start) as f64 * LINE;
            canvas.rect((left, y), (width, LINE), palette::FAINT);
        }
        for line in lines.clone() {
            let y = top + (line - lines.start) as f64 * LINE + 11.5;
            let label = cut(&self.labels[line], LABEL.size, names - 8.0);
            canvas.text(left + names - 8.0, y, LABEL.at(Anchor::End), &label);
        }
        for (index, panel) in self.panels.iter().enumerate() {
            let x = left + names + index as f64 * (room + GAP);
            panel.draw(canvas, lines.clone(), (x, top), (room, height));
        }
    }
}

impl Panel {
    fn draw(
        &self,
        canvas: &mut Canvas,
        lines: std::ops::Range<usize>,
        (left, top): (f64, f64),
        (width, height): (f64, f64),
    ) {
        let notes = self.notes.iter().map(|note| width_of(note, LABEL.size)).fold(0.0, f64::max);
        let scale = self.scale();
        let long = (width - notes - 8.0).max(width * 0.3);
        let at = |value: f64| left + scale.place(value).min(1.0) * long;
        let broken = self.broken();
        for (value, text) in scale.marks() {
            canvas.line((at(value), top), (at(value), top + height), 1.0, palette::PALE);
            let ink = Ink::of(10).grey().at(Anchor::Middle);
            canvas.text(at(value), top + height + 14.0, ink, &text);
        }
        canvas.line((left, top), (left, top + height), 1.0, palette::GREY);
        let ink = Ink::of(11).at(Anchor::Middle);
        canvas.text(left + long / 2.0, top + height + 32.0, ink, &self.axis);
        for line in lines.clone() {
            let y = top + (line - lines.start) as f64 * LINE;
            let mut sum = 0.0;
            for (value, colour) in self.values[line].iter().zip(&self.colours) {
                if self.marks == Marks::Bars && *value > 0.0 {
                    let (from, to) = (at(sum), at(sum + value));
                    canvas.rect((from, y + 2.5), (to - from, LINE - 5.0), *colour);
                }
                sum += value;
            }
            if self.marks == Marks::Bars && sum >= broken {
                canvas.rect((at(sum) - 14.0, y + 1.0), (4.0, LINE - 2.0), palette::WHITE);
            }
            if self.marks != Marks::Bars && sum > 0.0 {
                canvas.line((left, y + 8.0), (at(sum), y + 8.0), 1.0, palette::GREY);
                canvas.dot(at(sum), y + 8.0, 4.5, self.colours[line % self.colours.len()]);
            }
            canvas.text(at(sum) + 7.0, y + 11.5, LABEL, &self.notes[line]);
        }
    }
}

/// Names of colours in one row.
pub(super) fn draw_legend(canvas: &mut Canvas, legend: &[(Colour, String)], y: f64) {
    let mut x = MARGIN;
    for (colour, name) in legend {
        canvas.rect((x, y - 8.0), (12.0, 10.0), *colour);
        canvas.text(x + 17.0, y + 1.0, Ink::of(11), name);
        x += 17.0 + width_of(name, 11) + 18.0;
    }
}
