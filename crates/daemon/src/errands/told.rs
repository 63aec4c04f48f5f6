//! Who wanted an errand, and what it is told.

use serde::{Deserialize, Serialize};

use super::Report;
use crate::control::Control;

/// Who wanted it. Kept in the journal, so that the next daemon knows whom to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// Nobody wants to know any more.
    Nobody,
}

impl Control {
    /// An errand is over, and nothing of it is left.
    pub(super) fn told_errand(&mut self, _number: u32, owner: &Owner, _report: Report) {
        match owner {
            Owner::Nobody => {}
        }
    }
}
