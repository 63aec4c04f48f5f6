//! Connection to the daemon: its requests, and the responses that arrive. Nothing here blocks.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ostler_client::{Client, ClientError};
use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_proto::control::{Action, Detail, Failure, Position, Progress, Request, Response, ScaleTo};

use super::state::{ActionTarget, AppAction, LinkState, MonitEvent, MonitState};
use super::targets::target_of;
use crate::client::connect_or_find;
use crate::error::CliError;

/// Time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
/// Delay after an event before the list is requested, because events seldom arrive alone.
const EVENT_DELAY: Duration = Duration::from_millis(100);
/// Time between two attempts to find a lost daemon.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// Time without a response after which the view shows the silence.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for which Node apps keep measuring after each sample, ms.
const COLLECT_MS: u64 = 20_000;

/// Most requests for details of instances at a time.
const DETAILS: usize = 3;

/// Purpose of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RequestPurpose {
    Rows,
    /// Node apps keep measuring; their results are among the metrics of the selected instance.
    Figures,
    Detail(u32),
    Events,
    Subscription,
    /// Action, in words, with the reasons that its instances gave for a failure.
    Action(String, Vec<String>),
}

/// Connection to the daemon, with the requests that wait for a response.
pub(super) struct DaemonLink {
    home: PathBuf,
    program: &'static str,
    client: Option<Client>,
    pending: HashMap<u64, (RequestPurpose, Instant)>,
    /// Position up to which events are known.
    position: Option<Position>,
    /// Time of the next sample, or of the next attempt to find a daemon.
    due: Instant,
}

impl DaemonLink {
    pub(super) fn new(home: PathBuf, program: &'static str, now: Instant) -> Self {
        Self { home, program, client: None, pending: HashMap::new(), position: None, due: now }
    }

