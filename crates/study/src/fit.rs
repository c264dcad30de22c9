//! Fit a straight line through points by least squares, and say how well it fits.
//!
//! The paper says that cost is linear in the number of patients. Here that is measured: slope, intercept, R² and what
//! each point is off by.

use crate::tally::Mode;

/// What the points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// One point for each specialty.
    Specialties,
    /// One point for each archive date.
    Dates,
}

/// What gas is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Against {
    /// How many people are counted.
    Patients,
    /// How many rows there are.
    Rows,
}

/// The gas of a mode's work, against its size.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// How the rows became transactions.
    pub mode: Mode,
    /// What the points are.
    pub over: Over,
    /// What their size is.
    pub against: Against,
    /// The points, by their labels' order.
    pub points: Vec<Point>,
    /// The line; `None` where all points have the same size, or there are fewer than two.
    pub line: Option<StraightLine>,
}

/// A point: some work's size and gas.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Which specialty, or which date.
    pub label: String,
    /// Patients or rows.
    pub size: u64,
    /// What the receipts say.
    pub gas_used: u64,
}

/// `gas = slope * size + intercept`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StraightLine {
    /// Gas for one more patient or row.
    pub slope: f64,
    /// Gas at size zero.
    pub intercept: f64,
    /// The share of the variance that the line explains, from 0 to 1. 1 where nothing varies.
    pub r_squared: f64,
    /// The root of the mean of the squared residuals, in gas.
    pub residual_rms: f64,
}

impl Fit {
    /// What each point lies above the line, in gas, in the points' order; empty without a line.
    #[must_use]
    pub fn residuals(&self) -> Vec<f64> {
        let Some(line) = self.line else { return Vec::new() };
        self.points.iter().map(|point| as_float(point.gas_used) - line.at(point.size)).collect()
    }
}

impl StraightLine {
    /// The line's gas for this size.
    #[must_use]
    pub fn at(&self, size: u64) -> f64 {
        self.slope * as_float(size) + self.intercept
    }

    /// The line that fits best.
    ///
    /// # Source
    ///
    /// Ordinary least squares. R² is one less the residuals' share of the variance.
    #[must_use]
    pub fn through(points: &[Point]) -> Option<Self> {
        let count = as_float(u64::try_from(points.len()).ok()?);
        let mean = |of: fn(&Point) -> u64| {
            points.iter().map(|point| as_float(of(point))).sum::<f64>() / count
        };
        let (mean_size, mean_gas) = (mean(|point| point.size), mean(|point| point.gas_used));

        // Sums of deviations, not of squares of the values: those would lose digits.
        let (mut sizes, mut gas, mut both) = (0.0, 0.0, 0.0);
        for point in points {
            let (x, y) = (as_float(point.size) - mean_size, as_float(point.gas_used) - mean_gas);
            sizes += x * x;
            gas += y * y;
            both += x * y;
        }
        if points.len() < 2 || sizes == 0.0 {
            return None;
        }
        let slope = both / sizes;
        let line = Self {
            slope,
            intercept: mean_gas - slope * mean_size,
            r_squared: 1.0,
            residual_rms: 0.0,
        };
        let off = points
            .iter()
            .map(|point| (as_float(point.gas_used) - line.at(point.size)).powi(2))
            .sum::<f64>();
        let r_squared = if gas == 0.0 { 1.0 } else { (1.0 - off / gas).clamp(0.0, 1.0) };
        Some(Self { r_squared, residual_rms: (off / count).sqrt(), ..line })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a fit is not exact to the last gas")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(u64, u64)]) -> Option<StraightLine> {
        let point = |&(size, gas_used): &(u64, u64)| Point { label: String::new(), size, gas_used };
        StraightLine::through(&points.iter().map(point).collect::<Vec<_>>())
    }

    #[test]
    fn a_line_is_found_again() {
        let found = line(&[(0, 5), (1, 8), (2, 11), (10, 35)]).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-12 && (found.intercept - 5.0).abs() < 1e-9);
        assert!((found.r_squared - 1.0).abs() < 1e-12 && found.residual_rms < 1e-9);
    }

    #[test]
    fn what_is_not_linear_is_told_by_r_squared() {
        // By hand: the means are 2 and 4, the sums of squares 10 and 12, of products 6; 12 - 36/10 = 8.4 is left.
        let found = line(&[(0, 3), (1, 3), (2, 3), (3, 7), (4, 4)]).unwrap();
        assert!((found.slope - 0.6).abs() < 1e-12);
        assert!((found.intercept - 2.8).abs() < 1e-12);
        assert!((found.r_squared - (1.0 - 8.4 / 12.0)).abs() < 1e-12);
        assert!((found.residual_rms - (8.4_f64 / 5.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn flat_points_lie_on_a_line() {
        let found = line(&[(1, 7), (2, 7)]).unwrap();
        assert!(found.slope == 0.0 && found.r_squared == 1.0);
    }

    #[test]
    fn one_size_has_no_line() {
        assert_eq!(line(&[(3, 7), (3, 9)]), None);
        assert_eq!(line(&[(3, 7)]), None);
        assert_eq!(line(&[]), None);
    }
}
