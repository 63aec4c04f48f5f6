use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use ostler_proto::event::{EventCause, EventKind};
use ostler_proto::frame::FrameError;

use super::*;

/// A home with a socket, removed when it is dropped.
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

    fn socket(&self) -> PathBuf {
        self.0.join("ostler.sock")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn welcome() -> Response {
    Response::Hello { protocol: PROTOCOL, version: "9.9.9".into(), pid: 7, keeper_pid: 6, read_only: false }
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

/// Serves one client and closes the connection.
fn serve(listener: &UnixListener, count: usize, answers: &[(u64, Response)]) -> Vec<Request> {
    Conn::accept(listener).serve(count, answers)
}

#[test]
fn connect_reports_a_missing_daemon() {
    let (home, listener) = Home::new();
    drop(listener);
    assert!(matches!(Client::connect(home.socket()), Err(ClientError::NotRunning { .. })), "a stale socket");
    assert!(matches!(Client::connect("/nonexistent/ostler.sock"), Err(ClientError::NotRunning { .. })), "no home");
}

#[test]
fn client_sends_hello_first_and_receives_progress() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        let step = |id| Response::Progress(Progress::InstanceDone { id, name: "a".into(), late: None });
        let mut conn = Conn::accept(&listener);
        let mut seen = conn.serve(1, &[(0, welcome())]);
        seen.extend(conn.serve(1, &[(2, step(4)), (2, step(5)), (2, Response::Done { ids: vec![4, 5] })]));
        seen
    });
    let mut client = Client::connect(home.socket()).unwrap();
    let mut calls = Vec::new();
    let answer = client.request(&Request::Resurrect, &mut |progress| calls.push(progress)).unwrap();
    assert_eq!(answer, Response::Done { ids: vec![4, 5] });
    assert_eq!(calls.len(), 2);
    assert_eq!(client.peer().unwrap().keeper_pid, 6);
    let seen = server.join().unwrap();
    assert!(matches!(&seen[..], [Request::Hello { protocol: PROTOCOL, .. }, Request::Resurrect]), "{seen:?}");
}

#[test]
fn client_retries_a_lost_query_but_not_a_lost_command() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        serve(&listener, 2, &[]);
        serve(&listener, 2, &[(0, welcome()), (1, Response::List(Vec::new()))]);
        // Only hello arrived here, so the client may still send the request to another daemon.
        assert!(matches!(serve(&listener, 1, &[])[..], [Request::Hello { .. }]));
        let mut conn = Conn::accept(&listener);
        conn.serve(1, &[(0, welcome())]);
        conn.serve(1, &[]);
    });
    assert_eq!(Client::connect(home.socket()).unwrap().list().unwrap(), []);
    let lost = Client::connect(home.socket()).unwrap().request(&Request::Resurrect, &mut |_| {});
    assert!(matches!(lost, Err(ClientError::Lost(_))), "{lost:?}");
    server.join().unwrap();
}

#[test]
fn version_mismatch_names_the_daemon_version() {
    for answer in [
        (0, Response::Failed(Failure::Protocol { daemon_version: "9.9.9".into() })),
        (0, Response::Hello { protocol: PROTOCOL + 1, version: "9.9.9".into(), pid: 1, keeper_pid: 1, read_only: false }),
        (1, Response::Failed(Failure::Protocol { daemon_version: "9.9.9".into() })),
    ] {
        let (home, listener) = Home::new();
        let server = thread::spawn(move || serve(&listener, 2, &[answer]));
        let result = Client::connect(home.socket()).unwrap().list();
        assert!(matches!(&result, Err(ClientError::Version { daemon }) if daemon == "9.9.9"), "{result:?}");
        server.join().unwrap();
    }
}

