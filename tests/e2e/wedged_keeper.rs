//! A keeper that lives but hangs: stopped, traced, or stopped together with others. The daemon
//! replaces it, apps stay supervised, and commands return.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ostler_testkit::{Home, KilledOnDrop, Output, kill, skip, state};
use rustix::process::Signal;

use crate::setup::{home, start_fixture, start_sleeper};

/// Time limit for each command, whatever hangs. Far above the normal duration, far below an endless
/// wait.
const BOUND: Duration = Duration::from_secs(60);

/// Runs a command that has to end in bounded time.
#[track_caller]
fn bounded(home: &Home, words: &str) -> Output {
    let begin = Instant::now();
    let output = home.run(words);
    assert!(begin.elapsed() < BOUND, "`{words}` took {:?}\n{output}", begin.elapsed());
    output
}

#[test]
fn app_killed_while_keeper_is_stopped_is_restarted() {
    let home = home();
    start_sleeper(&home, "steady", 1001);
    start_sleeper(&home, "crashes", 1002);
    let (steady, crashed) = (home.app("steady").pid(), home.app("crashes").pid());
    let keeper = home.stop_process(home.keeper_pid());
    kill(crashed, Signal::KILL);
    // No command is run: the daemon notices the exit by itself.
    home.wait_until("the app is back", || home.pids_of("sleep 1002").iter().any(|&pid| pid != crashed));
    home.wait_other_keeper(keeper);
    let app = home.wait_app("crashes", "online again", |app| app.status() == "online" && app.pid() != crashed);
    assert_eq!(app.restarts(), 1, "counted once\n{}", home.report());
    assert_eq!(home.pids_of("sleep 1002"), [app.pid()], "started once");
    assert_eq!((home.app("steady").pid(), home.app("steady").restarts()), (steady, 0), "no other app is touched");
    let log = home.daemon_log();
    assert!(log.contains(&format!("the keeper (pid {keeper})")) && log.contains("stopped by a signal"), "{log}");
    home.ok("events").says("the keeper was replaced");
    // The app is still supervised.
    kill(app.pid(), Signal::KILL);
    home.wait_app("crashes", "restarted", |item| item.restarts() == 2 && item.status() == "online");
}

#[test]
fn exit_code_is_known_while_keeper_is_stopped() {
    let home = home();
    let script = home.write("ends.sh", "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\nexit 7\n");
    home.ok(format!("start {script} --name ends --stop-exit-codes 7"));
    home.stop_process(home.keeper_pid());
    home.write("go", "");
    home.wait_status("ends", "stopped");
    home.ok("why ends").says("7");
}

#[test]
fn every_command_returns_with_a_stopped_keeper() {
    let home = home();
    start_sleeper(&home, "app", 1001);
    for words in ["restart app", "stop app", "start app", "reload app", "scale app 2", "delete app"] {
        let keeper = home.stop_process(home.keeper_pid());
        let output = bounded(&home, words);
        assert!(output.code == 0, "`{words}`\n{output}");
        home.wait_other_keeper(keeper);
    }
    assert!(home.pids_of("sleep 1001").is_empty(), "{}", home.report());
    start_sleeper(&home, "last", 1002);
    home.stop_process(home.keeper_pid());
    let output = bounded(&home, "kill");
    assert!(output.code == 0, "{output}");
    home.wait_no_processes();
}

#[test]
fn kill_stops_an_idle_stopped_keeper() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("delete app");
    home.stop_process(home.keeper_pid());
    let output = bounded(&home, "kill");
    assert!(output.code == 0, "{output}");
    home.wait_no_processes();
    assert!(!home.dir().join("ostler.sock").exists() && !home.dir().join("pm2.pid").exists());
    start_fixture(&home, "app", "", "hold");
}

#[test]
fn health_doctor_and_list_report_stopped_keeper() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for (words, code) in [("health", 1), ("doctor", 1), ("list", 0)] {
        let keeper = home.stop_process(home.keeper_pid());
        let output = bounded(&home, words);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, code, "`{words}`\n{output}");
        assert!(said.contains(&format!("the keeper (pid {keeper})")) && said.contains("stopped"), "`{words}`\n{output}");
        home.wait_other_keeper(keeper);
        home.wait_until("the apps are healthy again", || home.run("health").code == 0);
    }
    assert_eq!(home.app("app").restarts(), 0);
}

