//! Meaning of signals, and shutdown: in the background, and in the foreground of a container
//! (`ostler runtime`). In a container, the apps' output is the container's output, and their exit
//! is its exit.
//!
//! There the keeper is the first process and keeps its original standard output and error. Thus
//! `/proc/1/fd/1` is the container's log for every process in it. The daemon has copies of both. It
//! decides the meaning of a signal, when the container exits, and with which code. The next daemon
//! knows all of it again: the environment has the behaviour, the keeper knows whether the starter
//! is done, and the journal has the apps.

mod foreground;
#[cfg(test)]
mod tests;

use ostler_core::lifecycle::Origin;
use ostler_core::lifecycle::runtime::RuntimeSpec;
use ostler_keeper::{Inventory, RUNTIME_VAR, STARTER_KEY};
use ostler_sys::ProcRef;
use ostler_sys::process::signal::{INT, QUIT, TERM, USR2};

use self::foreground::Foreground;
use crate::engine::{ChildEvent, Ctx, FeatureAnswer, FeatureRequest, Key};

/// State of signals and shutdown.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    /// Foreground of a container; `None` in the background.
    front: Option<Foreground>,
}

impl Runtime {
    pub(crate) const NAME: &str = "runtime";
    /// Time when the remaining processes are killed.
    const KILL: Key = (Self::NAME, 0);
    /// Time when the container exits because a user stopped or deleted all apps.
    const OVER: Key = (Self::NAME, 1);

    /// Creates it from the environment that the keeper passed on.
    ///
    /// # Errors
    /// Returns an error if the value of the variable is invalid.
    pub(crate) fn from_env(inventory: &Inventory) -> Result<Self, serde_json::Error> {
        let Ok(how) = std::env::var(RUNTIME_VAR) else { return Ok(Self::default()) };
        let starter = inventory.children.iter().find(|child| child.key == STARTER_KEY);
        Ok(Self { front: Some(Foreground::new(serde_json::from_str(&how)?, starter)) })
    }

    /// Returns the behaviour in the foreground of a container; `None` in the background.
    pub(crate) fn spec(&self) -> Option<&RuntimeSpec> {
        self.front.as_ref().map(|front| &front.spec)
    }
}

impl Runtime {
    /// Checks the starter, which may have exited while no daemon ran.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        if let Some(front) = &mut self.front {
            front.begin(ctx);
        }
    }

    pub(crate) fn on_signal(&mut self, ctx: &mut Ctx, signal: i32) -> bool {
        match &mut self.front {
            Some(front) => front.on_signal(ctx, signal),
            None => return in_background(ctx, signal),
        }
        true
    }

    pub(crate) fn on_child(&mut self, ctx: &mut Ctx, key: u64, event: ChildEvent<'_>) -> bool {
        if let (Some(front), ChildEvent::Exited(ending), STARTER_KEY) = (&mut self.front, event, key) {
            front.starter_ended(ctx, ending);
        }
        key == STARTER_KEY
    }

    pub(crate) fn on_answer(&mut self, _ctx: &mut Ctx, answer: &FeatureAnswer) {
        if let (Some(front), FeatureAnswer::Unstartable) = (&mut self.front, answer) {
            front.is_unstartable = true;
        }
    }

    /// Stops everything: the called process was killed, so its caller expects that everything has
    /// stopped. (In a container that process is number 1, and no process outlives it.)
    pub(crate) fn on_new_keeper(&mut self, ctx: &mut Ctx, _survivors: &[(u64, ProcRef)]) {
        if let Some(front) = &mut self.front {
            front.stop_all(ctx, None);
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        if let Some(front) = self.front.as_mut().filter(|_| (Self::NAME, key) == Self::KILL) {
            ctx.io.log.error(format_args!("the time limit for stopping has passed; killing the remaining processes"));
            front.kill_all(ctx);
        }
    }

    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        if let Some(front) = &mut self.front {
            front.check_idle(ctx);
        }
    }
}

/// Handles a signal to a daemon in the background. Returns false if the signal has no meaning here.
fn in_background(ctx: &mut Ctx, signal: i32) -> bool {
    match signal {
        INT | QUIT | TERM => {
            ctx.io.log.line(format_args!("received {}, stopping everything", ostler_sys::process::signal::name(signal)));
            if !ctx.outbox.shutdown.is_closing {
                ctx.outbox.shutdown.is_signalled = true;
                ctx.request(FeatureRequest::SaveList);
                ctx.request(FeatureRequest::End { client: 0, id: 0, origin: Origin::Shutdown, saves_list: true });
            }
        }
        USR2 => ctx.request(FeatureRequest::ReloadLogs),
        _ => return false,
    }
    true
}
