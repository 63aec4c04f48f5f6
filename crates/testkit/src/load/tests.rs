//! A server that misbehaves in each way, and what the load says of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use rustix::net::{self, SendFlags, sockopt};

use super::client::{Client, Kept};
use super::*;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// Reads one request; false at the end of the connection.
fn request(stream: &TcpStream) -> bool {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(lines.read_line(&mut line), Ok(n) if n > 0) {
            return false;
        }
        if line == "\r\n" {
            return true;
        }
    }
}

fn say(mut stream: &TcpStream, text: &str) {
    // The client may be gone, when the test is over.
    let _gone = stream.write_all(text.as_bytes());
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A server that does this with each connection, one thread for each; its port. Ends with the test's process.
fn server(each: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream.unwrap(), number));
        }
    });
    port
}

/// One client without pause, until so many requests were made.
fn ask(spec: LoadSpec, requests: u64) -> LoadReport {
    let load = Load::start(LoadSpec { connections: 1, pause_us: 0, ..spec });
    let until = Instant::now() + crate::DEADLINE;
    while load.good() + load.failed() < requests {
        assert!(Instant::now() < until, "{} good, {} failed", load.good(), load.failed());
        thread::yield_now();
    }
    load.stop()
}

fn keep(port: u16) -> LoadSpec {
    LoadSpec { keep_alive: true, ..LoadSpec::to(port) }
}

#[track_caller]
fn fails_with(report: &LoadReport, why: &str) {
    assert!(report.failed > 0 && report.errors[0].ends_with(why), "{:#?}", report.errors);
}

#[test]
fn a_connection_for_each_request() {
    let port = server(|stream, _| {
        if request(&stream) {
            say(&stream, GOOD);
        }
    });
    let report = ask(LoadSpec::to(port), 50);
    report.assert_whole();
    assert!(report.connections == report.requests && report.closed_idle == 0, "{report:?}");
    assert_eq!(report.by_body, BTreeMap::from([("ok".to_owned(), report.requests)]));
}

#[test]
fn one_connection_for_all_requests() {
    let port = server(|stream, _| {
        while request(&stream) {
            say(&stream, GOOD);
        }
    });
    let report = ask(keep(port), 50);
    report.assert_whole();
    assert!(report.connections == 1 && report.closed_idle == 0, "{report:?}");
}

#[test]
fn a_server_that_says_close_gets_a_new_connection() {
    let port = server(|stream, _| {
        if request(&stream) {
            say(&stream, LAST);
        }
    });
    let report = ask(keep(port), 50);
    report.assert_whole();
    assert!(report.connections == report.requests && report.closed_idle == 0, "{report:?}");
}

#[test]
fn an_idle_connection_that_the_server_closed_is_replaced() {
    let port = server(|stream, _| {
        if request(&stream) {
            // Held back until the close: answer and end come in one piece, so the end is there before the next request.
            net::send(&stream, GOOD.as_bytes(), SendFlags::MORE).unwrap();
        }
    });
    let report = ask(keep(port), 50);
    report.assert_whole();
    assert_eq!((report.connections, report.closed_idle), (report.requests, report.requests - 1), "{report:?}");
}

#[test]
fn an_idle_connection_that_was_reset_is_replaced() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut client = Client::new(Instant::now());
    client.stream = Some(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
    assert_eq!(client.look(), Kept::Open);
    reset(listener.accept().unwrap().0);
    assert_eq!(client.look(), Kept::Closed);
}

#[test]
fn a_kept_connection_that_ends_after_the_request_is_a_failure() {
    type Ends = fn(TcpStream);
    let closes: [(Ends, &str); 2] = [
        (drop, "closed by the server on a kept connection, before the answer"),
        (reset, "connection reset by peer on a kept connection, before the answer"),
    ];
    for (ends, why) in closes {
        let port = server(move |stream, _| {
            if request(&stream) {
                say(&stream, GOOD);
                if request(&stream) {
                    ends(stream);
                }
            }
        });
        let report = ask(keep(port), 10);
        fails_with(&report, why);
        assert_eq!(report.failed, report.requests / 2, "every second one: nothing is asked twice\n{report:?}");
    }
}

#[test]
fn a_new_connection_that_ends_is_a_failure() {
    let port = server(|stream, _| {
        request(&stream);
    });
    fails_with(&ask(LoadSpec::to(port), 1), "closed by the server on a new connection, before the answer");
    let port = server(|stream, _| {
        request(&stream);
        reset(stream);
    });
    fails_with(&ask(keep(port), 1), "connection reset by peer on a new connection, before the answer");
    // Closed without having read: what the client sees depends on who is faster, that it fails does not.
    let port = server(|stream, _| reset(stream));
    let report = ask(keep(port), 20);
    assert_eq!((report.failed, report.good()), (report.requests, 0));
}

