//! Cluster mode: unmodified Node apps share their ports, and each connection is served when workers
//! or the daemon die.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_testkit::{Home, Load, fixture_app, free_port, get, kill, needs_program, needs_root, read_line};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

/// Starts `cluster.js` with these variables and waits until each worker has reported this many
/// times that it listens.
#[track_caller]
fn start_cluster(home: &Home, workers: usize, env: &[(&str, &str)]) {
    let mut start = home.cmd(format!("start {} --name c -i {workers}", fixture_app("cluster.js")));
    for (name, value) in env {
        start = start.env(name, value);
    }
    start.run().ok();
    let servers = env.iter().filter(|(name, _)| ["PORT", "TCP", "UNIX", "UDP"].contains(name)).count();
    home.wait_until("all workers listen", || lines_with(home, " on ") >= workers * servers);
}

/// Counts the workers' lines with this text.
fn lines_with(home: &Home, text: &str) -> usize {
    (0..20).map(|id| home.log(&format!("c-out-{id}.log")).lines().filter(|line| line.contains(text)).count()).sum()
}

/// Connects and reads the pid of the worker that answers; the connection stays open.
#[track_caller]
fn connect(port: u16) -> (TcpStream, String) {
    let mut stream = ostler_testkit::connect(port);
    let pid = read_line(&mut stream);
    (stream, pid)
}

#[track_caller]
fn spread(pids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    pids.into_iter().for_each(|pid| *counts.entry(pid).or_default() += 1);
    counts
}

#[track_caller]
fn is_even(counts: &BTreeMap<String, usize>, workers: usize) {
    let (least, most) = (counts.values().min().unwrap_or(&0), counts.values().max().unwrap_or(&0));
    assert!(counts.len() == workers && most - least <= 1, "{counts:?}");
}

#[test]
fn workers_share_every_kind_of_server() {
    needs_program!("node");
    let home = home();
    let (http, tcp, udp) = (free_port(), free_port(), free_port());
    let unix = home.work().join("u.sock");
    start_cluster(
        &home,
        2,
        &[("PORT", &http.to_string()), ("TCP", &tcp.to_string()), ("UDP", &udp.to_string()), ("UNIX", unix.to_str().unwrap())],
    );
    is_even(&spread((0..9).map(|_| get(http, "/").unwrap())), 2);
    is_even(&spread((0..9).map(|_| connect(tcp).1)), 2);
    is_even(&spread((0..9).map(|_| read_line(&mut UnixStream::connect(&unix).unwrap()))), 2);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 64];
    socket.send_to(b"hello", ("127.0.0.1", udp)).unwrap();
    let len = socket.recv(&mut buffer).unwrap();
    assert!(home.pid_texts().contains(&String::from_utf8_lossy(&buffer[..len]).trim().to_owned()));
    // All addresses of both families.
    assert!(TcpStream::connect(("::1", http)).is_ok() && TcpStream::connect(("127.0.0.1", http)).is_ok());
    home.ok("stop c");
    assert!(!unix.exists() && TcpStream::connect(("127.0.0.1", tcp)).is_err());
}

#[test]
fn a_burst_beyond_the_window_is_spread_evenly() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_cluster(&home, 3, &[("TCP", &port.to_string())]);
    // All at once, and all stay open. On a busy machine a worker may not run for a while and miss
    // its turn, so the test waits for one even burst.
    home.wait_until("a burst is spread evenly", || {
        let mut streams: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let counts = spread(streams.iter_mut().map(read_line));
        eprintln!("{counts:?}");
        counts.len() == 3 && counts.values().max().unwrap() - counts.values().min().unwrap() <= 1
    });
}

#[test]
fn killed_daemon_loses_no_request() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_cluster(&home, 2, &[("PORT", &port.to_string())]);
    let before = home.pid_texts();
    let load = Load::mixed(port, 4);
    for _ in 0..10 {
        let good = load.good();
        home.kill_daemon();
        home.wait_until("requests are answered", || load.good() > good + 50);
    }
    load.stop().assert_at_most(lost_with_daemons("round_robin"));
    assert_eq!(home.pid_texts(), before);
    is_even(&spread((0..8).map(|_| get(port, "/").unwrap())), 2);
}

