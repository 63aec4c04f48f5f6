//! Second commands on the same app, compared with real PM2: each sequence must leave the same apps
//! behind.

use std::fs;
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, ListedApp, Subject};
use serde_json::Value;

/// A step of a sequence.
enum SecondStep {
    /// A command, the folder in which it runs, and variables of its shell.
    Run(&'static str, &'static str, &'static [(&'static str, &'static str)]),
    /// A command with an app description on standard input.
    Piped(&'static str, &'static str, &'static str),
    /// New content of `a/eco.config.js`: the members of its only app.
    File(&'static str),
}
use SecondStep::{File, Piped, Run};

/// Script that records the environment of its process and keeps running.
const APP: &str = "const fs = require('fs');
const file = `${process.env.SEEN}/${process.env.name}-${process.env.pm_id}.json`;
const seen = { pid: process.pid, cwd: process.cwd(), script: __filename, args: process.argv.slice(2), env: process.env };
fs.writeFileSync(`${file}.new`, JSON.stringify(seen));
fs.renameSync(`${file}.new`, file);
setInterval(() => {}, 1e6);
";

const VARIABLES: &[&str] = &["X", "Y", "Z", "DB", "A", "B", "N", "PO", "S", "W"];
const ATTRIBUTES: &[&str] = &[
    "pm_cwd",
    "pm_exec_path",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_log_path",
    "autostart",
    "max_memory_restart",
    "kill_timeout",
    "args",
    "node_args",
    "namespace",
    "exec_mode",
];

fn folders(home: &Home) {
    for folder in ["a", "a/sub", "b", "b/sub", "seen"] {
        fs::create_dir_all(home.root().join(folder)).unwrap();
        fs::write(home.root().join(folder).join("app.js"), APP).unwrap();
    }
    let tool = home.root().join("tool");
    fs::write(&tool, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Returns the result of the sequence: exit codes, then a line for each instance.
fn leftovers(subject: Subject, steps: &[SecondStep]) -> Vec<String> {
    let home = Home::new(subject);
    folders(&home);
    let mut lines: Vec<String> = steps.iter().filter_map(|step| run_step(&home, step)).collect();
    lines.extend(home.jlist().iter().map(|item| line(&home, item)));
    let root = home.root().to_string_lossy().into_owned();
    lines.into_iter().map(|line| line.replace(&root, "@")).collect()
}

fn run_step(home: &Home, step: &SecondStep) -> Option<String> {
    let (words, folder) = match step {
        File(members) => {
            let text = format!("module.exports = {{ apps: [{{ name: 'app', script: './app.js', {members} }}] }};\n");
            fs::write(home.root().join("a/eco.config.js"), text).unwrap();
            return None;
        }
        Run(words, folder, _) | Piped(words, folder, _) => (words, folder),
    };
    let mut command = home.cmd(*words).cwd(home.root().join(folder)).env("SEEN", home.root().join("seen"));
    match step {
        Run(_, _, vars) => {
            for (name, value) in *vars {
                command = command.env(name, value.replace('@', &home.root().to_string_lossy()));
            }
        }
        Piped(_, _, text) => command = command.stdin(text),
        File(_) => {}
    }
    Some(format!("{words}: {}", command.run().code))
}

fn line(home: &Home, item: &ListedApp) -> String {
    let attributes: Vec<String> = ATTRIBUTES.iter().map(|key| format!("{key}={}", item.env(key))).collect();
    // PM2's client fills the key in at a first start by options, and a saved list has no number of
    // instances.
    let watch = if item.env("watch").is_null() { &Value::Bool(false) } else { item.env("watch") };
    let process = if item.status() == "online" && item.text("exec_interpreter") == "node" { process(home, item) } else { String::new() };
    format!("{} {} {} {} watch={watch} {process}", item.name(), item.id(), item.status(), attributes.join(" "))
}

/// Returns the record that an instance's process wrote about itself.
fn process(home: &Home, item: &ListedApp) -> String {
    let file: PathBuf = home.root().join(format!("seen/{}-{}.json", item.name(), item.id()));
    let mut seen = Value::Null;
    home.wait_until("the process has written what it finds", || {
        seen = read(&file);
        seen["pid"] == item.pid()
    });
    let vars: Vec<String> = VARIABLES.iter().map(|name| format!("{name}={}", seen["env"][*name])).collect();
    format!("cwd={} script={} args={} {}", seen["cwd"], seen["script"], seen["args"], vars.join(" "))
}

fn read(file: &Path) -> Value {
    fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[track_caller]
fn assert_same(sequences: &[&[SecondStep]]) {
    let Some(pm2) = Subject::pm2() else { ostler_testkit::skip!("there is no real PM2 to compare with") };
    for steps in sequences {
        assert_eq!(leftovers(crate::compare::ostler(), steps), leftovers(pm2.clone(), steps), "ostler (left) beside PM2");
    }
}

macro_rules! words {
    ($command:literal) => {
        concat!($command, " ../a/eco.config.js")
    };
}

#[test]
fn second_command_keeps_folder_of_first_start() {
    let logs = "out_file: 'o.log', error_file: './e.log', log_file: 'c.log', pid_file: 'p.pid'";
    assert_same(&[
        &[File(""), Run(words!("start"), "a", &[]), Run(words!("restart"), "b", &[])],
        &[File(logs), Run(words!("start"), "a", &[]), Run(words!("reload"), "b", &[])],
        &[File("cwd: './sub', out_file: 'o.log'"), Run(words!("start"), "a", &[]), Run(words!("startOrReload"), "b", &[])],
        &[File("exec_mode: 'cluster', instances: 2"), Run(words!("start"), "a", &[]), Run(words!("startOrRestart"), "b", &[])],
        &[
            File("out_file: 'o.log'"),
            Run(words!("start"), "a", &[]),
            Run(words!("start"), "b", &[]),
            Run("scale app 2", "b", &[]),
            Run("save", "b", &[]),
            Run("kill", "b", &[]),
            Run("resurrect", "b", &[]),
            Run(words!("reload"), "b", &[]),
        ],
    ]);
}

#[test]
fn folder_of_first_start_is_kept_for_every_start_form() {
    let piped = r#"[{"name": "app", "script": "app.js", "out_file": "o.log"}]"#;
    assert_same(&[
        &[Piped("start -", "a", piped), Piped("restart -", "b", piped)],
        &[File(""), Run("start app.js", "a", &[]), Run(words!("restart"), "b", &[])],
        &[File(""), Run(concat!("start ../a/eco.config.js", " --cwd ../b"), "a", &[]), Run(words!("restart"), "a", &[])],
        &[File(""), Run(words!("start"), "a", &[]), Run("delete app", "a", &[]), Run(words!("start"), "b", &[])],
    ]);
}

#[test]
fn second_command_keeps_path_of_first_start() {
    const PIPED: &str = r#"[{"name": "app", "script": "tool", "interpreter": "none"}]"#;
    let Some(pm2) = Subject::pm2() else { ostler_testkit::skip!("there is no real PM2 to compare with") };
    let leftovers = |subject: Subject| {
        let home = Home::new(subject);
        folders(&home);
        let path = format!("{}:{}", home.root().display(), std::env::var("PATH").unwrap());
        let first = home.cmd("start -").stdin(PIPED).env("PATH", path).run().code;
        let second = home.cmd("restart -").stdin(PIPED).run().code;
        (first, second, home.app("app").text("pm_exec_path").replace(&*home.root().to_string_lossy(), "@"))
    };
    assert_eq!(leftovers(crate::compare::ostler()), leftovers(pm2));
}

const ENVS: &str = "env: { X: 'file', DB: process.env.TOKEN, A: 'a', N: 1 }, env_production: { X: 'prod', Z: 'prod', PO: 'p' }, \
                    env_staging: { X: 'stag', S: 'stag' }";
const EDITED: &str = "env: { X: 'file2', B: 'b' }, env_production: { X: 'prod2' }";
const W0: &[(&str, &str)] = &[("W", "w0"), ("TOKEN", "t")];
const W1: &[(&str, &str)] = &[("W", "w1"), ("X", "shell"), ("N", "7"), ("Z", "shell")];

#[test]
fn update_env_applies_shell_variables() {
    assert_same(&[
        &[File(ENVS), Run(words!("start"), "a", W0), Run("restart app --update-env", "a", W1)],
        &[File(ENVS), Run(concat!(words!("start"), " --env production"), "a", W0), Run("reload all --update-env", "b", W1)],
        &[File(ENVS), Run(concat!(words!("start"), " --env production"), "a", W0), Run("start 0 --update-env", "a", W1)],
        &[File(ENVS), Run(words!("start"), "a", W0), Run("restart app --update-env", "a", W1), Run("restart app", "a", &[])],
        &[File(ENVS), Run(words!("start"), "a", W0), Run("restart app --update-env", "a", W1), Run(words!("restart"), "a", &[])],
        &[File(ENVS), Run(words!("start"), "a", W0), Run(concat!(words!("restart"), " --update-env"), "a", W1)],
    ]);
}

#[test]
fn second_command_merges_file_variables_into_app() {
    assert_same(&[
        &[File(ENVS), Run(words!("start"), "a", W0), Run(words!("reload"), "a", W1)],
        &[File(ENVS), Run(words!("start"), "a", W0), File(EDITED), Run(words!("restart"), "a", W1)],
        &[File(ENVS), Run(words!("start"), "a", W0), File(""), Run(words!("startOrRestart"), "a", W1)],
        &[File(""), Run(words!("start"), "a", W0), File(ENVS), Run(words!("start"), "a", W1)],
    ]);
}

#[test]
fn second_command_keeps_profile_variables() {
    assert_same(&[
        &[File(ENVS), Run(concat!(words!("start"), " --env production"), "a", W0), Run(words!("reload"), "a", W1)],
        &[
            File(ENVS),
            Run(concat!(words!("start"), " --env production"), "a", W0),
            Run(concat!(words!("restart"), " --env staging"), "a", W1),
        ],
        &[
            File(ENVS),
            Run(concat!(words!("start"), " --env production"), "a", W0),
            Run("stop app", "a", &[]),
            File(EDITED),
            Run(words!("start"), "a", W1),
        ],
        &[
            File(ENVS),
            Run(concat!(words!("start"), " --env production"), "a", W0),
            Run("save", "a", &[]),
            Run("kill", "a", &[]),
            Run("resurrect", "a", &[]),
            Run(words!("reload"), "b", W1),
        ],
    ]);
}

#[test]
fn instances_max_creates_same_files_as_pm2() {
    assert_same(&[
        &[File("exec_mode: 'cluster', instances: 'max'"), Run(words!("start"), "a", &[])],
        &[File("exec_mode: 'cluster', instances: 0"), Run(words!("start"), "a", &[])],
        &[File("exec_mode: 'fork', instances: 'max'"), Run(words!("start"), "a", &[])],
        &[File("instances: 'max'"), Run(words!("start"), "a", &[])],
    ]);
}

#[test]
fn autostart_false_starts_app_only_by_name() {
    const OFF: &str = "autostart: false";
    assert_same(&[
        &[File(OFF), Run(words!("start"), "a", &[]), Run(words!("start"), "a", &[]), Run(words!("startOrReload"), "a", &[])],
        &[
            File(OFF),
            Run(words!("start"), "a", &[]),
            Run("reload all", "a", &[]),
            Run("restart all", "a", &[]),
            Run("restart default", "a", &[]),
        ],
        &[File("autostart: false, exec_mode: 'cluster', instances: 2"), Run(words!("start"), "a", &[]), Run("scale app 3", "a", &[])],
        &[File(OFF), Run(words!("start"), "a", &[]), File(""), Run(words!("restart"), "a", &[])],
    ]);
}

#[test]
fn options_absent_from_file_are_kept() {
    assert_same(&[
        &[
            File(""),
            Run(words!("start"), "a", &[]),
            Run("restart app --max-memory-restart 500M", "a", &[]),
            Run(words!("restart"), "b", &[]),
        ],
        &[
            File(""),
            Run(words!("start"), "a", &[]),
            Run("restart app --kill-timeout 900 -- y z", "a", &[]),
            Run(words!("reload"), "a", &[]),
        ],
        &[
            File("kill_timeout: 700"),
            Run(words!("start"), "a", &[]),
            Run("restart app --kill-timeout 900", "a", &[]),
            Run(words!("start"), "a", &[]),
        ],
        &[File(""), Run("start app.js -i 2 --max-memory-restart 300M -- q", "a", &[]), Run(words!("restart"), "a", &[])],
        &[File(""), Run(concat!(words!("start"), " --namespace one"), "a", &[]), Run(words!("restart"), "a", &[])],
    ]);
}

#[test]
fn stop_disables_watch() {
    assert_same(&[
        &[File("watch: true"), Run(words!("start"), "a", &[]), Run("stop app", "a", &[]), Run("start app", "a", &[])],
        &[
            File("watch: ['.'], ignore_watch: ['x']"),
            Run(words!("start"), "a", &[]),
            Run("stop all", "a", &[]),
            Run("restart app", "a", &[]),
        ],
        &[Run("start app.js --watch", "a", &[]), Run("stop 0", "a", &[]), Run("start 0", "a", &[])],
        &[File(""), Run(words!("start"), "a", &[]), Run("stop app", "a", &[])],
        &[File("watch: ['x']"), Run(words!("start"), "a", &[]), Run("start app", "a", &[])],
        &[File("watch: ['x']"), Run(words!("start"), "a", &[]), Run("start default", "a", &[])],
        &[
            File("watch: ['x']"),
            Run(words!("start"), "a", &[]),
            Run("start all", "a", &[]),
            Run("restart app", "a", &[]),
            Run("reload 0", "a", &[]),
        ],
        &[File("watch: true"), Run(words!("start"), "a", &[]), Run(words!("stop"), "a", &[]), Run("start app --watch", "a", &[])],
    ]);
}

/// Stops the app of the file.
const STOPPED: SecondStep = Run("stop app", "a", &[]);

#[test]
fn start_by_script_keeps_config_of_stopped_app() {
    let full = "exec_mode: 'cluster', kill_timeout: 777, out_file: 'o.log', env: { X: 'file', PO: 'one' }, args: 'p q'";
    assert_same(&[
        &[File(full), Run(words!("start"), "a", W0), STOPPED, Run("start app.js --name app", "a", W1)],
        &[File(full), Run(words!("start"), "a", &[]), STOPPED, Run("start app.js --name app --max-memory-restart 300M", "a", &[])],
        &[
            File("namespace: 'one', error_file: './e.log'"),
            Run(words!("start"), "a", &[]),
            Run("restart app --kill-timeout 900", "a", &[]),
            STOPPED,
            Run("start app.js --name app -- y z", "a", &[]),
            Run(words!("restart"), "b", &[]),
        ],
        &[Run("start app.js --kill-timeout 800 -- q", "a", W0), STOPPED, Run("start app.js", "a", W1)],
        &[File(full), Run(words!("start"), "a", &[]), STOPPED, Run("start app.js --name app -f", "a", &[])],
    ]);
}

#[test]
fn start_succeeds_when_app_exits_before_ready() {
    let crash = |home: &Home| fs::write(home.root().join("a/crash.js"), "throw new Error('at once');\n").unwrap();
    let Some(pm2) = Subject::pm2() else { ostler_testkit::skip!("there is no real PM2 to compare with") };
    let codes = |subject: Subject| {
        let home = Home::new(subject);
        folders(&home);
        crash(&home);
        let file = "module.exports = { apps: [{ name: 'crash', script: 'crash.js', wait_ready: true, autorestart: false }] };\n";
        fs::write(home.root().join("a/crash.config.js"), file).unwrap();
        let code = |words: &str| home.cmd(words).cwd(home.root().join("a")).run().code;
        ["start crash.config.js", "restart crash", "start crash", "start crash.js --name other --wait-ready --no-autorestart"].map(code)
    };
    assert_eq!(codes(crate::compare::ostler()), codes(pm2));
}
