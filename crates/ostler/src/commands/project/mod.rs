//! Projects: the apps of the ecosystem or compose file of a folder, under a project name, for `up`,
//! `down`, `ps` and `logs`.
//!
//! An app belongs to a project if its namespace and config file are those of the project, and its
//! name begins with the project's name. An app from `start` therefore never belongs to a project,
//! and projects of two folders stay separate. Paths of files contain no links, so that they can be
//! compared.

mod compose;
mod name;
mod plan;
mod read;

use std::path::{Path, PathBuf};

use ostler_config::find::DEFAULT_NAMES;
use ostler_config::{Context, Origin};
use ostler_core::app::EnvMap;
use ostler_core::{marked, message};
use ostler_proto::control::Detail;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::CliError;

pub(super) use compose::{ComposeFiles, override_of};
pub(super) use plan::{AppStep, Plan, foreign, plan};
pub(super) use read::{Project, read};

/// Names of compose files, in the order in which Compose looks for them.
pub(super) const COMPOSE_NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// Returns the files of the project: those of `--file`, else those of `COMPOSE_FILE`. Otherwise it
/// searches this folder and then the folders above it. It returns the first file that it finds,
/// with the file that Compose merges over it. Within a folder, an ecosystem file takes precedence.
/// The first file identifies the project.
///
/// # Errors
/// Returns an error if a named file does not exist, or if other users can change the file that was
/// found.
pub(super) fn files(call: &Call, context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let whole = |path: &Path, shown: &str| {
        path.canonicalize().map_err(|source| CliError::File { what: marked!("read"), path: shown.to_owned(), source })
    };
    let named: Vec<PathBuf> = call.values("file").map(|named| whole(&context.cwd.join(named), named)).collect::<Result<_, _>>()?;
    if !named.is_empty() {
        return Ok(named);
    }
    let by_variable = |variables: &EnvMap| -> Result<Vec<PathBuf>, CliError> {
        let paths = compose::named_by_variable(context, variables);
        paths.iter().map(|path| whole(path, &format!("COMPOSE_FILE: {}", path.display()))).collect()
    };
    let of_caller = by_variable(&EnvMap::new())?;
    if !of_caller.is_empty() {
        return Ok(of_caller);
    }
    if !DEFAULT_NAMES.iter().any(|name| context.cwd.join(name).is_file()) {
        let of_file = by_variable(&compose::env_of(&context.cwd, context)?)?;
        if !of_file.is_empty() {
            return Ok(of_file);
        }
    }
    Ok(found(context)?.into_iter().next().map_or_else(Vec::new, |file| {
        let over = override_of(&file);
        std::iter::once(file).chain(over).collect()
    }))
}

/// Returns the files with usual names of this folder, or of the nearest folder above that has such
/// a file.
///
/// # Errors
/// Returns an error if other users can change the first file.
fn found(context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let names = || DEFAULT_NAMES.iter().chain(COMPOSE_NAMES);
    let in_dir = |dir: &Path| -> Vec<PathBuf> { names().map(|name| dir.join(name)).filter(|path| path.is_file()).collect() };
    let found = context.cwd.ancestors().map(in_dir).find(|files| !files.is_empty()).unwrap_or_default();
    if let Some(first) = found.first() {
        let origin = if first.parent() == Some(&context.cwd) { Origin::CurrentFolder } else { Origin::FolderAbove };
        context.open(first, origin).map_err(|source| CliError::Opened { file: first.display().to_string(), source: source.into() })?;
    }
    Ok(found.iter().filter_map(|file| file.canonicalize().ok()).collect())
}

/// Prints which file a command uses, because it may be in a folder above.
pub(super) fn name_file(cx: &mut Cx, call: &Call, file: &Path) {
    if !call.has("json") {
        cx.out.err_line(message!("Using {path}", path = crate::text::shown(&file.display().to_string())));
    }
}

