//! Rules of a watch: whether a path counts.

use super::glob::{Glob, GlobError, is_glob, split_base};
use super::own_files::OwnFile;
use super::spec::{BadWatch, WatchSpec};
use crate::app::{AppSpec, CombinedLog};
use crate::message;
use crate::serving::{LogPattern, PatternError};

/// Folders that users do not edit: the watch never enters them.
const NEVER: [&[u8]; 4] = [b"node_modules", b".git", b".hg", b".svn"];
/// The watch does not enter these either, at the top of the file system, for an app with that
/// working directory.
const NEVER_AT_TOP: [&[u8]; 4] = [b"proc", b"sys", b"dev", b"run"];
/// Prefix of a regular expression.
const REGEX: &str = "regex:";

/// Pattern from PM2's documentation for names with a leading dot. Its last slash was the end of a
/// regex literal.
const PM2_EXAMPLE: &str = r"[\/\\]\./";

/// Facts for the rules, in addition to the app's watch settings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// Working directory of the app.
    pub cwd: &'a str,
    /// Home of the daemon.
    pub home: &'a str,
    /// Logs and pid files as the app declares them.
    pub own: Vec<&'a str>,
}

impl<'a> Surroundings<'a> {
    /// Returns the facts of an app.
    pub fn of(spec: &'a AppSpec, home: &'a str) -> Self {
        let logs = &spec.logs;
        let combined = match &logs.log_file {
            Some(CombinedLog::Path(path)) => Some(path),
            Some(CombinedLog::Default) | None => None,
        };
        let own = [logs.out_file.as_ref(), logs.error_file.as_ref(), combined, spec.pid_file.as_ref()];
        Self { cwd: &spec.cwd, home, own: own.into_iter().flatten().map(String::as_str).collect() }
    }
}

/// A watched path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Absolute path of a file or folder.
    pub path: String,
    /// Pattern that restricts the files that count.
    filter: Option<Glob>,
}

/// Rules about paths.
#[derive(Clone, Debug)]
pub struct Rules {
    roots: Vec<Root>,
    ignore: Vec<Pattern>,
    except: Vec<Pattern>,
    base: String,
    home: Vec<u8>,
    own: Vec<OwnFile>,
    defaults: bool,
    ext: Vec<String>,
    depth: Option<u32>,
}

/// A path to judge.
#[derive(Clone, Copy, Debug)]
pub struct WatchPath<'a> {
    /// Index of the root above it.
    pub root: usize,
    /// Absolute path of its folder, without a slash at the end.
    pub folder: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// Levels between the root and its folder.
    pub depth: u32,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Verdict on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathVerdict {
    /// Neither it nor its contents count.
    Ignored,
    /// A folder that does not count itself, but its contents may.
    Entered,
    /// A change of it counts; a folder is also entered.
    Counts,
}

