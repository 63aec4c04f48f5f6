//! Log tail: the rest in the pipes of an app that was deleted, or whose description changed.
//!
//! The app's writer carries the rest over and exits, which may take a moment. Until then the keeper
//! holds the ends that the writer reads, and the journal has its destination. If the daemon is
//! killed right after `delete`, the next one continues. If the disk is full, the writer waits while
//! a daemon runs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{LogWriters, WriterKey};
use crate::engine::Ctx;
use crate::logs::{Destination, Handle, Pipeline, PipelineEnd, PipelineError, RunningWriter, end_name};
use crate::state::store::Record;

/// Time for processes that still have the other end, and for the disk when the daemon exits.
const WITHIN: Duration = Duration::from_secs(5);
/// Indices of the ends that are kept: read ends of output and error, and the holding pipe.
const KEPT: [usize; 3] = [0, 1, 4];
/// Indices of the write ends. While a process has one open, the reader gets no end of file.
const WRITE_ENDS: [usize; 2] = [2, 3];

/// Writer that carries over the rest.
#[derive(Debug)]
pub(super) struct Tail {
    destination: Destination,
    /// Handle and ends; `None` until a new daemon has taken them over.
    running: Option<(Handle, [OwnedFd; 3])>,
}

impl Tail {
    /// Returns the tail of a former daemon. Its descriptors come from the keeper.
    pub(super) fn found(destination: Destination) -> Self {
        Self { destination, running: None }
    }
}

/// Writer that is ready to continue.
pub(super) struct Prepared {
    key: WriterKey,
    ends: [OwnedFd; 3],
    pipeline: Pipeline,
}

fn record((id, place): WriterKey, destination: &Destination) -> Record<'static> {
    Record::LogTail { id, place, destination: Box::new(destination.clone()) }
}

impl LogWriters {
    /// Records in the journal the rest that a writer still has to carry over.
    pub(super) fn note_tail(ctx: &mut Ctx, id: u32) {
        if let Some(piped) = ctx.state.slots.get(id).and_then(|slot| slot.live.piped.as_ref()) {
            ctx.state.journal.push(&record((id, piped.place), &piped.made_for));
        }
    }

    /// Makes the rest in the pipes of a writer without a thread a tail.
    pub(super) fn note_left(&mut self, ctx: &mut Ctx, key: WriterKey, destination: Destination) {
        ctx.state.journal.push(&record(key, &destination));
        self.ending.insert(key, Tail::found(destination));
    }

