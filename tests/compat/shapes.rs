//! `jlist` has PM2's keys with PM2's types.

use std::collections::BTreeSet;

use ostler_testkit::{Home, ListedApp, Subject, fixture_app, shape, skip};

use crate::compare::ostler;

/// Keys (with their types) that only real PM2 has, with the reason.
const ONLY_PM2: &[(&str, &str)] = &[
    ("PM2_INTERACTOR_PROCESSING: string", "a flag of the vendor's agent that leaks into the first app"),
    ("PM2_JSON_PROCESSING: string", "a flag of the client that leaks into apps from a file"),
    ("app: string", "the variable named like the app holds its `pm2 set` values; here only where there are some"),
];

/// Keys (with their types) that only ostler has, with the reason.
const ONLY_OSTLER: &[(&str, &str)] = &[];

fn keys(item: &ListedApp) -> (BTreeSet<String>, BTreeSet<String>) {
    (shape(&item.0).into_iter().collect(), shape(&item.0["pm2_env"]).into_iter().collect())
}

/// Runs the same steps on both. Each side returns an entry; both entries must have equal keys.
fn compare(what: &str, steps: fn(&Home) -> ListedApp) {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let (real_home, our_home) = (Home::new(pm2), Home::new(ostler()));
    let ((real_outer, real), (our_outer, ours)) = (keys(&steps(&real_home)), keys(&steps(&our_home)));
    assert_eq!(our_outer, real_outer, "{what}: keys of the entry");
    let known = |list: &[(&str, &str)], key: &String| list.iter().any(|(name, _)| name == key);
    let missing: Vec<&String> = real.difference(&ours).filter(|key| !known(ONLY_PM2, key)).collect();
    let extra: Vec<&String> = ours.difference(&real).filter(|key| !known(ONLY_OSTLER, key)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: pm2_env of ostler lacks {missing:?} and has more {extra:?}");
}

/// Waits for Node's version, which both programs determine shortly after the start.
fn with_node_version(home: &Home) -> ListedApp {
    home.wait_app("app", "online with the version of Node", |item| item.status() == "online" && !item.text("node_version").is_empty())
}

#[test]
fn node_version_matches_pm2() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let version = |subject: Subject| {
        let home = Home::new(subject);
        home.ok(format!("start {} --name app", fixture_app("hold.js")));
        home.ok("start sleep --name other -- 1000");
        let version = with_node_version(&home).text("node_version").to_owned();
        (version, home.app("other").env("node_version").clone())
    };
    assert_eq!(version(ostler()), version(pm2));
}

#[test]
fn fork_app_matches_pm2() {
    compare("fork app", |home| {
        home.ok(format!("start {} --name app --namespace ns -- one --two", fixture_app("hold.js")));
        with_node_version(home)
    });
}

#[test]
fn other_program_matches_pm2() {
    compare("other program", |home| {
        home.ok("start sleep --name app -- 1000");
        home.app("app")
    });
}

#[test]
fn stopped_app_matches_pm2() {
    compare("stopped app", |home| {
        home.ok("start sleep --name app -- 1000");
        home.ok("stop app");
        let mut item = home.app("app");
        // Pids of the process tree at the last stop. Whether PM2 has the key depends on timing.
        item.0["pm2_env"].as_object_mut().unwrap().remove("_tree_pids");
        item
    });
}

#[test]
fn config_app_with_options_matches_pm2() {
    compare("config app", |home| {
        let script = fixture_app("hold.js");
        let file = home.write(
            "eco.json",
            format!(
                r#"{{"apps": [{{"name": "app", "script": "{script}", "kill_timeout": 2000, "max_memory_restart": "200M", "min_uptime": "5s",
                "max_restarts": 7, "restart_delay": 10, "log_date_format": "YYYY", "time": true, "merge_logs": true, "instances": 1,
                "exec_mode": "fork", "env": {{"A": "1"}}, "env_x": {{"A": "2"}}, "listen_timeout": 4000, "stop_exit_codes": [3]}}]}}"#
            ),
        );
        home.ok(format!("start {file}"));
        with_node_version(home)
    });
}

