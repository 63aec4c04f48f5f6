//! Place among the events of a host: what came already is passed over when it is sent again, and what is missing is noticed.

use serde_json::Value;

/// Last event that was shown: the ring that numbered it, and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    last: Option<(u64, u64)>,
    is_back: bool,
}

/// Decision about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Show,
    /// It was shown already.
    Known,
    /// It is new, and between it and the last one that was shown so many are missing.
    After(u64),
    /// It is new, and of another ring: what was between is not known.
    OtherRing,
}

impl Place {
    /// Notes that the connection was lost: what comes now begins anew.
    pub fn lost(&mut self) {
        self.is_back = true;
    }

    /// Takes an event, as `ostler events --json` has it. `whole`: all events are asked for, so a gap is one.
    pub fn take(&mut self, event: &Value, whole: bool) -> Verdict {
        let Some(seq) = event["seq"].as_u64() else { return Verdict::Show };
        let epoch = event["epoch"].as_u64().unwrap_or(0);
        let Some((last_epoch, last)) = self.last else {
            self.last = Some((epoch, seq));
            self.is_back = false;
            return Verdict::Show;
        };
        if epoch == last_epoch && seq <= last {
            return Verdict::Known;
        }
        self.last = Some((epoch, seq));
        let is_back = std::mem::take(&mut self.is_back);
        match () {
            () if !is_back || !whole => Verdict::Show,
            () if epoch != last_epoch => Verdict::OtherRing,
            () if seq == last + 1 => Verdict::Show,
            () => Verdict::After(seq - last - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_once() {
        use Verdict::{After, Known, OtherRing, Show};
        let event = |epoch: u64, seq: u64| json!({"epoch": epoch, "seq": seq});
        let mut place = Place::default();
        for (epoch, seq, verdict) in [(1, 4, Show), (1, 5, Show), (1, 5, Known)] {
            assert_eq!(place.take(&event(epoch, seq), true), verdict);
        }
        place.lost();
        for (seq, verdict) in [(4, Known), (5, Known), (6, Show), (9, Show)] {
            assert_eq!(place.take(&event(1, seq), true), verdict);
        }
        place.lost();
        assert_eq!(place.take(&event(1, 12), true), After(2));
        place.lost();
        assert_eq!(place.take(&event(1, 20), false), Show, "of some apps alone there are gaps anyway");
        place.lost();
        assert_eq!(place.take(&event(2, 1), true), OtherRing);
        assert_eq!(place.take(&json!({}), true), Show);
        assert_eq!(place.take(&json!({"seq": u64::MAX}), true), Show);
    }
}