    /// Returns the descriptor on which responses arrive.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.client.as_ref().map(AsFd::as_fd)
    }

    /// Returns the time at which [`Self::turn`] must be called.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Makes everything due at the next turn.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    /// Sends the requests that are due, or tries to find a daemon. The state names the selected
    /// instance.
    ///
    /// # Errors
    /// Returns an error if the daemon speaks another protocol version or cannot be used.
    pub(super) fn turn(&mut self, now: Instant, state: &MonitState) -> Result<Vec<MonitEvent>, CliError> {
        if now < self.due {
            return Ok(Vec::new());
        }
        if self.client.is_none() {
            return self.connect(now, state);
        }
        self.due = now + SAMPLE_INTERVAL;
        let oldest = self
            .pending
            .values()
            .filter(|(pending, _)| matches!(pending, RequestPurpose::Rows | RequestPurpose::Detail(_)))
            .map(|(_, since)| *since)
            .min();
        if let Some(silent) = oldest.map(|since| now.saturating_duration_since(since)).filter(|silent| *silent >= RESPONSE_TIMEOUT) {
            return Ok(vec![MonitEvent::Link(LinkState::Silent(silent.as_secs()))]);
        }
        Ok(self.sample(now, state))
    }

    fn connect(&mut self, now: Instant, state: &MonitState) -> Result<Vec<MonitEvent>, CliError> {
        self.due = now + RECONNECT_DELAY;
        self.pending.clear();
        match connect_or_find(&self.home) {
            Ok(client) => self.client = Some(client),
            Err(ClientError::NotRunning { .. } | ClientError::Lost(_)) => {
                return Ok(vec![MonitEvent::Link(LinkState::Down(message!("the daemon is not running; waiting for it")))]);
            }
            Err(error @ (ClientError::Version { .. } | ClientError::Elsewhere(_))) => return Err(error.into()),
            Err(error) => return Ok(vec![MonitEvent::Link(LinkState::Down(with_causes(&error)))]),
        }
        self.due = now + SAMPLE_INTERVAL;
        let mut updates = match self.position {
            Some(after) => self.ask(now, Request::Subscribe { after: Some(after) }, RequestPurpose::Subscription),
            None => self.ask(now, Request::Events, RequestPurpose::Events),
        };
        updates.extend(self.sample(now, state));
        Ok(updates)
    }

    /// Requests the rows and the details of the selected instance, each at most once at a time.
    /// Instances that were selected only in passing are skipped.
    fn sample(&mut self, now: Instant, state: &MonitState) -> Vec<MonitEvent> {
        let is_asked = |link: &Self, what: &RequestPurpose| link.pending.values().any(|(pending, _)| pending == what);
        let mut updates = Vec::new();
        if !is_asked(self, &RequestPurpose::Rows) {
            updates.extend(self.ask(now, Request::Table, RequestPurpose::Rows));
        }
        if !is_asked(self, &RequestPurpose::Figures) {
            updates.extend(self.ask(now, Request::Collect { for_ms: COLLECT_MS }, RequestPurpose::Figures));
        }
        let details = self.pending.values().filter(|(pending, _)| matches!(pending, RequestPurpose::Detail(_))).count();
        let selected = state.selected.filter(|id| details < DETAILS && !is_asked(self, &RequestPurpose::Detail(*id)));
        if let Some((id, target)) = selected.and_then(|id| Some((id, target_of(&state.rows, &[id])?))) {
            updates.extend(self.ask(now, Request::Inspect { targets: vec![target], cwd: String::new() }, RequestPurpose::Detail(id)));
        }
        updates
    }

    fn ask(&mut self, now: Instant, request: Request, pending: RequestPurpose) -> Vec<MonitEvent> {
        let Some(client) = &mut self.client else { return Vec::new() };
        match client.send(request) {
            Ok(id) => {
                self.pending.insert(id, (pending, now));
                Vec::new()
            }
            Err(_) => self.lost(now),
        }
    }

    /// Sends an action; its result arrives as an event.
    pub(super) fn action(&mut self, now: Instant, action: &AppAction) -> Vec<MonitEvent> {
        let words = action_words(action);
        if self.client.is_none() {
            return vec![MonitEvent::Answer { text: message!("{action}: the daemon is not running", action = words), is_good: false }];
        }
        let mut updates = vec![MonitEvent::Answer { text: format!("{words} …"), is_good: true }];
        let Some(request) = request(action, self.program) else {
            return vec![MonitEvent::Answer { text: message!("{action}: this is not a number", action = words), is_good: false }];
        };
        updates.extend(self.ask(now, request, RequestPurpose::Action(words, Vec::new())));
        updates
    }

    /// Handles the responses that have arrived.
    ///
    /// # Errors
    /// Returns the errors of [`Self::turn`].
    pub(super) fn arrived(&mut self, now: Instant) -> Result<Vec<MonitEvent>, CliError> {
        let frames = match self.client.as_mut().map(Client::received_frames) {
            None => return Ok(Vec::new()),
            Some(Ok(frames)) => frames,
            Some(Err(error @ ClientError::Version { .. })) => return Err(error.into()),
            Some(Err(ClientError::Down(why))) => {
                self.client = None;
                return Ok(vec![MonitEvent::Link(LinkState::Down(why))]);
            }
            Some(Err(_)) => return Ok(self.lost(now)),
        };
        let mut updates = Vec::new();
        for frame in frames {
            self.on_answer(now, frame.id, frame.response, &mut updates);
        }
        Ok(updates)
    }

    fn lost(&mut self, now: Instant) -> Vec<MonitEvent> {
        self.client = None;
        // If the daemon was lost after it received an action, the result of the action is unknown.
        let actions: Vec<String> = self
            .pending
            .drain()
            .filter_map(|(_, (pending, _))| if let RequestPurpose::Action(words, _) = pending { Some(words) } else { None })
            .collect();
        self.due = now + EVENT_DELAY;
        let unknown = |words: String| MonitEvent::Answer {
            text: message!("{action}: lost the connection before the daemon responded", action = words),
            is_good: false,
        };
        let down = MonitEvent::Link(LinkState::Down(message!("lost the connection to the daemon; reconnecting")));
        std::iter::once(down).chain(actions.into_iter().map(unknown)).collect()
    }

    fn on_answer(&mut self, now: Instant, id: u64, response: Response, updates: &mut Vec<MonitEvent>) {
        let is_progress = matches!(response, Response::Progress(_) | Response::Happened(_) | Response::Missed(_));
        match response {
            Response::Happened(event) => {
                self.position = Some(event.position());
                self.due = self.due.min(now + EVENT_DELAY);
                updates.push(MonitEvent::Event(event));
            }
            Response::Missed(_) => updates.push(MonitEvent::Missed),
            // The client reconnects and fetches the rest.
            Response::FellBehind => updates.extend(self.lost(now)),
            Response::Events { list, position } => {
                self.position = Some(position);
                updates.extend(list.into_iter().map(MonitEvent::Event));
                updates.extend(self.ask(now, Request::Subscribe { after: Some(position) }, RequestPurpose::Subscription));
            }
            Response::Table(rows) => updates.extend([MonitEvent::Link(LinkState::Up), MonitEvent::Rows(rows)]),
            Response::Details(details) => updates.extend(details.into_iter().map(|detail: Detail| MonitEvent::Detail(Box::new(detail)))),
            Response::Progress(Progress::InstanceFailed { id: instance, name, reason }) => {
                if let Some((RequestPurpose::Action(_, reasons), _)) = self.pending.get_mut(&id) {
                    reasons.push(format!("{name} ({instance}) {reason}"));
                }
            }
            Response::Done { .. } => self.finish(now, id, None, updates),
            Response::Failed(failure) => self.finish(now, id, Some(failure), updates),
            _ => {}
        }
        if !is_progress {
            self.pending.remove(&id);
        }
    }

    fn finish(&mut self, now: Instant, id: u64, failure: Option<Failure>, updates: &mut Vec<MonitEvent>) {
        let Some((RequestPurpose::Action(words, reasons), _)) = self.pending.remove(&id) else { return };
        self.due = self.due.min(now + EVENT_DELAY);
        updates.push(match failure {
            None => MonitEvent::Answer { text: message!("{action}: done", action = words), is_good: true },
            Some(failure) => {
                let reason = reasons.into_iter().next().unwrap_or_else(|| failure.to_string());
                MonitEvent::Answer { text: format!("{words}: {reason}"), is_good: false }
            }
        });
    }
}

