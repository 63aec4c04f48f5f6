//! Engine: the turn of the daemon, without any feature by name.
//!
//! A turn takes what happened (descriptors, deadlines), dispatches it to the instances and the features, and writes the journal before anything is
//! done that follows from it. Everything in a turn happens at one instant ([`Ctx::now`]). What one part wants of another is data in the queue
//! ([`Input`]): nothing is called across, so no part depends on how deep in the calls of another it runs.

mod beside;
mod child;
mod ctx;
mod describe;
mod exits;
mod measure;
mod per_process;
#[cfg(test)]
mod played;
mod process_view;
mod step;
mod timers;
mod trees;
mod work;

pub(crate) use beside::Beside;
pub(crate) use child::{ChildEvent, ChildRequest, CommandEnd, Report};
pub(crate) use ctx::{Ctx, DaemonState, Ending, Io, Outbox, clock};
pub(crate) use describe::{changed_spec, changed_vars, laid_over, new_spec};
pub(crate) use per_process::PerProcess;
#[cfg(test)]
pub(crate) use played::{Played, Reacts, reacts};
pub(crate) use process_view::ProcessView;
pub(crate) use step::{InstanceStep, hooks, spawns, transitions};
pub(crate) use timers::{Key, Timers};
pub(crate) use work::{Answer, Ask, Caller, Effects, Input, PM2_CLIENT, Replacement, Request, RolloutNews, RolloutRequest, Work};
