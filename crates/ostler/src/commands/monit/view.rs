//! View: the state as a picture.

mod list;

use super::cells::{Picture, Rect, Tone};
use super::content;
use super::keys::KEY_HELP;
use super::layout::Pane;
use super::state::{Dialog, LinkState, MonitState};
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
        help(&mut picture);
    }
    picture
}

fn title(state: &MonitState, pane: Pane) -> String {
    let scrolled = state.scroll[pane.index()];
    let name = match (pane, state.row()) {
        (Pane::Logs, Some(row)) => format!("{} Logs", row.name),
        (pane, _) => pane.title().to_owned(),
    };
    match pane {
        Pane::Logs if scrolled > 0 => format!("{name}, {scrolled} lines below"),
        Pane::List => format!("{name}, by {}", state.sort.replace(":desc", " descending").replace(":asc", "")),
        _ => name,
    }
}

/// Draws the header line: a summary of the instances, or the problem with the connection.
fn header(state: &MonitState, picture: &mut Picture, place: Rect) {
    picture.fill(place.x, place.y, place.width, Tone::Inverse);
    let trouble = match &state.link {
        LinkState::Up => None,
        LinkState::Silent(seconds) => Some(format!("the daemon has not answered for {seconds} s")),
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
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    }];
    parts.push(format!("{} online", count("online")));
    parts.extend(Some(count("errored")).filter(|count| *count > 0).map(|count| format!("{count} errored")));
    let cpu: f64 = state.rows.iter().map(|row| row.monit.cpu_pct).sum();
    let memory: u64 = state.rows.iter().map(|row| row.monit.memory_bytes).sum();
    parts.push(format!("cpu {:.1}%", cpu));
    parts.push(format!("mem {}", bytes(memory)));
    if !state.filter.is_empty() {
        parts.push(format!("{} shown by /{}", state.shown.len(), state.filter));
    }
    parts.join(" | ")
}

/// Returns the question that waits for a key.
fn question(state: &MonitState) -> Option<String> {
    match &state.dialog {
        Dialog::Confirm { question, .. } => Some(format!(" {question} [y/n] ")),
        Dialog::Filter { .. } => Some(format!(" /{}_  Enter: keep, Esc: back ", state.filter)),
        Dialog::Scale { app, number } => Some(format!(" How many instances of {app}? {number}_ ")),
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
            ("q", "quit"),
            ("?", "keys"),
            ("r", "restart"),
            ("l", "reload"),
            ("s", "stop"),
            ("+-", "scale"),
            ("/", "filter"),
            ("o", "sort"),
            ("Tab", "pane"),
            ("z", "zoom"),
            ("w", "why"),
            ("e", "events"),
        ];
        let mut x = place.x + 1;
        for (key, word) in keys {
            // If a word does not fit, it and all later words are left out.
            if x + key.len() + word.len() + 1 > place.x + place.width {
                break;
            }
            x += picture.put(x, place.y, place.width, key, Tone::Bold) + 1;
            x += picture.put(x, place.y, place.width, word, Tone::Dim) + 2;
        }
    }
}

/// Draws whole lines from the end upwards.
fn logs(state: &MonitState, picture: &mut Picture, place: Rect) {
    if state.row().is_some() && state.logs.len() == 0 {
        picture.put(place.x, place.y, place.width, "no lines yet", Tone::Dim);
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

/// Draws the help with the keys over everything else.
fn help(picture: &mut Picture) {
    let keys = KEY_HELP.iter().map(|(keys, _)| keys.len()).max().unwrap_or(0);
    let words = KEY_HELP.iter().map(|(_, words)| words.len()).max().unwrap_or(0);
    let (width, height) = ((keys + words + 5).min(picture.width), (KEY_HELP.len() + 2).min(picture.height));
    let place = Rect { x: (picture.width - width) / 2, y: (picture.height - height) / 2, width, height };
    picture.frame(place, "Keys", Tone::Title);
    let inner = place.inner();
    // Keys and effects are side by side. If there is little room, the keys get less.
    let keys = keys.min(inner.width / 3);
    for ((key, words), y) in KEY_HELP.iter().zip(inner.y..inner.y + inner.height) {
        picture.put(inner.x, y, keys, key, Tone::Bold);
        picture.put(inner.x + keys + 1, y, inner.width.saturating_sub(keys + 1), words, Tone::Plain);
    }
}

#[cfg(test)]
mod tests;
