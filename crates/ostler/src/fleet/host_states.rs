//! Parts that the answers of all hosts share: greeting, error output, exit code.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use ostler_core::message;
use ostler_fleet::script::{Greeting, greeting};
use ostler_fleet::ssh::LOST;
use ostler_fleet::{HostOutcome, Member};
use unicode_width::UnicodeWidthStr as _;

use super::connect::HostEvent;
use crate::client::VERSION;
use crate::render::{Out, Paint, styles};
use crate::text::{fit, shown};

/// Error lines that are kept until the host is known to be reachable.
const MAX_HELD: usize = 20;

/// Longest line of JSON: a log line may have a mebibyte, and each byte may become six in JSON.
const MAX_LINE_BYTES: usize = 7 << 20;

/// Update for the receiver of one kind of answers.
pub(super) enum HostUpdate {
    /// A line of the answer, with its end if it has one.
    Line(Vec<u8>),
    /// The connection broke; see [`HostEvent::Lost`].
    Lost(SyncSender<String>),
    /// The host is connected again.
    Back,
    /// The host's command is over; its outcome is known.
    Ended,
    /// Nothing for the receiver.
    Nothing,
}

/// State of one host.
#[derive(Default)]
struct HostState {
    greeting: Option<Greeting>,
    held: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
    was_lost: bool,
    is_reported: bool,
    outcome: Option<HostOutcome>,
}

/// State of all hosts.
pub(super) struct HostStates<'a> {
    members: &'a [Member],
    states: Vec<HostState>,
    /// Whether the command may change something.
    changes: bool,
    /// Whether the pieces of a line are joined before the line counts.
    joins: bool,
    width: usize,
}

impl<'a> HostStates<'a> {
    /// Creates the state before any host has answered.
    pub(super) fn new(members: &'a [Member], changes: bool, joins: bool) -> Self {
        let states = members.iter().map(|_| HostState::default()).collect();
        let width = members.iter().map(|member| shown(&member.name).width()).max().unwrap_or(0).min(40);
        Self { members, states, changes, joins, width }
    }

    /// Returns the name of a host.
    pub(super) fn name(&self, host: usize) -> String {
        self.members.get(host).map_or_else(String::new, |member| shown(&member.name))
    }

    /// Returns the prefix with the host's name for a line.
    pub(super) fn prefix(&self, host: usize, paint: Paint) -> String {
        format!("{} ", paint.with(styles::HEADER, format_args!("{} |", fit(&self.name(host), self.width))))
    }

    /// Returns the number of columns of [`Self::prefix`].
    pub(super) fn prefix_width(&self) -> usize {
        self.width + " | ".len()
    }

    /// Handles an event of a host; error output is shown at once.
    pub(super) fn take(&mut self, out: &mut Out, host: usize, event: HostEvent) -> HostUpdate {
        match event {
            HostEvent::Out(piece) => self.output(out, host, piece),
            HostEvent::Err(piece) => {
                let Some(state) = self.states.get_mut(host) else { return HostUpdate::Nothing };
                if state.greeting.is_some() {
                    self.error_line(out, host, &piece);
                } else {
                    state.held.push_back(piece);
                    if state.held.len() > MAX_HELD {
                        state.held.pop_front();
                    }
                }
                HostUpdate::Nothing
            }
            HostEvent::Lost(answer) => {
                if let Some(state) = self.states.get_mut(host) {
                    (state.greeting, state.was_lost) = (None, true);
                    state.held.clear();
                    state.partial.clear();
                }
                HostUpdate::Lost(answer)
            }
            HostEvent::End(end) => {
                let changes = self.changes;
                if let Some(state) = self.states.get_mut(host) {
                    state.outcome = Some(match end {
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                            HostOutcome::NotStarted(message!("it is not installed"))
                        }
                        Err(error) => HostOutcome::NotStarted(error.to_string()),
                        Ok(code) => match &state.greeting {
                            None if code == LOST => HostOutcome::NoConnection(reason(&state.held)),
                            None => HostOutcome::NoConnection(message!(
                                "its shell exited with code {code}: {reason}",
                                code,
                                reason = reason(&state.held)
                            )),
                            Some(Greeting::Absent) => HostOutcome::Absent,
                            Some(Greeting::Here(_)) if code == LOST => HostOutcome::Lost { changes },
                            Some(Greeting::Here(_)) => HostOutcome::Ended(code),
                        },
                    });
                }
                HostUpdate::Ended
            }
        }
    }

    fn output(&mut self, out: &mut Out, host: usize, piece: Vec<u8>) -> HostUpdate {
        let joins = self.joins;
        let Some(state) = self.states.get_mut(host) else { return HostUpdate::Nothing };
        if state.greeting.is_some() {
            if !joins {
                return HostUpdate::Line(piece);
            }
            state.partial.extend_from_slice(&piece);
            let is_whole = state.partial.last() == Some(&b'\n');
            if is_whole {
                return HostUpdate::Line(std::mem::take(&mut state.partial));
            }
            if state.partial.len() > MAX_LINE_BYTES {
                state.partial.clear();
            }
            return HostUpdate::Nothing;
        }
        // The login shell may print lines before the greeting.
        let line = String::from_utf8_lossy(&piece);
        let Some(found) = greeting(line.trim_end()) else { return HostUpdate::Nothing };
        let was_lost = std::mem::take(&mut state.was_lost);
        let held = std::mem::take(&mut state.held);
        state.greeting = Some(found.clone());
        for line in held {
            self.error_line(out, host, &line);
        }
        if let Greeting::Here(version) = &found
            && version != VERSION
            && !was_lost
        {
            out.warn_err(message!("{host}: ostler {version} there, {own} here", host = self.name(host), version, own = VERSION));
        }
        if was_lost { HostUpdate::Back } else { HostUpdate::Nothing }
    }

    fn error_line(&self, out: &mut Out, host: usize, line: &[u8]) {
        if out.is_silent() {
            return;
        }
        let mut bytes = self.prefix(host, out.paint_err()).into_bytes();
        bytes.extend_from_slice(line);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        out.data_err(&bytes);
    }

    /// Returns the version of the host's `ostler`, or `?` if it is unknown.
    pub(super) fn version(&self, host: usize) -> &str {
        match self.states.get(host).and_then(|state| state.greeting.as_ref()) {
            Some(Greeting::Here(version)) => version,
            _ => "?",
        }
    }

    /// Returns the outcome on a host.
    pub(super) fn outcome(&self, host: usize) -> HostOutcome {
        self.states.get(host).and_then(|state| state.outcome.clone()).unwrap_or(HostOutcome::NotBegun)
    }

    /// Replaces a good outcome with another one, because the answer was unusable.
    pub(super) fn spoil(&mut self, host: usize, outcome: HostOutcome) {
        if let Some(state) = self.states.get_mut(host).filter(|state| state.outcome.as_ref().is_none_or(HostOutcome::succeeded)) {
            state.outcome = Some(outcome);
        }
    }

    /// Prints a host's outcome once, if the host could not report it itself.
    pub(super) fn report(&mut self, out: &mut Out, host: usize) {
        let (name, outcome) = (self.name(host), self.outcome(host));
        let Some(state) = self.states.get_mut(host) else { return };
        if outcome.needs_message() && !std::mem::replace(&mut state.is_reported, true) {
            out.flush();
            out.error(format_args!("{name}: {outcome}"));
        }
    }

    /// Prints the outcomes of all hosts, and returns them.
    pub(super) fn conclude(mut self, out: &mut Out) -> Vec<HostOutcome> {
        (0..self.states.len()).for_each(|host| self.report(out, host));
        self.outcomes()
    }

    /// Returns the outcomes of all hosts.
    pub(super) fn outcomes(&self) -> Vec<HostOutcome> {
        (0..self.states.len()).map(|host| self.outcome(host)).collect()
    }
}

