//! What is still in the pipes of an app that was deleted, or whose description changed.
//!
//! Its writer carries it over and ends, and may take a moment. Until then the keeper holds what the writer reads from, and the journal has
//! where it goes: a daemon that is killed right after `delete` leaves it to the next one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::pipelines::{Destination, Piped, Writers, end_name};
use crate::control::Control;
use crate::logs::{Handle, Pipeline, PipelineError};
use crate::runtime::Runtime;
use crate::store::Record;

/// How long a writer may take for the rest.
const WITHIN: Duration = Duration::from_secs(5);
/// Numbers of the ends that are kept: read ends of output and error, and the holding pipe.
const KEPT: [usize; 3] = [0, 1, 4];
/// Numbers of the write ends. As long as anybody has them there is no end to read.
const WRITE_ENDS: [usize; 2] = [2, 3];

/// A writer that carries over the rest.
#[derive(Debug)]
pub(crate) struct LastWords {
    destination: Destination,
    /// None until a new daemon has taken it over.
    running: Option<(Handle, [OwnedFd; 3])>,
}

/// A writer that will go on.
pub(super) struct Prepared {
    key: (u32, u32),
    ends: [OwnedFd; 3],
    pipeline: Pipeline,
}

fn record(id: u32, place: u32, destination: &Destination) -> Record<'static> {
    Record::LastWords { id, place, destination: Box::new(destination.clone()) }
}

impl Control {
    /// To be noted together with the end of its instance.
    pub(super) fn note_last_words(&mut self, id: u32) {
        if let Some(piped) = self.ctx.slots.get(id).and_then(|slot| slot.piped.as_ref()) {
            self.ctx.journal.push(&record(id, piped.place(), piped.destination()));
        }
    }

    /// The writer carries over what is left, and ends.
    pub(super) fn end_writer(&mut self, id: u32) {
        self.note_last_words(id);
        if let Some(piped) = self.ctx.slots.get_mut(id).and_then(|slot| slot.piped.take()) {
            self.finish_writer(id, *piped);
        }
    }

    /// See [`Control::end_writer`]; for a slot that is gone already.
    pub(super) fn finish_writer(&mut self, id: u32, piped: Piped) {
        let place = piped.place();
        for end in WRITE_ENDS {
            self.ctx.keeper.drop_held(&end_name(id, place, end));
        }
        let (handle, ends, destination) = piped.into_parts();
        handle.finish(WITHIN);
        // Its place in the notes is not used again by this daemon: it may still be writing to it.
        let is_over = handle.is_over();
        self.writers.ending.insert((id, place), LastWords { destination, running: Some((handle, ends)) });
        if is_over {
            self.last_words_said(id, place);
        }
    }

    /// The thread of a writer has ended.
    pub(super) fn last_words_said(&mut self, id: u32, place: u32) {
        // One that ended by itself is looked after when the next process needs it.
        if self.writers.ending.remove(&(id, place)).is_some() {
            KEPT.iter().for_each(|end| self.ctx.keeper.drop_held(&end_name(id, place, *end)));
            self.ctx.journal.push(&Record::Said { id, place });
        }
    }

    /// Before the daemon ends: what is in the pipes of deleted instances is nowhere else.
    pub(crate) fn wait_for_last_words(&mut self) {
        for ((id, place), words) in std::mem::take(&mut self.writers.ending) {
            if let Some((handle, _)) = words.running {
                if self.runtime.as_ref().is_some_and(Runtime::is_hasty) {
                    handle.finish(Duration::ZERO);
                }
                handle.join();
            }
            KEPT.iter().for_each(|end| self.ctx.keeper.drop_held(&end_name(id, place, *end)));
            self.ctx.journal.push(&Record::Said { id, place });
        }
    }

    /// What the journal knows; the descriptors come from the keeper.
    pub(crate) fn remember_last_words(&mut self, found: BTreeMap<(u32, u32), Destination>) {
        for (key, destination) in found {
            self.writers.ending.insert(key, LastWords { destination, running: None });
        }
    }

    /// Looks at what a former daemon did not finish; [`Control::begin_last_words`] goes on with it.
    pub(super) fn prepare_last_words(&mut self, id: u32, place: u32, ends: &mut BTreeMap<usize, OwnedFd>) -> Option<Prepared> {
        for end in WRITE_ENDS.into_iter().filter(|end| ends.remove(end).is_some()) {
            self.ctx.keeper.drop_held(&end_name(id, place, end));
        }
        let words = self.writers.ending.get(&(id, place))?;
        let [Some(out), Some(error), Some(holding)] = KEPT.map(|end| ends.remove(&end)) else { return None };
        let ends = [out, error, holding];
        let config = self.writers.config(id, &words.destination, [&ends[0], &ends[1], &ends[2]], place);
        let pipeline = config.map_err(|source| PipelineError::System { step: "copy a descriptor", source }).and_then(Pipeline::prepare);
        match pipeline {
            Ok(pipeline) => Some(Prepared { key: (id, place), ends, pipeline }),
            Err(error) => {
                self.ctx.log.error(format_args!("last lines of deleted instance {id}: {}", crate::log::chain(&error)));
                None
            }
        }
    }

    /// Goes on with what was prepared, and forgets the rest.
    pub(super) fn begin_last_words(&mut self, prepared: Vec<Prepared>) {
        for Prepared { key, ends, pipeline } in prepared {
            match pipeline.start() {
                Ok(handle) => {
                    handle.finish(WITHIN);
                    if let Some(words) = self.writers.ending.get_mut(&key) {
                        words.running = Some((handle, ends));
                    }
                }
                Err(error) => self.ctx.log.error(format_args!("last lines of deleted instance {}: {}", key.0, crate::log::chain(&error))),
            }
        }
        self.drop_said_words();
    }

    /// Whose descriptors are not held any more: it had said everything.
    fn drop_said_words(&mut self) {
        let said: Vec<(u32, u32)> = self.writers.ending.iter().filter(|(_, words)| words.running.is_none()).map(|(key, _)| *key).collect();
        said.into_iter().for_each(|(id, place)| self.last_words_said(id, place));
    }

    /// For a new keeper.
    pub(super) fn held_by_last_words(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let running = self.writers.ending.iter().filter_map(|(key, words)| Some((*key, words.running.as_ref()?)));
        running.flat_map(|((id, place), (_, ends))| KEPT.iter().zip(ends).map(move |(end, fd)| (end_name(id, place, *end), fd.as_fd())))
    }
}

impl Writers {
    /// For a journal that is written anew.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.ending.iter().map(|((id, place), words)| record(*id, *place, &words.destination))
    }
}
