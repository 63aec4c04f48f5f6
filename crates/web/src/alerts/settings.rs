//! Channels, rules and silences in `<home>/web/alerts.json`. The mode is 0600, because addresses of
//! channels are secrets. Commands and the page change the file.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use ostler_alerts::Problem;
use ostler_alerts::channel::{Channel, channel};
use ostler_alerts::engine::Silence;
use ostler_alerts::rule::{Rule, defaults, rule};
use ostler_core::text::suggest::closest;
use ostler_sys::fs::lock::lock_within;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::{SettingsError, make_folder};

/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Maximum number of channels, of rules and of silences.
const MOST: usize = 200;
/// Maximum wait for the file's lock.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Contents of the file, as written by the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SettingsFile {
    /// Channels.
    #[serde(default)]
    pub channels: Vec<Value>,
    /// The user's rules.
    #[serde(default)]
    pub rules: Vec<Value>,
    /// Whether the default rules are active.
    #[serde(default = "default_true")]
    pub defaults: bool,
    /// Silences.
    #[serde(default)]
    pub silences: Vec<Silence>,
}

fn default_true() -> bool {
    true
}

/// Parsed settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSettings {
    /// Valid channels.
    pub channels: Vec<Channel>,
    /// Valid rules, including the default rules.
    pub rules: Vec<Rule>,
    /// Silences.
    pub silences: Vec<Silence>,
    /// Problems of the invalid entries, one line each.
    pub problems: Vec<String>,
}

/// Failure to change the file; it is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// Not read.
    #[error("cannot read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("\"{}\" is invalid; correct or remove it", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The position and kind of the error.
        source: serde_json::Error,
    },
    /// Not written.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// The folder cannot be created.
    #[error(transparent)]
    Folder(#[from] SettingsError),
    /// Another process holds the lock for too long.
    #[error("another process has locked \"{}\"", .0.display())]
    Locked(PathBuf),
    /// There are too many channels, rules or silences.
    #[error("there are {MOST} already")]
    TooMany,
}

/// Settings file of a home.
#[derive(Clone, Debug)]
pub struct Settings {
    home: PathBuf,
    path: PathBuf,
}

