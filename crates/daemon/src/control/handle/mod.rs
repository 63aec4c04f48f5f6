//! One file per request.

pub(crate) mod act;
mod lives;
mod reload;
mod scheduled;
mod start;

use ostler_core::instances::Leaving;
use ostler_core::lifecycle::Origin;
use ostler_proto::control::{Action, Failure, Request, Response};

use self::start::Asked;
use super::{Control, Job, Step};
use crate::engine::{Ask, Request as Order};
use crate::slots::saved;

impl Control {
    pub(super) fn handle(&mut self, ask: Ask) {
        let Ask { client, id, caller, request } = ask;
        // What is started while everything is being stopped would be left behind.
        let starts = matches!(
            request,
            Request::Start { .. }
                | Request::Act { .. }
                | Request::RunJob { .. }
                | Request::Scale { .. }
                | Request::Undo { .. }
                | Request::Resurrect
        );
        if starts && self.ctx.is_ending() {
            let failure = Failure::Other("the daemon is about to end (somebody asked it to); try again".into());
            return self.ctx.reply(client, id, Response::Failed(failure));
        }
        let response = match request {
            // The door and features answer these.
            Request::Hello { .. }
            | Request::Ping
            | Request::Subscribe { .. }
            | Request::Host
            | Request::List
            | Request::Table
            | Request::Processes
            | Request::Health { .. }
            | Request::Inspect { .. }
            | Request::Save { .. }
            | Request::Events
            | Request::ReloadLogs
            | Request::Flush { .. }
            | Request::Update { .. }
            | Request::Pulse => return,
            Request::Start { apps, base_env, existing, command, confirm } => {
                let asked = Asked { origin: caller.origin(command), confirm };
                return self.start(client, id, apps, base_env, &existing, asked);
            }
            Request::Act { action, targets, cwd, change, parallel, gentle, canary_ms, command } => {
                let origin = caller.origin(command);
                let (step, parallel) = (Step::Act(action, change), parallel as usize);
                let job = self.action_job(client, id, action, targets, origin);
                return self.begin(Job { step, cwd, parallel, gentle, canary_ms, ..job });
            }
            Request::Rollouts { app } => Response::Rollouts(self.features.rollouts.reports(app.as_deref())),
            Request::Undo { app, to, command } => {
                let origin = caller.origin(command);
                return self.undo(client, id, &app, to, origin);
            }
            Request::RunJob { target, command } => {
                let origin = caller.origin(command);
                return self.run_job(client, id, &target, &origin);
            }
            Request::Scale { name, cwd, to, oldest_first } => {
                let origin = caller.origin("scale");
                let first = if oldest_first { Leaving::Oldest } else { Leaving::Newest };
                return self.scale(client, id, (&name, &cwd), (to, first), origin);
            }
            Request::Signal { signal, target } => self.send_signal(client, id, signal, &target),
            Request::SettingsChanged => {
                self.features.each().for_each(|feature| feature.on_settings(&mut self.ctx));
                Response::Done { ids: Vec::new() }
            }
            Request::Resurrect => {
                let origin = Origin::Resurrect;
                return self.resurrect(client, id, origin);
            }
            Request::Kill => {
                self.ctx.request(Order::SaveList);
                return self.ctx.request(Order::End { client, id, origin: caller.origin("kill") });
            }
        };
        self.ctx.reply(client, id, response);
    }

    /// Everything is to end.
    pub(super) fn end(&mut self, client: u32, id: u64, origin: Origin) {
        if self.ctx.is_closing && client == 0 {
            return;
        }
        if origin == Origin::Shutdown
            && !self.ctx.slots.nothing_serves()
            && let Err(error) = saved::write(&self.ctx.slots, &self.ctx.settings, true)
        {
            self.ctx.log.error(format_args!("{error}"));
        }
        let targets = if self.ctx.slots.nothing_serves() { Vec::new() } else { vec!["all".to_owned()] };
        let mut job = self.action_job(client, id, Action::Delete, targets, origin);
        job.then = super::Then::Exit;
        self.begin(job);
    }
}
