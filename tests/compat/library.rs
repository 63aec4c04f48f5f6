//! npm's unmodified `pm2` as a client, in the versions that are in use. Each session
//! (`tests/fixtures/library/session.cjs`) covers the library in CommonJS programs and ES modules,
//! and the command line. `version_…_differs_only_as_listed` runs it on npm's own daemon and on
//! ostler's daemon, and compares the results key by key.

mod differences;
mod ending;
mod keys;
mod survivor;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Home, MARKER, Subject, fixture_path, installed_pm2, installed_pm2_of};
use serde_json::Value;

use crate::compare::ostler;

/// Results of a session's steps, in order.
type Session = Vec<(String, Value)>;

const FILES: [&str; 10] = [
    "calls.cjs",
    "ending.cjs",
    "app.js",
    "fail.js",
    "server.js",
    "session.cjs",
    "library.cjs",
    "library.mjs",
    "no-daemon.cjs",
    "survivor.cjs",
];

/// Calls that fail on purpose in every version, with their error texts.
const FAILURES: [(&str, &str); 15] = [
    ("start what is not there", "Script not found: <root>/work/absent.js"),
    ("start no script", "No script path - aborting"),
    ("sendDataToProcessId to nobody", "Process with ID <99> unknown."),
    ("sendDataToProcessId without topic", "ID, DATA or TOPIC field is missing"),
    ("sendLineToStdin to nobody", "Process with ID <99> unknown."),
    ("sendLineToStdin to a worker", "Cannot send line to processes in cluster mode"),
    ("trigger what is not offered", "Action doesn't exist absent for object"),
    ("sendSignalToProcessName nobody", "Unknown process name"),
    ("sendSignalToProcessName with no signal", "Unknown signal: SIGNONE"),
    ("restart nobody", "process or namespace not found"),
    ("reload nobody", "process or namespace not found"),
    ("delete the folder again", "process or namespace not found"),
    ("stop nobody", "process or namespace not found"),
    ("sendDataToProcessId to what is stopped", "Process with ID <1> offline."),
    ("delete nobody", "process or namespace not found"),
];

/// Returns the folder of npm's package.
fn package(pm2: &Path) -> PathBuf {
    pm2.canonicalize()
        .unwrap()
        .ancestors()
        .find(|folder| folder.ends_with("pm2") && folder.join("package.json").exists())
        .unwrap()
        .to_owned()
}

/// Prepares a program of `tests/fixtures/library` to run in this home.
fn program(home: &Home, pm2: &Path, name: &str) -> Command {
    let (work, package) = (home.work(), package(pm2));
    for name in FILES {
        fs::copy(fixture_path(&format!("library/{name}")), work.join(name)).unwrap();
    }
    if !work.join("node_modules").exists() {
        fs::create_dir(work.join("node_modules")).unwrap();
        symlink(&package, work.join("node_modules/pm2")).unwrap();
    }
    let mut node = Command::new("node");
    node.arg(name).current_dir(&work).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    node.env("HOME", home.root().join("user")).env("PM2_HOME", home.dir()).env(MARKER, home.root());
    node.env("SESSION_OUT", home.root().join("session")).env("SESSION_ROOT", home.root()).env("SESSION_PACKAGE", package);
    node
}

