use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

/// A home with a socket, removed at the end.
struct Home(PathBuf);

impl Home {
    fn new() -> (Self, UnixListener) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ostler-client-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let listener = UnixListener::bind(path.join("ostler.sock")).unwrap();
        (Self(path), listener)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn welcome() -> Response {
    Response::Hello { protocol: PROTOCOL, version: "9.9.9".into(), pid: 7, keeper_pid: 6 }
}

/// The daemon's side of a connection.
struct Conn(UnixStream, Decoder);

impl Conn {
    fn accept(listener: &UnixListener) -> Self {
        Self(listener.accept().unwrap().0, Decoder::default())
    }

    /// Reads `count` requests, then sends the answers.
    fn serve(&mut self, count: usize, answers: &[(u64, Response)]) -> Vec<Request> {
        let Self(stream, decoder) = self;
        let mut seen = Vec::new();
        while seen.len() < count {
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the client hung up");
            decoder.push(&chunk[..n]);
            while let Some(frame) = decoder.take::<ClientFrame>().unwrap() {
                seen.push(frame.request);
            }
        }
        for (id, response) in answers {
            stream.write_all(&encode(&DaemonFrame { id: *id, response: response.clone() })).unwrap();
        }
        seen
    }
}

/// Serves one client and hangs up.
fn serve(listener: &UnixListener, count: usize, answers: &[(u64, Response)]) -> Vec<Request> {
    Conn::accept(listener).serve(count, answers)
}

#[test]
fn nobody_listens() {
    let (home, listener) = Home::new();
    drop(listener);
    assert!(matches!(Client::connect(&home.0), Err(ClientError::NotRunning { .. })), "a stale socket");
    assert!(matches!(Client::connect(Path::new("/nonexistent")), Err(ClientError::NotRunning { .. })), "no home");
}

#[test]
fn hello_comes_first_and_progress_comes_as_it_is_made() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        let step = |id| Response::Progress(Progress::InstanceDone { id, name: "a".into() });
        let mut conn = Conn::accept(&listener);
        let mut seen = conn.serve(1, &[(0, welcome())]);
        seen.extend(conn.serve(1, &[(2, step(4)), (2, step(5)), (2, Response::Done { ids: vec![4, 5] })]));
        seen
    });
    let mut client = Client::connect(&home.0).unwrap();
    let mut told = Vec::new();
    let answer = client.request(&Request::Resurrect, &mut |progress| told.push(progress)).unwrap();
    assert_eq!(answer, Response::Done { ids: vec![4, 5] });
    assert_eq!(told.len(), 2);
    assert_eq!(client.peer().unwrap().keeper_pid, 6);
    let seen = server.join().unwrap();
    assert!(matches!(&seen[..], [Request::Hello { protocol: PROTOCOL, .. }, Request::Resurrect]), "{seen:?}");
}

#[test]
fn a_lost_question_is_asked_again_but_a_lost_order_is_not() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        serve(&listener, 2, &[]);
        serve(&listener, 2, &[(0, welcome()), (1, Response::List(Vec::new()))]);
        // Nothing but hello came here: the order can still be given to another one.
        assert!(matches!(serve(&listener, 1, &[])[..], [Request::Hello { .. }]));
        let mut conn = Conn::accept(&listener);
        conn.serve(1, &[(0, welcome())]);
        conn.serve(1, &[]);
    });
    assert_eq!(Client::connect(&home.0).unwrap().list().unwrap(), []);
    let lost = Client::connect(&home.0).unwrap().request(&Request::Resurrect, &mut |_| {});
    assert!(matches!(lost, Err(CliError::Client(ClientError::Lost(_)))), "{lost:?}");
    server.join().unwrap();
}

#[test]
fn another_version_is_named() {
    for answer in [
        (0, Response::Failed(Failure::Protocol { daemon_version: "9.9.9".into() })),
        (0, Response::Hello { protocol: PROTOCOL + 1, version: "9.9.9".into(), pid: 1, keeper_pid: 1 }),
        (1, Response::Failed(Failure::Protocol { daemon_version: "9.9.9".into() })),
    ] {
        let (home, listener) = Home::new();
        let server = thread::spawn(move || serve(&listener, 2, &[answer]));
        let result = Client::connect(&home.0).unwrap().list();
        assert!(matches!(&result, Err(CliError::Client(ClientError::Version { daemon })) if daemon == "9.9.9"), "{result:?}");
        server.join().unwrap();
    }
}

#[test]
fn a_daemon_of_another_version_can_be_replaced() {
    let (home, listener) = Home::new();
    let foreign = Response::Hello { protocol: PROTOCOL + 1, version: "9.9.9".into(), pid: 1, keeper_pid: 1 };
    let server = thread::spawn(move || serve(&listener, 2, &[(0, foreign), (1, Response::Pong)]));
    let mut client = Client::connect(&home.0).unwrap();
    assert_eq!(client.of_any_protocol().request(&Request::Ping, &mut |_| {}).unwrap(), Response::Pong);
    assert_eq!(client.peer().unwrap().version, "9.9.9");
    server.join().unwrap();
}

#[test]
fn nonsense_is_an_error() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(&[0xff; 8]).unwrap();
    });
    let result = Client::connect(&home.0).unwrap().list();
    assert!(matches!(result, Err(CliError::Client(ClientError::Frame(FrameError::TooLong(_))))), "{result:?}");
    server.join().unwrap();
}
