//! Folders that belong to an app: its working directory, the project of its script, and the
//! installation of its interpreter.

use std::path::{Component, Path, PathBuf};

/// Folders of the system, which every profile may read.
pub const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/nix/store",
    "/gnu/store",
    "/snap",
    "/proc",
    "/sys",
    "/run/current-system",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    "/var/lib/ca-certificates",
];

/// Devices that every profile may read and write.
pub const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/shm"];

/// Files that mark the top folder of a project, whatever is nested in it.
pub const ROOT_MARKS: &[&str] = &[".git", "package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "go.mod"];

/// Files that mark a project.
pub const MARKS: &[&str] = &["package.json", "pyproject.toml", "requirements.txt", "pom.xml", "build.gradle", "Gemfile", "composer.json"];

/// Number of parent folders in which a project is searched for.
const MAX_FOLDERS: usize = 8;

/// Folders directly below which apps of different owners live.
const SHARED: &[&str] = &["/home", "/srv", "/opt", "/var", "/var/lib", "/var/www", "/mnt", "/media", "/tmp", "/var/tmp", "/run", "/root"];

/// Returns true for a folder that contains more than one app: the root, a home, or a folder of such
/// folders. `homes` are the homes of the app's user and of ostler's user, and ostler's home.
pub fn is_shared<'a>(folder: &Path, homes: impl IntoIterator<Item = &'a Path>) -> bool {
    let contains = |home: &Path| !home.as_os_str().is_empty() && home.starts_with(folder);
    folder.parent().is_none()
        || SHARED.iter().any(|shared| Path::new(shared) == folder)
        || folder.parent() == Some(Path::new("/home"))
        || homes.into_iter().any(contains)
}

/// Returns true if a path is in a folder that every profile may read.
pub fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// Returns the folder of the project that contains a script: the nearest folder with the mark of a
/// top folder, else with the mark of a project, else the folder of the script. `has` returns
/// true if a folder contains a file; `is_shared` excludes folders.
pub fn project_of(script: &Path, has: impl Fn(&Path, &str) -> bool, is_shared: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let above = || script.ancestors().skip(1).take(MAX_FOLDERS).take_while(|folder| !is_shared(folder));
    let nearest = |marks: &[&str]| above().find(|folder| marks.iter().any(|mark| has(folder, mark)));
    nearest(ROOT_MARKS).or_else(|| nearest(MARKS)).or_else(|| above().next()).map(Path::to_owned)
}

/// Returns the folders that contain the installation of a program, for example
/// `~/.nvm/versions/node/v22.1.0` of `~/.nvm/versions/node/v22.1.0/bin/node`. Programs of the system
/// need none.
pub fn installation_of(program: &Path, is_shared: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    if is_system(program) {
        return Vec::new();
    }
    let Some(folder) = program.parent() else { return Vec::new() };
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let prefix = folder.parent().filter(|_| matches!(name, "bin" | "shims" | ".bin" | "sbin"));
    let holds_more = |prefix: &Path| is_shared(prefix) || prefix.ends_with(".local");
    match prefix {
        Some(prefix) if !holds_more(prefix) => vec![prefix.to_owned()],
        Some(prefix) => vec![folder.to_owned(), prefix.join("lib")],
        None if !is_shared(folder) => vec![folder.to_owned()],
        None => vec![program.to_owned()],
    }
}

/// Returns a path without `.` and `..`, by its text alone.
pub fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(folder: &Path) -> bool {
        is_shared(folder, [Path::new("/home/ann"), Path::new("/data/ostler")])
    }

    #[test]
    fn folders_with_several_apps_are_shared() {
        for (folder, expected) in [
            ("/", true),
            ("/srv", true),
            ("/srv/api", false),
            ("/home", true),
            ("/home/ann", true),
            ("/home/bob", true),
            ("/home/ann/api", false),
            ("/data", true),
            ("/data/ostler", true),
            ("/data/api", false),
        ] {
            assert_eq!(shared(Path::new(folder)), expected, "{folder}");
        }
    }

    #[test]
    fn project_is_found_by_its_marks() {
        let files = ["/srv/mono/.git", "/srv/mono/api/package.json", "/srv/one/package.json", "/home/ann/.git", "/home/ann/x/package.json"];
        let has = |folder: &Path, mark: &str| files.iter().any(|file| folder.join(mark) == Path::new(file));
        for (script, expected) in [
            ("/srv/mono/api/dist/server.js", Some("/srv/mono")),
            ("/srv/one/dist/server.js", Some("/srv/one")),
            ("/srv/plain/dist/server.js", Some("/srv/plain/dist")),
            ("/home/ann/x/server.js", Some("/home/ann/x")),
            ("/home/ann/server.js", None),
        ] {
            assert_eq!(project_of(Path::new(script), has, shared).as_deref(), expected.map(Path::new), "{script}");
        }
    }

    #[test]
    fn installation_of_an_interpreter_is_its_prefix() {
        for (program, expected) in [
            ("/usr/bin/node", vec![]),
            ("/home/ann/.nvm/versions/node/v22/bin/node", vec!["/home/ann/.nvm/versions/node/v22"]),
            ("/home/ann/.pyenv/shims/python", vec!["/home/ann/.pyenv"]),
            ("/home/ann/.local/bin/node", vec!["/home/ann/.local/bin", "/home/ann/.local/lib"]),
            ("/home/ann/bin/node", vec!["/home/ann/bin", "/home/ann/lib"]),
            ("/opt/node/bin/node", vec!["/opt/node"]),
            ("/srv/api/server", vec!["/srv/api"]),
            ("/home/ann/server", vec!["/home/ann/server"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(installation_of(Path::new(program), shared), expected, "{program}");
        }
    }

    #[test]
    fn plain_paths_have_no_dots() {
        assert_eq!(plain(Path::new("/srv/./a/../b c")), Path::new("/srv/b c"));
        assert_eq!(plain(Path::new("/../x")), Path::new("/x"));
    }
}
