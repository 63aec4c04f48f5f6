//! Interception of `bind` and `listen` of a program by seccomp user notification.
//!
//! A new process installs the filter before it executes its program ([`filter`]), and sends the
//! listener of the filter to us. From then on, each `bind` and `listen` of the process
//! and of its descendants waits until we answer it ([`calls`]): the kernel executes the call, or we
//! put another socket in place of its own. [`inspection`] copies what the call names from the process,
//! and [`caller`] collects the facts about the process that `/proc` shows.

pub mod caller;
pub mod calls;
pub mod filter;
pub mod inspection;
#[cfg(feature = "traps")]
pub mod traps;
