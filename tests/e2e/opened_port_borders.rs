//! Cluster mode of programs that open their port by themselves, at its borders: unusual programs,
//! and failures while a call waits.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use ostler_testkit::{Home, Load, LoadSpec, free_port, free_ports, get, kill, needs_program};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::setup::{home, home_as_pm2};

/// Functions of the programs below. `server` opens a port, `serve` answers on sockets with the pid
/// and the index of the socket.
pub(crate) const PRELUDE: &str = "
import os, selectors, signal, socket, sys, threading, time
def unbound(family=socket.AF_INET, v6only=None, reuseport=False):
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6only is not None: made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    if reuseport: made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return made
def server(port, host='127.0.0.1', **options):
    made = unbound(**options)
    made.bind((host, port))
    made.listen(50)
    return made
def answer(listening, index):
    client, _ = listening.accept()
    client.settimeout(10)
    if client.recv(1000):
        body = b'%d %d' % (os.getpid(), index)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n' % len(body) + body)
    client.close()
def serve(*sockets):
    selector = selectors.DefaultSelector()
    for index, each in enumerate(sockets): selector.register(each, selectors.EVENT_READ, index)
    while True:
        for key, _ in selector.select(): answer(key.fileobj, key.data)
def wait_for(path):
    while not os.path.exists(path): time.sleep(0.005)
def touch(path): open(path, 'w').close()
port = int(sys.argv[1])
";

/// Starts instances of a program in cluster mode. Its text follows [`PRELUDE`].
#[track_caller]
pub(crate) fn start(home: &Home, name: &str, instances: usize, port: u16, program: &str) {
    start_with(home, name, instances, port, program, "");
}

/// Starts instances of a program in cluster mode, with further members (JSON, with a comma before).
#[track_caller]
pub(crate) fn start_with(home: &Home, name: &str, instances: usize, port: u16, program: &str, members: &str) {
    let script = home.write(&format!("{name}.py"), format!("{PRELUDE}{program}"));
    let text = format!(
        r#"{{"apps": [{{"name": "{name}", "exec_mode": "cluster", "instances": {instances}, "script": "{script}", "interpreter": "python3", "args": ["{port}"]{members}}}]}}"#
    );
    home.ok(format!("start {}", home.write(&format!("{name}.json"), text)));
}

/// Returns pid and index of the socket in the next answer.
pub(crate) fn answer(address: SocketAddr) -> Option<(i32, usize)> {
    let body = get(address, "/").ok()?;
    let (pid, index) = body.split_once(' ')?;
    Some((pid.parse().ok()?, index.parse().ok()?))
}

/// Waits until these many online processes have answered at this address, by the socket with this
/// index.
#[track_caller]
pub(crate) fn all_answer(home: &Home, address: SocketAddr, index: usize, instances: usize) {
    let mut seen = BTreeSet::new();
    home.wait_until("every process answers", || {
        seen.extend(answer(address).filter(|(_, socket)| *socket == index).map(|(pid, _)| pid));
        home.online_pids().intersection(&seen).count() == instances
    });
}

pub(crate) fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// Reloads the app under load at these addresses.
#[track_caller]
pub(crate) fn reloads_without_failures(home: &Home, name: &str, addresses: &[SocketAddr]) {
    let loads: Vec<Load> = addresses.iter().map(|address| Load::start(LoadSpec { connections: 2, ..LoadSpec::to(*address) })).collect();
    for _ in 0..2 {
        let before = home.pid_set();
        loads.iter().for_each(|load| home.wait_requests(load, 20));
        home.ok(format!("reload {name}"));
        loads.iter().for_each(|load| home.wait_requests(load, 20));
        assert!(before.is_disjoint(&home.pid_set()));
    }
    loads.into_iter().for_each(|load| load.stop().assert_whole());
}

macro_rules! needs_ipv6 {
    () => {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            ostler_testkit::skip!("this machine has no IPv6");
        }
    };
}

/// nginx and others open a port once for each family.
#[test]
fn port_of_each_family_is_shared() {
    needs_program!("python3");
    needs_ipv6!();
    let (home, port) = (home(), free_port());
    let program = "serve(server(port, '0.0.0.0'), server(port, '::', family=socket.AF_INET6, v6only=1))";
    start(&home, "pair", 2, port, program);
    all_answer(&home, v4(port), 0, 2);
    all_answer(&home, v6(port), 1, 2);
    home.ok("describe pair").says(&format!("shares 0.0.0.0:{port}, IPv6 port {port} (each process has its own socket)"));
    reloads_without_failures(&home, "pair", &[v4(port), v6(port)]);
    // The port of IPv4 is another's.
    home.ok("delete pair");
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    start(&home, "six", 2, port, "serve(server(port, '::', family=socket.AF_INET6, v6only=1))");
    all_answer(&home, v6(port), 0, 2);
    drop(other);
    assert!(answer(v4(port)).is_none());
}

