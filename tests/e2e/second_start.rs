//! Second commands with a config file, under ostler's own name: which options stay, and which
//! removed options ostler names.

use std::path::PathBuf;

use ostler_testkit::{Home, ListedApp, Output, variable};

use crate::setup::{home, home_as_pm2};

/// Creates two folders with a script of the same name, and the file in the first folder.
fn folders(home: &Home, members: &str) -> (PathBuf, PathBuf) {
    for folder in ["a", "a/sub", "b", "b/sub"] {
        home.write(&format!("{folder}/app.sh"), "exec sleep 1000\n");
    }
    file(home, members);
    (home.work().join("a"), home.work().join("b"))
}

fn file(home: &Home, members: &str) {
    home.write("a/eco.json", format!(r#"{{"apps": [{{"name": "api", "script": "./app.sh", {members}}}]}}"#));
}

#[track_caller]
fn ok(home: &Home, folder: &PathBuf, words: &str) -> Output {
    home.cmd(words).cwd(folder).run().ok()
}

fn is_in(item: &ListedApp, folder: &str) -> bool {
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", item.pid())).unwrap();
    cwd.ends_with(folder) && item.text("pm_exec_path").ends_with(&format!("{folder}/app.sh"))
}

#[test]
fn removed_variables_are_unset_and_named() {
    let home = home();
    let (a, _) = folders(&home, r#""env": {"DB": "x", "KEPT": "1"}"#);
    ok(&home, &a, "start eco.json").never_says("no longer sets");
    file(&home, r#""env": {"KEPT": "2"}"#);
    ok(&home, &a, "reload eco.json").says("api: the file no longer sets DB");
    let item = home.app("api");
    assert_eq!((variable(item.pid(), "DB"), variable(item.pid(), "KEPT").as_deref()), (None, Some("2")));
    ok(&home, &a, "restart eco.json").never_says("no longer sets");
}

const PROFILES: &str = r#""env": {"MODE": "dev"}, "env_production": {"MODE": "prod", "KEY": "p"}, "env_staging": {"MODE": "stage"}"#;

#[test]
fn last_profile_is_kept_and_named() {
    let home = home();
    let (a, b) = folders(&home, PROFILES);
    ok(&home, &a, "start eco.json --env production");
    for (folder, words) in [(&a, "start eco.json"), (&b, "restart ../a/eco.json"), (&b, "reload ../a/eco.json")] {
        ok(&home, folder, words).says("api: profile production of the last start is kept");
        let item = home.app("api");
        assert_eq!((variable(item.pid(), "MODE").as_deref(), variable(item.pid(), "KEY").as_deref()), (Some("prod"), Some("p")), "{words}");
    }
    ok(&home, &b, "diff ../a/eco.json --exit-code");
    ok(&home, &a, "restart eco.json --env staging").says("api: the file no longer sets KEY");
    assert_eq!(variable(home.app("api").pid(), "MODE").as_deref(), Some("stage"));
    file(&home, r#""env": {"MODE": "dev"}"#);
    ok(&home, &a, "restart eco.json").says("the file no longer has profile staging");
    assert_eq!(variable(home.app("api").pid(), "MODE").as_deref(), Some("dev"));
}

#[test]
fn profile_by_app_name_keeps_the_folder() {
    let home = home();
    let (a, b) = folders(&home, PROFILES);
    ok(&home, &a, "start eco.json");
    ok(&home, &b, "restart api --env production");
    let item = home.app("api");
    assert!(is_in(&item, "a") && variable(item.pid(), "MODE").as_deref() == Some("prod"), "{}", home.report());
}

#[test]
fn a_project_keeps_its_profile() {
    let home = home();
    let (a, b) = folders(&home, PROFILES);
    let from = format!("-f {}", a.join("eco.json").display());
    ok(&home, &b, &format!("up {from} -d --env production"));
    ok(&home, &b, &format!("up {from} -d")).says("profile production of the last start is kept");
    let item = home.jlist().remove(0);
    assert!(is_in(&item, "a") && variable(item.pid(), "MODE").as_deref() == Some("prod") && item.restarts() == 0, "{}", home.report());
}

#[test]
fn changed_paths_are_relative_to_the_files_folder() {
    let home = home();
    let (a, b) = folders(&home, r#""out_file": "o.log", "env_file": "vars""#);
    for folder in ["a", "b", "a/sub"] {
        home.write(&format!("{folder}/vars"), format!("FROM={folder}\n"));
    }
    ok(&home, &a, "start eco.json");
    ok(&home, &b, "restart ../a/eco.json");
    assert_eq!(variable(home.app("api").pid(), "FROM").as_deref(), Some("a"));
    file(&home, r#""out_file": "o.log", "env_file": "vars", "cwd": "./sub""#);
    ok(&home, &b, "restart ../a/eco.json");
    let item = home.app("api");
    assert!(is_in(&item, "a/sub") && item.text("pm_out_log_path").ends_with("a/sub/o.log"), "{}", home.report());
    assert_eq!(variable(item.pid(), "FROM").as_deref(), Some("a/sub"));
    file(&home, r#""out_file": "o.log""#);
    ok(&home, &b, "reload ../a/eco.json");
    let item = home.app("api");
    assert!(is_in(&item, "a") && item.text("pm_out_log_path").ends_with("a/o.log"), "{}", home.report());
}

#[test]
fn same_file_in_another_folder_is_another_release() {
    for home in [home(), home_as_pm2()] {
        let (a, b) = folders(&home, r#""kill_timeout": 900"#);
        ok(&home, &a, "start eco.json");
        std::fs::copy(a.join("eco.json"), b.join("eco.json")).unwrap();
        ok(&home, &b, "reload eco.json");
        assert!(is_in(&home.app("api"), "b"), "{}", home.report());
    }
}

#[test]
fn apps_of_a_killed_daemon_keep_their_folder() {
    let home = home();
    let (a, b) = folders(&home, r#""kill_timeout": 900"#);
    ok(&home, &a, "start eco.json");
    home.kill_all_three();
    ok(&home, &b, "restart ../a/eco.json");
    assert!(is_in(&home.app("api"), "a"), "{}", home.report());
}

#[test]
fn default_log_paths_do_not_change_with_a_variable() {
    let home = home_as_pm2();
    let (a, _) = folders(&home, r#""kill_timeout": 900"#);
    home.cmd("start eco.json").cwd(&a).env("PM2_DEFAULT_LOG_PATH", home.work().join("logs")).run().ok();
    let before = home.app("api").text("pm_out_log_path").to_owned();
    ok(&home, &a, "restart eco.json");
    assert_eq!(home.app("api").text("pm_out_log_path"), before);
}

#[test]
fn options_are_kept_or_their_reset_is_named() {
    let home = home();
    let (a, _) = folders(&home, r#""kill_timeout": 700"#);
    ok(&home, &a, "start eco.json");
    home.ok("restart api --max-memory-restart 500M --kill-timeout 900 --max-restarts 7");
    ok(&home, &a, "restart eco.json").says("the file resets these options of an earlier command: --kill-timeout");
    let item = home.app("api");
    assert_eq!((item.number("max_memory_restart"), item.number("kill_timeout"), item.number("max_restarts")), (500 << 20, 700, 7));
    // The file no longer has the key: the restart removes the option's value, and does not restore
    // the file's former value.
    home.ok("restart api --kill-timeout 900");
    file(&home, r#""max_restarts": 3"#);
    ok(&home, &a, "restart eco.json").says("--kill-timeout");
    assert!(home.app("api").env("kill_timeout").is_null());
}

#[test]
fn autostart_false_starts_only_if_app_is_named() {
    let home = home_as_pm2();
    let (a, _) = folders(&home, r#""autostart": false"#);
    let all = |status: &str| home.jlist().iter().all(|item| item.status() == status);
    for words in ["start eco.json", "start eco.json", "reload all", "restart default", "scale api 2"] {
        ok(&home, &a, words);
        assert!(all("stopped"), "{words}");
    }
    home.ok("restart api");
    assert!(all("online"));
    home.ok("stop api");
    // The app has run before, so it counts as an ordinary app now.
    ok(&home, &a, "start eco.json");
    assert!(all("online"));
}

#[test]
fn all_starts_app_with_autostart_false_as_ostler() {
    let home = home();
    let (a, _) = folders(&home, r#""autostart": false"#);
    ok(&home, &a, "start eco.json");
    assert_eq!(home.app("api").status(), "stopped");
    home.ok("restart all");
    assert_eq!(home.app("api").status(), "online");
}

#[test]
fn update_env_prefers_the_shell_over_the_file() {
    for home in [home(), home_as_pm2()] {
        let (a, _) = folders(&home, PROFILES);
        ok(&home, &a, "start eco.json --env production");
        home.cmd("restart api --update-env").env("MODE", "shell").env("MORE", "1").run().ok();
        let item = home.app("api");
        let seen = ["MODE", "KEY", "MORE"].map(|name| variable(item.pid(), name).unwrap_or_default());
        assert_eq!(seen, ["shell", "p", "1"]);
        // A profile in the same command takes precedence.
        home.cmd("restart api --update-env --env staging").env("MODE", "shell").run().ok();
        assert_eq!(variable(home.app("api").pid(), "MODE").as_deref(), Some("stage"));
    }
}

#[test]
fn stop_disables_watch_only_as_pm2() {
    for (home, watched) in [(home(), true), (home_as_pm2(), false)] {
        let (a, _) = folders(&home, r#""watch": ["sub"]"#);
        ok(&home, &a, "start eco.json");
        home.ok("stop api");
        home.ok("restart api");
        assert_eq!(home.app("api").env("watch").is_array(), watched, "{}", home.report());
        // PM2's `start` by an app's name ends watching as well.
        ok(&home, &a, "restart eco.json");
        home.ok("start api");
        assert_eq!(home.app("api").env("watch").is_array(), watched, "{}", home.report());
    }
}

#[test]
fn update_as_pm2_saves_the_list() {
    let home = home_as_pm2();
    let (a, _) = folders(&home, r#""kill_timeout": 900"#);
    ok(&home, &a, "start eco.json");
    home.ok("update");
    home.wait_until("the list is saved", || std::fs::read_to_string(home.dir().join("dump.pm2")).is_ok_and(|text| text.contains("api")));
}
