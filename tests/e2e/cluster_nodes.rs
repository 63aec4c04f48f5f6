//! Every kind of Node server, unmodified, in every version of Node and with every scheduling.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_testkit::{Home, LoadReport, Node, ScriptLoad, cache_dir, fixture_app, free_port, get, kill, nodes, program, read_line};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

/// A cluster of two with this version of Node; `ready` is the line that each worker prints when it
/// listens.
struct Cluster {
    home: Home,
    port: u16,
    what: String,
}

impl Cluster {
    #[track_caller]
    fn start(node: &Node, app: &str, members: &str, env: &str, ready: &str) -> Self {
        let (home, port) = (home(), free_port());
        let comma = if members.is_empty() { "" } else { ", " };
        let env = if env.is_empty() { String::new() } else { format!(", {env}") };
        let file = ecosystem(
            &home,
            &format!(
                r#""name": "c", "script": "{}", "instances": 2, "exec_mode": "cluster", "interpreter": "{}", "env": {{"PORT": "{port}"{env}}}{comma}{members}"#,
                fixture_app(app),
                node.path.display()
            ),
        );
        home.ok(format!("start {file}"));
        let cluster = Self { home, port, what: format!("{app} in {node} {members}") };
        cluster.home.wait_until(&format!("{} listens", cluster.what), || ready.is_empty() || cluster.lines_with(ready) >= 2);
        cluster
    }