#[test]
fn connections_of_killed_worker_move_to_another() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_cluster(&home, 2, &[("TCP", &port.to_string())]);
    let victim = home.jlist()[0].pid();
    // The worker no longer reads its channel: connections handed to it are still in the channel
    // when it dies.
    kill(victim, Signal::STOP);
    let streams: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let other = home.jlist()[1].pid().to_string();
    // Only the connections that are on their way to this worker wait for it.
    let is_served = |stream: &mut TcpStream, limit_ms| {
        stream.set_read_timeout(Some(Duration::from_millis(limit_ms))).unwrap();
        read_line(stream) == other
    };
    let mut left: Vec<TcpStream> = streams.into_iter().filter_map(|mut stream| (!is_served(&mut stream, 300)).then_some(stream)).collect();
    assert!(!left.is_empty() && left.len() <= 16, "{} of 40 wait", left.len());
    kill(victim, Signal::KILL);
    for stream in &mut left {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!read_line(stream).is_empty());
    }
}

#[test]
fn connections_wait_while_all_workers_crash() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_cluster(&home, 2, &[("PORT", &port.to_string())]);
    for _ in 0..5 {
        let before = home.pid_texts();
        before.iter().for_each(|pid| kill(pid.parse().unwrap(), Signal::KILL));
        let answer = get(port, "/").unwrap();
        assert!(!before.contains(&answer), "{answer} is dead");
        home.wait_until("both are back", || {
            home.jlist().iter().all(|item| item.status() == "online" && !before.contains(&item.pid().to_string()))
        });
    }
}

#[test]
fn connections_wait_while_all_workers_are_full() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_cluster(&home, 2, &[("TCP", &port.to_string()), ("MAX", "2")]);
    let served: Vec<TcpStream> = (0..4).map(|_| connect(port).0).collect();
    let mut waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    waiting[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(read_line(&mut waiting[0]).is_empty());
    drop(served);
    for stream in &mut waiting {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!read_line(stream).is_empty());
    }
}

#[test]
fn app_gets_eaddrinuse_for_a_taken_port() {
    needs_program!("node");
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.cmd(format!("start {} --name c -i 2", fixture_app("cluster.js"))).env("TCP", &port).run().ok();
    home.wait_until("both are reported", || lines_with(&home, "tcp error EADDRINUSE") >= 2);
}

#[test]
fn app_gets_eaddrnotavail_for_a_foreign_address() {
    needs_program!("node");
    let home = home();
    // An address reserved for documentation: no machine has it.
    let env = [("PORT", free_port().to_string()), ("HOST", "192.0.2.1".to_owned())];
    let start = home.cmd(format!("start {} --name c -i 2", fixture_app("cluster.js")));
    env.iter().fold(start, |start, (name, value)| start.env(name, value)).run().ok();
    home.wait_until("both are reported", || lines_with(&home, "http error EADDRNOTAVAIL") >= 2);
}

#[test]
fn app_gets_eacces_for_a_privileged_port() {
    use std::os::unix::fs::PermissionsExt;
    needs_program!("node");
    ostler_testkit::needs_root!();
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|first| first <= 82) {
        ostler_testkit::skip!("every port is free to everybody here");
    }
    let home = home();
    for folder in [home.root().to_owned(), home.work()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = home.write(
        "low.js",
        "require('net').createServer().on('error', (error) => console.log('told', error.code)).listen(82); setInterval(() => {}, 1 << 30);",
    );
    home.cmd(format!("start {script} --name c -i 2")).uid(65_534).run().ok();
    home.wait_until("both are reported", || lines_with(&home, "told EACCES") >= 2);
}

