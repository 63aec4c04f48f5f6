//! Name under which the program is called, and the home for that name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ostler_core::environment;
use ostler_core::home::home_paths::HomePaths;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_keeper::{HOME_VAR, ROLE_VAR};
use ostler_sys::process::tree::marker;

/// Name under which the program is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// ostler's own name.
    Ostler,
    /// `pm2`: PM2's words, home and exit codes.
    Pm2,
    /// `pm2-dev`: the command `dev`, in PM2's words.
    Pm2Dev,
}

impl Program {
    /// Determines the name from the last part of `argv[0]`.
    pub(crate) fn from_argv0(argv0: Option<&OsStr>) -> Self {
        match last_part(argv0) {
            Some("pm2" | "pm2-runtime" | "pm2-docker") => Self::Pm2,
            Some("pm2-dev") => Self::Pm2Dev,
            _ => Self::Ostler,
        }
    }

    /// Returns the name to type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ostler => "ostler",
            Self::Pm2 => "pm2",
            Self::Pm2Dev => "pm2-dev",
        }
    }

    /// Returns the name in messages.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ostler => "ostler",
            Self::Pm2 | Self::Pm2Dev => "PM2",
        }
    }

    /// Returns true if the program behaves as PM2 does.
    pub(crate) const fn is_pm2(self) -> bool {
        matches!(self, Self::Pm2 | Self::Pm2Dev)
    }
}

/// Returns true for PM2's program for containers, which is one command of ostler.
pub(crate) fn is_runtime(argv0: Option<&OsStr>) -> bool {
    matches!(last_part(argv0), Some("pm2-runtime" | "pm2-docker"))
}

fn last_part(argv0: Option<&OsStr>) -> Option<&str> {
    argv0.map(Path::new).and_then(Path::file_name)?.to_str()
}

/// Reason why the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// No variable names the home, and the user database has no entry.
    #[error("{}", message!("cannot find the home directory of this user: set {variable} to a folder", variable))]
    Unknown {
        /// The variable that would help.
        variable: &'static str,
    },
    /// The path is not UTF-8.
    #[error("{}", message!("the home {home} is not valid UTF-8", home = format!("{_0:?}")))]
    NotText(PathBuf),
    /// The path is too long: Unix socket addresses hold 107 bytes.
    #[error("{}", message!("the path of the home {path} is too long for a socket ({length} bytes, at most {most})", path, length, most))]
    TooLong {
        /// The home.
        path: String,
        /// Length of the home.
        length: usize,
        /// Longest possible length.
        most: usize,
    },
    /// The path is a file or another non-directory.
    #[error("{}", message!("the home {home} is not a directory", home = _0))]
    NotADirectory(String),
    /// The home belongs to another user.
    #[error("{}", message!("the home {path} belongs to uid {owner}, you are uid {uid}: set {variable} to a folder of your own", path, owner, uid, variable))]
    OfAnother {
        /// The home.
        path: String,
        /// Owner of the home.
        owner: u32,
        /// User of this process.
        uid: u32,
        /// The variable that would help.
        variable: &'static str,
    },
    /// The home cannot be created, read or written.
    #[error("{}", message!("cannot {what} the home {path}: {source}", what = translated(what), path, source))]
    Unusable {
        /// The step that failed.
        what: &'static str,
        /// The home.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// No place is usable: neither the usual one nor the folder for temporary files.
    #[error("{}", message!("{first}; {second}; mount a writable volume there, or set {variable} to a folder of your own", first, second, variable))]
    Nowhere {
        /// Reason why the usual place is not usable.
        first: Box<Self>,
        /// Reason why the folder for temporary files is not usable.
        second: Box<Self>,
        /// The variable that would help.
        variable: &'static str,
    },
}

