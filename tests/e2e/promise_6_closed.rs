//! Promise 6: another uid can read and control nothing, and no process listens on the network.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ostler_testkit::{Subject, needs_root};

use crate::setup::{home, start_fixture, stranger_home};

/// A uid that owns nothing on this machine.
const STRANGER: u32 = 54_321;

#[test]
fn files_and_folders_are_private_with_any_umask() {
    let home = home();
    home.cmd("start sleep --name app --time -- 1000").after("umask 000").run().ok();
    start_fixture(&home, "more", "-f", "report");
    home.ok("save");
    let mut stack = vec![home.dir().to_owned()];
    while let Some(path) = stack.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o077, 0, "others may use {} (mode {:o})", path.display(), meta.permissions().mode());
        if meta.is_dir() {
            stack.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn other_user_can_neither_read_nor_control() {
    needs_root!();
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    let mut other = stranger_home(&home, STRANGER, Subject::Ostler);
    other.set_dir(home.dir());
    for command in ["list", "jlist", "stop app", "kill", "start sleep --name evil -- 1", "save", "update", "logs --nostream"] {
        let output = other.cmd(command).uid(STRANGER).run().fails();
        assert!(!output.all().contains("online"), "{output}");
    }
    // The peer is checked even if the folder's mode lets it in.
    std::fs::set_permissions(home.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(home.dir().join("ostler.sock"), std::fs::Permissions::from_mode(0o777)).unwrap();
    for command in ["list", "stop app", "kill"] {
        other.cmd(command).uid(STRANGER).run().fails();
    }
    assert_eq!((home.app("app").pid(), home.app("app").status()), (pid, "online"));
    assert_eq!(home.jlist().len(), 1);
}

#[test]
fn home_of_another_user_is_rejected() {
    needs_root!();
    let home = home();
    std::fs::create_dir_all(home.dir()).unwrap();
    let mut other = stranger_home(&home, STRANGER, Subject::Ostler);
    other.set_dir(home.dir());
    other.cmd("start sleep --name x -- 1").uid(STRANGER).run().fails().says(home.dir().to_str().unwrap());
    assert!(home.processes().is_empty() && other.processes().is_empty());
    assert!(std::fs::read_dir(home.dir()).unwrap().next().is_none(), "something was left in the other's home");
}

#[test]
fn other_user_has_a_separate_home() {
    needs_root!();
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut other = stranger_home(&home, STRANGER, Subject::Ostler);
    other.set_dir(home.dir());
    let own = other.work().join("home");
    other.set_dir(own);
    other.cmd("start sleep --name mine -- 1000").uid(STRANGER).run().ok();
    let list = other.cmd("jlist").uid(STRANGER).run().ok();
    assert!(list.stdout.contains("\"mine\"") && !list.stdout.contains("\"app\""));
    assert_eq!(home.jlist().len(), 1);
}

#[test]
fn no_process_listens_on_the_network() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let inodes = |path: &str| -> HashSet<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned)).collect()
    };
    let network: HashSet<String> = ["tcp", "tcp6", "udp", "udp6"].iter().flat_map(|name| inodes(&format!("/proc/net/{name}"))).collect();
    for pid in [home.keeper_pid(), home.daemon_pid()] {
        for entry in std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
            let inode = target.trim_start_matches("socket:[").trim_end_matches(']');
            assert!(!network.contains(inode), "process {pid} has a network socket");
        }
    }
}

#[test]
fn names_and_arguments_are_not_passed_to_a_shell() {
    let home = home();
    let mark = home.work().join("owned");
    let evil = format!("$(touch {0});`touch {0}`;touch {0}", mark.display());
    home.ok(["start", "sleep", "--name", &evil, "--", "1000"]);
    home.run(["describe", &evil]);
    home.run(["stop", &evil]);
    home.run(["restart", &evil]);
    home.ok("delete all");
    assert!(!mark.exists());
}
