//! Lower bound of the comparison: the system calls of the job, without a manager.
//!
//! ```text
//! floor keep
//!     a parent that reads lines on stdin and answers each with `ok`:
//!     `start N WORD…`       N children running WORD…
//!     `logs DIR N WORD…`    each with two new files there as its output
//!     `groups DIR N WORD…`  also each in a new control group
//!     `stop`                SIGINT to all, waits
//!     `exit`
//!     A child that exits by itself is restarted immediately.
//! floor again N WORD…
//!     N children running WORD…; waits for the exit of any and restarts it, in one thread
//! floor born DIR N WORD…
//!     the same, each with two log files there as its output, in a separate control group
//! floor relay DIR N WORD…
//!     the same, and another process decides about each start
//! floor decide
//!     that other process; questions and answers are numbers on stdin and stdout
//! floor answer SOCK PID…
//!     answers each connection with a table of a hundred rows, or with a hundred times 4 KB of JSON
//! floor list SOCK   asks for the table, prints
//! floor proc SOCK   the same, and the server reads `/proc/PID/stat` of each of its processes first
//! floor json SOCK   asks for the JSON, prints
//! floor date        copies stdin to stdout with a date in front of each line
//! ```

#![forbid(unsafe_code)]

use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::{CStrings, SpawnSpec, cgroup};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["keep"] => run_parent(),
        ["again", count, words @ ..] => run_self(count, words),
        ["born", folder, count, words @ ..] => run_with_decisions(folder, count, words, &mut Ok),
        ["relay", folder, count, words @ ..] => relay(folder, count, words),
        ["decide"] => decide(),
        ["answer", socket, pids @ ..] => answer(socket, pids),
        ["list", socket] => list(socket, *b"list"),
        ["proc", socket] => list(socket, *b"proc"),
        ["json", socket] => list(socket, *b"json"),
        ["date"] => date(),
        _ => Err("unknown words".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "floor: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Event {
    Order(String),
    Ended(i32),
}

/// Runs the parent. One thread reads orders, one waits for children, the main thread acts.
fn run_parent() -> Result<(), Failure> {
    let (send, events) = mpsc::channel();
    let orders = send.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = orders.send(Event::Order(line));
        }
        let _ = orders.send(Event::Order("exit".into()));
    });
    let (wake, any_children) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        while any_children.recv().is_ok() {
            while let Ok(Some((pid, _))) = rustix::process::wait(rustix::process::WaitOptions::empty()) {
                let _ = send.send(Event::Ended(pid.as_raw_nonzero().get()));
            }
        }
    });
    let mut command: Vec<String> = Vec::new();
    let mut pids: Vec<i32> = Vec::new();
    let mut groups: Vec<PathBuf> = Vec::new();
    let mut stopping = false;
    let ok = || writeln!(std::io::stdout(), "ok");
    for event in events {
        match event {
            Event::Order(line) => match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["start", count, words @ ..] => {
                    command = words.iter().map(|word| (*word).to_owned()).collect();
                    for _ in 0..count.parse()? {
                        pids.push(spawn(&command)?);
                    }
                    wake.send(())?;
                    ok()?;
                }
                [order @ ("logs" | "groups"), folder, count, words @ ..] => {
                    let above = if *order == "groups" { Some(group_of_all()?) } else { None };
                    groups.extend(above.clone());
                    for number in 0..count.parse()? {
                        let group = above.as_ref().map(|above: &PathBuf| above.join(format!("{number}")));
                        pids.push(spawn_with_files(Path::new(folder), number, group.as_deref(), words)?);
                        groups.extend(group);
                    }
                    wake.send(())?;
                    ok()?;
                }
                ["stop"] if pids.is_empty() => ok()?,
                ["stop"] => {
                    stopping = true;
                    for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
                        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
                    }
                }
                _ => return Ok(()),
            },
            Event::Ended(pid) => {
                pids.retain(|known| *known != pid);
                if stopping && pids.is_empty() {
                    stopping = false;
                    // Inner groups first.
                    groups.drain(..).rev().try_for_each(|group| cgroup::remove(&group))?;
                    ok()?;
                } else if !stopping {
                    pids.push(spawn(&command)?);
                    wake.send(())?;
                }
            }
        }
    }
    Ok(())
}

fn spawn(command: &[String]) -> Result<i32, Failure> {
    let (program, words) = command.split_first().ok_or("nothing to start")?;
    let child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    Ok(i32::try_from(child.id())?)
}

/// Returns the control group in which those of the children are created.
fn group_of_all() -> Result<PathBuf, Failure> {
    let group = cgroup::own().ok_or("no control groups here")?.join(format!("floor-{}", std::process::id()));
    cgroup::make(&group)?;
    Ok(group)
}

/// Starts a child with two separate log files, in a new control group if one is given.
fn spawn_with_files(folder: &Path, number: usize, group: Option<&Path>, words: &[&str]) -> Result<i32, Failure> {
    let text = |word: &str| CString::new(word);
    let log = |name: &str| OpenOptions::new().append(true).create(true).open(folder.join(format!("{name}-{number}.log")));
    let (out, err) = (log("out")?, log("err")?);
    let group: Option<OwnedFd> = group.map(cgroup::open).transpose()?;
    let spec = SpawnSpec {
        program: text(words.first().ok_or("nothing to start")?)?,
        argv: words.iter().map(|word| text(word)).collect::<Result<CStrings, _>>()?,
        envp: std::env::vars().map(|(name, value)| CString::new(format!("{name}={value}"))).collect::<Result<CStrings, _>>()?,
        ..SpawnSpec::default()
    };
    let placement = Placement { cgroup: group.as_ref().map(AsFd::as_fd), ..Placement::default() };
    Ok(spawn_at(&spec, &[(out.as_fd(), 1), (err.as_fd(), 2)], placement)?.pid)
}

