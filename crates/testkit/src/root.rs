//! What only root can do.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small memory file system, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one of so many KiB on a new folder; `None` when this machine does not permit it.
    pub fn mount(path: &Path, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={kib}k,mode=0755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output().ok()?.status;
        status.success().then(|| Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Not a block is free.
    pub fn is_full(&self) -> bool {
        rustix::fs::statvfs(&self.path).unwrap().f_bavail == 0
    }

    /// Gives it another size.
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
