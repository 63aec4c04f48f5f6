//! Channels, rules and silences: `<home>/web/alerts.json` (0600: addresses of channels are secrets), changed by commands and by the page.

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

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Most channels, rules and silences each.
const MOST: usize = 200;
/// Time within which others have to be done with it.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// What the file says, as a person wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SettingsFile {
    /// Where messages go.
    #[serde(default)]
    pub channels: Vec<Value>,
    /// Rules of one's own.
    #[serde(default)]
    pub rules: Vec<Value>,
    /// Whether the usual rules are on.
    #[serde(default = "yes")]
    pub defaults: bool,
    /// What is not told for a time.
    #[serde(default)]
    pub silences: Vec<Silence>,
}

fn yes() -> bool {
    true
}

/// The same, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSettings {
    /// Channels without a fault.
    pub channels: Vec<Channel>,
    /// Rules without a fault, with those that are usual.
    pub rules: Vec<Rule>,
    /// Silences.
    pub silences: Vec<Silence>,
    /// What is wrong with the others, a line each.
    pub problems: Vec<String>,
}

/// A reason why it could not be changed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// Not read.
    #[error("cannot read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It makes no sense.
    #[error("\"{}\" makes no sense; correct or remove it", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// Not written.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] SettingsError),
    /// Somebody else has it for too long.
    #[error("another process holds \"{}\"", .0.display())]
    Locked(PathBuf),
    /// There would be too many of something.
    #[error("there are {MOST} already")]
    TooMany,
}

/// The file of a home.
#[derive(Clone, Debug)]
pub struct Settings {
    home: PathBuf,
    path: PathBuf,
}

