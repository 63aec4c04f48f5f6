//! HTTP/1.1 server on one thread: sockets, connections, limits and shutdown. The caller provides
//! the responses: files (`serve`) or the dashboard (`web`).
//!
//! # Theory of operation
//! The daemon opens the sockets and passes them on (`LISTEN_FDS`), so a reload loses no connection.
//! Outside of a supervisor, the server opens its own sockets. It sends `READY=1` when it accepts
//! connections.
//!
//! A misbehaving client harms only itself: heads, their time, stalled reads and the number of
//! connections are limited.
//!
//! On SIGTERM or SIGINT, the server answers with `Connection: close`, closes idle connections,
//! finishes running requests, and exits.
#![forbid(unsafe_code)]

mod encryption;
mod guests;
mod notify;
mod server;
mod sockets;
mod stall_timeout;

pub use encryption::{Encryption, Handshake, PlainStream};
pub use guests::{Guest, GuestStatus, Guests, network};
pub use server::{Ending, Limits, Peer, ServerError, run, serve_additional};
pub use sockets::Address;
