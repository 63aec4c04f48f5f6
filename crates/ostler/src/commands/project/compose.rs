//! The compose files of a project, with the variables and files that they need.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ostler_config::{Context, Origin};
use ostler_core::app::EnvMap;
use ostler_core::marked;
use ostler_export::{ComposeContext, UnreadableFile, compose_variables};

use crate::error::{CliError, ProjectError};

/// Longest compose file.
const MOST_BYTES: u64 = 4 << 20;
/// Names of files that are merged over a file with a usual name.
const OVERRIDE_NAMES: &[&str] =
    &["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// Returns the file that Compose merges over this one if the user names no file.
pub(in crate::commands) fn override_of(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let dir = file.parent()?;
    super::COMPOSE_NAMES.contains(&name).then(|| OVERRIDE_NAMES.iter().map(|name| dir.join(name)).find(|path| path.is_file()))?
}

/// Returns the files that the variable `COMPOSE_FILE` names.
pub(super) fn named_by_variable(context: &Context, variables: &EnvMap) -> Vec<PathBuf> {
    let of = |name: &str| context.env.get(name).or_else(|| variables.get(name)).filter(|value| !value.is_empty());
    let separator = of("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
    let list = of("COMPOSE_FILE").into_iter().flat_map(|list| list.split(separator));
    list.filter(|path| !path.is_empty()).map(|path| context.cwd.join(path)).collect()
}

/// Returns the variables of the file `.env` of a folder, or none if the file does not exist.
///
/// # Errors
/// Returns an error if another user can change the file, or if it is malformed.
pub(super) fn env_of(dir: &Path, context: &Context) -> Result<EnvMap, CliError> {
    let path = dir.join(".env");
    if !path.is_file() {
        return Ok(EnvMap::new());
    }
    let text = text_of(&path, ".env", context)?;
    let pairs = compose_variables(&text, &|name| context.env.get(name).cloned());
    Ok(pairs.map_err(|source| ProjectError::EnvFile { file: path, source })?.into_iter().collect())
}

/// Compose files with their texts.
pub(in crate::commands) struct ComposeFiles {
    /// The files, each with its displayed name. Relative paths start at the folder of the first
    /// file.
    pub files: Vec<(String, String)>,
    /// Variables of `.env`.
    pub variables: EnvMap,
    dir: PathBuf,
}

impl ComposeFiles {
    /// Reads the files. The first one determines the folder.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if another user can change it.
    pub(in crate::commands) fn read(paths: &[PathBuf], context: &Context) -> Result<Self, CliError> {
        let dir = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("/")).to_owned();
        let shown = |path: &Path| path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let files = paths.iter().map(|path| Ok((shown(path), text_of(path, &shown(path), context)?))).collect::<Result<_, CliError>>()?;
        Ok(Self { files, variables: env_of(&dir, context)?, dir })
    }

    /// Uses a text from standard input.
    ///
    /// # Errors
    /// Returns an error if the file `.env` of the folder cannot be read.
    pub(in crate::commands) fn of_text(text: String, context: &Context) -> Result<Self, CliError> {
        let dir = context.cwd.clone();
        Ok(Self { files: vec![("stdin".to_owned(), text)], variables: env_of(&dir, context)?, dir })
    }

    /// Calls a function with the files and their context.
    pub(in crate::commands) fn with<T>(&self, context: &Context, run: impl FnOnce(&[(String, String)], &ComposeContext<'_>) -> T) -> T {
        let path = context.env.get("PATH").map(String::as_str).unwrap_or_default();
        let around = ComposeContext {
            variable: &|name| context.env.get(name).or_else(|| self.variables.get(name)).cloned(),
            has_program: &|program| {
                std::env::split_paths(path).any(|dir| rustix::fs::access(dir.join(program), rustix::fs::Access::EXEC_OK).is_ok())
            },
            // Only root can start a process as another user. A user of the image may not exist on
            // this machine.
            runs_as: &|user| {
                let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
                rustix::process::geteuid().is_root() && ostler_sys::users::user::identity(Some(name), group).is_ok()
            },
            read: &|file| {
                let path = self.dir.join(file);
                if !path.is_file() {
                    return Ok(None);
                }
                text_of(&path, file, context).map(Some).map_err(|error| UnreadableFile(Arc::new(error)))
            },
            keeps_references: false,
        };
        run(&self.files, &around)
    }
}

pub(super) fn text_of(file: &Path, shown: &str, context: &Context) -> Result<String, CliError> {
    let failed = |source| CliError::File { what: marked!("read"), path: shown.to_owned(), source };
    let mut bytes = Vec::new();
    let (opened, _) =
        context.open(file, Origin::Named).map_err(|source| CliError::Opened { file: shown.to_owned(), source: source.into() })?;
    opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ProjectError::TooLong { file: shown.to_owned(), most: MOST_BYTES }.into());
    }
    String::from_utf8(bytes).map_err(|_| CliError::NotUtf8(shown.to_owned()))
}
