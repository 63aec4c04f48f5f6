//! The state as a picture. Pure.

use ostler_core::text::language::translated;
use ostler_core::text::units;
use ostler_core::{marked, message};
use ostler_history::QueryResult;
use unicode_width::UnicodeWidthStr as _;

use super::state::{AppEntry, Sort, TopState};
use crate::full_screen::cells::{Picture, Rect, Tone};
use crate::full_screen::key_lines::{key_frame, key_line};
use crate::full_screen::row_cells::RowCells;
use crate::render::face::{GAP, Mark, fitting, memory, total};
use crate::render::metrics;
use crate::text::{fit, shown};

/// Keys and their effects, as the help shows them.
const KEY_HELP: &[(&str, &str)] = &[
    ("c  m", marked!("sort by CPU, by memory")),
    ("n  r", marked!("sort by name, by restarts")),
    ("u  s", marked!("sort by uptime, by state")),
    (marked!("same key again"), marked!("reverse the order")),
    ("a", marked!("one row per instance, and back")),
    ("up down, j k", marked!("scroll")),
    ("PgUp PgDn Home End", marked!("scroll by page, to the ends")),
    ("Ctrl-L", marked!("redraw the screen")),
    ("Ctrl-Z", marked!("suspend")),
    ("q, Esc, Ctrl-C", marked!("quit")),
];

/// The keys of the last line.
const KEYS: &[(&str, &str)] = &[
    ("q", marked!("quit")),
    ("?", marked!("keys")),
    ("c", marked!("cpu")),
    ("m", marked!("memory")),
    ("n", marked!("name")),
    ("r", marked!("restarts")),
    ("u", marked!("uptime")),
    ("s", marked!("state")),
    ("a", marked!("instances")),
];

/// CPU use of an app from which on it is highlighted, in percent of one core.
const MUCH: f64 = 90.0;
/// Smallest width of a name, largest width of the list's longest name.
const NAME: (usize, usize) = (8, 40);
/// Width to which the names shrink before a column is left out.
const SHORT_NAME: usize = 16;
/// Smallest and largest width of the bars.
const BARS: (usize, usize) = (8, 40);
/// Smallest and largest width of a state.
const STATE: (usize, usize) = (8, 16);

/// Content of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Id,
    State,
    Cpu,
    CpuBars,
    Memory,
    MemoryBars,
    Restarts,
    Uptime,
    Note,
    Pid,
}

impl Part {
    const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Id => "ID",
            Self::State => "STATE",
            Self::Cpu => "CPU",
            Self::Memory => "MEM",
            Self::Restarts => "RESTARTS",
            Self::Uptime => "UPTIME",
            Self::Pid => "PID",
            Self::CpuBars | Self::MemoryBars | Self::Note => "",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Id | Self::Cpu | Self::Memory | Self::Restarts | Self::Pid)
    }

    /// Returns the order in which columns are left out: the highest first; 0 is always shown.
    const fn priority(self) -> u8 {
        match self {
            Self::Name | Self::State => 0,
            Self::Id => 1,
            Self::Cpu => 2,
            Self::Memory => 3,
            Self::Restarts => 4,
            Self::Uptime => 5,
            Self::CpuBars => 6,
            Self::MemoryBars => 7,
            Self::Note => 8,
            Self::Pid => 9,
        }
    }

    /// Returns the order that the column shows.
    const fn sort(self) -> Option<Sort> {
        match self {
            Self::Name => Some(Sort::Name),
            Self::State => Some(Sort::State),
            Self::Cpu => Some(Sort::Cpu),
            Self::Memory => Some(Sort::Memory),
            Self::Restarts => Some(Sort::Restarts),
            Self::Uptime => Some(Sort::Uptime),
            _ => None,
        }
    }
}

