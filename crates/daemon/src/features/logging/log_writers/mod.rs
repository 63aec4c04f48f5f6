//! Log writers of apps whose lines pass through the daemon: which apps have a writer, which
//! descriptors belong to it, and how the next daemon finds them.
//!
//! # Theory of operation
//!
//! The outputs of a process are opened before its start is requested ([`outputs`]). They are the
//! log files themselves, or pipes that end in a writer (`crate::logs`). An instance keeps its pipes
//! over its incarnations, so lines stay in order across a restart. The keeper holds every end of
//! the pipes. It also holds the memory in which each writer records the lines in transit.
//!
//! If the disk is not slow, the output of a process is in its log before its exit is reported. If
//! an app is deleted or its description changes, its writer carries over the rest of the pipes and
//! then exits ([`tail`]).

mod outputs;
mod survived;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use ostler_core::lifecycle::{Event, InstanceState, Recovered, SpawnFailure, Transition};

use crate::engine::{Ctx, InstanceStep, Key, ShutdownKind, SpawnExtras};
use crate::logs::{
    Config, Destination, LogFiles, Pipeline, PipelineError, RunningWriter, RuntimeStreams, WriterPipes, WriterReport, end_name,
    ends_of_name,
};
use crate::platform::reactor::Source;
use crate::platform::waker::Waker;
use crate::state::store::{Record, Snapshot};
use tail::Tail;

/// Name under which the keeper holds the writers' records.
const NOTES: &str = "log-notes";

/// Delay before the daemon tries again to take over the writer of a former daemon. It doubles up to the
/// longest delay. Until then the app's lines stay in its pipe, and an app that fills the pipe blocks.
const FIRST_RETRY_MS: u64 = 1_000;
const LONGEST_RETRY_MS: u64 = 60_000;

/// Key of a writer: an instance, and the index of its record.
type WriterKey = (u32, u32);

/// State of all writers.
#[derive(Debug)]
pub(crate) struct LogWriters {
    notes: Option<OwnedFd>,
    places: BTreeSet<u32>,
    /// Writers that carry over the rest, and then exit.
    ending: BTreeMap<WriterKey, Tail>,
    /// Waker of the event loop for their threads, made with the first thread.
    waker: Option<Arc<Waker>>,
    reports: mpsc::Receiver<(WriterKey, WriterReport)>,
    sender: mpsc::Sender<(WriterKey, WriterReport)>,
    /// Descriptors of a former daemon's writers, until they are taken over.
    found: BTreeMap<WriterKey, BTreeMap<usize, OwnedFd>>,
    /// Writers for which `found` has only the descriptors that the app kept: see [`survived`].
    survived: BTreeSet<WriterKey>,
    /// Delay before the next attempt to take over the rest of `found`.
    retry_ms: u64,
}

impl Default for LogWriters {
    fn default() -> Self {
        let (sender, reports) = mpsc::channel();
        Self {
            notes: None,
            places: BTreeSet::new(),
            ending: BTreeMap::new(),
            waker: None,
            reports,
            sender,
            found: BTreeMap::new(),
            survived: BTreeSet::new(),
            retry_ms: FIRST_RETRY_MS,
        }
    }
}

