//! Cluster mode of programs that open their port by themselves: sockets that stay with their program,
//! with the reason.

use std::net::{Ipv4Addr, TcpListener};

use ostler_testkit::{free_port, needs_program, needs_root};

use crate::opened_port_borders::{PRELUDE, all_answer, answer, flat, reloads_without_failures, start, start_with, v4};
use crate::setup::home;

/// A socket that waits in epoll before it is bound stays with its process. `describe` gives the reason.
#[test]
fn own_sockets_are_explained() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
made = unbound()
waits = selectors.EpollSelector()
waits.register(made, selectors.EVENT_READ, 0)
made.bind(('127.0.0.1', port))
made.listen(50)
serve(made)
";
    start_with(&home, "early", 1, port, program, "");
    home.wait_until("it answers", || answer(v4(port)).is_some());
    let reason = format!("own socket at 127.0.0.1:{port}: the program waits for the socket in epoll before it binds it");
    assert!(flat(&home, "describe early").contains(&format!("{reason} (instead, declare the port in `listen`, or use `increment_var`)")));
    assert!(flat(&home, "why early").contains(&reason));
    assert!(
        home.daemon_log()
            .contains("keeps a socket of its own, which its instances cannot share: the program waits for the socket in epoll")
    );
    let own = serde_json::json!([{ "address": format!("127.0.0.1:{port}"), "reason": "registered" }]);
    assert_eq!(home.ok("describe early --json").json()[0]["learned"]["own_sockets"], own);
    assert_eq!(home.ok("why early --json").json()[0]["own_sockets"], own);
    let checks = home.run("doctor --json").json()["checks"].clone();
    let found = checks.as_array().unwrap().iter().find(|check| check["check"] == "app early").cloned().unwrap_or_default();
    assert!(found["found"].as_str().is_some_and(|text| text.contains("1 instance keeps a socket of its own")), "{checks}");
    // The next process shares its port, and nothing is left of the reason.
    home.write("early.py", format!("{PRELUDE}serve(server(port))"));
    home.ok("restart early");
    all_answer(&home, v4(port), 0, 1);
    home.ok("describe early").says("each process has its own socket").never_says("own socket at");
}

/// The kernel executes the calls of a 32-bit program.
#[test]
fn program_of_32_bits_has_its_own_socket() {
    needs_program!("cc");
    let (home, port) = (home(), free_port());
    let source = home.write(
        "narrow.c",
        r#"
static int call(int number, long a, long b, long c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}
static int on_socket(int number, long a, long b, long c, long d, long e) {
  long words[] = {a, b, c, d, e};
  return call(102, number, (long)words, 0);
}
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n1 0";
void _start(void) {
  if (PORT == 0) call(1, 7, 0, 0);
  struct { unsigned short family, port; unsigned address; char rest[8]; } at = {2, (PORT & 255) << 8 | PORT >> 8, 0x0100007f, {0}};
  static char request[1000];
  int yes = 1, made = on_socket(1, 2, 1, 0, 0, 0);
  on_socket(14, made, 1, 2, (long)&yes, 4);
  if (on_socket(2, made, (long)&at, 16, 0, 0) || on_socket(4, made, 50, 0, 0, 0)) call(1, 1, 0, 0);
  for (;;) {
    int client = on_socket(5, made, 0, 0, 0, 0);
    call(3, client, (long)request, sizeof request);
    call(4, client, (long)answer, sizeof answer - 1);
    call(6, client, 0, 0);
  }
}
"#,
    );
    let build = |port: u16| {
        let line = format!(
            "cc -m32 -static -nostdlib -fno-stack-protector -fno-pic -no-pie -O1 -DPORT={port} -o narrow-{port} {source} && (./narrow-0 || echo $?) || true"
        );
        ostler_testkit::sh(home.work(), &line)
    };
    if std::env::consts::ARCH != "x86_64" || !build(0).contains('7') {
        ostler_testkit::skip!("this machine builds or runs no program of 32 bits");
    }
    build(port);
    let text = format!(r#"{{"apps": [{{"name": "narrow", "exec_mode": "cluster", "script": "./narrow-{port}", "interpreter": "none"}}]}}"#);
    home.ok(format!("start {}", home.write("narrow.json", text)));
    home.wait_until("it answers", || answer(v4(port)) == Some((1, 0)));
    assert!(flat(&home, "describe narrow").contains("own sockets: it is a 32-bit program"));
}

/// Installs a filter with a listener, for a call that no program uses.
const LISTENER: &str = "
import ctypes, os, platform, struct, sys
wide = platform.machine() == 'x86_64'
libc = ctypes.CDLL(None, use_errno=True)
rules = ctypes.create_string_buffer(struct.pack('HBBI' * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 163 if wide else 89, 6, 0, 0, 0x7fc00000, 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack('HP', 4, ctypes.addressof(rules)))
libc.prctl(38, 1, 0, 0, 0)
result = libc.syscall(317 if wide else 277, 1, 8, program)
";

/// The kernel has one listener of system calls for a process.
#[test]
fn refused_filter_is_explained() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    // The child holds the listener. Without a holder, there would be none.
    let holder = "
assert result >= 0
if os.fork() == 0:
    for stream in range(3): os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    while True: signal.pause()
os.execvp(sys.argv[1], sys.argv[1:])
";
    let below = home.write("below.py", format!("import signal\n{LISTENER}{holder}"));
    let server = home.write("server.py", format!("{PRELUDE}serve(server(port))"));
    let wrapper = format!("exec python3 '{below}' \"$0\" \"$@\"");
    home.cmd(format!("start {server} --name api -i 2 --no-autorestart --no-wait -- {port}")).after(&wrapper).run();
    home.wait_until("one answers", || answer(v4(port)).is_some());
    let reason = "own sockets: the kernel or a sandbox refuses the filter: Device or resource busy";
    assert!(flat(&home, "describe api").contains(reason));
    assert!(flat(&home, "why api").contains(reason));
}

#[test]
fn listener_of_the_program_itself_is_reported() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = format!("{LISTENER}print('listener:', result, ctypes.get_errno(), flush=True)\nserve(server(port))");
    start(&home, "sandbox", 1, port, &program);
    all_answer(&home, v4(port), 0, 1);
    home.wait_log("sandbox-out-0.log", "listener: -1 16");
    home.wait_until("it is reported", || {
        home.daemon_log().contains("refuses its own listener of system calls (seccomp) below ostler's: run it in fork mode")
    });
}

