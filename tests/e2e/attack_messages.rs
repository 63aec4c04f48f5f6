//! Apps of other users under a root daemon: the resources that they get, and the effects that their
//! messages can have.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ostler_testkit::{Cmd, Home, free_port, is_root, kill, needs_root, proc_number, variable};
use rustix::process::Signal;

use crate::setup::{ecosystem, home, journal_path};

/// A user that owns nothing on this machine.
const STRANGER: u32 = 54_321;

/// Writes a file with an app that runs as the stranger, in a folder of the stranger.
#[track_caller]
fn write_stranger_app(home: &Home, members: &str) -> String {
    std::os::unix::fs::chown(home.work(), Some(STRANGER), Some(STRANGER)).unwrap();
    ecosystem(home, &format!(r#""uid": {STRANGER}, "gid": {STRANGER}, {members}"#))
}

/// Runs the command in its own mount namespace, with an empty `/run` of this mode.
fn with_empty_run<'a>(cmd: Cmd<'a>, mode: &str) -> Cmd<'a> {
    let inner = format!(r#"mount -t tmpfs -o mode={mode} tmpfs /run && exec "$0" "$@""#);
    cmd.after(&format!("exec unshare -m bash -c '{inner}' \"$0\" \"$@\""))
}

/// Returns true if this machine allows mount namespaces.
fn can_unshare() -> bool {
    is_root()
        && std::process::Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/run"]).status().is_ok_and(|s| s.success())
}

fn has_preload(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("node-preload-")
}

#[test]
fn preload_is_readable_by_app_user_on_fresh_run_dir() {
    needs_root!();
    if !can_unshare() {
        ostler_testkit::skip!("no mount namespaces here");
    }
    let home = home();
    home.write("app.js", "console.log('it runs'); setInterval(() => {}, 1e6);");
    let file = write_stranger_app(&home, r#""name": "x", "script": "app.js""#);
    with_empty_run(home.cmd(format!("start {file} --allow-foreign-file")), "0755").run().ok();
    home.wait_log("x-out.log", "it runs");
    let app = home.app("x");
    assert!(app.status() == "online" && app.restarts() == 0 && has_preload(app.pid()), "{}", home.report());
    // An earlier version made the folder's mode too strict.
    let run = Path::new("/proc").join(home.daemon_pid().to_string()).join("root/run/ostler");
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::remove_file(std::fs::read_dir(&run).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_file()).unwrap())
        .unwrap();
    home.ok("restart x");
    let app = home.wait_status("x", "online");
    assert!(has_preload(app.pid()));
}

#[test]
fn preload_is_skipped_if_user_cannot_read_it() {
    needs_root!();
    if !can_unshare() {
        ostler_testkit::skip!("no mount namespaces here");
    }
    let home = home();
    home.write("app.js", "console.log('it runs'); setInterval(() => {}, 1e6);");
    let file = write_stranger_app(&home, r#""name": "x", "script": "app.js""#);
    with_empty_run(home.cmd(format!("start {file} --allow-foreign-file")), "0700").run().ok();
    home.wait_log("x-out.log", "it runs");
    home.ok("restart x");
    let app = home.wait_status("x", "online");
    assert!(!has_preload(app.pid()), "{}", home.report());
    let log = home.daemon_log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("without the Node preload")).collect();
    assert!(told.len() == 1 && told[0].contains("[x:0]") && told[0].contains("54321"), "{log}");
}

/// Sends its arguments on its channel, as Node would, and then a metric that marks the end.
const SPEAKER: &str = r#"#!/bin/sh
for line in "$@"; do printf '%s\n' "$line" >&3; done
printf '{"type":"axm:monitor","data":{"said":{"value":1}}}\n' >&3
exec sleep 1000
"#;

fn query_server(address: &str, port: i32, kind: i32) -> String {
    format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1,"address":"{address}","port":{port},"addressType":{kind},"index":0}}"#)
}

