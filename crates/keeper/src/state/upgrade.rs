//! Upgrade to a new binary with the same pid. The children stay ours, the subreaper stays the
//! subreaper and `pm2.pid` stays correct.
//!
//! 1. Open the file. A child runs it to check whether it works here and understands our state. A
//!    keeper that became the wrong program would leave every app without supervision.
//! 2. Write the state, let the descriptors survive, `execve`. Signals stay blocked, so exits in
//!    that time stay pending.
//! 3. The new image reads the state (`Keeper::resume`), asks the old daemon to retire, and starts a
//!    new one when that has exited.
//!
//! A failure before the `execve` succeeds leaves everything unchanged.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ostler_sys::process::Target;
use ostler_sys::process::exec::replace;
use ostler_sys::process::signal::KILL;
use ostler_sys::seccomp::inspection::is_copying;
use ostler_sys::{SpawnSpec, WaitStatus, process::child, spawn, time::clock};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::environment::{CHECK_VAR, ROLE_VAR, STATE_FD_VAR};
use crate::keeper::{Check, Keeper};
use crate::launch::EXIT_CHECKED;
use crate::link::message::FromKeeper;
use crate::state::{KeeperState, number};
use crate::title::keeper_title;

/// Time for the new binary to start, read the state and exit.
const CHECK_MS: u64 = 5_000;
/// Descriptor number of the state in the child that checks it.
const CHECK_FD: i32 = 3;

/// Reason why an upgrade failed: step and errno.
type Failure = (&'static str, i32);

impl Keeper {
    pub(crate) fn begin_upgrade(&mut self, exe: &Path) {
        if self.check.is_some() {
            return self.upgrade_failed(("check", Errno::ALREADY.raw_os_error()));
        }
        match self.start_check(exe) {
            Ok(check) => self.check = Some(check),
            Err(failure) => self.upgrade_failed(failure),
        }
    }

    fn upgrade_failed(&mut self, (step, errno): Failure) {
        self.send(&FromKeeper::UpgradeFailed { step: step.to_owned(), errno }, &[]);
    }

    fn start_check(&self, exe: &Path) -> Result<Check, Failure> {
        // By descriptor, so that the keeper later executes exactly the file that was checked.
        let exe = rustix::fs::open(exe, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open"))?;
        // This number must differ from the one at which the checking child gets the state;
        // otherwise the state would be executed.
        let exe = rustix::io::fcntl_dupfd_cloexec(&exe, CHECK_FD + 1).map_err(failed("open"))?;
        let memory = self.state().to_memfd().map_err(failed("check"))?;
        let number = CHECK_FD.to_string();
        let spec = SpawnSpec {
            program: path_of(&exe),
            argv: [c"ostler: check"].into(),
            envp: self.environment(&[(ROLE_VAR, "keeper"), (STATE_FD_VAR, &number), (CHECK_VAR, "1")]),
            cwd: c"/".into(),
            ..SpawnSpec::default()
        };
        let fds = [(rustix::stdio::stderr(), 2), (memory.as_fd(), CHECK_FD)];
        let process = spawn(&spec, &fds).map_err(|error| ("check", error.errno))?;
        Ok(Check { pid: process.pid, deadline_ms: clock::boot_ms() + CHECK_MS, exe })
    }

    pub(crate) fn check_took_too_long(&mut self) {
        let Some(check) = self.check.take() else { return };
        // Its exit arrives later, as the exit of an orphan.
        let _ = child::signal(check.pid, KILL, Target::Process);
        self.upgrade_failed(("check", Errno::TIMEDOUT.raw_os_error()));
    }

    /// Handles the verdict of the new binary.
    pub(crate) fn checked(&mut self, ending: WaitStatus) {
        let Some(check) = self.check.take() else { return };
        if ending != WaitStatus::Code(i32::from(EXIT_CHECKED)) {
            return self.upgrade_failed(("check", 0));
        }
        // `execve` waits for the end of every thread, and nothing ends a thread that is blocked in a
        // file system without an answer.
        if is_copying() {
            return self.upgrade_failed(("read", Errno::BUSY.raw_os_error()));
        }
        let errno = match self.become_binary(&check.exe) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        self.upgrade_failed(errno);
    }

    /// Becomes the new binary. Returns only if that failed, with everything as before.
    fn become_binary(&self, exe: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
        let memory = self.state().to_memfd().map_err(failed("exec"))?;
        let survivors: Vec<_> = self.survivors().chain([memory.as_fd()]).collect();
        let number = memory.as_raw_fd().to_string();
        let envp = self.environment(&[(ROLE_VAR, "keeper"), (STATE_FD_VAR, &number)]);
        let argv = [keeper_title(&self.home, self.as_pm2)].into_iter().collect();
        let exec = || {
            survivors.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))?;
            Err(replace(&path_of(exe), &argv, &envp))
        };
        let failure = exec().map_err(failed("exec"));
        for fd in &survivors {
            let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        failure
    }

    /// Returns the state for the next keeper, with the descriptor numbers of this process.
    fn state(&self) -> KeeperState {
        KeeperState {
            home: self.home.clone(),
            as_pm2: self.as_pm2,
            originals: self.originals,
            children: self.children.list().map(|(child, pidfd)| (child, pidfd.map(number))).collect(),
            held: self.anchor().chain(self.held.iter()).map(|(name, fd)| (name.clone(), number(fd))).collect(),
            daemon: self.daemon.state(true).map(|(daemon, _)| daemon),
            signals: self.unsent_signals,
        }
    }

    /// Returns the link to the anchor in the form of a held descriptor.
    fn anchor(&self) -> impl Iterator<Item = (&String, BorrowedFd<'_>)> {
        self.anchors.link().map(|link| (link.name(), link.as_fd())).into_iter()
    }

    /// Returns every descriptor that the state names.
    fn survivors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let held = self.anchor().chain(self.held.iter()).map(|(_, fd)| fd);
        let pidfds = self.children.list().filter_map(|(_, pidfd)| pidfd);
        held.chain(pidfds).chain(self.daemon.state(true).and_then(|(_, link)| link))
    }
}

fn failed(step: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| (step, errno.raw_os_error())
}

fn path_of(exe: &OwnedFd) -> CString {
    CString::new(format!("/proc/self/fd/{}", exe.as_raw_fd())).unwrap_or_default()
}
