//! Played thread that watches files: it makes a turn when the simulation gives it one.

use std::cell::RefCell;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::engine::{Thread, ThreadChannels};

thread_local! {
    static THREADS: RefCell<Option<Vec<Thread>>> = const { RefCell::new(None) };
}

/// Replaces the threads of daemons in this thread by played ones, or restores real threads.
pub(crate) fn play(is_played: bool) {
    THREADS.set(is_played.then(Vec::new));
}

/// Takes a thread that is about to start. Returns `None` if it is played.
pub(super) fn take(ends: ThreadChannels) -> Option<ThreadChannels> {
    THREADS.with_borrow_mut(|threads| match threads {
        Some(threads) => {
            threads.push(Thread::new(ends));
            None
        }
        None => Some(ends),
    })
}

/// Makes a turn of each thread. Returns true if one of them had work.
pub(crate) fn turn() -> bool {
    THREADS.with_borrow_mut(|threads| {
        let mut any = false;
        threads.iter_mut().flatten().for_each(|thread| thread.waker().clear());
        threads.iter_mut().for_each(|threads| threads.retain_mut(|thread| thread.turn().inspect(|busy| any |= busy).is_some()));
        any
    })
}

/// Drops the played threads, which die with their daemon.
pub(crate) fn die() {
    THREADS.with_borrow_mut(|threads| threads.iter_mut().for_each(Vec::clear));
}

/// Returns the paths that are certainly watched: no order is pending.
pub(crate) fn watched() -> Vec<PathBuf> {
    THREADS.with_borrow(|threads| {
        let of = threads.iter().flatten().filter(|thread| !has_orders(thread));
        of.flat_map(|thread| thread.watched().map(PathBuf::from).collect::<Vec<_>>()).collect()
    })
}

fn has_orders(thread: &Thread) -> bool {
    let mut looked_at = [PollFd::new(thread.waker(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked_at, Some(&now)).is_ok_and(|ready| ready > 0)
}