#[test]
fn stopped_daemon_and_keeper_fail_commands_until_continued() {
    let home = home();
    start_sleeper(&home, "app", 1001);
    let pid = home.app("app").pid();
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    home.stop_process(daemon);
    home.stop_process(keeper);
    // In parallel: each waits some seconds until it gives up.
    thread::scope(|scope| {
        for words in ["list", "restart app", "kill", "start app"] {
            let home = &home;
            scope.spawn(move || {
                let output = bounded(home, words);
                assert_eq!(output.code, 3, "`{words}`\n{output}");
                assert!(output.stderr.contains(&format!("kill -CONT {keeper}")), "`{words}`\n{output}");
            });
        }
    });
    kill(keeper, Signal::CONT);
    kill(daemon, Signal::CONT);
    home.wait_status("app", "online");
    assert_eq!((home.app("app").pid(), home.app("app").restarts()), (pid, 0), "{}", home.report());
}

#[test]
fn stopping_and_continuing_everything_duplicates_nothing() {
    let home = home();
    start_sleeper(&home, "one", 1001);
    start_sleeper(&home, "two", 1002);
    for round in 1..=3 {
        let all: Vec<i32> = home.processes().iter().map(|process| process.pid).collect();
        all.iter().for_each(|&pid| kill(pid, Signal::STOP));
        home.wait_until("all are stopped", || home.processes().iter().all(|process| process.state == 'T'));
        kill(home.pids_of("sleep 1001")[0], Signal::KILL);
        // The daemon continues first, the keeper last, so that the daemon waits for an answer.
        let keeper = home.keeper_pid();
        all.iter().filter(|&&pid| pid != keeper).for_each(|&pid| kill(pid, Signal::CONT));
        kill(keeper, Signal::CONT);
        home.wait_app("one", "restarted", |app| app.restarts() == round && app.status() == "online");
        home.wait_until("each runs once", || home.pids_of("sleep 1001").len() == 1 && home.pids_of("sleep 1002").len() == 1);
    }
    assert_eq!(home.app("two").restarts(), 0);
    assert_eq!(home.daemons().len(), 1);
}

/// Starts a process that traces another until it is dropped; `None` if tracing is not permitted, or
/// without Python.
fn trace(home: &Home, pid: i32) -> Option<KilledOnDrop> {
    let seize = format!(
        "import ctypes, time, os\nlibc = ctypes.CDLL(None)\n\
         if libc.ptrace(0x4206, {pid}, 0, 0) or libc.ptrace(0x4207, {pid}, 0, 0): raise SystemExit(1)\n\
         os.waitpid({pid}, 0x40000000)\ntime.sleep(1000)\n"
    );
    let mut tracer = KilledOnDrop(Command::new("python3").args(["-c", &seize]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
    let mut ended = false;
    home.wait_until("it is traced, or cannot be", || {
        ended = tracer.try_wait().unwrap().is_some();
        ended || state(pid) == Some('t')
    });
    (!ended).then_some(tracer)
}

#[test]
fn a_keeper_held_by_a_debugger_is_reported_and_left_alone() {
    let home = home();
    start_sleeper(&home, "app", 1001);
    let (keeper, pid) = (home.keeper_pid(), home.app("app").pid());
    let Some(tracer) = trace(&home, keeper) else { skip!("no python3 or no ptrace here") };
    let output = bounded(&home, "restart app");
    assert_eq!(output.code, 3, "{output}");
    assert!(output.stderr.contains(&format!("the keeper (pid {keeper})")) && output.stderr.contains("debugger"), "{output}");
    let output = bounded(&home, "health");
    assert_eq!(output.code, 1, "{output}");
    drop(tracer);
    // The command is executed as soon as the keeper runs again, and only once.
    home.wait_app("app", "restarted", |app| app.pid() != pid && app.status() == "online");
    home.wait_until("it runs once", || home.pids_of("sleep 1001").len() == 1);
    assert_eq!(home.keeper_pid(), keeper, "{}", home.report());
}

#[test]
fn a_stopped_standby_still_takes_over() {
    let home = home();
    start_sleeper(&home, "app", 1001);
    let pid = home.app("app").pid();
    home.stop_process(home.anchor_pid());
    home.kill_both();
    let output = bounded(&home, "list");
    assert!(output.code == 0, "{output}");
    let app = home.wait_status("app", "online");
    assert_eq!(app.pid(), pid, "{}", home.report());
    assert_eq!(home.pids_of("sleep 1001"), [pid]);
}
