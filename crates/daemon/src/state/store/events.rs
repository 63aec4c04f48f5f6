//! Events that are kept for reconnecting followers, and events that were not sent yet.
//!
//! # Exactly once
//!
//! An event belongs to the journal's write of the turn in which it happened, together with the
//! changed state ([`Journal::push_event`]). Followers get it after that write, and only then is it
//! in the ring. A daemon that is killed before the write has sent nothing, and the cause (an
//! unacknowledged exit, an unanswered request) is handled by the next daemon. A daemon that is
//! killed after the write leaves the event to the next daemon. That daemon sends it to followers
//! that ask for events after their last one.
//!
//! Events are in the journal and not in a separate file, because two files cannot be written at one
//! instant. The keeper holds it, and so does the anchor. The copy on disk has no events, because it
//! may be a moment older than the events that followers got. Without keeper, daemon and anchor a
//! new epoch begins.

use std::borrow::Cow;
use std::collections::VecDeque;

use ostler_core::text::ring::Ring;
use ostler_proto::event::{Event, EventCause, EventKind, MissedEntries, Position};

use super::record::EVENT_BOUNDS;
use super::{Journal, Record, Snapshot};

/// Reserved capacity for events that are not written yet.
const KEPT_UNWRITTEN: usize = 16;
/// Longest text from outside: one event must not displace others.
const MOST_TEXT: usize = 300;

/// Event without a number.
#[derive(Debug)]
pub(crate) struct EventDraft {
    /// App name; `None` for an event of the manager.
    pub app: Option<String>,
    /// `pm_id`.
    pub id: Option<u32>,
    /// Type of the event.
    pub kind: EventKind,
    /// Cause of the event.
    pub cause: EventCause,
    /// PM2's status words before and after.
    pub status: Option<(&'static str, &'static str)>,
}

/// Events of this daemon.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Ring,
    /// Events that were not sent yet, in the order of their numbers. `pushed` of them are in the
    /// journal's next write.
    unwritten: VecDeque<Event>,
    pushed: usize,
}

impl Events {
    /// Restores the events of an earlier daemon. If no events are found, it creates a new ring and
    /// journals it.
    pub(crate) fn restore(snapshot: &mut Snapshot, journal: &mut Journal) -> Self {
        let kept = std::mem::take(&mut snapshot.events);
        let ring = match snapshot.event_ring.take() {
            Some(after) => {
                // Events before the first kept event were dropped from the ring.
                let before_first = kept.front().map_or(after.seq, |first| first.seq.saturating_sub(1));
                let mut ring = Ring::new(after.epoch, before_first, EVENT_BOUNDS);
                for event in kept {
                    if event.seq == ring.next_seq() {
                        ring.push(stored(&event));
                    }
                }
                ring
            }
            None => {
                let ring = Ring::new(new_epoch(), 0, EVENT_BOUNDS);
                journal.push_event(&Record::EventRing { after: ring.position() });
                ring
            }
        };
        Self { ring, unwritten: VecDeque::new(), pushed: 0 }
    }

    /// Adds an event at this wall-clock time.
    pub(crate) fn push(&mut self, at_ms: u64, draft: EventDraft) {
        let EventDraft { app, id, kind: what, cause, status } = draft;
        let seq = self.ring.next_seq() + self.unwritten.len() as u64;
        let (before, after) = status.map_or((None, None), |(before, after)| (Some(before.into()), Some(after.into())));
        self.unwritten.push_back(Event { epoch: 0, seq, at_ms, app, id, kind: what, cause: short(cause), before, after });
    }

    /// Adds events to the journal's next write that are not in it yet.
    pub(crate) fn write_to(&mut self, journal: &mut Journal) {
        for event in self.unwritten.range(self.pushed..) {
            journal.push_event(&Record::Event(Cow::Borrowed(event)));
        }
        self.pushed = self.unwritten.len();
    }

    /// Returns the events that may be sent after a write of the journal.
    pub(crate) fn written(&mut self) -> Vec<Event> {
        let epoch = self.ring.epoch();
        let mut drained: Vec<Event> = self.unwritten.drain(..std::mem::take(&mut self.pushed)).collect();
        for event in &mut drained {
            self.ring.push(stored(event));
            event.epoch = epoch;
        }
        // Starting many apps creates many events at once; the memory for them is freed.
        self.unwritten.shrink_to(KEPT_UNWRITTEN);
        drained
    }

    /// Returns the events that a follower at this position has not received, and those that are
    /// lost.
    pub(crate) fn after(&self, position: Option<Position>) -> (Option<MissedEntries>, Vec<Event>) {
        let (missed, rest) = self.ring.after(position);
        (missed, rest.filter_map(|(_, entry)| self.read(entry)).collect())
    }