    /// Stops a writer, which then carries over the rest.
    pub(super) fn end_writer(&mut self, ctx: &mut Ctx, id: u32) {
        Self::note_tail(ctx, id);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if slot.durable.log_pipes.take().is_some() {
            ctx.state.slots.changed(id);
        }
        if let Some(piped) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.piped.take()) {
            self.finish(ctx, id, *piped);
        }
    }

    /// Stops a writer whose tail the journal has already: see [`Self::end_writer`].
    pub(super) fn finish(&mut self, ctx: &mut Ctx, id: u32, piped: RunningWriter) {
        let place = piped.place;
        for end in WRITE_ENDS {
            ctx.io.keeper.drop_held(&end_name(id, place, end));
        }
        let (handle, ends, destination) = piped.into_parts();
        handle.finish(WITHIN);
        // This daemon does not reuse its place in the notes, because the thread may still be
        // writing there.
        let is_over = handle.is_finished();
        self.ending.insert((id, place), Tail { destination, running: Some((handle, ends)) });
        if is_over {
            self.tail_is_written(ctx, (id, place));
        }
    }

    /// Handles the exit of a writer's thread.
    pub(super) fn tail_is_written(&mut self, ctx: &mut Ctx, key: WriterKey) {
        // If a writer exits by itself, the next process that needs it starts another one.
        if self.ending.remove(&key).is_some() {
            forget(ctx, key);
        }
    }

    /// Waits for all tails before the daemon exits. The output in the pipes of deleted instances is
    /// stored nowhere else.
    pub(super) fn wait_for_tails(&mut self, ctx: &mut Ctx) {
        let tails = std::mem::take(&mut self.ending);
        let within = if ctx.outbox.shutdown.is_hasty { Duration::ZERO } else { WITHIN };
        // All writers are notified before the first wait. They may share a file, and a writer that
        // waits for room in it holds its lock.
        tails.values().filter_map(|tail| tail.running.as_ref()).for_each(|(handle, _)| handle.give_up(within));
        for (key, tail) in tails {
            if let Some((handle, _)) = tail.running
                && handle.join() == PipelineEnd::Unwritten
            {
                let files: Vec<&str> = tail.destination.paths.iter().flatten().map(String::as_str).collect();
                ctx.io.log.error(format_args!("last lines of deleted instance {} are lost: cannot write {}", key.0, files.join(", ")));
            }
            forget(ctx, key);
        }
    }

    /// Prepares a tail that a former daemon did not finish. [`Self::begin_tails`] continues it.
    pub(super) fn prepare_tail(&mut self, ctx: &mut Ctx, key: WriterKey, ends: &mut BTreeMap<usize, OwnedFd>) -> Option<Prepared> {
        for end in WRITE_ENDS.into_iter().filter(|end| ends.remove(end).is_some()) {
            ctx.io.keeper.drop_held(&end_name(key.0, key.1, end));
        }
        let destination = self.ending.get(&key)?.destination.clone();
        let [Some(out), Some(error), Some(holding)] = KEPT.map(|end| ends.remove(&end)) else { return None };
        let ends = [out, error, holding];
        let config = self.config(ctx, key, &destination, [&ends[0], &ends[1], &ends[2]]);
        let pipeline = config.map_err(|source| PipelineError::System { step: "copy a descriptor", source }).and_then(Pipeline::prepare);
        match pipeline {
            Ok(pipeline) => Some(Prepared { key, ends, pipeline }),
            Err(error) => {
                ctx.io.log.error(format_args!("last lines of deleted instance {}: {}", key.0, crate::platform::log::chain(&error)));
                None
            }
        }
    }

    /// Continues the tails that were prepared, and forgets the rest.
    pub(super) fn begin_tails(&mut self, ctx: &mut Ctx, prepared: Vec<Prepared>) {
        for Prepared { key, ends, pipeline } in prepared {
            match pipeline.start() {
                Ok(handle) => {
                    handle.finish(WITHIN);
                    if let Some(tail) = self.ending.get_mut(&key) {
                        tail.running = Some((handle, ends));
                    }
                }
                Err(error) => {
                    ctx.io.log.error(format_args!("last lines of deleted instance {}: {}", key.0, crate::platform::log::chain(&error)))
                }
            }
        }
        // A tail without held descriptors was written completely.
        let written: Vec<WriterKey> = self.ending.iter().filter(|(_, tail)| tail.running.is_none()).map(|(key, _)| *key).collect();
        written.into_iter().for_each(|key| self.tail_is_written(ctx, key));
    }

    /// Returns the descriptors for a new keeper.
    pub(super) fn held_by_tails(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let running = self.ending.iter().filter_map(|(key, tail)| Some((*key, tail.running.as_ref()?)));
        running.flat_map(|((id, place), (_, ends))| KEPT.iter().zip(ends).map(move |(end, fd)| (end_name(id, place, *end), fd.as_fd())))
    }

    /// Returns the records for a journal that is rewritten.
    pub(super) fn records_of_tails(&self) -> Vec<Record<'_>> {
        self.ending.iter().map(|(key, tail)| record(*key, &tail.destination)).collect()
    }
}

/// Forgets a tail whose output is completely in the files.
fn forget(ctx: &mut Ctx, (id, place): WriterKey) {
    KEPT.iter().for_each(|end| ctx.io.keeper.drop_held(&end_name(id, place, *end)));
    ctx.state.journal.push(&Record::LogTailOver { id, place });
}
