//! `list` in ostler's own look: one row per app, or per instance with `--all`.

use std::collections::BTreeMap;

use anstyle::Style;
use ostler_client::attention::{AttentionReason, attention};
use ostler_core::health::HealthState as Health;
use ostler_core::lifecycle::ProcessEnding;
use ostler_core::message;
use ostler_proto::control::{Figures, InstanceFigures, TableRow};

use super::{Cell, Column, Mark, grid, memory, short_age};
use crate::render::style::styles;
use crate::render::table::SortOrder;
use crate::render::view::View;
use crate::text::{shown, wrap_words};

/// Value of a column that makes no sense without a process.
const NONE: &str = "–";

/// State of an app or an instance, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppState {
    pub mark: Mark,
    pub text: String,
    style: Style,
}

impl AppState {
    fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self { mark, text: text.into(), style: mark.style() }
    }

    /// Returns the state of one instance.
    pub(crate) fn of(row: &TableRow) -> Self {
        match row.status.as_str() {
            "online" => match row.health {
                None | Some(Health::Healthy) => Self::new(Mark::Online, "online"),
                Some(Health::Starting) => Self::new(Mark::Starting, "starting"),
                Some(Health::Unready) => Self::new(Mark::Warning, "not ready"),
                Some(Health::Unhealthy) => Self { style: styles::RED, ..Self::new(Mark::Warning, "unhealthy") },
                Some(Health::Broken) => Self::new(Mark::Warning, "check broken"),
            },
            "launching" => Self::new(Mark::Starting, "starting"),
            "stopping" => Self::new(Mark::Starting, "stopping"),
            "waiting restart" => Self::new(Mark::Restarting, "restarting"),
            "errored" => match row.last_exit.map(|exit| exit.ending) {
                Some(ProcessEnding::SpawnFailed { .. }) => Self::new(Mark::Error, "cannot start"),
                _ => Self::new(Mark::Error, status_word(&row.status)),
            },
            "stopped" => stopped(row),
            other => Self::new(Mark::Warning, shown(other)),
        }
    }

    /// Returns the word under which the overview counts the state.
    const fn category(&self) -> &'static str {
        match self.mark {
            Mark::Done | Mark::Note | Mark::Online => "online",
            Mark::Starting => "starting",
            Mark::Restarting => "restarting",
            Mark::Warning => "unhealthy",
            Mark::Error => "crashed",
            Mark::Stopped => "stopped",
        }
    }
}

/// Returns ostler's own word for a status of PM2's list.
pub(crate) fn status_word(status: &str) -> &str {
    if status == "errored" { "crashed" } else { status }
}

/// Returns the state of an instance without a process: how it exited, unless this was requested.
fn stopped(row: &TableRow) -> AppState {
    let failed = |text: String| AppState { style: styles::YELLOW, ..AppState::new(Mark::Stopped, text) };
    match row.last_exit.filter(|exit| !exit.requested).map(|exit| exit.ending) {
        Some(ProcessEnding::Code(0)) => AppState::new(Mark::Stopped, "exited 0"),
        Some(ProcessEnding::Code(code)) => failed(format!("exited {code}")),
        Some(ProcessEnding::Signal { signal, .. }) => failed(ostler_sys::process::signal::name(signal)),
        Some(ProcessEnding::SpawnFailed { .. }) => failed("cannot start".into()),
        Some(ProcessEnding::Unknown) | None => AppState::new(Mark::Stopped, "stopped"),
    }
}

/// One line of the list: an app with all of its instances, or one instance.
#[derive(Clone, Debug)]
pub(crate) struct AppGroup {
    /// Figures of all instances together.
    pub row: TableRow,
    pub state: AppState,
    /// Number of instances.
    pub count: usize,
    /// Reasons why it needs attention, the most serious first.
    pub reasons: Vec<AttentionReason>,
    /// `pm_id` of an instance that is down because of an error.
    pub down_id: Option<u32>,
}

impl AppGroup {
    /// Returns one group per app, or with `is_each` one per instance, in this order.
    pub(crate) fn all(rows: Vec<TableRow>, is_each: bool, order: SortOrder) -> Vec<Self> {
        Self::measured(rows, &[], is_each, order)
    }

