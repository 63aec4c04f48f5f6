//! Known events, so that a follower can resume after a disconnect. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use ostler_proto::control::{Event, Position};

/// Maximum number of events.
const MOST: usize = 2000;

/// Update for a follower.
#[derive(Clone, Debug)]
pub(crate) enum EventUpdate {
    Event(Arc<Event>),
    /// Events were lost, so the follower has to read its data again.
    Gap,
}

/// Events that a resuming follower has missed.
#[derive(Debug, PartialEq)]
pub(crate) enum MissedEvents {
    /// The missed events, the oldest first.
    Events(Vec<Arc<Event>>),
    /// Some of them are no longer known.
    Lost,
}

/// Newest events, from one ring of the daemon.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents {
    list: VecDeque<Arc<Event>>,
    /// Position up to which this process has received all events.
    position: Option<Position>,
}

impl RecentEvents {
    pub(crate) fn all(&self) -> Vec<Arc<Event>> {
        self.list.iter().cloned().collect()
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Sets the events that the daemon knows at the first connection.
    pub(crate) fn initialize(&mut self, list: Vec<Event>, position: Position) {
        self.list = list.into_iter().map(Arc::new).collect();
        self.position = Some(position);
        self.trim();
    }

    pub(crate) fn add(&mut self, event: Arc<Event>) {
        self.position = Some(event.position());
        self.list.push_back(event);
        self.trim();
    }

    /// Clears the list after missed events. The older events are still true, but a follower cannot
    /// resume from them.
    pub(crate) fn missed(&mut self) {
        self.list.clear();
    }

    fn trim(&mut self) {
        while self.list.len() > MOST {
            self.list.pop_front();
        }
    }

    /// Returns the events after a position. A follower without a position gets no events.
    pub(crate) fn after(&self, position: Option<Position>) -> MissedEvents {
        let (Some(after), Some(newest)) = (position, self.position) else { return MissedEvents::Events(Vec::new()) };
        if after == newest {
            return MissedEvents::Events(Vec::new());
        }
        let oldest = self.list.front().map_or(newest.seq + 1, |event| event.seq);
        let same_ring = self.list.front().is_none_or(|event| event.epoch == newest.epoch) && after.epoch == newest.epoch;
        if !same_ring || after.seq > newest.seq || after.seq + 1 < oldest {
            return MissedEvents::Lost;
        }
        MissedEvents::Events(self.list.iter().filter(|event| event.seq > after.seq).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_proto::event::{EventCause, EventKind};

    fn event(epoch: u64, seq: u64) -> Event {
        Event {
            epoch,
            seq,
            at_ms: 0,
            app: None,
            id: None,
            kind: EventKind::UpdateBegun,
            cause: EventCause::System,
            before: None,
            after: None,
        }
    }

    fn seqs(resumed: &MissedEvents) -> Option<Vec<u64>> {
        match resumed {
            MissedEvents::Events(list) => Some(list.iter().map(|event| event.seq).collect()),
            MissedEvents::Lost => None,
        }
    }

    #[test]
    fn reader_gets_each_event_once_or_a_gap_notice() {
        let mut recent = RecentEvents::default();
        let at = |epoch, seq| Some(Position { epoch, seq });
        assert_eq!(seqs(&recent.after(at(1, 5))), Some(vec![]), "nothing is known yet: the first connection tells");
        recent.initialize(vec![event(1, 4), event(1, 5)], Position { epoch: 1, seq: 5 });
        recent.add(Arc::new(event(1, 6)));
        for (after, rest) in [
            (None, Some(vec![])),
            (at(1, 6), Some(vec![])),
            (at(1, 5), Some(vec![6])),
            (at(1, 3), Some(vec![4, 5, 6])),
            (at(1, 2), None),
            (at(1, 7), None),
            (at(2, 5), None),
        ] {
            assert_eq!(seqs(&recent.after(after)), rest, "{after:?}");
        }
        recent.missed();
        recent.add(Arc::new(event(1, 9)));
        assert_eq!((seqs(&recent.after(at(1, 6))), seqs(&recent.after(at(1, 8)))), (None, Some(vec![9])));
        for seq in 10..10_000 {
            recent.add(Arc::new(event(1, seq)));
        }
        assert!(recent.all().len() == MOST && seqs(&recent.after(at(1, 9))).is_none());
    }
}
