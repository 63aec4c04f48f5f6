//! `reloadLogs` after `rm logs/*`: the files exist again, and contain the running apps' new lines.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ostler_testkit::{Home, ListedApp, fixture};

use crate::setup::{ecosystem, home, start_fixture};

/// Returns the numbers in a log of the fixture's `count`, which must be consecutive. The app may
/// still be writing.
#[track_caller]
fn numbers(text: &str) -> Vec<u32> {
    assert!(text.is_empty() || text.ends_with('\n') || text.rsplit('\n').next().is_some_and(|rest| rest.len() < 9), "a long rest");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let numbers: Vec<u32> = whole.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("a cut line: {line:?}"))).collect();
    if let Some((first, next)) = numbers.iter().zip(numbers.iter().skip(1)).find(|(first, next)| **next != **first + 1) {
        panic!("{next} follows {first}");
    }
    numbers
}

/// Returns the path of a process's standard output and its size on disk.
fn output_of(pid: i32) -> (PathBuf, u64) {
    let link = PathBuf::from(format!("/proc/{pid}/fd/1"));
    (fs::read_link(&link).unwrap(), fs::metadata(&link).unwrap().blocks() * 512)
}

/// Waits for more than this number of lines, in order, each once.
#[track_caller]
fn wait_for_lines(home: &Home, name: &str, more: usize) {
    let before = numbers(&home.log(name)).len();
    home.wait_until("more lines arrive", || numbers(&home.log(name)).len() > before + more);
}

#[test]
fn deleted_files_are_recreated_with_new_lines() {
    let home = home();
    start_fixture(&home, "a", "", "count 100000000 20");
    home.wait_log("a-out.log", "00000100");
    let pid = home.app("a").pid();
    for entry in fs::read_dir(home.dir().join("logs")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let told = home.ok("reloadLogs");
    assert!(told.stdout.contains("All logs reloaded"), "{told}");
    assert!(home.log_path("a-out.log").exists() && home.log_path("a-error.log").exists());
    wait_for_lines(&home, "a-out.log", 1000);
    // Repeated calls duplicate no line.
    home.ok("reloadLogs");
    wait_for_lines(&home, "a-out.log", 1000);
    assert_eq!((home.app("a").pid(), home.app("a").restarts()), (pid, 0));
    // Other tools may rotate the new file, too.
    let old = home.log_path("a-out.log.1");
    fs::rename(home.log_path("a-out.log"), &old).unwrap();
    home.ok("reloadLogs");
    wait_for_lines(&home, "a-out.log", 100);
    numbers(&format!("{}{}", fs::read_to_string(&old).unwrap(), home.log("a-out.log")));
    // The space is freed while the app runs, and completely at its next start.
    home.wait_until("little of the deleted file is on the disk", || output_of(pid).1 < 256 << 10);
    home.ok("restart a");
    let pid = home.app("a").pid();
    home.wait_until("it writes to the file at its path", || output_of(pid).0 == home.log_path("a-out.log"));
    let nobody_holds = |pid: i32| {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        links.into_iter().all(|link| !link.to_string_lossy().contains("-out.log (deleted)"))
    };
    home.wait_until("nobody has the deleted file open", || nobody_holds(home.daemon_pid()) && nobody_holds(home.keeper_pid()));
}

#[test]
fn lines_before_app_exit_are_written() {
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\necho first\nread -r line <\"$1\"\necho last\nprintf 'no end'\nexit 3\n");
    let fifo = home.work().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    home.ok(format!("start {script} --name a --no-autorestart -- {}", fifo.display()));
    home.wait_log("a-out.log", "first");
    fs::remove_file(home.log_path("a-out.log")).unwrap();
    home.ok("reloadLogs");
    fs::write(&fifo, "go\n").unwrap();
    home.wait_status("a", "stopped");
    home.wait_log("a-out.log", "no end");
    assert_eq!(home.log("a-out.log"), "last\nno end");
    assert!(home.ok("why a").stdout.contains("last"));
}

#[test]
fn lines_survive_kills_after_deletion() {
    let home = home();
    start_fixture(&home, "a", "", "count 100000000 20");
    home.wait_log("a-out.log", "00000100");
    let pid = home.app("a").pid();
    fs::remove_file(home.log_path("a-out.log")).unwrap();
    home.ok("reloadLogs");
    for _ in 0..4 {
        wait_for_lines_at_least_once(&home, 500);
        home.kill_daemon();
    }
    wait_for_lines_at_least_once(&home, 500);
    home.kill_both();
    home.ok("list");
    wait_for_lines_at_least_once(&home, 500);
    assert_eq!(home.app("a").pid(), pid);
}

/// Waits for lines. Lines that were being written when the daemon was killed may occur twice, but
/// none is missing.
#[track_caller]
fn wait_for_lines_at_least_once(home: &Home, more: u32) {
    let last = || {
        let text = home.log("a-out.log");
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut last = None::<u32>;
        for line in whole.lines() {
            let number: u32 = line.parse().unwrap_or_else(|_| panic!("a cut line: {line:?}"));
            assert!(last.is_none_or(|last| number <= last + 1), "{number} follows {last:?}");
            last = Some(number);
        }
        last.unwrap_or(0)
    };
    let before = last();
    home.wait_until("more lines arrive", || last() > before + more);
}

#[test]
fn several_writers_and_rotation_work_after_deletion() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    let members = r#""name": "c", "args": "count 100000000 20", "instances": 2, "exec_mode": "fork", "merge_logs": true"#;
    let rotate = r#""log_rotate": {"max_size": "100K", "retain": "all"}"#;
    home.ok(format!("start {}", ecosystem(&home, &format!(r#""script": "{}", {members}, {rotate}"#, fixture()))));
    home.wait_until("it writes", || fs::metadata(home.log_path("c-out.log")).is_ok_and(|file| file.len() > 0));
    let pids: Vec<i32> = home.jlist().iter().map(ListedApp::pid).collect();
    fs::remove_file(home.log_path("c-out.log")).unwrap();
    home.ok("reloadLogs");
    let before = crate::rotation::rotated(&home, "c-out").len();
    home.wait_until("the new file is rotated, again and again", || crate::rotation::rotated(&home, "c-out").len() > before + 2);
    assert_eq!(home.jlist().iter().map(ListedApp::pid).collect::<Vec<_>>(), pids);
    home.ok("stop c");
    let names = crate::rotation::rotated(&home, "c-out");
    let texts: String = names.iter().map(|name| crate::rotation::text_of(&home, name)).chain([home.log("c-out.log")]).collect();
    assert!(texts.lines().filter(|line| *line != "end").all(|line| line.len() == 8), "a cut line");
}
