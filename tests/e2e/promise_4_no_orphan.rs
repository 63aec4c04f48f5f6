//! Promise 4: after stop or delete, no process that the app started remains, double forks included.

use ostler_testkit::{Home, fixture, kill, process_table};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

fn count_at_least(home: &Home, n: usize) {
    home.wait_until(&format!("{n} processes run"), || home.app_processes().len() >= n);
}

#[test]
fn stop_kills_a_process_tree() {
    let home = home();
    start_fixture(&home, "family", "", "family 3 2");
    count_at_least(&home, 15);
    home.ok("stop family");
    home.assert_no_app_processes();
}

#[test]
fn stop_kills_daemonized_grandchild() {
    let home = home();
    start_fixture(&home, "double", "", "double-fork");
    count_at_least(&home, 2);
    home.wait_log("double-out.log", "forked");
    home.ok("stop double");
    home.assert_no_app_processes();
    home.ok("restart double");
    count_at_least(&home, 2);
    home.ok("delete double");
    home.assert_no_app_processes();
}

/// Without cgroups, starts an app with a process in a session of its own.
fn double_fork_without_cgroups(home: &Home) {
    home.cmd(format!("start {} --name double -- double-fork", fixture())).env("OSTLER_CGROUP", "off").run().ok();
    count_at_least(home, 2);
    home.wait_log("double-out.log", "forked");
}

/// Without cgroups, the process is found as an unknown child of the keeper.
#[test]
fn stop_kills_daemonized_grandchild_without_cgroups() {
    let home = home();
    double_fork_without_cgroups(&home);
    home.ok("stop double");
    home.assert_no_app_processes();
}

/// The next process starts before the search for leftover processes, which follows a moment later.
#[test]
fn restart_kills_daemonized_leftovers_without_cgroups() {
    let home = home();
    double_fork_without_cgroups(&home);
    let pids = || home.app_processes().into_iter().map(|process| process.pid).collect::<Vec<_>>();
    let before = pids();
    kill(home.app("double").pid(), Signal::KILL);
    home.wait_until("only what the next process started runs", || {
        let now = pids();
        now.len() >= 2 && before.iter().all(|pid| !now.contains(pid))
    });
}

#[test]
fn stop_kills_children_that_ignore_signals() {
    let home = home();
    start_fixture(&home, "stubborn", "--kill-timeout 400", "stubborn 3");
    count_at_least(&home, 4);
    home.ok("stop stubborn");
    home.assert_no_app_processes();
}

#[test]
fn stop_kills_a_fork_storm() {
    let home = home();
    start_fixture(&home, "storm", "--kill-timeout 2000", "fork-storm");
    count_at_least(&home, 40);
    home.ok("stop storm");
    home.assert_no_app_processes();
}

#[test]
fn restart_leaves_no_process_of_the_old_run() {
    let home = home();
    start_fixture(&home, "double", "", "double-fork");
    home.wait_log("double-out.log", "forked");
    let old: Vec<i32> = home.app_processes().iter().map(|p| p.pid).collect();
    home.ok("restart double");
    let left: Vec<_> = home.app_processes().into_iter().filter(|p| old.contains(&p.pid)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn delete_does_not_touch_other_apps() {
    let home = home();
    start_fixture(&home, "one", "", "double-fork");
    start_fixture(&home, "two", "-f", "double-fork");
    home.wait_log("one-out.log", "forked");
    home.wait_log("two-out.log", "forked");
    count_at_least(&home, 4);
    home.ok("delete one");
    assert_eq!(home.app_processes().len(), 2, "{}", home.report());
    assert_eq!(home.app("two").status(), "online");
}

#[test]
fn delete_kills_daemonized_grandchild_after_daemon_death() {
    let home = home();
    start_fixture(&home, "double", "", "double-fork");
    home.wait_log("double-out.log", "forked");
    home.kill_daemon();
    home.ok("delete double");
    home.assert_no_app_processes();
}

#[test]
fn keeper_reaps_every_child() {
    let home = home();
    start_fixture(&home, "crashes", "--max-restarts 100000", "exit 1 1");
    start_fixture(&home, "orphans", "-f", "hold");
    let script = home.write("orphans.sh", "#!/bin/sh\nwhile :; do (sleep 0.01 &) ; sleep 0.02; done\n");
    home.ok(format!("start {script} -f --name makes-orphans"));
    home.wait_app("crashes", "restarted often", |item| item.restarts() > 30);
    let keeper = home.keeper_pid();
    home.wait_until("every dead child is reaped", || !process_table().iter().any(|p| p.ppid == keeper && p.state == 'Z'));
    kill(home.app("orphans").pid(), Signal::KILL);
    home.ok("delete all");
    home.assert_no_app_processes();
}
