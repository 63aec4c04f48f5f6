//! Which file of a crate uses which, read from the paths in it: `crate::…` and `super::…`, names in braces included.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files below a folder, without tests.
pub(crate) struct Files {
    pub(crate) files: Vec<File>,
}

/// One file.
pub(crate) struct File {
    path: PathBuf,
    /// Its module, from the folder on.
    pub(crate) module: Vec<String>,
    /// What it uses, each from the folder on.
    pub(crate) uses: BTreeSet<Vec<String>>,
    /// What it hands on from other modules, by name.
    hands_on: BTreeMap<String, Vec<String>>,
}

impl File {
    /// Its path, from the folder on.
    pub(crate) fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

impl Files {
    /// Reads them. The folder is the root of a crate, or a module below the root.
    pub(crate) fn read(dir: &Path, is_below: bool) -> Result<Self> {
        let base: Vec<String> =
            if is_below { dir.file_name().map(|name| name.to_string_lossy().into_owned()).into_iter().collect() } else { Vec::new() };
        let mut files = Vec::new();
        for path in crate::layers::rust_files(dir)? {
            let inner = path.strip_prefix(dir).unwrap_or(&path).to_path_buf();
            let Some(module) = module_of(&inner) else { continue };
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let absolute: Vec<String> = base.iter().chain(&module).cloned().collect();
            let (used, handed_on) = used(&text, &absolute);
            let inside = |path: Vec<String>| path.strip_prefix(base.as_slice()).filter(|path| !path.is_empty()).map(<[String]>::to_vec);
            let uses = used.into_iter().filter_map(inside).collect();
            let hands_on = handed_on.into_iter().filter_map(|path| Some((path.last()?.clone(), inside(path)?))).collect();
            files.push(File { path: inner, module, uses, hands_on });
        }
        let modules: BTreeSet<String> = files.iter().filter_map(|file| file.module.first().cloned()).collect();
        for file in &mut files {
            // Types and macros at the top are no rooms.
            file.uses.retain(|path| path.first().is_some_and(|first| modules.contains(first)));
        }
        Ok(Self { files })
    }

    /// The largest set of files of which each uses each other, perhaps through others. A single file is none.
    pub(crate) fn largest_circle(&self) -> Vec<&Path> {
        let by_module: BTreeMap<&[String], usize> = self.files.iter().enumerate().map(|(at, file)| (file.module.as_slice(), at)).collect();
        let arrows: Vec<BTreeSet<usize>> = self
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| file.uses.iter().filter_map(|path| self.file_of(&by_module, path, 0)).filter(|to| *to != at).collect())
            .collect();
        let reached: Vec<BTreeSet<usize>> = (0..arrows.len()).map(|from| reached(&arrows, from)).collect();
        let circle = |at: usize| -> Vec<&Path> {
            let each = reached.get(at).into_iter().flatten().filter(|to| reached.get(**to).is_some_and(|back| back.contains(&at)));
            each.filter_map(|file| self.files.get(*file)).map(|file| file.path.as_path()).collect()
        };
        (0..arrows.len()).map(circle).max_by_key(Vec::len).unwrap_or_default()
    }

    /// Returns the module that a path is in: what follows it is a type or a function.
    pub(crate) fn module<'a>(&self, path: &'a [String]) -> &'a [String] {
        let is_module = |head: &[String]| self.files.iter().any(|file| file.module == head);
        (1..=path.len()).rev().filter_map(|length| path.get(..length)).find(|head| is_module(head)).unwrap_or(path)
    }

    /// Where a path leads: the file of the longest module in it, or what that one hands on.
    fn file_of(&self, by_module: &BTreeMap<&[String], usize>, path: &[String], depth: usize) -> Option<usize> {
        let length = (1..=path.len()).rev().find(|length| path.get(..*length).is_some_and(|head| by_module.contains_key(head)))?;
        let at = *by_module.get(path.get(..length)?)?;
        let handed_on = path.get(length).and_then(|name| self.files.get(at)?.hands_on.get(name));
        match handed_on {
            Some(further) if depth < 8 => self.file_of(by_module, further, depth + 1).or(Some(at)),
            _ => Some(at),
        }
    }
}

/// Everything that can be reached by one arrow or more.
fn reached(arrows: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        next.extend(arrows.get(at).into_iter().flatten().filter(|to| seen.insert(**to)));
    }
    seen
}