    /// Same as [`AppGroup::all`], with the measurements of Node apps.
    pub(crate) fn measured(rows: Vec<TableRow>, figures: &[InstanceFigures], is_each: bool, order: SortOrder) -> Vec<Self> {
        let figures: BTreeMap<u32, &Figures> = figures.iter().map(|one| (one.id, &one.figures)).collect();
        let mut groups: Vec<Vec<TableRow>> = Vec::new();
        let mut places = BTreeMap::new();
        for row in rows {
            let place = *places.entry((row.name.clone(), row.namespace.clone())).or_insert(groups.len());
            match groups.get_mut(place).filter(|_| !is_each) {
                Some(group) => group.push(row),
                None => groups.push(vec![row]),
            }
        }
        let mut groups: Vec<Self> = groups.iter().filter_map(|rows| Self::of(rows, &figures)).collect();
        groups.sort_by(|a, b| order.compare(&a.row, &b.row));
        groups
    }

    fn of(rows: &[TableRow], figures: &BTreeMap<u32, &Figures>) -> Option<Self> {
        let mut row = rows.first()?.clone();
        for other in &rows[1..] {
            row.monit.cpu_pct += other.monit.cpu_pct;
            row.monit.memory_bytes = row.monit.memory_bytes.saturating_add(other.monit.memory_bytes);
            row.restarts = row.restarts.saturating_add(other.restarts);
            row.uptime_ms = [row.uptime_ms, other.uptime_ms].into_iter().flatten().min();
        }
        let states: Vec<AppState> = rows.iter().map(AppState::of).collect();
        let (first, worst) = (states.first()?, states.iter().max_by_key(|state| state.mark)?);
        let online = states.iter().filter(|state| state.mark == Mark::Online).count();
        let state = match states.iter().all(|state| state == first) {
            true => first.clone(),
            false => AppState { text: format!("{online}/{} online", rows.len()), ..worst.clone() },
        };
        let reasons = attention(&rows.iter().collect::<Vec<_>>(), |id| figures.get(&id).copied());
        let is_down = |row: &&TableRow| attention(&[row], |_| None).iter().any(AttentionReason::is_down);
        let down_id = rows.iter().find(is_down).map(|row| row.id);
        Some(Self { row, state, count: rows.len(), reasons, down_id })
    }

    /// Returns the name, with the number of instances.
    pub(crate) fn name(&self) -> String {
        shown(&self.row.name) + &self.count_text()
    }

    /// Returns the number of instances as it follows the name; empty for one.
    pub(crate) fn count_text(&self) -> String {
        if self.count > 1 { format!(" ×{}", self.count) } else { String::new() }
    }

    /// Returns true if a process runs.
    pub(crate) fn runs(&self) -> bool {
        self.row.pid > 0 || self.row.uptime_ms.is_some()
    }

    /// Returns the figure if a process runs.
    pub(crate) fn figure(&self, figure: String) -> String {
        if self.runs() { figure } else { NONE.into() }
    }

    /// Returns the time since the last start, or since the last exit.
    pub(crate) fn age(&self) -> String {
        match (self.row.uptime_ms, self.row.last_exit) {
            (Some(uptime_ms), _) => short_age(uptime_ms),
            (None, Some(exit)) => message!("{age} ago", age = short_age(exit.ago_ms)),
            (None, None) => NONE.into(),
        }
    }

    /// Returns the same time as [`AppGroup::age`], without the word that marks a past time.
    pub(crate) fn bare_age(&self) -> String {
        let ago_ms = self.row.uptime_ms.or(self.row.last_exit.map(|exit| exit.ago_ms));
        ago_ms.map_or_else(|| NONE.into(), short_age)
    }

    /// Returns the reasons for attention that the state does not show.
    fn note(&self) -> Cell {
        Cell::new(self.note_text(), styles::YELLOW)
    }

