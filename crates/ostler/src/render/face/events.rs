//! `events` in ostler's own look: time, mark, app, the event and its cause.

use std::fmt::Write as _;

use ostler_client::words::{cause_text, event_phrase, exit_text, shown, span};
use ostler_core::lifecycle::{PolicyName, ProcessEnding};
use ostler_core::message;
use ostler_proto::event::{Event, EventCause, EventKind, Health};
use unicode_width::UnicodeWidthStr as _;

use super::fold::{FoldedEvent, fold};
use super::{AppLabels, Mark};
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::{fit, wrap_all};

/// Name of an event that concerns no app.
const MANAGER: &str = "ostler";

/// Widest column of names.
const NAME_WIDTH: usize = 24;

/// Least width of a column of texts. If there is less room, the text is below its head.
const LEAST_TEXT: usize = 32;

/// Columns of the mark, and of the blanks around it.
const MARK_WIDTH: usize = 4;

/// Blanks between the columns of names and texts.
const GAP: usize = 2;

/// Indent of a text below its head.
const INDENT: usize = 2;

/// Function that returns the name of a user.
pub(crate) type UserName<'a> = &'a dyn Fn(u32) -> Option<String>;

/// Layout of events: the widths of the columns so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventColumns {
    labels: AppLabels,
    time: usize,
    name: usize,
}

impl EventColumns {
    /// Adds an instance of an app. Events of an app with several instances carry the id.
    #[must_use]
    pub(crate) fn with_instance(mut self, app: &str, id: u32) -> Self {
        self.labels.add(app, id);
        self
    }

    /// Formats past events. Unless `is_each`, repeats are folded.
    pub(crate) fn past(&mut self, events: &[&Event], is_each: bool, user: UserName<'_>, view: &View) -> String {
        events.iter().for_each(|event| self.add(event));
        let folded = if is_each { events.iter().map(|event| FoldedEvent::single(event)).collect() } else { fold(events) };
        for event in &folded {
            self.time = self.time.max(view.short_time(event.last_ms).len());
            self.name = self.name.max(self.label(event.event).width());
        }
        folded.iter().map(|event| self.row(event, user, view)).collect()
    }

    /// Formats one event.
    pub(crate) fn line(&mut self, event: &Event, user: UserName<'_>, view: &View) -> String {
        self.past(&[event], true, user, view)
    }

    fn add(&mut self, event: &Event) {
        if let (Some(app), Some(id)) = (&event.app, event.id) {
            self.labels.add(app, id);
        }
    }

    fn label(&self, event: &Event) -> String {
        event.app.as_ref().map_or_else(|| MANAGER.to_owned(), |app| self.labels.of(app, event.id))
    }

    fn row(&self, event: &FoldedEvent<'_>, user: UserName<'_>, view: &View) -> String {
        let (paint, mark) = (view.paint, mark(event.event));
        let time = view.short_time(event.last_ms);
        let (label, text) = (self.label(event.event), text(event, user, view));
        // Without UTF-8, the mark of success has two columns.
        let head = self.time + MARK_WIDTH + usize::from(mark == Mark::Done);
        let widest = view.width.map_or(usize::MAX, |width| (width / 3).min(width.saturating_sub(head)).max(1));
        let is_cut = label.width() > widest;
        let label = if is_cut { fit(&label, widest).trim_end().to_owned() } else { label };
        let column = self.name.min(NAME_WIDTH).min(widest).max(label.width());
        let mut out = format!(
            "{}{:pad$}  {} {}",
            paint.with(styles::DIM, &time),
            "",
            paint.with(mark.style(), mark.glyph()),
            paint.with(styles::BOLD, &label),
            pad = self.time.saturating_sub(time.len()),
        );
        let Some(width) = view.width else {
            let _ = writeln!(out, "{:pad$}{text}", "", pad = column - label.width() + GAP);
            return out;
        };
        let indent = self.time + MARK_WIDTH + column + GAP;
        let room = width.saturating_sub(indent + 1);
        if room >= LEAST_TEXT {
            for (place, line) in wrap_all(&text, room).iter().enumerate() {
                let pad = if place == 0 { column - label.width() + GAP } else { indent };
                let _ = writeln!(out, "{:pad$}{line}", "");
            }
        } else {
            out.push('\n');
            for line in wrap_all(&text, width.saturating_sub(INDENT + 1)) {
                let _ = writeln!(out, "{:INDENT$}{line}", "");
            }
        }
        out
    }
}

/// Returns true if a user or a schedule asked for it, so an exit is no failure.
fn is_requested(cause: &EventCause) -> bool {
    match cause {
        EventCause::User { .. } | EventCause::Shutdown => true,
        EventCause::Policy { name, .. } => {
            matches!(name, PolicyName::Autoscale | PolicyName::Cron | PolicyName::MaxLifetime | PolicyName::Reload | PolicyName::Watch)
        }
        EventCause::App | EventCause::System => false,
    }
}

