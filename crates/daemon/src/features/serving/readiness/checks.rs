//! Active checks while a process starts: the time, a line in its log, an answer.

use std::path::PathBuf;

use ostler_core::health::probe::ProbeRequest;
use ostler_core::logs::files::own_stream;
use ostler_core::serving::{HttpProbe, ReadyBy};

use super::log_line::LineSearch;
use super::proof::Signal;
use super::{Readiness, ReadinessTimer, note_trouble};
use crate::engine::Ctx;
use crate::platform::probe::ProbeOutcome;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;

/// Time until a log that was not read completely, or that cannot be watched, is read again.
pub(super) const LOOK_AGAIN_MS: u64 = 50;

impl Readiness {
    pub(super) fn start_checks(&mut self, ctx: &mut Ctx, id: u32, since_ms: u64) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let started = match slot.live.proof.as_deref() {
            Some(ReadyBy::Uptime { ms }) => {
                ctx.outbox.timers.set(ReadinessTimer::Uptime.of(id), Some(since_ms.saturating_add(*ms)));
                Ok(())
            }
            Some(ReadyBy::Log(pattern)) => {
                let is_started = self.logs.begin(id, pattern, Rights::of(slot.spec()), log_files(slot), &ctx.io.reactor);
                // The line may be there already.
                ctx.outbox.timers.set(ReadinessTimer::Log.of(id), Some(0));
                is_started.map_err(|error| error.to_string())
            }
            Some(by) => match ProbeRequest::of(by, port_shift(slot, by)) {
                Some(question) => self.probes.begin(id, id, question, ctx.now.mono_ms).map_err(|error| error.to_string()),
                None => Ok(()),
            },
            None => Ok(()),
        };
        self.set_probe_timer(ctx);
        if let Err(trouble) = started {
            ctx.note(id, format!("has a broken readiness check: {trouble}"));
            note_trouble(ctx, id, format!("the readiness check is broken: {trouble}"));
        }
    }

    pub(super) fn stop_checks(&mut self, ctx: &mut Ctx, id: u32) {
        if self.checked.remove(&id).is_none() {
            return;
        }
        self.probes.end(id);
        self.set_probe_timer(ctx);
        self.logs.end(id);
        ctx.outbox.timers.set(ReadinessTimer::Uptime.of(id), None);
        ctx.outbox.timers.set(ReadinessTimer::Log.of(id), None);
        self.drop_newline(ctx, id);
    }

    fn set_probe_timer(&self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(ReadinessTimer::Probes.of(0), self.probes.deadline_ms());
    }

    /// Starts attempts of probes, and stops those that have taken too long.
    pub(super) fn run_probes(&mut self, ctx: &mut Ctx) {
        let state = &ctx.state;
        let answers = self.probes.tick(&ctx.io.reactor, ctx.now.mono_ms, |id, to| state.probe_route(id, to));
        for (id, answer) in answers {
            self.take_answer(ctx, id, answer);
        }
        self.set_probe_timer(ctx);
    }

    /// Handles a ready socket of the probe.
    pub(super) fn on_probe(&mut self, ctx: &mut Ctx, id: u32) {
        if let Some(answer) = self.probes.on_ready(id, &ctx.io.reactor, ctx.now.mono_ms) {
            self.take_answer(ctx, id, answer);
        }
        self.set_probe_timer(ctx);
    }

    fn take_answer(&mut self, ctx: &mut Ctx, id: u32, answer: ProbeOutcome) {
        match answer {
            ProbeOutcome::Good => self.on_signal(ctx, id, Signal::Answer),
            ProbeOutcome::Bad(trouble) => note_trouble(ctx, id, trouble),
            ProbeOutcome::Broken(trouble) => note_trouble(ctx, id, format!("the readiness check is broken: {trouble}")),
        }
    }

    /// Handles a signal that was found.
    pub(super) fn on_signal(&mut self, ctx: &mut Ctx, id: u32, signal: Signal) {
        if let Some(&inc) = self.checked.get(&id) {
            self.take_signal(ctx, id, inc, signal);
        }
    }

    /// Handles changed log files.
    pub(super) fn check_logs(&mut self, ctx: &mut Ctx) {
        for id in self.logs.changed() {
            self.check_log(ctx, id);
        }
    }

    pub(super) fn check_log(&mut self, ctx: &mut Ctx, id: u32) {
        match self.logs.read_new(id) {
            LineSearch::Found => self.on_signal(ctx, id, Signal::Log),
            LineSearch::Later => {}
            LineSearch::Soon => ctx.outbox.timers.set(ReadinessTimer::Log.of(id), Some(ctx.now.mono_ms + LOOK_AGAIN_MS)),
        }
    }
}

/// Returns the files in which a line can be found, with their sizes when the process started.
fn log_files(slot: &Slot) -> Vec<(PathBuf, u64)> {
    let (error, out) = slot.durable.log_start;
    let files = [(&slot.live.files.out, out), (&slot.live.files.error, error)];
    let mut found: Vec<(PathBuf, u64)> = Vec::new();
    for (path, size) in files {
        if let Some(path) = path.as_deref().filter(|path| own_stream(path).is_none() && !crate::logs::is_nowhere(path.as_ref()))
            && found.iter().all(|(known, _)| known.as_os_str() != path)
        {
            found.push((path.into(), size));
        }
    }
    found
}

/// Returns the shift of the probed port. If that port is the variable that increases from instance
/// to instance, it increases with it.
fn port_shift(slot: &Slot, by: &ReadyBy) -> u16 {
    match by {
        ReadyBy::Tcp { port, .. } | ReadyBy::Http(HttpProbe { port, .. }) => slot.port_shift(*port),
        _ => 0,
    }
}
