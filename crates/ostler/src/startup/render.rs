//! Text of each script: a template, with values that are quoted for its language.

use std::path::Path;

use super::facts::{Facts, Scope};
use super::platform::Platform;
use super::quote::{self, always_sh, systemd, xml};

/// Returns the text for the platform, for a file at `target`.
pub(super) fn render(facts: &Facts, target: &Path) -> String {
    let values = match facts.platform {
        Platform::Systemd => systemd_values(facts),
        Platform::Launchd | Platform::Smf => xml_values(facts),
        _ => shell_values(facts, target),
    };
    let template = match (facts.platform, facts.scope) {
        (Platform::Systemd, Scope::System) => include_str!("templates/systemd.service"),
        (Platform::Systemd, Scope::User) => include_str!("templates/systemd-user.service"),
        (Platform::Upstart | Platform::Systemv, _) => include_str!("templates/systemv.sh"),
        (Platform::Openrc, _) => include_str!("templates/openrc.sh"),
        (Platform::Launchd, _) => include_str!("templates/launchd.plist"),
        (Platform::Rcd, _) => include_str!("templates/rcd.sh"),
        (Platform::RcdOpenbsd, _) => include_str!("templates/rcd-openbsd.sh"),
        (Platform::Smf, _) => include_str!("templates/smf.xml"),
    };
    fill(template, &values)
}

type Values = Vec<(&'static str, String)>;

/// Replaces each `{{name}}` with its value. Values are inserted unchanged and not searched again.
fn fill(template: &str, values: &Values) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (place, left) = after.split_once("}}").expect("templates are part of the program, and each has a test");
        // `${{{name}}…` of a shell: the brace before the placeholder is text.
        let (brace, name) = place.strip_prefix('{').map_or(("", place), |name| ("{", name));
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        text.push_str(brace);
        text.push_str(value.expect("templates are part of the program, and each has a test"));
        rest = left;
    }
    text + rest
}

fn description(facts: &Facts) -> String {
    quote::comment(&format!("{} process manager of {}", facts.program.label(), facts.user.name))
}

fn systemd_values(facts: &Facts) -> Values {
    // systemd would read a dollar in a path as a variable. Only newer versions know the prefix that
    // prevents it.
    let plain = if facts.exe.contains('$') { ":" } else { "" };
    // Names that systemd rejects or misreads are replaced with numbers, which it accepts.
    let by_name = facts.user.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && facts.user.name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        && facts.user.name.len() <= 31;
    let user = if by_name { facts.user.name.clone() } else { facts.user.uid.to_string() };
    let network = if facts.wait_ip { "Wants=network-online.target\n" } else { "" };
    vec![
        ("program", facts.program.name().into()),
        // A backslash at the end would join the next line.
        ("description", description(facts).replace('%', "%%").replace('\\', "/")),
        ("network", network.into()),
        ("home_path", systemd(&facts.home)),
        ("user", format!("User={user}\n")),
        ("home", systemd(&format!("{}={}", facts.variable(), facts.home))),
        ("path", systemd(&format!("PATH={}", facts.path.path))),
        ("variables", variables(facts)),
        ("command", format!("{plain}{}", systemd(&facts.exe))),
        ("stop_seconds", facts.stop_seconds.to_string()),
    ]
}

/// Returns lines for the folder of nvm, and for files that the shell keeps outside of the home.
fn variables(facts: &Facts) -> String {
    let moved = facts.moved.iter().map(|(name, value)| format!("{name}={value}"));
    let nvm = nvm(facts).map(|folder| format!("NVM_DIR={folder}"));
    nvm.into_iter().chain(moved).map(|variable| format!("Environment={}\n", systemd(&variable))).collect()
}

/// Returns the folder of nvm, if the shell used it.
fn nvm(facts: &Facts) -> Option<String> {
    facts.path.nvm.as_ref().and_then(|folder| folder.to_str()).map(str::to_owned)
}

fn xml_values(facts: &Facts) -> Values {
    let method = quote::sh(&facts.exe).replace('%', "%%");
    vec![
        ("program", xml(facts.program.name())),
        ("label", xml(&facts.name)),
        ("name", xml(&facts.name)),
        ("exe", xml(&facts.exe)),
        ("method", xml(&method)),
        ("home_variable", facts.variable().into()),
        ("manager_home", xml(&facts.home)),
        ("path", xml(&facts.path.path)),
        ("user", xml(&facts.user.name)),
        ("description", xml(&description(facts))),
        ("stop_seconds", facts.stop_seconds.to_string()),
    ]
}

fn shell_values(facts: &Facts, target: &Path) -> Values {
    let su = match facts.platform {
        Platform::Rcd => r#"su -m "$user" -c "$self as-user $1""#,
        Platform::RcdOpenbsd => r#"su -s /bin/sh "$user" -c "$self as-user $1""#,
        // Only root may run a script of openrc. The shell is always this one, so the words can be
        // quoted for it.
        Platform::Openrc => r#"su -s /bin/sh -c "$command $1" -- "$user""#,
        _ => r#"su -s /bin/sh -c "$self as-user $1" -- "$user""#,
    };
    let home = always_sh(&format!("{}={}", facts.variable(), facts.home));
    let path = always_sh(&format!("PATH={}", facts.path.path));
    let exe = always_sh(&facts.exe);
    let command = if facts.platform == Platform::Openrc {
        format!("command={}\n", always_sh(&format!("exec env {home} {path} {exe}")))
    } else {
        String::new()
    };
    let as_user = fill(
        include_str!("templates/as-user.sh"),
        &vec![
            ("user", always_sh(&facts.user.name)),
            ("self", always_sh(&target.display().to_string())),
            ("pid_file", always_sh(&format!("{}/pm2.pid", facts.home))),
            ("command", command),
            ("home", home),
            ("path", path),
            ("exe", exe.clone()),
            ("su", su.into()),
        ],
    );
    vec![
        ("program", facts.program.name().into()),
        ("name", facts.name.clone()),
        ("description", description(facts)),
        ("as_user", as_user),
        ("exe", exe),
        ("network", if facts.wait_ip { "need" } else { "use" }.into()),
        ("stop_seconds", facts.stop_seconds.to_string()),
    ]
}
