//! Limits of apps: memory, CPU and errors are measured here; the kernel enforces hard limits.
//!
//! # Theory of operation
//!
//! `ostler_core::health::limits` judges; this module measures ([`measure`], [`errors`]). After
//! every step of an instance, the measured processes are compared with the running ones. Each
//! process, and each daemon, starts with a new state; only the events are in the journal. This
//! module does not replace a process that exceeds a limit. It requests that
//! ([`FeatureRequest::Remedy`]), and reports it if it is new. An app without limits costs nothing.

mod errors;
mod measure;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ostler_core::health::RemedyCause;
use ostler_core::health::limits::{CpuWatch, ErrorWatch, INTERVAL_MS, MemoryWatch};
use ostler_proto::event::{self, EventKind, LimitKind};
use ostler_proto::node::Message;

use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, InstanceStep, Key, PerProcess};
use crate::platform::rights::Rights;
use crate::state::slots::Slot;
use errors::ErrorLogs;
use measure::Machine;

/// Topic of the message by which an app reports an exception.
const EXCEPTION: &str = "process:exception";

/// Measured processes, and the readings of each.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Watched processes, by slot.
    watched: BTreeMap<u32, MeasuredProcess>,
    error_logs: ErrorLogs,
    machine: Machine,
}

/// Measured process with its readings.
#[derive(Debug, Default)]
struct MeasuredProcess {
    inc: u32,
    memory: MemoryWatch,
    cpu: CpuWatch,
    errors: ErrorWatch,
    /// Limit and usage of memory in bytes, while the limit is exceeded.
    excess: Option<(u64, u64)>,
}

impl Limits {
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        self.follow(ctx, step.id);
    }

    pub(crate) fn on_serving(&mut self, ctx: &mut Ctx, id: u32) {
        self.follow(ctx, id);
    }

    pub(crate) fn on_birth(&mut self, ctx: &mut Ctx, id: u32) {
        self.limit_group(ctx, id);
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        if matches!(message, Message::Typed { topic, .. } if topic == EXCEPTION) {
            self.add_errors(ctx, id, 1);
        }
    }

    /// Handles the deadline of the next measurement.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.measure(ctx);
    }

    /// Handles the answer that a process will be replaced, and reports it once.
    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        match answer {
            FeatureAnswer::Remedy { id, cause: RemedyCause::Memory, why } => self.report_memory(ctx, *id, why),
            FeatureAnswer::Remedy { id, cause: RemedyCause::Cpu, why } => {
                ctx.note(*id, why.clone());
                emit_exceeded(ctx, *id, RemedyCause::Cpu, false, why.clone());
            }
            _ => {}
        }
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.end(ctx, id);
    }
}

impl PerProcess for Limits {
    fn is_wanted(slot: &Slot) -> bool {
        slot.spec().safeguards.as_ref().is_some_and(|safeguards| safeguards.measures())
    }

    fn kept_for(&self, id: u32) -> Option<u32> {
        self.watched.get(&id).map(|watched| watched.inc)
    }

    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        if slot.spec().safeguards.as_ref().is_some_and(|safeguards| safeguards.errors.is_some()) {
            let file = slot.live.files.error.clone().map(|path| (path, slot.durable.log_start.0));
            self.error_logs.begin(id, inc, Rights::of(slot.spec()), file);
        }
        self.watched.insert(id, MeasuredProcess { inc, ..MeasuredProcess::default() });
        ctx.outbox.timers.set_sooner(Self::MEASURE, ctx.now.mono_ms.saturating_add(INTERVAL_MS));
    }

    fn end(&mut self, ctx: &mut Ctx, id: u32) {
        if self.watched.remove(&id).is_none() {
            return;
        }
        self.error_logs.end(id);
        if self.watched.is_empty() {
            ctx.outbox.timers.set(Self::MEASURE, None);
        }
    }
}

impl Limits {
    pub(crate) const NAME: &str = "limits";
    /// Timer of the next measurement of all processes.
    const MEASURE: Key = (Self::NAME, 0);

    /// Requests a remedy for a process.
    fn ask_for_remedy(&self, ctx: &mut Ctx, id: u32, cause: RemedyCause, why: String) {
        if let Some(MeasuredProcess { inc, .. }) = self.watched.get(&id) {
            ctx.request(FeatureRequest::Remedy { id, inc: *inc, cause, why });
        }
    }

    /// Adds errors that a process has reported.
    fn add_errors(&mut self, ctx: &mut Ctx, id: u32, errors: u64) {
        let Some(limit) = ctx.state.slots.get(id).and_then(|slot| slot.spec().safeguards.as_ref()?.errors) else { return };
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let Some(sum) = watched.errors.take(&limit, errors, ctx.now.mono_ms) else { return };
        let why = format!("reported {sum} errors within {} s (error_threshold: {})", limit.window_ms.div_ceil(1000), limit.threshold);
        ctx.note(id, why.clone());
        emit_exceeded(ctx, id, RemedyCause::Errors, !limit.restart, why.clone());
        if limit.restart {
            self.ask_for_remedy(ctx, id, RemedyCause::Errors, why);
        }
    }

    fn report_memory(&self, ctx: &mut Ctx, id: u32, why: &str) {
        let Some((limit, bytes)) = self.watched.get(&id).and_then(|watched| watched.excess) else { return };
        let Some(slot) = ctx.state.slots.get(id) else { return };
        // These are PM2's words, which scripts search for.
        ctx.io.log.line(format_args!(
            "[PM2][WORKER] Process {} restarted because it exceeds --max-memory-restart value (current_memory={bytes} \
             max_memory_limit={limit} [octets])",
            slot.durable.pm_id
        ));
        ctx.note(id, why.to_owned());
        emit_exceeded(ctx, id, RemedyCause::Memory, false, why.to_owned());
    }

    /// Sets the limits of the cgroup in which the next process of an instance starts. If the
    /// machine lacks a controller, the app still runs, and one line reports that.
    fn limit_group(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        if slot.spec().hard_limits().is_none() {
            return;
        }
        let total = self.machine.memory_bytes(ctx.now.mono_ms);
        let trouble = ctx.state.groups.limit(slot, total, ctx.io.keeper.pid());
        let ooms = slot.oom_kills().unwrap_or(0);
        let known = slot.durable.observations.last().map(|note| note.text.clone());
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.live.group_ooms = ooms;
        }
        if let Some(trouble) = trouble.filter(|trouble| Some(trouble) != known.as_ref()) {
            ctx.note(id, trouble);
        }
    }
}

/// Reports that a process exceeds a limit of usage or errors.
fn emit_exceeded(ctx: &mut Ctx, id: u32, cause: RemedyCause, warning: bool, why: String) {
    let limit = match cause {
        RemedyCause::Memory => LimitKind::Memory,
        RemedyCause::Cpu => LimitKind::Cpu,
        RemedyCause::Errors => LimitKind::Errors,
        RemedyCause::Health => return,
    };
    let at_ms = ctx.now.mono_ms;
    if let Some(slot) = ctx.state.slots.get_mut(id) {
        slot.live.exceeded = Some((limit, at_ms));
    }
    ctx.emit(id, EventKind::LimitExceeded { limit, warning }, event::EventCause::policy(cause.into(), why));
}
