//! Misbehaving cluster workers, and a system without free resources: only the workers at fault are
//! affected.

use std::net::TcpStream;
use std::time::Duration;

use ostler_testkit::{Home, Load, fixture_app, free_port, get, needs_program, read_line};

use crate::setup::{ecosystem, home};

/// Counts the daemon's open descriptors.
fn descriptors(home: &Home) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", home.daemon_pid())).unwrap().count()
}

/// Starts a well-behaved cluster of two on this port.
#[track_caller]
fn start_good(home: &Home, port: u16) {
    home.cmd(format!("start {} --name good -i 2", fixture_app("cluster.js"))).env("PORT", port.to_string()).run().ok();
    home.wait_until("it answers", || get(port, "/").is_ok());
}

/// Starts a worker that writes the output of this JavaScript to its channel; `put(text)` writes
/// text unchanged.
#[track_caller]
fn start_bad(home: &Home, name: &str, script: &str) {
    let put = "const fs = require('fs');\n\
               const put = (text) => { for (let bytes = Buffer.from(text); bytes.length;) { try { bytes = bytes.subarray(fs.writeSync(3, bytes)); } \
               catch (error) { if (error.code !== 'EAGAIN') throw error; } } };\n";
    home.write(&format!("{name}.js"), format!("{put}{script}\nsetInterval(() => {{}}, 1000);\nconsole.log('done');\n"));
    home.ok(format!("start {name}.js --name {name} -i 1"));
}

#[test]
fn malformed_messages_affect_no_other_worker() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_good(&home, port);
    let (daemon, before) = (home.daemon_pid(), descriptors(&home));
    let load = Load::mixed(port, 4);
    start_bad(
        &home,
        "forger",
        r#"
        for (let round = 0; round < 300; round++) {
          const forged = [
            {cmd: 'NODE_CLUSTER', ack: Date.now() * 1024 + round, accepted: true}, {cmd: 'NODE_CLUSTER', ack: round, accepted: false, seq: 1},
            {cmd: 'NODE_CLUSTER', act: 'newconn', key: 'x', seq: round}, {cmd: 'NODE_CLUSTER', act: 'close', key: 'null:80:Tcp4:-1'},
            {cmd: 'NODE_CLUSTER', act: 'listening'}, {cmd: 'NODE_CLUSTER', act: 'disconnect'}, {cmd: 'NODE_CLUSTER', act: {}},
            {cmd: 'NODE_CLUSTER', act: 'queryServer'}, {cmd: 'NODE_CLUSTER', act: 'queryServer', addressType: 'udp4', port: 1e99, fd: 1e9},
            {cmd: 'NODE_CLUSTER', act: 'queryServer', addressType: -1, address: '/'.repeat(5000), port: -1},
            {cmd: 'NODE_CLUSTER', act: 'queryServer', addressType: 4, address: '127.0.0.1', port: 0, index: round, data: {x: 'y'.repeat(2000)}},
            {cmd: 'NODE_HANDLE_NACK'}, {cmd: 'NODE_'}, {cmd: 'NODE_CLUSTER', act: 'exitedAfterDisconnect', seq: {}}, null, [], 1, 'ready',
          ];
          put(forged.map((message) => JSON.stringify(message) + '\n').join(''));
          put('{"cmd":"NODE_CLUSTER","ack":\n\n\r\n' + '['.repeat(3000) + '\n\x02{"cmd":"NODE_CLUSTER"}\n\xff\xfe\n');
        }"#,
    );
    home.wait_log("forger-out-2.log", "done");
    let good = load.good();
    home.wait_until("requests are answered", || load.good() > good + 100);
    load.stop().assert_whole();
    assert_eq!(home.daemon_pid(), daemon);
    // The number of listeners is bounded, whatever the worker requests.
    assert!(descriptors(&home) < before + 300, "{} of {before}", descriptors(&home));
    home.ok("delete forger");
    home.wait_until("all is closed", || descriptors(&home) <= before + 2);
}

