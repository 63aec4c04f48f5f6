//! `listen`: a process stops getting new connections some time before its stop signal.
//!
//! The server here has no shutdown code: its stop signal kills it immediately, even during a
//! request.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use ostler_testkit::{Home, Load, LoadSpec, alive, fixture, free_port, get, kill};
use rustix::process::Signal;

use crate::setup::home;

/// A single round could lose nothing by chance.
const ROUNDS: usize = 5;

/// Starts two instances of the server, or as the further members (JSON) configure, and waits for a
/// response.
#[track_caller]
fn start(home: &Home, how: &str, listen: &str, more: &str) {
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "{}", "args": "activated {how}", "instances": 2, "ready": {{"log": "is 3"}}, "listen": {listen}{more}}}]}}"#,
        fixture()
    );
    home.ok(format!("start {}", home.write("api.json", text)));
}

/// Clients with a connection for each request. Keep-alive connections are the server's own matter.
fn load(port: u16) -> Load {
    Load::start(LoadSpec::to(port))
}

fn answering_pid(port: u16) -> i32 {
    let body = get(port, "/").unwrap();
    body.split_once(' ').unwrap().0.parse().unwrap()
}

/// Returns how many processes were asked to finish their requests.
fn finishing(home: &Home) -> usize {
    home.daemon_log().matches("] finishes its requests").count()
}

#[test]
fn reload_without_shutdown_code_loses_no_request() {
    for how in ["blocking", "nonblocking"] {
        let home = home();
        let (port, second) = (free_port(), free_port());
        start(&home, how, &format!("[{port}, {second}]"), "");
        let clients = [load(port), load(second)];
        for _ in 0..ROUNDS {
            let before = home.pid_set();
            home.ok("reload api");
            clients.iter().for_each(|load| home.wait_requests(load, 100));
            assert!(before.is_disjoint(&home.pid_set()));
        }
        clients.into_iter().for_each(|load| load.stop().assert_whole());
    }
}

/// Sends requests to both instances in turn. They are answered once the file exists.
fn long_requests(port: u16, file: &Path) -> Vec<TcpStream> {
    let ask = |_| {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(client, "GET /when/{} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n", file.display()).unwrap();
        client
    };
    (0..20).map(ask).collect()
}

/// The stop signal kills the server immediately, so it must not be sent during a request.
#[test]
fn long_request_is_answered_before_the_stop_signal() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), "");
    let go = home.work().join("go");
    let clients = long_requests(port, &go);
    let before = home.pid_set();
    thread::scope(|scope| {
        let reload = scope.spawn(|| home.ok("reload api"));
        home.wait_until("the old processes finish", || finishing(&home) > 0 && !before.contains(&answering_pid(port)));
        // Longer than a shard must be empty: other instances serve new requests.
        let load = load(port);
        for _ in 0..10 {
            home.wait_requests(&load, 100);
        }
        load.stop().assert_whole();
        std::fs::write(&go, "").unwrap();
        let answers: Vec<String> = clients
            .into_iter()
            .map(|mut client| {
                let mut text = String::new();
                let read = client.read_to_string(&mut text);
                format!("{text}{}", read.map_or_else(|error| error.to_string(), |_| String::new()))
            })
            .collect();
        assert!(answers.iter().all(|text| text.starts_with("HTTP/1.1 200")), "{answers:?}");
        let told = reload.join().unwrap();
        assert!(!told.stdout.contains("still in flight") && !told.stderr.contains("still in flight"), "{told}");
    });
    assert!(before.is_disjoint(&home.pid_set()));
}

#[test]
fn requests_cut_after_drain_timeout_are_reported() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), r#", "drain_timeout": "1s""#);
    let clients = long_requests(port, &home.work().join("never"));
    let told = home.ok("reload api");
    let cut = (told.stdout + &told.stderr).matches("still in flight after drain_timeout (1000 ms)").count();
    assert_eq!(cut, 2, "one for each process\n{}", home.report());
    drop(clients);
}

#[test]
fn scaling_loses_no_request() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), "");
    let load = load(port);
    for _ in 0..ROUNDS {
        home.ok("scale api 3");
        home.wait_requests(&load, 100);
        home.ok("scale api 1");
        home.wait_requests(&load, 100);
    }
    load.stop().assert_whole();
}

