//! The usual lines of PM2's log about what happens to instances, because scripts look for them.

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{Ending, Late, Notice};
use ostler_core::time::Now;

use crate::engine::{Ctx, Feature};
use crate::log::DaemonLog;
use crate::slots::{Slot, why};

/// It has no state: what there is to say is in the notice and on the slot.
#[derive(Debug, Default)]
pub(crate) struct Pm2Log;

impl Pm2Log {
    pub(crate) const NAME: &str = "pm2_log";
}

impl Feature for Pm2Log {
    fn on_notice(&mut self, ctx: &mut Ctx, id: u32, notice: &Notice) {
        let Some(slot) = ctx.slots.get(id) else { return };
        write_line(&mut ctx.log, slot, notice, ctx.now);
        // The two processes of a reload are one instance: what happens to the one that does not serve is the rollout's to tell.
        if let Some(event) = event(notice).filter(|_| slot.is_seen()) {
            ctx.log.event(event, &slot.spec().name);
        }
    }
}

/// PM2's word for it, for those who read our lines as JSON.
fn event(notice: &Notice) -> Option<&'static str> {
    match notice {
        Notice::Launched => Some("start"),
        Notice::Online => Some("online"),
        Notice::Exit(_) | Notice::CouldNotStart(_) => Some("exit"),
        Notice::RestartScheduled { .. } => Some("restart"),
        Notice::Stopped => Some("stop"),
        Notice::Overlimit { .. } => Some("restart overlimit"),
        Notice::Deleted => Some("delete"),
        Notice::ReadyTimeout(_)
        | Notice::Waiting
        | Notice::HookFailed { .. }
        | Notice::Draining
        | Notice::DrainTimeout
        | Notice::Stopping
        | Notice::KillTimeout => None,
    }
}

fn write_line(log: &mut DaemonLog, slot: &Slot, notice: &Notice, now: Now) {
    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
    match notice {
        Notice::Launched => {
            let mode = match slot.spec().mode {
                ExecMode::Fork => "fork",
                ExecMode::Cluster => "cluster",
            };
            log.line(format_args!("App [{name}:{pm_id}] starting in -{mode} mode-"));
        }
        Notice::Online => log.line(format_args!("App [{name}:{pm_id}] online")),
        Notice::ReadyTimeout(Late::Accepted) => log.error(format_args!("App [{name}:{pm_id}] {}, taken as ready", slot.not_ready())),
        Notice::ReadyTimeout(Late::Stopped) => log.error(format_args!("App [{name}:{pm_id}] {}, stopping it", slot.not_ready())),
        Notice::ReadyTimeout(Late::GoesOn) => log.line(format_args!("App [{name}:{pm_id}] {}", slot.still_starting(now))),
        Notice::Exit(record) => match record.ending {
            Ending::Code(code) => log.line(format_args!("App [{name}:{pm_id}] exited with code [{code}]")),
            Ending::Signal { signal, .. } => {
                let signal = ostler_sys::signal::name(signal);
                log.line(format_args!("App [{name}:{pm_id}] exited with code [0] via signal [{signal}]"));
            }
            Ending::Unknown | Ending::SpawnFailed { .. } => log.line(format_args!("App [{name}:{pm_id}] {}", why(record))),
        },
        Notice::RestartScheduled { delay_ms } if *delay_ms > 0 => {
            log.line(format_args!("App [{name}:{pm_id}] will restart in {delay_ms}ms"));
        }
        Notice::Waiting => {
            let names: Vec<&str> = slot.spec().order.depends_on.keys().map(String::as_str).collect();
            log.line(format_args!("App [{name}:{pm_id}] waits for {}", names.join(", ")));
        }
        Notice::Draining => log.line(format_args!("App [{name}:{pm_id}] finishes its requests")),
        Notice::Stopping => log.line(format_args!("Stopping app:{name} id:{pm_id}")),
        Notice::KillTimeout => {
            let waited = slot.live.policy.kill_timeout_ms;
            let pid = slot.durable.instance.pid().unwrap_or(0);
            log.line(format_args!("Process with pid {pid} still alive after {waited}ms, sending SIGKILL to it and all it started"));
        }
        Notice::Overlimit { unstable } => write_overlimit(log, slot, *unstable),
        Notice::CouldNotStart(record) => log.error(format_args!("App [{name}:{pm_id}] {}", why(record))),
        // Who runs a hook has a line for it, and who drains.
        Notice::HookFailed { .. } | Notice::DrainTimeout | Notice::RestartScheduled { .. } | Notice::Stopped | Notice::Deleted => {}
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
    use crate::engine::Played;
    use ostler_core::app::AppSpec;
    use ostler_core::restart::RestartBudget;

    #[test]
    fn each_notice_in_the_words_that_scripts_look_for() {
        for (notice, line) in [
            (Notice::Launched, "App [api:0] starting in -cluster mode-"),
            (Notice::Online, "App [api:0] online"),
            (
                Notice::ReadyTimeout(Late::Accepted),
                "App [api:0] was not ready within 3000 ms; `listen_timeout` sets that time, taken as ready",
            ),
            (Notice::RestartScheduled { delay_ms: 100 }, "App [api:0] will restart in 100ms"),
            (Notice::RestartScheduled { delay_ms: 0 }, ""),
            (Notice::Waiting, "App [api:0] waits for db"),
            (Notice::Draining, "App [api:0] finishes its requests"),
            (Notice::DrainTimeout, ""),
            (Notice::Stopping, "Stopping app:api id:0"),
            (Notice::KillTimeout, "Process with pid 0 still alive after 1600ms, sending SIGKILL to it and all it started"),
            (Notice::Stopped, ""),
            (Notice::Overlimit { unstable: 16 }, "Script /srv/api.js had too many unstable restarts (16). Stopped. \"errored\""),
            (Notice::Deleted, ""),
        ] {
            let mut played = Played::new(&[]);
            let mut spec = AppSpec { name: "api".into(), script: "/srv/api.js".into(), mode: ExecMode::Cluster, ..AppSpec::default() };
            spec.order.depends_on.insert("db".into(), ostler_core::order::Condition::Ready);
            let id = played.instance(spec);
            Pm2Log.on_notice(&mut played.ctx, id, &notice);
            let log = played.log();
            assert!(if line.is_empty() { log.is_empty() } else { log.trim_end().ends_with(line) }, "{notice:?}: {log}");
        }
    }

    #[test]
    fn too_many_restarts_in_a_time_of_the_users_choice() {
        let mut played = Played::new(&[]);
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..AppSpec::default() });
        played.ctx.slots.get_mut(id).unwrap().live.policy.budget = Some(RestartBudget { n: 3, window_ms: 60_000 });
        Pm2Log.on_notice(&mut played.ctx, id, &Notice::Overlimit { unstable: 3 });
        assert!(played.log().contains("too many restarts (3 within 60000 ms)"), "{}", played.log());
    }
}
