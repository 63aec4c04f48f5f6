//! Deployment over the system's `ssh` and `git`: the plan and its execution.
//!
//! [`Target`] is an environment of the `deploy` section. [`Action`] is the parsed command of the
//! call. [`script`] turns both into one script for a host; up to this point no host is touched.
//! [`run`] sends the script to the host and follows it.
//!
//! Theory of operation: every action that changes a host (setup, update, revert) runs *on the host*
//! as a job of its own, in `<path>/.deploy-run/<id>`. This folder holds the script, its output and
//! its exit code. The caller's `ssh` starts the job and follows its output. If the connection
//! breaks, the job continues to its end, including the check of the new release and the rollback.
//! The next connection continues at the byte where the last one stopped. One command both starts
//! and follows. A client that does not know whether its first command arrived can therefore send it
//! again.

mod action;
mod run;
mod script;
mod ssh;
mod target;

pub(crate) use action::{Action, git_ref};
pub(crate) use run::{Outcome, run};
pub(crate) use target::{Target, hooks_local};
