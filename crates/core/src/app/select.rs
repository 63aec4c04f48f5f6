//! Selects the instances that a target on the command line names.

use std::path::{Component, Path, PathBuf};

use crate::message;

use regex_lite::Regex;

/// Longest regular expression; a longer one is rejected.
const REGEX_MAX: usize = 1000;

/// An instance that can be selected.
#[derive(Clone, Copy, Debug)]
pub struct Selectable<'a> {
    /// `pm_id`.
    pub id: u32,
    /// App name.
    pub name: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Absolute script path.
    pub script: &'a str,
    /// Whether it is a module of PM2, which `all` does not select.
    pub is_module: bool,
}

/// A target that selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No name, script, namespace or id matches.
    #[error("{}", message!("process or namespace {target} not found", target = _0))]
    NotFound(String),
    /// `all`, or an expression, selects nothing.
    #[error("{}", message!("no process found"))]
    Empty,
    /// Not a regular expression.
    #[error("{}", message!("cannot read regular expression {pattern} beyond position {position}: {reason}", pattern = format!("{pattern:?}"), position, reason))]
    BadRegex {
        /// The expression, without the slashes around it.
        pattern: String,
        /// Number of characters from the start that are valid.
        position: usize,
        /// Problem with the rest.
        reason: String,
    },
}

/// Resolves a target against the list, in the order of the list.
///
/// - `all`: everything but modules.
/// - `/re/`: a regular expression, unanchored, on the names.
/// - a number: an app's name, else a namespace, else an id.
/// - any other word: a name or a script path (resolved against `cwd`), else a namespace, else
///   `namespace/name`.
///
/// # Errors
/// Returns an error if the target selects no instance.
pub fn select(target: &str, entries: &[Selectable<'_>], cwd: &str) -> Result<Vec<u32>, SelectError> {
    if target == "all" {
        return some(ids(entries, |entry| !entry.is_module)).ok_or(SelectError::Empty);
    }
    if let Some(pattern) = target.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|pattern| !pattern.is_empty()) {
        let regex = compile(pattern)?;
        return some(ids(entries, |entry| regex.is_match(entry.name))).ok_or(SelectError::Empty);
    }
    let number = is_number(target).then(|| target.parse::<u32>().ok()).flatten();
    let script = if number.is_some() { None } else { Some(absolute(target, cwd)) };
    some(ids(entries, |entry| entry.name == target || script.as_deref().is_some_and(|path| path == Path::new(entry.script))))
        .or_else(|| some(ids(entries, |entry| entry.namespace == target)))
        .or_else(|| some(ids(entries, |entry| is_qualified(entry, target))))
        .or_else(|| some(ids(entries, |entry| Some(entry.id) == number)))
        .ok_or_else(|| SelectError::NotFound(target.to_owned()))
}

/// One of several apps that share a name, or an instance of one.
#[derive(Clone, Copy, Debug)]
pub struct Namesake<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Absolute script path.
    pub script: &'a str,
    /// How many instances the app has.
    pub instances: u32,
}

/// Assigns each present instance of a name to one of several apps of that name (its position in
/// `apps`, which is not empty). The best app has its script and namespace; the second choice has
/// its script; the third is any. If several apps match, each takes as many instances as it
/// declares, in start order. The last app takes the rest.
pub fn share_out(apps: &[Namesake<'_>], present: &[Namesake<'_>]) -> Vec<usize> {
    let mut taken = vec![0_u32; apps.len()];
    let mut belongs = Vec::with_capacity(present.len());
    for instance in present {
        let fit = |app: &Namesake<'_>| (app.script == instance.script, app.namespace == instance.namespace);
        let best = apps.iter().map(fit).max().unwrap_or_default();
        let fitting: Vec<usize> = (0..apps.len()).filter(|index| fit(&apps[*index]) == best).collect();
        let free = fitting.iter().copied().find(|index| taken[*index] < apps[*index].instances);
        let index = free.or(fitting.last().copied()).unwrap_or_default();
        if let Some(count) = taken.get_mut(index) {
            *count += 1;
        }
        belongs.push(index);
    }
    belongs
}

/// Returns true if the target is `namespace/name` of this instance.
fn is_qualified(entry: &Selectable<'_>, target: &str) -> bool {
    let name = target.strip_prefix(entry.namespace).and_then(|rest| rest.strip_prefix('/'));
    name == Some(entry.name)
}

fn ids(entries: &[Selectable<'_>], is_meant: impl Fn(&Selectable<'_>) -> bool) -> Vec<u32> {
    entries.iter().filter(|entry| is_meant(entry)).map(|entry| entry.id).collect()
}

