//! Dependencies between the files of a crate, read from their paths: `crate::…` and `super::…`,
//! names in braces included, and paths that begin with a child of the module.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files below a folder, without tests.
pub(crate) struct Files {
    pub(crate) files: Vec<File>,
}

/// One file.
pub(crate) struct File {
    path: PathBuf,
    /// Its module, relative to the folder.
    pub(crate) module: Vec<String>,
    /// Modules that it uses, each relative to the folder, without `below`.
    pub(crate) uses: BTreeSet<Vec<String>>,
    /// Children that it uses, by their bare names.
    below: BTreeSet<Vec<String>>,
    /// Names that it re-exports from other modules: the public ones to all modules, the others to
    /// its children.
    hands_on: BTreeMap<String, Vec<String>>,
}

impl File {
    fn new(path: PathBuf, text: &str, base: &[String]) -> Option<Self> {
        let module = module_of(&path)?;
        let absolute: Vec<String> = base.iter().chain(&module).cloned().collect();
        let found = paths(text, &absolute);
        let inside = |path: Vec<String>| path.strip_prefix(base).filter(|path| !path.is_empty()).map(<[String]>::to_vec);
        Some(Self {
            path,
            module,
            uses: found.used.into_iter().filter_map(inside).collect(),
            below: found.below.into_iter().filter_map(inside).collect(),
            hands_on: found.imported.into_iter().filter_map(|(name, path)| Some((name, inside(path)?))).collect(),
        })
    }

    /// Returns its path, relative to the folder.
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
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.extend(File::new(path.strip_prefix(dir).unwrap_or(&path).to_path_buf(), &text, &base));
        }
        Ok(Self::linked(files))
    }

    /// Replaces names that the root re-exports by their targets. Types and macros of the root
    /// itself are no modules.
    fn linked(files: Vec<File>) -> Self {
        let (roots, mut files): (Vec<File>, Vec<File>) = files.into_iter().partition(|file| file.module.is_empty());
        let modules: BTreeSet<String> = files.iter().filter_map(|file| file.module.first().cloned()).collect();
        let link = |path: Vec<String>| -> Option<Vec<String>> {
            let (first, rest) = path.split_first()?;
            if modules.contains(first) {
                return Some(path);
            }
            let further = roots.iter().find_map(|root| root.hands_on.get(first))?;
            further.first().is_some_and(|first| modules.contains(first)).then(|| further.iter().chain(rest).cloned().collect())
        };
        for file in &mut files {
            file.uses = std::mem::take(&mut file.uses).into_iter().filter_map(link).collect();
        }
        Self { files }
    }

    /// Returns the largest set of files in which each file uses each other file, directly or
    /// through others. A single file is no circle.
    ///
    /// Every arrow between two files counts, with one exception. An arrow from a module down to its
    /// own child (`child::f()`) and an arrow from a child up to an enclosing module (`super::Type`)
    /// never count in the same circle. A `mod.rs` that combines its children while they use its
    /// types is common Rust, and readers treat the two as one unit. The search therefore runs
    /// twice: once with the arrows up, once with the arrows down. It finds circles of siblings, and
    /// most circles through a module outside of the folder. It does not find a circle that needs
    /// arrows of both kinds. A parent that names its child by `crate::` counts in both searches.
    pub(crate) fn largest_circle(&self) -> Vec<&Path> {
        let by_module: BTreeMap<&[String], usize> = self.files.iter().enumerate().map(|(at, file)| (file.module.as_slice(), at)).collect();
        let is_up = |from: usize, to: usize| match (self.files.get(from), self.files.get(to)) {
            (Some(from), Some(to)) => from.module.starts_with(&to.module),
            _ => false,
        };
        let arrows = |paths: fn(&File) -> Vec<&Vec<String>>| -> Vec<BTreeSet<usize>> {
            let arrows_of = |(from, file): (usize, &File)| {
                paths(file).into_iter().filter_map(|path| self.file_of(&by_module, path, 0)).filter(|to| *to != from).collect()
            };
            self.files.iter().enumerate().map(arrows_of).collect()
        };
        let with_up = arrows(|file| file.uses.iter().collect());
        let mut with_down = arrows(|file| file.uses.iter().chain(&file.below).collect());
        for (from, arrows) in with_down.iter_mut().enumerate() {
            arrows.retain(|to| !is_up(from, *to));
        }
        let circle = [largest_circle(&with_up), largest_circle(&with_down)].into_iter().max_by_key(BTreeSet::len).unwrap_or_default();
        circle.into_iter().filter_map(|file| self.files.get(file)).map(|file| file.path.as_path()).collect()
    }

    /// Returns the module of a path: the rest of the path is a type or a function.
    pub(crate) fn module<'a>(&self, path: &'a [String]) -> &'a [String] {
        let is_module = |head: &[String]| self.files.iter().any(|file| file.module == head);
        (1..=path.len()).rev().filter_map(|length| path.get(..length)).find(|head| is_module(head)).unwrap_or(path)
    }

    /// Returns the target of a path: the file of the longest module in it, or the file that this
    /// module re-exports.
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

