//! The control socket under attack: bytes before the hello, unterminated frames, idle connections,
//! clients that do not read. Only the owner and root can connect, and no misbehaving client may
//! affect the others.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_proto::control::{ClientFrame, PROTOCOL, Request};
use ostler_proto::frame::encode;
use ostler_testkit::{DEADLINE, Home, proc_number};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::setup::{home, start_fixture};

const MB: usize = 1 << 20;

fn hello() -> Vec<u8> {
    encode(&ClientFrame {
        id: 0,
        request: Request::Hello { protocol: PROTOCOL, version: "test".into(), read_only: false, on_behalf_of: None },
    })
}

/// Returns a connection that has received the response to its hello.
#[track_caller]
fn greeted(home: &Home) -> UnixStream {
    let mut stream = home.connect("ostler.sock");
    stream.write_all(&hello()).unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream
}

/// Returns the first bytes of a frame of this length.
fn head(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap().to_le_bytes()
}

/// Writes until the other side closes or the limit is reached. Returns how many bytes the other
/// side took.
fn write_until_closed(stream: &mut UnixStream, most: usize) -> usize {
    let chunk = [b' '; 64 << 10];
    let mut taken = 0;
    while taken < most {
        match stream.write(&chunk) {
            Ok(0) | Err(_) => break,
            Ok(len) => taken += len,
        }
    }
    taken
}

/// Checks that the other side has closed the connection.
#[track_caller]
fn is_closed(stream: &mut UnixStream) {
    let mut rest = [0; 64 << 10];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return,
            Err(error) => panic!("still open: {error}"),
        }
    }
}

/// Returns the most memory that the daemon ever used, in bytes.
fn peak(home: &Home) -> usize {
    usize::try_from(proc_number(home.daemon_pid(), "status", "VmHWM")).unwrap() << 10
}

#[test]
fn bytes_before_hello_are_bounded() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let before = peak(&home);
    for first in [&head(200 * MB)[..], &head(100), &[]] {
        let mut stream = home.connect("ostler.sock");
        stream.write_all(first).unwrap();
        let taken = write_until_closed(&mut stream, 64 * MB);
        assert!(taken < 2 * MB, "{taken} bytes were taken of who has not said hello");
        is_closed(&mut stream);
    }
    let grown = peak(&home) - before;
    assert!(grown < 8 * MB, "the daemon grew by {grown}");
    home.ok("list").says("app");
}

#[test]
fn connection_without_hello_in_time_is_closed() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut silent = home.connect("ostler.sock");
    let mut slow = home.connect("ostler.sock");
    let mut idle = greeted(&home);
    slow.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut sent = hello();
    sent.truncate(sent.len() - 1);
    // Sends a byte now and then until the daemon closes the connection.
    let mut bytes = sent.iter();
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        assert!(std::time::Instant::now() < until, "still open");
        if let Some(byte) = bytes.next()
            && slow.write_all(&[*byte]).is_err()
        {
            break;
        }
        match slow.read(&mut [0; 16]) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            _ => {}
        }
    }
    is_closed(&mut silent);
    // A connection that has sent its hello stays open.
    idle.write_all(&encode(&ClientFrame { id: 1, request: Request::Ping })).unwrap();
    assert!(idle.read(&mut [0; 4096]).unwrap() > 0);
}

#[test]
fn oversized_frame_is_rejected_by_its_header() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let before = peak(&home);
    for len in [65 * MB, 300 * MB, u32::MAX as usize] {
        let mut stream = greeted(&home);
        stream.write_all(&head(len)).unwrap();
        let taken = write_until_closed(&mut stream, 64 * MB);
        assert!(taken < 2 * MB, "{taken} bytes were taken of a frame of {len}");
        is_closed(&mut stream);
    }
    assert!(peak(&home) - before < 8 * MB);
    home.ok("list").says("app");
}

#[test]
fn partial_frames_are_bounded_in_total() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let before = peak(&home);
    let mut streams: Vec<UnixStream> = (0..8).map(|_| greeted(&home)).collect();
    for stream in &mut streams {
        // The daemon may close the connection during the write.
        let _ = stream.write_all(&head(60 * MB));
        write_until_closed(stream, 50 * MB);
    }
    // The clients sent 400 MB. The daemon keeps 128 MB, in buffers that grow by doubling.
    let grown = peak(&home) - before;
    assert!(grown < 300 * MB, "the daemon grew by {} MB", grown / MB);
    home.ok("list").says("app");
}

#[test]
fn idle_connections_do_not_block_clients() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < 4096) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(4096), ..limit }).unwrap();
    }
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut follower = greeted(&home);
    follower.write_all(&encode(&ClientFrame { id: 1, request: Request::Subscribe { after: None } })).unwrap();
    let idle: Vec<UnixStream> = (0..600).map(|_| greeted(&home)).chain((0..600).map(|_| home.connect("ostler.sock"))).collect();
    home.ok("list").says("app");
    home.ok("restart app");
    // A subscriber has priority over idle connections.
    assert!(follower.read(&mut [0; 4096]).unwrap() > 0);
    drop(idle);
    home.ok("list").says("app");
}

#[test]
fn client_that_does_not_read_is_disconnected() {
    let home = home();
    let large = "x".repeat(100_000);
    home.cmd(format!("start {} --name app -- hold", ostler_testkit::fixture())).env("LARGE", &large).run().ok();
    let before = peak(&home);
    let ask = encode(&ClientFrame { id: 1, request: Request::Inspect { targets: Vec::new(), cwd: "/".into() } });
    let mut stream = greeted(&home);
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // 100 KB per response: together more than the daemon keeps for a client that does not read.
    let refused = (0..20_000).any(|_| stream.write_all(&ask).is_err());
    assert!(refused, "it answers for ever");
    let grown = peak(&home) - before;
    assert!(grown < 200 * MB, "the daemon grew by {} MB", grown / MB);
    home.ok("list").says("app");
}
