//! Paths of an instance.

use ostler_core::app::AppSpec;
use ostler_core::files::{log_files, pid_file};
use ostler_proto::control::Files;

use crate::settings::Settings;

/// Resolves every path of instance `id`, id suffix included.
pub(crate) fn resolve(spec: &AppSpec, id: u32, settings: &Settings) -> Files {
    let home = settings.home.to_string_lossy();
    let logs = log_files(&spec.logs, &spec.name, id, &home);
    Files { out: logs.out, error: logs.error, combined: logs.combined, pid: pid_file(spec.pid_file.as_deref(), &spec.name, id, &home) }
}
