//! `--hosts`: a command on many hosts, over the system's `ssh`.
//!
//! Which hosts, in which order, and what answers mean together is decided in [`ostler_fleet`]. Here: the hosts file ([`file`]), what a command
//! becomes on a host ([`ask`]), connections ([`connect`]), and a receiver for each kind of answer: rows of the list, JSON, text, lines of logs,
//! events.
//!
//! Theory of operation: a thread for each host that is under way runs one `ssh` and passes on what comes; the caller's thread has all state and
//! is the only one that prints. What a host has to say is bounded, and so is what waits to be printed.

mod answers;
mod ask;
mod connect;
mod events;
mod file;
mod logs;
mod run;
mod text;

pub(crate) use run::run;
