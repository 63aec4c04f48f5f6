//! Part of the caller's environment that an app inherits.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Environment variables in the order in which they were given.
pub type EnvMap = IndexMap<String, String>;

/// Extent of the inherited environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvPolicy {
    /// Everything, as in PM2.
    #[default]
    Inherit,
    /// Only variables that programs need to run.
    Clean,
    /// As `Clean` for an app that runs as another user (it must not get root's environment),
    /// otherwise everything.
    User,
}

/// Variables of the user who runs a program.
const PERSONAL: &[&str] = &["HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"];
/// Variables that are the same for all users.
const COMMON: &[&str] = &["PATH", "LANG", "LANGUAGE", "TZ"];

/// Variables that describe one process: its role, and descriptors that are closed in its child
/// processes. No app inherits them.
pub const OF_ONE_PROCESS: &[&str] = &[
    "OSTLER_ROLE",
    "OSTLER_STARTER",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

impl EnvPolicy {
    /// Returns the policy of this name.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Inherit, Self::Clean, Self::User].into_iter().find(|policy| policy.name() == word)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inherit => "inherit",
            Self::Clean => "clean",
            Self::User => "user",
        }
    }

    /// Returns true if the app gets a variable of the caller. `other`: the app runs as another user
    /// than the caller.
    pub fn keeps(self, name: &str, other: bool) -> bool {
        let common = || COMMON.contains(&name) || name.starts_with("LC_");
        match self {
            Self::Inherit => true,
            Self::Clean => common() || (PERSONAL.contains(&name) && !other),
            Self::User => !other || common(),
        }
    }

    /// Returns the caller's variables that the app gets; none = all of them.
    pub fn narrowed(self, vars: &EnvMap, other: bool) -> Option<EnvMap> {
        if vars.keys().all(|name| self.keeps(name, other)) {
            return None;
        }
        Some(vars.iter().filter(|(name, _)| self.keeps(name, other)).map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_policy_decides_which_variables_an_app_inherits() {
        // Variable; kept by inherit, clean, user for the caller's own apps; the same for apps of
        // other users.
        for (name, own, other) in [
            ("PATH", [true, true, true], [true, true, true]),
            ("LC_ALL", [true, true, true], [true, true, true]),
            ("TZ", [true, true, true], [true, true, true]),
            ("HOME", [true, true, true], [true, false, false]),
            ("TMPDIR", [true, true, true], [true, false, false]),
            ("AWS_SECRET", [true, false, true], [true, false, false]),
            ("PATHS", [true, false, true], [true, false, false]),
        ] {
            let policies = ["inherit", "clean", "user"].map(|word| EnvPolicy::named(word).unwrap());
            assert_eq!(policies.map(|policy| policy.keeps(name, false)), own, "{name}");
            assert_eq!(policies.map(|policy| policy.keeps(name, true)), other, "{name}");
        }
        assert_eq!(EnvPolicy::named("pure"), None);
        let vars: EnvMap = [("PATH", "/bin"), ("SECRET", "x")].map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        assert_eq!(EnvPolicy::User.narrowed(&vars, false), None);
        assert_eq!(EnvPolicy::User.narrowed(&vars, true).unwrap().keys().collect::<Vec<_>>(), ["PATH"]);
    }
}
