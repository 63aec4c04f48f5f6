//! Replacement point for the kernel's processes and clocks: the simulation provides both for its
//! thread.
//!
//! Only with the feature `simulation`, which only tests enable; without it, none of this is
//! compiled in. Files, sockets and memory stay the kernel's, as they behave the same in a
//! simulation.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, getsockname};

use crate::process::{ProcRef, ProcessEntry, Target};
use crate::time::Clocks;

/// Simulated kernel.
pub trait Kernel {
    /// Returns the time of both clocks.
    fn clocks(&self) -> Clocks;

    /// Returns all processes, zombies included.
    fn entries(&self) -> Vec<ProcessEntry>;

    /// Returns the process with this pid.
    fn entry(&self, pid: i32) -> Option<ProcessEntry>;

    /// Returns a variable of the environment that a process was started with.
    fn variable(&self, pid: i32, name: &str) -> Option<Vec<u8>>;

    /// Opens a descriptor of a process. It becomes readable when the process exits.
    ///
    /// # Errors
    /// Returns `ESRCH` if the process does not exist.
    fn open(&self, process: ProcRef) -> Result<OwnedFd, Errno>;

    /// Sends a signal.
    ///
    /// # Errors
    /// Returns `ESRCH` if the process does not exist.
    fn signal(&self, process: ProcRef, signal: i32, target: Target) -> Result<(), Errno>;

    /// Returns CPU time in nanoseconds and resident memory in bytes.
    fn usage(&self, pid: i32) -> Option<(u64, u64)>;

    /// Returns the wall-clock time at which a file was changed, or a folder got or lost a name;
    /// `None` if the simulation does not know the path.
    fn changed_ms(&self, path: &Path) -> Option<u64>;

    /// Connects to this address and returns the connection or the error; `None` selects the real
    /// network. The connection's end has a unix name whose last part is the address.
    fn connect(&self, to: SocketAddr) -> Option<Result<OwnedFd, Errno>>;

    /// Marks a step with an external effect, just before or just after it. The simulation may kill
    /// the program here.
    fn step(&self);
}

#[cfg(feature = "simulation")]
mod thread {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::Kernel;

    thread_local! {
        static KERNEL: RefCell<Option<Rc<dyn Kernel>>> = const { RefCell::new(None) };
    }

    /// Sets the simulated kernel of this thread; `None` restores the real one.
    pub fn simulate(kernel: Option<Rc<dyn Kernel>>) {
        KERNEL.set(kernel);
    }

    pub(crate) fn ask<T>(question: impl FnOnce(&dyn Kernel) -> T) -> Option<T> {
        let kernel = KERNEL.with_borrow(Clone::clone)?;
        Some(question(&*kernel))
    }
}

#[cfg(feature = "simulation")]
pub(crate) use thread::ask;
#[cfg(feature = "simulation")]
pub use thread::simulate;

/// Always returns `None`: this build has no simulated kernel.
#[cfg(not(feature = "simulation"))]
pub(crate) fn ask<T>(_: impl FnOnce(&dyn Kernel) -> T) -> Option<T> {
    None
}

/// Returns the address that the name of a simulated connection's end stands for.
pub(crate) fn address(name: &SocketAddrAny) -> Option<SocketAddr> {
    ask(|_| SocketAddrUnix::try_from(name.clone()).ok()?.path()?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()).flatten()
}

/// Returns true if the connection is simulated.
pub(crate) fn is_played(socket: impl AsFd) -> bool {
    ask(|_| getsockname(socket).is_ok_and(|name| address(&name).is_some())).unwrap_or(false)
}

/// Runs [`Kernel::step`].
pub fn step() {
    ask(|kernel| kernel.step());
}
