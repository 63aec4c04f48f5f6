//! Content of the panes that are text: lines for a given number of columns.

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::{Detail, TableRow};
use ostler_proto::event::{Event, EventKind};
use serde_json::Value;

use super::cells::Tone;
use super::layout::Pane;
use super::series::bar;
use super::state::MonitState;
use crate::render::{age, bytes, why};
use crate::text::{fit, wrap};

/// One line, in parts.
pub(super) type Line = Vec<(String, Tone)>;

/// Longest value that is shown completely.
const LONGEST: usize = 2000;

/// Returns the lines of a pane; none for the list and the logs, which are drawn in another way.
pub(super) fn lines(state: &MonitState, pane: Pane, columns: usize) -> Vec<Line> {
    let Some(row) = state.row() else {
        return if pane == Pane::Events { events(state, columns) } else { Vec::new() };
    };
    match pane {
        Pane::List | Pane::Logs => Vec::new(),
        Pane::Metrics => metrics(state, row, columns),
        Pane::Info => info(state, row, columns),
        Pane::Why => state.detail.as_ref().map_or_else(waiting, |detail| why_lines(state, detail, columns)),
        Pane::Events => events(state, columns),
    }
}

fn waiting() -> Vec<Line> {
    vec![vec![("…".into(), Tone::Dim)]]
}

fn metrics(state: &MonitState, row: &TableRow, columns: usize) -> Vec<Line> {
    let is_ascii = state.display.is_ascii;
    let mut lines = Vec::new();
    if let Some(past) = state.past.get(&row.id) {
        let figures = [
            ("CPU", cpu(row), &past.cpu, 10.0, Tone::Good),
            (marked!("Memory"), bytes(row.monit.memory_bytes), &past.memory, 0.0, Tone::Busy),
        ];
        for (name, value, series, full, tone) in figures {
            lines.push(figure(translated(name), &value, columns));
            lines.push(vec![(series.bars(columns, full, is_ascii), tone)]);
        }
    }
    let custom = state.detail.iter().flat_map(|detail| detail.learned.axm_monitor.iter());
    for (name, metric) in custom {
        let unit = metric.get("unit").map(plain).unwrap_or_default();
        let value = plain(metric.get("value").unwrap_or(metric));
        lines.push(figure(name, format!("{value} {unit}").trim_end(), columns));
        if let Some(series) = state.metrics.get(name) {
            lines.push(vec![(series.bars(columns, 0.0, is_ascii), Tone::Dim)]);
        }
    }
    lines
}

/// Formats a name at the left and a value at the right.
fn figure(name: &str, value: &str, columns: usize) -> Line {
    use unicode_width::UnicodeWidthStr as _;
    let gap = columns.saturating_sub(name.width() + value.width()).max(1);
    vec![(name.to_owned(), Tone::Plain), (" ".repeat(gap), Tone::Plain), (value.to_owned(), Tone::Bold)]
}

fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(LONGEST).collect()
}

/// CPU use as in the list.
pub(super) fn cpu(row: &TableRow) -> String {
    format!("{}%", (row.monit.cpu_pct * 10.0).round() / 10.0)
}

/// Returns the tone of a status word.
pub(super) fn status_tone(status: &str) -> Tone {
    match status {
        "online" => Tone::Good,
        "launching" => Tone::Busy,
        "stopped" | "stopping" | "waiting restart" => Tone::Warn,
        _ => Tone::Bad,
    }
}

fn info(state: &MonitState, row: &TableRow, columns: usize) -> Vec<Line> {
    let mut facts: Vec<(&'static str, String, Tone)> = vec![
        (marked!("App Name"), format!("{} ({})", row.name, row.id), Tone::Bold),
        (marked!("Namespace"), row.namespace.clone(), Tone::Plain),
        (marked!("Version"), row.version.clone().unwrap_or_else(|| "N/A".into()), Tone::Plain),
        (marked!("Status"), state.display.status(&row.status).to_owned(), status_tone(&row.status)),
    ];
    if let Some(health) = row.health {
        facts.push((marked!("Health"), health.as_str().into(), Tone::Plain));
    }
    facts.push((marked!("Restarts"), row.restarts.to_string(), Tone::Plain));
    facts.push((marked!("Uptime"), row.uptime_ms.map_or_else(|| "0".into(), age), Tone::Plain));
    facts.push(("Pid", message!("{pid} ({count} processes)", pid = row.pid, count = row.monit.processes), Tone::Plain));
    facts.push((marked!("User"), row.user.clone(), Tone::Plain));
    if let Some(detail) = &state.detail {
        facts.extend(from_detail(detail));
    }
    facts.push((
        marked!("Exec mode"),
        format!("{}_mode", if row.mode == ostler_core::app::ExecMode::Fork { "fork" } else { "cluster" }),
        Tone::Plain,
    ));
    facts.push((marked!("Watching"), if row.watching { message!("enabled") } else { message!("disabled") }, Tone::Plain));
    facts.into_iter().flat_map(|(name, value, tone)| fact(translated(name), &value, tone, columns)).collect()
}

