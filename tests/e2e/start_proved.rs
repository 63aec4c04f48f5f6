//! ostler checks each start: a new process must run for `min_uptime`, in every kind of start.
//! `--no-wait` and the name `pm2` skip this check.

use ostler_testkit::{Cmd, Home, Output, free_port, needs_program};
use serde_json::json;

use crate::setup::{home, home_as_pm2};

/// A server that throws after 150 ms if the file `bad` exists, and otherwise keeps running.
const APP: &str = "
const fs = require('fs');
if (fs.existsSync('bad')) setTimeout(() => { throw new Error('the database is gone'); }, 150);
fs.appendFileSync('looked', '.');
setInterval(() => {}, 1 << 30);
process.on('SIGINT', () => process.exit(0));
";

fn command<'a>(home: &'a Home, words: &str) -> Cmd<'a> {
    home.cmd(words).env("OSTLER_START_WATCH", "")
}

/// Creates a home with a good app with this number of instances, whose next processes fail.
fn about_to_fail(mode: &str, instances: u32) -> (Home, String) {
    let home = home();
    home.write("app.js", APP);
    let app = json!({"name": "app", "script": "app.js", "exec_mode": mode, "instances": instances, "restart_delay": 60000});
    let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
    home.ok(format!("start {file}"));
    // Each process checks for `bad` before the file exists.
    let looked = || std::fs::read(home.work().join("looked")).map_or(0, |marks| marks.len());
    home.wait_until("each process is good", || looked() >= instances as usize);
    home.write("bad", "");
    (home, file)
}

fn fails_with_the_error(output: Output) {
    let output = output.code(1);
    assert!(output.stderr.contains("the database is gone"), "{output:?}");
}

#[test]
fn app_that_dies_within_min_uptime_fails_every_start() {
    needs_program!("node");
    for mode in ["fork", "cluster"] {
        for words in
            ["restart app", "restart 0", "restart FILE", "start app", "start FILE", "reload app", "startOrRestart FILE", "restart all"]
        {
            let (home, file) = about_to_fail(mode, 1);
            if words == "start app" {
                home.ok("stop app");
            }
            fails_with_the_error(command(&home, &words.replace("FILE", &file)).run());
        }
    }
    let home = home();
    let script = home.write("app.js", APP);
    home.write("bad", "");
    fails_with_the_error(command(&home, &format!("start {script} --restart-delay 60000")).run());
}

#[test]
fn scale_up_watches_new_instances() {
    needs_program!("node");
    let (home, _) = about_to_fail("fork", 1);
    fails_with_the_error(command(&home, "scale app 3").run());
}

#[test]
fn a_restart_of_several_instances_stops_at_the_first_failure() {
    needs_program!("node");
    for words in ["restart app", "reload app"] {
        let (home, _) = about_to_fail("fork", 3);
        let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
        fails_with_the_error(command(&home, words).run());
        let after = home.jlist();
        assert_eq!(
            after[1..].iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>(),
            before[1..],
            "{words}: the others stay as they are"
        );
        assert!(after[1..].iter().all(|app| app.restarts() == 0), "{words}");
    }
}

#[test]
fn no_wait_and_pm2_name_skip_the_check() {
    needs_program!("node");
    let good = home();
    good.write("app.js", APP);
    command(&good, "start app.js --name app").run().ok();
    command(&good, "restart app").run().ok();
    command(&good, "reload app").run().ok();
    let (home, _) = about_to_fail("fork", 1);
    command(&home, "restart app --no-wait").run().ok().says("◐ app  starting; continues in the background");
    let pm2 = home_as_pm2();
    let script = pm2.write("app.js", APP);
    pm2.write("bad", "");
    command(&pm2, &format!("start {script} --name app --restart-delay 60000")).run().ok();
    pm2.wait_status("app", "waiting restart");
}

#[test]
fn implausible_number_of_instances_is_rejected() {
    let home = home();
    home.ok(format!("start {} --name ok -- hold", ostler_testkit::fixture()));
    let app = json!({"name": "many", "script": ostler_testkit::fixture(), "args": ["hold"], "instances": 9_999});
    let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
    for words in [
        "scale ok 9999",
        "scale ok +9999",
        &format!("start {} --name more -i 9999 -- hold", ostler_testkit::fixture()),
        &format!("start {file}"),
    ] {
        home.run(words).code(1).says("9999 instances").says("hint: use --yes");
        assert_eq!(home.jlist().len(), 1, "{words}");
    }
    home.ok("scale ok 2");
}

/// An old process that exits only when the file `go` exists.
const STUBBORN: &str = "
const fs = require('fs');
process.on('SIGINT', () => setInterval(() => fs.existsSync('go') && process.exit(0), 10));
setInterval(() => {}, 1 << 30);
console.log('runs');
";

#[test]
fn no_wait_returns_while_the_old_process_still_exits() {
    needs_program!("node");
    for words in ["restart app", "reload app", "restart FILE"] {
        let home = home();
        home.write("app.js", STUBBORN);
        let app = json!({"name": "app", "script": "app.js", "kill_timeout": 60000});
        let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
        home.ok(format!("start {file}"));
        home.wait_log("app-out.log", "runs");
        let old = home.app("app").pid();
        let words = words.replace("FILE", &file);
        command(&home, &format!("{words} --no-wait")).run().ok();
        let process = rustix::process::Pid::from_raw(old).unwrap();
        assert!(rustix::process::test_kill_process(process).is_ok(), "{words}: the command waited for the exit of the old process");
        home.write("go", "");
        home.wait_until("the new process is online", || home.app("app").pid() != old && home.app("app").status() == "online");
    }
}

#[test]
fn no_wait_still_fails_for_an_unknown_app() {
    let home = home();
    home.ok(format!("start {} --name ok -- hold", ostler_testkit::fixture()));
    command(&home, "restart nothing --no-wait").run().fails().says("nothing");
}

/// Writes a server that listens after a while, unless the file `moved` exists.
fn late_server(port: u16) -> String {
    format!(
        "if (!require('fs').existsSync('moved')) setTimeout(() => require('net').createServer().listen({port}, () => console.log('listens')), 700);
setInterval(() => {{}}, 1 << 30);"
    )
}

#[test]
fn restart_waits_until_new_process_listens_on_old_port() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.write("app.js", late_server(port));
    let app = json!({"name": "app", "script": "app.js", "min_uptime": 100, "listen_timeout": 30000});
    let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
    home.ok(format!("start {file}"));
    home.wait_log("app-out.log", "listens");
    for words in ["restart app", "reload app", "restart FILE"] {
        let output = command(&home, &words.replace("FILE", &file)).run().ok();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "{words}: the command returned before the app listened");
        assert!(!output.stderr.contains("does not listen"), "{words}: {output:?}");
    }
}

#[test]
fn restart_warns_about_a_port_without_listener() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.write("app.js", late_server(port));
    let app = json!({"name": "app", "script": "app.js", "min_uptime": 100, "listen_timeout": 1000});
    let file = home.write("ecosystem.json", json!({"apps": [app]}).to_string());
    home.ok(format!("start {file}"));
    home.wait_log("app-out.log", "listens");
    home.write("moved", "");
    let warning = format!("[app](0) does not listen on port {port}, unlike its old process");
    let output = command(&home, "restart app").run().ok();
    assert_eq!(output.stderr.matches(&warning).count(), 1, "{output:?}");
    // The process without a port is the old one now.
    let output = command(&home, "restart app").run().ok();
    assert!(!output.stderr.contains("does not listen"), "{output:?}");
}
