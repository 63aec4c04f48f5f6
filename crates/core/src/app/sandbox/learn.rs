//! Proposal of a sandbox from the behaviour of an app.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::own_folder::{is_shared, is_system, plain};
use super::plan::bind_ports;
use super::{Profile, SandboxSpec};
use crate::app::AppSpec;

/// Observed actions of an app's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Files and folders that were open for reading, or mapped.
    pub read: BTreeSet<PathBuf>,
    /// Files that were open for writing.
    pub written: BTreeSet<PathBuf>,
    /// TCP ports with a listening socket.
    pub listening: BTreeSet<u16>,
    /// TCP ports of other machines or programs with a connection.
    pub connected: BTreeSet<u16>,
}

/// Folders that every profile allows to write, or whose entries are no files.
const FREE: &[&str] = &["/tmp", "/var/tmp", "/dev", "/proc", "/sys"];

/// Returns the value of `sandbox` for an app that does this. `covered` are paths that the profile reads
/// anyway (its project, its interpreter); `homes` are the homes of users, and ostler's home, whose own
/// files are left out.
pub fn propose(app: &AppSpec, observed: &Observed, profile: Profile, covered: &[PathBuf], homes: &[PathBuf]) -> Value {
    let is_own = |path: &Path| covered.iter().any(|folder| path.starts_with(folder));
    let is_free = |path: &Path| FREE.iter().any(|folder| path.starts_with(folder));
    let in_ostler = |path: &Path| homes.last().is_some_and(|home| path.starts_with(home));
    let matters = |path: &&PathBuf| path.is_absolute() && !is_free(path) && !in_ostler(path);
    let cwd = plain(Path::new(&app.cwd));
    let folder_of = |path: &PathBuf| match path.parent() {
        // The whole folder of the app, or of several apps, would be too much.
        Some(folder) if folder != cwd && !is_shared(folder, homes.iter().map(PathBuf::as_path)) && !is_system(folder) => folder.to_owned(),
        _ => path.clone(),
    };
    let write = outermost(observed.written.iter().filter(matters).map(folder_of).collect());
    let unread = |path: &&PathBuf| !is_own(path) && !is_system(path) && !write.iter().any(|folder| path.starts_with(folder));
    let read = outermost(observed.read.iter().filter(matters).filter(unread).map(folder_of).collect());
    let given = SandboxSpec { profile, ..SandboxSpec::default() };
    let declared = bind_ports(app, &given, app.env.merged().get("PORT").map(String::as_str)).unwrap_or_default();
    let bind: Vec<u16> = observed.listening.iter().copied().filter(|port| !declared.contains(port)).collect();
    let mut value = Map::new();
    value.insert("profile".into(), profile.as_str().into());
    let texts = |paths: Vec<PathBuf>| Value::from(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>());
    for (key, paths) in [("read_write_paths", write), ("read_only_paths", read)] {
        if !paths.is_empty() {
            value.insert(key.into(), texts(paths));
        }
    }
    if !bind.is_empty() {
        value.insert("bind_ports".into(), json!(bind));
    }
    if profile == Profile::Strict && !observed.connected.is_empty() {
        value.insert("connect_ports".into(), json!(observed.connected));
    }
    Value::Object(value)
}

/// Returns the paths that are not below another one.
fn outermost(paths: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !out.iter().any(|folder| path.starts_with(folder)) {
            out.push(path);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(all: &[&str]) -> BTreeSet<PathBuf> {
        all.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn proposal_names_what_the_profile_does_not_cover() {
        let app = AppSpec { cwd: "/srv/api".into(), script: "/srv/api/server.js".into(), ..AppSpec::default() };
        let observed = Observed {
            read: paths(&["/usr/lib/x.so", "/srv/api/server.js", "/srv/shared models/m.bin", "/proc/1/stat", "/home/ann/.ostler/x"]),
            written: paths(&["/srv/api/data/db", "/srv/api/data/sub/x", "/srv/api/state.json", "/tmp/x", "/dev/null"]),
            listening: BTreeSet::from([3000]),
            connected: BTreeSet::from([5432]),
        };
        let covered = [PathBuf::from("/srv/api")];
        let homes = [PathBuf::from("/home/ann"), PathBuf::from("/home/ann/.ostler")];
        let web = propose(&app, &observed, Profile::Web, &covered, &homes);
        let expected = json!({
            "profile": "web",
            "read_write_paths": ["/srv/api/data", "/srv/api/state.json"],
            "read_only_paths": ["/srv/shared models"],
            "bind_ports": [3000],
        });
        assert_eq!(web, expected);
        assert_eq!(propose(&app, &observed, Profile::Strict, &covered, &homes)["connect_ports"], json!([5432]));
    }
}
