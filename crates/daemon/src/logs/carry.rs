//! Carry-over of lines that apps write to deleted log files, to the files that are at their paths
//! now.
//!
//! A deleted file cannot get a name back, and no process can exchange another process's descriptor.
//! A thread therefore reads the new bytes of the deleted file, appends them to the file at the
//! path, and frees their space in the file system. It does so until the app's next start, which
//! opens the path. The kernel reports each write, so a silent app causes no wake-ups. Carried bytes
//! read as zeros in the deleted file, so the next daemon finds the position of a killed one. Bytes
//! that the killed daemon was writing may appear twice; nothing is lost.

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

/// Bytes read at once.
const AT_ONCE: usize = 256 << 10;
/// Time to wait for the end of a line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two checks for new bytes.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a failed write.
const RETRY: Duration = Duration::from_secs(1);
const STACK_BYTES: usize = 256 << 10;

/// Journal record of a deleted log file whose lines are carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Device and inode of the file.
    pub file: FileKey,
    /// Path in the app's description.
    pub path: String,
    /// Length of the file when the carry-over began.
    pub from: u64,
    /// Rights with which the path is opened.
    #[serde(default, skip_serializing_if = "Rights::is_daemon_user")]
    pub rights: Rights,
}

/// Deleted log file.
pub(crate) struct Deleted {
    pub key: FileKey,
    /// The file, open for reading and writing.
    pub source: Arc<File>,
    /// Bytes at the beginning that are not carried, because they were there when the carry-over
    /// began.
    pub from: u64,
    /// Path to which its lines belong.
    pub path: PathBuf,
    /// Home and rights of the app.
    pub streams: RuntimeStreams,
}

/// Report of the thread.
#[derive(Debug)]
pub(crate) enum CarrierReport {
    /// Lines wait, for this reason. Reported once until the thread can write again.
    Stuck(FileKey, String),
    /// Everything was carried, and the file is closed.
    Ended(FileKey),
}

enum CarryOrder {
    Begin(Box<Carry>),
    /// Reopen the path.
    Reopen(FileKey, SyncSender<io::Result<()>>),
    /// Carry everything that is there now.
    Finish(FileKey, SyncSender<()>),
    /// Carry everything that is there now, then stop.
    End(FileKey),
}

/// Handle of the thread. If the handle is dropped, the thread exits and carries nothing more.
pub(crate) struct Carrier {
    orders: Sender<CarryOrder>,
    waker: Arc<Waker>,
}

impl Carrier {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more threads or descriptors.
    pub(crate) fn start(report: impl Fn(CarrierReport) + Send + 'static) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let changes = Inotify::new()?;
        let (orders, received) = mpsc::channel();
        let thread = Thread { received, waker: Arc::clone(&waker), changes, all: BTreeMap::new() };
        std::thread::Builder::new().name("log-carry".into()).stack_size(STACK_BYTES).spawn(move || thread.run(&report))?;
        Ok(Self { orders, waker })
    }

    /// Begins a carry-over. The file at the path exists when this returns.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened.
    pub(crate) fn begin(&self, deleted: Deleted, files: &OpenFiles) -> Result<(), super::OpenError> {
        let sink = files.open(&deleted.path, &deleted.streams.places())?;
        let carry =
            Carry { at: begin_of_rest(&deleted.source, deleted.from), deleted, files: files.clone(), sink, partial: None, stuck: None };
        self.order(CarryOrder::Begin(Box::new(carry)));
        Ok(())
    }

    /// Reopens the path, and waits at most this long for it.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened.
    pub(crate) fn reopen(&self, key: FileKey, within: Duration) -> io::Result<()> {
        let (sender, done) = mpsc::sync_channel(1);
        self.order(CarryOrder::Reopen(key, sender));
        done.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Carries everything that is there now, and waits at most this long for it.
    pub(crate) fn finish(&self, key: FileKey, within: Duration) {
        let (sender, done) = mpsc::sync_channel(1);
        self.order(CarryOrder::Finish(key, sender));
        let _ = done.recv_timeout(within);
    }

    /// Stops a carry-over when no process has the file open for writing any more.
    pub(crate) fn end(&self, key: FileKey) {
        self.order(CarryOrder::End(key));
    }

    fn order(&self, order: CarryOrder) {
        // The thread lives as long as this handle.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Dropping the sender closes the channel. The thread notices that when it wakes up.
        let (orders, _) = mpsc::channel();
        self.orders = orders;
        self.waker.wake();
    }
}

/// Returns the position behind the last whole line; bytes from there on are carried.
pub(crate) fn end_of_lines(file: &File) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let length = end.min(AT_ONCE as u64);
    let mut last = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut last, end - length)?;
    Ok(memchr::memrchr(b'\n', &last).map_or(end - length, |at| end - length + at as u64 + 1))
}

