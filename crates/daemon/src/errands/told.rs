//! Who wanted an errand, and what it is told.

use ostler_core::hooks::Hook;
use serde::{Deserialize, Serialize};

use super::Report;
use crate::control::Control;

/// Who wanted it. Kept in the journal, so that the next daemon knows whom to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// Nobody wants to know any more.
    Nobody,
    /// A process of an instance is at a turn of its life.
    Hook {
        /// Which slot.
        slot: u32,
        /// Which process of it.
        inc: u32,
        /// Which turn.
        hook: Hook,
    },
    /// A variable of a process that is about to be started waits for its value.
    Secret {
        /// Of this slot.
        slot: u32,
        /// Of its process with this number.
        inc: u32,
        /// The variable.
        name: String,
    },
    /// A health check.
    Check {
        /// Of this slot.
        slot: u32,
        /// Of its process with this number.
        inc: u32,
        /// Which of its questions.
        key: u32,
    },
}

impl Owner {
    /// It is this hook of a slot, for whichever process.
    pub(crate) fn is_hook_of(&self, id: u32, which: Hook) -> bool {
        matches!(self, Self::Hook { slot, hook, .. } if *slot == id && *hook == which)
    }
}

impl Owner {
    /// The variable that waits for it, if it is one of this process.
    pub(crate) fn secret_of(&self, id: u32, number: u32) -> Option<&str> {
        match self {
            Self::Secret { slot, inc, name } if (*slot, *inc) == (id, number) => Some(name),
            _ => None,
        }
    }
}

impl Control {
    /// An errand is over, and nothing of it is left.
    pub(super) fn told_errand(&mut self, _number: u32, owner: &Owner, report: Report) {
        match *owner {
            Owner::Nobody => {}
            Owner::Hook { slot, inc, hook } => self.told_hook(slot, inc, hook, report),
            Owner::Secret { slot, inc, ref name } => self.told_secret(slot, inc, name, report),
            Owner::Check { slot, inc, key } => self.told_check(slot, inc, key, &report.outcome),
        }
    }
}
