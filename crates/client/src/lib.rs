//! The native client: connect to a daemon, ask, order, follow. Blocking, one request at a time. Command line, dashboard, terminal interface,
//! fleet and tests reach the daemon through this and nothing else.
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
//! **Any stream.** [`Client::connect`] takes the path of a unix socket, [`Client::over`] whatever is connected already (the two pipes of an
//! `ssh`, one end of a socket pair). A connection that has a [`Way`] is made anew when it is lost before anything was changed.
//!
//! **What is sent when.** Hello and a first request that only reads travel in one write. The keeper holds the listening socket, so a connection
//! made while the daemon is being replaced waits in the queue; only one that the old daemon had accepted already is lost. Reading requests are
//! then sent again, changing ones are not: nobody knows how far they came. So they are sent only when the daemon has answered hello: where
//! keeper and daemon were killed, their socket takes connections until the kernel has cleaned up behind them, and nobody reads those.
//!
//! **How long it waits.** As long as it takes: a daemon may be busy for minutes. [`Client::limit`] bounds each request, [`Client::heed`] lets a
//! descriptor end the wait (a signal, a timer), and [`Client::on_silence`] has somebody look into it when nothing at all comes.
//!
//! Words for people that every client says alike are in [`words`]; none are printed here, no daemon is started, and no exit code is known: that is the caller's.
#![forbid(unsafe_code)]

pub mod app_rights;
mod client;
mod error;
pub mod profile_file;
mod silence;
mod way;
pub mod words;

pub use client::{Client, MAX_ON_BEHALF_OF, News, Peer, RETRIES};
pub use error::ClientError;
pub use silence::OnSilence;
pub use way::{Socket, Stream, Way};

/// Version of this client, as hello names it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
