//! PM2's sockets, used by npm's own unmodified PM2, and by clients that speak the protocol
//! correctly or send garbage.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use ostler_proto::pm2::amp::{self, Decoder};
use ostler_testkit::{DEADLINE, Home, MARKER, installed_pm2, kill, needs_program, needs_root};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{home, start_fixture};

/// A connection to one of the sockets.
pub struct SocketConnection {
    stream: UnixStream,
    decoder: Decoder,
    last: u32,
}

impl SocketConnection {
    #[track_caller]
    pub fn connect(home: &Home, name: &str) -> Self {
        Self::of(UnixStream::connect(home.dir().join(name)).unwrap())
    }

    pub fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, decoder: Decoder::with_limit(64 << 20), last: 0 }
    }

    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).unwrap();
    }

    /// Returns the next `process:event`, and skips other events.
    #[track_caller]
    pub fn process_event(&mut self) -> Value {
        loop {
            let (topic, payload) = self.event();
            if topic == "process:event" {
                return payload;
            }
        }
    }

    /// Returns the next event: topic and payload.
    #[track_caller]
    pub fn event(&mut self) -> (String, Value) {
        let [topic, payload] = <[Vec<u8>; 2]>::try_from(self.next().expect("it is connected")).unwrap();
        let topic = String::from_utf8(topic).unwrap();
        (topic.trim_start_matches("s:").to_owned(), serde_json::from_slice(payload.strip_prefix(b"j:").unwrap()).unwrap())
    }

    /// Returns the next frame, or none if the other end has closed.
    #[track_caller]
    pub fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(args) = self.decoder.take().unwrap() {
                return Some(args);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    pub fn ask(&mut self, request: &Value) -> String {
        self.last += 1;
        let id = format!("4711:{}", self.last);
        self.send(&amp::encode(&[&amp::json(request), &amp::text(&id)]));
        id
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, args: Value) -> Value {
        let id = self.ask(&json!({"type": "call", "method": method, "args": args}));
        let [answer, of] = <[Vec<u8>; 2]>::try_from(self.next().unwrap()).unwrap();
        assert_eq!(of, amp::text(&id));
        serde_json::from_slice(answer.strip_prefix(b"j:").unwrap()).unwrap()
    }

    #[track_caller]
    pub fn is_closed(&mut self) {
        assert_eq!(self.next(), None);
    }
}

macro_rules! needs_npms_pm2 {
    () => {
        match installed_pm2() {
            Some(pm2) => pm2,
            None => ostler_testkit::skip!("npm's pm2 is not installed"),
        }
    };
}

/// Returns a command of npm's PM2 in this home.
pub fn npms(pm2: &Path, home: &Home, args: &str) -> Command {
    let mut command = Command::new(pm2);
    command.args(args.split(' ')).current_dir(home.work()).env("PM2_HOME", home.dir()).env("NO_COLOR", "1").env(MARKER, home.root());
    command.env_remove("PM2_DAEMON_RPC_PORT");
    command
}

/// Runs npm's PM2 in this home. PM2 would start a daemon of its own if ostler's were unreachable.
#[track_caller]
pub fn run(pm2: &Path, home: &Home, args: &str) -> String {
    let out = npms(pm2, home, args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "pm2 {args}: {text}\n{}", home.report());
    assert!(!text.contains("[ERROR]") && !text.contains("Spawning PM2 daemon"), "pm2 {args}: {text}");
    text
}

