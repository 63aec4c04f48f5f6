//! Progress of a change in ostler's own look: one line per app when it is done, and on a terminal a
//! live line per app that is waited for.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::health::HealthState;
use ostler_core::lifecycle::InstanceState;
use ostler_core::serving::ReadyBy;
use ostler_proto::control::{Action, Detail, Progress, Request};
use unicode_width::UnicodeWidthStr as _;

use crate::render::face::{Mark, seconds};
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::{fit, shown, wrap_words};

/// Width at which the duration of a line ends, on a wide terminal.
const LINE_WIDTH: usize = 80;

/// Widest column of names.
const NAME_WIDTH: usize = 24;

/// Most live lines.
const LIVE_LINES: usize = 12;

/// Most instances of which facts are shown.
const MOST_FACTS: usize = 40;

/// Most ports in a line.
const PORTS: usize = 4;

/// Change that a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Start,
    Restart,
    Reload,
    RollBack,
    Stop,
    Delete,
    Reset,
    Scale,
}

impl Change {
    /// Returns the change that the request makes; none if the request has no progress.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        Some(match request {
            Request::Start { .. } | Request::RunJob { .. } | Request::Resurrect | Request::Restore { .. } => Self::Start,
            Request::Act { action: Action::Restart, .. } => Self::Restart,
            Request::Act { action: Action::Reload, .. } => Self::Reload,
            Request::Act { action: Action::Stop, .. } | Request::Kill => Self::Stop,
            Request::Act { action: Action::Delete, .. } => Self::Delete,
            Request::Act { action: Action::Reset, .. } => Self::Reset,
            Request::Scale { .. } => Self::Scale,
            Request::Undo { .. } => Self::RollBack,
            _ => return None,
        })
    }

    /// Returns true if processes run afterwards.
    const fn leaves_processes(self) -> bool {
        matches!(self, Self::Start | Self::Restart | Self::Reload | Self::RollBack | Self::Scale)
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start | Self::Scale => "",
            Self::Restart => "restarted",
            Self::Reload => "reloaded",
            Self::RollBack => "rolled back",
            Self::Stop => "stopped",
            Self::Delete => "deleted",
            Self::Reset => "counters reset",
        }
    }

    const fn under_way(self) -> &'static str {
        match self {
            Self::Start | Self::Restart | Self::Scale => "starting",
            Self::Reload | Self::RollBack => "reloading",
            Self::Stop | Self::Delete => "stopping",
            Self::Reset => "resetting",
        }
    }
}

/// Facts about an instance that the progress itself does not carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstanceFacts {
    pub name: String,
    pub pid: Option<i32>,
    /// Places where it listens: `:3000`, or the address of a declared socket.
    pub listens: Vec<String>,
    pub health: Option<HealthState>,
    /// Event for which the command waits, in words.
    pub waits: Option<String>,
}

impl InstanceFacts {
    /// Returns the facts that the daemon knows. `ports`: TCP ports on which its processes listen.
    pub(crate) fn of(detail: &Detail, ports: &BTreeSet<u16>) -> Self {
        let sockets = detail.learned.sockets.iter().map(|socket| shown(&socket.address));
        let mut listens: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
        listens.extend(sockets.filter(|socket| !ports.iter().any(|port| socket.ends_with(&port.to_string()))));
        Self {
            name: detail.spec.name.clone(),
            pid: detail.instance.pid(),
            listens,
            health: detail.health.as_ref().map(|health| health.state),
            waits: waits_for(detail),
        }
    }
}

/// Returns the event for which the command waits.
fn waits_for(detail: &Detail) -> Option<String> {
    if let Some(first) = detail.waits_for.first() {
        return Some(shown(first));
    }
    if let Some((_, hook)) = detail.instance.hook() {
        return Some(format!("running {hook}"));
    }
    match detail.instance.state {
        InstanceState::Starting { .. } => Some(usual(
            detail,
            match detail.spec.ready.proof()? {
                ReadyBy::Message => "waiting for its ready message".into(),
                ReadyBy::Listening => "waiting until it listens".into(),
                ReadyBy::Notify => "waiting for READY=1".into(),
                ReadyBy::Descriptor(fd) => format!("waiting for a line on descriptor {fd}"),
                ReadyBy::Tcp { host, port } => format!("waiting for {}:{port}", shown(&host)),
                ReadyBy::Http(_) => "waiting for its HTTP answer".into(),
                ReadyBy::Log(pattern) => format!("waiting for log line \"{}\"", shown(&pattern)),
                ReadyBy::Uptime { .. } => "waiting for its minimum uptime".into(),
            },
        )),
        InstanceState::Running { .. } => Some("checking that it stays up".into()),
        InstanceState::Backoff { .. } => Some("waiting before the next start".into()),
        InstanceState::Draining { .. } => Some("finishing its requests".into()),
        InstanceState::Stopping { .. } => Some("stopping".into()),
        _ => None,
    }
}