#[test]
fn stale_socket_file_is_replaced_and_long_path_works() {
    needs_program!("node");
    let home = home();
    let folder = home.work().join("x".repeat(120));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("s");
    start_cluster(&home, 2, &[("UNIX", path.to_str().unwrap())]);
    let connect = || {
        let folder = rustix::fs::open(&folder, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let short = format!("/proc/self/fd/{}/s", std::os::fd::AsRawFd::as_raw_fd(&folder));
        UnixStream::connect(short).map(|mut stream| read_line(&mut stream))
    };
    assert!(home.pid_texts().contains(&connect().unwrap()));
    home.write("other.sh", "#!/bin/sh\nexec sleep 1000\n");
    // All processes die without notice: the socket file stays.
    home.kill_everything();
    assert!(path.exists());
    // The next daemon starts the apps that ran.
    home.ok("start other.sh");
    home.wait_until("it serves again", || connect().is_ok_and(|pid| home.pid_texts().contains(&pid)));
}

#[test]
fn closed_server_closes_port_but_dead_worker_does_not() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.write("closes.js", format!("const s = require('net').createServer(c => c.end()).listen({port}, '127.0.0.1', () => console.log('c on'));\nprocess.on('SIGUSR2', () => s.close(() => console.log('closed')));\nsetInterval(() => {{}}, 1000);"));
    home.ok("start closes.js --name c -i 2");
    home.wait_until("both listen", || lines_with(&home, "c on") == 2);
    for pid in home.pid_texts() {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        kill(pid.parse().unwrap(), Signal::USR2);
        home.wait_until("it closed", || lines_with(&home, "closed") > 0);
    }
    home.wait_until("the port is closed", || TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Returns true if nothing listens. (A full queue does not refuse: then a connection fails in
/// another way.)
fn is_refused(port: u16) -> bool {
    let connected = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1));
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn restart_closes_port_unused_by_new_release() {
    needs_program!("node");
    let home = home();
    let (old, new) = (free_port(), free_port());
    start_cluster(&home, 2, &[("PORT", &old.to_string())]);
    home.cmd("restart c --update-env").env("PORT", new.to_string()).run().ok();
    home.wait_until("they listen elsewhere", || get(new, "/").is_ok() && lines_with(&home, " on ") == 4);
    home.kill_daemon();
    home.wait_until("the old port is closed", || is_refused(old));
    assert!(get(new, "/").is_ok());
}

/// In a reload the new process listens before the old process closes its port.
#[test]
fn reload_closes_port_unused_by_new_release() {
    needs_program!("node");
    let home = home();
    let (old, new) = (free_port(), free_port());
    start_cluster(&home, 2, &[("PORT", &old.to_string())]);
    home.cmd("reload c --update-env").env("PORT", new.to_string()).run().ok();
    home.wait_until("the old port is closed", || is_refused(old));
    assert!(get(new, "/").is_ok());
}

#[test]
fn worker_looks_like_a_node_worker() {
    needs_program!("node");
    let home = home();
    home.write(
        "report.js",
        "const c = require('cluster');\nrequire('http').createServer(() => {}).listen(0, '127.0.0.1', function () { console.log('c on', JSON.stringify({\
         argv: process.argv.slice(2), main: require.main === module, title: process.title, worker: c.isWorker, id: c.worker.id, \
         port: this.address().port, env: Object.keys(process.env).filter(n => /NODE_(UNIQUE|CHANNEL)/.test(n))})); });",
    );
    home.ok("start report.js --name c -i 2 -- --flag value");
    home.wait_until("both listen", || lines_with(&home, "c on") == 2);
    let reports: Vec<serde_json::Value> =
        (0..2).map(|id| serde_json::from_str(home.log(&format!("c-out-{id}.log")).trim().trim_start_matches("c on")).unwrap()).collect();
    for report in &reports {
        assert_eq!(report["argv"], serde_json::json!(["--flag", "value"]));
        assert_eq!((&report["main"], &report["worker"], &report["env"]), (&true.into(), &true.into(), &serde_json::json!([])));
        assert!(report["title"].as_str().unwrap().ends_with("node"));
    }
    assert_eq!(reports[0]["port"], reports[1]["port"]);
    assert_ne!(reports[0]["id"], reports[1]["id"]);
}

/// Starts `cluster.js` from a file with these additional members.
#[track_caller]
fn start_with(home: &Home, workers: usize, members: &str, env: &str, servers: usize) {
    let file = ecosystem(
        home,
        &format!(
            r#""name": "c", "script": "{}", "instances": {workers}, "exec_mode": "cluster", "env": {{{env}}}, {members}"#,
            fixture_app("cluster.js")
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_until("all workers listen", || lines_with(home, " on ") >= workers * servers);
}

/// Runs an action under load. This many requests may fail.
#[track_caller]
fn with_load(home: &Home, port: u16, failed: u64, mut what: impl FnMut()) {
    let load = Load::mixed(port, 4);
    home.wait_requests(&load, 100);
    what();
    home.wait_requests(&load, 100);
    load.stop().assert_at_most(failed);
}

/// Returns how many requests may fail when daemons are killed. In round robin, for some
/// microseconds between `accept` and the worker, only the daemon holds a connection
/// (docs/cluster.md). Of ten kills hardly one hits that time.
fn lost_with_daemons(scheduling: &str) -> u64 {
    u64::from(scheduling == "round_robin")
}

/// Answers with its color; on SIGTERM or SIGINT it finishes its requests.
const COLORED: &str = r#"
const http = require('http');
const server = http.createServer((request, response) => { response.setHeader('Connection', 'close'); response.end(process.env.COLOR); });
server.listen(Number(process.env.PORT), () => console.log('listens'));
process.on('SIGINT', () => server.close(() => process.exit()));
"#;

/// Starts an app of this color with two workers at this port.
fn start_colored(home: &Home, color: &str, port: u16, more: &str) {
    let script = home.write("colored.js", COLORED);
    let file = home.write(
        &format!("{color}.json"),
        format!(
            r#"{{"apps": [{{"name": "{color}", "script": "{script}", "instances": 2, "exec_mode": "cluster",
            "env": {{"PORT": {port}, "COLOR": "{color}"}}{more}}}]}}"#
        ),
    );
    home.ok(format!("start {file}"));
}

