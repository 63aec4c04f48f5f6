//! `update --from`: replaces this program by another program, after verification. If the new
//! program does not start, the former program is restored.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Home, Subject, needs_program};

use crate::setup::{binary, start_fixture};

/// A home with an installed program of its own.
struct Installed {
    home: Home,
    program: PathBuf,
    /// Folder with the downloads.
    downloads: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let root = Home::new(Subject::Ostler(binary())).root().to_owned();
        // That home is gone, but its folder name is unused. The program must exist before a home
        // refers to it.
        let program = root.join("opt/ostler");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        // Without debug symbols, copies and checksums are fast.
        let stripped = Command::new("strip").args(["--strip-all", "-o"]).arg(&program).arg(binary()).status();
        assert!(stripped.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o751)).unwrap();
        let downloads = root.join("downloads");
        fs::create_dir_all(&downloads).unwrap();
        Self { home: Home::new(Subject::Ostler(program.clone())), program, downloads }
    }

    /// Writes a file with these bytes, and its line in `SHA256SUMS`.
    fn download(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.downloads.join(name);
        fs::write(&path, bytes).unwrap();
        self.sum(name);
        path
    }

    /// Writes a file's checksum line as a release has it, and replaces an existing line.
    fn sum(&self, name: &str) {
        let list = self.downloads.join("SHA256SUMS");
        let made = Command::new("sha256sum").arg(name).current_dir(&self.downloads).output().unwrap().stdout;
        let old = fs::read_to_string(&list).unwrap_or_default();
        let others: String = old.split_inclusive('\n').filter(|line| line.split_whitespace().nth(1) != Some(name)).collect();
        fs::write(&list, others + &String::from_utf8(made).unwrap()).unwrap();
    }

    /// Builds a program that only answers `--version` with this text.
    fn answering(&self, name: &str, version: &str) -> PathBuf {
        let source = self.downloads.join("answer.c");
        let text = format!("#include <stdio.h>\nint main(int c, char **v) {{ return c == 2 ? puts(\"{version}\") < 0 : 9; }}\n");
        fs::write(&source, text).unwrap();
        let path = self.downloads.join(name);
        assert!(Command::new("cc").arg("-o").arg(&path).arg(&source).status().unwrap().success());
        self.sum(name);
        path
    }

    fn inode(&self) -> u64 {
        fs::metadata(&self.program).unwrap().ino()
    }

    /// Checks that no file of an update remains beside the program.
    #[track_caller]
    fn assert_tidy(&self) {
        let names: Vec<_> = fs::read_dir(self.program.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ostler"]);
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.downloads.parent().unwrap());
    }
}

#[track_caller]
fn runs_from(pid: i32, program: &Path, inode: u64) {
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).unwrap(), program);
    assert_eq!(fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino(), inode);
}

