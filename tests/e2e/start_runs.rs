//! `start` returns when the runtime runs the script: from then on signals arrive, and a script that
//! fails immediately was reported.

use std::time::{Duration, Instant};

use ostler_testkit::{Home, Output, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{home, home_as_pm2};

/// Longest time that `start` waits.
const LIMIT: Duration = Duration::from_millis(1000);

const HANDLER: &str = "process.on('SIGUSR2', () => fs.writeFileSync('heard', '')); setInterval(() => {}, 1 << 30);";

/// Sends the signal as soon as `start` has returned. If a busy machine makes the start use all its
/// time, the attempt proves nothing and is repeated.
#[track_caller]
fn handles_signal_after_start(home: &Home, script: &str, options: &str) {
    let was_in_time = (0..20).any(|_| {
        let began = Instant::now();
        home.ok(format!("start {script} --name app {options}"));
        let in_time = began.elapsed() < LIMIT;
        if in_time {
            kill(home.app("app").pid(), Signal::USR2);
            home.wait_until("the signal is heard", || home.work().join("heard").exists());
            assert_eq!(home.app("app").restarts(), 0, "{}", home.report());
            std::fs::remove_file(home.work().join("heard")).unwrap();
        }
        home.ok("delete app");
        in_time
    });
    assert!(was_in_time, "every start took longer than {LIMIT:?}");
}

#[test]
fn signal_after_start_reaches_the_handler() {
    for home in [home(), home_as_pm2()] {
        let common = home.write("common.js", format!("const fs = require('fs'); {HANDLER}"));
        home.write("part.mjs", "export const late = await new Promise((done) => setTimeout(done, 5, true));");
        let module = home.write("module.mjs", format!("import fs from 'fs'; import './part.mjs'; {HANDLER}"));
        for script in [common, module] {
            for mode in ["", "-i 1"] {
                handles_signal_after_start(&home, &script, mode);
            }
        }
    }
}

/// Starts an app that fails during the start. The start waits at most a second. On a busy machine
/// the runtime may not have reached the script by then, so the start is repeated.
#[track_caller]
fn fails(home: &Home, words: &str) -> Output {
    for _ in 0..20 {
        let output = home.run(words);
        if output.code != 0 {
            return output;
        }
        home.ok("delete app");
    }
    panic!("{words} never fails: {}", home.report());
}

#[test]
fn failing_script_is_reported_with_its_cause() {
    needs_program!("python3");
    let scripts = [
        ("bad.js", "function (", "SyntaxError"),
        ("gone.mjs", "import './gone.js'", "ERR_MODULE_NOT_FOUND"),
        ("bad.py", "def (:", "SyntaxError"),
    ];
    for (name, text, cause) in scripts {
        let home = home();
        let script = home.write(name, text);
        let failed = fails(&home, &format!("start {script} --name app --restart-delay 60000"));
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.stderr.contains(cause) && failed.stderr.contains("exited with code 1"), "{failed:?}");
        failed.says("ostler restarts it");
        // The app stays in the list, for `why` and `logs`.
        home.wait_status("app", "waiting restart");
        home.ok("delete app");
        fails(&home, &format!("start {script} --name app --no-autorestart")).fails().says("it stays stopped").says(cause);
        home.wait_status("app", "stopped");
        home.ok("delete app");
        // The same with a file.
        let file = home.write("app.json", format!(r#"{{"apps": [{{"name": "app", "script": "{script}", "restart_delay": 60000}}]}}"#));
        let failed = fails(&home, &format!("start {file}"));
        assert!(failed.code == 1 && failed.stderr.contains(cause), "{failed:?}");
    }
}

#[test]
fn pm2_name_does_not_fail_for_a_failing_script() {
    let home = home_as_pm2();
    let script = home.write("bad.js", "function (");
    home.ok(format!("start {script} --name app --restart-delay 60000")).says("Done.");
    home.wait_status("app", "waiting restart");
}

#[test]
fn finished_script_counts_as_started() {
    let home = home();
    let script = home.write("done.js", "process.exit(0)");
    home.ok(format!("start {script} --name app --no-autorestart"));
    home.wait_status("app", "stopped");
}
