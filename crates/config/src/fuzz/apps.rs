//! Checks of the apps of a configuration, whatever its format is.

use std::path::Path;

use ostler_core::app::{AppSpec, CombinedLog, EnvMap};
use serde_json::Value;

use crate::check::default_name;
use crate::{Context, Engine, Loaded, Overlay, attempt, examine_stdin, load_made};

/// Returns a context that starts no program: apps run elsewhere, and no runtime evaluates a file.
pub(crate) fn context() -> Context {
    let env = EnvMap::from_iter([("PATH".to_owned(), "/nonexistent".to_owned()), ("HOME".to_owned(), "/nonexistent".to_owned())]);
    let context = Context::new("/nonexistent".into(), env, 4).unwrap_or_else(|error| panic!("{error}"));
    Context { engine: Engine::Embedded, elsewhere: true, ..context }
}

/// Checks the apps in a value (JSON): accepted values are safe for system calls.
pub fn config_app(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        apps(value);
    }
}

/// Checks the apps of a file.
pub(crate) fn apps(value: Value) {
    let context = context();
    let loaded = match load_made(value, Path::new("/nonexistent/ecosystem.json"), "ecosystem.json", &context) {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(!problems.0.is_empty() && problems.0.iter().all(|problem| !problem.text().is_empty()));
            return;
        }
    };
    let Loaded { apps, .. } = loaded;
    for app in &apps {
        let overlay = Overlay { profile: app.profiles().next().map(str::to_owned), ..Overlay::default() };
        for overlay in [Overlay::default(), overlay] {
            let (spec, problems) = attempt(app, &context, &overlay);
            if !problems.iter().any(|problem| problem.is_error()) {
                is_usable(&spec);
            }
        }
    }
}

fn is_usable(spec: &AppSpec) {
    // A folder such as `/` gives no name, and no command starts it.
    assert!(!spec.name.is_empty() || default_name(&spec.script).is_empty(), "{:?} without a name", spec.script);
    assert!(!spec.name.chars().any(char::is_control), "{:?}", spec.name);
    assert!(spec.cwd.starts_with('/'), "{:?}", spec.cwd);
    assert!((1..=10_000).contains(&spec.instances), "{} instances", spec.instances);
    let log_file = match &spec.logs.log_file {
        Some(CombinedLog::Path(path)) => Some(path),
        _ => None,
    };
    let files = [&spec.logs.out_file, &spec.logs.error_file, &spec.pid_file, &spec.interpreter].into_iter().flatten().chain(log_file);
    for text in [&spec.script, &spec.cwd].into_iter().chain(&spec.args).chain(&spec.interpreter_args).chain(files) {
        assert!(!text.contains('\0'), "{text:?}");
    }
    for (name, value) in spec.env.base.iter().chain(spec.env.profiles.values().flatten()) {
        assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'), "{name:?}={value:?}");
    }
}

/// Returns the apps of a text, as objects with the values of their keys, for checks that compare two
/// readers.
pub fn attributes(text: &str) -> Result<Vec<Value>, String> {
    let examined = examine_stdin(text.as_bytes(), &context()).map_err(|problem| problem.to_string())?;
    Ok(examined.apps.iter().map(|app| Value::Object(app.attributes().clone())).collect())
}
