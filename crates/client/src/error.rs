//! Errors of the communication with a daemon.

use std::io;
use std::time::Duration;

use ostler_core::message;
use ostler_proto::control::Failure;
use ostler_proto::frame::FrameError;

use crate::VERSION;

/// Reason why the communication with a daemon failed. After any error except
/// [`ClientError::Refused`], the connection is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens. Start a daemon, or report that it is not running.
    #[error("{}", message!("no daemon is running in {home}", home))]
    NotRunning {
        /// Folder of the socket.
        home: String,
    },
    /// A process listens, but this user may not connect.
    #[error("{}", message!("no permission to connect to the daemon in {home}", home))]
    Permission {
        /// Folder of the socket.
        home: String,
    },
    /// Any other failure of the socket.
    #[error("{}", message!("cannot connect to the daemon in {home}: {source}", home, source))]
    Connect {
        /// Folder of the socket.
        home: String,
        /// The cause.
        source: io::Error,
    },
    /// The daemon runs, but this is no longer its home. The text comes from
    /// [`crate::Connector::find`].
    #[error("{0}")]
    Elsewhere(String),
    /// A process listens but has not answered for long. The text comes from
    /// [`crate::SilenceHandler::give_up`].
    #[error("{0}")]
    Silent(String),
    /// There is no daemon; its keeper gave this reason.
    #[error("{0}")]
    Down(String),
    /// The time limit of [`crate::Client::limit`] has passed. The daemon may still execute the
    /// request.
    #[error("{}", message!("the daemon did not answer within {time} ms", time = _0.as_millis()))]
    TimedOut(Duration),
    /// The descriptor of [`crate::Client::interrupt_on`] became readable. The daemon may still
    /// execute the request.
    #[error("{}", message!("interrupted"))]
    Interrupted,
    /// The connection ended before the answer. Read-only requests have already been repeated. After
    /// a change, list the apps to see its progress.
    #[error("{}", message!("the connection to the daemon was lost before it answered"))]
    Lost(#[source] io::Error),
    /// The daemon sent invalid data.
    #[error("{}", message!("the daemon sent an invalid answer"))]
    Frame(#[from] FrameError),
    /// The daemon sent the answer to another kind of request.
    #[error("{}", message!("the daemon sent an unexpected answer"))]
    Unexpected,
    /// The daemon speaks another version of the protocol: replace it (`update`).
    #[error("{}", message!("the running daemon (version {daemon}) and this program (version {own}) use different protocols", daemon, own = VERSION))]
    Version {
        /// Version of the daemon.
        daemon: String,
    },
    /// The daemon understood and rejected the request. The connection stays usable.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl ClientError {
    /// Returns true if no daemon can be reached, whatever the request.
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
