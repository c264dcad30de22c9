//! Dots and lines between two axes, one panel above the other where there are several.

use super::{
    bars::draw_legend,
    canvas::{Anchor, Canvas, Colour, Ink, palette, width_of},
    scale::Scale,
    sheet::{MARGIN, Sheet, Words},
};

const LEFT: f64 = 66.0;
const AXIS: f64 = 46.0;
const GAP: f64 = 18.0;
/// The size of a note's letters, and of its line.
const NOTE: u32 = 10;
const NOTE_HEIGHT: f64 = 14.0;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    Dots {
        radius: f64,
    },
    Line {
        width: f64,
    },
    /// A line with a dot at each place.
    Both,
}

pub(super) struct Series {
    pub(super) colour: Colour,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

/// Words beside a place, left out where there is no room for them.
pub(super) struct Note {
    pub(super) at: (f64, f64),
    pub(super) text: String,
}

/// What shares the axis below with the other panels.
pub(super) struct Panel {
    pub(super) axis: String,
    pub(super) scale: Scale,
    pub(super) series: Vec<Series>,
    pub(super) notes: Vec<Note>,
    pub(super) height: f64,
}

pub(super) struct Plot {
    pub(super) words: Words,
    pub(super) axis: String,
    pub(super) scale: Scale,
    pub(super) panels: Vec<Panel>,
    pub(super) legend: Vec<(Colour, String)>,
    pub(super) width: f64,
}

impl Plot {
    pub(super) fn draw(&self) -> Canvas {
        let legend = if self.legend.is_empty() { 0.0 } else { 26.0 };
        let heights: f64 = self.panels.iter().map(|panel| panel.height + GAP).sum();
        let mut sheet = Sheet::new(&self.words, self.width, legend + heights + AXIS - GAP);
        draw_legend(&mut sheet.canvas, &self.legend, sheet.top + 10.0);
        let mut top = sheet.top + legend;
        let canvas = &mut sheet.canvas;
        let (left, right) = (MARGIN + LEFT, self.width - MARGIN - 14.0);
        for panel in &self.panels {
            self.draw_panel(canvas, panel, (left, top), right);
            top += panel.height + GAP;
        }
        let bottom = top - GAP;
        for (value, text) in self.scale.marks() {
            let x = left + self.scale.place(value) * (right - left);
            canvas.text(x, bottom + 15.0, Ink::of(10).grey().at(Anchor::Middle), &text);
        }
        let ink = Ink::of(11).at(Anchor::Middle);
        canvas.text((left + right) / 2.0, bottom + 36.0, ink, &self.axis);
        sheet.canvas
    }

    fn draw_panel(&self, canvas: &mut Canvas, panel: &Panel, (left, top): (f64, f64), right: f64) {
        let bottom = top + panel.height;
        let across = |value: f64| left + self.scale.place(value) * (right - left);
        let up = |value: f64| bottom - panel.scale.place(value) * panel.height;
        for (value, _) in self.scale.marks() {
            canvas.line((across(value), top), (across(value), bottom), 1.0, palette::PALE);
        }
        for (value, text) in panel.scale.marks() {
            let colour = if value == 0.0 { palette::GREY } else { palette::PALE };
            canvas.line((left, up(value)), (right, up(value)), 1.0, colour);
            let ink = Ink::of(10).grey().at(Anchor::End);
            canvas.text(left - 6.0, up(value) + 3.5, ink, &text);
        }
        canvas.line((left, top), (left, bottom), 1.0, palette::GREY);
        canvas.line((left, bottom), (right, bottom), 1.0, palette::GREY);
        let ink = Ink::of(11).at(Anchor::Middle);
        canvas.text_upwards(MARGIN + 10.0, top + panel.height / 2.0, ink, &panel.axis);
        for series in &panel.series {
            let points: Vec<(f64, f64)> =
                series.points.iter().map(|(x, y)| (across(*x), up(*y))).collect();
            if let Mark::Line { width } = series.mark {
                canvas.polyline(&points, width, series.colour);
            } else if series.mark == Mark::Both {
                canvas.polyline(&points, 1.2, series.colour);
            }
            let radius = match series.mark {
                Mark::Dots { radius } => radius,
                Mark::Both => 3.0,
                Mark::Line { .. } => continue,
            };
            for (x, y) in points {
                canvas.dot(x, y, radius, series.colour);
            }
        }
        let has_dots = |series: &&Series| !matches!(series.mark, Mark::Line { .. });
        let dots = panel.series.iter().filter(has_dots).flat_map(|series| &series.points);
        let dots: Vec<(f64, f64)> = dots.map(|(x, y)| (across(*x), up(*y))).collect();
        let mut taken: Vec<Place> = Vec::new();
        for note in &panel.notes {
            let at = (across(note.at.0), up(note.at.1));
            let Some(place) =
                Place::beside(at, &note.text, (&taken, &dots), (left, right), (top, bottom))
            else {
                continue;
            };
            canvas.veil((place.left, place.top), (place.width, NOTE_HEIGHT));
            canvas.text(place.left + 2.0, place.top + 11.0, Ink::of(NOTE), &note.text);
            taken.push(place);
        }
    }
}

/// Where a note stands.
struct Place {
    left: f64,
    top: f64,
    width: f64,
}

impl Place {
    /// A place beside a dot that covers no other note and no dot, within the panel; `None` where there is none.
    fn beside(
        (x, y): (f64, f64),
        text: &str,
        (taken, dots): (&[Self], &[(f64, f64)]),
        (left, right): (f64, f64),
        (top, bottom): (f64, f64),
    ) -> Option<Self> {
        let width = width_of(text, NOTE) + 4.0;
        let places = [
            (x + 6.0, y - NOTE_HEIGHT - 2.0),
            (x - 6.0 - width, y - NOTE_HEIGHT - 2.0),
            (x + 6.0, y + 3.0),
            (x - 6.0 - width, y + 3.0),
        ];
        let place = |(left, top)| Self { left, top, width };
        places.into_iter().map(place).find(|place| {
            let inside = place.left >= left
                && place.left + width <= right
                && place.top >= top
                && place.top + NOTE_HEIGHT <= bottom;
            let is_free = !taken.iter().any(|other| place.meets(other));
            inside && is_free && !dots.iter().any(|dot| place.covers(*dot))
        })
    }

    /// Whether a dot lies on it, or nearly.
    fn covers(&self, (x, y): (f64, f64)) -> bool {
        x > self.left - 4.0
            && x < self.left + self.width + 4.0
            && y > self.top - 1.0
            && y < self.top + NOTE_HEIGHT + 1.0
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && (self.top - other.top).abs() < NOTE_HEIGHT
    }
}
