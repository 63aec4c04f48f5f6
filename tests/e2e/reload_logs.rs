//! `reloadLogs` after a log file was renamed. New lines go to the original path, and old lines stay
//! under the new name. No line is lost, duplicated or cut.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use ostler_testkit::{Home, Tmpfs, fixture, kill, needs_root, setting, skip, state};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{SeededRandom, ecosystem, home, send_line, start_echo_app, start_fixture};

fn rename(home: &Home, from: &str, to: &str) {
    fs::rename(home.log_path(from), home.log_path(to)).unwrap();
}

/// Returns the output of `reloadLogs --json`, an entry for each log that changed.
#[track_caller]
fn reload(home: &Home) -> Vec<Value> {
    serde_json::from_str(&home.ok("reloadLogs --json").stdout).unwrap()
}

/// Checks that every line of several writers, which count from 1, occurs exactly once, complete,
/// and in each writer's order. Lines look like `<writer> <number> x…x`.
#[track_caller]
pub fn assert_all_lines(texts: &[String], writers: u32, n: u32) {
    let mut next = vec![1; writers as usize];
    for (file, text) in texts.iter().enumerate() {
        assert!(text.is_empty() || text.ends_with('\n'), "file {file} ends within a line");
        for line in text.lines() {
            let mut words = line.split(' ');
            let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
            let (Some(writer), Some(seen)) = (number(), number()) else { panic!("file {file} has a cut line {line:?}") };
            assert!(line.len() >= 40 && line.ends_with('.'), "file {file} has a cut line {line:?}");
            assert_eq!(seen, next[writer as usize], "writer {writer} in file {file}");
            next[writer as usize] += 1;
        }
    }
    assert!(next.iter().all(|next| *next == n + 1), "not every line is there: next would be {next:?} of {n}");
}

/// Starts the fixture's `flood`, which reports when it has written everything.
fn flood(home: &Home, n: u32, instances: u32, more: &str) {
    let file = ecosystem(
        home,
        &format!(
            r#""name": "f", "script": "{}", "args": "flood {n}", "instances": {instances}, "exec_mode": "fork", "merge_logs": true {more}"#,
            fixture()
        ),
    );
    home.ok(format!("start {file}"));
}

#[track_caller]
fn wait_for_ends(home: &Home, instances: u32) {
    home.wait_until("every writer has come to its end", || home.log("f-error.log").matches("end").count() == instances as usize);
}

fn log_texts(home: &Home, last: u32) -> Vec<String> {
    (1..=last).map(|i| home.log(&format!("f-out.log.{i}"))).chain([home.log("f-out.log")]).collect()
}

#[test]
fn renamed_file_is_reopened_at_its_path() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    let before = fs::metadata(home.log_path("app-out.log")).unwrap();
    let pid = home.app("app").pid();
    rename(&home, "app-out.log", "app-out.log.1");
    let told = reload(&home);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["outcome"], &told[0]["ids"]), (&"handed_back".into(), &serde_json::json!([0])));
    assert_eq!(told[0]["rotated"], home.log_path("app-out.log.1").to_str().unwrap());
    let old = home.log("app-out.log.1");
    home.wait_until("new lines arrive", || home.log("app-out.log").lines().count() > 100);
    assert_eq!(home.log("app-out.log.1"), old, "the old file still grows");
    let both: Vec<u32> = (old.clone() + &home.log("app-out.log")).lines().map(|line| line.parse().unwrap()).collect();
    assert!(both.iter().zip(1..).all(|(seen, wanted)| *seen == wanted));
    for name in ["app-out.log", "app-out.log.1"] {
        let now = fs::metadata(home.log_path(name)).unwrap();
        assert_eq!((now.mode(), now.uid(), now.gid()), (before.mode(), before.uid(), before.gid()), "{name}");
    }
    assert_eq!(home.app("app").pid(), pid);
    // No files are left over, and a second call has nothing to do.
    assert_eq!(fs::read_dir(home.dir().join("logs")).unwrap().count(), 3);
    assert!(reload(&home).is_empty());
}

