//! `sticky`: a client stays with its worker.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ostler_testkit::{free_port, needs_program};

use super::{lines_with, spread, start_with, with_load};
use crate::setup::home;

/// Sends a request from this address with this cookie; returns the pid that answered.
#[track_caller]
fn ask(from: [u8; 4], port: u16, cookie: &str) -> String {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: a=b; {cookie}\r\n") };
    // In two parts: the first part does not identify the client yet.
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    write!(stream, "{cookie}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().lines().find(|line| line.len() > 2).unwrap_or_default().to_owned()
}

#[test]
fn sticky_client_stays_with_worker_by_address() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""sticky": true"#, &format!(r#""PORT": {port}"#), 1);
    let homes: Vec<String> = (1..30).map(|host| ask([127, 0, 0, host], port, "")).collect();
    assert_eq!(spread(homes.clone()).len(), 3, "{homes:?}");
    assert_eq!(homes, (1..30).map(|host| ask([127, 0, 0, host], port, "")).collect::<Vec<_>>());
    // Clients of other workers stay with them. The dead worker's clients return to the same
    // instance number later.
    let (dead, number) = (home.jlist()[1].pid().to_string(), 1);
    home.ok(format!("stop {number}"));
    for (host, before) in (1..30).zip(&homes) {
        let now = ask([127, 0, 0, host], port, "");
        assert!(if *before == dead { now != dead } else { now == *before }, "{host}: {before} became {now}");
    }
    home.ok(format!("restart {number}"));
    home.wait_until("it listens", || lines_with(&home, " on ") >= 4);
    let reborn = home.jlist()[1].pid().to_string();
    for (host, before) in (1..30).zip(&homes) {
        assert_eq!(ask([127, 0, 0, host], port, ""), if *before == dead { reborn.clone() } else { before.clone() });
    }
}

/// Keeps the sessions of its polling clients in memory, as socket.io does: `/` opens a session,
/// `/<sid>` continues it, other paths get 400.
const POLLED: &str = "
const sessions = new Set();
require('http').createServer((request, response) => {
  const sid = request.url.slice(1);
  response.statusCode = sid === '' || sessions.has(sid) ? 200 : 400;
  const answer = sid || `${process.pid}-${sessions.size}`;
  sessions.add(answer);
  response.end(answer);
}).listen(process.env.AT, () => console.log('listens'));
";

/// Sends a request on a connection of its own, as nginx does for a client. Returns the status and
/// the body.
fn polled(mut stream: impl Read + Write, sid: &str, header: &str) -> (String, String) {
    write!(stream, "GET /{sid} HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = body.lines().find(|line| line.contains('-')).unwrap_or_default();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// All clients come from one address, that of the proxy. The proxy names the client in a header.
#[test]
fn sticky_clients_behind_a_proxy_are_spread() {
    needs_program!("node");
    for sticky in ["true", "\"cookie\""] {
        let home = home();
        let port = free_port();
        let path = home.root().join("app.sock");
        let script = home.write("polled.js", POLLED);
        let app = |name: &str, at: &str| {
            format!(
                r#"{{"name": "{name}", "script": "{script}", "instances": 3, "exec_mode": "cluster", "sticky": {sticky}, "env": {{"AT": "{at}"}}}}"#
            )
        };
        let apps = [app("tcp", &port.to_string()), app("unix", path.to_str().unwrap())].join(", ");
        let file = home.write("apps.json", format!(r#"{{"apps": [{apps}]}}"#));
        home.ok(format!("start {file}"));
        let listens = |name: &str| {
            (0..3).all(|index| {
                home.log(&format!("{name}-out-{}.log", home.jlist().iter().filter(|app| app.name() == name).nth(index).unwrap().id()))
                    .contains("listens")
            })
        };
        home.wait_until("all listen", || listens("tcp") && listens("unix"));
        for is_unix in [false, true] {
            let ask = |sid: &str, header: &str| {
                if is_unix {
                    polled(std::os::unix::net::UnixStream::connect(&path).unwrap(), sid, header)
                } else {
                    polled(TcpStream::connect(("127.0.0.1", port)).unwrap(), sid, header)
                }
            };
            let headers = (1..=30).map(|host| match host % 3 {
                0 => format!("X-Forwarded-For: 203.0.113.{host}, 10.0.0.1"),
                1 => format!("X-Real-IP: 203.0.113.{host}"),
                _ => format!("Forwarded: for=\"[2001:db8::{host}]\""),
            });
            let sessions: Vec<(String, String)> = headers.map(|header| (ask("", &header).1, header)).collect();
            let workers = spread(sessions.iter().map(|(sid, _)| sid.split('-').next().unwrap().to_owned()));
            assert_eq!(workers.len(), 3, "{sticky}, unix {is_unix}: {workers:?}");
            for (sid, header) in sessions.iter().chain(sessions.iter().rev()) {
                assert_eq!(ask(sid, header), ("200".into(), sid.clone()), "{sticky}, unix {is_unix}: {header}");
            }
        }
    }
}

#[test]
fn sticky_client_stays_with_worker_by_cookie() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""sticky": {"cookie": "who"}"#, &format!(r#""PORT": {port}"#), 1);
    let pids = home.pid_texts();
    // These connections send nothing and must not delay any other client.
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for round in 0..3 {
        for (number, pid) in pids.iter().enumerate() {
            assert_eq!(ask([127, 0, 0, round + 1], port, &format!("who={number}")), *pid);
        }
    }
    // The cookie names an unknown worker, or there is no cookie: requests are spread in turn, also
    // from one address (a proxy's).
    for cookie in ["", "who=77"] {
        let spread = spread((0..30).map(|_| ask([127, 0, 0, 9], port, cookie)));
        assert!(spread.len() == 3 && spread.values().all(|count| (9..12).contains(count)), "{cookie}: {spread:?}");
    }
    drop(silent);
    with_load(&home, port, 0, || {});
}
