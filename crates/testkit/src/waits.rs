//! Waits for processes, answers and connections of a home.

use std::os::unix::net::UnixStream;
use std::process::Child;

use rustix::process::Signal;

use crate::home::{DEADLINE, Home};
use crate::load::Load;
use crate::output;
use crate::procs::{alive, kill, state};

impl Home {
    /// Waits until this process has exited.
    #[track_caller]
    pub fn wait_exit(&self, pid: i32) {
        self.wait_until(&format!("process {pid} has exited"), || !alive(pid));
    }

    /// Waits until this child exits. Returns its exit code, or 128 + signal.
    #[track_caller]
    pub fn wait_exit_code(&self, child: &mut Child) -> i32 {
        let mut status = None;
        self.wait_until("the command has exited", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        output::code_of(status.expect("it has exited"))
    }

    /// Waits until no process of this home is left, neither the manager's nor an app's.
    #[track_caller]
    pub fn wait_no_processes(&self) {
        self.wait_until("no process of the home is left", || self.processes().is_empty());
    }

    /// Waits until this many more requests are answered.
    #[track_caller]
    pub fn wait_requests(&self, load: &Load, more: u64) {
        let good = load.good();
        self.wait_until("requests are answered", || load.good() > good + more);
    }

    /// Connects to a socket in the manager's home (`ostler.sock`); reads and writes time out.
    #[track_caller]
    pub fn connect(&self, socket: &str) -> UnixStream {
        let stream = UnixStream::connect(self.dir().join(socket)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Fails the test if a process of an app is left.
    #[track_caller]
    pub fn assert_no_app_processes(&self) {
        let left = self.app_processes();
        assert!(left.is_empty(), "left behind: {left:?}\n{}", self.report());
    }

    /// Sends SIGSTOP to a process, and waits until it is stopped. Returns its pid.
    #[track_caller]
    pub fn stop_process(&self, pid: i32) -> i32 {
        kill(pid, Signal::STOP);
        self.wait_until(&format!("process {pid} is stopped"), || state(pid) == Some('T'));
        pid
    }

    /// Sends SIGKILL to the daemon, and waits until another one runs.
    #[track_caller]
    pub fn kill_daemon(&self) {
        let daemon = self.daemon_pid();
        kill(daemon, Signal::KILL);
        self.wait_other_daemon(daemon);
    }

    /// Waits until this daemon has exited and another one runs.
    #[track_caller]
    pub fn wait_other_daemon(&self, former: i32) {
        self.wait_until("another daemon runs", || {
            let daemons = self.daemons();
            assert!(daemons.len() <= 1 || daemons.contains(&former), "two daemons: {daemons:?}");
            daemons.len() == 1 && daemons[0] != former && !alive(former)
        });
    }

    /// Sends SIGKILL to the keeper, and waits until another one runs.
    #[track_caller]
    pub fn kill_keeper(&self) {
        let keeper = self.keeper_pid();
        kill(keeper, Signal::KILL);
        self.wait_other_keeper(keeper);
    }

    /// Waits until this keeper has exited and another one runs.
    #[track_caller]
    pub fn wait_other_keeper(&self, former: i32) {
        self.wait_until("another keeper runs", || !alive(former) && self.dir().join("pm2.pid").exists() && self.keeper_pid() != former);
    }
}
