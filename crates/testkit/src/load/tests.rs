//! Servers that misbehave in various ways, and the load's reports about them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use rustix::net::{self, SendFlags, sockopt};

use super::client::{Client, IdleConnection};
use super::*;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// Reads one request; returns false at the end of the connection.
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

fn reply(mut stream: &TcpStream, text: &str) {
    // The client may be gone if the test is over.
    let _gone = stream.write_all(text.as_bytes());
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Starts a server that calls `each` for every connection, in a separate thread, and returns its
/// port. It ends with the test's process.
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

/// Runs one client without pause until it has made this many requests.
fn run_load(spec: LoadSpec, requests: u64) -> LoadReport {
    let load = Load::start(LoadSpec { connections: 1, pause_us: 0, ..spec });
    let until = Instant::now() + crate::DEADLINE;
    while load.good() + load.failed() < requests {
        assert!(Instant::now() < until, "{} good, {} failed", load.good(), load.failed());
        thread::sleep(Duration::from_millis(1));
    }
    load.stop()
}

fn keep_alive(port: u16) -> LoadSpec {
    LoadSpec { keep_alive: true, ..LoadSpec::to(port) }
}

#[track_caller]
fn fails_with(report: &LoadReport, why: &str) {
    assert!(report.failed > 0 && report.errors[0].ends_with(why), "{:#?}", report.errors);
}

#[test]
fn default_load_opens_a_connection_per_request() {
    let port = server(|stream, _| {
        if request(&stream) {
            reply(&stream, GOOD);
        }
    });
    let report = run_load(LoadSpec::to(port), 50);
    report.assert_whole();
    assert!(report.connections == report.requests && report.closed_idle == 0, "{report:?}");
    assert_eq!(report.by_body, BTreeMap::from([("ok".to_owned(), report.requests)]));
}

#[test]
fn kept_connection_serves_all_requests() {
    let port = server(|stream, _| {
        while request(&stream) {
            reply(&stream, GOOD);
        }
    });
    let report = run_load(keep_alive(port), 50);
    report.assert_whole();
    assert!(report.connections == 1 && report.closed_idle == 0, "{report:?}");
}

#[test]
fn connection_close_header_opens_a_new_connection() {
    let port = server(|stream, _| {
        if request(&stream) {
            reply(&stream, LAST);
        }
    });
    let report = run_load(keep_alive(port), 50);
    report.assert_whole();
    assert!(report.connections == report.requests && report.closed_idle == 0, "{report:?}");
}

#[test]
fn idle_connection_closed_by_server_is_replaced() {
    let port = server(|stream, _| {
        if request(&stream) {
            // The answer is held back until the close: answer and end arrive together, so the end
            // is there before the next request.
            net::send(&stream, GOOD.as_bytes(), SendFlags::MORE).unwrap();
        }
    });
    let report = run_load(keep_alive(port), 50);
    report.assert_whole();
    assert_eq!((report.connections, report.closed_idle), (report.requests, report.requests - 1), "{report:?}");
}

#[test]
fn idle_connection_reset_by_server_is_replaced() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut client = Client::new(Instant::now());
    client.stream = Some(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
    assert_eq!(client.idle_state(), IdleConnection::Open);
    reset(listener.accept().unwrap().0);
    assert_eq!(client.idle_state(), IdleConnection::Closed);
}

#[test]
fn kept_connection_closed_after_request_is_a_failure() {
    type Ending = fn(TcpStream);
    let closes: [(Ending, &str); 2] = [
        (drop, "closed by the server on a kept connection, before the answer"),
        (reset, "connection reset by peer on a kept connection, before the answer"),
    ];
    for (ends, why) in closes {
        let port = server(move |stream, _| {
            if request(&stream) {
                reply(&stream, GOOD);
                if request(&stream) {
                    ends(stream);
                }
            }
        });
        let report = run_load(keep_alive(port), 10);
        fails_with(&report, why);
        assert_eq!(report.failed, report.requests / 2, "every second one: nothing is asked twice\n{report:?}");
        assert_eq!(report.failed_on_kept, report.failed);
    }
}

#[test]
fn new_connection_closed_before_response_is_a_failure() {
    let port = server(|stream, _| {
        request(&stream);
    });
    let report = run_load(LoadSpec::to(port), 1);
    fails_with(&report, "closed by the server on a new connection, before the answer");
    assert_eq!(report.failed_on_kept, 0);
    let port = server(|stream, _| {
        request(&stream);
        reset(stream);
    });
    fails_with(&run_load(keep_alive(port), 1), "connection reset by peer on a new connection, before the answer");
    // The server closes without reading. The kind of failure depends on timing; the failure itself
    // does not.
    let port = server(|stream, _| reset(stream));
    let report = run_load(keep_alive(port), 20);
    assert_eq!((report.failed, report.good()), (report.requests, 0));
}

#[test]
fn incomplete_response_is_a_failure() {
    let port = server(|stream, _| {
        if request(&stream) {
            reply(&stream, &GOOD[..GOOD.len() - 1]);
        }
    });
    fails_with(&run_load(LoadSpec::to(port), 1), "closed by the server on a new connection, within the answer, after 39 bytes");
}

#[test]
fn unexpected_status_body_or_length_is_a_failure() {
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
                reply(&stream, text);
            }
        });
        let report = run_load(LoadSpec { body, ..keep_alive(port) }, 3);
        assert!(report.failed == report.requests && report.errors[0].contains(why), "{why}: {:#?}", report.errors);
    }
}