/// Without root, the kernel allows the filter only to processes that give up new rights.
#[test]
fn loss_of_setuid_programs_is_reported() {
    needs_program!("python3");
    needs_root!();
    let (home, port) = (home(), free_port());
    for folder in [home.root().to_path_buf(), home.work()] {
        ostler_testkit::set_mode(folder, 0o777);
    }
    let program =
        "print(next(line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')), flush=True)\nserve(server(port))";
    let script = home.write("user.py", format!("{PRELUDE}{program}"));
    home.cmd(format!("start {script} --name user -i 2 --interpreter /usr/bin/python3 -- {port}")).uid(65_534).run().ok();
    home.wait_log("user-out-0.log", "NoNewPrivs:\t1");
    home.wait_until("it answers", || answer(v4(port)).is_some());
    assert!(home.daemon_log().contains("sudo and other setuid programs do not work without root"));
    home.cmd("kill").uid(65_534).run().ok();
}

#[test]
fn setuid_programs_work_below_root() {
    needs_program!("python3");
    needs_root!();
    let (home, port) = (home(), free_port());
    start(&home, "root", 1, port, "print(open('/proc/self/status').read(), flush=True)\nserve(server(port))");
    all_answer(&home, v4(port), 0, 1);
    home.wait_log("root-out-0.log", "NoNewPrivs:\t0");
}

/// A listening socket that the process received from another one was not opened by a call that the
/// daemon sees.
#[test]
fn socket_from_another_program_is_explained() {
    needs_program!("python3");
    needs_root!();
    let home = home();
    let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
    let port = theirs.local_addr().unwrap().port();
    let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
    let pid = std::process::id();
    let program = format!(
        "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
serve(socket.socket(fileno=libc.syscall(438, libc.syscall(434, {pid}, 0), {number}, 0)))"
    );
    start(&home, "given", 1, port, &program);
    home.wait_until("it answers", || answer(v4(port)).is_some());
    assert!(flat(&home, "describe given").contains(&format!("own sockets at port {port}: not opened by `bind` and `listen`")));
}

/// A program that knows nothing of `LISTEN_FDS` gets the declared socket when it opens the port.
#[test]
fn declared_port_is_given_to_a_program_that_opens_it() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start_with(&home, "api", 2, port, "serve(server(port))", &format!(r#", "listen": "127.0.0.1:{port}""#));
    all_answer(&home, v4(port), 0, 2);
    reloads_without_failures(&home, "api", &[v4(port)]);
    assert!(flat(&home, "describe api").contains(&format!("shares 127.0.0.1:{port} (each process has its own socket)")));
    home.ok("delete api");
    // Another address is another socket.
    let script = home.work().join("api.py").display().to_string();
    let app = format!(
        r#"{{"apps": [{{"name": "other", "exec_mode": "cluster", "script": "{script}", "interpreter": "python3", "args": ["{port}"], "autorestart": false, "listen": {port}}}]}}"#
    );
    home.run(format!("start {}", home.write("other.json", app))).fails().says("Address already in use");
    let reason = format!("own socket at 127.0.0.1:{port}: `listen` declares the port at another address");
    home.wait_until("it is explained", || flat(&home, "describe other").contains(&reason));
}
