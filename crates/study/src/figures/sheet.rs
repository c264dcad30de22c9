//! What every figure has: a title that says what is seen, a line below it with the units, and where it is from.

use super::canvas::{Canvas, Ink, wrap};

/// Room at the edges, in pixels.
pub(super) const MARGIN: f64 = 20.0;

const TITLE: Ink = Ink::of(16).bold();
const SUBTITLE: Ink = Ink::of(12).grey();
const SOURCE: Ink = Ink::of(10).grey();

/// A figure's words.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// What is seen.
    pub(super) title: String,
    /// Of what, in which unit.
    pub(super) subtitle: String,
    /// Where it is from.
    pub(super) source: String,
}

/// A sheet with its words on it, and the room that is left.
pub(super) struct Sheet {
    pub(super) canvas: Canvas,
    /// The first pixel below the title.
    pub(super) top: f64,
}

impl Sheet {
    /// A sheet of this width, with so much room below the title.
    pub(super) fn new(words: &Words, width: f64, body: f64) -> Self {
        let room = width - 2.0 * MARGIN;
        let title = wrap(&words.title, TITLE.size, room * 0.9);
        let subtitle = wrap(&words.subtitle, SUBTITLE.size, room);
        let source = wrap(&words.source, SOURCE.size, room);
        let lines = |ink: Ink| f64::from(ink.size) * 1.35;
        let height_of = |texts: &[String], ink: Ink| texts.iter().map(|_| lines(ink)).sum::<f64>();
        let head = height_of(&title, TITLE) + height_of(&subtitle, SUBTITLE) + 12.0;
        let foot = height_of(&source, SOURCE) + 14.0;
        let mut canvas = Canvas::new(width, MARGIN + head + body + foot + MARGIN);
        let mut y = MARGIN;
        for (texts, ink) in [(&title, TITLE), (&subtitle, SUBTITLE)] {
            for text in texts {
                y += lines(ink);
                canvas.text(MARGIN, y - 4.0, ink, text);
            }
        }
        let mut below = canvas.height() - MARGIN - height_of(&source, SOURCE);
        for text in &source {
            below += lines(SOURCE);
            canvas.text(MARGIN, below - 4.0, SOURCE, text);
        }
        Self { canvas, top: MARGIN + head }
    }
}
