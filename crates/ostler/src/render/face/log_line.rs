//! Log lines in ostler's own look: columns with the time, the app, and a mark for standard error.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::render::style::{Paint, styles};
use crate::text::{fit, shown};

/// Widest column of names.
const NAME_WIDTH: usize = 24;

/// Least width of a column of names. The time is shortened or left out first.
const NARROW_NAME: usize = 6;

/// Blank, mark and blank between a name and its text.
const MARK_WIDTH: usize = 3;

/// Mark of lines from standard error.
const ERROR_MARK: char = '!';

/// Widths of a time with and without milliseconds.
pub(crate) const TIME_WIDTHS: [usize; 2] = ["13:14:58.120".len(), "13:14:58".len()];

/// Instances by the names of their apps. An app with several instances needs their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppLabels {
    ids: BTreeMap<String, BTreeSet<u32>>,
}

impl AppLabels {
    /// Adds an instance.
    pub(crate) fn add(&mut self, app: &str, id: u32) {
        match self.ids.get_mut(app) {
            Some(ids) => drop(ids.insert(id)),
            None => drop(self.ids.insert(app.to_owned(), BTreeSet::from([id]))),
        }
    }

    /// Returns true if an instance of this app was added.
    pub(crate) fn contains(&self, app: &str) -> bool {
        self.ids.contains_key(app)
    }

    /// Returns the name, with the id if the app has several instances: `api 2`.
    pub(crate) fn of(&self, app: &str, id: Option<u32>) -> String {
        let is_one_of_many = self.ids.get(app).is_some_and(|ids| ids.len() > 1);
        match id.filter(|_| is_one_of_many) {
            Some(id) => format!("{} {id}", shown(app)),
            None => shown(app),
        }
    }

    /// Returns the width of the widest name.
    pub(crate) fn width(&self) -> usize {
        let of_app = |(app, ids): (&String, &BTreeSet<u32>)| ids.iter().map(|id| self.of(app, Some(*id)).width()).max();
        self.ids.iter().filter_map(of_app).max().unwrap_or(0)
    }
}

/// Values of the columns before a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLabel<'a> {
    /// Time; empty if it is not known.
    pub time: &'a str,
    pub name: &'a str,
    pub style: Style,
    /// Whether the line was written to standard error.
    pub is_error: bool,
    /// Whether the line continues the one above it, so that time and name are not repeated.
    pub is_continued: bool,
}

/// Widths of the columns before a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogColumns {
    pub time: usize,
    pub name: usize,
    /// Whether longer names are cut, because there is a terminal.
    is_cut: bool,
}

impl LogColumns {
    /// Returns the widths for a terminal; none = no terminal. `times`: possible widths of a time,
    /// the widest first. `names`: width of the widest name.
    ///
    /// A name has at most a third of the terminal, and the text at least half of it.
    pub(crate) fn new(terminal: Option<usize>, times: &[usize], names: usize) -> Self {
        let name = names.clamp(1, NAME_WIDTH);
        let Some(width) = terminal else {
            return Self { time: times.first().copied().unwrap_or(0), name, is_cut: false };
        };
        let before = |time: usize, name: usize| name + MARK_WIDTH + if time > 0 { time + 1 } else { 0 };
        let fits = |time: &usize| before(*time, name.min(NARROW_NAME)) <= width / 2;
        let time = times.iter().copied().find(fits).unwrap_or(0);
        let most = (width / 2).saturating_sub(before(time, 0)).min(width / 3);
        Self { time, name: name.min(most.max(1)), is_cut: true }
    }

    /// Formats the columns before a text. Lines of standard error have a mark.
    pub(crate) fn label(self, label: &LogLabel<'_>, paint: Paint) -> String {
        let mut out = String::new();
        let blank = |width: usize| " ".repeat(width);
        let time = match label.time {
            _ if label.is_continued => "",
            time if self.is_cut => time.get(..self.time).unwrap_or(time),
            time => time,
        };
        if self.time > 0 {
            if !time.is_empty() {
                out += &paint.with(styles::DIM, time).to_string();
            }
            out += &blank(self.time.saturating_sub(time.width()) + 1);
        }
        let name = match label.name {
            _ if label.is_continued => String::new(),
            name if self.is_cut && name.width() > self.name => fit(name, self.name).trim_end().to_owned(),
            name => name.to_owned(),
        };
        let pad = self.name.saturating_sub(name.width());
        if !name.is_empty() {
            out += &paint.with(label.style, name).to_string();
        }
        out += &blank(pad + 1);
        match label.is_error {
            true => out += &paint.with(styles::RED, ERROR_MARK).to_string(),
            false => out.push(' '),
        }
        out.push(' ');
        out
    }
}

/// Returns the colour of an app: always the same for the same name. Green, yellow and red are left
/// to states.
pub(crate) fn app_style(name: &str) -> Style {
    const COLORS: [AnsiColor; 6] =
        [AnsiColor::Cyan, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightCyan, AnsiColor::BrightMagenta, AnsiColor::BrightBlue];
    let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    Style::new().bold().fg_color(Some(anstyle::Color::Ansi(COLORS[sum % COLORS.len()])))
}

/// Formats a line between the lines of logs, such as `── shop restarted ──`, in at most the width
/// of the terminal.
pub(crate) fn rule(text: &str, style: Style, width: Option<usize>, paint: Paint) -> String {
    /// Columns of both ends.
    const ENDS: usize = 6;
    // Without UTF-8, an arrow becomes two characters.
    let arrows = text.matches('→').count();
    let text = match width.map(|width| width.saturating_sub(ENDS + arrows).max(1)) {
        Some(room) if text.width() > room => fit(text, room).trim_end().to_owned(),
        _ => text.to_owned(),
    };
    paint.with(style, format_args!("── {text} ──")).to_string()
}
