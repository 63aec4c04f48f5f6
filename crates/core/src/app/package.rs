//! Version of an app, from the nearest `package.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::app::AppSpec;

/// Size above which a `package.json` is ignored.
pub const MAX_BYTES: u64 = 1 << 20;

/// Version of an app without a `package.json`, as PM2 writes it.
pub const UNKNOWN: &str = "N/A";

/// Returns the folder from which an app's package is searched upwards: the folder of the script. A
/// program or command line is not part of a package, so the working directory is used instead.
pub fn folder(spec: &AppSpec) -> PathBuf {
    let is_script = !spec.shell && spec.interpreter.is_some();
    let own = Path::new(&spec.script).parent().filter(|_| is_script);
    own.unwrap_or(Path::new(&spec.cwd)).to_owned()
}

/// Returns the version in the first `package.json` at or above a folder, or [`UNKNOWN`]. `text`
/// reads a file.
pub fn version(folder: &Path, is_file: impl Fn(&Path) -> bool, text: impl Fn(&Path) -> Option<String>) -> String {
    let nearest = folder.ancestors().map(|folder| folder.join("package.json")).find(|file| is_file(file));
    nearest.and_then(|file| text(&file)).and_then(|text| version_in(&text)).unwrap_or_else(|| UNKNOWN.into())
}

fn version_in(text: &str) -> Option<String> {
    let package: Value = serde_json::from_str(text).ok()?;
    let version = package.get("version")?.as_str()?;
    (version.len() < 100 && !version.chars().any(char::is_control)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_comes_from_the_nearest_package_json() {
        let files =
            [("/srv/package.json", r#"{"version":"1.0.0"}"#), ("/srv/app/bad/package.json", "{"), ("/srv/app/none/package.json", "{}")];
        let text = |path: &Path| files.iter().find(|(file, _)| Path::new(file) == path).map(|(_, text)| (*text).to_owned());
        let of = |folder: &str| version(Path::new(folder), |path| text(path).is_some(), text);
        for (folder, expected) in
            [("/srv", "1.0.0"), ("/srv/app/lib", "1.0.0"), ("/srv/app/bad", "N/A"), ("/srv/app/none", "N/A"), ("/", "N/A")]
        {
            assert_eq!(of(folder), expected, "{folder}");
        }
        assert_eq!(version_in("{\"version\":\"1\\u0007\"}"), None, "no control characters");
    }

    #[test]
    fn package_folder_is_the_script_folder_or_the_cwd() {
        let spec = |interpreter: Option<&str>, shell| AppSpec {
            script: "/srv/app/index.js".into(),
            cwd: "/work".into(),
            interpreter: interpreter.map(str::to_owned),
            shell,
            ..AppSpec::default()
        };
        assert_eq!(folder(&spec(Some("node"), false)), Path::new("/srv/app"));
        assert_eq!(folder(&spec(None, false)), Path::new("/work"));
        assert_eq!(folder(&spec(Some("sh"), true)), Path::new("/work"));
    }
}
