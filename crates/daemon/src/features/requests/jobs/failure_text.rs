//! Reasons why an instance fails to reach the goal of a request, in words that follow its name.

use ostler_core::lifecycle::goal::Failure;

use crate::state::slots::{Slot, exit_text};

/// Returns the reason. `slot`: `None` = the slot is forgotten.
pub(super) fn of(failure: Failure<'_>, slot: Option<&Slot>) -> String {
    match failure {
        Failure::Deleted => "was deleted during the operation".into(),
        Failure::StartedAgain => "was started again during the operation".into(),
        Failure::Stopped => "was stopped during the operation".into(),
        Failure::NotReady => slot.map(Slot::not_ready).unwrap_or_default(),
        Failure::Ended(record) => exit_text(record),
        Failure::EndedEarly(record) => format!("{} before it was ready", exit_text(record)),
        Failure::GaveUp => "gave up".into(),
    }
}
