//! Series: the last values of a metric, and a line of bars that shows them.

use std::collections::VecDeque;

/// Values that are kept.
const LONGEST: usize = 240;

/// The last values, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series(VecDeque<f32>);

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == LONGEST {
            self.0.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, reason = "a bar has eight heights")]
        self.0.push_back(if value.is_finite() { value.max(0.0) as f32 } else { 0.0 });
    }

    /// Returns the newest values as bars, in at most this number of columns. The highest bar is the
    /// largest value, at least `full`.
    pub(super) fn bars(&self, columns: usize, full: f32, is_ascii: bool) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];
        let marks = if is_ascii { ASCII } else { BLOCKS };
        let values = || self.0.iter().skip(self.0.len().saturating_sub(columns));
        let top = values().copied().fold(full, f32::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
        let height = |value: f32| if top > 0.0 { (value / top * 7.0).round() as usize } else { 0 };
        values().map(|value| marks[height(*value).min(7)]).collect()
    }
}

/// Returns a bar of this number of columns, filled up to a share.
pub(super) fn bar(share: f64, columns: usize, is_ascii: bool) -> String {
    let (full, empty) = if is_ascii { ('#', '.') } else { ('█', '░') };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "columns")]
    let filled = ((share.clamp(0.0, 1.0) * columns as f64).round() as usize).min(columns);
    std::iter::repeat_n(full, filled).chain(std::iter::repeat_n(empty, columns - filled)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_newest_values() {
        let mut series = Series::default();
        assert_eq!(series.bars(5, 1.0, false), "");
        for value in [100.0, 0.0, 25.0, 50.0, f64::NAN, -1.0] {
            series.push(value);
        }
        assert_eq!(series.bars(4, 0.0, false), "▅█▁▁");
        assert_eq!(series.bars(9, 100.0, true), "#_,=__");
        for _ in 0..1000 {
            series.push(1.0);
        }
        assert_eq!(series.bars(9999, 0.0, true).len(), LONGEST);
        assert_eq!((bar(0.5, 4, false), bar(9.0, 3, true), bar(-1.0, 2, true)), ("██░░".into(), "###".into(), "..".into()));
    }
}
