//! Check of the service itself: it is installed and enabled, and its user can use the program and
//! the home.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ostler_sys::Credentials;
use ostler_sys::users::user::identity;

use super::access::{AccessDenied, EXECUTE, READ, WRITE, may};
use super::{Finding, fine, lingers, startup_command, wrong};
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
            let found =
                if error.kind() == std::io::ErrorKind::NotFound { format!("{shown} does not exist") } else { format!("{shown}: {error}") };
            findings.push(wrong("service", found, startup_command(facts)));
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
                fine("service", shown)
            } else {
                wrong("service", format!("{shown} is outdated or was edited"), startup_command(facts))
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
        Some(format!("{shown} is the unit of PM2"))
    } else if !whose {
        Some(format!("{shown} is for the user {}", installed.user.as_deref().unwrap_or_default()))
    } else if installed.home.as_ref() != Some(&facts.home) {
        Some(format!("{shown} is for the home {}, not for {}", installed.home.as_deref().unwrap_or("?"), facts.home))
    } else {
        None
    };
    findings.push(match problem {
        None => fine("service", shown),
        Some(problem) => wrong("service", problem, startup_command(facts)),
    });
    let name = format!("{}.service", facts.name);
    let flag = if facts.scope == Scope::User { " --user" } else { "" };
    findings.push(match systemctl(facts, &["is-enabled", &name]).as_deref() {
        Some(state @ ("enabled" | "enabled-runtime")) => fine("unit state", state),
        Some("") | None => wrong("unit state", "systemctl reported no state", format!("systemctl{flag} enable {}", sh(&name))),
        Some(state) => wrong("unit state", state, format!("systemctl{flag} enable {}", sh(&name))),
    });
    if systemctl(facts, &["show", "--value", "-p", "NeedDaemonReload", &name]).as_deref() == Some("yes") {
        findings.push(wrong("up to date", "systemd has an older version of the unit in memory", format!("systemctl{flag} daemon-reload")));
    }
    if facts.scope == Scope::User {
        let user = &facts.user.name;
        findings.push(if lingers(user) {
            fine("starts without a login", format!("lingering is enabled for {user}"))
        } else {
            wrong(
                "starts without a login",
                format!("the systemd of {user} starts with the first login"),
                format!("sudo loginctl enable-linger {}", sh(user)),
            )
        });
    }
    match installed.program {
        Some(exe) => program(facts, &exe, findings),
        None => findings.push(wrong("program", format!("{shown} names no program"), startup_command(facts))),
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
    let install = format!("copy the program to /usr/local/bin, then {}", startup_command(facts));
    findings.push(match may(path, &credentials(facts), EXECUTE) {
        Err(AccessDenied::Missing) => wrong("program", format!("{exe} does not exist"), install),
        Err(AccessDenied::Closed(place)) => {
            wrong("program", format!("{user} cannot execute {exe}: no access to {}", place.display()), install)
        }
        Ok(()) if path.parent().is_some_and(is_volatile) => {
            wrong("program", format!("{exe} disappears when that version of Node is removed"), install)
        }
        Ok(()) => fine("program", exe),
    });
}

fn home(facts: &Facts, findings: &mut Vec<Finding>) {
    let (path, user) = (Path::new(&facts.home), &facts.user.name);
    findings.push(match (std::fs::metadata(path), may(path, &credentials(facts), READ | WRITE | EXECUTE)) {
        (Err(error), _) => wrong("home", format!("{}: {error}", facts.home), format!("{} save", facts.program.name())),
        (Ok(meta), _) if !meta.is_dir() => wrong("home", format!("{} is not a folder", facts.home), format!("rm {}", sh(&facts.home))),
        (Ok(meta), _) if meta.uid() != facts.user.uid => wrong(
            "home",
            format!("{} belongs to uid {}, not to {user}", facts.home, meta.uid()),
            format!("sudo chown -R {} {}", sh(user), sh(&facts.home)),
        ),
        (Ok(_), Err(AccessDenied::Closed(place))) => wrong(
            "home",
            format!("{user} cannot use {}: no access to {}", facts.home, place.display()),
            format!("sudo chmod u+rwx {}", sh(&place.display().to_string())),
        ),
        (Ok(_), Err(AccessDenied::Missing)) => wrong("home", format!("{} cannot be reached", facts.home), startup_command(facts)),
        (Ok(_), Ok(())) => fine("home", &facts.home),
    });
}