    /// Counts both workers' lines with this text.
    fn lines_with(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    fn lines(&self) -> Vec<String> {
        (0..2).flat_map(|id| self.home.log(&format!("c-out-{id}.log")).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Sends requests until both workers have answered.
    #[track_caller]
    fn both_answer(&self, mut ask: impl FnMut() -> String) {
        let mut seen = BTreeSet::new();
        self.home.wait_until(&format!("both workers answer: {}", self.what), || {
            seen.insert(ask());
            seen.len() >= 2
        });
        assert_eq!(seen, self.home.pid_texts().into_iter().collect(), "{}", self.what);
    }

    /// Runs Node clients for a while. No request may fail, and both workers must answer.
    #[track_caller]
    fn clients(&self, protocol: &str) -> LoadReport {
        let node = program("node").expect("the caller needs it");
        let words = [node.to_string_lossy().into_owned(), fixture_app("cluster-client.js"), protocol.into(), self.port.to_string()];
        let load = ScriptLoad::start(words.as_slice());
        self.home.wait_until("requests are over", || load.requests() > 100);
        let report = load.stop();
        report.assert_whole();
        report
    }
}

const LISTENING: &str = "listening";

#[test]
fn http_works_with_every_scheduling_and_after_crash() {
    for node in nodes() {
        for scheduling in ["round_robin", "reuseport", "shared"] {
            let cluster = Cluster::start(&node, "cluster-naive.js", &format!(r#""scheduling": "{scheduling}""#), "", LISTENING);
            cluster.both_answer(|| get(cluster.port, "/").unwrap());
            // After a worker has died, the other worker serves its waiting connections and new
            // ones.
            let victim = cluster.home.jlist()[0].pid();
            kill(victim, Signal::STOP);
            let mut waiting: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(("127.0.0.1", cluster.port)).unwrap()).collect();
            kill(victim, Signal::KILL);
            for stream in &mut waiting {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                assert!(read_line(stream).contains("200"), "{}", cluster.what);
            }
        }
    }
}

#[test]
fn es_modules_are_workers() {
    for node in nodes() {
        let cluster = Cluster::start(&node, "cluster-esm.mjs", "", "", LISTENING);
        cluster.both_answer(|| get(cluster.port, "/").unwrap());
        assert_eq!(cluster.lines_with("true true"), 2, "{}", cluster.what);
    }
}

#[test]
fn https_and_http2_are_shared() {
    ostler_testkit::needs_program!("node");
    for node in nodes() {
        for (app, env, protocol) in
            [("cluster-https.js", "", "https"), ("cluster-http2.js", "", "http2"), ("cluster-http2.js", r#""TLS": "1""#, "http2s")]
        {
            let cluster = Cluster::start(&node, app, "", env, LISTENING);
            let report = cluster.clients(protocol);
            assert!(report.by_body.keys().all(|pid| cluster.home.pid_texts().contains(pid)), "{}: {report:?}", cluster.what);
        }
    }
}

#[test]
fn tcp_upgrades_and_datagrams_are_shared() {
    for node in nodes() {
        let cluster = Cluster::start(&node, "cluster-tcp.js", "", "", LISTENING);
        cluster.both_answer(|| read_line(TcpStream::connect(("127.0.0.1", cluster.port)).unwrap()));

        let cluster = Cluster::start(&node, "cluster-upgrade.js", "", "", LISTENING);
        cluster.both_answer(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", cluster.port)).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap).skip_while(|line| !line.is_empty());
            lines.next();
            let pid = lines.next().unwrap();
            writeln!(stream, "hello").unwrap();
            assert_eq!(lines.next().unwrap(), "hello");
            pid
        });

        let cluster = Cluster::start(&node, "cluster-udp.js", "", "", LISTENING);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(b"?", ("127.0.0.1", cluster.port)).unwrap();
        let mut answer = [0; 32];
        let len = socket.recv(&mut answer).unwrap();
        assert!(cluster.home.pid_texts().contains(&String::from_utf8_lossy(&answer[..len]).into_owned()), "{}", cluster.what);
    }
}

#[test]
fn unix_sockets_and_several_servers_are_shared() {
    for node in nodes() {
        let cluster = Cluster::start(&node, "cluster-unix.js", "", r#""SOCKET": "relative.sock""#, LISTENING);
        let ask = |path: &std::path::Path| {
            let mut stream = UnixStream::connect(path).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let body = answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
            body.lines().find(|line| line.len() > 2).unwrap_or(&body).to_owned()
        };
        let path = cluster.home.work().join("relative.sock");
        cluster.both_answer(|| ask(&path));

        let second = free_port();
        let home = home();
        let socket = home.work().join("third");
        let cluster =
            Cluster::start(&node, "cluster-several.js", "", &format!(r#""PORT2": "{second}", "SOCKET": "{}""#, socket.display()), "");
        let at = |text: &str, name: &str| text.strip_prefix(name).unwrap_or_else(|| panic!("{text:?}")).trim().to_owned();
        cluster.home.wait_until("all listen", || UnixStream::connect(&socket).is_ok_and(|stream| !read_line(stream).is_empty()));
        cluster.both_answer(|| at(&get(cluster.port, "/").unwrap(), "first"));
        cluster.both_answer(|| at(&get(second, "/").unwrap(), "second"));
        cluster.both_answer(|| at(&read_line(UnixStream::connect(&socket).unwrap()), "third"));
    }
}

#[test]
fn workers_agree_on_kernel_chosen_ports() {
    for node in nodes() {
        for scheduling in ["round_robin", "reuseport", "shared"] {
            let cluster = Cluster::start(&node, "cluster-any-port.js", &format!(r#""scheduling": "{scheduling}""#), "", "ports");
            let said: BTreeSet<String> = cluster.lines().into_iter().collect();
            let ports: Vec<u16> = said.first().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
            assert!(said.len() == 1 && ports.len() == 2 && ports[0] != ports[1], "{}: {said:?}", cluster.what);
            for port in ports {
                cluster.both_answer(|| get(port, "/").unwrap());
            }
        }
    }
}

#[test]
fn exclusive_servers_conflict_and_reuseport_servers_share() {
    for node in nodes() {
        let cluster = Cluster::start(&node, "cluster-exclusive.js", r#""autorestart": false"#, "", "");
        cluster.home.wait_until("one has it and the other was told", || {
            cluster.lines_with(LISTENING) == 1 && cluster.lines_with("EADDRINUSE") == 1
        });
        let cluster = Cluster::start(&node, "cluster-reuseport.js", "", "", LISTENING);
        cluster.both_answer(|| get(cluster.port, "/").unwrap());
    }
}

#[test]
fn worker_listens_on_app_socket_by_number() {
    for node in nodes() {
        let home = home();
        let script = home.write("fd.js", "require('http').createServer((q, r) => r.end(String(process.pid))).on('error', e => console.log(e.code)).listen({fd: 3}, () => console.log('listening'));");
        let port = free_port();
        let file = ecosystem(
            &home,
            &format!(
                r#""name": "c", "script": "{script}", "instances": 2, "exec_mode": "cluster", "interpreter": "{}", "listen": [{port}]"#,
                node.path.display()
            ),
        );
        home.ok(format!("start {file}"));
        let cluster = Cluster { home, port, what: format!("a descriptor in {node}") };
        cluster.home.wait_until("both listen", || cluster.lines_with(LISTENING) == 2);
        cluster.both_answer(|| get(port, "/").unwrap());
    }
}

#[test]
fn deno_workers_share_a_port_with_every_scheduling() {
    let bin = cache_dir().unwrap_or_default().join("node_modules/.bin");
    let Some(deno) = program("deno").or_else(|| Some(bin.join("deno")).filter(|path| path.exists())) else { return };
    // The worker would take a socket and never accept from it.
    for scheduling in ["round_robin", "shared", "reuseport"] {
        let home = home();
        let port = free_port();
        let script = home.write("d.mjs", format!("import http from 'node:http'; import process from 'node:process'; http.createServer((q, r) => r.end(String(process.pid))).listen({port}, '127.0.0.1', () => console.log('listening'));"));
        let file = ecosystem(
            &home,
            &format!(
                r#""name": "c", "script": "{script}", "instances": 2, "exec_mode": "cluster", "interpreter": "{}", "interpreter_args": "run -A", "scheduling": "{scheduling}""#,
                deno.display()
            ),
        );
        home.ok(format!("start {file}"));
        let cluster = Cluster { home, port, what: format!("deno, {scheduling}") };
        cluster.home.wait_until("both listen", || cluster.lines_with(LISTENING) == 2);
        cluster.both_answer(|| get(port, "/").unwrap());
    }
}
