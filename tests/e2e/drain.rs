//! Old processes during a drain: which requests they finish, how ostler reports the others, and
//! connections that never end by themselves.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ostler_testkit::{Home, Load, LoadSpec, fixture_app, free_port, get, needs_program};

use crate::setup::home;

/// Answers after `$DELAY_MS`, and logs each request when it arrives.
fn slow_app(home: &Home) -> String {
    let answer = "console.log('asked'); setTimeout(() => response.end('ok'), Number(process.env.DELAY_MS));";
    let server = format!("require('http').createServer((request, response) => {{ {answer} }})");
    home.write("slow.js", format!("{server}.listen(process.env.PORT, () => console.log('listening'));"))
}

/// Counts the requests that its processes have received.
fn asked(home: &Home) -> usize {
    (0..4).map(|id| home.log(&format!("app-out-{id}.log")).matches("asked").count()).sum()
}

/// Starts this many workers of a Node app that answers slowly.
fn start(home: &Home, script: &str, workers: usize, delay_ms: u32, options: &str) -> u16 {
    let port = free_port();
    home.cmd(format!("start {script} --name app -i {workers} {options}"))
        .env("PORT", port.to_string())
        .env("DELAY_MS", delay_ms.to_string())
        .run()
        .ok();
    home.wait_until("all listen", || (0..workers).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    port
}

/// Sends a request; the returned thread reports whether it was answered.
fn ask(port: u16) -> std::thread::JoinHandle<bool> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut client, &mut text);
        text.starts_with("HTTP/1.1 200")
    })
}

#[test]
fn a_request_longer_than_kill_timeout_is_finished() {
    let home = home();
    let port = start(&home, &slow_app(&home), 2, 2000, "--kill-timeout 200");
    for command in ["reload app", "scale app 1", "stop app --drain"] {
        let before = asked(&home);
        let requests: Vec<_> = (0..4).map(|_| ask(port)).collect();
        home.wait_until("they are there", || asked(&home) == before + 4);
        let output = home.ok(command);
        assert!(requests.into_iter().all(|request| request.join().unwrap()), "{command}\n{output}");
        assert!(!output.all().contains("still in flight"), "{output}");
    }
}

#[test]
fn cut_requests_are_reported() {
    let home = home();
    let file = home.write(
        "app.json",
        format!(
            r#"{{"apps": [{{"name": "app", "script": "{}", "instances": 2, "kill_timeout": 200, "drain_timeout": 700}}]}}"#,
            slow_app(&home)
        ),
    );
    let port = free_port();
    home.cmd(format!("start {file}")).env("PORT", port.to_string()).env("DELAY_MS", "600000").run().ok();
    home.wait_until("all listen", || (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    let under_way = |count: usize| {
        let before = asked(&home);
        let requests: Vec<_> = (0..count).map(|_| ask(port)).collect();
        home.wait_until("they are there", || asked(&home) == before + count);
        requests
    };
    let requests = under_way(4);
    let output = home.ok("reload app");
    assert_eq!(output.all().matches("2 requests were still in flight after drain_timeout (700 ms)").count(), 2, "{output}");
    home.ok("rollout status app").says("4 requests were not finished in time");
    assert!(home.ok("rollout status app --json").stdout.contains("\"cut\":4"));
    assert!(requests.into_iter().all(|request| !request.join().unwrap()));
    for command in ["scale app 1", "stop app --drain"] {
        let requests = under_way(2);
        let output = home.ok(command);
        assert!(output.all().contains("still in flight after drain_timeout (700 ms)"), "{command}\n{output}");
        drop(requests);
    }
}

/// Opens an upgraded connection or an event stream, and keeps it open as long as possible. Returns
/// the last message from the server.
fn lasting(port: u16, head: &str, first: &str) -> std::thread::JoinHandle<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    write!(client, "{head}\r\nHost: x\r\n\r\n").unwrap();
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    while !line.contains(first) {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "closed before it began");
    }
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut reader, &mut rest);
        rest
    })
}

