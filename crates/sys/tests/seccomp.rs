//! Interception of `bind` and `listen` of real programs.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::CString;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::net::socket;
use ostler_sys::process::child;
use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::seccomp::caller::{Caller, CallerSocket, reissue_calls};
use ostler_sys::seccomp::calls::{Answer, Call, CallListener, TrappedCall};
use ostler_sys::seccomp::filter::{Installed, receive};
use ostler_sys::seccomp::inspection::BindCall;
use ostler_sys::{SpawnSpec, Spawned, WaitStatus};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Program that serves one connection at the address, and answers with its port.
const SERVER: &str = "
import socket, sys
server = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen(5)
client, _ = server.accept()
client.sendall(('%s %s' % (server.getsockname()[1], server.get_inheritable())).encode())
";

/// Starts a program of Python, and returns it with its listener.
fn start(code: &str, arguments: &[&str]) -> (Spawned, CallListener) {
    let (ours, theirs) = socket::packet_pair().unwrap();
    let argv =
        ["/usr/bin/python3", "-c", code].into_iter().chain(arguments.iter().copied()).map(|text| CString::new(text).unwrap()).collect();
    let spec = SpawnSpec { program: c"/usr/bin/python3".into(), argv, cwd: c"/".into(), ..SpawnSpec::default() };
    let placement = Placement { call_reports: Some(theirs.as_fd()), ..Placement::default() };
    let program = spawn_at(&spec, &[], placement).unwrap();
    match receive(ours.as_fd()).unwrap() {
        Some(Installed::Listener { fd, .. }) => (program, fd.into()),
        other => panic!("{other:?}"),
    }
}

/// Waits for the next call; `None` = the program has exited.
fn next(listener: &CallListener) -> Option<TrappedCall> {
    loop {
        match listener.receive() {
            Ok(Some(call)) => return Some(call),
            Ok(None) => drop(poll(&mut [PollFd::new(listener, PollFlags::IN)], None).unwrap()),
            Err(errno) => {
                assert_eq!(errno, Errno::PIPE);
                return None;
            }
        }
    }
}

/// Waits for a call of `bind`, and returns it with its address.
fn next_bind(listener: &CallListener) -> (TrappedCall, CallerSocket, Caller, i32, SocketAddr) {
    let trapped = next(listener).unwrap();
    let Call::Bind { fd, address, length } = trapped.call else { panic!("{trapped:?}") };
    let caller = Caller::of_thread(trapped.thread).unwrap();
    let copies = BindCall { thread: trapped.thread, pid: caller.pid(), fd, address, length }.copy();
    let address = copies.address.unwrap().parse().unwrap().unwrap();
    assert!(listener.is_waiting(trapped.id));
    (trapped, caller.socket(fd, copies.socket.ok()).unwrap(), caller, fd, address)
}

fn text_at(address: impl std::net::ToSocketAddrs) -> String {
    let mut text = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn program_serves_a_socket_in_place_of_its_own() {
    for address in ["127.0.0.1", "::1"] {
        let (program, listener) = start(SERVER, &[address, "1"]);
        let (bind, own, caller, number, wanted) = next_bind(&listener);
        assert_eq!(wanted, SocketAddr::new(address.parse().unwrap(), 1));
        let ours = TcpListener::bind((address, 0)).unwrap();
        assert!(own.is_tcp() && own.is_cloexec() && caller.is_in_our_network().unwrap());
        assert!(!caller.has_registered(number).unwrap());
        own.copy_options(&ours);
        listener.replace(bind.id, ours.as_fd(), number, own.is_cloexec()).unwrap();
        listener.answer(bind.id, Answer::Done).unwrap();
        let listen = next(&listener).unwrap();
        assert_eq!(listen.call, Call::Listen { fd: number, backlog: 5 });
        listener.answer(listen.id, Answer::Continue).unwrap();
        let at = ours.local_addr().unwrap();
        drop(ours);
        assert_eq!(text_at(at), format!("{} False", at.port()));
        assert_eq!(next(&listener), None);
        assert_eq!(child::reap(program.pid).unwrap().ending, WaitStatus::Code(0));
    }
}

#[test]
fn calls_go_on_or_fail_as_answered_also_below_a_child() {
    // Its grandchild serves. The second call fails.
    let code = "
import socket, subprocess, sys
code = '''import socket
server = socket.create_server((\"127.0.0.1\", 0))
try: socket.create_server((\"127.0.0.1\", 0))
except OSError as error: print(server.getsockname()[1], error.errno)
'''
sys.exit(0 if subprocess.run([sys.executable, '-c', code], capture_output=True).stdout.split()[1] == b'13' else 1)";
    let (program, listener) = start(code, &[]);
    let (first, _, caller, ..) = next_bind(&listener);
    assert_ne!(caller.pid(), program.pid);
    listener.answer(first.id, Answer::Continue).unwrap();
    assert!(listener.answer(first.id, Answer::Continue).is_err());
    let listen = next(&listener).unwrap();
    assert!(matches!(listen.call, Call::Listen { .. }));
    listener.answer(listen.id, Answer::Continue).unwrap();
    let (second, ..) = next_bind(&listener);
    listener.answer(second.id, Answer::Fail(Errno::ACCESS)).unwrap();
    assert_eq!(next(&listener), None);
    assert_eq!(child::reap(program.pid).unwrap().ending, WaitStatus::Code(0));
}

#[test]
fn killed_program_leaves_no_call() {
    let (program, listener) = start(SERVER, &["127.0.0.1", "0"]);
    let (bind, ..) = next_bind(&listener);
    program.signal(9).unwrap();
    child::reap(program.pid).unwrap();
    assert!(!listener.is_waiting(bind.id));
    assert_eq!(listener.answer(bind.id, Answer::Done), Err(Errno::NOENT));
    assert_eq!(next(&listener), None);
}

#[test]
fn call_waits_for_the_next_holder_of_the_listener() {
    let (program, listener) = start(SERVER, &["127.0.0.1", "0"]);
    let copy: OwnedFd = listener.as_fd().try_clone_to_owned().unwrap();
    drop(listener);
    let listener = CallListener::from(copy);
    for _ in 0..2 {
        let call = next(&listener).unwrap();
        listener.answer(call.id, Answer::Continue).unwrap();
    }
    program.signal(9).unwrap();
    child::reap(program.pid).unwrap();
    assert_eq!(next(&listener), None);
}

/// The former holder received the call and was killed before it answered.
#[test]
fn received_call_is_issued_again() {
    let (program, listener) = start(SERVER, &["127.0.0.1", "0"]);
    let first = next(&listener).unwrap();
    // The call is received just before its thread sleeps.
    while !std::fs::read_to_string(format!("/proc/{}/wchan", program.pid)).unwrap().contains("seccomp") {
        std::thread::yield_now();
    }
    reissue_calls(program.pid);
    let again = next(&listener).unwrap();
    assert_ne!(again.id, first.id);
    assert_eq!((again.thread, again.call), (first.thread, first.call));
    listener.answer(again.id, Answer::Continue).unwrap();
    let listen = next(&listener).unwrap();
    assert!(matches!(listen.call, Call::Listen { .. }));
    program.signal(9).unwrap();
    child::reap(program.pid).unwrap();
}
