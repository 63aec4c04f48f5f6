//! Events of many hosts in the order of their times; each event once, even if a connection breaks.

use ostler_core::message;
use ostler_fleet::events::{EventCursor, EventDecision};
use ostler_fleet::{HostOutcome, Member};
use ostler_proto::control::Event;
use serde_json::Value;

use super::connect::ConnectRules;
use super::host_command::{AnswerKind, HostCommand, script_for};
use super::host_states::HostStates;
use super::ordered::{self, HostOutput, LineKind};
use crate::cli::Call;
use crate::render::Out;
use crate::render::face::EventColumns;

/// Shows the events until the hosts are done, or without an end if it follows.
pub(super) fn run(
    out: &mut Out,
    host_states: HostStates<'_>,
    members: &[Member],
    command: &HostCommand,
    rules: ConnectRules,
    call: &Call,
) -> Vec<HostOutcome> {
    let script = |member: &Member| script_for(member, &command.words, None, false);
    let events = EventLines {
        scripts: members.iter().map(script).collect(),
        places: members.iter().map(|_| EventCursor::default()).collect(),
        columns: members.iter().map(|_| EventColumns::default()).collect(),
        whole: call.targets.is_empty() && call.value("app").is_none() && call.value("since").is_none(),
    };
    let follows = command.kind == AnswerKind::Events { follow: true };
    ordered::run(HostOutput { host_states, out, json: call.has("json"), follows }, events, members, &script, rules)
}

struct EventLines {
    scripts: Vec<String>,
    places: Vec<EventCursor>,
    /// Columns of each host.
    columns: Vec<EventColumns>,
    /// Whether all events are requested. Only then does a gap in their numbers mean missed events.
    whole: bool,
}

impl LineKind for EventLines {
    fn parse(&mut self, output: &mut HostOutput<'_, '_>, host: usize, line: &[u8]) -> Option<(Option<u64>, Value)> {
        // An older ostler may print lines that are no events.
        let event = serde_json::from_slice::<Value>(line).ok()?;
        let (out, name) = (&mut *output.out, output.host_states.name(host));
        match self.places.get_mut(host)?.judge(&event, self.whole) {
            EventDecision::Known => return None,
            EventDecision::Show => {}
            EventDecision::After(1) => out.warn_err(message!("{host}: 1 event is missing: it is no longer recorded there", host = name)),
            EventDecision::After(count) => {
                out.warn_err(message!("{host}: {count} events are missing: they are no longer recorded there", host = name, count));
            }
            EventDecision::OtherRing => {
                out.warn_err(message!("{host}: events may be missing: the daemon and its keeper were both replaced", host = name));
            }
        }
        Some((event["at_ms"].as_u64(), event))
    }

    fn print(&mut self, output: &mut HostOutput<'_, '_>, host: usize, event: Value) {
        let view = output.out.view().narrower(output.host_states.prefix_width());
        // The users of another machine have other names.
        let text = match (serde_json::from_value::<Event>(event.clone()), self.columns.get_mut(host)) {
            (Ok(event), Some(columns)) => columns.line(&event, &|_| None, &view),
            // The event comes from another version.
            _ => event.to_string(),
        };
        let prefix = output.host_states.prefix(host, output.out.paint());
        text.lines().for_each(|line| output.out.line(format_args!("{prefix}{line}")));
    }

    fn on_lost(&mut self, output: &mut HostOutput<'_, '_>, host: usize) -> Option<String> {
        output.out.warn_err(message!("{host}: connection lost; connecting again", host = output.host_states.name(host)));
        self.places.get_mut(host).into_iter().for_each(EventCursor::on_disconnect);
        self.scripts.get(host).cloned()
    }
}
