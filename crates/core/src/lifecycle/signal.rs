//! Signals that decisions use by name. Linux gives them the same numbers on all architectures. The
//! system layer handles names and all other signals.

/// `SIGINT`: asks a process to exit, as from a terminal.
pub const INT: i32 = 2;

/// `SIGKILL`: kills a process without asking.
pub const KILL: i32 = 9;

/// `SIGTERM`: asks a process to exit.
pub const TERM: i32 = 15;
