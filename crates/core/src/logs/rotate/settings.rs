//! Rotation in the settings of a home (`module_conf.json`): the section `log_rotate`, and that of
//! pm2-logrotate.

use serde_json::{Map, Value};

use super::{RotateError, RotateSpec, Rule, Times, bound, flag, schedule};
use crate::app::AppSpec;
use crate::message;

/// ostler's own section.
pub const SECTION: &str = "log_rotate";
/// Section of the PM2 module for rotation.
pub const MODULE: &str = "pm2-logrotate";
/// Settings that pm2-logrotate writes there when it is installed.
pub const MODULE_DEFAULTS: &[(&str, &str)] = &[
    ("max_size", "10M"),
    ("retain", "30"),
    ("compress", "false"),
    ("dateFormat", "YYYY-MM-DD_HH-mm-ss"),
    ("rotateModule", "true"),
    ("workerInterval", "30"),
    ("rotateInterval", "0 0 * * *"),
];
/// Longest time between two size checks of an active log.
const CHECK_MS: u64 = 30_000;

/// Settings of a home about rotation.
#[derive(Clone, Debug, PartialEq)]
pub struct RotationSettings {
    /// Settings for every app.
    pub rotate: RotateSpec,
    /// Longest time between two size checks of an active log.
    pub check_ms: u64,
    /// Least free disk space: below it, rotated files are deleted; none = the default bound, 0 =
    /// never.
    pub min_free: Option<u64>,
    /// Whether logs of modules are rotated, too (`rotateModule`).
    pub modules: bool,
}

impl Default for RotationSettings {
    fn default() -> Self {
        Self { rotate: RotateSpec::default(), check_ms: CHECK_MS, min_free: None, modules: true }
    }
}

impl RotationSettings {
    /// Reads both sections; ostler's takes precedence. Values that make no sense are left out and
    /// reported: section, key, what was expected.
    pub fn read(all: &Map<String, Value>) -> (Self, Vec<String>) {
        let (mut rotation, mut problems) = (Self::default(), Vec::new());
        if is_installed(all, MODULE) {
            for (key, text) in MODULE_DEFAULTS {
                let _ = rotation.set(MODULE, key, text);
            }
            // The module limits only the number of files.
            rotation.rotate.total_size = Some(super::NO_BOUND);
        }
        // The module itself already rotates, so ostler does not, unless the user enables it.
        let is_left = is_npm(all, MODULE);
        if is_left {
            rotation.rotate.enabled = Some(false);
        }
        for section in [MODULE, SECTION].into_iter().filter(|section| !is_left || *section == SECTION) {
            for (key, value) in all.get(section).and_then(Value::as_object).into_iter().flatten() {
                if let Err(error) = rotation.set(section, key, &text_of(value)) {
                    problems.push(format!("{section}:{key}: {error}"));
                }
            }
        }
        (rotation, problems)
    }

    /// Returns the rule for the logs of this app; none = they are not rotated.
    pub fn rule_of(&self, spec: &AppSpec) -> Option<Rule> {
        let rule = spec.log_rotate.merged_over(&self.rotate);
        let is_spared = !self.modules && spec.is_module() && spec.log_rotate.enabled != Some(true);
        rule.rule().filter(|_| !is_spared)
    }

    /// Sets one value of one of the sections.
    ///
    /// # Errors
    /// Returns the expected form; `None` = no such setting.
    pub fn set(&mut self, section: &str, key: &str, text: &str) -> Result<(), RotateError> {
        let rotate = &mut self.rotate;
        match (section, key) {
            (SECTION, "min_free") => self.min_free = Some(bound(text)?).map(|bytes| if bytes == super::NO_BOUND { 0 } else { bytes }),
            (SECTION, "check_interval") => self.check_ms = seconds(text)?,
            (SECTION, key) => rotate.set(key, text)?,
            // As in the module: an empty text is its default.
            (MODULE, "max_size") if text.trim().is_empty() => rotate.max_size = Some(10 << 20),
            (MODULE, "max_size") => rotate.max_size = Some(bound(text)?),
            // As in the module: any text that is not a number keeps all.
            (MODULE, "retain") => rotate.retain = Some(text.trim().parse().unwrap_or(super::ALL)),
            (MODULE, "compress") => rotate.compress = Some(flag(text)?),
            (MODULE, "dateFormat") => rotate.set("date_format", text)?,
            (MODULE, "TZ") => rotate.set("tz", text)?,
            (MODULE, "workerInterval") => self.check_ms = seconds(text)?,
            (MODULE, "rotateInterval") => rotate.schedule = Some(schedule::cron(text)?),
            (MODULE, "rotateModule") => self.modules = flag(text)?,
            _ => return Err(RotateError::Unknown),
        }
        Ok(())
    }
}

/// Returns true if ostler does the work of this module. It is installed, but not as its own program
/// (`install --npm`).
pub fn is_installed(all: &Map<String, Value>, module: &str) -> bool {
    entry_of(all, module).is_some() && !is_npm(all, module)
}

