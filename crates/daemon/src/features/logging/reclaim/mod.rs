//! Reclaim of log files that were renamed or deleted: `reloadLogs`, and rotation of files that apps
//! write themselves.
//!
//! # Theory of operation
//!
//! `crate::logs::reclaim` decides how a file can be reclaimed; a deleted one is carried
//! ([`carry`]). A thread copies. The step in which the app is stopped runs here, in the event loop,
//! so no process is started or stopped during it. It waits while a process is being spawned,
//! because that process may have opened the new file already.
//!
//! Each step is in the journal, and in its copy on disk, before it is done ([`PendingStep`]).
//! Reclaims of a former daemon are finished or undone before anything else, because processes may
//! be stopped.

mod begin;
mod carry;
mod reload;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};

use ostler_proto::control::Request;
use ostler_sys::ProcRef;

use crate::engine::{ClientRequest, Ctx, FeatureAnswer, FeatureRequest, Key, ShutdownKind};
use crate::logs::reclaim::{Copied, Copier, CopierReport, CopyOrder, Folder, ReclaimFailure, ReclaimRecord};
use crate::platform::reactor::Source;
use crate::platform::waker::Waker;
use crate::state::slots::Slot;
use crate::state::store::{Record, Snapshot};
use carry::CarriedFiles;
use reload::Reload;

/// Step that is done with a file when the journal has it.
enum PendingStep {
    /// Copy the content of the file.
    Copy(Box<CopyOrder>),
    /// Remove from the file the part that is in the copy.
    Empty(Box<Copied>),
    /// Stop the writers of the file for the rest.
    Cut(Box<Copied>),
}

/// Reclaims in progress.
#[derive(Default)]
pub(crate) struct Reclaim {
    next: u32,
    all: BTreeMap<u32, ReclaimRecord>,
    steps: BTreeMap<u32, PendingStep>,
    /// Copies that are complete and wait for the step in which the writers are stopped.
    ready: Vec<(u32, Copied)>,
    reloads: Vec<Reload>,
    copier: Option<(Copier, mpsc::Receiver<CopierReport>)>,
    /// Folders of the logs that are rotated.
    folders: BTreeMap<u32, Arc<Folder>>,
    carries: CarriedFiles,
    /// Results of recovering a former daemon's reclaims: true = undone.
    recovered: Vec<(ReclaimRecord, Result<bool, ReclaimFailure>)>,
    /// Waker of the event loop for our threads, made with the first thread.
    waker: Option<Arc<Waker>>,
}

impl std::fmt::Debug for Reclaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reclaim").field("all", &self.all).field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl Reclaim {
    /// Recovers reclaims before anything else, because processes may be stopped.
    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        for (id, record) in std::mem::take(&mut snapshot.reclaims) {
            self.next = self.next.max(id);
            let result = steps::recover_within(&record);
            self.recovered.push((record, result));
        }
        self.carries.restore(std::mem::take(&mut snapshot.carries));
    }

    pub(crate) fn adopt_fd(&mut self, _ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        self.carries.adopt_fd(name, fd)
    }

    /// Retries the reclaims that were undone.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        let again = self.log_recovered(ctx);
        self.recover_carries(ctx);
        if again {
            self.reload(ctx, None);
        }
    }

    /// Schedules the ready copies for the end of this turn. Clients that wait for other answers get
    /// them first.
    pub(crate) fn on_turn(&mut self, ctx: &mut Ctx) {
        if !self.ready.is_empty() {
            ctx.outbox.timers.set(Self::MOMENT, Some(ctx.now.mono_ms));
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        for (id, copied) in std::mem::take(&mut self.ready) {
            self.next_step(ctx, id, PendingStep::Cut(Box::new(copied)));
        }
    }

    pub(crate) fn on_effect(&mut self, ctx: &mut Ctx, key: u64) {
        if let Ok(id) = u32::try_from(key) {
            self.take_step(ctx, id);
        }
    }

    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let Request::ReloadLogs = ask.request else { return Some(ask) };
        self.reload(ctx, Some((ask.client, ask.id)));
        None
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::ReloadLogs => self.reload(ctx, None),
            FeatureRequest::Rotate(log) => self.rotate(ctx, *log),
            request => return Some(request),
        }
        None
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        self.waker.iter().for_each(|waker| waker.clear());
        self.on_copier_news(ctx);
        self.on_carrier_news(ctx);
    }

    /// Handles the end of a process. If the disk is not slow, its last output is at its path before
    /// its end is reported.
    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.carries.finish(ctx, id);
    }

    pub(crate) fn on_turn_end(&mut self, ctx: &mut Ctx) {
        self.carries.end_unwritten(ctx);
    }

    pub(crate) fn on_leave(&mut self, ctx: &mut Ctx, ending: ShutdownKind) {
        self.carries.leave();
        // Another daemon takes over, so the files belong to it from now on.
        if let Some((copier, _)) = &self.copier {
            copier.shut();
        }
        if ending == ShutdownKind::Everything {
            self.abandon(ctx);
        }
    }

    pub(crate) fn records(&self) -> Vec<Record<'_>> {
        let reclaims = self.all.values().map(|record| Record::Reclaim(Box::new(record.clone())));
        reclaims.chain(self.carries.records()).collect()
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        self.carries.held().collect()
    }
}

impl Reclaim {
    pub(crate) const NAME: &str = "reclaim";
    /// Timer at which ready copies are tried.
    const MOMENT: Key = (Self::NAME, 0);

    /// Returns the waker for threads.
    fn waker(&mut self, ctx: &Ctx) -> std::io::Result<Arc<Waker>> {
        Waker::of_feature(&mut self.waker, &ctx.io.reactor, Source::Feature(Self::NAME, 0))
    }

    /// Logs how a former daemon's reclaims were recovered, before a new one begins. Returns true if
    /// one has to be retried.
    fn log_recovered(&mut self, ctx: &mut Ctx) -> bool {
        let mut again = false;
        for (record, result) in std::mem::take(&mut self.recovered) {
            match result {
                Ok(true) if record.stays => ctx.answer(FeatureAnswer::RotationUndone),
                Ok(false) if record.stays => {}
                Ok(undone) => again |= undone,
                Err(failure) if record.stays => ctx.io.log.error(format_args!("\"{}\" cannot be rotated: {failure}", record.path)),
                Err(failure) => ctx.io.log.error(format_args!("\"{}\" cannot be reopened: {failure}", record.path)),
            }
            ctx.state.journal.push(&Record::ReclaimOver { id: record.id });
        }
        again
    }

    /// Abandons everything before the daemon stops for good. Copies in progress are not needed.
    fn abandon(&mut self, ctx: &mut Ctx) {
        self.copier = None;
        ctx.state.log_files.moving.clear();
        for (id, record) in std::mem::take(&mut self.all) {
            // No process is stopped yet, because that happens within one turn of the event loop.
            let _ = steps::recover_within(&record);
            ctx.state.journal.push(&Record::ReclaimOver { id });
        }
        self.ready.clear();
        self.steps.clear();
    }
}

/// Returns the running main process.
fn leader(slot: &Slot) -> Option<ProcRef> {
    Some(ProcRef { pid: slot.durable.instance.pid()?, start_ticks: slot.durable.start_ticks })
}
