//! Stops by ostler: exceptions that a process prints because of ostler's signal are not errors of
//! the app.

use std::collections::HashMap;

use ostler_proto::event::{Event, EventKind};

/// Maximum time between the exit of a process and the reading of its last lines, in ms.
const LATE_MS: u64 = 3000;
/// Maximum number of stops that are kept; stops of exited processes are removed first.
const MOST: usize = 512;

/// Stops, by app and instance.
#[derive(Debug, Default)]
pub(super) struct Stops(HashMap<(String, u32), Stop>);

#[derive(Debug)]
struct Stop {
    /// Wall clock, ms.
    since: u64,
    /// Time of the exit of the process.
    exit: Option<u64>,
}

impl Stops {
    /// Handles an event: the start of a stop, or the exit that ends it.
    pub(super) fn take(&mut self, event: &Event) {
        let (Some(app), Some(id)) = (&event.app, event.id) else { return };
        let key = (app.clone(), id);
        match event.kind {
            EventKind::Stopping | EventKind::Draining => {
                if self.0.len() >= MOST {
                    self.0.retain(|_, stop| stop.exit.is_none_or(|exit| event.at_ms <= exit + LATE_MS));
                }
                let begun = self.0.get(&key).filter(|stop| stop.exit.is_none()).map(|stop| stop.since);
                self.0.insert(key, Stop { since: begun.unwrap_or(event.at_ms), exit: None });
            }
            EventKind::Exit { .. } => {
                if let Some(stop) = self.0.get_mut(&key) {
                    stop.exit.get_or_insert(event.at_ms);
                }
            }
            EventKind::Deleted if self.0.len() >= MOST => drop(self.0.remove(&key)),
            _ => {}
        }
    }

    /// Returns true if lines of this instance, read at this time, may be from a process that ostler
    /// stopped.
    pub(super) fn is_during(&self, app: &str, id: u32, at_ms: u64) -> bool {
        // The reader and the daemon take their times one after the other, so they differ slightly.
        let stop = self.0.get(&(app.to_owned(), id)).filter(|stop| at_ms + LATE_MS / 10 >= stop.since);
        stop.is_some_and(|stop| stop.exit.is_none_or(|exit| at_ms <= exit + LATE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::ProcessEnding;
    use ostler_proto::event::EventCause;

    fn event(at_ms: u64, what: EventKind) -> Event {
        let (app, id) = (Some("api".into()), Some(3));
        Event { epoch: 1, seq: 1, at_ms, app, id, kind: what, cause: EventCause::App, before: None, after: None }
    }

    #[test]
    fn stop_period_spans_signal_to_shortly_after_exit() {
        let exit = || EventKind::Exit { pid: 9, ending: ProcessEnding::Code(130), uptime_ms: 5 };
        let mut stops = Stops::default();
        // An exit without a stop request starts no such period.
        stops.take(&event(5_000, exit()));
        assert!(!stops.is_during("api", 3, 5_100));
        stops.take(&event(10_000, EventKind::Draining));
        stops.take(&event(11_000, EventKind::Stopping));
        assert!(stops.is_during("api", 3, 10_500) && stops.is_during("api", 3, 60_000));
        assert!(!stops.is_during("api", 3, 9_000) && !stops.is_during("api", 2, 10_500) && !stops.is_during("web", 3, 10_500));
        stops.take(&event(12_000, exit()));
        assert!(stops.is_during("api", 3, 12_100) && !stops.is_during("api", 3, 20_000));
        // The exit of the next process does not prolong it.
        stops.take(&event(30_000, exit()));
        assert!(!stops.is_during("api", 3, 30_100));
    }
}