impl LogWriters {
    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        self.ending.extend(std::mem::take(&mut snapshot.log_tails).into_iter().map(|(key, destination)| (key, Tail::found(destination))));
    }

    pub(crate) fn adopt_fd(&mut self, _ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        self.adopt_fd_of(name, fd)
    }

    fn adopt_fd_of(&mut self, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if name == NOTES {
            self.notes = Some(fd);
            return None;
        }
        let Some((id, place, end)) = ends_of_name(name) else { return Some(fd) };
        self.found.entry((id, place)).or_default().insert(end, fd);
        None
    }

    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.find_survived(ctx);
        self.take_over(ctx);
    }

    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        beside.outputs = self.outputs(ctx, id)?;
        Ok(())
    }

    pub(crate) fn on_prepare_command(&mut self, ctx: &mut Ctx, id: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        beside.outputs = self.outputs_of_command(ctx, id)?;
        Ok(())
    }

    pub(crate) fn on_recognised(&mut self, ctx: &mut Ctx, id: u32, pid: i32) {
        ctx.state.slots.get_mut(id).into_iter().for_each(|slot| slot.recognise_logs(pid));
    }

    /// Handles the end of a process. Its last output without a newline becomes a line, which is in
    /// the log before the end is reported.
    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        end_lines(ctx, id);
    }

    /// Handles a step of an instance. If the instance is gone, the remaining output is recorded
    /// with that step.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        // The end was discovered after the keeper had died.
        if matches!(step.event, Event::Recovered(Recovered::Ended { .. } | Recovered::Nothing)) {
            end_lines(ctx, step.id);
        }
        if ctx.state.slots.get(step.id).is_some_and(|slot| slot.durable.instance.state == InstanceState::Gone) {
            Self::note_tail(ctx, step.id);
        }
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if matches!(transition, Transition::Deleted)
            && let Some(piped) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.piped.take())
        {
            self.finish(ctx, id, *piped);
        }
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        self.on_reports(ctx);
    }

    /// Tries again to take over the writers for which descriptors, memory or threads were short.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.take_over(ctx);
    }

    pub(crate) fn on_leave(&mut self, ctx: &mut Ctx, _ending: ShutdownKind) {
        self.wait_for_tails(ctx);
    }

    pub(crate) fn records(&self) -> Vec<Record<'_>> {
        self.records_of_tails()
    }

    pub(crate) fn held<'a>(&'a self, ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        let notes = self.notes.iter().map(|notes| (NOTES.to_owned(), notes.as_fd()));
        let writers = ctx.state.slots.iter().filter_map(|slot| Some((slot.durable.id, slot.live.piped.as_ref()?)));
        let found = self.found.iter().flat_map(|((id, place), ends)| {
            let name = |end: &usize| end_name(*id, *place, *end);
            ends.iter().map(move |(end, fd)| (name(end), fd.as_fd()))
        });
        notes.chain(writers.flat_map(|(id, piped)| piped.held(id))).chain(self.held_by_tails()).chain(found).collect()
    }
}

impl LogWriters {
    pub(crate) const NAME: &str = "log_writers";
    /// Next attempt to take over the writers of a former daemon.
    const RETRY: Key = (Self::NAME, 0);

    /// Returns the configuration of a writer with these read ends and this holding pipe.
    fn config(&mut self, ctx: &Ctx, (id, place): WriterKey, to: &Destination, ends: [&OwnedFd; 3]) -> std::io::Result<Config> {
        let LogFiles { open, streams, .. } = &ctx.state.log_files;
        let waker = Waker::of_feature(&mut self.waker, &ctx.io.reactor, Source::Feature(Self::NAME, 0))?;
        let notes = self.notes.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let sender = Mutex::new(self.sender.clone());
        let [out, error, combined] = to.paths.clone().map(|path| path.map(PathBuf::from));
        Ok(Config {
            name: format!("log-{id}"),
            out,
            error,
            combined,
            shown: to.shown.map_or([None, None], |shown| shown.paths().map(|path| Some(PathBuf::from(path)))),
            format: to.formats(),
            pipes: [ends[0].try_clone()?, ends[1].try_clone()?],
            holding: ends[2].try_clone()?,
            is_holding_lost: self.survived.contains(&(id, place)),
            record: notes.try_clone()?,
            slot: place,
            files: open.clone(),
            runtime: RuntimeStreams { rights: to.rights.clone(), ..streams.clone() },
            report: Arc::new(move |report| {
                if let Ok(sender) = sender.lock() {
                    // If the daemon is exiting, nothing receives the report.
                    let _ = sender.send(((id, place), report));
                    waker.wake();
                }
            }),
        })
    }

    fn free_place(&mut self) -> u32 {
        let place = (0..).find(|place| !self.places.contains(place)).unwrap_or(0);
        self.places.insert(place);
        place
    }