#[test]
fn new_program_takes_over_and_keeps_apps() {
    let it = Installed::new();
    start_fixture(&it.home, "app", "", "hold");
    let (pid, daemon, before) = (it.home.app("app").pid(), it.home.daemon_pid(), it.inode());
    let next = it.download("ostler-next", &fs::read(&it.program).unwrap());
    it.home.ok(format!("update --from {}", next.display())).says("all apps kept");
    assert_ne!(it.inode(), before);
    assert_eq!(fs::metadata(&it.program).unwrap().mode() & 0o7777, 0o751);
    it.home.wait_until("another daemon runs", || it.home.daemons().first().is_some_and(|pid| *pid != daemon));
    for pid in [it.home.daemon_pid(), it.home.keeper_pid()] {
        runs_from(pid, &it.program, it.inode());
    }
    let app = it.home.app("app");
    assert_eq!((app.pid(), app.restarts(), app.status()), (pid, 0, "online"));
    it.assert_tidy();

    // An archive, with the checksum on the command line. A killed update has left its files.
    fs::create_dir(it.downloads.join("ostler-0")).unwrap();
    fs::copy(&it.program, it.downloads.join("ostler-0/ostler")).unwrap();
    let archive = it.downloads.join("next.tar.gz");
    let packed = Command::new("tar")
        .args(["--use-compress-program", "gzip -1", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&it.downloads)
        .arg("ostler-0")
        .status();
    assert!(packed.unwrap().success());
    let sum = Command::new("sha256sum").arg(&archive).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    fs::write(it.program.with_file_name(".ostler.new"), "half").unwrap();
    fs::write(it.program.with_file_name(".ostler.former"), "half").unwrap();
    let before = it.inode();
    let list = it.home.ok(format!("update --json --from {} --sha256 {}", archive.display(), &sum[..64]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&list.stdout).unwrap()[0]["pid"], pid);
    assert_ne!(it.inode(), before);
    assert_eq!(it.home.app("app").pid(), pid);
    it.assert_tidy();
}

#[test]
fn invalid_program_changes_nothing() {
    needs_program!("cc");
    let it = Installed::new();
    // Each rejected file is rejected before it runs: its first bytes are enough.
    let mut own = vec![0; 4096];
    fs::File::open(&it.program).unwrap().read_exact(&mut own).unwrap();
    let before = it.inode();
    let refused = |words: String, said: &str| {
        it.home.run(words).code(1).says(said);
        assert_eq!(it.inode(), before, "{said}");
        it.assert_tidy();
    };
    let from = |path: &Path| format!("update --from {}", path.display());
    refused(from(&it.downloads.join("none")), "no SHA256SUMS beside it");
    let good = it.download("good", &own);
    refused(from(&it.downloads.join("none")), "has no line for it");
    refused(format!("{} --sha256 {}", from(&good), "00".repeat(32)), "its SHA-256 does not match");
    refused(format!("{} --sha256 123", from(&good)), "64 hexadecimal digits");
    refused(from(&it.download("text", b"#!/bin/sh\necho 9.9.9\n")), "neither a program nor a .tar.gz");
    refused(from(&it.download("cut", &own[..18])), "cannot read it");
    let mut other = own.clone();
    other[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    refused(from(&it.download("other", &other)), "but this machine is");
    refused(from(&it.download("half.tar.gz", b"\x1f\x8b\x08\x00and no more than this")), "cannot unpack it");
    refused(from(&it.answering("old", "0.0.1")), "use --downgrade to install it anyway");
    refused(from(&it.answering("mute", "hello")), "is not that of ostler");
    // The list is correct, but the file was changed afterwards.
    let mut changed = own.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&good, changed).unwrap();
    refused(from(&good), "its SHA-256 does not match");
    it.home.run("update --downgrade").code(2).says("only together with --from");
    // Any user could replace the file.
    let folder = it.program.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    refused(from(&it.download("good", &own)), "any user can write to");
}

#[test]
fn failed_program_is_rolled_back() {
    needs_program!("cc");
    let it = Installed::new();
    start_fixture(&it.home, "app", "", "hold");
    let (pid, daemon, before) = (it.home.app("app").pid(), it.home.daemon_pid(), it.inode());
    let broken = it.answering("broken", "9.9.9");
    it.home
        .run(format!("update --from {}", broken.display()))
        .code(1)
        .says("does not accept the state")
        .says("the previous program was restored");
    assert_eq!(it.inode(), before);
    it.assert_tidy();
    it.home.wait_until("a daemon runs", || it.home.daemons().first().is_some_and(|pid| *pid != daemon));
    runs_from(it.home.daemon_pid(), &it.program, before);
    let app = it.home.app("app");
    assert_eq!((app.pid(), app.restarts(), app.status()), (pid, 0, "online"));
}

#[test]
fn downgrade_works_on_request_without_a_daemon() {
    needs_program!("cc");
    let it = Installed::new();
    let old = it.answering("old", "0.0.1");
    it.home.ok(format!("update --downgrade --from {}", old.display())).says("no daemon is running");
    assert_eq!(it.home.ok("--version").stdout.trim(), "0.0.1");
    it.assert_tidy();
}
