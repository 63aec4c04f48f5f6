//! Generates the reference page of the attributes.

use std::fmt::Write as _;

use ostler_core::message;
use ostler_core::text::language::translated;

use super::{Accept, KEYS, Key, KeyState};

/// Returns the text of `docs/reference/ecosystem.md`, generated from the table.
pub fn reference() -> String {
    let mut out = message!(
        "# Attributes of an app\n\n\
         Generated from the table in `crates/config/src/keys/table.rs`; do not edit. Every name with an underscore may also be written in\n\
         camelCase. A number may also be written as a string. Times are milliseconds or a string with a unit (`500ms`, `3s`, `5m`,\n\
         `1h`), sizes are bytes or a string with a unit (`200M`, `1G`, 1024-based). `env_<name>` holds the variables of the profile that\n\
         `--env <name>` chooses.\n",
    );
    let mut last = None;
    for key in KEYS {
        if last != Some(key.group) {
            last = Some(key.group);
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "\n## {}\n\n{}\n|---|---|---|---|---|---|\n",
                translated(key.group.title()),
                message!("| Name | Other names | Value | Default | Option | Meaning |")
            );
        }
        row(&mut out, key);
    }
    out
}

/// Returns the texts of the table, for the catalogue of translations.
pub fn texts() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| {
        let note = match key.state {
            KeyState::Works => "",
            KeyState::NoEffect(why) | KeyState::Needless(why) => why,
        };
        [key.group.title(), key.default, key.doc, note]
    })
}

fn row(out: &mut String, key: &Key) {
    let codes = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let values = key.accepts.iter().map(Accept::describe).collect::<Vec<_>>().join(", ");
    let note = match key.state {
        KeyState::Works => String::new(),
        KeyState::NoEffect(why) | KeyState::Needless(why) => message!(" *Accepted, no effect: {why}.*", why = translated(why)),
    };
    let _ = writeln!(
        out,
        "| `{}` | {} | {} | {} | {} | {}{note} |",
        key.name,
        codes(key.aliases),
        values.replace('|', "\\|"),
        translated(key.default),
        codes(key.options),
        translated(key.doc)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_has_a_row_for_every_key() {
        let text = reference();
        for key in KEYS {
            assert!(text.contains(&format!("\n| `{}` |", key.name)), "{}", key.name);
        }
    }
}
