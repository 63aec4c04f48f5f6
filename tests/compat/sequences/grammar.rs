//! Makes sequences from a seed.

use ostler_testkit::Rng;

use super::model::{App, Call, FILE_TARGET, Sequence, Step};

const NAMES: [&str; 2] = ["web", "api"];

/// Scripts with their weights: the app serves immediately, serves late, never reports that it is
/// ready, fails, or exits immediately.
const SCRIPTS: [(usize, &str); 5] = [(65, "quick.js"), (10, "late.js"), (7, "never.js"), (9, "crash.js"), (9, "done.js")];

/// Keys that no edit removes. Without them the app would be another app, or would keep restarting.
const LASTING: [&str; 5] = ["name", "script", "autorestart", "max_restarts", "min_uptime"];

/// Generates the sequence of a seed.
pub fn sequence(seed: u64) -> Sequence {
    let c = &mut Rng::new(seed);
    let count = if c.percent(35) { 2 } else { 1 };
    let apps: Vec<App> = NAMES[..count].iter().map(|name| app(c, name)).collect();
    let mut steps = vec![Step::Run(first(c))];
    let length = 3 + c.below(4);
    while steps.len() < length {
        let edited = matches!(steps.last(), Some(Step::Edit { .. } | Step::Add(_)));
        let step = if edited { Step::Run(with_file(c)) } else { step(c, &apps) };
        steps.push(step);
    }
    if matches!(steps.last(), Some(Step::Edit { .. } | Step::Add(_))) {
        steps.push(Step::Run(with_file(c)));
    }
    Sequence { apps, steps }
}

fn text(value: &str) -> String {
    format!("\"{value}\"")
}

fn app(c: &mut Rng, name: &str) -> App {
    let script = c.weighted(&SCRIPTS);
    let mut app = App::from([("name".to_owned(), text(name)), ("script".to_owned(), text(script))]);
    // Apps that exit must settle soon, also on a busy machine.
    if script == "crash.js" {
        app.insert("max_restarts".to_owned(), "2".to_owned());
        app.insert("min_uptime".to_owned(), "6000".to_owned());
    }
    if matches!(script, "never.js" | "late.js") {
        app.insert("listen_timeout".to_owned(), c.pick(&["400", "1200"]).to_owned());
    }
    for _ in 0..c.below(4) {
        let (key, value) = setting(c);
        app.insert(key.to_owned(), value.to_owned());
    }
    for _ in 0..c.below(4) {
        let (key, value) = variable(c);
        app.insert(key, value);
    }
    // After exit code 0, PM2 restarts an app until it is errored; ostler restarts it every two
    // seconds without a limit.
    if script == "done.js" {
        app.insert("autorestart".to_owned(), "false".to_owned());
    }
    app
}

/// Returns a key of an app that is not a variable.
fn setting(c: &mut Rng) -> (&'static str, &'static str) {
    c.weighted(&[
        (3, ("instances", "2")),
        (1, ("instances", "\"max\"")),
        (1, ("instances", "1")),
        (3, ("exec_mode", "\"cluster\"")),
        (1, ("exec_mode", "\"fork\"")),
        (2, ("autostart", "false")),
        (2, ("autorestart", "false")),
        (2, ("watch", "[\"lib\"]")),
        (1, ("watch", "false")),
        (2, ("wait_ready", "true")),
        (1, ("kill_timeout", "900")),
        (1, ("kill_timeout", "1100")),
        (2, ("cwd", "\"../b\"")),
        (1, ("cwd", "__dirname")),
        (2, ("out_file", "\"../out/one.log\"")),
        (1, ("out_file", "\"../out/two.log\"")),
        (1, ("error_file", "\"../out/error.log\"")),
        (1, ("merge_logs", "true")),
        (2, ("args", "\"one --two\"")),
        (1, ("args", "[\"three\"]")),
        (2, ("max_memory_restart", "\"400M\"")),
        (1, ("namespace", "\"shop\"")),
        (1, ("increment_var", "\"PORT\"")),
        (1, ("node_args", "\"--no-warnings\"")),
        (1, ("stop_exit_codes", "[3]")),
        (1, ("cron_restart", "\"0 0 1 1 *\"")),
        (1, ("append_env_to_name", "true")),
        (1, ("instance_var", "\"WORKER\"")),
        (1, ("filter_env", "[\"TOKEN\"]")),
        (1, ("exp_backoff_restart_delay", "0")),
        (1, ("force", "true")),
    ])
}

/// Returns a variable of an app, in one of its groups.
fn variable(c: &mut Rng) -> (String, String) {
    let group = c.weighted(&[(5, "env"), (3, "env_production"), (2, "env_staging")]);
    let name = c.pick(&["MODE", "DB", "PORT", "X", "TOKEN"]);
    let value = c.weighted(&[
        (3, "\"one\""),
        (3, "\"two\""),
        (2, "4000"),
        (3, "process.env.TOKEN"),
        (1, "process.env.X"),
        (1, "true"),
        (1, "\"\""),
        (1, "{\"a\": 1}"),
    ]);
    (format!("{group}.{name}"), value.to_owned())
}

fn shell(c: &mut Rng) -> Vec<(String, String)> {
    let mut shell = Vec::new();
    for (chance, name) in [(30, "TOKEN"), (15, "X"), (8, "MODE"), (3, "kill_timeout")] {
        if c.percent(chance) {
            let value = if name == "kill_timeout" { "777" } else { c.pick(&["red", "blue"]) };
            shell.push((name.to_owned(), value.to_owned()));
        }
    }
    shell
}

fn folder(c: &mut Rng) -> String {
    c.weighted(&[(7, "a"), (3, "b")]).to_owned()
}