#[test]
fn port_of_both_families_is_shared() {
    needs_program!("python3");
    needs_ipv6!();
    let (home, port) = (home(), free_port());
    start(&home, "dual", 2, port, "serve(server(port, '::', family=socket.AF_INET6, v6only=0))");
    all_answer(&home, v4(port), 0, 2);
    all_answer(&home, v6(port), 0, 2);
    reloads_without_failures(&home, "dual", &[v4(port), v6(port)]);
}

/// The kernel has the same rules for the sockets of the app as for those of the program.
#[test]
fn port_of_both_families_excludes_that_of_one() {
    needs_program!("python3");
    needs_ipv6!();
    let (home, port) = (home(), free_port());
    let program = "
def refused(*words, **options):
    try: server(*words, **options)
    except OSError as error: print('refused:', error.errno, flush=True)
four = server(port, '0.0.0.0')
refused(port, '::', family=socket.AF_INET6, v6only=0)
single = server(port, '::1', family=socket.AF_INET6, v6only=1)
refused(port, '::1', family=socket.AF_INET6)
serve(four, single)
";
    start(&home, "rules", 2, port, program);
    for log in ["rules-out-0.log", "rules-out-1.log"] {
        home.wait_log(log, "refused: 98\nrefused: 98\n");
    }
    all_answer(&home, v4(port), 0, 2);
    all_answer(&home, v6(port), 1, 2);
}