impl Settings {
    /// Returns the settings file of a home.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), path: crate::settings::names::folder(home).join("alerts.json") }
    }

    /// Returns the version of the file: inode, size and change time. Each write creates a new file.
    pub(crate) fn stamp(&self) -> (u64, u64, i64, i64) {
        std::fs::metadata(&self.path).map_or((0, 0, 0, 0), |meta| (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    }

    /// Returns the contents; empty if the file is missing.
    ///
    /// # Errors
    /// Returns [`AlertsError::Read`] or [`AlertsError::Broken`] if the file cannot be used.
    pub fn file(&self) -> Result<SettingsFile, AlertsError> {
        use io::Read as _;
        let mut bytes = Vec::new();
        match std::fs::File::open(&self.path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => serde_json::from_slice(&bytes).map_err(|source| AlertsError::Broken { path: self.path.clone(), source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SettingsFile { defaults: true, ..SettingsFile::default() }),
            Err(source) => Err(AlertsError::Read { path: self.path.clone(), source }),
        }
    }

    /// Returns the parsed settings. If the file cannot be read, they have no channel and one
    /// problem.
    pub fn read(&self) -> AlertSettings {
        match self.file() {
            Ok(file) => from_file(&file),
            Err(error) => AlertSettings { problems: vec![ostler_core::text::causes::with_causes(&error)], ..AlertSettings::default() },
        }
    }

    /// Changes the file.
    ///
    /// # Errors
    /// Returns an [`AlertsError`] if the change failed; nothing has changed then.
    pub fn change<T>(&self, change: impl FnOnce(&mut SettingsFile) -> T) -> Result<T, AlertsError> {
        // Channels may be added before the dashboard or the daemon ever ran.
        let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.home);
        made.map_err(|source| SettingsError::Folder { path: self.home.clone(), source })?;
        make_folder(&self.home)?;
        let _lock = self.lock()?;
        let mut file = self.file()?;
        let before = file.clone();
        let done = change(&mut file);
        // Removes expired silences.
        let now = crate::clock::now_ms();
        file.silences.retain(|silence| silence.until_ms > now);
        if file.channels.len().max(file.rules.len()).max(file.silences.len()) > MOST {
            return Err(AlertsError::TooMany);
        }
        if file != before {
            let mut text = serde_json::to_vec_pretty(&file).unwrap_or_default();
            text.push(b'\n');
            replace(&self.path, &text, Durability::Power, Writers::Many)?;
        }
        Ok(done)
    }

    /// Adds a silence.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Settings::change`].
    pub fn silence(&self, rule: Option<String>, app: Option<String>, for_ms: u64, by: &str, reason: &str) -> Result<Silence, AlertsError> {
        let short = |text: &str| ostler_alerts::text::plain(text, ostler_alerts::text::NAME);
        let made = Silence {
            id: format!("{:06x}", u32::from_ne_bytes(crate::access::random::<4>()) >> 8),
            rule: rule.as_deref().map(short),
            app: app.as_deref().map(short),
            until_ms: crate::clock::now_ms().saturating_add(for_ms),
            by: short(by),
            reason: short(reason),
        };
        let kept = made.clone();
        self.change(|file| file.silences.push(kept))?;
        Ok(made)
    }

    /// Removes the silence of this id, or all of them. Returns their number.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Settings::change`].
    pub fn unsilence(&self, id: &str) -> Result<usize, AlertsError> {
        self.change(|file| {
            let before = file.silences.len();
            file.silences.retain(|silence| id != "all" && silence.id != id);
            before - file.silences.len()
        })
    }

    /// Adds a channel or replaces the one of the same name. Returns true if it replaced a channel.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Settings::change`].
    pub fn add_channel(&self, name: &str, value: Value) -> Result<bool, AlertsError> {
        self.change(|file| {
            let found = file.channels.iter_mut().find(|other| is_named(other, name));
            let replaces = found.is_some();
            match found {
                Some(other) => *other = value,
                None => file.channels.push(value),
            }
            replaces
        })
    }

    /// Removes a channel. Returns false if it does not exist.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Settings::change`].
    pub fn remove_channel(&self, name: &str) -> Result<bool, AlertsError> {
        self.change(|file| {
            let before = file.channels.len();
            file.channels.retain(|channel| !is_named(channel, name));
            file.channels.len() < before
        })
    }

    fn lock(&self) -> Result<std::os::fd::OwnedFd, AlertsError> {
        let file = self.path.with_file_name("alerts.lock");
        match lock_within(&file, LOCK_WITHIN) {
            Ok(lock) => lock.ok_or(AlertsError::Locked(file)),
            Err(errno) => Err(AlertsError::Read { path: file, source: errno.into() }),
        }
    }
}

/// Returns true for a channel of this name. A channel without a name has the name of its service.
fn is_named(channel: &Value, name: &str) -> bool {
    channel.get("name").or_else(|| channel.get("type")).and_then(Value::as_str) == Some(name)
}

/// Returns a time zone by its name; an empty name is the machine's zone.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() { Some(TimeZone::system()) } else { TimeZone::get(name).ok() }
}

/// Reads a channel.
///
/// # Errors
/// Returns every problem that was found.
pub fn read_channel(value: &Value) -> Result<Channel, Vec<Problem>> {
    channel(value, zone)
}

