//! `--hosts`: a command on many hosts, over the system's `ssh`.
//!
//! [`ostler_fleet`] decides which hosts are used, in which order, and how their answers combine.
//! This module has the hosts file ([`file`]), the command for a host ([`host_command`]) and the connections
//! ([`connect`]). For each kind of answer it has a receiver: rows of the list, JSON, text, lines of
//! logs, events.
//!
//! Theory of operation: each active host has a thread that runs one `ssh` and passes its output on.
//! The caller's thread holds all state, and no other thread prints. The output of a host is
//! bounded, and so are the pieces that wait to be printed.

mod connect;
mod events;
mod file;
mod host_command;
mod host_states;
mod logs;
mod ordered;
mod run;
mod text;

#[cfg(feature = "web")]
pub(crate) use file::dashboard_hosts;
pub(crate) use file::known_hosts;
pub(crate) use run::run;
