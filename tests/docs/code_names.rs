//! The page for contributors names files, types, variants and modules that exist.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_testkit::checkout;

const PAGES: [&str; 2] = ["docs/architecture.md", "docs/zh/architecture.md"];

/// Folders in which the paths of the pages begin.
const FOLDERS: [&str; 4] = ["", "crates/daemon/src", "crates/web/src", "crates/ostler/src"];

/// Files of the examples, and words that are not of the code.
const OTHERS: [&str; 2] = ["tests/e2e/count.rs", "Allow"];

/// Adds the sources below a folder, without tests.
fn read_sources(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "tests" {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn sources() -> String {
    let mut sources = String::new();
    for folder in std::fs::read_dir(checkout().join("crates")).unwrap().flatten() {
        read_sources(&folder.path().join("src"), &mut sources);
    }
    read_sources(&checkout().join("xtask/src"), &mut sources);
    sources
}

/// Returns the name that a line of the sources defines: a type, or a variant.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub(").and_then(|rest| Some(rest.split_once(") ")?.1)).unwrap_or(line);
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let (first, rest) = line.split_at(line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len()));
    match first {
        "struct" | "enum" | "trait" | "type" => rest.trim_start().split(|c: char| !c.is_alphanumeric()).next(),
        _ => (is_type(first) && (rest.starts_with([',', '(']) || rest.starts_with(" {"))).then_some(first),
    }
}

fn is_type(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.next().is_some_and(|c| c.is_ascii_lowercase())
}

fn is_path(span: &str) -> bool {
    let is_of_paths = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
    span.contains('/') && !span.starts_with('/') && span.chars().all(is_of_paths)
}

/// Returns true for the path of a module in a crate: `core::lifecycle::runtime`.
fn is_module(span: &str) -> bool {
    span.contains("::") && span.chars().all(|c| c.is_ascii_lowercase() || "_:".contains(c))
}

fn exists(path: &str) -> bool {
    FOLDERS.iter().any(|folder| checkout().join(folder).join(path).exists())
}

fn module_exists(span: &str) -> bool {
    let (name, rest) = span.split_once("::").unwrap();
    let path = format!("crates/{name}/src/{}", rest.replace("::", "/"));
    exists(&path) || exists(&format!("{path}.rs"))
}

#[test]
fn names_of_the_code_exist() {
    let sources = sources();
    let types: BTreeSet<&str> = sources.lines().filter_map(defined).collect();
    let has = |text: &str| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        sources.match_indices(text).any(|(at, _)| !sources[..at].ends_with(is_word) && !sources[at + text.len()..].starts_with(is_word))
    };
    let (mut unknown, mut count) = (Vec::new(), 0);
    for page in PAGES {
        let text = std::fs::read_to_string(checkout().join(page)).unwrap();
        for span in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|span| !OTHERS.contains(span)) {
            let words = span.split(|c: char| !c.is_alphanumeric()).filter(|word| is_type(word));
            let variant = span.split_once("::").filter(|(name, variant)| is_type(name) && is_type(variant));
            let is_known = if is_path(span) {
                exists(span)
            } else if is_module(span) {
                module_exists(span)
            } else if variant.is_some() {
                has(span)
            } else {
                words.clone().all(|word| types.contains(word))
            };
            count += usize::from(is_path(span) || is_module(span) || words.count() > 0);
            if !is_known {
                unknown.push(format!("{page}: {span}"));
            }
        }
    }
    assert!(unknown.is_empty(), "no such file, module, type or variant:\n{}", unknown.join("\n"));
    assert!(count > 100, "only {count} names were found");
}
