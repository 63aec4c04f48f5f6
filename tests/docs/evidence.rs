//! The pages about trust name tests, files and tasks that exist, each decision names its costs, and
//! the READMEs name the declared version of Rust.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_testkit::checkout;

const PAGES: [&str; 7] = [
    "SECURITY.md",
    "docs/reliability.md",
    "docs/zh/reliability.md",
    "docs/trusted-core.md",
    "docs/zh/trusted-core.md",
    "docs/security.md",
    "docs/zh/security.md",
];

/// Names with two underscores that are no tests.
const NO_TESTS: [&str; 4] = ["pidfd_send_signal", "undocumented_unsafe_blocks", "multiple_unsafe_ops_per_block", "missing_safety_doc"];

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the text between backquotes, line by line.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A test: the path of its file without extension, and its name.
type Test = (String, String);

/// Adds the functions below `folder` that follow a line `#[test]`.
fn read_tests(folder: &Path, tests: &mut BTreeSet<Test>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_tests(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(checkout()).unwrap().with_extension("").display().to_string();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while lines.any(|line| line == "#[test]") {
                let name = lines.find_map(|line| line.strip_prefix("fn ")?.split_once('('));
                tests.extend(name.map(|(name, _)| (file.clone(), name.to_owned())));
            }
        }
    }
}

fn tests() -> BTreeSet<Test> {
    let mut tests = BTreeSet::new();
    for folder in ["tests", "crates", "xtask/src"] {
        read_tests(&checkout().join(folder), &mut tests);
    }
    tests
}

fn is_test_name(span: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    span.chars().all(is_of_name) && span.matches('_').count() >= 2 && !NO_TESTS.contains(&span)
}

/// Returns true for a path in the repository, also with a `*`.
fn is_path(span: &str) -> bool {
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "/._-*".contains(c);
    let starts = ["tests/", "crates/", "xtask/", "fuzz/", "docs/", ".ci/", ".github/", "benches/"];
    let is_at_root = span.ends_with(".toml") && !span.contains('/');
    (is_at_root || starts.iter().any(|start| span.starts_with(start))) && span.chars().all(is_of_path)
}

fn path_exists(path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else { return checkout().join(path).exists() };
    let (folder, start) = before.rsplit_once('/').unwrap();
    let names = std::fs::read_dir(checkout().join(folder)).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().display().to_string()).any(|name| name.starts_with(start) && name.ends_with(after))
}

/// Returns an error unless a command of cargo names a task, or selects a test.
fn check_command(command: &str, tests: &BTreeSet<Test>) -> Result<(), String> {
    let words: Vec<&str> = command.split(' ').collect();
    if let Some(task) = command.strip_prefix("cargo xtask ").and_then(|rest| rest.split(' ').next()) {
        let listed =
            read("xtask/src/main.rs").lines().any(|line| line.strip_prefix("  ").is_some_and(|rest| rest.starts_with(&format!("{task} "))));
        return if listed { Ok(()) } else { Err(format!("no task {task}")) };
    }
    if !command.starts_with("cargo nextest run ") {
        return Ok(());
    }
    let after = |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1)).copied();
    let package = after("-p").ok_or("no package")?;
    let name = package.strip_prefix("ostler-").unwrap_or(package);
    let binary = match after("--test") {
        Some(binary) if package == "ostler" => format!("tests/{binary}"),
        Some(binary) => format!("crates/{name}/tests/{binary}"),
        None => format!("crates/{name}/src"),
    };
    // The words that are neither options nor their values.
    let filter = words[3..].iter().enumerate().find(|(at, word)| !word.starts_with('-') && !words[at + 2].starts_with('-'));
    let filter = filter.map_or("", |(_, word)| word);
    // nextest compares with the path of the test in its binary.
    let is_selected = |(file, name): &Test| {
        let module = file.strip_prefix(&binary).map(|rest| rest.trim_start_matches('/').trim_end_matches("/mod").replace('/', "::"));
        module.is_some_and(|module| format!("{module}::{name}").contains(filter))
    };
    if tests.iter().any(is_selected) { Ok(()) } else { Err(format!("no test of {binary} matches {filter:?}")) }
}

#[test]
fn named_tests_files_and_tasks_exist() {
    let tests = tests();
    assert!(tests.len() > 2000, "only {} tests were found", tests.len());
    let names: BTreeSet<&str> = tests.iter().map(|(_, name)| name.as_str()).collect();
    let (mut unknown, mut count) = (Vec::new(), 0);
    for page in PAGES {
        let text = read(page);
        for span in spans(&text) {
            let is_known = if is_test_name(span) {
                names.contains(span)
            } else if is_path(span) {
                path_exists(span)
            } else if span.starts_with("cargo ") {
                let result = check_command(span, &tests);
                unknown.extend(result.err().map(|error| format!("{page}: {span}: {error}")));
                true
            } else {
                continue;
            };
            count += 1;
            if !is_known {
                unknown.push(format!("{page}: {span}"));
            }
        }
    }
    assert!(unknown.is_empty(), "no such test, file or task:\n{}", unknown.join("\n"));
    assert!(count > 200, "only {count} names were found");
}

#[test]
fn unknown_names_are_detected() {
    let tests = tests();
    assert!(is_test_name("no_such_test") && !tests.iter().any(|(_, name)| name == "no_such_test"));
    assert!(is_path("tests/e2e/gone_*.rs") && !path_exists("tests/e2e/gone_*.rs"));
    assert!(!path_exists("tests/e2e/gone.rs") && path_exists("tests/e2e/promise_1_*.rs"));
    assert!(check_command("cargo xtask gone --now", &tests).is_err());
    assert!(check_command("cargo nextest run -p ostler --test e2e gone_away", &tests).is_err());
    assert_eq!(check_command("cargo nextest run -p ostler --test e2e promise_1", &tests), Ok(()));
    assert_eq!(check_command("cargo nextest run -p ostler-daemon simulation::past", &tests), Ok(()));
    assert_eq!(check_command("cargo nextest run -p ostler-proto --test hostile", &tests), Ok(()));
    assert!(check_command("cargo nextest run -p ostler-proto hostile", &tests).is_err(), "the name of the binary is no part of a test");
}

#[test]
fn each_decision_names_its_costs() {
    let mut without = Vec::new();
    for entry in std::fs::read_dir(checkout().join("docs/adr")).unwrap().flatten() {
        if !std::fs::read_to_string(entry.path()).unwrap().contains("**Costs.** ") {
            without.push(entry.file_name());
        }
    }
    assert!(without.is_empty(), "without a paragraph \"**Costs.**\": {without:?}");
}

/// Continuous integration builds with the declared version, so the READMEs must name the same.
#[test]
fn readmes_name_the_declared_version_of_rust() {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    for page in ["README.md", "README.zh-CN.md"] {
        assert!(read(page).contains(&format!("Rust {version} ")), "{page} does not name Rust {version}");
    }
}