#[test]
fn npm_command_line_works_with_ostler_daemon() {
    needs_program!("node");
    let pm2 = needs_npms_pm2!();
    let home = home();
    start_fixture(&home, "own", "", "hold");
    let daemon = home.daemon_pid();
    let first = home.app("own").pid();
    let script = home.write("app.js", "setInterval(() => {}, 1000);");
    assert!(run(&pm2, &home, "ping").contains("pong"));
    run(&pm2, &home, &format!("start {} --name more -i 2", script));
    let online = |name: &str| (name.to_owned(), "online".to_owned());
    assert_eq!(home.statuses(), [online("own"), online("more"), online("more")]);
    run(&pm2, &home, "restart own");
    assert!(home.app("own").pid() != first);
    let before: Vec<i32> = home.jlist().iter().filter(|item| item.name() == "more").map(|item| item.pid()).collect();
    run(&pm2, &home, "reload more");
    assert!(home.jlist().iter().filter(|item| item.name() == "more").all(|item| !before.contains(&item.pid())), "{}", home.report());
    run(&pm2, &home, "scale more 3");
    assert_eq!(home.jlist().len(), 4);
    run(&pm2, &home, "stop own");
    assert_eq!(home.app("own").status(), "stopped");
    run(&pm2, &home, "restart own");
    assert_eq!(home.app("own").status(), "online");
    run(&pm2, &home, "delete more");
    assert_eq!(home.statuses(), [online("own")]);
    for reads in ["ls", "jlist", "describe own", "env 0", "reset own", "reloadLogs", "report", "save"] {
        run(&pm2, &home, reads);
    }
    assert_eq!(home.daemon_pid(), daemon, "all by the same daemon");
    run(&pm2, &home, "kill");
    home.wait_no_processes();
    assert!(!home.dir().join("rpc.sock").exists() && !home.dir().join("pub.sock").exists());
}

#[test]
fn watch_is_toggled_without_a_restart() {
    needs_program!("node");
    let pm2 = needs_npms_pm2!();
    let home = home();
    let script = home.write("app.js", "setInterval(() => {}, 1000);");
    home.ok(format!("start {script} --name app -i 2"));
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    let pids = |home: &Home| home.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>();
    let watched = |home: &Home| home.jlist().iter().map(|item| item.env("watch").clone()).collect::<Vec<_>>();
    let before = pids(&home);
    for (method, args, expected) in [
        ("startWatch", json!(["restartProcessId", {"id": 1}]), [false, true]),
        ("startWatch", json!(["restartProcessId", {"id": 1}]), [false, true]),
        ("toggleWatch", json!(["restartProcessName", "app"]), [true, false]),
        ("toggleWatch", json!(["restartProcessId", {"id": 0}]), [false, false]),
        ("startWatch", json!(["restartProcessName", "app"]), [true, true]),
    ] {
        assert_eq!(rpc.call(method, args.clone()), json!({"args": [{"success": true}]}), "{method} {args}");
        assert_eq!(watched(&home), expected, "{method} {args}");
    }
    assert_eq!(rpc.call("startWatch", json!(["restartProcessId", {"id": 9}]))["error"], "process id doesnt exists");
    assert!(rpc.call("toggleWatch", json!(["restartProcessId"]))["error"].is_string());
    assert_eq!(pids(&home), before, "nothing was restarted");
    // Watching really works, and stops when it is switched off.
    home.write("more.js", "");
    home.wait_until("a change restarts it", || pids(&home).iter().all(|pid| *pid > 0 && !before.contains(pid)));
    run(&pm2, &home, "restart app --watch");
    assert_eq!(watched(&home), [false, false], "npm's restart --watch is a switch");
}

