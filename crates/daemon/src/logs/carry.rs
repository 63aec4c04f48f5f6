//! What apps write to log files that were deleted, carried over to the files that are at their paths now.
//!
//! A file without a name cannot get one back, and nobody can exchange another process's descriptor. So a thread reads what is written to the
//! deleted file, appends it to the one at the path, and frees its space in the file system; until the app's next start, which
//! opens the path. The kernel reports each write: an app that is silent wakes nobody. What was carried reads as zeros in the
//! deleted file, so the next daemon finds the position of a killed one; what that was just writing may be there twice, nothing is lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

use ostler_sys::fs::inotify::{Inotify, WatchFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::control::RuntimeStreams;
use super::reclaim::FileKey;
use super::sink::timespec;
use super::sink::{OpenFiles, Sink};
use crate::platform::rights::Rights;
use crate::platform::waker::Waker;

/// Bytes that are read at once.
const AT_ONCE: usize = 256 << 10;
/// Time to wait for the end of a line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two checks for new bytes.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(1);
const STACK_BYTES: usize = 256 << 10;

/// Deleted log file that is carried, as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Device and inode of the file.
    pub file: FileKey,
    /// Path, as the app's description has it.
    pub path: String,
    /// Length of the file before.
    pub from: u64,
    /// Rights with which the path is opened.
    #[serde(default, skip_serializing_if = "Rights::are_ours")]
    pub rights: Rights,
}

/// Deleted log file.
pub(crate) struct Deleted {
    pub key: FileKey,
    /// The file, open for reading and writing.
    pub source: Arc<File>,
    /// Length that is not carried: what was there when the carry-over began.
    pub from: u64,
    /// Path to which its lines belong.
    pub path: PathBuf,
    /// Home and rights of the app.
    pub streams: RuntimeStreams,
}

/// Report of the thread.
#[derive(Debug)]
pub(crate) enum CarrierReport {
    /// Lines wait, and why; reported once until they go on.
    Waits(FileKey, String),
    /// All of it was carried, and the file is closed.
    Ended(FileKey),
}

enum Order {
    Begin(Box<Carry>),
    /// Reopen the path.
    Reopen(FileKey, SyncSender<io::Result<()>>),
    /// Carry everything that is there now.
    Finish(FileKey, SyncSender<()>),
    /// Carry everything that is there now, and no more.
    End(FileKey),
}

/// Handle of the thread. It ends when this is dropped, and then carries nothing any more.
pub(crate) struct Carrier {
    orders: Sender<Order>,
    waker: Arc<Waker>,
}

impl Carrier {
    /// Starts the thread.
    ///
    /// # Errors
    /// No more threads or descriptors.
    pub(crate) fn start(report: impl Fn(CarrierReport) + Send + 'static) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let changes = Inotify::new()?;
        let (orders, received) = mpsc::channel();
        let thread = Thread { received, waker: Arc::clone(&waker), changes, all: BTreeMap::new() };
        std::thread::Builder::new().name("log-carry".into()).stack_size(STACK_BYTES).spawn(move || thread.run(&report))?;
        Ok(Self { orders, waker })
    }

    /// Begins to carry: the file at the path is there when this returns.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn begin(&self, deleted: Deleted, files: &OpenFiles) -> Result<(), super::OpenError> {
        let sink = files.open(&deleted.path, &deleted.streams.places())?;
        let carry =
            Carry { at: begin_of_rest(&deleted.source, deleted.from), deleted, files: files.clone(), sink, partial: None, stuck: None };
        self.order(Order::Begin(Box::new(carry)));
        Ok(())
    }

    /// Reopens the path, and waits at most this long for it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn reopen(&self, key: FileKey, within: Duration) -> io::Result<()> {
        let (told, done) = mpsc::sync_channel(1);
        self.order(Order::Reopen(key, told));
        done.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Has everything carried that is there now, and waits at most this long for it.
    pub(crate) fn finish(&self, key: FileKey, within: Duration) {
        let (told, done) = mpsc::sync_channel(1);
        self.order(Order::Finish(key, told));
        let _ = done.recv_timeout(within);
    }

    /// Ends a carry-over: nobody writes to the file any more.
    pub(crate) fn end(&self, key: FileKey) {
        self.order(Order::End(key));
    }

    fn order(&self, order: Order) {
        // The thread lives as long as this does.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Its orders end with the sender, which it learns when it looks.
        let (orders, _) = mpsc::channel();
        self.orders = orders;
        self.waker.wake();
    }
}

/// Position behind the last whole line: what is written from here on is carried.
pub(crate) fn end_of_lines(file: &File) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let length = end.min(AT_ONCE as u64);
    let mut last = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut last, end - length)?;
    Ok(memchr::memrchr(b'\n', &last).map_or(end - length, |at| end - length + at as u64 + 1))
}

/// Position behind the leading zeros: what a former daemon had carried.
fn begin_of_rest(file: &File, from: u64) -> u64 {
    let mut at = match seek(file, SeekFrom::Data(from)) {
        Ok(data) => data,
        // Nothing but zeros.
        Err(Errno::NXIO) => return file.metadata().map_or(from, |meta| meta.len().max(from)),
        Err(_) => from,
    };
    let mut buffer = vec![0; 4096];
    // Within the first block.
    while let Ok(count @ 1..) = file.read_at(&mut buffer, at) {
        match buffer[..count].iter().position(|byte| *byte != 0) {
            Some(first) => return at + first as u64,
            None => at += count as u64,
        }
    }
    at
}

