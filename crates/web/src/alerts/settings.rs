//! Channels, rules and silences in `<home>/web/alerts.json`. The mode is 0600, because addresses of
//! channels are secrets. Commands and the page change the file.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ostler_alerts::channel::Channel;
use ostler_alerts::engine::Silence;
use ostler_alerts::rule::{Rule, defaults, rule};
use ostler_core::text::suggest::closest;
use ostler_core::{marked, message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::channels::{ChangeError, changed, read_channel};
use crate::json_file::{FileError, FileVersion, JsonFile};

/// Maximum number of channels, of rules and of silences.
const MOST: usize = 200;

/// Contents of the file, as written by the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsFile {
    /// Channels.
    pub channels: Vec<Value>,
    /// The user's rules.
    pub rules: Vec<Value>,
    /// Whether the default rules are active.
    pub defaults: bool,
    /// Silences.
    pub silences: Vec<Silence>,
}

impl Default for SettingsFile {
    fn default() -> Self {
        Self { channels: Vec::new(), rules: Vec::new(), defaults: true, silences: Vec::new() }
    }
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
    /// Not read or not written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are too many channels, rules or silences.
    #[error("{}", message!("there are {most} already", most = MOST))]
    TooMany,
}

/// Settings file of a home.
#[derive(Clone, Debug)]
pub struct Settings {
    home: PathBuf,
    file: JsonFile,
}

impl Settings {
    /// Returns the settings file of a home.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), file: JsonFile::edited(home, "alerts.json", marked!("; correct or remove it")) }
    }

    /// Returns the version of the file; none if it is missing or cannot be examined.
    pub(crate) fn version(&self) -> Option<FileVersion> {
        self.file.version().ok().flatten()
    }

    /// Returns the contents; empty if the file is missing.
    ///
    /// # Errors
    /// Returns [`FileError::Read`] or [`FileError::Broken`] if the file cannot be used.
    pub fn file(&self) -> Result<SettingsFile, FileError> {
        Ok(self.file.read()?.unwrap_or_default())
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
        made.map_err(|source| FileError::Folder { path: self.home.clone(), source })?;
        self.file.change(|file: &mut SettingsFile| {
            let done = change(file);
            // Removes expired silences.
            let now = crate::clock::now_ms();
            file.silences.retain(|silence| silence.until_ms > now);
            if file.channels.len().max(file.rules.len()).max(file.silences.len()) > MOST {
                return Err(AlertsError::TooMany);
            }
            Ok(done)
        })
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

    /// Changes settings of a channel. The inner error is the reason why the change is refused.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Settings::change`].
    pub(crate) fn change_channel(&self, name: &str, change: &Map<String, Value>) -> Result<Result<(), ChangeError>, AlertsError> {
        self.change(|file| {
            let channel = file.channels.iter_mut().find(|channel| is_named(channel, name)).ok_or(ChangeError::Missing)?;
            *channel = changed(channel, change)?;
            Ok(())
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
}

/// Returns true for a channel of this name. A channel without a name has the name of its service.
fn is_named(channel: &Value, name: &str) -> bool {
    channel.get("name").or_else(|| channel.get("type")).and_then(Value::as_str) == Some(name)
}

fn from_file(file: &SettingsFile) -> AlertSettings {
    let mut settings = AlertSettings { silences: file.silences.iter().take(MOST).cloned().collect(), ..AlertSettings::default() };
    for (at, value) in file.channels.iter().take(MOST).enumerate() {
        match read_channel(value) {
            Ok(made) if settings.channels.iter().any(|other| other.policy.name == made.policy.name) => {
                settings.problems.push(message!("channels[{at}]: another channel has the name {name}", at, name = made.policy.name));
            }
            Ok(made) => settings.channels.push(made),
            Err(problems) => settings.problems.extend(problems.iter().map(|problem| format!("channels[{at}].{problem}"))),
        }
    }
    let usual = if file.defaults { defaults() } else { Vec::new() };
    for (at, value) in file.rules.iter().take(MOST).enumerate() {
        match rule(value, None) {
            Ok(made) if settings.rules.iter().any(|other| other.name == made.name) => {
                let name = format!("{:?}", made.name);
                settings.problems.push(message!("rules[{at}]: another rule is named {name}; set another `name`", at, name));
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
            let near =
                closest(channel, known()).map(|near| message!(", did you mean {name}?", name = format!("{near:?}"))).unwrap_or_default();
            let (rule, channel) = (format!("{:?}", rule.name), format!("{channel:?}"));
            message!("rule {rule}: unknown channel {channel}{near}", rule, channel, near)
        };
        unknown.map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

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
        assert_eq!(std::fs::metadata(settings.file.path()).unwrap().mode() & 0o777, 0o600);
        let before = settings.version();
        std::fs::write(settings.file.path(), "{").unwrap();
        assert!(settings.version() != before && settings.read().problems.len() == 1);
        assert!(matches!(settings.change(|_| ()), Err(AlertsError::File(FileError::Broken { .. }))));
        std::fs::remove_dir_all(&home).unwrap();
    }
}
