//! Position in the events of a host. It skips events that are sent again, and detects missing
//! events.

use serde_json::Value;

/// Last event that was shown: its ring and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCursor {
    last: Option<(u64, u64)>,
    is_back: bool,
}

/// Decision about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventDecision {
    /// The event is new.
    Show,
    /// The event was already shown.
    Known,
    /// The event is new, and this many events before it are missing.
    After(u64),
    /// The event is new and from another ring, so it is unknown whether events are missing.
    OtherRing,
}

impl EventCursor {
    /// Records that the connection was lost: the next event begins a new connection.
    pub fn on_disconnect(&mut self) {
        self.is_back = true;
    }

    /// Evaluates an event from `ostler events --json`. Set `whole` if all events are requested, so
    /// that a gap means missing events.
    pub fn judge(&mut self, event: &Value, whole: bool) -> EventDecision {
        let Some(seq) = event["seq"].as_u64() else { return EventDecision::Show };
        let epoch = event["epoch"].as_u64().unwrap_or(0);
        let Some((last_epoch, last)) = self.last else {
            self.last = Some((epoch, seq));
            self.is_back = false;
            return EventDecision::Show;
        };
        if epoch == last_epoch && seq <= last {
            return EventDecision::Known;
        }
        self.last = Some((epoch, seq));
        let is_back = std::mem::take(&mut self.is_back);
        match () {
            () if !is_back || !whole => EventDecision::Show,
            () if epoch != last_epoch => EventDecision::OtherRing,
            () if seq == last + 1 => EventDecision::Show,
            () => EventDecision::After(seq - last - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_is_shown_once_after_reconnect() {
        use EventDecision::{After, Known, OtherRing, Show};
        let event = |epoch: u64, seq: u64| json!({"epoch": epoch, "seq": seq});
        let mut place = EventCursor::default();
        for (epoch, seq, verdict) in [(1, 4, Show), (1, 5, Show), (1, 5, Known)] {
            assert_eq!(place.judge(&event(epoch, seq), true), verdict);
        }
        place.on_disconnect();
        for (seq, verdict) in [(4, Known), (5, Known), (6, Show), (9, Show)] {
            assert_eq!(place.judge(&event(1, seq), true), verdict);
        }
        place.on_disconnect();
        assert_eq!(place.judge(&event(1, 12), true), After(2));
        place.on_disconnect();
        assert_eq!(place.judge(&event(1, 20), false), Show, "of some apps alone there are gaps anyway");
        place.on_disconnect();
        assert_eq!(place.judge(&event(2, 1), true), OtherRing);
        assert_eq!(place.judge(&json!({}), true), Show);
        assert_eq!(place.judge(&json!({"seq": u64::MAX}), true), Show);
    }
}
