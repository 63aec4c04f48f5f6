//! `list -m`: blocks of text.

use std::fmt::Write;

use ostler_core::app::ExecMode;
use ostler_proto::control::Summary;

use super::age::{age, bytes};
use crate::text::shown;

/// Returns one block per instance, by id.
pub(crate) fn blocks(rows: &[Summary]) -> String {
    let mut out = String::new();
    for row in rows {
        let version = row.version.as_deref().unwrap_or("N/A");
        let mode = if row.mode == ExecMode::Fork { "fork" } else { "cluster" };
        let uptime = row.uptime_ms.map_or_else(|| "0".into(), age);
        let _ = write!(
            out,
            "+--- {}\nnamespace : {}\nversion : {version}\npid : {}\npm2 id : {}\nstatus : {}\nmode : {mode}\nrestarted : {}\n\
             uptime : {uptime}\nmemory usage : {} \nerror log : {}\nwatching : {}\nPID file : {}\n\n",
            shown(&row.name),
            row.namespace,
            row.pid,
            row.id,
            row.status,
            row.restarts,
            bytes(row.monit.memory_bytes),
            row.error_file.as_deref().unwrap_or("/dev/null"),
            if row.watching { "yes" } else { "no" },
            row.pid_file,
        );
    }
    out
}