/// Reason why a watched path or an exception is refused.
#[derive(Debug, thiserror::Error)]
enum PathError {
    #[error("{}", message!("expected a path"))]
    Empty,
    #[error(transparent)]
    Glob(#[from] GlobError),
    #[error(transparent)]
    Regex(#[from] PatternError),
}

#[derive(Clone, Debug)]
enum Pattern {
    Glob(Glob),
    Regex { pattern: LogPattern, base: String },
}

impl Rules {
    /// Returns the rules that an app declares.
    ///
    /// # Errors
    /// Returns an unreadable pattern with its key.
    pub fn new(spec: &WatchSpec, around: &Surroundings<'_>) -> Result<Self, BadWatch> {
        let base = spec.base(around.cwd);
        let mut rules = Self {
            roots: Vec::new(),
            ignore: Vec::new(),
            except: Vec::new(),
            home: around.home.as_bytes().to_vec(),
            own: around.own.iter().filter_map(|path| OwnFile::new(path)).collect(),
            defaults: spec.ignore.is_none(),
            ext: spec.ext.iter().map(|ext| format!(".{ext}")).collect(),
            depth: spec.depth,
            base,
        };
        for text in &spec.paths {
            let bad = |error: PathError| BadWatch { key: "watch", message: format!("{text:?}: {error}") };
            match text.strip_prefix('!') {
                Some(rest) => rules.ignore.push(Pattern::new(rest, &rules.base).map_err(bad)?),
                None => rules.roots.push(Root::new(text, &rules.base, spec.literal).map_err(bad)?),
            }
        }
        if rules.roots.is_empty() {
            rules.roots.push(Root { path: absolute(&rules.base, ""), filter: None });
        }
        for text in spec.ignore.iter().flatten() {
            let bad = |error: PathError| BadWatch { key: "ignore_watch", message: format!("{text:?}: {error}") };
            match text.strip_prefix('!') {
                Some(rest) => rules.except.push(Pattern::new(rest, &rules.base).map_err(bad)?),
                None => rules.ignore.push(Pattern::new(text, &rules.base).map_err(bad)?),
            }
        }
        Ok(rules)
    }

    /// Returns the watched paths.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Returns true for the root itself, and for one of its files that is watched by name. Only the
    /// user's own `ignore_watch` can exclude them.
    pub fn root_counts(&self, folder: &[u8], name: &[u8]) -> bool {
        !self.is_daemon_file(folder, name) && !self.is_named(folder, name, false)
    }

    /// Judges a path whose folder was entered. `.gitignore` files are not consulted here.
    pub fn judge(&self, place: &WatchPath<'_>) -> PathVerdict {
        let WatchPath { folder, name, is_folder, .. } = *place;
        if NEVER.contains(&name) || folder == b"/" && NEVER_AT_TOP.contains(&name) || is_scratch(name) || self.is_daemon_file(folder, name)
        {
            return PathVerdict::Ignored;
        }
        if self.defaults && self.is_ignored_by_default(place) || self.is_named(folder, name, is_folder) {
            return PathVerdict::Ignored;
        }
        let filter = self.roots.get(place.root).and_then(|root| root.filter.as_ref());
        if is_folder {
            let is_too_deep = self.depth.is_some_and(|depth| place.depth >= depth);
            return match (is_too_deep, filter.is_some() || !self.ext.is_empty()) {
                (true, _) => PathVerdict::Ignored,
                (false, true) => PathVerdict::Entered,
                (false, false) => PathVerdict::Counts,
            };
        }
        let has_ending = self.ext.is_empty() || self.ext.iter().any(|ext| name.ends_with(ext.as_bytes()));
        if has_ending && filter.is_none_or(|glob| glob.matches(&join(folder, name))) { PathVerdict::Counts } else { PathVerdict::Ignored }
    }

    /// Returns true for the paths that are ignored without `ignore_watch`: names with a leading dot
    /// (as in PM2), and files and folders with the name of a log.
    fn is_ignored_by_default(&self, place: &WatchPath<'_>) -> bool {
        let WatchPath { folder, name, is_folder, depth, .. } = *place;
        let at_top = depth == 0 || folder == self.base.as_bytes();
        name.starts_with(b".") || (is_folder && at_top && name == b"logs") || (!is_folder && name.ends_with(b".log"))
    }

    /// Returns true for the home of the daemon, and for files that it writes for the app.
    fn is_daemon_file(&self, folder: &[u8], name: &[u8]) -> bool {
        (!self.home.is_empty() && self.home.strip_suffix(name).and_then(|rest| rest.strip_suffix(b"/")) == Some(folder))
            || self.own.iter().any(|own| own.is(folder, name))
    }

    fn is_named(&self, folder: &[u8], name: &[u8], is_folder: bool) -> bool {
        if self.ignore.is_empty() {
            return false;
        }
        let path = join(folder, name);
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&path, is_folder));
        any(&self.ignore) && !any(&self.except)
    }
}

impl Root {
    fn new(text: &str, base: &str, literal: bool) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if literal || !is_glob(text) {
            return Ok(Self { path: absolute(base, text), filter: None });
        }
        let (folder, _) = split_base(text);
        Ok(Self { path: absolute(base, folder), filter: Some(Glob::below(base, text)?) })
    }
}

impl Pattern {
    fn new(text: &str, base: &str) -> Result<Self, PathError> {
        if let Some(regex) = regex_of(text) {
            // JavaScript escapes its slashes.
            let pattern = LogPattern::new(&regex.replace("\\/", "/"))?;
            return Ok(Self::Regex { pattern, base: base.trim_end_matches('/').to_owned() });
        }
        let glob = Glob::below(base, text)?;
        // `*.tmp` matches at any depth; a plain name matches only in the working directory, as in
        // PM2.
        let is_name = is_glob(text) && !text.trim_end_matches('/').contains('/');
        Ok(Self::Glob(if is_name { Glob::below("", text)?.anywhere() } else { glob }))
    }

    fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(path),
            Self::Regex { pattern, base } => {
                // Relative, with a leading slash and (for a folder) a trailing slash, so that both
                // `^src/` and `[/\\]\.` match as intended.
                let relative = path.strip_prefix(base.as_bytes()).filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
                let mut text = relative.to_vec();
                text.extend_from_slice(if is_folder { b"/" } else { b"" });
                pattern.is_in(&text) || pattern.is_in(&text[1..]) || is_folder && pattern.is_in(relative)
            }
        }
    }
}

