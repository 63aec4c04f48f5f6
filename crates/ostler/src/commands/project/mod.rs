//! Projects: the apps of the ecosystem or compose file of a folder, under a name of their own, as `up`, `down`, `ps` and `logs` mean them.
//!
//! An app of a project is one whose namespace is the project, whose name begins with it, and whose config file is that of the project: nothing that
//! `start` made is ever one, and two folders do not meet. Files come as paths without links, so that they can be compared.

mod name;
mod plan;
mod read;

use std::path::{Path, PathBuf};

use ostler_config::find::DEFAULT_NAMES;
use ostler_config::{Context, Origin};
use ostler_proto::control::Detail;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::CliError;

pub(super) use plan::{Plan, Step, foreign, plan};
pub(super) use read::{Project, read};

/// Names of compose files, in the order in which Compose looks for them.
const COMPOSE_NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The file of the project: `--file`, else the first one in this folder or the nearest above it that has one. In a folder an ecosystem file comes first.
///
/// # Errors
/// The file of `--file` is not there; the file that was found is one that other users can change.
pub(super) fn file(call: &Call, context: &Context) -> Result<Option<PathBuf>, CliError> {
    if let Some(named) = call.value("file") {
        let path = context.cwd.join(named);
        return path.canonicalize().map(Some).map_err(|source| CliError::File { what: "read", path: named.to_owned(), source });
    }
    let names = || DEFAULT_NAMES.iter().chain(COMPOSE_NAMES);
    let found = context.cwd.ancestors().find_map(|dir| names().map(|name| dir.join(name)).find(|path| path.is_file()));
    let Some(found) = found else { return Ok(None) };
    let origin = if found.parent() == Some(&context.cwd) { Origin::CurrentFolder } else { Origin::FolderAbove };
    context.open(&found, origin).map_err(|problem| CliError::Failed(format!("{}: {problem}", found.display())))?;
    Ok(found.canonicalize().ok())
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
    let file = match named {
        // A name alone is enough: then the project may be that of any file.
        Some(_) if call.value("file").is_none() => None,
        _ => match file(call, &context) {
            // Lines are shown without a project as well.
            Err(CliError::Failed(_)) if call.command.name == "logs" && !is_asked_for => None,
            found => found?,
        },
    };
    if file.is_none() && named.is_none() {
        return Ok(None);
    }
    if let Some(file) = file.as_deref().filter(|_| call.command.name == "down") {
        name_file(cx, call, file);
    }
    let details = match cx.running_client()? {
        Some(client) => client.inspect(&[])?,
        None => Vec::new(),
    };
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
