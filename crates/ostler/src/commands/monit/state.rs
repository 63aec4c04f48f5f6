//! State of the view: the known facts about the apps, and the selection. Nothing in this module
//! reads or writes anything.

use std::collections::{HashMap, HashSet, VecDeque};

use ostler_client::attention::attention;
use ostler_proto::control::{Detail, Event, TableRow};
use serde_json::Value;

use super::layout::{Layout, LayoutInput, Pane};
use super::log_lines::{LogLine, LogLines};
use super::series::Series;
use crate::render::face::status_word;
use crate::render::{SortOrder, View};

/// Events that are kept.
const EVENTS: usize = 500;
/// Most custom metrics whose past is kept, because an app may invent any number.
const METRICS: usize = 100;
/// Sort fields through which `o` cycles.
pub(super) const FIELDS: [&str; 6] = ["id", "name", "status", "cpu", "memory", "uptime"];

/// Connection to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Up,
    /// The daemon has not answered a request for this number of seconds.
    Silent(u64),
    /// The connection is down, for this reason.
    Down(String),
}

/// Dialog that has the keyboard focus instead of the panes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dialog {
    None,
    Help,
    /// Confirmation of an action that stops processes.
    Confirm {
        question: String,
        action: AppAction,
    },
    /// The user types the filter; Esc restores the former filter.
    Filter {
        former: String,
    },
    /// The user types the number of instances.
    Scale {
        app: String,
        number: String,
    },
}

/// Instances that an action is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActionTarget {
    /// Target for the daemon.
    pub target: String,
    /// Text for users: `api (0)`, `all 2 instances of api`.
    pub words: String,
}

/// Order of the user for apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AppAction {
    Stop(ActionTarget),
    Restart(ActionTarget),
    Reload(ActionTarget),
    /// `4`, `+1` or `-1` instances.
    Scale {
        app: String,
        to: String,
    },
}

/// Input of the view, except keys.
#[derive(Debug)]
pub(super) enum MonitEvent {
    /// Rows of all instances, which also contain a sample of their usage.
    Rows(Vec<TableRow>),
    /// Details of one instance.
    Detail(Box<Detail>),
    Event(Event),
    /// Events were missed.
    Missed,
    /// Log line of the selected instance.
    Line(LogLine),
    Link(LinkState),
    /// Result of an action.
    Answer {
        text: String,
        is_good: bool,
    },
    Resized(usize, usize),
}

/// Abilities of the terminal, and the names to show.
#[derive(Clone, Copy, Debug)]
pub(super) struct DisplayOptions {
    pub program: &'static str,
    /// Whether states have PM2's words.
    pub is_pm2: bool,
    pub is_ascii: bool,
}

impl DisplayOptions {
    /// Returns the word that is shown for a status.
    pub(super) fn status(self, status: &str) -> &str {
        if self.is_pm2 { status } else { status_word(status) }
    }
}

/// Past usage of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageHistory {
    pub cpu: Series,
    pub memory: Series,
}

/// State of the view.
#[derive(Clone)]
pub(super) struct MonitState {
    pub display: DisplayOptions,
    pub view: View,
    pub size: (usize, usize),
    /// Rows by id.
    pub rows: Vec<TableRow>,
    /// Whether rows have ever arrived.
    pub has_rows: bool,
    /// Rows that are shown, in their order.
    pub shown: Vec<usize>,
    pub past: HashMap<u32, UsageHistory>,
    pub selected: Option<u32>,
    /// Details of the selected instance, once they have arrived.
    pub detail: Option<Box<Detail>>,
    /// Custom metrics of the selected instance.
    pub metrics: HashMap<String, Series>,
    pub logs: LogLines,
    /// Events, the oldest first.
    pub events: VecDeque<Event>,
    pub sort: String,
    pub filter: String,
    pub focus: Pane,
    pub tab: Pane,
    pub is_zoomed: bool,
    /// Lines by which each pane is scrolled: down from the top; the logs up from the end.
    pub scroll: [usize; Pane::ALL.len()],
    pub link: LinkState,
    pub dialog: Dialog,
    pub message: Option<(String, bool)>,
}

impl MonitState {
    pub(super) fn new(display: DisplayOptions, view: View, size: (usize, usize), sort: String) -> Self {
        Self {
            display,
            view,
            size,
            rows: Vec::new(),
            has_rows: false,
            shown: Vec::new(),
            past: HashMap::new(),
            selected: None,
            detail: None,
            metrics: HashMap::new(),
            logs: LogLines::default(),
            events: VecDeque::new(),
            sort,
            filter: String::new(),
            focus: Pane::List,
            tab: Pane::Info,
            is_zoomed: false,
            scroll: [0; Pane::ALL.len()],
            link: LinkState::Up,
            dialog: Dialog::None,
            message: None,
        }
    }

