//! Kept connections of programs that ostler stops: they are closed at rest, before the stop signal.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ostler_testkit::{Home, free_port, needs_program};

use crate::setup::home;

/// Server that keeps connections open. It answers in a later tick of the kernel's clock than that of
/// the request, so that the order is known. It prints a line when a client leaves, and at its stop
/// signal. With `ignore` it takes no notice of clients that leave.
const SERVER: &str = "
import os, signal, socket, sys, threading, time
def stop(*_):
    print('told to stop', flush=True)
    os._exit(0)
def serve(client):
    while client.recv(4000):
        time.sleep(0.01)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
    if 'ignore' in sys.argv: return kept.append(client)
    print('client left', flush=True)
    client.close()
kept = []
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
server = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    client, _ = server.accept()
    threading.Thread(target=serve, args=[client], daemon=True).start()
";

const RETIRES: &str = r#", "retire_connections": true"#;

/// Starts an instance.
fn start(home: &Home, port: u16, arguments: &str, members: &str) {
    let script = home.write("server.py", SERVER);
    let config = format!(
        r#"{{"apps": [{{"name": "api", "exec_mode": "cluster", "interpreter": "none", "script": "python3", "args": "{script} {port} {arguments}"{members}}}]}}"#
    );
    home.ok(format!("start {}", home.write("api.json", config)));
}

/// Returns a connection that has had an answer.
fn asks(home: &Home, port: u16) -> TcpStream {
    let mut connected = None;
    home.wait_until("it listens", || {
        connected = TcpStream::connect(("127.0.0.1", port)).ok();
        connected.is_some()
    });
    let mut client = connected.unwrap();
    assert!(ask(&mut client), "it was answered");
    client
}

/// Sends a request. Returns false if the connection has ended.
fn ask(client: &mut TcpStream) -> bool {
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").is_ok() && client.read(&mut [0; 200]).is_ok_and(|read| read > 0)
}

/// Starts a client that sends requests with pauses until its connection ends.
fn busy_client(home: &Home, port: u16) -> JoinHandle<()> {
    let mut client = asks(home, port);
    thread::spawn(move || {
        while ask(&mut client) {
            thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn kept_connections_are_closed_before_the_stop_signal() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, port, "", RETIRES);
    let clients = [busy_client(&home, port), busy_client(&home, port)];
    home.ok("reload api");
    let log = home.log("api-out-0.log");
    assert!(log.starts_with("client left\n") && log.ends_with("told to stop\n"), "{log}");
    clients.into_iter().for_each(|client| client.join().unwrap());
}

/// A pause within an answer looks like an idle connection.
#[test]
fn idle_connection_is_left_to_the_program() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, port, "", RETIRES);
    let _idle = asks(&home, port);
    home.ok("reload api").never_says("still open");
    assert_eq!(home.log("api-out-0.log"), "told to stop\n");
}

#[test]
fn program_that_ignores_leaving_clients_is_stopped_all_the_same() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, port, "ignore", RETIRES);
    let _busy = busy_client(&home, port);
    home.ok("reload api").says("1 kept connection was still open when the old process was stopped");
    assert_eq!(home.log("api-out-0.log"), "told to stop\n");
}

#[test]
fn connections_are_retired_on_request_only() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, port, "", "");
    let _busy = busy_client(&home, port);
    home.ok("reload api").never_says("still open");
    assert_eq!(home.log("api-out-0.log"), "told to stop\n");
}
