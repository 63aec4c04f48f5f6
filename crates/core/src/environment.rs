//! Environment variables that change how ostler itself works.
//!
//! Core reads no environment, so each reader passes a function that returns a variable.

/// Setting in an environment variable.
#[derive(Debug)]
pub struct Setting {
    /// Name of the variable.
    pub name: &'static str,
    /// Commands and processes that read it.
    pub reader: &'static str,
    /// Accepted values.
    pub values: &'static str,
    /// Value if the variable is missing or empty.
    pub default: &'static str,
    /// Effect, in one line.
    pub meaning: &'static str,
}

/// Accepted values of a switch.
const ON_OFF: &str = "`on`, `off`";

/// Home of all commands.
pub const HOME: Setting = Setting {
    name: "OSTLER_HOME",
    reader: "every command",
    values: "a folder",
    default: "`PM2_HOME`, else `~/.ostler`",
    meaning: "home: sockets, logs, the saved list",
};

/// Engine for config files.
pub const JS: Setting = Setting {
    name: "OSTLER_JS",
    reader: "commands that read a config file",
    values: "`embedded`, `runtime`, `auto`",
    default: "`auto`",
    meaning: "engine that evaluates JavaScript: the embedded one, the runtime on `PATH`, or the runtime only if the embedded one does not suffice",
};

/// Proof of a start.
pub const START_WATCH: Setting = Setting {
    name: "OSTLER_START_WATCH",
    reader: "`start`, `restart`, `reload`, `scale`",
    values: ON_OFF,
    default: "`on`",
    meaning: "watch new processes for `min_uptime` before the command returns",
};

/// Updates of the saved list.
pub const AUTOSAVE: Setting = Setting {
    name: "OSTLER_AUTOSAVE",
    reader: "the first start of a home",
    values: ON_OFF,
    default: "`autosave` in `module_conf.json`, else `off`",
    meaning: "update the saved list whenever the list of apps changes",
};

/// Groups of the kernel.
pub const CGROUP: Setting = Setting {
    name: "OSTLER_CGROUP",
    reader: "the first start of a home",
    values: ON_OFF,
    default: "`on`",
    meaning: "put each instance into a cgroup if version 2 is writable",
};

/// Version that PM2's clients get.
pub const PM2_VERSION: Setting = Setting {
    name: "OSTLER_PM2_VERSION",
    reader: "the first start of a home",
    values: "a version",
    default: "the version of PM2 that ostler replaces",
    meaning: "version that the daemon reports to PM2's clients",
};

/// All settings, in the order of the documentation.
pub const SETTINGS: [Setting; 6] = [HOME, JS, START_WATCH, AUTOSAVE, CGROUP, PM2_VERSION];

impl Setting {
    /// Returns the value; none if the variable is missing or empty.
    pub fn text(&self, variable: impl FnOnce(&str) -> Option<String>) -> Option<String> {
        variable(self.name).filter(|value| !value.is_empty())
    }

    /// Returns the position of a switch; none if the variable is missing or has another value.
    pub fn switch(&self, variable: impl FnOnce(&str) -> Option<String>) -> Option<bool> {
        self.text(variable).and_then(|value| switch(&value))
    }
}

/// Returns the position that a word for a switch means.
pub fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_accepts_words_for_on_and_off() {
        for (value, expected) in [
            (None, None),
            (Some(""), None),
            (Some("On"), Some(true)),
            (Some(" 1 "), Some(true)),
            (Some("FALSE"), Some(false)),
            (Some("0"), Some(false)),
            (Some("maybe"), None),
        ] {
            assert_eq!(AUTOSAVE.switch(|_| value.map(str::to_owned)), expected, "{value:?}");
        }
    }

    #[test]
    fn settings_have_distinct_names_and_complete_rows() {
        for (at, setting) in SETTINGS.iter().enumerate() {
            assert!(setting.name.starts_with("OSTLER_"), "{}", setting.name);
            assert!(SETTINGS[..at].iter().all(|other| other.name != setting.name), "{}", setting.name);
            for text in [setting.reader, setting.values, setting.default, setting.meaning] {
                assert!(!text.is_empty() && !text.contains('|'), "{}", setting.name);
            }
        }
    }
}
