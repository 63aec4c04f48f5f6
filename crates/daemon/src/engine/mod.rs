//! Engine: the turn of the daemon. It names no feature.
//!
//! A turn reads events (descriptors, deadlines) and dispatches them to the instances and the
//! features. It writes the journal before it performs any effect of them. Everything in a turn
//! happens at one instant ([`Ctx::now`]). If one part needs another, it puts data into the queue
//! ([`Input`]). No part calls another, so none depends on its depth in a chain of calls.

mod child;
mod ctx;
mod describe;
mod exits;
mod measure;
mod per_process;
mod process_view;
mod spawn_extras;
mod step;
#[cfg(test)]
mod test_context;
mod timers;
mod trees;
mod work;

pub(crate) use child::{ChildEvent, ChildRequest, CommandEnd, CommandReport};
pub(crate) use ctx::{Ctx, DaemonState, Io, Outbox, ShutdownKind, clock};
pub(crate) use describe::{changed_spec, changed_vars, new_spec, overlaid};
pub(crate) use per_process::PerProcess;
pub(crate) use process_view::ProcessView;
pub(crate) use spawn_extras::SpawnExtras;
pub(crate) use step::{InstanceStep, hooks, spawns, transitions};
#[cfg(test)]
pub(crate) use test_context::{Reactions, TestContext, reacts};
pub(crate) use timers::{Key, Timers};
pub(crate) use work::{
    Caller, ClientRequest, Effects, FeatureAnswer, FeatureRequest, Input, PM2_CLIENT, Replacement, RolloutNews, RolloutRequest, Work,
};
