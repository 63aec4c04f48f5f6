//! `reloadLogs` after a log file was renamed: new lines arrive at the path, the old ones stay under the new name, none is lost, doubled or cut.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::SystemTime;

use ostler_testkit::{Home, alive, fixture, kill, needs_root};
use rustix::process::Signal;
use serde_json::Value;

use crate::promise_1_daemon_killed::kill_daemon;
use crate::setup::{ecosystem, home, start_fixture};

fn log(home: &Home, name: &str) -> PathBuf {
    home.dir().join("logs").join(name)
}

fn rename(home: &Home, from: &str, to: &str) {
    fs::rename(log(home, from), log(home, to)).unwrap();
}

/// What `reloadLogs --json` says, one entry per log with news.
#[track_caller]
fn reload(home: &Home) -> Vec<Value> {
    serde_json::from_str(&home.ok("reloadLogs --json").stdout).unwrap()
}

/// Every line of several writers, who count from 1, exactly once, whole, and in the order of each writer. Lines look like `<writer> <number> x…x`.
#[track_caller]
fn all_there(texts: &[String], writers: u32, n: u32) {
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

/// Begins as `flood` of the fixture does, and tells when it has said everything.
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

fn texts(home: &Home, last: u32) -> Vec<String> {
    (1..=last).map(|i| home.log(&format!("f-out.log.{i}"))).chain([home.log("f-out.log")]).collect()
}

#[test]
fn a_renamed_file_goes_back_to_its_path() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    let before = fs::metadata(log(&home, "app-out.log")).unwrap();
    let pid = home.app("app").pid();
    rename(&home, "app-out.log", "app-out.log.1");
    let told = reload(&home);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["outcome"], &told[0]["ids"]), (&"handed_back".into(), &serde_json::json!([0])));
    assert_eq!(told[0]["rotated"], log(&home, "app-out.log.1").to_str().unwrap());
    let old = home.log("app-out.log.1");
    home.wait_until("new lines arrive", || home.log("app-out.log").lines().count() > 100);
    assert_eq!(home.log("app-out.log.1"), old, "the old file still grows");
    let both: Vec<u32> = (old.clone() + &home.log("app-out.log")).lines().map(|line| line.parse().unwrap()).collect();
    assert!(both.iter().zip(1..).all(|(seen, wanted)| *seen == wanted));
    for name in ["app-out.log", "app-out.log.1"] {
        let now = fs::metadata(log(&home, name)).unwrap();
        assert_eq!((now.mode(), now.uid(), now.gid()), (before.mode(), before.uid(), before.gid()), "{name}");
    }
    assert_eq!(home.app("app").pid(), pid);
    // Nothing is left over, and nothing more is to be done.
    assert_eq!(fs::read_dir(home.dir().join("logs")).unwrap().count(), 3);
    assert!(reload(&home).is_empty());
}

#[test]
fn a_file_made_by_logrotate_gives_its_mode() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    rename(&home, "app-out.log", "app-out.log.1");
    fs::write(log(&home, "app-out.log"), "").unwrap();
    fs::set_permissions(log(&home, "app-out.log"), fs::Permissions::from_mode(0o644)).unwrap();
    home.ok("reloadLogs").says("app-out.log.1");
    home.wait_until("new lines arrive", || !home.log("app-out.log").is_empty());
    let mode = |name: &str| fs::metadata(log(&home, name)).unwrap().mode() & 0o777;
    assert_eq!((mode("app-out.log"), mode("app-out.log.1")), (0o644, 0o600));
}

#[test]
fn several_writers_at_full_speed() {
    let home = home();
    flood(&home, 400_000, 3, "");
    for round in 1..=3 {
        home.wait_until("the file has grown", || fs::metadata(log(&home, "f-out.log")).is_ok_and(|meta| meta.len() > 1 << 20));
        // The highest number is the newest file.
        rename(&home, "f-out.log", &format!("f-out.log.{round}"));
        let told = reload(&home);
        assert_eq!(told[0]["outcome"], "handed_back", "{told:?}");
        assert_eq!(told[0]["ids"], serde_json::json!([0, 1, 2]));
        eprintln!("round {round}: {told:?}");
    }
    wait_for_ends(&home, 3);
    all_there(&texts(&home, 3), 3, 400_000);
}

#[test]
fn sigusr2_does_the_same() {
    let home = home();
    start_fixture(&home, "app", "", "count 100000 1");
    home.wait_log("app-out.log", "00000100");
    rename(&home, "app-out.log", "app-out.log.1");
    kill(home.keeper_pid(), Signal::USR2);
    home.wait_until("new lines arrive", || !home.log("app-out.log").is_empty());
}

/// xorshift64: the same rounds for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn dice() -> Dice {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let setting = std::env::var("OSTLER_KILL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = setting.unwrap_or(u64::from(now.subsec_nanos()) | 1);
    eprintln!("OSTLER_KILL_SEED={seed}");
    Dice(seed)
}

fn rounds() -> u64 {
    std::env::var("OSTLER_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// State letter of a process.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

#[test]
fn the_daemon_is_killed_at_any_instant() {
    let home = home();
    let mut dice = dice();
    let rounds = rounds();
    // One writer whose lines come in pieces, so that they are open at most instants, and has a shell as parent.
    let script = home.write("app.sh", format!("#!/bin/sh\n{} flood $1 3\nexec sleep 1000\n", fixture()));
    let n = 40_000 * u32::try_from(rounds).unwrap();
    home.ok(format!("start {script} --name f -- {n}"));
    let mut last = 0;
    for round in 0..rounds {
        home.wait_until("the file has grown", || {
            home.log("f-error.log").contains("end") || fs::metadata(log(&home, "f-out.log")).is_ok_and(|meta| meta.len() > 100_000)
        });
        last += 1;
        rename(&home, "f-out.log", &format!("f-out.log.{last}"));
        let mut caller = home.cmd("reloadLogs").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not a wait for anything: the random instant itself.
        std::thread::sleep(std::time::Duration::from_micros(dice.below(30_000)));
        let both = round % 5 == 4;
        let keeper = home.keeper_pid();
        kill(home.daemon_pid(), Signal::KILL);
        if both {
            kill(keeper, Signal::KILL);
        }
        drop(caller.wait());
        // The next daemon finishes it, unless the request never arrived: then it is made again.
        home.wait_until("the logs are reloaded", || home.run("reloadLogs").code == 0);
        home.wait_until("nobody stands still", || home.app_processes().iter().all(|p| state(p.pid) != Some('T')));
        assert!(log(&home, "f-out.log").exists(), "round {round}: no new file\n{}", home.report());
    }
    wait_for_ends(&home, 1);
    all_there(&texts(&home, last), 1, n);
    let files = fs::read_dir(home.dir().join("logs")).unwrap().count();
    assert_eq!(files, 2 + last as usize, "something was left over");
}
