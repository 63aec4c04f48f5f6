//! `jlist` has PM2's keys with PM2's types.

use std::collections::BTreeSet;

use ostler_testkit::{Home, Item, Subject, fixture_app, shape, skip};

use crate::compare::ostler;

/// Keys (with their types) that only real PM2 has, and why.
const ONLY_PM2: &[(&str, &str)] = &[
    ("PM2_INTERACTOR_PROCESSING: string", "a flag of the vendor's agent that leaks into the first app"),
    ("PM2_JSON_PROCESSING: string", "a flag of the client that leaks into apps from a file"),
    ("app: string", "the variable named like the app holds its `pm2 set` values; comes with `set`"),
    ("stop_exit_codes: number", "PM2 makes a number of a list with one element, as the file did not say"),
];

/// Keys (with their types) that only ostler has, and why.
const ONLY_OSTLER: &[(&str, &str)] = &[
    ("filter_env: array", "PM2 has it for apps started by options, not for those from a file"),
    ("watch: bool", "PM2 has it for apps started by options, not for those from a file"),
    ("stop_exit_codes: array", "the list of the file"),
];

fn keys(item: &Item) -> (BTreeSet<String>, BTreeSet<String>) {
    (shape(&item.0).into_iter().collect(), shape(&item.0["pm2_env"]).into_iter().collect())
}

/// The same steps on both, each giving an entry; entries have to have equal keys.
fn compare(what: &str, steps: fn(&Home) -> Item) {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let (real_home, our_home) = (Home::new(pm2), Home::new(ostler()));
    let ((real_outer, real), (our_outer, ours)) = (keys(&steps(&real_home)), keys(&steps(&our_home)));
    assert_eq!(our_outer, real_outer, "{what}: keys of the entry");
    let known = |list: &[(&str, &str)], key: &String| list.iter().any(|(name, _)| name == key);
    let missing: Vec<&String> = real.difference(&ours).filter(|key| !known(ONLY_PM2, key)).collect();
    let extra: Vec<&String> = ours.difference(&real).filter(|key| !known(ONLY_OSTLER, key)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: pm2_env of ostler lacks {missing:?} and has more {extra:?}");
}

/// Both learn the version of Node a moment after the start.
fn with_node_version(home: &Home) -> Item {
    home.wait_app("app", "online with the version of Node", |item| item.status() == "online" && !item.text("node_version").is_empty())
}

#[test]
fn node_versions_are_equal() {
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
fn fork_app() {
    compare("fork app", |home| {
        home.ok(format!("start {} --name app --namespace ns -- one --two", fixture_app("hold.js")));
        with_node_version(home)
    });
}

#[test]
fn other_program() {
    compare("other program", |home| {
        home.ok("start sleep --name app -- 1000");
        home.app("app")
    });
}

#[test]
fn stopped_app() {
    compare("stopped app", |home| {
        home.ok("start sleep --name app -- 1000");
        home.ok("stop app");
        let mut item = home.app("app");
        // Pids of the tree at the last stop: whether PM2 has the key is a matter of timing.
        item.0["pm2_env"].as_object_mut().unwrap().remove("_tree_pids");
        item
    });
}

#[test]
fn config_app_with_options() {
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
fn values() {
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