/// Measures the shortest way from the exit of a child to its next start: one thread that waits.
fn run_self(count: &str, words: &[&str]) -> Result<(), Failure> {
    let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for _ in 0..count.parse()? {
        spawn(&command)?;
    }
    while rustix::process::wait(rustix::process::WaitOptions::empty())?.is_some() {
        spawn(&command)?;
    }
    Ok(())
}

/// Measures the same for a manager that keeps logs and lets no process escape. `decide` returns the
/// number of the child to start after this one has exited.
fn run_with_decisions(
    folder: &str,
    count: &str,
    words: &[&str],
    decide: &mut dyn FnMut(usize) -> Result<usize, Failure>,
) -> Result<(), Failure> {
    let above = group_of_all()?;
    let spawn = |number: usize| spawn_with_files(Path::new(folder), number, Some(&above.join(format!("{number}"))), words);
    let mut pids = (0..count.parse()?).map(spawn).collect::<Result<Vec<i32>, _>>()?;
    while let Some((ended, _)) = rustix::process::wait(rustix::process::WaitOptions::empty())? {
        let Some(number) = pids.iter().position(|pid| *pid == ended.as_raw_nonzero().get()) else { continue };
        let next = decide(number)?;
        pids[next] = spawn(next)?;
    }
    Ok(())
}

/// Measures a parent that outlives the deciding process, as a keeper does: two messages between
/// processes for each start.
fn relay(folder: &str, count: &str, words: &[&str]) -> Result<(), Failure> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let output = Stdio::from(OwnedFd::from(theirs.try_clone()?));
    let mut decider = Command::new(std::env::current_exe()?).arg("decide").stdin(OwnedFd::from(theirs)).stdout(output).spawn()?;
    let relayed = run_with_decisions(folder, count, words, &mut |number| {
        ours.write_all(&number.to_ne_bytes())?;
        let mut answer = [0; size_of::<usize>()];
        ours.read_exact(&mut answer)?;
        Ok(usize::from_ne_bytes(answer))
    });
    decider.kill()?;
    relayed
}

fn decide() -> Result<(), Failure> {
    let mut question = [0; size_of::<usize>()];
    while std::io::stdin().lock().read_exact(&mut question).is_ok() {
        std::io::stdout().lock().write_all(&question)?;
        std::io::stdout().lock().flush()?;
    }
    Ok(())
}

fn answer(socket: &str, pids: &[&str]) -> Result<(), Failure> {
    // As wide as ostler's table.
    let row = |id: usize| {
        let cells =
            "│ default     │ N/A     │ fork    │ 123456   │ 10m    │ 0    │ online    │ 0%       │ 1.8mb    │ root     │ disabled │";
        format!("│ {id:<2} │ app-{id:<5} {cells}\n")
    };
    let rows: String = (0..100).map(row).collect();
    let files: Vec<String> = pids.iter().map(|pid| format!("/proc/{pid}/stat")).collect();
    let mut line = [0; 1024];
    let variable = r#""VARIABLE":"/usr/local/sbin:/usr/local/bin:/usr/bin:/bin","#;
    let json = format!("[{}null]", format!("{{{}\"pm_id\":0}},", variable.repeat(4000 / variable.len())).repeat(100));
    for stream in UnixListener::bind(socket)?.incoming() {
        let mut stream = stream?;
        let mut request = [0; 4];
        stream.read_exact(&mut request)?;
        if request == *b"proc" {
            for file in &files {
                let read = std::fs::File::open(file)?.read(&mut line)?;
                std::hint::black_box(line.get(..read));
            }
        }
        stream.write_all(if request == *b"json" { json.as_bytes() } else { rows.as_bytes() })?;
    }
    Ok(())
}

fn list(socket: &str, what: [u8; 4]) -> Result<(), Failure> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&what)?;
    let mut rows = Vec::with_capacity(16_384);
    stream.read_to_end(&mut rows)?;
    std::io::stdout().write_all(&rows)?;
    Ok(())
}

/// Copies stdin with dates; the date is formatted once per second.
fn date() -> Result<(), Failure> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut block = vec![0; 256 * 1024];
    let mut out = Vec::with_capacity(512 * 1024);
    let mut begin_of_line = true;
    let mut stamp = (0, Vec::new());
    loop {
        let read = input.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        let second = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        if stamp.0 != second {
            stamp = (second, format!("2026-01-01 00:{:02}:{:02}: ", second / 60 % 60, second % 60).into_bytes());
        }
        let mut rest = block.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            if begin_of_line {
                out.extend_from_slice(&stamp.1);
            }
            let end = memchr::memchr(b'\n', rest);
            begin_of_line = end.is_some();
            let (line, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            out.extend_from_slice(line);
            rest = after;
        }
        output.write_all(&out)?;
        out.clear();
    }
}