impl HomeError {
    /// Removes the hint, for an error that becomes a part of another one.
    pub(crate) fn hint(&self) -> Option<String> {
        let Self::Unusable { path, source, .. } = self else { return None };
        let is_of_another = source.kind() == io::ErrorKind::PermissionDenied && !is_given();
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| is_of_another && Path::new(path).starts_with(home));
        let home = home.filter(|home| home != Path::new("/"))?;
        Some(message!("HOME is {home}: use `sudo -H` or `su -`, or set OSTLER_HOME or PM2_HOME", home = home.display()))
    }
}

/// Longest home: `sun_path` has 108 bytes with the final zero, and `/ostler.sock` follows.
const LONGEST_HOME: usize = 107 - "/ostler.sock".len();

/// Returns the variable that names the home.
pub(crate) const fn variable(program: Program) -> &'static str {
    match program {
        Program::Ostler => environment::HOME.name,
        Program::Pm2 | Program::Pm2Dev => "PM2_HOME",
    }
}

/// Returns the home as an absolute path. The sources are, in this order: - `OSTLER_HOME`, then
/// PM2's `OVER_HOME` and `PM2_HOME`; - the home of a keeper that is process 1 of this container; -
/// `~/.pm2` or `~/.ostler`.
///
/// # Errors
/// Returns an error if none of them is known, or if the path cannot hold a socket.
pub(crate) fn locate(program: Program) -> Result<PathBuf, HomeError> {
    if let Some(given) = given() {
        return given;
    }
    match process_1_home() {
        Some(home) => fitting(home),
        None => user_home(program),
    }
}

/// Returns the user's own folder inside a home that belongs to root and that several users may
/// write to. Containers that run with an arbitrary uid have such homes. A folder that is already a
/// home is returned unchanged.
fn own_part(home: PathBuf) -> Result<PathBuf, HomeError> {
    use rustix::fs::{Access, access};
    let uid = rustix::process::geteuid().as_raw();
    let is_roots = || fs::metadata(&home).is_ok_and(|meta| meta.is_dir() && meta.uid() == 0);
    let is_open = || access(&home, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if uid == 0 || !is_roots() || !is_open() || home.join(ostler_keeper::LOCK_FILE).exists() {
        return Ok(home);
    }
    let own = home.join(format!("uid-{uid}"));
    // Everybody may put a link there.
    if fs::symlink_metadata(&own).is_ok_and(|meta| meta.is_symlink()) { Ok(home) } else { fitting(own) }
}

/// Returns the home of a runtime, ready for use. If no variable names a home, it is the usual
/// place. If that cannot be used (a read-only file system, a user without a home), it is in the
/// folder for temporary files. The reason is then returned too.
///
/// # Errors
/// Returns an error if no place is usable.
pub(crate) fn for_runtime(program: Program) -> Result<(PathBuf, Option<HomeError>), HomeError> {
    let ready = |home: PathBuf| prepare(&home, program).map(|()| home);
    if let Some(given) = given() {
        return given.and_then(ready).map(|home| (home, None));
    }
    let first = match user_home(program).and_then(ready) {
        Ok(home) => return Ok((home, None)),
        Err(error) => error,
    };
    let name = if program.is_pm2() { ".pm2" } else { ".ostler" };
    let temporary = std::env::temp_dir().join(format!("{name}-{}", rustix::process::geteuid().as_raw()));
    match fitting(temporary).and_then(|home| not_a_link(&home, program).map(|()| home)).and_then(ready) {
        Ok(home) => Ok((home, Some(first))),
        Err(second) => {
            let (first, second) = (Box::new(first), Box::new(second));
            Err(HomeError::Nowhere { first, second, variable: variable(program) })
        }
    }
}

/// Returns true if a variable names the home.
pub(crate) fn is_given() -> bool {
    given().is_some()
}

fn given() -> Option<Result<PathBuf, HomeError>> {
    let given =
        [environment::HOME.name, "OVER_HOME", "PM2_HOME"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty())?;
    let path = std::path::absolute(&given).map_err(|source| unusable(marked!("find"), Path::new(&given), source));
    Some(path.and_then(fitting).and_then(own_part))
}

/// Returns the home of PM2: the home that PM2's variables name, else `~/.pm2`.
pub(crate) fn pm2_home() -> Option<PathBuf> {
    let given = ["OVER_HOME", "PM2_HOME"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    given.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pm2")))
}

fn user_home(program: Program) -> Result<PathBuf, HomeError> {
    let user = std::env::home_dir().filter(|home| home.is_absolute()).ok_or(HomeError::Unknown { variable: variable(program) })?;
    fitting(user.join(if program.is_pm2() { ".pm2" } else { ".ostler" })).and_then(own_part)
}

/// Returns the home of process 1 of this container, independent of its name and of its user's home.
fn process_1_home() -> Option<PathBuf> {
    if marker(1, ROLE_VAR)? != b"keeper" {
        return None;
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(marker(1, HOME_VAR)?)))
}

/// Returns the home of a development session: `~/.pm2-dev` or `~/.ostler-dev`, then `…-2`, `…-3`
/// for further sessions at the same time. As in PM2, no variable changes this path, because a
/// session deletes its home when it stops.
///
/// # Errors
/// Returns the errors of [`locate`].
pub(crate) fn session_home(program: Program, number: u32) -> Result<PathBuf, HomeError> {
    let user = std::env::home_dir().filter(|home| home.is_absolute()).ok_or(HomeError::Unknown { variable: "HOME" })?;
    let name = if program.is_pm2() { ".pm2-dev" } else { ".ostler-dev" };
    fitting(user.join(if number <= 1 { name.to_owned() } else { format!("{name}-{number}") }))
}

/// Returns the home, if a socket in it has an address that is short enough.
///
/// # Errors
/// Returns an error if the address is too long, or if the path is not UTF-8.
pub(crate) fn fitting(path: PathBuf) -> Result<PathBuf, HomeError> {
    let Some(text) = path.to_str() else { return Err(HomeError::NotText(path)) };
    if text.len() > LONGEST_HOME {
        return Err(HomeError::TooLong { path: text.into(), length: text.len(), most: LONGEST_HOME });
    }
    Ok(path)
}

/// Rejects a link: in the folder for temporary files, everybody may create entries, including links
/// to other places.
fn not_a_link(path: &Path, program: Program) -> Result<(), HomeError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(unusable(marked!("read"), path, source)),
        Ok(meta) => check_owner(path, &meta, program),
    }
}

