//! The home's disk takes no more writes (full, no inodes, read-only), and then daemon, keeper and
//! standby are killed together. Commands still work, their output names the changes that are not on
//! disk, and the next daemon finds the running apps unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Home, alive, fill_disk, kill, needs_root};
use rustix::process::Signal;

use crate::setup::{home, start_sleeper};

/// A separate file system that holds the home.
struct Disk {
    home: Home,
    folder: PathBuf,
}

impl Disk {
    /// Mounts it; `None` if mounts are not possible.
    fn new() -> Option<Self> {
        let mut home = home();
        let folder = home.work().join("disk");
        fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m,nr_inodes=200", "none"]).arg(&folder).status();
        mounted.is_ok_and(|status| status.success()).then_some(())?;
        home.set_dir(folder.join("home"));
        Some(Self { home, folder })
    }

    /// Uses all inodes of the disk.
    fn fill_inodes(&self) {
        (0..).map(|n| self.folder.join(format!("n{n}"))).take_while(|path| fs::write(path, "").is_ok()).for_each(drop);
    }

    /// Makes the disk read-only for files opened from now on.
    fn make_read_only(&self) {
        for words in [["--bind"].as_slice(), &["-o", "remount,ro,bind"]] {
            let mut mount = Command::new("mount");
            mount.args(words).arg(&self.folder);
            if words == ["--bind"] {
                mount.arg(&self.folder);
            }
            assert!(mount.status().unwrap().success(), "{words:?}");
        }
        assert!(fs::write(self.folder.join("probe"), "x").is_err());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.home.run("kill");
        for _ in 0..2 {
            drop(Command::new("umount").args(["-l"]).arg(&self.folder).stderr(std::process::Stdio::null()).status());
        }
    }
}

#[test]
fn commands_on_a_full_disk_survive_loss_of_all_managers() {
    needs_root!();
    let Some(disk) = Disk::new() else { ostler_testkit::skip!("nothing can be mounted here") };
    let home = &disk.home;
    for (name, seconds) in [("stays", 1001), ("deleted", 1002), ("stopped", 1003)] {
        start_sleeper(home, name, seconds);
    }
    fill_disk(disk.folder.join("rest"));
    // The last page of the file has room for some commands.
    home.wait_until("an answer says so", || home.ok("restart stays").all().contains("not on disk"));
    fill_disk(disk.folder.join("rest"));
    let said = start_sleeper(home, "late", 1004).all();
    assert!(said.contains("not on disk"), "{said}");
    // Files removed by these commands may make room for the state.
    for words in ["delete deleted", "stop stopped", "scale late 2"] {
        fill_disk(disk.folder.join("rest"));
        home.ok(words);
    }
    fill_disk(disk.folder.join("rest"));
    home.ok("restart stays").says("not on disk");
    home.wait_until("both run", || home.pids_of("sleep 1004").len() == 2);
    let before = [1001, 1004].map(|seconds| home.pids_of(&format!("sleep {seconds}")));
    home.kill_all_three();
    let output = home.ok("list");
    assert!(!output.all().contains("killed together with its apps"), "{output}");
    assert_eq!(home.names(), ["late", "late", "stays", "stopped"], "{}", home.report());
    assert_eq!([1001, 1004].map(|seconds| home.pids_of(&format!("sleep {seconds}"))), before, "adopted as they are");
    assert_eq!(home.app("stopped").status(), "stopped");
    home.ok("restart all");
    home.wait_until("each runs once", || [1001, 1002, 1004].map(|seconds| home.pids_of(&format!("sleep {seconds}")).len()) == [1, 0, 2]);
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn commands_without_free_inodes_survive_loss_of_all_managers() {
    // Appending needs no inode: commands reach the disk until the file must be replaced.
    needs_root!();
    let Some(disk) = Disk::new() else { ostler_testkit::skip!("nothing can be mounted here") };
    let home = &disk.home;
    start_sleeper(home, "one", 1001);
    start_sleeper(home, "two", 1002);
    disk.fill_inodes();
    home.ok("delete two");
    home.ok("restart one");
    let pid = home.pids_of("sleep 1001");
    home.kill_all_three();
    home.ok("list");
    assert_eq!(home.names(), ["one"], "{}", home.report());
    assert_eq!(home.pids_of("sleep 1001"), pid);
}

#[test]
fn every_command_works_in_a_read_only_home() {
    needs_root!();
    let Some(disk) = Disk::new() else { ostler_testkit::skip!("nothing can be mounted here") };
    let home = &disk.home;
    start_sleeper(home, "app", 1001);
    start_sleeper(home, "other", 1002);
    disk.make_read_only();
    for words in ["list", "health", "jlist", "ping", "describe app", "logs --nostream"] {
        home.ok(words);
    }
    for words in ["stop app", "start app", "restart app", "reload app", "scale app 2", "restart all", "reset app", "delete other"] {
        home.ok(words);
        let expected = if words == "stop app" { 0 } else { 1 };
        home.wait_until("its program runs", || home.pids_of("sleep 1001").len() >= expected);
    }
    // Files that the first daemon had open could still be written.
    let daemon = home.daemon_pid();
    kill(daemon, Signal::KILL);
    home.wait_until("there is another daemon", || !alive(daemon) && home.run("ping").code == 0);
    home.ok("stop app").says("not on disk");
    home.ok("start app");
    home.wait_until("both run", || home.pids_of("sleep 1001").len() == 2);
    home.ok("kill");
    home.wait_no_processes();
}

/// Returns the folders in memory that name this home.
fn copies(home: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir("/run/ostler").into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|folder| fs::read_to_string(folder.join("home")).is_ok_and(|named| Path::new(&named) == home)).collect()
}

