//! Promise 5: after a crash or a full disk, the state is the old one or the new one, never empty.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use ostler_testkit::{Home, Tmpfs, fill_disk, kill, needs_root, skip};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

#[test]
fn kill_during_save_leaves_a_complete_file() {
    let home = home();
    for i in 0..20 {
        start_fixture(&home, &format!("a{i}"), "-f --no-autostart", "hold");
    }
    home.ok("save");
    for round in 0..30_u64 {
        let mut save = home.cmd("save").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(round * 300));
        kill(home.daemon_pid(), Signal::KILL);
        save.wait().unwrap();
        assert_eq!(home.json_of("dump.pm2").as_array().unwrap().len(), 20, "round {round}");
        assert_eq!(home.jlist().len(), 20, "round {round}");
    }
    let left: Vec<_> = std::fs::read_dir(home.dir()).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    home.ok("save");
    assert!(left.len() < 40, "temporary files are left: {left:?}");
}

/// Creates a home on a file system with this number of KiB.
fn small_home(kib: u32) -> Option<(Home, Tmpfs)> {
    let mut home = home();
    let disk = Tmpfs::mount(&home.root().join("disk"), kib)?;
    home.set_dir(disk.path().join("home"));
    Some((home, disk))
}

#[test]
fn full_disk_during_save_keeps_the_old_dump() {
    needs_root!();
    let Some((home, disk)) = small_home(2048) else { skip!("mounting is not permitted") };
    start_fixture(&home, "first", "", "hold");
    home.ok("save");
    let before = std::fs::read(home.dir().join("dump.pm2")).unwrap();
    fill_disk(disk.path().join("filler"));
    home.cmd(format!("start {} -f --name second -- hold", ostler_testkit::fixture())).env("BIG", "x".repeat(100_000)).run();
    home.run("save").fails().says_any_case("no space");
    assert_eq!(std::fs::read(home.dir().join("dump.pm2")).unwrap(), before, "the old dump was damaged");
    // The manager keeps running and knows its apps, also after a kill of the daemon.
    let pid = home.app("first").pid();
    home.kill_daemon();
    assert_eq!(home.app("first").pid(), pid);
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    home.ok("save");
    assert!(!home.json_of("dump.pm2").as_array().unwrap().is_empty());
    home.ok("kill");
    drop(home);
    drop(disk);
}

#[test]
fn full_disk_delays_log_lines_but_loses_none() {
    needs_root!();
    let Some((home, disk)) = small_home(1024) else { skip!("mounting is not permitted") };
    start_fixture(&home, "quiet", "", "hold");
    // The dated app's lines wait in its pipe, and are written when the disk has room again.
    start_fixture(&home, "dated", "-f --time --no-autorestart", "count 60000 50");
    home.wait_until("the disk is full", || disk.is_full());
    assert_eq!(home.app("quiet").status(), "online");
    disk.resize(32 * 1024);
    home.wait_log("dated-out.log", "end\n");
    let log = home.log("dated-out.log");
    let numbers: Vec<u32> = log.lines().filter_map(|line| line.split_once(": ")?.1.parse().ok()).collect();
    assert!(numbers.len() == 60_000 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{} lines", numbers.len());
    home.ok("kill");
    drop(home);
    drop(disk);
}

#[test]
fn damaged_home_files_do_not_prevent_start() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("save");
    home.ok("kill");
    for entry in std::fs::read_dir(home.dir()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::write(entry.path(), b"\0\xff garbage {{{").unwrap();
        }
    }
    start_fixture(&home, "fresh", "", "hold");
    assert_eq!(home.app("fresh").status(), "online");
}
