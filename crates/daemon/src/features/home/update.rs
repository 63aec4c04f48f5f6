//! `update` command, and checks whether keeper and daemon are alive. Only the keeper can answer
//! these requests.

use ostler_keeper::{FromKeeper, ToKeeper};
use ostler_proto::control::{Failure, Request, Response};
use ostler_proto::event::{EventCause, EventKind};
use ostler_sys::ProcRef;

use crate::engine::{Caller, ClientRequest, Ctx};

/// Callers that wait for the keeper: connection and request.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// Caller of an update that waits for the answer, and the cause of the update.
    updater: Option<(u32, u64, EventCause)>,
    /// Callers that requested a check of the keeper.
    pulses: Vec<(u32, u64)>,
}

impl Update {
    pub(crate) const NAME: &str = "update";

    /// Starts an update. The answer comes when the new keeper reports that this daemon may exit, or
    /// the old keeper reports a failure.
    fn begin(&mut self, ctx: &mut Ctx, (client, id): (u32, u64), caller: Caller, exe: &str) {
        // Facts that were found by now are kept with the apps.
        ctx.record_findings();
        ctx.io.keeper.upgrade(exe.into());
        // The event shows the next daemon that the change of daemons was intended.
        let cause = EventCause::from(&caller.origin("update"));
        ctx.emit_for_manager(EventKind::UpdateBegun, cause.clone());
        self.updater = Some((client, id, cause));
    }

    /// Handles a failed update.
    fn failed(&mut self, ctx: &mut Ctx, why: &str) {
        ctx.io.log.error(format_args!("cannot switch to the new program: {why}; the current program keeps running"));
        if let Some((client, id, cause)) = self.updater.take() {
            ctx.emit_for_manager(EventKind::UpdateFailed { why: why.to_owned() }, cause);
            let reason = format!("cannot switch to the new program: {why}; nothing was changed");
            ctx.reply(client, id, Response::Failed(Failure::Other(reason)));
        }
    }
}

impl Update {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let asker = (ask.client, ask.id);
        match &ask.request {
            Request::Update { exe } => self.begin(ctx, asker, ask.caller, exe),
            Request::Pulse => {
                self.pulses.push(asker);
                ctx.io.keeper.send(ToKeeper::Ping);
            }
            _ => return Some(ask),
        }
        None
    }

    pub(crate) fn on_keeper(&mut self, ctx: &mut Ctx, message: &FromKeeper) {
        match message {
            FromKeeper::Pong => {
                for (client, id) in std::mem::take(&mut self.pulses) {
                    ctx.reply(client, id, Response::Pong);
                }
            }
            FromKeeper::UpgradeFailed { step, errno } => {
                let why = match (step.as_str(), *errno) {
                    ("check", 0) => "it does not accept the state of the running program".to_owned(),
                    ("read", _) => "an app blocks the keeper while it reads the app's memory; stop the app first".to_owned(),
                    (step, errno) => format!("{step}: {}", std::io::Error::from_raw_os_error(errno)),
                };
                self.failed(ctx, &why);
            }
            FromKeeper::Retire => {
                if let Some((client, id, _)) = self.updater.take() {
                    ctx.reply(client, id, Response::Done { ids: Vec::new() });
                }
            }
            _ => {}
        }
    }

    /// Handles a new keeper: the keeper that got the `Ping` is gone.
    pub(crate) fn on_new_keeper(&mut self, ctx: &mut Ctx, _survivors: &[(u64, ProcRef)]) {
        if !self.pulses.is_empty() {
            ctx.io.keeper.send(ToKeeper::Ping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};

    fn ask(played: &mut TestContext, update: &mut Update, id: u64, request: Request) {
        let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
        assert!(update.on_client_request(&mut played.ctx, ClientRequest { client: 1, id, caller, request }).is_none());
    }

    fn replies(played: &mut TestContext) -> Vec<(u64, Response)> {
        std::mem::take(&mut played.ctx.outbox.replies).into_iter().map(|(_, id, response)| (id, response)).collect()
    }

    #[test]
    fn each_pulse_request_is_answered_once() {
        let (mut played, mut update) = (TestContext::new(&[]), Update::default());
        ask(&mut played, &mut update, 1, Request::Pulse);
        ask(&mut played, &mut update, 2, Request::Pulse);
        assert!(replies(&mut played).is_empty(), "the keeper has not said anything");
        update.on_keeper(&mut played.ctx, &FromKeeper::Pong);
        assert!(matches!(&*replies(&mut played), [(1, Response::Pong), (2, Response::Pong)]));
        update.on_keeper(&mut played.ctx, &FromKeeper::Pong);
        assert!(replies(&mut played).is_empty());
    }

    #[test]
    fn update_is_answered_with_the_result_of_the_keeper() {
        let (mut played, mut update) = (TestContext::new(&[]), Update::default());
        ask(&mut played, &mut update, 1, Request::Update { exe: "/new".into() });
        assert!(replies(&mut played).is_empty());
        update.on_keeper(&mut played.ctx, &FromKeeper::UpgradeFailed { step: "exec".into(), errno: 8 });
        let answers = replies(&mut played);
        assert!(matches!(&*answers, [(1, Response::Failed(Failure::Other(why)))] if why.contains("exec")), "{answers:?}");
        let events: Vec<EventKind> = played.events().into_iter().map(|event| event.kind).collect();
        assert!(matches!(&*events, [EventKind::UpdateBegun, EventKind::UpdateFailed { why }] if why.contains("exec")), "{events:?}");
        assert_eq!(played.ctx.state.events.update_in_progress(), None);
        ask(&mut played, &mut update, 2, Request::Update { exe: "/new".into() });
        update.on_keeper(&mut played.ctx, &FromKeeper::Retire);
        assert!(matches!(&*replies(&mut played), [(2, Response::Done { .. })]));
        // The next daemon reports the user who requested it.
        played.events();
        let by = EventCause::User { command: "update".into(), uid: 0, pid: 1, on_behalf_of: None };
        assert_eq!(played.ctx.state.events.update_in_progress(), Some(by));
    }

    reacts!(Update: on_client_request);
}
