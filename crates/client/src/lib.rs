//! The native client: connects to a daemon, sends requests and follows events. It blocks and
//! handles one request at a time. Command line, dashboard, terminal interface, fleet and tests all
//! reach the daemon through this crate.
//!
//! ```no_run
//! use ostler_client::Client;
//!
//! let mut client = Client::connect("/home/me/.ostler/ostler.sock")?;
//! for row in client.table()? {
//!     println!("{} {}", row.id, row.name);
//! }
//! # Ok::<(), ostler_client::ClientError>(())
//! ```
//!
//! **Any stream.** [`Client::connect`] takes the path of a unix socket. [`Client::from_stream`]
//! takes any connected stream (the two pipes of an `ssh`, one end of a socket pair). A client with
//! a [`Connector`] connects again if the connection is lost before a request has changed anything.
//!
//! **Order of requests.** Hello and a first read-only request travel in one write. The keeper holds
//! the listening socket, so a connection made while the daemon is being replaced waits in the
//! queue. Only a connection that the old daemon had already accepted is lost. Read-only requests
//! are then repeated. Requests that change something are not, because their progress is unknown, so
//! they are sent only after the daemon has answered hello. If keeper and daemon were killed, their
//! socket still accepts connections until the kernel has closed it, although no process reads them.
//!
//! **Waiting.** By default, the client waits without limit, because a daemon may be busy for
//! minutes. [`Client::limit`] bounds each request, and [`Client::interrupt_on`] lets a descriptor
//! end the wait (a signal, a timer). [`Client::set_silence_handler`] sets a handler for a
//! connection that stays silent.
//!
//! [`words`] has the texts for people that all clients share. The crate prints nothing, starts no
//! daemon and knows no exit codes: all that belongs to the caller.
#![forbid(unsafe_code)]

pub mod app_rights;
pub mod attention;
mod client;
mod connector;
mod error;
pub mod ports;
pub mod profile_file;
mod silence;
pub mod source_line;
pub mod words;

pub use client::{Client, MAX_ON_BEHALF_OF, Notification, Peer, RETRIES};
pub use connector::{Connector, Socket, Stream};
pub use error::ClientError;
pub use silence::SilenceHandler;

/// Version of this client, which hello reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
