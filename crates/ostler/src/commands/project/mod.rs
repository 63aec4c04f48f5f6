//! Projects: the apps of the ecosystem or compose file of a folder, under a name of their own, as `up`, `down`, `ps` and `logs` mean them.
//!
//! An app of a project is one whose namespace is the project, whose name begins with it, and whose config file is that of the project: nothing that
//! `start` made is ever one, and two folders do not meet. Files come as paths without links, so that they can be compared.

mod compose;
mod name;
mod plan;
mod read;

use std::path::{Path, PathBuf};

use ostler_config::find::DEFAULT_NAMES;
use ostler_config::{Context, Origin};
use ostler_core::app::EnvMap;
use ostler_proto::control::Detail;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::CliError;

pub(super) use compose::{ComposeFiles, override_of};
pub(super) use plan::{Plan, Step, foreign, plan};
pub(super) use read::{Project, read};

/// Names of compose files, in the order in which Compose looks for them.
pub(super) const COMPOSE_NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The files of the project: those of `--file`, those of `COMPOSE_FILE`, else the first one in this folder or the nearest above it that has one,
/// with the file that Compose merges over it. In a folder an ecosystem file comes first. The first file stands for the project.
///
/// # Errors
/// A file that is named does not exist; the file that was found is one that other users can change.
pub(super) fn files(call: &Call, context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let whole =
        |path: &Path, shown: &str| path.canonicalize().map_err(|source| CliError::File { what: "read", path: shown.to_owned(), source });
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

/// The files with usual names of this folder, or of the nearest above it that has one.
///
/// # Errors
/// Other users can change the first one.
fn found(context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let names = || DEFAULT_NAMES.iter().chain(COMPOSE_NAMES);
    let in_dir = |dir: &Path| -> Vec<PathBuf> { names().map(|name| dir.join(name)).filter(|path| path.is_file()).collect() };
    let found = context.cwd.ancestors().map(in_dir).find(|files| !files.is_empty()).unwrap_or_default();
    if let Some(first) = found.first() {
        let origin = if first.parent() == Some(&context.cwd) { Origin::CurrentFolder } else { Origin::FolderAbove };
        context.open(first, origin).map_err(|source| CliError::Opened { file: first.display().to_string(), source })?;
    }
    Ok(found.iter().filter_map(|file| file.canonicalize().ok()).collect())
}

/// Says which file a command uses; it may be in a folder above.
pub(super) fn name_file(cx: &mut Cx, call: &Call, file: &Path) {
    if !call.has("json") {
        cx.out.err_line(format_args!("Using {}", crate::text::shown(&file.display().to_string())));
    }
}

/// True if this instance belongs to a project of this file: to that of the name, where one is given.
pub(super) fn is_member(detail: &Detail, file: Option<&Path>, name: Option<&str>) -> bool {
    let spec = &detail.spec;
    service(&spec.name, &spec.namespace).is_some()
        && spec.config_file.as_deref().is_some_and(|own| file.is_none_or(|file| Path::new(own) == file))
        && name.is_none_or(|name| spec.namespace == name)
}

/// The name of an app within its project; none where it does not begin with that.
pub(super) fn service<'a>(name: &'a str, project: &str) -> Option<&'a str> {
    name.strip_prefix(project)?.strip_prefix('-').filter(|own| !own.is_empty() && !project.is_empty())
}

/// The instances of the project that a look is about: of `--project-name`, or of the file of this folder. None: it is about no project, because there is no
/// file, or nothing of it was started by `up`; under the name `pm2` it never is.
///
/// # Errors
/// The file of `--file` is not there, the daemon does not answer.
pub(super) fn looked_at(cx: &mut Cx, call: &Call) -> Result<Option<Vec<Detail>>, CliError> {
    let is_asked_for = call.value("file").is_some() || call.has("project-name");
    if cx.program.is_pm2() && !is_asked_for {
        return Ok(None);
    }
    let context = super::files::context(cx, call)?;
    let named = call.value("project-name");
    let files = match named {
        // A name alone is enough: then the project may be that of any file.
        Some(_) if call.value("file").is_none() => Vec::new(),
        _ => match files(call, &context) {
            // Lines are shown without a project as well.
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
    // `import` writes an ecosystem file beside the compose file: the project is that of the file from which it is up.
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

/// The names of these instances' apps, each once; of these services only, where some are given.
///
/// # Errors
/// A service that the project does not have.
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

/// True if a word of a user is this app: its whole name, or that within the project.
pub(super) fn is_named(name: &str, project: &str, word: &str) -> bool {
    name == word || service(name, project) == Some(word)
}