/// Carry-over of one deleted file.
struct Carry {
    deleted: Deleted,
    files: OpenFiles,
    sink: Sink,
    /// Position up to which it was carried.
    at: u64,
    /// Time since when there is the beginning of a line.
    partial: Option<Instant>,
    /// Time when a write that failed is tried again.
    stuck: Option<Instant>,
}

impl Carry {
    /// Carries whole lines; with `all`, or after a while, also what has no end yet.
    fn go_on(&mut self, all: bool) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let end = self.deleted.source.metadata()?.len();
            if end < self.at {
                // Its app has emptied it.
                self.at = 0;
            }
            let length = (end - self.at).min(AT_ONCE as u64);
            if length == 0 {
                self.partial = None;
                return Ok(());
            }
            buffer.resize(usize::try_from(length).unwrap_or(AT_ONCE), 0);
            self.deleted.source.read_exact_at(&mut buffer, self.at)?;
            let is_late = self.partial.is_some_and(|since| since.elapsed() >= PATIENCE);
            let whole = match memchr::memrchr(b'\n', &buffer) {
                Some(at) => at + 1,
                None if all || is_late || buffer.len() == AT_ONCE => buffer.len(),
                None => {
                    self.partial.get_or_insert_with(Instant::now);
                    return Ok(());
                }
            };
            self.append(&buffer[..whole])?;
            self.partial = None;
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let moved = self.sink.lock().moved;
            if moved {
                self.reopen()?;
            }
            let mut state = self.sink.lock();
            let count = self.sink.write_some(&mut state, bytes)?;
            drop(state);
            self.give_back(self.at, count as u64);
            self.at += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Frees the space of what was carried. Where parts of a file cannot be freed, its space is freed with the app's next start.
    fn give_back(&self, from: u64, count: u64) {
        if count > 0 {
            let _ = fallocate(&*self.deleted.source, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, count);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let opened = self.files.open(&self.deleted.path, &self.deleted.streams.places());
        self.sink = opened.map_err(|error| error.source)?;
        Ok(())
    }
}

struct Thread {
    received: Receiver<Order>,
    waker: Arc<Waker>,
    changes: Inotify,
    /// Carried files, by the number of their watch.
    all: BTreeMap<i32, Carry>,
}

impl Thread {
    fn run(mut self, report: &dyn Fn(CarrierReport)) {
        loop {
            if !self.take_orders(report) {
                return;
            }
            for carry in self.all.values_mut() {
                go_on(carry, false, report);
            }
            self.wait();
        }
    }

    /// Takes orders. False: there will be none any more.
    fn take_orders(&mut self, report: &dyn Fn(CarrierReport)) -> bool {
        loop {
            let order = match self.received.try_recv() {
                Ok(order) => order,
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            };
            match order {
                Order::Begin(mut carry) => {
                    // Everything before is given back.
                    carry.give_back(0, carry.at);
                    match self.changes.watch_open(&*carry.deleted.source, WatchFlags::MODIFY) {
                        Ok(number) => _ = self.all.insert(number, *carry),
                        Err(errno) => {
                            go_on(&mut carry, true, report);
                            report(CarrierReport::Waits(carry.deleted.key, format!("its deleted file cannot be watched: {errno}")));
                        }
                    }
                }
                Order::Reopen(key, told) => {
                    let reopened = self.find(key).map_or(Ok(()), |(_, carry)| carry.reopen());
                    let _ = told.send(reopened);
                }
                Order::Finish(key, told) => {
                    if let Some((_, carry)) = self.find(key) {
                        go_on(carry, true, report);
                    }
                    let _ = told.send(());
                }
                Order::End(key) => {
                    if let Some((number, carry)) = self.find(key) {
                        go_on(carry, true, report);
                        self.all.remove(&number);
                        self.changes.forget(number);
                    }
                    report(CarrierReport::Ended(key));
                }
            }
        }
    }

    fn find(&mut self, key: FileKey) -> Option<(i32, &mut Carry)> {
        self.all.iter_mut().find(|(_, carry)| carry.deleted.key == key).map(|(number, carry)| (*number, carry))
    }

    /// Waits until something is written, ordered or due.
    fn wait(&self) {
        let due = self.all.values().flat_map(|carry| [carry.partial.map(|since| since + PATIENCE), carry.stuck]).flatten().min();
        let timeout = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
        // A fast writer does not wake us with each of its lines; an order does at once.
        let is_ordered = poll(&mut [PollFd::new(&*self.waker, PollFlags::IN)], Some(&timespec(PAUSE))).is_ok_and(|ready| ready > 0);
        if !is_ordered {
            let _ = poll(&mut [PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)], timeout.as_ref());
        }
        self.waker.clear();
        self.changes.clear();
    }
}

fn go_on(carry: &mut Carry, all: bool, report: &dyn Fn(CarrierReport)) {
    if !all && carry.stuck.is_some_and(|until| Instant::now() < until) {
        return;
    }
    match carry.go_on(all) {
        Ok(()) => carry.stuck = None,
        Err(error) => {
            let is_news = carry.stuck.replace(Instant::now() + RETRY).is_none();
            if is_news {
                report(CarrierReport::Waits(carry.deleted.key, error.to_string()));
            }
        }
    }
}
