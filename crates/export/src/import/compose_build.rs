//! `build` of a service: reads the program from its Dockerfile.

use ostler_core::message;
use serde_json::{Map, Value};

use super::compose_files::{ComposeContext, UnreadableFile, joined};
use super::dockerfile::{self, DockerfileError};
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
    pub cannot: Option<CannotRun>,
}

/// Reason why a service cannot run here, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// A program could run instead of the image, and it is not installed.
    #[error("{}", message!("the image {image} would run here as `{program}`, which is not on the PATH: install it, run the image with a container engine, or \
         add `x-ostler: {{script: …}}`", image, program))]
    MissingProgram {
        /// The image.
        image: String,
        /// The program.
        program: &'static str,
    },
    /// The command is in the image.
    #[error("{}", message!("its command is in the image {image}: run it with a container engine, or add `x-ostler: {{script: …}}` to the service", image = _0))]
    CommandInImage(String),
    /// It has no command.
    #[error("{}", message!("{reason}: write its command as `command`, or add `x-ostler: {{script: …}}` to the service", reason = _0))]
    NoCommand(NoCommand),
    /// The command names no program.
    #[error("{}", message!("its command names no program: set `command`, or `x-ostler: {{script: …}}`"))]
    NoProgram,
    /// It starts an ecosystem file.
    #[error("{}", message!("it runs the ecosystem file {file}: start it with `ostler start {file}`", file = _0))]
    EcosystemFile(String),
}

/// Reason why a service has no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCommand {
    /// Neither the service nor its Dockerfile has one.
    #[error("{}", message!("the Dockerfile of {context} has no CMD, and the CMD of the image {image} is not read", context, image))]
    NoCmd {
        /// Folder of the Dockerfile.
        context: String,
        /// Base image.
        image: String,
    },
    /// The Dockerfile is not known.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The service names nothing that has one.
    #[error("{}", message!("it has neither a command nor an image"))]
    NoImage,
}

/// Reason why the program of a service is unknown although the service is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// It is built from a repository.
    #[error("{}", message!("it is built from the repository {repository}, which is not cloned", repository = _0))]
    Repository(String),
    /// The Dockerfile does not exist.
    #[error("{}", message!("its Dockerfile {path} does not exist", path = _0))]
    Missing(String),
    /// The Dockerfile cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The Dockerfile.
        path: String,
        /// The cause.
        cause: UnreadableFile,
    },
    /// The Dockerfile is invalid.
    #[error("{path}: {cause}")]
    Malformed {
        /// The Dockerfile.
        path: String,
        /// The fault.
        cause: DockerfileError,
    },
}

/// Returns the stage that a service builds.
///
/// # Errors
/// Returns an error if its Dockerfile cannot be read.
pub(super) fn built(build: &Value, context: &str, around: &ComposeContext<'_>) -> Result<dockerfile::Stage, BuildError> {
    if context.contains("://") || context.starts_with("git@") {
        return Err(BuildError::Repository(context.to_owned()));
    }
    let text_of = |key: &str| build.get(key).and_then(Value::as_str);
    let path = joined(context, text_of("dockerfile").unwrap_or("Dockerfile"));
    let text = match text_of("dockerfile_inline") {
        Some(text) => text.to_owned(),
        None => match (around.read)(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(BuildError::Missing(path)),
            Err(cause) => return Err(BuildError::Unreadable { path, cause }),
        },
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
    dockerfile::read(&text, text_of("target"), &args).map_err(|cause| BuildError::Malformed { path, cause })
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
            let why = message!("USER {user} exists only in the image: the app runs as the caller, or as `user` of the service", user);
            notices.push(Notice::new(name, "build", why));
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
