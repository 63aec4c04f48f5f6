//! Marks that identify processes of the home, and main processes that outlived their keeper.

use std::collections::HashMap;

use ostler_sys::process::ProcessEntry;
use ostler_sys::process::tree::marker;
use ostler_sys::{ProcRef, ProcTable};

pub(crate) use crate::state::marked::{INC_MARK, MARK};

/// Returns the value of [`INC_MARK`].
pub(crate) fn inc_mark(unique_id: &str, inc: u32) -> String {
    format!("{unique_id}:{inc}")
}

/// Main processes by the mark in their environment. The first lookup reads them all at once. With a
/// thousand apps, one scan of the process table per app would take minutes.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    by_mark: Option<HashMap<Vec<u8>, ProcRef>>,
}

impl Leaders {
    /// Returns the main process of an incarnation or a command.
    pub(crate) fn find(&mut self, mark: &str) -> Option<ProcRef> {
        let by_mark = self.by_mark.get_or_insert_with(|| {
            let table = ProcTable::scan();
            let leads = |entry: &&ProcessEntry| entry.pid == entry.sid && !entry.is_zombie();
            let marked = |entry: &ProcessEntry| Some((marker(entry.pid, INC_MARK)?, entry.process()));
            // If several processes have the mark, the first by pid counts.
            table.entries().iter().filter(leads).rev().filter_map(marked).collect()
        });
        by_mark.get(mark.as_bytes()).copied()
    }
}
