//! `sendSignal` and `reset`.

use ostler_testkit::fixture_app;

use crate::setup::{home, start_fixture};

#[test]
fn a_signal_reaches_the_main_process() {
    let home = home();
    home.ok(format!("start {} --name app --no-autorestart", fixture_app("traps.sh")));
    home.wait_log("app-out.log", "trapping");
    home.ok("sendSignal SIGUSR2 app");
    home.wait_log("app-out.log", "got USR2");
    let item = home.wait_status("app", "stopped");
    assert_eq!(item.number("exit_code"), 7);
}

#[test]
fn unknown_signal_is_an_error() {
    // PM2 differs: it reports success.
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.run("sendSignal SIGNONSENSE app").fails().says("SIGNONSENSE");
    home.run("sendSignal SIGINT nothing").code(4);
}

#[test]
fn reset_clears_the_counters() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("restart app");
    let pid = home.app("app").pid();
    home.ok("reset app");
    let item = home.app("app");
    assert_eq!((item.restarts(), item.number("unstable_restarts"), item.pid()), (0, 0, pid));
}
