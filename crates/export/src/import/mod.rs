//! Converts files of other tools to an ecosystem file. Values that cannot be converted are
//! reported, key by key.

mod compose;
mod compose_build;
mod compose_files;
mod compose_merge;
mod compose_project;
mod dockerfile;
pub(crate) mod dotenv;
#[cfg(debug_assertions)]
pub mod fuzz;
mod ini;
mod interpolate;
mod keys;
mod oxmgr;
mod procfile;
mod python;
mod supervisor;
mod systemd;
mod systemd_restart;
mod systemd_text;
#[cfg(test)]
mod tests;
mod yaml;

use ostler_core::message;
use ostler_core::text::language::translated;
use serde_json::{Map, Value};

use crate::Notice;

pub use compose_build::{BuildError, CannotRun, NoCommand};
pub use compose_files::{ComposeContext, UnreadableFile};
pub use compose_project::{ComposeProject, ComposeService, compose_project, compose_variables, import_compose};
pub use dockerfile::DockerfileError;
pub use dotenv::EnvFileError;
pub use keys::import_reference;
pub(crate) use keys::key_texts;

/// A kind of file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// A compose file.
    Compose,
    /// A service unit of systemd.
    Systemd,
    /// A Procfile.
    Procfile,
    /// A file of supervisor.
    Supervisor,
    /// An `oxfile.toml` of OxMgr.
    Oxmgr,
}

impl ImportFormat {
    /// All of them, by their command-line words.
    pub const ALL: [(&'static str, Self); 5] = [
        ("compose", Self::Compose),
        ("systemd", Self::Systemd),
        ("procfile", Self::Procfile),
        ("supervisor", Self::Supervisor),
        ("oxmgr", Self::Oxmgr),
    ];

    /// Returns the kind of this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(own, _)| *own == word).map(|(_, from)| from)
    }
}

/// Reason why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It has a syntax error.
    #[error("{0}")]
    Malformed(String),
    /// A file that it names cannot be read.
    #[error("{place}: {cause}")]
    Unreadable {
        /// The file, after the key if a key names it.
        place: String,
        /// The cause.
        cause: UnreadableFile,
    },
    /// It contains no app.
    #[error("{}", message!("it contains no {part}", part = translated(_0)))]
    NoApps(&'static str),
    /// It is larger than any real file.
    #[error("{}", message!("it has {count} bytes, at most {most} are read", count = _0, most = MOST_BYTES))]
    TooLarge(usize),
}

/// Longest file that is read.
const MOST_BYTES: usize = 4 << 20;

/// Result of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Apps in the form of an ecosystem file.
    pub apps: Vec<Map<String, Value>>,
    /// Values that were not converted.
    pub notices: Vec<Notice>,
}

impl Imported {
    /// Returns the text of an `ecosystem.config.js`; values that were not converted are comments
    /// above the app.
    pub fn text(&self) -> String {
        let mut out = String::from("module.exports = {\n  apps: [\n");
        for app in &self.apps {
            let name = app.get("name").and_then(Value::as_str).unwrap_or_default();
            for notices in self.notices.iter().filter(|notices| notices.app == name) {
                let text = message!("Not carried over: {key}: {reason}", key = notices.key, reason = notices.why);
                out.push_str(&format!("    // {}\n", crate::quote::line(&text)));
            }
            out.push_str("    ");
            value(&mut out, &Value::Object(app.clone()), 4);
            out.push_str(",\n");
        }
        let is_of_app = |notices: &&Notice| self.apps.iter().any(|app| app.get("name").and_then(Value::as_str) == Some(&notices.app));
        for notices in self.notices.iter().filter(|notices| !is_of_app(notices)) {
            let text = message!("Left out: {app}: {reason}", app = notices.app, reason = notices.why);
            out.push_str(&format!("    // {}\n", crate::quote::line(&text)));
        }
        out.push_str("  ],\n};\n");
        out
    }
}

/// Writes a JavaScript value: JSON, except that keys without special characters have no quotes.
fn value(out: &mut String, what: &Value, indent: usize) {
    let is_word = |key: &str| {
        let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        // `__proto__: x` in an object of JavaScript is not a key.
        begins && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && key != "__proto__"
    };
    match what {
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Object(map) => {
            out.push_str("{\n");
            for (key, own) in map {
                out.push_str(&" ".repeat(indent + 2));
                match key.as_str() {
                    "__proto__" => out.push_str("[\"__proto__\"]"),
                    key if is_word(key) => out.push_str(key),
                    key => out.push_str(&Value::from(key).to_string()),
                }
                out.push_str(": ");
                value(out, own, indent + 2);
                out.push_str(",\n");
            }
            out.push_str(&" ".repeat(indent));
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (at, item) in list.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                value(out, item, indent);
            }
            out.push(']');
        }
        // Two characters that JSON allows in a text and older JavaScript does not.
        other => out.push_str(&other.to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")),
    }
}

