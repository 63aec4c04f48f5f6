//! Check of the service itself: it is installed and enabled, and its user can use the program and
//! the home.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ostler_core::{marked, message};
use ostler_sys::Credentials;
use ostler_sys::users::user::identity;

use super::{Finding, fine, lingers, startup_command, wrong};
use crate::access::{AccessDenied, EXECUTE, READ, WRITE, may};
use crate::startup::facts::{Facts, Scope};
use crate::startup::platform::Platform;
use crate::startup::quote::sh;
use crate::startup::search_path::is_volatile;
use crate::startup::steps::find_own_systemd;
use crate::startup::unit_file::Installed;

/// Checks the service; returns its `PATH`.
pub(super) fn inspect(facts: &Facts, findings: &mut Vec<Finding>) -> String {
    let target = crate::startup::plan(facts).target;
    let shown = target.display().to_string();
    let text = match std::fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) => {
            let found = if error.kind() == std::io::ErrorKind::NotFound {
                message!("{shown} does not exist", shown)
            } else {
                format!("{shown}: {error}")
            };
            findings.push(wrong(marked!("service"), found, startup_command(facts)));
            home(facts, findings);
            return facts.path.path.clone();
        }
    };
    let path = match facts.platform {
        Platform::Systemd => systemd(facts, &shown, &text, findings),
        _ => {
            // If the text is what would be written now, ostler has written the file. Otherwise it
            // is outdated or from another program.
            let same = text == crate::startup::plan(facts).text;
            findings.push(if same {
                fine(marked!("service"), shown)
            } else {
                wrong(marked!("service"), message!("{shown} is outdated or was edited", shown), startup_command(facts))
            });
            program(facts, &facts.exe, findings);
            facts.path.path.clone()
        }
    };
    home(facts, findings);
    path
}

fn systemd(facts: &Facts, shown: &str, text: &str, findings: &mut Vec<Finding>) -> String {
    let installed = Installed::parse(text);
    let path = installed.path.clone().unwrap_or_else(|| facts.path.path.clone());
    let whose = installed.user.as_ref().is_none_or(|user| *user == facts.user.name || user.parse() == Ok(facts.user.uid));
    let problem = if !installed.notifies {
        Some(message!("{shown} is the unit of PM2", shown))
    } else if !whose {
        Some(message!("{shown} is for the user {user}", shown, user = installed.user.as_deref().unwrap_or_default()))
    } else if installed.home.as_ref() != Some(&facts.home) {
        Some(message!(
            "{shown} is for the home {home}, not for {expected}",
            shown,
            home = installed.home.as_deref().unwrap_or("?"),
            expected = facts.home
        ))
    } else {
        None
    };
    findings.push(match problem {
        None => fine(marked!("service"), shown),
        Some(problem) => wrong(marked!("service"), problem, startup_command(facts)),
    });
    let name = format!("{}.service", facts.name);
    let flag = if facts.scope == Scope::User { " --user" } else { "" };
    findings.push(match systemctl(facts, &["is-enabled", &name]).as_deref() {
        Some(state @ ("enabled" | "enabled-runtime")) => fine(marked!("unit state"), state),
        Some("") | None => {
            wrong(marked!("unit state"), message!("systemctl reported no state"), format!("systemctl{flag} enable {}", sh(&name)))
        }
        Some(state) => wrong(marked!("unit state"), state, format!("systemctl{flag} enable {}", sh(&name))),
    });
    if systemctl(facts, &["show", "--value", "-p", "NeedDaemonReload", &name]).as_deref() == Some("yes") {
        findings.push(wrong(
            marked!("up to date"),
            message!("systemd has an older version of the unit in memory"),
            format!("systemctl{flag} daemon-reload"),
        ));
    }
    if facts.scope == Scope::User {
        let user = &facts.user.name;
        findings.push(if lingers(user) {
            fine(marked!("starts without a login"), message!("lingering is enabled for {user}", user))
        } else {
            wrong(
                marked!("starts without a login"),
                message!("the systemd of {user} starts with the first login", user),
                format!("sudo loginctl enable-linger {}", sh(user)),
            )
        });
    }
    match installed.program {
        Some(exe) => program(facts, &exe, findings),
        None => findings.push(wrong(marked!("program"), message!("{shown} names no program", shown), startup_command(facts))),
    }
    path
}

fn systemctl(facts: &Facts, words: &[&str]) -> Option<String> {
    let mut command = Command::new("systemctl");
    if facts.scope == Scope::User {
        command.arg("--user");
    }
    command.args(words).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    find_own_systemd(&mut command);
    // For a disabled unit, `is-enabled` prints "disabled" and its exit code is not zero.
    command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the credentials of the service's user.
pub(super) fn credentials(facts: &Facts) -> Credentials {
    let found = identity(Some(&facts.user.name), None).ok().flatten().map(|identity| identity.credentials);
    found.unwrap_or(Credentials { uid: facts.user.uid, gid: facts.user.gid, groups: vec![facts.user.gid] })
}

fn program(facts: &Facts, exe: &str, findings: &mut Vec<Finding>) {
    let path = Path::new(exe);
    let user = &facts.user.name;
    let install = message!("copy the program to /usr/local/bin, then {command}", command = startup_command(facts));
    findings.push(match may(path, &credentials(facts), EXECUTE) {
        Err(AccessDenied::Missing) => wrong(marked!("program"), message!("{exe} does not exist", exe), install),
        Err(AccessDenied::Closed(place)) => wrong(
            marked!("program"),
            message!("{user} cannot execute {exe}: no access to {path}", user, exe, path = place.display()),
            install,
        ),
        Ok(()) if path.parent().is_some_and(is_volatile) => {
            wrong(marked!("program"), message!("{exe} disappears when that version of Node is removed", exe), install)
        }
        Ok(()) => fine(marked!("program"), exe),
    });
}

fn home(facts: &Facts, findings: &mut Vec<Finding>) {
    let (path, user) = (Path::new(&facts.home), &facts.user.name);
    findings.push(match (std::fs::metadata(path), may(path, &credentials(facts), READ | WRITE | EXECUTE)) {
        (Err(error), _) => wrong(marked!("home"), format!("{}: {error}", facts.home), format!("{} save", facts.program.name())),
        (Ok(meta), _) if !meta.is_dir() => {
            wrong(marked!("home"), message!("{path} is not a folder", path = facts.home), format!("rm {}", sh(&facts.home)))
        }
        (Ok(meta), _) if meta.uid() != facts.user.uid => wrong(
            marked!("home"),
            message!("{path} belongs to uid {uid}, not to {user}", path = facts.home, uid = meta.uid(), user),
            format!("sudo chown -R {} {}", sh(user), sh(&facts.home)),
        ),
        (Ok(_), Err(AccessDenied::Closed(place))) => wrong(
            marked!("home"),
            message!("{user} cannot use {home}: no access to {path}", user, home = facts.home, path = place.display()),
            format!("sudo chmod u+rwx {}", sh(&place.display().to_string())),
        ),
        (Ok(_), Err(AccessDenied::Missing)) => {
            wrong(marked!("home"), message!("{path} cannot be reached", path = facts.home), startup_command(facts))
        }
        (Ok(_), Ok(())) => fine(marked!("home"), &facts.home),
    });
}
