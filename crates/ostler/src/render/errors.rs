//! `errors`: exceptions of apps in groups, and one group in full.

use std::fmt::Write as _;

use anstyle::Style;
use ostler_client::words::span;
use ostler_core::message;
use ostler_web::errors::{Group, GroupState, Release, ResolvedMark};
use unicode_width::UnicodeWidthStr as _;

use super::style::styles;
use super::view::View;
use crate::text::{fit, shown};

/// Formats two lines for each group: the exception and its number, then the place and the first
/// time.
pub(crate) fn errors(groups: &[(&Group, GroupState)], view: &View) -> String {
    let mut out = String::new();
    for (group, state) in groups {
        let (words, style) = state_words(group, *state);
        let app = shown(&group.app);
        let times = match group.last {
            0 => format!("{} ×", group.count),
            last => message!("{count} ×, {age} ago", count = group.count, age = span(view.since(last))),
        };
        let title = titled(&group.kind, &group.message);
        let room = view.width.map(|width| width.saturating_sub(app.width() + times.width() + 4).max(LEAST));
        let paint = view.paint;
        let _ = writeln!(out, "{}  {}  {}", paint.with(styles::BOLD, app), paint.with(styles::RED, within(&title, room)), times);
        let short: String = group.id.chars().take(SHORT).collect();
        let mut rest = vec![words];
        // For a regression, the state already names the release.
        let newest = group.releases.last().filter(|_| *state != GroupState::Returned).map(|seen| release(&seen.release));
        rest.extend(newest.filter(|release| !release.is_empty()));
        rest.extend((!group.culprit.is_empty()).then(|| shown(&group.culprit)));
        let rest_room = view.width.map(|width| width.saturating_sub(SHORT + 4));
        let _ = writeln!(out, "  {}  {}", paint.with(styles::GREY, short), paint.with(style, within(&rest.join(" · "), rest_room)));
    }
    out
}

/// Characters of an id that are shown.
const SHORT: usize = 8;
/// Smallest width of a title.
const LEAST: usize = 16;

/// Returns the text, cut if it does not fit.
fn within(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.width() > room => fit(text, room).trim_end().to_owned(),
        _ => text.to_owned(),
    }
}

/// Formats everything about one group.
pub(crate) fn error(group: &Group, state: GroupState, mark: Option<&ResolvedMark>, view: &View) -> String {
    let paint = view.paint;
    let (words, style) = state_words(group, state);
    let mut out = String::new();
    let _ =
        writeln!(out, "{}  {}", paint.with(styles::BOLD, shown(&group.app)), paint.with(styles::RED, titled(&group.kind, &group.message)));
    let by = mark.map(|mark| message!(", marked {time} by {user}", time = view.local(mark.at), user = shown(&mark.by))).unwrap_or_default();
    let _ = writeln!(out, "  {} {}{by}", group.id, paint.with(style, words));
    if group.last > 0 {
        let (first, last) = (view.local(group.first), view.local(group.last));
        let _ = writeln!(out, "  {}", message!("{count} ×, first {first}, last {last}", count = group.count, first, last));
    } else {
        let _ = writeln!(out, "  {} ×", group.count);
    }
    for seen in group.releases.iter().rev() {
        let name = release(&seen.release);
        if !name.is_empty() {
            let text = message!("{release}: {count} ×, first {time}", release = name, count = seen.count, time = view.local(seen.first));
            let _ = writeln!(out, "  {text}");
        }
    }
    for frame in &group.sample.exception.frames {
        let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = format!("{}{line}", shown(&frame.file));
        let text = if frame.function.is_empty() { place } else { format!("{} ({place})", shown(&frame.function)) };
        let style = if frame.own { Style::new() } else { styles::GREY };
        let _ = writeln!(out, "    at {}", paint.with(style, text));
    }
    for line in &group.sample.before {
        let _ = writeln!(out, "  {} {}", paint.with(styles::GREY, '│'), shown(line));
    }
    out
}

pub(super) fn titled(kind: &str, message: &str) -> String {
    if message.is_empty() { shown(kind) } else { format!("{}: {}", shown(kind), shown(message)) }
}

pub(super) fn state_words(group: &Group, state: GroupState) -> (String, Style) {
    match (state, &group.returned) {
        (GroupState::Open, _) => (message!("unresolved"), styles::YELLOW),
        (GroupState::Resolved, _) => (message!("resolved"), styles::GREEN),
        (GroupState::Returned, Some(returned)) if returned.release.release > 0 => {
            (message!("recurred in {release}", release = release(&returned.release)), styles::RED)
        }
        (GroupState::Returned, _) => (message!("recurred"), styles::RED),
    }
}

pub(super) fn release(release: &Release) -> String {
    if release.release == 0 { String::new() } else { message!("release {release}", release = release_number(release)) }
}

/// Returns the number of a release, with its version.
pub(super) fn release_number(release: &Release) -> String {
    let version = release.version.as_ref().map(|version| format!(" ({})", shown(version))).unwrap_or_default();
    format!("{}{version}", release.release)
}
