//! Lines of apps' logs for subscribers: a process of our program reads the files while there is a subscriber, and writes frames.

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

use super::ledger::{HELD, Ledger, Left};
use super::peers::Peers;
use crate::engine::Ctx;
use crate::platform::reactor::{Reactor, Source};
use crate::platform::threads::{self, Thread};
use crate::state::slots::Slot;

/// The role of the reader.
pub(super) const ROLE: &str = "log-reader";
/// Most bytes read of it in a turn.
const READ_PER_TURN: usize = 128 << 10;
/// Stack of the thread that starts it.
const STACK: usize = 256 << 10;
/// Time within which a subscriber has to come back to a new daemon to get the lines that it has missed.
const RETURN_MS: u64 = 30_000;
/// Time that the first one back waits for the others: they read on from one place.
const GATHER_MS: u64 = 1000;

/// The reader, while it runs.
#[derive(Debug)]
struct Running {
    process: Process,
    pipe: OwnedFd,
    buffer: Vec<u8>,
    is_paused: bool,
    /// What it has said before it began.
    opening: Option<LogAccount>,
    /// Its input.
    input: ReaderInput,
    /// Paths that it knows: it reads them on, whatever happens to the files.
    known: BTreeSet<String>,
}

/// Its process.
#[derive(Debug)]
enum Process {
    /// A thread asks for the lengths of files, which a dead file system does not answer, and starts it.
    Starting(Thread<io::Result<Child>>),
    Started(Child),
}

impl Process {
    /// Ends it, once it is there; it ends by itself, too, as nobody reads it. None: there is none any more.
    fn leaves(self) -> Option<Self> {
        let mut child = match self {
            Self::Starting(thread) if !thread.is_finished() => return Some(Self::Starting(thread)),
            Self::Starting(thread) => thread.join().ok()?.ok()?,
            Self::Started(child) => child,
        };
        // Not waited for yet, so nobody else has its number.
        let _ = child.kill();
        matches!(child.try_wait(), Ok(None)).then_some(Self::Started(child))
    }
}

/// The reader of log files.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    running: Option<Running>,
    /// Readers that are not wanted any more.
    leaving: Vec<Process>,
    /// How far subscribers are.
    ledger: Option<Ledger>,
    /// Places of files that apps began to write to while a client was subscribed.
    met: Vec<LogPlace>,
    /// What a former daemon has left, and when it is too late for it.
    left: Option<(Left, u64)>,
    /// Time since when somebody is back.
    back_since_ms: Option<u64>,
}

