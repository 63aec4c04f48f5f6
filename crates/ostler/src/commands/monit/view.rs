//! View: the state as a picture.

mod list;

use ostler_core::{marked, message};

use super::cells::{Picture, Rect, Tone};
use super::content;
use super::keys::KEY_HELP;
use super::layout::Pane;
use super::state::{Dialog, LinkState, MonitState};
use crate::full_screen::key_lines::{key_frame, key_line};
use crate::render::bytes;
use crate::text::wrap;

/// Draws everything.
pub(super) fn draw(state: &MonitState) -> Picture {
    let (width, height) = state.size;
    let mut picture = Picture::blank(width, height, state.display.is_ascii);
    let layout = state.layout();
    if let Some(place) = layout.header {
        header(state, &mut picture, place);
    }
    for (pane, place) in &layout.panes {
        let tone = if *pane == state.focus { Tone::Title } else { Tone::Dim };
        picture.frame(*place, &title(state, *pane), tone);
        match pane {
            Pane::List => list::draw(state, &mut picture, place.inner()),
            Pane::Logs => logs(state, &mut picture, place.inner()),
            pane => text(state, &mut picture, *pane, place.inner()),
        }
    }
    if let Some(place) = layout.footer {
        footer(state, &mut picture, place);
    } else if let Some(question) = question(state) {
        // No line is free for the message, so it covers the last line.
        picture.fill(0, height.saturating_sub(1), width, Tone::Inverse);
        picture.put(0, height.saturating_sub(1), width, &question, Tone::Inverse);
    }
    if state.dialog == Dialog::Help {
        key_frame(&mut picture, KEY_HELP);
    }
    picture
}

fn title(state: &MonitState, pane: Pane) -> String {
    let scrolled = state.scroll[pane.index()];
    let name = match (pane, state.row()) {
        (Pane::Logs, Some(row)) => message!("{app} Logs", app = row.name),
        (pane, _) => pane.title().to_owned(),
    };
    match pane {
        Pane::Logs if scrolled > 0 => message!("{title}, {count} lines below", title = name, count = scrolled),
        Pane::List => match state.sort.strip_suffix(":desc") {
            Some(field) => message!("{title}, by {field} descending", title = name, field),
            None => message!("{title}, by {field}", title = name, field = state.sort.replace(":asc", "")),
        },
        _ => name,
    }
}

/// Draws the header line: a summary of the instances, or the problem with the connection.
fn header(state: &MonitState, picture: &mut Picture, place: Rect) {
    picture.fill(place.x, place.y, place.width, Tone::Inverse);
    let trouble = match &state.link {
        LinkState::Up => None,
        LinkState::Silent(seconds) => Some(message!("the daemon has not answered for {seconds} s", seconds)),
        LinkState::Down(why) => Some(why.clone()),
    };
    let text = match trouble {
        Some(trouble) => format!(" {trouble}"),
        None => format!(" {} {}", state.display.program, summary(state)),
    };
    picture.put(place.x, place.y, place.width, &text, Tone::Inverse);
}

fn summary(state: &MonitState) -> String {
    let count = |status: &str| state.rows.iter().filter(|row| row.status == status).count();
    let mut parts = vec![match state.rows.len() {
        1 => message!("1 instance"),
        count => message!("{count} instances", count),
    }];
    parts.push(format!("{} online", count("online")));
    let word = state.display.status("errored");
    parts.extend(Some(count("errored")).filter(|count| *count > 0).map(|count| format!("{count} {word}")));
    // The sum of nothing is -0.0.
    let cpu = state.rows.iter().map(|row| row.monit.cpu_pct).fold(0.0, |sum: f64, cpu| sum + cpu);
    let memory: u64 = state.rows.iter().map(|row| row.monit.memory_bytes).sum();
    parts.push(format!("cpu {:.1}%", cpu));
    parts.push(format!("mem {}", bytes(memory)));
    if !state.filter.is_empty() {
        parts.push(message!("{count} shown by /{filter}", count = state.shown.len(), filter = state.filter));
    }
    parts.join(" | ")
}

/// Returns the question that waits for a key.
fn question(state: &MonitState) -> Option<String> {
    match &state.dialog {
        Dialog::Confirm { question, .. } => Some(format!(" {question} [y/n] ")),
        Dialog::Filter { .. } => Some(format!(" /{}_  {} ", state.filter, message!("Enter: keep, Esc: back"))),
        Dialog::Scale { app, number } => Some(format!(" {} {number}_ ", message!("How many instances of {app}?", app))),
        Dialog::None | Dialog::Help => None,
    }
}

fn footer(state: &MonitState, picture: &mut Picture, place: Rect) {
    if let Some(question) = question(state) {
        picture.fill(place.x, place.y, place.width, Tone::Inverse);
        picture.put(place.x, place.y, place.width, &question, Tone::Inverse);
    } else if let Some((message, is_good)) = &state.message {
        let tone = if *is_good { Tone::Good } else { Tone::Bad };
        picture.put(place.x, place.y, place.width, &format!(" {message}"), tone);
    } else {
        let keys = [
            ("q", marked!("quit")),
            ("?", marked!("keys")),
            ("r", marked!("restart")),
            ("l", marked!("reload")),
            ("s", marked!("stop")),
            ("+-", marked!("scale")),
            ("/", marked!("filter")),
            ("o", marked!("sort")),
            ("Tab", marked!("pane")),
            ("z", marked!("zoom")),
            ("w", marked!("why")),
            ("e", marked!("events")),
        ];
        key_line(picture, place, &keys);
    }
}

/// Draws whole lines from the end upwards.
fn logs(state: &MonitState, picture: &mut Picture, place: Rect) {
    if state.row().is_some() && state.logs.len() == 0 {
        picture.put(place.x, place.y, place.width, &message!("no lines yet"), Tone::Dim);
    }
    let mut y = place.y + place.height;
    for line in state.logs.upwards(state.scroll[Pane::Logs.index()]) {
        let tone = if line.is_error { Tone::Warn } else { Tone::Plain };
        for part in wrap(&line.text, place.width).iter().rev() {
            if y == place.y {
                return;
            }
            y -= 1;
            picture.put(place.x, y, place.width, part, tone);
        }
    }
}

fn text(state: &MonitState, picture: &mut Picture, pane: Pane, place: Rect) {
    let lines = content::lines(state, pane, place.width);
    let most = lines.len().saturating_sub(place.height);
    let first = state.scroll[pane.index()].min(most);
    for (line, y) in lines.iter().skip(first).zip(place.y..place.y + place.height) {
        let mut used = 0;
        for (part, tone) in line {
            used += picture.put(place.x + used, y, place.width - used, part, *tone);
        }
    }
}

#[cfg(test)]
mod tests;