/// PM2's instances of other programs than Node are separate processes. ostler's share a port.
#[test]
fn several_instances_share_their_port_by_default() {
    needs_program!("python3");
    let port = free_port();
    let script = |home: &Home| home.write("server.py", format!("{PRELUDE}serve(server(port))"));
    let mode = |home: &Home| home.jlist()[0].text("exec_mode").to_owned();
    let own = home();
    own.ok(format!("start {} --name api -i 2 -- {port}", script(&own)));
    all_answer(&own, v4(port), 0, 2);
    reloads_without_failures(&own, "api", &[v4(port)]);
    assert_eq!(mode(&own), "cluster_mode");
    own.ok("delete api");
    let separate = |home: &Home, options: &str| {
        home.run(format!("start {} --name api -i 2 {options} --no-autorestart -- {port}", script(home)));
        home.wait_until("one has the port", || {
            home.log("api-error-0.log").contains("in use") || home.log("api-error-1.log").contains("in use")
        });
        assert_eq!(mode(home), "fork_mode");
        home.ok("delete api");
    };
    separate(&own, "-x");
    let pm2 = home_as_pm2();
    separate(&pm2, "");
    pm2.run(format!(
        "start {}",
        pm2.write(
            "api.json",
            format!(r#"{{"apps": [{{"name": "api", "script": "server.py", "args": "{port}", "instances": 2, "autorestart": false}}]}}"#)
        )
    ));
    assert_eq!(mode(&pm2), "fork_mode");
}

/// Each instance has a port of its own, or none.
#[test]
fn several_instances_without_a_common_port_are_unaffected() {
    needs_program!("python3");
    let (home, first) = (home(), free_ports(2));
    let own = home.write("own.py", format!("{PRELUDE}serve(server(port + int(os.environ['NODE_APP_INSTANCE'])))"));
    home.ok(format!("start {own} --name own -i 2 -- {first}"));
    for at in 0..2 {
        home.wait_until("each answers", || answer(v4(first + at)).is_some_and(|(pid, _)| pid == home.jlist()[usize::from(at)].pid()));
    }
    home.ok("delete own");
    let worker = home.write("worker.py", "import sys\nfor line in sys.stdin: print('got', line, flush=True)\n");
    home.ok(format!("start {worker} --name worker -i 2"));
    let before = home.pid_set();
    home.ok("reload worker");
    home.wait_until("both run", || home.online_pids().len() == 2);
    assert!(before.is_disjoint(&home.pid_set()));
    // Cluster workers of Node have no standard input; these have.
    let id = home.jlist()[0].id();
    home.ok(format!("send {id} hello"));
    home.wait_until("it has read the line", || (0..2).any(|at| home.log(&format!("worker-out-{at}.log")).contains("got hello")));
}

/// Returns the text of a command without its layout.
pub(crate) fn flat(home: &Home, words: &str) -> String {
    home.ok(words).stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Some programs try which port is free before they use one.
#[test]
fn closed_port_refuses_clients() {
    needs_program!("python3");
    let (home, port) = (home(), free_ports(2));
    let program = "
server(port).close()
server(port).close()
used = server(port + 1)
used.close()
serve(server(port + 1))
";
    start(&home, "seeks", 2, port, program);
    all_answer(&home, v4(port + 1), 0, 2);
    home.wait_until("the first port is closed", || TcpStream::connect(v4(port)).is_err());
    assert!(flat(&home, "describe seeks").contains(&format!("shares 127.0.0.1:{} (each", port + 1)));
    reloads_without_failures(&home, "seeks", &[v4(port + 1)]);
    home.wait_until("the first port is closed", || TcpStream::connect(v4(port)).is_err());
}

#[test]
fn program_forks_while_a_thread_binds() {
    needs_program!("python3");
    const PORTS: u16 = 4;
    let (home, port) = (home(), free_ports(PORTS));
    let program = "
def forks():
    while binding:
        child = os.fork()
        if child == 0: os._exit(0)
        os.waitpid(child, 0)
binding = True
thread = threading.Thread(target=forks)
thread.start()
sockets = [server(port + index) for index in range(4)]
binding = False
thread.join()
serve(*sockets)
";
    start(&home, "forks", 2, port, program);
    (0..PORTS).for_each(|index| all_answer(&home, v4(port + index), index.into(), 2));
}

/// Both sockets of the process are the same one, so none is left without clients.
#[test]
fn process_with_two_sockets_of_a_port_serves_with_both() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
def accept(listening, index):
    while True: answer(listening, index)
sockets = [server(port, reuseport=True) for _ in range(2)]
for index, each in enumerate(sockets): threading.Thread(target=accept, args=(each, index)).start()
";
    start(&home, "twins", 2, port, program);
    all_answer(&home, v4(port), 0, 2);
    all_answer(&home, v4(port), 1, 2);
}

/// The processes of a server that shares its port by itself share the socket of their instance.
#[test]
fn processes_with_sockets_of_their_own_share_that_of_their_instance() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, "forks", 2, port, "os.fork()\nserve(server(port, reuseport=True))");
    let mut seen = BTreeSet::new();
    home.wait_until("four processes answer", || {
        seen.extend(answer(v4(port)).map(|(pid, _)| pid));
        seen.len() == 4
    });
    reloads_without_failures(&home, "forks", &[v4(port)]);
}

#[test]
fn other_sockets_stay_with_their_process() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
number = os.environ['NODE_APP_INSTANCE']
datagram = socket.socket(type=socket.SOCK_DGRAM)
datagram.bind(('127.0.0.1', port))
local = socket.socket(socket.AF_UNIX)
local.bind(f'own-{number}.sock')
local.listen()
client = socket.socket()
client.bind(('127.0.0.1', 0))
print('own:', server(0).getsockname()[1], client.getsockname()[1], local.getsockname(), flush=True)
serve(server(port), local)
";
    start(&home, "mixed", 1, port, program);
    all_answer(&home, v4(port), 0, 1);
    let line = home.log("mixed-out-0.log");
    let own: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert!(own.len() == 3 && own[0] != own[1] && own[0] != "0" && own[2] == "own-0.sock", "{line}");
    let described = flat(&home, "describe mixed");
    assert!(described.contains(&format!("shares 127.0.0.1:{port} (each")) && !described.contains("own socket at"), "{described}");
}

/// Returns true if the process waits for the answer to a call.
fn waits(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("seccomp"))
}

/// Start of a program that opens its port when the file `go` is there.
const LATE: &str = "wait_for('go')\ntouch('binds')\n";

#[test]
fn process_that_is_killed_during_its_call_is_started_again() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, "api", 2, port, &format!("{LATE}serve(server(port))"));
    let (daemon, pids) = (home.daemon_pid(), home.pids());
    kill(daemon, Signal::STOP);
    home.write("go", "");
    home.wait_until("both calls wait", || pids.iter().all(|pid| waits(*pid)));
    kill(pids[0], Signal::KILL);
    kill(daemon, Signal::CONT);
    home.wait_until("it was started again", || home.jlist()[0].restarts() == 1);
    all_answer(&home, v4(port), 0, 2);
    assert_eq!(home.jlist()[1].restarts(), 0);
}