fn colors(port: u16) -> BTreeMap<String, usize> {
    spread((0..40).map(|_| get(port, "/").unwrap()))
}

/// Waits until exactly these colors serve.
#[track_caller]
fn wait_colors(home: &Home, port: u16, expected: &[&str]) {
    home.wait_until(&format!("{expected:?} serve"), || {
        get(port, "/").is_ok() && colors(port).keys().map(String::as_str).eq(expected.iter().copied())
    });
}

#[test]
fn two_apps_share_a_port_and_either_can_be_deleted() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_colored(&home, "blue", port, "");
    start_colored(&home, "green", port, "");
    let listens = |color: &str| (0..4).map(|id| home.log(&format!("{color}-out-{id}.log")).matches("listens").count()).sum::<usize>();
    home.wait_until("all listen", || listens("blue") + listens("green") == 4);
    let seen = colors(port);
    assert!(seen["blue"] == 20 && seen["green"] == 20, "{seen:?}");
    // The next daemon also spreads connections over both apps.
    home.kill_daemon();
    let seen = colors(port);
    assert!(seen["blue"] > 10 && seen["green"] > 10, "{seen:?}");
    // The app that opened the listener is deleted: no request fails, not even with another daemon.
    let load = Load::mixed(port, 4);
    home.wait_requests(&load, 100);
    home.ok("delete blue");
    home.kill_daemon();
    home.wait_requests(&load, 100);
    load.stop().assert_at_most(lost_with_daemons("round_robin"));
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["green"]);
    // The app is started again, and the other is deleted.
    start_colored(&home, "blue", port, "");
    wait_colors(&home, port, &["blue", "green"]);
    home.ok("delete green");
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["blue"]);
    home.ok("delete blue");
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok(), "the port is closed with the last of them");
}

