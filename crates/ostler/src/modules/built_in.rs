//! Modules of PM2 whose functions are built into ostler.

use ostler_core::logs::rotate::settings::{MODULE as LOGROTATE, MODULE_DEFAULTS};
use ostler_core::marked;

/// A module of PM2 that ostler does not need.
pub(crate) struct BuiltIn {
    pub(crate) name: &'static str,
    /// Description of its function.
    pub(crate) does: &'static str,
    /// Settings that it writes into its section when it is installed.
    pub(crate) defaults: &'static [(&'static str, &'static str)],
}

/// All built-in modules.
pub(crate) const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: LOGROTATE,
        does: marked!("log rotation is built in and follows the settings of pm2-logrotate"),
        defaults: MODULE_DEFAULTS,
    },
    BuiltIn {
        name: "pm2-server-monit",
        does: marked!("host metrics are built in: see `slist`, and the last line of `list`"),
        defaults: &[("drive", "/")],
    },
];

/// Returns the built-in module for `pm2-logrotate`, `pm2-logrotate@2.7.0`,
/// `keymetrics/pm2-logrotate`, or an address with such an ending.
pub(crate) fn built_in(word: &str) -> Option<&'static BuiltIn> {
    // A folder or file is the user's own module.
    if word.starts_with(['.', '/', '~']) {
        return None;
    }
    let last = word.trim_end_matches('/').trim_end_matches(".git").rsplit('/').next().unwrap_or_default();
    let name = last.split(['@', '#']).next().unwrap_or_default();
    BUILT_IN.iter().find(|module| module.name == name)
}