impl Settings {
    /// That of a home.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), path: crate::settings::names::folder(home).join("alerts.json") }
    }

    /// The version of the file: each is another one.
    pub(crate) fn stamp(&self) -> (u64, u64, i64, i64) {
        std::fs::metadata(&self.path).map_or((0, 0, 0, 0), |meta| (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    }

    /// What it says; nothing where there is none.
    ///
    /// # Errors
    /// [`AlertsError::Read`], [`AlertsError::Broken`].
    pub fn file(&self) -> Result<SettingsFile, AlertsError> {
        use io::Read as _;
        let mut bytes = Vec::new();
        match std::fs::File::open(&self.path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => serde_json::from_slice(&bytes).map_err(|source| AlertsError::Broken { path: self.path.clone(), source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SettingsFile { defaults: true, ..SettingsFile::default() }),
            Err(source) => Err(AlertsError::Read { path: self.path.clone(), source }),
        }
    }

    /// The same, understood. A file that cannot be read has no channel, and a problem.
    pub fn read(&self) -> AlertSettings {
        match self.file() {
            Ok(file) => understood(&file),
            Err(error) => AlertSettings { problems: vec![ostler_core::text::causes::with_causes(&error)], ..AlertSettings::default() },
        }
    }

    /// Changes it.
    ///
    /// # Errors
    /// [`AlertsError`]; then nothing has changed.
    pub fn change<T>(&self, change: impl FnOnce(&mut SettingsFile) -> T) -> Result<T, AlertsError> {
        // Channels may be set up before anything runs.
        let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.home);
        made.map_err(|source| SettingsError::Folder { path: self.home.clone(), source })?;
        make_folder(&self.home)?;
        let _lock = self.lock()?;
        let mut file = self.file()?;
        let before = file.clone();
        let done = change(&mut file);
        // Those that are over are of no use to anybody.
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
    /// As for [`Settings::change`].
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

    /// Ends the silence of this id, or all of them. How many there were.
    ///
    /// # Errors
    /// As for [`Settings::change`].
    pub fn unsilence(&self, id: &str) -> Result<usize, AlertsError> {
        self.change(|file| {
            let before = file.silences.len();
            file.silences.retain(|silence| id != "all" && silence.id != id);
            before - file.silences.len()
        })
    }

    /// Adds a channel, in the place of another of its name. True = there was one.
    ///
    /// # Errors
    /// As for [`Settings::change`].
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

    /// Takes a channel away. False = there is none.
    ///
    /// # Errors
    /// As for [`Settings::change`].
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

/// True for a channel of this name; one without a name has that of its service.
fn is_named(channel: &Value, name: &str) -> bool {
    channel.get("name").or_else(|| channel.get("type")).and_then(Value::as_str) == Some(name)
}

/// A zone by its name; without one, that of the machine.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() { Some(TimeZone::system()) } else { TimeZone::get(name).ok() }
}

/// Reads a channel.
///
/// # Errors
/// Every fault of it.
pub fn read_channel(value: &Value) -> Result<Channel, Vec<Problem>> {
    channel(value, zone)
}

fn understood(file: &SettingsFile) -> AlertSettings {
    let mut settings = AlertSettings { silences: file.silences.iter().take(MOST).cloned().collect(), ..AlertSettings::default() };
    for (at, value) in file.channels.iter().take(MOST).enumerate() {
        match read_channel(value) {
            Ok(made) if settings.channels.iter().any(|other| other.told.name == made.told.name) => {
                settings.problems.push(format!("channels[{at}]: there is another channel {}", made.told.name));
            }
            Ok(made) => settings.channels.push(made),
            Err(problems) => settings.problems.extend(problems.iter().map(|problem| format!("channels[{at}].{problem}"))),
        }
    }
    let usual = if file.defaults { defaults() } else { Vec::new() };
    for (at, value) in file.rules.iter().take(MOST).enumerate() {
        match rule(value, None) {
            Ok(made) if settings.rules.iter().any(|other| other.name == made.name) => {
                settings.problems.push(format!("rules[{at}]: there is another rule {:?}; give it a name", made.name));
            }
            Ok(made) => settings.rules.push(made),
            Err(problems) => settings.problems.extend(problems.iter().map(|problem| format!("rules[{at}].{problem}"))),
        }
    }
    // One's own rule of the same name is instead of the usual one.
    let own: Vec<String> = settings.rules.iter().map(|rule| rule.name.clone()).collect();
    settings.rules.extend(usual.into_iter().filter(|rule| !own.contains(&rule.name)));
    settings.problems.extend(settings.unknown_channels(&settings.rules));
    settings
}

impl AlertSettings {
    /// Returns the problems of rules whose channels do not exist.
    pub(super) fn unknown_channels(&self, rules: &[Rule]) -> Vec<String> {
        let known = || self.channels.iter().map(|channel| channel.told.name.as_str());
        let named = rules.iter().flat_map(|rule| rule.channels.iter().map(move |channel| (rule, channel)));
        let unknown = named.filter(|(_, channel)| !known().any(|name| name == *channel));
        let words = |(rule, channel): (&Rule, &String)| {
            let near = closest(channel, known()).map(|near| format!(", did you mean {near:?}?")).unwrap_or_default();
            format!("rule {:?}: there is no channel {channel:?}{near}", rule.name)
        };
        unknown.map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_that_is_wrong_takes_nothing_else_down() {
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
        let settings = understood(&file);
        assert_eq!((settings.channels.len(), settings.problems.len()), (1, 3), "{:?}", settings.problems);
        let crash: Vec<&Rule> = settings.rules.iter().filter(|rule| rule.name == "crash").collect();
        assert!(crash.len() == 1 && !crash[0].covers("web"), "one's own is instead of the usual one");
    }

    #[test]
    fn a_channel_of_a_rule_exists() {
        let rules = vec![json!({ "on": "crash", "channels": ["slack"] }), json!({ "on": "limit", "channels": ["slakc", "other"] })];
        let channels = vec![json!({ "type": "slack", "url": "https://h/x" })];
        let settings = understood(&SettingsFile { channels, rules, defaults: true, silences: vec![] });
        let words =
            ["rule \"limit\": there is no channel \"slakc\", did you mean \"slack\"?", "rule \"limit\": there is no channel \"other\""];
        assert_eq!(settings.problems, words);
    }

    #[test]
    fn changes_are_kept_and_nobody_else_reads_them() {
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