/// Returns the output of a program that uses `require('pm2')`.
#[track_caller]
fn library(pm2: &Path, home: &Home, code: &str) -> String {
    let package = pm2.canonicalize().unwrap().ancestors().skip(1).find(|folder| folder.ends_with("pm2")).unwrap().to_owned();
    let script = home.write("library.js", format!("const pm2 = require({:?});\n{code}", package.to_str().unwrap()));
    let out = Command::new("node").arg(script).env("PM2_HOME", home.dir()).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stderr), home.report());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn npm_library_works_with_ostler_daemon() {
    needs_program!("node");
    let pm2 = needs_npms_pm2!();
    let home = home();
    let app = home.write("app.js", "process.send({ type: 'my:topic', data: { a: 1 } }); setInterval(() => {}, 1000);");
    home.ok(format!("start {app} --name first"));
    let told = library(
        &pm2,
        &home,
        &format!(
            "const {{ promisify }} = require('util');
             const call = (name, ...args) => promisify(pm2[name]).call(pm2, ...args);
             (async () => {{
               await call('connect');
               const bus = await call('launchBus');
               const events = [];
               bus.on('*', (topic, packet) => events.push([topic, packet.event || JSON.stringify(packet.data), packet.process.name].join(' ')));
               const started = await call('start', {{ script: {app:?}, name: 'lib', env: {{ X: '1' }} }});
               console.log('started', started.length, started[0].pm2_env.status, started[0].pm2_env.X);
               while (!events.some((event) => event.startsWith('my:topic'))) await new Promise((then) => setTimeout(then, 20));
               console.log('restarted', (await call('restart', 'lib'))[0].pm2_env.status);
               console.log('described', (await call('describe', 'lib'))[0].pm2_env.restart_time);
               console.log('stopped', (await call('stop', 'lib'))[0].status);
               console.log('deleted', (await call('delete', 'lib')).length);
               console.log('listed', (await call('list')).map((item) => item.name).join());
               await call('stop', 'nope').catch((error) => console.log('failed', error.message));
               while (!events.includes('process:event delete lib')) await new Promise((then) => setTimeout(then, 20));
               events.filter((event) => !event.startsWith('log:')).forEach((event) => console.log(event));
               pm2.disconnect();
               process.exit(0);
             }})();"
        ),
    );
    let lines: Vec<&str> = told.lines().collect();
    let (results, events) = lines.split_at(7);
    assert_eq!(
        results,
        [
            "started 1 online 1",
            "restarted online",
            "described 1",
            "stopped stopped",
            "deleted 1",
            "listed first",
            "failed process or namespace not found"
        ]
    );
    // Messages of the app itself may arrive at any time.
    let (own, processes): (Vec<&str>, Vec<&str>) = events.iter().partition(|event| event.starts_with("my:topic"));
    assert_eq!(own[0], "my:topic {\"a\":1} lib");
    let words: Vec<&str> =
        processes.iter().map(|event| event.strip_prefix("process:event ").unwrap().strip_suffix(" lib").unwrap()).collect();
    assert_eq!(words, ["online", "start", "exit", "online", "restart", "exit", "exit", "stop", "delete"]);
}

#[test]
fn data_and_actions_reach_the_app_and_return_its_answer() {
    needs_program!("node");
    let pm2 = needs_npms_pm2!();
    let home = home();
    let app = home.write(
        "app.js",
        "process.send({ type: 'axm:action', data: { action_name: 'double', arity: 2 } });
         process.on('message', (message) => {
           if (message.topic) process.send({ type: 'heard', data: message.data });
           const action = message.msg || message;
           if (action === 'double') {
             process.send({ type: 'axm:reply', data: { at: Date.now(), action_name: 'double', return: String(message.opts).repeat(2) } });
           }
         });",
    );
    home.ok(format!("start {app} --name app"));
    home.wait_until("it offers its action", || home.app("app").env("axm_actions").as_array().is_some_and(|all| all.len() == 1));
    let told = run(&pm2, &home, "trigger app double ab");
    assert!(told.contains("[app:0:default]=\"abab\""), "{told}");
    assert_eq!(home.ok("trigger app double cd").stdout, "1 processes have received command double\n[app:0:default]=\"cdcd\"\n");
    let answers = home.ok("trigger 0 double e --json").json();
    assert_eq!(answers, json!([{"pm_id": 0, "name": "app", "namespace": "default", "return": "ee"}]));
    let refused = home.run("trigger app nope");
    assert!(refused.code == 1 && refused.stderr.contains("app offers no action nope; available: double"), "{refused:?}");
    let mut events = SocketConnection::connect(&home, "pub.sock");
    let mut wire = SocketConnection::connect(&home, "rpc.sock");
    let packet = json!({"id": 0, "type": "process:msg", "topic": "t", "data": {"x": 1}});
    assert_eq!(wire.call("sendDataToProcessId", json!([packet])), json!({"args": [{"success": true, "data": packet}]}));
    loop {
        let [topic, payload] = <[Vec<u8>; 2]>::try_from(events.next().unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload[2..]).unwrap();
        if topic == b"s:heard" {
            assert_eq!((&payload["data"], &payload["process"]["pm_id"]), (&json!({"x": 1}), &json!(0)));
            break;
        }
    }
    assert_eq!(wire.call("msgProcess", json!([{"name": "nobody", "msg": "double"}]))["args"][0]["process_count"], 0);
    for (method, args, error) in [
        ("msgProcess", json!([{"id": 0, "msg": "nope"}]), "Action doesn't exist nope for app"),
        ("msgProcess", json!([{"id": 7, "msg": "double"}]), "7 id unknown"),
        ("msgProcess", json!([{"msg": "double"}]), "method requires name or id field"),
        ("sendDataToProcessId", json!([{"id": 0, "data": {}}]), "ID, DATA or TOPIC field is missing"),
        ("sendDataToProcessId", json!([{"id": 9, "data": {}, "topic": "t"}]), "Process with ID <9> unknown."),
    ] {
        assert_eq!(wire.call(method, args.clone())["error"], error, "{method} {args}");
    }
    home.ok("stop app");
    assert_eq!(wire.call("sendDataToProcessId", json!([packet]))["error"], "Process with ID <0> offline.");
}

