//! Events of many hosts in the order of their times; each event once, even if a connection breaks.

use std::time::{Duration, Instant};

use ostler_fleet::events::{EventCursor, EventDecision};
use ostler_fleet::{HostOutcome, Interleave, Member, TimedLine, merge};
use ostler_proto::control::Event;
use serde_json::Value;

use super::connect::{self, ConnectRules, HostEvent, HostListener};
use super::host_command::{AnswerKind, HostCommand, script_for};
use super::host_states::{HostStates, HostUpdate};
use super::logs::has_no_reader;
use crate::cli::Call;
use crate::render::{Out, event_line};

/// Shows the events until the hosts are done, or without an end if it follows.
pub(super) fn run(
    out: &mut Out,
    host_states: HostStates<'_>,
    members: &[Member],
    command: &HostCommand,
    rules: ConnectRules,
    call: &Call,
) -> Vec<HostOutcome> {
    if call.has("json") {
        out.data_only();
    }
    let script = |member: &Member| script_for(member, &command.words, None, false);
    let places = members.iter().map(|_| EventCursor::default()).collect();
    let mut events = EventReceiver {
        host_states,
        out,
        scripts: members.iter().map(script).collect(),
        places,
        order: Interleave::default(),
        json: call.has("json"),
        follows: command.kind == AnswerKind::Events { follow: true },
        whole: call.targets.is_empty() && call.value("app").is_none() && call.value("since").is_none(),
    };
    connect::run(members, 0..members.len(), &script, rules, &mut events);
    while let Some((host, event)) = events.order.next_immediately() {
        events.show(host, event);
    }
    let EventReceiver { host_states, out, .. } = events;
    host_states.conclude(out)
}

struct EventReceiver<'a, 'b> {
    host_states: HostStates<'a>,
    out: &'b mut Out,
    scripts: Vec<String>,
    places: Vec<EventCursor>,
    order: Interleave<Value>,
    json: bool,
    follows: bool,
    /// Whether all events are requested. Only then does a gap in their numbers mean missed events.
    whole: bool,
}

impl EventReceiver<'_, '_> {
    fn line(&mut self, host: usize, line: &[u8]) {
        // An older ostler may print lines that are no events.
        let Ok(event) = serde_json::from_slice::<Value>(line) else { return };
        let Some(place) = self.places.get_mut(host) else { return };
        let name = self.host_states.name(host);
        match place.judge(&event, self.whole) {
            EventDecision::Known => return,
            EventDecision::Show => {}
            EventDecision::After(1) => self.out.warn_err(format_args!("{name}: 1 event is missing: it is no longer recorded there")),
            EventDecision::After(n) => self.out.warn_err(format_args!("{name}: {n} events are missing: they are no longer recorded there")),
            EventDecision::OtherRing => {
                self.out.warn_err(format_args!("{name}: events may be missing: the daemon and its keeper were both replaced"))
            }
        }
        self.order.push(TimedLine { host, at_ms: event["at_ms"].as_u64(), line: event }, Instant::now());
    }

    fn show(&mut self, host: usize, event: Value) {
        if self.json {
            if let Value::Object(object) = event {
                self.out.data(format!("{}\n", merge::with_host(&self.host_states.name(host), object)).as_bytes());
            }
            return;
        }
        let text = match serde_json::from_value::<Event>(event.clone()) {
            Ok(event) => event_line(&event, &self.out.view()),
            // The event comes from another version.
            Err(_) => event.to_string(),
        };
        let prefix = self.host_states.prefix(host, self.out.paint());
        self.out.line(format_args!("{prefix}{text}"));
    }
}

impl HostListener for EventReceiver<'_, '_> {
    fn on_event(&mut self, host: usize, event: HostEvent) {
        match self.host_states.take(self.out, host, event) {
            HostUpdate::Line(line) => self.line(host, &line),
            HostUpdate::Lost(answer) => {
                self.out.warn_err(format_args!("{}: connection lost; connecting again", self.host_states.name(host)));
                self.places.get_mut(host).into_iter().for_each(EventCursor::on_disconnect);
                if let Some(script) = self.scripts.get(host) {
                    let _ = answer.send(script.clone());
                }
            }
            HostUpdate::Back => self.out.warn_err(format_args!("{}: connected again", self.host_states.name(host))),
            // A command that follows never prints a summary, so the outcome is printed at once.
            HostUpdate::Ended if self.follows => self.host_states.report(self.out, host),
            HostUpdate::Ended | HostUpdate::Nothing => {}
        }
    }

    fn on_tick(&mut self) -> Option<Duration> {
        if !self.follows {
            return None;
        }
        let now = Instant::now();
        while let Some((host, event)) = self.order.pop(now) {
            self.show(host, event);
        }
        self.out.flush();
        self.order.wait(now)
    }

    fn is_over(&self) -> bool {
        self.out.is_closed() || self.follows && has_no_reader()
    }
}
