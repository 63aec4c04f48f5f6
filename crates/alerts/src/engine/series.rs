//! Recent values of a metric: their mean and their trend.

use std::collections::VecDeque;

/// Maximum number of points in a series; further points are merged.
const MOST: usize = 64;
/// Time after which a value is outdated, because its app no longer reports it.
pub(super) const STALE_MS: u64 = 120_000;
/// Time span of a forecast. The next two constants are the minimum time span and the minimum number
/// of points.
pub(super) const PAST_MS: u64 = 1_800_000;
const LEAST_MS: u64 = 300_000;
const LEAST: usize = 10;
/// Minimum share of the variance that a straight line must explain.
const FIT: f64 = 0.8;

/// Series of measured values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    points: VecDeque<(u64, f64)>,
}

impl Series {
    /// Adds a value and drops values before the window, except the last of them.
    ///
    /// The last one is the value at the start of the window, because samples rarely fall exactly on
    /// it.
    pub(super) fn add(&mut self, now: u64, value: f64, window_ms: u64) {
        if self.points.back().is_some_and(|(at, _)| *at > now || now - *at > STALE_MS) {
            self.points.clear();
        }
        let len = self.points.len();
        // With this distance between points, the window fits into the maximum number of points.
        let step = window_ms.div_ceil(MOST as u64 - 2);
        let is_open = len > 1 && self.points[len - 1].0 - self.points[len - 2].0 < step;
        match self.points.back_mut().filter(|_| is_open) {
            Some(last) => *last = (now, f64::midpoint(last.1, value)),
            None => self.points.push_back((now, value)),
        }
        while self.points.len() > MOST || self.points.get(1).is_some_and(|(at, _)| at + window_ms <= now) {
            self.points.pop_front();
        }
    }

    /// Returns the mean; `None` if the series is empty. Rounding never moves it out of the range of
    /// the values.
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    pub(super) fn mean(&self) -> Option<f64> {
        let values = || self.points.iter().map(|(_, value)| *value);
        let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        Some((values().sum::<f64>() / self.points.len() as f64).max(least).min(most))
    }

    /// Returns true if the values cover the whole window.
    pub(super) fn covers(&self, window_ms: u64, now: u64) -> bool {
        self.points.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= window_ms)
    }

    /// Returns true if the last value is too old to describe the present.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.points.back().is_none_or(|(at, _)| now.abs_diff(*at) > STALE_MS)
    }

    /// Returns the ms until a straight line through the values reaches the limit. Returns `None` if
    /// the line does not reach it or does not fit the values.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a forecast")]
    pub(super) fn reaches_limit_in(&self, limit: f64) -> Option<u64> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        if self.points.len() < LEAST || last.0 - first.0 < LEAST_MS {
            return None;
        }
        let count = self.points.len() as f64;
        let times = || self.points.iter().map(|(at, value)| ((at - first.0) as f64, *value));
        let (sum_t, sum_v) = times().fold((0.0, 0.0), |(t, v), (at, value)| (t + at, v + value));
        let (mean_t, mean_v) = (sum_t / count, sum_v / count);
        let (mut tt, mut tv, mut vv) = (0.0, 0.0, 0.0);
        for (t, v) in times() {
            tt += (t - mean_t).powi(2);
            tv += (t - mean_t) * (v - mean_v);
            vv += (v - mean_v).powi(2);
        }
        let slope = tv / tt;
        let is_line = vv > 0.0 && tv * tv / (tt * vv) >= FIT;
        if !is_line || slope <= 0.0 {
            return None;
        }
        let present = mean_v + slope * ((last.0 - first.0) as f64 - mean_t);
        Some(((limit - present) / slope).max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecast_follows_linear_growth_and_ignores_noise() {
        let mut line = Series::default();
        for n in 0..60_u32 {
            line.add(u64::from(n) * 10_000, 100.0 + f64::from(n), PAST_MS);
        }
        // 1 more in 10 s: from 159 to 259 in 1000 s.
        let reached = line.reaches_limit_in(259.0).unwrap();
        assert!((900_000..1_100_000).contains(&reached), "{reached}");
        assert_eq!(line.reaches_limit_in(50.0), Some(0));
        let mut noise = Series::default();
        for n in 0..60_u32 {
            noise.add(u64::from(n) * 10_000, f64::from(n % 2) * 100.0 + f64::from(n) * 0.1, PAST_MS);
        }
        assert_eq!(noise.reaches_limit_in(200.0), None);
        let mut flat = Series::default();
        (0..60).for_each(|n| flat.add(n * 10_000, 5.0, PAST_MS));
        assert_eq!((flat.reaches_limit_in(9.0), flat.mean()), (None, Some(5.0)));
    }

    #[test]
    fn series_stays_bounded_and_survives_clock_set_back() {
        let mut series = Series::default();
        for n in 0..100_000 {
            series.add(n, 1.0, 3_600_000);
            assert!(series.points.len() <= MOST);
        }
        series.add(5, 2.0, 1000);
        assert_eq!(series.mean(), Some(2.0), "the clock was set back");
        assert!(!series.covers(1000, 5) && series.covers(1000, 1005));
    }
}
