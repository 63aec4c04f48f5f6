//! Watching in the documents that this project started from, unchanged.

use crate::watch::wait_for_watching;
use std::fs;

use ostler_testkit::{fixture_path, needs_program};

use crate::setup::home_as_pm2;

const APP: &str = "console.log('runs'); setInterval(() => {}, 1000);\n";

/// Documents 000, 001 and 004.
#[test]
fn start_with_watch_restarts_on_change() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("app.js", APP);
    home.write("node_modules/m/index.js", "");
    home.ok("start app.js --watch");
    wait_for_watching(&home, "app", 1);
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(true));
    home.write("node_modules/m/index.js", "changed");
    home.write("app.log", "a log");
    home.write("app.js", format!("{APP}// changed\n"));
    home.wait_app("app", "restarted", |item| item.restarts() == 1 && item.status() == "online");
    assert_eq!(home.daemon_log().matches("Change detected on path app.js for app app - restarting").count(), 1);
    assert_eq!(home.daemon_log().matches("Change detected").count(), 1);
}

/// Document 003, in a Nest project: git ignores the running build.
#[test]
fn start_with_watch_restarts_after_a_gitignored_build() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("dist/main.js", APP);
    home.write(".gitignore", "# compiled output\n/dist\n/node_modules\n\n# Logs\nlogs\n*.log\n/coverage\n");
    fs::create_dir_all(home.work().join("coverage")).unwrap();
    home.ok("start ./dist/main.js --watch");
    wait_for_watching(&home, "main", 1);
    home.write("coverage/index.html", "");
    home.write("dist/main.js", format!("{APP}// built anew\n"));
    home.wait_app("main", "restarted", |item| item.restarts() == 1 && item.status() == "online");
    assert_eq!(home.daemon_log().matches("Change detected on path dist/main.js").count(), 1);
    assert_eq!(home.daemon_log().matches("Change detected").count(), 1);
}

/// Documents 001 and 004: `watch: false`, `ignore_watch: ['node_modules', 'logs']`.
#[test]
fn full_block_with_watch_false_keeps_ignore_watch() {
    needs_program!("node");
    let home = home_as_pm2();
    let block = fs::read_to_string(fixture_path("config/seeds/full.config.js")).unwrap();
    let file = home.write("ecosystem.config.js", &block);
    for folder in ["dist", "logs", "node_modules"] {
        fs::create_dir_all(home.work().join(folder)).unwrap();
    }
    let script = block.split("script: '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    home.write(script, APP);
    let output = home.ok(format!("start {file}"));
    assert!(!output.all().contains("ignore_watch"), "{output}");
    let name = home.jlist()[0].name().to_owned();
    assert!(!home.daemon_log().contains("Watching"), "{}", home.daemon_log());
    // Switched on: the list names the ignored folders, and the app's own logs are ignored as well.
    home.write("ecosystem.config.js", block.replace("watch: false", "watch: true"));
    home.ok(format!("restart {file}"));
    wait_for_watching(&home, &name, 1);
    home.write("logs/other.txt", "x");
    home.write("node_modules/x.js", "x");
    home.write("src.js", "x");
    home.wait_until("it is restarted", || home.daemon_log().contains("Change detected"));
    assert_eq!(home.daemon_log().matches("Change detected on path src.js").count(), 1);
    assert_eq!(home.daemon_log().matches("Change detected").count(), 1);
}

/// Document 001: two apps, `watch: false`.
#[test]
fn two_apps_with_watch_false_are_not_watched() {
    needs_program!("node");
    let home = home_as_pm2();
    let block = fs::read_to_string(fixture_path("config/seeds/two-apps.config.js")).unwrap();
    let file = home.write("ecosystem.config.js", block);
    home.write("app.js", APP);
    home.write("app2.js", APP);
    home.ok(format!("start {file}"));
    home.ok(format!("start {file} --env production"));
    // As in PM2: the key exists if the file has it.
    for item in home.jlist() {
        let expected = if item.name() == "app1" { serde_json::json!(false) } else { serde_json::Value::Null };
        assert_eq!(item.env("watch"), &expected, "{}", item.name());
    }
    assert!(!home.daemon_log().contains("Watching"));
}