/// Adds the time that the last starts took.
fn usual(detail: &Detail, words: String) -> String {
    let mut times = detail.instance.counters.start_ups_ms.clone();
    times.sort_unstable();
    match times.get(times.len() / 2) {
        Some(usual) => format!("{words} (usually {})", seconds(u64::from(*usual))),
        None => words,
    }
}

/// Progress of one app.
#[derive(Debug, Default)]
struct AppProgress {
    name: String,
    ids: BTreeSet<u32>,
    done: BTreeSet<u32>,
    failures: Vec<(u32, String)>,
    /// Why it counts as done although it is not ready.
    late: Option<String>,
    /// Present step of a reload.
    step: Option<String>,
    /// Steps that users have to know of.
    notes: Vec<String>,
    /// Whether instances were added.
    is_new: bool,
    /// Time at which the last instance was done, in milliseconds since the begin.
    ended_ms: u64,
    is_printed: bool,
}

impl AppProgress {
    fn is_over(&self) -> bool {
        self.done.len() + self.failures.len() >= self.ids.len()
    }
}

/// Line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoardLine {
    pub text: String,
    /// Whether it reports a failure or a warning, which users get even with `--silent`.
    pub is_trouble: bool,
}

/// Progress of one request.
#[derive(Debug)]
pub(crate) struct Board {
    change: Change,
    /// Program to type in a hint.
    program: &'static str,
    apps: Vec<AppProgress>,
    /// Selected instances whose app is not known yet.
    unnamed: BTreeSet<u32>,
    warnings: Vec<String>,
    /// Whether apps that are waited for have live lines. Otherwise each step of a reload is a line.
    is_live: bool,
    steps: Vec<String>,
    /// Whether the daemon has answered the request.
    is_confirmed: bool,
}

impl Board {
    pub(crate) fn new(change: Change, program: &'static str, is_live: bool) -> Self {
        Self {
            change,
            program,
            apps: Vec::new(),
            unnamed: BTreeSet::new(),
            warnings: Vec::new(),
            is_live,
            steps: Vec::new(),
            is_confirmed: false,
        }
    }

    /// Takes a message of the daemon, this long after the begin.
    pub(crate) fn apply(&mut self, progress: Progress, at_ms: u64) {
        match progress {
            Progress::Selected { ids, .. } => self.unnamed.extend(ids),
            Progress::Launched { name, ids } => {
                self.unnamed.retain(|id| !ids.contains(id));
                let app = self.app(&name);
                app.ids.extend(ids);
                app.is_new = true;
            }
            Progress::InstanceDone { id, name, late } => {
                self.unnamed.remove(&id);
                let app = self.app(&name);
                app.ids.insert(id);
                app.done.insert(id);
                app.ended_ms = at_ms;
                app.late = late.or(app.late.take());
            }
            Progress::InstanceFailed { id, name, reason } => {
                self.unnamed.remove(&id);
                let app = self.app(&name);
                app.ids.insert(id);
                app.done.remove(&id);
                app.failures.push((id, reason));
                app.ended_ms = at_ms;
            }
            Progress::Rollout { id, name, step, is_notable } => {
                if !self.is_live {
                    self.steps.push(format!("  {} ({id}) {}", shown(&name), shown(&step)));
                }
                let app = self.app(&name);
                if is_notable && !app.notes.contains(&step) {
                    app.notes.push(step.clone());
                }
                app.step = Some(step);
            }
            Progress::Warning(text) => self.warnings.push(text),
            Progress::NotRunning { .. } | Progress::WaitingReady { .. } | Progress::Returned { .. } => {}
        }
    }

