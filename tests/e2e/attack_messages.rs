//! Apps of other users under a daemon of root: what they are given, and what they can reach by what they send.

use std::path::Path;

use ostler_testkit::{Cmd, Home, free_port, is_root, needs_root};

use crate::setup::{ecosystem, home};

/// A user that owns nothing here.
const STRANGER: u32 = 54_321;

/// A file of one app that runs as the stranger, in a folder that is his.
#[track_caller]
fn strangers_app(home: &Home, members: &str) -> String {
    std::os::unix::fs::chown(home.work(), Some(STRANGER), Some(STRANGER)).unwrap();
    ecosystem(home, &format!(r#""uid": {STRANGER}, "gid": {STRANGER}, {members}"#))
}

/// The command in a mount namespace of its own, with an empty `/run` of this mode.
fn on_fresh_run<'a>(cmd: Cmd<'a>, mode: &str) -> Cmd<'a> {
    let inner = format!(r#"mount -t tmpfs -o mode={mode} tmpfs /run && exec "$0" "$@""#);
    cmd.after(&format!("exec unshare -m bash -c '{inner}' \"$0\" \"$@\""))
}

/// This machine lets us make mount namespaces.
fn can_unshare() -> bool {
    is_root()
        && std::process::Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/run"]).status().is_ok_and(|s| s.success())
}

fn has_preload(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("node-preload-")
}

#[test]
fn the_preload_is_there_for_a_user_on_a_fresh_run() {
    needs_root!();
    if !can_unshare() {
        ostler_testkit::skip!("no mount namespaces here");
    }
    let home = home();
    home.write("app.js", "console.log('it runs'); setInterval(() => {}, 1e6);");
    let file = strangers_app(&home, r#""name": "x", "script": "app.js""#);
    on_fresh_run(home.cmd(format!("start {file}")), "0755").run().ok();
    home.wait_log("x-out.log", "it runs");
    let app = home.app("x");
    assert!(app.status() == "online" && app.restarts() == 0 && has_preload(app.pid()), "{}", home.report());
    // A folder that an earlier version made too narrow.
    let run = Path::new("/proc").join(home.daemon_pid().to_string()).join("root/run/ostler");
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::remove_file(std::fs::read_dir(&run).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_file()).unwrap())
        .unwrap();
    home.ok("restart x");
    let app = home.wait_status("x", "online");
    assert!(has_preload(app.pid()));
}

#[test]
fn a_preload_that_a_user_cannot_read_is_left_out() {
    needs_root!();
    if !can_unshare() {
        ostler_testkit::skip!("no mount namespaces here");
    }
    let home = home();
    home.write("app.js", "console.log('it runs'); setInterval(() => {}, 1e6);");
    let file = strangers_app(&home, r#""name": "x", "script": "app.js""#);
    on_fresh_run(home.cmd(format!("start {file}")), "0700").run().ok();
    home.wait_log("x-out.log", "it runs");
    home.ok("restart x");
    let app = home.wait_status("x", "online");
    assert!(!has_preload(app.pid()), "{}", home.report());
    let log = std::fs::read_to_string(home.dir().join("pm2.log")).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("without the Node preload")).collect();
    assert!(told.len() == 1 && told[0].contains("[x:0]") && told[0].contains("54321"), "{log}");
}

/// Says this on its channel, as Node would, and then that all is said.
const SPEAKER: &str = r#"#!/bin/sh
for line in "$@"; do printf '%s\n' "$line" >&3; done
printf '{"type":"axm:monitor","data":{"said":{"value":1}}}\n' >&3
exec sleep 1000
"#;

fn wants(address: &str, port: i32, kind: i32) -> String {
    format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1,"address":"{address}","port":{port},"addressType":{kind},"index":0}}"#)
}

#[test]
fn a_fork_mode_app_gets_no_sockets_of_the_cluster() {
    needs_root!();
    let home = home();
    let (closed, port) = (home.root().join("closed"), free_port());
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let socket = closed.join("planted.sock");
    let lines =
        [wants(socket.to_str().unwrap(), -1, -1), wants("0.0.0.0", i32::from(port), 4), r#"{"cmd":"NODE_OSTLER","act":"drained"}"#.into()];
    home.write("speaker.sh", SPEAKER);
    let args = serde_json::to_string(&lines).unwrap();
    let file = strangers_app(&home, &format!(r#""name": "x", "script": "speaker.sh", "args": {args}"#));
    home.ok(format!("start {file}"));
    for _ in 0..2 {
        home.wait_app("x", "heard", |app| !app.env("axm_monitor")["said"].is_null());
        assert!(!socket.exists(), "a socket was made in a folder of root");
        drop(std::net::TcpListener::bind(("0.0.0.0", port)).expect("nobody has the port"));
        home.ok("restart x");
    }
    let log = std::fs::read_to_string(home.dir().join("pm2.log")).unwrap();
    assert_eq!(log.matches("[x:0] asks for sockets as a cluster worker").count(), 1, "{log}");
}
