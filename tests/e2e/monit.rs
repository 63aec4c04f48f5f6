//! `monit` on a real terminal: the display, the keys, and every way to leave.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use ostler_testkit::{Terminal, fixture, kill, needs_program, proc_number, stat_field};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

/// Quits with a key, and checks that the terminal is restored.
#[track_caller]
fn quit(mut terminal: Terminal) {
    terminal.press("q");
    assert!(terminal.end().success());
    terminal.assert_restored();
}

#[test]
fn monit_shows_apps_logs_and_exits() {
    needs_program!("setsid");
    let home = home();
    let script = home.write("talk.sh", "#!/bin/sh\necho first line\nprintf 'evil \\033[2J\\033]0;title\\007 line\\n'\nexec sleep 1000\n");
    home.ok(format!("start {script} --name talker"));
    start_fixture(&home, "holder", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 100, 30);
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
    terminal.wait_for("was killed by SIGKILL");
    terminal.press("1kw");
    terminal.wait_for("talker (0) is online");
    terminal.wait_for("was killed by SIGKILL");
    home.ok("delete holder");
    terminal.wait_for("1 instance | 1 online");
    quit(terminal);
}

#[test]
fn keys_stop_start_scale_and_reload_after_confirmation() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 100, 30);
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
    terminal.wait_for("stop app (0): done");
    terminal.wait_for("0 online");
    assert_eq!(home.app("app").status(), "stopped");
    terminal.press("r");
    terminal.wait_for("restart app (0): done");
    terminal.wait_for("1 online");
    terminal.press("r");
    terminal.wait_for("Restart app (0)? [y/n]");
    terminal.press("y");
    terminal.wait_for("restart app (0): done");
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
    // Another app has this app's number as its name.
    home.ok(format!("start {} --name {} -- hold", fixture(), home.app("app").id()));
    terminal.wait_for("2 online");
    terminal.press("gs");
    terminal.wait_for("Stop app (0)? [y/n]");
    terminal.press("y");
    terminal.wait_for("stop app (0): done");
    assert_eq!((home.app("app").status(), home.app("0").status()), ("stopped", "online"));
    // Pasted text does not count as keys.
    terminal.press("\x1b[200~rr\x1b[201~");
    terminal.press("/ap");
    terminal.wait_for("/ap_");
    assert_eq!(home.app("app").status(), "stopped");
    terminal.press("\r");
    quit(terminal);
}

#[test]
fn monit_follows_the_terminal_size() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 40, 12);
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
fn monit_without_a_terminal_fails_clearly() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.run("monit").code(1).says("monit needs a terminal");
    home.run("dash --sort wrong").code(2).says("unknown field");
    needs_program!("setsid");
    let alone = crate::setup::home();
    let mut terminal = Terminal::open(&alone, "monit", 80, 24);
    assert_eq!(terminal.end().code(), Some(3), "there is no daemon, and none is started");
    terminal.wait_for("no daemon is running");
    assert!(terminal.is_as_before());
    let mut dumb = Terminal::start_on("dumb", home.cmd("monit"), 120, 24);
    assert_eq!(dumb.end().code(), Some(1));
    dumb.wait_for("TERM is dumb");
}

#[test]
fn terminal_is_restored_on_every_exit() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut terminal = Terminal::open(&home, "monit", 80, 24);
        terminal.wait_for("1 online");
        assert!(!terminal.is_as_before() && terminal.modes().contains(&"?1049".to_owned()));
        kill(terminal.pid(), signal);
        assert!(terminal.end().success(), "{signal:?}");
        terminal.assert_restored();
    }
    for keys in ["q", "\x1b", "\x03"] {
        let mut terminal = Terminal::open(&home, "monit", 80, 24);
        terminal.wait_for("1 online");
        terminal.press(keys);
        assert!(terminal.end().success(), "{keys:?}");
        terminal.assert_restored();
    }
    let mut terminal = Terminal::open(&home, "monit", 80, 24);
    terminal.wait_for("1 online");
    terminal.close();
    terminal.end();
    // No shell could resume it, so it ignores the stop key and redraws itself.
    let mut terminal = Terminal::open(&home, "monit", 80, 24);
    terminal.wait_for("1 online");
    let bytes = terminal.bytes();
    terminal.press("\x1a");
    terminal.wait_until("it is drawn anew", |screen| terminal.bytes() > bytes + 500 && screen.contains("1 online"));
    quit(terminal);
}

#[test]
fn monit_reconnects_after_daemon_death() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 100, 30);
    terminal.wait_for("1 online");
    kill(home.daemon_pid(), Signal::KILL);
    terminal.press("e");
    terminal.wait_for("the daemon restarted");
    terminal.wait_for("1 online");
    home.ok("kill");
    terminal.wait_for("the daemon is not running; waiting for it");
    start_fixture(&home, "other", "", "hold");
    terminal.wait_for("other");
    terminal.wait_for("1 online");
    quit(terminal);
}

