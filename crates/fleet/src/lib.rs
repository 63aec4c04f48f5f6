//! Commands on many hosts over `ssh`: which hosts, in which order, what is asked of each, and what their answers are together. Pure.
//!
//! Each host runs its own `ostler` and answers with its own output; nothing listens on the network, and hosts know nothing of each other.
//! [`Hosts`] is the file with names and groups, [`script`] the text that a host's shell gets, [`ssh`] the command line that brings it there,
//! [`Batches`] the order, [`Outcome`] how it ended on one host, [`merge`] the answers as one value, [`Interleave`] lines of many hosts by time.
//!
//! **What a broken connection means.** The first line of a host ([`script::greeting`]) comes before anything is done. A connection that ends
//! before it has changed nothing; one that ends later leaves open how far it came, and a change is never sent again.
#![forbid(unsafe_code)]

mod batches;
pub mod events;
mod hosts;
mod interleave;
pub mod merge;
mod outcome;
pub mod script;
mod shell;
pub mod ssh;

pub use batches::Batches;
pub use hosts::{Hosts, HostsError, Member};
pub use interleave::{Interleave, Stamped};
pub use outcome::{Code, Outcome, worst};
pub use shell::{always_sh, sh};
