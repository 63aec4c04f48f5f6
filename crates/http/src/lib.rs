//! A server of HTTP/1.1 on one thread: sockets, connections, bounds and the end. What is answered is its user's: files (`serve`), the dashboard (`web`).
//!
//! # Theory of operation
//! The daemon opens the sockets and hands them over (`LISTEN_FDS`), so a reload loses no connection; outside of a supervisor it opens its own. It says
//! `READY=1` when it accepts. Whatever a client does costs it alone: heads, their time, stalled reads and the number of connections are bounded.
//! Asked to end (SIGTERM, SIGINT), it answers with `Connection: close`, closes what rests, finishes what runs, and ends.
#![forbid(unsafe_code)]

mod encryption;
mod guests;
mod notify;
mod patient;
mod server;
mod sockets;

pub use encryption::{Agreeing, Clear, Encryption};
pub use guests::{Guest, Guests, Standing, network};
pub use server::{Ending, Limits, Peer, ServerError, beside, run};
pub use sockets::Address;
