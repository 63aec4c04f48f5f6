//! Facts for a start at boot: user, apps, paths and names.

use std::path::{Path, PathBuf};

use ostler_core::{marked, message};
use ostler_sys::users::user::{User, user_by_id, user_by_name};

use super::platform::Platform;
use super::search_path::{SearchPath, lasting};
use super::{quote, saved};
use crate::cli::Call;
use crate::cx::{Cx, same_file};
use crate::error::{CliError, StartupError, UsageError};
use crate::home::{self, Program};

/// Owner of the service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The machine's service manager.
    System,
    /// The user's own service manager, which needs no root.
    User,
}

/// Facts that a boot script depends on.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub platform: Platform,
    pub scope: Scope,
    pub program: Program,
    /// Program to run: a path that is still correct after an update of the package.
    pub exe: String,
    pub user: User,
    /// Home of the daemon.
    pub home: String,
    pub path: SearchPath,
    /// Variables that move files of the home, with their values.
    pub moved: Vec<(&'static str, String)>,
    /// Base name of the service in the init system.
    pub name: String,
    /// Whether the service waits until the network is up.
    pub wait_ip: bool,
    /// Time limit for a stop.
    pub stop_seconds: u64,
}

impl Facts {
    /// Returns the variable that names the home.
    pub(crate) const fn variable(&self) -> &'static str {
        crate::home::variable(self.program)
    }

    /// Returns true if the home is at the path that `--hp` implies.
    pub(super) fn has_usual_home(&self) -> bool {
        Path::new(&self.home).file_name().is_some_and(|name| name == folder_name(self.program))
    }
}

const fn folder_name(program: Program) -> &'static str {
    if program.is_pm2() { ".pm2" } else { ".ostler" }
}

/// Longest name of a unit without `.service`.
const LONGEST_NAME: usize = 247;

/// Collects the facts from the command line and the machine; nothing is changed.
///
/// # Errors
/// Returns an error if the user does not exist, or if a value cannot be written into a script.
pub(crate) fn gather(cx: &Cx, call: &Call, platform: Platform, scope: Scope) -> Result<Facts, CliError> {
    let (user, home) = found(cx, call, scope)?;
    let shell = std::env::var("PATH").unwrap_or_default();
    Ok(Facts {
        platform,
        scope,
        program: cx.program,
        exe: own_program(cx.program)?,
        path: lasting(&shell, Path::new(&user.home), Path::is_dir),
        moved: crate::home::moved(Path::new(&home)),
        name: name(call, cx.program, platform, &user)?,
        wait_ip: call.has("wait-ip"),
        stop_seconds: stop_seconds(Path::new(&home)),
        home,
        user,
    })
}

/// Returns the user (`-u`), and the home of the daemon (`--hp`).
///
/// # Errors
/// Returns the errors of [`gather`].
pub(crate) fn whose(cx: &Cx, call: &Call) -> Result<(User, String), CliError> {
    found(cx, call, Scope::System)
}

fn found(cx: &Cx, call: &Call, scope: Scope) -> Result<(User, String), CliError> {
    let user = user(call, scope)?;
    if let Some(bad) = user.name.chars().chain(user.home.chars()).find(|c| c.is_control()) {
        return Err(StartupError::UserCharacter { name: user.name, character: bad }.into());
    }
    let home = manager_home(cx, call, &user)?;
    Ok((user, home))
}

/// Returns the time limit for a stop: systemd's default, or more if a saved app needs more. (During
/// a stop, the service requests further time if necessary.)
fn stop_seconds(home: &Path) -> u64 {
    const USUAL: u64 = 90;
    let text = saved::read(home).unwrap_or_default();
    let entries = ostler_proto::pm2::parse_dump(&text).map(|dump| dump.entries).unwrap_or_default();
    let longest = entries.iter().map(|entry| ostler_core::lifecycle::stop::longest_ms(&entry.spec)).max().unwrap_or(0);
    USUAL.max(longest.div_ceil(1000) + 30)
}

