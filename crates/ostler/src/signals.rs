//! Signals to a command that stays in front of what it starts, and the ends of its children.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ostler_sys::Ending;
use ostler_sys::process::child::{self, Reaped};
use ostler_sys::process::signal::{CHLD, HUP, INT, QUIT, SignalFd, TERM};

use crate::error::CliError;

/// Time within which another signal is the same Ctrl-C: the terminal sends it to this process, and
/// a runner such as npm, which gets it too, forwards it.
const SAME: Duration = Duration::from_millis(300);

const STOPPING: [i32; 4] = [HUP, INT, QUIT, TERM];

/// Signals to this process, by descriptors.
pub(crate) struct Signals {
    stop: SignalFd,
    children: SignalFd,
    stopping: bool,
    /// Number of signals that came, and the time of the last one that was counted.
    count: u32,
    counted_at: Option<Instant>,
    /// The first of them.
    first: Option<i32>,
    /// The keeper that this process started.
    pub keeper: Option<i32>,
    /// End of the keeper that this process started last.
    keeper_ended: Option<Ending>,
}

impl Signals {
    /// Takes signals from now on by descriptors, and orphans by this process.
    ///
    /// # Errors
    /// The kernel refuses the descriptors.
    pub(crate) fn take() -> Result<Self, CliError> {
        let failed = |errno: rustix::io::Errno| CliError::system("receive signals")(errno);
        let signals = Self {
            stop: SignalFd::new(&STOPPING).map_err(failed)?,
            children: SignalFd::new(&[CHLD]).map_err(failed)?,
            stopping: false,
            count: 0,
            counted_at: None,
            first: None,
            keeper: None,
            keeper_ended: None,
        };
        // A keeper that was killed leaves its children to us, not to a far-away init. Where that is refused, only those are lost sight of.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Ok(signals)
    }

    /// The descriptor that is readable when it is time to stop.
    pub(crate) fn asked_to_stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// The descriptors to wait for.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.stop.as_fd(), self.children.as_fd()]
    }

    /// Takes the signals and reaps. True when it is time to stop.
    pub(crate) fn receive(&mut self) -> bool {
        while self.children.next().is_some() {}
        while let Some(Reaped { pid, ending, .. }) = child::reap_any() {
            if Some(pid) == self.keeper {
                self.keeper_ended = Some(ending);
            }
        }
        while let Some(received) = self.stop.next() {
            self.first.get_or_insert(received.signal);
            self.stopping = true;
            if self.counted_at.is_none_or(|at| at.elapsed() >= SAME) {
                self.counted_at = Some(Instant::now());
                self.count += 1;
            }
        }
        self.stopping
    }

    /// How many signals that ask to stop have come.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Returns true if Ctrl-C was the first signal.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.first == Some(INT)
    }

    /// True if the keeper ended as it does after a `kill`; also when it is not known how.
    pub(crate) fn ended_in_order(&self) -> bool {
        matches!(self.keeper_ended, None | Some(Ending::Code(0)))
    }
}
