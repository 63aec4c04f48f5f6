//! `errors` in ostler's own look: exceptions in groups, and one group in full.

use std::fmt::Write as _;

use anstyle::Style;
use ostler_client::words::span;
use ostler_core::errors::Frame;
use ostler_core::message;
use ostler_web::errors::{Group, GroupState, ResolvedMark};
use unicode_width::UnicodeWidthStr as _;

use super::{Mark, short_age};
use crate::render::errors::{release, release_number, state_words, titled};
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::{fit, shell_word, shown, wrap_all, wrap_commands};
use ostler_client::source_line::SourceLine;

/// Width at which number and age end, on a wide terminal.
const LINE_WIDTH: usize = 100;

/// Characters of an id that are shown.
const SHORT: usize = 8;

/// Most releases of a group that are listed.
const RELEASES: usize = 5;

/// Formats the groups: the exception with its number and age, below it app, state, place and id.
pub(crate) fn errors_own(groups: &[(&Group, GroupState)], program: &str, view: &View) -> String {
    let mut out = String::new();
    for (group, state) in groups {
        out += &heading(group, *state, view);
        let mut facts = vec![shown(&group.app), state_words(group, *state).0];
        facts.extend((!group.culprit.is_empty()).then(|| shown(&group.culprit)));
        facts.extend((group.first > 0).then(|| message!("first {age} ago", age = span(view.since(group.first)))));
        // For a regression, the state already names the release.
        let newest = group.releases.last().filter(|_| *state != GroupState::Returned).map(|seen| release(&seen.release));
        facts.extend(newest.filter(|release| !release.is_empty()));
        facts.push(short_id(group));
        add(&mut out, 2, &facts.join(" · "), styles::DIM, view);
    }
    let hints = groups.first().map(|(group, _)| {
        let (id, app) = (short_id(group), shell_word(&group.app));
        message!("more: `{program} errors {id}`, `{program} logs {app} --err`", program, id, app)
    });
    out += &hints.map(|hints| commands(&hints, view)).unwrap_or_default();
    out
}

/// Facts about a group that the group itself does not contain.
pub(crate) struct ErrorContext<'a> {
    /// Name of the program to type.
    pub program: &'a str,
    pub state: GroupState,
    /// Mark of a user that the error is resolved.
    pub resolved: Option<&'a ResolvedMark>,
    /// Source line of the innermost frame of the app.
    pub source: Option<SourceLine>,
    pub view: &'a View,
}

/// Formats everything about one group.
pub(crate) fn error_own(group: &Group, context: &ErrorContext<'_>) -> String {
    let (view, program) = (context.view, context.program);
    let mut out = heading(group, context.state, view);
    for (key, value) in facts(group, context) {
        row(&mut out, &key, &value, view);
    }
    out.push('\n');
    for frame in &group.sample.exception.frames {
        let style = if frame.own { Style::new() } else { styles::DIM };
        add(&mut out, 4, &message!("at {place}", place = place(frame)), style, view);
        if let Some(source) = context.source.as_ref().filter(|_| is_innermost_own(group, frame)) {
            let text = format!("{} │ {}", source.number, shown(source.text.trim_end()));
            let _ = writeln!(out, "      {}", view.paint.with(styles::DIM, cut(&text, 6, view)));
        }
    }
    if !group.sample.before.is_empty() {
        let _ = writeln!(out, "\n  {}", view.paint.with(styles::DIM, cut(&message!("the app's lines before it"), 2, view)));
    }
    for line in &group.sample.before {
        let _ = writeln!(out, "    {}", cut(&shown(line), 4, view));
    }
    let (app, id) = (shell_word(&group.app), short_id(group));
    let grep = if group.kind.is_empty() { String::new() } else { format!(" --grep {}", shell_word(&group.kind)) };
    out.push('\n');
    let logs = format!("`{program} logs {app} --err{grep}`");
    let more = match context.state {
        GroupState::Resolved => message!("more: {command}", command = logs),
        _ => message!("more: {command}, `{program} errors --resolve {id}`", command = logs, program, id),
    };
    out + &commands(&more, view)
}

