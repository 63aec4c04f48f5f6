//! A daemon that cannot start: clients get the reason, and the keeper waits between attempts. A
//! record that crashes the daemon costs only its own app.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use ostler_testkit::{Home, alive, fixture_path, kill, needs_program};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{home, journal_path, start_fixture};

/// Returns all records: length, checksum, JSON.
fn records(bytes: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(head) = rest.first_chunk::<8>() {
        let len = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let Some(body) = rest.get(8..8 + len) else { break };
        found.push(serde_json::from_slice(body).unwrap());
        rest = &rest[8 + len..];
    }
    found
}

/// Changes the record of an app's only instance while no daemon runs, and lets the keeper start the
/// next daemon.
#[track_caller]
fn change_record(home: &Home, name: &str, change: impl Fn(&mut Value)) {
    let (keeper, daemon, id) = (home.keeper_pid(), home.daemon_pid(), home.app(name).id());
    kill(keeper, Signal::STOP);
    kill(daemon, Signal::KILL);
    home.wait_until("the daemon is dead", || !alive(daemon));
    let file = OpenOptions::new().read(true).write(true).open(journal_path(home)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut record = records(&bytes).into_iter().rfind(|record| record["slot"]["id"] == id).expect("the app has a record");
    change(&mut record["slot"]);
    let body = serde_json::to_vec(&record).unwrap();
    let sum = crc32fast::hash(&body);
    let record = [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &sum.to_le_bytes(), &body].concat();
    file.write_all_at(&record, bytes.len() as u64).unwrap();
    kill(keeper, Signal::CONT);
}

#[test]
fn record_that_crashes_the_daemon_is_set_aside() {
    // ostler never writes such a record. Only a build with overflow checks crashes on its sum.
    if !cfg!(debug_assertions) {
        return;
    }
    let home = home();
    for name in ["first", "bad", "last"] {
        start_fixture(&home, name, "", "hold");
    }
    let pids = ["first", "bad", "last"].map(|name| home.app(name).pid());
    change_record(&home, "bad", |slot| slot["pm_id"] = u32::MAX.into());
    home.wait_until("the others are there again", || home.run("jlist").code == 0);
    let list = home.jlist();
    let seen: Vec<(&str, i32, u64)> = list.iter().map(|item| (item.name(), item.pid(), item.restarts())).collect();
    assert_eq!(seen, [("first", pids[0], 0), ("last", pids[2], 0)], "{}", home.report());
    assert!(alive(pids[1]), "its process is not touched");
    // The record is kept, and commands report it.
    let aside: Vec<_> = std::fs::read_dir(home.dir().join("set-aside")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&aside[0]).unwrap()).unwrap();
    assert_eq!((&kept["app"]["name"], &kept["instance"]["pm_id"]), (&"bad".into(), &u32::MAX.into()), "{kept}");
    home.ok("list").says("bad is not in the list, because the daemon crashed on its record");
    let log = home.daemon_log();
    assert!(log.contains("set aside") && log.contains("overflow"), "{log}");
    home.ok("events bad").says("was removed from the list; its record is in ").says("overflow");
    // The next daemon sets nothing aside, and the app that was set aside can be started again.
    kill(home.daemon_pid(), Signal::KILL);
    assert_eq!(home.jlist().len(), 2);
    kill(pids[1], Signal::KILL);
    start_fixture(&home, "bad", "", "hold");
    assert_eq!(home.jlist().len(), 3);
}

#[test]
fn failed_daemon_start_is_reported_and_backs_off() {
    needs_program!("python3");
    let home = home();
    let refused = format!("exec python3 '{}' EPERM ioctl \"$0\" \"$@\"", fixture_path("refused.py"));
    let start = home.cmd("start sleep --name app -- 1000").after(&refused).run().fails();
    start.says("the daemon cannot start").says("prepare the socket").says("Operation not permitted");
    let list = home.run("list").code(3);
    list.says("the daemon cannot start").says("Operation not permitted");
    let log = || home.daemon_log();
    home.wait_until("the log says that it is tried later", || log().contains("next try"));
    // Not hundreds of starts: each pause is longer than the former.
    assert!(log().matches("cannot prepare the socket").count() < 30, "{}", log());
}
