//! Waker of a thread that waits for descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::platform::reactor::{Reactor, Source};

/// Eventfd. The data for the woken thread is stored elsewhere. Several wake-ups before a read count
/// as one.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    /// Creates a waker without a waiting thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Returns the waker of a feature for its threads. It is created and watched when the first
    /// thread needs it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more descriptors.
    pub(crate) fn of_feature(waker: &mut Option<Arc<Self>>, reactor: &Reactor, source: Source) -> io::Result<Arc<Self>> {
        if let Some(waker) = waker {
            return Ok(Arc::clone(waker));
        }
        let new = Arc::new(Self::new()?);
        reactor.add(&*new, source)?;
        Ok(Arc::clone(waker.insert(new)))
    }

    /// Wakes the waiting thread.
    pub(crate) fn wake(&self) {
        // It fails only if the counter is full: then the thread is being woken already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Resets the waker after a wake-up. Call it before reading the data, so that no data is
    /// missed.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waker_is_created_once_and_coalesces_wakeups() {
        let source = Source::Feature("threads", 0);
        let mut reactor = Reactor::of_features(&["threads"]).unwrap();
        let mut known = None;
        let waker = Waker::of_feature(&mut known, &reactor, source).unwrap();
        assert!(Arc::ptr_eq(&waker, &Waker::of_feature(&mut known, &reactor, source).unwrap()));
        assert!(reactor.wait(Some(Duration::ZERO)).unwrap().is_empty());
        let of_thread = Arc::clone(&waker);
        std::thread::spawn(move || (0..3).for_each(|_| of_thread.wake())).join().unwrap();
        assert_eq!(reactor.wait(None).unwrap().iter().map(|ready| ready.source).collect::<Vec<_>>(), [source]);
        waker.clear();
        assert!(reactor.wait(Some(Duration::ZERO)).unwrap().is_empty());
    }
}