#[test]
fn endless_line_affects_only_its_worker() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_good(&home, port);
    start_bad(
        &home,
        "endless",
        r#"for (let n = 0; n < 20; n++) put('x'.repeat(1 << 20));
        put('\n' + JSON.stringify({type: 'axm:monitor', data: {after: {value: 1}}}) + '\n');"#,
    );
    home.wait_app("endless", "heard after it", |app| !app.env("axm_monitor")["after"].is_null());
    home.wait_until("it is reported", || home.daemon_log().contains("[endless:2] sent a message longer than 64 KiB"));
    assert!(get(port, "/").is_ok());
}

#[test]
fn huge_lines_and_unread_answers_affect_only_their_worker() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_good(&home, port);
    start_bad(&home, "huge", "put(JSON.stringify({type: 'big', data: 'x'.repeat(8 << 20)}) + '\\n');");
    // Every request needs an answer; the worker reads none.
    start_bad(
        &home,
        "deaf",
        "const ask = (index) => JSON.stringify({cmd: 'NODE_CLUSTER', act: 'queryServer', addressType: 4, address: '127.0.0.1', port: 0, index}) + '\\n';\n\
         for (let n = 0; n < 5000; n++) put(ask(n % 50) + JSON.stringify({cmd: 'NODE_CLUSTER', act: 'close', key: '127.0.0.1:0:Tcp4:-1:' + n % 50}) + '\\n');",
    );
    home.wait_log("huge-out-2.log", "done");
    home.wait_log("deaf-out-3.log", "done");
    let load = Load::mixed(port, 4);
    home.wait_until("requests are answered", || load.good() > 100);
    load.stop().assert_whole();
}

#[test]
fn handles_sent_by_apps_are_acknowledged_and_closed() {
    needs_program!("node");
    let home = home();
    home.write(
        "sends.js",
        "const server = require('net').createServer().listen({port: 0, host: '127.0.0.1', exclusive: true}, async () => {\n\
           for (let n = 0; n < 200; n++) await new Promise((resolve) => process.send({n}, server, {keepOpen: true}, resolve));\n\
           process.send('ready', () => console.log('all sent'));\n\
         });",
    );
    for mode in ["", "-i 1"] {
        home.ok(format!("start sends.js --name sends{} {mode}", mode.len()));
        home.wait_log(&format!("sends{}-out{}.log", mode.len(), if mode.is_empty() { "" } else { "-1" }), "all sent");
    }
    assert!(descriptors(&home) < 60, "{}", descriptors(&home));
}

#[test]
fn daemon_without_free_descriptors_keeps_working() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "c", "script": "{}", "instances": 2, "exec_mode": "cluster", "env": {{"PORT": {port}}}, "sticky": {{"cookie": "who"}}"#,
            fixture_app("cluster.js")
        ),
    );
    home.cmd(format!("start {file}")).after("ulimit -n 128").run().ok();
    home.wait_until("it answers", || get(port, "/").is_ok());
    // The connections send nothing, so that the daemon holds each of them for a moment.
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    home.wait_until("it is reported", || home.daemon_log().contains("cannot accept connections of apps"));
    drop(silent);
    home.wait_until("it answers", || get(port, "/").is_ok());
    assert!(home.jlist().iter().all(|item| item.status() == "online" && item.restarts() == 0));
}

#[test]
fn a_worker_without_descriptors_leaves_connections_to_others() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let start = format!("start {} --name c -i 2", fixture_app("cluster.js"));
    home.cmd(start).env("TCP", port.to_string()).after("ulimit -n 128").run().ok();
    home.wait_log("c-out-0.log", " on ");
    home.wait_log("c-out-1.log", " on ");
    let mut left: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let mut rounds = 0;
    while !left.is_empty() {
        // Connections that were served make room when they close.
        let before = left.len();
        let mut served = Vec::new();
        left = left
            .into_iter()
            .filter_map(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                if read_line(&mut stream).is_empty() {
                    Some(stream)
                } else {
                    served.push(stream);
                    None
                }
            })
            .collect();
        rounds += 1;
        assert!(rounds < 300, "{} of 400 are not served, {before} before\n{}", left.len(), home.report());
    }
    assert!(rounds > 1, "there was room for all of them");
    assert!(home.jlist().iter().all(|item| item.status() == "online" && item.restarts() == 0));
}
