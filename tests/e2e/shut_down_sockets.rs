//! Programs that call `shutdown(2)` on their listening socket, which stops it for all processes
//! that hold it: other processes and the next one lose no connection by that.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use ostler_testkit::{Home, Load, LoadSpec, free_port, get, kill, needs_program, skip};
use rustix::process::Signal;

use crate::setup::home;

/// Server that answers with its pid. At a stop signal it shuts its socket down and exits. At SIGUSR1
/// it shuts its socket down and continues to run.
const SERVER: &str = r#"
import os, signal, socket, sys
if "LISTEN_FDS" in os.environ: server = socket.socket(fileno=3)
else: server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=500)
stays = False
def stop(number, frame):
    global stays
    if stays: sys.exit()
    stays = number == signal.SIGUSR1
    server.shutdown(socket.SHUT_RDWR)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, stop)
print("serving", flush=True)
body = str(os.getpid()).encode()
while True:
    try: client, _ = server.accept()
    except OSError: break
    try:
        client.recv(10000)
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except OSError: pass
    client.close()
server.close()
if stays: open("deaf", "w").close()
while stays: signal.pause()
"#;

/// The same with the server of Ruby's standard library.
const WEBRICK: &str = r#"
require 'webrick'
at = ENV['LISTEN_FDS'] ? { DoNotListen: true } : { BindAddress: '127.0.0.1', Port: ARGV[0].to_i }
server = WEBrick::HTTPServer.new(AccessLog: [], Logger: WEBrick::Log.new(File::NULL), **at)
server.listeners << TCPServer.for_fd(3) if ENV['LISTEN_FDS']
server.mount_proc('/') { |request, response| response.keep_alive = false; response.body = Process.pid.to_s }
%w[INT TERM].each { |name| trap(name) { server.shutdown } }
puts 'serving'
$stdout.flush
server.start
"#;

/// A single round could lose nothing by chance.
const ROUNDS: usize = 3;

/// Way in which a program gets its port.
#[derive(Clone, Copy, Debug)]
enum Port {
    /// `listen` of the app.
    Declared,
    /// The program opens it.
    Opened,
}

/// Starts instances of a server.
#[track_caller]
fn start(home: &Home, (interpreter, program): (&str, &str), how: Port, instances: usize) -> u16 {
    let port = free_port();
    let script = home.write("server", program);
    let way = match how {
        Port::Declared => format!(r#""listen": {{"port": {port}, "host": "127.0.0.1"}}, "ready": {{"log": "serving"}}"#),
        Port::Opened => r#""exec_mode": "cluster""#.into(),
    };
    let text = format!(
        r#"{{"apps": [{{"name": "api", "instances": {instances}, "interpreter": "none", "script": "{interpreter}", "args": ["{script}", "{port}"], {way}}}]}}"#
    );
    home.ok(format!("start {}", home.write("api.json", text)));
    all_answer(home, port, instances);
    port
}

/// Waits until these many online processes have answered.
#[track_caller]
fn all_answer(home: &Home, port: u16, instances: usize) {
    let mut seen = BTreeSet::new();
    home.wait_until("every process answers", || {
        seen.extend(get(port, "/").ok().and_then(|body| body.parse::<i32>().ok()));
        home.online_pids().intersection(&seen).count() == instances
    });
}

fn load(port: u16) -> Load {
    Load::start(LoadSpec { connections: 4, ..LoadSpec::to(port) })
}

#[track_caller]
fn reloads_without_failures(home: &Home, port: u16, instances: usize) {
    let load = load(port);
    for _ in 0..ROUNDS {
        let before = home.pid_set();
        home.wait_requests(&load, 50);
        home.ok("reload api");
        home.wait_requests(&load, 50);
        assert!(before.is_disjoint(&home.pid_set()));
    }
    load.stop().assert_whole();
    all_answer(home, port, instances);
}

/// Makes a process shut down its socket without exiting.
#[track_caller]
fn deafen(home: &Home, pid: i32) {
    kill(pid, Signal::USR1);
    home.wait_until("it has shut down its socket", || home.work().join("deaf").exists());
    fs::remove_file(home.work().join("deaf")).unwrap();
}

#[test]
fn reloads_lose_nothing() {
    needs_program!("python3");
    for how in [Port::Declared, Port::Opened] {
        for instances in [1, 3] {
            let home = home();
            let port = start(&home, ("python3", SERVER), how, instances);
            reloads_without_failures(&home, port, instances);
            // Several sockets may be shut down at the same time.
            home.ok("restart api");
            all_answer(&home, port, instances);
            reloads_without_failures(&home, port, instances);
            home.ok("stop api");
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{how:?}: the port is closed");
        }
    }
}

#[test]
fn reloads_of_webrick_lose_nothing() {
    needs_program!("ruby");
    if !Command::new("ruby").args(["-rwebrick", "-e", ""]).output().is_ok_and(|output| output.status.success()) {
        skip!("the gem webrick is not installed");
    }
    for how in [Port::Declared, Port::Opened] {
        let home = home();
        let port = start(&home, ("ruby", WEBRICK), how, 2);
        reloads_without_failures(&home, port, 2);
    }
}

#[test]
fn other_instances_serve_after_one_has_shut_down_its_socket() {
    needs_program!("python3");
    for how in [Port::Declared, Port::Opened] {
        let home = home();
        let port = start(&home, ("python3", SERVER), how, 3);
        let deaf = home.jlist()[0].pid();
        deafen(&home, deaf);
        home.wait_until("the daemon notices it", || home.daemon_log().contains("has shut down its socket"));
        let load = load(port);
        home.wait_requests(&load, 200);
        kill(deaf, Signal::KILL);
        all_answer(&home, port, 3);
        home.wait_requests(&load, 50);
        load.stop().assert_whole();
        reloads_without_failures(&home, port, 3);
    }
}

/// Also if no daemon runs at that moment.
#[test]
fn next_daemon_notices_that_a_socket_was_shut_down() {
    needs_program!("python3");
    for how in [Port::Declared, Port::Opened] {
        let home = home();
        let port = start(&home, ("python3", SERVER), how, 3);
        let daemon = home.daemon_pid();
        kill(daemon, Signal::STOP);
        deafen(&home, get(port, "/").unwrap().parse().unwrap());
        kill(daemon, Signal::KILL);
        home.wait_other_daemon(daemon);
        let load = load(port);
        home.wait_requests(&load, 200);
        load.stop().assert_whole();
        home.ok("restart api");
        all_answer(&home, port, 3);
        reloads_without_failures(&home, port, 3);
    }
}

#[test]
fn request_waits_for_the_next_process_of_a_single_instance() {
    needs_program!("python3");
    for how in [Port::Declared, Port::Opened] {
        let home = home();
        let port = start(&home, ("python3", SERVER), how, 1);
        let deaf = home.jlist()[0].pid();
        deafen(&home, deaf);
        home.wait_until("the daemon notices it", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").unwrap();
        kill(deaf, Signal::KILL);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with(&deaf.to_string()), "{answer}");
    }
}