/// Returns the regular expression in a text: by its prefix, or because the text is neither a path
/// nor a glob.
fn regex_of(text: &str) -> Option<&str> {
    if let Some(regex) = text.strip_prefix(REGEX) {
        return Some(regex);
    }
    if text == PM2_EXAMPLE {
        return text.strip_suffix('/');
    }
    let escapes = text.as_bytes().windows(2).any(|pair| pair[0] == b'\\' && !b"*?[]{}()!@+ ".contains(&pair[1]));
    (text.starts_with('^') || text.ends_with('$') || escapes).then_some(text)
}

/// Returns true for files that editors create and remove while they save.
fn is_scratch(name: &[u8]) -> bool {
    name.ends_with(b"~")
        || name.ends_with(b".swp")
        || name.ends_with(b".swx")
        || name == b"4913"
        || name.starts_with(b".#")
        || name.starts_with(b".goutputstream-")
        || name.ends_with(b"___jb_tmp___")
        || name.ends_with(b"___jb_old___")
        || name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#")
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    [folder, b"/", name].concat()
}

/// Returns an absolute path without `.`, `..` and needless slashes.
fn absolute(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut names: Vec<&str> = Vec::new();
    for name in whole.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules(attributes: Value) -> Rules {
        let spec = WatchSpec::read(attributes.as_object().unwrap(), "/w/app").unwrap();
        let own = vec!["/w/app/out.txt", "/w/app/run/app.pid"];
        Rules::new(&spec, &Surroundings { cwd: "/w/app", home: "/w/app/data/home", own }).unwrap()
    }

    /// Judges every level from the first root down, as a walk does.
    fn counts(rules: &Rules, path: &str) -> bool {
        let root = rules.roots()[0].path.clone();
        let rest = path.strip_prefix(&root).unwrap_or_else(|| panic!("{path} is not below {root}"));
        let names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
        let mut folder = root;
        for (depth, name) in names.iter().enumerate() {
            let is_folder = depth + 1 < names.len();
            let place =
                WatchPath { root: 0, folder: folder.as_bytes(), name: name.as_bytes(), depth: u32::try_from(depth).unwrap(), is_folder };
            match rules.judge(&place) {
                PathVerdict::Ignored => return false,
                PathVerdict::Entered | PathVerdict::Counts => {}
            }
            folder = format!("{folder}/{name}");
        }
        true
    }

    #[test]
    fn changed_paths_count_or_are_ignored_by_the_rules() {
        for (attributes, path, expected) in [
            // As in PM2, plus the folders that are never entered.
            (json!({"watch": true}), "src/a.js", true),
            (json!({"watch": true}), ".env", false),
            (json!({"watch": true}), "src/.cache/a", false),
            (json!({"watch": true}), "node_modules/a/index.js", false),
            (json!({"watch": true}), "packages/b/node_modules/a/index.js", false),
            (json!({"watch": true}), "logs/a.txt", false),
            (json!({"watch": true}), "src/logs/a.js", true),
            (json!({"watch": true}), "src/npm-debug.log", false),
            (json!({"watch": true}), "out-3.txt", false),
            (json!({"watch": true}), "run/app-0.pid", false),
            (json!({"watch": true}), "run/app.js", true),
            (json!({"watch": true}), "data/home/pm2.txt", false),
            (json!({"watch": true}), "data/homes/pm2.txt", true),
            (json!({"watch": true}), "src/a.js~", false),
            (json!({"watch": true}), "src/.a.js.swp", false),
            // A user's list replaces the default, but not the folders that are never entered.
            (json!({"watch": true, "ignore_watch": ["tmp"]}), ".env", true),
            (json!({"watch": true, "ignore_watch": ["tmp"]}), "logs/a.txt", true),
            (json!({"watch": true, "ignore_watch": ["tmp"]}), "tmp/a", false),
            (json!({"watch": true, "ignore_watch": ["tmp"]}), "src/tmp/a", true),
            (json!({"watch": true, "ignore_watch": ["tmp"]}), "node_modules/a", false),
            (json!({"watch": true, "ignore_watch": ["tmp"]}), ".git/HEAD", false),
            (json!({"watch": true, "ignore_watch": ["./client/img/"]}), "client/img/a.png", false),
            (json!({"watch": true, "ignore_watch": ["*.tmp"]}), "src/deep/a.tmp", false),
            (json!({"watch": true, "ignore_watch": ["src/*.tmp"]}), "src/a.tmp", false),
            (json!({"watch": true, "ignore_watch": ["src/*.tmp"]}), "src/deep/a.tmp", true),
            (json!({"watch": true, "ignore_watch": ["**/test/**"]}), "src/test/a.js", false),
            (json!({"watch": true, "ignore_watch": ["/w/app/x"]}), "x/a.js", false),
            (json!({"watch": true, "ignore_watch": ["*.tmp", "!keep.tmp"]}), "keep.tmp", true),
            // Regular expressions, by prefix and by their form.
            (json!({"watch": true, "ignore_watch": ["regex:\\.tmp$"]}), "src/a.tmp", false),
            (json!({"watch": true, "ignore_watch": ["regex:\\.tmp$"]}), "src/a.tmp.js", true),
            (json!({"watch": true, "ignore_watch": ["[\\/\\\\]\\./", "node_modules"]}), ".cache/x", false),
            (json!({"watch": true, "ignore_watch": ["^src/gen"]}), "src/generated.js", false),
            (json!({"watch": true, "ignore_watch": ["^src/gen"]}), "lib/src/generated.js", true),
            (json!({"watch": true, "ignore_watch": ["regex:^/?(public|dist)/"]}), "dist/a.js", false),
            // Patterns of watched paths, extensions, depth.
            (json!({"watch": ["src/**/*.js"]}), "src/x/a.js", true),
            (json!({"watch": ["src/**/*.js"]}), "src/x/a.css", false),
            (json!({"watch": ["!src/gen", "."]}), "src/gen/a", false),
            (json!({"watch": true, "ext": "js,json"}), "src/a.json", true),
            (json!({"watch": true, "ext": "js,json"}), "src/a.css", false),
            (json!({"watch": true, "watch_options": {"depth": 1}}), "a/b.js", true),
            (json!({"watch": true, "watch_options": {"depth": 1}}), "a/b/c.js", false),
            (json!({"watch": true, "watch_options": {"depth": 0}}), "a/b.js", false),
            (json!({"watch": true, "watch_options": {"ignored": ["x"]}}), "x/a.js", false),
            (json!({"watch": true, "watch_options": {"ignored": ["x"]}}), ".env", false),
        ] {
            let rules = rules(attributes.clone());
            assert_eq!(counts(&rules, &format!("/w/app/{path}")), expected, "{attributes} {path}");
        }
    }

    #[test]
    fn root_folder_can_be_watched() {
        let spec = WatchSpec { on: true, ..WatchSpec::default() };
        let rules = Rules::new(&spec, &Surroundings { cwd: "/", ..Surroundings::default() }).unwrap();
        assert_eq!(rules.roots()[0].path, "/");
        for (name, expected) in [("app", PathVerdict::Counts), ("proc", PathVerdict::Ignored), ("dev", PathVerdict::Ignored)] {
            let place = WatchPath { root: 0, folder: b"/", name: name.as_bytes(), depth: 0, is_folder: true };
            assert_eq!(rules.judge(&place), expected, "{name}");
        }
    }

    #[test]
    fn watched_roots_are_derived_from_the_settings() {
        for (attributes, expected) in [
            (json!({"watch": true}), vec!["/w/app"]),
            (
                json!({"watch": ["src", "./lib/", "../shared", "/etc/app.conf"]}),
                vec!["/w/app/src", "/w/app/lib", "/w/shared", "/etc/app.conf"],
            ),
            (json!({"watch": ["src/**/*.js", "*.json"]}), vec!["/w/app/src", "/w/app"]),
            (json!({"watch": ["a[b]/c"], "watch_options": {"disableGlobbing": true}}), vec!["/w/app/a[b]/c"]),
            (json!({"watch": ["src"], "watch_options": {"cwd": "sub"}}), vec!["/w/app/sub/src"]),
            (json!({"watch": true, "watch_options": {"cwd": "/x"}}), vec!["/x"]),
        ] {
            let rules = rules(attributes.clone());
            let roots: Vec<&str> = rules.roots().iter().map(|root| root.path.as_str()).collect();
            assert_eq!(roots, expected, "{attributes}");
        }
    }

    #[test]
    fn explicitly_watched_file_counts_even_if_hidden() {
        let rules = rules(json!({"watch": [".env", "out.txt"]}));
        assert!(rules.root_counts(b"/w/app", b".env"));
        assert!(!rules.root_counts(b"/w/app", b"out.txt"));
    }
}
