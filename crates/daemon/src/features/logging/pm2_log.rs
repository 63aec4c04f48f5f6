//! Usual lines of PM2's log about the events of instances. Scripts search for them.

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{LateAction, ProcessEnding, Transition};
use ostler_core::time::Now;

use crate::engine::Ctx;
use crate::platform::log::DaemonLog;
use crate::state::slots::{Slot, exit_text};

/// Writer of these lines. It has no state: it reads the transition and the slot.
#[derive(Debug, Default)]
pub(crate) struct Pm2Log;

impl Pm2Log {
    pub(crate) const NAME: &str = "pm2_log";
}

impl Pm2Log {
    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        write_line(&mut ctx.io.log, slot, transition, ctx.now);
        // The two processes of a reload are one instance. The rollout reports the events of the
        // process that does not serve.
        if let Some(event) = event(transition).filter(|_| slot.is_visible()) {
            ctx.io.log.event(event, &slot.spec().name);
        }
    }
}

/// Returns PM2's word for the transition, for programs that read our lines as JSON.
fn event(transition: &Transition) -> Option<&'static str> {
    match transition {
        Transition::Launched => Some("start"),
        Transition::Online => Some("online"),
        Transition::Exit(_) | Transition::CouldNotStart(_) => Some("exit"),
        Transition::RestartScheduled { .. } => Some("restart"),
        Transition::Stopped => Some("stop"),
        Transition::Overlimit { .. } => Some("restart overlimit"),
        Transition::Deleted => Some("delete"),
        Transition::ReadyTimeout(_)
        | Transition::Waiting
        | Transition::HookFailed { .. }
        | Transition::Draining
        | Transition::DrainTimeout
        | Transition::Stopping
        | Transition::KillTimeout => None,
    }
}

fn write_line(log: &mut DaemonLog, slot: &Slot, transition: &Transition, now: Now) {
    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
    match transition {
        Transition::Launched => {
            let mode = match slot.spec().mode {
                ExecMode::Fork => "fork",
                ExecMode::Cluster => "cluster",
            };
            log.line(format_args!("App [{name}:{pm_id}] starting in -{mode} mode-"));
        }
        Transition::Online => log.line(format_args!("App [{name}:{pm_id}] online")),
        Transition::ReadyTimeout(LateAction::Accepted) => {
            log.error(format_args!("App [{name}:{pm_id}] {}, treated as ready", slot.not_ready()))
        }
        Transition::ReadyTimeout(LateAction::Stopped) => log.error(format_args!("App [{name}:{pm_id}] {}, stopping it", slot.not_ready())),
        Transition::ReadyTimeout(LateAction::KeepsRunning) => log.line(format_args!("App [{name}:{pm_id}] {}", slot.still_starting(now))),
        Transition::Exit(record) => match record.ending {
            ProcessEnding::Code(code) => log.line(format_args!("App [{name}:{pm_id}] exited with code [{code}]")),
            ProcessEnding::Signal { signal, .. } => {
                let signal = ostler_sys::process::signal::name(signal);
                log.line(format_args!("App [{name}:{pm_id}] exited with code [0] via signal [{signal}]"));
            }
            ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => {
                log.line(format_args!("App [{name}:{pm_id}] {}", exit_text(record)))
            }
        },
        Transition::RestartScheduled { delay_ms } if *delay_ms > 0 => {
            log.line(format_args!("App [{name}:{pm_id}] will restart in {delay_ms}ms"));
        }
        Transition::Waiting => {
            let names: Vec<&str> = slot.spec().order.depends_on.keys().map(String::as_str).collect();
            log.line(format_args!("App [{name}:{pm_id}] waits for {}", names.join(", ")));
        }
        Transition::Draining => log.line(format_args!("App [{name}:{pm_id}] finishes its requests")),
        Transition::Stopping => log.line(format_args!("Stopping app:{name} id:{pm_id}")),
        Transition::KillTimeout => {
            let waited = slot.live.policy.kill_timeout_ms;
            let pid = slot.durable.instance.pid().unwrap_or(0);
            log.line(format_args!("Process with pid {pid} still alive after {waited}ms, sending SIGKILL to it and all it started"));
        }
        Transition::Overlimit { unstable } => write_overlimit(log, slot, *unstable),
        Transition::CouldNotStart(record) => log.error(format_args!("App [{name}:{pm_id}] {}", exit_text(record))),
        // The hook and the drain log these lines themselves.
        Transition::HookFailed { .. }
        | Transition::DrainTimeout
        | Transition::RestartScheduled { .. }
        | Transition::Stopped
        | Transition::Deleted => {}
    }
}

