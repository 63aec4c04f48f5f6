//! A container's first process under test: `ostler runtime`, with both of its streams.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ostler_testkit::{DEADLINE, Home, KilledOnDrop, kill};
use rustix::process::Signal;

/// A running first process. It is killed when the value is dropped.
pub struct Front {
    pub child: KilledOnDrop,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// Complete output of a process, and its exit code (128 + n for a signal).
pub struct ExitedProcess {
    pub code: i32,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
    rx
}

impl Front {
    pub fn open(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child: KilledOnDrop(child), out, err }
    }

    /// Runs `ostler runtime` with these words.
    pub fn run(home: &Home, words: &str) -> Self {
        Self::open(home.cmd(format!("runtime {words}")).command())
    }

    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Reads lines of standard output until one contains the text.
    #[track_caller]
    pub fn out_until(&self, text: &str) -> Vec<String> {
        until(&self.out, text).unwrap_or_else(|seen| panic!("no line with {text:?} but {seen:?}; on stderr {:?}", self.unread_errors()))
    }

    /// Reads lines of standard error until one contains the text.
    #[track_caller]
    pub fn err_until(&self, text: &str) -> Vec<String> {
        until(&self.err, text).unwrap_or_else(|seen| panic!("no line with {text:?} but {seen:?}"))
    }

    /// Returns the lines of standard error that are not read yet.
    fn unread_errors(&self) -> Vec<String> {
        self.err.try_iter().collect()
    }

    /// Waits until the process exits.
    #[track_caller]
    pub fn end(mut self, home: &Home) -> ExitedProcess {
        let mut status = None;
        home.wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        use std::os::unix::process::ExitStatusExt;
        let status = status.unwrap();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        let rest = |from: &Receiver<String>| std::iter::from_fn(|| from.recv_timeout(DEADLINE).ok()).collect();
        ExitedProcess { code, out: rest(&self.out), err: rest(&self.err) }
    }
}

/// Returns the lines up to the line with the text, or all lines if none contains it.
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