#[test]
fn file_created_by_logrotate_keeps_its_mode() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    rename(&home, "app-out.log", "app-out.log.1");
    fs::write(home.log_path("app-out.log"), "").unwrap();
    fs::set_permissions(home.log_path("app-out.log"), fs::Permissions::from_mode(0o644)).unwrap();
    home.ok("reloadLogs").says("app-out.log.1");
    home.wait_until("new lines arrive", || !home.log("app-out.log").is_empty());
    let mode = |name: &str| fs::metadata(home.log_path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("app-out.log"), mode("app-out.log.1")), (0o644, 0o600));
}

#[test]
fn several_fast_writers_lose_no_line() {
    let home = home();
    flood(&home, 400_000, 3, "");
    for round in 1..=3 {
        home.wait_until("the file has grown", || fs::metadata(home.log_path("f-out.log")).is_ok_and(|meta| meta.len() > 1 << 20));
        // The highest number is the newest file.
        rename(&home, "f-out.log", &format!("f-out.log.{round}"));
        let told = reload(&home);
        assert_eq!(told[0]["outcome"], "handed_back", "{told:?}");
        assert_eq!(told[0]["ids"], serde_json::json!([0, 1, 2]));
        eprintln!("round {round}: {told:?}");
    }
    wait_for_ends(&home, 3);
    assert_all_lines(&log_texts(&home, 3), 3, 400_000);
}

#[test]
fn sigusr2_reloads_logs() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    rename(&home, "app-out.log", "app-out.log.1");
    kill(home.keeper_pid(), Signal::USR2);
    home.wait_until("new lines arrive", || !home.log("app-out.log").is_empty());
}

#[test]
fn reload_logs_survives_killed_daemon() {
    let home = home();
    let mut dice = SeededRandom::for_kills();
    let rounds = setting("OSTLER_KILL_ROUNDS").unwrap_or(25);
    // A writer with a shell as parent. It writes its lines in pieces, so that a line is incomplete
    // at most instants.
    let script = home.write("app.sh", format!("#!/bin/sh\n{} flood $1 3\nexec sleep 1000\n", fixture()));
    let n = 40_000 * u32::try_from(rounds).unwrap();
    home.ok(format!("start {script} --name f -- {n}"));
    let mut last = 0;
    for round in 0..rounds {
        home.wait_until("the file has grown", || {
            home.log("f-error.log").contains("end") || fs::metadata(home.log_path("f-out.log")).is_ok_and(|meta| meta.len() > 100_000)
        });
        last += 1;
        rename(&home, "f-out.log", &format!("f-out.log.{last}"));
        let mut caller = home.cmd("reloadLogs").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // No condition to wait for: this sleep is the random instant itself.
        std::thread::sleep(std::time::Duration::from_micros(dice.below(30_000)));
        let both = round % 5 == 4;
        let keeper = home.keeper_pid();
        kill(home.daemon_pid(), Signal::KILL);
        if both {
            kill(keeper, Signal::KILL);
        }
        drop(caller.wait());
        // The next daemon finishes the reload. If the request never arrived, it is sent again.
        home.wait_until("the logs are reloaded", || home.run("reloadLogs").code == 0);
        home.wait_until("nobody stands still", || home.app_processes().iter().all(|p| state(p.pid) != Some('T')));
        assert!(home.log_path("f-out.log").exists(), "round {round}: no new file\n{}", home.report());
    }
    wait_for_ends(&home, 1);
    assert_all_lines(&log_texts(&home, last), 1, n);
    let files = fs::read_dir(home.dir().join("logs")).unwrap().count();
    assert_eq!(files, 2 + last as usize, "something was left over");
}

#[test]
fn failed_reload_is_reported_per_file() {
    let home = home();
    type Case = (&'static str, fn(&Home), &'static str);
    let cases: [Case; 3] = [
        (
            "content",
            |home| {
                rename(home, "content-out.log", "x.1");
                fs::write(home.log_path("content-out.log"), "mine\n").unwrap();
            },
            "other content",
        ),
        (
            "folder",
            |home| {
                rename(home, "folder-out.log", "x.2");
                fs::create_dir(home.log_path("folder-out.log")).unwrap();
            },
            "is not a regular file",
        ),
        (
            "fifo",
            |home| {
                rename(home, "fifo-out.log", "x.3");
                let path = home.log_path("fifo-out.log");
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            },
            "is not a regular file",
        ),
    ];
    for (name, change, reason) in cases {
        start_echo_app(&home, name, "");
        home.wait_log(&format!("{name}-out.log"), "listening");
        change(&home);
        let output = home.run("reloadLogs").code(1);
        assert!(output.all().contains(reason) && output.all().contains(&format!("{name}-out.log")), "{}", output.all());
        home.ok(format!("delete {name}"));
    }
    assert_eq!(home.log("x.1"), "listening\n");
    assert_eq!(home.log("content-out.log"), "mine\n");
}

