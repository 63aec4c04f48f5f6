//! Automatic saving of the list: a forgotten `save` loses nothing.

use ostler_testkit::Home;

use crate::setup::{home, start_fixture};

fn names(home: &Home) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(&home.read_own("dump.pm2")).unwrap_or_default();
    list.as_array().into_iter().flatten().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
}

/// A home with the setting, as `set autosave true` writes it.
fn home_with_autosave() -> Home {
    let home = home();
    std::fs::create_dir_all(home.dir()).unwrap();
    std::fs::write(home.dir().join("module_conf.json"), r#"{"autosave": "true"}"#).unwrap();
    home
}

#[test]
fn each_change_is_saved() {
    let home = home_with_autosave();
    start_fixture(&home, "one", "", "hold");
    home.wait_until("one is saved", || names(&home) == ["one"]);
    start_fixture(&home, "two", "-f", "hold");
    home.wait_until("two is saved", || names(&home) == ["one", "two"]);
    home.ok("stop two");
    home.wait_until("the stop is saved", || home.read_own("dump.pm2").contains("\"status\": \"stopped\""));
    home.ok("scale one 3");
    home.wait_until("the scale is saved", || names(&home).len() == 4);
    home.ok("delete one");
    home.wait_until("the delete is saved", || names(&home) == ["two"]);
    home.ok("delete all");
    home.wait_until("the empty list is saved", || home.read_own("dump.pm2").trim() == "[]");
}

#[test]
fn kill_saves_last_change_but_not_its_own_stops() {
    let home = home_with_autosave();
    start_fixture(&home, "one", "", "hold");
    home.ok("kill");
    assert_eq!(names(&home), ["one"]);
    // A daemon without apps does not overwrite the former daemon's list, not even when it exits.
    home.ok("reloadLogs");
    home.ok("kill");
    assert_eq!(names(&home), ["one"]);
    home.ok("resurrect");
    home.wait_status("one", "online");
    home.wait_until("it is saved still", || names(&home) == ["one"]);
}

#[test]
fn list_is_restored_after_everything_was_killed() {
    let home = home_with_autosave();
    start_fixture(&home, "one", "", "hold");
    start_fixture(&home, "two", "-f", "hold");
    home.wait_until("both are saved", || names(&home) == ["one", "two"]);
    home.kill_everything();
    // As after a boot, when the state file of the former boot no longer counts.
    std::fs::remove_file(home.dir().join("ostler.state")).unwrap();
    home.ok("resurrect");
    home.wait_status("one", "online");
    home.wait_status("two", "online");
}

#[test]
fn first_save_of_a_daemon_backs_up_previous_list() {
    let home = home_with_autosave();
    start_fixture(&home, "old", "", "hold");
    home.ok("kill");
    start_fixture(&home, "new", "", "hold");
    home.wait_until("the new list is saved", || names(&home) == ["new"]);
    assert!(std::fs::read_to_string(home.dir().join("dump.pm2.bak")).unwrap().contains("\"old\""));
}

/// `OSTLER_AUTOSAVE` overrides the home's setting. Without either, nothing is saved.
#[test]
fn variable_overrides_the_setting() {
    let home = home();
    home.cmd(format!("start {} --name app -- hold", ostler_testkit::fixture())).env("OSTLER_AUTOSAVE", "on").run().ok();
    home.wait_until("it is saved", || names(&home) == ["app"]);

    let home = home_with_autosave();
    home.cmd(format!("start {} --name app -- hold", ostler_testkit::fixture())).env("OSTLER_AUTOSAVE", "off").run().ok();
    home.ok("kill");
    assert_eq!(home.read_own("dump.pm2"), "");
}

/// A running daemon applies the setting immediately.
#[test]
fn set_and_unset_apply_to_running_daemon() {
    let home = home();
    start_fixture(&home, "one", "", "hold");
    home.ok("set autosave true");
    home.wait_until("what was there is saved", || names(&home) == ["one"]);
    home.ok("unset autosave");
    start_fixture(&home, "two", "-f", "hold");
    home.ok("kill");
    assert_eq!(names(&home), ["one"]);
}
