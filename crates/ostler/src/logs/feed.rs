//! Lines of one instance for a view: the last ones, then each new line. The caller waits; nothing
//! here blocks.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ostler_proto::control::Summary;

use super::follow::Follower;
use super::source::{LogFilter, LogKind, Streams, by_age};
use super::watch::Watch;

/// Time between two checks if files cannot be watched.
const BLIND: Duration = Duration::from_millis(500);
/// Most bytes of a file that are read at once; a user could not read more that fast.
const BACKLOG_BYTES: u64 = 1 << 20;

/// Receiver of lines: whether the line came from the error stream, and the line.
pub(crate) type EachLine<'a> = &'a mut dyn FnMut(bool, &[u8]);

/// The files of an instance.
pub(crate) struct LogFeed {
    followers: Vec<Follower>,
    watch: Watch,
    look_for_new: bool,
    /// Time of the next check if files cannot be watched.
    look_at: Instant,
}

impl LogFeed {
    /// Opens those files that exist.
    pub(crate) fn of(instance: &Summary) -> Self {
        let filter = LogFilter {
            targets: vec![instance.id.to_string()],
            streams: Streams::APPS,
            cwd: "/".into(),
            daemon_log: "/".into(),
            daemon_name: "",
            own_folder: None,
            names: None,
            waits: false,
        };
        let mut sources = filter.sources(std::slice::from_ref(instance)).unwrap_or_default();
        by_age(&mut sources);
        let followers: Vec<Follower> = sources.into_iter().map(Follower::new).collect();
        let mut watch = Watch::new();
        followers.iter().for_each(|follower| follower.watch(&mut watch));
        Self { followers, watch, look_for_new: true, look_at: Instant::now() }
    }

    /// Passes on the last lines of each file. A file that cannot be read has none.
    pub(crate) fn tail(&mut self, count: u64, each: EachLine<'_>) {
        for follower in &mut self.followers {
            let mut pass = |source: &super::source::Source, line: &super::follow::Line<'_>| {
                each(source.kind == LogKind::Error, line.text);
                true
            };
            let _ = follower.tail(count, false, &mut pass);
        }
    }

    /// Returns the descriptor that becomes readable when something was written; then call
    /// [`Self::drain`].
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_fd()
    }

    /// Takes the events, which [`Self::advance`] then handles.
    pub(crate) fn drain(&mut self) {
        self.watch.drain();
    }

    /// Returns the time at which to advance without events.
    pub(crate) fn due(&self) -> Option<Instant> {
        let blind = self.watch.blind.then_some(self.look_at);
        self.followers.iter().filter_map(Follower::due).chain(blind).min()
    }

    /// Passes on new lines, if an event has arrived or the time has come.
    pub(crate) fn advance(&mut self, each: EachLine<'_>) {
        let now = Instant::now();
        let events = self.watch.events();
        let is_due = self.due().is_some_and(|due| due <= now);
        if !(events.any || is_due || self.look_for_new) {
            return;
        }
        self.look_at = now + BLIND;
        let look_for_new = std::mem::take(&mut self.look_for_new) || events.made || self.watch.blind;
        for follower in &mut self.followers {
            let mut pass = |source: &super::source::Source, line: &super::follow::Line<'_>| {
                each(source.kind == LogKind::Error, line.text);
                true
            };
            follower.skip_backlog(BACKLOG_BYTES);
            // A file that cannot be read now may be readable later.
            let _ = follower.advance(look_for_new, &mut self.watch, &mut pass);
            follower.flush_due(&mut pass);
        }
        // News that one file's follower took from the watch also concern the other followers.
        let missed = self.watch.events();
        self.look_for_new = missed.any;
    }
}
