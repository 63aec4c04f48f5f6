//! `restart` and the options that it can change.

use ostler_testkit::alive;

use crate::setup::{ecosystem, home, read_report, start_fixture};

#[test]
fn restart_replaces_the_process_and_keeps_the_instance() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let before = home.app("app");
    home.ok("restart app");
    let after = home.app("app");
    assert!(before.pid() != after.pid() && !alive(before.pid()) && alive(after.pid()));
    assert_eq!((after.id(), after.restarts(), after.status()), (before.id(), 1, "online"));
}

#[test]
fn restart_changes_arguments_and_name() {
    let home = home();
    let report = home.work().join("r.json");
    start_fixture(&home, "app", "", "hold");
    home.ok(format!("restart app --name better -- report {} x", report.display()));
    assert_eq!(read_report(&home, "r.json")["args"].as_array().unwrap().last().unwrap(), "x");
    assert_eq!(home.app("better").restarts(), 1);
}

#[test]
fn restart_applies_the_changed_file() {
    let home = home();
    let (one, two) = (home.work().join("one.json"), home.work().join("two.json"));
    let app = |report: &std::path::Path, more: &str| {
        format!(
            r#""name": "app", "script": "{}", "args": ["report", "{}"], "kill_timeout": 1000{more}"#,
            ostler_testkit::fixture(),
            report.display()
        )
    };
    let file = ecosystem(&home, &app(&one, r#", "env": {"V": "1"}"#));
    home.ok(format!("start {file}"));
    assert_eq!(read_report(&home, "one.json")["env"]["V"], "1");
    let file = ecosystem(&home, &app(&two, r#", "env": {"V": "2"}, "max_restarts": 5"#));
    home.ok(format!("restart {file}"));
    assert_eq!(read_report(&home, "two.json")["env"]["V"], "2");
    let item = home.app("app");
    assert_eq!((item.number("max_restarts"), item.restarts()), (5, 1));
}

#[test]
fn concurrent_restarts_run_one_after_the_other() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let callers: Vec<_> = (0..12).map(|_| home.cmd("restart app").command().stdout(std::process::Stdio::null()).spawn().unwrap()).collect();
    for mut caller in callers {
        caller.wait().unwrap();
    }
    let item = home.wait_status("app", "online");
    assert!(alive(item.pid()));
    assert_eq!(home.app_processes().len(), 1, "{}", home.report());
}