#[test]
fn stop_of_one_instance_loses_no_request() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), "");
    let load = load(port);
    for _ in 0..ROUNDS {
        home.ok("stop 0");
        home.wait_requests(&load, 100);
        home.ok("start 0");
        home.wait_requests(&load, 100);
    }
    load.stop().assert_whole();
}

#[test]
fn instance_waiting_for_restart_gets_no_connections() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), r#", "restart_delay": 1000000"#);
    let load = load(port);
    home.wait_requests(&load, 100);
    let victim = home.jlist()[0].pid();
    kill(victim, Signal::KILL);
    home.wait_until("it waits for its restart", || home.jlist()[0].status() == "waiting restart");
    let other = home.jlist()[1].pid();
    assert!((0..50).all(|_| answering_pid(port) == other));
    // Without a running instance, connections wait.
    kill(other, Signal::KILL);
    home.wait_until("both wait", || home.jlist().iter().all(|item| item.status() == "waiting restart"));
    let waiting = std::thread::spawn(move || answering_pid(port));
    home.ok("restart api");
    assert!(home.pid_set().contains(&waiting.join().unwrap()));
    let report = load.stop();
    assert!(report.errors.iter().all(|error| !error.contains("while connecting")), "{report:?}");
}

#[test]
fn reload_survives_killed_daemon_and_keeper() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), r#", "kill_timeout": "10s""#);
    let load = load(port);
    for victim in [Home::kill_daemon, Home::kill_keeper, Home::kill_daemon, Home::kill_keeper] {
        let before = home.pid_set();
        let told = finishing(&home);
        let mut reload = home.cmd("reload api").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        home.wait_until("an old process finishes", || finishing(&home) > told);
        victim(&home);
        drop(reload.wait());
        home.wait_until("all are new, and nothing else is left", || home.pid_set().is_disjoint(&before) && home.app_processes().len() == 2);
        home.wait_requests(&load, 100);
    }
    load.stop().assert_whole();
}

#[test]
fn queued_connection_is_answered_by_its_process_after_kills() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), r#", "drain_timeout": "100s""#);
    home.ok("scale api 1");
    let old = home.jlist()[0].pid();
    kill(old, Signal::STOP);
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut reload = home.cmd("reload api").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    home.wait_until("the old process is to finish", || finishing(&home) == 2);
    home.kill_daemon();
    home.kill_keeper();
    // The new process serves other requests.
    assert_ne!(answering_pid(port), old);
    kill(old, Signal::CONT);
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("{old} api")), "{answer}");
    home.wait_until("it is gone", || !alive(old));
    drop(reload.wait());
}

#[test]
fn reload_after_loss_of_all_managers_loses_no_request() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), "");
    // The reload leaves one shard without a process. The kernel's order changes when that shard is
    // lost.
    home.ok("reload api");
    let before = home.pid_set();
    home.kill_all_three();
    home.ok("start sleep --name other -- 1000");
    home.ok("delete other");
    assert_eq!(home.pid_set(), before);
    let load = load(port);
    for _ in 0..ROUNDS {
        home.ok("reload api");
        home.wait_requests(&load, 100);
    }
    load.stop().assert_whole();
}

#[test]
fn shared_scheduling_uses_one_socket() {
    for (more, sockets) in [("", 2), (r#", "scheduling": "shared""#, 1)] {
        let home = home();
        let port = free_port();
        start(&home, "blocking", &port.to_string(), more);
        let own = |pid: i32| std::fs::read_link(format!("/proc/{pid}/fd/3")).unwrap();
        let before = home.pid_set();
        assert_eq!(before.iter().map(|pid| own(*pid)).collect::<BTreeSet<_>>().len(), sockets);
        home.ok("reload api");
        assert!(before.is_disjoint(&home.pid_set()) && home.pid_set().contains(&answering_pid(port)));
        home.ok("delete api");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn shards_are_reused() {
    let home = home();
    let port = free_port();
    start(&home, "blocking", &port.to_string(), "");
    let open = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    home.ok("reload api");
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    let before = (open(keeper), open(daemon));
    for _ in 0..ROUNDS {
        home.ok("reload api");
    }
    home.wait_until("no more descriptors than before", || open(keeper) <= before.0 + 2 && open(daemon) <= before.1 + 2);
}
