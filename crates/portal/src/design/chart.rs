//! How a value went over time, as a picture that is made here: no script draws it.

use maud::{Markup, html};

/// One value at one time, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) at: u64,
    pub(crate) value: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 12.0;

/// Values over time, the oldest first, with the range that is usual; nothing when there are fewer than two.
pub(crate) fn trend(label: &str, points: &[Point], low: Option<f64>, high: Option<f64>) -> Markup {
    let points: Vec<Point> =
        points.iter().filter(|point| point.value.is_finite()).copied().collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    if points.len() < 2 {
        return html! {};
    }
    let values = points.iter().map(|point| point.value).chain(low).chain(high);
    let (min, max) =
        values.fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(value), max.max(value)));
    let margin = ((max - min) * 0.08).max(f64::EPSILON);
    let (min, max) = (min - margin, max + margin);
    let (begin, span) = (first.at, last.at.saturating_sub(first.at).max(1));
    let x =
        |at: u64| LEFT + (WIDTH - LEFT - 8.0) * seconds(at.saturating_sub(begin)) / seconds(span);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (max - value) / (max - min);
    let line: Vec<String> =
        points.iter().map(|point| format!("{:.1},{:.1}", x(point.at), y(point.value))).collect();
    let is_out =
        |value: f64| low.is_some_and(|low| value < low) || high.is_some_and(|high| value > high);
    html! {
        svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
            @if low.is_some() || high.is_some() {
                @let (top, bottom) = (y(high.unwrap_or(max)), y(low.unwrap_or(min)));
                rect class="range" x=(LEFT) y=(format!("{top:.1}")) width=(WIDTH - LEFT - 8.0) height=(format!("{:.1}", bottom - top)) {}
                @for edge in [low, high].into_iter().flatten() {
                    text x=(LEFT - 6.0) y=(format!("{:.1}", y(edge) + 4.0)) text-anchor="end" { (edge) }
                }
            }
            line class="axis" x1=(LEFT) x2=(WIDTH - 8.0) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            polyline class="line" points=(line.join(" ")) {}
            @for point in &points {
                circle class={ "point" @if is_out(point.value) { " out" } } cx=(format!("{:.1}", x(point.at))) cy=(format!("{:.1}", y(point.value))) r="4" {}
            }
            text x=(LEFT) y=(HEIGHT - 6.0) { (crate::times::day(first.at)) }
            text x=(WIDTH - 8.0) y=(HEIGHT - 6.0) text-anchor="end" { (crate::times::day(last.at)) }
        }
    }
}

/// Exact for every time that a calendar has.
fn seconds(seconds: u64) -> f64 {
    u32::try_from(seconds / 60).map_or(f64::from(u32::MAX), f64::from)
}
