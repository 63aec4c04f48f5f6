//! Observer of a stream of lines: it receives events, and decides when and how everything stops.

use std::time::Instant;

use ostler_proto::control::{Event, Request, Summary};

use crate::render::Out;

/// Observer of events while logs are shown; it may stop the stream.
pub(crate) trait Observer {
    /// Handles an event of an app.
    fn on_event(&mut self, out: &mut Out, event: &Event);
    /// Called after all lines that are in the files now were shown.
    fn on_lines(&mut self, _out: &mut Out) {}
    /// Called when everything is being stopped, with the instances.
    fn on_stopping(&mut self, out: &mut Out, list: &[Summary]);
    /// Returns the time of the next check of the apps; none = never.
    fn due(&self) -> Option<Instant>;
    /// Checks the apps. Returns true if it is time to stop everything.
    fn observe(&mut self, list: &[Summary]) -> bool;
    /// Returns the requests that the nth signal sends (1 is the first). None: the signal stops
    /// everything, including the daemon.
    fn stops(&self, _nth: u32, _list: &[Summary]) -> Option<Vec<Request>> {
        None
    }
    /// Returns true if none of the shown apps runs any more, although the daemon does.
    fn is_over(&mut self, _list: &[Summary]) -> bool {
        false
    }
}
