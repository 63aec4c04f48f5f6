//! Operations that require root or its rights.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns true if the test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns true if `unshare` may create namespaces with these options.
pub fn can_unshare(options: &[&str]) -> bool {
    let status = Command::new("unshare").args(options).arg("true").stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Small memory file system, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts a file system of `kib` KiB on a new folder, or returns `None` if this machine does
    /// not permit it.
    pub fn mount(path: &Path, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={kib}k,mode=0755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output().ok()?.status;
        status.success().then(|| Self { path: path.to_owned() })
    }

    /// Returns its mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if no block is free.
    pub fn is_full(&self) -> bool {
        rustix::fs::statvfs(&self.path).unwrap().f_bavail == 0
    }

    /// Changes its size.
    pub fn resize(&self, kib: u32) {
        let options = format!("remount,size={kib}k");
        let output = Command::new("mount").args(["-o", &options]).arg(&self.path).output().unwrap();
        assert!(output.status.success(), "cannot resize {}", self.path.display());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.path).output());
    }
}
