//! Daemon in the foreground of a container: its signals, and its shutdown.

use ostler_core::lifecycle::runtime::{RunStatus, RuntimeSpec, SignalAction, exit_code, life, runtime_result};
use ostler_core::lifecycle::{Event, InstanceState, Origin, ProcessEnding};
use ostler_keeper::{Child, STARTER_KEY};
use ostler_sys::process::signal::{TERM, WINCH};

use super::Runtime;
use crate::engine::{Ctx, FeatureRequest, Work};
use crate::state::slots::{Slot, ending_of};

/// PM2's time until an idle container exits, because a user who stops an app by hand may want to
/// start it again.
const BY_HAND_MS: u64 = 6000;
/// Exit code of the container if everything was killed, the same as for SIGKILL by the kernel.
const KILLED: u8 = 137;

/// State of the starter, the process that starts the apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starter {
    /// The starter still runs.
    Runs,
    /// The starter exited while no daemon ran.
    Ended(ostler_sys::WaitStatus),
    /// The starter has requested all apps.
    Done,
}

/// Progress of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownProgress {
    NotStarted,
    /// A stop of everything was requested.
    Requested,
    /// The remaining processes were killed.
    Killed,
}

/// Daemon as the runtime of a container.
#[derive(Debug)]
pub(super) struct Foreground {
    pub spec: RuntimeSpec,
    starter: Starter,
    /// Whether a program could not even be executed.
    pub is_unstartable: bool,
    /// End of the wait if nothing runs because a user stopped or deleted it (`mono_ms`).
    exit_at_ms: Option<u64>,
    stopping: ShutdownProgress,
}

impl Foreground {
    /// Creates the runtime; `starter`: as the keeper reports it.
    pub(super) fn new(spec: RuntimeSpec, starter: Option<&Child>) -> Self {
        let starter = match starter {
            Some(Child { ended: Some(ended), .. }) => Starter::Ended(ended.ending),
            Some(_) => Starter::Runs,
            None => Starter::Done,
        };
        Self { spec, starter, is_unstartable: false, exit_at_ms: None, stopping: ShutdownProgress::NotStarted }
    }

    pub(super) fn begin(&mut self, ctx: &mut Ctx) {
        ctx.outbox.shutdown.exit_code = Some(0);
        if let Starter::Ended(ending) = self.starter {
            self.starter_ended(ctx, ending);
        }
    }

    /// Handles a signal to the first process.
    pub(super) fn on_signal(&mut self, ctx: &mut Ctx, signal: i32) {
        let name = ostler_sys::process::signal::name(signal);
        match self.spec.meaning(signal) {
            SignalAction::Stop if self.stopping != ShutdownProgress::NotStarted => {
                ctx.io.log.line(format_args!("received {name} again, killing the remaining processes"));
                self.kill_all(ctx);
            }
            SignalAction::Stop => {
                ctx.io.log.line(format_args!("received {name}, stopping everything"));
                ctx.outbox.shutdown.is_signalled = true;
                self.stop_all(ctx, self.spec.stop_timeout_ms);
            }
            SignalAction::Forward => {
                // A terminal sends it whenever its size changes.
                if signal != WINCH {
                    ctx.io.log.line(format_args!("received {name}, passing it on"));
                }
                let running = ctx.state.slots.iter().filter(|slot| slot.durable.instance.pid().is_some());
                let keys: Vec<u64> = running.map(|slot| slot.key(slot.durable.instance.inc)).collect();
                keys.into_iter().for_each(|key| ctx.io.keeper.kill(key, signal, false));
            }
            SignalAction::ReloadLogs => ctx.request(FeatureRequest::ReloadLogs),
            SignalAction::Nothing => {}
        }
    }

    /// Stops everything, unless that is in progress already. After `kill_after_ms` the remaining
    /// processes are killed. The remaining list is not saved.
    pub(super) fn stop_all(&mut self, ctx: &mut Ctx, kill_after_ms: Option<u64>) {
        if self.stopping != ShutdownProgress::NotStarted {
            return;
        }
        self.stopping = ShutdownProgress::Requested;
        ctx.outbox.timers.set(Runtime::OVER, None);
        ctx.outbox.timers.set(Runtime::KILL, kill_after_ms.map(|time| ctx.now.mono_ms.saturating_add(time)));
        // A starter that still reads a config file, or waits before the start, would start an app
        // after the shutdown.
        ctx.io.keeper.kill(STARTER_KEY, TERM, false);
        ctx.request(FeatureRequest::End { client: 0, id: 0, origin: Origin::Shutdown, saves_list: false });
    }