/// Formats the first line: mark, type and message, number and age.
fn heading(group: &Group, state: GroupState, view: &View) -> String {
    let mark = match state {
        GroupState::Open | GroupState::Returned => Mark::Error,
        GroupState::Resolved => Mark::Done,
    };
    let title = titled(&group.kind, &group.message);
    let count = match group.last {
        0 => format!("{} ×", group.count),
        last => message!("{count} ×, {age} ago", count = group.count, age = short_age(view.since(last))),
    };
    let glyph = view.paint.with(mark.style(), mark.glyph());
    let title_style = styles::BOLD;
    let Some(width) = view.width else {
        return format!("{glyph} {}  {}\n", view.paint.with(title_style, title), view.paint.with(styles::DIM, count));
    };
    // Without UTF-8, the mark of success has two columns.
    let head = "✓ ".chars().count() + usize::from(mark == Mark::Done);
    let line = width.min(LINE_WIDTH);
    let room = line.saturating_sub(head + 2 + count.width());
    let mut out = String::new();
    if room < line / 2 {
        // Both do not fit beside each other.
        let _ = writeln!(out, "{glyph} {}", view.paint.with(title_style, cut(&title, head, view)));
        add(&mut out, 2, &count, styles::DIM, view);
        return out;
    }
    let title = if title.width() > room { fit(&title, room).trim_end().to_owned() } else { title };
    let pad = room.saturating_sub(title.width()) + 2;
    let _ = writeln!(out, "{glyph} {}{:pad$}{}", view.paint.with(title_style, title), "", view.paint.with(styles::DIM, count));
    out
}

/// Returns the facts of a group: names and values.
fn facts(group: &Group, context: &ErrorContext<'_>) -> Vec<(String, String)> {
    let view = context.view;
    let (words, _) = state_words(group, context.state);
    let by = context
        .resolved
        .map(|mark| message!(", marked {time} by {user}", time = view.local(mark.at), user = shown(&mark.by)))
        .unwrap_or_default();
    let seen = match group.last {
        0 => format!("{} ×", group.count),
        last => {
            let ago = |at: u64| message!("{time} ({age} ago)", time = view.local(at), age = span(view.since(at)));
            message!("{count} ×, first {first}, last {last}", count = group.count, first = ago(group.first), last = ago(last))
        }
    };
    let mut facts = vec![
        (message!("app"), message!("{app}, instance {id}", app = shown(&group.app), id = group.sample.instance)),
        (message!("state"), words + &by),
        (message!("seen"), seen),
    ];
    let releases = group.releases.iter().rev().filter(|seen| !release(&seen.release).is_empty());
    let name = |place: usize| if place == 0 { message!("releases") } else { String::new() };
    let row = |(place, seen): (usize, &ostler_web::errors::ReleaseCount)| {
        (
            name(place),
            message!(
                "{release}: {count} ×, first {time}",
                release = release_number(&seen.release),
                count = seen.count,
                time = view.local(seen.first)
            ),
        )
    };
    facts.extend(releases.clone().take(RELEASES).enumerate().map(row));
    let more = releases.count().saturating_sub(RELEASES);
    facts.extend((more > 0).then(|| (String::new(), message!("and {more} more", more))));
    facts.push(("id".into(), shown(&group.id)));
    facts
}

/// Adds a fact. A long value continues below its first line.
fn row(out: &mut String, key: &str, value: &str, view: &View) {
    const KEYS: usize = "releases".len();
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(KEYS + 4).max(4);
    for (place, line) in wrap_all(value, room).iter().enumerate() {
        let key = if place == 0 { key } else { "" };
        let pad = KEYS.saturating_sub(key.width()) + 2;
        let _ = writeln!(out, "  {}{:pad$}{line}", view.paint.with(styles::DIM, key), "");
    }
}

fn place(frame: &Frame) -> String {
    let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
    let place = format!("{}{line}", shown(&frame.file));
    if frame.function.is_empty() { place } else { format!("{} ({place})", shown(&frame.function)) }
}

/// Returns the innermost frame of the app itself.
pub(crate) fn innermost_own(group: &Group) -> Option<&Frame> {
    group.sample.exception.frames.iter().find(|frame| frame.own && frame.line.is_some())
}

fn is_innermost_own(group: &Group, frame: &Frame) -> bool {
    innermost_own(group).is_some_and(|own| std::ptr::eq(own, frame))
}

fn short_id(group: &Group) -> String {
    group.id.chars().take(SHORT).collect()
}

/// Adds a text in lines that fit.
fn add(out: &mut String, indent: usize, text: &str, style: Style, view: &View) {
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(indent).max(4);
    for line in wrap_all(text, room) {
        let _ = writeln!(out, "{:indent$}{}", "", view.paint.with(style, line));
    }
}

/// Formats a line with commands.
fn commands(text: &str, view: &View) -> String {
    let lines = wrap_commands(text, view.width.unwrap_or(usize::MAX));
    lines.iter().map(|line| format!("{}\n", view.paint.with(styles::DIM, line))).collect()
}

/// Cuts a text that does not fit beside this number of columns.
fn cut(text: &str, columns: usize, view: &View) -> String {
    let room = view.width.map_or(usize::MAX, |width| width.saturating_sub(columns).max(1));
    if text.width() > room { fit(text, room).trim_end().to_owned() } else { text.to_owned() }
}
