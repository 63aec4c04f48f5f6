//! Which part of ostler made a call.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::str::FromStr;

use ostler_sys::seccomp::traps::TrappedSyscall;

use crate::procs;

/// Part of ostler with its own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The command that a user runs.
    Command,
    /// The keeper.
    Keeper,
    /// The standby, also called anchor.
    Standby,
    /// The daemon.
    Daemon,
    /// The dashboard's server.
    Dashboard,
    /// The process that reads log files for clients of PM2's socket.
    LogReader,
    /// Copy of a process of ostler that is about to execute a program.
    Child,
}

impl Part {
    /// All parts, with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Command, "command"),
        (Self::Keeper, "keeper"),
        (Self::Standby, "standby"),
        (Self::Daemon, "daemon"),
        (Self::Dashboard, "dashboard"),
        (Self::LogReader, "log-reader"),
        (Self::Child, "child"),
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(part, _)| part == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(part, _)| *part).ok_or_else(|| format!("no part is named {text}"))
    }
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    pid: i32,
    /// `None`: an app, or another program.
    part: Option<Part>,
}

/// Cache of the threads that made calls.
#[derive(Debug, Default)]
pub(super) struct Known {
    threads: HashMap<i32, Thread>,
    /// Processes whose `main` runs. Before that, the dynamic linker and the language's runtime
    /// prepare the process; their messages and exits are not ours.
    running: HashMap<i32, bool>,
}

impl Known {
    /// Returns the part that made the call, or `None` if no fault may be injected.
    pub(super) fn part_of(&mut self, call: &TrappedSyscall) -> Option<Part> {
        let thread = match self.threads.get(&call.thread) {
            Some(known) => *known,
            None => {
                let found = look(call.thread)?;
                // A copy becomes a standby or another program without a call that shows it.
                if found.part != Some(Part::Child) {
                    self.threads.insert(call.thread, found);
                }
                found
            }
        };
        match call.number {
            libc::SYS_execve | libc::SYS_execveat => {
                // The call may change the part of the thread, so it is looked up again.
                self.threads.retain(|_, other| other.pid != thread.pid);
                let was_running = thread.part == Some(Part::Child) || self.running.remove(&thread.pid).unwrap_or(false);
                return thread.part.filter(|_| was_running);
            }
            libc::SYS_exit | libc::SYS_exit_group => {
                if call.number == libc::SYS_exit_group {
                    self.threads.retain(|_, other| other.pid != thread.pid);
                    self.running.remove(&thread.pid);
                }
                self.threads.remove(&call.thread);
                return None;
            }
            _ => {}
        }
        match thread.part? {
            // These are forked from a running program.
            part @ (Part::Child | Part::Standby) => Some(part),
            part => {
                // The runtime registers an alternative stack for signals last, immediately before
                // `main`.
                let is_running = self.running.entry(thread.pid).or_default();
                let was_running = *is_running;
                *is_running |= call.number == libc::SYS_sigaltstack && call.arguments[0] != 0;
                was_running.then_some(part)
            }
        }
    }
}

fn look(thread: i32) -> Option<Thread> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<i32>().ok());
    let (pid, parent) = (field("Tgid:")?, field("PPid:")?);
    let part = part(pid);
    // A copy shows the role, title and program of its parent.
    let is_copy = |part: Part| part != Part::Standby && self::part(parent) == Some(part) && same_program(pid, parent);
    Some(Thread { pid, part: part.map(|part| if is_copy(part) { Part::Child } else { part }) })
}

fn same_program(one: i32, other: i32) -> bool {
    let title = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    title(one) == title(other)
}

fn part(pid: i32) -> Option<Part> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = program.file_name()?.to_str()?;
    if !name.starts_with("ostler") || name.starts_with("ostler-fixture") {
        return None;
    }
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if words.split(|byte| *byte == 0).nth(1) == Some(b"web-server") {
        return Some(Part::Dashboard);
    }
    Some(match procs::try_variable(pid, "OSTLER_ROLE").as_deref() {
        Some("keeper") => Part::Keeper,
        Some("anchor") => Part::Standby,
        Some("daemon") => Part::Daemon,
        Some("log-reader") => Part::LogReader,
        Some(_) => return None,
        None => Part::Command,
    })
}
