//! The command: hosts, order, receiver, result.

use std::ops::Range;

use ostler_core::message;
use ostler_fleet::{Batches, Code, HostOutcome, Member, merge, worst};
use ostler_proto::control::TableRow;
use serde_json::Value;

use super::connect::{self, ConnectRules, HostEvent, HostListener};
use super::host_command::{AnswerKind, HostCommand, host_command, script_for};
use super::host_states::{HostStates, HostUpdate};
use super::text::TextReceiver;
use super::{events, file, logs};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, FleetError, Status, UsageError};
use crate::render::face::{AppGroup, fleet_list};
use crate::render::{Out, SortOrder, json};

/// Default number of hosts at the same time.
const PARALLEL: usize = 8;

/// Longest answer of a host.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Largest total of all answers.
const MAX_ALL_BYTES: usize = 64 << 20;

/// Runs the command on all hosts.
///
/// # Errors
/// Returns an error if the command line or the hosts file is invalid; nothing was done.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let members = file::members(cx, call)?;
    let batch = number(call, "batch")?;
    let parallel = number(call, "parallel")?.unwrap_or(PARALLEL);
    let command = host_command(call, members.len(), batch.is_some(), cx.out.paint().0)?;
    let order = match call.value("sort") {
        None => None,
        Some(text) => Some(SortOrder::parse(text).ok_or_else(|| {
            UsageError::unknown_among("--sort", message!("unknown field {text}", text = format!("{text:?}")), text, SortOrder::FIELDS)
        })?),
    };
    // Two hosts must not ask for a password on one terminal at the same time.
    let at_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let may_ask = at_terminal && (members.len() == 1 || parallel == 1 || batch == Some(1));
    let rules = ConnectRules { parallel, reconnects: false, may_ask };
    let (out, members) = (&mut cx.out, members.as_slice());
    let host_states = |joins| HostStates::new(members, command.changes, joins);
    match command.kind {
        AnswerKind::Screen => return screen(out, members, &command, at_terminal),
        AnswerKind::Logs { follow } => {
            let rules = ConnectRules { parallel: if follow { members.len() } else { parallel }, reconnects: follow, ..rules };
            let outcomes = logs::run(out, host_states(true), members, &command, rules, call);
            return Ok(code_of(&outcomes));
        }
        AnswerKind::Events { follow } => {
            let rules = ConnectRules { parallel: if follow { members.len() } else { parallel }, reconnects: follow, ..rules };
            let outcomes = events::run(out, host_states(true), members, &command, rules, call);
            return Ok(code_of(&outcomes));
        }
        AnswerKind::Text => {
            let mut text = TextReceiver { host_states: host_states(false), out };
            in_batches(&mut text, members, &command, rules, batch);
            let TextReceiver { host_states, out } = text;
            return Ok(code_of(&host_states.conclude(out)));
        }
        AnswerKind::Rows | AnswerKind::Processes | AnswerKind::Json => {}
    }
    if command.kind != AnswerKind::Rows {
        out.data_only();
    }
    let mut whole = CompleteAnswers {
        host_states: host_states(false),
        out,
        kind: command.kind,
        bodies: members.iter().map(|_| HostAnswer::default()).collect(),
        bytes: 0,
    };
    in_batches(&mut whole, members, &command, rules, batch);
    let CompleteAnswers { host_states, bodies, out, .. } = whole;
    let outcomes = host_states.outcomes();
    if command.kind == AnswerKind::Rows {
        table(out, members, bodies, order);
    } else {
        let with_failures = command.kind == AnswerKind::Json;
        json(out, &merged(members, bodies, &outcomes, with_failures));
    }
    out.flush();
    Ok(code_of(&host_states.conclude(out)))
}

/// Returns the number of an option.
fn number(call: &Call, option: &str) -> Result<Option<usize>, UsageError> {
    let Some(text) = call.value(option) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    let reason = || message!("expected a number of hosts from 1 to 1024, found {text}", text = format!("{text:?}"));
    number.map(Some).ok_or_else(|| UsageError::BadValue { option: format!("--{option}"), reason: reason() })
}

