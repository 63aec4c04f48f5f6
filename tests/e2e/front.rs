//! A container's first process under test: `ostler runtime`, with both of its streams.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ostler_testkit::{DEADLINE, Home, KilledOnDrop, kill};
use rustix::process::Signal;

/// It runs until its end, or until this is dropped.
pub struct Front {
    pub child: KilledOnDrop,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// What it said until its end, and its exit code (128 + n for a signal).
pub struct Ended {
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

    /// Which runs this, without `runtime`.
    pub fn run(home: &Home, words: &str) -> Self {
        Self::open(home.cmd(format!("runtime {words}")).command())
    }

    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Lines of standard output until one has the text.
    #[track_caller]
    pub fn out_until(&self, text: &str) -> Vec<String> {
        until(&self.out, text).unwrap_or_else(|seen| panic!("no line with {text:?} but {seen:?}; on stderr {:?}", self.unread_errors()))
    }

    /// The same of standard error.
    #[track_caller]
    pub fn err_until(&self, text: &str) -> Vec<String> {
        until(&self.err, text).unwrap_or_else(|seen| panic!("no line with {text:?} but {seen:?}"))
    }

    /// What is there of standard error and was not read yet.
    fn unread_errors(&self) -> Vec<String> {
        self.err.try_iter().collect()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self, home: &Home) -> Ended {
        let mut status = None;
        home.wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        use std::os::unix::process::ExitStatusExt;
        let status = status.unwrap();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        let rest = |from: &Receiver<String>| std::iter::from_fn(|| from.recv_timeout(DEADLINE).ok()).collect();
        Ended { code, out: rest(&self.out), err: rest(&self.err) }
    }
}

/// The lines up to the one that has the text, or all that came if none did.
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