/// Makes sure that the home exists, belongs to this user, is writable, and is closed to others.
///
/// # Errors
/// Returns one line that names the failed condition.
pub(crate) fn prepare(path: &Path, program: Program) -> Result<(), HomeError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| unusable(marked!("create"), path, source))
        }
        Err(source) => Err(unusable(marked!("read"), path, source)),
        Ok(meta) => {
            check_owner(path, &meta, program)?;
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
                .map_err(|errno| unusable(marked!("write to"), path, errno.into()))?;
            close_to_others(path, &meta);
            Ok(())
        }
    }
}

/// Checks a home without changing anything. A missing home is fine.
///
/// # Errors
/// Returns an error if it is not a directory, or if it belongs to another user.
pub(crate) fn check(path: &Path, program: Program) -> Result<(), HomeError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(unusable(marked!("read"), path, source)),
        Ok(meta) => check_owner(path, &meta, program),
    }
}

fn check_owner(path: &Path, meta: &Metadata, program: Program) -> Result<(), HomeError> {
    let shown = || path.display().to_string();
    if !meta.is_dir() {
        return Err(HomeError::NotADirectory(shown()));
    }
    let uid = rustix::process::geteuid().as_raw();
    if meta.uid() != uid {
        // This holds for root, too: in a folder that another user controls, that user could swap
        // every file that root writes for a link.
        return Err(HomeError::OfAnother { path: shown(), owner: meta.uid(), uid, variable: variable(program) });
    }
    Ok(())
}