#[test]
fn responses_and_errors_match_pm2() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut wire = SocketConnection::connect(&home, "rpc.sock");
    assert_eq!(wire.call("ping", json!([{}])), json!({"args": [{"msg": "pong"}]}));
    assert_eq!(wire.call("ping", json!([])), json!({"args": [{"msg": "pong"}]}), "in PM2 this restarts every app");
    assert_eq!(wire.call("getVersion", json!([{}])), json!({"args": ["7.0.4"]}));
    assert_eq!(wire.call("notifyByProcessId", json!([{"id": 0, "action_name": "x"}])), json!({"args": []}));
    for (method, args, error) in [
        ("stopProcessId", json!([77]), "77 : id unknown"),
        ("startProcessId", json!(["0"]), "process already online"),
        ("startProcessId", json!([77]), "77 id unknown"),
        ("restartProcessId", json!([{}]), "opts.id not passed to restartProcessId"),
        ("restartProcessId", json!([{"id": 77}]), "God db process id unknown"),
        ("reloadProcessId", json!([{"id": null}]), "PM2 ID unknown"),
        ("deleteProcessId", json!([null]), "undefined : id unknown"),
        ("sendSignalToProcessId", json!([{"process_id": 0, "signal": "SIGNOPE"}]), "Error when sending signal (signal unknown)"),
        ("notifyByProcessId", json!([{}]), "process id missing"),
        ("monitor", json!([7]), "Unknown pm_id"),
        ("prepare", json!([{"name": "x"}]), "pm_exec_path: missing"),
        ("nope", json!([]), "method \"nope\" does not exist"),
    ] {
        assert_eq!(wire.call(method, args.clone())["error"], error, "{method} {args}");
    }
    let id = wire.ask(&json!({"type": "methods"}));
    let [methods, of] = <[Vec<u8>; 2]>::try_from(wire.next().unwrap()).unwrap();
    assert_eq!(of, amp::text(&id));
    let methods: Value = serde_json::from_slice(&methods[2..]).unwrap();
    assert_eq!(methods["methods"].as_object().unwrap().len(), 30);
    assert_eq!(methods["methods"]["stopWatch"], json!({"name": "stopWatch", "params": ["method", "value", "fn"]}));
    let stopped = wire.call("stopProcessId", json!(["0"]));
    assert_eq!((&stopped["args"][0]["pid"], &stopped["args"][0]["pm2_env"]["status"]), (&json!(0), &json!("stopped")));
    assert_eq!(wire.call("startProcessId", json!([0]))["args"][0]["process"]["pid"], home.app("app").pid());
    // Many calls at once, with responses matched by number.
    let asked: Vec<String> = (0..100).map(|_| wire.ask(&json!({"method": "getMonitorData", "args": [{}]}))).collect();
    let mut answered: Vec<Vec<u8>> = asked.iter().map(|_| wire.next().unwrap().pop().unwrap()).collect();
    answered.sort();
    let mut asked: Vec<Vec<u8>> = asked.iter().map(|id| amp::text(id)).collect();
    asked.sort();
    assert_eq!(answered, asked);
}

