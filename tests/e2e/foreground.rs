//! Long-running commands: `logs`, `--no-daemon`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use ostler_testkit::{DEADLINE, Home, KilledOnDrop, kill};
use rustix::process::Signal;

/// A running command and its lines of output.
pub struct Foreground {
    pub child: KilledOnDrop,
    pub lines: mpsc::Receiver<String>,
}

impl Foreground {
    pub fn open(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
        Self { child: KilledOnDrop(child), lines }
    }

    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Reads lines until one contains the text, and returns them.
    #[track_caller]
    pub fn until(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no line with {text:?} but {seen:?}"));
            seen.push(line);
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
    }

    /// Sends Ctrl-C repeatedly until the command exits, and returns its exit code. Signals in quick
    /// succession count as one.
    #[track_caller]
    pub fn killed(&mut self, home: &Home) -> i32 {
        home.wait_until("the command ends", || {
            kill(self.pid(), Signal::INT);
            self.child.try_wait().unwrap().is_some()
        });
        self.end(home)
    }

    /// Waits until the command exits. Returns its exit code, or 128 + signal.
    #[track_caller]
    pub fn end(&mut self, home: &Home) -> i32 {
        let mut status = None;
        home.wait_until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        use std::os::unix::process::ExitStatusExt;
        let status = status.unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}
