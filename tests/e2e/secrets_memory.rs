//! Once the app has its secrets, their values are nowhere in the memory of daemon and keeper.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use ostler_testkit::{Home, needs_root};

use crate::setup::{ecosystem, home};

/// Text to search for: the end of each value, because an allocator overwrites the start of freed
/// memory.
fn tail(n: usize) -> String {
    format!("-{n}-wh1spered-under-the-breath")
}

fn value(n: usize) -> String {
    format!("{}{}", "x".repeat(64), tail(n))
}

/// Returns the mappings of a process that contain these bytes.
fn mappings_with(pid: i32, wanted: &[u8]) -> Vec<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        // Mappings that are not writable belong to the program.
        if !rest.starts_with("rw") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            looked_at += 1;
            let hits = bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
            found.extend((0..hits).map(|_| line.to_owned()));
        }
    }
    assert!(looked_at > 3, "only {looked_at} mappings of {pid} could be read");
    found
}

/// Starts an app with three secrets, one of them from a command, and this much environment.
fn start(home: &Home, more: &str) {
    let folder = home.work().join("credentials");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("token"), value(2)).unwrap();
    let (file, of_command) = (home.write("s0", value(0)), home.write("s1", format!("{}\n", value(1))));
    let path = ecosystem(
        home,
        &format!(
            r#""name": "api", "script": "sleep", "args": "1000", "env": {{"MORE": "{more}"}},
               "secrets": {{"S0": {{"file": "{file}"}}, "S1": {{"command": ["cat", "{of_command}"]}}, "S2": {{"credential": "token"}}}}"#
        ),
    );
    for other in ["other-1", "other-2"] {
        home.cmd(format!("start sleep -f --name {other} -- 1000")).env("CREDENTIALS_DIRECTORY", &folder).run().ok();
    }
    home.ok(format!("start {path}"));
}

#[track_caller]
fn assert_only_app_has_secrets(home: &Home, what: &str) {
    let others = home.jlist();
    let other = others.iter().find(|item| item.name().starts_with("other") && item.status() == "online").expect("one that still runs");
    home.ok(format!("stop {}", other.name()));
    let environ = fs::read(format!("/proc/{}/environ", home.app("api").pid())).unwrap();
    for n in 0..3 {
        let variable = format!("S{n}={}", value(n));
        assert!(environ.windows(variable.len()).any(|window| window == variable.as_bytes()), "the app lacks S{n}");
        for (who, pid) in [("daemon", home.daemon_pid()), ("keeper", home.keeper_pid()), ("anchor", home.anchor_pid())] {
            let found = mappings_with(pid, tail(n).as_bytes());
            assert!(found.is_empty(), "{what}: the {who} has S{n} in its memory: {found:#?}");
        }
    }
}

#[test]
fn secrets_leave_no_trace_in_memory() {
    needs_root!();
    let home = home();
    start(&home, "");
    assert_only_app_has_secrets(&home, "after the start");
    home.ok("restart api");
    home.ok("reload api");
    assert_only_app_has_secrets(&home, "after restart and reload");
    // Proves that the search works.
    assert!(!mappings_with(home.daemon_pid(), b"OSTLER_HOME").is_empty());
}

/// A message that does not fit into a packet is sent in another way.
#[test]
fn large_environment_leaves_no_secret_in_memory() {
    needs_root!();
    let home = home();
    start(&home, &"x".repeat(60_000));
    assert_only_app_has_secrets(&home, "after the start");
}

/// A failed start leaves no values in memory, either.
#[test]
fn failed_start_leaves_no_secret_in_memory() {
    needs_root!();
    let home = home();
    start(&home, "");
    let file = home.write("s3", format!("{}\0", value(3)));
    let path = ecosystem(&home, &format!(r#""name": "bad", "script": "sleep", "args": "1000", "secrets": {{"S3": {{"file": "{file}"}}}}"#));
    home.run(format!("start {path}")).fails().says("NUL");
    let of_command = home.write("s4", format!("echo {}; exit 3\n", value(4)));
    let path = ecosystem(
        &home,
        &format!(
            r#""name": "bad", "script": "sleep", "args": "1000", "restart_delay": 60000, "secrets": {{"S3": {{"command": ["sh", "{of_command}"]}}}}"#
        ),
    );
    home.run(format!("start {path}")).fails();
    for n in 3..5 {
        for (who, pid) in [("daemon", home.daemon_pid()), ("keeper", home.keeper_pid())] {
            let found = mappings_with(pid, tail(n).as_bytes());
            assert!(found.is_empty(), "the {who} has S{n} in its memory: {found:#?}");
        }
    }
}
