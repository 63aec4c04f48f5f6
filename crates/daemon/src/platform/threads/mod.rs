//! Threads beside the loop, and the interface through which the simulation runs them: one at a
//! time, each from one [`point`] to the next.
//!
//! Outside the simulation this costs nothing: threads and time are the system's, and a point does
//! nothing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, TryRecvError};
use std::thread::JoinHandle;
use std::time::Instant;

#[cfg(test)]
pub(crate) mod simulated;

/// Started thread.
#[derive(Debug)]
pub(crate) struct Thread<T> {
    handle: JoinHandle<T>,
    #[cfg(test)]
    part: Option<std::sync::Arc<simulated::SimulatedThread>>,
}

/// Starts a thread with a name, of which at most 15 characters are shown, and a stack of this many
/// bytes.
///
/// # Errors
///
/// Returns an error if the system has no more threads.
pub(crate) fn spawn<T: Send + 'static>(name: String, stack: usize, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    let builder = std::thread::Builder::new().name(name).stack_size(stack);
    #[cfg(test)]
    if let Some(part) = simulated::cast() {
        let of_thread = std::sync::Arc::clone(&part);
        return Ok(Thread { handle: builder.spawn(move || of_thread.play(work))?, part: Some(part) });
    }
    let handle = builder.spawn(work)?;
    Ok(Thread {
        handle,
        #[cfg(test)]
        part: None,
    })
}

impl<T> Thread<T> {
    /// Returns true if the thread has ended.
    pub(crate) fn is_finished(&self) -> bool {
        #[cfg(test)]
        if let Some(part) = &self.part {
            return part.is_finished();
        }
        self.handle.is_finished()
    }

    /// Waits for the thread to end.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread panicked.
    pub(crate) fn join(self) -> std::thread::Result<T> {
        #[cfg(test)]
        if let Some(part) = &self.part {
            part.runs_until(usize::MAX, || false);
        }
        self.handle.join()
    }

    /// Lets a played thread do all or some of the awaited work: its disk may be slow. A real thread
    /// does it anyway.
    pub(crate) fn is_waited_for(&self, _is_done: impl Fn() -> bool) -> bool {
        #[cfg(test)]
        if let Some(part) = &self.part {
            // The thread may have checked its requests just before, so it gets a second chance.
            for _ in 0..2 {
                part.runs_until(simulated::patience(), &_is_done);
            }
            return true;
        }
        false
    }
}

/// Returns the time for deadlines of threads.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    Instant::now()
}

/// Marks a step whose effect outlives the daemon: a played thread may stop here for a while, or be
/// killed.
pub(crate) fn point() {
    #[cfg(test)]
    simulated::point(simulated::StopPoint::Step);
}

/// Returns true on a played thread.
pub(crate) fn is_played() -> bool {
    #[cfg(test)]
    return simulated::is_simulated_thread();
    #[cfg(not(test))]
    false
}

/// Returns true if this is a played thread that has waited for its next turn. The caller then
/// checks again at once instead of waiting for the system.
pub(crate) fn waits() -> bool {
    #[cfg(test)]
    return simulated::point(simulated::StopPoint::Rest);
    #[cfg(not(test))]
    false
}

/// Returns the next order for a thread, or `None` if the channel is closed.
pub(crate) fn receive<T>(orders: &mpsc::Receiver<T>) -> Option<T> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(TryRecvError::Empty) if waits() => {}
            Err(_) => return orders.recv().ok(),
        }
    }
}

/// Returns how many bytes of a write the disk accepts.
///
/// # Errors
///
/// Returns an error if a played disk is full.
pub(crate) fn room(bytes: usize) -> io::Result<usize> {
    #[cfg(test)]
    return simulated::room(bytes);
    #[cfg(not(test))]
    Ok(bytes)
}

/// Runs the work and catches its panic, so that waiters for the thread always get an answer.
///
/// # Errors
///
/// Returns the panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    #[cfg(test)]
    let result = simulated::pass_on(result);
    result
}
