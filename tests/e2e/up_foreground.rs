//! `up` in the foreground: the reason of a failure, the app that exited, the exit code, and the
//! stop of a whole project.

use std::path::{Path, PathBuf};

use ostler_testkit::{Foreground, Home, alive, kill};
use rustix::process::Signal;

use crate::setup::{home, home_as_pm2};

fn folder(home: &Home, compose: &str) -> PathBuf {
    home.write("shop/compose.yaml", compose);
    home.work().join("shop")
}

fn front(home: &Home, folder: &Path, words: &str) -> Foreground {
    Foreground::open(home.cmd(format!("up {words}")).cwd(folder).command())
}

/// An app that runs until it is stopped, then exits with this code.
fn lasting(name: &str, code: u8) -> String {
    format!(
        "{name}: {{command: [sh, -c, \"trap 'echo {name} ends; exit {code}' INT TERM; echo {name} runs; while :; do sleep 0.1; done\"]}}"
    )
}

#[test]
fn failed_project_names_the_reason_and_running_apps() {
    let home = home();
    let folder = folder(
        &home,
        &format!(
            "services:\n  web: {{command: sleep 100, depends_on: {{db: {{condition: service_healthy}}}}}}\n  {}\n  db: {}\n",
            lasting("cache", 0),
            "{command: [sh, -c, 'echo opening; echo no disk >&2; exit 4'], healthcheck: {test: [CMD, 'false'], interval: 100ms}}"
        ),
    );
    for words in ["up", "up -d"] {
        let output = home.cmd(words).cwd(&folder).run().code(1);
        // The process may exit before or after the line of its start.
        assert!(output.stderr.contains("✗ db  ") || output.stderr.contains("✗ db     "), "{output}");
        assert_eq!(output.stderr.matches("exited with code 4\n    no disk\n    hint: ostler why shop-db\n").count(), 1, "{output}");
        output.says("still running: cache").says("hint: `ostler down`");
        assert_eq!(home.app("shop-cache").status(), "online");
        home.cmd("down").cwd(&folder).run().ok();
    }
    // The hint names the same project.
    let output = home.cmd("up --project-name other --file compose.yaml").cwd(&folder).run().code(1);
    output.says("`ostler down --file compose.yaml --project-name other`");
    home.cmd("down --file compose.yaml --project-name other").cwd(&folder).run().ok();
    assert!(home.jlist().is_empty());
}

#[test]
fn exit_line_follows_last_output_of_the_app() {
    let home = home();
    let failing = "failing: {command: [sh, -c, 'until [ -e go ]; do sleep 0.02; done; echo last words; exit 3']}";
    let folder = folder(&home, &format!("services:\n  {}\n  {failing}\n  killed: {{command: sleep 1000}}\n", lasting("web", 0)));
    let mut front = front(&home, &folder, "");
    front.until("web runs");
    std::fs::write(folder.join("go"), "").unwrap();
    let lines = front.until("failing exited with code 3");
    assert!(lines.iter().any(|line| line.contains("last words")), "{lines:?}");
    kill(home.app("shop-killed").pid(), Signal::KILL);
    front.until("killed was killed by SIGKILL");
    assert_eq!(home.app("shop-web").status(), "online");
    kill(front.pid(), Signal::INT);
    front.until("stopping 1 app; press Ctrl-C again to kill it");
    assert_eq!(front.exit_code(&home), 130);
}

#[test]
fn abort_on_exit_stops_all_and_returns_the_code() {
    let home = home();
    let test = "test: {command: [sh, -c, 'until [ -e go ]; do sleep 0.02; done; exit 7']}";
    let seed = "seed: {command: 'true'}";
    let user = "{command: sleep 1000, depends_on: {seed: {condition: service_completed_successfully}}}";
    let folder = folder(&home, &format!("services:\n  {}\n  {test}\n  {seed}\n  user: {user}\n", lasting("web", 5)));
    for (words, code) in [
        ("--abort-on-container-exit", 7),
        ("--abort-on-exit", 7),
        ("--abort-on-container-failure", 7),
        ("--exit-code-from web", 5),
        ("--exit-code-from test", 7),
    ] {
        let _ = std::fs::remove_file(folder.join("go"));
        let mut front = front(&home, &folder, words);
        // By now the seed has exited, and the apps that depend on it run.
        front.until("web runs");
        home.wait_until("the seed is done", || home.app("shop-seed").status() == "stopped");
        std::fs::write(folder.join("go"), "").unwrap();
        front.until("shop stops because an app exited");
        front.until("web ends");
        assert_eq!(front.exit_code(&home), code, "{words}");
        assert!(home.jlist().iter().all(|item| item.status() == "stopped"), "{words}");
    }
    // An app that exited with code 0 did not fail. Ctrl-C does not count as an exit of an app.
    std::fs::write(folder.join("compose.yaml"), format!("services:\n  {}\n  {seed}\n", lasting("web", 5))).unwrap();
    let mut lasts = front(&home, &folder, "--abort-on-container-failure");
    let mut lines = lasts.until("web runs");
    if !lines.iter().any(|line| line.contains("seed exited with code 0")) {
        lines = lasts.until("seed exited with code 0");
    }
    assert!(!lines.iter().any(|line| line.contains("because an app exited")), "{lines:?}");
    kill(lasts.pid(), Signal::INT);
    assert_eq!(lasts.exit_code(&home), 130);
    // The app may exit before ostler watches it.
    std::fs::write(folder.join("compose.yaml"), format!("services:\n  {}\n  quick: {{command: sh -c 'exit 9'}}\n", lasting("web", 5)))
        .unwrap();
    assert_eq!(front(&home, &folder, "--abort-on-container-exit --remove-orphans").exit_code(&home), 9);
    for (words, code) in [("-d --abort-on-container-exit", 2), ("--wait --exit-code-from web", 2), ("--exit-code-from nope", 4)] {
        home.cmd(format!("up {words}")).cwd(&folder).run().code(code);
    }
}

