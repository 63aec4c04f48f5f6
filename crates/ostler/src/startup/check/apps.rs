//! Check of the requirements of each saved app, with the user and the `PATH` of the service.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::serving::ListenAt;
use ostler_proto::pm2::DumpEntry;
use ostler_sys::Credentials;
use ostler_sys::users::user::identity;

use super::access::{AccessDenied, EXECUTE, READ, may};
use super::unit::credentials;
use super::{Finding, fine, wrong};
use crate::startup::facts::Facts;

/// Checks every app once, independent of its number of instances.
pub(super) fn inspect(facts: &Facts, entries: &[DumpEntry], path: &str, findings: &mut Vec<Finding>) {
    let own = credentials(facts);
    let mut seen = BTreeSet::new();
    for DumpEntry { spec, .. } in entries {
        if seen.insert(&spec.name) {
            findings.push(one(facts, spec, &own, path));
        }
    }
}

fn one(facts: &Facts, spec: &AppSpec, own: &Credentials, path: &str) -> Finding {
    let name = &spec.name;
    let again = format!("{} delete {name}, start it with its current config, {} save", facts.program.name(), facts.program.name());
    let app_credentials = match app_credentials(spec, own) {
        Ok(app_credentials) => app_credentials,
        Err(why) => return wrong("app", format!("{name}: {why}"), again),
    };
    let env = spec.env.merged();
    let problem = cwd(spec, &app_credentials)
        .or_else(|| program(spec, &app_credentials, env.get("PATH").map(String::as_str), path))
        .map(|problem| (problem, again))
        .or_else(|| port(spec, &app_credentials, env.get("PORT").map(String::as_str)));
    match problem {
        None => fine("app", format!("{name}: script, interpreter and folder exist")),
        Some((problem, remedy)) => wrong("app", format!("{name}: {problem}"), remedy),
    }
}

/// Returns the user as whom the app runs.
fn app_credentials(spec: &AppSpec, own: &Credentials) -> Result<Credentials, String> {
    match identity(spec.uid.as_deref(), spec.gid.as_deref()) {
        Ok(None) => Ok(own.clone()),
        Ok(Some(identity)) if own.uid == 0 || identity.credentials.uid == own.uid => Ok(identity.credentials),
        Ok(Some(identity)) => Err(format!("only a root service can start it as uid {}", identity.credentials.uid)),
        Err(error) => Err(ostler_core::text::causes::with_causes(&error)),
    }
}

fn describe(what: &str, path: &Path, barred: &AccessDenied) -> String {
    match barred {
        AccessDenied::Missing => format!("{what} {} does not exist", path.display()),
        AccessDenied::Closed(place) => format!("{what} {} cannot be used: its user has no access to {}", path.display(), place.display()),
    }
}

fn cwd(spec: &AppSpec, app_credentials: &Credentials) -> Option<String> {
    let folder = Path::new(&spec.cwd);
    may(folder, app_credentials, EXECUTE).err().map(|barred| describe("the folder", folder, &barred))
}

/// Checks the script, and the interpreter in the `PATH` of the app, then in that of the service.
fn program(spec: &AppSpec, app_credentials: &Credentials, own: Option<&str>, service: &str) -> Option<String> {
    let script = Path::new(&spec.script);
    let Some(interpreter) = &spec.interpreter else {
        return may(script, app_credentials, EXECUTE).err().map(|barred| describe("the program", script, &barred));
    };
    if interpreter.contains('/') {
        let path = Path::new(&spec.cwd).join(interpreter);
        if let Err(barred) = may(&path, app_credentials, EXECUTE) {
            return Some(describe("the interpreter", &path, &barred));
        }
    } else if !found(interpreter, own.unwrap_or_default(), &spec.cwd, app_credentials) && !found(interpreter, service, "/", app_credentials)
    {
        return Some(format!("{interpreter} is neither in the PATH of the app nor in that of the service ({service})"));
    }
    // The script is a shell text, or the code is in the arguments.
    if spec.shell || spec.script.is_empty() || !script.is_absolute() {
        return None;
    }
    may(script, app_credentials, READ).err().map(|barred| describe("the script", script, &barred))
}

fn found(word: &str, path: &str, cwd: &str, app_credentials: &Credentials) -> bool {
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    let mut files = folders.map(|folder| PathBuf::from(cwd).join(folder).join(word));
    files.any(|file| file.is_file() && may(&file, app_credentials, EXECUTE).is_ok())
}

/// Returns the lowest port that does not need root.
fn first_free_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

fn port(spec: &AppSpec, app_credentials: &Credentials, variable: Option<&str>) -> Option<(String, String)> {
    if app_credentials.uid == 0 {
        return None;
    }
    let listens = spec.listen.iter().filter_map(|listen| match listen.at {
        ListenAt::Tcp { port, .. } => Some(port),
        ListenAt::Unix { .. } => None,
    });
    let first = first_free_port();
    let port = listens.chain(variable.and_then(|port| port.parse().ok())).find(|port| (1..first).contains(port))?;
    Some((
        format!("port {port} is below {first} and its user is not root"),
        format!("sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"),
    ))
}
