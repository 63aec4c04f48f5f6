//! Paths of an instance.

use std::borrow::Cow;

use ostler_core::app::AppSpec;
use ostler_core::logs::files::{log_files, pid_file, stem};
use ostler_proto::control::Files;

use crate::platform::settings::Settings;

/// Resolves every path of instance `id`, id suffix included. `own` is the stem of the app's default
/// files; without it the stem is PM2's.
pub(crate) fn resolve(spec: &AppSpec, own: Option<&str>, id: u32, settings: &Settings) -> Files {
    let home = settings.home.to_string_lossy();
    let stem = own.map_or_else(|| Cow::Owned(stem(&spec.name)), Cow::Borrowed);
    let logs = log_files(&spec.logs, &stem, id, &home);
    Files { out: logs.out, error: logs.error, combined: logs.combined, pid: pid_file(spec.pid_file.as_deref(), &stem, id, &home) }
}