/// Returns the user of `-u`, else, as in PM2, of `USER` and `LOGNAME`, else the current user.
fn user(call: &Call, scope: Scope) -> Result<User, CliError> {
    let own = || user_by_id(rustix::process::geteuid().as_raw());
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let given = call.value("user");
    let found = match (given, scope) {
        (None, Scope::User) => own()?,
        (None, Scope::System) => match variable("USER").or_else(|| variable("LOGNAME")) {
            Some(name) => user_by_name(&name)?,
            None => own()?,
        },
        (Some(name), _) => {
            let by_number = || name.parse().ok().map_or(Ok(None), user_by_id);
            let found = user_by_name(name).and_then(|found| found.map_or_else(by_number, |found| Ok(Some(found))))?;
            let stranger = scope == Scope::User && found.as_ref().is_some_and(|user| user.uid != rustix::process::geteuid().as_raw());
            if stranger {
                return Err(StartupError::OtherUser(name.to_owned()).into());
            }
            found
        }
    };
    let shown = given.map(str::to_owned).or_else(|| variable("USER")).or_else(|| variable("LOGNAME")).unwrap_or_default();
    found.ok_or_else(|| CliError::NotFound(message!("the user {shown} does not exist; nothing was changed", shown = format!("{shown:?}"))))
}

/// Returns the home of `--hp`, which is the user's folder, as in PM2. Without `--hp`, it is the
/// caller's home if the unit is the caller's, else the home below the user's folder.
fn manager_home(cx: &Cx, call: &Call, user: &User) -> Result<String, CliError> {
    let below = |folder: &Path| folder.join(folder_name(cx.program));
    let home = match call.value("hp") {
        Some(folder) => {
            let folder = Path::new(folder);
            if !folder.is_absolute() || !folder.is_dir() {
                let reason = message!("{path} is not the absolute path of a folder", path = folder.display());
                return Err(UsageError::BadValue { option: "--hp".into(), reason }.into());
            }
            below(folder)
        }
        // The caller's own home, which HOME may move: `save` wrote there.
        None if home::is_given() || user.uid == rustix::process::geteuid().as_raw() => home::locate(cx.program)?,
        None if user.home.starts_with('/') => below(Path::new(&user.home)),
        None => return Err(StartupError::NoHome(user.name.clone()).into()),
    };
    let text =
        home::fitting(home)?.into_os_string().into_string().map_err(|home| CliError::NotText { what: marked!("the home"), path: home })?;
    if text.chars().any(char::is_control) {
        return Err(StartupError::HomeCharacter(text).into());
    }
    Ok(text)
}

fn name(call: &Call, program: Program, platform: Platform, user: &User) -> Result<String, CliError> {
    let word = program.name();
    let name = match call.value("service-name") {
        Some(given) => {
            let name = given.strip_suffix(".service").unwrap_or(given);
            let variable = matches!(platform, Platform::Rcd | Platform::RcdOpenbsd);
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (!variable && "-.".contains(c));
            if name.is_empty() || !name.chars().all(fits) || name.starts_with(['-', '.']) {
                let reason =
                    message!("{name} is not a valid service name: use letters, digits, `_`, `-` and `.`", name = format!("{given:?}"));
                return Err(UsageError::BadValue { option: "--service-name".into(), reason }.into());
            }
            name.to_owned()
        }
        None => match platform {
            Platform::Systemd | Platform::Upstart | Platform::Systemv => format!("{word}-{}", quote::name_part(&user.name)),
            Platform::Launchd => format!("{word}.{}", quote::name_part(&user.name)),
            Platform::Openrc => word.to_owned(),
            Platform::Rcd | Platform::RcdOpenbsd | Platform::Smf => format!("{word}_{}", quote::variable_part(&user.name)),
        },
    };
    if name.len() > LONGEST_NAME {
        return Err(StartupError::LongName(name).into());
    }
    Ok(name)
}

/// Returns the path by which this program was called, with its links: `/usr/bin/ostler` is still
/// correct after an update of the package.
///
/// # Errors
/// Returns an error if the path is not UTF-8, or cannot be written into a script.
pub(crate) fn own_program(program: Program) -> Result<String, CliError> {
    let own = std::env::current_exe().map_err(|source| CliError::File { what: marked!("find"), path: message!("this program"), source })?;
    let same = |path: &PathBuf| path.is_absolute() && same_file(path, &own);
    let word = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&word);
    let by_word = if called.components().count() > 1 { std::path::absolute(called).ok() } else { None };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&folders).map(|folder| folder.join(program.name())).find(|path| same(path));
    let path = by_word.filter(|path| same(path)).or_else(on_path).unwrap_or(own);
    let text = path.into_os_string().into_string().map_err(|path| CliError::NotText { what: marked!("the path of this program"), path })?;
    if text.chars().any(char::is_control) {
        return Err(StartupError::ProgramCharacter(text).into());
    }
    Ok(text)
}