    /// Continues where the writers of a former daemon stopped. All writers check the lines in
    /// transit before the first one writes. A writer that cannot be taken over keeps its pipes, and
    /// the daemon tries again later.
    fn take_over(&mut self, ctx: &mut Ctx) {
        let (mut prepared, mut tails) = (Vec::new(), Vec::new());
        for ((id, place), mut ends) in std::mem::take(&mut self.found) {
            self.places.insert(place);
            // The app was restarted before its former writer could be taken over: the rest in the
            // former pipes becomes a tail.
            if let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.live.piped.is_some()) {
                let rest = outputs::destination(slot, ctx.state.log_files.front.as_ref());
                self.note_left(ctx, (id, place), rest);
            }
            if self.ending.contains_key(&(id, place)) {
                tails.extend(self.prepare_tail(ctx, (id, place), &mut ends));
                continue;
            }
            let names: Vec<String> = ends.keys().map(|end| end_name(id, place, *end)).collect();
            let ends: Option<WriterPipes> = ends.into_values().collect::<Vec<_>>().try_into().ok();
            let Some((slot, ends)) = ctx.state.slots.get(id).zip(ends) else {
                names.iter().for_each(|name| ctx.io.keeper.drop_held(name));
                continue;
            };
            let made_for = outputs::destination(slot, ctx.state.log_files.front.as_ref());
            let pipeline = self
                .config(ctx, (id, place), &made_for, reading(&ends))
                .map_err(|source| PipelineError::System { step: "copy a descriptor", source })
                .and_then(Pipeline::prepare);
            match pipeline {
                Ok(pipeline) => {
                    // Its record is complete again.
                    self.survived.remove(&(id, place));
                    prepared.push((id, place, ends, made_for, pipeline));
                }
                Err(error) => self.take_over_later(ctx, (id, place), ends, &error),
            }
        }
        self.begin_tails(ctx, tails);
        for (id, place, ends, made_for, pipeline) in prepared {
            match pipeline.start() {
                Ok(handle) => {
                    if let Some(slot) = ctx.state.slots.get_mut(id) {
                        slot.live.piped = Some(Box::new(RunningWriter { handle, ends, place, made_for, is_used: true }));
                    }
                    if ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.pid().is_none()) {
                        end_lines(ctx, id);
                    }
                    // The instance was gone before it had a writer again.
                    if ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.state == InstanceState::Gone) {
                        Self::note_tail(ctx, id);
                    }
                }
                Err(error) => self.take_over_later(ctx, (id, place), ends, &error),
            }
        }
        if self.found.is_empty() {
            self.survived.clear();
        } else {
            ctx.outbox.timers.set(Self::RETRY, Some(ctx.now.mono_ms + self.retry_ms));
            self.retry_ms = (self.retry_ms * 2).min(LONGEST_RETRY_MS);
        }
    }

    fn take_over_later(&mut self, ctx: &mut Ctx, (id, place): WriterKey, ends: WriterPipes, error: &PipelineError) {
        if self.retry_ms == FIRST_RETRY_MS {
            let why = crate::platform::log::chain(error);
            ctx.io.log.error(format_args!("logs of instance {id}: {why}; its lines stay in its pipe, and the daemon tries again"));
        }
        self.found.insert((id, place), ends.into_iter().enumerate().collect());
    }

    /// Handles reports of writers.
    fn on_reports(&mut self, ctx: &mut Ctx) {
        self.waker.iter().for_each(|waker| waker.clear());
        while let Ok((place, report)) = self.reports.try_recv() {
            self.on_report(ctx, place, report);
        }
    }

    fn on_report(&mut self, ctx: &mut Ctx, (id, place): WriterKey, report: WriterReport) {
        let name = ctx.state.slots.get(id).map(|slot| slot.spec().name.clone()).unwrap_or_default();
        let log = &mut ctx.io.log;
        match report {
            WriterReport::Stuck { path, errno } => {
                let why = std::io::Error::from_raw_os_error(errno);
                log.error(format_args!("App [{name}:{id}] cannot write \"{}\": {why}; its lines are buffered", path.display()));
            }
            WriterReport::Resumed { path } => log.line(format_args!("App [{name}:{id}] \"{}\" is written again", path.display())),
            WriterReport::NoReader { path } => {
                log.error(format_args!("App [{name}:{id}] no process reads \"{}\" any more", path.display()))
            }
            WriterReport::SetAside { path, aside } => log_set_aside(ctx, id, &path, &aside),
            WriterReport::NotReopened { reason } | WriterReport::Trouble { reason } => {
                log.error(format_args!("App [{name}:{id}] {reason}"))
            }
            WriterReport::Panicked { message } => {
                log.error(format_args!("App [{name}:{id}] bug in its log writer, which continues: {message}"))
            }
            WriterReport::Ended(_) => self.tail_is_written(ctx, (id, place)),
        }
    }
}

fn log_set_aside(ctx: &mut Ctx, id: u32, path: &Path, aside: &Path) {
    let Some(slot) = ctx.state.slots.get(id) else { return };
    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
    ctx.io.log.error(format_args!(
        "App [{name}:{pm_id}] \"{}\" belongs to root and the app's user cannot write to it: it was renamed to \"{}\", and a new file was \
         started",
        path.display(),
        aside.display()
    ));
}

/// Completes lines that a process left without a newline.
fn end_lines(ctx: &mut Ctx, id: u32) {
    if let Some(piped) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.piped.as_mut()).filter(|piped| piped.is_used) {
        piped.end_lines();
    }
}

/// Returns the read ends and the holding pipe.
fn reading(ends: &WriterPipes) -> [&OwnedFd; 3] {
    [&ends[0], &ends[1], &ends[4]]
}
