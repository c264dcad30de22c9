//! Lines, boxes, dots and words at places, written as SVG and as PNG. The only file that knows the library that draws.
//!
//! Places are in pixels from the upper left corner, rounded to hundredths, so that the last bit of a logarithm, which
//! differs between machines, changes no byte. The letters of a PNG come from a font that the library brings.

use kuva::{
    backend::{png::PngBackend, svg::SvgBackend},
    render::{
        color,
        render::{Primitive, Scene, TextAnchor, TextSpan},
    },
};

/// How many pixels of a PNG stand for one of the SVG.
const PNG_SCALE: f32 = 2.0;

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

/// Colours that most colour-blind people tell apart.
///
/// # Source
///
/// M. Okabe and K. Ito, "Color Universal Design", 2008.
pub(super) mod palette {
    use super::Colour;

    pub(in super::super) const BLUE: Colour = Colour(0x00, 0x72, 0xb2);
    pub(in super::super) const ORANGE: Colour = Colour(0xe6, 0x9f, 0x00);
    pub(in super::super) const GREEN: Colour = Colour(0x00, 0x9e, 0x73);
    pub(in super::super) const VERMILION: Colour = Colour(0xd5, 0x5e, 0x00);
    pub(in super::super) const SKY: Colour = Colour(0x56, 0xb4, 0xe9);
    pub(in super::super) const INK: Colour = Colour(0x1a, 0x1a, 0x1a);
    pub(in super::super) const GREY: Colour = Colour(0x66, 0x66, 0x66);
    pub(in super::super) const PALE: Colour = Colour(0xe2, 0xe2, 0xe2);
    pub(in super::super) const WHITE: Colour = Colour(0xff, 0xff, 0xff);
    pub(in super::super) const FAINT: Colour = Colour(0xf4, 0xf4, 0xf4);
}

/// Where a text's place is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    pub(super) size: u32,
    pub(super) bold: bool,
    pub(super) colour: Colour,
    pub(super) anchor: Anchor,
}

