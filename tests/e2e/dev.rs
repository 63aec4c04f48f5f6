//! `dev` and `pm2-dev`: watched apps in the foreground, in a home of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use ostler_testkit::{Foreground, Home, alive, kill};
use rustix::process::Signal;

use crate::setup::{binary, home};

/// Prints its first line and an error, then waits.
fn app(home: &Home, name: &str) -> String {
    home.write(
        &format!("{name}.sh"),
        format!("#!/bin/sh\ntrap 'echo {name} ends; exit 0' INT\necho {name} runs\necho {name} errs >&2\nwhile :; do sleep 0.1; done\n"),
    )
}

/// Returns `pm2-dev` with these words.
fn pm2_dev(home: &Home, words: &str) -> Command {
    let link = home.root().join("bin/pm2-dev");
    if !link.exists() {
        symlink(binary(), &link).unwrap();
    }
    let model = home.cmd("list").command();
    let mut command = Command::new(link);
    command.args(words.split_whitespace()).current_dir(home.work()).env_clear();
    command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn session_home(home: &Home, name: &str) -> PathBuf {
    home.root().join("user").join(name)
}

/// Waits until the session in this folder has armed its watches.
#[track_caller]
fn wait_for_watches(home: &Home, folder: &str) {
    let log = session_home(home, folder).join("pm2.log");
    home.wait_until("the session watches", || fs::read_to_string(&log).unwrap_or_default().contains("Watching "));
}

/// Waits for a restart, and until the new process prints its first line: earlier it does not handle
/// signals.
#[track_caller]
fn restarted(front: &Foreground, name: &str) {
    let lines = front.until(&format!("[rundev] App {name} restarted"));
    let runs = format!("{name} runs");
    if !lines.iter().any(|line| line.contains(&runs)) {
        front.until(&runs);
    }
}

#[test]
fn session_output_matches_pm2() {
    let home = home();
    app(&home, "api");
    let mut front = Foreground::open(pm2_dev(&home, "start api.sh"));
    let head = front.until("=====");
    assert_eq!(
        head,
        [
            "--- PM2 development mode ------------------------------------------------------",
            "Apps started         : api",
            "Processes started    : 1",
            "Watch and Restart    : Enabled",
            "Ignored folder       : node_modules",
            "===============================================================================",
        ]
    );
    let lines = [front.until("runs"), front.until("errs")].concat();
    assert!(lines.contains(&"api-0  | api runs".to_owned()) && lines.contains(&"api-0  | api errs".to_owned()), "{lines:?}");
    wait_for_watches(&home, ".pm2-dev");
    home.write("src/x.js", "1");
    restarted(&front, "api");
    assert!(!home.dir().exists(), "the usual home was touched");
    kill(front.pid(), Signal::INT);
    front.until(">>>>> [PM2 DEV] Stopping current development session");
    front.until("api-0  | api ends");
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn sessions_are_independent() {
    let home = home();
    app(&home, "one");
    app(&home, "two");
    let mut first = Foreground::open(home.cmd("dev one.sh --timestamp").command());
    let line = first.until("one runs").pop().unwrap();
    // 2026-11-21-13:26:47 one-0  | one runs
    assert!(line.len() == "YYYY-MM-DD-HH:mm:ss one-0  | one runs".len() && line.ends_with(" one-0  | one runs"), "{line:?}");
    let mut second = Foreground::open(home.cmd("dev two.sh --raw").command());
    assert_eq!(second.until("two runs").pop().unwrap(), "two runs");
    let daemons = home.daemons();
    assert_eq!(daemons.len(), 2);
    kill(second.pid(), Signal::TERM);
    assert_eq!(second.exit_code(&home), 0);
    home.wait_until("the first goes on alone", || home.daemons().len() == 1);
    kill(first.pid(), Signal::INT);
    first.until("one ends");
    assert_eq!(first.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
    assert!(!daemons.into_iter().any(alive));
}

#[test]
fn first_ctrl_c_waits_for_apps_and_second_kills_them() {
    let home = home();
    home.write(
        "slow.sh",
        "trap 'echo asked; until [ -e go ]; do sleep 0.01; done; echo finished; exit 0' INT\necho runs\nwhile :; do sleep 0.1; done\n",
    );
    home.write("slow.json", r#"{"apps": [{"name": "slow", "script": "slow.sh", "kill_timeout": 60000, "ignore_watch": ["."]}]}"#);
    for words in ["dev slow.json", "start slow.json --no-daemon"] {
        let mut front = Foreground::open(home.cmd(words).command());
        front.until("runs");
        kill(front.pid(), Signal::INT);
        front.until("stopping 1 app; press Ctrl-C again to kill it");
        front.until("asked");
        home.write("go", "");
        front.until("finished");
        assert_eq!(front.exit_code(&home), 0, "{words}");
        std::fs::remove_file(home.work().join("go")).unwrap();
        let mut front = Foreground::open(home.cmd(words).command());
        front.until("runs");
        kill(front.pid(), Signal::INT);
        front.until("asked");
        assert_eq!(front.killed(&home), 0, "{words}");
        assert!(!front.out.try_iter().any(|line| line.contains("finished")), "{words}");
        assert_eq!(home.processes(), [], "{words}");
    }
}

#[test]
fn post_exec_runs_after_each_restart() {
    let home = home();
    app(&home, "api");
    let mut command = home.cmd("dev api.sh --ignore tmp,post --post-exec").command();
    command.arg("echo fixed > post; echo seen");
    let mut front = Foreground::open(command);
    let head = front.until("=====");
    assert!(head.contains(&"Ignored folder       : tmp,post,node_modules".to_owned()), "{head:?}");
    front.until("api runs");
    wait_for_watches(&home, ".ostler-dev");
    home.write("tmp/x", "1");
    home.write("x.js", "1");
    front.until("[rundev] App api restarted");
    front.until("seen");
    home.wait_file("post", "fixed");
    kill(front.pid(), Signal::INT);
    front.until("Stopping current development session");
    assert_eq!(front.exit_code(&home), 0);
}

#[test]
fn crashed_app_restarts_after_a_fix() {
    let home = home();
    home.write("api.sh", "#!/bin/sh\necho broken\nexit 3\n");
    let mut front = Foreground::open(home.cmd("dev api.sh").command());
    front.until("broken");
    wait_for_watches(&home, ".ostler-dev");
    app(&home, "api");
    front.until("api runs");
    kill(front.pid(), Signal::INT);
    assert_eq!(front.exit_code(&home), 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn auto_exit_stops_session_when_no_app_runs() {
    let home = home();
    home.write("api.sh", "#!/bin/sh\nexit 0\n");
    let file = home.write("app.json", r#"{"apps": [{"name": "api", "script": "./api.sh", "stop_exit_codes": [0]}]}"#);
    let mut front = Foreground::open(home.cmd(format!("dev {file} --auto-exit")).command());
    front.until("Stopping current development session");
    assert_eq!(front.exit_code(&home), 1);
    assert_eq!(home.processes(), []);
}

#[test]
fn config_file_sets_watched_paths() {
    let home = home();
    app(&home, "one");
    app(&home, "two");
    fs::create_dir_all(home.work().join("lib")).unwrap();
    let file = home.write(
        "eco.json",
        r#"{"apps": [{"name": "one", "script": "one.sh", "watch": ["lib"], "ignore_watch": ["lib/gen"]}, {"name": "two", "script": "two.sh", "instances": 2, "exec_mode": "fork"}]}"#,
    );
    let mut front = Foreground::open(home.cmd(format!("dev {file}")).command());
    let head = front.until("=====");
    assert!(head.contains(&"Processes started    : 3".to_owned()), "{head:?}");
    let log = session_home(&home, ".ostler-dev").join("pm2.log");
    let wait_for_watches = |name: &str| fs::read_to_string(&log).unwrap_or_default().contains(&format!("for app {name}"));
    home.wait_until("both are watched", || wait_for_watches("one") && wait_for_watches("two"));
    home.write("other.js", "1");
    let seen = [front.until("App two restarted"), front.until("App two restarted")].concat();
    assert!(!seen.iter().any(|line| line.contains("App one restarted")), "{seen:?}");
    home.write("lib/x.js", "1");
    front.until("App one restarted");
    kill(front.pid(), Signal::TERM);
    assert_eq!(front.exit_code(&home), 0);
}

#[test]
fn invalid_arguments_start_nothing() {
    let home = home();
    for words in ["dev nosuch.js", "dev nosuch.config.js", "dev"] {
        home.cmd(words).run().fails();
        assert_eq!(home.processes(), [], "{words}");
    }
    home.write("api.sh", "#!/bin/sh\n");
    home.cmd("dev api.sh --ignore regex:[").run().fails().says("--ignore-watch");
    assert_eq!(home.processes(), []);
    // PM2 shows its help.
    let output = pm2_dev(&home, "").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("--post-exec"));
}
