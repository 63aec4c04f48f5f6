//! All hosts at once: their connections, their output line by line, and the outcome of each host.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use ostler_core::message;
use ostler_fleet::ssh::{Host, LOST, retry};

use super::action::Action;
use super::script::{self, JobRun};
use super::ssh::{self, HELLO, ScriptSource};
use super::target::Target;

/// Longest line of a host that is shown in one piece.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Lines that wait to be shown. A host that sends more is blocked until some were shown.
const QUEUED_LINES: usize = 256;

/// Replaces the exit code if the followed deployment is not the requested one.
const OTHER_RUN: i32 = 76;

/// First word of the line in which a host names the run that it follows.
const RUN_LINE: &str = "ostler-deploy run ";

/// Result of an action on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The action succeeded.
    Done,
    /// The new release was not healthy, so the former one was restored.
    RolledBack,
    /// The action failed. The output above explains it, except for this text.
    Failed(Option<String>),
}

/// Returns the outcome for an exit code. `is_job`: the code is that of a job; other commands have
/// their own codes.
fn outcome(is_job: bool, code: i32) -> Outcome {
    let why = match (is_job, code) {
        (_, 0) => return Outcome::Done,
        (true, 5) => return Outcome::RolledBack,
        (true, 70) => message!("it was killed on the host; run it again"),
        (true, OTHER_RUN) => message!("another deployment was already running; this deployment was not started"),
        (true, 1 | 77) => return Outcome::Failed(None),
        (_, LOST) => message!("no connection"),
        (_, code) => return Outcome::Failed(Some(message!("exit code {code}", code))),
    };
    Outcome::Failed(Some(why))
}

/// Performs the action on all hosts at once. `on_line` receives each line of output with the number of
/// its host. A single host that runs no job uses the terminal directly. `apps` and `file` come from
/// the config.
///
/// # Errors
/// Returns an error if no `ssh` process can be started.
pub(crate) fn run(target: &Target, action: &Action, file: &str, apps: &[String], on_line: &mut dyn FnMut(usize, &str)) -> Vec<Outcome> {
    let job = script::job(target, action, file, apps);
    let given = match &job {
        // The job runs in the foreground, because a terminal closes together with its connection.
        Some(job) if target.needs_tty => Some(format!("set -- '' '' ''\n{job}")),
        Some(_) => None,
        None => script::query(target, action),
    };
    if let Some(script) = given.as_deref().filter(|_| target.needs_tty || target.hosts.len() == 1) {
        let each = |host: &Host| match ssh::process(target, host, ScriptSource::Argument(script)).status() {
            Ok(status) => outcome(action.is_job(), status.code().unwrap_or(LOST)),
            Err(error) => not_started(&error),
        };
        return target.hosts.iter().map(each).collect();
    }
    let (sender, lines) = sync_channel::<(usize, String)>(QUEUED_LINES);
    thread::scope(|scope| {
        let each = |(number, host)| {
            let (sender, job, given) = (sender.clone(), job.as_deref(), given.as_deref());
            scope.spawn(move || {
                let lines = LineSender { number, sender };
                match (given, job) {
                    (Some(script), _) => run_query(target, host, script, &lines),
                    (None, Some(job)) => follow(target, host, job, &lines),
                    (None, None) => Outcome::Done,
                }
            })
        };
        let threads: Vec<_> = target.hosts.iter().enumerate().map(each).collect();
        drop(sender);
        for (number, line) in lines {
            on_line(number, &line);
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or(Outcome::Failed(Some(message!("it panicked"))))).collect()
    })
}

fn not_started(error: &io::Error) -> Outcome {
    Outcome::Failed(Some(match error.kind() {
        io::ErrorKind::NotFound => message!("cannot run ssh: {error}: is it installed?", error),
        _ => message!("cannot run ssh: {error}", error),
    }))
}

/// Sender of a host's lines to the terminal.
#[derive(Clone)]
struct LineSender {
    number: usize,
    sender: SyncSender<(usize, String)>,
}

impl LineSender {
    fn line(&self, line: &str) {
        // The receiver outlives all senders.
        let _ = self.sender.send((self.number, line.to_owned()));
    }
}

/// Runs a command and shows its output; the command leaves no job behind.
fn run_query(target: &Target, host: &Host, script: &str, lines: &LineSender) -> Outcome {
    let mut process = ssh::process(target, host, ScriptSource::Argument(script));
    let mut child = match process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return not_started(&error),
    };
    let errors = errors_of(&mut child, lines);
    if let Some(stdout) = child.stdout.take() {
        read_lines(stdout, &mut |line, _| lines.line(line));
    }
    let code = child.wait().ok().and_then(|status| status.code()).unwrap_or(LOST);
    errors.map(thread::JoinHandle::join);
    outcome(false, code)
}

