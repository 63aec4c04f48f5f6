//! `diff`: what a file would change. A start of the file then makes exactly these changes.

use ostler_testkit::{Home, variable};
use serde_json::Value;

use crate::setup::{apps_file, home};

fn diff(home: &Home, words: &str) -> Value {
    home.ok(format!("diff {words} --json")).json()
}

/// Returns `[name, standing, key: was -> is, …]` of the first app.
fn first_difference(home: &Home, words: &str) -> Vec<String> {
    let app = &diff(home, words)["apps"][0];
    let changes = app["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{}: {} -> {}", change["key"].as_str().unwrap(), change["was"], change["is"]));
    [app["name"].as_str().unwrap().to_owned(), app["standing"].as_str().unwrap().to_owned()].into_iter().chain(changes).collect()
}

const BEFORE: &str = r#"{"name": "api", "script": "sleep", "args": "1000", "max_restarts": 3, "watch": false,
    "env": {"MODE": "one", "OLD": "x", "API_TOKEN": "t0p"}, "env_production": {"MODE": "prod"}}"#;
const AFTER: &str = r#"{"name": "api", "script": "sleep", "args": "1000", "max_restarts": 4, "kill_timeout": 2000,
    "env": {"MODE": "two", "NEW": "y", "API_TOKEN": "t1p"}, "env_production": {"MODE": "prod"}}"#;

#[test]
fn diff_matches_changes_made_by_start() {
    let home = home();
    let path = apps_file(&home, &[BEFORE]);
    assert_eq!(first_difference(&home, &path)[..2], ["api", "new"]);
    assert!(home.processes().is_empty(), "looking started a daemon");
    home.ok(format!("start {path}"));
    assert_eq!(first_difference(&home, &path), ["api", "same"]);
    home.ok(format!("diff {path} --exit-code"));
    apps_file(&home, &[AFTER]);
    let hidden = [
        "api",
        "changed",
        "kill_timeout: null -> 2000",
        "max_restarts: 3 -> 4",
        "watch: false -> null",
        r#"env.API_TOKEN: "•••" -> "•••""#,
        r#"env.MODE: "•••" -> "•••""#,
        r#"env.NEW: null -> "•••""#,
        r#"env.OLD: "•••" -> null"#,
    ];
    assert_eq!(first_difference(&home, &path), hidden);
    let shown = first_difference(&home, &format!("{path} --show-values"));
    assert!(shown.contains(&r#"env.MODE: "one" -> "two""#.to_owned()) && shown.contains(&hidden[5].to_owned()), "{shown:?}");
    home.run(format!("diff {path} --exit-code")).code(1).says("max_restarts  3 → 4");
    // `diff` changed nothing. A start of the file applies all changes, and removes values that the
    // file no longer has.
    assert_eq!(variable(home.app("api").pid(), "OLD").as_deref(), Some("x"));
    home.ok(format!("start {path}"));
    assert_eq!(first_difference(&home, &path), ["api", "same"]);
    assert_eq!(variable(home.app("api").pid(), "OLD"), None);
    assert_eq!(
        (variable(home.app("api").pid(), "MODE").as_deref(), variable(home.app("api").pid(), "NEW").as_deref()),
        (Some("two"), Some("y"))
    );
}

#[test]
fn sizes_and_times_are_shown_as_in_files() {
    let home = home();
    let path =
        apps_file(&home, &[r#"{"name": "api", "script": "sleep", "args": "1000", "max_memory_restart": "200M", "kill_timeout": 2000}"#]);
    home.ok(format!("start {path}"));
    apps_file(
        &home,
        &[
            r#"{"name": "api", "script": "sleep", "args": "1000", "max_memory_restart": "300M", "kill_timeout": "3s", "listen_timeout": 8000}"#,
        ],
    );
    home.ok(format!("diff {path}")).says("max_memory_restart  200M → 300M").says("kill_timeout  2s → 3s").says("+ listen_timeout  8s");
    let data =
        ["api", "changed", "kill_timeout: 2000 -> 3000", "listen_timeout: null -> 8000", "max_memory_restart: 209715200 -> 314572800"];
    assert_eq!(first_difference(&home, &path), data);
}

#[test]
fn reload_removes_keys_that_left_the_file() {
    let home = home();
    let path = apps_file(&home, &[BEFORE]);
    home.ok(format!("start {path}"));
    apps_file(&home, &[AFTER]);
    home.ok(format!("reload {path}"));
    assert_eq!(first_difference(&home, &path), ["api", "same"]);
    assert_eq!(variable(home.app("api").pid(), "OLD"), None);
}

#[test]
fn profile_counts_as_a_difference() {
    let home = home();
    let path = apps_file(&home, &[BEFORE]);
    home.ok(format!("start {path}"));
    let expected = ["api", "changed", r#"--env: null -> "production""#, r#"env.MODE: "one" -> "prod""#];
    assert_eq!(first_difference(&home, &format!("{path} --env production --show-values")), expected);
    home.ok("restart api --env production");
    assert_eq!(first_difference(&home, &format!("{path} --env production")), ["api", "same"]);
}

#[test]
fn removed_apps_and_scaled_instances_are_shown() {
    let home = home();
    let path = apps_file(&home, &[&format!(r#"{BEFORE}, {{"name": "old", "script": "sleep", "args": "1000", "instances": 2}}"#)]);
    home.ok(format!("start {path}"));
    home.ok("start sleep --name foreign -- 1000");
    home.ok("scale api 2");
    apps_file(&home, &[BEFORE]);
    let apps = diff(&home, &path);
    let standings: Vec<&Value> = apps["apps"].as_array().unwrap().iter().map(|app| &app["standing"]).collect();
    assert_eq!(standings, ["same", "gone"], "{apps}");
    home.ok(format!("diff {path}")).says("2 instances, 1 in the file: `scale api 1`").says("`delete old` stops it").never_says("foreign");
    // A diff of a part of a file does not report the other apps.
    assert_eq!(diff(&home, &format!("{path} --only api"))["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn invalid_file_fails_as_with_start() {
    let home = home();
    let path = apps_file(&home, &[r#"{"name": "api", "script": "sleep", "max_restarts": "many"}"#]);
    home.run(format!("diff {path}")).fails().says("max_restarts");
    home.run("diff no-such.json").code(4).says("no such file");
}
