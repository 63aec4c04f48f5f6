//! The binaries under test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nodes::cache_dir;
use crate::programs::{on_ci, program};

/// The version of PM2 that ostler replaces.
const PM2_VERSION: &str = "7.0.4";

/// A pm2-like binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// ostler under its own name.
    Ostler(PathBuf),
    /// The same binary called `pm2`.
    OstlerAsPm2(PathBuf),
    /// Real PM2.
    Pm2(PathBuf),
}

impl Subject {
    /// Returns real PM2, if it is installed or npm can install it; on CI its absence is a failure.
    pub fn pm2() -> Option<Self> {
        installed_pm2().map(Self::Pm2)
    }

    /// Returns true for real PM2, which does not have to fulfil ostler's own promises.
    pub fn is_real_pm2(&self) -> bool {
        matches!(self, Self::Pm2(_))
    }

    /// Returns the variable that sets the home.
    pub(crate) fn home_variable(&self) -> &'static str {
        match self {
            Self::Ostler(_) => "OSTLER_HOME",
            Self::OstlerAsPm2(_) | Self::Pm2(_) => "PM2_HOME",
        }
    }

    /// Returns the program to run; `bin` is a folder for links.
    pub(crate) fn executable(&self, bin: &Path) -> PathBuf {
        match self {
            Self::Ostler(path) | Self::Pm2(path) => path.clone(),
            Self::OstlerAsPm2(path) => {
                let link = bin.join("pm2");
                if !link.exists() {
                    std::os::unix::fs::symlink(path, &link).unwrap();
                }
                link
            }
        }
    }
}

/// Returns the `pm2` of the right version: `$OSTLER_TEST_PM2`, on `PATH`, or installed by npm into
/// the cache.
pub fn installed_pm2() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("OSTLER_TEST_PM2") {
        return Some(given.into());
    }
    program("pm2").filter(|path| is_real(path, PM2_VERSION)).or_else(|| installed_pm2_of(PM2_VERSION))
}

/// Returns the `pm2` of another version, installed by npm into the cache; on CI its absence is a
/// failure.
pub fn installed_pm2_of(version: &str) -> Option<PathBuf> {
    program("node")?;
    let found = install(version);
    assert!(found.is_some() || !on_ci(), "npm cannot install pm2@{version}, and on CI it has to");
    found
}

fn install(version: &str) -> Option<PathBuf> {
    let dir = cache_dir()?.join(format!("pm2-{version}"));
    let binary = dir.join("node_modules/.bin/pm2");
    fs::create_dir_all(&dir).ok()?;
    let lock = File::create(dir.join("lock")).ok()?;
    lock.lock().ok()?;
    if !is_real(&binary, version) {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent", &format!("pm2@{version}"), "--prefix"]).arg(&dir);
        npm.current_dir(&dir).output().ok()?;
    }
    is_real(&binary, version).then_some(binary)
}

/// Returns true if it is PM2 itself, not ostler under that name, and of the right version.
fn is_real(path: &Path, version: &str) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let package = real.parent().and_then(Path::parent).map(|dir| dir.join("package.json"));
    let text = package.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    json["name"] == "pm2" && json["version"] == version
}
