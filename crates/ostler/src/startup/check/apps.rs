//! Check of the requirements of each saved app, with the user and the `PATH` of the service.

use std::collections::BTreeSet;

use ostler_core::app::AppSpec;
use ostler_core::{marked, message};
use ostler_proto::pm2::DumpEntry;
use ostler_sys::Credentials;
use ostler_sys::users::user::identity;

use super::unit::credentials;
use super::{Finding, fine, wrong};
use crate::app_access::{first_free_port, folder_problem, privileged_port, program_problem};
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
    let program = facts.program.name();
    let again = message!("{program} delete {name}, start it with its current config, {program} save", program, name);
    let app_credentials = match app_credentials(spec, own) {
        Ok(app_credentials) => app_credentials,
        Err(why) => return wrong(marked!("app"), format!("{name}: {why}"), again),
    };
    let env = spec.env.merged();
    let missing = |interpreter: &str| {
        message!("{interpreter} is neither in the PATH of the app nor in that of the service ({path})", interpreter, path)
    };
    let paths = (env.get("PATH").map(String::as_str), path);
    let problem = folder_problem(spec, &app_credentials)
        .or_else(|| program_problem(spec, &app_credentials, paths, missing))
        .map(|problem| (problem, again))
        .or_else(|| port(spec, &app_credentials, env.get("PORT").map(String::as_str)));
    match problem {
        None => fine(marked!("app"), message!("{name}: script, interpreter and folder exist", name)),
        Some((problem, remedy)) => wrong(marked!("app"), format!("{name}: {problem}"), remedy),
    }
}

/// Returns the user as whom the app runs.
fn app_credentials(spec: &AppSpec, own: &Credentials) -> Result<Credentials, String> {
    match identity(spec.uid.as_deref(), spec.gid.as_deref()) {
        Ok(None) => Ok(own.clone()),
        Ok(Some(identity)) if own.uid == 0 || identity.credentials.uid == own.uid => Ok(identity.credentials),
        Ok(Some(identity)) => Err(message!("only a root service can start it as uid {uid}", uid = identity.credentials.uid)),
        Err(error) => Err(ostler_core::text::causes::with_causes(&error)),
    }
}

fn port(spec: &AppSpec, app_credentials: &Credentials, variable: Option<&str>) -> Option<(String, String)> {
    let port = privileged_port(spec, app_credentials, variable)?;
    Some((
        message!("port {port} is below {limit} and its user is not root", port, limit = first_free_port()),
        format!("sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"),
    ))
}
