//! Lines in ostler's own look: `13:14:58.120 api   text`.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use ostler_core::logs::date_format::Stamper;
use ostler_proto::control::{Event, Summary};
use ostler_proto::event::EventKind;
use unicode_width::UnicodeWidthStr as _;

use super::markers::{Marker, Processes};
use super::search::leading_date;
use super::source::{LogKind, Source};
use crate::render::face::{AppLabels, LogColumns, LogLabel, Mark, TIME_WIDTHS, app_style, rule};
use crate::render::{Out, View, styles};

/// Greatest difference between the date of a line, which may have no fraction of a second, and the
/// time at which it was received.
const EXACT_MS: u64 = 2000;

/// State of the lines above.
pub(super) struct OwnLines {
    view: View,
    labels: AppLabels,
    /// Labels in markers. Several instances may share a log, but each has its own restarts.
    instances: AppLabels,
    daemon_width: usize,
    columns: LogColumns,
    /// Format of the time, if the user requested one.
    stamper: Option<Stamper>,
    /// Day of the line above; today at first.
    day: String,
    /// Log of the line above.
    last: Option<PathBuf>,
    processes: Processes,
    markers: Vec<Marker>,
}

/// Part of a line that is shown, and the time of the line if it starts with a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatedText<'a> {
    pub at_ms: Option<u64>,
    pub text: &'a [u8],
    /// Whether it is an error of the daemon.
    is_error: bool,
}

impl<'a> DatedText<'a> {
    /// Separates the date from the text.
    pub(super) fn of(kind: LogKind, line: &'a [u8], zone: &TimeZone) -> Self {
        let (at_ms, text) = match leading_date(line, zone) {
            Some((at_ms, start)) => (Some(at_ms), line.get(start..).unwrap_or_default()),
            None => (None, line),
        };
        let of_daemon = |head: &str| text.strip_prefix(head.as_bytes()).filter(|_| kind == LogKind::Daemon);
        match (of_daemon("PM2 log: "), of_daemon("PM2 error: ")) {
            (Some(text), _) => Self { at_ms, text, is_error: false },
            (_, Some(text)) => Self { at_ms, text, is_error: true },
            _ => Self { at_ms, text, is_error: kind == LogKind::Error },
        }
    }

    /// Uses the rest of a line whose start is already shown.
    pub(super) fn rest(kind: LogKind, text: &'a [u8]) -> Self {
        Self { at_ms: None, text, is_error: kind == LogKind::Error }
    }

    /// Returns true for a line of a stack, which belongs to the line above it.
    fn is_indented(&self) -> bool {
        self.text.starts_with(b" ") || self.text.starts_with(b"\t")
    }
}

impl OwnLines {
    /// Starts without a line above.
    pub(super) fn new(view: View, stamper: Option<Stamper>) -> Self {
        let day = view.date(view.now_ms);
        let mut own = Self {
            view,
            labels: AppLabels::default(),
            instances: AppLabels::default(),
            daemon_width: 0,
            columns: LogColumns::default(),
            stamper,
            day,
            last: None,
            processes: Processes::default(),
            markers: Vec::new(),
        };
        own.resize();
        own
    }

    /// Returns the zone of dates without a zone.
    pub(super) const fn zone(&self) -> &TimeZone {
        &self.view.zone
    }

    /// Applies the present size of the terminal.
    pub(super) fn refresh(&mut self, out: &Out) {
        if self.view.width != out.width() {
            self.view = out.view();
            self.resize();
        }
    }