/// Returns the largest set of numbers in which each reaches each other.
fn largest_circle(arrows: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len()).map(|from| reached(arrows, from)).collect();
    let circle = |(at, reaches): (usize, &BTreeSet<usize>)| -> BTreeSet<usize> {
        reaches.iter().copied().filter(|to| reached.get(*to).is_some_and(|back| back.contains(&at))).collect()
    };
    reached.iter().enumerate().map(circle).max_by_key(BTreeSet::len).unwrap_or_default()
}

/// Returns everything that is reachable by one or more arrows.
fn reached(arrows: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        next.extend(arrows.get(at).into_iter().flatten().filter(|to| seen.insert(**to)));
    }
    seen
}

/// Returns the module of a file: empty for the root of the crate, `None` for tests.
fn module_of(file: &Path) -> Option<Vec<String>> {
    let is_test = file.iter().any(|part| part == "tests" || part.to_string_lossy().ends_with("tests.rs"));
    let mut module: Vec<String> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    (!is_test).then_some(module)
}

/// Paths in code that is compiled into the program, relative to the root of the crate.
#[derive(Default)]
struct Paths {
    used: BTreeSet<Vec<String>>,
    /// Paths that begin with a child of the module.
    below: BTreeSet<Vec<String>>,
    /// Imported paths by their local names.
    imported: Vec<Import>,
}

/// The local name of an import, and its path.
type Import = (String, Vec<String>);

fn paths(text: &str, module: &[String]) -> Paths {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
    let children: BTreeSet<&str> =
        code.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod ")).map(|(_, name)| name).collect();
    let mut paths = Paths::default();
    let mut rest = code.as_str();
    while let Some(at) = rest.find(is_of_word) {
        let (before, here) = rest.split_at(at);
        let (word, after) = here.split_at(here.find(|c| !is_of_word(c)).unwrap_or(here.len()));
        rest = after;
        let is_part = before.ends_with("::") || before.ends_with(['$', '.']);
        let is_use = word == "use";
        if is_part || !is_use && !after.starts_with("::") {
            continue;
        }
        let path = if is_use { after.trim_start() } else { here };
        let start = beginning(path, module, &children);
        let mut found = Vec::new();
        let (from, path) = start.as_ref().map_or((&[][..], path), |(_, from, path)| (from, path));
        let following = expand(path, from, &mut found);
        if is_use {
            rest = following;
        }
        let line = code.get(..code.len() - here.len()).and_then(|seen| seen.rsplit(['\n', ';']).next()).unwrap_or_default();
        let found_paths = found.iter().map(|(_, path)| path.clone());
        match start {
            Some((Start::Elsewhere, ..)) => paths.used.extend(found_paths),
            Some((Start::Child, ..)) if !line.trim_start().starts_with("pub") => paths.below.extend(found_paths),
            Some((Start::Child, ..)) => {}
            None => continue,
        }
        if is_use {
            paths.imported.extend(found);
        }
    }
    paths
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

enum Start {
    Elsewhere,
    Child,
}

/// Splits a path into its start and the rest. `None` for a path into another crate.
fn beginning<'a>(path: &'a str, module: &[String], children: &BTreeSet<&str>) -> Option<(Start, Vec<String>, &'a str)> {
    if let Some(after) = path.strip_prefix("crate::") {
        return Some((Start::Elsewhere, Vec::new(), after));
    }
    if path.starts_with("super::") {
        let (mut from, mut path) = (module.to_vec(), path);
        while let Some(after) = path.strip_prefix("super::") {
            from.pop();
            path = after;
        }
        return Some((Start::Elsewhere, from, path));
    }
    let path = path.strip_prefix("self::").unwrap_or(path);
    let (first, _) = path.split_once("::")?;
    children.contains(first).then(|| (Start::Child, module.to_vec(), path))
}

