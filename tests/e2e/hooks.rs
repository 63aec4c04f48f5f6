//! Hooks: when they run, which values they get, and how an app continues if they fail or hang.

use ostler_testkit::{Home, fixture, fixture_app, kill, needs_root};
use rustix::process::Signal;

use crate::setup::{SeededRandom, ecosystem, home, start_in_background};

/// Writes a file with the app `app`, which holds and has these additional members.
#[track_caller]
fn app(home: &Home, members: &str) -> String {
    ecosystem(home, &format!(r#""name": "app", "script": "{}", "args": "hold", {members}"#, fixture()))
}

/// Writes a script into the work folder.
#[track_caller]
fn script(home: &Home, name: &str, text: &str) -> String {
    home.write(name, format!("#!/bin/sh\n{text}\n"))
}

#[test]
fn hooks_run_in_order_with_their_context() {
    let home = home();
    let tell = script(
        &home,
        "tell.sh",
        r#"echo "$OSTLER_HOOK $OSTLER_APP $OSTLER_INSTANCE ${OSTLER_PID:+pid} code=$OSTLER_EXIT_CODE signal=$OSTLER_EXIT_SIGNAL $OSTLER_NEXT $MINE" >> log"#,
    );
    let hooks: Vec<String> =
        ["pre_start", "post_start", "pre_stop", "post_stop", "on_crash"].map(|hook| format!(r#""{hook}": "{tell}""#)).to_vec();
    let file = app(&home, &format!(r#"{}, "env": {{"MINE": "own"}}, "restart_delay": 50"#, hooks.join(", ")));
    home.ok(format!("start {file}"));
    assert_eq!(home.lines("log"), ["pre_start app 0  code= signal=  own", "post_start app 0 pid code= signal=  own"]);
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    home.wait_until("the crash is reported", || home.lines("log").len() == 6);
    let mut crash = home.lines("log")[2..].to_vec();
    crash.sort();
    assert_eq!(
        crash,
        [
            "on_crash app 0  code= signal=SIGKILL restart own",
            "post_start app 0 pid code= signal=  own",
            "post_stop app 0  code= signal=SIGKILL restart own",
            "pre_start app 0  code= signal=  own",
        ]
    );
    home.ok("stop app");
    let stopped = home.lines("log")[6..].to_vec();
    assert_eq!(stopped[0], "pre_stop app 0 pid code= signal=  own");
    assert!(stopped[1].starts_with("post_stop app 0  code=") && stopped[1].ends_with(" stopped own"), "{stopped:?}");
    home.ok("delete app");
    assert_eq!(home.lines("log").len(), 8, "an app that does not run has no turns\n{:?}", home.lines("log"));
}

#[test]
fn failed_pre_start_fails_start_and_is_retried() {
    let home = home();
    let check = script(&home, "check.sh", "[ -e database ] || { echo 'no database' >&2; exit 3; }");
    let file = app(&home, &format!(r#""pre_start": "{check}", "max_restarts": 1000"#));
    home.run(format!("start {file}")).code(1).says("pre_start exited with code 3");
    home.run("why app").says("pre_start exited with code 3").says("no database");
    assert!(home.app_processes().iter().all(|process| !process.cmdline.contains("hold")), "{}", home.report());
    home.write("database", "");
    home.wait_status("app", "online");
}

#[test]
fn pre_start_that_never_succeeds_becomes_errored() {
    let home = home();
    let file = app(&home, r#""pre_start": ["false"], "max_restarts": 3"#);
    home.run(format!("start {file}")).code(1);
    home.wait_status("app", "errored");
    home.ok("describe app").says("pre_start exited with code 1");
    home.ok("delete app");
}

#[test]
fn hook_failure_is_ignored_with_on_failure_continue() {
    let home = home();
    let hooks = r#""pre_start": {"command": "exit 7", "on_failure": "continue"}, "post_start": "exit 8", "pre_stop": "exit 9", "post_stop": ["/no/such/program"]"#;
    home.ok(format!("start {}", app(&home, hooks)));
    assert_eq!(home.app("app").status(), "online");
    home.ok("stop app");
    assert_eq!(home.app("app").status(), "stopped");
    let log = home.read_own("pm2.log");
    for line in
        ["pre_start exited with code 7", "post_start exited with code 8", "pre_stop exited with code 9", "post_stop cannot be started"]
    {
        assert!(log.contains(line), "{line} is missing in\n{log}");
    }
}

#[test]
fn failed_post_start_aborts_start_with_on_failure_abort() {
    let home = home();
    let file = app(&home, r#""post_start": {"command": "exit 4", "on_failure": "abort"}, "max_restarts": 2"#);
    home.run(format!("start {file}")).code(1).says("post_start exited with code 4");
    home.wait_status("app", "errored");
    home.ok("why app").says("post_start exited with code 4");
}

#[test]
fn hanging_hooks_are_killed_with_their_process_tree() {
    let home = home();
    let hang = script(&home, "hang.sh", "sleep 1000 & setsid sleep 1001 & (setsid sleep 1002 &) ; sleep 1003");
    let hook = format!(r#"{{"command": "{hang}", "timeout": "300ms"}}"#);
    let file = app(&home, &format!(r#""pre_start": {hook}, "max_restarts": 1"#));
    home.run(format!("start {file}")).code(1).says("pre_start timed out after 300 ms and was killed");
    home.wait_until("nothing is left", || home.app_processes().is_empty());
    home.ok("delete all");
    let file = app(&home, &format!(r#""post_start": {hook}, "pre_stop": {hook}, "post_stop": {hook}"#));
    home.ok(format!("start {file}"));
    home.ok("stop app");
    assert_eq!(home.app("app").status(), "stopped");
    home.wait_until("nothing is left", || home.app_processes().is_empty());
}

#[test]
fn daemonizing_hook_leaves_no_process() {
    let home = home();
    let daemonises = script(&home, "daemonises.sh", "(setsid sleep 1000 >/dev/null 2>&1 &)\nexit 0");
    home.ok(format!("start {}", app(&home, &format!(r#""pre_start": "{daemonises}""#))));
    home.wait_until("only the app runs", || home.app_processes().iter().all(|process| process.cmdline.contains("hold")));
    assert_eq!(home.app("app").status(), "online");
}

#[test]
fn stop_interrupts_pre_start() {
    let home = home();
    let file = app(&home, r#""pre_start": "exec sleep 1000""#);
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_status("app", "launching");
    home.wait_until("the hook runs", || home.app_processes().iter().any(|process| process.cmdline.contains("sleep 1000")));
    home.run("why app").says("running its pre_start");
    home.ok("stop app");
    assert!(!start.wait().unwrap().success());
    assert_eq!(home.app("app").status(), "stopped");
    home.wait_until("nothing is left", || home.app_processes().is_empty());
}

#[test]
fn a_second_stop_does_not_wait_for_pre_stop() {
    let home = home();
    home.ok(format!("start {}", app(&home, r#""pre_stop": "exec sleep 1000""#)));
    let mut stop = start_in_background(&home, "stop app");
    home.wait_status("app", "stopping");
    home.ok("delete app");
    stop.wait().unwrap();
    assert!(home.jlist().is_empty() && home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn stop_kills_running_on_crash_hook() {
    let home = home();
    home.ok(format!("start {}", app(&home, r#""on_crash": "exec sleep 1000""#)));
    kill(home.app("app").pid(), Signal::KILL);
    let is_hook = |home: &Home| home.app_processes().iter().any(|process| process.cmdline.contains("sleep 1000"));
    home.wait_until("it runs beside the next process", || is_hook(&home) && home.app("app").status() == "online");
    home.ok("delete app");
    assert!(home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn hook_path_may_contain_blanks_and_list_is_not_split() {
    let home = home();
    let path = script(&home, "my hook.sh", r#"echo "ran $#" >> log"#);
    home.ok(format!("start {}", app(&home, &format!(r#""pre_start": "{path}""#))));
    home.ok(format!("start {}", app(&home, r#""pre_start": ["./my hook.sh", "a b", "$HOME; exit 9"]"#)));
    assert_eq!(home.lines("log"), ["ran 0", "ran 2"]);
}

#[test]
fn hook_output_is_written_to_app_logs() {
    let home = home();
    home.ok(format!("start {}", app(&home, r#""pre_start": "echo out; echo err >&2""#)));
    home.wait_log("app-out.log", "out");
    home.wait_log("app-error.log", "err");
    home.ok("delete all");
    let file = app(&home, r#""pre_start": "echo dated", "time": true, "out_file": "piped.log""#);
    home.ok(format!("start {file}"));
    home.wait_file("piped.log", "dated");
    assert!(home.read("piped.log").trim_end().ends_with(": dated"), "{}", home.read("piped.log"));
}

#[test]
fn hooks_run_per_instance_and_per_restart() {
    let home = home();
    let file = app(&home, r#""pre_start": "echo $OSTLER_INSTANCE >> log", "instances": 2"#);
    home.ok(format!("start {file}"));
    let sorted = |home: &Home| {
        let mut lines = home.lines("log");
        lines.sort();
        lines
    };
    assert_eq!(sorted(&home), ["0", "1"]);
    home.ok("restart app");
    assert_eq!(sorted(&home), ["0", "0", "1", "1"]);
}

#[test]
fn failed_pre_start_rejects_new_release() {
    let home = home();
    let port = ostler_testkit::free_port();
    let release = |pre_start: &str| {
        let members = r#""name": "app", "script": "FIXTURE", "args": "activated nonblocking", "listen": PORT, "pre_start": "HOOK""#;
        ecosystem(&home, &members.replace("FIXTURE", &fixture()).replace("PORT", &port.to_string()).replace("HOOK", pre_start))
    };
    home.ok(format!("start {}", release("true")));
    let pid = home.app("app").pid();
    home.run(format!("reload {}", release("exit 6"))).code(1).says("pre_start exited with code 6");
    let after = home.app("app");
    assert_eq!((after.pid(), after.status()), (pid, "online"), "{}", home.report());
}

#[test]
fn hooks_survive_daemon_and_report_once() {
    let home = home();
    let slow = script(&home, "slow.sh", "echo begin >> log; while [ ! -e go ]; do sleep 0.01; done; echo end >> log");
    let file = app(&home, &format!(r#""pre_start": "{slow}", "pre_stop": "{slow}""#));
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_until("the hook runs", || home.lines("log") == ["begin"]);
    for _ in 0..3 {
        home.kill_daemon();
    }
    assert_eq!((home.app("app").status(), home.lines("log").len()), ("launching", 1));
    home.write("go", "");
    start.wait().unwrap();
    home.wait_status("app", "online");
    assert_eq!(home.lines("log"), ["begin", "end"]);
    std::fs::remove_file(home.work().join("go")).unwrap();
    let mut stop = start_in_background(&home, "stop app");
    home.wait_until("the hook runs", || home.lines("log").len() == 3);
    // The hook exits while there is no daemon.
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    home.write("go", "");
    home.wait_until("it has ended", || home.lines("log").len() == 4);
    kill(daemon, Signal::KILL);
    stop.wait().unwrap();
    home.wait_status("app", "stopped");
    assert_eq!(home.lines("log"), ["begin", "end", "begin", "end"]);
}

#[test]
fn hooks_survive_the_keeper() {
    let home = home();
    let file = app(&home, r#""pre_start": "echo begin >> log; while [ ! -e go ]; do sleep 0.01; done""#);
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_until("the hook runs", || home.lines("log") == ["begin"]);
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper runs", || home.keeper_pid() != keeper);
    home.write("go", "");
    // If the kernel cannot report the exit status to a process that is not the parent, the hook
    // counts as failed and runs again.
    home.wait_status("app", "online");
    start.wait().unwrap();
    assert!((1..=2).contains(&home.lines("log").len()), "{:?}", home.lines("log"));
}

#[test]
fn hook_recovers_after_daemon_and_keeper_are_killed() {
    let home = home();
    let file = app(&home, r#""pre_start": "echo begin >> log; while [ ! -e go ]; do sleep 0.01; done""#);
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_until("the hook runs", || home.lines("log") == ["begin"]);
    home.wait_until("the state is on disk", || home.read_own("ostler.state").contains("pre_start"));
    home.kill_all_three();
    start.wait().unwrap();
    home.write("go", "");
    home.run("resurrect");
    home.wait_status("app", "online");
    assert!((1..=2).contains(&home.lines("log").len()), "{:?}", home.lines("log"));
    home.ok("delete all");
    assert!(home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn hooks_run_as_the_app_user() {
    needs_root!();
    let home = home();
    std::fs::set_permissions(home.work(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let file = app(&home, r#""uid": "nobody", "pre_start": "id -un > who; pwd >> who""#);
    home.ok(format!("start {file} --allow-foreign-file"));
    let who = home.read("who");
    assert_eq!(who.lines().collect::<Vec<_>>(), ["nobody", home.work().to_str().unwrap()]);
}

#[test]
fn invalid_hooks_are_rejected_before_start() {
    let home = home();
    for (hook, message) in [
        (r#""pre_start": 5"#, "expected a command"),
        (r#""pre_start": """#, "the command is empty"),
        (r#""pre_start": []"#, "the command is empty"),
        (r#""pre_start": {"comand": "x"}"#, "did you mean `command`?"),
        (r#""pre_start": {"timeout": 5}"#, "expected `command`"),
        (r#""pre_start": {"command": "x", "timeout": "soon"}"#, "expected `timeout`"),
        (r#""pre_start": {"command": "x", "timeout": 0}"#, "expected `timeout`"),
        (r#""pre_start": {"command": "x", "on_failure": "explode"}"#, "\"abort\" or \"continue\""),
        (r#""pre_stop": {"command": "x", "on_failure": "abort"}"#, "is not allowed for pre_stop"),
    ] {
        home.run(format!("start {}", app(&home, hook))).code(1).says(message);
    }
    assert!(!home.dir().join("pm2.pid").exists(), "not even a daemon was started");
}

#[test]
fn stubborn_app_keeps_kill_timeout_after_slow_hook() {
    let home = home();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "app", "script": "{}", "kill_timeout": 300, "pre_stop": "sleep 0.5; echo hook >> log""#,
            fixture_app("stubborn.sh")
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_log("app-out.log", "stubborn");
    home.ok("stop app");
    assert_eq!(home.lines("log"), ["hook"]);
    // The app received the stop signal first, and was killed only after that.
    home.ok("why app").says("SIGKILL").says("did not stop in time");
}

#[test]
fn hooks_run_once_across_daemon_deaths() {
    let home = home();
    let each = r#""echo $OSTLER_HOOK:$OSTLER_INCARNATION >> log""#;
    let hooks: Vec<String> =
        ["pre_start", "post_start", "pre_stop", "post_stop", "on_crash"].map(|hook| format!(r#""{hook}": {each}"#)).to_vec();
    let file = app(&home, &format!(r#"{}, "max_restarts": 1000, "restart_delay": 20"#, hooks.join(", ")));
    home.ok(format!("start {file}"));
    let mut dice = SeededRandom(20_261_121);
    let run = |hook: &str| home.lines("log").iter().filter(|line| line.starts_with(hook)).count();
    // Repeats until enough hooks have run, on slow machines too: a kill may come before the hooks
    // run.
    let mut rounds = 0;
    while rounds < 30 || (rounds < 300 && (run("post_start") <= 10 || run("post_stop") <= 10)) {
        rounds += 1;
        let mut under_way = match dice.below(3) {
            0 => Some(start_in_background(&home, "restart app")),
            1 => Some(start_in_background(&home, "stop app")),
            _ => {
                let pid = home.app("app").pid();
                if pid > 0 {
                    kill(pid, Signal::KILL);
                }
                None
            }
        };
        // A random moment of the command's work.
        let lines = home.lines("log").len() as u64 + dice.below(4);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(dice.below(60));
        while (home.lines("log").len() as u64) < lines && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        home.kill_daemon();
        if let Some(child) = &mut under_way {
            child.wait().unwrap();
        }
    }
    home.run("restart app");
    home.wait_status("app", "online");
    home.ok("delete app");
    let mut lines = home.lines("log");
    let count = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), count, "a hook ran twice");
    let of = |hook: &str| lines.iter().filter(|line| line.starts_with(hook)).count();
    assert!(of("pre_start") >= of("post_start") && of("post_start") > 10 && of("post_stop") > 10, "{lines:?}");
    assert!(home.app_processes().is_empty(), "{}", home.report());
}
