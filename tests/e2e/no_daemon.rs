//! `--no-daemon`: the command stays in the foreground, as containers need it.

use std::process::{Command, Stdio};

use ostler_testkit::{Foreground, Home, alive, fixture, kill, program, skip};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

/// An app that prints last words before it exits.
fn talker(home: &Home) -> String {
    home.write("talker.sh", "#!/bin/sh\ntrap 'echo last words; exit 0' INT\necho first words\nwhile :; do sleep 0.1; done\n")
}

#[test]
fn signal_stops_the_apps_in_order() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let home = home();
        let mut front = Foreground::open(home.cmd(format!("start {} --no-daemon", talker(&home))).command());
        front.until("[--no-daemon] Continue to stream logs");
        let line = front.until("first words").pop().unwrap();
        assert!(line.ends_with("0|talker | first words"), "{line:?}");
        kill(front.pid(), signal);
        front.until("last words");
        assert_eq!(front.exit_code(&home), 0, "{signal:?}");
        assert_eq!(home.processes(), [], "{signal:?}");
        assert!(!home.dir().join("ostler.sock").exists());
        assert!(home.log("talker-out.log").ends_with("last words\n"));
    }
}

#[test]
fn earlier_log_lines_are_not_repeated() {
    let home = home();
    for _ in 0..2 {
        let mut front = Foreground::open(home.cmd(format!("start {} --no-daemon", talker(&home))).command());
        let seen = front.until("first words");
        assert!(!seen.iter().any(|line| line.contains("last words")), "{seen:?}");
        kill(front.pid(), Signal::TERM);
        assert_eq!(front.exit_code(&home), 0);
    }
}

#[test]
fn existing_daemon_is_left_running() {
    let home = home();
    start_fixture(&home, "old", "", "hold");
    let pid = home.app("old").pid();
    let mut front = Foreground::open(home.cmd(format!("start {} --no-daemon", talker(&home))).command());
    front.until("first words");
    kill(front.pid(), Signal::INT);
    assert_eq!(front.exit_code(&home), 128 + 2);
    assert_eq!((home.app("old").pid(), home.app("talker").status()), (pid, "online"));
    // When that daemon exits, the command that watches it exits, too.
    let mut front = Foreground::open(home.cmd("restart talker --no-daemon").command());
    front.until("Continue to stream logs");
    home.ok("kill");
    assert_eq!(front.exit_code(&home), 0);
}

#[test]
fn kill_from_another_shell_stops_the_command() {
    let home = home();
    let mut front = Foreground::open(home.cmd(format!("start {} --no-daemon", talker(&home))).command());
    front.until("first words");
    home.ok("kill");
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn failed_start_leaves_no_process() {
    let home = home();
    let script = talker(&home);
    let file =
        home.write("two.json", format!("{{\"apps\": [{{\"script\": \"{script}\"}}, {{\"name\": \"bad\", \"script\": \"gone.sh\"}}]}}"));
    home.cmd(format!("start {file} --no-daemon")).run().fails();
    // The first app is already started when the second target turns out to be missing.
    home.cmd(format!("start {script} gone.sh --no-daemon")).run().fails();
    assert_eq!(home.processes(), []);
}

#[test]
fn signal_during_start_stops_it() {
    let home = home();
    let script = home.write("slow.sh", "#!/bin/sh\necho began\nexec sleep 600\n");
    let mut front = Foreground::open(home.cmd(format!("start {script} --wait-ready --listen-timeout 600000 --no-daemon")).command());
    home.wait_log("slow-out.log", "began");
    kill(front.pid(), Signal::TERM);
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn command_survives_daemon_and_keeper_death() {
    let home = home();
    let mut front = Foreground::open(home.cmd(format!("start {} --no-daemon", talker(&home))).command());
    front.until("first words");
    let app = home.app("talker").pid();
    let daemon = home.daemon_pid();
    kill(daemon, Signal::KILL);
    home.wait_until("another daemon is there", || home.daemon_pid() != daemon);
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper is there", || home.keeper_pid() != keeper);
    assert_eq!(home.app("talker").pid(), app);
    home.wait_until("the command has reaped the former keeper", || {
        !ostler_testkit::process_table().iter().any(|process| process.ppid == front.pid() && process.state == 'Z')
    });
    kill(front.pid(), Signal::TERM);
    front.until("last words");
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
    assert!(!alive(app));
}

#[test]
fn closed_reader_does_not_stop_the_apps() {
    let home = home();
    let mut command = home.cmd(format!("start {} --no-daemon", talker(&home))).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    home.wait_log("talker-out.log", "first words");
    drop(child.stdout.take());
    home.ok("restart talker");
    home.wait_until("the new one speaks", || home.log("talker-out.log").matches("first words").count() == 2);
    assert!(child.try_wait().unwrap().is_none());
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    home.wait_until("the command ends", || child.try_wait().unwrap().is_some());
    assert_eq!(home.processes(), []);
}

#[test]
fn resurrect_stays_in_the_foreground() {
    let home = home();
    home.ok(format!("start {}", talker(&home)));
    home.ok("save");
    home.ok("kill");
    let mut front = Foreground::open(home.cmd("resurrect --no-daemon").command());
    front.until("first words");
    kill(front.pid(), Signal::TERM);
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}

/// As a container's first process, it becomes the parent of every orphan.
#[test]
fn process_1_reaps_orphans_and_leaves_no_process() {
    if program("unshare").is_none() {
        skip!("unshare is not installed");
    }
    let namespace = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !Command::new("unshare").args(namespace).arg("true").output().unwrap().status.success() {
        skip!("a pid namespace is not permitted");
    }
    let home = home();
    let ours = home.cmd(format!("start {} --name app --no-daemon -- family 2 1", fixture())).command();
    let mut command = Command::new("unshare");
    command.args(namespace).arg(ours.get_program()).args(ours.get_args());
    command.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.work());
    let mut front = Foreground::open(command);
    front.until("Continue to stream logs");
    let first = ostler_testkit::process_table().into_iter().find(|p| p.ppid == front.pid()).expect("unshare has a child").pid;
    let keeper = home.processes().into_iter().find(|p| p.ppid == first).expect("the keeper is a child of process 1").pid;
    kill(keeper, Signal::KILL);
    home.wait_until("process 1 has reaped the keeper", || !ostler_testkit::process_table().iter().any(|p| p.pid == keeper));
    home.wait_until("a new keeper is there", || home.app("app").status() == "online");
    kill(first, Signal::TERM);
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}
