//! Tests of control groups with the real kernel.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ostler_sys::process::child::{reap, reap_any};
use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::{ProcRef, SpawnSpec, WaitStatus, cgroup};

/// A group of the test below our own, removed when the value is dropped. If groups cannot be
/// created, the test prints a line and gets `None`.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Self> {
        let group = cgroup::own().map(|own| own.join(format!("ostler-test-{name}-{}", std::process::id())));
        let made = group.filter(|group| cgroup::make(group).is_ok());
        if made.is_none() {
            eprintln!("skipped: no writable cgroup2");
        }
        made.map(Self)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The test's assertions are more useful than a failure here.
        let _ = cgroup::kill(&self.0);
        let until = Instant::now() + Duration::from_secs(5);
        while cgroup::remove(&self.0).is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn shell(script: &str) -> SpawnSpec {
    let script = std::ffi::CString::new(script).unwrap();
    SpawnSpec { program: c"/bin/sh".into(), argv: [c"sh", c"-c", &script].into(), cwd: c"/".into(), ..SpawnSpec::default() }
}

fn spawn_in(group: &Path, script: &str) -> ProcRef {
    let folder = cgroup::open(group).unwrap();
    spawn_at(&shell(script), &[], Placement { cgroup: Some(folder.as_fd()), ..Placement::default() }).unwrap()
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn process_is_in_its_group_from_the_first_instruction() {
    let Some(group) = Group::new("born") else { return };
    assert!(!cgroup::is_populated(&group.0));
    let child = spawn_in(&group.0, "exec sleep 1000");
    assert_eq!(cgroup::members(&group.0), [child.pid]);
    assert!(cgroup::is_populated(&group.0));
    assert_eq!(cgroup::remove(&group.0), Err(rustix::io::Errno::BUSY));
    child.signal(9).unwrap();
    reap(child.pid).unwrap();
    assert!(cgroup::members(&group.0).is_empty() && !cgroup::is_populated(&group.0));
    assert_eq!(cgroup::remove(&group.0), Ok(()));
}

#[test]
fn kill_reaches_daemonized_processes_in_the_group() {
    let Some(group) = Group::new("kill") else { return };
    let deep = group.0.join("below/deeper");
    let leader = spawn_in(&group.0, "env -i setsid sh -c 'sleep 1000 & sleep 1000 & exit' & wait");
    cgroup::make(&group.0.join("below")).unwrap();
    let below = spawn_in(&deep, "exec sleep 1000");
    assert_eq!(reap(leader.pid).unwrap().ending, WaitStatus::Code(0));
    wait_until("the orphans and the one below are all", || cgroup::members(&group.0).len() == 3);
    cgroup::kill(&group.0).unwrap();
    assert_eq!(reap(below.pid).unwrap().ending, WaitStatus::Signal { signal: 9, core: false });
    wait_until("nobody is left", || !cgroup::is_populated(&group.0));
    assert_eq!(cgroup::remove(&group.0), Ok(()), "with what is below it");
    assert!(!group.0.exists());
}

#[test]
fn start_succeeds_if_the_group_has_vanished() {
    let Some(group) = Group::new("gone") else { return };
    let folder = cgroup::open(&group.0).unwrap();
    cgroup::remove(&group.0).unwrap();
    let null = std::fs::File::open("/dev").unwrap();
    for cgroup in [folder.as_fd(), null.as_fd()] {
        let child = spawn_at(&shell("exit 5"), &[], Placement { cgroup: Some(cgroup), ..Placement::default() }).unwrap();
        assert_eq!(reap(child.pid).unwrap().ending, WaitStatus::Code(5));
    }
}

#[test]
fn recreated_group_works_after_a_kill() {
    let Some(group) = Group::new("again") else { return };
    assert_eq!(cgroup::try_birth(cgroup::open(&group.0).unwrap().as_fd()), Ok(()));
    cgroup::kill(&group.0).unwrap();
    let killed = cgroup::try_birth(cgroup::open(&group.0).unwrap().as_fd());
    eprintln!("in a group that was killed: {killed:?}");
    cgroup::remove(&group.0).unwrap();
    assert_eq!(cgroup::try_birth(cgroup::open(&group.0).unwrap().as_fd()), Ok(()));
    assert_eq!(cgroup::try_birth(std::fs::File::open("/").unwrap().as_fd()), Err(rustix::io::Errno::BADF));
    assert_eq!(reap_any(), None);
}
