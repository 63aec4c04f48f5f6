//! Connection to the daemon of a home. It adds to [`ostler_client`] the path of the socket, the
//! process that starts a daemon, and the messages for users.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub(crate) use ostler_client::{Client, ClientError, RETRIES, VERSION};
use ostler_client::{Connector, Socket};
use ostler_core::home::home_paths::HomePaths;
use ostler_core::message;
use ostler_core::text::causes::with_causes;

use crate::error::{CliError, LaunchProblem};
use crate::unresponsive::DaemonWatch;

/// Time within which a keeper that another call has just started must listen.
const LISTENS_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Socket of a home, even if the socket file was just removed.
struct HomeSocket {
    home: PathBuf,
    socket: Socket,
}

impl HomeSocket {
    fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), socket: Socket(HomePaths::socket(home)) }
    }
}

impl Connector<UnixStream> for HomeSocket {
    fn connect(&self) -> Result<UnixStream, ClientError> {
        let stream = self.socket.connect()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map(|peer| peer.uid.as_raw());
        match peer {
            Ok(peer) if peer != rustix::process::geteuid().as_raw() => Err(owner_mismatch(&self.home, peer)),
            _ => Ok(stream),
        }
    }

    /// Searches for a keeper that lost its socket. Returns true if the keeper has created a new
    /// socket.
    fn recover(&self) -> Result<bool, ClientError> {
        match ostler_keeper::behind(&self.home) {
            ostler_keeper::HomeHolder::NoKeeper => Ok(false),
            ostler_keeper::HomeHolder::Keeper => Ok(true),
            ostler_keeper::HomeHolder::Elsewhere(why) => Err(ClientError::Elsewhere(why)),
        }
    }
}

/// Returns the error for a daemon of this home that runs as another user. Either the folder was
/// given to another user, or another user's process listens.
fn owner_mismatch(home: &Path, peer: u32) -> ClientError {
    let (home, own) = (home.display(), rustix::process::geteuid().as_raw());
    ClientError::Elsewhere(message!(
        "the daemon of {home} runs as uid {peer}, but this command runs as uid {own}\n\
         hint: give the home back to uid {peer} (chown -R {peer} {home}), or stop that daemon as uid {peer}",
        home,
        peer,
        own
    ))
}

/// Connects to the daemon of a home; sends nothing yet.
///
/// # Errors
/// Returns [`ClientError::NotRunning`] if no process listens.
pub(crate) fn connect(home: &Path) -> Result<Client, ClientError> {
    Client::connect_with(HomeSocket::of(home)).map(|client| watched(client, home))
}

/// Works like [`connect`], but also if the socket was just removed: its keeper then creates a new
/// one.
///
/// # Errors
/// Returns the errors of [`connect`], and [`ClientError::Elsewhere`].
pub(crate) fn connect_or_find(home: &Path) -> Result<Client, ClientError> {
    Client::connect_or_recover_with(HomeSocket::of(home)).map(|client| watched(client, home))
}

/// Watches a client for silence, and reports it to the user.
fn watched(mut client: Client, home: &Path) -> Client {
    client.set_silence_handler(Some(Box::new(DaemonWatch::at(home))));
    client
}

/// Starts keeper and daemon, and connects. Returns the keeper's pid, unless another call was
/// faster.
///
/// # Errors
/// Returns [`CliError::Launch`] with the step that failed.
pub(crate) fn launch(home: &Path, as_pm2: bool) -> Result<(Client, Option<i32>), CliError> {
    let launched = ostler_keeper::launch(home, as_pm2).map_err(|error| CliError::Launch(with_causes(&LaunchProblem::from(error))))?;
    let keeper = match launched {
        ostler_keeper::LaunchResult::New(pid) => Some(pid),
        ostler_keeper::LaunchResult::Already => None,
    };
    // If another call was first, its keeper holds the lock but may not have the socket yet.
    let deadline = std::time::Instant::now() + LISTENS_WITHIN;
    loop {
        match connect(home) {
            Err(ClientError::NotRunning { .. }) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            other => return Ok((other?, keeper)),
        }
    }
}