#[test]
fn values_match_pm2() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let values = |subject: Subject| {
        let home = Home::new(subject);
        home.ok(format!(
            "start {} --name my_app --namespace ns -i 2 -x --kill-timeout 2500 --max-memory-restart 100M",
            fixture_app("hold.js")
        ));
        home.jlist()
            .iter()
            .map(|item| {
                let shown = [
                    "name",
                    "namespace",
                    "exec_mode",
                    "exec_interpreter",
                    "instances",
                    "kill_timeout",
                    "max_memory_restart",
                    "node_args",
                    "NODE_APP_INSTANCE",
                    "instance_var",
                    "autorestart",
                    "autostart",
                    "watch",
                    "vizion",
                    "pmx",
                    "automation",
                    "treekill",
                    "windowsHide",
                    "kill_retry_time",
                    "merge_logs",
                    "status",
                    "restart_time",
                    "unstable_restarts",
                    "km_link",
                    "vizion_running",
                    "version",
                    "pm_id",
                    "pm_out_log_path",
                    "pm_err_log_path",
                    "pm_pid_path",
                    "pm_cwd",
                    "pm_exec_path",
                    "filter_env",
                ];
                let root = home.root().to_string_lossy().into_owned();
                shown.map(|key| format!("{key}: {}", item.env(key)).replace(&root, "<root>"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(values(ostler()), values(pm2));
}

/// Scripts expect numbers: in values of a file, in values that `set` keeps, and in values that PM2
/// fills in.
#[test]
fn file_values_keep_their_types() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let values = |subject: Subject| {
        let home = Home::new(subject);
        let hold = fixture_app("hold.js");
        let file = home.write(
            "eco.json",
            format!(
                r#"{{"apps": [
                {{"name": "typed", "script": "{hold}", "env": {{"N": 5, "F": 1.5, "YES": true, "NO": false, "S": "5", "O": {{"a": 1}}, "BOTH": 1}},
                  "env_production": {{"N": 6, "T": "x", "BOTH": "1"}}, "stop_exit_codes": 3}},
                {{"name": "watched", "script": "{hold}", "watch": false, "filter_env": ["nothing"], "stop_exit_codes": [3, 4]}},
                {{"name": "mixed", "script": "{hold}", "env": {{"N": "5"}}, "env_production": {{"N": 6, "T": true}}}}
            ]}}"#
            ),
        );
        home.ok("set typed.color blue");
        home.ok("set typed:size 3");
        home.ok(format!("start {file} --env production"));
        home.ok(format!("start {hold} --name options"));
        let keys = ["N", "F", "YES", "NO", "S", "O", "T", "env_production", "stop_exit_codes", "watch", "filter_env", "color", "size"];
        let inner = ["N", "F", "YES", "NO", "S", "O", "T", "color", "size", "typed"];
        ["typed", "watched", "mixed", "options"]
            .map(|name| {
                let probe = |item: &ListedApp| !item.env("axm_options")["module_name"].is_null();
                let item = home.wait_app(name, "a probe that has told its name", probe);
                let env = &item.0["pm2_env"];
                let mut all: Vec<String> = keys.iter().map(|key| format!("{name} {key}: {:?}", env.get(key))).collect();
                all.extend(inner.iter().map(|key| format!("{name} env.{key}: {:?}", env["env"].get(key))));
                all.extend(["module_name", "module_version"].map(|key| format!("{name} {key}: {}", env["axm_options"][key])));
                all
            })
            .concat()
    };
    assert_eq!(values(ostler()), values(pm2));
}

/// The list shows the user as a number, even if a name was given, and the user's group as well.
#[test]
fn uid_and_gid_are_listed_as_numbers() {
    ostler_testkit::needs_root!();
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let values = |subject: Subject| {
        let home = Home::new(subject);
        let file = home.write(
            "eco.json",
            r#"[{"name": "both", "script": "sleep", "args": "1000", "uid": "nobody", "gid": "nogroup"},
                {"name": "one", "script": "sleep", "args": "1000", "uid": "nobody"}]"#,
        );
        home.ok(format!("start {file}"));
        home.jlist().iter().map(|item| format!("{}: {} {}", item.name(), item.env("uid"), item.env("gid"))).collect::<BTreeSet<_>>()
    };
    assert_eq!(values(ostler()), values(pm2));
}
