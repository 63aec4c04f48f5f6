//! The control loop: the one thread in which everything is decided.
//!
//! # Theory of operation
//!
//! One turn of the loop takes what happened (keeper, clients, apps, timers), feeds it to the state machines, and collects their
//! effects as [`crate::engine::Work`]. Before any of that work is done, every changed instance is in the journal ([`Control::settle`]); so the
//! daemon may be killed at any instant and the next one goes on from there (`ostler_core::lifecycle` has the protocol). Nothing
//! here blocks: a client that does not read, an app that does not answer and a slow disk under a log delay only themselves.

mod confirm;
pub(crate) mod handle;
mod job;
pub(crate) mod jobs;
mod release;
pub(crate) mod turn;
mod turns;

use ostler_sys::signal::SignalFd;

pub(crate) use job::{Goal, Job, Step, Then};
pub(crate) use release::{NewEnv, NewRelease};

use crate::engine::Ctx;
use crate::features::Features;
use crate::runtime::Runtime;
use crate::supervisor::preload::Preload;
use crate::supervisor::room::Room;

/// Everything the loop owns.
pub(crate) struct Control {
    pub ctx: Ctx,
    pub features: Features,
    pub signals: SignalFd,
    pub jobs: Vec<Job>,
    /// Fresh instances whose program cannot be executed.
    pub unstartable: Vec<u32>,
    pub room: Room,
    pub preload: Preload,
    pub oom_kills: u64,
    /// In front of a container.
    pub runtime: Option<Runtime>,
}
