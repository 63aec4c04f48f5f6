//! Observer of a stream of lines: it gets events, and decides when and how everything stops.

use std::time::Instant;

use ostler_proto::control::{Event, Request, Summary};

use crate::render::Out;

/// Observer of events while logs are shown; it may end that.
pub(crate) trait Observer {
    /// An app had an event.
    fn on_event(&mut self, out: &mut Out, event: &Event);
    /// All lines that are in the files now were shown.
    fn on_lines(&mut self, _out: &mut Out) {}
    /// Everything is being stopped; these are the instances.
    fn on_stopping(&mut self, out: &mut Out, list: &[Summary]);
    /// Time of the next look at the apps; none = never.
    fn due(&self) -> Option<Instant>;
    /// Looks at them. True: it is time to stop everything.
    fn look(&mut self, list: &[Summary]) -> bool;
    /// Requests by which the signal of this number (1 is the first) stops what is shown; none: it stops everything, and the daemon.
    fn stops(&self, _nth: u32, _list: &[Summary]) -> Option<Vec<Request>> {
        None
    }
    /// Returns true if no app that is shown runs any more, although the daemon does.
    fn is_over(&mut self, _list: &[Summary]) -> bool {
        false
    }
}