    /// Notes that the daemon has answered the request.
    pub(crate) fn confirm(&mut self) {
        self.is_confirmed = true;
    }

    fn app(&mut self, name: &str) -> &mut AppProgress {
        let place = self.apps.iter().position(|app| app.name == name).unwrap_or_else(|| {
            self.apps.push(AppProgress { name: name.to_owned(), ..AppProgress::default() });
            self.apps.len() - 1
        });
        &mut self.apps[place]
    }

    /// Returns the ids of which facts are needed now.
    ///
    /// A request about very many instances gets none, because their descriptions are large.
    pub(crate) fn unknown(&self, is_over: bool) -> BTreeSet<u32> {
        let is_needed = |app: &&AppProgress| match app.is_over() || is_over {
            true => self.change.leaves_processes() && app.failures.is_empty(),
            false => self.is_live,
        };
        let waited = self.apps.iter().filter(|app| !app.is_printed).filter(is_needed);
        let ids: BTreeSet<u32> = waited.flat_map(|app| &app.ids).chain(&self.unnamed).copied().collect();
        if ids.len() > MOST_FACTS { BTreeSet::new() } else { ids }
    }

    /// Assigns selected instances to their apps.
    pub(crate) fn name(&mut self, facts: &BTreeMap<u32, InstanceFacts>) {
        let (named, unnamed): (Vec<u32>, Vec<u32>) = self.unnamed.iter().partition(|id| facts.contains_key(id));
        self.unnamed = unnamed.into_iter().collect();
        for (id, of) in named.iter().filter_map(|id| Some((*id, facts.get(id)?))) {
            self.app(&of.name).ids.insert(id);
        }
    }

    /// Returns the lines of apps that are done since the last call. `is_over`: the request is
    /// answered, so nothing follows.
    pub(crate) fn finished(&mut self, facts: &BTreeMap<u32, InstanceFacts>, is_over: bool, view: &View) -> Vec<BoardLine> {
        let line = |text, is_trouble| BoardLine { text, is_trouble };
        let warning = |text: String| format!("{} {}", view.paint.with(styles::YELLOW, "warning:"), shown_lines(&text));
        let mut lines: Vec<BoardLine> = self.warnings.drain(..).map(|text| line(warning(text), true)).collect();
        lines.extend(self.steps.drain(..).map(|text| line(text, false)));
        let is_named = self.unnamed.is_empty();
        let names = self.name_width();
        for place in 0..self.apps.len() {
            let app = &self.apps[place];
            // A job, or an app with `autostart: false`, is only added.
            let has_result = !(app.done.is_empty() && app.failures.is_empty()) || app.is_new && self.is_confirmed;
            if app.is_printed || !has_result || !(is_over || is_named && app.is_over()) {
                continue;
            }
            let is_trouble = !app.failures.is_empty();
            lines.extend(self.lines_of(app, names, facts, view).into_iter().map(|text| line(text, is_trouble)));
            self.apps[place].is_printed = true;
        }
        lines
    }

    /// Returns a line for each app that is waited for.
    pub(crate) fn live(&self, now_ms: u64, facts: &BTreeMap<u32, InstanceFacts>, view: &View) -> Vec<String> {
        let waited: Vec<&AppProgress> = self.apps.iter().filter(|app| !app.is_printed).collect();
        let names = self.name_width();
        let line = |app: &&AppProgress| {
            let waits = app.ids.iter().filter(|id| !app.done.contains(id)).filter_map(|id| facts.get(id)?.waits.clone()).next();
            let done = if app.ids.len() > 1 { format!("{}/{} ", app.done.len(), app.ids.len()) } else { String::new() };
            let words = app.step.as_deref().map(shown).or(waits).unwrap_or_else(|| self.change.under_way().into());
            self.line(Mark::Starting, app, names, &format!("{done}{words}"), now_ms, view)
        };
        let mut lines: Vec<String> = waited.iter().take(LIVE_LINES).map(line).collect();
        if let Some(more) = waited.len().checked_sub(LIVE_LINES).filter(|more| *more > 0) {
            lines.push(view.paint.with(styles::DIM, format_args!("  and {more} more")).to_string());
        }
        lines
    }

