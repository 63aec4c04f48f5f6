//! Output and exit code of a command.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

/// A finished command.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// Exit code, or 128 + signal if a signal killed it.
    pub code: i32,
    /// Standard output, colours removed.
    pub stdout: String,
    /// Standard error, colours removed.
    pub stderr: String,
    /// Wall time from spawn to exit.
    pub elapsed: Duration,
}

impl Output {
    /// Returns standard output and error.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Returns standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert!(self.code == code, "exit code {} instead of {code}\n{self}", self.code);
        self
    }

    /// Fails the test if the exit code is 0.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(self.code != 0, "exit code 0, a failure was expected\n{self}");
        self
    }

    /// Fails the test unless the text is in the output.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.all().contains(text), "the output lacks {text:?}\n{self}");
        self
    }

    /// Fails the test unless the text is in the output, ignoring case.
    #[track_caller]
    pub fn says_any_case(self, text: &str) -> Self {
        assert!(self.all().to_lowercase().contains(&text.to_lowercase()), "the output lacks {text:?}\n{self}");
        self
    }

    /// Fails the test if the text is in the output.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        assert!(!self.all().contains(text), "the output has {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}   (exit code {}, {} ms)", self.line, self.code, self.elapsed.as_millis())?;
        for line in self.stdout.lines() {
            writeln!(f, "  1> {line}")?;
        }
        for line in self.stderr.lines() {
            writeln!(f, "  2> {line}")?;
        }
        Ok(())
    }
}

/// Runs a command until it has exited and its output has ended.
///
/// A daemon that keeps the caller's stdout open would hang every `$(…)` in a script. Therefore this
/// waits for the end of both streams.
#[track_caller]
pub(crate) fn run(mut command: Command, stdin: Option<&[u8]>, line: String, limit: Duration) -> Output {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
    if let (Some(text), Some(mut pipe)) = (stdin.map(<[u8]>::to_vec), child.stdin.take()) {
        // A command that does not read its input is a case under test, so a broken pipe is fine.
        thread::spawn(move || drop(pipe.write_all(&text)));
    }
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let Some(status) = wait(&mut child, begun + limit) else {
        drop(child.kill());
        panic!("{line} did not end within {limit:?}\n1> {}\n2> {}", drain(&out), drain(&err));
    };
    let elapsed = begun.elapsed();
    let read = |rx: &mpsc::Receiver<Vec<u8>>| {
        let left = (begun + limit).saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        rx.recv_timeout(left).unwrap_or_else(|_| panic!("{line} ended, but something it started keeps its output open"))
    };
    let (stdout, stderr) = (read(&out), read(&err));
    Output { line, code: code_of(status), stdout: plain(&stdout), stderr: plain(&stderr), elapsed }
}

/// Runs a shell text in a folder, which must succeed, and returns its trimmed standard output. git
/// finds an identity in its environment.
#[track_caller]
pub fn sh(folder: impl AsRef<Path>, text: &str) -> String {
    let mut command = Command::new("sh");
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "t@t");
    }
    let output = command.args(["-ec", text]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{text}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn drain(rx: &mpsc::Receiver<Vec<u8>>) -> String {
    rx.recv_timeout(Duration::from_secs(1)).map(|bytes| plain(&bytes)).unwrap_or_default()
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::channel();
    let mut pipe = pipe.unwrap();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        drop(tx.send(bytes));
    });
    rx
}

/// Waits until the command exits; `None` if it has not exited in time.
fn wait(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    let exit = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    while child.try_wait().unwrap().is_none() {
        let left = until.checked_duration_since(Instant::now())?;
        // If a signal interrupts it, the loop calls it again.
        let _ready = poll(&mut [PollFd::new(&exit, PollFlags::IN)], Some(&Timespec::try_from(left).unwrap()));
    }
    child.try_wait().unwrap()
}

pub(crate) fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Returns the text without colour sequences.
pub(crate) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_removes_only_colours() {
        assert_eq!(plain(b"\x1b[32m[PM2]\x1b[39m ok \x1b[1;36mx\x1b[0m"), "[PM2] ok x");
        assert_eq!(plain("│ ↺ │".as_bytes()), "│ ↺ │");
    }

    #[test]
    fn signal_exit_is_reported_as_code_above_128() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; kill -TERM $$"]);
        let output = run(command, None, "sh".into(), Duration::from_secs(20));
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (143, "out\n", "err\n"));
    }

    #[test]
    #[should_panic(expected = "keeps its output open")]
    fn run_panics_if_child_keeps_output_open() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 4 & exit 0"]);
        run(command, None, "sh".into(), Duration::from_secs(1));
    }
}