/// Expands each path of `a::{b, c::d}`, with its name; returns the text after the last one.
fn expand<'a>(text: &'a str, before: &[String], paths: &mut Vec<Import>) -> &'a str {
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
    let (name, rest) = text.split_at(text.find(|c| !is_of_word(c)).unwrap_or(text.len()));
    let mut path = before.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name.to_owned());
    }
    if let Some(more) = rest.strip_prefix("::") {
        return expand(more, &path, paths);
    }
    let (alias, rest) = match rest.trim_start().strip_prefix("as ") {
        Some(alias) => alias.split_at(alias.find(|c| !is_of_word(c)).unwrap_or(alias.len())),
        None => ("", rest),
    };
    if let Some(last) = path.last() {
        let name = if alias.is_empty() { last } else { alias };
        paths.push((name.to_owned(), path.clone()));
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
    fn paths_ignore_comments_and_tests() {
        let text = "mod own;\nuse std::{own::No, io};\nuse crate::log::Log;\n// use crate::no;\npub use own::Shown;\n\
                    fn f() { crate::reactor::x(); super::y(); own::z(); other::own::no() }\nuse super::super::{b, c::{D, e as E}};\n\
                    #[cfg(test)]\nmod tests {\n use crate::boot;\n}\n";
        let found = paths(text, &words(&["a", "x"]));
        let expected = [&["log", "Log"][..], &["reactor", "x"], &["a", "y"], &["b"], &["c", "D"], &["c", "e"]];
        assert_eq!(found.used, expected.map(words).into());
        assert_eq!(found.below, [words(&["a", "x", "own", "z"])].into());
        assert!(found.imported.contains(&("E".to_owned(), words(&["c", "e"]))));
        assert!(found.imported.contains(&("Shown".to_owned(), words(&["a", "x", "own", "Shown"]))));
        assert_eq!(module_of(Path::new("logs/tests/lines.rs")), None);
        assert_eq!(module_of(Path::new("lib.rs")), Some(Vec::new()));
        assert_eq!(module_of(Path::new("autosave.rs")), Some(words(&["autosave"])));
        assert_eq!(module_of(Path::new("cron/mod.rs")), Some(words(&["cron"])));
        assert_eq!(module_of(Path::new("cron/run.rs")), Some(words(&["cron", "run"])));
    }

    fn circle(files: &[(&str, &str)]) -> Vec<String> {
        let files = Files::linked(files.iter().filter_map(|(path, text)| File::new(path.into(), text, &[])).collect());
        files.largest_circle().into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn cycles_are_found_through_reexports() {
        let files = |c| {
            circle(&[
                ("lib.rs", "mod a;\nmod c;\nmod d;\npub use a::Name as Short;\n"),
                ("a/mod.rs", "mod b;\npub(crate) use b::Name;\n"),
                ("a/b.rs", "use crate::c::x;"),
                ("c.rs", c),
                ("d.rs", "use crate::c;"),
            ])
        };
        assert_eq!(files("use crate::a::Name;"), ["a/b.rs", "c.rs"]);
        assert_eq!(files("use crate::Short;"), ["a/b.rs", "c.rs"]);
        assert!(files("use crate::a::Other;").is_empty());
    }

    #[test]
    fn parent_and_children_form_a_cycle_only_through_others() {
        let files = |b, c| circle(&[("a/mod.rs", "mod b;\nfn f() { b::y() }\n"), ("a/b.rs", b), ("c.rs", c)]);
        assert!(files("use super::Type;", "use crate::a::Type;").is_empty());
        assert_eq!(files("use crate::c::x;", "use crate::a::Type;"), ["a/mod.rs", "a/b.rs", "c.rs"]);
        let siblings = [("a/mod.rs", "mod b;\nmod c;\n"), ("a/b.rs", "use super::c::x;"), ("a/c.rs", "use super::b::y;")];
        assert_eq!(circle(&siblings), ["a/b.rs", "a/c.rs"]);
    }
}
