//! The native API for programs other than the command line, through the client that they use:
//! `ostler-client`.

use std::io::Write;
use std::os::unix::net::UnixStream;

use ostler_client::{Client, ClientError, MAX_ON_BEHALF_OF};
use ostler_proto::control::{Action, ClientFrame, Failure, PROTOCOL, Request, Response, ScaleTo};
use ostler_proto::frame::encode;
use ostler_testkit::Home;

use crate::setup::{client, home, start_fixture};

fn stop_all() -> Request {
    Request::Act {
        action: Action::Stop,
        targets: vec!["all".into()],
        cwd: "/".into(),
        change: None,
        parallel: 0,
        gentle: false,
        canary_ms: None,
        command: "stop".into(),
        named_only: false,
        confirm: None,
        namespace: None,
        together: false,
    }
}

#[track_caller]
fn is_refused<S: ostler_client::Stream>(client: &mut Client<S>, request: &Request) {
    let answer = client.request(request, &mut |_| {});
    assert!(matches!(answer, Err(ClientError::Refused(Failure::ReadOnly))), "{request:?}: {answer:?}");
}

#[test]
fn read_only_connection_changes_nothing() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, daemon) = (home.app("app").pid(), home.daemon_pid());
    let mut reader = client(&home).read_only();
    let changes = [
        stop_all(),
        Request::Start {
            apps: Vec::new(),
            base_env: Default::default(),
            existing: ostler_proto::control::Existing::Restart,
            command: "start".into(),
            confirm: None,
            named_only: false,
            as_pm2: false,
        },
        Request::Undo { app: "app".into(), to: None, command: "rollout".into() },
        Request::RunJob { target: "app".into(), command: "run".into() },
        Request::Scale { name: "app".into(), cwd: "/".into(), to: ScaleTo::Exactly(3), oldest_first: false, confirm: None },
        Request::Signal { signal: 9, target: "app".into() },
        Request::Flush { target: None, own: None },
        Request::SettingsChanged,
        Request::ReloadLogs,
        Request::Save { force: true, files: None },
        Request::Resurrect,
        Request::Kill,
        Request::Update { exe: "/bin/true".into() },
    ];
    for request in &changes {
        is_refused(&mut reader, request);
        // The change was refused, but reading still works.
        assert_eq!(reader.table().unwrap().len(), 1);
    }
    assert_eq!(reader.inspect(&["app".into()]).unwrap()[0].spec.name, "app");
    assert_eq!(reader.request(&Request::Pulse, &mut |_| {}).unwrap(), Response::Pong);
    assert_eq!((home.app("app").pid(), home.app("app").restarts(), home.daemon_pid()), (pid, 0, daemon));
    assert!(!home.dir().join("dump.pm2").exists());
    // The restriction applies to this connection, not to this user.
    client(&home).request(&stop_all(), &mut |_| {}).unwrap();
    assert_eq!(home.app("app").status(), "stopped");
}

#[test]
fn second_hello_does_not_lift_read_only() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut stream = UnixStream::connect(home.dir().join("ostler.sock")).unwrap();
    let hello = Request::Hello { protocol: PROTOCOL, version: "test".into(), read_only: true, on_behalf_of: None };
    stream.write_all(&encode(&ClientFrame { id: 0, request: hello })).unwrap();
    // This client sends a second hello without the read-only flag.
    let mut client = Client::from_stream(stream);
    client.limit(ostler_testkit::DEADLINE);
    is_refused(&mut client, &stop_all());
    assert_eq!(home.app("app").status(), "online");
}

/// When the daemon is killed, a read-only client connects to the next daemon, and stays read-only
/// there.
#[test]
fn client_stays_read_only_after_daemon_death() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut reader = client(&home).read_only();
    let first = reader.table().unwrap();
    let daemon = reader.peer().unwrap().pid;
    ostler_testkit::kill(daemon, rustix::process::Signal::KILL);
    let again = reader.table().unwrap();
    assert_eq!((&again[0].name, again[0].pid), (&first[0].name, first[0].pid));
    assert_ne!(reader.peer().unwrap().pid, daemon);
    is_refused(&mut reader, &stop_all());
}

/// The requesting user is still known after the daemon was killed. A very long name is cut.
#[test]
fn requester_is_recorded_beside_the_calling_user() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let name = format!("alice@dashboard {}", "x".repeat(1_000_000));
    client(&home).on_behalf_of("alice@dashboard").request(&stop_all(), &mut |_| {}).unwrap();
    let told = format!("`stop` of uid {} (pid {}) on behalf of alice@dashboard", rustix::process::getuid().as_raw(), std::process::id());
    home.ok("why app --all").says(&told);
    ostler_testkit::kill(home.daemon_pid(), rustix::process::Signal::KILL);
    home.ok("why app --all").says(&told);
    home.ok("restart app");
    // The library cuts a name that is too long. If a long name still arrives, the daemon cuts it.
    client(&home).on_behalf_of(&name).request(&stop_all(), &mut |_| {}).unwrap();
    is_cut(&home, &name);
    home.ok("restart app");
    let mut stream = UnixStream::connect(home.dir().join("ostler.sock")).unwrap();
    let hello = Request::Hello { protocol: PROTOCOL, version: "test".into(), read_only: false, on_behalf_of: Some(name[..60_000].into()) };
    for (id, request) in [(0, hello), (1, stop_all())] {
        stream.write_all(&encode(&ClientFrame { id, request })).unwrap();
    }
    home.wait_status("app", "stopped");
    is_cut(&home, &name);
}

#[track_caller]
fn is_cut(home: &Home, name: &str) {
    let why = home.ok("why app").says(&name[..MAX_ON_BEHALF_OF]);
    assert!(!why.stdout.contains(&name[..=MAX_ON_BEHALF_OF]), "{why}");
}
