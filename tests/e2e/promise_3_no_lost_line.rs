//! Promise 3: the log contains everything that an app wrote before it exited, complete and in
//! order.

use ostler_testkit::{Tmpfs, fixture, fixture_app, needs_program, needs_root, skip};
use serde_json::Value;

use crate::setup::{ecosystem, home, start_fixture};

/// Checks the numbers of the lines, in the order of the file.
fn whole(text: &str, n: u32, number_of: impl Fn(&str) -> Option<u32>) {
    let numbers: Vec<Option<u32>> = text.lines().map(number_of).collect();
    let wrong = numbers.iter().zip(1..).find(|(seen, wanted)| **seen != Some(*wanted));
    assert!(wrong.is_none() && numbers.len() == n as usize, "{} lines of {n}; first wrong line {wrong:?}", numbers.len());
    assert!(text.ends_with('\n'));
}

fn first_word(line: &str) -> Option<u32> {
    line.split(' ').next()?.parse().ok()
}

#[test]
fn node_app_that_exits_loses_no_line() {
    needs_program!("node");
    let home = home();
    for round in 0..3 {
        let name = format!("n{round}");
        // The app fails within the second for which `start` watches it, or a little later.
        let _ = home.run(format!("start {} -f --name {name} --no-autorestart", fixture_app("last_words.js")));
        home.wait_status(&name, "stopped");
        whole(&home.log(&format!("{name}-out.log")), 20_000, first_word);
        assert_eq!(home.log(&format!("{name}-error.log")), "last words\n");
    }
}

#[test]
fn direct_log_of_a_binary_loses_no_line() {
    let home = home();
    start_fixture(&home, "app", "--no-autorestart", "lines 200000 1");
    home.wait_status("app", "stopped");
    whole(&home.log("app-out.log"), 200_000, first_word);
}

#[test]
fn dated_log_loses_no_line() {
    needs_program!("node");
    let home = home();
    // As many as the pipe holds: at `process.exit` Node itself drops data that does not fit the
    // pipe (`node … | (sleep 1; wc -l)`). With more lines, the result would depend on the reader's
    // speed.
    let _ = home.run(format!("start {} --name dated --no-autorestart --time -- 9000", fixture_app("last_words.js")));
    home.wait_status("dated", "stopped");
    home.wait_log("dated-error.log", "last words");
    home.wait_until("the last line is there", || home.log("dated-out.log").contains("00009000 "));
    whole(&home.log("dated-out.log"), 9_000, |line| {
        let (date, text) = line.split_once(": ")?;
        (date.len() == 19 && text.len() == 99).then(|| first_word(text))?
    });
}

/// Loggers with their own thread write to the pipe directly, and wait when it is full.
#[test]
fn stdout_of_node_app_is_a_nonblocking_pipe() {
    needs_program!("node");
    let home = home();
    let script = home.write(
        "loggers.js",
        "const fs = require('fs'); console.log('first');
        const flags = parseInt(fs.readFileSync('/proc/self/fdinfo/1', 'utf8').match(/flags:\\s*(\\d+)/)[1], 8);
        for (let n = 1; n <= 3000; n++) console.log(String(n).padStart(8, '0') + ' ' + 'x'.repeat(90));
        console.log('blocks: ' + !(flags & fs.constants.O_NONBLOCK)); process.exit();",
    );
    home.ok(format!("start {script} --name l --no-autorestart --time"));
    home.wait_log("l-out.log", "blocks: false");
    let log = home.log("l-out.log");
    let numbered: Vec<u32> = log.lines().filter_map(|line| first_word(line.split_once(": ")?.1)).collect();
    assert!(numbered.iter().copied().eq(1..=3000), "{} lines", numbered.len());
}

#[test]
fn json_log_loses_no_line() {
    let home = home();
    let file = ecosystem(
        &home,
        &format!(r#""name": "j", "script": "{}", "args": "lines 20000 1", "autorestart": false, "log_type": "json""#, fixture()),
    );
    home.ok(format!("start {file}"));
    home.wait_until("the last line is there", || home.log("j-out.log").contains("00020000 "));
    whole(&home.log("j-out.log"), 20_000, |line| first_word(serde_json::from_str::<Value>(line).ok()?["message"].as_str()?));
}

#[test]
fn dated_log_loses_no_line_when_daemon_is_killed() {
    let home = home();
    start_fixture(&home, "app", "--no-autorestart --time", "count 40000 20");
    home.wait_log("app-out.log", "00000001");
    for _ in 0..8 {
        home.kill_daemon();
    }
    home.wait_log("app-out.log", "end\n");
    let log = home.log("app-out.log");
    let body = log
        .strip_suffix(log.lines().last().unwrap())
        .map_or_else(|| log[..log.trim_end().rfind('\n').unwrap() + 1].to_owned(), str::to_owned);
    whole(&body, 40_000, |line| line.split_once(": ")?.1.parse().ok());
}

#[test]
fn last_lines_of_deleted_app_survive_the_daemon() {
    needs_root!();
    let home = home();
    // A full disk keeps the lines in the pipe.
    let Some(disk) = Tmpfs::mount(&home.work().join("disk"), 64) else { skip!("this machine does not permit mount") };
    let path = disk.path().join("out.log");
    start_fixture(&home, "app", &format!("--no-autorestart --time -o {}", path.display()), "lines 4000 1");
    home.wait_status("app", "stopped");
    home.wait_until("the disk is full", || disk.is_full());
    home.ok("delete app");
    home.kill_daemon();
    // The instance number is reused immediately; its lines go to another file.
    start_fixture(&home, "next", "--no-autorestart --time", "lines 10 1");
    disk.resize(4096);
    home.wait_until("the last line is there", || std::fs::read_to_string(&path).is_ok_and(|text| text.contains(": 00004000 ")));
    home.wait_until("the file is whole", || std::fs::read_to_string(&path).unwrap().ends_with('\n'));
    whole(&std::fs::read_to_string(&path).unwrap(), 4000, |line| first_word(line.split_once(": ")?.1));
    home.wait_log("next-out.log", ": 00000010 ");
}

#[test]
fn restarts_append_to_the_log() {
    let home = home();
    start_fixture(&home, "app", "--max-restarts 4", "lines 1000 1");
    home.wait_status("app", "errored");
    let log = home.log("app-out.log");
    assert_eq!(log.lines().count(), 4000);
    for part in log.lines().collect::<Vec<_>>().chunks(1000) {
        assert!(part.iter().zip(1..).all(|(line, number)| first_word(line) == Some(number)));
    }
}

#[test]
fn unterminated_line_and_binary_bytes_are_kept() {
    let home = home();
    let script = home.write("odd.sh", "#!/bin/sh\nprintf 'a\\377\\000b\\nno end'\n");
    home.ok(format!("start {script} --name direct --no-autorestart"));
    home.ok(format!("start {script} -f --name dated --no-autorestart --time"));
    home.wait_status("direct", "stopped");
    home.wait_status("dated", "stopped");
    assert_eq!(std::fs::read(home.dir().join("logs/direct-out.log")).unwrap(), b"a\xff\0b\nno end");
    home.wait_log("dated-out.log", ": no end\n");
    let dated = std::fs::read(home.dir().join("logs/dated-out.log")).unwrap();
    assert!(dated.windows(6).any(|w| w == b": a\xff\0b"), "{dated:?}");
}
