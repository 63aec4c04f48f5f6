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

const TITLE: &str = "Parity with PM2 7";

/// Returns the texts of the document, for its catalogue of translations. Names are not translated.
pub(crate) fn texts(tables: &str) -> Result<Vec<String>> {
    let tables: Tables = toml::from_str(tables).context("tests/compat/parity.toml")?;
    let mut texts: Vec<String> = [TITLE, "state", "notes"].into_iter().chain(STATES).map(str::to_owned).collect();
    texts.push(tables.intro.trim().to_owned());
    for Section { title, text, column, rows } in tables.section {
        texts.extend([title, text.trim().to_owned(), column]);
        texts.extend(rows.into_iter().map(|[_, _, notes]| notes));
    }
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}

/// Returns the document in the language of `translated`. An error names the row that breaks a rule:
/// an unknown state, no reason, a repeated name.
pub(crate) fn document(tables: &str, translated: impl Fn(&str) -> String) -> Result<String> {
    let tables: Tables = toml::from_str(tables).context("tests/compat/parity.toml")?;
    let mut text = format!("# {}\n\n{}\n\n", translated(TITLE), translated(tables.intro.trim()));
    let [done, different, missing] = STATES.map(&translated);
    writeln!(text, "| | {done} | {different} | {missing} |\n|---|--:|--:|--:|")?;
    for section in &tables.section {
        let count = |state| section.rows.iter().filter(|[_, of, _]| of == state).count();
        let [done, different, missing] = STATES.map(count);
        writeln!(text, "| {} | {done} | {different} | {missing} |", translated(&section.title))?;
    }
    for section in &tables.section {
        write!(text, "\n## {}\n\n", translated(&section.title))?;
        if !section.text.is_empty() {
            write!(text, "{}\n\n", translated(section.text.trim()))?;
        }
        writeln!(text, "| {} | {} | {} |\n|---|---|---|", translated(&section.column), translated("state"), translated("notes"))?;
        let mut seen = BTreeSet::new();
        for [names, state, notes] in &section.rows {
            ensure!(STATES.contains(&state.as_str()), "tests/compat/parity.toml: {names} is {state:?}, none of {STATES:?}");
            ensure!(state == "done" || !notes.is_empty(), "tests/compat/parity.toml: {names} is {state} without a reason");
            ensure!(seen.insert(names), "tests/compat/parity.toml: {names} has two rows under {:?}", section.title);
            writeln!(text, "| {names} | {} | {} |", translated(state), translated(notes))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::document;

    fn with(rows: &str) -> anyhow::Result<String> {
        document(&format!("intro = 'Why.'\n[[section]]\ntitle = 'Commands'\ncolumn = 'command'\nrows = [{rows}]\n"), str::to_owned)
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
