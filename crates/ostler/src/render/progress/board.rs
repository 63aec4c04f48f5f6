//! Progress of a change in ostler's own look: one line per app when it is done, and on a terminal a
//! live line per app that is waited for.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::health::HealthState;
use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_proto::control::{Confirm, Progress, Request, TableRow};
use unicode_width::UnicodeWidthStr as _;

use super::change::Change;
use super::facts::{EndedFacts, InstanceFacts};
use crate::render::face::{Mark, seconds};
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::{fit, shell_word, shown, wrap, wrap_words};

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

/// Least room for words beside a name.
const LEAST_WORDS: usize = 20;

/// Most rows of the terminal for one of an app's last lines.
const LINE_ROWS: usize = 3;

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

/// Look of the apps of a project.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProjectLook {
    /// Name of the project, which its apps' names begin with. It is not shown.
    pub project: String,
    /// What happens to each app, in one word, by its whole name.
    pub results: BTreeMap<String, &'static str>,
    /// Smallest width of the names, so that the lines of several requests are aligned.
    pub names: usize,
}

impl ProjectLook {
    /// Returns the name of an app within the project.
    pub(crate) fn own<'a>(&self, name: &'a str) -> &'a str {
        let own = name.strip_prefix(self.project.as_str()).and_then(|rest| rest.strip_prefix('-'));
        own.filter(|own| !own.is_empty() && !self.project.is_empty()).unwrap_or(name)
    }
}

/// Instances of the home before a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstancesBefore {
    /// Ids of the instances that had a process.
    running: BTreeSet<u32>,
    /// Namespaces and names of the apps by id.
    apps: BTreeMap<u32, (String, String)>,
}

impl InstancesBefore {
    /// Takes the rows that the daemon sent before the request.
    pub(crate) fn of(rows: Vec<TableRow>) -> Self {
        let running = rows.iter().filter(|row| row.pid > 0).map(|row| row.id).collect();
        Self { running, apps: rows.into_iter().map(|row| (row.id, (row.namespace, row.name))).collect() }
    }

    /// Returns the number of instances of an app; none if several namespaces have an app of that
    /// name.
    fn instances(&self, name: &str) -> Option<usize> {
        let of: Vec<&String> = self.apps.values().filter(|(_, other)| other == name).map(|(namespace, _)| namespace).collect();
        of.iter().all(|namespace| Some(namespace) == of.first()).then_some(of.len())
    }
}

/// Progress of one request.
#[derive(Debug)]
pub(crate) struct Board {
    change: Change,
    look: ProjectLook,
    /// Instances before the request; none if the daemon did not answer.
    before: Option<InstancesBefore>,
    /// Whether the daemon answers before the apps are up (`--no-wait`).
    is_detached: bool,
    /// Instances of a saved list that are in the list again.
    restored: BTreeSet<u32>,
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
    /// Apps whose failure has a line.
    failed: BTreeSet<String>,
}

impl Board {
    pub(crate) fn new(change: Change, program: &'static str, is_live: bool) -> Self {
        Self {
            change,
            look: ProjectLook::default(),
            before: None,
            is_detached: false,
            restored: BTreeSet::new(),
            program,
            apps: Vec::new(),
            unnamed: BTreeSet::new(),
            warnings: Vec::new(),
            is_live,
            steps: Vec::new(),
            is_confirmed: false,
            failed: BTreeSet::new(),
        }
    }

    /// Shows the apps as those of a project.
    pub(crate) fn of_project(self, look: ProjectLook) -> Self {
        Self { look, ..self }
    }

    /// Sets the instances that exist before the request.
    pub(crate) fn with_before(self, before: Option<InstancesBefore>) -> Self {
        Self { before, ..self }
    }

    /// Notes whether the daemon answers the request before the apps are up.
    pub(crate) fn with_detached(self, request: &Request) -> Self {
        let confirm = match request {
            Request::Start { confirm, .. } | Request::Act { confirm, .. } | Request::Scale { confirm, .. } => confirm.as_ref(),
            _ => None,
        };
        Self { is_detached: matches!(confirm, Some(Confirm { detached: true, .. })), ..self }
    }

