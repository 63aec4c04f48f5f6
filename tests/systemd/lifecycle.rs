//! Effects of `systemctl` and of crashes on a service, and that its apps keep running.

use ostler_testkit::{Machine, alive, kill, needs_machine};
use rustix::process::Signal;

use crate::setup::{UNIT, binary, pids, with_unit};

pub fn main_pid(machine: &Machine) -> i32 {
    machine.property(UNIT, "MainPID").parse().unwrap()
}

/// Returns the pids of keeper and daemon, as the machine counts them.
pub fn supervisors(machine: &Machine) -> (i32, i32) {
    let keeper: i32 = machine.read("/root/.ostler/pm2.pid").parse().unwrap();
    let mut daemon = None;
    machine.wait_until("there is one daemon", || {
        let found = machine.run("pgrep -x ostler-daemon").stdout;
        daemon = found.trim().parse().ok();
        daemon.is_some()
    });
    (keeper, daemon.unwrap())
}

pub fn signal(machine: &Machine, pid: i32, signal: Signal) {
    let outside = machine.outside(pid).unwrap();
    kill(outside, signal);
    if signal == Signal::KILL {
        machine.wait_until("it is dead", || !alive(outside));
    }
}

/// Waits until the service answers again, and returns the pids of its apps.
#[track_caller]
pub fn settled(machine: &Machine) -> Vec<(String, i32)> {
    machine.wait_unit(UNIT, "active");
    machine.wait_until("the daemon answers", || machine.run("ostler ping").code == 0);
    pids(machine)
}

#[test]
fn unit_restart_keeps_every_process() {
    needs_machine!();
    let machine = with_unit(&["a", "b"]);
    let (before, main_process, (keeper, daemon)) = (pids(&machine), main_pid(&machine), supervisors(&machine));
    machine.ok(["systemctl", "restart", UNIT]);
    assert_eq!(settled(&machine), before);
    let (keeper_now, daemon_now) = supervisors(&machine);
    // The keeper has replaced its program in place; the daemon is a new process.
    assert!(main_pid(&machine) != main_process && keeper_now == keeper && daemon_now != daemon, "{}", machine.diagnostics());
    assert_eq!(machine.read("/srv/order"), "", "an app was told to end");
}

#[test]
fn unit_stop_stops_apps_and_all_managers() {
    needs_machine!();
    let machine = with_unit(&["a", "b"]);
    let before = pids(&machine);
    machine.ok(["systemctl", "stop", UNIT]);
    assert_eq!(machine.property(UNIT, "Result"), "success");
    let mut told: Vec<_> = machine.read("/srv/order").split_whitespace().map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, ["a", "b"], "{}", machine.diagnostics());
    for (_, pid) in before {
        assert!(machine.outside(pid).is_none());
    }
    machine.run("pgrep ostler").fails();
    machine.ok(["systemctl", "start", UNIT]);
    assert_eq!(settled(&machine).len(), 2);
}

#[test]
fn shutdown_stops_apps_gracefully_and_boot_restarts_them() {
    needs_machine!();
    let mut machine = with_unit(&["a", "b"]);
    machine.shut_down_and_boot();
    assert_eq!(settled(&machine).len(), 2);
    let mut told: Vec<_> = machine.read("/srv/order").split_whitespace().map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, ["a", "b"], "{}", machine.diagnostics());
}

#[test]
fn unit_reload_runs_new_program_and_keeps_processes() {
    needs_machine!();
    let machine = with_unit(&["a", "b"]);
    let (before, main_process, (keeper, daemon)) = (pids(&machine), main_pid(&machine), supervisors(&machine));
    // The package is updated: another file at the same path.
    machine.install(&binary());
    machine.ok(["systemctl", "reload", UNIT]);
    assert_eq!(settled(&machine), before);
    let (keeper_now, daemon_now) = supervisors(&machine);
    assert!(main_pid(&machine) == main_process && keeper_now == keeper && daemon_now != daemon, "{}", machine.diagnostics());
    for pid in [main_process, keeper_now, daemon_now] {
        let exe = format!("/proc/{pid}/exe");
        machine.wait_until("the new program runs", || !machine.ok(["readlink", &exe]).stdout.contains("deleted"));
    }
    // The service can still be stopped.
    machine.ok(["systemctl", "stop", UNIT]);
    machine.run("pgrep ostler").fails();
}

#[test]
fn apps_survive_killed_service_daemon_and_keeper() {
    needs_machine!();
    let machine = with_unit(&["a", "b"]);
    let before = pids(&machine);
    let main_process = main_pid(&machine);
    let (keeper, daemon) = supervisors(&machine);
    signal(&machine, daemon, Signal::KILL);
    assert_eq!(settled(&machine), before, "after the daemon");
    signal(&machine, keeper, Signal::KILL);
    assert_eq!(settled(&machine), before, "after the keeper");
    // Both at the same time: they are stopped first, because they restart each other.
    let (keeper, daemon) = supervisors(&machine);
    for sign in [Signal::STOP, Signal::KILL] {
        for pid in [keeper, daemon].map(|pid| machine.outside(pid).unwrap_or(0)) {
            kill(pid, sign);
        }
    }
    machine.wait_until("somebody else supervises", || machine.read("/root/.ostler/pm2.pid").parse().is_ok_and(|pid: i32| pid != keeper));
    assert_eq!(settled(&machine), before, "after both");
    assert_eq!(main_pid(&machine), main_process);
    signal(&machine, main_process, Signal::KILL);
    machine.wait_until("there is another main process", || ![0, main_process].contains(&main_pid(&machine)));
    assert_eq!(settled(&machine), before, "after the main process");
    machine.ok(["systemctl", "stop", UNIT]);
    machine.run("pgrep ostler").fails();
}