fn action_words(action: &AppAction) -> String {
    match action {
        AppAction::Stop(chosen) => message!("stop {target}", target = chosen.words),
        AppAction::Restart(chosen) => message!("restart {target}", target = chosen.words),
        AppAction::Reload(chosen) => message!("reload {target}", target = chosen.words),
        AppAction::Scale { app, to } => message!("scale {app} {count}", app, count = to),
    }
}

/// Returns the request for an action, or none if its number is invalid.
fn request(action: &AppAction, program: &str) -> Option<Request> {
    let act = |action, chosen: &ActionTarget, command: &str| Request::act(action, vec![chosen.target.clone()], command);
    Some(match action {
        AppAction::Stop(chosen) => act(Action::Stop, chosen, "stop"),
        AppAction::Restart(chosen) => act(Action::Restart, chosen, "restart"),
        AppAction::Reload(chosen) => act(Action::Reload, chosen, "reload"),
        AppAction::Scale { app, to } => {
            let to = if to.starts_with(['+', '-']) { ScaleTo::By(to.parse().ok()?) } else { ScaleTo::Exactly(to.parse().ok()?) };
            Request::Scale { name: app.clone(), cwd: String::new(), to, oldest_first: program == "pm2", confirm: None }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_become_requests() {
        let scale = |to: &str| AppAction::Scale { app: "api".into(), to: to.into() };
        for (action, wanted) in [
            (scale("+1"), Some(ScaleTo::By(1))),
            (scale("-1"), Some(ScaleTo::By(-1))),
            (scale("14"), Some(ScaleTo::Exactly(14))),
            (scale("99999999999"), None),
        ] {
            let to = request(&action, "ostler").map(|request| match request {
                Request::Scale { to, .. } => to,
                other => panic!("{other:?}"),
            });
            assert_eq!(to, wanted, "{action:?}");
        }
        let chosen = ActionTarget { target: "3".into(), words: "api (3)".into() };
        let Some(Request::Act { action, targets, .. }) = request(&AppAction::Stop(chosen), "ostler") else { panic!() };
        assert_eq!((action, targets), (Action::Stop, vec!["3".to_owned()]));
    }
}
