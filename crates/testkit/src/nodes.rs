//! The versions of Node that every promise about Node apps applies to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{on_ci, program};

/// Major versions; `.ci/run` installs the same ones.
const MAJORS: [u32; 4] = [18, 20, 22, 24];

/// An installed version of Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Major version.
    pub major: u32,
    /// The executable.
    pub path: PathBuf,
}

impl Node {
    /// Returns the folder to put in front of `PATH`, so that `node` is this version.
    pub fn dir(&self) -> &Path {
        self.path.parent().expect("a program lies in a folder")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.major)
    }
}

/// Returns every version to test with: those in the cache of `.ci/run`, and `node` on `PATH`. On
/// CI, all have to be in the cache.
#[track_caller]
pub fn nodes() -> Vec<Node> {
    let cache = cache_dir().unwrap_or_default();
    let in_cache = |major: u32| cache.join(format!("node-{major}/node_modules/.bin/node"));
    let mut found: Vec<Node> = MAJORS.map(|major| Node { major, path: in_cache(major) }).into();
    if on_ci() {
        for node in &found {
            assert!(node.path.exists(), "{node} is not at {}, and on CI it has to be", node.path.display());
        }
        return found;
    }
    found.retain(|node| node.path.exists());
    let known: Vec<u32> = found.iter().map(|node| node.major).collect();
    found.extend(on_path().filter(|own| !known.contains(&own.major)));
    found
}

/// Returns a program of the Python environment that `.ci/run` creates: `gunicorn`, `uvicorn`,
/// `hypercorn`. On CI, it has to exist.
#[track_caller]
pub fn python_program(name: &str) -> Option<String> {
    let path = cache_dir().unwrap_or_default().join("python/bin").join(name);
    assert!(path.exists() || !on_ci(), "{} is not there, and on CI it has to be", path.display());
    path.exists().then(|| path.to_string_lossy().into_owned())
}

/// Returns the cache folder of `.ci/run`.
pub fn cache_dir() -> Option<PathBuf> {
    let user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(user);
    std::env::var_os("OSTLER_CACHE").map(PathBuf::from).or_else(|| Some(base()?.join("ostler-dev")))
}

fn on_path() -> Option<Node> {
    let path = program("node")?;
    let output = Command::new(&path).arg("--version").output().ok()?;
    let major = String::from_utf8(output.stdout).ok()?.strip_prefix('v')?.split('.').next()?.parse().ok()?;
    Some(Node { major, path })
}
