//! Long-running commands (`logs`, `--no-daemon`, `runtime`) and their lines of output.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;

use crate::home::{DEADLINE, Home};
use crate::procs::{KilledOnDrop, kill};

/// A running command and its lines of output.
#[derive(Debug)]
pub struct Foreground {
    /// The process of the command.
    pub child: KilledOnDrop,
    /// Lines of standard output that no wait has returned yet.
    pub out: Receiver<String>,
    /// Lines of standard error that no wait has returned yet.
    pub err: Receiver<String>,
}

/// Exit code of a finished command, and the lines that no wait has returned.
#[derive(Debug)]
pub struct ExitedProcess {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Lines of standard output.
    pub out: Vec<String>,
    /// Lines of standard error.
    pub err: Vec<String>,
}

impl Foreground {
    /// Starts the command.
    #[track_caller]
    pub fn open(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child: KilledOnDrop(child), out, err }
    }

    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Reads lines of standard output until one contains the text, and returns them.
    #[track_caller]
    pub fn until(&self, text: &str) -> Vec<String> {
        let fail = |seen| panic!("no line with {text:?} but {seen:?}; on stderr {:?}", self.err.try_iter().collect::<Vec<_>>());
        until(&self.out, text).unwrap_or_else(fail)
    }

    /// Works like [`Foreground::until`], for standard error.
    #[track_caller]
    pub fn err_until(&self, text: &str) -> Vec<String> {
        until(&self.err, text).unwrap_or_else(|seen| panic!("no line with {text:?} but {seen:?}"))
    }

    /// Sends Ctrl-C repeatedly until the command exits, and returns its exit code. Signals in quick
    /// succession count as one.
    #[track_caller]
    pub fn killed(&mut self, home: &Home) -> i32 {
        home.wait_until("the command has exited", || {
            self.signal(Signal::INT);
            self.child.try_wait().unwrap().is_some()
        });
        self.exit_code(home)
    }

    /// Waits until the command exits. Returns its exit code, or 128 + signal.
    #[track_caller]
    pub fn exit_code(&mut self, home: &Home) -> i32 {
        home.wait_exit_code(&mut self.child)
    }

    /// Waits until the command exits and its output ends.
    #[track_caller]
    pub fn end(mut self, home: &Home) -> ExitedProcess {
        let code = self.exit_code(home);
        let rest = |from: &Receiver<String>| std::iter::from_fn(|| from.recv_timeout(DEADLINE).ok()).collect();
        ExitedProcess { code, out: rest(&self.out), err: rest(&self.err) }
    }
}

/// Reads lines until one contains the text. If no line contains it, returns the lines as an error.
fn until(lines: &Receiver<String>, text: &str) -> Result<Vec<String>, Vec<String>> {
    let mut seen = Vec::new();
    while let Ok(line) = lines.recv_timeout(DEADLINE) {
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains(text)) {
            return Ok(seen);
        }
    }
    Err(seen)
}

/// Reads the lines of a stream in a thread.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
    rx
}
