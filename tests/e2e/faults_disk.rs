//! The disk under the binary fails: the supervising processes stay alive.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Home, Subject, alive, kill, needs_root, proc_number, skip};
use rustix::process::Signal;

use crate::setup::{binary, home};

/// A separate read-only file system with a copy of the binary. Its disk is a file.
struct Disk {
    image: PathBuf,
    saved: PathBuf,
    folder: PathBuf,
    _home: Home,
}

impl Disk {
    /// Mounts the disk; none without loop devices.
    fn with(binary: &Path) -> Option<Self> {
        let home = home();
        let (image, saved, folder) = (home.work().join("image"), home.work().join("saved"), home.work().join("disk"));
        let (content, program) = (home.work().join("content"), home.work().join("content/ostler"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&content).unwrap();
        fs::copy(binary, &program).unwrap();
        // With debug symbols, the disk would need some hundred megabytes.
        drop(Command::new("strip").arg(&program).status());
        let bytes = fs::metadata(&program).unwrap().len() + (16 << 20);
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0", "-d"]).arg(&content).arg(&image).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        fs::copy(&image, &saved).unwrap();
        let mounted = Command::new("mount").args(["-o", "loop,ro,noload"]).arg(&image).arg(&folder).output().unwrap();
        if !mounted.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        Some(Self { image, saved, folder, _home: home })
    }

    fn program(&self) -> PathBuf {
        self.folder.join("ostler")
    }

    /// Makes every later read of the disk fail, and drops the binary from the page cache.
    fn fail(&self) {
        let program = File::open(self.program()).unwrap();
        File::options().write(true).open(&self.image).unwrap().set_len(0).unwrap();
        rustix::fs::fadvise(&program, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    /// Restores the disk.
    fn recover(&self) {
        let content = fs::read(&self.saved).unwrap();
        fs::write(&self.image, content).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.recover();
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

#[test]
fn keeper_survives_failed_disk_of_its_binary() {
    outlives(|home, a, daemon| {
        kill(a, Signal::KILL);
        home.wait_until("its end is noticed", || !alive(a));
        kill(daemon, Signal::KILL);
    });
}

#[test]
fn first_recovery_works_without_the_disk() {
    outlives(|home, a, daemon| {
        let anchor = home.anchor_pid();
        kill(anchor, Signal::KILL);
        home.wait_until("it is reaped", || !alive(anchor));
        // The keeper kills a daemon that does not react to an app's exit.
        kill(daemon, Signal::STOP);
        kill(a, Signal::KILL);
    });
}

/// Makes the disk fail and then calls `happens` for an app and the daemon. The keeper must work
/// without the disk: it notices the exit, and tries to restart the daemon, which fails. The static
/// program, if given, has its code in another order.
fn outlives(happens: impl Fn(&Home, i32, i32)) {
    needs_root!();
    let other = std::env::var_os("OSTLER_STATIC").map(PathBuf::from);
    for program in [binary()].into_iter().chain(other) {
        let Some(disk) = Disk::with(&program) else {
            skip!("no loop devices or no mkfs.ext4");
        };
        let home = Home::new(Subject::Ostler(disk.program()));
        for name in ["a", "b"] {
            home.ok(format!("start sleep --name {name} --restart-delay 1 -- 1000"));
        }
        let (a, b, keeper) = (home.app("a").pid(), home.app("b").pid(), home.keeper_pid());
        home.wait_until("it rests", || proc_number(keeper, "smaps_rollup", "Locked") > 0);
        let daemon = home.daemon_pid();
        disk.fail();
        happens(&home, a, daemon);
        home.wait_until("the daemon has ended", || !alive(daemon));
        home.wait_until("another could not be started", || {
            assert!(alive(keeper), "the keeper died with the disk");
            let log = home.daemon_log();
            log.contains("cannot start the daemon") || log.contains("the daemon exited")
        });
        assert!(alive(keeper) && alive(b));
        disk.recover();
        home.wait_until("the daemon is back", || home.run("ping").code == 0);
        let item = home.wait_app("a", "restarted", |item| item.pid() != a && item.status() == "online");
        assert!(alive(item.pid()));
        assert_eq!((home.app("b").pid(), home.app("b").restarts(), home.keeper_pid()), (b, 0, keeper));
        home.ok("kill");
        home.wait_no_processes();
    }
}
