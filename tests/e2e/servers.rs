//! Real servers of other languages on sockets that ostler opened: spread, restart, crash and reload
//! under load.

use std::collections::BTreeSet;

use ostler_testkit::{Home, Load, LoadSpec, fixture, free_port, get, kill, needs_program, nodes, python_program};
use rustix::process::Signal;

use crate::setup::home;

const PYTHON: &str = r#"
import os

def wsgi(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"#;

const NODE: &str = "require('http').createServer((req, res) => res.end(String(process.pid))).listen({ fd: 3 });";

/// Number of reloads of each program. A single one could lose nothing by chance; the programs of a
/// kind together have many.
const RELOADS: usize = 3;

/// Runs two instances of this program (with additional JSON members) behind one port. Both answer,
/// and no request is lost when they are replaced.
#[track_caller]
fn serves(home: &Home, port: u16, members: &str) {
    let text = format!(
        r#"{{"apps": [{{"name": "web", "instances": 2, "listen": "127.0.0.1:{port}", "listen_timeout": "30s", "kill_timeout": "10s", {members}}}]}}"#
    );
    home.ok(format!("start {}", home.write("web.json", text)));
    home.wait_until("it answers", || get(port, "/").is_ok());
    every_instance_answers(home, port);
    // Without keep-alive: each server treats idle connections differently when it exits.
    let load = Load::start(LoadSpec { keep_alive: false, connections: 4, ..LoadSpec::to(port) });
    home.wait_requests(&load, 20);
    for _ in 0..RELOADS {
        let before = home.online_pids();
        home.ok("reload web");
        home.wait_requests(&load, 20);
        let after = home.online_pids();
        assert!(before.is_disjoint(&after) && after.len() == 2, "{before:?} {after:?}");
    }
    load.stop().assert_whole();
    // A dying instance loses its own requests, but no connection is refused.
    let victim = *home.online_pids().first().unwrap();
    kill(victim, Signal::KILL);
    home.wait_until("another one is there", || home.online_pids().len() == 2 && !home.online_pids().contains(&victim));
    every_instance_answers(home, port);
    home.ok("delete web");
    assert!(home.app_processes().is_empty());
}

#[track_caller]
fn every_instance_answers(home: &Home, port: u16) {
    // A server that forks (gunicorn) answers with the pid of a child.
    let trees = |pid: i32| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).chain([pid]).collect::<Vec<i32>>()
    };
    let mut seen = BTreeSet::new();
    home.wait_until("every instance answers", || {
        if let Ok(body) = get(port, "/") {
            seen.insert(body.parse::<i32>().unwrap());
        }
        home.online_pids().into_iter().all(|pid| trees(pid).iter().any(|pid| seen.contains(pid)))
    });
}

#[track_caller]
fn python(program: &str, args: &str, ready: &str) {
    let Some(script) = python_program(program) else { ostler_testkit::skip!("{program} is not installed") };
    let home = home();
    home.write("app.py", PYTHON);
    serves(&home, free_port(), &format!(r#""script": "{script}", "args": "{args}", "ready": {ready}"#));
}

// If gunicorn also gets the number (`--bind fd://3`), it takes the socket twice and fails.
#[test]
fn gunicorn_finds_its_sockets() {
    python("gunicorn", "--workers 1 app:wsgi", r#""notify""#);
}

#[test]
fn uvicorn_serves_on_given_sockets() {
    python("uvicorn", "--fd {fd} app:asgi", r#"{"log": "startup complete"}"#);
}

#[test]
fn hypercorn_serves_on_given_sockets() {
    python("hypercorn", "--bind fd://{fd:web} app:asgi", r#"{"log": "Running on"}"#);
}

#[test]
fn go_and_rust_style_servers_use_given_sockets() {
    for how in ["blocking", "nonblocking"] {
        let home = home();
        let port = free_port();
        let text = format!(
            r#"{{"apps": [{{"name": "web", "script": "{}", "args": "activated {how}", "instances": 2, "listen": {port}}}]}}"#,
            fixture()
        );
        home.ok(format!("start {}", home.write("web.json", text)));
        home.wait_until("it answers", || get(port, "/").is_ok());
        let before = home.online_pids();
        home.ok("reload web");
        assert!(before.is_disjoint(&home.online_pids()));
        assert!(get(port, "/").is_ok());
    }
}

#[test]
fn release_that_is_not_ready_changes_nothing() {
    let home = home();
    let port = free_port();
    let script = home.write("release.sh", format!("#!/bin/sh\n[ -e bad ] && exec sleep 1000\nexec {} activated blocking\n", fixture()));
    let text = format!(
        r#"{{"apps": [{{"name": "web", "script": "{script}", "instances": 2, "listen": {port}, "ready": {{"log": "is 3"}}, "listen_timeout": 500}}]}}"#
    );
    home.ok(format!("start {}", home.write("web.json", text)));
    let before = home.online_pids();
    let load = Load::start(LoadSpec { keep_alive: false, ..LoadSpec::to(port) });
    home.write("bad", "");
    assert_eq!(home.run("reload web").code, 1);
    assert_eq!(home.online_pids(), before);
    std::fs::remove_file(home.work().join("bad")).unwrap();
    load.stop().assert_whole();
    home.ok("reload web");
    assert!(before.is_disjoint(&home.online_pids()));
}

#[test]
fn fork_mode_node_serves_on_given_socket() {
    needs_program!("node");
    let home = home();
    let script = home.write("app.js", NODE);
    for node in nodes() {
        let interpreter = node.path.display();
        serves(&home, free_port(), &format!(r#""script": "{script}", "exec_mode": "fork", "interpreter": "{interpreter}""#));
    }
}

#[test]
fn a_cluster_worker_listens_on_a_socket_of_the_app() {
    needs_program!("node");
    for scheduling in ["round_robin", "shared", "reuseport"] {
        let home = home();
        let script = home.write("app.js", NODE);
        serves(&home, free_port(), &format!(r#""script": "{script}", "exec_mode": "cluster", "scheduling": "{scheduling}""#));
    }
}

#[test]
fn cluster_worker_gets_ebadf_for_missing_socket() {
    needs_program!("node");
    let home = home();
    let script = home.write(
        "app.js",
        "require('http').createServer().on('error', (error) => { console.log(error.code); setInterval(() => {}, 1000); }).listen({ fd: 4 });",
    );
    let text = format!(r#"{{"apps": [{{"name": "web", "script": "{script}", "exec_mode": "cluster", "listen": 0}}]}}"#);
    home.run(format!("start {}", home.write("web.json", text)));
    home.wait_until("it is reported", || home.log("web-out-0.log").contains("EBADF"));
}