#[test]
fn fork_mode_app_gets_no_cluster_sockets() {
    needs_root!();
    let home = home();
    let (closed, port) = (home.root().join("closed"), free_port());
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let socket = closed.join("planted.sock");
    let lines = [
        query_server(socket.to_str().unwrap(), -1, -1),
        query_server("0.0.0.0", i32::from(port), 4),
        r#"{"cmd":"NODE_OSTLER","act":"drained"}"#.into(),
    ];
    home.write("speaker.sh", SPEAKER);
    let args = serde_json::to_string(&lines).unwrap();
    let file = write_stranger_app(&home, &format!(r#""name": "x", "script": "speaker.sh", "args": {args}"#));
    home.ok(format!("start {file} --allow-foreign-file"));
    for _ in 0..2 {
        home.wait_app("x", "heard", |app| !app.env("axm_monitor")["said"].is_null());
        assert!(!socket.exists(), "a socket was made in a folder of root");
        drop(std::net::TcpListener::bind(("0.0.0.0", port)).expect("nobody has the port"));
        home.ok("restart x");
    }
    let log = home.daemon_log();
    assert_eq!(log.matches("[x:0] requests sockets like a cluster worker").count(), 1, "{log}");
}

/// Sends far too much of every kind of message, then a sign of life.
const GREEDY: &str = r#"
const say = (name, value) => new Promise((done) => process.send({type: 'axm:monitor', data: {[name]: {value}}}, done));
(async () => {
  await say('mark', 1);
  for (let i = 0; i < 24; i++) await say('big' + i, 'x'.repeat(8 << 20));
  for (let i = 0; i < 300; i++) await say('small' + i, 'y'.repeat(10_000));
  for (let i = 0; i < 30; i++) process.send({type: 'axm:action', data: {action_name: 'a' + i + 'z'.repeat(10_000)}});
  for (let i = 0; i < 30; i++) process.send({type: 'axm:option:configuration', data: {['o' + i]: 'z'.repeat(10_000)}});
  process.send({node_version: '9'.repeat(50_000)});
  await say('mark', 2);
})();
setInterval(() => {}, 1e6);
"#;

#[test]
fn app_metadata_is_bounded() {
    let home = home();
    let script = home.write("greedy.js", GREEDY);
    home.ok("start sleep --name other -- 1000");
    let before = proc_number(home.daemon_pid(), "status", "VmHWM");
    home.ok(format!("start {script} --name x --max-memory-restart 4G"));
    let app = home.wait_app("x", "heard to the end", |app| app.env("axm_monitor")["mark"]["value"] == 2);
    let kept = ["axm_monitor", "axm_actions", "axm_options"].map(|key| app.env(key).to_string().len());
    assert!(kept.iter().sum::<usize>() < 66 << 10, "kept {kept:?}");
    assert!(app.text("node_version").len() < 20 && app.restarts() == 0);
    let grown = proc_number(home.daemon_pid(), "status", "VmHWM") - before;
    assert!(grown < 12 << 10, "the daemon grew by {grown} KiB");
    // Neither the journal nor its copy on disk contains any of it.
    home.ok("restart other");
    let journal = std::fs::read(home.dir().join("ostler.state")).unwrap();
    let held = std::fs::read(journal_path(&home)).unwrap();
    for bytes in [&journal, &held] {
        assert!(bytes.len() < 64 << 10, "a journal of {} bytes", bytes.len());
    }
    let log = home.daemon_log();
    assert_eq!(log.matches("[x:1] sent a message longer than").count(), 1, "{log}");
    assert_eq!(log.matches("[x:1] reports more metrics and actions").count(), 1, "{log}");
    assert_eq!(home.app("other").status(), "online");
}

#[test]
fn message_flood_is_rate_limited() {
    let home = home();
    let script = home.write("flood.sh", "#!/bin/sh\nexec yes 1 >&3\n");
    let since = std::time::Instant::now();
    home.ok(format!("start {script} --name x"));
    home.ok("start sleep --name other -- 1000");
    let pid = home.app("x").pid();
    for _ in 0..5 {
        home.ok("restart other");
        assert_eq!(home.jlist().len(), 2);
    }
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let written: f64 = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap();
    // 65,536 lines of two bytes each second, the same number as a burst, and the socket's buffer.
    let allowed = (since.elapsed().as_secs_f64() + 1.0) * 131_072.0 + 512.0 * 1024.0;
    assert!(written < allowed, "{written} bytes were taken, {allowed} are allowed");
    home.wait_until("it is reported", || home.daemon_log().contains("[x:0] sends more"));
}

/// Floods the daemon with messages that it drops, then sends the messages that the cluster needs.
const NOISY_WORKER: &str = r#"
for (let i = 0; i < 20000; i++) process.send({noise: i});
require('http').createServer((request, response) => { process.send({noise: 1}); response.end(String(process.pid)); }).listen(process.env.PORT);
"#;

#[test]
fn noisy_worker_keeps_serving() {
    let home = home();
    let (script, port) = (home.write("noisy.js", NOISY_WORKER), free_port());
    home.cmd(format!("start {script} --name x -i 2")).env("PORT", port.to_string()).run().ok();
    let mut seen = std::collections::BTreeSet::new();
    home.wait_until("both serve", || {
        seen.extend(ostler_testkit::get(port, "/"));
        seen.len() == 2
    });
}

fn notify_socket(pid: i32) -> std::path::PathBuf {
    variable(pid, "NOTIFY_SOCKET").unwrap().into()
}

/// Writes a file with an app that uses sd_notify as the stranger.
fn start_notifier(home: &Home, words: &str) -> String {
    let program = home.work().join("fixture");
    std::fs::copy(ostler_testkit::fixture(), &program).unwrap();
    write_stranger_app(
        home,
        &format!(r#""name": "x", "script": "./fixture", "args": "notify {words}", "ready": "notify", "listen_timeout": "100s""#),
    )
}

#[test]
fn notify_socket_is_in_a_folder_of_the_app_user() {
    needs_root!();
    let home = home();
    home.ok(format!("start {} --allow-foreign-file", start_notifier(&home, "READY=1 wait:go STATUS=warm wait:again STATUS=hot")));
    let pid = home.app("x").pid();
    let path = notify_socket(pid);
    let folder = path.parent().unwrap();
    let meta = std::fs::symlink_metadata(folder).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (STRANGER, 0o700), "{}", folder.display());
    let connect_as = |uid: u32| {
        let path = path.clone();
        let tried = std::thread::spawn(move || {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
            std::os::unix::net::UnixDatagram::unbound().unwrap().connect(path)
        });
        tried.join().unwrap()
    };
    connect_as(STRANGER).unwrap();
    assert_eq!(connect_as(STRANGER + 1).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    // The socket outlives the daemon, and then the keeper.
    home.kill_daemon();
    home.write("go", "");
    home.wait_until("it is heard by the next daemon", || home.ok("describe x").stdout.contains("warm"));
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("there is another keeper", || home.keeper_pid() != keeper);
    home.write("again", "");
    home.wait_until("it is heard with another keeper", || home.ok("describe x").stdout.contains("hot"));
    assert_eq!(home.app("x").pid(), pid);
    // A new process gets a new socket, and nothing remains of the first.
    home.ok("restart x");
    assert!(!folder.exists() && notify_socket(home.app("x").pid()).exists());
    let second = notify_socket(home.app("x").pid());
    home.ok("delete x");
    assert!(!second.parent().unwrap().exists());
    // Nothing remains if all processes die at the same time.
    home.ok(format!("start {} --allow-foreign-file", start_notifier(&home, "READY=1")));
    let third = notify_socket(home.app("x").pid());
    home.kill_everything();
    assert!(third.exists());
    home.ok("start sleep --name other -- 1000");
    assert!(!third.parent().unwrap().exists());
}

#[test]
fn notify_socket_of_own_apps_is_in_the_home() {
    let home = home();
    let file = ecosystem(
        &home,
        &format!(r#""name": "x", "script": "{}", "args": "notify READY=1", "ready": "notify""#, ostler_testkit::fixture()),
    );
    home.ok(format!("start {file} --allow-foreign-file"));
    let path = notify_socket(home.app("x").pid());
    assert!(path.starts_with(home.dir()) && path.exists(), "{}", path.display());
    home.ok("stop x");
    assert!(!path.exists());
}

#[test]
fn sd_notify_flood_is_rate_limited() {
    let home = home();
    let count: u32 = 12_000;
    let args = format!("notify READY=1 flood:{count} print:done");
    let file = ecosystem(&home, &format!(r#""name": "x", "script": "{}", "args": "{args}", "ready": "notify""#, ostler_testkit::fixture()));
    let since = std::time::Instant::now();
    home.ok(format!("start {file} --allow-foreign-file"));
    home.wait_log("x-out.log", "done");
    // A burst of 4,000, then 2,000 each second, and the socket's queue.
    let allowed = 4000.0 + (since.elapsed().as_secs_f64() + 0.5) * 2000.0 + 1024.0;
    assert!(f64::from(count) < allowed, "{count} were heard, {allowed} are allowed");
    let log = home.daemon_log();
    assert_eq!(log.matches("[x:0] sends sd_notify messages faster").count(), 1, "{log}");
    assert_eq!(home.app("x").status(), "online");
}

#[test]
fn app_of_other_user_does_not_inherit_root_environment() {
    needs_root!();
    let home = home();
    let vars = r#"{"DECLARED": "yes", "TZ": "Europe/Berlin"}"#;
    let members = |more: &str| format!(r#""name": "x", "script": "sleep", "args": "1000", "uid": "nobody", "env": {vars}{more}"#);
    let file = ecosystem(&home, &members(""));
    let as_root = |words: &str| home.cmd(words).env("SECRET_OF_ROOT", "hunter2").env("LC_ALL", "C.UTF-8").run().ok();
    let check = |when: &str| {
        let pid = home.wait_status("x", "online").pid();
        let given = ["SECRET_OF_ROOT", "DECLARED", "TZ", "LC_ALL", "USER", "LOGNAME"].map(|name| variable(pid, name));
        let kept = given.each_ref().map(Option::as_deref);
        assert_eq!(kept, [None, Some("yes"), Some("Europe/Berlin"), Some("C.UTF-8"), Some("nobody"), Some("nobody")], "{when}");
        let user_home = variable(pid, "HOME").unwrap();
        assert!(variable(pid, "PATH").is_some() && user_home != "/root" && user_home != home.root().join("user").to_str().unwrap());
    };
    as_root(&format!("start {file} --allow-foreign-file"));
    check("start");
    as_root("restart x --update-env");
    check("--update-env");
    as_root(&format!("restart {file} --update-env"));
    check("the file again");
    as_root("save");
    assert!(!std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap().contains("hunter2"));
    assert!(!as_root("env 0").stdout.contains("hunter2") && !as_root("jlist").stdout.contains("hunter2"));
    as_root("delete x");
    as_root("resurrect");
    check("resurrect");
    as_root("restart x --update-env");
    check("--update-env after it");
    as_root("delete x");
    // `env_policy: inherit` passes the variables on; apps of root's own have them by default.
    as_root(&format!("start {}", ecosystem(&home, &members(r#", "env_policy": "inherit""#))));
    assert_eq!(variable(home.app("x").pid(), "SECRET_OF_ROOT").as_deref(), Some("hunter2"));
    as_root("start sleep --name own -- 1000");
    assert_eq!(variable(home.app("own").pid(), "SECRET_OF_ROOT").as_deref(), Some("hunter2"));
    as_root("start sleep --name bare --env-policy clean -- 1000");
    assert_eq!(variable(home.app("bare").pid(), "SECRET_OF_ROOT"), None);
    // An app that switches to another user later.
    as_root("restart own --uid nobody --update-env");
    assert_eq!(variable(home.app("own").pid(), "SECRET_OF_ROOT"), None);
}

#[test]
fn pm2_name_inherits_whole_environment() {
    needs_root!();
    let home = crate::setup::home_as_pm2();
    home.cmd("start sleep --name x --uid nobody -- 1000").env("SECRET_OF_ROOT", "hunter2").run().ok();
    assert_eq!(variable(home.app("x").pid(), "SECRET_OF_ROOT").as_deref(), Some("hunter2"));
}