#[test]
fn non_regular_files_are_skipped() {
    let home = home();
    start_fixture(&home, "null", "-o /dev/null -e /dev/null", "hold");
    start_fixture(&home, "stdout", "-f -o /dev/stdout -e /dev/stderr", "hold");
    let fifo = home.work().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    start_fixture(&home, "fifo", &format!("-f -o {}", fifo.display()), "hold");
    fs::rename(&fifo, fifo.with_extension("1")).unwrap();
    assert!(reload(&home).is_empty());
}

#[test]
fn new_file_used_by_another_instance_is_left_alone() {
    let home = home();
    flood(&home, 1000, 2, "");
    wait_for_ends(&home, 2);
    rename(&home, "f-out.log", "f-out.log.1");
    home.ok("restart 0");
    home.wait_until("the new file is in use", || home.log("f-out.log").lines().count() == 1000);
    let output = home.run("reloadLogs").code(1);
    assert!(output.all().contains("another process writes to the new file"), "{}", output.all());
    home.ok("restart 1");
    assert!(reload(&home).is_empty());
}

#[test]
fn links_in_the_path_are_followed() {
    let home = home();
    let (link, real) = (home.work().join("link.log"), home.work().join("real.log"));
    std::os::unix::fs::symlink("real.log", &link).unwrap();
    start_echo_app(&home, "p", &format!("-o {}", link.display()));
    home.wait_file("real.log", "listening");
    // The target of the link is renamed.
    fs::rename(&real, home.work().join("real.log.1")).unwrap();
    home.ok("reloadLogs");
    send_line(&home, "p", "second");
    home.wait_file("real.log", "second");
    assert_eq!((home.read("real.log").as_str(), home.read("real.log.1").as_str()), ("second\n", "listening\n"));
    // The link itself is renamed: its new name has the old lines, and the path becomes a file.
    fs::rename(&link, home.work().join("link.log.1")).unwrap();
    home.ok("reloadLogs");
    send_line(&home, "p", "third");
    home.wait_file("link.log", "third");
    assert_eq!((home.read("link.log").as_str(), home.read("link.log.1").as_str()), ("third\n", "second\n"));
}

#[test]
fn hard_link_instead_of_rename_is_handled() {
    let home = home();
    start_echo_app(&home, "p", "");
    home.wait_log("p-out.log", "listening");
    fs::hard_link(home.log_path("p-out.log"), home.log_path("p-out.log.1")).unwrap();
    assert!(reload(&home).is_empty(), "the file is where it should be");
    fs::remove_file(home.log_path("p-out.log")).unwrap();
    home.ok("reloadLogs");
    send_line(&home, "p", "second");
    home.wait_log("p-out.log", "second");
    assert_eq!((home.log("p-out.log").as_str(), home.log("p-out.log.1").as_str()), ("second\n", "listening\n"));
}

#[test]
fn app_stopped_by_its_user_stays_stopped() {
    let home = home();
    let pid = start_echo_app(&home, "p", "");
    home.wait_log("p-out.log", "listening");
    home.stop_process(pid);
    rename(&home, "p-out.log", "p-out.log.1");
    home.ok("reloadLogs");
    assert_eq!(state(pid), Some('T'));
    kill(pid, Signal::CONT);
    send_line(&home, "p", "awake");
    home.wait_log("p-out.log", "awake");
}

