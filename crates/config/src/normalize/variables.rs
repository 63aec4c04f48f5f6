//! Variables of the caller that set options of every app.

use ostler_core::app::{AppSpec, CombinedLog, ExecMode};
use ostler_core::logs::files::{own_stem, stem};

use super::AppContext;
use crate::check::RawApp;
use crate::context::Context;

/// Option that each variable turns on, unless the app sets another value.
const SWITCHES: [(&str, &str); 2] = [("ASZ_MODE", "time"), ("PM2_DEEP_MONITORING", "deep_monitoring")];

/// Adds options below those of the app.
pub(super) fn fill_in(raw: &mut RawApp, base: &Context) {
    for (variable, option) in SWITCHES {
        if is_set(base, variable).is_some() && !raw.attributes.contains_key(option) {
            raw.attributes.insert(option.into(), true.into());
        }
    }
}

/// Fills in values that the app does not set.
pub(super) fn finish(spec: &mut AppSpec, base: &AppContext<'_>) {
    let folder = |variable: &str| is_set(base.context, variable).map(|path| base.context.in_cwd(path).to_string_lossy().into_owned());
    let stem = if base.context.as_pm2 { stem(&spec.name) } else { own_stem(&spec.name) };
    if let Some(folder) = folder("PM2_DEFAULT_LOG_PATH") {
        let logs = &mut spec.logs;
        logs.out_file.get_or_insert_with(|| format!("{folder}/{stem}-out.log"));
        logs.error_file.get_or_insert_with(|| format!("{folder}/{stem}-error.log"));
        if logs.log_file == Some(CombinedLog::Default) {
            logs.log_file = Some(CombinedLog::Path(format!("{folder}/{stem}.log")));
        }
    }
    if let Some(folder) = folder("PM2_DEFAULT_PID_PATH") {
        spec.pid_file.get_or_insert_with(|| format!("{folder}/{stem}.pid"));
    }
    // PM2 differs: its daemon adds them at each start, by the variable of the daemon.
    if let Some(words) = is_set(base.context, "PM2_NODE_OPTIONS").filter(|_| spec.mode == ExecMode::Fork && spec.interpreter.is_some()) {
        spec.interpreter_args.splice(0..0, words.split_whitespace().map(str::to_owned));
    }
}

fn is_set<'a>(context: &'a Context, variable: &str) -> Option<&'a str> {
    context.env.get(variable).map(String::as_str).filter(|value| !value.is_empty())
}
