//! Environment variables that the roles of the binary exchange, and the variables of the caller
//! that keeper and daemon keep.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ostler_sys::CStrings;

/// Environment variable with the role of the binary: `keeper` or `daemon`. Internal; users do not
/// set it.
pub const ROLE_VAR: &str = "OSTLER_ROLE";
/// Environment variable with the home, for keeper and daemon.
pub const HOME_VAR: &str = "OSTLER_HOME";
/// Environment variable that is `1` for a keeper and daemon started as pm2.
pub const AS_PM2_VAR: &str = "OSTLER_AS_PM2";
/// Environment variable that switches cgroups off when it is `off`; a user setting.
pub const CGROUP_VAR: &str = "OSTLER_CGROUP";
/// Environment variable that marks every process started by one incarnation of an app. A keeper
/// that an app starts does not inherit it.
pub const INCARNATION_VAR: &str = "OSTLER_INCARNATION";
/// Environment variable of a keeper and daemon in front of a container or terminal. Its value,
/// which the daemon interprets, describes their behaviour there.
pub const RUNTIME_VAR: &str = "OSTLER_RUNTIME";
/// Environment variable with the keeper's child that starts the runtime's program, as
/// `pid:start time`.
pub(crate) const STARTER_VAR: &str = "OSTLER_STARTER";
/// Number of the descriptor on which the keeper reports that it listens.
pub(crate) const READY_FD_VAR: &str = "OSTLER_READY_FD";
/// Number of the descriptor with the state to take over.
pub(crate) const STATE_FD_VAR: &str = "OSTLER_STATE_FD";
/// Number of deaths of daemon and keeper together, for the next keeper.
pub(crate) const DEATHS_VAR: &str = "OSTLER_DEATHS";
/// Set for a new binary that only checks whether it understands the state.
pub(crate) const CHECK_VAR: &str = "OSTLER_STATE_CHECK";

const OURS: [&str; 9] = [ROLE_VAR, HOME_VAR, AS_PM2_VAR, READY_FD_VAR, STATE_FD_VAR, CHECK_VAR, RUNTIME_VAR, STARTER_VAR, DEATHS_VAR];

/// Returns the behaviour of the runtime, if this keeper or daemon belongs to one. Only ostler
/// itself sets the variable: see [`for_role`].
pub(crate) fn runtime() -> Option<String> {
    std::env::var(RUNTIME_VAR).ok()
}

/// Returns the environment for another role: our own variables that `keep` accepts, the home, and
/// `vars`.
pub(crate) fn for_role(home: &Path, as_pm2: bool, vars: &[(&str, &str)], keep: impl Fn(&OsStr) -> bool) -> CStrings {
    let kept = std::env::vars_os().filter(|(name, _)| keep(name) && !OURS.iter().any(|own| name == own));
    let mut all: Vec<(OsString, OsString)> = kept.collect();
    all.push((HOME_VAR.into(), home.into()));
    all.push((AS_PM2_VAR.into(), if as_pm2 { "1" } else { "0" }.into()));
    all.extend(vars.iter().map(|(name, value)| (name.into(), value.into())));
    // This skips only a home with a NUL byte, which is not a valid path anyway.
    all.iter().filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()).collect()
}

/// Returns true for the variables of the first caller that keeper and daemon keep. These are
/// settings, and variables that libraries and the loader need (a library path without which this
/// binary does not start, nss_wrapper in a container). Keeper and daemon must not store the rest of
/// that shell's environment, secrets included, for months.
pub(crate) fn is_kept(name: &OsStr) -> bool {
    // `CREDENTIALS_DIRECTORY` names the directory of systemd's credentials, not their contents.
    const NAMES: [&str; 10] = ["HOME", "USER", "LOGNAME", "PATH", "LANG", "TZ", "SHELL", "NVM_DIR", "NO_COLOR", "CREDENTIALS_DIRECTORY"];
    const PREFIXES: [&str; 4] = ["PM2_", "OSTLER_", "LC_", "LD_"];
    let bytes = name.as_bytes();
    if name == INCARNATION_VAR {
        return false;
    }
    NAMES.iter().any(|kept| bytes == kept.as_bytes()) || PREFIXES.iter().any(|prefix| bytes.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_variables_of_the_first_shell_are_kept() {
        for (name, kept) in [
            ("PATH", true),
            ("PM2_HOME", true),
            ("LC_ALL", true),
            ("LD_LIBRARY_PATH", true),
            ("AWS_SECRET", false),
            ("LANGUAGE", false),
            (INCARNATION_VAR, false),
            ("OSTLER_CGROUP", true),
            ("", false),
        ] {
            assert_eq!(is_kept(OsStr::new(name)), kept, "{name}");
        }
    }

    #[test]
    fn role_variables_of_the_parent_are_not_inherited() {
        let env = for_role(Path::new("/h"), true, &[(ROLE_VAR, "daemon")], |_| true);
        // The test run may have variables of its own that start like ours.
        let is_ours = |v: &[u8]| OURS.iter().any(|name| v.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")));
        let ours: Vec<_> = env.iter().filter(|v| is_ours(v.to_bytes())).collect();
        assert_eq!(ours, [c"OSTLER_HOME=/h", c"OSTLER_AS_PM2=1", c"OSTLER_ROLE=daemon"]);
    }
}
