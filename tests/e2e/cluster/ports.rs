//! Ports and socket files of a cluster: when they are opened, refused and closed.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_testkit::{fixture_app, free_port, get, kill, needs_program, read_line};
use rustix::process::Signal;

use super::{lines_with, start_cluster};
use crate::setup::{ecosystem, home};

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
