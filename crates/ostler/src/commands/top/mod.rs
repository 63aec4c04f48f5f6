//! `top`: CPU and memory of all apps, now and over time. It runs live at a terminal, and prints
//! once otherwise.
//!
//! `state` holds the shown data and its order, `view` makes a picture of it, and `table` a text; none
//! of them reads or writes anything. `source` asks the daemon and reads the files of the past on its own thread, so
//! a silent daemon does not delay a key. `session` waits for `source`, for keys and for signals.

mod session;
mod source;
mod state;
mod table;
mod view;

use ostler_core::message;
use ostler_history::QueryResult;
use serde_json::{Value, json};

use super::metrics_history::{App, MetricsHistory, rows, since};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status};
use crate::full_screen::screen::Screen;
use crate::full_screen::terminal;
use crate::render::{json, metrics};
use session::Session;
use source::{Reader, Source};
use state::{AppEntry, TopState};
use table::{TableForm, table};

/// Default time span, ms.
const USUAL_MS: u64 = 900_000;
/// Columns of the text beside the bars: a value and a space before each.
const VALUE: usize = 9;

/// Runs `top`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let since_ms = since(call, USUAL_MS)?;
    let is_live = !call.has("once") && !call.has("json") && terminal::check("top", "").is_ok();
    if !is_live {
        return once(cx, call);
    }
    let home = cx.home()?.to_owned();
    let mut reader = Reader::new(home, since_ms);
    let first = reader.sample();
    if let Some(problem) = first.nothing() {
        return Err(DashboardError::Nothing(problem).into());
    }
    cx.out.flush();
    let screen = Screen::new(terminal::Terminal::take()?, cx.out.paint().0);
    let mut source = Source::start(reader).map_err(CliError::system(message!("start the thread that reads metrics")))?;
    let mut state = TopState::new(cx.out.is_ascii(), call.has("all"), since_ms, screen.size());
    state.take(first);
    Session::new(state, screen).run(&mut source)?;
    Ok(Status::Ok)
}

/// Prints the table once.
fn once(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let now = source::table(cx.home()?).ok();
    let past = match MetricsHistory::open(cx, call, USUAL_MS, 2 * VALUE + 2) {
        Ok(past) => Some(past),
        // The current values are enough. If the daemon does not answer either, the error is
        // reported.
        Err(_) if now.is_some() => None,
        Err(error) => return Err(error),
    };
    let now = now.unwrap_or_default();
    let is_each = call.has("all") && !call.has("json");
    let mut entries = state::entries(&now, past.as_ref().map(MetricsHistory::usage).unwrap_or_default(), is_each);
    // The app with the highest use in that time span is first.
    let use_of =
        |entry: &AppEntry| metrics::extremes(&entry.cpu.figures).map_or(entry.now.map_or(0.0, |now| now.cpu), |(_, average, _)| average);
    entries.sort_by(|one, other| use_of(other).total_cmp(&use_of(one)));
    if call.has("json") {
        let list: Vec<Value> = entries.iter().map(as_json).collect();
        json(&mut cx.out, &list);
    } else if entries.is_empty() {
        cx.out.info(message!("no metrics of this period yet"));
    } else if cx.program.is_pm2() {
        print_as_pm2(cx, &entries, past.as_ref());
    } else {
        entries.sort_by_key(|entry| entry.group.is_none());
        let span = past.as_ref().map(|past| (past.from, past.to));
        let form = TableForm { span, is_each };
        let text = table(&entries, &state::totals(&now), form, &cx.out.view());
        cx.out.text(text);
    }
    Ok(Status::Ok)
}

/// Prints the table under the name `pm2`.
fn print_as_pm2(cx: &mut Cx, entries: &[AppEntry], past: Option<&MetricsHistory>) {
    let width = cx.out.width();
    let columns = past.map_or(0, |_| metrics::room(width, 2 * VALUE + 2) / 2);
    let title =
        past.map_or_else(|| "now".to_owned(), |past| format!("the last {}", ostler_core::text::units::millis_text(past.to - past.from)));
    let heading = metrics::line(&title, &format!("{:>VALUE$} {:columns$}", "cpu", ""), &format!("{:>VALUE$}", "memory"), width);
    cx.out.text(format_args!("{}\n", heading.trim_end()));
    let span = past.map_or((0, 1), |past| (past.from, past.to));
    for entry in entries {
        let part = |metric: &str, now: Option<f64>, answer: &QueryResult| {
            let last = now.or(answer.figures.last().map(|figure| figure.avg));
            let last = last.map_or_else(|| "-".to_owned(), |value| metrics::value(metric, value));
            format!("{last:>VALUE$} {}", metrics::bars(&answer.figures, span.0, span.1, columns))
        };
        let cpu = part("cpu", entry.now.map(|now| now.cpu), &entry.cpu);
        let memory = part("memory", entry.now.map(|now| now.memory), &entry.memory);
        let line = metrics::line(&ostler_client::words::shown(&entry.app.1), &cpu, &memory, width);
        cx.out.text(format_args!("{}\n", line.trim_end()));
    }
}

fn as_json(entry: &AppEntry) -> Value {
    let of = |answer: &QueryResult| json!({ "step": answer.step_ms, "figures": rows(&answer.figures) });
    let (namespace, name): &App = &entry.app;
    let now = entry.now.map(
        |now| json!({ "cpu": now.cpu, "memory": now.memory, "instances": now.instances, "online": now.online, "restarts": now.restarts }),
    );
    json!({ "app": name, "namespace": namespace, "now": now, "cpu": of(&entry.cpu), "memory": of(&entry.memory) })
}
