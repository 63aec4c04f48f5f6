//! Source of a module, as the user gives it to `install`.

use std::path::{Component, Path, PathBuf};

use ostler_core::marked;

use crate::error::ModuleError;

/// Longest source that is accepted.
const MAX: usize = 2000;

/// Source of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `.`: the folder of the caller, for development.
    Here,
    /// A tar file with `module/package.json`, as `package` creates it.
    Tarball(PathBuf),
    /// A tar file to download.
    TarballAt(String),
    /// A folder or packed package of this machine, for npm.
    Local(PathBuf),
    /// Any source that npm understands: a name with or without scope and version, a git address, a
    /// user/repository.
    Npm(String),
}

impl Source {
    /// Parses a source. `cwd` and `home` are those of the caller.
    ///
    /// # Errors
    /// Returns an error if no module can have this source.
    pub(crate) fn of(word: &str, is_tarball: bool, cwd: &Path, home: &Path) -> Result<Self, ModuleError> {
        let refused = |reason| Err(ModuleError::Source { word: word.chars().take(80).collect(), reason });
        if word.is_empty() || word.len() > MAX {
            return refused(marked!("expected a name, a folder, a file or an address"));
        }
        if word.chars().any(|c| c.is_control() || c.is_whitespace()) || word.contains([';', '|', '`', '$', '<', '>', '\\', '"', '\'']) {
            return refused(marked!("it contains characters that are not allowed in a module name"));
        }
        if word.starts_with('-') {
            return refused(marked!("it is an option"));
        }
        let is_address = word.starts_with("http://") || word.starts_with("https://");
        let is_tarball = is_tarball || word.ends_with(".tar.gz");
        let local = |word: &str| match word.strip_prefix("~/") {
            Some(rest) => plain(&home.join(rest)),
            None => plain(&cwd.join(word)),
        };
        let is_local = word.starts_with("./") || word.starts_with("../") || word.starts_with('/') || word.starts_with("~/") || word == "..";
        Ok(match word {
            "." => Self::Here,
            _ if is_tarball && is_address => Self::TarballAt(word.to_owned()),
            _ if is_tarball => Self::Tarball(local(word)),
            _ if is_local => Self::Local(local(word)),
            _ => Self::Npm(word.to_owned()),
        })
    }

    /// Returns the source as a user would write it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Here => ".".to_owned(),
            Self::Tarball(path) | Self::Local(path) => path.display().to_string(),
            Self::TarballAt(word) | Self::Npm(word) => word.clone(),
        }
    }
}

/// Removes `.` and `..` from a path by its text alone, because a folder in the path may no longer
/// exist.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_of(word: &str, is_tarball: bool) -> Result<Source, ModuleError> {
        Source::of(word, is_tarball, Path::new("/srv/project"), Path::new("/home/me"))
    }

    #[test]
    fn source_follows_from_word() {
        let npm = |word: &str| Source::Npm(word.to_owned());
        for (word, expected) in [
            (".", Source::Here),
            ("pm2-logrotate", npm("pm2-logrotate")),
            ("pm2-logrotate@2.7.0", npm("pm2-logrotate@2.7.0")),
            ("@scope/mod@^1", npm("@scope/mod@^1")),
            ("user/repo#branch", npm("user/repo#branch")),
            ("git+ssh://git@host/x.git", npm("git+ssh://git@host/x.git")),
            ("https://host/x.tgz", npm("https://host/x.tgz")),
            ("./mod", Source::Local("/srv/project/mod".into())),
            ("/srv/mod", Source::Local("/srv/mod".into())),
            ("~/mod.tgz", Source::Local("/home/me/mod.tgz".into())),
            ("mod-v1-0-0.tar.gz", Source::Tarball("/srv/project/mod-v1-0-0.tar.gz".into())),
            ("http://host/mod.tar.gz", Source::TarballAt("http://host/mod.tar.gz".into())),
        ] {
            assert_eq!(source_of(word, false).unwrap(), expected, "{word}");
        }
        assert_eq!(source_of("mod.bin", true).unwrap(), Source::Tarball("/srv/project/mod.bin".into()));
    }

    #[test]
    fn unsafe_module_words_are_rejected() {
        for word in ["", "--global", "-g", "a b", "a;rm", "a|b", "`a`", "a\nb", "$(x)", "a\u{1b}[2J", &"x".repeat(MAX + 1)] {
            assert!(source_of(word, false).is_err(), "{word}");
        }
    }
}