/// Program whose address is in memory that blocks its reader until the file `filled` is there. The
/// daemon, whose pid is in the file `daemon`, is frozen as soon as it reads.
const BLOCKING: &str = "
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.bind.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
def control(number, *words):
    assert libc.ioctl(faults, ctypes.c_ulong(number), ctypes.create_string_buffer(struct.pack('Q' * len(words), *words))) == 0
faults = libc.syscall({'x86_64': 323, 'aarch64': 282}[platform.machine()], os.O_CLOEXEC)
if faults < 0:
    touch('impossible')
    sys.exit()
control(0xc018aa3f, 0xaa, 0, 0)
page, source = (libc.mmap(None, 4096, 3, 0x22, -1, 0) for _ in range(2))
control(0xc020aa00, page, 4096, 1, 0)
ctypes.memmove(source, struct.pack('=HH4s8x', socket.AF_INET, socket.htons(port), socket.inet_aton('127.0.0.1')), 16)
def fill():
    os.read(faults, 32)
    # The daemon may read this call after it was continued.
    try: os.path.exists('filled') or os.kill(int(open('daemon').read()), signal.SIGSTOP)
    except ProcessLookupError: pass
    touch(f'read-{os.getpid()}')
    wait_for('filled')
    control(0xc028aa03, page, source, 4096, 0, 0)
wait_for('go')
threading.Thread(target=fill).start()
made = unbound()
if libc.bind(made.fileno(), page, 16) < 0: raise OSError(ctypes.get_errno(), 'bind')
made.listen(50)
serve(made)
";

/// The program's call succeeds after any of our processes were killed, before or after the daemon
/// received the call.
#[test]
fn calls_outlive_killed_processes() {
    needs_program!("python3");
    for is_received in [false, true] {
        for (kills_daemon, kills_keeper) in [(true, false), (false, true), (true, true)] {
            let (home, port) = (home(), free_port());
            let program = if is_received { BLOCKING.to_owned() } else { format!("{LATE}serve(server(port))") };
            start(&home, "api", 2, port, &program);
            let (daemon, keeper, pids) = (home.daemon_pid(), home.keeper_pid(), home.pids());
            home.write("daemon", daemon.to_string());
            if !is_received {
                kill(daemon, Signal::STOP);
            }
            home.write("go", "");
            home.wait_until("the calls wait", || {
                let is_read = |pid: &i32| !is_received || home.work().join(format!("read-{pid}")).exists();
                home.work().join("impossible").exists() || pids.iter().all(|pid| waits(*pid)) && pids.iter().any(is_read)
            });
            if home.work().join("impossible").exists() {
                ostler_testkit::skip!("this kernel has no userfaultfd");
            }
            if kills_keeper {
                kill(keeper, Signal::KILL);
            }
            if kills_daemon {
                kill(daemon, Signal::KILL);
            }
            home.write("filled", "");
            kill(daemon, Signal::CONT);
            home.wait_until("a daemon answers", || home.run("jlist").code == 0);
            all_answer(&home, v4(port), 0, 2);
            let context = format!("received: {is_received}, daemon: {kills_daemon}, keeper: {kills_keeper}");
            assert!(home.jlist().iter().all(|item| item.restarts() == 0), "{context}");
            assert_eq!(home.pids(), pids, "{context}");
        }
    }
}

/// The descriptor of the socket is kept, so none is needed.
#[test]
fn program_without_free_descriptors_opens_its_port() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
import resource
made, full = unbound(), []
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
try:
    while True: full.append(os.dup(0))
except OSError: pass
made.bind(('127.0.0.1', port))
made.listen(50)
for each in full: os.close(each)
serve(made)
";
    start(&home, "full", 2, port, program);
    all_answer(&home, v4(port), 0, 2);
}

/// The kernel puts no socket in place of a descriptor above the limit. The program then has its own.
#[test]
fn socket_above_the_limit_of_descriptors_stays() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
import fcntl, resource
made = socket.socket(fileno=fcntl.fcntl(unbound().detach(), fcntl.F_DUPFD, 100))
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
made.bind(('127.0.0.1', port))
made.listen(50)
serve(made)
";
    start(&home, "above", 1, port, program);
    all_answer(&home, v4(port), 0, 1);
    let reason = format!("own socket at 127.0.0.1:{port}: ostler cannot replace the socket: Bad file descriptor");
    assert!(flat(&home, "describe above").contains(&reason));
}

