//! Log lines of apps for subscribers. While there is a subscriber, a separate process of the ostler
//! program reads the files and writes frames.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ostler_keeper::{HOME_VAR, ROLE_VAR};
use ostler_proto::pm2::{LogAccount, LogPlace, LogPlaces, Packet, ReaderInput};
use ostler_sys::fd::memfd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::ledger::{FormerRecord, HELD, Ledger};
use super::peers::Peers;
use crate::engine::Ctx;
use crate::platform::reactor::{Reactor, Source};
use crate::platform::threads::{self, Thread};
use crate::state::slots::Slot;

/// Role of the reader process.
pub(super) const ROLE: &str = "log-reader";
/// Most bytes read from the reader in one turn.
const READ_PER_TURN: usize = 128 << 10;
/// Stack size of the thread that starts the reader.
const STACK: usize = 256 << 10;
/// Time within which a subscriber must reconnect to a new daemon to get the lines that it missed.
const RETURN_MS: u64 = 30_000;
/// Time that the first reconnected subscriber waits for the others, because all resume from one
/// place.
const GATHER_MS: u64 = 1000;

/// Reader process that is starting or running.
#[derive(Debug)]
struct Running {
    process: Process,
    pipe: OwnedFd,
    buffer: Vec<u8>,
    is_paused: bool,
    /// Account from the reader's first packets, until the ledger is created.
    opening: Option<LogAccount>,
    /// Pipe to the reader for further places.
    input: ReaderInput,
    /// Paths that the reader knows. It continues to read them, whatever happens to the files.
    paths: BTreeSet<String>,
}

/// Process of the reader.
#[derive(Debug)]
enum Process {
    /// A thread gets the lengths of the files, then starts the process. A dead file system could
    /// block the daemon there.
    Starting(Thread<io::Result<Child>>),
    Started(Child),
}

impl Process {
    /// Kills the process once it has started. The reader also exits by itself when its pipe closes.
    /// Returns `None` when the process is gone.
    fn leaves(self) -> Option<Self> {
        let mut child = match self {
            Self::Starting(thread) if !thread.is_finished() => return Some(Self::Starting(thread)),
            Self::Starting(thread) => thread.join().ok()?.ok()?,
            Self::Started(child) => child,
        };
        // The daemon has not waited for the child yet, so its pid cannot belong to another process.
        let _ = child.kill();
        matches!(child.try_wait(), Ok(None)).then_some(Self::Started(child))
    }
}

/// Reader of log files, and its record.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    running: Option<Running>,
    /// Readers that are no longer needed.
    leaving: Vec<Process>,
    /// Record of the subscribers' progress.
    ledger: Option<Ledger>,
    /// Places of files that apps began to write to while a client was subscribed.
    met: Vec<LogPlace>,
    /// Record of a former daemon, and the time at which it expires.
    former: Option<(FormerRecord, u64)>,
    /// Time since when a subscriber is back.
    subscribed_since_ms: Option<u64>,
}

