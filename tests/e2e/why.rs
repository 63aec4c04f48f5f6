//! `why`: who ended it, when and how.

use ostler_testkit::{fixture_app, kill};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

#[test]
fn an_exit_code_with_the_last_words() {
    let home = home();
    start_fixture(&home, "app", "--no-autorestart", "lines 3 42");
    home.wait_status("app", "stopped");
    home.ok("why app").says("42").says("last words");
}

#[test]
fn a_signal_by_its_name() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    let pid = home.app("app").pid();
    kill(pid, Signal::SEGV);
    home.wait_app("app", "another process", |item| item.pid() != pid && item.pid() > 0);
    home.ok("why app").says("SIGSEGV");
}

#[test]
fn a_user_and_the_command() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("stop app");
    home.ok("why app").says("stop");
    home.ok("restart app");
    home.ok("restart app");
    home.ok("why app").says("restart");
}

#[test]
fn a_kill_after_the_time_allowed() {
    let home = home();
    home.ok(format!("start {} --name app --kill-timeout 300", fixture_app("stubborn.sh")));
    home.wait_log("app-out.log", "stubborn");
    home.ok("stop app");
    home.ok("why app").says("SIGKILL");
}

#[test]
fn an_unknown_app() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.run("why nothing").code(4);
}
