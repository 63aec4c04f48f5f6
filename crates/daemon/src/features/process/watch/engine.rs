//! Thread that watches files.
//!
//! # Theory of operation
//!
//! One thread watches the files of all apps. It exists only while something is watched, and sleeps
//! in `poll`. Slow operations (walking a tree, a disk that does not answer) therefore never delay
//! the daemon. The thread reads events in batches, judges them by the app's rules, and reports to
//! the daemon at most every [`PAUSE`]. Ten thousand events a second thus cost the daemon twenty
//! wake-ups.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ostler_sys::fs::inotify::{Inotify, ReadFlags};
use ostler_sys::time::clock;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::kernel::{Batch, Interest, Kernel};
use super::watched::{WatchEvent, WatchSettings, WatchedPaths};
use crate::platform::waker::Waker;

/// Sleep of the thread after events. Events that arrive during the sleep form one batch.
const PAUSE: Duration = Duration::from_millis(20);
/// Most batches per turn. Orders are read between turns.
const BATCHES: usize = 64;

/// Order of the daemon.
#[derive(Debug)]
pub(super) enum WatchCommand {
    /// Watch this group.
    Watch(u32, Arc<WatchSettings>),
    /// Stop watching this group.
    Forget(u32),
}

/// Report to the daemon.
#[derive(Debug)]
pub(super) struct WatchReport {
    /// Number of the group.
    pub group: u32,
    pub news: WatchEvent,
}

/// Sender of reports to the daemon.
pub(super) type ReportFn = Box<dyn Fn(WatchReport) + Send>;

/// Thread's ends of the channels and descriptors that it shares with the daemon.
pub(super) struct ThreadChannels {
    pub inotify: Option<Inotify>,
    pub orders: mpsc::Receiver<WatchCommand>,
    pub waker: Arc<Waker>,
    pub report: ReportFn,
}

/// Thread, with its ends of the shared channels and its state.
pub(super) struct Thread {
    engine: Engine,
    orders: mpsc::Receiver<WatchCommand>,
    waker: Arc<Waker>,
    report: ReportFn,
}

impl Thread {
    pub(super) fn new(ends: ThreadChannels) -> Self {
        let ThreadChannels { inotify, orders, waker, report } = ends;
        Self { engine: Engine { kernel: Kernel::new(inotify), groups: BTreeMap::new(), batch: Batch::default() }, orders, waker, report }
    }

    /// Runs until the daemon has closed the channel for orders.
    pub(super) fn run(mut self) {
        let running = AssertUnwindSafe(|| {
            while let Some(busy) = self.turn() {
                if busy {
                    // The pause also delays orders, which are never that urgent.
                    std::thread::sleep(PAUSE);
                } else {
                    self.engine.rest(&self.waker);
                }
            }
        });
        if let Err(panic) = catch_unwind(running) {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            (self.report)(WatchReport { group: 0, news: WatchEvent::Died(text.unwrap_or("no words").to_owned()) });
        }
    }

    /// Makes one turn: orders, events, due work, and the report. Returns true if there was work,
    /// and `None` if the daemon has closed the channel.
    pub(super) fn turn(&mut self) -> Option<bool> {
        if !self.engine.take_orders(&self.orders) {
            return None;
        }
        let busy = self.engine.take_events();
        self.engine.poll_files();
        self.engine.report(&self.report);
        Some(busy)
    }

    /// Waker of the played thread.
    #[cfg(test)]
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Returns the watched paths.
    #[cfg(test)]
    pub(super) fn watched(&self) -> impl Iterator<Item = &std::path::Path> {
        self.engine.groups.values().flat_map(WatchedPaths::paths)
    }
}

struct Engine {
    kernel: Kernel,
    groups: BTreeMap<u32, WatchedPaths>,
    batch: Batch,
}

impl Engine {
    /// Takes orders. Returns false if the channel is closed.
    fn take_orders(&mut self, orders: &mpsc::Receiver<WatchCommand>) -> bool {
        loop {
            match orders.try_recv() {
                Ok(WatchCommand::Watch(id, plan)) => {
                    let mut watched = WatchedPaths::new(id, plan);
                    watched.begin(&mut self.kernel);
                    self.groups.insert(id, watched);
                }
                Ok(WatchCommand::Forget(id)) => {
                    if let Some(mut watched) = self.groups.remove(&id) {
                        watched.end(&mut self.kernel);
                    }
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Takes events. Returns true if there were any.
    fn take_events(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        let mut any = false;
        for _ in 0..BATCHES {
            if !self.kernel.read(&mut batch) {
                break;
            }
            any = true;
            for at in 0..batch.len() {
                if let Some((wd, flags, name)) = batch.get(at) {
                    self.take_event(wd, flags, name);
                }
            }
        }
        self.batch = batch;
        for watched in self.groups.values_mut() {
            watched.catch_up(&mut self.kernel);
        }
        any
    }

    fn take_event(&mut self, wd: i32, flags: ReadFlags, name: &[u8]) {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.groups.values_mut().for_each(WatchedPaths::lost_count);
            return;
        }
        if flags.contains(ReadFlags::IGNORED) {
            for interest in self.kernel.ended(wd) {
                let (Interest::Tree { group, .. } | Interest::Way { group, .. }) = interest;
                if let Some(watched) = self.groups.get_mut(&group) {
                    watched.watch_ended(interest, &mut self.kernel);
                }
            }
            return;
        }
        if self.kernel.is_stray(wd) {
            return self.kernel.forget(wd);
        }
        let mut at = 0;
        while let Some(interest) = self.kernel.interest(wd, at) {
            let (Interest::Tree { group, .. } | Interest::Way { group, .. }) = interest;
            if let Some(watched) = self.groups.get_mut(&group) {
                watched.take(interest, flags, name, &mut self.kernel);
            }
            // If the group has lost its interest, it is no longer in the list.
            at += usize::from(self.kernel.interest(wd, at) == Some(interest));
        }
    }

    /// Compares files in folders whose changes the kernel does not report.
    fn poll_files(&mut self) {
        let now = clock::boot();
        for watched in self.groups.values_mut().filter(|watched| watched.due().is_some_and(|due| due <= now)) {
            watched.work(&mut self.kernel);
        }
    }

    fn report(&mut self, report: &ReportFn) {
        for (&group, watched) in &mut self.groups {
            watched.news().into_iter().for_each(|news| report(WatchReport { group, news }));
        }
    }

    fn rest(&self, waker: &Waker) {
        let due = self.groups.values().filter_map(WatchedPaths::due).min();
        let timeout = due.and_then(|due| Timespec::try_from(due.saturating_sub(clock::boot())).ok());
        let mut fds = vec![PollFd::new(waker, PollFlags::IN)];
        let kernel = self.kernel.fd();
        fds.extend(kernel.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            std::thread::sleep(PAUSE);
        }
        waker.clear();
    }
}
