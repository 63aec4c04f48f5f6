//! A Procfile: a name and a command on each line.

use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::{App, FileContext, ImportError, Imported};
use crate::Notice;

/// Port of the first process, as in foreman; each further process has a port that is 100 higher.
const FIRST_PORT: u16 = 5000;
/// foreman's `--timeout`, in milliseconds.
const TIMEOUT_MS: u64 = 5000;

pub(super) fn read(text: &str, place: &FileContext<'_>) -> Result<Imported, ImportError> {
    let mut notices: Vec<Notice> = Vec::new();
    let mut apps = Vec::new();
    let variables = (place.files)(".env").into_iter().next().map(|(_, text)| variables(&text));
    let own_port = variables.iter().flatten().rev().find(|(name, _)| name == "PORT").and_then(|(_, value)| value.trim().parse().ok());
    let first = place.port.or(own_port).unwrap_or(FIRST_PORT);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts = line.split_once(':').map(|(name, command)| (name.trim(), command.trim()));
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let Some((name, command)) = parts.filter(|(name, command)| is_name(name) && !command.is_empty()) else {
            let line = number + 1;
            notices.push(Notice::new("-", message!("line {line}", line), message!("line {line} is not `name: command`", line)));
            continue;
        };
        let port = u16::try_from(apps.len()).ok().and_then(|at| at.checked_mul(100)?.checked_add(first));
        let mut app = App::new(name, &mut notices);
        // A shell runs it, as in foreman; one word needs no shell.
        app.set("script", command);
        if name == "release" {
            app.set("autorestart", false);
            app.report(
                "release",
                message!("it runs once at each start of the file: add it to depends_on of the others with the condition completed"),
            );
        }
        match port {
            Some(port) => app.variable("PORT", port),
            None => app.report("PORT", message!("there are not enough ports for so many processes: set PORT in `env`")),
        }
        if variables.is_some() {
            app.set("env_file", vec![Value::Object(env_file())]);
        }
        app.set("kill_signal", "SIGTERM");
        app.set("kill_timeout", TIMEOUT_MS);
        app.set("kill_mode", "tree");
        apps.push(app.map);
    }
    if apps.is_empty() {
        return Err(ImportError::NoApps(marked!("`name: command`")));
    }
    if apps.len() > 1 {
        let why = message!("foreman stops every process if one exits; here each process is restarted on its own");
        notices.push(Notice::new("-", "name", why));
    }
    Ok(Imported { apps, notices })
}

fn env_file() -> Map<String, Value> {
    [("path", Value::from(".env")), ("format", "foreman".into()), ("required", false.into())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Returns the assignments of a `.env` by the rules of foreman, with unchanged values.
fn variables(text: &str) -> Vec<(String, String)> {
    let one = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let value = value.trim_matches(['"', '\'']);
        is_name.then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(one).collect()
}
