//! Point of a series. Pure.

use crate::scale::Scale;

/// Values of a series in one step, as codes of its [`Scale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Step of the point: time divided by the length of a step.
    pub(crate) slot: u64,
    pub(crate) min: i64,
    pub(crate) avg: i64,
    pub(crate) max: i64,
    /// Number of samples.
    pub(crate) count: u64,
}

/// Aggregate of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) total: f64,
    pub(crate) count: u64,
}

impl Aggregate {
    /// Aggregate of no sample.
    pub(crate) const NONE: Self = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, total: 0.0, count: 0 };

    /// Returns the aggregate of one sample.
    pub(crate) fn of(value: f64) -> Self {
        Self { min: value, max: value, total: value, count: 1 }
    }

    /// Returns the aggregate of a point.
    #[expect(clippy::cast_precision_loss, reason = "a weight")]
    pub(crate) fn of_point(point: &Point, scale: Scale) -> Self {
        let total = scale.value(point.avg) * point.count as f64;
        Self { min: scale.value(point.min), max: scale.value(point.max), total, count: point.count }
    }

    /// Adds another aggregate.
    pub(crate) fn add(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.total += other.total;
        self.count = self.count.saturating_add(other.count);
    }

    /// Returns the average, or 0 without samples.
    #[expect(clippy::cast_precision_loss, reason = "a weight")]
    pub(crate) fn average(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.total / self.count as f64).clamp(self.min, self.max) }
    }

    /// Converts the aggregate into a point. Returns `None` without samples.
    pub(crate) fn point(&self, slot: u64, scale: Scale) -> Option<Point> {
        if self.count == 0 {
            return None;
        }
        let (min, avg, max) = (scale.code(self.min)?, scale.code(self.average())?, scale.code(self.max)?);
        Some(Point { slot, min, avg, max, count: self.count })
    }
}
