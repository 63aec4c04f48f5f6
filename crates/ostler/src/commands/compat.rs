//! `compat`: PM2's names for this program, as symbolic links.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::{marked, message};
use ostler_sys::fs::replace::replace_link;

use crate::cli::Call;
use crate::cx::{Cx, same_file};
use crate::error::{CliError, CommandError, Status, UsageError};

/// The names that PM2 installs.
const NAMES: [&str; 4] = ["pm2", "pm2-runtime", "pm2-docker", "pm2-dev"];

/// File found at the path of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LinkTarget {
    Nothing,
    /// A link to this program.
    Ours,
    /// Something else, with the path that it resolves to.
    Foreign(PathBuf),
}

/// `install`, `uninstall`, `status`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let program = own_path()?;
    let folder = match call.value("dir") {
        Some(dir) => std::path::absolute(dir).map_err(|source| failed(marked!("find"), Path::new(dir), source))?,
        None => program.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    match call.target() {
        Some("install") => install(cx, &program, &folder, call.has("force")),
        Some("uninstall") => uninstall(cx, &program, &folder),
        Some("status") => status(cx, &program, &folder),
        word => Err(UsageError::unknown_value("compat", word.unwrap_or_default(), &["install", "uninstall", "status"]).into()),
    }
}

/// Returns the path of this program under the name by which it was found. A link to a link
/// (`/usr/bin/ostler` of a package) thus survives an upgrade of the package.
fn own_path() -> Result<PathBuf, CliError> {
    let real = std::env::current_exe().map_err(|source| failed(marked!("find"), Path::new(&message!("this program")), source))?;
    let named = on_path("ostler").into_iter().find(|path| same_file(path, &real));
    Ok(named.unwrap_or(real))
}

/// Makes all links or none: the command checks for foreign files before it makes the first link.
fn install(cx: &mut Cx, program: &Path, folder: &Path, force: bool) -> Result<Status, CliError> {
    let found = NAMES.map(|name| inspect(&folder.join(name), program));
    for (name, found) in NAMES.iter().zip(&found) {
        match found {
            LinkTarget::Foreign(found) if !force => {
                return Err(CommandError::Foreign { link: folder.join(name), found: found.clone() }.into());
            }
            _ => {}
        }
    }
    fs::create_dir_all(folder).map_err(|source| failed(marked!("create"), folder, source))?;
    for (name, found) in NAMES.iter().zip(found) {
        let link = folder.join(name);
        if found != LinkTarget::Ours {
            replace_link(&link, program).map_err(|source| failed(marked!("create the link"), &link, source))?;
        }
        cx.out.info(format_args!("{} -> {}", link.display(), program.display()));
    }
    shadows(cx, folder);
    Ok(Status::Ok)
}

/// Removes the links that belong to this program.
fn uninstall(cx: &mut Cx, program: &Path, folder: &Path) -> Result<Status, CliError> {
    for name in NAMES {
        let link = folder.join(name);
        match inspect(&link, program) {
            LinkTarget::Ours => {
                fs::remove_file(&link).map_err(|source| failed(marked!("remove"), &link, source))?;
                cx.out.info(message!("{link} removed", link = link.display()));
            }
            LinkTarget::Foreign(what) => cx.out.warn(message!(
                "{link} is not a link to this program ({found}); unchanged",
                link = link.display(),
                found = what.display()
            )),
            LinkTarget::Nothing => {}
        }
    }
    Ok(Status::Ok)
}

/// Shows where each name leads. Exit code 1 unless all four names lead to this program.
fn status(cx: &mut Cx, program: &Path, folder: &Path) -> Result<Status, CliError> {
    let mut all = true;
    for name in NAMES {
        let link = folder.join(name);
        let what = match inspect(&link, program) {
            LinkTarget::Ours => message!("this program ({program})", program = program.display()),
            LinkTarget::Nothing => message!("missing"),
            LinkTarget::Foreign(what) => message!("another file ({found})", found = what.display()),
        };
        all &= inspect(&link, program) == LinkTarget::Ours;
        cx.out.line(format_args!("{}: {what}", link.display()));
    }
    shadows(cx, folder);
    Ok(if all { Status::Ok } else { Status::Failed })
}

/// Reports other programs that a shell would find first.
fn shadows(cx: &mut Cx, folder: &Path) {
    for name in NAMES {
        let link = folder.join(name);
        match on_path(name).first() {
            Some(first) if !same_file(first, &link) => {
                cx.out.warn(message!(
                    "`{name}` on PATH is {first} and comes before {link}",
                    name,
                    first = first.display(),
                    link = link.display()
                ));
            }
            Some(_) => {}
            None if link.exists() => {
                cx.out.warn(message!("{folder} is not on PATH: `{name}` is not found", folder = folder.display(), name));
                return;
            }
            None => {}
        }
    }
}

fn inspect(link: &Path, program: &Path) -> LinkTarget {
    if fs::symlink_metadata(link).is_err() {
        return LinkTarget::Nothing;
    }
    if link.is_symlink() && same_file(link, program) {
        return LinkTarget::Ours;
    }
    LinkTarget::Foreign(fs::canonicalize(link).or_else(|_| fs::read_link(link)).unwrap_or_else(|_| link.to_owned()))
}

/// Returns the executable programs of a name, in the order of `PATH`.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let files = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    files.filter(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)).collect()
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> CliError {
    CliError::File { what, path: path.display().to_string(), source }
}
