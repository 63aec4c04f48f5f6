//! Limits: memory, CPU, errors, restarts, priority.

use ostler_testkit::{fixture, free_port, needs_program, needs_root};
use serde_json::{Value, json};

use crate::setup::{events, home, start_app};

/// Allocates 300 MiB once its file `eat-<instance>` exists. A shell's child process counts towards
/// the limit as well.
const EATER: &str = "
const fs = require('fs');
let food = [];
const eat = () => { if (fs.existsSync('eat-' + (process.env.NODE_APP_INSTANCE || 0)) && !food.length) food = [Buffer.alloc(300 << 20, 1)]; };
setInterval(eat, 20);
if (process.env.PORT) require('http').createServer((q, r) => r.end(String(process.pid))).listen(process.env.PORT);
";

#[test]
fn memory_limit_restarts_app_with_pm2_messages() {
    needs_program!("node");
    let home = home();
    home.write("eater.js", EATER);
    start_app(&home, &json!({"name": "eater", "script": "eater.js", "max_memory_restart": "200M"}));
    let before = home.wait_status("eater", "online");
    home.write("eat-0", "");
    let after = home.wait_app("eater", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
    std::fs::remove_file(home.work().join("eat-0")).unwrap();
    assert_eq!(after.env("restart_time"), &json!(1));
    let log = home.daemon_log();
    assert!(log.contains("[PM2][WORKER] Process 0 restarted because it exceeds --max-memory-restart value (current_memory="), "{log}");
    assert!(log.contains("max_memory_limit=209715200 [octets])"), "{log}");
    let why = home.ok("why eater").stdout;
    assert!(why.contains("(max_memory_restart: 200 MB)") && why.contains("stopped by the policy `memory`"), "{why}");
}

/// The limit includes child processes: the shell itself needs almost no memory.
#[test]
fn memory_limit_counts_the_whole_tree() {
    needs_program!("node");
    let home = home();
    home.write("eater.js", EATER);
    start_app(&home, &json!({"name": "tree", "script": "node eater.js & wait", "max_memory_restart": "200M"}));
    let before = home.wait_status("tree", "online");
    home.write("eat-0", "");
    home.wait_app("tree", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
}

#[test]
fn memory_limit_accepts_a_share_of_the_machine() {
    let home = home();
    home.ok(format!("start {} --name small --max-memory-restart 99% -- hold", fixture()));
    home.ok(format!("start {} --name large --max-memory-restart 0.01% -- hold", fixture()));
    home.wait_app("small", "online", |app| app.status() == "online" && app.env("restart_time") == &json!(0));
    let of_machine: u64 = std::fs::read_to_string("/proc/meminfo").unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    if of_machine < 16 << 20 {
        // This limit is less than any process needs.
        home.wait_app("large", "restarted", |app| app.env("restart_time").as_u64() >= Some(1));
    }
}

/// A cluster always has a worker: the worker over its limit is replaced, and no request fails.
#[test]
fn worker_over_memory_limit_is_reloaded() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    home.write("eater.js", EATER);
    start_app(&home, &json!({"name": "web", "script": "eater.js", "instances": 2, "max_memory_restart": "200M", "env": {"PORT": port}}));
    home.wait_until("it serves", || ostler_testkit::get(port, "/").is_ok());
    let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    let load = ostler_testkit::Load::start(ostler_testkit::LoadSpec { pause_us: 2000, ..ostler_testkit::LoadSpec::to(port) });
    home.write("eat-1", "");
    home.wait_until("the worker is replaced", || {
        let apps = home.jlist();
        apps[1].pid() > 0 && apps[1].pid() != before[1] && apps[1].env("restart_time") == &json!(1)
    });
    std::fs::remove_file(home.work().join("eat-1")).unwrap();
    load.stop().assert_whole();
    assert_eq!(home.jlist()[0].pid(), before[0]);
    assert!(!home.daemon_log().contains("Stopping app:web id:0"));
}

/// A limit below the app's minimum: each process is stopped immediately, and the pause before the
/// next start doubles.
#[test]
fn impossible_limit_stops_each_process_and_backs_off() {
    let home = home();
    start_app(&home, &json!({"name": "large", "script": fixture(), "args": "hold", "max_memory_restart": "1K"}));
    home.wait_app("large", "ended, and its next start waits", |app| app.status() == "waiting restart" && app.pid() == 0);
    home.wait_app("large", "restarted five times", |app| app.restarts() >= 5);
    // The daemon's own times, so that a busy machine only makes the gaps longer. Only the last gap
    // includes the roughly 2 s until the process is found to be too large.
    let launched = |event: &&Value| event["app"] == "large" && event["what"]["launched"].is_object();
    let mut launches: Vec<u64> = Vec::new();
    // A restart is counted before its process is launched.
    home.wait_until("the fifth restart is launched", || {
        launches = events(&home, "").iter().filter(launched).map(|event| event["at_ms"].as_u64().unwrap()).collect();
        launches.len() > 5
    });
    let gap = |restart: usize| launches[restart] - launches[restart - 1];
    assert!(gap(3) >= 900 && gap(4) >= 1900 && gap(5) >= 3900, "{launches:?}");
    // A user can restart it immediately.
    home.wait_app("large", "ended, and its next start waits", |app| app.status() == "waiting restart" && app.pid() == 0);
    home.ok("restart large");
    home.wait_status("large", "online");
    let why = home.ok("why large").stdout;
    assert!(why.contains("stopped by the policy `memory`"), "{why}");
}

/// A process tree that forks constantly: its memory is known, and measuring it costs little.
#[test]
fn memory_limit_applies_to_constantly_forking_tree() {
    let home = home();
    start_app(&home, &json!({"name": "storm", "script": fixture(), "args": "fork-storm", "max_memory_restart": "1K", "kill_timeout": 200}));
    let before = home.wait_status("storm", "online");
    home.wait_app("storm", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
    home.ok("delete storm");
    home.wait_until("nothing of it is left", || home.app_processes().is_empty());
}

#[test]
fn busy_app_is_reported_and_then_replaced() {
    let home = home();
    start_app(&home, &json!({"name": "busy", "script": fixture(), "args": "busy", "max_cpu": 20, "max_cpu_window": 2000}));
    start_app(&home, &json!({"name": "calm", "script": fixture(), "args": "hold", "max_cpu": 20, "max_cpu_window": 2000}));
    let before = home.wait_status("busy", "online");
    home.wait_app("busy", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
    let log = home.daemon_log();
    let told = log.find("App [busy:0] has used").unwrap();
    assert!(told < log.find("App [busy:0] used").unwrap(), "{log}");
    assert!(home.ok("why busy --all").stdout.contains("requested by the policy `cpu`"));
    assert_eq!(home.app("calm").env("restart_time"), &json!(0));
}

#[test]
fn lines_on_stderr_count_as_errors() {
    let home = home();
    home.write("err.sh", "#!/bin/sh\necho started\nwhile :; do [ -e \"$1\" ] && { for i in 1 2 3 4 5 6 7 8 9 10; do echo \"error $i\" >&2; done; rm \"$1\"; }; sleep 0.05; done\n");
    let error = |restart: bool| json!({"error_threshold": 10, "restart_on_error": restart});
    let app = |name: &str, restart: bool| json!({"name": name, "script": "./err.sh", "args": [name], "error": error(restart)});
    let file = home.write("ecosystem.json", json!({"apps": [app("again", true), app("told", false)]}).to_string());
    home.ok(format!("start {file}"));
    let before = home.wait_status("again", "online");
    home.write("again", "");
    home.write("told", "");
    home.wait_app("again", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
    home.wait_until("both are reported", || home.daemon_log().matches("reported 10 errors within 60 s (error_threshold: 10)").count() >= 2);
    assert!(home.ok("why again --all").stdout.contains("requested by the policy `errors`"));
    assert_eq!(home.app("told").env("restart_time"), &json!(0));
    // Nine errors are below the limit of ten: the old errors no longer count.
    assert_eq!(home.app("again").env("restart_time"), &json!(1));
}

#[test]
fn reported_exceptions_count_as_errors() {
    needs_program!("node");
    let home = home();
    let code = "require('fs').writeFileSync('runs', 'x', {flag: 'a'});\n\
                if (require('fs').readFileSync('runs').length === 1) for (let i = 0; i < 3; i++) process.send({type: 'process:exception', data: {message: 'boom'}});\n\
                setInterval(() => {}, 1000);\n";
    home.write("app.js", code);
    let error = json!({"error_threshold": 3, "restart_on_error": true});
    start_app(&home, &json!({"name": "app", "script": "app.js", "disable_logs": true, "error": error}));
    home.wait_app("app", "restarted", |app| app.env("restart_time") == &json!(1));
    home.wait_file("runs", "xx");
}

#[test]
fn restart_budget_stops_crash_loop_at_any_speed() {
    let home = home();
    let budget = json!({"n": 3, "window": "10m"});
    start_app(&home, &json!({"name": "slow", "script": fixture(), "args": "exit 1 150", "min_uptime": 100, "restart_budget": budget}));
    let gave_up = home.wait_status("slow", "errored");
    assert_eq!(gave_up.env("restart_time"), &json!(3));
    assert!(home.daemon_log().contains("had too many restarts (3 within 600000 ms). Stopped. \"errored\""));
    // A command of a user resets the budget.
    home.ok("restart slow");
    home.wait_app("slow", "restarted again", |app| app.env("restart_time").as_u64() >= Some(4));
}

#[test]
fn nice_20_becomes_19_and_negative_works_with_privilege() {
    needs_root!();
    let home = home();
    let nice = |app: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", home.app(app).pid())).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse::<i32>().unwrap()
    };
    let high = home.ok(format!("start {} --name high --nice=-5 -- hold", fixture()));
    assert!(!high.stdout.contains("nice:"), "{high}");
    let low = home.ok(format!("start {} --name low --nice 20 -- hold", fixture()));
    assert!(low.stdout.contains("19") || low.stderr.contains("19"), "{low}");
    assert_eq!((nice("high"), nice("low")), (-5, 19));
}

/// If the user may not raise the priority, ostler reports it and runs the app without. With
/// `--strict`, nothing starts.
#[test]
fn negative_nice_without_privilege_is_reported() {
    needs_root!();
    let home = home();
    std::os::unix::fs::chown(home.root(), Some(4242), Some(4242)).unwrap();
    for folder in ["work", "user", "bin"] {
        std::os::unix::fs::chown(home.root().join(folder), Some(4242), Some(4242)).unwrap();
    }
    let program = home.write("hold.sh", "#!/bin/sh\nexec sleep 1000\n");
    let strict = home.cmd(format!("start {program} --nice=-5 --strict")).uid(4242).run();
    assert!(strict.code != 0 && strict.stderr.contains("-5 needs root or CAP_SYS_NICE"), "{strict}");
    let told = home.cmd(format!("start {program} --nice=-5")).uid(4242).run().ok();
    assert!(told.stderr.contains("-5 needs root or CAP_SYS_NICE"), "{told}");
    let list = home.cmd("jlist").uid(4242).run().ok();
    let apps = ostler_testkit::ListedApp::parse_list(&list.stdout);
    assert!(apps.len() == 1 && apps[0].status() == "online", "{list}");
}

/// Kernel limits apply if this machine has their controllers. Without a controller, ostler prints a
/// line for each limit, and the app runs.
#[test]
fn kernel_limits_are_applied_or_reported() {
    let home = home();
    let limits = json!({"cpu_quota": 50, "memory_max": "1G", "pids_max": 100, "io_weight": 50});
    let mut app = json!({"name": "web", "script": fixture(), "args": "hold"});
    app.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
    let started = home.ok(format!("start {file}"));
    assert_eq!(home.app("web").status(), "online");
    let group = std::fs::read_to_string(format!("/proc/{}/cgroup", home.app("web").pid())).unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).map(|path| format!("/sys/fs/cgroup{path}"));
    let value = |file: &str| group.as_ref().and_then(|group| std::fs::read_to_string(format!("{group}/{file}")).ok());
    for (key, file, expected) in [
        ("cpu_quota", "cpu.max", "50000 100000"),
        ("memory_max", "memory.max", "1073741824"),
        ("pids_max", "pids.max", "100"),
        ("io_weight", "io.weight", "default 50"),
    ] {
        let kept = value(file).is_some_and(|value| value.trim() == expected);
        let told = started.stderr.lines().filter(|line| line.contains(&format!("web: {key} has no effect: "))).count();
        assert!(kept && told == 0 || !kept && told == 1, "{key}: {started}");
    }
}