#[test]
fn websockets_and_event_streams_do_not_delay_reload() {
    let home = home();
    // Long on purpose: the test fails if the reload waits for it.
    let port = start(&home, &fixture_app("cluster-lasting.js"), 4, 0, "--kill-timeout 100000");
    let clients: Vec<_> = (0..8)
        .flat_map(|_| {
            [
                lasting(port, "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo", "hello"),
                lasting(port, "GET /events HTTP/1.1", "data: hello"),
            ]
        })
        .collect();
    let load = Load::start_all([LoadSpec::to(port), LoadSpec { keep_alive: true, ..LoadSpec::to(port) }]);
    let begun = Instant::now();
    let output = home.ok("reload app");
    let took = begun.elapsed();
    let report = load.stop();
    assert!(report.failed == 0, "{report:#?}");
    assert!(took < Duration::from_secs(40), "the reload waited for connections that never end: {took:?}\n{output}");
    // The app closed each of them itself, because ostler notified it in time.
    for client in clients {
        let rest = client.join().unwrap();
        assert!(rest.contains("bye"), "{rest:?}");
    }
    assert!(get(port, "/").is_ok());
    assert!(!output.all().contains("still in flight"), "{output}");
}

#[test]
fn old_processes_drain_in_parallel() {
    let home = home();
    let port = start(&home, &slow_app(&home), 4, 4000, "");
    let requests: Vec<_> = (0..16).map(|_| ask(port)).collect();
    home.wait_until("they are there", || asked(&home) >= 16);
    let mut reload =
        home.cmd("reload app").command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let draining = || home.run("rollout status app --json").stdout.matches("\"draining\"").count();
    home.wait_until("more than one batch drains", || draining() >= 3);
    assert!(reload.wait().unwrap().success());
    assert!(requests.into_iter().all(|request| request.join().unwrap()));
}

/// A server in another language gets the same time after its stop signal.
#[test]
fn non_node_servers_get_the_drain_timeout() {
    needs_program!("python3");
    let home = home();
    let port = free_port();
    let script = home.write("slow.py", SLOW_PYTHON);
    let file = home.write(
        "app.json",
        format!(r#"{{"apps": [{{"name": "app", "script": "{script}", "instances": 2, "listen": {port}, "kill_timeout": 200, "ready": {{"log": "serving"}}}}]}}"#),
    );
    home.ok(format!("start {file}"));
    for command in ["reload app", "scale app 1"] {
        let before = asked(&home);
        let requests: Vec<_> = (0..4).map(|_| ask(port)).collect();
        home.wait_until("they are there", || asked(&home) == before + 4);
        let output = home.ok(command);
        assert!(requests.into_iter().all(|request| request.join().unwrap()), "{command}\n{output}");
    }
}

/// A threaded server that finishes its requests after the stop signal.
const SLOW_PYTHON: &str = r#"
import signal, socket, sys, threading, time
server = socket.socket(fileno=3)
def answer(client):
    client.recv(1000)
    print("asked", flush=True)
    time.sleep(2)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    client.close()
def end(number, frame):
    server.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("serving", flush=True)
while True:
    client, _ = server.accept()
    threading.Thread(target=answer, args=(client,)).start()
"#;

/// A worker closes a keep-alive connection when it is old, not earlier, and never without a
/// response.
#[test]
fn worker_closes_connection_at_max_age() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let script =
        home.write("server.js", "require('http').createServer((request, response) => response.end('ok')).listen(process.env.PORT)");
    let file = home.write(
        "app.json",
        format!(r#"{{"apps": [{{"name": "app", "script": "{script}", "instances": 2, "max_connection_age": "1s", "env": {{"PORT": {port}}}}}]}}"#),
    );
    home.ok(format!("start {file}"));
    home.wait_until("it answers", || get(port, "/").is_ok());
    let mut client = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut heads = Vec::new();
    home.wait_until("a response says close", || {
        client.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(client.read_line(&mut head).unwrap() > 0, "closed without an answer after {} requests", heads.len());
        }
        std::io::Read::read_exact(&mut client, &mut [0; 2]).unwrap();
        heads.push(head);
        heads.last().is_some_and(|head| head.contains("Connection: close"))
    });
    assert!(heads.len() > 1 && heads[0].contains("Connection: keep-alive"), "{heads:?}");
    let end = client.read_line(&mut String::new());
    assert!(matches!(end, Ok(0)), "{end:?}");
}
