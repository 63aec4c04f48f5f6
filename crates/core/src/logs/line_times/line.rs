//! Time of one line: the date that it carries, or the interval in which it was received.

use super::Received;

/// Longest time between a message and a line of it, such as a line of its stack trace, ms.
const ONE_MESSAGE_MS: u64 = 1000;

/// Time of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineTime {
    /// Date that the line carries, or the message that the line belongs to, ms since the epoch.
    Carried(u64),
    /// Interval in which the line was received.
    Received(Received),
    /// Date of an earlier line. The time of this line is unknown.
    After(u64),
    /// Nothing is known.
    #[default]
    Unknown,
}

/// Nearest line before a line that carries a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatedLine {
    /// Its date.
    pub at_ms: u64,
    /// Interval in which it was received.
    pub received: Option<Received>,
}

impl LineTime {
    /// Combines the date of a line with the time at which it was received, and with the dated line
    /// before it. A line without a date belongs to that line if both were received together.
    pub fn of(date_ms: Option<u64>, received: Option<Received>, before: Option<DatedLine>) -> Self {
        match (date_ms, received, before) {
            (Some(date_ms), ..) => Self::Carried(date_ms),
            (None, Some(received), Some(before)) => match before.received {
                Some(dated) if are_together(dated, received) => Self::Carried(before.at_ms),
                Some(_) => Self::Received(received),
                None => Self::After(before.at_ms),
            },
            (None, Some(received), None) => Self::Received(received),
            (None, None, Some(before)) => Self::After(before.at_ms),
            (None, None, None) => Self::Unknown,
        }
    }

    /// Returns the best single time, ms since the epoch: the date, or the end of the interval. None
    /// = unknown.
    pub fn at_ms(&self) -> Option<u64> {
        match *self {
            Self::Carried(at_ms) | Self::After(at_ms) => Some(at_ms),
            Self::Received(received) => received.from_ms.map(|_| received.to_ms),
            Self::Unknown => None,
        }
    }

    /// Returns how the time is known, as a word for programs; `None` if it is unknown.
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Self::Carried(_) => Some("line"),
            Self::Received(received) if received.is_exact() => Some("received"),
            Self::Received(received) => received.from_ms.map(|_| "estimated"),
            Self::After(_) => Some("estimated"),
            Self::Unknown => None,
        }
    }

    /// Returns the interval in which the line was received, if the time comes from it.
    pub fn interval_ms(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Received(Received { from_ms, to_ms }) => Some((from_ms?, to_ms)),
            _ => None,
        }
    }

    /// Returns true unless the line is from another time. A line of which nothing is known may be
    /// of any time.
    pub fn may_be_within(&self, since_ms: Option<u64>, until_ms: Option<u64>) -> bool {
        match *self {
            Self::Carried(at_ms) | Self::After(at_ms) => {
                since_ms.is_none_or(|since| at_ms >= since) && until_ms.is_none_or(|until| at_ms <= until)
            }
            Self::Received(received) => received.may_be_within(since_ms, until_ms),
            Self::Unknown => true,
        }
    }

    /// Returns true if the time is uncertain by no more than this.
    pub fn is_known_to(&self, within_ms: u64) -> bool {
        match self {
            Self::Received(received) => received.width_ms().is_some_and(|width| width <= within_ms),
            other => other.at_ms().is_some(),
        }
    }
}

fn are_together(dated: Received, received: Received) -> bool {
    received.from_ms.is_none_or(|from| from <= dated.to_ms.saturating_add(ONE_MESSAGE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from_ms: impl Into<Option<u64>>, to_ms: u64) -> Received {
        Received { from_ms: from_ms.into(), to_ms }
    }

    #[test]
    fn own_date_comes_before_the_receive_time() {
        let (first, same, later) = (received(10_000, 11_000), received(11_000, 12_000), received(90_000, 91_000));
        let dated = |of| Some(DatedLine { at_ms: 777, received: of });
        for (what, date, of, before, expected) in [
            ("a dated line", Some(5), Some(first), dated(Some(first)), LineTime::Carried(5)),
            ("its stack trace", None, Some(same), dated(Some(first)), LineTime::Carried(777)),
            ("a line without a date long after it", None, Some(later), dated(Some(first)), LineTime::Received(later)),
            ("a log without dates", None, Some(later), None, LineTime::Received(later)),
            ("a log without an index", None, None, dated(None), LineTime::After(777)),
            ("an index that began later", None, Some(later), dated(None), LineTime::After(777)),
            ("nothing", None, None, None, LineTime::Unknown),
        ] {
            assert_eq!(LineTime::of(date, of, before), expected, "{what}");
        }
    }

    #[test]
    fn uncertain_times_are_named_as_such() {
        let (exact, wide, open) = (received(1000, 2000), received(1000, 3_600_000), received(None, 2000));
        for (time, at_ms, word, interval) in [
            (LineTime::Carried(5), Some(5), Some("line"), None),
            (LineTime::Received(exact), Some(2000), Some("received"), Some((1000, 2000))),
            (LineTime::Received(wide), Some(3_600_000), Some("estimated"), Some((1000, 3_600_000))),
            (LineTime::Received(open), None, None, None),
            (LineTime::After(5), Some(5), Some("estimated"), None),
            (LineTime::Unknown, None, None, None),
        ] {
            assert_eq!((time.at_ms(), time.word(), time.interval_ms()), (at_ms, word, interval), "{time:?}");
        }
        let known = |time: LineTime| time.is_known_to(60_000);
        assert!(known(LineTime::Carried(5)) && known(LineTime::After(5)) && known(LineTime::Received(exact)));
        assert!(!known(LineTime::Received(wide)) && !known(LineTime::Received(open)) && !known(LineTime::Unknown));
    }

    #[test]
    fn line_of_unknown_time_may_be_of_any_time() {
        let open = LineTime::Received(received(None, 2000));
        assert!(LineTime::Unknown.may_be_within(Some(1), Some(2)) && open.may_be_within(Some(1500), None));
        assert!(!open.may_be_within(Some(2001), None), "it was there before");
        assert!(LineTime::After(10).may_be_within(Some(10), Some(10)) && !LineTime::Carried(10).may_be_within(None, Some(9)));
    }
}
