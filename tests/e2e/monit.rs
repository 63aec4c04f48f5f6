//! `monit` on a real terminal: what is seen, what keys do, and every way out.

use std::io::Write as _;

use ostler_testkit::{Home, Terminal, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

/// The view of this home on a terminal of so many columns and rows.
fn monit(home: &Home, columns: usize, rows: usize) -> Terminal {
    Terminal::start(home.cmd("monit"), columns, rows)
}

/// Ends it by a key, and looks whether the terminal is as before.
#[track_caller]
fn quit(mut terminal: Terminal) {
    terminal.press("q");
    assert!(terminal.end().success());
    assert_as_before(&terminal);
}

#[track_caller]
fn assert_as_before(terminal: &Terminal) {
    assert!(terminal.is_as_before(), "raw mode is left on");
    let until = std::time::Instant::now() + ostler_testkit::DEADLINE;
    // Its last bytes may still be on their way.
    while terminal.modes() != ["?25"] {
        assert!(std::time::Instant::now() < until, "{:?}", terminal.modes());
        std::thread::yield_now();
    }
    assert_eq!(terminal.odd(), [""; 0]);
}

#[test]
fn what_runs_is_seen_with_its_logs_and_how_it_ends() {
    needs_program!("setsid");
    let home = home();
    let script = home.write("talk.sh", "#!/bin/sh\necho first line\nprintf 'evil \\033[2J\\033]0;title\\007 line\\n'\nexec sleep 1000\n");
    home.ok(format!("start {script} --name talker"));
    start_fixture(&home, "holder", "", "hold");
    let mut terminal = monit(&home, 100, 30);
    for text in ["2 instances | 2 online", "talker", "holder", "talker Logs", "first line", "evil  line", "Script path"] {
        terminal.wait_for(text);
    }
    std::fs::OpenOptions::new().append(true).open(home.dir().join("logs/talker-out.log")).unwrap().write_all(b"a later line\n").unwrap();
    terminal.wait_for("a later line");
    terminal.press("\x1b[B");
    terminal.wait_for("holder Logs");
    terminal.wait_until("the other's lines are gone", |screen| !screen.contains("first line"));
    kill(home.app("talker").pid(), Signal::KILL);
    terminal.press("e");
    terminal.wait_for("was ended by SIGKILL");
    terminal.press("1kw");
    terminal.wait_for("talker (0) is online");
    terminal.wait_for("was ended by SIGKILL");
    home.ok("delete holder");
    terminal.wait_for("1 instance | 1 online");
    quit(terminal);
}

#[test]
fn keys_stop_start_scale_and_reload_after_a_yes() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = monit(&home, 100, 30);
    terminal.wait_for("1 online");
    let pid = home.app("app").pid();
    terminal.press("s");
    terminal.wait_for("Stop app (0)? [y/n]");
    terminal.press("n");
    terminal.wait_until("the question is gone", |screen| !screen.contains("[y/n]"));
    assert_eq!(home.app("app").pid(), pid);
    terminal.press("s");
    terminal.wait_for("Stop app (0)? [y/n]");
    terminal.press("y");
    terminal.wait_for("stop 0: done");
    terminal.wait_for("0 online");
    assert_eq!(home.app("app").status(), "stopped");
    terminal.press("r");
    terminal.wait_for("restart 0: done");
    terminal.wait_for("1 online");
    terminal.press("r");
    terminal.wait_for("Restart app (0)? [y/n]");
    terminal.press("y");
    terminal.wait_for("restart 0: done");
    terminal.press("+");
    terminal.wait_for("scale app +1: done");
    terminal.wait_for("2 online");
    terminal.press("c1\ry");
    terminal.wait_for("scale app 1: done");
    terminal.wait_for("1 instance | 1 online");
    let before = home.jlist()[0].pid();
    terminal.press("L");
    terminal.wait_for("reload app: done");
    assert_ne!(home.jlist()[0].pid(), before);
    // A paste is no row of keys.
    terminal.press("\x1b[200~sysy\x1b[201~");
    terminal.press("/ap");
    terminal.wait_for("/ap_");
    assert_eq!(home.jlist()[0].status(), "online");
    terminal.press("\r");
    quit(terminal);
}

#[test]
fn it_fits_the_terminal_whatever_becomes_of_that() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = monit(&home, 40, 12);
    terminal.wait_for("Process List");
    assert!(!terminal.text().contains("Metadata"));
    terminal.resize(200, 50);
    for text in ["Metadata", "Events", "Custom Metrics"] {
        terminal.wait_for(text);
    }
    for (columns, rows) in [(1, 1), (3, 2), (10, 4), (80, 1), (1, 50)] {
        terminal.resize(columns, rows);
    }
    terminal.resize(80, 24);
    terminal.wait_for("Metadata");
    quit(terminal);
}

#[test]
fn without_a_terminal_it_says_so() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.run("monit").code(1).says("monit needs a terminal");
    home.run("dash --sort wrong").code(2).says("unknown field");
    needs_program!("setsid");
    let alone = crate::setup::home();
    let mut terminal = monit(&alone, 80, 24);
    assert_eq!(terminal.end().code(), Some(3), "there is no daemon, and none is started");
    terminal.wait_for("no daemon is running");
    assert!(terminal.is_as_before());
    let mut dumb = Terminal::start_on("dumb", home.cmd("monit"), 120, 24);
    assert_eq!(dumb.end().code(), Some(1));
    dumb.wait_for("TERM is dumb");
}

#[test]
fn the_terminal_is_as_before_on_every_way_out() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut terminal = monit(&home, 80, 24);
        terminal.wait_for("1 online");
        assert!(!terminal.is_as_before() && terminal.modes().contains(&"?1049".to_owned()));
        kill(terminal.pid(), signal);
        assert!(terminal.end().success(), "{signal:?}");
        assert_as_before(&terminal);
    }
    for keys in ["q", "\x1b", "\x03"] {
        let mut terminal = monit(&home, 80, 24);
        terminal.wait_for("1 online");
        terminal.press(keys);
        assert!(terminal.end().success(), "{keys:?}");
        assert_as_before(&terminal);
    }
    let mut terminal = monit(&home, 80, 24);
    terminal.wait_for("1 online");
    terminal.close();
    terminal.end();
    // Nobody could let it go on: it stays, and draws itself anew.
    let mut terminal = monit(&home, 80, 24);
    terminal.wait_for("1 online");
    let bytes = terminal.bytes();
    terminal.press("\x1a");
    terminal.wait_until("it is drawn anew", |screen| terminal.bytes() > bytes + 500 && screen.contains("1 online"));
    quit(terminal);
}

#[test]
fn a_daemon_that_dies_is_waited_for() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = monit(&home, 100, 30);
    terminal.wait_for("1 online");
    kill(home.daemon_pid(), Signal::KILL);
    terminal.press("e");
    terminal.wait_for("the daemon began again");
    terminal.wait_for("1 online");
    home.ok("kill");
    terminal.wait_for("the daemon is not running; waiting for it");
    start_fixture(&home, "other", "", "hold");
    terminal.wait_for("other");
    terminal.wait_for("1 online");
    quit(terminal);
}
