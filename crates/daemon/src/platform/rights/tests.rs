//! Walks as root for a user who plants links and files. Without root these tests do nothing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

use super::*;

const USER: u32 = 54_321;

struct Scene {
    root: PathBuf,
    rights: Rights,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Returns a scene for a walk, or `None` without root: then the test is skipped.
fn scene(name: &str) -> Option<Scene> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let root = std::env::temp_dir().join(format!("ostler-walk-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    // The temporary folder may itself be a link, so it is resolved.
    let scene = Scene { root: root.canonicalize().unwrap(), rights: Rights::from(Some((USER, USER, vec![USER]))) };
    for (folder, mode) in [("ours", 0o755), ("private", 0o700), ("sticky", 0o1777), ("theirs", 0o755), ("private/theirs", 0o755)] {
        let path = scene.root.join(folder);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if folder.ends_with("theirs") {
            chown(&path, Some(USER), Some(USER)).unwrap();
        }
    }
    Some(scene)
}

impl Scene {
    fn link(&self, at: &str, target: &str, owner: u32) {
        symlink(target, self.root.join(at)).unwrap();
        lchown(self.root.join(at), Some(owner), Some(owner)).unwrap();
    }

    /// Returns the target of a path and whether it is accessed with our rights, or the error.
    fn lead(&self, path: &str) -> Result<(String, bool), io::ErrorKind> {
        let entry = self.rights.entry(&self.root.join(path)).map_err(|error| error.kind())?.unwrap();
        Ok((entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_str().unwrap().to_owned(), entry.rights().is_daemon_user()))
    }
}

#[test]
fn path_owner_decides_the_rights_used() {
    let Some(scene) = scene("whose") else { return };
    fs::create_dir(scene.root.join("sticky/ours")).unwrap();
    fs::create_dir(scene.root.join("theirs/made")).unwrap();
    scene.link("ours/to-ours", "../ours/deep/..", 0);
    scene.link("ours/to-theirs", "../theirs", 0);
    scene.link("ours/file", "other.log", 0);
    scene.link("theirs/to-private", "../private", USER);
    scene.link("theirs/to-ours", "../ours", USER);
    scene.link("theirs/to-root", "/", USER);
    scene.link("sticky/to-ours", "../ours", 0);
    scene.link("ours/round", "round", 0);
    fs::create_dir(scene.root.join("ours/deep")).unwrap();
    fs::write(scene.root.join("ours/plain"), "").unwrap();
    let denied = Err(io::ErrorKind::PermissionDenied);
    let ok = |path: &str, ours| Ok((path.to_owned(), ours));
    let cases = [
        ("ours/x", ok("ours/x", true)),
        ("ours/./deep/../x", ok("ours/x", true)),
        ("ours/to-ours/x", ok("ours/x", true)),
        ("ours/file", ok("ours/other.log", true)),
        ("private/x", ok("private/x", true)),
        ("ours/to-theirs/x", ok("theirs/x", false)),
        ("theirs/x", ok("theirs/x", false)),
        // Paths through a folder of theirs are accessed with their rights, even if the target is
        // ours.
        ("theirs/../ours/x", ok("ours/x", false)),
        ("theirs/to-ours/x", ok("ours/x", false)),
        ("theirs/made/x", ok("theirs/made/x", false)),
        ("theirs/to-private/x", denied.clone()),
        ("theirs/to-root/etc/x", ok("/etc/x", false)),
        // A folder of theirs that they cannot reach themselves still belongs to them.
        ("private/theirs/x", ok("private/theirs/x", false)),
        // Every user may create names in `/tmp`. A folder of ours was created by us; a link or file
        // may have been moved there.
        ("sticky/x", ok("sticky/x", false)),
        ("sticky/ours/x", ok("sticky/ours/x", true)),
        ("sticky/to-ours/x", ok("ours/x", false)),
        ("ours/plain/x", Err(io::ErrorKind::NotADirectory)),
        ("ours/none/x", Err(io::ErrorKind::NotFound)),
        ("ours/..", Err(io::ErrorKind::IsADirectory)),
    ];
    for (path, expected) in cases {
        assert_eq!(scene.lead(path), expected, "{path}");
    }
    let round = scene.rights.entry(&scene.root.join("ours/round")).unwrap_err();
    assert_eq!(round.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

#[test]
fn links_to_daemon_descriptors_are_not_followed() {
    let Some(scene) = scene("magic") else { return };
    let memory = ostler_sys::fd::memfd::create("ostler-test").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&memory);
    for owner in [0, USER] {
        let at = format!("theirs/magic-{owner}");
        scene.link(&at, &format!("/proc/self/fd/{fd}"), owner);
        let opened = scene.rights.open(&scene.root.join(at), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, 0o600, None);
        assert!(opened.is_err(), "{opened:?}");
    }
}

#[test]
fn created_files_belong_to_the_user_of_the_rights() {
    let Some(scene) = scene("made") else { return };
    for (folder, owner) in [("ours", 0), ("theirs", USER), ("private/theirs", USER), ("sticky", 0)] {
        let path = scene.root.join(folder).join("a/b/x.pid");
        scene.rights.write(&path, b"12").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12");
        scene.rights.write(&path, b"3").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        for part in [path.as_path(), path.parent().unwrap(), path.parent().unwrap().parent().unwrap()] {
            assert_eq!(fs::metadata(part).unwrap().uid(), owner, "{}", part.display());
        }
        assert!(scene.rights.empty(&path).unwrap() && fs::read(&path).unwrap().is_empty());
        scene.rights.remove(&path).unwrap();
        assert!(!path.exists());
        assert!(!scene.rights.empty(&path).unwrap());
    }
}

#[test]
fn fifos_and_folders_are_not_written_truncated_or_waited_for() {
    let home = std::env::temp_dir().join(format!("ostler-rights-fifo-{}", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    let fifo = home.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    fs::create_dir_all(home.join("folder")).unwrap();
    for rights in [Rights::default(), Rights::from(Some((USER, USER, vec![USER])))] {
        if !rights.is_daemon_user() && !rustix::process::geteuid().is_root() {
            continue;
        }
        for name in ["fifo", "folder"] {
            let path = home.join(name);
            assert!(rights.write(&path, b"1").is_err(), "{name}");
            assert!(!rights.empty(&path).unwrap_or(false), "{name}");
            assert!(rights.read(&path).is_err(), "{name}");
        }
    }
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn rights_round_trip_through_json() {
    let rights = Rights::from(Some((1, 2, vec![3, 4])));
    let text = serde_json::to_string(&rights).unwrap();
    assert_eq!(serde_json::from_str::<Rights>(&text).unwrap(), rights);
    assert_eq!(serde_json::from_str::<Rights>("null").unwrap(), Rights::default());
}
