//! A probe of a process reaches that process, although others listen at the same port: with
//! `listen`, and with a port that the program opens by itself.

use ostler_testkit::{Home, Load, LoadSpec, free_port, get, needs_program};
use serde_json::{Value, json};

use crate::setup::home;

/// Server that answers with its pid. It uses the socket of `listen` if the app has one.
///
/// `broken`: it answers 503. `late`: it answers 503 for a second. `silent`: it accepts nothing for
/// a second. It is ill as long as there is a file for its pid.
const SERVER: &str = "
import os, socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, how, began = int(sys.argv[1]), sys.argv[2], time.monotonic()
def is_well():
    if how == 'broken' or how == 'late' and time.monotonic() < began + 1: return False
    return not os.path.exists(f'ill-{os.getpid()}')
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200 if is_well() else 503)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(ThreadingHTTPServer):
    request_queue_size = 100
    def server_bind(self):
        if 'LISTEN_FDS' in os.environ: self.socket = socket.socket(fileno=3)
        else: self.socket.bind(self.server_address)
server = Server(('127.0.0.1', port), Handler)
if how == 'silent': time.sleep(1)
server.serve_forever()
";

/// Ways in which the processes of an app get their sockets.
#[derive(Clone, Copy, Debug)]
enum SocketOrigin {
    /// `listen`.
    Declared,
    /// The program opens its port.
    Program,
}

const BOTH: [SocketOrigin; 2] = [SocketOrigin::Declared, SocketOrigin::Program];

/// Writes the description of two instances that behave like this, with further members.
fn config(home: &Home, from: SocketOrigin, port: u16, how: &str, more: &Value) -> String {
    let script = home.write("server.py", SERVER);
    let mut app = json!({
        "name": "api", "script": "python3", "interpreter": "none", "args": [script, port.to_string(), how], "instances": 2,
    });
    let members = app.as_object_mut().unwrap();
    match from {
        SocketOrigin::Declared => members.insert("listen".into(), json!(format!("127.0.0.1:{port}"))),
        SocketOrigin::Program => members.insert("exec_mode".into(), json!("cluster")),
    };
    members.extend(more.as_object().unwrap().clone());
    home.write("api.json", json!({ "apps": [app] }).to_string())
}

fn ready_by_http(port: u16) -> Value {
    json!({"ready": {"http": {"port": port}}, "listen_timeout": "60s"})
}

fn load(port: u16) -> Load {
    Load::start(LoadSpec { connections: 4, ..LoadSpec::to(port) })
}

#[test]
fn release_that_never_gets_ready_is_not_served() {
    needs_program!("python3");
    for from in BOTH {
        let (home, port) = (home(), free_port());
        home.ok(format!("start {}", config(&home, from, port, "well", &ready_by_http(port))));
        let (load, before) = (load(port), home.pid_set());
        home.wait_requests(&load, 100);
        let limited = json!({"ready": {"http": {"port": port}}, "listen_timeout": "5s"});
        let broken = config(&home, from, port, "broken", &limited);
        home.run(format!("reload {broken}")).code(1).says("was not ready within 5000 ms");
        assert_eq!(home.pid_set(), before, "{from:?}: the old processes still serve");
        home.wait_requests(&load, 100);
        load.stop().assert_whole();
    }
}

#[test]
fn release_that_listens_early_is_served_when_it_answers() {
    needs_program!("python3");
    for (from, how) in [
        (SocketOrigin::Declared, "late"),
        (SocketOrigin::Declared, "silent"),
        (SocketOrigin::Program, "late"),
        (SocketOrigin::Program, "silent"),
    ] {
        let (home, port) = (home(), free_port());
        home.ok(format!("start {}", config(&home, from, port, how, &ready_by_http(port))));
        let load = load(port);
        for _ in 0..2 {
            home.wait_requests(&load, 100);
            let before = home.pid_set();
            home.ok("reload api");
            assert!(before.is_disjoint(&home.pid_set()));
        }
        home.wait_requests(&load, 100);
        load.stop().assert_whole();
    }
}

#[test]
fn only_the_unhealthy_one_of_two_is_replaced() {
    needs_program!("python3");
    for from in BOTH {
        let (home, port) = (home(), free_port());
        // A process that starts slowly on a busy machine must not count as unhealthy.
        let check =
            json!({"http": {"port": port, "interval": 100, "timeout": 5000, "grace": "60s"}, "ready": "http", "listen_timeout": "60s"});
        home.ok(format!("start {}", config(&home, from, port, "well", &check)));
        // The next daemon knows the sockets, too.
        home.kill_daemon();
        let states = || home.jlist().iter().map(|app| app.env("health_status")["status"].clone()).collect::<Vec<_>>();
        home.wait_until("both are healthy", || states() == ["healthy", "healthy"]);
        let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
        home.write(&format!("ill-{}", before[1]), "");
        home.wait_until("the ill one is replaced", || {
            let apps = home.jlist();
            apps[1].pid() > 0 && apps[1].pid() != before[1] && states() == ["healthy", "healthy"]
        });
        let apps = home.jlist();
        assert_eq!(apps[0].pid(), before[0], "{from:?}");
        assert_eq!(apps.iter().map(ostler_testkit::ListedApp::restarts).collect::<Vec<_>>(), [0, 1], "{from:?}");
        assert!(!home.daemon_log().contains("[api:0] is unhealthy"), "{from:?}");
        let answers = |pid: i32| home.wait_until("it answers", || get(port, "/").is_ok_and(|body| body == pid.to_string()));
        apps.iter().for_each(|app| answers(app.pid()));
    }
}