    /// Returns the cause of an update that has begun, if no event followed it.
    pub(crate) fn update_in_progress(&self) -> Option<EventCause> {
        let (_, newest) = self.after(None);
        let newest = newest.into_iter().rfind(|event| event.app.is_none())?;
        matches!(newest.kind, EventKind::UpdateBegun).then_some(newest.cause)
    }

    /// Returns the position of a follower that has received all events.
    pub(crate) fn position(&self) -> Position {
        self.ring.position()
    }

    /// Returns the records for a fresh journal.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let after = Position { epoch: self.ring.epoch(), seq: self.ring.iter().next().map_or(self.ring.next_seq(), |(seq, _)| seq) - 1 };
        let events = self.ring.iter().filter_map(|(_, entry)| serde_json::from_slice(entry).ok());
        std::iter::once(Record::EventRing { after }).chain(events.map(|event| Record::Event(Cow::Owned(event))))
    }

    fn read(&self, entry: &[u8]) -> Option<Event> {
        let event: Event = serde_json::from_slice(entry).ok()?;
        Some(Event { epoch: self.ring.epoch(), ..event })
    }
}

fn stored(event: &Event) -> Box<[u8]> {
    serde_json::to_vec(event).expect("events have string keys and numbers only").into()
}

/// Shortens a cause, because a policy's detail may be as long as a path or the answer of an app.
fn short(cause: EventCause) -> EventCause {
    match cause {
        EventCause::Policy { name, detail: Some(detail) } if detail.len() > MOST_TEXT => {
            let end = (0..=MOST_TEXT).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
            EventCause::policy(name, format!("{}…", &detail[..end]))
        }
        cause => cause,
    }
}

/// Returns a new epoch: random, never 0, and exact as a floating-point number.
fn new_epoch() -> u64 {
    let mut bytes = [0; 8];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes = ostler_sys::now().wall_ms.to_le_bytes();
    }
    (u64::from_le_bytes(bytes) >> 11).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(app: &str) -> EventDraft {
        EventDraft {
            app: Some(app.into()),
            id: Some(1),
            kind: EventKind::Stopped,
            cause: EventCause::App,
            status: Some(("online", "stopped")),
        }
    }

    fn journal() -> Journal {
        Journal::open(ostler_sys::fd::memfd::create("test").unwrap()).unwrap().0
    }

    /// Returns the events and the journal of the next daemon.
    fn killed(journal: &Journal) -> (Events, Journal) {
        let (mut journal, mut snapshot) = Journal::open(journal.fd().try_clone_to_owned().unwrap()).unwrap();
        (Events::restore(&mut snapshot, &mut journal), journal)
    }

    fn seqs(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    fn write(events: &mut Events, journal: &mut Journal) -> Vec<Event> {
        events.write_to(journal);
        journal.flush().1.unwrap();
        events.written()
    }

    #[test]
    fn events_are_published_once_across_daemon_deaths() {
        let mut journal = journal();
        let mut events = Events::restore(&mut Snapshot::default(), &mut journal);
        events.push(5, draft("a"));
        events.push(5, draft("b"));
        assert!(events.after(None).1.is_empty(), "nobody knows what is not in the journal");
        let written = write(&mut events, &mut journal);
        assert_eq!(seqs(&written), [1, 2]);
        assert_eq!(events.after(None), (None, written.clone()));
        // The daemon was killed before the write, so the event did not happen.
        events.push(6, draft("lost"));
        let (mut events, mut journal) = killed(&journal);
        assert_eq!(events.after(Some(written[0].position())), (None, written[1..].to_vec()));
        events.push(7, draft("c"));
        assert_eq!(seqs(&write(&mut events, &mut journal)), [3]);
        let (events, _) = killed(&journal);
        assert_eq!(seqs(&events.after(Some(written[1].position())).1), [3]);
    }

    #[test]
    fn compacted_journal_keeps_the_event_ring() {
        let mut journal = journal();
        let mut events = Events::restore(&mut Snapshot::default(), &mut journal);
        (0..EVENT_BOUNDS.entries + 44).for_each(|_| events.push(5, draft("a")));
        let first = write(&mut events, &mut journal)[0].position();
        assert_eq!(killed(&journal).0.after(Some(first)), events.after(Some(first)));
        journal.replace(ostler_sys::fd::memfd::create("test").unwrap(), events.records()).unwrap();
        let (again, _) = killed(&journal);
        assert_eq!((again.position(), again.after(Some(first))), (events.position(), events.after(Some(first))));
        assert_eq!(again.after(Some(first)).0, Some(MissedEntries::Count(43)));
    }

    #[test]
    fn empty_event_ring_keeps_its_position() {
        let mut journal = journal();
        let events = Events::restore(&mut Snapshot::default(), &mut journal);
        journal.flush().1.unwrap();
        assert_eq!(killed(&journal).0.position(), events.position());
        journal.replace(ostler_sys::fd::memfd::create("test").unwrap(), events.records()).unwrap();
        assert_eq!(killed(&journal).0.position(), events.position());
    }
}