#[test]
fn any_protocol_client_works_with_another_version() {
    let (home, listener) = Home::new();
    let foreign = Response::Hello { protocol: PROTOCOL + 1, version: "9.9.9".into(), pid: 1, keeper_pid: 1, read_only: false };
    let server = thread::spawn(move || serve(&listener, 2, &[(0, foreign), (1, Response::Pong)]));
    let mut client = Client::connect(home.socket()).unwrap();
    assert_eq!(client.allow_any_protocol().request(&Request::Ping, &mut |_| {}).unwrap(), Response::Pong);
    assert_eq!(client.peer().unwrap().version, "9.9.9");
    server.join().unwrap();
}

#[test]
fn read_only_client_requires_confirmation_by_the_daemon() {
    let (home, listener) = Home::new();
    let confirmed = || Response::Hello { protocol: PROTOCOL, version: "9.9.9".into(), pid: 7, keeper_pid: 6, read_only: true };
    let server = thread::spawn(move || {
        let mut seen = serve(&listener, 2, &[]);
        seen.extend(serve(&listener, 2, &[(0, confirmed()), (1, Response::List(Vec::new()))]));
        // A daemon without read-only support would execute the request.
        seen.extend(serve(&listener, 1, &[(0, welcome())]));
        seen
    });
    let connect = || Client::connect(home.socket()).unwrap().read_only();
    assert_eq!(connect().list().unwrap(), []);
    let result = connect().request(&Request::Resurrect, &mut |_| {});
    assert!(matches!(&result, Err(ClientError::Version { daemon }) if daemon == "9.9.9"), "{result:?}");
    let seen = server.join().unwrap();
    let hellos = seen.iter().filter(|request| matches!(request, Request::Hello { read_only: true, .. })).count();
    assert_eq!(hellos, 3, "{seen:?}");
    assert!(!seen.contains(&Request::Resurrect), "{seen:?}");
}

#[test]
fn invalid_frame_is_an_error() {
    let (home, listener) = Home::new();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(&[0xff; 8]).unwrap();
    });
    let result = Client::connect(home.socket()).unwrap().list();
    assert!(matches!(result, Err(ClientError::Frame(FrameError::TooLong(_)))), "{result:?}");
    server.join().unwrap();
}

#[test]
fn client_over_a_given_stream_does_not_reconnect() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || {
        let mut conn = Conn(theirs, Decoder::default());
        conn.serve(2, &[(0, welcome()), (1, Response::Pong)]);
        conn.serve(1, &[]);
    });
    let mut client = Client::from_stream(ours);
    assert_eq!(client.request(&Request::Ping, &mut |_| {}).unwrap(), Response::Pong);
    assert_eq!(client.peer().unwrap().version, "9.9.9");
    let lost = client.list();
    assert!(matches!(lost, Err(ClientError::Lost(_))), "{lost:?}");
    server.join().unwrap();
}

#[test]
fn refused_request_keeps_the_connection_open() {
    let (home, listener) = Home::new();
    let no = || Failure::NotFound { target: "x".into() };
    let server = thread::spawn(move || {
        let mut conn = Conn::accept(&listener);
        conn.serve(2, &[(0, welcome()), (1, Response::Failed(no()))]);
        conn.serve(1, &[(2, Response::Pong)]);
    });
    let mut client = Client::connect(home.socket()).unwrap();
    let refused = client.inspect(&["x".into()]);
    assert!(matches!(&refused, Err(ClientError::Refused(failure)) if *failure == no()), "{refused:?}");
    assert_eq!(client.request(&Request::Ping, &mut |_| {}).unwrap(), Response::Pong);
    server.join().unwrap();
}