#[test]
fn malformed_request_closes_only_its_connection() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (daemon, pid) = (home.daemon_pid(), home.app("app").pid());
    let mut other = SocketConnection::connect(&home, "rpc.sock");
    let frame = |request: &[u8], id: &[u8]| amp::encode(&[request, id]);
    for bytes in [
        b"\x10".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x12\xff\xff\xff\xff".to_vec(),
        frame(b"j:{", b"s:1"),
        frame(b"s:text", b"s:1"),
        frame(format!("j:{}", "[".repeat(100_000)).as_bytes(), b"s:1"),
        amp::encode(&[b"j:{}"]),
        amp::encode(&[b"j:{}", b"s:1", b"s:2"]),
    ] {
        let mut wire = SocketConnection::connect(&home, "rpc.sock");
        wire.send(&bytes);
        wire.is_closed();
        assert_eq!(other.call("ping", json!([{}])), json!({"args": [{"msg": "pong"}]}));
    }
    // Data that a subscriber sends is ignored.
    let mut events = SocketConnection::connect(&home, "pub.sock");
    events.send(b"\x10 whatever");
    home.ok("restart app");
    assert_eq!(events.next().unwrap().len(), 2);
    // The frame is sent byte by byte.
    let mut slow = SocketConnection::connect(&home, "rpc.sock");
    for byte in frame(b"j:{\"method\":\"ping\",\"args\":[]}", b"j:77") {
        slow.send(&[byte]);
    }
    assert_eq!(slow.next().unwrap(), [b"j:{\"args\":[{\"msg\":\"pong\"}]}".to_vec(), b"j:77".to_vec()]);
    assert_eq!(home.daemon_pid(), daemon);
    assert!(home.app("app").pid() != pid);
}

/// Clients disconnect in any state. The daemon still executes complete calls.
#[track_caller]
fn vanish(home: &Home) {
    let first = home.app("app").pid();
    let call = |method: &str, args: Value| amp::encode(&[&amp::json(&json!({"method": method, "args": args})), b"s:1:1"]);
    let (list, stop) = (call("getMonitorData", json!([{}])), call("stopProcessId", json!([0])));
    for bytes in [Vec::new(), list[..1].to_vec(), list[..3].to_vec(), stop[..stop.len() - 1].to_vec(), list.repeat(500)] {
        let mut wire = SocketConnection::connect(home, "rpc.sock");
        wire.send(&bytes);
        drop(wire);
    }
    let subscribers: Vec<SocketConnection> = (0..50).map(|_| SocketConnection::connect(home, "pub.sock")).collect();
    drop(subscribers);
    let mut other = SocketConnection::connect(home, "rpc.sock");
    assert_eq!(other.call("ping", json!([{}])), json!({"args": [{"msg": "pong"}]}));
    assert_eq!(home.app("app").pid(), first, "half a call is none");
    let mut wire = SocketConnection::connect(home, "rpc.sock");
    wire.send(&call("restartProcessId", json!([{"id": 0}])));
    drop(wire);
    home.wait_until("a whole call is carried out", || home.app("app").pid() != first && home.app("app").status() == "online");
}

#[test]
fn disconnected_clients_leak_no_descriptors() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let daemon = home.daemon_pid();
    // Other descriptors may be opened later, for example the watches of log files.
    let is_socket = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
    let sockets = || std::fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().flatten().map(is_socket).filter(|is| *is).count();
    // Sockets that stay open after the first use are opened here.
    vanish(&home);
    let before = sockets();
    (0..3).for_each(|_| vanish(&home));
    home.wait_until("their connections are closed", || sockets() <= before);
    assert_eq!(home.daemon_pid(), daemon);
}

/// Checks that a kill closes existing connections, and that clients can call again immediately. No
/// connection is refused in between.
#[track_caller]
fn is_survived(home: &Home, kill: impl FnOnce(&Home)) {
    let mut wire = SocketConnection::connect(home, "rpc.sock");
    // Without this call, the connection might not be accepted yet, and the next daemon would answer
    // it.
    wire.call("ping", json!([{}]));
    let daemon = home.daemon_pid();
    kill(home);
    let mut again = SocketConnection::connect(home, "rpc.sock");
    let list = again.call("getMonitorData", json!([{}]));
    assert_eq!(list["args"][0][0]["name"], "app");
    if home.daemon_pid() != daemon {
        wire.is_closed();
    }
    let mut events = SocketConnection::connect(home, "pub.sock");
    home.ok("restart app");
    assert_eq!(events.next().unwrap().len(), 2);
}

#[test]
fn sockets_survive_daemon_and_keeper() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for name in ["rpc.sock", "pub.sock"] {
        let mode = std::fs::metadata(home.dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    is_survived(&home, |home| kill(home.daemon_pid(), Signal::KILL));
    is_survived(&home, |home| {
        let keeper = home.keeper_pid();
        kill(keeper, Signal::KILL);
        let pid_file = home.dir().join("pm2.pid");
        home.wait_until("there is another keeper", || std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid != keeper.to_string()));
    });
    is_survived(&home, |home| kill(home.daemon_pid(), Signal::KILL));
    is_survived(&home, Home::kill_both);
}

