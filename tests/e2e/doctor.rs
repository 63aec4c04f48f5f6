//! `doctor`: what is not as it should be is found, and nothing is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, Subject, fixture, needs_program, needs_root};
use serde_json::Value;

use crate::setup::home;

/// Level and words of the checks of this name.
#[track_caller]
fn found(home: &Home, name: &str) -> Vec<(String, String)> {
    let out = home.run("doctor --json");
    let told: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out}"));
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["check"].as_str().unwrap().starts_with(name));
    checks.map(|check| (check["level"].as_str().unwrap().to_owned(), check["found"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn nothing_is_started_and_trouble_of_the_home_is_told() {
    let home = home();
    let first = home.run("doctor");
    assert!(first.code == 0 && first.stdout.contains("daemon: none runs"), "{first}");
    assert!(!home.dir().exists() || home.daemons().is_empty());
    home.ok(format!("start {} --name a -- hold", fixture()));
    assert_eq!(found(&home, "daemon")[0].0, "fine");
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(found(&home, "home")[0].0, "warning");
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    home.kill_all_three();
    let left = home.run("doctor");
    assert!(left.code == 1 && left.stdout.contains("killed together with its keeper"), "{left}");
    home.ok("list");
    assert_eq!(home.run("doctor").code, 0);
}

#[test]
fn what_copies_of_an_app_must_not_use() {
    needs_program!("node");
    let home = home();
    home.write("package.json", r#"{"dependencies": {"express-session": "1", "pg": "1"}}"#);
    home.write("app.js", "setInterval(() => {}, 1000); if (0) require('node-cron')");
    home.ok("start app.js --name one");
    assert_eq!(found(&home, "app"), [("fine".to_owned(), "none has several copies".to_owned())]);
    home.ok("start app.js --name two -i 2");
    let told = found(&home, "app two");
    assert_eq!(told.len(), 2, "{told:?}");
    for (package, (level, words)) in ["node-cron", "express-session"].iter().zip(&told) {
        assert!(level == "warning" && words.starts_with(package) && words.ends_with("there are 2"), "{told:?}");
    }
}

#[test]
fn files_of_an_app_of_another_user_neither_hold_it_up_nor_lead_it_on() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let folder = home.work().join("theirs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("app.js"), "setInterval(() => {}, 1000)").unwrap();
    let secret = home.write("secret.json", r#"{"dependencies": {"node-cron": "1"}}"#);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&secret, folder.join("package.json")).unwrap();
    home.ok(format!("start {} --name theirs -i 2 --uid 65534", folder.join("app.js").display()));
    assert_eq!(found(&home, "app")[0].0, "fine", "root's file is not theirs to have read");
    fs::remove_file(folder.join("package.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("package.json"), 0o666.into()).unwrap();
    assert_eq!(found(&home, "app")[0].0, "fine", "a fifo holds nobody up");
}

#[test]
fn a_pm2_that_runs() {
    needs_program!("node");
    let Some(subject) = Subject::pm2() else { return };
    let (old, home) = (Home::new(subject), home());
    old.ok("ping");
    let told = found(&home, "PM2");
    let folder = old.dir().display().to_string();
    assert!(told.iter().any(|(level, words)| level == "warning" && words.ends_with(&folder)), "{told:?}");
}
