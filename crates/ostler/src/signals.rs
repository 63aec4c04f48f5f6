//! Signals to a command in the foreground, and the exits of its children.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ostler_core::message;
use ostler_sys::WaitStatus;
use ostler_sys::process::child::{self, Reaped};
use ostler_sys::process::signal::{CHLD, HUP, INT, QUIT, SignalFd, TERM};

use crate::error::CliError;

/// Time within which another signal counts as the same Ctrl-C. The terminal sends the signal to
/// this process and to a runner such as npm, which forwards it.
const REPEAT_WINDOW: Duration = Duration::from_millis(300);

const STOPPING: [i32; 4] = [HUP, INT, QUIT, TERM];

/// Signals to this process, received through descriptors.
pub(crate) struct Signals {
    stop: SignalFd,
    children: SignalFd,
    stopping: bool,
    /// Number of counted signals, and the time of the last one.
    count: u32,
    counted_at: Option<Instant>,
    /// First signal.
    first: Option<i32>,
    /// Keeper that this process started.
    pub keeper: Option<i32>,
    /// Exit of the keeper that this process started last.
    keeper_ended: Option<WaitStatus>,
}

impl Signals {
    /// From now on, receives signals through descriptors, and reaps orphans in this process.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the descriptors.
    pub(crate) fn take() -> Result<Self, CliError> {
        let failed = |errno: rustix::io::Errno| CliError::system(message!("receive signals"))(errno);
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
        // This process becomes the parent of the children of a killed keeper, instead of a distant
        // init. If the kernel rejects this, only those processes are no longer tracked.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Ok(signals)
    }

    /// Returns the descriptor that is readable when it is time to stop.
    pub(crate) fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Returns the descriptors to wait for.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.stop.as_fd(), self.children.as_fd()]
    }

    /// Receives the signals and reaps children. Returns true if it is time to stop.
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
            if self.counted_at.is_none_or(|at| at.elapsed() >= REPEAT_WINDOW) {
                self.counted_at = Some(Instant::now());
                self.count += 1;
            }
        }
        self.stopping
    }

    /// Returns the number of received stop signals.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Returns true if Ctrl-C was the first signal.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.first == Some(INT)
    }

    /// Returns true if the keeper exited as it does after a `kill`, or if its exit status is
    /// unknown.
    pub(crate) fn ended_in_order(&self) -> bool {
        matches!(self.keeper_ended, None | Some(WaitStatus::Code(0)))
    }
}
