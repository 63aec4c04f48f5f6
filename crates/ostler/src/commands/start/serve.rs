//! `serve`: a folder over HTTP, as a separate app.

use std::path::{Path, PathBuf};

use ostler_core::app::EnvMap;
use ostler_core::message;
use serde_json::{Map, Value};

use super::super::{attach, launch, table};
use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status, UsageError};

const PORT: &str = "8080";

/// Starts a server of the folder.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let env = cx.env();
    // As in PM2: variables in the environment take precedence over the command line.
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let (path, port) = words(&call.targets, &PathBuf::from(cx::cwd()?));
    let port = set("PM2_SERVE_PORT").or_else(|| call.value("port").map(str::to_owned)).or(port).unwrap_or_else(|| PORT.into());
    let path = set("PM2_SERVE_PATH").or(path).unwrap_or_else(|| ".".into());
    let mut vars = EnvMap::new();
    vars.insert("PM2_SERVE_PORT".into(), port.clone());
    vars.insert("PM2_SERVE_PATH".into(), path.clone());
    for (option, name) in [("spa", "PM2_SERVE_SPA"), ("ftp", "PM2_SERVE_FTP")] {
        if call.has(option) {
            vars.insert(name.into(), "true".into());
        }
    }
    match (call.value("basic-auth-username"), call.value("basic-auth-password")) {
        (Some(name), Some(password)) => vars.extend(login(name, password)),
        (None, None) => {}
        // PM2 differs: if only one of the two is given, its server needs no login.
        (name, _) => {
            let option = if name.is_some() { "--basic-auth-username" } else { "--basic-auth-password" };
            let reason = message!("--basic-auth-username and --basic-auth-password are required together");
            return Err(UsageError::BadValue { option: option.into(), reason }.into());
        }
    }
    let mut attributes = Map::new();
    attributes.insert("name".into(), format!("static-page-server-{port}").into());
    if !call.attributes().contains_key("cwd") {
        attributes.insert("cwd".into(), Value::String(path.clone()));
        vars.insert("PM2_SERVE_PATH".into(), absolute(&path)?);
    }
    let touched = launch::file_server(cx, call, attributes, vars)?;
    cx.out.info(message!("Serving {path} on port {port}", path = absolute(&path)?, port));
    table::after_change(cx, call)?;
    attach::logs(cx, call, &touched)
}

fn login(name: &str, password: &str) -> [(String, String); 3] {
    let var = |name: &str, value: &str| (format!("PM2_SERVE_BASIC_AUTH{name}"), value.to_owned());
    [var("", "true"), var("_USERNAME", name), var("_PASSWORD", password)]
}

fn absolute(path: &str) -> Result<String, CliError> {
    let path = Path::new(&cx::cwd()?).join(path);
    // `.` would be meaningless in a list of apps.
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    Ok(path.to_string_lossy().into_owned())
}

/// Returns folder and port from the words. A number alone is a port, unless a folder has that name.
fn words(targets: &[String], cwd: &Path) -> (Option<String>, Option<String>) {
    let is_port = |word: &String| word.parse::<u16>().is_ok() && !cwd.join(word).is_dir();
    match targets {
        [] => (None, None),
        [only] if is_port(only) => (None, Some(only.clone())),
        [path] => (Some(path.clone()), None),
        [path, port, ..] => (Some(path.clone()), Some(port.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serve_arguments_are_directory_and_port() {
        let some = |word: &str| Some(word.to_owned());
        for (given, expected) in [
            (&[][..], (None, None)),
            (&["dist"], (some("dist"), None)),
            (&["8081"], (None, some("8081"))),
            (&["dist", "81"], (some("dist"), some("81"))),
        ] {
            let targets: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(words(&targets, Path::new("/nowhere")), expected, "{given:?}");
        }
    }
}
