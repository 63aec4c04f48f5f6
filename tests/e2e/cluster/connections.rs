//! Every worker gets its share of the connections, and they are served by other workers or later if
//! workers or the daemon die.

use std::collections::BTreeMap;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_testkit::{Load, free_port, get, kill, needs_program, read_line};
use rustix::process::Signal;

use super::{connect, lines_with, lost_with_daemons, spread, start_cluster};
use crate::setup::home;

#[track_caller]
fn assert_even(counts: &BTreeMap<String, usize>, workers: usize) {
    assert!(is_even(counts, workers), "{counts:?}");
}

fn is_even(counts: &BTreeMap<String, usize>, workers: usize) -> bool {
    let (least, most) = (counts.values().min().unwrap_or(&0), counts.values().max().unwrap_or(&0));
    counts.len() == workers && most - least <= 1
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
    assert_even(&spread((0..9).map(|_| get(http, "/").unwrap())), 2);
    assert_even(&spread((0..9).map(|_| connect(tcp).1)), 2);
    assert_even(&spread((0..9).map(|_| read_line(&mut UnixStream::connect(&unix).unwrap()))), 2);
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
    // On a busy machine, a worker may miss its turn.
    home.wait_until("requests are spread evenly", || is_even(&spread((0..8).map(|_| get(port, "/").unwrap())), 2));
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
