//! Access of an app's user to its folder, program and ports, by the modes of files.

use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::serving::ListenAt;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_sys::Credentials;

use crate::access::{AccessDenied, EXECUTE, READ, may};

fn describe(what: &'static str, path: &Path, barred: &AccessDenied) -> String {
    let (what, path) = (translated(what), path.display());
    match barred {
        AccessDenied::Missing => message!("{what} {path} does not exist", what, path),
        AccessDenied::Closed(place) => {
            message!("{what} {path} cannot be used: its user has no access to {place}", what, path, place = place.display())
        }
    }
}

/// Returns the reason why the user cannot enter the working directory of the app.
pub(crate) fn folder_problem(spec: &AppSpec, app_credentials: &Credentials) -> Option<String> {
    let folder = Path::new(&spec.cwd);
    may(folder, app_credentials, EXECUTE).err().map(|barred| describe(marked!("the folder"), folder, &barred))
}

/// Returns the reason why the user cannot run the script or its interpreter. The interpreter is
/// searched in the `PATH` of the app, then in that of the service; `missing` words that it is in
/// neither.
pub(crate) fn program_problem(
    spec: &AppSpec,
    app_credentials: &Credentials,
    (own, service): (Option<&str>, &str),
    missing: impl Fn(&str) -> String,
) -> Option<String> {
    let script = Path::new(&spec.script);
    let Some(interpreter) = &spec.interpreter else {
        return may(script, app_credentials, EXECUTE).err().map(|barred| describe(marked!("the program"), script, &barred));
    };
    if interpreter.contains('/') {
        let path = Path::new(&spec.cwd).join(interpreter);
        if let Err(barred) = may(&path, app_credentials, EXECUTE) {
            return Some(describe(marked!("the interpreter"), &path, &barred));
        }
    } else if !found(interpreter, own.unwrap_or_default(), &spec.cwd, app_credentials) && !found(interpreter, service, "/", app_credentials)
    {
        return Some(missing(interpreter));
    }
    // The script is a shell text, or the code is in the arguments.
    if spec.shell || spec.script.is_empty() || !script.is_absolute() {
        return None;
    }
    may(script, app_credentials, READ).err().map(|barred| describe(marked!("the script"), script, &barred))
}

fn found(word: &str, path: &str, cwd: &str, app_credentials: &Credentials) -> bool {
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    let mut files = folders.map(|folder| PathBuf::from(cwd).join(folder).join(word));
    files.any(|file| file.is_file() && may(&file, app_credentials, EXECUTE).is_ok())
}

/// Returns the lowest port that does not need root.
pub(crate) fn first_free_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Returns a port of the app that needs root, unless its user is root: a TCP port of `listen`, or the
/// variable `PORT`.
pub(crate) fn privileged_port(spec: &AppSpec, app_credentials: &Credentials, variable: Option<&str>) -> Option<u16> {
    let listens = spec.listen.iter().filter_map(|listen| match listen.at {
        ListenAt::Tcp { port, .. } | ListenAt::TcpV6 { port } => Some(port),
        ListenAt::Unix { .. } => None,
    });
    let first = first_free_port();
    let mut ports = listens.chain(variable.and_then(|port| port.parse().ok()));
    ports.find(|port| app_credentials.uid != 0 && (1..first).contains(port))
}