    fn name_width(&self) -> usize {
        self.apps.iter().map(|app| label(app).width()).max().unwrap_or(0).min(NAME_WIDTH)
    }

    fn lines_of(&self, app: &AppProgress, names: usize, facts: &BTreeMap<u32, InstanceFacts>, view: &View) -> Vec<String> {
        if let Some((_, reason)) = app.failures.first() {
            return self.failure(app, names, reason, view);
        }
        if app.done.is_empty() {
            return vec![self.line(Mark::Stopped, app, names, "added, not started", app.ended_ms, view)];
        }
        let mut parts: Vec<String> = Vec::new();
        let known: Vec<&InstanceFacts> = app.ids.iter().filter_map(|id| facts.get(id)).collect();
        match (self.change, app.done.len()) {
            (Change::Scale, count) if !app.is_new => parts.push(format!("{count} {} removed", instances(count))),
            (Change::Scale, count) => parts.push(format!("{count} {} added", instances(count))),
            (change, _) if !change.done().is_empty() => parts.push(change.done().into()),
            _ => {}
        }
        if self.change.leaves_processes() && (self.change != Change::Scale || app.is_new) {
            parts.extend(match known.as_slice() {
                [one] => one.pid.map(|pid| format!("pid {pid}")),
                _ => None,
            });
            parts.extend(listens(&known));
            if !known.is_empty() && known.iter().all(|of| of.health == Some(HealthState::Healthy)) {
                parts.push("healthy".into());
            }
        }
        if let Some(late) = &app.late {
            let late = shown(late.strip_prefix("is ").unwrap_or(late));
            return vec![self.line(Mark::Starting, app, names, &format!("{late}; continues in the background"), app.ended_ms, view)];
        }
        if parts.is_empty() {
            parts.push("started".into());
        }
        let mut lines = vec![self.line(Mark::Done, app, names, &parts.join(", "), app.ended_ms, view)];
        let room = view.width.unwrap_or(usize::MAX).saturating_sub(4);
        let notes = app.notes.iter().flat_map(|note| wrap_words(&shown(note), room));
        lines.extend(notes.map(|note| format!("    {}", view.paint.with(styles::YELLOW, note))));
        lines
    }

    /// Returns the lines of an app that failed: the reason, the last lines of the app, a hint.
    fn failure(&self, app: &AppProgress, names: usize, reason: &str, view: &View) -> Vec<String> {
        let mut reason_lines = reason.lines();
        let first = shown(reason_lines.next().unwrap_or_default());
        let count = match (app.failures.len(), app.ids.len()) {
            (_, 1) => String::new(),
            (failed, all) => format!(" ({failed} of {all} instances)"),
        };
        let head = format!("{first}{count}");
        let indent = names + 4;
        let room = view.width.unwrap_or(usize::MAX).saturating_sub(indent).max(20);
        let mut lines = Vec::new();
        for (place, text) in wrap_words(&head, room).into_iter().enumerate() {
            lines.push(match place {
                0 => format!("{} {}  {text}", view.paint.with(Mark::Error.style(), Mark::Error.glyph()), self.padded(app, names, view)),
                _ => format!("{:indent$}{text}", ""),
            });
        }
        lines.extend(reason_lines.map(|line| {
            let text = shown(line.trim_start().strip_prefix("│ ").unwrap_or(line.trim_start()));
            format!("    {text}")
        }));
        lines.push(format!("    {} {} why {}", view.paint.with(styles::BOLD_BLUE, "hint:"), self.program, shell_word(&app.name)));
        lines
    }

    fn padded(&self, app: &AppProgress, names: usize, view: &View) -> String {
        let label = label(app);
        // A longer name stays whole, because users copy it.
        let pad = names.saturating_sub(label.width());
        format!("{}{:pad$}", view.paint.with(styles::BOLD, label), "")
    }