/// Location of a file, and the files beside it.
#[derive(Clone, Copy)]
pub struct FileContext<'a> {
    /// Name of the file without its folder; a unit takes its name from it.
    pub name: &'a str,
    /// Absolute path of its folder; `None` for standard input.
    pub folder: Option<&'a str>,
    /// Name of this machine.
    pub host: Option<&'a str>,
    /// Port of the first process of a Procfile.
    pub port: Option<u16>,
    /// Reads the files that a pattern matches, in the order of their names: path and text. A
    /// relative pattern starts at the folder.
    pub files: &'a dyn Fn(&str) -> Vec<(String, String)>,
}

impl<'a> FileContext<'a> {
    /// Returns a place of which only the name is known.
    pub fn named(name: &'a str) -> Self {
        Self { name, folder: None, host: None, port: None, files: &|_| Vec::new() }
    }
}

/// Reads a file.
///
/// # Errors
/// Returns an error if no part of the file is usable; the reason is one line.
pub fn import(from: ImportFormat, text: &str, place: &FileContext<'_>) -> Result<Imported, ImportError> {
    if text.len() > MOST_BYTES {
        return Err(ImportError::TooLarge(text.len()));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match from {
        ImportFormat::Compose => compose_project::read(text),
        ImportFormat::Systemd => systemd::read(text, place),
        ImportFormat::Procfile => procfile::read(text, place),
        ImportFormat::Supervisor => supervisor::read(text, place),
        ImportFormat::Oxmgr => oxmgr::read(text),
    }
}

/// Programs that run a script.
const INTERPRETERS: &[&str] = &["node", "bun", "python", "python3", "php", "ruby", "perl"];

/// An app under construction, and the reports about it.
struct App<'a> {
    map: Map<String, Value>,
    name: String,
    notices: &'a mut Vec<Notice>,
}

impl<'a> App<'a> {
    fn new(name: &str, notices: &'a mut Vec<Notice>) -> Self {
        let mut map = Map::new();
        map.insert("name".into(), name.into());
        Self { map, name: name.to_owned(), notices }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.map.insert(key.to_owned(), value.into());
    }

    fn report(&mut self, key: &str, why: impl Into<String>) {
        self.notices.push(Notice::new(self.name.as_str(), key, why));
    }

    /// Adds a variable.
    fn variable(&mut self, name: &str, value: impl Into<Value>) {
        let env = self.map.entry("env").or_insert_with(|| Value::Object(Map::new()));
        if let Some(env) = env.as_object_mut() {
            env.insert(name.to_owned(), value.into());
        }
    }

    /// Sets script, interpreter and arguments from the words of a command. Returns false if there
    /// are no words.
    fn command(&mut self, words: &[String]) -> bool {
        let Some((program, rest)) = words.split_first() else { return false };
        let name = program.rsplit('/').next().unwrap_or(program);
        match rest.split_first() {
            // ostler then knows the interpreter: cluster mode, drain and metrics depend on it.
            Some((script, args)) if INTERPRETERS.contains(&name) && !script.starts_with('-') => {
                self.set("script", script.as_str());
                self.set("interpreter", program.as_str());
                self.args(args);
            }
            _ => {
                // A word with a blank would be treated as a command line.
                if program.contains(char::is_whitespace) {
                    self.set("script", "/usr/bin/env");
                    self.args(words);
                } else {
                    self.set("script", program.as_str());
                    self.args(rest);
                }
            }
        }
        true
    }

    fn args(&mut self, words: &[String]) {
        if !words.is_empty() {
            self.set("args", words.to_vec());
        }
    }
}

/// Reads a time in milliseconds, as in systemd and Compose: `1h 2m3.5s`, `500ms`; a bare number is
/// seconds.
fn millis(text: &str) -> Option<u64> {
    let mut all = 0_f64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "" | "s" | "sec" | "second" | "seconds" => 1000.0,
            "ms" | "msec" => 1.0,
            "us" | "usec" => 0.001,
            "ns" => 0.000_001,
            "m" | "min" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            "w" | "week" | "weeks" => 604_800_000.0,
            "M" | "month" | "months" => 2_629_800_000.0,
            "y" | "year" | "years" => 31_557_600_000.0,
            _ => return None,
        };
        all += number * unit;
        rest = rest.get(letters..)?.trim_start();
    }
    (all.is_finite() && (0.0..=9e15).contains(&all)).then(|| all.ceil() as u64)
}

/// Returns a size in the form of an ecosystem file: `512M`, `1.5g`, `1Gi`, `100kb`.
fn size(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text.get(..digits)?;
    number.parse::<f64>().ok()?;
    let unit = match text.get(digits..)?.trim().to_ascii_lowercase().as_str() {
        "" | "b" => "",
        "k" | "kb" | "ki" | "kib" => "K",
        "m" | "mb" | "mi" | "mib" => "M",
        "g" | "gb" | "gi" | "gib" => "G",
        "t" | "tb" | "ti" | "tib" => return Some(format!("{}G", (number.parse::<f64>().ok()? * 1024.0) as u64)),
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}