#[test]
fn unrequested_bytes_are_a_failure() {
    let port = server(|stream, _| {
        while request(&stream) {
            reply(&stream, GOOD);
            reply(&stream, GOOD);
        }
    });
    let report = run_load(LoadSpec { pause_us: 5000, ..keep_alive(port) }, 2);
    assert!(report.failed > 0 && report.errors[0].contains("bytes"), "{:#?}", report.errors);
}

#[test]
fn refused_connection_is_a_failure_without_busy_loop() {
    let load = Load::start(LoadSpec { connections: 1, pause_us: 0, ..LoadSpec::to(crate::free_port()) });
    while load.failed() < 5 {
        thread::sleep(Duration::from_millis(1));
    }
    let report = load.stop();
    fails_with(&report, "connection refused while connecting");
    assert!(report.longest_gap_ms > 40.0 && report.by_body.is_empty(), "{report:?}");
    assert!(report.errors.len() <= WORDED);
}

#[test]
fn response_timeout_is_a_failure() {
    let port = server(|stream, _| while request(&stream) {});
    let report = run_load(LoadSpec { timeout_ms: 30, ..keep_alive(port) }, 3);
    fails_with(&report, "no answer in 30 ms on a new connection, before the answer");
}

#[test]
fn stop_waits_for_requests_in_flight() {
    let requested = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requested);
    let port = server(move |stream, _| {
        while request(&stream) {
            seen.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            reply(&stream, GOOD);
        }
    });
    let load = Load::start(LoadSpec { connections: 3, ..keep_alive(port) });
    while requested.load(Ordering::SeqCst) < 3 {
        thread::sleep(Duration::from_millis(1));
    }
    let report = load.stop();
    report.assert_whole();
    assert_eq!(report.requests, requested.load(Ordering::SeqCst) as u64);
    assert!(report.slowest_ms >= 100.0 && report.percentile_ms(1.0) >= 100.0, "{report:?}");
}

#[test]
fn longest_gap_covers_all_clients() {
    let begin = Instant::now();
    let port = server(move |stream, _| {
        while request(&stream) {
            // The server does not answer for a while.
            let (from, to) = (Duration::from_millis(150), Duration::from_millis(450));
            if begin.elapsed() > from && begin.elapsed() < to {
                thread::sleep(to - begin.elapsed());
            }
            reply(&stream, GOOD);
        }
    });
    let load = Load::start(LoadSpec { connections: 4, ..keep_alive(port) });
    while begin.elapsed() < Duration::from_millis(600) {
        thread::sleep(Duration::from_millis(5));
    }
    let report = load.stop();
    report.assert_whole();
    assert!(report.longest_gap_ms > 200.0, "{report:?}");
}

#[test]
fn load_over_unix_sockets_waits_for_busy_server() {
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
    // The server handles one connection at a time; clients that exceed its queue wait.
    let load = Load::start(LoadSpec { connections: 200, ..LoadSpec::to(path.as_path()) });
    while load.good() < 1000 && load.failed() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let report = load.stop();
    report.assert_whole();
    assert_eq!(crate::get(path.as_path(), "/").unwrap(), "ok");
    drop(std::fs::remove_file(&path));
}

#[test]
fn mixed_load_is_summed_in_one_report() {
    let port = server(|stream, _| {
        while request(&stream) {
            reply(&stream, GOOD);
        }
    });
    let load = Load::mixed(port, 5);
    while load.good() < 200 {
        thread::sleep(Duration::from_millis(1));
    }
    let report = load.stop();
    report.assert_whole();
    assert!(report.connections > 2 && report.connections < report.requests, "{report:?}");
    assert_eq!(report.by_body.values().sum::<u64>(), report.requests);
}
