//! Commands on many hosts over `ssh`: selection and order of hosts, the script for each, and the
//! merging of their answers. Pure.
//!
//! Each host runs its own `ostler` and answers with its own output. Nothing listens on the network,
//! and hosts do not know each other.
//!
//! - [`Hosts`]: the file with names and groups
//! - [`script`]: the text for a host's shell
//! - [`ssh`]: the command line that runs it there
//! - [`Batches`]: the order of the hosts
//! - [`HostOutcome`]: the result on one host
//! - [`merge`]: all answers as one value
//! - [`Interleave`]: lines of many hosts in the order of time
//!
//! **Broken connections.** The first line of a host ([`script::greeting`]) is sent before anything
//! is done. If the connection breaks before that line, nothing was changed. If it breaks later, the
//! result is unknown, and a change is never sent again.
#![forbid(unsafe_code)]

mod batches;
pub mod events;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
mod hosts;
mod interleave;
pub mod merge;
mod outcome;
pub mod script;
mod shell;
pub mod ssh;

pub use batches::Batches;
pub use hosts::{Hosts, HostsError, Member};
pub use interleave::{Interleave, TimedLine};
pub use outcome::{Code, HostOutcome, worst};
pub use shell::{always_sh, sh};