fn some(ids: Vec<u32>) -> Option<Vec<u32>> {
    (!ids.is_empty()).then_some(ids)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Joins a path to `cwd` and removes `.` and `..`, by text alone: links are not followed.
fn absolute(path: &str, cwd: &str) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for part in Path::new(cwd).join(path).components() {
        match part {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => _ = absolute.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    absolute
}

fn compile(pattern: &str) -> Result<Regex, SelectError> {
    let bad = |position, reason: String| SelectError::BadRegex { pattern: pattern.chars().take(80).collect(), position, reason };
    if pattern.len() > REGEX_MAX {
        return Err(bad(0, message!("longer than {most} bytes", most = REGEX_MAX)));
    }
    Regex::new(pattern).map_err(|error| {
        // The regex engine does not report the position. The longest valid prefix shows it.
        let is_good = |(count, (end, _)): (usize, (usize, char))| Regex::new(&pattern[..end]).is_ok().then_some(count);
        bad(pattern.char_indices().enumerate().filter_map(is_good).last().unwrap_or(0), error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instances_are_assigned_among_apps_of_the_same_name() {
        let of = |script, instances| Namesake { namespace: "default", script, instances };
        let red = |script, instances| Namesake { namespace: "red", script, instances };
        for (apps, present, expected) in [
            (vec![of("/a", 1), of("/b", 1)], vec![of("/a", 1), of("/b", 1)], vec![0, 1]),
            (vec![of("/a", 1), of("/b", 1)], vec![of("/b", 1), of("/a", 1), of("/a", 1)], vec![1, 0, 0]),
            // Only their order distinguishes them.
            (vec![of("/a", 2), of("/a", 1)], vec![of("/a", 2), of("/a", 2), of("/a", 1)], vec![0, 0, 1]),
            (vec![of("/a", 1), of("/a", 1)], vec![of("/a", 1); 4], vec![0, 1, 1, 1]),
            // One has moved to another script.
            (vec![of("/a", 1), of("/c", 1)], vec![of("/a", 1), of("/b", 1)], vec![0, 1]),
            (vec![of("/a", 1), red("/a", 1)], vec![red("/a", 1), of("/a", 1)], vec![1, 0]),
            (vec![of("/a", 1), of("/b", 1)], vec![], vec![]),
        ] {
            assert_eq!(share_out(&apps, &present), expected, "{apps:?} {present:?}");
        }
    }

    const LIST: &[Selectable<'_>] = &[
        Selectable { id: 0, name: "api", namespace: "default", script: "/srv/api/app.js", is_module: false },
        Selectable { id: 1, name: "api", namespace: "default", script: "/srv/api/app.js", is_module: false },
        Selectable { id: 2, name: "worker", namespace: "jobs", script: "/srv/worker.py", is_module: false },
        Selectable { id: 3, name: "455", namespace: "jobs", script: "/srv/x", is_module: false },
        Selectable { id: 4, name: "7", namespace: "12", script: "/srv/x", is_module: false },
        Selectable { id: 7, name: "a/b", namespace: "3", script: "/srv/2", is_module: false },
        Selectable { id: 455, name: "big", namespace: "worker", script: "/srv/worker", is_module: false },
        Selectable { id: 456, name: "big", namespace: "beta", script: "/srv/beta", is_module: false },
    ];

    #[test]
    fn targets_select_by_name_path_namespace_and_id() {
        let found = |target, cwd| select(target, LIST, cwd).map_err(|error| error.to_string());
        for (target, cwd, ids) in [
            ("all", "/", &[0, 1, 2, 3, 4, 7, 455, 456][..]),
            ("api", "/", &[0, 1]),
            // Two namespaces have an app of this name.
            ("big", "/", &[455, 456]),
            ("beta/big", "/", &[456]),
            ("worker/big", "/", &[455]),
            ("3/a/b", "/", &[7]),
            ("jobs", "/", &[2, 3]),
            ("/srv/worker.py", "/", &[2]),
            ("app.js", "/srv/api", &[0, 1]),
            ("../api/./app.js", "/srv/other", &[0, 1]),
            ("./worker.py", "/srv", &[2]),
            // The name (and a path) takes precedence over the namespace.
            ("worker", "/", &[2]),
            ("worker", "/srv", &[2, 455]),
            // A number: name, namespace, id; never a path.
            ("455", "/", &[3]),
            ("7", "/", &[4]),
            ("12", "/", &[4]),
            ("3", "/", &[7]),
            ("2", "/srv", &[2]),
            ("/^a/", "/", &[0, 1, 7]),
            ("/p/", "/", &[0, 1]),
            ("/a/b/", "/", &[7]),
            (r"/a\/b/", "/", &[7]),
            (r"/\d/", "/", &[3, 4]),
        ] {
            assert_eq!(found(target, cwd).as_deref(), Ok(ids), "{target} in {cwd}");
        }
        for (target, text) in [
            ("nope", "process or namespace nope not found"),
            ("99", "process or namespace 99 not found"),
            ("99999999999999999999", "process or namespace 99999999999999999999 not found"),
            ("", "process or namespace  not found"),
            ("/x/i", "process or namespace /x/i not found"),
            ("//", "process or namespace // not found"),
            ("/", "process or namespace / not found"),
            ("/zzz/", "no process found"),
            ("/a(b/", "cannot read regular expression \"a(b\" beyond position 1: found open group without closing ')'"),
        ] {
            assert_eq!(found(target, "/"), Err(text.to_owned()), "{target}");
        }
        assert_eq!(select("all", &[], "/"), Err(SelectError::Empty));
    }

    #[test]
    fn an_empty_working_directory_selects_nothing_by_path() {
        assert!(select("app.js", LIST, "").is_err());
    }

    proptest! {
        #[test]
        fn select_never_panics(target in any::<String>(), cwd in any::<String>()) {
            let _ = (select(&target, LIST, &cwd), select(&format!("/{target}/"), LIST, &cwd));
        }
    }
}