/// Returns true if npm installed the module itself, although ostler has its function built in.
fn is_npm(all: &Map<String, Value>, module: &str) -> bool {
    entry_of(all, module).is_some_and(|entry| entry.get("npm") == Some(&Value::Bool(true)))
}

fn entry_of<'a>(all: &'a Map<String, Value>, module: &str) -> Option<&'a Value> {
    all.get("module-db-v2").and_then(|modules| modules.get(module))
}

/// Returns the names of all settings of a section, for "did you mean".
pub fn keys(section: &str) -> Vec<&'static str> {
    match section {
        SECTION => super::KEYS.iter().copied().chain(["min_free", "check_interval"]).collect(),
        MODULE => MODULE_DEFAULTS.iter().map(|(key, _)| *key).chain(["TZ"]).collect(),
        _ => Vec::new(),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let seconds = text.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1000));
    let ms = seconds.or_else(|| crate::text::units::millis(text).ok()).filter(|ms| (1000..=86_400_000).contains(ms));
    ms.ok_or_else(|| message!("expected a number of seconds from 1 to 86400, found {found}", found = format!("{text:?}")))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Times {
    /// Returns the pattern, or `never`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Never => "never",
            Self::At(schedule) => schedule.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> (RotationSettings, Vec<String>) {
        RotationSettings::read(value.as_object().unwrap())
    }

    #[test]
    fn rotate_module_false_excludes_modules() {
        let app = |given: Value| AppSpec { given: given.as_object().unwrap().clone().into(), ..AppSpec::default() };
        let (plain, module) = (app(json!({})), app(json!({ "pmx_module": true })));
        let own = AppSpec { log_rotate: RotateSpec { enabled: Some(true), ..RotateSpec::default() }.into(), ..module.clone() };
        for (setting, spared) in [("true", false), ("false", true)] {
            let rotation = read(json!({ "pm2-logrotate": { "rotateModule": setting } })).0;
            let rotated = [&plain, &module, &own].map(|spec| rotation.rule_of(spec).is_some());
            assert_eq!(rotated, [true, !spared, true], "{setting}");
        }
    }

    #[test]
    fn pm2_logrotate_settings_are_read() {
        let installed = json!({ "module-db-v2": { "pm2-logrotate": {} } });
        let (rotation, problems) = read(installed);
        let rule = rotation.rotate.rule().unwrap();
        assert_eq!((rule.max_size, rule.retain, rule.compress, rotation.check_ms), (10 << 20, 30, false, 30_000));
        assert_eq!((rule.schedule.unwrap().as_str(), rule.date_format.as_str()), ("0 0 * * *", "YYYY-MM-DD_HH-mm-ss"));
        assert!(problems.is_empty());
        let set = json!({
            "module-db-v2": { "pm2-logrotate": {} },
            "pm2-logrotate": { "max_size": "100M", "retain": "all", "compress": true, "TZ": "Asia/Tokyo", "workerInterval": "5", "rotateModule": "false" },
        });
        let (rotation, problems) = read(set);
        let rule = rotation.rotate.rule().unwrap();
        assert_eq!(
            (rule.max_size, rule.retain, rule.compress, rule.tz.as_deref()),
            (100 << 20, super::super::ALL, true, Some("Asia/Tokyo"))
        );
        assert_eq!((rotation.check_ms, problems.len()), (5000, 0));
    }

    #[test]
    fn rotation_is_off_if_the_pm2_module_itself_rotates() {
        let by_npm = json!({ "module-db-v2": { "pm2-logrotate": { "npm": true } }, "pm2-logrotate": { "max_size": "7K", "x": 1 } });
        let (rotation, problems) = read(by_npm.clone());
        assert_eq!((rotation.rule_of(&AppSpec::default()), problems.len()), (None, 0));
        let mut wanted = by_npm;
        wanted["log_rotate"] = json!({ "enabled": "true", "max_size": "9K" });
        assert_eq!(read(wanted).0.rule_of(&AppSpec::default()).unwrap().max_size, 9 << 10);
    }

    #[test]
    fn pm2_logrotate_settings_apply_without_the_module() {
        let rule = read(json!({ "pm2-logrotate": { "max_size": "7K" } })).0.rotate.rule().unwrap();
        assert_eq!((rule.max_size, rule.retain, rule.schedule), (7 << 10, super::super::RETAIN, None));
    }

    #[test]
    fn log_rotate_overrides_pm2_logrotate_and_reports_problems() {
        let (rotation, problems) = read(json!({
            "pm2-logrotate": { "max_size": "7K", "compress": "perhaps" },
            "log_rotate": { "max_size": "8K", "nonsense": 1, "min_free": "1G" },
            "other": { "x": 1 },
        }));
        assert_eq!((rotation.rotate.max_size, rotation.min_free), (Some(8 << 10), Some(1 << 30)));
        assert_eq!(problems, ["pm2-logrotate:compress: expected true or false, found \"perhaps\"", "log_rotate:nonsense: no such setting"]);
        assert_eq!(read(json!({ "log_rotate": [1], "pm2-logrotate": "x" })).0, RotationSettings::default());
    }
}
