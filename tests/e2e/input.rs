//! Standard input of apps: open and silent until a user sends a line.

use std::io::Write;
use std::process::Stdio;

use ostler_testkit::{Home, kill, needs_program};
use rustix::process::Signal;

use crate::setup::home;

/// An app that prints each line that it reads, and prints a last line at end of input.
fn reader(home: &Home) -> String {
    home.write("reader.sh", "echo begin; while read -r line; do echo \"got $line\"; done; echo the end")
}

#[test]
fn lines_arrive_whole_and_stdin_survives_daemon_death() {
    let home = home();
    home.ok(format!("start {} --name reader", reader(&home)));
    home.wait_log("reader-out.log", "begin");
    home.ok("send 0 hello there");
    home.wait_log("reader-out.log", "got hello there");
    kill(home.daemon_pid(), Signal::KILL);
    home.ok("send reader again");
    home.wait_log("reader-out.log", "got again");
    home.kill_both();
    home.ok("send 0 still");
    home.wait_log("reader-out.log", "got still");
    home.ok("restart reader");
    home.ok("send 0 new");
    home.wait_log("reader-out.log", "got new");
    assert!(!home.log("reader-out.log").contains("the end"), "{}", home.log("reader-out.log"));
    assert_eq!(home.app("reader").restarts(), 1);
}

#[test]
fn undeliverable_line_is_reported() {
    needs_program!("node");
    let home = home();
    home.write("server.js", "process.stdin.on('data', () => {}).on('end', () => console.log('empty')); setInterval(() => {}, 1000)");
    home.ok(format!("start {} --name deaf -- hold", ostler_testkit::fixture()));
    home.ok("start server.js --name worker -i 1");
    home.wait_log("worker-out-1.log", "empty");
    home.run("send 9 x").fails().says("Process with ID <9> unknown");
    home.run("send nosuch x").code(4);
    home.run("send worker x").fails().says("Cannot send line to processes in cluster mode");
    let long = "x".repeat(5000);
    let mut sent = 0;
    while home.run(format!("send deaf {long}")).code == 0 {
        sent += 1;
        assert!(sent < 20, "it takes for ever");
    }
    home.run(format!("send deaf {long}")).fails().says("does not read its standard input");
    home.ok("stop deaf");
    home.run("send deaf x").fails().says("offline");
    home.ok("scale worker 2");
    home.run("send worker x").fails().says("several instances");
}

#[test]
fn attach_forwards_input_and_output() {
    let home = home();
    home.ok(format!("start {} --name reader", reader(&home)));
    home.wait_log("reader-out.log", "begin");
    let mut attached = home.cmd("attach reader").command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut typed = attached.stdin.take().unwrap();
    typed.write_all(b"one\ntwo\n").unwrap();
    home.wait_log("reader-out.log", "got two");
    let mut shown = Vec::new();
    let mut out = attached.stdout.take().unwrap();
    while !String::from_utf8_lossy(&shown).contains("got two\n") {
        let mut buffer = [0; 256];
        let length = std::io::Read::read(&mut out, &mut buffer).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(String::from_utf8_lossy(&shown), "got one\ngot two\n");
    drop(typed);
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    home.run("attach nosuch").code(4);
}