/// Removes the permissions of group and others from a home that a PM2 left open. The folder must
/// look like a home: `PM2_HOME=/var` is a mistake that must not lock the machine. (Every file of
/// ostler has mode 0600 in any case.)
fn close_to_others(path: &Path, meta: &Metadata) {
    const MARKS: [&str; 6] = ["ostler.lock", "pm2.pid", "pm2.log", "dump.pm2", "module_conf.json", "rpc.sock"];
    // The group of `PM2_SOCKET_GROUP` needs execute permission to reach the sockets. This
    // permission alone does not allow reading.
    if meta.mode() & 0o067 == 0 || meta.mode() & 0o1000 != 0 {
        return;
    }
    let is_home = MARKS.iter().any(|mark| path.join(mark).exists()) || fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_none());
    if is_home {
        // A failure here breaks no promise about the files.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
}

/// Returns the files of a home: those of the daemon that runs there, else those that our
/// environment names.
pub(crate) fn paths(home: &Path) -> HomePaths {
    let keeper = ostler_keeper::keeper_by_lock(home).filter(|keeper| marker(keeper.pid, ROLE_VAR).is_some());
    match keeper {
        Some(keeper) => HomePaths::new(home, |name| marker(keeper.pid, name).map(OsString::from_vec)),
        None => shell_paths(home),
    }
}

/// Returns the files of a home that our environment names, even if a running daemon uses others.
pub(crate) fn shell_paths(home: &Path) -> HomePaths {
    HomePaths::new(home, |name| std::env::var_os(name))
}

/// Returns the variables that move files of the home, from the daemon or from our environment.
pub(crate) fn moved(home: &Path) -> Vec<(&'static str, String)> {
    let text = |path: &Path| path.to_str().filter(|text| !text.chars().any(char::is_control)).map(str::to_owned);
    paths(home).moved().filter_map(|(name, path)| Some((name, text(path)?))).collect()
}

fn unusable(what: &'static str, path: &Path, source: io::Error) -> HomeError {
    HomeError::Unusable { what, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_follows_argv0() {
        for (argv0, program) in [
            ("pm2", Program::Pm2),
            ("/usr/bin/pm2", Program::Pm2),
            ("pm2-runtime", Program::Pm2),
            ("/usr/local/bin/pm2-docker", Program::Pm2),
            ("pm2-dev", Program::Pm2Dev),
            ("ostler", Program::Ostler),
            ("./pm2x", Program::Ostler),
            ("", Program::Ostler),
        ] {
            assert_eq!(Program::from_argv0(Some(OsStr::new(argv0))), program, "{argv0}");
        }
        assert_eq!(Program::from_argv0(None), Program::Ostler);
    }

    /// The keeper does not link `core`.
    #[test]
    fn keeper_and_core_use_the_same_file_names() {
        let home = Path::new("/h");
        let paths = shell_paths(home);
        assert_eq!((paths.pid, paths.log), (ostler_keeper::pid_file(home), ostler_keeper::log_file(home)));
        assert_eq!(HomePaths::socket(home), home.join(ostler_keeper::SOCKET_FILE));
    }

    #[test]
    fn permissions_are_tightened_only_for_a_home_directory() {
        let base = std::env::temp_dir().join(format!("ostler-home-{}", std::process::id()));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        for (name, file, expected) in [("old", Some("pm2.pid"), 0o700), ("system", Some("etc"), 0o755), ("empty", None, 0o700)] {
            let path = base.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            if let Some(file) = file {
                fs::write(path.join(file), "").unwrap();
            }
            prepare(&path, Program::Ostler).unwrap();
            assert_eq!(mode(&path), expected, "{name}");
        }
        let passed = base.join("old");
        fs::set_permissions(&passed, fs::Permissions::from_mode(0o710)).unwrap();
        prepare(&passed, Program::Ostler).unwrap();
        assert_eq!(mode(&passed), 0o710);
        let new = base.join("a/b");
        prepare(&new, Program::Ostler).unwrap();
        assert_eq!(mode(&new), 0o700);
        let file = base.join("old/pm2.pid");
        assert!(matches!(prepare(&file, Program::Ostler), Err(HomeError::NotADirectory(_))));
        fs::remove_dir_all(&base).unwrap();
    }
}