#[test]
fn daemon_without_free_descriptors_lets_programs_open_their_port() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    start(&home, "api", 1, port, &format!("{LATE}serve(server(port))"));
    let daemon = home.daemon_pid();
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let hard = limits.lines().find(|line| line.starts_with("Max open files")).and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
    let limit = |now: Rlimit| prlimit(Pid::from_raw(daemon), Resource::Nofile, now).unwrap();
    let before = limit(Rlimit { current: Some(1), maximum: hard });
    home.write("go", "");
    home.wait_until("it answers", || answer(v4(port)).is_some());
    limit(before);
    let reason = "ostler cannot replace the socket: Too many open files";
    assert!(flat(&home, "describe api").contains(reason));
}

#[test]
fn traced_program_opens_its_port() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
def trace(pid):
    SEIZE, INTERRUPT, SYSCALL, TRACESYSGOOD = 0x4206, 0x4207, 24, 1
    if libc.ptrace(SEIZE, pid, 0, TRACESYSGOOD) < 0: os._exit(1)
    libc.ptrace(INTERRUPT, pid, 0, 0)
    while True:
        _, status = os.waitpid(pid, 0x40000000)
        if not os.WIFSTOPPED(status): os._exit(0)
        number = os.WSTOPSIG(status)
        is_signal = status >> 16 == 0 and number != signal.SIGTRAP | 0x80
        libc.ptrace(SYSCALL, pid, 0, number if is_signal else 0)
def tracer():
    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith('TracerPid'))
parent, child = os.getpid(), os.fork()
if child == 0: trace(parent)
libc.prctl(0x59616d61, child, 0, 0, 0)
for _ in range(1000):
    if tracer() != '0' or os.waitpid(child, os.WNOHANG)[0]: break
    time.sleep(0.005)
print('tracer:', tracer(), flush=True)
serve(server(port))
";
    start(&home, "traced", 2, port, program);
    all_answer(&home, v4(port), 0, 2);
    if home.log("traced-out-0.log").contains("tracer: 0\n") {
        ostler_testkit::skip!("this machine forbids ptrace");
    }
    home.ok("reload traced");
    all_answer(&home, v4(port), 0, 2);
}

/// A signal interrupts a call that waits. The kernel repeats the call, or the program does if it
/// installed its handler without `SA_RESTART`.
#[test]
fn interrupted_calls_are_repeated() {
    needs_program!("python3");
    const PORTS: u16 = 8;
    for (restarts, log) in [("False", "interrupted: 0\n"), ("True", "interrupted: ")] {
        let (home, port) = (home(), free_ports(PORTS));
        let program = format!(
            "
interrupted = 0
def repeat(call):
    global interrupted
    while True:
        try: return call()
        except InterruptedError: interrupted += 1
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, {restarts})
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
sockets = [unbound() for _ in range({PORTS})]
for index, each in enumerate(sockets):
    repeat(lambda: each.bind(('127.0.0.1', port + index)))
    repeat(lambda: each.listen(50))
signal.setitimer(signal.ITIMER_REAL, 0)
print('interrupted:', interrupted, flush=True)
serve(*sockets)
"
        );
        start(&home, "timer", 2, port, &program);
        (0..PORTS).for_each(|index| all_answer(&home, v4(port + index), index.into(), 2));
        home.wait_log("timer-out-0.log", log);
        assert!(!flat(&home, "describe timer").contains("own socket at"));
    }
}

/// Go listens with MPTCP by default.
#[test]
fn port_of_mptcp_is_shared() {
    needs_program!("python3");
    let (home, port) = (home(), free_port());
    let program = "
try: made = socket.socket(proto=262)
except OSError: sys.exit(print('no MPTCP', flush=True))
made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
made.bind(('127.0.0.1', port))
made.listen(50)
serve(made)
";
    start_with(&home, "multi", 2, port, program, r#", "autorestart": false"#);
    home.wait_until("it answers", || answer(v4(port)).is_some() || home.log("multi-out-0.log").contains("no MPTCP"));
    if home.log("multi-out-0.log").contains("no MPTCP") {
        ostler_testkit::skip!("this kernel has no MPTCP");
    }
    all_answer(&home, v4(port), 0, 2);
}
