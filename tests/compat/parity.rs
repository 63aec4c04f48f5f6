//! `docs/pm2-parity.md`, read from the tables that it is generated from (`parity.toml`). The tables
//! must cover real PM2's help and `jlist` and ostler's own tables. Every row must exist in PM2 or
//! in ostler.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_testkit::{Home, Subject};

/// Words in PM2's help that are not commands.
const NO_COMMANDS: &[&str] = &["*"];
/// Options that PM2's command-line library adds to every command.
const OF_THE_LIBRARY: &[&str] = &["-h", "--help", "-V"];
/// Heading of the options that only ostler has.
const OURS: &str = "Only in ostler";

/// A row of the document.
struct Row {
    section: String,
    /// Names between backticks in the first column.
    names: Vec<String>,
    state: String,
    notes: String,
}

fn document(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let text = document("pm2-parity.md");
    let (mut rows, mut section) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        // A bar in a cell is escaped.
        let line = line.replace("\\|", "\u{0}");
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [first, state, notes] = cells[..] else { continue };
        if line.starts_with("| ") && !first.starts_with("---") && !["state"].contains(&state) {
            let names = first.split('`').skip(1).step_by(2).map(|name| name.replace('\u{0}', "|")).collect();
            rows.push(Row { section: section.clone(), names, state: state.to_owned(), notes: notes.to_owned() });
        }
    }
    assert!(rows.len() > 300, "{} rows are read", rows.len());
    rows
}

/// Returns the words of all names in these sections.
fn words<'a>(rows: &'a [Row], sections: &[&str]) -> BTreeSet<&'a str> {
    let of = rows.iter().filter(|row| sections.contains(&row.section.as_str()));
    of.flat_map(|row| &row.names).flat_map(|name| name.split([' ', ',', '|'])).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_row_has_a_state_and_gaps_have_a_reason() {
    for row in rows() {
        assert!(["done", "different", "missing"].contains(&row.state.as_str()), "{:?}: {:?}", row.names, row.state);
        assert!(row.state == "done" || !row.notes.is_empty(), "{:?} is {} without a reason", row.names, row.state);
    }
}

#[test]
fn commands_and_rows_match_both_ways() {
    let rows = rows();
    let known = words(&rows, &["Commands", OURS]);
    let reference = document("reference/cli.md");
    let ours: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .flat_map(|line| line.split([' ', '`']).next().unwrap_or_default().split('|'))
        .collect();
    let without: Vec<_> = ours.iter().filter(|name| !known.contains(*name)).collect();
    assert!(without.is_empty(), "commands without a row: {without:?}");
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    for row in rows.iter().filter(|row| row.section == "Commands" && row.state != "missing") {
        for name in row.names.iter().filter_map(|name| name.split([' ', '<', '[']).next()) {
            // Names of programs, and placeholders for a command.
            if name.is_empty() || name.starts_with('-') || ["pm2-runtime", "pm2-docker", "pm2-dev"].contains(&name) {
                continue;
            }
            let output = home.run(["help", name].as_slice());
            assert_eq!(output.code, 0, "{name} is {}, but {output:?}", row.state);
        }
    }
}

#[test]
fn each_key_has_a_row() {
    let rows = rows();
    let known = words(&rows, &["Ecosystem keys", "Ecosystem keys only in ostler", "Ecosystem files"]);
    let reference = document("reference/ecosystem.md");
    let keys: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split('`').next()).collect();
    assert!(keys.len() > 80, "{} keys are read", keys.len());
    let without: Vec<_> = keys.iter().filter(|key| !known.contains(**key)).collect();
    assert!(without.is_empty(), "keys without a row: {without:?}");
}

/// Names that a help text contains.
#[derive(Default)]
struct Named {
    commands: BTreeSet<String>,
    options: BTreeSet<String>,
    /// Commands with options of their own.
    with_options: Vec<String>,
}