/// Runs a session with this program in this home.
#[track_caller]
fn run(home: &Home, pm2: &Path, name: &str) -> Session {
    try_run(home, pm2, name).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs a session with this program in this home. The error names the last completed step.
fn try_run(home: &Home, pm2: &Path, name: &str) -> Result<Session, String> {
    let form = name.rsplit('.').next().unwrap_or_default();
    let out = program(home, pm2, name).env("SESSION_FORM", form).output().unwrap();
    let text = fs::read_to_string(home.root().join("session")).unwrap_or_default();
    let steps: Session = text.lines().map(|line| serde_json::from_str(line).unwrap()).map(step).collect();
    let last = steps.last().map(|(name, _)| name.as_str()).unwrap_or_default();
    if out.status.success() && last == "end" {
        return Ok(steps);
    }
    Err(format!("after {last}: {}\n{}", String::from_utf8_lossy(&out.stderr), home.report()))
}

fn step(mut line: Value) -> (String, Value) {
    (line["step"].as_str().unwrap().to_owned(), line["result"].take())
}

/// Runs a session on a running daemon, either ostler's or npm's.
#[track_caller]
fn session(subject: Subject, pm2: &Path, form: &str, version: Option<&str>) -> Session {
    let (home, steps) = session_of(subject, pm2, &format!("library.{form}"), version);
    home.wait_until("killDaemon ends everything", || home.processes().is_empty());
    steps
}

/// Runs a program on a daemon that already runs.
#[track_caller]
fn session_of(subject: Subject, pm2: &Path, program: &str, version: Option<&str>) -> (Home, Session) {
    let home = Home::new(subject);
    let start = home.cmd("start sleep --name first -- 1000");
    version.into_iter().fold(start, |start, version| start.env("OSTLER_PM2_VERSION", version)).run().ok();
    home.ok("delete first");
    let steps = run(&home, pm2, program);
    (home, steps)
}

#[track_caller]
fn works(pm2: Option<PathBuf>, form: &str) {
    let Some(pm2) = pm2 else { ostler_testkit::skip!("npm's pm2 is not installed") };
    assert_works(&session(ostler(), &pm2, form, None));
}

/// Checks the results of a session with ostler's daemon that has PM2's present version.
#[track_caller]
fn assert_works(steps: &Session) {
    let failed = |(name, result): &'_ (String, Value)| Some((name.clone(), result.get("error")?.as_str()?.to_owned()));
    let failures: Vec<(String, String)> = steps.iter().filter_map(failed).filter(|(name, _)| name != "startup").collect();
    let expected: Vec<(String, String)> = FAILURES.map(|(name, why)| (name.to_owned(), why.to_owned())).into();
    assert_eq!(failures, expected);
    let result = |name: &str| &steps.iter().find(|(step, _)| step == name).unwrap_or_else(|| panic!("no step {name}")).1;
    assert_eq!(result("the same daemon as before"), true, "a client of another version has replaced it");
    assert_eq!(result("getVersion"), "7.0.4");
    // Expected events: the start, three restarts and a reload. On a busy machine npm's daemon may
    // send one event less (see `differences`); ostler never does.
    assert_eq!(result("process:event of object 2")["online, by itself"], 5);
}

#[test]
fn version_5_works() {
    works(installed_pm2_of("5.4.3"), "cjs");
}

#[test]
fn version_5_works_as_module() {
    works(installed_pm2_of("5.4.3"), "mjs");
}

#[test]
fn version_6_works() {
    works(installed_pm2_of("6.0.14"), "cjs");
}

#[test]
fn version_6_works_as_module() {
    works(installed_pm2_of("6.0.14"), "mjs");
}

/// Runs a program that starts without a daemon and acts as the daemon itself. Returns the app list
/// that the program saw before and after it started an app.
#[track_caller]
fn without_daemon(home: &Home, pm2: &Path) -> String {
    let out = program(home, pm2, "no-daemon.cjs").output().unwrap();
    let seen = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{seen}\n{}", home.report());
    // The program prints everything to its own daemon's log.
    seen.trim().rsplit("PM2 error: ").next().unwrap_or_default().to_owned()
}

#[track_caller]
fn joins(pm2: Option<PathBuf>) {
    let Some(pm2) = pm2 else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let home = Home::new(ostler());
    home.ok("start sleep --name own -- 1000");
    let (daemon, pid) = (home.daemon_pid(), home.app("own").pid());
    assert_eq!(without_daemon(&home, &pm2), "own online; own online, other online");
    assert_eq!((home.daemon_pid(), home.app("own").pid(), home.app("other").status()), (daemon, pid, "online"), "it outlives the program");
}

#[test]
fn version_5_without_daemon_joins_ostler() {
    joins(installed_pm2_of("5.4.3"));
}

#[test]
fn version_6_without_daemon_joins_ostler() {
    joins(installed_pm2_of("6.0.14"));
}

#[test]
fn version_7_without_daemon_joins_ostler() {
    joins(installed_pm2());
}

/// A program that was the daemon itself leaves its sockets, its pid file and its apps behind, as it
/// also does with npm's `pm2` alone.
#[test]
fn daemon_adopts_apps_of_a_client_without_daemon() {
    let Some(pm2) = installed_pm2() else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let home = Home::new(ostler());
    assert_eq!(without_daemon(&home, &pm2), "; other online");
    assert!(home.dir().join("rpc.sock").exists() && home.dir().join("pm2.pid").exists());
    home.ok("start sleep --name own -- 1000");
    assert_eq!(without_daemon(&home, &pm2), "own online; own online, other online");
    assert_eq!(home.jlist().len(), 2);
}

/// Runs the session with this version on npm's daemon and on ostler's, and compares the results key
/// by key. The present version also has to work as the older ones do.
#[track_caller]
fn differs_as_listed(pm2: Option<PathBuf>, form: &str, version: &str) {
    let Some(pm2) = pm2 else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let theirs = session(Subject::Pm2(pm2.clone()), &pm2, form, None);
    // ostler's own answer, unless a variable changes it.
    let is_present = version == "7.0.4";
    let ours = session(ostler(), &pm2, form, Some(version).filter(|_| !is_present));
    if is_present {
        assert_works(&ours);
    }
    let found = keys::differences(&theirs, &ours);
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    let wrong = keys::unexpected(&found, differences::LIST, major);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn version_5_differs_only_as_listed() {
    differs_as_listed(installed_pm2_of("5.4.3"), "cjs", "5.4.3");
}

#[test]
fn version_6_differs_only_as_listed() {
    differs_as_listed(installed_pm2_of("6.0.14"), "cjs", "6.0.14");
}

#[test]
fn version_7_works_and_differs_only_as_listed() {
    differs_as_listed(installed_pm2(), "cjs", "7.0.4");
}

#[test]
fn version_7_works_and_differs_only_as_listed_as_module() {
    differs_as_listed(installed_pm2(), "mjs", "7.0.4");
}

/// Runs the calls on npm's daemon. Some calls, for example `set`, sometimes never call back. Such a
/// session is discarded and repeated.
fn calls_of_npm(pm2: &Path) -> Session {
    let session = || {
        let home = Home::new(Subject::Pm2(pm2.to_owned()));
        home.ok("start sleep --name first -- 1000");
        home.ok("delete first");
        match try_run(&home, pm2, "calls.cjs") {
            Err(why) if why.contains("nothing for") => None,
            result => Some(result.unwrap_or_else(|why| panic!("{why}"))),
        }
    };
    (0..5).find_map(|_| session()).expect("a call of npm's library never calls back")
}

/// Compares the first and second calls, with valid and invalid arguments, on npm's daemon and on
/// ostler's, key by key.
#[test]
fn calls_differ_from_npm_only_as_listed() {
    let Some(pm2) = installed_pm2() else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let compared = || {
        let found = keys::differences(&calls_of_npm(&pm2), &session_of(ostler(), &pm2, "calls.cjs", None).1);
        keys::unexpected(&found, differences::CALLS, 7)
    };
    let mut wrong = compared();
    // On a busy machine npm's daemon may restart an app once more, or later. A difference counts
    // only if three runs show it.
    for _ in 0..2 {
        if !wrong.is_empty() {
            let again = compared();
            wrong.retain(|line| again.contains(line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