/// Starts the job and follows it over as many connections as it takes.
fn follow(target: &Target, host: &Host, job: &str, lines: &LineSender) -> Outcome {
    let mut run = JobRun { id: new_id(), received: 0, may_start: true, is_other: false };
    let (mut was_there, mut in_vain) = (false, 0);
    loop {
        let before = run.received;
        let code = match connection(target, host, job, &mut run, &mut was_there, lines) {
            Ok(code) => code,
            Err(error) => return not_started(&error),
        };
        if code != LOST {
            return outcome(true, if run.is_other { OTHER_RUN } else { code });
        }
        in_vain = if run.received > before { 0 } else { in_vain + 1 };
        let Some(wait) = retry(was_there, in_vain) else {
            let what = if was_there {
                message!("connection lost; the deployment continues on the host. Run the same command to follow it again")
            } else {
                message!("no connection; nothing was changed")
            };
            return Outcome::Failed(Some(what));
        };
        lines.line(&message!("--> connection lost; the deployment continues on the host. Connecting again"));
        thread::sleep(wait);
    }
}

/// Makes one connection; returns its exit code.
fn connection(target: &Target, host: &Host, job: &str, run: &mut JobRun, was_there: &mut bool, lines: &LineSender) -> io::Result<i32> {
    let mut process = ssh::process(target, host, ScriptSource::Stdin);
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let errors = errors_of(&mut child, lines);
    let mut stdin = child.stdin.take();
    let mut feeder = None;
    let mut is_answer_there = false;
    if let Some(stdout) = child.stdout.take() {
        read_lines(stdout, &mut |line, bytes| {
            if is_answer_there {
                run.received += bytes as u64;
                lines.line(line);
            } else if line == HELLO {
                *was_there = true;
                let script = script::follow(target, run, job);
                // A separate thread writes, so that a shell that prints something before it reads
                // does not block. If the shell stops reading, its exit code gives the reason.
                feeder = stdin.take().map(|mut stdin| thread::spawn(move || drop(stdin.write_all(script.as_bytes()))));
            } else if let Some((id, kind)) = line.strip_prefix(RUN_LINE).and_then(|rest| rest.split_once(' ')) {
                is_answer_there = true;
                if run.may_start && kind != "mine" {
                    lines.line(&message!("--> a deployment is already running here: following it"));
                }
                run.is_other |= kind == "other";
                // From now on the client follows only that run.
                (run.id, run.may_start) = (id.to_owned(), false);
            } else {
                // Output of the login shell.
                lines.line(line);
            }
        });
    }
    drop(stdin);
    let code = child.wait()?.code().unwrap_or(LOST);
    feeder.map(thread::JoinHandle::join);
    errors.map(thread::JoinHandle::join);
    Ok(code)
}

/// Shows the error output of a child.
fn errors_of(child: &mut Child, lines: &LineSender) -> Option<thread::JoinHandle<()>> {
    let (stderr, lines) = (child.stderr.take()?, lines.clone());
    Some(thread::spawn(move || read_lines(stderr, &mut |line, _| lines.line(line))))
}

/// Reads to the end, line by line. A line that is too long arrives in pieces. Each call also gets
/// the number of bytes, including the line end.
fn read_lines(stream: impl Read, line: &mut dyn FnMut(&str, usize)) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']), count),
        }
    }
}

/// Returns a name for a run that is unique on this host.
fn new_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = std::ptr::from_ref(&now).addr();
    format!("{:x}-{:x}-{:x}", now.as_nanos(), std::process::id(), count & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_exit_code() {
        for (is_job, code, expected) in [
            (true, 0, Outcome::Done),
            (false, 0, Outcome::Done),
            (true, 5, Outcome::RolledBack),
            (true, 1, Outcome::Failed(None)),
            (true, 77, Outcome::Failed(None)),
            (false, 5, Outcome::Failed(Some("exit code 5".into()))),
            (false, 255, Outcome::Failed(Some("no connection".into()))),
        ] {
            assert_eq!(outcome(is_job, code), expected, "{is_job} {code}");
        }
        assert!(matches!(outcome(true, 70), Outcome::Failed(Some(_))) && matches!(outcome(true, 76), Outcome::Failed(Some(_))));
    }

    #[test]
    fn read_lines_reports_text_and_byte_length() {
        let mut seen = Vec::new();
        read_lines(&b"a\r\n\nb\xff\nlast"[..], &mut |line, bytes| seen.push((line.to_owned(), bytes)));
        assert_eq!(seen, [("a".into(), 3), (String::new(), 1), ("b\u{fffd}".into(), 3), ("last".into(), 4)]);
        let long = vec![b'x'; MAX_LINE_BYTES + 5];
        seen.clear();
        read_lines(&long[..], &mut |line, bytes| seen.push((line.len().to_string(), bytes)));
        assert_eq!(seen.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [MAX_LINE_BYTES, 5]);
    }
}