impl LogLines {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_paused)
    }

    /// Takes back what the keeper held. True: there are lines that somebody may have missed.
    pub(super) fn take_back(&mut self, fd: OwnedFd, now_ms: u64) -> bool {
        self.left = Left::read(fd).map(|left| (left, now_ms + RETURN_MS));
        self.left.is_some()
    }

    /// The time at which it is too late for a subscriber to come back.
    pub(super) fn too_late_ms(&self) -> Option<u64> {
        self.left.as_ref().map(|(_, until)| *until)
    }

    /// Gives up what nobody came back for.
    pub(super) fn give_up_left(&mut self, ctx: &mut Ctx) {
        let (now_ms, is_running) = (ctx.now.mono_ms, self.running.is_some());
        if self.left.take_if(|(_, until)| *until <= now_ms && !is_running).is_some() {
            ctx.io.keeper.drop_held(HELD);
        }
        // A reader that was told of it has not begun yet: somebody is back.
        self.left.iter_mut().filter(|_| is_running).for_each(|(_, until)| *until = now_ms + RETURN_MS);
    }

    /// What the keeper holds.
    pub(super) fn held(&self) -> Option<(String, BorrowedFd<'_>)> {
        let left = || self.left.as_ref().map(|(left, _)| left.memory.as_fd());
        self.ledger.as_ref().map(AsFd::as_fd).or_else(left).map(|fd| (HELD.to_owned(), fd))
    }

    /// The counts of what subscribers have got, if there are any.
    pub(super) fn counts(&mut self) -> Option<&mut Ledger> {
        self.ledger.as_mut()
    }

    /// True unless others are waited for, who were there when the former daemon was killed.
    pub(super) fn are_all_back(&mut self, subscribers: usize, now_ms: u64) -> bool {
        let since = *self.back_since_ms.get_or_insert(now_ms);
        self.left.as_ref().is_none_or(|(left, _)| subscribers >= left.subscribers || now_ms >= since + GATHER_MS)
    }

    /// Forgets how far subscribers were: the last one has left.
    pub(super) fn forget(&mut self, ctx: &mut Ctx) {
        self.back_since_ms = None;
        self.met.clear();
        if self.ledger.take().is_some() {
            ctx.io.keeper.drop_held(HELD);
        }
    }

    /// Starts it: lines from now on, or from where the last one ended, here or in the former daemon.
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
        let told = move || known.unwrap_or_else(|| LogPlaces { at_ms, files: places(files, at_ms) });
        let begin = move || begin(&home, &told(), memory, output);
        let thread = match threads::spawn("log-reader".into(), STACK, begin) {
            Ok(thread) => thread,
            Err(error) => {
                ctx.io.reactor.remove(&pipe);
                return Err(error);
            }
        };
        let opening = Some(LogAccount::default());
        let process = Process::Starting(thread);
        self.running = Some(Running { process, pipe, buffer: Vec::new(), is_paused: false, opening, input, known: paths_known });
        Ok(())
    }

    /// Returns the places at which the last reader ended, here or in the former daemon, and those of
    /// files that it had not opened by then.
    fn known_places(&self, ctx: &Ctx) -> Option<LogPlaces> {
        if let Some(ledger) = &self.ledger {
            return Some(with_others(ledger.all(), self.met.iter().cloned()));
        }
        let left = &self.left.as_ref()?.0;
        // What an app began to write to just before the former daemon was killed.
        Some(with_others(left.places.clone(), ctx.state.slots.iter().flat_map(|slot| starts(slot, ctx.now.wall_ms))))
    }

    /// Tells the reader the lengths of the log files of an app that is about to start: what they
    /// have by now was written by an app of the past.
    pub(super) fn meet(&mut self, ctx: &mut Ctx, id: u32) {
        let (Some(running), Some(slot)) = (&mut self.running, ctx.state.slots.get(id)) else { return };
        for path in paths(slot) {
            if !running.known.insert(path.clone()) {
                continue;
            }
            let place = place(path, ctx.now.wall_ms).unwrap_or_else(|absent| absent);
            if let Err(error) = running.input.push(&place) {
                ctx.io.log.error_once("log-reader-input", format_args!("PM2's clients may get old lines of logs once more: {error}"));
            }
            self.met.push(place);
        }
    }

    /// Frames that are there, one after the other, with their places noted. An error is its end.
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

    /// Notes what was read, before it is sent. Without the memory for it everything goes on: only the next daemon begins anew.
    fn note(&mut self, ctx: &mut Ctx, packets: &[(u64, Packet<'_>)], peers: &mut Peers) {
        let Some(running) = &mut self.running else { return };
        let mut noted = Ok(());
        let mut rest = packets;
        if let Some(account) = &mut running.opening {
            let begins = packets.iter().position(|(_, packet)| matches!(packet, Packet::Begun { .. }));
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
            ctx.io.log.error_once("pm2-lines", format_args!("PM2's clients may miss lines of logs if the daemon is killed: {error}"));
            self.ledger = None;
            ctx.io.keeper.drop_held(HELD);
        }
    }

    /// All places are known: from now on the next daemon knows them, too.
    fn begin_ledger(&mut self, ctx: &mut Ctx, peers: &mut Peers) -> io::Result<()> {
        let mut account = self.running.as_mut().and_then(|running| running.opening.take()).unwrap_or_default();
        account.settle(u64::MAX);
        let mut ledger = Ledger::new(account)?;
        peers.count_anew(&mut ledger.sends);
        ctx.io.keeper.hold(HELD, ledger.as_fd());
        (self.ledger, self.left) = (Some(ledger), None);
        Ok(())
    }

    /// Reads no more until subscribers have read what they got, or goes on.
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

    /// Ends it.
    pub(super) fn stop(&mut self, reactor: &Reactor) {
        let Some(Running { process, pipe, .. }) = self.running.take() else { return };
        reactor.remove(&pipe);
        self.leaving.push(process);
    }

    /// Takes leave of those that are not wanted any more. True: some have not ended yet.
    pub(super) fn reap(&mut self) -> bool {
        self.leaving = std::mem::take(&mut self.leaving).into_iter().filter_map(Process::leaves).collect();
        !self.leaving.is_empty()
    }
}

/// Paths of the log files of an instance.
fn paths(slot: &Slot) -> Vec<String> {
    let files = &slot.live.files;
    [&files.out, &files.error, &files.combined].into_iter().flatten().map(ToString::to_string).collect()
}

/// The places, and those of files with paths that they do not name.
fn with_others(mut known: LogPlaces, others: impl Iterator<Item = LogPlace>) -> LogPlaces {
    for other in others {
        if other.ino != 0 && !known.files.iter().any(|place| place.path == other.path) {
            known.files.push(other);
        }
    }
    known
}

/// Places at which the output of the process of an instance begins.
fn starts(slot: &Slot, since_ms: u64) -> Vec<LogPlace> {
    let (error, out) = slot.durable.log_start;
    let files = &slot.live.files;
    let at = |path: &Option<String>, start: u64| {
        let place = place(path.clone()?, since_ms).ok()?;
        Some(LogPlace { end: place.end.min(start), ..place })
    };
    [at(&files.out, out), at(&files.error, error)].into_iter().flatten().collect()
}

/// Places at the ends of these files; one without a file says that there is none yet.
fn places(files: BTreeSet<String>, since_ms: u64) -> Vec<LogPlace> {
    files.into_iter().map(|path| place(path, since_ms).unwrap_or_else(|absent| absent)).collect()
}

/// Place at the end of a file. Error: a place without a file, for what is no regular file.
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