#[test]
fn apps_with_other_scheduling_share_a_port() {
    needs_program!("node");
    for scheduling in ["reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_colored(&home, "blue", port, "");
        start_colored(&home, "green", port, &format!(r#", "scheduling": "{scheduling}""#));
        wait_colors(&home, port, &["blue", "green"]);
        home.ok("delete blue");
        wait_colors(&home, port, &["green"]);
        assert_eq!(home.jlist().iter().map(|app| app.restarts()).sum::<u64>(), 0);
    }
}

#[test]
fn apps_of_different_users_do_not_share_a_port() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_colored(&home, "blue", port, "");
    home.wait_until("it serves", || get(port, "/").is_ok());
    let more = r#", "uid": "nobody", "autorestart": false"#;
    let script = home.write("colored.js", COLORED);
    let file = home.write(
        "green.json",
        format!(r#"{{"apps": [{{"name": "green", "script": "{script}", "exec_mode": "cluster", "env": {{"PORT": {port}, "COLOR": "green"}}{more}}}]}}"#),
    );
    home.run(format!("start {file}"));
    home.wait_until("it finds the address in use", || {
        let log = home.log("green-error.log") + &home.log("green-error-2.log");
        log.contains("EADDRINUSE")
    });
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["blue"]);
}

#[test]
fn every_scheduling_survives_killed_daemon_and_worker() {
    needs_program!("node");
    for scheduling in ["round_robin", "reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_with(&home, 3, &format!(r#""scheduling": "{scheduling}""#), &format!(r#""PORT": {port}"#), 1);
        let before = home.pid_texts();
        with_load(&home, port, lost_with_daemons(scheduling), || (0..5).for_each(|_| home.kill_daemon()));
        assert_eq!(home.pid_texts(), before, "{scheduling}");
        let mut seen = std::collections::BTreeSet::new();
        home.wait_until("each worker answers", || {
            seen.insert(get(port, "/").unwrap());
            seen.len() == 3
        });
        // The other workers serve connections that wait in the dead worker's queue, and new ones.
        // The dead worker's own requests would be lost, but it has none.
        kill(home.jlist()[1].pid(), Signal::KILL);
        for _ in 0..50 {
            get(port, "/").unwrap_or_else(|error| panic!("{scheduling}: {error}"));
        }
    }
}

#[test]
fn every_scheduling_survives_update_and_killed_keeper() {
    needs_program!("node");
    for scheduling in ["round_robin", "reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_with(&home, 2, &format!(r#""scheduling": "{scheduling}""#), &format!(r#""PORT": {port}"#), 1);
        let before = home.pid_texts();
        with_load(&home, port, 0, || {
            home.ok("update");
        });
        with_load(&home, port, lost_with_daemons(scheduling), || {
            let keeper = home.keeper_pid();
            kill(keeper, Signal::KILL);
            home.wait_until("another keeper runs", || home.keeper_pid() != keeper);
            home.kill_daemon();
        });
        assert_eq!(home.pid_texts(), before, "{scheduling}");
    }
}

#[test]
fn queue_of_stopped_worker_loses_no_connection() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""scheduling": "reuseport""#, &format!(r#""TCP": {port}"#), 1);
    let victim = home.jlist()[1].pid();
    kill(victim, Signal::STOP);
    // About a third of the connections wait in its queue.
    let mut streams: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    kill(victim, Signal::KILL);
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!read_line(stream).is_empty());
    }
    home.wait_until("it is back", || lines_with(&home, " on ") >= 4);
    home.ok("scale c 2");
    // The daemon is stopped, because it would pass on connections of the third queue.
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    let counts = spread((0..60).map(|_| connect(port).1));
    kill(daemon, Signal::CONT);
    assert_eq!(counts.len(), 2, "{counts:?}");
    home.ok("scale c 4");
    home.wait_until("they listen", || lines_with(&home, " on ") >= 6);
    let counts = spread((0..100).map(|_| connect(port).1));
    assert_eq!(counts.len(), 4, "{counts:?}");
}

#[test]
fn foreign_reuseport_port_is_not_joined() {
    needs_program!("node");
    let home = home();
    let taken = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseport(&taken, true).unwrap();
    rustix::net::bind(&taken, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&taken, 1).unwrap();
    let port = std::net::SocketAddr::try_from(rustix::net::getsockname(&taken).unwrap()).unwrap().port();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "c", "script": "{}", "instances": 2, "exec_mode": "cluster", "env": {{"TCP": {port}}}, "scheduling": "reuseport""#,
            fixture_app("cluster.js")
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_until("both are reported", || lines_with(&home, "tcp error EADDRINUSE") >= 2);
}

/// Sends a request from this address with this cookie; returns the pid that answered.
#[track_caller]
fn ask(from: [u8; 4], port: u16, cookie: &str) -> String {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: a=b; {cookie}\r\n") };
    // In two parts: the first part does not identify the client yet.
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    write!(stream, "{cookie}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().lines().find(|line| line.len() > 2).unwrap_or_default().to_owned()
}

#[test]
fn sticky_client_stays_with_worker_by_address() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""sticky": true"#, &format!(r#""PORT": {port}"#), 1);
    let homes: Vec<String> = (1..30).map(|host| ask([127, 0, 0, host], port, "")).collect();
    assert_eq!(spread(homes.clone()).len(), 3, "{homes:?}");
    assert_eq!(homes, (1..30).map(|host| ask([127, 0, 0, host], port, "")).collect::<Vec<_>>());
    // Clients of other workers stay with them. The dead worker's clients return to the same
    // instance number later.
    let (dead, number) = (home.jlist()[1].pid().to_string(), 1);
    home.ok(format!("stop {number}"));
    for (host, before) in (1..30).zip(&homes) {
        let now = ask([127, 0, 0, host], port, "");
        assert!(if *before == dead { now != dead } else { now == *before }, "{host}: {before} became {now}");
    }
    home.ok(format!("restart {number}"));
    home.wait_until("it listens", || lines_with(&home, " on ") >= 4);
    let reborn = home.jlist()[1].pid().to_string();
    for (host, before) in (1..30).zip(&homes) {
        assert_eq!(ask([127, 0, 0, host], port, ""), if *before == dead { reborn.clone() } else { before.clone() });
    }
}