#[test]
fn running_apps_are_adopted_despite_damaged_state_file() {
    needs_root!();
    let home = home();
    start_sleeper(&home, "app", 1001);
    let state = home.dir().join("ostler.state");
    home.wait_until("the state is written", || fs::metadata(&state).is_ok_and(|meta| meta.len() > 100));
    let old = fs::read(&state).unwrap();
    for damage in ["missing", "empty", "truncated", "garbage", "unreadable", "older"] {
        home.ok("restart app");
        let pid = home.app("app").pid();
        home.kill_all_three();
        let _ = fs::remove_file(&state);
        match damage {
            "missing" => {}
            "empty" => fs::write(&state, "").unwrap(),
            "truncated" => fs::write(&state, &old[..old.len() / 2]).unwrap(),
            "garbage" => fs::write(&state, [0xa5; 4096]).unwrap(),
            "unreadable" => fs::create_dir(&state).unwrap(),
            _ => fs::write(&state, &old).unwrap(),
        }
        let output = home.ok("list");
        assert!(!output.all().contains("killed together with its apps"), "{damage}\n{output}");
        let _ = fs::remove_dir(&state);
        assert_eq!(home.app("app").pid(), pid, "{damage}\n{}", home.report());
        home.ok("restart all");
        home.wait_until("it runs once", || home.pids_of("sleep 1001").len() == 1);
    }
    home.ok("kill");
    assert!(home.processes().is_empty(), "{:?}", home.processes());
}

#[test]
fn without_any_copy_a_newer_process_of_a_known_app_is_adopted() {
    needs_root!();
    let home = home();
    start_sleeper(&home, "app", 1001);
    let state = home.dir().join("ostler.state");
    home.wait_until("the state is written", || fs::metadata(&state).is_ok_and(|meta| meta.len() > 100));
    let old = fs::read(&state).unwrap();
    home.ok("restart app");
    let pid = home.app("app").pid();
    home.kill_all_three();
    copies(home.dir()).iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    fs::write(&state, &old).unwrap();
    home.ok("list");
    assert_eq!(home.app("app").pid(), pid, "{}", home.report());
    assert_eq!(home.pids_of("sleep 1001"), [pid]);
}

#[test]
fn unknown_processes_are_named_and_stopped_by_kill() {
    needs_root!();
    let home = home();
    start_sleeper(&home, "app", 1001);
    let pid = home.app("app").pid();
    home.kill_all_three();
    copies(home.dir()).iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    fs::remove_file(home.dir().join("ostler.state")).unwrap();
    let output = home.run("list");
    assert!(output.all().contains(&format!("pid {pid}")) && !output.all().contains("killed together with its apps"), "{output}");
    assert!(alive(pid));
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn copy_in_memory_is_removed_by_kill_and_with_its_home() {
    needs_root!();
    let home = home();
    start_sleeper(&home, "app", 1001);
    home.wait_until("there is a copy", || copies(home.dir()).iter().any(|folder| fs::read_dir(folder).unwrap().count() == 2));
    home.ok("kill");
    assert_eq!(copies(home.dir()), Vec::<PathBuf>::new());
    // If a home no longer exists, the next daemon of its user removes the copy.
    let gone = crate::setup::home();
    start_sleeper(&gone, "app", 1002);
    let dir = gone.dir().to_owned();
    home.wait_until("there is a copy", || copies(&dir).len() == 1);
    gone.kill_everything();
    fs::remove_dir_all(&dir).unwrap();
    start_sleeper(&home, "next", 1003);
    home.wait_until("it is removed", || copies(&dir).is_empty());
}