/// Draws everything.
pub(super) fn draw(state: &TopState) -> Picture {
    let (width, height) = state.size;
    let mut picture = Picture::blank(width, height, state.is_ascii);
    header(state, &mut picture);
    let columns = columns(state, width);
    let line = |y| Rect { x: 0, y, width, height: 1 };
    let mut titles = RowCells::new(&mut picture, line(1), GAP);
    for (part, width) in &columns {
        let (title, tone) = title(state, *part);
        titles.put(&title, *width, tone, part.is_number());
    }
    for (entry, y) in state.visible().iter().zip(2..) {
        let mut cells = RowCells::new(&mut picture, line(y), GAP);
        for (part, width) in &columns {
            let (text, tone) = cell(state, entry, *part, *width);
            cells.put(&text, *width, tone, part.is_number());
        }
    }
    if height > 3 {
        key_line(&mut picture, line(height - 1), KEYS);
    }
    if state.is_help {
        key_frame(&mut picture, KEY_HELP);
    }
    picture
}

/// Draws the first line: all apps together, or the problem with the daemon. Parts that do not fit are
/// left out.
fn header(state: &TopState, picture: &mut Picture) {
    let width = state.size.0;
    if let Some(problem) = &state.problem {
        picture.put(0, 0, width, &format!("{} {problem}", Mark::Error.glyph()), Tone::Bad);
        return;
    }
    let field = translated(state.sort.word());
    let order = match state.is_reversed {
        true => message!("by {field} reversed", field),
        false => message!("by {field}", field),
    };
    let past = match state.has_past {
        true => message!("the last {time}", time = units::millis_text(state.since_ms)),
        false => message!("no history: the dashboard is off"),
    };
    let totals = &state.totals;
    let mut x = picture.put(0, 0, width, &totals.counts, Tone::Bold);
    for part in [position(state), format!("cpu {:.1}%", totals.cpu), format!("mem {}", memory(bytes(totals.memory))), order, past] {
        if !part.is_empty() && x + 3 + part.width() <= width {
            x += picture.put(x, 0, width, &format!(" · {part}"), Tone::Dim);
        }
    }
}

/// Returns which rows are on the screen; empty if all of them are.
fn position(state: &TopState) -> String {
    let (all, visible) = (state.rows.len(), state.visible().len());
    if visible < all {
        message!("{first}-{last} of {all}", first = state.first + 1, last = state.first + visible, all)
    } else {
        String::new()
    }
}

/// Returns the columns that fit, with their widths. Bars take the room that is left.
fn columns(state: &TopState, room: usize) -> Vec<(Part, usize)> {
    let mut parts = parts(state);
    // Whole names are more important than these.
    for extra in [Part::Pid, Part::Note] {
        if width_of(&parts) > room {
            parts.retain(|(part, _)| *part != extra);
        }
    }
    let wanted: Vec<(usize, u8)> = parts.iter().map(|(part, width)| (*width, part.priority())).collect();
    let fitting = fitting(&wanted, SHORT_NAME, room).into_iter();
    let mut columns: Vec<(Part, usize)> = fitting.filter_map(|(place, width)| Some((parts.get(place)?.0, width))).collect();
    widen_bars(&mut columns, room);
    columns
}

/// Returns all columns with the widths that they need, from the left.
fn parts(state: &TopState) -> Vec<(Part, usize)> {
    let longest = |text: fn(&AppEntry) -> usize| state.rows.iter().map(text).max().unwrap_or(0);
    let bars = if state.has_past { BARS.0 } else { 0 };
    let all = [
        (Part::Name, longest(|entry| label(entry).width()).clamp(NAME.0, NAME.1)),
        (Part::Id, if state.is_each { 4 } else { 0 }),
        (Part::State, longest(|entry| state_text(entry).width()).clamp(STATE.0, STATE.1)),
        (Part::Cpu, 7),
        (Part::CpuBars, bars),
        (Part::Memory, 7),
        (Part::MemoryBars, bars),
        (Part::Restarts, 9),
        (Part::Uptime, 7),
        (Part::Note, longest(|entry| note(entry).width())),
        (Part::Pid, 8),
    ];
    all.into_iter().filter(|(_, width)| *width > 0).collect()
}

fn width_of(columns: &[(Part, usize)]) -> usize {
    total(&columns.iter().map(|(_, width)| *width).collect::<Vec<_>>())
}

