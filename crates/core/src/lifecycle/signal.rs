//! Signals that decisions know by name. Linux gives them the same numbers everywhere; names and all others are the system's affair.

/// `SIGINT`: asks to end, as from a terminal.
pub const INT: i32 = 2;

/// `SIGKILL`: ends without being asked.
pub const KILL: i32 = 9;

/// `SIGTERM`: asks to end.
pub const TERM: i32 = 15;
