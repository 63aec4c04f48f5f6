//! Log rotation: the time, the new name, and the old files to delete. The daemon performs it.

pub mod keep;
pub mod name;
pub mod pace;
pub mod schedule;
pub mod settings;

use serde::{Deserialize, Serialize};

use crate::environment::switch;
use crate::message;
use crate::text::units;
pub use schedule::{Schedule, ScheduleError};

/// Size at which a log is rotated by default.
pub const MAX_SIZE: u64 = 100 << 20;
/// Rotated files kept per log by default.
pub const RETAIN: u32 = 10;
/// Default bound for all logs of one app, in bytes; the oldest rotated files are deleted to keep
/// it.
pub const TOTAL_SIZE: u64 = 1 << 30;
/// Date in the name of a rotated file, as pm2-logrotate writes it.
pub const DATE_FORMAT: &str = "YYYY-MM-DD_HH-mm-ss";
/// Value for "keep all".
pub const ALL: u32 = u32::MAX;
/// Value for "no bound".
pub const NO_BOUND: u64 = u64::MAX;

/// Settings of rotation as given: by an app (`log_rotate`), or by the settings of the home. A
/// missing value comes from the layer below.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RotateSpec {
    /// False turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Size at which a log is rotated; [`NO_BOUND`] = never by size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Times of rotation, regardless of size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Times>,
    /// Rotated files kept per log; [`ALL`] = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<u32>,
    /// Compress rotated files (gzip).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// Date in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// Zone of that date and of the schedule, an IANA name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Bound for all logs of an app together; [`NO_BOUND`] = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_size: Option<u64>,
}

/// Times of rotation, or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// By size only.
    Never,
    /// At these times.
    At(Schedule),
}

/// Effective settings of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// See [`RotateSpec::max_size`].
    pub max_size: u64,
    /// See [`RotateSpec::schedule`].
    pub schedule: Option<Schedule>,
    /// See [`RotateSpec::retain`].
    pub retain: u32,
    /// See [`RotateSpec::compress`].
    pub compress: bool,
    /// See [`RotateSpec::date_format`].
    pub date_format: String,
    /// See [`RotateSpec::tz`].
    pub tz: Option<String>,
    /// See [`RotateSpec::total_size`].
    pub total_size: u64,
}

impl RotateSpec {
    /// Merges these settings over those of the layer below.
    #[must_use]
    pub fn merged_over(&self, below: &Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            max_size: self.max_size.or(below.max_size),
            schedule: self.schedule.clone().or_else(|| below.schedule.clone()),
            retain: self.retain.or(below.retain),
            compress: self.compress.or(below.compress),
            date_format: self.date_format.clone().or_else(|| below.date_format.clone()),
            tz: self.tz.clone().or_else(|| below.tz.clone()),
            total_size: self.total_size.or(below.total_size),
        }
    }

    /// Returns the rule; none = no rotation.
    pub fn rule(&self) -> Option<Rule> {
        if self.enabled == Some(false) {
            return None;
        }
        let schedule = match &self.schedule {
            Some(Times::At(schedule)) => Some(schedule.clone()),
            Some(Times::Never) | None => None,
        };
        Some(Rule {
            max_size: self.max_size.unwrap_or(MAX_SIZE),
            schedule,
            retain: self.retain.unwrap_or(RETAIN),
            compress: self.compress.unwrap_or(false),
            date_format: self.date_format.clone().unwrap_or_else(|| DATE_FORMAT.into()),
            tz: self.tz.clone(),
            total_size: self.total_size.unwrap_or(TOTAL_SIZE),
        })
    }

    /// Sets one value by its name, as users write it.
    ///
    /// # Errors
    /// Returns "expected …, found …", or `None` if there is no such name. The settings then stay
    /// unchanged.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), RotateError> {
        let text = text.trim();
        match key {
            "enabled" => self.enabled = Some(flag(text)?),
            "max_size" => self.max_size = Some(bound(text)?),
            "total_size" => self.total_size = Some(bound(text)?),
            "interval" => self.schedule = Some(schedule::interval(text)?),
            "cron" => self.schedule = Some(schedule::cron(text)?),
            "retain" => self.retain = Some(retain(text)?),
            "compress" => self.compress = Some(flag(text)?),
            "date_format" => self.date_format = Some(text.to_owned()).filter(|text| !text.is_empty()),
            "tz" => self.tz = Some(text.to_owned()).filter(|text| !text.is_empty()),
            _ => return Err(RotateError::Unknown),
        }
        Ok(())
    }
}

