//! `build` of a service: reads the program from its Dockerfile.

use serde_json::{Map, Value};

use super::compose_files::{ComposeContext, joined};
use super::dockerfile;
use crate::Notice;

/// Parts of a service that are not its words.
#[derive(Default)]
pub(super) struct ServiceInputs {
    pub profiles: Vec<String>,
    /// Folder, if it exists here.
    pub folder: Option<String>,
    /// Port outside.
    pub published: Option<u64>,
    /// Port of the Dockerfile.
    pub exposed: Option<u64>,
    /// Variables of the Dockerfile, then of env files that only Compose reads like this.
    pub env: Vec<(String, String)>,
    /// Names of variables of all env files.
    pub of_files: Vec<String>,
    pub own: Map<String, Value>,
    pub cannot: Option<String>,
}

/// Returns the stage that a service builds.
///
/// # Errors
/// Returns an error if its Dockerfile cannot be read; the reason is one line.
pub(super) fn built(build: &Value, context: &str, around: &ComposeContext<'_>) -> Result<dockerfile::Stage, String> {
    if context.contains("://") || context.starts_with("git@") {
        return Err(format!("it is built from the repository {context}, which is not cloned"));
    }
    let text_of = |key: &str| build.get(key).and_then(Value::as_str);
    let path = joined(context, text_of("dockerfile").unwrap_or("Dockerfile"));
    let text = match text_of("dockerfile_inline") {
        Some(text) => text.to_owned(),
        None => {
            (around.read)(&path).map_err(|why| format!("{path}: {why}"))?.ok_or_else(|| format!("its Dockerfile {path} does not exist"))?
        }
    };
    let args: Vec<(String, String)> = match build.get("args") {
        Some(Value::Object(args)) => args
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str().map(str::to_owned).or_else(|| (around.variable)(name))?)))
            .collect(),
        Some(Value::Array(args)) => args
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|arg| match arg.split_once('=') {
                Some((name, value)) => Some((name.to_owned(), value.to_owned())),
                None => Some((arg.to_owned(), (around.variable)(arg)?)),
            })
            .collect(),
        _ => Vec::new(),
    };
    dockerfile::read(&text, text_of("target"), &args).map_err(|why| format!("{path}: {why}"))
}

/// Completes a service from the stage that it builds.
pub(super) fn from_stage(
    name: &str,
    service: &mut Map<String, Value>,
    stage: &dockerfile::Stage,
    context: &str,
    before: &mut ServiceInputs,
    notices: &mut Vec<Notice>,
    runs_as: &dyn Fn(&str) -> bool,
) {
    let given = |key: &str| service.get(key).filter(|value| !value.is_null()).cloned();
    let list = |words: &[String]| Value::from(words.to_vec());
    // As in Compose: an `entrypoint` of the service drops the command of the image, too.
    let (entrypoint, command) = match (given("entrypoint"), given("command")) {
        (Some(entrypoint), command) => (entrypoint, command.unwrap_or_default()),
        (None, Some(command)) => (list(&stage.entrypoint), command),
        (None, None) => (list(&stage.entrypoint), list(&stage.command)),
    };
    let folder = before.folder.clone().unwrap_or_else(|| ".".to_owned());
    let local_path = |word: &str| {
        let path = joined(context, &stage.local_path(word).filter(|_| word.starts_with('/'))?);
        if folder == "." { Some(path) } else { path.strip_prefix(&format!("{}/", folder.trim_end_matches('/'))).map(str::to_owned) }
    };
    let words = |value: Value| match value {
        Value::Array(list) => {
            Value::Array(list.into_iter().map(|word| word.as_str().and_then(local_path).map_or(word, Value::from)).collect())
        }
        Value::String(text) => ostler_core::app::args::split(&text).into_iter().map(|word| local_path(&word).unwrap_or(word)).collect(),
        other => other,
    };
    service.insert("entrypoint".into(), words(entrypoint));
    service.insert("command".into(), words(command));
    before.exposed = stage.port.map(u64::from);
    // The search path of an image has no use here.
    let own = stage.env.iter().filter(|(variable, _)| variable != "PATH" && !before.of_files.contains(variable)).cloned();
    let own: Vec<(String, String)> = own.collect();
    before.env.splice(0..0, own);
    if let Some(signal) = stage.stop_signal.as_ref().filter(|_| !service.contains_key("stop_signal")) {
        service.insert("stop_signal".into(), signal.as_str().into());
    }
    if let Some(user) = stage.user.as_ref().filter(|_| !service.contains_key("user")) {
        if runs_as(user) {
            service.insert("user".into(), user.as_str().into());
        } else {
            let why = format!("USER {user} exists only in the image: the app runs as the caller, or as `user` of the service");
            notices.push(Notice { app: name.to_owned(), key: "build".into(), why });
        }
    }
    if let Some(check) = &stage.healthcheck {
        health(service, check);
    }
}

/// Completes the health check of a service from that of its image. As in Compose, the service may
/// set a part of it, or turn it off.
fn health(service: &mut Map<String, Value>, of_image: &Map<String, Value>) {
    let own = service.entry("healthcheck").or_insert(Value::Null);
    if own.is_null() {
        *own = Map::new().into();
    }
    let Some(own) = own.as_object_mut().filter(|own| !super::compose::is_true(own.get("disable"))) else { return };
    for (key, value) in of_image {
        own.entry(key).or_insert(value.clone());
    }
}