/// Returns true if this instance belongs to a project of this file and, if a name is given, to the
/// project of that name.
pub(super) fn is_member(detail: &Detail, file: Option<&Path>, name: Option<&str>) -> bool {
    let spec = &detail.spec;
    service(&spec.name, &spec.namespace).is_some()
        && spec.config_file.as_deref().is_some_and(|own| file.is_none_or(|file| Path::new(own) == file))
        && name.is_none_or(|name| spec.namespace == name)
}

/// Returns the name of an app within its project, or none if the name does not begin with the
/// project's name.
pub(super) fn service<'a>(name: &'a str, project: &str) -> Option<&'a str> {
    name.strip_prefix(project)?.strip_prefix('-').filter(|own| !own.is_empty() && !project.is_empty())
}

/// Returns the instances of the project that a command refers to: that of `--project-name`, or of
/// the file of this folder. Returns none if the command refers to no project: no file exists, or
/// `up` started nothing from it. Under the name `pm2` the result is always none, unless an option
/// names a project.
///
/// # Errors
/// Returns an error if the file of `--file` does not exist, or if the daemon does not answer.
pub(super) fn project_members(cx: &mut Cx, call: &Call) -> Result<Option<Vec<Detail>>, CliError> {
    let is_asked_for = call.value("file").is_some() || call.has("project-name");
    if cx.program.is_pm2() && !is_asked_for {
        return Ok(None);
    }
    let context = super::files::context(cx, call)?;
    let named = call.value("project-name");
    let files = match named {
        // A name alone is enough: the project may then belong to any file.
        Some(_) if call.value("file").is_none() => Vec::new(),
        _ => match files(call, &context) {
            // Without a project, the command shows the lines of all apps.
            Err(CliError::Opened { .. } | CliError::NotUtf8(_) | CliError::Project(_)) if call.command.name == "logs" && !is_asked_for => {
                Vec::new()
            }
            found => found?,
        },
    };
    let first = files.into_iter().next();
    if first.is_none() && named.is_none() {
        return Ok(None);
    }
    let details = match cx.running_client()? {
        Some(client) => client.inspect(&[])?,
        None => Vec::new(),
    };
    let has_members = |file: &PathBuf| details.iter().any(|detail| is_member(detail, Some(file), named));
    // `import` writes an ecosystem file beside the compose file. The project belongs to the file
    // from which `up` started it.
    let file = match first {
        Some(file) if call.value("file").is_none() && !has_members(&file) => {
            Some(found(&context)?.into_iter().find(has_members).unwrap_or(file))
        }
        first => first,
    };
    if let Some(file) = file.as_deref().filter(|_| call.command.name == "down") {
        name_file(cx, call, file);
    }
    let members: Vec<Detail> = details.into_iter().filter(|detail| is_member(detail, file.as_deref(), named)).collect();
    Ok(Some(members).filter(|members| is_asked_for || !members.is_empty()))
}

/// Returns the names of these instances' apps, each once. If services are given, returns only their
/// names.
///
/// # Errors
/// Returns an error if the project does not have such a service.
pub(super) fn app_names(members: &[Detail], services: &[String]) -> Result<Vec<String>, CliError> {
    let mut names: Vec<String> = Vec::new();
    for spec in members.iter().map(|member| &member.spec) {
        if !names.contains(&spec.name) && (services.is_empty() || services.iter().any(|own| is_named(&spec.name, &spec.namespace, own))) {
            names.push(spec.name.clone());
        }
    }
    let lacks = |own: &&String| !members.iter().any(|member| is_named(&member.spec.name, &member.spec.namespace, own));
    match services.iter().find(lacks) {
        Some(missing) => Err(ostler_proto::control::Failure::NotFound { target: missing.clone() }.into()),
        None => Ok(names),
    }
}

/// Returns true if the word of a user names this app: by its whole name, or by its name within the
/// project.
pub(super) fn is_named(name: &str, project: &str, word: &str) -> bool {
    name == word || service(name, project) == Some(word)
}