/// Reason why a setting of rotation is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// Name that is none.
    #[error("{}", message!("no such setting"))]
    Unknown,
    /// Time that is none.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Any other value that makes no sense: `expected …, found …`.
    #[error("{0}")]
    Value(String),
}

impl From<String> for RotateError {
    fn from(text: String) -> Self {
        Self::Value(text)
    }
}

/// Names that [`RotateSpec::set`] accepts.
pub const KEYS: &[&str] = &["enabled", "max_size", "interval", "cron", "retain", "compress", "date_format", "tz", "total_size"];

pub(crate) fn flag(text: &str) -> Result<bool, String> {
    if text.is_empty() {
        return Ok(false);
    }
    switch(text).ok_or_else(|| message!("expected true or false, found {found}", found = format!("{text:?}")))
}

pub(crate) fn bound(text: &str) -> Result<u64, String> {
    if matches!(text.to_ascii_lowercase().as_str(), "none" | "off" | "false") {
        return Ok(NO_BOUND);
    }
    match units::bytes(text) {
        Ok(0) => Ok(NO_BOUND),
        Ok(bytes) => Ok(bytes),
        Err(_) => {
            Err(message!("expected a size such as 10M, 1G or a number of bytes, or \"none\", found {found}", found = format!("{text:?}")))
        }
    }
}

fn retain(text: &str) -> Result<u32, String> {
    if matches!(text.to_ascii_lowercase().as_str(), "all" | "none") {
        return Ok(ALL);
    }
    text.parse().map_err(|_| message!("expected a number of files or \"all\", found {found}", found = format!("{text:?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(pairs: &[(&str, &str)]) -> RotateSpec {
        let mut spec = RotateSpec::default();
        pairs.iter().for_each(|(key, text)| spec.set(key, text).unwrap());
        spec
    }

    #[test]
    fn rotation_is_on_with_bounds_by_default() {
        let rule = RotateSpec::default().rule().unwrap();
        assert_eq!(
            (rule.max_size, rule.retain, rule.total_size, rule.compress, rule.schedule),
            (MAX_SIZE, RETAIN, TOTAL_SIZE, false, None)
        );
        assert_eq!(spec(&[("enabled", "false")]).rule(), None);
    }

    #[test]
    fn app_settings_override_home_settings() {
        let home = spec(&[("max_size", "10M"), ("compress", "true"), ("interval", "daily"), ("retain", "all")]);
        let app = spec(&[("max_size", "1K"), ("interval", "never")]);
        let rule = app.merged_over(&home).rule().unwrap();
        assert_eq!((rule.max_size, rule.compress, rule.schedule, rule.retain), (1024, true, None, ALL));
        assert_eq!(spec(&[("enabled", "yes")]).merged_over(&spec(&[("enabled", "no")])).rule().unwrap().max_size, MAX_SIZE);
    }

    #[test]
    fn setting_values_are_parsed_or_rejected() {
        for (key, text) in [
            ("max_size", "banana"),
            ("max_size", "-1"),
            ("retain", "-3"),
            ("retain", "some"),
            ("compress", "perhaps"),
            ("interval", "now and then"),
            ("cron", "61 * * * *"),
        ] {
            let problem = RotateSpec::default().set(key, text).unwrap_err().to_string();
            assert!(problem.starts_with("expected") && problem.contains(text), "{problem}");
        }
        assert_eq!(RotateSpec::default().set("max_sise", "1"), Err(RotateError::Unknown));
        for (text, bytes) in [("10M", 10 << 20), ("1g", 1 << 30), ("2K", 2048), ("77", 77), ("none", NO_BOUND), ("0", NO_BOUND)] {
            assert_eq!(spec(&[("max_size", text)]).max_size, Some(bytes));
        }
    }

    #[test]
    fn spec_round_trips_through_json() {
        let full = spec(&[("max_size", "10M"), ("interval", "6h"), ("retain", "all"), ("tz", "Asia/Tokyo"), ("date_format", "YYYY")]);
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<RotateSpec>(&text).unwrap(), full);
        assert_eq!(serde_json::to_string(&RotateSpec::default()).unwrap(), "{}");
    }
}