/// Returns a call in a random folder, with random variables of the shell.
fn call(c: &mut Rng, verb: &str, target: &str) -> Call {
    Call { verb: verb.to_owned(), targets: vec![target.to_owned()], folder: folder(c), shell: shell(c), ..Call::default() }
}

fn options(c: &mut Rng, chance: u8, all: &[&str]) -> Vec<String> {
    let mut options = Vec::new();
    while c.percent(chance) && options.len() < 2 {
        let option = c.pick(all).to_owned();
        if !options.contains(&option) {
            options.push(option);
        }
    }
    options
}

const OF_FILES: [&str; 5] = ["--env production", "--env production", "--env staging", "--update-env", "--only web"];

const OF_SCRIPTS: [&str; 13] = [
    "--name web",
    "--name web",
    "-i 2",
    "--max-memory-restart 300M",
    "--watch lib",
    "--no-autorestart",
    "--kill-timeout 1000",
    "--namespace shop",
    "--no-autostart",
    "-o ../out/cli.log",
    "--merge-logs",
    "--update-env",
    "--cwd ../b",
];

const OF_NAMES: [&str; 8] = [
    "--update-env",
    "--update-env",
    "--update-env",
    "--max-memory-restart 300M",
    "--kill-timeout 1000",
    "--name web",
    "--no-autorestart",
    "--namespace shop",
];

fn with_file(c: &mut Rng) -> Call {
    let verb =
        c.weighted(&[(4, "start"), (4, "restart"), (4, "reload"), (2, "startOrRestart"), (2, "startOrReload"), (1, "stop"), (1, "delete")]);
    let mut call = call(c, verb, FILE_TARGET);
    if !matches!(verb, "stop" | "delete") {
        call.options = options(c, 35, &OF_FILES);
    }
    call
}

fn script(c: &mut Rng) -> Call {
    let script = c.weighted(&[(6, "quick.js"), (1, "late.js"), (1, "done.js")]);
    let mut call = call(c, "start", script);
    call.options = options(c, 60, &OF_SCRIPTS);
    if script == "done.js" {
        call.options.push("--no-autorestart".to_owned());
        call.options.dedup();
    }
    if c.percent(20) {
        call.args = vec!["four".to_owned(), "--five".to_owned()];
    }
    call
}

fn from_stdin(c: &mut Rng) -> Call {
    let mut call = call(c, "start", "-");
    let mut app = app(c, "web");
    // Standard input takes JSON only.
    app.retain(|_, value| !value.starts_with("process") && value != "__dirname");
    call.stdin = Some(app);
    call
}

/// Returns the first command, which starts something.
fn first(c: &mut Rng) -> Call {
    match c.below(10) {
        0..=5 => {
            let mut call = call(c, "start", FILE_TARGET);
            call.options = options(c, 30, &OF_FILES);
            call
        }
        6..=8 => script(c),
        _ => from_stdin(c),
    }
}

fn step(c: &mut Rng, apps: &[App]) -> Step {
    match c.below(100) {
        0..=17 => Step::Run(with_file(c)),
        18..=42 => edit(c, apps),
        43..=64 => Step::Run(by_name(c)),
        65..=76 => Step::Run(of_list(c)),
        77..=84 => Step::Run(home_command(c)),
        85..=90 => Step::Kill(c.below(2)),
        91..=96 => Step::Run(script(c)),
        _ => Step::Run(from_stdin(c)),
    }
}

fn edit(c: &mut Rng, apps: &[App]) -> Step {
    let app_index = c.below(apps.len());
    if c.percent(12) {
        return Step::Add(app(c, "extra"));
    }
    // An edit removes a key of the app as often as it changes a key.
    let removable: Vec<&String> = apps[app_index].keys().filter(|key| !LASTING.contains(&key.as_str())).collect();
    if !removable.is_empty() && c.percent(40) {
        return Step::Edit { app: app_index, key: c.pick(&removable).clone(), value: None };
    }
    let (key, value) = if c.percent(50) {
        let (key, value) = setting(c);
        (key.to_owned(), value.to_owned())
    } else {
        variable(c)
    };
    Step::Edit { app: app_index, key, value: Some(value) }
}

/// Returns a command for one app by its name, id, script or pattern.
fn by_name(c: &mut Rng) -> Call {
    let verb = c.weighted(&[(5, "restart"), (4, "reload"), (3, "start"), (4, "stop"), (1, "delete")]);
    let target = c.weighted(&[(6, "web"), (2, "api"), (2, "0"), (1, "1"), (3, "all"), (1, "quick.js"), (1, "/we/")]);
    let mut call = call(c, verb, target);
    if matches!(verb, "restart" | "reload" | "start") && target != "quick.js" {
        call.options = options(c, 45, &OF_NAMES);
    }
    call
}

fn of_list(c: &mut Rng) -> Call {
    let verb = c.weighted(&[(5, "scale"), (3, "reset"), (3, "stop")]);
    let mut call = call(c, verb, c_target(verb));
    if verb == "scale" {
        call.targets.push(c.pick(&["1", "2", "3", "+1"]).to_owned());
    }
    if verb == "stop" && c.percent(50) {
        call.options.push("--watch".to_owned());
    }
    call
}

fn c_target(verb: &str) -> &'static str {
    if verb == "reset" { "all" } else { "web" }
}

fn home_command(c: &mut Rng) -> Call {
    let verb = c.weighted(&[(5, "save"), (3, "resurrect"), (2, "kill"), (1, "cleardump")]);
    let mut call = call(c, verb, "");
    call.targets.clear();
    call
}
