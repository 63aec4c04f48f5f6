//! Files of `sys` that other files use, directly or through other files of `sys`.

use std::collections::{BTreeMap, BTreeSet};

use super::SYS;

/// Path of a module or item, without the crate.
type ItemPath = Vec<String>;

/// Returns the files of `sys` that `users` reach, in order.
pub(super) fn of_sys<'a>(sources: &'a BTreeMap<String, String>, users: &BTreeSet<&str>) -> Vec<&'a str> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<ItemPath> = users.iter().filter_map(|user| sources.get(*user)).flat_map(|code| paths(code, "ostler_sys")).collect();
    while let Some(path) = open.pop() {
        let Some(file) = resolve(sources, &path) else { continue };
        if found.insert(file) {
            let code = &sources[file];
            open.extend(paths(code, "crate"));
            let parent: ItemPath =
                file.strip_prefix(SYS).unwrap_or(file).split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            let parent = &parent[..parent.len().saturating_sub(1)];
            open.extend(paths(code, "super").into_iter().map(|path| [parent, &path[..]].concat()));
        }
    }
    found.into_iter().collect()
}

/// Returns the paths that begin with `root::`, with their groups resolved.
fn paths(code: &str, root: &str) -> Vec<ItemPath> {
    let mut all = Vec::new();
    let start = format!("{root}::");
    for (at, _) in code.match_indices(&start) {
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            tree(&code[at + start.len()..], &[], &mut all);
        }
    }
    all
}

/// Reads `a::{b, c::d}` at the beginning of `text`, adds each path to `all` and returns the text
/// after it.
fn tree<'a>(text: &'a str, before: &[String], all: &mut Vec<ItemPath>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, before, all).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if next.trim_start().starts_with('}') => return &next.trim_start()[1..],
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.is_empty() {
        all.push(before.to_vec());
        return rest;
    }
    let path: ItemPath = before.iter().cloned().chain([word.to_owned()]).collect();
    match rest.strip_prefix("::") {
        Some(next) => tree(next, &path, all),
        None => {
            all.push(path);
            rest
        }
    }
}

/// Returns the file that defines a path. A name that a module re-exports leads to its own file.
fn resolve<'a>(sources: &'a BTreeMap<String, String>, path: &[String]) -> Option<&'a str> {
    for length in (0..=path.len()).rev() {
        let folder = [&[SYS.to_owned()], &path[..length]].concat().join("/");
        let names =
            if length == 0 { [format!("{folder}/lib.rs"), String::new()] } else { [format!("{folder}.rs"), format!("{folder}/mod.rs")] };
        let Some((file, code)) = names.iter().find_map(|name| sources.get_key_value(name)) else { continue };
        let Some(item) = path.get(length) else { return Some(file) };
        let exported = exports(code).into_iter().find(|export| export.last() == Some(item));
        return match exported {
            Some(export) => resolve(sources, &[&path[..length], &export[..]].concat()),
            None => Some(file),
        };
    }
    None
}

/// Returns the paths that a module re-exports from its children.
fn exports(code: &str) -> Vec<ItemPath> {
    let mut all = Vec::new();
    for start in ["pub use ", "pub(crate) use "] {
        for (at, _) in code.match_indices(start) {
            tree(&code[at + start.len()..], &[], &mut all);
        }
    }
    all.retain(|path| path.first().is_some_and(|first| first != "crate"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())).collect()
    }

    #[test]
    fn files_are_found_through_groups_and_reexports() {
        let sources = sources(&[
            (
                "crates/keeper/src/a.rs",
                "use ostler_sys::{\n    Spec, fd::{pass, memfd::new,},\n};\nlet t = ostler_sys::time::clock::now();\n",
            ),
            ("crates/sys/src/lib.rs", "pub mod fd;\npub use process::spawn::{Other, Spec};\n"),
            ("crates/sys/src/fd/mod.rs", ""),
            ("crates/sys/src/fd/pass.rs", "use crate::process::last;\n"),
            ("crates/sys/src/fd/memfd.rs", "use super::input;\n"),
            ("crates/sys/src/fd/input.rs", ""),
            ("crates/sys/src/fd/unused.rs", ""),
            ("crates/sys/src/process/mod.rs", "mod errno;\npub(crate) use errno::last;\n"),
            ("crates/sys/src/process/errno.rs", ""),
            ("crates/sys/src/process/spawn.rs", ""),
            ("crates/sys/src/time/clock.rs", ""),
        ]);
        let found = of_sys(&sources, &BTreeSet::from(["crates/keeper/src/a.rs"]));
        let expected = ["fd/input.rs", "fd/memfd.rs", "fd/pass.rs", "process/errno.rs", "process/spawn.rs", "time/clock.rs"];
        assert_eq!(found, expected.map(|name| format!("crates/sys/src/{name}")));
    }
}