    /// Returns the reasons for attention that the state does not show; may be empty.
    pub(crate) fn note_text(&self) -> String {
        let is_shown = |reason: &AttentionReason| {
            reason.is_down() || matches!(reason, AttentionReason::Unhealthy | AttentionReason::Unready | AttentionReason::CheckBroken)
        };
        let notes: Vec<String> = self.reasons.iter().filter(|reason| !is_shown(reason)).map(ToString::to_string).collect();
        if notes.is_empty() { String::new() } else { format!("! {}", notes.join(", ")) }
    }
}

/// Formats the groups as columns below a heading.
pub(crate) fn app_list(groups: &[AppGroup], title: &'static str, is_each: bool, view: &View) -> String {
    grid(columns(groups, title, is_each), view)
}

/// Formats the apps of many hosts; the first column has the host of each group.
#[cfg(feature = "fleet")]
pub(crate) fn fleet_list(hosts: Vec<String>, groups: &[AppGroup], view: &View) -> String {
    let mut columns = columns(groups, "NAME", false);
    columns.insert(0, Column::text("HOST", 0, hosts));
    grid(columns, view)
}

/// Returns the columns of a list, the most important first.
fn columns(groups: &[AppGroup], title: &'static str, is_each: bool) -> Vec<Column> {
    let each = |cell: fn(&AppGroup) -> String| groups.iter().map(cell).collect::<Vec<_>>();
    let differs = |value: fn(&TableRow) -> &str, usual: &str| groups.iter().any(|group| value(&group.row) != usual);
    let state = |group: &AppGroup| Cell::new(format!("{} {}", group.state.mark.glyph(), group.state.text), group.state.style);
    let mut columns = vec![Column::text(title, 0, groups.iter().map(|group| Cell::new(group.name(), styles::BOLD)))];
    if is_each {
        columns.push(Column::numbers("ID", 1, each(|group| group.row.id.to_string())));
    }
    columns.extend([
        Column::text("STATE", 0, groups.iter().map(state)),
        Column::numbers("CPU", 2, each(|group| group.figure(format!("{:.1}%", group.row.monit.cpu_pct)))),
        Column::numbers("MEM", 3, each(|group| group.figure(memory(group.row.monit.memory_bytes)))),
        Column::numbers("RESTARTS", 4, each(|group| group.row.restarts.to_string())),
        Column::text("UPTIME", 5, each(AppGroup::age)),
        Column::text("", 6, groups.iter().map(AppGroup::note)),
        Column::numbers("PID", 7, each(|group| if group.count > 1 { String::new() } else { group.figure(group.row.pid.to_string()) })),
    ]);
    if differs(|row| &row.namespace, "default") {
        columns.push(Column::text("NAMESPACE", 8, each(|group| shown(&group.row.namespace))));
    }
    if groups.iter().any(|group| group.row.sandbox.is_some()) {
        columns.push(Column::text("SANDBOX", 8, each(|group| group.row.sandbox.clone().unwrap_or_default())));
    }
    columns.push(Column::text("VERSION", 9, each(|group| version(&group.row))));
    if let Some(first) = groups.first()
        && differs(|row| &row.user, &first.row.user)
    {
        columns.push(Column::text("USER", 10, each(|group| shown(&group.row.user))));
    }
    columns
}

/// Counts the apps by state: `4 apps: 2 online, 1 crashed, 1 stopped`.
pub(crate) fn overview_counts(groups: &[AppGroup]) -> String {
    const WORDS: [&str; 6] = ["online", "starting", "restarting", "unhealthy", "crashed", "stopped"];
    let count = |word: &&str| groups.iter().filter(|group| group.state.category() == *word).count();
    let counts: Vec<String> =
        WORDS.iter().map(|word| (count(word), word)).filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let counts = counts.join(", ");
    match groups.len() {
        1 => message!("1 app: {counts}", counts),
        count => message!("{count} apps: {counts}", count, counts),
    }
}

/// Returns the version; empty if it is not known.
fn version(row: &TableRow) -> String {
    row.version.as_deref().filter(|version| *version != "N/A").map(shown).unwrap_or_default()
}