#[test]
fn subscriber_receives_events() {
    let (home, listener) = Home::new();
    let event = |seq| Event {
        epoch: 7,
        seq,
        at_ms: 1,
        app: Some("a".into()),
        id: Some(0),
        kind: EventKind::Stopped,
        cause: EventCause::App,
        before: None,
        after: None,
    };
    let server = thread::spawn(move || {
        let happened = |id| (1, Response::Happened(event(id)));
        serve(&listener, 2, &[(0, welcome()), happened(3), happened(4)])
    });
    let mut client = Client::connect(home.socket()).unwrap();
    assert_eq!(client.subscribe(None).unwrap(), 1);
    assert_eq!(
        [client.next_notification().unwrap(), client.next_notification().unwrap()],
        [Notification::Event(event(3)), Notification::Event(event(4))]
    );
    assert!(matches!(client.next_notification(), Err(ClientError::Lost(_))));
    server.join().unwrap();
}

#[test]
fn request_times_out_at_the_limit_if_the_daemon_is_silent() {
    let (home, _listener) = Home::new();
    let mut client = Client::connect(home.socket()).unwrap();
    client.limit(Duration::from_millis(1));
    let late = client.list();
    assert!(matches!(&late, Err(error @ ClientError::TimedOut(_)) if error.is_unreachable()), "{late:?}");
}

/// Handler that reports its calls to the test.
struct RecordingHandler(mpsc::Sender<&'static str>);

impl SilenceHandler for RecordingHandler {
    fn busy(&mut self, _: Duration, keeper: Option<i32>) -> bool {
        assert_eq!(keeper, Some(6));
        self.0.send("busy").unwrap();
        true
    }

    fn unanswered(&mut self, _: Duration, keeper: Option<i32>) -> bool {
        assert_eq!(keeper, None);
        self.0.send("unanswered").unwrap();
        true
    }

    fn give_up(&mut self, _: Duration, _: Option<i32>) -> String {
        "nobody".into()
    }
}

#[test]
fn silence_handler_runs_until_the_daemon_answers() {
    let (home, listener) = Home::new();
    let (sender, calls) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut conn = Conn::accept(&listener);
        // The daemon stays silent until the handler was called.
        assert_eq!(calls.recv().unwrap(), "unanswered");
        conn.serve(1, &[(0, welcome())]);
        conn.serve(1, &[]);
        // The request has arrived and takes its time; a hello on another connection is answered.
        let mut other = Conn::accept(&listener);
        other.serve(1, &[(0, welcome())]);
        assert_eq!(calls.recv().unwrap(), "busy");
        conn.serve(0, &[(2, Response::Done { ids: vec![1] })]);
    });
    let mut client = Client::connect(home.socket()).unwrap();
    client.set_silence_handler(Some(Box::new(RecordingHandler(sender))));
    assert_eq!(client.request(&Request::Resurrect, &mut |_| {}).unwrap(), Response::Done { ids: vec![1] });
    server.join().unwrap();
}

/// Stream that reports each write.
struct CountedWrites(UnixStream, mpsc::Sender<()>);

impl Read for CountedWrites {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for CountedWrites {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.send(()).unwrap();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for CountedWrites {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[test]
fn query_is_sent_with_hello_and_command_waits_for_the_reply() {
    for (request, answer, together) in [(Request::Ping, (1, Response::Pong), true), (Request::Resurrect, (2, Response::Pong), false)] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sender, calls) = mpsc::channel();
        let server = thread::spawn(move || {
            let mut conn = Conn(theirs, Decoder::default());
            if together {
                conn.serve(2, &[(0, welcome()), answer]);
                return calls.try_iter().count();
            }
            // As long as hello is not answered, only hello has arrived.
            let seen = conn.serve(1, &[]);
            let writes = calls.try_iter().count();
            assert_eq!((seen.len(), conn.1.buffered()), (1, 0));
            conn.serve(0, &[(0, welcome())]);
            conn.serve(1, &[answer]);
            writes + calls.try_iter().count()
        });
        let mut client = Client::from_stream(CountedWrites(ours, sender));
        assert_eq!(client.request(&request, &mut |_| {}).unwrap(), Response::Pong);
        assert_eq!(server.join().unwrap(), if together { 1 } else { 2 }, "{request:?}");
    }
}