/// Receiver whose answers are complete when their hosts are done.
trait Collector: HostListener {
    /// Returns the output, and the state of the hosts.
    fn parts(&mut self) -> (&mut Out, &HostStates<'_>);
}

impl Collector for TextReceiver<'_, '_> {
    fn parts(&mut self) -> (&mut Out, &HostStates<'_>) {
        (self.out, &self.host_states)
    }
}

impl Collector for CompleteAnswers<'_, '_> {
    fn parts(&mut self) -> (&mut Out, &HostStates<'_>) {
        (self.out, &self.host_states)
    }
}

/// Runs batch after batch. Stops after the first batch that does not become healthy.
fn in_batches(listener: &mut impl Collector, members: &[Member], command: &HostCommand, rules: ConnectRules, batch: Option<usize>) {
    let mut batches = Batches::new(members.len(), batch.unwrap_or(0));
    let mut healthy = true;
    while let Some(range) = batches.next(healthy) {
        if batch.is_some() {
            let (out, host_states) = listener.parts();
            out.info(message!(
                "now {hosts} ({done} of {total})",
                hosts = names(host_states, range.clone()),
                done = range.end,
                total = members.len()
            ));
            out.flush();
        }
        let script = |member: &Member| script_for(member, &command.words, command.then.as_deref(), false);
        connect::run(members, range.clone(), &script, rules, listener);
        let (_, host_states) = listener.parts();
        healthy = batch.is_none() || range.into_iter().all(|host| host_states.outcome(host).succeeded());
    }
    let left = batches.remaining();
    if !left.is_empty() {
        let (out, host_states) = listener.parts();
        let of = |wanted: bool| {
            (0..left.start).filter(move |host| host_states.outcome(*host).succeeded() == wanted).map(|host| host_states.name(host))
        };
        let list = |names: Vec<String>| if names.is_empty() { message!("none") } else { names.join(", ") };
        out.error(message!(
            "stopped, because not all hosts became healthy. Done: {done}; failed: {failed}; not started: {left}",
            done = list(of(true).collect()),
            failed = list(of(false).collect()),
            left = names(host_states, left.clone())
        ));
    }
}

fn names(host_states: &HostStates<'_>, range: Range<usize>) -> String {
    range.map(|host| host_states.name(host)).collect::<Vec<_>>().join(", ")
}

/// Runs the full-screen view of one host: its `ssh` uses the terminal.
fn screen(out: &mut Out, members: &[Member], command: &HostCommand, at_terminal: bool) -> Result<Status, CliError> {
    let Some(member) = members.first() else { return Ok(Status::Ok) };
    out.flush();
    let script = script_for(member, &command.words, None, true);
    let status = connect::process(member, &script, at_terminal, at_terminal)
        .status()
        .map_err(|error| FleetError::Host(HostOutcome::NotStarted(error.to_string())))?;
    Ok(match status.code() {
        Some(ostler_fleet::ssh::LOST) | None => Status::Unreachable,
        Some(127) => Status::Unreachable,
        Some(code) => status_of(Code::of(code)),
    })
}

/// Complete answer of a host.
#[derive(Default)]
struct HostAnswer {
    bytes: Vec<u8>,
    values: Vec<Value>,
    rows: Vec<TableRow>,
    has_answer: bool,
    is_too_long: bool,
}

/// Receiver of answers that are usable only when they are complete.
struct CompleteAnswers<'a, 'b> {
    host_states: HostStates<'a>,
    out: &'b mut Out,
    kind: AnswerKind,
    bodies: Vec<HostAnswer>,
    /// Bytes of all answers so far.
    bytes: usize,
}

impl HostListener for CompleteAnswers<'_, '_> {
    fn on_event(&mut self, host: usize, event: HostEvent) {
        let Some(body) = self.bodies.get_mut(host) else { return };
        match self.host_states.take(self.out, host, event) {
            HostUpdate::Line(piece)
                if !body.is_too_long && body.bytes.len() + piece.len() <= MAX_ANSWER_BYTES && self.bytes + piece.len() <= MAX_ALL_BYTES =>
            {
                self.bytes += piece.len();
                body.bytes.extend_from_slice(&piece);
            }
            HostUpdate::Line(_) => (body.is_too_long, body.bytes) = (true, Vec::new()),
            HostUpdate::Ended if body.is_too_long => self.host_states.spoil(host, HostOutcome::TooLong(MAX_ANSWER_BYTES)),
            HostUpdate::Ended => {
                let bytes = std::mem::take(&mut body.bytes);
                if read(self.kind, &bytes, body).is_err() {
                    let version = self.host_states.version(host).to_owned();
                    self.host_states.spoil(host, HostOutcome::Unreadable(version));
                }
            }
            _ => {}
        }
    }