    /// Kills everything, because the grace time is over.
    pub(super) fn kill_all(&mut self, ctx: &mut Ctx) {
        if std::mem::replace(&mut self.stopping, ShutdownProgress::Killed) == ShutdownProgress::Killed {
            return;
        }
        ctx.outbox.timers.set(Runtime::KILL, None);
        ctx.outbox.shutdown.is_hasty = true;
        ctx.outbox.shutdown.exit_code = Some(KILLED);
        let ids: Vec<u32> = ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        ids.iter().for_each(|&id| ctx.event(id, Event::Delete(Origin::Shutdown)));
        ids.iter().for_each(|&id| ctx.event(id, Event::Hurry));
    }

    /// Handles the exit of the starter. A failure is not acknowledged, so the next daemon gets it
    /// again if this daemon is killed now.
    pub(super) fn starter_ended(&mut self, ctx: &mut Ctx, ending: ostler_sys::WaitStatus) {
        let ending = ending_of(ending);
        let nothing_runs = ctx.state.slots.serving().filter(|slot| !slot.spec().is_module()).all(|slot| life_of(slot) != RunStatus::Up);
        // Apps that were only not ready in time are handled by their restart policy.
        if ending != ProcessEnding::Code(0) && (nothing_runs || self.is_unstartable) && self.stopping == ShutdownProgress::NotStarted {
            // A failed start must not look like a success.
            ctx.outbox.shutdown.exit_code = Some(exit_code(ending).max(1));
            return self.stop_all(ctx, None);
        }
        self.starter = Starter::Done;
        ctx.outbox.effects.push(Work::Ack(STARTER_KEY));
    }

    /// Stops the container at the end of a turn if nothing runs any more. Modules do not count,
    /// because they serve the apps.
    pub(super) fn check_idle(&mut self, ctx: &mut Ctx) {
        match self.stopping {
            ShutdownProgress::Killed => hurry_those_with_time(ctx),
            ShutdownProgress::Requested => {}
            ShutdownProgress::NotStarted => self.exit_if_idle(ctx),
        }
    }

    fn exit_if_idle(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let is_busy =
            self.spec.stays || self.starter != Starter::Done || ctx.state.open_requests > 0 || ctx.outbox.shutdown.ending.is_some();
        let end =
            if is_busy { None } else { runtime_result(ctx.state.slots.serving().filter(|slot| !slot.spec().is_module()).map(life_of)) };
        let over_at_ms = self.exit_at_ms.unwrap_or(now_ms + BY_HAND_MS);
        let waits = end.is_some_and(|end| end.by_hand && self.exit_at_ms.is_none_or(|at| at > now_ms));
        self.exit_at_ms = waits.then_some(over_at_ms);
        ctx.outbox.timers.set(Runtime::OVER, self.exit_at_ms);
        let Some(end) = end.filter(|_| !waits) else { return };
        ctx.io.log.line(format_args!("no process is left; exiting with code [{}]", end.code));
        ctx.outbox.shutdown.exit_code = Some(end.code);
        self.stop_all(ctx, None);
    }
}

/// Kills processes that a hook has delayed until now: the grace time is over for all.
fn hurry_those_with_time(ctx: &mut Ctx) {
    let now_ms = ctx.now.mono_ms;
    let has_time =
        |state: &InstanceState| matches!(state, InstanceState::Stopping { killed: false, deadline_ms, .. } if *deadline_ms > now_ms);
    let ids: Vec<u32> = ctx.state.slots.iter().filter(|slot| has_time(&slot.durable.instance.state)).map(|slot| slot.durable.id).collect();
    ids.into_iter().for_each(|id| ctx.event(id, Event::Hurry));
}

fn life_of(slot: &Slot) -> RunStatus {
    let given = slot.spec().given.open();
    let scheduled = given.get("cron_restart").is_some_and(|pattern| !matches!(pattern.as_str(), Some("0" | "")) && !pattern.is_number());
    life(&slot.durable.instance, scheduled)
}