impl LogLines {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_paused)
    }

    /// Takes over the memory that the keeper held. Returns true if subscribers may have missed
    /// lines.
    pub(super) fn adopt_fd(&mut self, fd: OwnedFd, now_ms: u64) -> bool {
        self.former = FormerRecord::read(fd).map(|left| (left, now_ms + RETURN_MS));
        self.former.is_some()
    }

    /// Returns the time at which the former daemon's record expires.
    pub(super) fn too_late_ms(&self) -> Option<u64> {
        self.former.as_ref().map(|(_, until)| *until)
    }

    /// Discards the former daemon's record if it has expired.
    pub(super) fn drop_expired_record(&mut self, ctx: &mut Ctx) {
        let (now_ms, is_running) = (ctx.now.mono_ms, self.running.is_some());
        if self.former.take_if(|(_, until)| *until <= now_ms && !is_running).is_some() {
            ctx.io.keeper.drop_held(HELD);
        }
        // A reader that got the record has not begun yet, so a subscriber is back.
        self.former.iter_mut().filter(|_| is_running).for_each(|(_, until)| *until = now_ms + RETURN_MS);
    }

    /// Returns the memory that the keeper holds.
    pub(super) fn held(&self) -> Option<(String, BorrowedFd<'_>)> {
        let left = || self.former.as_ref().map(|(left, _)| left.memory.as_fd());
        self.ledger.as_ref().map(AsFd::as_fd).or_else(left).map(|fd| (HELD.to_owned(), fd))
    }

    /// Returns the record of the subscribers' progress, if any.
    pub(super) fn counts(&mut self) -> Option<&mut Ledger> {
        self.ledger.as_mut()
    }

    /// Returns true unless the daemon still waits for subscribers of the former daemon.
    pub(super) fn are_all_back(&mut self, subscribers: usize, now_ms: u64) -> bool {
        let since = *self.subscribed_since_ms.get_or_insert(now_ms);
        self.former.as_ref().is_none_or(|(left, _)| subscribers >= left.subscribers || now_ms >= since + GATHER_MS)
    }

    /// Discards the record: the last subscriber has left.
    pub(super) fn forget(&mut self, ctx: &mut Ctx) {
        self.subscribed_since_ms = None;
        self.met.clear();
        if self.ledger.take().is_some() {
            ctx.io.keeper.drop_held(HELD);
        }
    }

    /// Starts the reader. It reads lines from now on, or from where the last reader of this or the
    /// former daemon stopped.
    pub(super) fn start(&mut self, ctx: &Ctx, source: Source) -> io::Result<()> {
        let known = self.known_places(ctx);
        let files: BTreeSet<String> = ctx.state.slots.iter().flat_map(paths).collect();
        let paths_known = files.iter().cloned().chain(known.iter().flat_map(|known| &known.files).map(|place| place.path.clone()));
        let paths_known = paths_known.collect();
        let (home, at_ms) = (ctx.io.settings.home.clone(), ctx.now.wall_ms);
        let (pipe, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let memory = File::from(memfd::create("ostler-log-places")?);
        let input = ReaderInput::of(memory.try_clone()?);
        ctx.io.reactor.add(&pipe, source)?;
        let current_places = move || known.unwrap_or_else(|| LogPlaces { at_ms, files: places(files, at_ms) });
        let begin = move || begin(&home, &current_places(), memory, output);
        let thread = match threads::spawn("log-reader".into(), STACK, begin) {
            Ok(thread) => thread,
            Err(error) => {
                ctx.io.reactor.remove(&pipe);
                return Err(error);
            }
        };
        let opening = Some(LogAccount::default());
        let process = Process::Starting(thread);
        self.running = Some(Running { process, pipe, buffer: Vec::new(), is_paused: false, opening, input, paths: paths_known });
        Ok(())
    }

    /// Returns the places at which the last reader stopped, in this or the former daemon, and those
    /// of files that it had not opened by then.
    fn known_places(&self, ctx: &Ctx) -> Option<LogPlaces> {
        if let Some(ledger) = &self.ledger {
            return Some(with_others(ledger.all(), self.met.iter().cloned()));
        }
        let left = &self.former.as_ref()?.0;
        // Includes files that an app began to write to just before the former daemon was killed.
        Some(with_others(left.places.clone(), ctx.state.slots.iter().flat_map(|slot| starts(slot, ctx.now.wall_ms))))
    }

    /// Sends the reader the lengths of the log files of an app that is about to start. An earlier
    /// app wrote everything up to those lengths.
    pub(super) fn meet(&mut self, ctx: &mut Ctx, id: u32) {
        let (Some(running), Some(slot)) = (&mut self.running, ctx.state.slots.get(id)) else { return };
        for path in paths(slot) {
            if !running.paths.insert(path.clone()) {
                continue;
            }
            let place = place(path, ctx.now.wall_ms).unwrap_or_else(|absent| absent);
            if let Err(error) = running.input.push(&place) {
                ctx.io.log.error_once("log-reader-input", format_args!("PM2 clients may receive old log lines again: {error}"));
            }
            self.met.push(place);
        }
    }

    /// Returns available frames in order, after recording their places. An error means that the
    /// reader has exited.
    pub(super) fn read(&mut self, ctx: &mut Ctx, peers: &mut Peers) -> Result<Vec<u8>, Errno> {
        let Some(Running { pipe, buffer, is_paused: false, .. }) = &mut self.running else { return Ok(Vec::new()) };
        let mut read = 0;
        let mut chunk = vec![0; 64 << 10];
        while read < READ_PER_TURN {
            match rustix::io::read(&*pipe, &mut *chunk) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(length) => {
                    read += length;
                    buffer.extend_from_slice(chunk.get(..length).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        let bytes = std::mem::take(buffer);
        let (mut whole, mut frames) = (0, Vec::with_capacity(bytes.len()));
        let mut packets = Vec::new();
        while let Some((packet, length)) = Packet::decode(bytes.get(whole..).unwrap_or_default()).map_err(|_| Errno::MSGSIZE)? {
            whole += length;
            if let Packet::Line { frame, .. } = &packet {
                frames.extend_from_slice(frame);
            }
            packets.push((peers.stream() + frames.len() as u64, packet));
        }
        self.note(ctx, &packets, peers);
        if let Some(running) = &mut self.running {
            running.buffer = bytes.get(whole..).unwrap_or_default().to_vec();
        }
        Ok(frames)
    }

    /// Records packets before they are sent. If the memory cannot be created, subscribers still get
    /// lines, but the next daemon cannot resume.
    fn note(&mut self, ctx: &mut Ctx, packets: &[(u64, Packet<'_>)], peers: &mut Peers) {
        let Some(running) = &mut self.running else { return };
        let mut noted = Ok(());
        let mut rest = packets;
        if let Some(account) = &mut running.opening {
            let begins = packets.iter().position(|(_, packet)| matches!(packet, Packet::Started { .. }));
            let (before, behind) = packets.split_at(begins.map_or(packets.len(), |at| at + 1));
            before.iter().for_each(|(position, packet)| account.note(*position, packet, &mut Vec::new()));
            rest = behind;
            if begins.is_none() {
                return;
            }
            noted = self.begin_ledger(ctx, peers);
        }
        if let Some(ledger) = self.ledger.as_mut().filter(|_| !rest.is_empty()) {
            noted = noted.and(ledger.note(rest, peers.delivered()));
        }
        if let Err(error) = noted {
            ctx.io.log.error_once("pm2-lines", format_args!("PM2 clients may miss log lines if the daemon is killed: {error}"));
            self.ledger = None;
            ctx.io.keeper.drop_held(HELD);
        }
    }

    /// Creates the record once all places are known. From now on the next daemon can resume.
    fn begin_ledger(&mut self, ctx: &mut Ctx, peers: &mut Peers) -> io::Result<()> {
        let mut account = self.running.as_mut().and_then(|running| running.opening.take()).unwrap_or_default();
        account.settle(u64::MAX);
        let mut ledger = Ledger::new(account)?;
        peers.replace_counters(&mut ledger.sends);
        ctx.io.keeper.hold(HELD, ledger.as_fd());
        (self.ledger, self.former) = (Some(ledger), None);
        Ok(())
    }

    /// Stops reading until subscribers have read their backlog, or resumes.
    pub(super) fn pause(&mut self, paused: bool, reactor: &Reactor, source: Source) {
        let Some(running) = &mut self.running else { return };
        if running.is_paused == paused {
            return;
        }
        running.is_paused = paused;
        if paused {
            reactor.remove(&running.pipe);
        } else if reactor.add(&running.pipe, source).is_err() {
            self.stop(reactor);
        }
    }

    /// Stops the reader.
    pub(super) fn stop(&mut self, reactor: &Reactor) {
        let Some(Running { process, pipe, .. }) = self.running.take() else { return };
        reactor.remove(&pipe);
        self.leaving.push(process);
    }

    /// Reaps readers that are no longer needed. Returns true if some are still running.
    pub(super) fn reap(&mut self) -> bool {
        self.leaving = std::mem::take(&mut self.leaving).into_iter().filter_map(Process::leaves).collect();
        !self.leaving.is_empty()
    }
}

/// Returns the paths of the log files of an instance.
fn paths(slot: &Slot) -> Vec<String> {
    let files = &slot.live.files;
    [&files.out, &files.error, &files.combined].into_iter().flatten().map(ToString::to_string).collect()
}

/// Adds the places of files whose paths are not in `known`.
fn with_others(mut known: LogPlaces, others: impl Iterator<Item = LogPlace>) -> LogPlaces {
    for other in others {
        if other.ino != 0 && !known.files.iter().any(|place| place.path == other.path) {
            known.files.push(other);
        }
    }
    known
}

/// Returns the places at which the output of an instance's process begins.
fn starts(slot: &Slot, since_ms: u64) -> Vec<LogPlace> {
    let (error, out) = slot.durable.log_start;
    let files = &slot.live.files;
    let at = |path: &Option<String>, start: u64| {
        let place = place(path.clone()?, since_ms).ok()?;
        Some(LogPlace { end: place.end.min(start), ..place })
    };
    [at(&files.out, out), at(&files.error, error)].into_iter().flatten().collect()
}

/// Returns the places at the ends of these files. A missing file gets a place without a file.
fn places(files: BTreeSet<String>, since_ms: u64) -> Vec<LogPlace> {
    files.into_iter().map(|path| place(path, since_ms).unwrap_or_else(|absent| absent)).collect()
}

/// Returns the place at the end of a file. The error is a place without a file, if the path is not
/// a regular file.
fn place(path: String, since_ms: u64) -> Result<LogPlace, LogPlace> {
    match std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file) {
        Some(meta) => Ok(LogPlace { path, dev: meta.dev(), ino: meta.ino(), end: meta.len(), since_ms }),
        None => Err(LogPlace { path, since_ms, ..LogPlace::default() }),
    }
}

fn begin(home: &Path, told: &LogPlaces, memory: File, output: OwnedFd) -> io::Result<Child> {
    ReaderInput::of(memory.try_clone()?).write(told)?;
    Command::new("/proc/self/exe")
        .arg0(format!("ostler: log reader ({})", home.display()))
        .env(ROLE_VAR, ROLE)
        .env(HOME_VAR, home)
        .current_dir("/")
        .stdin(Stdio::from(memory))
        .stdout(Stdio::from(output))
        .stderr(Stdio::null())
        .spawn()
}
