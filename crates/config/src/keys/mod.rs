//! Table of all attributes, and its uses: lookup by any name, checks, the JSON schema, the
//! reference page.

mod docs;
mod schema;

mod table;

pub use docs::{reference, texts};
use ostler_core::message;
pub use ostler_core::text::suggest::{closest, did_you_mean, near, question};
pub use schema::schema;
pub use table::KEYS;

/// One attribute of an app.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Main name, used on the wire.
    pub name: &'static str,
    /// Other names. The camelCase form of every name with an underscore is accepted too.
    pub aliases: &'static [&'static str],
    /// Values that are accepted; the first form is the usual one.
    pub accepts: &'static [Accept],
    /// Effective value if absent, in words.
    pub default: &'static str,
    /// One line for users.
    pub doc: &'static str,
    /// Family.
    pub group: Group,
    /// Whether it has an effect in this version.
    pub state: KeyState,
    /// Options of `start` and `restart` that set it. `--no-…` sets false.
    pub options: &'static [&'static str],
}

/// A form of value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accept {
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number in this range, also as text.
    Number(i64, i64),
    /// Milliseconds as a number, or a text with a unit: `500ms`, `3s`, `5m`, `1h`.
    Millis,
    /// Bytes as a number, or a text with a unit: `200M`, `1.5G`, `512KiB`.
    Bytes,
    /// A list of texts, or one text that is split like a command line.
    Words,
    /// A list of texts, or one text that is not split.
    Texts,
    /// A command: a list of words, or a text that names a file, a program or a shell command.
    Command,
    /// A list of whole numbers, or one.
    Numbers,
    /// A table (object) of anything.
    Table,
    /// A list of tables.
    Tables,
    /// A list of numbers, texts and tables.
    Mixed,
}

/// Family of attributes, as in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Program to run.
    Run,
    /// Environment.
    Env,
    /// Logs and pid file.
    Logs,
    /// When to start and restart.
    Restart,
    /// How to stop.
    Stop,
    /// Sockets, distribution of connections, reload.
    Serving,
    /// Readiness.
    Ready,
    /// Priority, limits and user.
    Limits,
    /// Restarts and jobs at given times.
    Cron,
    /// Restarts on change or by resource use.
    Watch,
    /// Health checks.
    Health,
    /// Node integration.
    Node,
    /// Only stored for other programs.
    Kept,
}

/// Effect of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It has an effect.
    Works,
    /// It is checked and stored, but an expected effect is missing, for this reason. A warning
    /// reports that.
    NoEffect(&'static str),
    /// It is checked and stored, and needs no effect in ostler, for this reason.
    Needless(&'static str),
}

impl Key {
    /// Returns true if this key has this name, as its main name or as an alias.
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|own| own == name || is_camel_of(name, own))
    }

    /// Returns the main name and aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Returns the key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.answers_to(name))
}

/// Returns the key that this option sets (`--max-restarts`, `-i`, `--no-autorestart`).
pub fn by_option(option: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.options.contains(&option))
}

/// Returns true for a camel-case form: `maxMemoryRestart` of `max_memory_restart`.
fn is_camel_of(camel: &str, snake: &str) -> bool {
    snake.contains('_') && camel_case(snake) == camel
}

pub(crate) fn camel_case(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

impl Group {
    /// Returns the heading in the reference.
    pub fn title(self) -> &'static str {
        match self {
            Self::Run => "Program and arguments",
            Self::Env => "Environment",
            Self::Logs => "Logs and pid file",
            Self::Restart => "Start and restart",
            Self::Stop => "Stop",
            Self::Serving => "Sockets, connections, reload",
            Self::Ready => "Readiness",
            Self::Limits => "User, priority and limits",
            Self::Cron => "At given times",
            Self::Watch => "Restart on change, by use",
            Self::Health => "Health",
            Self::Node => "Node integration",
            Self::Kept => "Kept for other programs",
        }
    }
}

impl Accept {
    /// Describes the expected values, in words that follow "expected".
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => message!("true or false"),
            Self::Text => message!("a string"),
            Self::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(&message!(" or ")),
            Self::Number(min, max) => match (*min, *max) {
                (i64::MIN, i64::MAX) => message!("a number"),
                (0, max) if max >= i64::from(u32::MAX) => message!("a number"),
                (min, max) => message!("a number from {min} to {max}", min, max),
            },
            Self::Millis => message!("a number of milliseconds or a time such as \"3s\""),
            Self::Bytes => message!("a number of bytes or a size such as \"200M\""),
            Self::Words | Self::Texts => message!("a string or a list of strings"),
            Self::Command => message!("a command (a string, or a list of words)"),
            Self::Numbers => message!("a number or a list of numbers"),
            Self::Table => message!("a table"),
            Self::Tables => message!("a list of tables"),
            Self::Mixed => message!("a list of these"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_key() {
        let mut names: Vec<String> = KEYS
            .iter()
            .flat_map(|key| key.names().flat_map(|name| [name.to_owned(), camel_case(name)]))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        names.retain(|name| KEYS.iter().filter(|key| key.answers_to(name)).count() != 1);
        assert_eq!(names, Vec::<String>::new());
    }

    #[test]
    fn every_option_belongs_to_one_key() {
        for key in KEYS {
            for option in key.options {
                assert_eq!(KEYS.iter().filter(|other| other.options.contains(option)).count(), 1, "{option}");
            }
        }
    }

    #[test]
    fn find_resolves_camel_case_and_aliases() {
        let cases = [
            ("maxMemoryRestart", "max_memory_restart"),
            ("exec", "script"),
            ("cmd", "script"),
            ("interpreterArgs", "node_args"),
            ("err", "error_file"),
            ("cron", "cron_restart"),
            ("combine_logs", "merge_logs"),
        ];
        for (given, main) in cases {
            assert_eq!(find(given).map(|key| key.name), Some(main), "{given}");
        }
        assert!(find("max-restarts").is_none());
    }
}
