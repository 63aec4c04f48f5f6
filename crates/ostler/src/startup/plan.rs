//! Plan of files and commands; nothing is executed here.

use std::path::PathBuf;

use super::facts::{Facts, Scope};
use super::platform::Platform;
use super::render::render;
use super::steps::SetupStep;

/// Steps to perform, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Path of the script or unit.
    pub target: PathBuf,
    /// Its text.
    pub text: String,
    /// The steps.
    pub steps: Vec<SetupStep>,
}

impl Plan {
    /// Returns the commands among the steps, as a user would type them.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.steps.iter().filter_map(SetupStep::command).collect()
    }
}

/// Returns the path of the script or unit.
fn target(facts: &Facts) -> PathBuf {
    let name = &facts.name;
    let path = match (facts.platform, facts.scope) {
        (Platform::Systemd, Scope::System) => format!("/etc/systemd/system/{name}.service"),
        (Platform::Systemd, Scope::User) => return user_units(facts).join(format!("{name}.service")),
        (Platform::Upstart | Platform::Systemv | Platform::Openrc, _) => format!("/etc/init.d/{name}"),
        (Platform::Launchd, _) => format!("{}/Library/LaunchAgents/{name}.plist", facts.user.home),
        (Platform::Rcd, _) => format!("/usr/local/etc/rc.d/{name}"),
        (Platform::RcdOpenbsd, _) => format!("/etc/rc.d/{name}"),
        (Platform::Smf, _) => format!("/var/svc/manifest/site/{name}.xml"),
    };
    PathBuf::from(path)
}

fn user_units(facts: &Facts) -> PathBuf {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    config.unwrap_or_else(|| PathBuf::from(&facts.user.home).join(".config")).join("systemd/user")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn run(command: &[&str], undo: &[&str]) -> SetupStep {
    SetupStep::Run { command: words(command), undo: Some(words(undo)).filter(|undo| !undo.is_empty()), needed: true }
}

fn try_run(command: &[&str]) -> SetupStep {
    SetupStep::Run { command: words(command), undo: None, needed: false }
}

/// Returns the plan to start the apps at boot. Nothing is started now.
pub(crate) fn plan(facts: &Facts) -> Plan {
    let target = target(facts);
    let text = render(facts, &target);
    let name = facts.name.as_str();
    let file = target.to_string_lossy().into_owned();
    let mode = match facts.platform {
        Platform::Systemd | Platform::Launchd | Platform::Smf => 0o644,
        _ => 0o755,
    };
    let mut steps = vec![SetupStep::Write { path: target.clone(), text: text.clone(), mode }];
    match (facts.platform, facts.scope) {
        (Platform::Systemd, Scope::System) => steps.push(run(&["systemctl", "enable", name], &["systemctl", "disable", name])),
        (Platform::Systemd, Scope::User) => {
            steps.push(run(&["systemctl", "--user", "enable", name], &["systemctl", "--user", "disable", name]));
        }
        (Platform::Upstart, _) => steps.push(run(&["update-rc.d", name, "defaults"], &["update-rc.d", "-f", name, "remove"])),
        (Platform::Systemv, _) => {
            steps.push(run(&["chkconfig", "--add", name], &["chkconfig", "--del", name]));
            steps.push(run(&["chkconfig", name, "on"], &[]));
        }
        (Platform::Openrc, _) => steps.push(run(&["rc-update", "add", name, "default"], &["rc-update", "del", name, "default"])),
        (Platform::Launchd, _) => steps.push(run(&["launchctl", "load", "-w", &file], &["launchctl", "unload", "-w", &file])),
        (Platform::Rcd, _) => {
            let variable = format!("{name}_enable");
            steps.push(run(&["sysrc", &format!("{variable}=YES")], &["sysrc", "-x", &variable]));
        }
        (Platform::RcdOpenbsd, _) => steps.push(run(&["rcctl", "enable", name], &["rcctl", "disable", name])),
        (Platform::Smf, _) => {
            steps.push(run(&["svccfg", "import", &file], &["svccfg", "delete", "-f", name]));
            steps.push(run(&["svcadm", "enable", name], &["svcadm", "disable", name]));
        }
    }
    Plan { target, text, steps }
}

/// Returns the plan to undo it; running apps keep running.
pub(crate) fn unplan(facts: &Facts) -> Plan {
    let target = target(facts);
    let name = facts.name.as_str();
    let file = target.to_string_lossy().into_owned();
    let remove = SetupStep::Remove { path: target.clone() };
    let steps = match (facts.platform, facts.scope) {
        (Platform::Systemd, Scope::System) => vec![
            try_run(&["systemctl", "disable", name]),
            // The main process exits; the processes that it watched keep running.
            try_run(&["systemctl", "kill", "--kill-who=main", "--signal=SIGUSR1", name]),
            remove,
            try_run(&["systemctl", "daemon-reload"]),
        ],
        (Platform::Systemd, Scope::User) => vec![
            try_run(&["systemctl", "--user", "disable", name]),
            try_run(&["systemctl", "--user", "kill", "--kill-who=main", "--signal=SIGUSR1", name]),
            remove,
            try_run(&["systemctl", "--user", "daemon-reload"]),
        ],
        (Platform::Upstart, _) => vec![remove, try_run(&["update-rc.d", "-f", name, "remove"])],
        (Platform::Systemv, _) => vec![try_run(&["chkconfig", "--del", name]), remove],
        (Platform::Openrc, _) => vec![try_run(&["rc-update", "del", name, "default"]), remove],
        (Platform::Launchd, _) => vec![try_run(&["launchctl", "unload", "-w", &file]), remove],
        (Platform::Rcd, _) => vec![try_run(&["sysrc", "-x", &format!("{name}_enable")]), remove],
        (Platform::RcdOpenbsd, _) => vec![try_run(&["rcctl", "disable", name]), remove],
        (Platform::Smf, _) => vec![try_run(&["svcadm", "disable", name]), try_run(&["svccfg", "delete", "-f", name]), remove],
    };
    Plan { target, text: String::new(), steps }
}

#[cfg(test)]
mod tests;
