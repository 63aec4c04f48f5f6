//! Lines of apps' logs for subscribers: a process of our program reads the files while there is a subscriber, and writes frames.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ostler_keeper::{HOME_VAR, ROLE_VAR};
use ostler_proto::pm2::LogLengths;
use ostler_proto::pm2::amp::frames_length;
use ostler_sys::memfd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::engine::Ctx;
use crate::reactor::{Reactor, Source};
use crate::threads::{self, Thread};

/// The role of the reader.
pub(super) const ROLE: &str = "log-reader";
/// Most bytes read of it in a turn.
const READ_PER_TURN: usize = 128 << 10;
/// Stack of the thread that starts it.
const STACK: usize = 256 << 10;
/// Largest frame; a longer one is none of our reader's.
const MAX_FRAME_BYTES: usize = 32 << 20;

/// The reader, while it runs.
#[derive(Debug)]
struct Running {
    process: Process,
    pipe: OwnedFd,
    buffer: Vec<u8>,
    is_paused: bool,
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
}

impl LogLines {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_paused)
    }

    /// Starts it: lines from now on.
    pub(super) fn start(&mut self, ctx: &Ctx, source: Source) -> io::Result<()> {
        let files = ctx.slots.iter().flat_map(|slot| {
            let files = &slot.live.files;
            [&files.out, &files.error, &files.combined].into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>()
        });
        let (files, home, at_ms): (Vec<String>, _, _) = (files.collect(), ctx.settings.home.clone(), ctx.now.wall_ms);
        let (pipe, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        ctx.reactor.add(&pipe, source)?;
        let begin = move || begin(&home, &LogLengths { at_ms, lengths: lengths(files) }, output);
        let thread = match threads::spawn("log-reader".into(), STACK, begin) {
            Ok(thread) => thread,
            Err(error) => {
                ctx.reactor.remove(&pipe);
                return Err(error);
            }
        };
        self.running = Some(Running { process: Process::Starting(thread), pipe, buffer: Vec::new(), is_paused: false });
        Ok(())
    }

    /// Whole frames that are there, one after the other. An error is its end.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, Errno> {
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
        let whole = frames_length(buffer, MAX_FRAME_BYTES).map_err(|_| Errno::MSGSIZE)?;
        let rest = buffer.split_off(whole);
        Ok(std::mem::replace(buffer, rest))
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

fn lengths(files: Vec<String>) -> BTreeMap<String, u64> {
    files.into_iter().filter_map(|file| std::fs::metadata(&file).ok().map(|meta| (file, meta.len()))).collect()
}

fn begin(home: &Path, told: &LogLengths, output: OwnedFd) -> io::Result<Child> {
    let input = memfd::with("ostler-log-lengths", &serde_json::to_vec(told)?)?;
    Command::new("/proc/self/exe")
        .arg0(format!("ostler: log reader ({})", home.display()))
        .env(ROLE_VAR, ROLE)
        .env(HOME_VAR, home)
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::null())
        .spawn()
}
