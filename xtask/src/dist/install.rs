//! `cargo xtask dist --test`: installs, runs and removes each package in a separate root.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{must_run, root};

/// Runs the test script over the packages in this folder. It needs root; a package without its
/// tools is reported as skipped.
pub(super) fn run(packages: &Path) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "installing packages in roots of their own needs root");
    ensure!(packages.join("SHA256SUMS").is_file(), "there are no packages in {}: `cargo xtask dist` makes them", packages.display());
    let home = std::env::home_dir().context("there is no home folder")?;
    let cache = std::env::var_os("OSTLER_CACHE").map_or_else(|| home.join(".cache/ostler-dev"), Into::into);
    let machine = cache.join("systemd-root");
    must_run(Command::new(root().join("tests/fixtures/systemd/root.sh")).arg(&machine))?;
    // Mounts and processes of the script disappear when it exits.
    let mut script = Command::new("unshare");
    script.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
    must_run(script.arg("bash").arg(root().join("tests/fixtures/dist/install.sh")).arg(packages).arg(machine))
}
