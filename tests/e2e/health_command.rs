//! `health`, the command for HEALTHCHECK.

use std::process::Stdio;
use std::time::Duration;

use ostler_testkit::{Subject, fixture, free_port, kill, needs_program};
use rustix::process::Signal;
use serde_json::json;

use crate::setup::{home, home_as_pm2, start_fixture};

#[test]
fn health_prints_one_line_and_exits_0_or_1() {
    for home in [home(), home_as_pm2()] {
        let says = |words: &str, code: i32, text: &str| {
            let output = home.run(words).code(code);
            assert_eq!((output.stdout.trim_end(), output.stderr.as_str()), (text, ""), "{words}");
        };
        // The command starts no daemon.
        home.run("health").code(1).says("unhealthy: no daemon is running");
        assert!(home.processes().is_empty());
        start_fixture(&home, "api", "-i 2", "hold");
        start_fixture(&home, "job", "--no-autorestart", "exit 0");
        home.wait_status("job", "stopped");
        says("health", 0, "healthy: 2 of 2 online");
        says("health all", 0, "healthy: 2 of 2 online");
        says("health api", 0, "healthy: 2 of 2 online");
        says("health 1", 0, "healthy: 1 of 1 online");
        // An app that is named must exist and be online.
        says("health job", 1, "unhealthy: 0 of 1 online; job:2 stopped");
        home.run("health nosuch").code(1).says("unhealthy: ").says("nosuch");
        home.run("health --min many").code(1).says("--min");
        home.ok("stop 0");
        says("health api", 1, "unhealthy: 1 of 2 online; api:0 stopped");
        says("health api --min 1", 0, "healthy: 1 of 2 online; api:0 stopped");
        start_fixture(&home, "loop", "--max-restarts 1 --restart-delay 1", "exit 1");
        home.wait_status("loop", "errored");
        // The word of `list`.
        let word = if matches!(home.subject(), Subject::OstlerAsPm2(_)) { "errored" } else { "crashed" };
        says("health", 1, &format!("unhealthy: 1 of 2 online; loop:3 {word}"));
        let json = home.run("health --json").code(1).json();
        assert_eq!((&json["healthy"], &json["message"]), (&json!(false), &json!("1 of 2 online; loop:3 errored")), "{json}");
        let looped = json["instances"].as_array().unwrap().iter().find(|row| row["name"] == "loop").unwrap();
        assert_eq!((&looped["id"], &looped["status"], &looped["trouble"]), (&json!(3), &json!("errored"), &json!(null)), "{json}");
        home.ok("delete all");
        says("health", 1, "unhealthy: no instance runs");
    }
}

#[test]
fn app_that_is_not_ready_is_unhealthy() {
    let home = home();
    home.ok(format!("start {} --name slow --no-autostart --wait-ready --listen-timeout 600000 -- hold", fixture()));
    let mut start = home.cmd("restart slow").command();
    let mut start = start.stdout(std::process::Stdio::null()).spawn().unwrap();
    // Until its process runs, there is nothing to wait for.
    home.wait_app("slow", "starts", |app| app.status() == "launching" && app.pid() > 0);
    home.run("health").code(1).says("unhealthy: 0 of 1 online; slow:0 launching (waiting for its ready message)");
    drop(start.kill());
    drop(start.wait());
}

#[test]
fn instance_without_a_checked_health_is_online_and_waits() {
    let home = home();
    let check = json!({"startup": {"tcp": free_port(), "delay": "600s", "interval": "600s"}});
    let app = json!({"name": "late", "script": fixture(), "args": "hold", "instances": 2, "exec_mode": "fork", "health": check});
    home.ok(format!("start {}", home.write("ecosystem.json", json!({"apps": [app]}).to_string())));
    let waits = |id| format!("late:{id} online (waiting for its first health check)");
    home.run("health").code(1).says(&format!("unhealthy: 2 of 2 online; {}, {}", waits(0), waits(1)));
}

/// Serves once the file `open` exists, and answers "unhealthy" until then.
const LATE: &str = "
const fs = require('fs');
const serve = () => fs.existsSync('open')
  ? require('http').createServer((_, response) => response.end('ok')).listen(process.env.PORT)
  : setTimeout(serve, 20);
serve();
process.on('SIGINT', () => process.exit(0));
";

/// Failed readiness checks during a start do not outlive the start: by port, by request, and with
/// two instances.
#[test]
fn late_listener_is_healthy_once_it_listens() {
    needs_program!("node");
    for kind in ["tcp", "http"] {
        let (home, port) = (home(), free_port());
        let ready = if kind == "tcp" { json!({"tcp": port}) } else { json!({"http": {"port": port}}) };
        home.write("late.js", LATE);
        let app = json!({"name": "late", "script": "late.js", "env": {"PORT": port}, "ready": ready, "autostart": false});
        let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
        home.ok(format!("start {file}"));
        let mut restart = home.cmd("restart late").command();
        let mut restart = restart.stdout(Stdio::null()).spawn().unwrap();
        home.wait_until("the check has an answer", || home.run("health late").stdout.contains("Connection refused"));
        home.write("open", "");
        home.wait_status("late", "online");
        home.ok("health late").says("healthy: 1 of 1 online");
        home.ok("health --wait 30s late");
        drop(restart.wait());
        // A stop does not bring them back, either.
        home.ok("stop late");
        home.run("health late").code(1).says("late:0 stopped").never_says("refused");
    }
}

#[test]
fn health_waits_for_a_daemon_being_replaced() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    kill(home.daemon_pid(), Signal::KILL);
    let output = home.ok("health").says("healthy: 1 of 1 online");
    assert!(output.elapsed < Duration::from_secs(30));
}
