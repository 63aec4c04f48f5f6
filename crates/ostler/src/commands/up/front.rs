//! A project in the foreground: its lines, the exits of its apps, and the requests that stop it.

use std::collections::BTreeSet;
use std::time::Instant;

use ostler_client::words::exit_text;
use ostler_core::app::AppSpec;
use ostler_core::lifecycle::ProcessEnding;
use ostler_core::lifecycle::order::Condition;
use ostler_core::message;
use ostler_proto::control::{Detail, Event, Request, Summary};
use ostler_proto::event::{EventCause, EventKind};

use super::exits::{self, AbortOn};
use crate::commands::foreground::{kill_at_once, stopping_line};
use crate::commands::project::{Project, service};
use crate::home::Program;
use crate::logs::Observer;
use crate::render::Out;
use crate::render::face::Mark;
use crate::text::shown;

/// Project in the foreground.
pub(super) struct Front {
    project: String,
    names: Vec<String>,
    jobs: Vec<String>,
    /// Apps whose successful exit another app waits for.
    pub completed: Vec<String>,
    stop: Request,
    /// Exits that stop the whole project.
    abort_on: AbortOn,
    /// Whether such an exit was seen.
    has_aborted: bool,
    is_stopping: bool,
    is_data: bool,
    is_pm2: bool,
    /// Lines about exits. They follow what the app wrote before it exited.
    lines: Vec<(Mark, String)>,
    /// Exits that have a line: instance and process.
    reported: BTreeSet<(u32, i32)>,
    /// Instances whose last process failed.
    failed: BTreeSet<u32>,
    /// Names of apps with several instances.
    scaled: Vec<String>,
}

impl Front {
    pub(super) fn new(project: &Project, names: Vec<String>, stop: Request, abort_on: AbortOn, program: Program, is_data: bool) -> Self {
        let of = |is: fn(&AppSpec) -> bool| project.wanted.iter().filter(|spec| is(spec)).map(|spec| spec.name.clone()).collect();
        let needs = project.wanted.iter().flat_map(|spec| &spec.order.depends_on);
        Self {
            project: project.name.clone(),
            names,
            jobs: of(AppSpec::is_job),
            completed: needs.filter(|(_, condition)| **condition == Condition::Completed).map(|(name, _)| name.clone()).collect(),
            stop,
            abort_on,
            has_aborted: false,
            is_stopping: false,
            is_data,
            is_pm2: program.is_pm2(),
            lines: Vec::new(),
            reported: BTreeSet::new(),
            failed: BTreeSet::new(),
            scaled: of(|spec| spec.instances > 1),
        }
    }

    fn own<'a>(&self, name: &'a str) -> &'a str {
        service(name, &self.project).unwrap_or(name)
    }

    fn add(&mut self, app: &str, id: u32, mark: Mark, text: impl std::fmt::Display) {
        let own = shown(self.own(app));
        let of = if self.scaled.iter().any(|name| name == app) { format!("{own}-{id}") } else { own };
        self.lines.push((mark, format!("{of} {text}")));
    }

    /// Adds a line for each stopped app whose exit has no line yet, because its event was not
    /// received.
    pub(super) fn add_missed(&mut self, members: &[Detail]) {
        for member in members {
            if !self.names.contains(&member.spec.name) {
                continue;
            }
            let Some(exit) = exits::last(member) else { continue };
            if exits::has_failed(member) {
                self.failed.insert(member.id);
            }
            if self.reported.insert((member.id, exit.pid)) {
                let mark = if exits::has_failed(member) { Mark::Error } else { Mark::Stopped };
                self.add(&member.spec.name, member.id, mark, exit_text(exit.ending));
            }
        }
    }

    /// Prints the lines about exits.
    pub(super) fn print(&mut self, out: &mut Out) {
        for (mark, line) in self.lines.drain(..).filter(|_| !self.is_data) {
            match self.is_pm2 {
                true => out.line(line),
                false => out.line(format_args!("{} {line}", out.paint().with(mark.style(), mark.glyph()))),
            }
        }
    }

    /// Returns true if this row is an exit that stops the project.
    fn aborts(&self, row: &Summary) -> bool {
        let has_completed = self.completed.contains(&row.name) && row.status == "stopped";
        self.names.contains(&row.name) && !self.jobs.contains(&row.name) && !has_completed && is_down(row)
    }
}

fn is_down(row: &Summary) -> bool {
    matches!(row.status.as_str(), "stopped" | "errored")
}

impl Observer for Front {
    fn on_event(&mut self, _: &mut Out, event: &Event) {
        let (Some(app), Some(id)) = (&event.app, event.id) else { return };
        if !self.names.contains(app) {
            return;
        }
        match &event.kind {
            EventKind::Exit { ending: ProcessEnding::Code(0), .. } | EventKind::Launched { .. } => drop(self.failed.remove(&id)),
            EventKind::Exit { .. } | EventKind::CouldNotStart { .. } if !matches!(event.cause, EventCause::User { .. }) => {
                self.failed.insert(id);
            }
            _ => {}
        }
        match &event.kind {
            EventKind::Exit { pid, ending, .. } if self.reported.insert((id, *pid)) => {
                let mark = if self.failed.contains(&id) { Mark::Error } else { Mark::Stopped };
                self.add(app, id, mark, exit_text(*ending));
            }
            EventKind::CouldNotStart { why, .. } => {
                self.add(app, id, Mark::Error, message!("could not be started: {reason}", reason = shown(why)))
            }
            EventKind::Errored { .. } => self.add(app, id, Mark::Error, message!("is errored and is not restarted again")),
            _ => {}
        }
    }

    fn on_lines(&mut self, out: &mut Out) {
        self.print(out);
    }

    fn on_stopping(&mut self, out: &mut Out, list: &[Summary]) {
        self.is_stopping = true;
        if !self.is_data {
            if self.has_aborted {
                out.line(message!("{project} stops because an app exited", project = shown(&self.project)));
            }
            out.line(stopping_line(list, Some(&self.names)));
            out.flush();
        }
    }

    fn due(&self) -> Option<Instant> {
        (self.has_aborted && !self.is_stopping).then(Instant::now)
    }

    fn observe(&mut self, _: &[Summary]) -> bool {
        self.has_aborted && !self.is_stopping
    }

    fn stops(&self, nth: u32, list: &[Summary]) -> Option<Vec<Request>> {
        let is_first = nth < if self.has_aborted { 1 } else { 2 };
        Some(if is_first { vec![self.stop.clone()] } else { kill_at_once(list, Some(&self.names)) })
    }

    fn is_over(&mut self, list: &[Summary]) -> bool {
        let aborts = list.iter().any(|row| self.aborts(row) && (self.abort_on == AbortOn::Exit || self.failed.contains(&row.id)));
        self.has_aborted |= self.abort_on != AbortOn::Nothing && !self.is_stopping && aborts;
        let waits = |row: &Summary| !self.is_stopping && self.jobs.contains(&row.name);
        list.iter().filter(|row| self.names.contains(&row.name)).all(|row| is_down(row) && !waits(row))
    }
}
