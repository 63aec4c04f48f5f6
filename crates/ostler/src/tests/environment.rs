//! Environment variables: the table, the program and the documentation agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ostler_core::environment::{CGROUP, HOME};

use crate::cli;

const START: &str = "OSTLER_";

/// Variables that only tests set, or that ostler only writes into files of other programs.
const OTHERS: [&str; 4] = ["OSTLER_SIM_", "OSTLER_TEST_", "OSTLER_KILL_", "OSTLER_URL"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(crates().join("../docs/environment.md")).unwrap()
}

/// Returns the names of variables in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect::<String>();
    let names = text.split(START).skip(1).map(|rest| format!("{START}{}", name(rest)));
    names.filter(|name| name != START && !OTHERS.iter().any(|other| name.starts_with(other))).collect()
}

/// Adds the variables that the shipped sources below a folder name, without tests.
fn add_variables(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            if !["tests", "testkit", "snapshots", "target"].contains(&name.as_str()) {
                add_variables(&path, found);
            }
        } else if (name.ends_with(".rs") || name.ends_with(".cjs")) && !name.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            found.extend(shipped.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(variables));
        }
    }
}

#[test]
fn page_has_the_table_of_settings() {
    let page = page();
    for row in cli::environment().lines() {
        assert!(page.contains(row), "docs/environment.md has no row {row}");
    }
}

#[test]
fn page_lists_each_variable_of_the_program() {
    let (mut used, listed) = (BTreeSet::new(), variables(&page()));
    add_variables(&crates(), &mut used);
    assert!(used.contains(HOME.name) && used.contains("OSTLER_PRELOAD"), "{used:?}");
    let missing: Vec<_> = used.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/environment.md does not list {missing:?}");
    let unknown: Vec<_> = listed.difference(&used).collect();
    assert!(unknown.is_empty(), "docs/environment.md lists {unknown:?}, which the program does not use");
}

/// The keeper does not link the crate with the table.
#[test]
fn keeper_has_the_names_of_the_table() {
    assert_eq!((ostler_keeper::HOME_VAR, ostler_keeper::CGROUP_VAR), (HOME.name, CGROUP.name));
}
