//! Telling others what happened: the daemon's log, pid files, subscribers.

use std::path::Path;

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{Ending, Late, Notice};

use crate::control::Control;
use crate::rights::Rights;
use crate::slots::why;
use crate::store::Role;

impl Control {
    /// The usual lines of PM2's log, because scripts look for them.
    pub(super) fn tell(&mut self, id: u32, notice: &Notice) {
        let now = self.ctx.now;
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        let spec = std::rc::Rc::clone(&slot.app.spec);
        let name = spec.name.clone();
        let (pm_id, is_seen) = (slot.pm_id, slot.role == Role::Serving);
        let log = &mut self.ctx.log;
        let event = match notice {
            Notice::Launched => {
                let mode = match slot.spec().mode {
                    ExecMode::Fork => "fork",
                    ExecMode::Cluster => "cluster",
                };
                log.line(format_args!("App [{name}:{pm_id}] starting in -{mode} mode-"));
                "start"
            }
            Notice::Online => {
                log.line(format_args!("App [{name}:{pm_id}] online"));
                "online"
            }
            Notice::ReadyTimeout(late) => {
                match late {
                    Late::Accepted => log.error(format_args!("App [{name}:{pm_id}] {}, taken as ready", slot.not_ready())),
                    Late::Stopped => log.error(format_args!("App [{name}:{pm_id}] {}, stopping it", slot.not_ready())),
                    Late::GoesOn => log.line(format_args!("App [{name}:{pm_id}] {}", slot.still_starting(now))),
                }
                return;
            }
            Notice::Exit(record) => {
                match record.ending {
                    Ending::Code(code) => log.line(format_args!("App [{name}:{pm_id}] exited with code [{code}]")),
                    Ending::Signal { signal, .. } => {
                        let signal = ostler_sys::signal::name(signal);
                        log.line(format_args!("App [{name}:{pm_id}] exited with code [0] via signal [{signal}]"));
                    }
                    Ending::Unknown | Ending::SpawnFailed { .. } => log.line(format_args!("App [{name}:{pm_id}] {}", why(record))),
                }
                "exit"
            }
            Notice::RestartScheduled { delay_ms } => {
                if *delay_ms > 0 {
                    log.line(format_args!("App [{name}:{pm_id}] will restart in {delay_ms}ms"));
                    // Otherwise the next process writes its pid over it at once.
                    self.remove_pid_file(id);
                }
                "restart"
            }
            Notice::Waiting => {
                let names: Vec<&str> = slot.spec().order.depends_on.keys().map(String::as_str).collect();
                log.line(format_args!("App [{name}:{pm_id}] waits for {}", names.join(", ")));
                return;
            }
            // Who ran it has a line for it.
            Notice::HookFailed { .. } => return,
            Notice::Draining => {
                log.line(format_args!("App [{name}:{pm_id}] finishes its requests"));
                return;
            }
            Notice::DrainTimeout => return,
            Notice::Stopping => {
                log.line(format_args!("Stopping app:{name} id:{pm_id}"));
                return;
            }
            Notice::KillTimeout => {
                let waited = slot.policy.kill_timeout_ms;
                let pid = slot.instance.pid().unwrap_or(0);
                log.line(format_args!("Process with pid {pid} still alive after {waited}ms, sending SIGKILL to it and all it started"));
                return;
            }
            Notice::Stopped => {
                self.remove_pid_file(id);
                "stop"
            }
            Notice::Overlimit { unstable } => {
                let script = slot.spec().script.clone();
                match slot.policy.budget.filter(|_| *unstable < slot.policy.max_restarts) {
                    Some(budget) => log.error(format_args!(
                        "Script {script} had too many restarts ({} within {} ms). Stopped. \"errored\"",
                        budget.n, budget.window_ms
                    )),
                    None if slot.app.spec.is_job() => log.error(format_args!("App [{name}:{pm_id}] job failed, {unstable} attempts")),
                    None => log.error(format_args!("Script {script} had too many unstable restarts ({unstable}). Stopped. \"errored\"")),
                }
                self.remove_pid_file(id);
                "restart overlimit"
            }
            Notice::CouldNotStart(record) => {
                log.error(format_args!("App [{name}:{pm_id}] {}", why(record)));
                self.remove_pid_file(id);
                "exit"
            }
            Notice::Deleted => {
                self.remove_pid_file(id);
                "delete"
            }
        };
        // The two processes of a reload are one instance: what happens to the one that does not serve is the rollout's to tell.
        if is_seen {
            self.ctx.log.event(event, &name);
        }
    }

    /// An instance serves from now on, in place of another process.
    pub(crate) fn serves_now(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        if let Some(pid) = slot.instance.pid() {
            self.write_pid_file(id, pid);
        }
        self.features.each().for_each(|feature| feature.on_serving(&mut self.ctx, id));
    }

    /// As PM2: the number only, no newline. A pid file that cannot be written is no reason not to run.
    pub(crate) fn write_pid_file(&mut self, id: u32, pid: i32) {
        let Some(slot) = self.ctx.slots.get_mut(id).filter(|slot| slot.role == Role::Serving) else { return };
        let path = Path::new(&slot.files.pid);
        let written = Rights::of(slot.spec()).write(path, pid.to_string().as_bytes());
        slot.pid_file_written = written.is_ok();
        if let Err(error) = written {
            self.ctx.log.error(format_args!("cannot write \"{}\": {error}", path.display()));
        }
    }

    /// The process of the pid file has ended.
    pub(crate) fn remove_pid_file(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        if std::mem::take(&mut slot.pid_file_written) {
            // Somebody else may have removed it already.
            let _ = Rights::of(slot.spec()).remove(slot.files.pid.as_ref());
        }
    }
}
