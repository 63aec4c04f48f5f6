//! Which clients are processes of confined apps.
//!
//! Landlock does not check connections to unix sockets by their paths. An app that runs as the daemon's
//! user could therefore connect to the daemon, and start a program without a sandbox. The daemon
//! recognises such clients: a confined process and its descendants have `no_new_privs`, which no process
//! loses, and are below the keeper.

use ostler_sys::ProcTable;
use ostler_sys::process::has_no_new_privs;

use super::{Slot, Slots};

/// Maximum number of ancestors to search.
const MAX_ANCESTORS: usize = 64;

impl Slot {
    /// Returns true if the sandbox of its process allows this TCP port, or if it has none.
    pub(crate) fn may_bind(&self, port: u16) -> bool {
        let allowed = self.durable.learned.sandbox.as_ref().and_then(|report| report.bind_ports.as_ref());
        allowed.is_none_or(|ports| ports.contains(&port))
    }
}

impl Slots {
    /// Returns true if a client belongs to a confined app: it must not control ostler.
    pub(crate) fn is_confined(&self, pid: i32, keeper: i32) -> bool {
        if !self.iter().any(|slot| slot.durable.learned.sandbox.is_some()) {
            return false;
        }
        // 0 = a process of another pid namespace, which no app of ours is.
        if pid <= 0 {
            return false;
        }
        let own = std::process::id().cast_signed();
        match has_no_new_privs(pid) {
            Some(false) => return false,
            Some(true) => {}
            // It is gone: a process could connect, pass the connection on, and exit.
            None => return true,
        }
        let marks_apps = has_no_new_privs(own) == Some(false);
        let table = ProcTable::with_ancestors(pid, []);
        let mut at = pid;
        for _ in 0..MAX_ANCESTORS {
            if let Some(slot) = self.iter().find(|slot| slot.durable.instance.pid() == Some(at)) {
                return slot.durable.learned.sandbox.is_some();
            }
            if at == keeper {
                return marks_apps;
            }
            match table.get(at) {
                Some(entry) if entry.ppid > 0 => at = entry.ppid,
                _ => return false,
            }
        }
        true
    }
}
