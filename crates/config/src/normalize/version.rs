//! Version of the app, from the nearest `package.json`.

use std::path::Path;

use ostler_core::app::AppSpec;

/// Size above which a package.json is ignored.
const MAX_BYTES: u64 = 1 << 20;

/// Version of the nearest `package.json` above the script, or `N/A`. A program or command line is not part of a package: then the
/// working directory counts.
pub(super) fn nearest(spec: &AppSpec) -> Option<String> {
    let own = !spec.shell && spec.interpreter.is_some();
    let start = if own { Path::new(&spec.script).parent()? } else { Path::new(&spec.cwd) };
    let version = start.ancestors().map(|dir| dir.join("package.json")).find(|file| file.is_file()).and_then(|file| read(&file));
    Some(version.unwrap_or_else(|| "N/A".into()))
}

fn read(file: &Path) -> Option<String> {
    if std::fs::metadata(file).ok()?.len() > MAX_BYTES {
        return None;
    }
    let package: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let version = package.get("version")?.as_str()?;
    (version.len() < 100 && !version.chars().any(char::is_control)).then(|| version.to_owned())
}