impl Ink {
    pub(super) const fn of(size: u32) -> Self {
        Self { size, bold: false, colour: palette::INK, anchor: Anchor::Start }
    }

    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) const fn grey(self) -> Self {
        Self { colour: palette::GREY, ..self }
    }

    pub(super) const fn at(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

/// The library could not write a picture.
#[derive(Debug, thiserror::Error)]
#[error("figure `{name}` could not be drawn: {reason}")]
pub struct DrawError {
    /// Which figure.
    pub name: String,
    /// The library's words.
    pub reason: String,
}

/// A white sheet that is drawn on.
pub(super) struct Canvas {
    scene: Scene,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width.round(), height.round());
        scene.font_family = Some("DejaVu Sans, Verdana, Arial, sans-serif".into());
        Self { scene }
    }

    pub(super) fn height(&self) -> f64 {
        self.scene.height
    }

    pub(super) fn text(&mut self, x: f64, y: f64, ink: Ink, text: &str) {
        self.write(x, y, ink, None, text);
    }

    /// From bottom to top.
    pub(super) fn text_upwards(&mut self, x: f64, y: f64, ink: Ink, text: &str) {
        self.write(x, y, ink, Some(-90.0), text);
    }

    fn write(&mut self, x: f64, y: f64, ink: Ink, rotate: Option<f64>, text: &str) {
        // The library would set what stands between two dollar signs as a formula.
        let content = text.replace('$', "USD ");
        let anchor = match ink.anchor {
            Anchor::Start => TextAnchor::Start,
            Anchor::Middle => TextAnchor::Middle,
            Anchor::End => TextAnchor::End,
        };
        if ink.bold && rotate.is_none() {
            // Of the texts that the library takes, only these are bold in a PNG, too.
            let span = TextSpan {
                text: content,
                bold: true,
                italic: false,
                underline: false,
                code: false,
                math: false,
            };
            return self.scene.add(Primitive::RichText {
                x: rounded(x),
                y: rounded(y),
                spans: vec![span],
                size: ink.size,
                anchor,
                color: Some(colour(ink.colour)),
            });
        }
        self.scene.add(Primitive::Text {
            x: rounded(x),
            y: rounded(y),
            content,
            size: ink.size,
            anchor,
            rotate,
            bold: ink.bold,
            color: Some(colour(ink.colour)),
        });
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, of: Colour) {
        self.scene.add(Primitive::Line {
            x1: rounded(from.0),
            y1: rounded(from.1),
            x2: rounded(to.0),
            y2: rounded(to.1),
            stroke: colour(of),
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    /// A box, by its upper left corner and its size.
    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), fill: Colour) {
        self.fill(at, size, fill, None);
    }

    /// White through which one sees a little: what words are written on where lines run.
    pub(super) fn veil(&mut self, at: (f64, f64), size: (f64, f64)) {
        self.fill(at, size, palette::WHITE, Some(0.8));
    }

    fn fill(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        fill: Colour,
        opacity: Option<f64>,
    ) {
        self.scene.add(Primitive::Rect {
            x: rounded(x),
            y: rounded(y),
            width: rounded(width),
            height: rounded(height),
            fill: colour(fill),
            stroke: None,
            stroke_width: None,
            opacity,
        });
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, fill: Colour) {
        self.scene.add(Primitive::Circle {
            cx: rounded(x),
            cy: rounded(y),
            r: rounded(radius),
            fill: colour(fill),
            fill_opacity: Some(0.75),
            stroke: None,
            stroke_width: None,
        });
    }

    pub(super) fn polyline(&mut self, points: &[(f64, f64)], width: f64, of: Colour) {
        self.scene.add(Primitive::PolyLine {
            points: points.iter().map(|(x, y)| (rounded(*x), rounded(*y))).collect(),
            stroke: colour(of),
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    /// The picture as SVG, and as PNG.
    ///
    /// # Errors
    ///
    /// [`DrawError`] when the library cannot write a PNG of this size.
    pub(super) fn finish(self, name: &str) -> Result<(String, Vec<u8>), DrawError> {
        let png = PngBackend::new().with_scale(PNG_SCALE).render_scene(&self.scene);
        let png = png.map_err(|reason| DrawError { name: name.into(), reason })?;
        Ok((SvgBackend::new().with_pretty(true).render_scene(&self.scene), png))
    }
}

fn rounded(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

const fn colour(of: Colour) -> color::Color {
    color::Color::Rgb(of.0, of.1, of.2)
}

/// About how wide a text is, in pixels, in the font of the PNG, which is wider than most: what has room with it has
/// room everywhere.
pub(super) fn width_of(text: &str, size: u32) -> f64 {
    let wide = |letter: char| match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.32,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' | 'J' => 0.41,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' | '…' => 0.98,
        'A'..='Z' => 0.72,
        _ => 0.64,
    };
    text.chars().map(wide).sum::<f64>() * f64::from(size)
}

/// The text, cut off with an ellipsis where it is wider than so many pixels.
pub(super) fn cut(text: &str, size: u32, width: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if width_of(&kept, size) + f64::from(size) > width {
            kept.pop();
            break;
        }
    }
    kept.trim_end().to_owned() + "…"
}

/// The text in lines that are no wider than so many pixels, broken between words.
pub(super) fn wrap(text: &str, size: u32, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> (String, Vec<u8>) {
        let mut canvas = Canvas::new(200.0, 100.0);
        canvas.rect((10.0, 10.0), (100.0 / 3.0, 20.0), palette::BLUE);
        canvas.text(10.0, 50.0, Ink::of(12), text);
        canvas.finish("test").unwrap()
    }

    #[test]
    fn the_same_is_drawn_as_the_same_bytes() {
        assert_eq!(drawn("a"), drawn("a"));
        assert_ne!(drawn("a").0, drawn("b").0);
        assert_eq!(&drawn("a").1[..4], b"\x89PNG");
    }

    #[test]
    fn texts_are_no_markup_and_no_formula() {
        let (svg, _) = drawn("<b> & $x$");
        assert!(svg.contains("&lt;b&gt; &amp; USD xUSD "), "{svg}");
    }

    #[test]
    fn long_texts_are_cut_or_broken() {
        assert_eq!(cut("short", 10, 100.0), "short");
        let cut_off = cut("a rather long name of a hospital", 10, 100.0);
        assert!(cut_off.ends_with('…') && width_of(&cut_off, 10) <= 110.0, "{cut_off}");
        let lines = wrap("one two three four", 10, 60.0);
        assert!(lines.len() > 1 && lines.join(" ") == "one two three four", "{lines:?}");
    }
}