fn from_file(file: &SettingsFile) -> AlertSettings {
    let mut settings = AlertSettings { silences: file.silences.iter().take(MOST).cloned().collect(), ..AlertSettings::default() };
    for (at, value) in file.channels.iter().take(MOST).enumerate() {
        match read_channel(value) {
            Ok(made) if settings.channels.iter().any(|other| other.policy.name == made.policy.name) => {
                settings.problems.push(format!("channels[{at}]: another channel has the name {}", made.policy.name));
            }
            Ok(made) => settings.channels.push(made),
            Err(problems) => settings.problems.extend(problems.iter().map(|problem| format!("channels[{at}].{problem}"))),
        }
    }
    let usual = if file.defaults { defaults() } else { Vec::new() };
    for (at, value) in file.rules.iter().take(MOST).enumerate() {
        match rule(value, None) {
            Ok(made) if settings.rules.iter().any(|other| other.name == made.name) => {
                settings.problems.push(format!("rules[{at}]: another rule is named {:?}; set another `name`", made.name));
            }
            Ok(made) => settings.rules.push(made),
            Err(problems) => settings.problems.extend(problems.iter().map(|problem| format!("rules[{at}].{problem}"))),
        }
    }
    // A user's rule replaces the default rule of the same name.
    let own: Vec<String> = settings.rules.iter().map(|rule| rule.name.clone()).collect();
    settings.rules.extend(usual.into_iter().filter(|rule| !own.contains(&rule.name)));
    settings.problems.extend(settings.unknown_channels(&settings.rules));
    settings
}

impl AlertSettings {
    /// Returns the problems of rules whose channels do not exist.
    pub(super) fn unknown_channels(&self, rules: &[Rule]) -> Vec<String> {
        let known = || self.channels.iter().map(|channel| channel.policy.name.as_str());
        let named = rules.iter().flat_map(|rule| rule.channels.iter().map(move |channel| (rule, channel)));
        let unknown = named.filter(|(_, channel)| !known().any(|name| name == *channel));
        let words = |(rule, channel): (&Rule, &String)| {
            let near = closest(channel, known()).map(|near| format!(", did you mean {near:?}?")).unwrap_or_default();
            format!("rule {:?}: unknown channel {channel:?}{near}", rule.name)
        };
        unknown.map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invalid_entry_leaves_other_entries_working() {
        let file = SettingsFile {
            channels: vec![
                json!({ "type": "slack", "url": "https://h/x" }),
                json!({ "type": "slak" }),
                json!({ "type": "slack", "url": "https://h/y" }),
            ],
            rules: vec![json!({ "on": "crash", "apps": "api" }), json!({ "on": "nothing" })],
            defaults: true,
            silences: vec![],
        };
        let settings = from_file(&file);
        assert_eq!((settings.channels.len(), settings.problems.len()), (1, 3), "{:?}", settings.problems);
        let crash: Vec<&Rule> = settings.rules.iter().filter(|rule| rule.name == "crash").collect();
        assert!(crash.len() == 1 && !crash[0].covers("web"), "one's own is instead of the usual one");
    }

    #[test]
    fn rule_with_unknown_channel_is_reported() {
        let rules = vec![json!({ "on": "crash", "channels": ["slack"] }), json!({ "on": "limit", "channels": ["slakc", "other"] })];
        let channels = vec![json!({ "type": "slack", "url": "https://h/x" })];
        let settings = from_file(&SettingsFile { channels, rules, defaults: true, silences: vec![] });
        let words = ["rule \"limit\": unknown channel \"slakc\", did you mean \"slack\"?", "rule \"limit\": unknown channel \"other\""];
        assert_eq!(settings.problems, words);
    }

    #[test]
    fn changes_are_saved_with_owner_only_permissions() {
        let home = std::env::temp_dir().join(format!("ostler-alert-settings-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let settings = Settings::of(&home);
        settings.change(|file| file.channels.push(json!({ "type": "ntfy", "topic": "t" }))).unwrap();
        assert_eq!(settings.read().channels.len(), 1);
        assert_eq!(std::fs::metadata(&settings.path).unwrap().mode() & 0o777, 0o600);
        let before = settings.stamp();
        std::fs::write(&settings.path, "{").unwrap();
        assert!(settings.stamp() != before && settings.read().problems.len() == 1);
        assert!(matches!(settings.change(|_| ()), Err(AlertsError::Broken { .. })));
        std::fs::remove_dir_all(&home).unwrap();
    }
}
