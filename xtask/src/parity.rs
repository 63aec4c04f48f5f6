//! Generates `docs/pm2-parity.md` from the tables in `tests/compat/parity.toml`; the tests in that
//! folder check them against the real PM2.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STATES: [&str; 3] = ["done", "different", "missing"];

/// The tables, in the order of the document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    intro: String,
    section: Vec<Section>,
}

/// One table with its heading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    /// Text between heading and table.
    #[serde(default)]
    text: String,
    /// Heading of the first column.
    column: String,
    /// Names, state, reason.
    rows: Vec<[String; 3]>,
}

/// Returns the document. An error names the row that breaks a rule: an unknown state, no reason, a
/// repeated name.
pub(crate) fn document(tables: &str) -> Result<String> {
    let tables: Tables = toml::from_str(tables).context("tests/compat/parity.toml")?;
    let mut text = format!("# Parity with PM2 7\n\n{}\n\n", tables.intro.trim());
    text.push_str("| | done | different | missing |\n|---|--:|--:|--:|\n");
    for section in &tables.section {
        let count = |state| section.rows.iter().filter(|[_, of, _]| of == state).count();
        let [done, different, missing] = STATES.map(count);
        writeln!(text, "| {} | {done} | {different} | {missing} |", section.title)?;
    }
    for section in &tables.section {
        write!(text, "\n## {}\n\n", section.title)?;
        if !section.text.is_empty() {
            write!(text, "{}\n\n", section.text.trim())?;
        }
        write!(text, "| {} | state | notes |\n|---|---|---|\n", section.column)?;
        let mut seen = BTreeSet::new();
        for [names, state, notes] in &section.rows {
            ensure!(STATES.contains(&state.as_str()), "tests/compat/parity.toml: {names} is {state:?}, none of {STATES:?}");
            ensure!(state == "done" || !notes.is_empty(), "tests/compat/parity.toml: {names} is {state} without a reason");
            ensure!(seen.insert(names), "tests/compat/parity.toml: {names} has two rows under {:?}", section.title);
            writeln!(text, "| {names} | {state} | {notes} |")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::document;

    fn with(rows: &str) -> anyhow::Result<String> {
        document(&format!("intro = 'Why.'\n[[section]]\ntitle = 'Commands'\ncolumn = 'command'\nrows = [{rows}]\n"))
    }

    #[test]
    fn parity_table_becomes_markdown() {
        let text = with("['`stop`', 'done', ''], ['`start`', 'different', 'waits']").unwrap();
        assert!(text.contains("| Commands | 1 | 1 | 0 |\n"), "{text}");
        assert!(
            text.ends_with(
                "\n## Commands\n\n| command | state | notes |\n|---|---|---|\n| `stop` | done |  |\n| `start` | different | waits |\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn invalid_row_is_reported() {
        for (rows, said) in [
            ("['`stop`', 'almost', 'x']", "none of"),
            ("['`stop`', 'different', '']", "without a reason"),
            ("['`stop`', 'done', ''], ['`stop`', 'done', '']", "two rows"),
        ] {
            let error = with(rows).unwrap_err().to_string();
            assert!(error.contains("`stop`") && error.contains(said), "{error}");
        }
    }
}