/// Returns the last line that `ssh` printed.
fn reason(held: &VecDeque<Vec<u8>>) -> String {
    let lines = held.iter().rev().map(|line| shown(String::from_utf8_lossy(line).trim()));
    lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Program;
    use crate::render::Screen;

    fn host_states(members: &[Member], event: Vec<HostEvent>) -> (String, Vec<Vec<u8>>, HostOutcome) {
        let (mut out, screen) = Screen::of(Program::Ostler);
        let mut host_states = HostStates::new(members, true, true);
        let mut lines = Vec::new();
        for event in event {
            if let HostUpdate::Line(line) = host_states.take(&mut out, 0, event) {
                lines.push(line);
            }
        }
        (screen.taken(&mut out), lines, host_states.outcome(0))
    }

    #[test]
    fn outcome_follows_output_and_exit_of_ssh() {
        let member = Member { name: "web".into(), ..Member::default() };
        let members = [member];
        let out = |text: &str| HostEvent::Out(text.into());
        let err = |text: &str| HostEvent::Err(text.into());
        let here = format!("ostler-fleet {VERSION}\n");
        for (event, screen, lines, outcome) in [
            (
                vec![err("Warning: x\n"), err("ssh: connect to host web port 22: Connection refused\r\n"), HostEvent::End(Ok(255))],
                "",
                vec![],
                HostOutcome::NoConnection("ssh: connect to host web port 22: Connection refused".into()),
            ),
            (
                vec![out("Welcome!\n"), out(&here), out("[1,"), out("2]\n"), HostEvent::End(Ok(0))],
                "",
                vec!["[1,2]\n"],
                HostOutcome::Ended(0),
            ),
            (
                vec![err("early\n"), out(&here), err("late"), HostEvent::End(Ok(4))],
                "(stderr) web | early\n(stderr) web | late\n",
                vec![],
                HostOutcome::Ended(4),
            ),
            (vec![out(&here), out("half"), HostEvent::End(Ok(255))], "", vec![], HostOutcome::Lost { changes: true }),
            (
                vec![err("no sh\n"), HostEvent::End(Ok(1))],
                "",
                vec![],
                HostOutcome::NoConnection("its shell exited with code 1: no sh".into()),
            ),
            (vec![out("ostler-fleet absent\n"), HostEvent::End(Ok(127))], "", vec![], HostOutcome::Absent),
            (
                vec![HostEvent::End(Err(std::io::ErrorKind::NotFound.into()))],
                "",
                vec![],
                HostOutcome::NotStarted("it is not installed".into()),
            ),
            (
                vec![out("ostler-fleet 0.0.9\n"), HostEvent::End(Ok(0))],
                &format!("(stderr) warning: web: ostler 0.0.9 there, {VERSION} here\n"),
                vec![],
                HostOutcome::Ended(0),
            ),
        ] {
            let found = host_states(&members, event);
            let lines: Vec<Vec<u8>> = lines.into_iter().map(|line: &str| line.as_bytes().to_vec()).collect();
            assert_eq!(found, (screen.to_owned(), lines, outcome));
        }
    }
}
