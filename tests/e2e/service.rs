//! The main process of a service, as service managers expect it: in the foreground, controlled by
//! signals, and reporting by `sd_notify`. (With a real systemd: tests/systemd.)

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use ostler_testkit::{Home, KilledOnDrop, alive, kill};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

struct Service {
    child: KilledOnDrop,
    socket: UnixDatagram,
}

impl Service {
    fn start(home: &Home, words: &str, watchdog: Option<Duration>) -> Self {
        let path = home.work().join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut command: Command = home.cmd(words).env("NOTIFY_SOCKET", &path).command();
        if let Some(period) = watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        Self { child: KilledOnDrop(command.spawn().unwrap()), socket }
    }

    /// Waits for the next message with this text.
    #[track_caller]
    fn wait_for_message(&self, text: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let len = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {text:?}: {error}"));
            let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if message.contains(text) {
                return message;
            }
        }
    }
}

fn saved(home: &Home) {
    start_fixture(home, "one", "", "hold");
    start_fixture(home, "two", "-f", "hold");
    home.ok("save");
    home.ok("kill");
}

#[test]
fn service_is_ready_with_its_apps_and_stops_them() {
    let home = home();
    saved(&home);
    let mut service = Service::start(&home, "service run", None);
    assert_eq!(service.wait_for_message("READY=1"), "READY=1\nWATCHDOG=1\nSTATUS=2 of 2 instances online when it became ready");
    let pids: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    kill(service.child.pid(), Signal::TERM);
    service.wait_for_message("STOPPING=1");
    let extended = service.wait_for_message("EXTEND_TIMEOUT_USEC=");
    assert!(extended.trim_start_matches("EXTEND_TIMEOUT_USEC=").parse::<u64>().unwrap() > 5_000_000, "{extended}");
    assert_eq!(home.wait_exit_code(&mut service.child), 0);
    assert!(!pids.iter().any(|pid| alive(*pid)));
    assert!(home.processes().is_empty());
}

#[test]
fn service_survives_deaths_of_itself_daemon_and_keeper() {
    let home = home();
    saved(&home);
    let mut service = Service::start(&home, "service run", None);
    service.wait_for_message("READY=1");
    let pids = || home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>();
    let before = pids();
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("a daemon answers", || home.run("ping").code == 0);
    assert_eq!(pids(), before);
    home.kill_all_three();
    service.wait_for_message("STATUS=2 of 2");
    assert_eq!(pids(), before, "after both were killed");
    kill(service.child.pid(), Signal::KILL);
    home.wait_exit_code(&mut service.child);
    let mut service = Service::start(&home, "service run", None);
    service.wait_for_message("READY=1");
    assert_eq!(pids(), before, "with another main process");
    // The process exits, and the processes that it watched stay.
    kill(service.child.pid(), Signal::USR1);
    assert_eq!(home.wait_exit_code(&mut service.child), 0);
    assert_eq!(pids(), before);
    let mut service = Service::start(&home, "service run", None);
    service.wait_for_message("READY=1");
    home.ok("kill");
    assert_eq!(home.wait_exit_code(&mut service.child), 0);
}

#[test]
fn service_keeps_its_pid_across_update() {
    let home = home();
    saved(&home);
    let mut service = Service::start(&home, "service run", None);
    service.wait_for_message("READY=1");
    let pids = || home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>();
    let (before, daemon, pid) = (pids(), home.daemon_pid(), service.child.pid());
    home.cmd("service reload").env("MAINPID", pid.to_string()).run().ok();
    service.wait_for_message("READY=1");
    assert!(pids() == before && home.daemon_pid() != daemon && alive(pid));
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.ends_with("service\0run\0again\0"), "{words:?}");
    kill(pid, Signal::TERM);
    assert_eq!(home.wait_exit_code(&mut service.child), 0);
    assert!(home.processes().is_empty());
}

/// The watchdog gets signs of life while daemon and keeper live. Both are replaced when they hang.
#[test]
fn watchdog_detects_hanging_daemon_and_keeper() {
    let home = home();
    saved(&home);
    let service = Service::start(&home, "service run", Some(Duration::from_secs(6)));
    service.wait_for_message("READY=1");
    let pids = || home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>();
    let before = pids();
    service.wait_for_message("WATCHDOG=1");
    for stopped in [home.daemon_pid(), home.keeper_pid()] {
        kill(stopped, Signal::STOP);
        home.wait_until("who stands still is replaced", || !alive(stopped));
        service.wait_for_message("WATCHDOG=1");
        home.wait_until("a daemon answers", || home.run("ping").code == 0);
        assert_eq!(pids(), before);
    }
    // Each was replaced only once.
    assert_eq!(home.daemon_log().matches("starting a new one").count(), 1);
}

#[test]
fn invalid_service_commands_are_rejected() {
    let home = home();
    home.run("service").code(2);
    home.run("service stop").code(2).says("stop");
    home.cmd("service reload").env("MAINPID", "1").run().ok().says("no daemon is running");
}
