//! Tables of every key of the formats that `import` and `up` read. `docs/reference/import.md` and
//! the reasons for ignored keys come from them.

pub(super) mod compose;
pub(super) mod oxmgr;
pub(super) mod procfile;
pub(super) mod supervisor;
pub(super) mod systemd;

use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_core::text::suggest::closest;

use crate::{Notice, NoticeKind};

/// A key of a foreign format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Name, with dots for tables: `deploy.replicas`.
    pub name: &'static str,
    pub support: KeySupport,
}

/// Result of `import` for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeySupport {
    /// It has the same meaning in ostler; the text names ostler's key.
    Done(&'static str),
    /// It has an effect that differs slightly; the text names the difference.
    Differs(&'static str),
    /// It has no effect; the text is the reason.
    LeftOut(&'static str),
}

const fn done(name: &'static str, ours: &'static str) -> Key {
    Key { name, support: KeySupport::Done(ours) }
}

const fn differs(name: &'static str, how: &'static str) -> Key {
    Key { name, support: KeySupport::Differs(how) }
}

const fn left_out(name: &'static str, why: &'static str) -> Key {
    Key { name, support: KeySupport::LeftOut(why) }
}

/// A format and the source of its keys.
struct Format {
    title: &'static str,
    /// Version or date of the specification that the table follows.
    source: &'static str,
    keys: &'static [Key],
}

const FORMATS: &[Format] = &[compose::TOP_LEVEL, compose::FORMAT, systemd::FORMAT, supervisor::FORMAT, procfile::FORMAT, oxmgr::FORMAT];

/// Returns the reason why a key that the reader does not handle has no effect. It is the reason in
/// the table, or that the format has no such key.
pub(super) fn reason_for_skipping(keys: &[Key], name: &str) -> String {
    let known = keys.iter().find(|key| key.name == name);
    match known.map(|key| key.support) {
        Some(KeySupport::LeftOut(why) | KeySupport::Differs(why) | KeySupport::Done(why)) => translated(why).to_owned(),
        None => match closest(name, keys.iter().map(|key| key.name)) {
            Some(near) => message!("unknown key, did you mean `{near}`?", near),
            None => message!("unknown key"),
        },
    }
}

/// Returns the report about a key that has no effect.
pub(super) fn skipped_key(keys: &[Key], app: &str, name: &str) -> Notice {
    let is_known = keys.iter().any(|key| key.name == name);
    let kind = if is_known { NoticeKind::Other } else { NoticeKind::UnknownKey };
    Notice { kind, ..Notice::new(app, name, reason_for_skipping(keys, name)) }
}

/// Returns the reasons for keys without an effect, which are shown to users.
pub(crate) fn key_texts() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.keys).filter_map(|key| match key.support {
        KeySupport::LeftOut(why) => Some(why),
        KeySupport::Done(_) | KeySupport::Differs(_) => None,
    })
}

/// Returns true if the key has an effect here. A reader calls this before it handles a key, so
/// every key with an effect is in the table.
pub(super) fn has_effect(keys: &[Key], name: &str) -> bool {
    keys.iter().any(|key| key.name == name && !matches!(key.support, KeySupport::LeftOut(_)))
}

/// Returns the tables as Markdown.
pub fn import_reference() -> String {
    let mut out = String::from("# Keys of foreign files\n\nHow `ostler import` and `ostler up` handle each key.\n");
    for format in FORMATS {
        out.push_str(&format!("\n## {}\n\nSource: {}\n\n| key | here | note |\n|---|---|---|\n", format.title, format.source));
        for key in format.keys {
            let (word, text) = match key.support {
                KeySupport::Done(text) => ("done", text),
                KeySupport::Differs(text) => ("different", text),
                KeySupport::LeftOut(text) => ("left out", text),
            };
            out.push_str(&format!("| `{}` | {word} | {} |\n", key.name, text.replace('|', "\\|")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_one_row() {
        for format in FORMATS {
            let names: std::collections::HashSet<_> = format.keys.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), format.keys.len(), "{}", format.title);
        }
    }
}
