//! Requests whose client does not wait. It gets its answer when the daemon has accepted the
//! request.

use std::collections::BTreeSet;

use ostler_proto::control::{Confirm, Failure, Response};

use super::confirm::Confirmation;
use super::job::{DetachState, Job, Requester};
use crate::engine::Ctx;

impl Job {
    /// Sets the confirmation that the client waits for.
    pub(super) fn until(self, confirm: Option<Confirm>, now_ms: u64) -> Self {
        match confirm {
            Some(Confirm { detached: true, .. }) => Self { detaching: DetachState::Requested, ..self },
            confirm => Self { confirm: confirm.map(|confirm| Confirmation::new(confirm, now_ms)), ..self },
        }
    }

    /// Starts the whole request, and answers the client when no resulting work is left in the
    /// queue.
    pub(super) fn detach(&mut self, ctx: &mut Ctx) {
        if self.detaching == DetachState::Requested {
            self.detaching = DetachState::Started;
            if let Err(failure) = self.resolve_all(ctx) {
                self.leave_asker(ctx, Response::Failed(failure));
            }
            self.start_pending(ctx);
        }
        if self.detaching == DetachState::Started && ctx.is_idle() {
            let response = self.response();
            self.leave_asker(ctx, response);
        }
    }

    /// Resolves every target until one of them is invalid. The instances of earlier targets are
    /// still processed.
    pub(super) fn resolve_all(&mut self, ctx: &mut Ctx) -> Result<(), Failure> {
        let mut result = Ok(());
        while let Some(target) = self.targets.pop_front()
            && result.is_ok()
        {
            result = self.resolve(ctx, target);
        }
        self.targets.clear();
        let mut seen = BTreeSet::new();
        self.pending.retain(|id| seen.insert(*id));
        result
    }

    /// Answers the client, which gets no further message.
    fn leave_asker(&mut self, ctx: &mut Ctx, response: Response) {
        self.detaching = DetachState::Attached;
        // A client that has its answer expects the request to survive daemon and keeper.
        ctx.state.state_file.hurry();
        ctx.state.state_file.write_with_next();
        self.asker.answer(ctx, response);
        self.asker = Requester::NOBODY;
    }
}
