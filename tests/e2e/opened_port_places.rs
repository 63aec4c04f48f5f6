//! Programs that open their port by themselves, where ostler may not inspect every process: as an
//! ordinary user, under Yama, in containers and in other namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ostler_testkit::{Cmd, Home, Subject, alive, free_port, get, kill, needs_program, needs_root};
use rustix::process::Signal;

use crate::opened_port::{SERVER, all_answer, once, reloads_without_failures, start, start_server};
use crate::setup::{home, refusing, stranger_home};

/// Python that every user may execute.
const PYTHON: &str = "/usr/bin/python3";
/// Without this, processes have sockets of their own.
const OWN_SOCKET: &str = "keeps a socket of its own";
const NO_SETUID: &str = "sudo and other setuid programs do not work";
const USER: u32 = 54_324;

/// Writes an app with two instances of [`SERVER`] and returns the path of its file.
fn server(home: &Home, name: &str, port: u16) -> String {
    server_by(home, "python3", name, port)
}

fn server_by(home: &Home, python: &str, name: &str, port: u16) -> String {
    let script = home.write("server.py", SERVER);
    let members = format!(
        r#""name": "{name}", "exec_mode": "cluster", "instances": 2, "interpreter": "none", "script": "{python}", "args": ["{script}", "127.0.0.1", "{port}"]"#
    );
    home.write(&format!("{name}.json"), format!(r#"{{"apps": [{{{members}}}]}}"#))
}

/// Lets only ancestors inspect processes: the keeper may, the daemon may not.
fn home_of_ancestors() -> Home {
    let mut home = home();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/yama/siblings.c");
    let library = home.work().join("siblings.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(made.unwrap().success());
    home.set_env("LD_PRELOAD", library);
    home
}

#[test]
fn ordinary_user_shares_a_port() {
    needs_root!();
    if !Path::new(PYTHON).exists() {
        ostler_testkit::skip!("{PYTHON} is not installed");
    }
    let (owner, port, second) = (home(), free_port(), free_port());
    let home = stranger_home(&owner, USER, Subject::Ostler);
    for folder in [home.root(), &home.work()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |words: String| home.cmd(words).uid(USER).run().ok();
    let answers = |port: u16, count: usize| {
        let mut seen = std::collections::BTreeSet::new();
        home.wait_until("every process answers", || {
            seen.extend(get(port, "/").ok());
            seen.len() == count
        });
    };
    run(format!("start {} --allow-foreign-file", server_by(&home, PYTHON, "api", port)));
    answers(port, 2);
    run(format!("start {} --allow-foreign-file", server_by(&home, PYTHON, "other", second)));
    answers(second, 2);
    run("reload all".into());
    answers(port, 2);
    let log = home.daemon_log();
    assert_eq!((log.matches(NO_SETUID).count(), log.contains(OWN_SOCKET)), (1, false), "{log}");
}

/// Seccomp profiles of Docker: the default since version 23, and that of 20.10.
#[test]
fn containers_without_copies_of_descriptors_share_a_port() {
    needs_program!("python3");
    for (errno, calls) in [("EPERM", "pidfd_getfd"), ("EPERM", "pidfd_getfd,process_vm_readv"), ("ENOSYS", "pidfd_getfd,process_vm_readv")]
    {
        let (home, port, dual) = (home(), free_port(), free_port());
        home.cmd(format!("start {}", server(&home, "api", port))).after(&refusing(errno, calls)).run().ok();
        all_answer(&home, port, 2);
        reloads_without_failures(&home, "api", port);
        home.ok("delete api");
        // A socket that must not block, at every address of both families.
        let script = home.write(
            "dual.py",
            "import asyncio, os, sys
async def serve(reader, writer):
    await reader.readuntil(b'\\r\\n\\r\\n')
    body = str(os.getpid()).encode()
    writer.write(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (len(body), body))
    writer.close()
async def main():
    await (await asyncio.start_server(serve, None, int(sys.argv[2]))).serve_forever()
asyncio.run(main())
",
        );
        start(&home, "dual", 2, &once(&script, dual));
        all_answer(&home, dual, 2);
        assert!(!home.daemon_log().contains(OWN_SOCKET), "{errno} {calls}: {}", home.daemon_log());
    }
}

#[test]
fn keeper_reads_if_the_daemon_may_not() {
    needs_program!("python3");
    needs_program!("cc");
    let (home, port) = (home_of_ancestors(), free_port());
    start_server(&home, "api", 2, port);
    all_answer(&home, port, 2);
    reloads_without_failures(&home, "api", port);
    kill(home.daemon_pid(), Signal::KILL);
    home.ok("scale api 3");
    all_answer(&home, port, 3);
    home.ok("update");
    home.ok("scale api 4");
    all_answer(&home, port, 4);
    assert!(!home.daemon_log().contains(OWN_SOCKET), "{}", home.daemon_log());
}

/// The app runs as in fork mode: the second process finds the port in use.
#[track_caller]
fn runs_with_own_sockets(home: &Home, start: Cmd<'_>, port: u16) {
    start.run();
    home.wait_until("one process answers", || get(port, "/").is_ok());
    home.wait_until("the other one fails", || {
        ["api-error-0.log", "api-error-1.log"].iter().any(|log| home.log(log).contains("Address already in use"))
    });
}

/// Root without `CAP_SYS_PTRACE`, and a process that forbids its inspection.
#[test]
fn unreadable_process_keeps_its_socket_with_a_reason() {
    needs_root!();
    needs_program!("python3");
    needs_program!("setpriv");
    let (home, port) = (home(), free_port());
    let script = home.write("closed.py", format!("import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n{SERVER}"));
    home.write("server.py", SERVER);
    let file = server(&home, "api", port);
    home.write("api.json", home.read("api.json").replace(&home.work().join("server.py").display().to_string(), &script));
    let start = home.cmd(format!("start {file}"));
    runs_with_own_sockets(&home, start.after("exec setpriv --bounding-set -sys_ptrace \"$0\" \"$@\""), port);
    let log = home.daemon_log();
    assert!(log.contains("the process (PR_SET_DUMPABLE) or a sandbox forbids its inspection"), "{log}");
}

#[test]
fn refused_filter_has_a_reason() {
    needs_program!("python3");
    for errno in ["EPERM", "EINVAL"] {
        let (home, port) = (home(), free_port());
        let start = home.cmd(format!("start {}", server(&home, "api", port)));
        runs_with_own_sockets(&home, start.after(&refusing(errno, "seccomp")), port);
        home.run("why api").says("the kernel or a sandbox refuses the filter");
    }
}

/// Root without `CAP_SYS_PTRACE`, as in a container, and an app with another user.
#[test]
fn apps_of_other_users_keep_their_sockets_with_a_reason() {
    needs_root!();
    needs_program!("setpriv");
    if !Path::new(PYTHON).exists() {
        ostler_testkit::skip!("{PYTHON} is not installed");
    }
    let (home, port) = (home(), free_port());
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = server_by(&home, PYTHON, "api", port);
    home.write("api.json", home.read("api.json").replace(r#""instances""#, r#""uid": "nobody", "instances""#));
    let start = home.cmd(format!("start {file}"));
    runs_with_own_sockets(&home, start.after("exec setpriv --bounding-set -sys_ptrace \"$0\" \"$@\""), port);
    let log = home.daemon_log();
    assert!(log.contains("a process of another user cannot be inspected without CAP_SYS_PTRACE"), "{log}");
}

#[test]
fn ports_are_shared_in_a_user_namespace() {
    needs_program!("python3");
    needs_program!("unshare");
    for flags in ["-U", "-Ur"] {
        let (home, port) = (home(), free_port());
        if !Command::new("unshare").args([flags, "true"]).status().is_ok_and(|status| status.success()) {
            ostler_testkit::skip!("no user namespace can be made");
        }
        home.cmd(format!("start {} --allow-foreign-file", server(&home, "api", port)))
            .after(&format!("exec unshare {flags} \"$0\" \"$@\""))
            .run()
            .ok();
        all_answer(&home, port, 2);
        assert!(!home.daemon_log().contains(OWN_SOCKET), "{flags}: {}", home.daemon_log());
    }
}

/// A manager in its own network serves there: a client beside the app counts its processes.
#[test]
fn ports_are_shared_in_a_network_namespace() {
    needs_program!("python3");
    needs_program!("unshare");
    if !Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|status| status.success()) {
        ostler_testkit::skip!("no network namespace can be made");
    }
    let (home, port) = (home(), free_port());
    let client = home.write(
        "client.py",
        format!(
            "import fcntl, socket, struct, time, urllib.request
made = socket.socket()
# SIOCSIFFLAGS: IFF_UP
fcntl.ioctl(made, 0x8914, struct.pack('16sh14x', b'lo', 1))
seen = set()
while len(seen) < 2:
    try: seen.add(urllib.request.urlopen('http://127.0.0.1:{port}/').read())
    except OSError: time.sleep(0.01)
print('both answer', flush=True)
time.sleep(1000)
"
        ),
    );
    let start = home.cmd(format!("start {client} --name client --interpreter python3"));
    start.after("exec unshare -rn \"$0\" \"$@\"").run().ok();
    home.ok(format!("start {}", server(&home, "api", port)));
    home.wait_log("client-out.log", "both answer");
    assert!(!home.daemon_log().contains(OWN_SOCKET), "{}", home.daemon_log());
}

/// Program whose addresses are on a page that blocks each reader until the file `go` exists. Several
/// threads bind there.
const BLOCKING: &str = "
import ctypes, fcntl, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
made = libc.syscall({'x86_64': 323, 'aarch64': 282}[os.uname().machine], os.O_CLOEXEC)
if made < 0:
    print('no userfaultfd', flush=True)
    time.sleep(1000)
fcntl.ioctl(made, 0xc018aa3f, bytearray(struct.pack('QQQ', 0xaa, 0, 0)))
size = os.sysconf('SC_PAGE_SIZE')
page = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
fcntl.ioctl(made, 0xc020aa00, bytearray(struct.pack('QQQQ', page, size, 1, 0)))
def serve():
    server = socket.socket()
    if libc.bind(server.fileno(), ctypes.c_void_p(page), 16) != 0: return print('bind:', ctypes.get_errno(), flush=True)
    server.listen()
    print('bound', flush=True)
    while True:
        client, _ = server.accept()
        client.recv(1000)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok')
        client.close()
for _ in range(10): threading.Thread(target=serve).start()
os.read(made, 32)
print('a reader is blocked', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
address = struct.pack('=H', socket.AF_INET) + struct.pack('!H4s8x', int(sys.argv[2]), socket.inet_aton(sys.argv[1]))
source = ctypes.create_string_buffer(address, size)
fcntl.ioctl(made, 0xc028aa03, bytearray(struct.pack('QQQQq', page, ctypes.addressof(source), size, 0, 0)))
";

/// Blocks readers, and checks that other apps are still served. Returns false if the kernel does not
/// block readers.
#[track_caller]
fn blocks_only_itself(home: &Home, meanwhile: impl FnOnce()) -> bool {
    let (port, blocked) = (free_port(), free_port());
    let script = home.write("blocking.py", BLOCKING);
    let members = format!(r#""script": "python3", "autorestart": false, "args": ["{script}", "127.0.0.1", "{blocked}"]"#);
    start(home, "blocking", 1, &members);
    home.wait_until("it blocks a reader", || !home.log("blocking-out-0.log").is_empty());
    if home.log("blocking-out-0.log").contains("no userfaultfd") {
        return false;
    }
    start_server(home, "api", 2, port);
    all_answer(home, port, 2);
    home.wait_until("the reader is given up", || home.daemon_log().contains("its memory could not be read within a second"));
    meanwhile();
    reloads_without_failures(home, "api", port);
    assert!(!home.log("blocking-out-0.log").contains("bound"));
    home.write("go", "");
    home.wait_log("blocking-out-0.log", "bound");
    assert_eq!(get(blocked, "/").unwrap(), "ok");
    true
}

#[test]
fn memory_that_blocks_its_reader_delays_only_its_process() {
    needs_root!();
    needs_program!("python3");
    let home = home();
    let did_block = blocks_only_itself(&home, || {
        // Readers that hang take the place of others, so its further calls are left to the kernel.
        home.wait_until("no more readers are started", || home.ok("describe blocking").stdout.contains("too many ports at once"));
        kill(home.daemon_pid(), Signal::KILL);
    });
    if !did_block {
        ostler_testkit::skip!("no userfaultfd");
    }
}

/// A keeper with a blocked thread still starts an anchor. `execve` could wait for the thread without
/// end, so an update waits until the app has stopped.
#[test]
fn memory_that_blocks_the_keepers_thread_delays_only_its_process() {
    needs_root!();
    needs_program!("python3");
    needs_program!("cc");
    let home = home_of_ancestors();
    let did_block = blocks_only_itself(&home, || {
        let anchor = home.anchor_pid();
        kill(anchor, Signal::KILL);
        home.wait_until("there is another anchor", || !alive(anchor) && home.anchor_pid() != anchor);
        let keeper = home.keeper_pid();
        assert!(fs::read_dir(format!("/proc/{keeper}/task")).unwrap().count() > 1, "no thread of the keeper is blocked");
        home.run("update").fails().says("stop the app first");
        assert_eq!(home.keeper_pid(), keeper);
    });
    home.ok("update");
    if !did_block {
        ostler_testkit::skip!("no userfaultfd");
    }
}
