//! Promise 1, the other half: the keeper is killed, or both are.

use ostler_testkit::{Load, alive, free_port, get, kill};
use rustix::process::Signal;

use crate::setup::numbers_are_whole;
use crate::setup::{home, start_fixture};

#[test]
fn killed_keeper_does_not_affect_apps() {
    let home = home();
    let port = free_port();
    start_fixture(&home, "web", "", &format!("http {port}"));
    start_fixture(&home, "lines", "-f", "count 20000 10");
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let before = home.jlist();
    let load = Load::mixed(port, 2);
    // Each keeper is killed as soon as another daemon exists.
    for _ in 0..10 {
        home.kill_keeper();
        home.kill_daemon();
    }
    home.wait_log("lines-out.log", "end\n");
    let report = load.stop();
    report.assert_whole();
    for (before, after) in before.iter().zip(home.jlist()) {
        assert_eq!((after.pid(), after.restarts(), after.status()), (before.pid(), 0, "online"));
    }
    numbers_are_whole(&home.log("lines-out.log"), 20000);
}

#[test]
fn adopted_apps_are_still_supervised() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "tree", "-f", "family 1 3");
    home.wait_until("all run", || home.app_processes().len() == 5);
    home.kill_keeper();
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    home.ok("stop tree");
    home.wait_until("the tree is gone", || home.app_processes().len() == 1);
    home.ok("delete all");
    assert!(home.app_processes().is_empty(), "{}", home.report());
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn next_start_adopts_running_apps_after_both_are_killed() {
    let home = home();
    let port = free_port();
    start_fixture(&home, "web", "", &format!("http {port}"));
    start_fixture(&home, "gone", "-f", "hold");
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let (web, gone) = (home.app("web").pid(), home.app("gone").pid());
    home.kill_all_three();
    kill(gone, Signal::KILL);
    assert!(alive(web) && get(port, "/").is_ok(), "an app died with the manager");
    home.ok("start sleep --name third -- 1000");
    let item = home.wait_status("web", "online");
    assert_eq!(item.pid(), web, "a second copy was started\n{}", home.report());
    let item = home.wait_status("gone", "online");
    assert!(item.pid() != gone);
    assert_eq!(get(port, "/").unwrap(), web.to_string());
    let log = home.daemon_log();
    assert!(log.contains("adopt"), "the log does not tell what was found\n{log}");
    home.ok("stop web");
    assert!(!alive(web));
}

#[test]
fn resurrect_after_both_are_killed_starts_no_second_copy() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("save");
    let pid = home.app("app").pid();
    home.kill_all_three();
    home.ok("resurrect");
    let item = home.wait_status("app", "online");
    assert_eq!(item.pid(), pid);
    assert_eq!(home.app_processes().len(), 1, "{}", home.report());
}
