//! Threads beside the loop, and the seam through which the simulation runs them: one at a time, each from one [`point`] to the next.
//!
//! Without it nothing of this costs anything: a thread is one of the system, time is the system's, and a point is nothing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, TryRecvError};
use std::thread::JoinHandle;
use std::time::Instant;

#[cfg(test)]
pub(crate) mod played;

/// Started thread.
#[derive(Debug)]
pub(crate) struct Thread<T> {
    handle: JoinHandle<T>,
    #[cfg(test)]
    part: Option<std::sync::Arc<played::Part>>,
}

/// Starts a thread with a name, of which at most 15 characters are shown, and a stack of so many bytes.
///
/// # Errors
/// No more threads.
pub(crate) fn spawn<T: Send + 'static>(name: String, stack: usize, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    let builder = std::thread::Builder::new().name(name).stack_size(stack);
    #[cfg(test)]
    if let Some(part) = played::cast() {
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
    /// True if it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        #[cfg(test)]
        if let Some(part) = &self.part {
            return part.is_over();
        }
        self.handle.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It panicked.
    pub(crate) fn join(self) -> std::thread::Result<T> {
        #[cfg(test)]
        if let Some(part) = &self.part {
            part.runs_until(usize::MAX, || false);
        }
        self.handle.join()
    }

    /// Lets a played thread do what somebody waits for, or some of it: its disk may be slow. A real one does it anyway.
    pub(crate) fn is_waited_for(&self, _is_done: impl Fn() -> bool) -> bool {
        #[cfg(test)]
        if let Some(part) = &self.part {
            // It may have looked just before: then it looks once more.
            for _ in 0..2 {
                part.runs_until(played::patience(), &_is_done);
            }
            return true;
        }
        false
    }
}

/// Time for deadlines of threads.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = played::now() {
        return now;
    }
    Instant::now()
}

/// A point at which something is about to be done that outlives the daemon: a played thread may stop here for a while, or for ever.
pub(crate) fn point() {
    #[cfg(test)]
    played::point(played::At::Step);
}

/// True on a played thread.
pub(crate) fn is_played() -> bool {
    #[cfg(test)]
    return played::is_here();
    #[cfg(not(test))]
    false
}

/// True if the thread is a played one and has waited for its next turn: then whoever would wait for the system looks again at once.
pub(crate) fn waits() -> bool {
    #[cfg(test)]
    return played::point(played::At::Rest);
    #[cfg(not(test))]
    false
}

/// The next order for a thread; none when there will be no more.
pub(crate) fn receive<T>(orders: &mpsc::Receiver<T>) -> Option<T> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(TryRecvError::Empty) if waits() => {}
            Err(_) => return orders.recv().ok(),
        }
    }
}

/// How much of a write of so many bytes the disk takes.
///
/// # Errors
/// A played disk is full.
pub(crate) fn room(bytes: usize) -> io::Result<usize> {
    #[cfg(test)]
    return played::room(bytes);
    #[cfg(not(test))]
    Ok(bytes)
}

/// What this does, or the panic in which it ended: whoever waits for a thread gets an answer.
///
/// # Errors
/// The panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    #[cfg(test)]
    let result = played::pass_on(result);
    result
}
