//! Promise 1 in full: daemon and keeper are killed together, at any instant.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ostler_testkit::{Home, Load, alive, connect, fixture, fixture_app, free_port, get, kill, needs_program, stat_field};
use rustix::process::Signal;

use crate::setup::numbers_are_whole;
use crate::setup::{SeededRandom, ecosystem, home, start_fixture};

/// Sends SIGKILL to both within some milliseconds, in random order. The second process dies at any
/// moment of the recovery from the first death. Waits until both are replaced.
#[track_caller]
fn kill_both_at_random(home: &Home, dice: &mut SeededRandom) {
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    let (first, second) = if dice.below(2) == 0 { (keeper, daemon) } else { (daemon, keeper) };
    // Mostly without a pause.
    let between = Duration::from_micros(dice.below(2) * dice.below(3000));
    kill(first, Signal::KILL);
    let until = Instant::now() + between;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    kill(second, Signal::KILL);
    wait_for_new_managers(home, keeper, daemon);
}

#[track_caller]
fn wait_for_new_managers(home: &Home, keeper: i32, daemon: i32) {
    home.wait_until("both are back", || {
        let daemons = home.daemons();
        assert!(daemons.len() <= 1 || daemons.contains(&daemon), "two daemons: {daemons:?}");
        let keeper_pid = std::fs::read_to_string(home.dir().join("pm2.pid")).ok().and_then(|text| text.parse().ok()).unwrap_or(keeper);
        daemons.len() == 1 && daemons[0] != daemon && keeper_pid != keeper && alive(keeper_pid)
    });
}

/// A clustered Node server that also speaks another protocol over upgraded connections: it echoes
/// all data.
fn echo_server(home: &Home, port: u16) -> String {
    home.write(
        "server.js",
        format!(
            "const server = require('http').createServer((request, response) => response.end(String(process.pid)));
             server.on('upgrade', (request, socket) => {{
               socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n');
               socket.on('data', (data) => socket.write(data)).on('error', () => {{}});
             }});
             server.listen({port}, () => console.log('listens'));"
        ),
    )
}

fn upgraded(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn only_the_anchor_has_batch_scheduling() {
    const NORMAL: i64 = 0;
    const BATCH: i64 = 3;
    let home = home();
    home.ok("start sleep --name a -- 1000");
    for _ in 0..2 {
        home.wait_until("the anchor sleeps", || stat_field(home.anchor_pid(), 41) == BATCH);
        home.ok("restart a");
        let usual = [home.keeper_pid(), home.daemon_pid(), home.app("a").pid()];
        assert_eq!(usual.map(|pid| stat_field(pid, 41)), [NORMAL; 3], "{usual:?}");
        let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
        home.kill_both();
        wait_for_new_managers(&home, keeper, daemon);
    }
}

#[test]
fn cluster_workers_survive_and_no_request_fails() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.ok(format!("start {} --name c -i 2", echo_server(&home, port)));
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let before = home.jlist();
    let mut sockets: Vec<TcpStream> = (0..4).map(|_| upgraded(port)).collect();
    let mut dice = SeededRandom::for_kills();
    let load = Load::mixed(port, 4);
    for round in 0..10 {
        let good = load.good();
        kill_both_at_random(&home, &mut dice);
        home.wait_until("requests are answered", || load.good() > good + 50);
        for socket in &mut sockets {
            let text = format!("round {round}");
            socket.write_all(text.as_bytes()).unwrap();
            let mut back = vec![0; text.len()];
            socket.read_exact(&mut back).unwrap();
            assert_eq!(back, text.as_bytes());
        }
    }
    // For some microseconds between `accept` and the worker, only the daemon holds a connection,
    // one at a time. Of ten kills hardly one hits that, on a busy machine perhaps two.
    let report = load.stop();
    report.assert_at_most(2);
    assert_eq!(report.closed_idle, 0, "kept connections stay");
    for (before, after) in before.iter().zip(home.jlist()) {
        assert_eq!((after.pid(), after.restarts(), after.status()), (before.pid(), 0, "online"));
        for key in ["pm_uptime", "created_at", "unique_id"] {
            assert_eq!(after.env(key), before.env(key), "{key}");
        }
    }
    // The app is supervised as before.
    let load = Load::mixed(port, 4);
    home.ok("reload c");
    load.stop().assert_whole();
    let reloaded = home.pids();
    assert!(before.iter().all(|item| !reloaded.contains(&item.pid())), "reloaded");
    kill(reloaded[0], Signal::KILL);
    home.wait_until("a killed worker comes back", || {
        home.jlist().iter().all(|item| item.status() == "online" && item.pid() != reloaded[0])
    });
    home.ok("restart c");
    home.wait_until("the server answers", || get(port, "/").is_ok());
    home.ok("delete c");
    assert!(home.app_processes().is_empty() && TcpStream::connect(("127.0.0.1", port)).is_err());
    home.ok("kill");
    assert_eq!(home.processes(), []);
}

