//! Root and the homes of other users: the client becomes the owner of the home before it uses the
//! home.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ostler_config::walk;
use ostler_core::app::inherit::EnvPolicy;
use ostler_core::home::home_owner::{ActAs, HomePath, act_as};
use ostler_core::home::home_paths::HomePaths;
use ostler_core::message;
use ostler_sys::CStrings;
use ostler_sys::process::exec::replace_as;
use ostler_sys::users::user::{Credentials, Identity, User, UserError, identity, user_by_id};

use crate::cli::{Call, DaemonUse};
use crate::error::CliError;
use crate::home::{self, Program};
use crate::render::Out;

/// Variables of a terminal and of ostler, which the owner's process takes from root's environment.
const KEPT: &[&str] = &["TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PWD", "CI"];

/// Becomes the owner of the home if root's command would use the home of another user. Otherwise
/// the function returns and the process does not change.
///
/// # Errors
/// Returns an error if the process cannot become that user.
pub(crate) fn become_owner(program: Program, call: &Call, out: &mut Out) -> Result<(), CliError> {
    // `dev` creates a home of its own.
    let is_without = call.command.daemon == DaemonUse::NoHome || call.command.name == "dev";
    let uses_home = !is_without && !call.has("hosts") && !call.has("from");
    if !rustix::process::geteuid().is_root() || !uses_home {
        return Ok(());
    }
    // If the home cannot be found, the command itself reports it.
    let Ok(home) = home::locate(program) else { return Ok(()) };
    let keeps_root = program.is_pm2() || call.command.name == "runtime";
    let starts = !call.has("silent") && may_start(program, call) && !HomePaths::socket(&home).exists();
    match act_as(path_of(&home), keeps_root) {
        ActAs::Root => Ok(()),
        ActAs::RootInFolderOf(user) => {
            if starts {
                out.warn_err(root_in_folder(&home, user, program));
            }
            Ok(())
        }
        ActAs::Owner(user) => {
            let gid = std::fs::metadata(&home).map_or(user, |meta| meta.gid());
            let owner = owner(user, gid).map_err(|error| cannot(&home, user, &error.to_string()))?;
            if starts {
                out.warn_err(message!("running as {user}, the owner of {home}", user = shown(user), home = home.display()));
            }
            out.flush();
            // The variables of a container or a unit are intended for the apps, or come from the
            // service manager.
            let all = program.is_pm2() || matches!(call.command.name, "runtime" | "service");
            Err(cannot(&home, user, &replace(program, &home, &owner, all).to_string()))
        }
    }
}

fn may_start(program: Program, call: &Call) -> bool {
    match call.command.daemon {
        DaemonUse::Starts => true,
        DaemonUse::Reads => program.is_pm2(),
        DaemonUse::Unused | DaemonUse::NoHome => matches!(call.command.name, "runtime"),
    }
}

fn root_in_folder(home: &Path, user: u32, program: Program) -> String {
    let variable = crate::home::variable(program);
    message!(
        "the home {home} belongs to root but is in a folder of {user}, who cannot use it: for a home in root's own folder, use `sudo -H` or set {variable}",
        home = home.display(),
        user = shown(user),
        variable
    )
}

fn cannot(home: &Path, user: u32, why: &str) -> CliError {
    CliError::Owner { user: shown(user), home: home.to_owned(), reason: why.to_owned() }
}

/// Reads the owners along the path of the home.
fn path_of(home: &Path) -> HomePath {
    let Ok(walked) = walk(home) else { return HomePath::default() };
    let other = |uid: u32| Some(uid).filter(|uid| *uid != 0);
    let of_link = walked.steps.iter().filter(|step| step.entry.is_link);
    HomePath {
        home: walked.end.map(|end| end.uid),
        folder: walked.folders().find_map(|folder| other(folder.uid)),
        link: of_link.filter_map(|step| other(step.folder.uid).or(other(step.entry.uid))).next(),
    }
}

/// Returns the owner with all groups. A user without an account gets the group of the home.
fn owner(uid: u32, gid: u32) -> Result<Identity, UserError> {
    match user_by_id(uid)? {
        Some(user) => identity(Some(&user.name), None)?.ok_or(UserError::NoUser(user.name)),
        None => Ok(Identity { credentials: Credentials { uid, gid, groups: vec![gid] }, user: None }),
    }
}

fn shown(uid: u32) -> String {
    match user_by_id(uid) {
        Ok(Some(user)) => message!("{name} (uid {uid})", name = user.name, uid),
        _ => format!("uid {uid}"),
    }
}

/// Executes this program again as the owner, with the same words. Returns only if that failed.
fn replace(program: Program, home: &Path, owner: &Identity, all: bool) -> io::Error {
    let words = std::env::args_os().map(OsStringExt::into_vec).filter_map(|word| CString::new(word).ok()).collect();
    let variables = environment(program, home, owner.user.as_ref(), all);
    let text = |(name, value): (OsString, OsString)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok();
    let envp: CStrings = variables.into_iter().filter_map(text).collect();
    replace_as(&owner.credentials, &words, &envp).into()
}

/// Returns the owner's variables, and root's: all of them, or only those that concern the owner.
fn environment(program: Program, home: &Path, user: Option<&User>, all: bool) -> Vec<(OsString, OsString)> {
    let own: Vec<(&str, OsString)> = user.into_iter().flat_map(personal).chain([(home::variable(program), home.into())]).collect();
    let is_kept = |name: &OsStr| {
        let Some(name) = name.to_str() else { return all };
        let is_ours = ["OSTLER_", "PM2_"].iter().any(|start| name.starts_with(start)) || KEPT.contains(&name);
        all || is_ours || EnvPolicy::User.keeps(name, true)
    };
    let passed = std::env::vars_os().filter(|(name, _)| is_kept(name) && !own.iter().any(|(own, _)| name == own));
    passed.chain(own.iter().map(|(name, value)| ((*name).into(), value.clone()))).collect()
}

fn personal(user: &User) -> [(&'static str, OsString); 4] {
    let [home, name, shell] = [&user.home, &user.name, &user.shell].map(OsString::from);
    [("HOME", home), ("USER", name.clone()), ("LOGNAME", name), ("SHELL", shell)]
}
