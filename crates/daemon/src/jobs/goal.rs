//! What an instance has to come to, and how far it is.

use ostler_core::lifecycle::{ExitCause, Late, Notice, State, Wanted};
use ostler_core::time::Now;

use crate::slots::{Slot, why};

/// What one instance must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// A process newer than this one is online.
    Up {
        /// The newest process when the request came.
        after: u32,
    },
    /// Nothing of it runs.
    Down,
    /// It is forgotten.
    Gone,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progressed {
    Waiting,
    Reached,
    /// It takes long and goes on: nobody waits for it any more.
    Late(String),
    Failed(String),
}

impl Goal {
    /// A process newer than what there is of this instance. One that was asked for but does not run yet began before.
    pub(super) fn newer_than(slot: &Slot) -> Self {
        let inc = slot.instance.inc;
        let after = if let State::Spawning { inc: coming, .. } = slot.instance.state { inc.max(coming) } else { inc };
        Self::Up { after }
    }

    /// Looks at the instance (none = it is forgotten) after a step that gave this notice.
    pub(super) fn look(self, slot: Option<&Slot>, notice: Option<&Notice>, now: Now) -> Progressed {
        let Some(slot) = slot else {
            return match self {
                Self::Up { .. } => Progressed::Failed("was deleted meanwhile".into()),
                Self::Down | Self::Gone => Progressed::Reached,
            };
        };
        match self {
            Self::Up { after } => up(after, slot, notice, now),
            Self::Down => match (&slot.instance.state, slot.instance.wanted) {
                (State::Stopped | State::Errored | State::Gone, Wanted::Down | Wanted::Gone) => Progressed::Reached,
                (_, Wanted::Up) => Progressed::Failed("was started again meanwhile".into()),
                _ => Progressed::Waiting,
            },
            Self::Gone => Progressed::Waiting,
        }
    }
}

fn up(after: u32, slot: &Slot, notice: Option<&Notice>, now: Now) -> Progressed {
    match notice {
        Some(Notice::CouldNotStart(record)) if record.inc > after => return Progressed::Failed(why(record)),
        Some(Notice::ReadyTimeout(Late::Stopped)) => return Progressed::Failed(slot.not_ready()),
        Some(Notice::ReadyTimeout(Late::GoesOn)) if slot.instance.inc > after => return Progressed::Late(slot.still_starting(now)),
        Some(Notice::Exit(record)) if record.inc > after && matches!(record.cause, ExitCause::NotStarted { .. }) => {
            return Progressed::Failed(why(record));
        }
        Some(Notice::Exit(record)) if record.inc > after && record.cause != ExitCause::NotReady => {
            return Progressed::Failed(format!("{} before it was ready", why(record)));
        }
        _ => {}
    }
    match (&slot.instance.state, slot.instance.wanted) {
        (State::Running { inc, .. }, _) if *inc > after => Progressed::Reached,
        (_, Wanted::Down | Wanted::Gone) => {
            let last = slot.instance.exits.last().filter(|record| record.inc > after);
            Progressed::Failed(last.map_or_else(|| "was stopped meanwhile".into(), why))
        }
        (State::Errored, Wanted::Up) => Progressed::Failed(slot.instance.exits.last().map_or_else(|| "gave up".into(), why)),
        _ => Progressed::Waiting,
    }
}