fn write_overlimit(log: &mut DaemonLog, slot: &Slot, unstable: u32) {
    let (spec, pm_id) = (slot.spec(), slot.durable.pm_id);
    let (name, script) = (&spec.name, &spec.script);
    match slot.live.policy.budget.filter(|_| unstable < slot.live.policy.max_restarts) {
        Some(budget) => log.error(format_args!(
            "Script {script} had too many restarts ({} within {} ms). Stopped. \"errored\"",
            budget.n, budget.window_ms
        )),
        None if spec.is_job() => log.error(format_args!("App [{name}:{pm_id}] job failed, {unstable} attempts")),
        None => log.error(format_args!("Script {script} had too many unstable restarts ({unstable}). Stopped. \"errored\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::AppSpec;
    use ostler_core::app::RestartBudget;

    #[test]
    fn log_lines_use_the_words_that_scripts_search_for() {
        for (transition, line) in [
            (Transition::Launched, "App [api:0] starting in -cluster mode-"),
            (Transition::Online, "App [api:0] online"),
            (
                Transition::ReadyTimeout(LateAction::Accepted),
                "App [api:0] was not ready within 3000 ms; `listen_timeout` sets that time, treated as ready",
            ),
            (Transition::RestartScheduled { delay_ms: 100 }, "App [api:0] will restart in 100ms"),
            (Transition::RestartScheduled { delay_ms: 0 }, ""),
            (Transition::Waiting, "App [api:0] waits for db"),
            (Transition::Draining, "App [api:0] finishes its requests"),
            (Transition::DrainTimeout, ""),
            (Transition::Stopping, "Stopping app:api id:0"),
            (Transition::KillTimeout, "Process with pid 0 still alive after 1600ms, sending SIGKILL to it and all it started"),
            (Transition::Stopped, ""),
            (Transition::Overlimit { unstable: 16 }, "Script /srv/api.js had too many unstable restarts (16). Stopped. \"errored\""),
            (Transition::Deleted, ""),
        ] {
            let mut played = TestContext::new(&[]);
            let mut spec = AppSpec { name: "api".into(), script: "/srv/api.js".into(), mode: ExecMode::Cluster, ..AppSpec::default() };
            spec.order.depends_on.insert("db".into(), ostler_core::lifecycle::order::Condition::Ready);
            let id = played.instance(spec);
            Pm2Log.on_transition(&mut played.ctx, id, &transition);
            let log = played.log();
            assert!(if line.is_empty() { log.is_empty() } else { log.trim_end().ends_with(line) }, "{transition:?}: {log}");
        }
    }

    #[test]
    fn restart_budget_is_named_in_the_log() {
        let mut played = TestContext::new(&[]);
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..AppSpec::default() });
        played.ctx.state.slots.get_mut(id).unwrap().live.policy.budget = Some(RestartBudget { n: 3, window_ms: 60_000 });
        Pm2Log.on_transition(&mut played.ctx, id, &Transition::Overlimit { unstable: 3 });
        assert!(played.log().contains("too many restarts (3 within 60000 ms)"), "{}", played.log());
    }

    reacts!(Pm2Log: on_transition);
}
