//! Control loop: the one thread in which everything is decided.
//!
//! # Theory of operation
//!
//! One turn of the loop takes what happened (keeper, clients, apps, timers), dispatches it to the state machines, and collects their
//! effects as [`crate::engine::Work`]. Before any of that work is done, every changed instance is in the journal ([`Control::settle`]); so the
//! daemon may be killed at any instant and the next one goes on from there (`ostler_core::lifecycle` has the protocol). Nothing
//! here blocks: a client that does not read, an app that does not answer and a slow disk under a log delay only themselves.

pub(crate) mod turn;

use ostler_sys::process::signal::SignalFd;

use crate::engine::Ctx;
use crate::features::Features;

/// State of the loop.
pub(crate) struct Control {
    pub ctx: Ctx,
    pub features: Features,
    pub signals: SignalFd,
}