#[test]
fn manual_kill_stops_the_service() {
    needs_machine!();
    let machine = with_unit(&["a"]);
    machine.ok("ostler kill");
    machine.wait_unit(UNIT, "inactive");
    assert_eq!(machine.property(UNIT, "Result"), "success");
}

/// The watchdog of a service: a hanging process is replaced, and apps keep running.
#[test]
fn watchdog_replaces_hanging_processes() {
    needs_machine!();
    let machine = with_unit(&["a", "b"]);
    machine.write(&format!("/etc/systemd/system/{UNIT}.d/test.conf"), "[Service]\nWatchdogSec=2\n");
    machine.ok("systemctl daemon-reload");
    machine.ok(["systemctl", "restart", UNIT]);
    let before = settled(&machine);
    let (keeper, daemon) = supervisors(&machine);
    signal(&machine, daemon, Signal::STOP);
    machine.wait_until("the daemon is another one", || machine.outside(daemon).is_none());
    assert_eq!(settled(&machine), before, "after the daemon");
    signal(&machine, keeper, Signal::STOP);
    machine.wait_until("the keeper is another one", || machine.read("/root/.ostler/pm2.pid").parse().is_ok_and(|pid: i32| pid != keeper));
    assert_eq!(settled(&machine), before, "after the keeper");
    let main_process = main_pid(&machine);
    signal(&machine, main_process, Signal::STOP);
    machine.wait_until("the main process is another one", || ![0, main_process].contains(&main_pid(&machine)));
    assert_eq!(settled(&machine), before, "after the main process");
}

/// A hanging daemon does not prevent its apps from being stopped.
#[test]
fn unit_stop_works_with_a_hanging_daemon() {
    needs_machine!();
    let machine = with_unit(&["a"]);
    signal(&machine, supervisors(&machine).1, Signal::STOP);
    machine.ok(["systemctl", "stop", UNIT]);
    assert_eq!(machine.property(UNIT, "Result"), "success");
    assert_eq!(machine.read("/srv/order").trim(), "a");
    machine.run("pgrep ostler").fails();
}

/// ostler extends systemd's time limit to the time that the apps need.
#[test]
fn unit_stop_waits_for_kill_timeout_of_apps() {
    needs_machine!();
    let machine = with_unit(&["quick"]);
    machine.write(&format!("/etc/systemd/system/{UNIT}.d/test.conf"), "[Service]\nTimeoutStopSec=3\n");
    machine.ok("systemctl daemon-reload");
    machine.write("/srv/slow.js", "process.on('SIGINT', () => setTimeout(() => { require('fs').writeFileSync('/srv/order', 'slow'); process.exit(); }, 5000));\nrequire('fs').writeFileSync('/srv/slow-up', ''); setInterval(() => {}, 1e6);\n");
    machine.ok("ostler start /srv/slow.js --kill-timeout 20s");
    machine.wait_until("it is up", || machine.path("/srv/slow-up").exists());
    machine.ok(["systemctl", "stop", UNIT]);
    assert_eq!(
        (machine.property(UNIT, "Result").as_str(), machine.read("/srv/order").as_str()),
        ("success", "slow"),
        "{}",
        machine.diagnostics()
    );
}

/// Apps that were started from a shell before the service keep running, and belong to the service
/// from then on.
#[test]
fn unit_adopts_running_apps() {
    needs_machine!();
    let machine = crate::setup::machine();
    // As from a login: in a cgroup outside the service.
    machine.ok("systemd-run --quiet --scope --unit=login ostler start /srv/app.js --name a");
    machine.ok("ostler startup");
    let before = pids(&machine);
    machine.ok(["systemctl", "start", UNIT]);
    assert_eq!(settled(&machine), before);
    for pid in [before[0].1, supervisors(&machine).0, supervisors(&machine).1] {
        let groups = machine.ok(["cat", &format!("/proc/{pid}/cgroup")]).stdout;
        assert!(groups.lines().any(|line| line.contains(&format!("/system.slice/{UNIT}"))), "{groups}\n{}", machine.diagnostics());
    }
    // The login's cgroup is empty, so the login closes by itself.
    machine.wait_until("the login has ended", || machine.property("login.scope", "LoadState") == "not-found");
    assert_eq!(settled(&machine), before);
    machine.ok(["systemctl", "stop", UNIT]);
    machine.run("pgrep -x node").fails();
}

/// A stop of the service respects dependencies: dependent apps stop first.
#[test]
fn unit_stop_respects_dependencies() {
    needs_machine!();
    let machine = crate::setup::machine();
    machine.write(
        "/srv/order.json",
        r#"{"apps": [{"name": "db", "script": "/srv/app.js"}, {"name": "api", "script": "/srv/app.js", "depends_on": ["db"]},
                     {"name": "web", "script": "/srv/app.js", "depends_on": ["api"]}]}"#,
    );
    machine.ok("ostler start /srv/order.json");
    machine.ok("ostler save");
    machine.ok("ostler startup");
    machine.ok(["systemctl", "start", UNIT]);
    crate::setup::wait_for_apps(&machine);
    machine.ok(["systemctl", "stop", UNIT]);
    assert_eq!(machine.read("/srv/order").trim(), "web api db", "{}", machine.diagnostics());
}
