//! Connection to the daemon while logs are followed: the list of apps, their events, and requests
//! that stop them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ostler_proto::control::{Event, Request, Response, Summary};

use super::observer::Observer;
use crate::client::{self, Client, ClientError};
use crate::render::Out;

/// Time between two attempts to find a lost daemon, and delay after an event before the list is
/// requested again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Connection to the daemon, while the daemon exists.
pub(super) struct DaemonConnection {
    home: PathBuf,
    pub client: Option<Client>,
    /// Time of the next request for the list, or of the next attempt to find the daemon.
    pub ask_at: Option<Instant>,
    /// Whether no process listens any more, not even a keeper that would start another daemon.
    pub gone: bool,
    /// Pid of the last keeper.
    pub keeper: Option<i32>,
    /// Requests that stop the shown apps; the responses are in the daemon's log.
    orders: Vec<Request>,
    /// Connection on which these requests were sent.
    stopping: Option<Client>,
}

impl DaemonConnection {
    /// Connects to the daemon of this home, if it runs.
    pub(super) fn open(home: PathBuf) -> Self {
        let mut daemon = Self { home, client: None, ask_at: None, gone: false, keeper: None, orders: Vec::new(), stopping: None };
        daemon.subscribe();
        daemon
    }

    fn subscribe(&mut self) {
        let connected = client::connect(&self.home);
        self.gone = matches!(connected, Err(ClientError::NotRunning { .. }));
        self.client = connected.ok().and_then(|mut client| {
            client.subscribe(None).ok()?;
            Some(client)
        });
        if !self.orders.is_empty() {
            // The daemon that received the requests may have been killed before it carried them
            // out.
            self.stopping = self.ask();
        }
        // An app may have started between the last list and this moment.
        self.ask_at = Some(Instant::now() + if self.client.is_some() { Duration::ZERO } else { RETRY_DELAY });
    }

    /// Sends these requests, unless they were already sent.
    fn order(&mut self, orders: Vec<Request>) {
        if self.orders != orders {
            self.orders = orders;
            self.stopping = self.ask();
        }
    }

    /// Sends all requests on one connection, which keeps their order.
    fn ask(&self) -> Option<Client> {
        let mut client = client::connect(&self.home).ok()?;
        self.orders.iter().try_for_each(|request| client.send(request.clone()).map(drop)).ok()?;
        Some(client)
    }

    /// Handles the frames that the daemon has sent.
    pub(super) fn on_readable(&mut self, mut each: impl FnMut(Event)) {
        match self.client.as_mut().map(Client::received_frames) {
            Some(Ok(frames)) => {
                self.keeper = self.client.as_ref().and_then(Client::peer).map(|peer| peer.keeper_pid).or(self.keeper);
                for frame in frames {
                    if let Response::Happened(event) = frame.response {
                        self.ask_at = Some(Instant::now());
                        each(event);
                    }
                }
            }
            Some(Err(_)) => {
                self.client = None;
                self.ask_at = Some(Instant::now());
            }
            None => {}
        }
    }

    /// Returns the current list; empty if the daemon does not answer.
    fn list_now(&self) -> Vec<Summary> {
        client::connect(&self.home).ok().and_then(|mut client| client.list().ok()).unwrap_or_default()
    }

    /// Lets the observer check the list. Returns true if it is time to stop.
    pub(super) fn observe(&self, observer: Option<&mut (dyn Observer + '_)>) -> bool {
        observer.is_some_and(|observer| observer.observe(&self.list_now()))
    }

    /// Stops the shown apps, as the nth signal requires.
    pub(super) fn stop(&mut self, out: &mut Out, observer: Option<&mut (dyn Observer + '_)>, nth: u32) {
        let Some(observer) = observer else { return self.order(vec![Request::Kill]) };
        let list = self.list_now();
        if self.orders.is_empty() {
            observer.on_stopping(out, &list);
        }
        self.order(observer.stops(nth, &list).unwrap_or_else(|| vec![Request::Kill]));
    }

    /// Returns the list, if it is time to request it.
    pub(super) fn list(&mut self) -> Option<Vec<Summary>> {
        if self.ask_at.is_none_or(|at| Instant::now() < at) {
            return None;
        }
        self.ask_at = None;
        if self.client.is_none() {
            self.subscribe();
            self.client.as_ref()?;
            self.ask_at = None;
        }
        // This needs a separate connection, because events may arrive on the other connection at any time.
        client::connect(&self.home).ok()?.list().ok()
    }
}