#[test]
fn apps_with_piped_logs_survive_and_lose_no_line() {
    let home = home();
    start_fixture(&home, "direct", "-f", "count 30000 10");
    start_fixture(&home, "dated", "-f --time", "count 30000 10");
    let script = fixture();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "json", "script": "{script}", "args": "count 30000 10", "log_type": "json"}},
               {{"name": "combined", "script": "{script}", "args": "count 30000 10", "log_file": "{}""#,
            home.dir().join("logs/both.log").display()
        ),
    );
    home.ok(format!("start {file}"));
    let before = home.pids();
    let mut dice = SeededRandom::for_kills();
    for _ in 0..10 {
        kill_both_at_random(&home, &mut dice);
        assert_eq!(home.pids(), before);
    }
    for name in ["direct", "dated", "json", "combined"] {
        home.wait_log(&format!("{name}-out.log"), "end");
        assert_eq!((home.app(name).restarts(), home.app(name).status().to_owned()), (0, "online".to_owned()), "{name}");
    }
    home.wait_log("both.log", "end");
    for name in ["direct-out.log", "dated-out.log", "combined-out.log", "both.log"] {
        numbers_are_whole(&home.log(name), 30000);
    }
    let messages =
        home.log("json-out.log").lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>();
    let messages: Vec<String> = messages.iter().map(|line| line["message"].as_str().unwrap().trim_end().to_owned()).collect();
    numbers_are_whole(&messages.join("\n"), 30000);
}

#[test]
fn exit_without_managers_is_counted_once() {
    let home = home();
    let file = home.work().join("starts");
    start_fixture(&home, "app", "", &format!("append {}", file.display()));
    start_fixture(&home, "steady", "-f", "hold");
    let steady = home.app("steady").pid();
    home.wait_file("starts", "\n");
    for round in 2..8 {
        let (pid, keeper, daemon) = (home.app("app").pid(), home.keeper_pid(), home.daemon_pid());
        // No process can read the exit status.
        [keeper, daemon].iter().for_each(|pid| kill(*pid, Signal::STOP));
        kill(pid, Signal::KILL);
        home.kill_both();
        wait_for_new_managers(&home, keeper, daemon);
        let item = home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
        assert_eq!(item.restarts(), u64::try_from(round).unwrap() - 1);
        home.wait_until("it said so", || home.read("starts").lines().count() >= round);
        assert_eq!(home.read("starts").lines().count(), round, "started twice\n{}", home.report());
    }
    assert_eq!((home.app("steady").pid(), home.app("steady").restarts()), (steady, 0));
    assert_eq!(home.app_processes().len(), 2);
}

#[test]
fn killed_anchor_is_replaced_before_the_next_kill() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name c -i 2", fixture_app("cluster.js"))).env("PORT", port.to_string()).run().ok();
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let before = home.pids();
    for _ in 0..3 {
        let anchor = home.anchor_pid();
        kill(anchor, Signal::KILL);
        home.wait_until("another anchor", || home.anchor_pid() != anchor);
        assert_eq!(home.pids(), before);
        let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
        home.kill_both();
        wait_for_new_managers(&home, keeper, daemon);
        assert_eq!(home.pids(), before);
        assert!(get(port, "/").is_ok());
    }
    // One at a time: each killed process is replaced, and its successor gets all that it held.
    for _ in 0..3 {
        for pid in [home.keeper_pid(), home.daemon_pid(), home.anchor_pid()] {
            kill(pid, Signal::KILL);
            home.wait_until("all three are there", || home.anchor_pid() != pid && home.keeper_pid() != pid && home.daemon_pid() != pid);
        }
    }
    assert_eq!(home.pids(), before);
    home.ok("kill");
    assert_eq!(home.processes(), []);
}

/// The moment when both are replaced is as good for a kill as any other.
#[test]
fn repeated_kills_before_recovery_are_survived() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name c -i 2", fixture_app("cluster.js"))).env("PORT", port.to_string()).run().ok();
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let before = home.pids();
    let mut last = 0;
    for _ in 0..30 {
        let mut found = None;
        home.wait_until("another daemon", || {
            let daemon = home.processes().into_iter().find(|process| process.cmdline.contains("daemon (") && process.pid != last);
            found = daemon.map(|daemon| (daemon.pid, daemon.ppid));
            found.is_some()
        });
        let (daemon, keeper) = found.unwrap();
        [keeper, daemon].iter().for_each(|pid| kill(*pid, Signal::KILL));
        last = daemon;
    }
    assert_eq!(home.pids(), before, "{}", home.report());
    assert!(home.jlist().iter().all(|item| item.restarts() == 0 && item.status() == "online"));
    assert!(get(port, "/").is_ok());
    home.ok("kill");
    assert_eq!(home.processes(), []);
}

#[test]
fn next_command_waits_and_sees_every_app() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    for round in 0..10 {
        home.kill_both();
        // No wait here: the command itself must work.
        match round % 3 {
            0 => assert!(home.ok("list").stdout.contains(&pid.to_string())),
            1 => assert_eq!(home.app("app").pid(), pid),
            _ => drop(home.ok(format!("start {} -f --name more{round} -- hold", fixture()))),
        }
    }
    assert_eq!(home.app("app").pid(), pid);
    assert_eq!(home.app_processes().len(), home.jlist().len());
}

#[test]
fn update_also_replaces_the_anchor() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, anchor) = (home.app("app").pid(), home.anchor_pid());
    home.ok("update");
    home.wait_until("an anchor of the new program", || home.anchor_pid() != anchor);
    let keeper = home.keeper_pid();
    home.kill_both();
    home.wait_until("another keeper", || home.keeper_pid() != keeper);
    assert_eq!((home.app("app").pid(), home.app("app").restarts()), (pid, 0));
}