/// Returns the mark of an event.
fn mark(event: &Event) -> Mark {
    let is_requested = is_requested(&event.cause);
    match &event.kind {
        EventKind::Waiting
        | EventKind::Launched { .. }
        | EventKind::Draining
        | EventKind::Stopping
        | EventKind::ReloadBegun { .. }
        | EventKind::UpdateBegun => Mark::Starting,
        EventKind::Online { .. } | EventKind::Replaced { .. } | EventKind::Health { state: Health::Healthy } => Mark::Online,
        EventKind::Restarting { .. } => Mark::Restarting,
        EventKind::Exit { ending: ProcessEnding::Code(0), .. } | EventKind::Stopped | EventKind::Deleted => Mark::Stopped,
        EventKind::Exit { .. } if is_requested => Mark::Stopped,
        EventKind::Exit { .. }
        | EventKind::CouldNotStart { .. }
        | EventKind::NotReady { stopped: true }
        | EventKind::Errored { .. }
        | EventKind::ReloadFailed { .. }
        | EventKind::UpdateFailed { .. }
        | EventKind::SetAside { .. } => Mark::Error,
        EventKind::NotReady { stopped: false }
        | EventKind::KillTimeout
        | EventKind::HookFailed { .. }
        | EventKind::ReloadOverruled { .. }
        | EventKind::Health { .. }
        | EventKind::LimitExceeded { .. }
        | EventKind::RunMissed { .. }
        | EventKind::ClockMoved { .. }
        | EventKind::Recovered { .. } => Mark::Warning,
        EventKind::ReloadDone { .. }
        | EventKind::LogRotated { .. }
        | EventKind::Scaled { .. }
        | EventKind::Updated { .. }
        | EventKind::ListSaved { .. } => Mark::Done,
    }
}

/// Returns the event and its cause: `16 × exited with code 1 after about 0.5 s, by itself`.
fn text(event: &FoldedEvent<'_>, user: UserName<'_>, view: &View) -> String {
    let cause = cause_words(&event.event.cause, user);
    if event.times == 1 {
        return message!("{event}, {cause}", event = event_phrase(&event.event.kind), cause);
    }
    let mut out = message!("{count} × {event}, {cause}", count = event.times, event = repeated_phrase(event), cause);
    if !event.others.is_empty() {
        out += &others(&event.others);
    }
    out + " " + &message!("(since {time})", time = view.short_time(event.first_ms))
}

/// Returns the event without the numbers that differ in each repeat.
fn repeated_phrase(event: &FoldedEvent<'_>) -> String {
    match (&event.event.kind, event.usual_ms) {
        (EventKind::Exit { ending, .. }, Some(usual_ms)) => {
            message!("{exit} after about {duration}", exit = exit_text(*ending), duration = span(usual_ms))
        }
        (kind, _) => phrase(kind),
    }
}

fn phrase(kind: &EventKind) -> String {
    match kind {
        EventKind::Exit { ending, .. } => exit_text(*ending),
        EventKind::Launched { .. } => message!("launched"),
        EventKind::Online { .. } => message!("is online"),
        EventKind::Restarting { .. } => message!("restarts"),
        EventKind::LogRotated { .. } => message!("log was rotated"),
        other => event_phrase(other),
    }
}

/// Describes the rest of a cycle.
fn others(others: &[&Event]) -> String {
    let is_start = |event: &&Event| matches!(event.kind, EventKind::Launched { .. } | EventKind::Online { .. });
    let is_usual = |event: &&Event| is_start(event) || matches!(event.kind, EventKind::Restarting { .. } | EventKind::Stopped);
    if !others.iter().all(is_usual) {
        let phrases: Vec<String> = others.iter().map(|event| phrase(&event.kind)).collect();
        return message!("; each time also: {events}", events = phrases.join(", "));
    }
    match others.iter().find(|event| is_start(event)).map(|event| &event.cause) {
        Some(EventCause::Policy { name: PolicyName::Autorestart, .. }) => message!(", restarted each time"),
        Some(EventCause::Policy { name, .. }) => message!(", started each time by the policy `{policy}`", policy = shown(name.word())),
        _ => String::new(),
    }
}

/// Names the cause: a user by name, and the command as it was typed.
pub(super) fn cause_words(cause: &EventCause, user: UserName<'_>) -> String {
    match cause {
        EventCause::User { command, uid, on_behalf_of, .. } => {
            let user = user(*uid).map_or_else(|| format!("uid {uid}"), |name| shown(&name));
            match on_behalf_of {
                Some(name) => message!("by `{command}` ({user}, on behalf of {name})", command = shown(command), user, name = shown(name)),
                None => message!("by `{command}` ({user})", command = shown(command), user),
            }
        }
        other => cause_text(other),
    }
}
