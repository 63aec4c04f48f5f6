//! Errors of talking to a daemon.

use std::io;
use std::time::Duration;

use ostler_proto::control::Failure;
use ostler_proto::frame::FrameError;

use crate::VERSION;

/// Reason why talking to a daemon failed. After anything but [`ClientError::Refused`] the connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens. Start a daemon, or report that there is none.
    #[error("no daemon is running in {home}")]
    NotRunning {
        /// Folder of the socket.
        home: String,
    },
    /// Somebody listens, but not for this user.
    #[error("no permission to connect to the daemon in {home}")]
    Permission {
        /// Folder of the socket.
        home: String,
    },
    /// Any other failure of the socket.
    #[error("cannot connect to the daemon in {home}: {source}")]
    Connect {
        /// Folder of the socket.
        home: String,
        /// The cause.
        source: io::Error,
    },
    /// The daemon runs, and this is not its home any more; the text is that of [`crate::Way::find`].
    #[error("{0}")]
    Elsewhere(String),
    /// Somebody listens and has not answered for long; the text is that of [`crate::OnSilence::give_up`].
    #[error("{0}")]
    Silent(String),
    /// There is no daemon, for this reason, which its keeper gives.
    #[error("{0}")]
    Down(String),
    /// The time of [`crate::Client::limit`] is over. What was asked for may still be done.
    #[error("the daemon has not answered within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The descriptor of [`crate::Client::heed`] became readable. What was asked for may still be done.
    #[error("interrupted")]
    Interrupted,
    /// The connection ended before the answer. What only reads was tried again already; how far a change came is shown by a list.
    #[error("the connection to the daemon was lost before it answered")]
    Lost(#[source] io::Error),
    /// The daemon sent something that makes no sense.
    #[error("the daemon sent an answer that makes no sense")]
    Frame(#[from] FrameError),
    /// The daemon answered another question.
    #[error("the daemon gave an answer that does not fit the question")]
    Unexpected,
    /// The daemon speaks another version of the protocol: replace it (`update`).
    #[error("the running daemon (version {daemon}) and this program (version {VERSION}) do not understand each other")]
    Version {
        /// Version of the daemon.
        daemon: String,
    },
    /// The daemon understood and refused. The connection goes on.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl ClientError {
    /// True if no daemon can be talked to, whatever the request.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NotRunning { .. }
            | Self::Permission { .. }
            | Self::Connect { .. }
            | Self::Elsewhere(_)
            | Self::Silent(_)
            | Self::Down(_)
            | Self::TimedOut(_)
            | Self::Version { .. } => true,
            Self::Interrupted | Self::Lost(_) | Self::Frame(_) | Self::Unexpected | Self::Refused(_) => false,
        }
    }
}
