//! Pipes of apps that outlived daemon, keeper and standby together.
//!
//! No keeper holds these pipes, but each app holds its own ([`crate::logs::log_pipe`]). The state
//! has the identities of the pipes, so an app cannot make the daemon open another file. A pipe is
//! opened only after a descriptor without rights (`O_PATH`) has shown its identity.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::fd::pipe::{PipeAccess, of_process, reopen};
use ostler_sys::{ProcRef, ProcTable};

use super::LogWriters;
use crate::engine::Ctx;
use crate::logs::reclaim::FileKey;
use crate::logs::{LogPipes, end_name, holding_pipe, log_pipe};

impl LogWriters {
    /// Finds the pipes of adopted apps that no keeper held. [`Self::take_over`] then continues with
    /// them.
    pub(super) fn find_survived(&mut self, ctx: &mut Ctx) {
        let lost: Vec<(u32, ProcRef, LogPipes)> = ctx
            .state
            .slots
            .iter()
            .filter_map(|slot| Some((slot.durable.id, slot.process()?.1, *slot.durable.log_pipes.as_deref()?)))
            .filter(|(id, _, pipes)| !self.found.contains_key(&(*id, pipes.place)))
            .collect();
        if lost.is_empty() {
            return;
        }
        let table = ProcTable::scan();
        for (id, process, pipes) in lost {
            let found = self.open_notes(ctx).and_then(|()| find(&table, process, pipes));
            let key = (id, pipes.place);
            match found {
                Ok(ends) => {
                    for (end, fd) in ends.iter().enumerate() {
                        ctx.io.keeper.hold(&end_name(id, pipes.place, end), fd.as_fd());
                    }
                    if let Some(slot) = ctx.state.slots.get_mut(id) {
                        slot.durable.log_pipes = LogPipes::of(pipes.place, &ends);
                        ctx.state.slots.changed(id);
                    }
                    self.found.insert(key, ends.into_iter().enumerate().collect());
                    self.survived.insert(key);
                }
                Err(error) => ctx.note(id, format!("its output is not logged until it is restarted: cannot find its pipe: {error}")),
            }
        }
    }
}

/// Opens both ends of the pipes of a process. If the process and its children have closed a stream,
/// it gets a new pipe, for the next process.
fn find(table: &ProcTable, process: ProcRef, pipes: LogPipes) -> io::Result<crate::logs::WriterPipes> {
    let tree = table.live_tree(process);
    let search = |pipe: FileKey| {
        let processes = std::iter::once(process.pid).chain(tree.iter().map(|entry| entry.pid));
        processes.into_iter().find_map(|pid| of_process(pid, pipe))
    };
    let found = pipes.pipes.map(search);
    if found.iter().all(Option::is_none) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let open = |found: Option<OwnedFd>| match found {
        Some(pipe) => Ok((reopen(&pipe, PipeAccess::Read)?, reopen(&pipe, PipeAccess::Both)?)),
        None => log_pipe(),
    };
    let [out, error] = found.map(open);
    let ((out, out_writer), (error, error_writer)) = (out?, error?);
    Ok([out, error, out_writer, error_writer, holding_pipe()?])
}
