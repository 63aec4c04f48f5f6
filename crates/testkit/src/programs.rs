//! Optional programs of this machine, and settings of the test run.

use std::path::PathBuf;

use std::os::unix::fs::PermissionsExt;

/// Returns the full path of a program on `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let runs = |file: &PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(runs)
}

/// Returns true if `CI=true`: tests that a developer's machine may skip then have to run.
pub fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Returns a number from the environment: rounds and seeds of tests that can run longer.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