/// Calls as this user. Returns true for a response, false if the connection closes, or the file
/// system's error.
fn called_as(home: &Home, uid: u32) -> Result<bool, std::io::ErrorKind> {
    let path = home.dir().join("rpc.sock");
    let called = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
        let mut stream = UnixStream::connect(path).map_err(|error| error.kind())?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // A rejected client may find the connection already closed.
        let _ = stream.write_all(&amp::encode(&[br#"j:{"type":"call","method":"ping","args":[{}]}"#, b"i:1"]));
        let mut answer = [0; 4096];
        Ok(stream.read(&mut answer).unwrap_or(0) > 0)
    });
    called.join().unwrap()
}

#[test]
fn other_users_are_rejected() {
    needs_root!();
    const STRANGER: u32 = 12_345;
    let home = home();
    start_fixture(&home, "app", "", "hold");
    assert_eq!(called_as(&home, 0), Ok(true));
    assert_eq!(called_as(&home, STRANGER), Err(std::io::ErrorKind::PermissionDenied));
    // The peer check also holds if file modes would let every user in.
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(home.root(), 0o755);
    open(home.dir(), 0o755);
    open(&home.dir().join("rpc.sock"), 0o666);
    assert_eq!(called_as(&home, STRANGER), Ok(false));
    assert_eq!(called_as(&home, 0), Ok(true));
}

#[test]
fn socket_owner_variables_admit_other_users() {
    needs_root!();
    const NOBODY: u32 = 65_534;
    let home = home();
    let nobody = NOBODY.to_string();
    home.cmd("start sleep --name app -- 1000").env("PM2_SOCKET_USER", &nobody).env("PM2_SOCKET_GROUP", &nobody).run().ok();
    assert_eq!(SocketConnection::connect(&home, "rpc.sock").call("ping", json!([{}])), json!({"args": [{"msg": "pong"}]}));
    for name in ["rpc.sock", "pub.sock"] {
        let meta = std::fs::metadata(home.dir().join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.permissions().mode() & 0o777), (NOBODY, NOBODY, 0o660), "{name}");
        assert_eq!(connect_as(&home, name, 12_345).map(drop), Err(std::io::ErrorKind::PermissionDenied), "{name}");
    }
    let pong = SocketConnection::of(connect_as(&home, "rpc.sock", NOBODY).unwrap()).call("ping", json!([{}]));
    assert_eq!(pong, json!({"args": [{"msg": "pong"}]}));
    let mut events = SocketConnection::of(connect_as(&home, "pub.sock", NOBODY).unwrap());
    home.ok("restart app");
    assert_eq!(events.process_event()["process"]["name"], "app");
    // Only the path to the sockets is open to that user, also after other commands and a new
    // daemon.
    kill(home.daemon_pid(), Signal::KILL);
    home.ok("list");
    assert_eq!(std::fs::metadata(home.dir()).unwrap().permissions().mode() & 0o777, 0o710);
    assert!(connect_as(&home, "rpc.sock", NOBODY).is_ok());
    assert_eq!(connect_as(&home, "ostler.sock", NOBODY).map(drop), Err(std::io::ErrorKind::PermissionDenied));
}

/// Connects as this user, with only the group of the same number.
fn connect_as(home: &Home, name: &str, uid: u32) -> Result<UnixStream, std::io::ErrorKind> {
    let path = home.dir().join(name);
    let connected = std::thread::spawn(move || {
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(uid)).unwrap();
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
        UnixStream::connect(path).map_err(|error| error.kind())
    });
    connected.join().unwrap()
}

#[test]
fn slow_subscriber_is_dropped_and_bounded() {
    needs_program!("node");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut deaf = SocketConnection::connect(&home, "pub.sock");
    let flood = home.write(
        "flood.js",
        "const text = 'x'.repeat(10000); let sent = 0;
         const go = () => { process.send({ type: 'flood', data: { text } }); if (++sent < 2000) setTimeout(go, 1); }; go();
         setInterval(() => {}, 1000);",
    );
    home.ok(format!("start {flood} --name flood"));
    home.wait_until("it is dropped", || home.daemon_log().contains("does not read the events of pub.sock"));
    // Reads the data that was sent before the drop, until the connection closes.
    while deaf.next().is_some() {}
    assert_eq!(home.app("flood").status(), "online");
}
