//! The seam between this crate and the kernel's processes and clocks: the simulation plays both for its thread.
//!
//! Only with the feature `played`, which tests alone have; without it nothing of this is compiled in. Files, sockets and memory stay the
//! kernel's: they are the same for everybody.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, getsockname};

use crate::process::{Entry, ProcRef, Target};
use crate::time::Clocks;

/// Played kernel.
pub trait Kernel {
    /// Both clocks.
    fn clocks(&self) -> Clocks;

    /// All processes, zombies included.
    fn entries(&self) -> Vec<Entry>;

    /// The process with this number.
    fn entry(&self, pid: i32) -> Option<Entry>;

    /// A variable of the environment that a process was started with.
    fn variable(&self, pid: i32, name: &str) -> Option<Vec<u8>>;

    /// A descriptor of a process: it becomes readable when that ends.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process.
    fn open(&self, process: ProcRef) -> Result<OwnedFd, Errno>;

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process.
    fn signal(&self, process: ProcRef, signal: i32, target: Target) -> Result<(), Errno>;

    /// CPU time in nanoseconds and resident memory in bytes.
    fn usage(&self, pid: i32) -> Option<(u64, u64)>;

    /// When a file was changed, or a folder got or lost a name, by the wall clock; none where it does not know the path.
    fn changed_ms(&self, path: &Path) -> Option<u64>;

    /// A connection to this address, or why there is none; none where the real network is meant. Its end has a unix name, of which the last part is
    /// the address that it stands for.
    fn connect(&self, to: SocketAddr) -> Option<Result<OwnedFd, Errno>>;

    /// A step is about to be done, or was just done, that others see: here the program may die.
    fn step(&self);
}

#[cfg(feature = "played")]
mod thread {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::Kernel;

    thread_local! {
        static KERNEL: RefCell<Option<Rc<dyn Kernel>>> = const { RefCell::new(None) };
    }

    /// Makes this the kernel of this thread; without one it is the real one again.
    pub fn play(kernel: Option<Rc<dyn Kernel>>) {
        KERNEL.set(kernel);
    }

    pub(crate) fn ask<T>(question: impl FnOnce(&dyn Kernel) -> T) -> Option<T> {
        let kernel = KERNEL.with_borrow(Clone::clone)?;
        Some(question(&*kernel))
    }
}

#[cfg(feature = "played")]
pub(crate) use thread::ask;
#[cfg(feature = "played")]
pub use thread::play;

/// `None`: nobody plays.
#[cfg(not(feature = "played"))]
pub(crate) fn ask<T>(_: impl FnOnce(&dyn Kernel) -> T) -> Option<T> {
    None
}

/// Address that the name of a played connection's end stands for.
pub(crate) fn address(name: &SocketAddrAny) -> Option<SocketAddr> {
    ask(|_| SocketAddrUnix::try_from(name.clone()).ok()?.path()?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()).flatten()
}

/// True for a connection that is played.
pub(crate) fn is_played(socket: impl AsFd) -> bool {
    ask(|_| getsockname(socket).is_ok_and(|name| address(&name).is_some())).unwrap_or(false)
}

/// See [`Kernel::step`].
pub fn step() {
    ask(|kernel| kernel.step());
}
