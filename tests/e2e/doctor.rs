//! `doctor` reports problems and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Cmd, Home, Subject, fixture, needs_program, needs_root};

use crate::setup::{home, refusing};

/// Returns level and words of the checks of this name.
#[track_caller]
fn findings(home: &Home, name: &str) -> Vec<(String, String)> {
    findings_by(home.cmd("doctor --json"), name)
}

#[track_caller]
fn findings_by(command: Cmd<'_>, name: &str) -> Vec<(String, String)> {
    let out = command.run();
    let told = out.json();
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["check"].as_str().unwrap().starts_with(name));
    checks.map(|check| (check["level"].as_str().unwrap().to_owned(), check["found"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn doctor_starts_nothing_and_reports_home_problems() {
    let home = home();
    let first = home.run("doctor");
    assert!(first.code == 0 && first.stdout.contains("daemon: not running"), "{first}");
    assert!(!home.dir().exists() || home.daemons().is_empty());
    home.ok(format!("start {} --name a -- hold", fixture()));
    assert_eq!(findings(&home, "daemon")[0].0, "fine");
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(findings(&home, "home")[0].0, "warning");
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    home.kill_all_three();
    let left = home.run("doctor");
    assert!(left.code == 1 && left.stdout.contains("killed together with its keeper"), "{left}");
    home.ok("list");
    assert_eq!(home.run("doctor").code, 0);
}

#[test]
fn doctor_warns_about_modules_unsafe_with_copies() {
    needs_program!("node");
    let home = home();
    home.write("package.json", r#"{"dependencies": {"express-session": "1", "pg": "1"}}"#);
    home.write("app.js", "setInterval(() => {}, 1000); if (0) require('node-cron')");
    home.ok("start app.js --name one");
    assert_eq!(findings(&home, "app"), [("fine".to_owned(), "no app runs several instances".to_owned())]);
    home.ok("start app.js --name two -i 2");
    let told = findings(&home, "app two");
    assert_eq!(told.len(), 2, "{told:?}");
    for (package, (level, words)) in ["node-cron", "express-session"].iter().zip(&told) {
        assert!(level == "warning" && words.starts_with(package) && words.ends_with("(2 instances)"), "{told:?}");
    }
}

#[test]
fn doctor_is_not_misled_by_files_of_another_user() {
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
    assert_eq!(findings(&home, "app")[0].0, "fine", "root's file is not theirs to have read");
    fs::remove_file(folder.join("package.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("package.json"), 0o666.into()).unwrap();
    assert_eq!(findings(&home, "app")[0].0, "fine", "a fifo holds nobody up");
}

#[test]
fn doctor_reports_a_running_pm2() {
    needs_program!("node");
    let Some(subject) = Subject::pm2() else { return };
    let (old, home) = (Home::new(subject), home());
    old.ok("ping");
    let told = findings(&home, "PM2");
    let folder = old.dir().display().to_string();
    assert!(told.iter().any(|(level, words)| level == "warning" && words.ends_with(&folder)), "{told:?}");
}

/// Returns the only check of this name on a system that refuses these system calls.
#[track_caller]
fn findings_without_calls(home: &Home, calls: &str, name: &str) -> Vec<(String, String)> {
    findings_by(home.cmd("doctor --json").after(&refusing("EPERM", calls)), name)
}

#[test]
fn doctor_reports_low_open_file_limit() {
    let home = home();
    home.cmd(format!("start {} --name a -i 2 -- hold", fixture())).after("ulimit -n 1030").run().ok();
    let told = findings(&home, "open files");
    assert_eq!(told, [("warning".to_owned(), "1030, and 2 instances may need 1040".to_owned())]);
    home.ok("kill");
    home.cmd(format!("start {} --name a -- hold", fixture())).after("ulimit -n 4096").run().ok();
    assert_eq!(findings(&home, "open files"), [("fine".to_owned(), "4096".to_owned())]);
}

#[test]
fn doctor_reports_low_watch_limit_if_an_app_is_watched() {
    needs_root!();
    needs_program!("unshare");
    let home = home();
    let few = home.write("few", "100\n");
    // In a mount namespace of its own: the limit belongs to the whole machine.
    let wrapper =
        format!("exec unshare -m sh -c 'mount --bind {few} /proc/sys/fs/inotify/max_user_watches && exec \"$0\" \"$@\"' \"$0\" \"$@\"");
    let told = |home: &Home| findings_by(home.cmd("doctor --json").after(&wrapper), "file watches");
    home.ok(format!("start {} --name a -- hold", fixture()));
    if findings_by(home.cmd("doctor --json").after(&wrapper), "home").is_empty() {
        ostler_testkit::skip!("no mount namespace can be made");
    }
    assert_eq!(told(&home), [], "nothing is watched");
    home.ok("restart a --watch");
    assert_eq!(told(&home), [("warning".to_owned(), "this user may watch 100 folders".to_owned())]);
}

#[test]
fn doctor_reports_refused_system_calls_and_unknown_clock() {
    needs_program!("python3");
    let home = home();
    assert_eq!(findings(&home, "system calls"), [("fine".to_owned(), "all system calls that ostler needs are allowed".to_owned())]);
    let told = findings_without_calls(&home, "clone3,pidfd_open", "system calls");
    let words: Vec<&str> = told.iter().map(|(_, words)| words.as_str()).collect();
    assert!(told.iter().all(|(level, _)| level == "note"), "{told:?}");
    for call in ["clone3 is blocked (", "pidfd_open is blocked ("] {
        assert!(words.iter().any(|words| words.starts_with(call)), "{call}: {told:?}");
    }
    let told = findings_without_calls(&home, "adjtimex,clock_adjtime", "clock");
    assert_eq!(told, [("note".to_owned(), "the kernel does not report whether it is synchronized".to_owned())]);
    // Otherwise it does, one way or the other.
    let told = findings(&home, "clock");
    assert!(["synchronized", "not synchronized (NTP is off)"].contains(&told[0].1.as_str()), "{told:?}");
}

#[test]
fn doctor_reports_instances_without_cgroups() {
    let home = home();
    home.cmd(format!("start {} --name a -- hold", fixture())).env("OSTLER_CGROUP", "off").run().ok();
    let told = findings(&home, "cgroups");
    let expected = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "instances have no cgroup"
    } else {
        "cgroup v2 is not available"
    };
    assert_eq!(told, [("note".to_owned(), expected.to_owned())]);
}

#[test]
fn doctor_reports_instances_with_cgroups() {
    ostler_testkit::needs_cgroup!();
    let home = home();
    home.ok(format!("start {} --name a -- hold", fixture()));
    assert_eq!(findings(&home, "cgroups"), [("fine".to_owned(), "each instance has its own cgroup".to_owned())]);
}

#[test]
fn doctor_reports_pm2_boot_unit() {
    needs_root!();
    needs_program!("unshare");
    let home = home();
    let units = home.work().join("units");
    let pm2_home = home.root().join("user/.pm2");
    fs::create_dir_all(&pm2_home).unwrap();
    let unit =
        |pm2: &str| format!("[Service]\nType=forking\nUser=root\nEnvironment=PM2_HOME={}\nExecStart={pm2} resurrect\n", pm2_home.display());
    home.write("units/pm2-root.service", unit("/usr/lib/node_modules/pm2/bin/pm2"));
    home.write("units/pm2-ours.service", unit("/usr/bin/ostler"));
    let wrapper = format!(
        "exec unshare -m sh -c 'mkdir -p /etc/systemd/system && mount --bind {} /etc/systemd/system && exec \"$0\" \"$@\"' \"$0\" \"$@\"",
        units.display()
    );
    let told = findings_by(home.cmd("doctor --json").after(&wrapper), "PM2");
    let units: Vec<_> = told.iter().filter(|(_, words)| words.ends_with("starts it at boot")).collect();
    assert_eq!(units, [&("warning".to_owned(), "pm2-root.service starts it at boot".to_owned())]);
}

/// Returns the marks of the listed findings, and the number of passed checks in the last line. Both
/// are from one run: a PM2 daemon that another test starts or ends changes the next one.
fn listed_and_passed(told: &str) -> (String, usize) {
    let mut lines: Vec<&str> = told.lines().filter(|line| !line.starts_with(' ')).collect();
    let counts = lines.pop().unwrap().split(" checks passed").next().unwrap();
    let passed = counts.rsplit(' ').next().unwrap().parse().unwrap();
    (lines.iter().filter_map(|line| line.chars().next()).collect(), passed)
}

/// Checks that passed are counted; `--all` lists them. The worst finding is first.
#[test]
fn doctor_shows_problems_first_and_passed_checks_on_request() {
    let home = home();
    home.ok(format!("start {} --name a -- hold", fixture()));
    let brief = home.run("doctor").says("`ostler doctor --all` lists them").stdout;
    let (listed, passed) = listed_and_passed(&brief);
    assert!(passed > 1 && !listed.contains('✓'), "{brief}");
    let all = home.run("doctor --all").says("✓ daemon: runs, pid ").never_says("lists them").stdout;
    let (listed, passed) = listed_and_passed(&all);
    assert_eq!(listed.matches('✓').count(), passed, "{all}");
    assert!(listed.trim_start_matches('✗').trim_start_matches('!').trim_start_matches('·').chars().all(|mark| mark == '✓'), "{all}");
    // A daemon that was killed together with its apps is the worst.
    home.kill_all_three();
    let wrong = home.run("doctor --all").code(1).stdout;
    assert!(wrong.starts_with("✗ daemon: it was killed together with its keeper"), "{wrong}");
    home.ok("list");
    // Called as `pm2`, all findings are listed as in earlier versions.
    let mut as_pm2 = crate::setup::home_as_pm2();
    as_pm2.set_dir(home.dir());
    let listed = as_pm2.run("doctor").stdout;
    assert!(listed.contains("✓ daemon: runs, pid ") && !listed.contains("passed"), "{listed}");
}
