//! Control loop: the one thread that makes all decisions.
//!
//! # Theory of operation
//!
//! Each turn of the loop reads events (keeper, clients, apps, timers), dispatches them to the state
//! machines, and collects their effects as [`crate::engine::Work`]. Before the loop does any of
//! that work, it writes every changed instance to the journal ([`Control::settle`]). The daemon may
//! therefore be killed at any instant, and the next one resumes from the journal
//! (`ostler_core::lifecycle` has the protocol). Nothing here blocks: a client that does not read,
//! an app that does not answer and a slow disk under a log delay only themselves.

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