fn from_detail(detail: &Detail) -> Vec<(&'static str, String, Tone)> {
    let spec = &detail.spec;
    let mut facts = vec![(marked!("Script path"), spec.script.clone(), Tone::Plain)];
    let mut add =
        |name, value: Option<String>| facts.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value, Tone::Plain)));
    add(marked!("Script args"), Some(spec.args.join(" ").chars().take(LONGEST).collect()));
    add(marked!("Interpreter"), spec.interpreter.clone());
    add(marked!("Exec cwd"), Some(spec.cwd.clone()));
    add("Node.js", detail.learned.node_version.clone());
    add(marked!("App status"), detail.learned.status.clone());
    add(marked!("Listens on"), Some(detail.learned.sockets.iter().map(|socket| socket.address.as_str()).collect::<Vec<_>>().join(", ")));
    add(marked!("Waits for"), Some(detail.waits_for.join(", ")));
    add(marked!("Out log"), detail.files.out.clone());
    add(marked!("Error log"), detail.files.error.clone());
    facts
}

/// Formats a name and a value. A value that is too long continues on the lines below.
fn fact(name: &str, value: &str, tone: Tone, columns: usize) -> Vec<Line> {
    const NAMES: usize = 13;
    let values = wrap(value, columns.saturating_sub(NAMES));
    let heads = std::iter::once(name).chain(std::iter::repeat(""));
    values.into_iter().zip(heads).map(|(value, head)| vec![(fit(head, NAMES), Tone::Dim), (value, tone)]).collect()
}

fn why_lines(state: &MonitState, detail: &Detail, columns: usize) -> Vec<Line> {
    let events: Vec<Event> = state.events.iter().cloned().collect();
    let text = why(detail, &events, &state.view.plain());
    let whole = |line: &str| -> Line { vec![(line.to_owned(), Tone::Plain)] };
    text.lines().flat_map(|line| wrap(line, columns)).map(|line| whole(&line)).collect()
}

fn events(state: &MonitState, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for event in state.events.iter().rev() {
        let time = state.view.time_of_day(event.at_ms);
        let text = ostler_client::words::event_text(event);
        let rest = columns.saturating_sub(time.len() + 1);
        for (index, part) in wrap(&text, rest).into_iter().enumerate() {
            let head = if index == 0 { time.clone() } else { String::new() };
            lines.push(vec![(format!("{head:8} "), Tone::Dim), (part, event_tone(&event.kind))]);
        }
    }
    lines
}

fn event_tone(what: &EventKind) -> Tone {
    match what {
        EventKind::Errored { .. } | EventKind::CouldNotStart { .. } | EventKind::ReloadFailed { .. } | EventKind::KillTimeout => Tone::Bad,
        EventKind::Exit { .. }
        | EventKind::Restarting { .. }
        | EventKind::LimitExceeded { .. }
        | EventKind::NotReady { .. }
        | EventKind::HookFailed { .. }
        | EventKind::ClockMoved { .. } => Tone::Warn,
        EventKind::Online { .. } | EventKind::ReloadDone { .. } => Tone::Good,
        _ => Tone::Plain,
    }
}

/// Bars of CPU and memory of all instances that are shown, as `imonit` has them.
pub(super) fn share_bars(state: &MonitState, row: &TableRow, columns: usize) -> (String, String) {
    let largest = state.rows.iter().map(|row| row.monit.memory_bytes).max().unwrap_or(0).max(1);
    #[expect(clippy::cast_precision_loss, reason = "columns")]
    let memory = row.monit.memory_bytes as f64 / largest as f64;
    (bar(row.monit.cpu_pct / 100.0, columns, state.display.is_ascii), bar(memory, columns, state.display.is_ascii))
}
