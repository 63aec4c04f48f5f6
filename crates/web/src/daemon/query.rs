//! Queries and commands on behalf of requests.

use std::path::PathBuf;
use std::time::Duration;

use ostler_client::{Client, ClientError};
use ostler_core::text::causes::with_causes;
use ostler_proto::control::{Failure, Progress, Request, Response};
use serde_json::{Value, json};

use super::Daemon;

/// Maximum wait for the answer to a query.
const ANSWER: Duration = Duration::from_secs(30);
/// Maximum number of messages that are kept from a command's progress.
const MOST_LINES: usize = 200;

/// Reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the answer was lost")]
    Lost,
}

/// Reason why there is no socket to an instance. The texts follow the app's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("does not provide a path")]
    NoPath,
    /// The app reported this reason.
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Refused(Failure),
    #[error("{}", with_causes(.cause))]
    Query { cause: QueryError },
}

/// Result of a command.
#[derive(Debug)]
pub(crate) struct CommandOutcome {
    /// Messages from the instances and errors, one line each.
    pub(crate) lines: Vec<String>,
    /// Return values of actions: `{id, name, value}`.
    pub(crate) returned: Vec<Value>,
    pub(crate) result: Result<(), Failure>,
}

impl Daemon {
    /// Runs a query on a new connection.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let daemon = self.clone();
        let reply = tokio::task::spawn_blocking(move || {
            let mut client = daemon.0.client()?.read_only();
            client.limit(ANSWER);
            what(&mut client)
        });
        Ok(reply.await.map_err(|_| QueryError::Lost)??)
    }

    /// Returns a unix socket that connects to the server of exactly this instance on this port. The
    /// app's preload provides it.
    ///
    /// # Errors
    /// Returns an error if the daemon or the app provides none.
    pub(crate) async fn socket_to(&self, id: u32, port: u16) -> Result<PathBuf, SocketError> {
        let reply = self.query(move |client| {
            let (mut path, mut problem) = (None, None);
            let answer = client.request(&Request::Reach { target: id.to_string(), port }, &mut |progress| match progress {
                Progress::Returned { value, .. } => path = value.as_str().map(PathBuf::from),
                Progress::InstanceFailed { reason, .. } => problem = Some(reason),
                _ => {}
            });
            match answer {
                Ok(_) => Ok(path.ok_or(SocketError::NoPath)),
                Err(ClientError::Refused(failure)) => Ok(Err(problem.map_or(SocketError::Refused(failure), SocketError::Failed))),
                Err(error) => Err(error),
            }
        });
        reply.await.map_err(|cause| SocketError::Query { cause })?
    }

    /// Runs a command for this user and waits for its end without a time limit, because a reload
    /// may take minutes. The command continues if the caller stops waiting.
    pub(crate) async fn run_command(&self, user: &str, request: Request) -> Result<CommandOutcome, QueryError> {
        let (daemon, user) = (self.clone(), format!("dashboard: {user}"));
        let ordered = tokio::task::spawn_blocking(move || {
            let mut client = daemon.0.client()?.on_behalf_of(&user);
            let (mut lines, mut returned) = (Vec::new(), Vec::new());
            let answer = client.request(&request, &mut |progress| match progress {
                Progress::InstanceFailed { id, name, reason } if lines.len() < MOST_LINES => lines.push(format!("{name} ({id}): {reason}")),
                Progress::Warning(text) if lines.len() < MOST_LINES => lines.push(text),
                Progress::InstanceDone { id, name, late: Some(late) } if lines.len() < MOST_LINES => {
                    lines.push(format!("{name} ({id}): {late}; the start continues in the background"));
                }
                Progress::Returned { id, name, value, .. } if returned.len() < MOST_LINES => {
                    returned.push(json!({ "id": id, "name": name, "value": value }));
                }
                _ => {}
            });
            let result = match answer {
                Ok(Response::Done { .. } | Response::Paths(_)) => Ok(()),
                Ok(_) => return Err(ClientError::Unexpected),
                Err(ClientError::Refused(failure)) => Err(failure),
                Err(error) => return Err(error),
            };
            Ok(CommandOutcome { lines, returned, result })
        });
        Ok(ordered.await.map_err(|_| QueryError::Lost)??)
    }
}
