//! `listen`: sockets that ostler opens and that every instance gets.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use ostler_testkit::{Home, Load, fixture, free_port, get, kill, needs_root};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

/// Writes an ecosystem file with a server on these sockets (JSON).
fn file(home: &Home, name: &str, how: &str, listen: &str, more: &str) -> String {
    let text =
        format!(r#"{{"apps": [{{"name": "{name}", "script": "{}", "args": "activated {how}", "listen": {listen}{more}}}]}}"#, fixture());
    home.write(&format!("{name}.json"), text)
}

#[track_caller]
fn start(home: &Home, name: &str, listen: &str, more: &str) {
    home.ok(format!("start {}", file(home, name, "blocking", listen, more)));
}

/// Returns the pid that answers, and the name of its socket.
fn answering_pid_and_socket(port: u16) -> Result<(i32, String), String> {
    let body = get(port, "/").map_err(|error| error.to_string())?;
    let (pid, name) = body.split_once(' ').ok_or("no answer of ours")?;
    Ok((pid.parse().map_err(|_| "no pid")?, name.to_owned()))
}

/// Waits until each of these processes has answered; no request may fail.
#[track_caller]
fn all_answer(home: &Home, port: u16, pids: &BTreeSet<i32>) {
    let mut seen = BTreeSet::new();
    home.wait_until("every instance answers", || {
        seen.insert(answering_pid_and_socket(port).unwrap().0);
        seen.is_superset(pids)
    });
}

#[test]
fn every_instance_answers_on_every_socket() {
    for how in ["blocking", "nonblocking"] {
        let home = home();
        let (web, admin) = (free_port(), free_port());
        let listen = format!(r#"[{web}, {{"port": {admin}, "host": "127.0.0.1", "name": "admin"}}]"#);
        home.ok(format!("start {}", file(&home, "api", how, &listen, r#", "instances": 3"#)));
        home.wait_until("it answers", || answering_pid_and_socket(web).is_ok());
        all_answer(&home, web, &home.pid_set());
        assert_eq!(answering_pid_and_socket(web).unwrap().1, "api");
        assert_eq!(answering_pid_and_socket(admin).unwrap().1, "admin");
        // Both address families on the socket without an address.
        assert!(TcpStream::connect(("::1", web)).is_ok());
        assert!(TcpStream::connect(("::1", admin)).is_err());
        home.ok("delete api");
        assert!(TcpStream::connect(("127.0.0.1", web)).is_err());
    }
}

#[test]
fn descriptor_numbers_are_inserted_into_args_and_env() {
    let home = home();
    let report = home.work().join("r.json");
    let members = format!(
        r#""name": "x", "script": "{}", "args": ["report", "{}", "--fd={{fd}}", "a {{fd:two}}"], "env": {{"FD": "{{fd:two}}"}},
           "listen": [0, {{"port": 0, "name": "two"}}]"#,
        fixture(),
        report.display()
    );
    home.ok(format!("start {}", ecosystem(&home, &members)));
    let seen = crate::setup::read_report(&home, "r.json");
    assert_eq!(seen["args"].as_array().unwrap()[3..], ["--fd=3", "a 4"]);
    assert_eq!((seen["env"]["FD"].as_str(), seen["env"]["LISTEN_FDS"].as_str()), (Some("4"), Some("2")));
    assert_eq!(seen["env"]["LISTEN_FDNAMES"], "x:two");
    assert_eq!(seen["env"]["LISTEN_PID"], seen["pid"].to_string());
    assert_eq!(seen["env"]["NODE_CHANNEL_FD"], "5");
    let fds = seen["fds"].as_object().unwrap();
    assert!(["3", "4", "5"].iter().all(|number| fds[*number].as_str().unwrap().starts_with("socket:")), "{fds:?}");
    // Placeholders of an app with sockets mean nothing to an app without sockets.
    home.ok("delete x");
    let plain = format!(r#""name": "y", "script": "{}", "args": ["report", "{}", "{{fd}}"]"#, fixture(), report.display());
    std::fs::remove_file(&report).unwrap();
    home.ok(format!("start {}", ecosystem(&home, &plain)));
    let seen = crate::setup::read_report(&home, "r.json");
    assert_eq!(seen["args"].as_array().unwrap()[3..], ["{fd}"]);
    assert!(seen["env"].get("LISTEN_FDS").is_none());
}

#[test]
fn kernel_chosen_port_is_shared_and_shown() {
    let home = home();
    start(&home, "api", "0", r#", "instances": 2"#);
    let detail = home.ok("describe 0 --json");
    let detail = detail.json();
    let address = |detail: &serde_json::Value| find_key(detail, "sockets").unwrap()[0]["address"].as_str().unwrap().to_owned();
    let port: u16 = address(&detail).strip_prefix("port ").unwrap().parse().unwrap();
    assert_ne!(port, 0);
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
    all_answer(&home, port, &home.pid_set());
    home.ok("describe 1").says(&format!("port {port} (api)"));
    // A restart keeps it.
    home.ok("restart api");
    all_answer(&home, port, &home.pid_set());
}

/// Returns the value of this key, at any depth.
fn find_key<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find_key(value, key))),
        serde_json::Value::Array(list) => list.iter().find_map(|value| find_key(value, key)),
        _ => None,
    }
}

#[test]
fn no_connection_is_refused_while_instances_restart() {
    let home = home();
    let port = free_port();
    start(&home, "api", &port.to_string(), r#", "instances": 2"#);
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
    let load = Load::mixed(port, 4);
    let good = load.good();
    home.wait_until("requests are answered", || load.good() > good + 20);
    // A dying process loses its own connection, but no connection is refused.
    for _ in 0..3 {
        let victim = home.jlist()[0].pid();
        kill(victim, Signal::KILL);
        home.wait_until("another process is there", || {
            let now = home.jlist()[0].pid();
            now != victim && now != 0
        });
    }
    home.ok("restart api");
    let good = load.good();
    home.wait_until("requests are answered", || load.good() > good + 20);
    let report = load.stop();
    let refused: Vec<_> = report.errors.iter().filter(|error| error.contains("while connecting")).collect();
    assert!(refused.is_empty(), "{} of {}: {refused:?}", refused.len(), report.requests);
}

#[test]
fn sockets_survive_daemon_and_keeper() {
    let home = home();
    let port = free_port();
    let path = home.work().join("s.sock");
    let listen = format!(r#"[{port}, {{"path": "{}", "name": "local"}}]"#, path.display());
    start(&home, "api", &listen, "");
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
    let load = Load::mixed(port, 2);
    let ask = |count: u64| {
        let good = load.good();
        home.wait_until("requests are answered", || load.good() > good + count);
    };
    home.kill_daemon();
    ask(10);
    // The daemon still has the socket: the next process gets the same socket.
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    home.ok("restart api");
    ask(10);
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()), inode);
    home.kill_keeper();
    home.ok("restart api");
    ask(10);
    home.kill_daemon();
    home.ok("restart api");
    ask(10);
    let report = load.stop();
    let refused: Vec<_> = report.errors.iter().filter(|error| error.contains("while connecting")).collect();
    assert!(refused.is_empty(), "{} of {}: {refused:?}", refused.len(), report.requests);
    home.ok("stop api");
    assert!(!path.exists() && TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn sockets_survive_loss_of_all_managers() {
    let home = home();
    let port = free_port();
    let path = home.work().join("s.sock");
    start(&home, "api", &format!(r#"[{port}, "{}", 0]"#, path.display()), r#", "instances": 2"#);
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
    let before = home.pid_set();
    home.kill_all_three();
    home.ok("start sleep --name other -- 1000");
    home.ok("delete other");
    assert_eq!(home.pid_set(), before);
    // One process dies while the other still uses the address, so the new process needs the same
    // socket.
    kill(*before.first().unwrap(), Signal::KILL);
    home.wait_until("another process is there", || home.pid_set() != before && home.all_online());
    all_answer(&home, port, &home.pid_set());
    assert!(path.exists());
    home.ok("stop api");
    assert!(!path.exists());
}

#[test]
fn restarts_leak_no_descriptors() {
    let home = home();
    let path = home.work().join("s.sock");
    let more = r#", "ready": {"log": "is 3"}, "watchdog": "100s", "wait_ready": true"#;
    start(&home, "api", &format!(r#"[0, "{}"]"#, path.display()), more);
    let newline = home.write("s6.sh", "#!/bin/sh\necho >&4\nexec sleep 1000\n");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "s6", "script": "{newline}", "ready": {{"descriptor": 4}}, "watchdog": "100s""#))
    ));
    let open = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    home.ok("restart all");
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    let before = (open(keeper), open(daemon));
    for _ in 0..6 {
        home.ok("restart all");
    }
    // One or two unrelated descriptors may be new; a leak would add one per restart.
    home.wait_until("no more descriptors than before", || open(keeper) <= before.0 + 3 && open(daemon) <= before.1 + 3);
}

#[test]
fn unix_socket_has_its_mode_and_is_removed() {
    let home = home();
    let (open, closed) = (home.work().join("open.sock"), home.work().join("closed.sock"));
    let listen = r#"["./open.sock", {"path": "closed.sock", "mode": "600"}]"#;
    start(&home, "api", listen, r#", "umask": "002""#);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&open), mode(&closed)), (0o775, 0o600));
    let mut text = String::new();
    UnixStream::connect(&open).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.ends_with(" api"), "{text}");
    // A restart keeps the file, a stop removes it. If another program has replaced the file, it
    // stays.
    home.ok("restart api");
    assert!(open.exists());
    std::fs::remove_file(&closed).unwrap();
    std::fs::write(&closed, "precious").unwrap();
    home.ok("stop api");
    assert!(!open.exists());
    assert_eq!(std::fs::read_to_string(&closed).unwrap(), "precious");
}

#[test]
fn stale_socket_file_is_replaced_but_live_one_is_not() {
    let home = home();
    let path = home.work().join("s.sock");
    let listen = format!(r#""{}""#, path.display());
    drop(UnixListener::bind(&path).unwrap());
    start(&home, "api", &listen, "");
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    home.ok("delete api");
    let _live = UnixListener::bind(&path).unwrap();
    refused(&home, &listen, &["listen at", "s.sock", "Address already in use"]);
    assert!(path.exists());
}

/// Checks that the start fails with one line that contains all these texts, and leaves nothing.
#[track_caller]
fn refused(home: &Home, listen: &str, says: &[&str]) {
    let output = home.run(format!("start {}", file(home, "refused", "blocking", listen, r#", "instances": 3"#)));
    assert_ne!(output.code, 0, "{output:?}");
    let text = format!("{}{}", output.stdout, output.stderr);
    let line = text.lines().find(|line| says.iter().all(|part| line.contains(part)));
    assert!(line.is_some(), "no line has {says:?}\n{text}");
    assert!(home.jlist().iter().all(|item| item.name() != "refused"), "{text}");
}

#[test]
fn unopenable_socket_fails_in_one_line_and_starts_nothing() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let free = free_port();
    refused(&home, &format!(r#"[{free}, "127.0.0.1:{port}"]"#), &[&format!("listen at 127.0.0.1:{port}"), "Address already in use"]);
    // Nothing is half-started: the available port was released.
    drop(TcpListener::bind(("127.0.0.1", free)).unwrap());
    refused(&home, r#""192.0.2.1:8080""#, &["listen at 192.0.2.1:8080", "Cannot assign requested address"]);
    refused(&home, r#""/no/such/folder/x.sock""#, &["listen at /no/such/folder/x.sock", "No such file or directory"]);
    let long = format!(r#""/tmp/{}""#, "x".repeat(120));
    let output = home.run(format!("start {}", file(&home, "refused", "blocking", &long, "")));
    assert_ne!(output.code, 0);
    output.says("has 125 bytes, the path of a socket may have 107");
    // A port of another app.
    start(&home, "first", &free.to_string(), "");
    refused(&home, &free.to_string(), &[&format!("listen at port {free}"), "the app first has it"]);
}

#[test]
fn privileged_port_is_rejected_in_one_line() {
    needs_root!();
    let home = home();
    std::fs::set_permissions(home.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(home.work(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|first| first <= 81) {
        ostler_testkit::skip!("every port is free to everybody here");
    }
    let file = file(&home, "low", "blocking", "81", "");
    let output = home.cmd(format!("start {file} --allow-foreign-file")).uid(65534).run();
    assert_ne!(output.code, 0);
    output.says("listen at port 81 (ports below 1024 need root or CAP_NET_BIND_SERVICE)").says("Permission denied");
}

#[test]
fn sockets_removed_from_config_are_closed() {
    let home = home();
    let (old, new) = (free_port(), free_port());
    start(&home, "api", &old.to_string(), "");
    home.wait_until("it answers", || answering_pid_and_socket(old).is_ok());
    start(&home, "api", &new.to_string(), "");
    home.wait_until("it answers at the new port", || answering_pid_and_socket(new).is_ok());
    let addr: SocketAddr = ([127, 0, 0, 1], old).into();
    home.wait_until("the old port is closed", || TcpStream::connect(addr).is_err());
}

#[test]
fn a_renamed_app_keeps_its_sockets() {
    let home = home();
    let port = free_port();
    start(&home, "api", &port.to_string(), "");
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
    home.ok("restart api --name other");
    home.wait_until("it answers again", || answering_pid_and_socket(port).is_ok());
    home.ok("stop other");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn resurrected_app_gets_its_sockets() {
    let home = home();
    let port = free_port();
    start(&home, "api", &port.to_string(), r#", "ready_timeout_action": "accept""#);
    home.ok("save");
    home.ok("kill");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    home.ok("resurrect");
    home.wait_until("it answers", || answering_pid_and_socket(port).is_ok());
}

#[test]
fn non_node_server_is_stopped_with_sigterm() {
    let home = home();
    let port = free_port();
    start(&home, "api", &port.to_string(), "");
    home.ok("stop api");
    home.ok("why api").says("SIGTERM");
}