/// Keeps the sessions of its polling clients in memory, as socket.io does: `/` opens a session,
/// `/<sid>` continues it, other paths get 400.
const POLLED: &str = "
const sessions = new Set();
require('http').createServer((request, response) => {
  const sid = request.url.slice(1);
  response.statusCode = sid === '' || sessions.has(sid) ? 200 : 400;
  const answer = sid || `${process.pid}-${sessions.size}`;
  sessions.add(answer);
  response.end(answer);
}).listen(process.env.AT, () => console.log('listens'));
";

/// Sends a request on a connection of its own, as nginx does for a client. Returns the status and
/// the body.
fn polled(mut stream: impl Read + Write, sid: &str, header: &str) -> (String, String) {
    write!(stream, "GET /{sid} HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = body.lines().find(|line| line.contains('-')).unwrap_or_default();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// All clients come from one address, that of the proxy. The proxy names the client in a header.
#[test]
fn sticky_clients_behind_a_proxy_are_spread() {
    needs_program!("node");
    for sticky in ["true", "\"cookie\""] {
        let home = home();
        let port = free_port();
        let path = home.root().join("app.sock");
        let script = home.write("polled.js", POLLED);
        let app = |name: &str, at: &str| {
            format!(
                r#"{{"name": "{name}", "script": "{script}", "instances": 3, "exec_mode": "cluster", "sticky": {sticky}, "env": {{"AT": "{at}"}}}}"#
            )
        };
        let apps = [app("tcp", &port.to_string()), app("unix", path.to_str().unwrap())].join(", ");
        let file = home.write("apps.json", format!(r#"{{"apps": [{apps}]}}"#));
        home.ok(format!("start {file}"));
        let listens = |name: &str| {
            (0..3).all(|index| {
                home.log(&format!("{name}-out-{}.log", home.jlist().iter().filter(|app| app.name() == name).nth(index).unwrap().id()))
                    .contains("listens")
            })
        };
        home.wait_until("all listen", || listens("tcp") && listens("unix"));
        for is_unix in [false, true] {
            let ask = |sid: &str, header: &str| {
                if is_unix {
                    polled(std::os::unix::net::UnixStream::connect(&path).unwrap(), sid, header)
                } else {
                    polled(TcpStream::connect(("127.0.0.1", port)).unwrap(), sid, header)
                }
            };
            let headers = (1..=30).map(|host| match host % 3 {
                0 => format!("X-Forwarded-For: 203.0.113.{host}, 10.0.0.1"),
                1 => format!("X-Real-IP: 203.0.113.{host}"),
                _ => format!("Forwarded: for=\"[2001:db8::{host}]\""),
            });
            let sessions: Vec<(String, String)> = headers.map(|header| (ask("", &header).1, header)).collect();
            let workers = spread(sessions.iter().map(|(sid, _)| sid.split('-').next().unwrap().to_owned()));
            assert_eq!(workers.len(), 3, "{sticky}, unix {is_unix}: {workers:?}");
            for (sid, header) in sessions.iter().chain(sessions.iter().rev()) {
                assert_eq!(ask(sid, header), ("200".into(), sid.clone()), "{sticky}, unix {is_unix}: {header}");
            }
        }
    }
}

#[test]
fn sticky_client_stays_with_worker_by_cookie() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""sticky": {"cookie": "who"}"#, &format!(r#""PORT": {port}"#), 1);
    let pids = home.pid_texts();
    // These connections send nothing and must not delay any other client.
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for round in 0..3 {
        for (number, pid) in pids.iter().enumerate() {
            assert_eq!(ask([127, 0, 0, round + 1], port, &format!("who={number}")), *pid);
        }
    }
    // The cookie names an unknown worker, or there is no cookie: requests are spread in turn, also
    // from one address (a proxy's).
    for cookie in ["", "who=77"] {
        let spread = spread((0..30).map(|_| ask([127, 0, 0, 9], port, cookie)));
        assert!(spread.len() == 3 && spread.values().all(|count| (9..12).contains(count)), "{cookie}: {spread:?}");
    }
    drop(silent);
    with_load(&home, port, 0, || {});
}