/// Reads the commands and options from a help text of PM2's command-line library.
fn named(help: &str) -> Named {
    let (mut named, mut is_commands) = (Named::default(), false);
    for line in help.lines() {
        is_commands |= line.trim() == "Commands:";
        let Some(line) = line.strip_prefix("    ").filter(|line| !line.starts_with(' ')) else { continue };
        let head = line.split("  ").next().unwrap_or_default();
        if head.starts_with('-') {
            named.options.extend(head.split([' ', ',']).filter(|word| word.starts_with('-')).map(str::to_owned));
        } else if is_commands {
            let names: Vec<String> = head.split(' ').next().unwrap_or_default().split('|').map(str::to_owned).collect();
            if head.contains("[options]") {
                named.with_options.extend(names.first().cloned());
            }
            named.commands.extend(names);
        }
    }
    named
}

#[test]
fn every_entry_of_pm2_help_has_a_row() {
    let Some(pm2) = Subject::pm2() else { ostler_testkit::skip!("PM2 is not there") };
    let home = Home::new(pm2);
    let rows = rows();
    let known = words(&rows, &["Commands", "Options"]);
    let is_known = |name: &str| known.contains(name) || OF_THE_LIBRARY.contains(&name);
    let Named { commands, options, with_options } = named(&home.ok("--help").stdout);
    assert!(commands.len() > 80 && options.len() > 60, "{} commands, {} options are read", commands.len(), options.len());
    let mut without: Vec<String> = commands.iter().chain(&options).filter(|name| !is_known(name)).cloned().collect();
    assert!(with_options.len() > 8, "{with_options:?}");
    for command in with_options {
        let options = named(&home.run([command.as_str(), "--help"].as_slice()).stdout).options;
        without.extend(options.into_iter().filter(|name| !is_known(name)).map(|name| format!("{command} {name}")));
    }
    without.retain(|name| !NO_COMMANDS.contains(&name.as_str()));
    assert!(without.is_empty(), "without a row: {without:?}");
}

#[test]
fn every_key_of_jlist_of_pm2_has_a_row() {
    let Some(pm2) = Subject::pm2() else { ostler_testkit::skip!("PM2 is not there") };
    let home = Home::new(pm2);
    let rows = rows();
    let known = words(&rows, &["Keys of `jlist`", "Ecosystem keys"]);
    let script = ostler_testkit::fixture_app("hold.js");
    home.ok(format!("start {script} --name one --namespace ns --kill-timeout 2500 --max-memory-restart 100M -- --x"));
    home.ok(format!("start {script} --name two -i 2 --log {}", home.write("both.log", "")));
    let file = home.write(
        "eco.json",
        format!(r#"{{"apps": [{{"name": "three", "script": "{script}", "log_date_format": "YYYY", "exp_backoff_restart_delay": 100, "env": {{"A": "1"}}}}]}}"#),
    );
    home.ok(format!("start {file}"));
    home.ok("stop one");
    home.ok("monitor three");
    let mut without = BTreeSet::new();
    for item in home.jlist() {
        let env = item.0["pm2_env"].as_object().expect("an object");
        // The list repeats each variable of the app as a key.
        let variables = env["env"].as_object().expect("an object");
        let of_the_item = item.0.as_object().expect("an object").keys();
        let keys: Vec<&String> = of_the_item.chain(env.keys().filter(|key| !variables.contains_key(*key))).collect();
        assert!(keys.len() > 35, "{keys:?}");
        without.extend(keys.into_iter().filter(|key| !known.contains(key.as_str())).cloned());
    }
    assert!(without.is_empty(), "keys without a row: {without:?}");
}

/// Returns PM2's variables whose quoted names appear in the shipped sources.
fn variables_in_the_sources() -> BTreeSet<String> {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![
        crates.join("ostler"),
        crates.join("daemon"),
        crates.join("config"),
        crates.join("serve"),
        crates.join("web"),
        crates.join("core"),
    ];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let is_name = |word: &&str| {
                    word.starts_with("PM2_")
                        && word.len() > 4
                        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
                };
                found.extend(text.split('"').filter(is_name).map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn every_pm2_variable_read_or_set_has_a_row() {
    let rows = rows();
    let known = words(&rows, &["Environment variables", "Variables given to apps", "Keys of `jlist`"]);
    let found = variables_in_the_sources();
    assert!(found.len() > 30, "{found:?}");
    let without: Vec<_> = found.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(without.is_empty(), "variables without a row: {without:?}");
}