#[test]
fn idle_monit_polls_rarely_and_writes_nothing() {
    needs_program!("setsid");
    let home = home();
    home.ok(format!("start {} --name app -i 20 -f -- hold", fixture()));
    // So narrow a screen shows no times and no figures except the CPU, which is idle.
    let mut terminal = Terminal::open(&home, "monit", 40, 12);
    terminal.wait_for("20 online");
    const LOOK: Duration = Duration::from_secs(5);
    home.wait_until("nothing is written any more", || {
        let before = (terminal.bytes(), proc_number(terminal.pid(), "status", "voluntary_ctxt_switches"));
        thread::sleep(LOOK);
        // Two or three samples, each with one request and two responses. A check per frame would
        // need more than a hundred.
        terminal.bytes() == before.0 && proc_number(terminal.pid(), "status", "voluntary_ctxt_switches") - before.1 < 30
    });
    terminal.press("q");
    terminal.end();
}

#[test]
fn suspended_monit_returns_the_terminal_to_the_shell() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let shell = "exec setsid -c -w bash --norc --noprofile -i";
    let mut terminal = Terminal::start_shell(home.cmd("monit"), shell, 80, 24);
    terminal.press("PS1=READY-; set -m\r");
    terminal.wait_until("the shell asks", |screen| screen.lines().any(|line| line.starts_with("READY-")));
    terminal.press("clear; $MONIT monit\r");
    terminal.wait_for("1 online");
    terminal.press("\x1a");
    terminal.wait_until("the shell says so", |screen| screen.contains("Stopped"));
    assert!(!terminal.modes().contains(&"?1049".to_owned()), "{:?}", terminal.modes());
    terminal.press("clear; fg\r");
    terminal.wait_for("1 online");
    terminal.wait_for("Process List");
    terminal.press("q");
    // Keys typed before it exits must not reach the shell.
    terminal.wait_for("READY-");
    terminal.press("clear; exit\r");
    terminal.end();
}

#[test]
fn flood_of_lines_does_not_block_keys() {
    needs_program!("setsid");
    let home = home();
    let script = home.write("flood.sh", "#!/bin/sh\nexec yes \"$(printf 'line\\033[2J%0200d' 7)\"\n");
    home.ok(format!("start {script} --name flood"));
    let mut terminal = Terminal::open(&home, "monit", 100, 30);
    terminal.wait_for("0000007");
    for _ in 0..3 {
        terminal.press("?");
        terminal.wait_for("redraw the screen");
        terminal.press("?");
        terminal.wait_until("the help is gone", |screen| !screen.contains("redraw the screen"));
    }
    terminal.press("sy");
    terminal.wait_for("stop flood (0): done");
    quit(terminal);
}

#[test]
fn monit_reports_a_stopped_daemon() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "other", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 100, 30);
    terminal.wait_for("2 online");
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    // The daemon is stopped, too. The keeper would replace it, which another test covers.
    [keeper, daemon].iter().for_each(|pid| kill(*pid, Signal::STOP));
    terminal.wait_for("the daemon has not answered for");
    // Another app without any data so far.
    terminal.press("\x1b[B");
    terminal.wait_for("other Logs");
    let ticks = || stat_field(terminal.pid(), 14) + stat_field(terminal.pid(), 15);
    let before = ticks();
    thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 30, "it does not wait, it turns round and round");
    [keeper, daemon].iter().for_each(|pid| kill(*pid, Signal::CONT));
    terminal.wait_for("2 online");
    terminal.wait_for("Script path");
    quit(terminal);
}

#[test]
fn paused_terminal_does_not_block_monit() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut terminal = Terminal::open(&home, "monit", 200, 50);
    terminal.wait_for("1 online");
    terminal.pause(true);
    // More output than fits between the two.
    for _ in 0..100 {
        terminal.press("\x0c");
        terminal.resize(190, 50);
        terminal.resize(200, 50);
        thread::sleep(Duration::from_millis(5));
    }
    // Keys still work, although the screen is paused.
    terminal.press("sy");
    home.wait_status("app", "stopped");
    terminal.pause(false);
    terminal.press("\x0c");
    terminal.wait_for("0 online");
    terminal.pause(true);
    for _ in 0..100 {
        terminal.press("\x0c");
        thread::sleep(Duration::from_millis(5));
    }
    kill(terminal.pid(), Signal::TERM);
    assert!(terminal.end().success());
}

#[test]
fn monit_shows_custom_metrics_and_imonit_draws_bars() {
    needs_program!("setsid");
    needs_program!("node");
    let home = home();
    let data = "{'Event Loop Latency': {value: '1.23', unit: 'ms'}, 'Requests \\x1b[2J/s': {value: n++, unit: 'req'}}";
    let script = home.write("app.js", format!("let n = 41; setInterval(() => process.send({{type: 'axm:monitor', data: {data}}}), 50)"));
    home.ok(format!("start {script} --name app"));
    let terminal = Terminal::open(&home, "monit", 120, 40);
    for text in ["Event Loop Latency", "1.23 ms", "req"] {
        terminal.wait_for(text);
    }
    quit(terminal);
    let mut terminal = Terminal::start(home.cmd("imonit ap --sort memory:desc"), 120, 40);
    for text in ["cpu bar", "mem bar", "by memory descending", "1 shown by /ap"] {
        terminal.wait_for(text);
    }
    assert!(!terminal.text().contains("Metadata"));
    terminal.press("z");
    terminal.wait_for("Metadata");
    quit(terminal);
}
