//! Settings from the daemon's own environment (`docs/reference/environment`), read once at start.

use std::borrow::Cow;
use std::env;
use std::path::PathBuf;

use ostler_core::app::AppSpec;
use ostler_core::environment;
use ostler_core::home::home_paths::HomePaths;
use ostler_proto::pm2::PM2_VERSION;
use ostler_sys::process::signal::INT;

use crate::platform::conf::Conf;
use crate::platform::secrets::Credentials;

/// Settings that the daemon's environment decides.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Base folder.
    pub home: PathBuf,
    /// Paths of the home's files.
    pub paths: HomePaths,
    /// Whether a second copy of the state is kept in memory.
    pub keeps_copy: bool,
    /// Stop signal if the app names none.
    pub kill_signal: i32,
    /// Grace period if the app names none.
    pub kill_timeout_ms: u64,
    /// Time to wait for `ready` if the app names none.
    pub listen_timeout_ms: u64,
    /// Uptime after which a growing restart delay is reset.
    pub backoff_reset_ms: u64,
    /// `PM2_KILL_USE_MESSAGE`: stops every app by message.
    pub kill_use_message: bool,
    /// `PM2_PROCESS_INSTANCE_VAR`: overrides `instance_var` of all apps.
    pub instance_var: Option<String>,
    /// Prefix of the lines of `pm2.log`; empty for none.
    pub log_date_format: String,
    /// PM2 release that the daemon reports to PM2's clients, which complain about any other than
    /// their own.
    pub pm2_version: String,
    /// Start time of this daemon, in ms of the wall clock.
    pub started_ms: u64,
    /// Settings of `ostler set`.
    pub conf: Conf,
    /// Folder of a service manager's credentials.
    pub credentials: Credentials,
}

/// Defaults of PM2.
const KILL_TIMEOUT_MS: u64 = 1600;
const LISTEN_TIMEOUT_MS: u64 = 3000;
const BACKOFF_RESET_MS: u64 = 30_000;

impl Settings {
    /// Reads the environment of this process.
    pub(crate) fn from_env(home: PathBuf) -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let positive = |name: &str, default: u64| text(name).and_then(|value| value.parse().ok()).filter(|n| *n > 0).unwrap_or(default);
        let paths = HomePaths::new(&home, |name| env::var_os(name));
        Self {
            conf: Conf::new(paths.conf.clone()),
            credentials: Credentials::new(&home, env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)),
            home,
            paths,
            keeps_copy: false,
            kill_signal: text("PM2_KILL_SIGNAL").and_then(|name| ostler_sys::process::signal::by_name(&name)).unwrap_or(INT),
            // PM2 accepts every number here, even zero.
            kill_timeout_ms: text("PM2_KILL_TIMEOUT").and_then(|value| value.parse().ok()).unwrap_or(KILL_TIMEOUT_MS),
            listen_timeout_ms: positive("PM2_GRACEFUL_LISTEN_TIMEOUT", LISTEN_TIMEOUT_MS),
            backoff_reset_ms: positive("EXP_BACKOFF_RESET_TIMER", BACKOFF_RESET_MS),
            kill_use_message: text("PM2_KILL_USE_MESSAGE").is_some(),
            instance_var: text("PM2_PROCESS_INSTANCE_VAR"),
            pm2_version: environment::PM2_VERSION.text(|name| env::var(name).ok()).unwrap_or_else(|| PM2_VERSION.into()),
            started_ms: ostler_sys::now().wall_ms,
            log_date_format: env::var("PM2_LOG_DATE_FORMAT").unwrap_or_else(|_| "YYYY-MM-DDTHH:mm:ss".into()),
        }
    }
}

/// Returns the values of `ostler set <app>:<key> <value>` for an app: each value, and all of them
/// as JSON under the name of the app. Values of a profile have precedence.
pub(crate) fn kept_settings<'a>(spec: &'a AppSpec, settings: &Settings) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    // An app of a module with several apps is named `module:app`.
    let of_module = || spec.name.split_once(':').filter(|_| spec.is_module()).map(|(module, _)| module);
    let found = settings.conf.section(&spec.name).map(|section| (spec.name.as_str(), section));
    let found = found.or_else(|| of_module().and_then(|name| Some((name, settings.conf.section(name)?))));
    let Some((name, section)) = found else { return Vec::new() };
    let profile = spec.env.profile.as_ref().and_then(|name| spec.env.profiles.get(name));
    let is_variable = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.replace('\0', ""),
        other => other.to_string(),
    };
    let is_free = |name: &str| profile.is_none_or(|profile| !profile.contains_key(name));
    let each = section.iter().filter(|(name, _)| is_variable(name) && is_free(name));
    let mut vars: Vec<(Cow<'a, str>, Cow<'a, str>)> = each.map(|(name, value)| (name.clone().into(), text(value).into())).collect();
    if is_variable(name) {
        vars.push((name.into(), serde_json::Value::Object(section.clone()).to_string().into()));
    }
    vars
}
