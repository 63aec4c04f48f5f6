//! Cluster mode of programs that open their port by themselves: several processes share the port,
//! and a reload loses no connection.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;

use ostler_testkit::{Home, Load, LoadSpec, free_port, free_ports, get, kill, needs_program, needs_root};
use rustix::process::Signal;

use crate::setup::home;

/// Server that answers with its pid. It knows nothing of ostler.
pub const SERVER: &str = "
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
";

/// A single reload could lose nothing by chance.
const RELOADS: usize = 3;

/// Starts instances of a program in cluster mode, with further members (JSON).
#[track_caller]
pub fn start(home: &Home, name: &str, instances: usize, members: &str) {
    let text = format!(
        r#"{{"apps": [{{"name": "{name}", "exec_mode": "cluster", "instances": {instances}, "interpreter": "none", {members}}}]}}"#
    );
    home.ok(format!("start {}", home.write(&format!("{name}.json"), text)));
}

/// Starts instances of [`SERVER`].
#[track_caller]
pub fn start_server(home: &Home, name: &str, instances: usize, port: u16) {
    let script = home.write("server.py", SERVER);
    start(home, name, instances, &format!(r#""script": "python3", "args": ["{script}", "127.0.0.1", "{port}"]"#));
}

/// Returns the members of a script of Python that is not started again.
pub fn once(script: &str, port: u16) -> String {
    format!(r#""script": "python3", "autorestart": false, "args": ["{script}", "127.0.0.1", "{port}"]"#)
}

/// Waits until these many online processes have answered.
#[track_caller]
pub fn all_answer(home: &Home, port: u16, instances: usize) {
    let mut seen = BTreeSet::new();
    home.wait_until("every process answers", || {
        seen.extend(get(port, "/").ok().and_then(|body| body.parse::<i32>().ok()));
        home.online_pids().intersection(&seen).count() == instances
    });
}

/// Reloads the app several times under load.
#[track_caller]
pub fn reloads_without_failures(home: &Home, name: &str, port: u16) {
    home.wait_until("it answers", || get(port, "/").is_ok());
    let load = Load::start(LoadSpec { connections: 4, ..LoadSpec::to(port) });
    home.wait_requests(&load, 20);
    for _ in 0..RELOADS {
        let pids = || -> BTreeSet<i32> { home.jlist().iter().filter(|item| item.name() == name).map(|item| item.pid()).collect() };
        let before = pids();
        home.ok(format!("reload {name}"));
        home.wait_requests(&load, 20);
        assert!(before.is_disjoint(&pids()));
    }
    load.stop().assert_whole();
}

#[test]
fn processes_of_an_unmodified_server_share_its_port() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start_server(&home, "api", 3, port);
    all_answer(&home, port, 3);
    assert!(home.ok("describe api").all().contains(&format!("127.0.0.1:{port}")));
    reloads_without_failures(&home, "api", port);
    home.ok("scale api 1");
    all_answer(&home, port, 1);
    home.ok("scale api 4");
    all_answer(&home, port, 4);
    home.ok("stop api");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is closed");
    home.ok("restart api");
    all_answer(&home, port, 4);
}

#[test]
fn shared_port_survives_daemon_and_keeper() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start_server(&home, "api", 2, port);
    all_answer(&home, port, 2);
    let load = Load::start(LoadSpec { connections: 4, ..LoadSpec::to(port) });
    let changes = |instances: usize| {
        home.ok("reload api");
        home.ok(format!("scale api {instances}"));
        all_answer(&home, port, instances);
    };
    kill(home.daemon_pid(), Signal::KILL);
    changes(3);
    kill(home.keeper_pid(), Signal::KILL);
    home.wait_until("there is another keeper", || home.run("jlist").code == 0);
    changes(2);
    home.ok("update");
    changes(3);
    load.stop().assert_whole();
}

/// The call of a process that binds while no daemon runs waits for the next daemon.
#[test]
fn call_waits_for_the_next_daemon() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let script = home.write(
        "late.py",
        format!("import os, runpy, sys, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nopen('binds', 'w').close()\n{SERVER}"),
    );
    start(&home, "api", 2, &format!(r#""script": "python3", "args": ["{script}", "127.0.0.1", "{port}"]"#));
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    home.write("go", "");
    home.wait_until("it binds", || home.work().join("binds").exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    kill(daemon, Signal::KILL);
    all_answer(&home, port, 2);
    assert!(home.jlist().iter().all(|item| item.restarts() == 0), "no process failed");
}

#[test]
fn ports_of_single_processes_stay_theirs() {
    needs_program!("python3");
    let home = home();
    let first = free_ports(2);
    let script =
        home.write("own.py", format!("import os, sys\nsys.argv[2] = str({first} + int(os.environ['NODE_APP_INSTANCE']))\n{SERVER}"));
    start(&home, "own", 2, &format!(r#""script": "python3", "args": ["{script}", "127.0.0.1", "0"]"#));
    for at in 0..2 {
        home.wait_until("each answers", || get(first + at, "/").is_ok());
        assert_eq!(get(first + at, "/").unwrap(), home.jlist()[usize::from(at)].pid().to_string());
    }
}

/// Also with another port, the new process starts beside the old one.
#[test]
fn release_with_another_port_replaces_the_old_one() {
    needs_program!("python3");
    let home = home();
    let (first, second) = (free_port(), free_port());
    start_server(&home, "api", 2, first);
    all_answer(&home, first, 2);
    let script = home.work().join("server.py").display().to_string();
    let text = format!(
        r#"{{"apps": [{{"name": "api", "exec_mode": "cluster", "instances": 2, "interpreter": "none", "script": "python3", "args": ["{script}", "127.0.0.1", "{second}"]}}]}}"#
    );
    home.ok(format!("reload {}", home.write("api.json", text)));
    all_answer(&home, second, 2);
    home.wait_until("the old port is closed", || TcpStream::connect(("127.0.0.1", first)).is_err());
    home.ok("reload api");
    all_answer(&home, second, 2);
}

#[test]
fn second_app_does_not_get_the_port() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start_server(&home, "first", 2, port);
    all_answer(&home, port, 2);
    let server = home.work().join("server.py").display().to_string();
    start(&home, "second", 1, &once(&server, port));
    home.wait_log("second-error-2.log", "Address already in use");
}

#[test]
fn second_socket_of_a_process_is_refused() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let script = home.write(
        "twice.py",
        "import socket, sys
at = (sys.argv[1], int(sys.argv[2]))
closed = socket.create_server(at)
closed.close()
server = socket.create_server(at)
try: socket.create_server(at)
except OSError as error: print('refused:', error.errno, flush=True)
while True:
    client, _ = server.accept()
    client.recv(1000)
    client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok')
    client.close()
",
    );
    start(&home, "twice", 2, &once(&script, port));
    for log in ["twice-out-0.log", "twice-out-1.log"] {
        home.wait_log(log, "refused: 98");
    }
    assert_eq!(get(port, "/").unwrap(), "ok");
}

#[test]
fn root_opens_no_port_that_the_user_of_the_app_may_not_open() {
    needs_root!();
    // The user of the app must be able to execute it.
    const PYTHON: &str = "/usr/bin/python3";
    if !Path::new(PYTHON).exists() {
        ostler_testkit::skip!("{PYTHON} is not installed");
    }
    let home = home();
    let script = home.write("server.py", SERVER);
    fs::set_permissions(home.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let members = format!(r#""script": "{PYTHON}", "autorestart": false, "uid": "nobody", "args": ["{script}", "127.0.0.1", "83"]"#);
    start(&home, "low", 1, &members);
    home.wait_log("low-error-0.log", "Permission denied");
    assert!(TcpStream::connect(("127.0.0.1", 83)).is_err());
}

/// A process that binds in a loop waits; the daemon and other apps do not.
#[test]
fn flood_of_calls_slows_down_its_sender_only() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let flood = home.write(
        "flood.py",
        "import socket, threading
def run():
    while True:
        made = socket.socket()
        try: made.bind(('127.0.0.1', 0))
        finally: made.close()
        count[0] += 1
        if count[0] % 100 == 0: print(count[0], flush=True)
count = [0]
for _ in range(8): threading.Thread(target=run).start()
",
    );
    start(&home, "flood", 1, &format!(r#""script": "python3", "args": ["{flood}"]"#));
    home.wait_log("flood-out-0.log", "\n500\n");
    start_server(&home, "api", 2, port);
    all_answer(&home, port, 2);
    let calls = || home.log("flood-out-0.log").lines().last().and_then(|line| line.parse::<u64>().ok()).unwrap_or(0);
    let (before, began) = (calls(), std::time::Instant::now());
    home.wait_until("it has made more calls", || calls() >= before + 500);
    // The rate is 200 in a second.
    assert!(began.elapsed().as_millis() >= 1500, "500 calls took {:?}", began.elapsed());
    home.ok("reload api");
    all_answer(&home, port, 2);
}