    /// Adds logs whose lines may follow.
    pub(super) fn add_sources<'a>(&mut self, sources: impl Iterator<Item = &'a Source>) {
        for source in sources {
            match source.kind {
                LogKind::Daemon => self.daemon_width = source.name.width(),
                LogKind::Out | LogKind::Error => self.labels.add(&source.name, source.id),
            }
        }
        self.resize();
    }

    /// Adds instances whose restarts are marked.
    pub(super) fn add_instances<'a>(&mut self, rows: impl Iterator<Item = &'a Summary>) {
        for row in rows {
            self.processes.add(row.id, row.pid);
            self.instances.add(&row.name, row.id);
        }
    }

    fn resize(&mut self) {
        let names = self.labels.width().max(self.daemon_width);
        let stamp = self.stamper.as_mut().map(|stamper| String::from_utf8_lossy(stamper.stamp(self.view.now_ms)).width());
        self.columns = match stamp {
            Some(width) => LogColumns::new(self.view.width, &[width], names),
            None => LogColumns::new(self.view.width, &TIME_WIDTHS, names),
        };
    }

    /// Returns the time of a line: that of its date, or else the time at which it was received, which
    /// is more exact if both are close.
    pub(super) fn time_of(line: &DatedText<'_>, received_ms: Option<u64>) -> Option<u64> {
        let is_close = |received: &u64| line.at_ms.is_none_or(|at_ms| received.abs_diff(at_ms) < EXACT_MS);
        received_ms.filter(is_close).or(line.at_ms)
    }

    /// Writes the columns before a text. On a terminal, a line of a stack that follows directly has
    /// blank columns, and a line of another day follows a line with the date.
    pub(super) fn label(&mut self, out: &mut Out, source: &Source, line: &DatedText<'_>, at_ms: Option<u64>) {
        let is_terminal = self.view.width.is_some();
        let follows = self.last.as_ref() == Some(&source.path);
        let is_continued = is_terminal && follows && line.is_indented();
        let time = at_ms.map(|at_ms| self.time(out, at_ms, is_terminal && !is_continued)).unwrap_or_default();
        let name = match source.kind {
            LogKind::Daemon => source.name.clone(),
            LogKind::Out | LogKind::Error => self.labels.of(&source.name, Some(source.id)),
        };
        let style = if source.kind == LogKind::Daemon { styles::DIM } else { app_style(&source.name) };
        let label = LogLabel { time: &time, name: &name, style, is_error: line.is_error, is_continued };
        let label = self.columns.label(&label, self.view.paint);
        out.text(if line.text.is_empty() { label.trim_end() } else { &label });
        if self.last.as_ref() != Some(&source.path) {
            self.last = Some(source.path.clone());
        }
    }

    /// Formats a time, after a line with the date if `names_day` and the day differs from that of
    /// the line above.
    fn time(&mut self, out: &mut Out, at_ms: u64, names_day: bool) -> String {
        if let Some(stamper) = &mut self.stamper {
            return String::from_utf8_lossy(stamper.stamp(at_ms)).into_owned();
        }
        let day = self.view.date(at_ms);
        let time = self.view.time_of_day_ms(at_ms);
        if day == self.day {
            return time;
        }
        if self.view.width.is_none() {
            return format!("{day} {time}");
        }
        if names_day {
            self.rule(out, &day, styles::DIM);
            self.day = day;
        }
        time
    }

    fn rule(&mut self, out: &mut Out, text: &str, style: anstyle::Style) {
        out.text(format_args!("{}\n", rule(text, style, self.view.width, self.view.paint)));
        self.last = None;
    }

    /// Resets colours that a text has left on, so that they end with its line.
    pub(super) fn end_colours(&self, out: &mut Out, text: &[u8]) {
        if self.view.width.is_some() && text.contains(&0x1b) {
            out.control("\x1b[0m");
        }
    }

    /// Takes an event of an app. Its marker is shown by [`Self::show_markers`].
    pub(super) fn apply(&mut self, event: &Event) {
        let is_of_app = matches!(event.kind, EventKind::ReloadFailed { .. });
        let is_shown = match event.id {
            Some(id) => self.processes.contains(id),
            None => is_of_app && event.app.as_deref().is_some_and(|app| self.instances.contains(app)),
        };
        if is_shown {
            self.markers.extend(self.processes.apply(event));
        }
    }

    /// Returns true if markers are to be shown.
    pub(super) fn has_markers(&self) -> bool {
        !self.markers.is_empty()
    }

    /// Shows the markers of the events so far.
    pub(super) fn show_markers(&mut self, out: &mut Out) {
        for marker in std::mem::take(&mut self.markers) {
            let style = if marker.is_failure { Mark::Restarting.style() } else { styles::DIM };
            let text = format!("{} {}", self.instances.of(&marker.app, marker.id), marker.text);
            self.rule(out, &text, style);
        }
    }
}

#[cfg(test)]
mod tests;