    fn is_over(&self) -> bool {
        self.out.is_closed()
    }
}

/// Parses an answer. If a list is expected but cannot be parsed, the command on the host has
/// failed.
fn read(kind: AnswerKind, bytes: &[u8], body: &mut HostAnswer) -> Result<(), serde_json::Error> {
    if kind == AnswerKind::Rows {
        body.rows = serde_json::from_slice(bytes)?;
    } else {
        let values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        body.values = values.collect::<Result<_, _>>()?;
    }
    body.has_answer = true;
    Ok(())
}

/// Prints all rows in one table, if any host has answered.
fn table(out: &mut Out, members: &[Member], bodies: Vec<HostAnswer>, order: Option<SortOrder>) {
    if !bodies.iter().any(|body| body.has_answer) || out.is_silent() {
        return;
    }
    let mut all: Vec<(String, AppGroup)> = Vec::new();
    for (member, body) in members.iter().zip(bodies) {
        // Modules come last, as in the list of one host.
        let (modules, apps): (Vec<_>, Vec<_>) = body.rows.into_iter().partition(|row| row.module);
        let groups = [apps, modules].into_iter().flat_map(|rows| AppGroup::all(rows, false, SortOrder::BY_NAME));
        all.extend(groups.map(|group| (crate::text::shown(&member.name), group)));
    }
    if let Some(order) = order {
        all.sort_by(|(_, a), (_, b)| order.compare(&a.row, &b.row));
    }
    let (hosts, groups): (Vec<String>, Vec<AppGroup>) = all.into_iter().unzip();
    out.line(fleet_list(hosts, &groups, &out.view()).trim_end_matches('\n'));
}

/// Merges all answers into one list. With `with_failures`, a host without an answer adds its
/// failure.
fn merged(members: &[Member], bodies: Vec<HostAnswer>, outcomes: &[HostOutcome], with_failures: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for ((member, body), outcome) in members.iter().zip(bodies).zip(outcomes) {
        let is_empty = body.values.is_empty();
        let is_list = |value: &Value| value.is_array();
        let values = body.values.into_iter().filter(|value| with_failures || is_list(value));
        all.extend(values.flat_map(|value| merge::parts(&member.name, value)));
        if with_failures && is_empty && !outcome.succeeded() {
            all.push(merge::failure(&member.name, &outcome.to_string(), outcome.code().number()));
        }
    }
    all
}

/// Returns the exit code for all hosts.
fn code_of(outcomes: &[HostOutcome]) -> Status {
    status_of(worst(outcomes.iter().filter(|outcome| **outcome != HostOutcome::NotBegun).map(HostOutcome::code)))
}

const fn status_of(code: Code) -> Status {
    match code {
        Code::Ok => Status::Ok,
        Code::Incomplete => Status::Incomplete,
        Code::NotFound => Status::NotFound,
        Code::RolledBack => Status::RolledBack,
        Code::Usage => Status::Usage,
        Code::Failed => Status::Failed,
        Code::Unreachable => Status::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_merged_into_one_list() {
        let member = |name: &str| Member { name: name.into(), ..Member::default() };
        let members = [member("a"), member("b"), member("c")];
        let body = |values: Vec<Value>| HostAnswer { values, has_answer: true, ..HostAnswer::default() };
        let outcomes = [HostOutcome::Ended(0), HostOutcome::Ended(4), HostOutcome::Absent];
        let bodies = || vec![body(vec![json!([{"x": 1}])]), body(vec![json!({"error": "no", "exit_code": 4})]), HostAnswer::default()];
        let all = merged(&members, bodies(), &outcomes, true);
        assert_eq!(all[..2], [json!({"host": "a", "x": 1}), json!({"host": "b", "error": "no", "exit_code": 4})]);
        assert_eq!((all.len(), &all[2]["host"], &all[2]["exit_code"]), (3, &json!("c"), &json!(3)));
        // PM2's list contains only processes.
        assert_eq!(merged(&members, bodies(), &outcomes, false), [json!({"host": "a", "x": 1})]);
    }
}