fn widen_bars(columns: &mut [(Part, usize)], room: usize) {
    let used = width_of(columns);
    let bars: Vec<&mut (Part, usize)> = columns.iter_mut().filter(|(part, _)| matches!(part, Part::CpuBars | Part::MemoryBars)).collect();
    let more = room.saturating_sub(used).checked_div(bars.len()).unwrap_or(0);
    for (_, width) in bars {
        *width = (*width + more).min(BARS.1);
    }
}

/// Returns the title of a column, with an arrow if the rows are sorted by it.
fn title(state: &TopState, part: Part) -> (String, Tone) {
    let title = part.title();
    if part.sort() != Some(state.sort) {
        return (title.to_owned(), Tone::Dim);
    }
    (format!("{title}{}", if state.is_reversed { '↑' } else { '↓' }), Tone::Bold)
}

/// Returns the content of a cell.
fn cell(state: &TopState, entry: &AppEntry, part: Part, width: usize) -> (String, Tone) {
    let group = entry.group.as_ref();
    let tone = if group.is_some() { Tone::Plain } else { Tone::Dim };
    let of_group = |text: &dyn Fn(&crate::render::face::AppGroup) -> String| (group.map_or_else(|| "–".to_owned(), text), tone);
    match part {
        Part::Name => (fitted_label(entry, width), if group.is_some() { Tone::Bold } else { Tone::Dim }),
        Part::State => (state_text(entry), group.map_or(Tone::Dim, |group| mark_tone(group.state.mark))),
        Part::Id => of_group(&|group| group.row.id.to_string()),
        Part::Cpu => {
            let is_much = entry.now.is_some_and(|now| now.cpu >= MUCH);
            let (text, tone) = of_group(&|group| group.figure(format!("{:.1}%", group.row.monit.cpu_pct)));
            (text, if is_much { Tone::Warn } else { tone })
        }
        Part::Memory => of_group(&|group| group.figure(memory(group.row.monit.memory_bytes))),
        Part::CpuBars => (bars(state, &entry.cpu, width), Tone::Good),
        Part::MemoryBars => (bars(state, &entry.memory, width), Tone::Busy),
        Part::Restarts => of_group(&|group| group.row.restarts.to_string()),
        Part::Uptime => of_group(&|group| group.bare_age()),
        Part::Note => (note(entry), Tone::Warn),
        Part::Pid => of_group(&|group| if group.count > 1 { String::new() } else { group.figure(group.row.pid.to_string()) }),
    }
}

/// Returns the name of an app with the number of its instances.
fn label(entry: &AppEntry) -> String {
    shown(&entry.app.1) + &entry.group.as_ref().map(|group| group.count_text()).unwrap_or_default()
}

/// Returns the label in this many columns. The number of instances stays if the name is cut.
fn fitted_label(entry: &AppEntry, width: usize) -> String {
    let count = entry.group.as_ref().map(|group| group.count_text()).unwrap_or_default();
    let room = width.saturating_sub(count.width());
    let name = shown(&entry.app.1);
    if name.width() <= room || room < NAME.0 / 2 { name + &count } else { fit(&name, room).trim_end().to_owned() + &count }
}

fn state_text(entry: &AppEntry) -> String {
    match &entry.group {
        Some(group) => format!("{} {}", group.state.mark.glyph(), group.state.text),
        None => format!("{} gone", Mark::Stopped.glyph()),
    }
}

fn note(entry: &AppEntry) -> String {
    entry.group.as_ref().map(|group| group.note_text()).unwrap_or_default()
}

fn bars(state: &TopState, past: &QueryResult, width: usize) -> String {
    let from = state.at_ms.saturating_sub(state.since_ms);
    metrics::bars(&past.figures, from, state.at_ms, width)
}

/// Returns the tone of a state.
fn mark_tone(mark: Mark) -> Tone {
    match mark {
        Mark::Done | Mark::Online => Tone::Good,
        Mark::Stopped | Mark::Note => Tone::Dim,
        Mark::Starting | Mark::Restarting | Mark::Warning => Tone::Warn,
        Mark::Error => Tone::Bad,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size on display")]
fn bytes(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests;