/// `None` for the root of the crate and for files that are tests.
fn module_of(file: &Path) -> Option<Vec<String>> {
    let is_test = file.iter().any(|part| part == "tests" || part.to_string_lossy().ends_with("tests.rs"));
    let mut module: Vec<String> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let is_root = module.is_empty() || module == ["lib"] || module == ["main"];
    (!is_test && !is_root).then_some(module)
}

/// The paths in what is compiled into the program, from the root of the crate on: those that are used, and those that are handed on.
fn used(text: &str, module: &[String]) -> (BTreeSet<Vec<String>>, Vec<Vec<String>>) {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
    let (mut used, mut handed_on) = (BTreeSet::new(), Vec::new());
    let mut rest = lines.as_str();
    while let Some(at) = [rest.find("crate::"), rest.find("super::")].into_iter().flatten().min() {
        let (before, path) = rest.split_at(at);
        let is_part = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let statement = before.rsplit(['\n', ';']).next().unwrap_or_default().trim();
        let is_handed_on = statement.starts_with("pub") && statement.ends_with("use");
        let mut here = module.to_vec();
        let mut path = path;
        if let Some(after) = path.strip_prefix("crate::") {
            here.clear();
            path = after;
        }
        while let Some(after) = path.strip_prefix("super::") {
            here.pop();
            path = after;
        }
        rest = path;
        if !is_part {
            let mut paths = Vec::new();
            expand(path, &here, &mut paths);
            if is_handed_on {
                handed_on.extend(paths.iter().cloned());
            }
            used.extend(paths);
        }
    }
    // `pub(crate) use child::Name;`
    for statement in lines.split(';').map(str::trim).filter(|statement| statement.starts_with("pub") && !statement.contains("{\n    }")) {
        let Some((_, path)) = statement.split_once(" use ") else { continue };
        if !path.starts_with("crate::") && !path.starts_with("super::") {
            expand(path, module, &mut handed_on);
        }
    }
    (used, handed_on)
}

/// Each path of `a::{b, c::d}`; what follows the last one.
fn expand<'a>(text: &'a str, before: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = expand(list, before, paths).trim_start();
            match list.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => list = more,
                Some(more) => return more.trim_start().trim_start_matches('}'),
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = before.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name.to_owned());
    }
    if let Some(more) = rest.strip_prefix("::") {
        return expand(more, &path, paths);
    }
    let rest = match rest.trim_start().strip_prefix("as ") {
        Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    };
    if !path.is_empty() {
        paths.push(path);
    }
    rest.strip_prefix('*').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &[&str]) -> Vec<String> {
        path.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn only_the_program_counts() {
        let text = "use crate::log::Log;\n// use crate::no;\nfn f() { crate::reactor::x(); super::y() }\nuse super::super::{b, c::{D, e as E}};\n\
                    #[cfg(test)]\nmod tests {\n use crate::boot;\n}\n";
        let (used, _) = used(text, &words(&["a", "x"]));
        let expected = [&["log", "Log"][..], &["reactor", "x"], &["a", "y"], &["b"], &["c", "D"], &["c", "e"]];
        assert_eq!(used, expected.map(words).into());
        assert_eq!(module_of(Path::new("logs/tests/lines.rs")), None);
        assert_eq!(module_of(Path::new("lib.rs")), None);
        assert_eq!(module_of(Path::new("autosave.rs")), Some(words(&["autosave"])));
        assert_eq!(module_of(Path::new("cron/mod.rs")), Some(words(&["cron"])));
        assert_eq!(module_of(Path::new("cron/run.rs")), Some(words(&["cron", "run"])));
    }

    #[test]
    fn circles_are_found_through_what_is_handed_on() {
        let file = |path: &str, text: &str| {
            let module = module_of(Path::new(path)).unwrap();
            let (uses, handed_on) = used(text, &module);
            let hands_on = handed_on.into_iter().map(|path| (path.last().unwrap().clone(), path)).collect();
            File { path: path.into(), module, uses, hands_on }
        };
        let files = |c: &str| {
            let files = vec![
                file("a/mod.rs", "mod b;\npub(crate) use b::Name;\n"),
                file("a/b.rs", "use crate::c::x;"),
                file("c.rs", c),
                file("d.rs", "use crate::c;"),
            ];
            Files { files }
        };
        assert_eq!(files("use crate::a::Name;").largest_circle(), [Path::new("a/b.rs"), Path::new("c.rs")]);
        assert!(files("use crate::a::Other;").largest_circle().is_empty());
    }
}