/// `top` depends on `left` and `right`. These two exit only when both have received the stop
/// signal.
fn tree(home: &Home) -> PathBuf {
    let script = "name=$1 other=$2\n\
        asked() {\n  echo \"$name asked\" >> told\n  until grep -q \"$other asked\" told; do sleep 0.02; done\n  echo \"$name ends\" >> told\n  exit 0\n}\n\
        trap asked INT TERM\necho \"$name runs\" >> runs\nwhile :; do sleep 0.1; done\n";
    let app = |name: &str, other: &str, needs: &str| {
        format!("  {name}: {{command: sh app.sh {name} {other}, working_dir: ., stop_grace_period: 60s{needs}}}\n")
    };
    // Dependencies come first in the file.
    let compose =
        ["services:\n", &app("left", "right", ""), &app("right", "left", ""), &app("top", "top", ", depends_on: [left, right]")].concat();
    let folder = folder(home, &compose);
    home.write("shop/app.sh", script);
    folder
}

#[track_caller]
fn begin(home: &Home, folder: &Path, start: impl FnOnce()) {
    for file in ["told", "runs"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    start();
    home.wait_until("all run", || home.lines(folder.join("runs")).len() == 3);
}

#[track_caller]
fn stopped_by_levels(home: &Home, folder: &Path, what: &str) {
    let told = home.lines(folder.join("told"));
    assert_eq!(told.len(), 6, "{what}: {told:?}");
    assert_eq!(told[..2], ["top asked", "top ends"], "{what}");
    // Neither exited before both had the signal.
    assert!(told[2..4].iter().all(|line| line.ends_with(" asked")), "{what}: {told:?}");
}

#[test]
fn project_stops_level_by_level() {
    let home = home();
    let folder = tree(&home);
    begin(&home, &folder, || drop(home.cmd("up -d").cwd(&folder).run().ok()));
    home.cmd("down").cwd(&folder).run().ok();
    stopped_by_levels(&home, &folder, "down");
    let mut in_front = None;
    begin(&home, &folder, || in_front = Some(front(&home, &folder, "")));
    let mut front = in_front.unwrap();
    kill(front.pid(), Signal::INT);
    assert_eq!(front.exit_code(&home), 130);
    stopped_by_levels(&home, &folder, "Ctrl-C");
    for words in ["stop shop-left shop-right shop-top", "stop all", "delete shop-left shop-right shop-top"] {
        begin(&home, &folder, || drop(home.cmd("up -d").cwd(&folder).run().ok()));
        home.ok(words);
        stopped_by_levels(&home, &folder, words);
    }
    let app = |name: &str, other: &str, needs: &str| {
        format!(r#"{{"name": "{name}", "script": "app.sh", "args": ["{name}", "{other}"], "kill_timeout": 60000{needs}}}"#)
    };
    let apps = [app("left", "right", ""), app("right", "left", ""), app("top", "top", r#", "depends_on": ["left", "right"]"#)].join(", ");
    home.write("shop/apps.json", format!("{{\"apps\": [{apps}]}}"));
    begin(&home, &folder, || drop(home.cmd("start apps.json").cwd(&folder).run().ok()));
    home.cmd("delete apps.json").cwd(&folder).run().ok();
    stopped_by_levels(&home, &folder, "delete of a file");
}

#[test]
fn unknown_target_stops_only_targets_before_it() {
    let home = home();
    home.write("app.sh", "while :; do sleep 0.1; done\n");
    home.ok("start app.sh --name a");
    home.ok("start app.sh --name b");
    home.run("stop a nothing b").code(4).says("nothing");
    assert_eq!([home.app("a").status(), home.app("b").status()], ["stopped", "online"]);
    let pm2 = home_as_pm2();
    pm2.write("app.sh", "while :; do sleep 0.1; done\n");
    pm2.ok("start app.sh --name a");
    pm2.run("stop a nothing").code(1);
    assert_eq!(pm2.app("a").status(), "stopped");
}

#[test]
fn second_ctrl_c_also_kills_apps_that_were_not_stopped_yet() {
    let home = home();
    let stubborn = "[sh, -c, \"trap '' INT TERM; echo $$0 runs; while :; do sleep 0.1; done\", ";
    let app =
        |name: &str, needs: &str| format!("  {name}: {{command: {stubborn}{name}], restart: always, stop_grace_period: 600s{needs}}}\n");
    let folder = folder(&home, &["services:\n", &app("db", ""), &app("web", ", depends_on: [db]")].concat());
    let mut front = front(&home, &folder, "");
    let lines = front.until("runs");
    if !lines.iter().any(|line| line.contains("web runs")) {
        front.until("web runs");
    }
    let pids = [home.app("shop-db").pid(), home.app("shop-web").pid()];
    kill(front.pid(), Signal::INT);
    front.until("stopping 2 apps; press Ctrl-C again to kill them");
    assert!(pids.into_iter().all(alive));
    assert_eq!(front.killed(&home), 130);
    assert!(!pids.into_iter().any(alive));
    assert!(home.jlist().iter().all(|item| item.status() == "stopped"));
}
