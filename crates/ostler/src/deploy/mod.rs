//! Deploying over the system's `ssh` and `git`: what is decided, and what is run.
//!
//! [`Target`] is an environment of the `deploy` section, [`Action`] what the words of the call ask for. [`script`] makes of both one script for a
//! host; nothing is touched up to there. [`run`] brings it there and follows it.
//!
//! Theory of operation: whatever changes a host (setup, update, revert) runs *there* as a job of its own, in `<path>/.deploy-run/<id>`: the script,
//! its output, its exit code. The caller's `ssh` starts it and follows its output. A connection that breaks takes nothing with it: the job goes on
//! to its end, with the check of the new release and the way back, and the next connection follows on at the byte where the last one ended. One
//! command starts and follows: who does not know whether the first one arrived sends it again.

mod action;
mod run;
mod script;
mod ssh;
mod target;

pub(crate) use action::{Action, git_ref};
pub(crate) use run::{Outcome, run};
pub(crate) use target::{Target, hooks_local};
