//! Settings of a watch, as an app declares them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::default_box::is_default;
use crate::text::language::translated;
use crate::{marked, message};

/// Watched paths and settings of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchSpec {
    /// Whether changes restart the app.
    pub on: bool,
    /// Paths and patterns, relative to `cwd` or absolute; none = all of `cwd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// `ignore_watch`; none = the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<Vec<String>>,
    /// `watch_delay`: shortest time from the first change of a burst to the restart.
    #[serde(skip_serializing_if = "is_default")]
    pub delay_ms: u64,
    /// `--ext`: only files with these extensions count; none = all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ext: Vec<String>,
    /// Folder that relative paths are resolved against, if it is not the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether links to folders are not followed (`followSymlinks: false`).
    #[serde(skip_serializing_if = "is_default")]
    pub no_follow: bool,
    /// Whether to poll times and sizes instead of using kernel events (`usePolling`); none = only
    /// if the kernel cannot report changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling: Option<bool>,
    /// Time between two polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// `awaitWriteFinish`: time without a change before the restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_ms: Option<u64>,
    /// Levels of folders that count below the watched folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// Whether watched paths are taken literally (`disableGlobbing`).
    #[serde(skip_serializing_if = "is_default")]
    pub literal: bool,
    /// Whether `.gitignore` files are not read (`gitignore: false`).
    #[serde(skip_serializing_if = "is_default")]
    pub no_gitignore: bool,
}

impl WatchSpec {
    /// Returns the folder that relative paths are resolved against.
    pub fn base(&self, cwd: &str) -> String {
        match self.cwd.as_deref() {
            None => cwd.to_owned(),
            Some(own) if own.starts_with('/') => own.to_owned(),
            Some(own) => format!("{}/{own}", cwd.trim_end_matches('/')),
        }
    }

    /// Returns the attribute that `jlist` shows as `watch`.
    pub fn attribute(&self) -> Value {
        match (self.on, self.paths.is_empty()) {
            (false, _) => Value::Bool(false),
            (true, true) => Value::Bool(true),
            (true, false) => self.paths.clone().into(),
        }
    }
}

/// A key with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWatch {
    /// `watch`, `ignore_watch`, `watch_delay`, `watch_options` or `ext`.
    pub key: &'static str,
    /// Description of the expected value.
    pub message: String,
}

/// Names in `watch_options` that have an effect here.
pub const KNOWN_OPTIONS: [&str; 10] = [
    "ignored",
    "followSymlinks",
    "usePolling",
    "interval",
    "awaitWriteFinish",
    "depth",
    "cwd",
    "disableGlobbing",
    "ignoreInitial",
    "gitignore",
];

/// Names of chokidar options without effect, and the reason.
const NEEDLESS: [(&str, &str); 7] = [
    ("persistent", marked!("watching lasts as long as the app")),
    ("atomic", marked!("a replaced file always counts as one change")),
    ("alwaysStat", marked!("the result is not shown")),
    ("ignorePermissionErrors", marked!("unreadable files are always skipped")),
    ("useFsEvents", marked!("it applies to macOS only")),
    ("binaryInterval", marked!("all files are polled at `interval`")),
    ("enableBinaryInterval", marked!("all files are polled at `interval`")),
];

/// Returns the reason why this name in `watch_options` has no effect; none = it has an effect.
pub fn option_without_effect(name: &str, value: &Value) -> Option<String> {
    if name == "ignoreInitial" {
        let text = || message!("files that exist at the start never count as changes");
        return (value == &Value::Bool(false)).then(text);
    }
    if KNOWN_OPTIONS.contains(&name) {
        return None;
    }
    let why = NEEDLESS.iter().find(|(known, _)| *known == name).map(|(_, why)| translated(why).to_owned());
    Some(why.unwrap_or_else(|| message!("unknown")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_without_effect_are_reported() {
        assert_eq!(option_without_effect("depth", &json!(1)), None);
        assert_eq!(option_without_effect("ignoreInitial", &json!(true)), None);
        assert!(option_without_effect("ignoreInitial", &json!(false)).is_some());
        assert_eq!(option_without_effect("atomic", &json!(true)).as_deref(), Some("a replaced file always counts as one change"));
        assert_eq!(option_without_effect("nosuch", &json!(true)).as_deref(), Some("unknown"));
    }
}
