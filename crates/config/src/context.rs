//! Context in which files and options are interpreted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ostler_core::app::EnvMap;
use ostler_core::environment::JS;
use ostler_core::home::trust::{Caller, Origin};
use ostler_core::message;

use crate::guard;
use crate::problem::Problem;

/// Engine that evaluates JavaScript files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The embedded engine if it suffices, otherwise the runtime on `PATH`.
    #[default]
    Auto,
    /// Only the embedded engine (`OSTLER_JS=embedded`).
    Embedded,
    /// Only the runtime on `PATH` (`OSTLER_JS=runtime`).
    Runtime,
}

/// Facts about the client's environment. Apart from these, only the file system is read.
#[derive(Clone, Debug)]
pub struct Context {
    /// Absolute working directory of the caller.
    pub cwd: PathBuf,
    /// Environment of the caller.
    pub env: Arc<EnvMap>,
    /// Home directory of the user, for `~`.
    pub user_home: PathBuf,
    /// CPUs that this process may use, for `instances: max`.
    pub cpus: u32,
    /// Command line of the caller, as JavaScript files get it in `process.argv`.
    pub argv: Vec<String>,
    /// Engine that evaluates JavaScript.
    pub engine: Engine,
    /// Whether the command was called by PM2's name: PM2's defaults then apply if ostler's differ.
    pub as_pm2: bool,
    /// Whether warnings are errors.
    pub strict: bool,
    /// Lowest `nice` that the caller may set.
    pub lowest_nice: i32,
    /// Program and argument of ostler's own file server, for `script: "serve"`; none without such a
    /// server.
    pub file_server: Option<(String, String)>,
    /// User who runs the command; it decides which users' files are trusted.
    pub caller: Caller,
    /// Returns the numeric id of an app's `uid`.
    pub user_id: fn(&str) -> Option<u32>,
    /// Checks that the `uid` and the `gid` of an app exist.
    pub check_account: fn(Option<&str>, Option<&str>) -> Result<(), AccountError>,
    /// Whether the apps run on another machine (they are exported): files that are missing here may
    /// exist there, or be built first.
    pub elsewhere: bool,
}

/// Account of an app that does not exist, with the error of the user database.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Its `uid`, alone or without a group.
    #[error(transparent)]
    User(Box<dyn std::error::Error + Send + Sync>),
    /// Its `gid`.
    #[error(transparent)]
    Group(Box<dyn std::error::Error + Send + Sync>),
}

/// Word in `OSTLER_JS` that names no [`Engine`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message!("OSTLER_JS: expected embedded, runtime or auto, found \"{word}\"", word = _0))]
pub struct UnknownEngine(pub String);

impl Context {
    /// Returns a context for this directory and environment. `HOME` and `OSTLER_JS` are taken from
    /// `env`.
    ///
    /// # Errors
    /// Returns a message for the user if `OSTLER_JS` holds an unknown word.
    pub fn new(cwd: PathBuf, env: EnvMap, cpus: u32) -> Result<Self, UnknownEngine> {
        let engine = match JS.text(|name| env.get(name).cloned()).as_deref() {
            None | Some("auto") => Engine::Auto,
            Some("embedded") => Engine::Embedded,
            Some("runtime") => Engine::Runtime,
            Some(other) => return Err(UnknownEngine(other.to_owned())),
        };
        let user_home = env.get("HOME").filter(|home| home.starts_with('/')).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let caller = guard::caller(|name| env.get(name)?.parse().ok());
        Ok(Self {
            cwd,
            env: Arc::new(env),
            user_home,
            cpus: cpus.max(1),
            argv: Vec::new(),
            engine,
            as_pm2: false,
            strict: false,
            lowest_nice: lowest_nice(),
            file_server: None,
            caller,
            user_id: |uid| uid.parse().ok(),
            check_account: |_, _| Ok(()),
            elsewhere: false,
        })
    }

    /// Applies the changes that a JavaScript file made to `process.env`
    /// (`require('dotenv').config()`). PM2 evaluates the file in its own process, so its apps get
    /// these changes, and files rely on it.
    pub fn apply_env_changes(&mut self, changes: &[(String, Option<String>)]) {
        let env = Arc::make_mut(&mut self.env);
        for (name, value) in changes {
            match value {
                Some(value) => drop(env.insert(name.clone(), value.clone())),
                None => drop(env.shift_remove(name)),
            }
        }
    }

    /// Opens a file that the command will use. Returns the file, and a warning if others can change
    /// it. A relative path starts at the caller's directory.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or if another user can change it and the
    /// caller has not allowed that.
    pub fn open(&self, path: &Path, origin: Origin) -> Result<(std::fs::File, Option<String>), Problem> {
        guard::open(&self.cwd.join(path), &self.caller, origin)
    }

    /// Returns the absolute form of a path as the user wrote it: `~` is the user's home, relative
    /// paths start at `base`, `.` and `..` are resolved by text (symbolic links stay).
    pub(crate) fn absolute(&self, path: &str, base: &Path) -> PathBuf {
        let expanded = match path.strip_prefix('~') {
            Some("") => self.user_home.clone(),
            Some(rest) if rest.starts_with('/') => self.user_home.join(rest.trim_start_matches('/')),
            _ => base.join(path),
        };
        tidy(&expanded)
    }

    /// Returns the absolute form of a path against the caller's directory.
    pub(crate) fn in_cwd(&self, path: &str) -> PathBuf {
        self.absolute(path, &self.cwd)
    }
}

/// Resolves `.` and `..` of an absolute path by text.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Returns the program of this name on a `PATH`: a regular file that may be executed. Empty and
/// relative entries are ignored.
pub(crate) fn find_program(name: &str, path: Option<&str>) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name.contains('\0') {
        return None;
    }
    let path = path.unwrap_or("/usr/local/bin:/usr/bin:/bin");
    path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name)).find(|file| is_executable(file))
}

/// Returns true for a regular file that this process may execute.
pub(crate) fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Returns the lowest `nice`: -20 with the right to lower it, otherwise the limit of `RLIMIT_NICE`.
/// It is never above 0, the initial value of every process.
fn lowest_nice() -> i32 {
    const CAP_SYS_NICE: u64 = 23;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let status = read("status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // If the capabilities are unknown, nothing is forbidden: the start itself reports the error.
    if capabilities.is_none_or(|capabilities| capabilities & (1 << CAP_SYS_NICE) != 0) {
        return -20;
    }
    let limits = read("limits");
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max nice priority")?.split_whitespace().next()?.parse::<i32>().ok());
    soft.map_or(0, |soft| (20 - soft).clamp(-20, 0))
}