    pub(super) fn apply(&mut self, updates: MonitEvent) {
        match updates {
            MonitEvent::Rows(rows) => self.set_rows(rows),
            MonitEvent::Detail(detail) => self.set_detail(detail),
            MonitEvent::Event(event) => {
                if self.events.len() == EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            MonitEvent::Missed => self.events.clear(),
            MonitEvent::Line(line) => {
                let gone = self.logs.push(line);
                let scroll = &mut self.scroll[Pane::Logs.index()];
                // A user who has scrolled up keeps the same lines on the screen.
                if *scroll > 0 {
                    *scroll = (*scroll + 1).saturating_sub(gone).min(self.logs.len().saturating_sub(1));
                }
            }
            MonitEvent::Link(link) => self.link = link,
            MonitEvent::Answer { text, is_good } => self.message = Some((text, is_good)),
            MonitEvent::Resized(columns, rows) => self.size = (columns, rows),
        }
    }

    fn set_rows(&mut self, rows: Vec<TableRow>) {
        let ids: HashSet<u32> = rows.iter().map(|row| row.id).collect();
        self.past.retain(|id, _| ids.contains(id));
        for row in &rows {
            let past = self.past.entry(row.id).or_default();
            past.cpu.push(row.monit.cpu_pct);
            #[expect(clippy::cast_precision_loss, reason = "a bar has eight heights")]
            past.memory.push(row.monit.memory_bytes as f64);
        }
        let position = self.position();
        self.rows = rows;
        let is_first = !std::mem::replace(&mut self.has_rows, true);
        self.arrange_from(position);
        if is_first && let Some(unwell) = self.first_unwell() {
            self.select_at(unwell);
        }
    }

    /// Returns the position of the first app that needs attention. The view opens on it.
    fn first_unwell(&self) -> Option<usize> {
        let is_unwell = |index: &usize| !attention(&[&self.rows[*index]], |_| None).is_empty();
        self.shown.iter().position(is_unwell).filter(|_| self.display.program == "ostler")
    }

    fn set_detail(&mut self, detail: Box<Detail>) {
        if self.selected != Some(detail.id) {
            return;
        }
        let figures = detail.learned.axm_monitor.iter().filter_map(|(name, metric)| Some((name, figure(metric)?)));
        for (name, value) in figures.take(METRICS) {
            if self.metrics.contains_key(name) || self.metrics.len() < METRICS {
                self.metrics.entry(name.clone()).or_default().push(value);
            }
        }
        self.detail = Some(detail);
    }

    /// Filters and sorts the rows. The selection stays with its instance, or moves to the row that
    /// is now at its position.
    pub(super) fn arrange(&mut self) {
        self.arrange_from(self.position());
    }

    fn arrange_from(&mut self, position: Option<usize>) {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let is_shown =
            |row: &TableRow| has(&row.name) || has(&row.namespace) || has(self.display.status(&row.status)) || row.id.to_string() == wanted;
        let order = SortOrder::parse(&self.sort).unwrap_or(SortOrder::BY_NAME);
        let mut shown: Vec<usize> = (0..self.rows.len()).filter(|index| is_shown(&self.rows[*index])).collect();
        shown.sort_by(|a, b| order.compare(&self.rows[*a], &self.rows[*b]));
        self.shown = shown;
        let is_there = self.selected.is_some_and(|id| self.shown.iter().any(|index| self.rows[*index].id == id));
        if !is_there {
            self.select_at(position.unwrap_or(0));
        }
    }

    /// Returns the position of the selected row among the shown rows.
    pub(super) fn position(&self) -> Option<usize> {
        self.shown.iter().position(|index| self.rows.get(*index).map(|row| row.id) == self.selected)
    }

    /// Selects the row at this position, or the last row.
    pub(super) fn select_at(&mut self, position: usize) {
        let last = self.shown.len().saturating_sub(1);
        let id = self.shown.get(position.min(last)).map(|index| self.rows[*index].id);
        if id != self.selected {
            self.selected = id;
            self.detail = None;
            self.metrics.clear();
            self.logs.clear();
            self.scroll = [0; Pane::ALL.len()];
        }
    }

    /// Returns the selected row.
    pub(super) fn row(&self) -> Option<&TableRow> {
        self.rows.iter().find(|row| Some(row.id) == self.selected)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::of(&LayoutInput { size: self.size, focus: self.focus, tab: self.tab, is_zoomed: self.is_zoomed })
    }

    /// Returns the number of list rows that fit below the heading.
    pub(super) fn list_height(&self) -> usize {
        self.layout().place(Pane::List).map_or(0, |place| place.inner().height.saturating_sub(1))
    }

    /// Returns the first visible row of the list. The selected row is as near to the middle as
    /// possible.
    pub(super) fn list_top(&self) -> usize {
        let height = self.list_height();
        let most = self.shown.len().saturating_sub(height);
        self.position().unwrap_or(0).saturating_sub(height / 2).min(most)
    }
}

/// Returns the number in a custom metric: `12.5`, `"12.5"`, `{"value": "12.5ms"}`.
fn figure(metric: &Value) -> Option<f64> {
    match metric.get("value").unwrap_or(metric) {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-')).unwrap_or(text.len());
            text.get(..end)?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::data;

    fn state() -> MonitState {
        let display = DisplayOptions { program: "ostler", is_pm2: false, is_ascii: false };
        let mut state = MonitState::new(display, View::played(data::NOW_MS, None), (80, 24), "id".into());
        state.apply(MonitEvent::Rows(["b", "a", "c"].into_iter().zip(0..).map(|(name, id)| data::row(id, name)).collect()));
        state
    }

    fn names(state: &MonitState) -> String {
        state.shown.iter().map(|index| state.rows[*index].name.as_str()).collect()
    }

    #[test]
    fn selection_follows_its_instance() {
        let mut state = state();
        assert_eq!((names(&state), state.selected), ("bac".into(), Some(0)));
        state.select_at(1);
        state.sort = "name:desc".into();
        state.arrange();
        assert_eq!((names(&state), state.selected, state.position()), ("cba".into(), Some(1), Some(2)));
        // The instance is gone: the row at its position is selected.
        state.apply(MonitEvent::Rows(vec![data::row(0, "b"), data::row(2, "c")]));
        assert_eq!((names(&state), state.selected), ("cb".into(), Some(0)));
        state.filter = "nothing".into();
        state.arrange();
        assert_eq!((names(&state), state.selected), (String::new(), None));
        state.filter.clear();
        state.arrange();
        assert_eq!(state.selected, Some(2));
        state.apply(MonitEvent::Rows(Vec::new()));
        assert_eq!((state.selected, state.past.len(), state.list_top()), (None, 0, 0));
    }

    #[test]
    fn view_opens_on_the_first_unwell_app() {
        let display = DisplayOptions { program: "ostler", is_pm2: false, is_ascii: false };
        let mut state = MonitState::new(display, View::played(data::NOW_MS, None), (80, 24), "id".into());
        let rows = |status: &str| vec![data::row(0, "a"), TableRow { status: status.into(), ..data::row(1, "b") }];
        state.apply(MonitEvent::Rows(rows("errored")));
        assert_eq!(state.selected, Some(1));
        // Later, only the user moves the selection.
        state.select_at(0);
        state.apply(MonitEvent::Rows(rows("errored")));
        assert_eq!(state.selected, Some(0));
    }

    #[test]
    fn changing_selection_clears_logs_and_details() {
        let mut state = state();
        state.apply(MonitEvent::Line(LogLine::new(b"x", false)));
        state.apply(MonitEvent::Detail(Box::new(data::stopped())));
        assert!(state.detail.is_some() && state.logs.len() == 1);
        state.select_at(2);
        assert!(state.detail.is_none() && state.logs.len() == 0);
        // This response belongs to an earlier request.
        state.apply(MonitEvent::Detail(Box::new(data::stopped())));
        assert!(state.detail.is_none());
    }

    #[test]
    fn scroll_position_stays_while_lines_arrive() {
        let mut state = state();
        let logs = Pane::Logs.index();
        for n in 0..2000 {
            state.apply(MonitEvent::Line(LogLine::new(n.to_string().as_bytes(), false)));
            if n == 100 {
                state.scroll[logs] = 10;
            }
            if n == 500 {
                assert_eq!(state.logs.upwards(state.scroll[logs]).next().unwrap().text.as_ref(), "90");
            }
        }
        assert!(state.scroll[logs] < state.logs.len());
    }

    #[test]
    fn metric_values_are_read_from_numbers_and_texts() {
        for (metric, number) in [
            (json!({ "value": 59.94, "unit": "%" }), Some(59.94)),
            (json!({ "value": "12.5ms" }), Some(12.5)),
            (json!("-3"), Some(-3.0)),
            (json!({ "value": "n/a" }), None),
            (json!({ "value": "é" }), None),
            (json!([]), None),
        ] {
            assert_eq!(figure(&metric), number, "{metric}");
        }
    }

    #[test]
    fn metrics_and_events_are_bounded() {
        let mut state = state();
        let mut detail = data::stopped();
        detail.learned.axm_monitor = (0..1000).map(|n| (n.to_string(), json!(n))).collect();
        state.apply(MonitEvent::Detail(Box::new(detail)));
        assert_eq!(state.metrics.len(), METRICS);
        for event in std::iter::repeat_n(data::events(), 100).flatten() {
            state.apply(MonitEvent::Event(event));
        }
        assert_eq!(state.events.len(), EVENTS);
    }
}