#[test]
fn half_an_answer_is_a_failure() {
    let port = server(|stream, _| {
        if request(&stream) {
            say(&stream, &GOOD[..GOOD.len() - 1]);
        }
    });
    fails_with(&ask(LoadSpec::to(port), 1), "closed by the server on a new connection, within the answer, after 39 bytes");
}

#[test]
fn another_status_body_or_length_is_a_failure() {
    let answers = [
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nok", Body::Any, "status 502"),
        (GOOD, Body::Number, "the body \"ok\""),
        (GOOD, Body::Exactly("okay".into()), "the body \"ok\""),
        (GOOD, Body::With("kay".into()), "the body \"ok\""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", Body::Any, "1 bytes after the end of the answer"),
        ("garbage\r\n\r\n", Body::Any, "no HTTP: \"garbage\""),
    ];
    for (text, body, why) in answers {
        let port = server(move |stream, _| {
            while request(&stream) {
                say(&stream, text);
            }
        });
        let report = ask(LoadSpec { body, ..keep(port) }, 3);
        assert!(report.failed == report.requests && report.errors[0].contains(why), "{why}: {:#?}", report.errors);
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_a_failure() {
    let port = server(|stream, _| {
        while request(&stream) {
            say(&stream, GOOD);
            say(&stream, GOOD);
        }
    });
    let report = ask(LoadSpec { pause_us: 5000, ..keep(port) }, 2);
    assert!(report.failed > 0 && report.errors[0].contains("bytes"), "{:#?}", report.errors);
}

#[test]
fn a_refused_connection_is_a_failure_and_not_a_busy_loop() {
    let load = Load::start(LoadSpec { connections: 1, pause_us: 0, ..LoadSpec::to(crate::free_port()) });
    while load.failed() < 5 {
        thread::yield_now();
    }
    let report = load.stop();
    fails_with(&report, "connection refused while connecting");
    assert!(report.longest_gap_ms > 40.0 && report.by_body.is_empty(), "{report:?}");
    assert!(report.errors.len() <= WORDED);
}

#[test]
fn no_answer_in_time_is_a_failure() {
    let port = server(|stream, _| while request(&stream) {});
    let report = ask(LoadSpec { timeout_ms: 30, ..keep(port) }, 3);
    fails_with(&report, "no answer in 30 ms on a new connection, before the answer");
}

#[test]
fn what_was_asked_is_waited_for_when_the_load_ends() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let port = server(move |stream, _| {
        while request(&stream) {
            seen.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            say(&stream, GOOD);
        }
    });
    let load = Load::start(LoadSpec { connections: 3, ..keep(port) });
    while asked.load(Ordering::SeqCst) < 3 {
        thread::yield_now();
    }
    let report = load.stop();
    report.assert_whole();
    assert_eq!(report.requests, asked.load(Ordering::SeqCst) as u64);
    assert!(report.slowest_ms >= 100.0, "{report:?}");
}

#[test]
fn a_gap_is_seen_over_all_clients() {
    let begin = Instant::now();
    let port = server(move |stream, _| {
        while request(&stream) {
            // Nobody is answered for a while.
            let (from, to) = (Duration::from_millis(150), Duration::from_millis(450));
            if begin.elapsed() > from && begin.elapsed() < to {
                thread::sleep(to - begin.elapsed());
            }
            say(&stream, GOOD);
        }
    });
    let load = Load::start(LoadSpec { connections: 4, ..keep(port) });
    while begin.elapsed() < Duration::from_millis(600) {
        thread::sleep(Duration::from_millis(5));
    }
    let report = load.stop();
    report.assert_whole();
    assert!(report.longest_gap_ms > 200.0, "{report:?}");
}

#[test]
fn unix_sockets() {
    let path = std::env::temp_dir().join(format!("ostler-load-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 1024];
            while matches!(std::io::Read::read(&mut stream, &mut bytes), Ok(n) if n > 0) {
                let _gone = stream.write_all(GOOD.as_bytes());
            }
            let _gone = stream.shutdown(Shutdown::Both);
        }
    });
    // One connection at a time is served; more than the queue has room for wait.
    let load = Load::start(LoadSpec { connections: 200, ..LoadSpec::to(path.as_path()) });
    while load.good() < 1000 && load.failed() == 0 {
        thread::yield_now();
    }
    let report = load.stop();
    report.assert_whole();
    assert_eq!(crate::get(path.as_path(), "/").unwrap(), "ok");
    drop(std::fs::remove_file(&path));
}

#[test]
fn two_kinds_in_one_report() {
    let port = server(|stream, _| {
        while request(&stream) {
            say(&stream, GOOD);
        }
    });
    let load = Load::mixed(port, 5);
    while load.good() < 200 {
        thread::yield_now();
    }
    let report = load.stop();
    report.assert_whole();
    assert!(report.connections > 2 && report.connections < report.requests, "{report:?}");
    assert_eq!(report.by_body.values().sum::<u64>(), report.requests);
}
