//! Input of an export: apps, and the contents of their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ostler_core::app::AppSpec;
use serde_json::Value;

use crate::env_files::EnvFile;

/// Apps of an ecosystem file, and facts about its folder, which is the context of images.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Name of the folder, for images and charts.
    pub name: String,
    /// Its absolute path.
    pub dir: String,
    /// The apps, in their order, with the chosen profile.
    pub apps: Vec<AppSpec>,
    /// Folders of apps and all their parents within the project, by their paths relative to the
    /// project; the project itself is the empty path.
    pub folders: BTreeMap<String, Folder>,
    /// Readable env files of the apps, by their paths relative to the project.
    pub env_files: BTreeMap<String, EnvFile>,
}

/// Content of a folder, as far as it affects the build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Names of its files.
    pub files: BTreeSet<String>,
    /// `package.json`.
    pub package: Option<Package>,
    /// First line of `.nvmrc` or `.node-version`.
    pub node_version: Option<String>,
}

/// A `package.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Names of its scripts.
    pub scripts: BTreeSet<String>,
    /// `engines.node`.
    pub node: Option<String>,
    /// Whether it has workspaces.
    pub workspaces: bool,
}

impl Package {
    /// Reads it; none for a text that is not a JSON table.
    pub fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let table = value.as_object()?;
        Some(Self {
            scripts: table
                .get("scripts")
                .and_then(|scripts| scripts.as_object())
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
            node: table.get("engines").and_then(|engines| engines.get("node")?.as_str()).map(str::to_owned),
            workspaces: table.get("workspaces").is_some_and(|workspaces| !workspaces.is_null()),
        })
    }
}

impl Project {
    /// Returns the path relative to the project's folder, if the path is inside it; the folder
    /// itself is the empty path.
    pub fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        Path::new(path).strip_prefix(&self.dir).ok()?.to_str()
    }

    /// Returns the env files of the apps that are in the project's folder: the relative path, and
    /// the app's format.
    pub fn env_file_paths(&self) -> Vec<(String, Option<String>)> {
        self.apps.iter().flat_map(|spec| env_files(self, spec)).filter_map(|(_, inside, format)| Some((inside?, format))).collect()
    }

    /// Returns the nearest folder with one of these files, starting at this folder and going up;
    /// relative to the project.
    pub(crate) fn folder_with(&self, from: &str, names: &[&str]) -> Option<(&str, &Folder)> {
        let mut at = Path::new(from);
        loop {
            let found = at.to_str().and_then(|path| self.folders.get_key_value(path));
            if let Some((path, folder)) = found.filter(|(_, folder)| names.iter().any(|name| folder.files.contains(*name))) {
                return Some((path, folder));
            }
            at = at.parent()?;
        }
    }
}

/// Returns a path in an image.
pub(crate) fn below_app(inside: &str) -> String {
    if inside.is_empty() { "/app".to_owned() } else { format!("/app/{inside}") }
}

/// Joins the name of a file to a folder of the project.
pub(crate) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Returns the files of `env_file`: the path as given, the path relative to the project, and the
/// format.
pub(crate) fn env_files(project: &Project, spec: &AppSpec) -> Vec<(String, Option<String>, Option<String>)> {
    let one = |value: &Value| {
        let path = value.as_str().or_else(|| value.get("path")?.as_str())?;
        let format = value.get("format").and_then(Value::as_str).map(str::to_owned);
        Some((path.to_owned(), env_file(project, spec, path), format))
    };
    match spec.given.open().get("env_file") {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Returns a file of variables: in the app's folder, or else in the project's.
fn env_file(project: &Project, spec: &AppSpec, path: &str) -> Option<String> {
    let has = |inside: &str| {
        let (folder, name) = inside.rsplit_once('/').unwrap_or(("", inside));
        project.folders.get(folder).is_some_and(|folder| folder.files.contains(name))
    };
    let own = inside_of(project, &spec.cwd, path);
    let top = inside_of(project, &project.dir, path);
    match (&own, &top) {
        (Some(inside), Some(at_top)) if !has(inside) && has(at_top) => top,
        _ => own,
    }
}

/// Returns a path of the app relative to the project; relative paths start at the app's folder.
fn inside_of(project: &Project, cwd: &str, path: &str) -> Option<String> {
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    project.inside(&format!("/{}", parts.join("/"))).filter(|inside| !inside.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_json_is_read_and_malformed_is_tolerated() {
        let package =
            Package::read(r#"{"scripts": {"build": "x", "test": "y"}, "engines": {"node": ">=20"}, "workspaces": ["a"]}"#).unwrap();
        assert_eq!((package.node.as_deref(), package.workspaces), (Some(">=20"), true));
        assert!(package.scripts.contains("build"));
        for odd in ["", "[]", "1", "{"] {
            assert_eq!(Package::read(odd), None);
        }
        assert_eq!(Package::read(r#"{"scripts": 3, "engines": [], "workspaces": null}"#), Some(Package::default()));
    }

    #[test]
    fn inside_returns_path_relative_to_project() {
        let project = Project { dir: "/srv/shop".into(), ..Project::default() };
        assert_eq!(project.inside("/srv/shop/a/b"), Some("a/b"));
        assert_eq!(project.inside("/srv/shop"), Some(""));
        assert_eq!(project.inside("/srv/shopping"), None);
    }
}
