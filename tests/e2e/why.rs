//! `why`: who stopped an instance, when, and how.

use ostler_testkit::{fixture_app, free_port, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

#[test]
fn why_shows_exit_code_and_last_output() {
    let home = home();
    start_fixture(&home, "app", "--no-autorestart", "lines 3 42");
    home.wait_status("app", "stopped");
    home.ok("why app").says("42").says("last words");
}

#[test]
fn why_names_the_signal() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    let pid = home.app("app").pid();
    kill(pid, Signal::SEGV);
    home.wait_app("app", "another process", |item| item.pid() != pid && item.pid() > 0);
    home.ok("why app").says("SIGSEGV");
}

#[test]
fn why_names_the_user_command() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("stop app");
    home.ok("why app").says("stop");
    home.ok("restart app");
    home.ok("restart app");
    home.ok("why app").says("restart");
}

#[test]
fn why_reports_sigkill_after_kill_timeout() {
    let home = home();
    home.ok(format!("start {} --name app --kill-timeout 300", fixture_app("stubborn.sh")));
    home.wait_log("app-out.log", "stubborn");
    home.ok("stop app");
    home.ok("why app").says("SIGKILL");
}

#[test]
fn why_fails_for_an_unknown_app() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.run("why nothing").code(4);
}

#[test]
fn error_and_cause_precede_a_long_stack_trace() {
    needs_program!("node");
    let home = home();
    // Node prints the cause before the stack, which is longer than the text that ostler keeps.
    let script = home.write(
        "app.js",
        "function deep(n) { if (n) return deep(n - 1); throw new Error('cannot start', { cause: new TypeError('no host') }); }\nError.stackTraceLimit = 30;\ndeep(25);\n",
    );
    home.run(format!("start {script} --name app --no-autorestart")).fails().says("Error: cannot start");
    home.wait_status("app", "stopped");
    let said = home.ok("why app").says("Error: cannot start").says("caused by TypeError: no host").says("app.js:1:").stdout.clone();
    assert!(!said.contains("node:internal"), "{said}");
}

#[test]
fn process_that_holds_a_port_is_named() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let server = home.write("server.js", format!("require('http').createServer().listen({port}, () => console.log('listening'))"));
    home.ok(format!("start {server} --name first"));
    home.wait_log("first-out.log", "listening");
    let pid = home.app("first").pid();
    home.run(format!("start {server} --name second --no-autorestart"))
        .fails()
        .says("EADDRINUSE")
        .says(&format!("port {port} is held by process {pid} (node)"));
    home.wait_status("second", "stopped");
    home.ok("why second").says("EADDRINUSE").says(&format!("port {port} is held by process {pid} (node), app first (id 0)"));
    // A process that is not an app of ostler, and a port that ostler holds for an app.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let bind = |port: u16| format!("require('net').createServer().listen({port}, '127.0.0.1')");
    let third = home.write("third.js", bind(port));
    home.run(format!("start {third} --name third --no-autorestart")).fails().says("EADDRINUSE");
    home.wait_status("third", "stopped");
    home.ok("why third").says(&format!("port {port} is held by process {}", std::process::id()));
    let port = free_port();
    let shared = home.write("shared.js", format!("require('http').createServer().listen({port}, () => console.log('listening'))"));
    home.ok(format!("start {shared} --name shared -i 2"));
    home.wait_log("shared-out-3.log", "listening");
    let fifth = home.write("fifth.js", bind(port));
    home.run(format!("start {fifth} --name fifth --no-autorestart")).fails().says("EADDRINUSE");
    home.wait_status("fifth", "stopped");
    home.ok("why fifth").says(&format!("port {port} is held for app shared"));
}

#[test]
fn failed_reload_is_explained() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let good = format!("require('http').createServer().listen({port}, () => console.log('listening'))");
    let script = home.write("app.js", &good);
    home.ok(format!("start {script} --name app -i 2"));
    home.wait_until("both listen", || (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    home.write("app.js", "Error.stackTraceLimit = 30;\nrequire('./lost');\n");
    let failed = home.run("reload app");
    assert_eq!(failed.code, 1, "{failed}");
    for said in [failed.all(), home.ok("why app").stdout.clone()] {
        assert!(said.contains("Error: Cannot find module './lost'") && said.contains("app.js:2:"), "{said}");
    }
    home.ok("why app").says("release 2: ✗ failed");
    home.write("app.js", &good);
    home.ok("reload app");
    assert!(!home.ok("why app").stdout.contains("failed"), "it is over");
}

#[test]
fn history_names_each_event_and_its_cause() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "another process", |item| item.pid() != pid && item.status() == "online");
    home.ok("why app --all").says("what happened:").says("by the policy `autorestart` (killed by SIGKILL)").says("is online (pid");
    home.kill_daemon();
    home.wait_until("the next daemon tells of it", || {
        home.run("why app --all").all().contains("ostler: the daemon restarted: 1 instance keeps running")
    });
    home.ok("stop app");
    let uid = rustix::process::getuid().as_raw();
    home.ok("why app --all").says(&format!("is stopped, by `stop` of uid {uid} (pid "));
    let list = home.ok("why app --json").json();
    assert_eq!((&list[0]["cause"]["user"]["command"], &list[0]["events"][0]["what"]), (&"stop".into(), &"stopped".into()), "{list:#}");
    // The events are lost, but the app's record still has the cause. The running app lets a new
    // daemon know that it had apps before.
    start_fixture(&home, "other", "", "hold");
    home.kill_all_three();
    home.wait_until("a daemon answers", || home.run("list").code == 0);
    let said = home.ok("why app --all").says(&format!("last changed by `stop` of uid {uid} (pid ")).stdout.clone();
    assert!(!said.contains("what happened:"), "{said}");
}