/// Formats the line below the list: the counts, and the address of the dashboard.
pub(crate) fn overview_line(groups: &[AppGroup], dashboard: Option<&str>, view: &View) -> String {
    let mut line = overview_counts(groups);
    if let Some(dashboard) = dashboard {
        line += " · ";
        line += &message!("dashboard {address}", address = dashboard);
    }
    let lines = wrap_words(&line, view.width.unwrap_or(usize::MAX));
    lines.iter().map(|line| format!("{}\n", view.paint.with(styles::DIM, line))).collect()
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::LastExit;

    use super::*;
    use crate::tests::data::row;

    fn with(id: u32, name: &str, status: &str, exit: Option<(ProcessEnding, bool)>) -> TableRow {
        let last_exit = exit.map(|(ending, requested)| LastExit { ago_ms: 60_000, ending, requested });
        let uptime_ms = (status == "online").then_some(28_000);
        TableRow { status: status.into(), last_exit, uptime_ms, pid: if status == "online" { 7 } else { 0 }, ..row(id, name) }
    }

    fn states(rows: Vec<TableRow>) -> Vec<(Mark, String)> {
        AppGroup::all(rows, false, SortOrder::BY_NAME).into_iter().map(|group| (group.state.mark, group.state.text)).collect()
    }

    #[test]
    fn state_says_how_a_process_ended() {
        let (code, signal) = (ProcessEnding::Code, |signal| ProcessEnding::Signal { signal, core: false });
        for (status, exit, mark, text) in [
            ("stopped", None, Mark::Stopped, "stopped"),
            ("stopped", Some((code(0), true)), Mark::Stopped, "stopped"),
            ("stopped", Some((signal(2), true)), Mark::Stopped, "stopped"),
            ("stopped", Some((code(0), false)), Mark::Stopped, "exited 0"),
            ("stopped", Some((code(3), false)), Mark::Stopped, "exited 3"),
            ("stopped", Some((signal(11), false)), Mark::Stopped, "SIGSEGV"),
            ("errored", Some((code(1), false)), Mark::Error, "crashed"),
            ("errored", Some((ProcessEnding::SpawnFailed { errno: 2 }, false)), Mark::Error, "cannot start"),
            ("waiting restart", Some((code(1), false)), Mark::Restarting, "restarting"),
            ("something\u{1b}", None, Mark::Warning, "something\u{fffd}"),
        ] {
            assert_eq!(states(vec![with(0, "a", status, exit)]), [(mark, text.to_owned())], "{status}");
        }
    }

    #[test]
    fn worst_instance_marks_its_app() {
        let rows = vec![
            with(0, "api", "online", None),
            with(1, "api", "errored", None),
            with(2, "api", "stopped", None),
            with(3, "b", "online", None),
        ];
        assert_eq!(states(rows), [(Mark::Error, "1/3 online".into()), (Mark::Online, "online".into())]);
    }

    #[test]
    fn figures_of_instances_are_added() {
        let one = |id, restarts, uptime_ms| TableRow { restarts, uptime_ms, recent_exits: 8, ..row(id, "api") };
        let groups = AppGroup::all(vec![one(0, 2, Some(90_000)), one(1, 3, Some(10_000))], false, SortOrder::BY_NAME);
        let group = &groups[0];
        assert_eq!((group.row.restarts, group.age(), group.name()), (5, "10s".into(), "api ×2".into()));
        assert_eq!(group.note().text, "! 16+ exits in 15 min");
        assert_eq!(AppGroup::all(vec![one(0, 0, None), one(1, 0, None)], true, SortOrder::BY_NAME).len(), 2);
    }

    #[test]
    fn overview_counts_apps_by_state() {
        let groups = AppGroup::all(
            vec![with(0, "a", "online", None), with(1, "a", "online", None), with(2, "b", "errored", None)],
            false,
            SortOrder::BY_NAME,
        );
        let line = |dashboard, width| overview_line(&groups, dashboard, &View::played(0, width));
        assert_eq!(line(None, None), "2 apps: 1 online, 1 crashed\n");
        assert_eq!(line(Some("http://127.0.0.1:9616"), Some(40)), "2 apps: 1 online, 1 crashed · dashboard\nhttp://127.0.0.1:9616\n");
    }
}