#[test]
fn disk_errors_change_nothing() {
    needs_root!();
    let home = home();
    // The disk has room for the log, but not for a copy.
    let Some(disk) = Tmpfs::mount(&home.work().join("disk"), 1024) else { skip!("this machine does not permit mount") };
    let file = disk.path().join("f.log");
    let script = home.write("fill.sh", "#!/bin/sh\nhead -c 700000 /dev/zero | tr '\\0' x\necho end\nexec sleep 1000\n");
    home.ok(format!("start {script} --name f -o {}", file.display()));
    home.wait_until("the log is large", || fs::metadata(&file).is_ok_and(|meta| meta.len() > 700_000));
    fs::rename(&file, disk.path().join("f.log.1")).unwrap();
    let output = home.run("reloadLogs").code(1);
    assert!(output.all().contains("No space left"), "{}", output.all());
    let names: Vec<_> = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((names, fs::metadata(disk.path().join("f.log.1")).unwrap().len()), (vec!["f.log.1".into()], 700_004));
    // The log was moved to another disk: the file in use has no name any more, and its space is
    // freed.
    fs::copy(disk.path().join("f.log.1"), home.work().join("f.log.1")).unwrap();
    fs::remove_file(disk.path().join("f.log.1")).unwrap();
    home.ok("reloadLogs");
    assert!(file.exists());
    home.wait_until("its space is free", || rustix::fs::statvfs(disk.path()).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > 900 << 10));
}

#[test]
fn files_of_another_user_keep_their_owner() {
    needs_root!();
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\necho listening\nexec sleep 1000\n");
    home.ok(format!("start {script} --name p --uid 65534"));
    home.wait_log("p-out.log", "listening");
    std::os::unix::fs::chown(home.log_path("p-out.log"), Some(65534), Some(65534)).unwrap();
    rename(&home, "p-out.log", "p-out.log.1");
    home.ok("reloadLogs");
    for name in ["p-out.log", "p-out.log.1"] {
        let meta = fs::metadata(home.log_path(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (65534, 65534, 0o600), "{name}");
    }
}

#[test]
fn app_deleted_during_the_call_is_handled() {
    let home = home();
    let mut dice = SeededRandom::for_kills();
    for round in 0..10 {
        flood(&home, 3_000_000, 2, "");
        home.wait_until("the file has grown", || fs::metadata(home.log_path("f-out.log")).is_ok_and(|meta| meta.len() > 100_000));
        rename(&home, "f-out.log", &format!("f-out.log.{round}"));
        let mut caller = home.cmd("reloadLogs").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // No condition to wait for: this sleep is the random instant itself.
        std::thread::sleep(std::time::Duration::from_micros(dice.below(20_000)));
        home.ok(["delete f", "restart f", "stop f"][round % 3]);
        caller.wait().unwrap();
        home.run("delete f");
        assert!(home.app_processes().is_empty());
        let left = fs::read_dir(home.dir().join("logs")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with('.')), "a copy was left over");
        fs::remove_dir_all(home.dir().join("logs")).unwrap();
    }
}

#[test]
fn a_follower_sees_each_line_once() {
    let home = home();
    let seen = home.work().join("seen");
    start_fixture(&home, "first", "", "count 10");
    home.wait_log("first-out.log", "00000010");
    let mut follower = home.cmd("logs all --raw --out").command().stdout(fs::File::create(&seen).unwrap()).spawn().unwrap();
    home.wait_file("seen", "00000010");
    let n = 300_000;
    home.ok(format!("start {} -f --name f -- flood {n} 3", fixture()));
    // A follower that starts later does not see lines of files rotated before.
    home.wait_file("seen", "\n0 1 ");
    for round in 1..=5 {
        home.wait_until("the file has grown", || fs::metadata(home.log_path("f-out.log")).is_ok_and(|meta| meta.len() > 500_000));
        rename(&home, "f-out.log", &format!("f-out.log.{round}"));
        assert_eq!(reload(&home)[0]["outcome"], "handed_back");
    }
    wait_for_ends(&home, 1);
    home.wait_file("seen", &format!("0 {n} "));
    drop(follower.kill());
    drop(follower.wait());
    let text = home.read("seen");
    let lines: String = text.lines().filter(|line| line.ends_with("x.")).flat_map(|line| [line, "\n"]).collect();
    assert_all_lines(&[lines], 1, n);
}
