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

/// Words near a place, left out where there is no room for them.
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
        // What notes keep clear of: dots, and lines from one place to the next.
        let mut drawn: Vec<Stroke> = Vec::new();
        for series in &panel.series {
            let places = series.points.iter().map(|(x, y)| (across(*x), up(*y)));
            let places: Vec<(f64, f64)> = places.collect();
            if matches!(series.mark, Mark::Line { .. } | Mark::Both) {
                drawn.extend(places.windows(2).map(|pair| Stroke(pair[0], pair[1])));
            }
            if !matches!(series.mark, Mark::Line { .. }) {
                drawn.extend(places.into_iter().map(|place| Stroke(place, place)));
            }
        }
        let mut taken: Vec<Place> = Vec::new();
        for note in &panel.notes {
            let at = (across(note.at.0), up(note.at.1));
            let room = (left, right, top, bottom);
            let Some(place) = Place::near(at, &note.text, &taken, &drawn, room) else { continue };
            if let Some(end) = place.leader(at) {
                canvas.line(at, end, 0.8, palette::GREY);
            }
            canvas.veil((place.left, place.top), (place.width, NOTE_HEIGHT));
            canvas.text(place.left + 2.0, place.top + 11.0, Ink::of(NOTE), &note.text);
            taken.push(place);
        }
    }
}

/// A straight line from one place to another, or a dot.
#[derive(Clone, Copy, Debug)]
struct Stroke((f64, f64), (f64, f64));

/// Where a note stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    left: f64,
    top: f64,
    width: f64,
}

impl Place {
    /// The nearest place to a dot, within the panel, that covers no other note, no dot and no line; `None` where there is
    /// none that is near.
    fn near(
        (x, y): (f64, f64),
        text: &str,
        taken: &[Self],
        drawn: &[Stroke],
        (left, right, top, bottom): (f64, f64, f64, f64),
    ) -> Option<Self> {
        /// How far a note may be from its dot, in steps.
        const STEPS: u32 = 24;
        const STEP: f64 = 5.0;
        let width = width_of(text, NOTE) + 4.0;
        let around = |step: u32| {
            let far = f64::from(step) * STEP;
            let (above, below) = (y - NOTE_HEIGHT - 2.0 - far, y + 3.0 + far);
            let (after, before) = (x + 6.0, x - 6.0 - width);
            [(after, above), (before, above), (after, below), (before, below)]
        };
        let place = |(left, top)| Self { left, top, width };
        (0..=STEPS).flat_map(around).map(place).find(|place| {
            let inside = place.left >= left
                && place.left + width <= right
                && place.top >= top
                && place.top + NOTE_HEIGHT <= bottom;
            inside
                && !taken.iter().any(|other| place.meets(other))
                && !drawn.iter().any(|stroke| place.covers(*stroke))
        })
    }

    /// Where a line from its dot to it ends; `None` where the two are close enough without.
    fn leader(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let end_x = if self.left > x { self.left } else { self.left + self.width };
        let end_y = if self.top > y { self.top } else { self.top + NOTE_HEIGHT };
        ((end_y - y).abs() > NOTE_HEIGHT).then_some((end_x, end_y))
    }

    /// Whether a stroke comes on it, or nearly.
    ///
    /// # Source
    ///
    /// Y. Liang and B. Barsky, "A New Concept and Method for Line Clipping", 1984.
    fn covers(&self, Stroke(from, to): Stroke) -> bool {
        let (mut first, mut last) = (0.0_f64, 1.0_f64);
        for (start, end, least, most) in [
            (from.0, to.0, self.left - 4.0, self.left + self.width + 4.0),
            (from.1, to.1, self.top - 1.0, self.top + NOTE_HEIGHT + 1.0),
        ] {
            let long = end - start;
            if long == 0.0 {
                if start <= least || start >= most {
                    return false;
                }
                continue;
            }
            let (one, other) = ((least - start) / long, (most - start) / long);
            first = first.max(one.min(other));
            last = last.min(one.max(other));
        }
        first < last
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && (self.top - other.top).abs() < NOTE_HEIGHT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_met_where_it_crosses_and_nowhere_else() {
        let place = Place { left: 100.0, top: 50.0, width: 60.0 };
        let check = |from, to, expected| assert_eq!(place.covers(Stroke(from, to)), expected);
        check((0.0, 57.0), (300.0, 57.0), true);
        check((130.0, 0.0), (130.0, 100.0), true);
        check((90.0, 40.0), (170.0, 70.0), true);
        check((120.0, 55.0), (120.0, 55.0), true);
        check((120.0, 55.0), (121.0, 56.0), true);
        check((0.0, 80.0), (300.0, 80.0), false);
        // The boxes around both overlap, the line passes by the corner.
        check((80.0, 60.0), (120.0, 90.0), false);
        check((90.0, 57.0), (90.0, 57.0), false);
    }

    #[test]
    fn a_note_goes_where_no_line_runs_and_says_which_dot_is_its() {
        // A line that rises from the dot to the right, and one above it: there is room below on the left.
        let dot = (200.0, 100.0);
        let drawn = [
            Stroke(dot, dot),
            Stroke((0.0, 92.0), dot),
            Stroke(dot, (400.0, 60.0)),
            Stroke((0.0, 112.0), (400.0, 112.0)),
        ];
        let room = (0.0, 400.0, 0.0, 300.0);
        let place = Place::near(dot, "2020-01-30", &[], &drawn, room).unwrap();
        assert!(!drawn.iter().any(|stroke| place.covers(*stroke)), "{place:?}");
        let next = Place::near(dot, "2020-01-30", &[place], &drawn, room).unwrap();
        assert!(!next.meets(&place));
        // What is not beside its dot is led to.
        let far = Place { left: 206.0, top: 150.0, width: 60.0 };
        assert_eq!(far.leader(dot), Some((206.0, 150.0)));
        assert_eq!(Place { left: 206.0, top: 84.0, width: 60.0 }.leader(dot), None);
        // A panel that is too small has none.
        assert!(Place::near(dot, "2020-01-30", &[], &drawn, (195.0, 205.0, 95.0, 105.0)).is_none());
    }
}
