//! `killDaemon` and `update` of npm's library, in each state that a daemon can have. The callbacks
//! must be the same as with npm's own daemon.

use std::path::{Path, PathBuf};

use ostler_testkit::{Home, Subject, installed_pm2, installed_pm2_of};

use super::program;
use crate::compare::ostler;

/// Calls in order, and whether an app runs before the first call.
const CASES: [(&[&str], bool); 5] = [
    (&["connect", "killDaemon"], false),
    (&["connect", "killDaemon", "connect", "list", "killDaemon"], true),
    (&["connect", "start", "update", "list", "killDaemon"], true),
    (&["connect", "update", "update", "list", "killDaemon"], true),
    (&["update", "killDaemon"], false),
];

/// Returns output and errors of the calls in a fresh home.
fn answers(subject: Subject, pm2: &Path, calls: &[&str], has_app: bool) -> (String, String) {
    let home = Home::new(subject);
    home.ok("ping");
    if has_app {
        home.ok("start sleep --name before -- 1000");
    }
    let out = program(&home, pm2, "ending.cjs").args(calls).output().unwrap();
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    // The client's progress messages contain pids and times.
    let results = lines.lines().filter(|line| calls.iter().any(|call| line.starts_with(&format!("{call}: "))));
    (results.collect::<Vec<_>>().join("\n"), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[track_caller]
fn matches_pm2(pm2: Option<PathBuf>) {
    let Some(pm2) = pm2 else { ostler_testkit::skip!("npm's pm2 is not installed") };
    for (calls, has_app) in CASES {
        let (theirs, _) = answers(Subject::Pm2(pm2.clone()), &pm2, calls, has_app);
        let (ours, errors) = answers(ostler(), &pm2, calls, has_app);
        assert_eq!(theirs, ours, "{calls:?}, an app before: {has_app}\n{errors}");
        assert!(!theirs.is_empty() && !errors.contains("fn is not a function"), "{calls:?}: {errors}");
    }
}

#[test]
fn version_5_kill_and_update_match_pm2() {
    matches_pm2(installed_pm2_of("5.4.3"));
}

#[test]
fn version_6_kill_and_update_match_pm2() {
    matches_pm2(installed_pm2_of("6.0.14"));
}

#[test]
fn version_7_kill_and_update_match_pm2() {
    matches_pm2(installed_pm2());
}
