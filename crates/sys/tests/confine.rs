//! Confinement of real programs.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ostler_sys::confine::landlock::{Access, Restricted, Ruleset, abi, open_path};
use ostler_sys::confine::{Confinement, Confining};
use ostler_sys::fd::pipe;
use ostler_sys::process::child;
use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::{Credentials, SpawnSpec, SpawnStep};

/// Runs a shell script below a confinement, and returns its output.
fn run(script: &str, user: Option<Credentials>, confinement: &Confinement, ruleset: Option<BorrowedFd<'_>>) -> String {
    let (mut reads, writes) = pipe_of_files();
    let argv = ["sh", "-c", script].into_iter().map(|text| CString::new(text).unwrap()).collect();
    let envp = [c"PATH=/usr/bin:/bin"].into();
    let spec = SpawnSpec { program: c"/bin/sh".into(), argv, envp, cwd: c"/".into(), user, ..SpawnSpec::default() };
    let placement = Placement { confining: Some(Confining { confinement, ruleset }), ..Placement::default() };
    let process = spawn_at(&spec, &[(writes.as_fd(), 1), (writes.as_fd(), 2)], placement).unwrap();
    drop(writes);
    let mut text = String::new();
    reads.read_to_string(&mut text).unwrap();
    child::reap(process.pid);
    text
}

fn pipe_of_files() -> (File, File) {
    let (reads, writes) = pipe::pipe().unwrap();
    (reads.into(), writes.into())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a ruleset in which the programs of the system are readable.
fn readable_system() -> Option<Ruleset> {
    let ruleset = Ruleset::new(Restricted { files: true, scope: true, ..Restricted::default() }, abi().ok()?).unwrap();
    for path in ["/usr", "/bin", "/lib", "/lib64", "/proc", "/etc"] {
        if let Ok(fd) = open_path(Path::new(path)) {
            ruleset.allow(fd.as_fd(), Access::Read).unwrap();
        }
    }
    Some(ruleset)
}

#[test]
fn ruleset_applies_to_the_program_only() {
    let Some(ruleset) = readable_system() else { return };
    let confinement = Confinement { no_new_privs: true, ..Confinement::default() };
    let text = run("cat /etc/hostname >/dev/full; ls /var; grep NoNewPrivs /proc/self/status", None, &confinement, Some(ruleset.as_fd()));
    assert!(text.contains("Permission denied") && text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(std::fs::read_dir("/var").is_ok(), "we are not restricted");
    assert_eq!(ostler_sys::process::has_no_new_privs(std::process::id().cast_signed()), Some(false));
}

#[test]
fn capabilities_are_kept_after_a_change_of_user() {
    if !is_root() {
        return;
    }
    let user = Some(Credentials { uid: 54_321, gid: 54_321, groups: Vec::new() });
    for (keep, expected) in [(1 << 10, "0000000000000400"), (0, "0000000000000000")] {
        let confinement = Confinement { no_new_privs: true, capabilities: Some(keep), ..Confinement::default() };
        let text = run("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status", user.clone(), &confinement, None);
        assert_eq!(text.matches(expected).count(), 5, "{keep}: {text}");
    }
}

#[test]
fn private_tmp_is_empty_and_writable_and_processes_are_hidden() {
    if !is_root() {
        return;
    }
    let Some(ruleset) = readable_system() else { return };
    let abi = abi().unwrap();
    let confinement = Confinement {
        no_new_privs: true,
        private_tmp: true,
        private_proc: true,
        tmp_access: Access::Write.in_version(abi),
        proc_access: Access::Read.in_version(abi),
        ..Confinement::default()
    };
    let mark = std::env::temp_dir().join(format!("ostler-confine-{}", std::process::id()));
    std::fs::write(&mark, "").unwrap();
    let script = "ls -A /tmp | wc -l; echo x > /tmp/y && echo written; ls -d /proc/1 || echo hidden; ls -d /proc/self >&1";
    let text = run(script, None, &confinement, Some(ruleset.as_fd()));
    std::fs::remove_file(&mark).unwrap();
    assert!(text.starts_with("0\n") && text.contains("written") && text.contains("hidden") && text.contains("/proc/self"), "{text}");
    assert!(!Path::new("/tmp/y").exists());
}

#[test]
fn failed_step_of_a_confinement_is_named() {
    // Without `no_new_privs` and without rights, the kernel refuses a ruleset.
    let Some(ruleset) = readable_system() else { return };
    if !is_root() {
        return;
    }
    let user = Some(Credentials { uid: 54_321, gid: 54_321, groups: Vec::new() });
    let spec = SpawnSpec { program: c"/bin/true".into(), argv: [c"true"].into(), cwd: c"/".into(), user, ..SpawnSpec::default() };
    let confinement = Confinement::default();
    let confining = Some(Confining { confinement: &confinement, ruleset: Some(ruleset.as_fd()) });
    let failed = spawn_at(&spec, &[], Placement { confining, ..Placement::default() }).unwrap_err();
    assert_eq!(failed.step, SpawnStep::Landlock);
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_confinement() {
    let starts = 300;
    let time = |confining: Option<Confining<'_>>| {
        let spec = SpawnSpec { program: c"/bin/true".into(), argv: [c"true"].into(), cwd: c"/".into(), ..SpawnSpec::default() };
        let mut all: Vec<_> = (0..starts)
            .map(|_| {
                let began = std::time::Instant::now();
                let process = spawn_at(&spec, &[], Placement { confining, ..Placement::default() }).unwrap();
                child::reap(process.pid);
                began.elapsed()
            })
            .collect();
        all.sort();
        all[starts / 2]
    };
    let plain = time(None);
    let ruleset = readable_system().unwrap();
    let confinement = Confinement { no_new_privs: true, denied_calls: (100..160).collect(), ..Confinement::default() };
    let rules = time(Some(Confining { confinement: &confinement, ruleset: Some(ruleset.as_fd()) }));
    let with_mounts = Confinement { private_tmp: true, private_proc: true, ..confinement.clone() };
    let mounts = time(Some(Confining { confinement: &with_mounts, ruleset: Some(ruleset.as_fd()) }));
    let began = std::time::Instant::now();
    (0..starts).for_each(|_| drop(readable_system()));
    println!("plain {plain:?}, rules and filter {rules:?}, mounts {mounts:?}, ruleset {:?}", began.elapsed() / 300);
}