    fn line(&self, mark: Mark, app: &AppProgress, names: usize, words: &str, ms: u64, view: &View) -> String {
        let duration = seconds(ms);
        let head = names.max(label(app).width()) + 4;
        let room = view.width.unwrap_or(LINE_WIDTH).min(LINE_WIDTH).saturating_sub(head + duration.len() + 2);
        let words = match view.width {
            Some(_) if words.width() > room => fit(words, room),
            _ => words.to_owned(),
        };
        let pad = room.saturating_sub(words.width()) + 2;
        let glyph = view.paint.with(mark.style(), mark.glyph());
        let line = format!("{glyph} {}  {words}{:pad$}{}", self.padded(app, names, view), "", view.paint.with(styles::DIM, &duration));
        match view.width {
            // A very long name leaves no room for the rest.
            Some(width) if head + words.width() + pad + duration.len() > width => {
                fit(&format!("{} {}", mark.glyph(), label(app)), width).trim_end().to_owned()
            }
            _ => line,
        }
    }
}

/// Returns the name and the number of instances.
fn label(app: &AppProgress) -> String {
    let name = shown(&app.name);
    if app.ids.len() > 1 { format!("{name} ×{}", app.ids.len()) } else { name }
}

fn instances(count: usize) -> &'static str {
    if count == 1 { "instance" } else { "instances" }
}

fn listens(known: &[&InstanceFacts]) -> Option<String> {
    let mut places: Vec<&str> = known.iter().flat_map(|of| of.listens.iter().map(String::as_str)).collect();
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(*place));
    let more = if places.len() > PORTS { ", …" } else { "" };
    places.truncate(PORTS);
    (!places.is_empty()).then(|| format!("listening on {}{more}", places.join(", ")))
}

fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// Returns a name as a user would type it.
pub(crate) fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/+".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { format!("'{}'", shown(name).replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Id, name, pid, places where it listens, and the pending event.
    type Known<'a> = (u32, &'a str, i32, &'a [&'a str], Option<&'a str>);

    fn facts(of: &[Known<'_>]) -> BTreeMap<u32, InstanceFacts> {
        let fact = |(id, name, pid, listens, waits): &Known<'_>| {
            let listens = listens.iter().map(|place| (*place).to_owned()).collect();
            let waits = waits.map(str::to_owned);
            (*id, InstanceFacts { name: (*name).into(), pid: Some(*pid), listens, health: None, waits })
        };
        of.iter().map(fact).collect()
    }

    fn done(id: u32, name: &str) -> Progress {
        Progress::InstanceDone { id, name: name.into(), late: None }
    }

    fn launched(name: &str, ids: &[u32]) -> Progress {
        Progress::Launched { name: name.into(), ids: ids.into() }
    }

    fn failed(id: u32, name: &str, reason: &str) -> Progress {
        Progress::InstanceFailed { id, name: name.into(), reason: reason.into() }
    }

    fn texts(lines: Vec<BoardLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    fn view(width: Option<usize>) -> View {
        View::played(0, width)
    }

    #[test]
    fn start_of_a_file_has_one_line_per_app() {
        let mut board = Board::new(Change::Start, "ostler", true);
        for (progress, at_ms) in [
            (launched("shop", &[0]), 1),
            (launched("api", &[1, 2]), 1),
            (launched("mailer", &[3]), 2),
            (launched("slow", &[4]), 2),
            (done(0, "shop"), 420),
            (done(1, "api"), 500),
            (done(2, "api"), 560),
            (
                failed(
                    3,
                    "mailer",
                    "exited with code 1 within 0.3 s of its start; it is restarted\n    │ TypeError: x\n    │   at a.js:1:2",
                ),
                700,
            ),
            (Progress::InstanceDone { id: 4, name: "slow".into(), late: Some("is still starting after 3 s".into()) }, 3_000),
        ] {
            board.apply(progress, at_ms);
        }
        let facts = facts(&[(0, "shop", 8904, &[":3941"], None), (1, "api", 7, &[":3942"], None), (2, "api", 8, &[":3942"], None)]);
        let text = texts(board.finished(&facts, true, &view(Some(80)))).join("\n");
        let expected = "\
✓ shop    pid 8904, listening on :3941                                     0.4 s
✓ api ×2  listening on :3942                                               0.5 s
✗ mailer  exited with code 1 within 0.3 s of its start; it is restarted
    TypeError: x
      at a.js:1:2
    hint: ostler why mailer
◐ slow    still starting after 3 s; continues in the background            3.0 s";
        assert_eq!(text, expected);
        assert!(board.finished(&facts, true, &view(None)).is_empty(), "each line once");
    }

    #[test]
    fn app_is_finished_when_all_its_instances_are() {
        let mut board = Board::new(Change::Restart, "ostler", true);
        board.apply(Progress::Selected { action: "restartProcessId".into(), target: "all".into(), ids: vec![1, 2] }, 0);
        board.apply(done(1, "api"), 100);
        let none = BTreeMap::new();
        assert!(board.finished(&none, false, &view(None)).is_empty(), "instance 2 may belong to the app");
        let facts = facts(&[(2, "api", 9, &[], Some("checking that it stays up"))]);
        assert_eq!(board.unknown(false), [1, 2].into());
        board.name(&facts);
        assert_eq!(board.live(400, &facts, &view(Some(60))), ["◐ api ×2  1/2 checking that it stays up                0.4 s"]);
        assert!(board.finished(&facts, false, &view(None)).is_empty());
        board.apply(done(2, "api"), 900);
        assert_eq!(board.finished(&facts, false, &view(Some(60))).len(), 1);
        assert!(board.live(1000, &facts, &view(None)).is_empty());
    }

    #[test]
    fn steps_are_lines_without_a_terminal_and_notable_ones_stay() {
        let step = |step: &str, is_notable| Progress::Rollout { id: 3, name: "api".into(), step: step.into(), is_notable };
        for is_live in [true, false] {
            let mut board = Board::new(Change::Reload, "ostler", is_live);
            [step("starts", false), step("has a gap", true), done(3, "api")].into_iter().for_each(|progress| board.apply(progress, 0));
            let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
            let expected: &[&str] = if is_live { &[] } else { &["  api (3) starts", "  api (3) has a gap"] };
            let (steps, result) = lines.split_at(lines.len() - 2);
            assert_eq!(steps, expected);
            assert!(result[0].starts_with("✓ api  reloaded") && result[1] == "    has a gap", "{result:?}");
        }
    }

    #[test]
    fn each_change_names_its_result() {
        for (change, steps, words) in [
            (Change::Stop, vec![done(0, "a")], "✓ a  stopped"),
            (Change::Delete, vec![done(0, "a"), done(1, "a")], "✓ a ×2  deleted"),
            (Change::Reset, vec![done(0, "a")], "✓ a  counters reset"),
            (Change::Scale, vec![done(0, "a")], "✓ a  1 instance removed"),
            (Change::Scale, vec![launched("a", &[1, 2]), done(1, "a"), done(2, "a")], "✓ a ×2  2 instances added"),
            (Change::Start, vec![done(0, "a")], "✓ a  started"),
            (Change::RollBack, vec![done(0, "a")], "✓ a  rolled back"),
        ] {
            let mut board = Board::new(change, "ostler", true);
            steps.into_iter().for_each(|step| board.apply(step, 0));
            let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
            assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let name = "日本語のとても長い名前のアプリケーション名".repeat(4);
        for width in 20..100 {
            let mut board = Board::new(Change::Start, "ostler", true);
            board.apply(launched(&name, &[0]), 0);
            board.apply(launched("b", &[1]), 0);
            let facts = facts(&[(0, &name, 7, &[":1", ":2"], Some("waiting for something that takes a long time to name"))]);
            let mut lines = board.live(100, &facts, &view(Some(width)));
            board.apply(done(0, &name), 5);
            board.apply(done(1, "b"), 5);
            lines.extend(texts(board.finished(&facts, true, &view(Some(width)))));
            for line in lines {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn app_that_is_only_added_is_named() {
        for (is_confirmed, lines) in [(true, 1), (false, 0)] {
            let mut board = Board::new(Change::Start, "ostler", false);
            board.apply(launched("nightly", &[0]), 0);
            if is_confirmed {
                board.confirm();
            }
            let text = texts(board.finished(&BTreeMap::new(), true, &view(None)));
            assert!(text.len() == lines && text.iter().all(|line| line.starts_with("○ nightly  added, not started")), "{text:?}");
        }
    }

    #[test]
    fn hint_quotes_names_for_the_shell() {
        assert_eq!(["api", "a b", "it's", "日本"].map(shell_word), ["api", "'a b'", "'it'\\''s'", "日本"]);
    }
}