/// Returns the position behind the leading zeros, which a former daemon has carried.
fn begin_of_rest(file: &File, from: u64) -> u64 {
    let mut at = match seek(file, SeekFrom::Data(from)) {
        Ok(data) => data,
        // The rest of the file is zeros.
        Err(Errno::NXIO) => return file.metadata().map_or(from, |meta| meta.len().max(from)),
        Err(_) => from,
    };
    let mut buffer = vec![0; 4096];
    // Searches for the first byte within the first block.
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
    /// Position up to which the file was carried.
    at: u64,
    /// Time since when the file ends with an incomplete line.
    partial: Option<Instant>,
    /// Time at which a failed write is retried.
    stuck: Option<Instant>,
}

impl Carry {
    /// Carries whole lines. With `all`, or after a while, it also carries an incomplete line.
    fn carry_lines(&mut self, all: bool) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let end = self.deleted.source.metadata()?.len();
            if end < self.at {
                // The app has truncated the file.
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
            self.free_space(self.at, count as u64);
            self.at += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Frees the space of carried bytes. If the file system cannot free parts of a file, the space
    /// is freed at the app's next start.
    fn free_space(&self, from: u64, count: u64) {
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
    received: Receiver<CarryOrder>,
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
                carry_and_report(carry, false, report);
            }
            self.wait();
        }
    }

    /// Handles orders. Returns false if the channel is closed.
    fn take_orders(&mut self, report: &dyn Fn(CarrierReport)) -> bool {
        loop {
            let order = match self.received.try_recv() {
                Ok(order) => order,
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            };
            match order {
                CarryOrder::Begin(mut carry) => {
                    // The carried part is freed.
                    carry.free_space(0, carry.at);
                    match self.changes.watch_open(&*carry.deleted.source, WatchFlags::MODIFY) {
                        Ok(number) => _ = self.all.insert(number, *carry),
                        Err(errno) => {
                            carry_and_report(&mut carry, true, report);
                            report(CarrierReport::Stuck(carry.deleted.key, format!("its deleted file cannot be watched: {errno}")));
                        }
                    }
                }
                CarryOrder::Reopen(key, told) => {
                    let reopened = self.find(key).map_or(Ok(()), |(_, carry)| carry.reopen());
                    let _ = told.send(reopened);
                }
                CarryOrder::Finish(key, told) => {
                    if let Some((_, carry)) = self.find(key) {
                        carry_and_report(carry, true, report);
                    }
                    let _ = told.send(());
                }
                CarryOrder::End(key) => {
                    if let Some((number, carry)) = self.find(key) {
                        carry_and_report(carry, true, report);
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

    /// Waits until a file is written, an order arrives, or a deadline is due.
    fn wait(&self) {
        let due = self.all.values().flat_map(|carry| [carry.partial.map(|since| since + PATIENCE), carry.stuck]).flatten().min();
        let timeout = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
        // A short pause combines the writes of a fast app. An order wakes the thread at once.
        let is_ordered = poll(&mut [PollFd::new(&*self.waker, PollFlags::IN)], Some(&timespec(PAUSE))).is_ok_and(|ready| ready > 0);
        if !is_ordered {
            let _ = poll(&mut [PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)], timeout.as_ref());
        }
        self.waker.clear();
        self.changes.clear();
    }
}

fn carry_and_report(carry: &mut Carry, all: bool, report: &dyn Fn(CarrierReport)) {
    if !all && carry.stuck.is_some_and(|until| Instant::now() < until) {
        return;
    }
    match carry.carry_lines(all) {
        Ok(()) => carry.stuck = None,
        Err(error) => {
            let is_news = carry.stuck.replace(Instant::now() + RETRY).is_none();
            if is_news {
                report(CarrierReport::Stuck(carry.deleted.key, error.to_string()));
            }
        }
    }
}