    /// Takes a message of the daemon, this long after the begin.
    pub(crate) fn apply(&mut self, progress: Progress, at_ms: u64) {
        match progress {
            Progress::Selected { ids, .. } => self.select(ids),
            // The message has the script, not the name of the app.
            Progress::Launched { ids, .. } if self.change == Change::Restore => {
                self.restored.extend(&ids);
                self.unnamed.extend(ids);
            }
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

    /// Adds selected instances to their apps, if these are known.
    fn select(&mut self, ids: Vec<u32>) {
        for id in ids {
            let app = self.before.as_ref().and_then(|before| before.apps.get(&id)).cloned();
            if let Some((_, name)) = app.filter(|_| self.is_detached) {
                self.app(&name).ids.insert(id);
            } else {
                self.unnamed.insert(id);
            }
        }
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
        let mut lines: Vec<BoardLine> = self.warnings.drain(..).map(|text| line(warning(&text, view), true)).collect();
        lines.extend(self.steps.drain(..).map(|text| line(text, false)));
        let is_named = self.unnamed.is_empty();
        let names = self.name_width(view);
        for place in 0..self.apps.len() {
            let app = &self.apps[place];
            // A job, or an app with `autostart: false`, is only added.
            let is_only_added = app.is_new || app.ids.iter().any(|id| self.restored.contains(id));
            let has_result = !(app.done.is_empty() && app.failures.is_empty()) || (is_only_added || self.is_detached) && self.is_confirmed;
            if app.is_printed || !has_result || !(is_over || is_named && app.is_over()) {
                continue;
            }
            let is_trouble = !app.failures.is_empty() || self.ended(app, facts).is_some_and(|ended| ended.has_failed);
            lines.extend(self.lines_of(app, names, facts, view).into_iter().map(|text| line(text, is_trouble)));
            if is_trouble {
                self.failed.insert(app.name.clone());
            }
            self.apps[place].is_printed = true;
        }
        // Very many instances have no facts, so the apps of those that stay stopped are unknown.
        let rest = if is_over && self.is_confirmed { self.unnamed.intersection(&self.restored).count() } else { 0 };
        if rest > 0 {
            self.unnamed.clear();
            let text = match rest {
                1 => message!("1 instance added, not started"),
                count => message!("{count} instances added, not started", count),
            };
            let glyph = view.paint.with(Mark::Stopped.style(), Mark::Stopped.glyph());
            lines.push(line(format!("{glyph} {text}"), false));
        }
        lines
    }

    /// Returns a line for each app that is waited for, at most `rows` lines.
    pub(crate) fn live(&self, now_ms: u64, facts: &BTreeMap<u32, InstanceFacts>, rows: usize, view: &View) -> Vec<String> {
        let waited: Vec<&AppProgress> = self.apps.iter().filter(|app| !app.is_printed).collect();
        let names = self.name_width(view);
        let line = |app: &&AppProgress| {
            let waits = app.ids.iter().filter(|id| !app.done.contains(id)).filter_map(|id| facts.get(id)?.waits.clone()).next();
            let done = if app.ids.len() > 1 { format!("{}/{} ", app.done.len(), app.ids.len()) } else { String::new() };
            let words = app.step.as_deref().map(shown).or(waits).unwrap_or_else(|| translated(self.change.under_way()).into());
            self.line(Mark::Starting, app, names, &format!("{done}{words}"), now_ms, view)
        };
        let most = if waited.len() <= LIVE_LINES.min(rows) { waited.len() } else { LIVE_LINES.min(rows.saturating_sub(1)) };
        let mut lines: Vec<String> = waited.iter().take(most).map(line).collect();
        if most < waited.len() && most < rows {
            lines.push(
                view.paint.with(styles::DIM, format_args!("  {}", message!("and {more} more", more = waited.len() - most))).to_string(),
            );
        }
        lines
    }

    fn name_width(&self, view: &View) -> usize {
        let most = NAME_WIDTH.min(view.width.unwrap_or(usize::MAX) / 3);
        self.apps.iter().map(|app| self.label(app).width()).max().unwrap_or(0).max(self.look.names).min(most)
    }

    fn lines_of(&self, app: &AppProgress, names: usize, facts: &BTreeMap<u32, InstanceFacts>, view: &View) -> Vec<String> {
        if let Some((_, reason)) = app.failures.first() {
            let count = match (app.failures.len(), app.ids.len()) {
                (_, 1) => String::new(),
                (failed, all) => format!(" {}", message!("({failed} of {all} instances)", failed, all)),
            };
            let (first, rest) = reason.split_once('\n').unwrap_or((reason, ""));
            return self.failure(app, names, &format!("{}{count}", shown(first)), rest.lines(), view);
        }
        match self.ended(app, facts) {
            Some(ended) if ended.has_failed => {
                return self.failure(app, names, &ended.text, ended.last_lines.iter().map(String::as_str), view);
            }
            Some(ended) => return vec![self.line(Mark::Stopped, app, names, &ended.text, app.ended_ms, view)],
            None => {}
        }
        let known: Vec<&InstanceFacts> = app.ids.iter().filter_map(|id| facts.get(id)).collect();
        if app.done.is_empty() {
            // With `--no-wait`, the result is not known yet.
            let has_begun = known.is_empty() || known.iter().any(|of| of.pid.is_some() || of.waits.is_some());
            let is_coming = self.is_detached && (has_begun || !app.is_new);
            let (mark, words) = match is_coming {
                true => {
                    let state = translated(self.change.under_way());
                    (Mark::Starting, message!("{state}; continues in the background", state))
                }
                false => (Mark::Stopped, message!("added, not started")),
            };
            return vec![self.line(mark, app, names, &words, app.ended_ms, view)];
        }
        let result = self.look.results.get(&app.name).filter(|_| self.change == Change::Start);
        let mut parts: Vec<String> = result.map(|result| (*result).to_owned()).into_iter().collect();
        match (self.change, app.done.len()) {
            (Change::Scale, count) if let Some((before, after)) = self.scaled(app, count) => parts.push(match after {
                0 => message!("{before} → 0 instances, removed from the list", before),
                1 => message!("{before} → 1 instance", before),
                _ => message!("{before} → {after} instances", before, after),
            }),
            (Change::Scale, count) if !app.is_new => parts.push(match count {
                1 => message!("1 instance removed"),
                _ => message!("{count} instances removed", count),
            }),
            (Change::Scale, count) => parts.push(match count {
                1 => message!("1 instance added"),
                _ => message!("{count} instances added", count),
            }),
            (change, _) => parts.extend(self.done_words(change, app, result.is_some())),
        }
        if self.change.leaves_processes() && (self.change != Change::Scale || app.is_new) {
            parts.extend(match known.as_slice() {
                [one] => one.pid.map(|pid| format!("pid {pid}")),
                _ => None,
            });
            parts.extend(listens(&known));
            if !known.is_empty() && known.iter().all(|of| of.health == Some(HealthState::Healthy)) {
                parts.push(message!("healthy"));
            }
        }
        if let Some(late) = &app.late {
            let late = shown(late.strip_prefix("is ").unwrap_or(late));
            return vec![self.line(
                Mark::Starting,
                app,
                names,
                &message!("{state}; continues in the background", state = late),
                app.ended_ms,
                view,
            )];
        }
        if parts.is_empty() {
            parts.push(message!("started"));
        }
        let mut lines = vec![self.line(Mark::Done, app, names, &parts.join(", "), app.ended_ms, view)];
        let room = view.width.unwrap_or(usize::MAX).saturating_sub(4);
        let notes = app.notes.iter().flat_map(|note| wrapped(&shown(note), room));
        lines.extend(notes.map(|note| format!("    {}", view.paint.with(styles::YELLOW, note))));
        lines
    }

    /// Returns the result of a change in one word. An app that had no process was started, whatever
    /// the command is called, and a start of an app that had one was a restart.
    fn done_words(&self, change: Change, app: &AppProgress, has_result: bool) -> Option<String> {
        let is_start = matches!(change, Change::Start | Change::Restart | Change::Reload);
        if let Some(before) = self.before.as_ref().filter(|_| is_start && !has_result) {
            if app.ids.iter().all(|id| !before.running.contains(id)) {
                return None;
            }
            if change == Change::Start {
                return Some(translated(Change::Restart.done()).into());
            }
        }
        (!change.done().is_empty()).then(|| translated(change.done()).into())
    }

    /// Returns the number of instances of an app before and after a scaling by `count` instances.
    fn scaled(&self, app: &AppProgress, count: usize) -> Option<(usize, usize)> {
        let before = self.before.as_ref().filter(|_| self.change == Change::Scale)?.instances(&app.name)?;
        let after = if app.is_new { before + count } else { before.checked_sub(count)? };
        (before > 0).then_some((before, after))
    }

    /// Returns the lines of an app that failed: the reason, the last lines of the app, a hint.
    fn failure<'a>(
        &self,
        app: &AppProgress,
        names: usize,
        reason: &str,
        last_lines: impl Iterator<Item = &'a str>,
        view: &View,
    ) -> Vec<String> {
        let width = view.width.unwrap_or(usize::MAX);
        let head = names.max(self.label(app).width()) + 4;
        // A very long name has a line of its own.
        let is_apart = head + LEAST_WORDS > width;
        let indent = if is_apart { 4 } else { names + 4 };
        let words = wrapped(reason, width.saturating_sub(if is_apart { 4 } else { head }));
        let mut words = words.into_iter();
        let glyph = view.paint.with(Mark::Error.style(), Mark::Error.glyph());
        let mut lines = vec![match is_apart {
            true => format!("{glyph} {}", view.paint.with(styles::BOLD, fit(&self.label(app), width.saturating_sub(2)).trim_end())),
            false => format!("{glyph} {}  {}", self.padded(app, names, view), words.next().unwrap_or_default()),
        }];
        lines.extend(words.map(|text| format!("{:indent$}{text}", "")));
        lines.extend(last_lines.flat_map(|line| {
            let text = shown(line.trim_start().strip_prefix("│ ").unwrap_or(line.trim_start()));
            wrap(&text, width.saturating_sub(4)).into_iter().take(LINE_ROWS).map(|text| format!("    {}", text.trim_end()))
        }));
        let label = message!("hint:");
        let explanation = self.explanation(app, width.saturating_sub(label.width() + 5));
        lines.push(format!("    {} {explanation}", view.paint.with(styles::BOLD_BLUE, label)));
        lines
    }

    /// Returns how an app exited, if it belongs to a project and none of its instances runs. Other
    /// commands themselves wait until an app has proved that it runs.
    fn ended<'a>(&self, app: &AppProgress, facts: &'a BTreeMap<u32, InstanceFacts>) -> Option<&'a EndedFacts> {
        let is_start = self.change == Change::Start && !self.look.results.is_empty();
        let ended = app.ids.iter().filter(|_| is_start).map(|id| facts.get(id)?.ended.as_ref());
        let ended: Vec<&EndedFacts> = ended.collect::<Option<_>>()?;
        ended.iter().copied().find(|ended| ended.has_failed).or(ended.first().copied())
    }

    /// Returns the names of the apps whose failure has a line.
    pub(crate) fn failed(&self) -> &BTreeSet<String> {
        &self.failed
    }

    /// Returns the command that explains a failure. A name that is too long for the line is replaced
    /// by the id.
    fn explanation(&self, app: &AppProgress, room: usize) -> String {
        let command = format!("{} why {}", self.program, shell_word(&app.name));
        let id = app.failures.first().map(|(id, _)| id).or(app.ids.first());
        match id.filter(|_| command.width() > room) {
            Some(id) => format!("{} why {id}", self.program),
            None => command,
        }
    }

    /// Returns the name and the number of instances.
    fn label(&self, app: &AppProgress) -> String {
        let name = shown(self.look.own(&app.name));
        // The words of a scaling have the number of all instances.
        if app.ids.len() > 1 && self.scaled(app, app.done.len()).is_none() { format!("{name} ×{}", app.ids.len()) } else { name }
    }

    fn padded(&self, app: &AppProgress, names: usize, view: &View) -> String {
        let label = self.label(app);
        // A longer name stays whole, because users copy it.
        let pad = names.saturating_sub(label.width());
        format!("{}{:pad$}", view.paint.with(styles::BOLD, label), "")
    }

    fn line(&self, mark: Mark, app: &AppProgress, names: usize, words: &str, ms: u64, view: &View) -> String {
        let duration = seconds(ms);
        let head = names.max(self.label(app).width()) + 4;
        let room = view.width.unwrap_or(LINE_WIDTH).min(LINE_WIDTH).saturating_sub(head + duration.len() + 2);
        let whole = words;
        let words = match view.width {
            Some(_) if words.width() > room => fit(words, room),
            _ => words.to_owned(),
        };
        let pad = room.saturating_sub(words.width()) + 2;
        let glyph = view.paint.with(mark.style(), mark.glyph());
        let line = format!("{glyph} {}  {words}{:pad$}{}", self.padded(app, names, view), "", view.paint.with(styles::DIM, &duration));
        match view.width {
            // The result matters more than the end of a very long name.
            Some(width) if head + words.width() + pad + duration.len() > width => {
                let name = fit(&self.label(app), width / 2);
                fit(&format!("{} {}  {whole}", mark.glyph(), name.trim_end()), width).trim_end().to_owned()
            }
            _ => line,
        }
    }
}

fn listens(known: &[&InstanceFacts]) -> Option<String> {
    let mut places: Vec<&str> = known.iter().flat_map(|of| of.listens.iter().map(String::as_str)).collect();
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(*place));
    let more = if places.len() > PORTS { ", …" } else { "" };
    places.truncate(PORTS);
    (!places.is_empty()).then(|| message!("listening on {places}", places = places.join(", ") + more))
}

/// Wraps words; a word that is longer than a line is broken.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    wrap_words(text, room).iter().flat_map(|line| wrap(line, room)).collect()
}

fn warning(text: &str, view: &View) -> String {
    let label = message!("warning:");
    let (room, indent) = (view.width.unwrap_or(usize::MAX), label.width() + 1);
    let lines = text.lines().flat_map(|line| wrapped(&shown(line), room.saturating_sub(indent)));
    let lines = lines.collect::<Vec<_>>().join(&format!("\n{:indent$}", ""));
    format!("{} {lines}", view.paint.with(styles::YELLOW, label))
}

#[cfg(test)]
mod tests;
