//! Printer of lines.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use ostler_core::logs::date_format::{DateFormat, Stamper};
use ostler_core::logs::line_times::line::LineTime;
use ostler_proto::control::{Event, Summary};
use ostler_proto::pm2::{LogPlace, LogPlaces, rpc};
use serde_json::json;

use super::bus_packets::BusPackets;
use super::follow::{Follower, Line, ReadPosition};
use super::own::{DatedText, OwnLines};
use super::search::{Pattern, line_time};
use super::source::{LogFilter, LogKind, Source};
use crate::render::face::app_style;
use crate::render::{Out, View, styles};
use crate::text::shown;

const BLUE: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Blue)));
const GREY: Style = styles::GREY;
const MARK: Style = Style::new().bg_color(Some(anstyle::Color::Ansi(AnsiColor::BrightBlack)));
/// Columns of the label before lines of the past.
const TAIL_LABEL: usize = 10;
const TIMESTAMP: &str = "YYYY-MM-DD-HH:mm:ss";

/// Format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// `13:14:58.120 api   line`, in ostler's own look.
    Own,
    /// `0|api | line`.
    Labelled,
    /// `api-0  | line`.
    Session,
    /// `api-0  | line`, without the name of the project, each app in its own colour.
    Project,
    /// The line without a label; lines of stderr go to stderr.
    Raw,
    /// One JSON object per line.
    Json,
    /// `timestamp=… app=… id=… type=… message=…`.
    Pairs,
    /// Packets with frames of PM2's bus, for the daemon.
    Bus,
}

/// Prints lines in one form.
pub(super) struct Printer {
    form: LineFormat,
    stamper: Option<Stamper>,
    pairs_stamper: Stamper,
    highlight: Option<String>,
    /// Width of the longest label so far.
    widest: usize,
    /// Whether lines of the daemon are shown without their own date.
    undates_daemon: bool,
    packets: BusPackets,
    /// Pattern that new lines must match; none = all are shown.
    only: Option<Pattern>,
    /// Files that were reported, by log; none if positions are not reported.
    reported: Option<HashMap<PathBuf, Vec<ReadPosition>>>,
    /// Log whose line was printed without its end, and whether that was on stderr.
    open: Option<(PathBuf, bool)>,
    /// State of ostler's own look; none for PM2's.
    own: Option<OwnLines>,
}

impl Printer {
    /// Creates a printer. `timestamp`: a format, or empty for the usual one.
    pub(super) fn new(form: LineFormat, timestamp: Option<&str>, highlight: Option<&str>) -> Self {
        let stamper =
            |format: &str| Stamper::new(DateFormat::parse(if format.is_empty() { TIMESTAMP } else { format }), TimeZone::system());
        Self {
            form,
            stamper: timestamp.map(stamper),
            pairs_stamper: stamper("YYYY-MM-DD-HH:mm:ssZZ"),
            highlight: highlight.filter(|word| !word.is_empty()).map(str::to_owned),
            widest: 0,
            undates_daemon: false,
            packets: BusPackets::default(),
            only: None,
            reported: None,
            open: None,
            own: None,
        }
    }

    /// Prints in ostler's own look.
    #[must_use]
    pub(super) fn in_own_look(self, out: &Out) -> Self {
        self.with_view(&out.view())
    }

    /// Prints in ostler's own look, for this view.
    #[must_use]
    pub(super) fn with_view(mut self, view: &View) -> Self {
        self.own = Some(OwnLines::new(view.clone(), self.stamper.take()));
        self
    }

    /// Returns the state of ostler's own look, if it is used for lines.
    pub(super) fn own(&mut self) -> Option<&mut OwnLines> {
        self.own.as_mut().filter(|_| self.form == LineFormat::Own)
    }

    /// Returns true if lines of the past are shown in the order of their times.
    pub(super) fn merges(&self) -> bool {
        self.own.is_some() && matches!(self.form, LineFormat::Own | LineFormat::Raw)
    }

    /// Adds the instances that the filter selects, and the logs that may be shown.
    pub(super) fn add_instances<'a>(&mut self, list: &[Summary], filter: &LogFilter, sources: impl Iterator<Item = &'a Source>) {
        if let Some(own) = self.own() {
            own.add_sources(sources);
            own.add_instances(filter.instances(list).into_iter());
        }
    }

    /// Applies the present size of the terminal.
    pub(super) fn refresh(&mut self, out: &Out) {
        self.own().into_iter().for_each(|own| own.refresh(out));
    }

    /// Returns the time that a line carries or at which it was received; none in PM2's look. The
    /// time of an earlier line is not shown as that of this one.
    fn past_time(&self, line: &Line<'_>) -> Option<u64> {
        let zone = self.own.as_ref()?.zone();
        match line.time {
            LineTime::After(_) | LineTime::Unknown => line_time(line.text, zone),
            LineTime::Carried(_) | LineTime::Received(_) => line.time.at_ms(),
        }
    }

    /// Shows only those new lines that match.
    pub(super) fn show_only(&mut self, pattern: Pattern) {
        self.only = Some(pattern);
    }

    /// Reports the position of each line, and from where files are read.
    pub(super) fn report_positions(&mut self) {
        self.reported = Some(HashMap::new());
    }

    /// Removes the daemon's own dates, because the date before each line already covers the
    /// daemon's lines.
    #[must_use]
    pub(super) fn dating_the_daemon_itself(mut self) -> Self {
        self.undates_daemon = true;
        self
    }

    /// Prints `[TAILING] …`.
    pub(super) fn heading(&self, out: &mut Out, lines: u64, targets: &[String]) {
        let noun = if targets == ["all"] { "processes" } else { "process" };
        let text =
            format!("[TAILING] Tailing last {lines} lines for [{}] {noun} (change the value with --lines option)", targets.join(" "));
        let text = out.paint().with(GREY.bold(), text).to_string();
        out.line(text);
    }

    /// Prints `<path> last <n> lines:`.
    pub(super) fn file_heading(&self, out: &mut Out, source: &Source, lines: u64) {
        let text = out.paint().with(GREY, format!("{} last {lines} lines:", shown(&source.path.to_string_lossy()))).to_string();
        out.line(text);
    }

    /// Prints a line of the past.
    pub(super) fn past(&mut self, out: &mut Out, source: &Source, line: &Line<'_>) {
        match self.form {
            LineFormat::Own => self.own_line(out, source, line, self.past_time(line)),
            LineFormat::Pairs if self.own.is_some() => self.pairs(out, source, line, self.past_time(line)),
            LineFormat::Labelled | LineFormat::Session | LineFormat::Project | LineFormat::Pairs => {
                let label = label(source);
                let cut: String = label.chars().take(TAIL_LABEL).collect();
                self.labelled(out, source, &format!("{cut:<TAIL_LABEL$} | "), line);
            }
            LineFormat::Raw => self.raw(out, source, line),
            LineFormat::Json => past_json_line(out, source, line),
            // The bus carries no lines of the past.
            LineFormat::Bus => {}
        }
    }

    /// Prints a line that was just written.
    pub(super) fn present(&mut self, out: &mut Out, source: &Source, read: &Line<'_>) {
        if self.only.as_ref().is_some_and(|only| !only.is_match(read.text)) {
            return;
        }
        let now = now_ms();
        match self.form {
            LineFormat::Own => self.own_line(out, source, read, Some(now)),
            LineFormat::Labelled => {
                let label = label(source);
                self.widest = self.widest.max(label.chars().count());
                self.date(out, source, now);
                let width = self.widest;
                let text = if self.undates_daemon && source.kind == LogKind::Daemon { undated(read.text) } else { read.text };
                self.labelled(out, source, &format!("{label:<width$} | "), &Line { text, ..*read });
            }
            LineFormat::Session => {
                self.date(out, source, now);
                self.labelled(out, source, &format!("{}-{}  | ", shown(&source.name), source.id), read);
            }
            LineFormat::Project => {
                let label = service_label(source);
                self.widest = self.widest.max(label.chars().count());
                self.date(out, source, now);
                let width = self.widest;
                let paint = out.paint();
                let style = app_style(&source.name);
                let bar = if source.kind == LogKind::Error { styles::RED } else { style };
                let head = format!("{} {} ", paint.with(style, format!("{label:<width$}")), paint.with(bar, '|'));
                if !self.continues(source) {
                    self.end_open(out);
                    out.data(head.as_bytes());
                }
                out.data(read.text);
                self.end(out, source, read);
            }
            LineFormat::Raw => self.raw(out, source, read),
            LineFormat::Json if self.reported.is_some() => json_line_at(out, source, read, now),
            LineFormat::Json => json_line(out, source, read, now),
            LineFormat::Pairs => self.pairs(out, source, read, Some(now)),
            LineFormat::Bus => self.packets.line(out, &source.path, read, &frame(source, read, now)),
        }
    }

    /// Reports from where files are read, if positions are reported.
    pub(super) fn places(&mut self, out: &mut Out, followers: &[Follower]) {
        if self.form == LineFormat::Bus {
            followers.iter().for_each(|follower| self.packets.places(out, &follower.source.path, &follower.places()));
        }
        let Some(reported) = &mut self.reported else { return };
        for follower in followers {
            let (path, places) = (&follower.source.path, follower.places());
            // Each line already carries its end position: only positions of other files are new.
            let files = |places: &[ReadPosition]| places.iter().map(|place| (place.key, place.since_ms)).collect::<Vec<_>>();
            if reported.get(path).is_none_or(|known| files(known) != files(&places)) {
                let all = LogPlaces { at_ms: now_ms(), files: places.iter().map(|place| log_place(source_path(path), *place)).collect() };
                out.data(format!("{}\n", json!({ "places": all })).as_bytes());
                reported.insert(path.clone(), places);
            }
        }
    }

    /// Reports that reading begins, if positions are reported.
    pub(super) fn begin(&mut self, out: &mut Out, reported: &LogPlaces) {
        if self.form == LineFormat::Bus {
            self.packets.begin(out, reported);
        }
    }

    fn date(&mut self, out: &mut Out, source: &Source, now: u64) {
        if self.continues(source) {
            return;
        }
        self.end_open(out);
        if let Some(stamper) = &mut self.stamper {
            let date = String::from_utf8_lossy(stamper.stamp(now)).into_owned();
            let text = out.paint().with(GREY.dimmed(), format!("{date} ")).to_string();
            out.data(text.as_bytes());
        }
    }

    /// Prints an event of an app in the formats for programs. In ostler's own look, it becomes a
    /// marker between lines.
    pub(super) fn happened(&mut self, out: &mut Out, event: &Event) {
        if self.only.is_none()
            && let Some(own) = self.own()
        {
            own.apply(event);
        }
        if self.form == LineFormat::Json
            && let Some(word) = event.kind.pm2_word()
        {
            let line = json!({ "timestamp": iso(event.at_ms), "type": "process_event", "status": word, "app_name": event.app });
            out.data(format!("{line}\n").as_bytes());
        }
    }

    /// Returns true if markers are to be shown.
    pub(super) fn has_markers(&mut self) -> bool {
        self.own().is_some_and(|own| own.has_markers())
    }

    /// Shows the markers of the events so far, after the lines before them.
    pub(super) fn show_markers(&mut self, out: &mut Out) {
        if self.has_markers() {
            self.end_open(out);
            self.own().into_iter().for_each(|own| own.show_markers(out));
        }
    }

    /// Returns true if this log has left its line open and nothing was printed since.
    fn continues(&self, source: &Source) -> bool {
        self.open.as_ref().is_some_and(|(path, _)| *path == source.path)
    }

    /// Closes the line that a log has left open.
    fn end_open(&mut self, out: &mut Out) {
        match self.open.take() {
            Some((_, true)) => out.data_err(b"\n"),
            Some((_, false)) => out.data(b"\n"),
            None => {}
        }
    }

    /// Closes a line, or leaves it open if its end has not arrived yet.
    fn end(&mut self, out: &mut Out, source: &Source, line: &Line<'_>) {
        let on_stderr = self.form == LineFormat::Raw && source.kind == LogKind::Error;
        self.open = Some((source.path.clone(), on_stderr));
        if !line.is_partial {
            self.end_open(out);
        }
    }

    fn raw(&mut self, out: &mut Out, source: &Source, line: &Line<'_>) {
        if !self.continues(source) {
            self.end_open(out);
        }
        let on_stderr = source.kind == LogKind::Error;
        if line.is_partial {
            if on_stderr {
                out.data_err(line.text)
            } else {
                out.data(line.text)
            }
            self.open = Some((source.path.clone(), on_stderr));
            return;
        }
        self.open = None;
        let mut whole = line.text.to_vec();
        whole.push(b'\n');
        if on_stderr { out.data_err(&whole) } else { out.data(&whole) }
    }

    fn labelled(&mut self, out: &mut Out, source: &Source, label: &str, line: &Line<'_>) {
        let style = match source.kind {
            LogKind::Out => styles::GREEN,
            LogKind::Error => styles::RED,
            LogKind::Daemon => BLUE,
        };
        let paint = out.paint();
        if !self.continues(source) {
            self.end_open(out);
            out.data(paint.with(style, label).to_string().as_bytes());
        }
        self.text(out, line.text);
        self.end(out, source, line);
    }

    /// Prints a line in ostler's own look. `received_ms`: its time, unless it starts with another
    /// date.
    pub(super) fn own_line(&mut self, out: &mut Out, source: &Source, line: &Line<'_>, received_ms: Option<u64>) {
        let is_rest = self.continues(source);
        if !is_rest {
            self.end_open(out);
        }
        let Some(own) = &mut self.own else { return };
        let dated = match is_rest {
            true => DatedText::rest(source.kind, line.text),
            false => DatedText::of(source.kind, line.text, own.zone()),
        };
        if !is_rest {
            own.label(out, source, &dated, OwnLines::time_of(&dated, received_ms));
        }
        self.text(out, dated.text);
        self.own.iter().for_each(|own| own.end_colours(out, dated.text));
        self.end(out, source, line);
    }

    /// Prints the text of a line, with the highlighted word.
    fn text(&self, out: &mut Out, text: &[u8]) {
        let paint = out.paint();
        let marked = self.highlight.as_ref().and_then(|word| Some((memchr::memmem::find(text, word.as_bytes())?, word)));
        match marked {
            Some((at, word)) => {
                out.data(&text[..at]);
                out.data(paint.with(MARK, word).to_string().as_bytes());
                out.data(&text[at + word.len()..]);
            }
            None => out.data(text),
        }
    }

    fn pairs(&mut self, out: &mut Out, source: &Source, line: &Line<'_>, at_ms: Option<u64>) {
        let mut head = b"timestamp=".to_vec();
        head.extend_from_slice(at_ms.map(|at_ms| self.pairs_stamper.stamp(at_ms)).unwrap_or_default());
        let mut rest = String::new();
        let partial = if line.is_partial { " partial=true" } else { "" };
        let _ = match source.kind {
            LogKind::Out => write!(rest, " app={} id={} type=out{partial} message=", shown(&source.name), source.id),
            LogKind::Error => write!(rest, " app={} id={} type=error{partial} message=", shown(&source.name), source.id),
            LogKind::Daemon => write!(rest, " app=pm2 type=out{partial} message="),
        };
        head.extend_from_slice(rest.as_bytes());
        out.data(&head);
        out.data(line.text);
        out.data(b"\n");
    }
}

/// Returns a line as a frame of PM2's bus. A piece of a line has no newline.
fn frame(source: &Source, line: &Line<'_>, at_ms: u64) -> Vec<u8> {
    let topic = if source.kind == LogKind::Error { "log:err" } else { "log:out" };
    let process = json!({ "pm_id": source.id, "name": source.name, "rev": source.revision, "namespace": source.namespace });
    let mut data = String::from_utf8_lossy(line.text).into_owned();
    if line.is_partial {
        return rpc::event(topic, &json!({ "process": process, "at": at_ms, "data": data, "partial": true }));
    }
    data.push('\n');
    rpc::event(topic, &json!({ "process": process, "at": at_ms, "data": data }))
}

/// Removes `<date>: PM2 log: ` from a line of the daemon's log.
fn undated(line: &[u8]) -> &[u8] {
    const HEAD: &[u8] = b": PM2 log: ";
    let longest_head = &line[..line.len().min(64)];
    memchr::memmem::find(longest_head, HEAD).map_or(line, |at| &line[at + HEAD.len()..])
}

fn label(source: &Source) -> String {
    match source.kind {
        LogKind::Daemon => source.name.clone(),
        LogKind::Out | LogKind::Error => format!("{}|{}", source.id, shown(&source.name)),
    }
}

/// Returns the label of an app of a project: its name within the project, and its id.
fn service_label(source: &Source) -> String {
    let own = source.name.strip_prefix(&source.namespace).and_then(|rest| rest.strip_prefix('-')).filter(|own| !own.is_empty());
    format!("{}-{}", shown(own.unwrap_or(&source.name)), source.id)
}

/// Returns the wall clock, ms since the epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Returns the path of a log as it is reported. Paths come from JSON, so they are UTF-8.
fn source_path(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn log_place(path: String, ReadPosition { key: (dev, ino), end, since_ms }: ReadPosition) -> LogPlace {
    LogPlace { path, dev, ino, end, since_ms }
}

/// Prints a line as an object with the member `place`.
fn json_line_at(out: &mut Out, source: &Source, line: &Line<'_>, at_ms: u64) {
    let object = if is_ours(line.text) { serde_json::from_slice(line.text).ok() } else { None };
    let mut object = object.unwrap_or_else(|| json_object(source, line, Some(at_ms)));
    if let Some(place) = line.place {
        object["place"] = json!(log_place(source_path(&source.path), place));
    }
    out.data(format!("{object}\n").as_bytes());
}

fn json_line(out: &mut Out, source: &Source, line: &Line<'_>, now: u64) {
    json_or_own(out, line, || json_object(source, line, Some(now)));
}

/// Prints a line of the past, with its time and how that is known.
fn past_json_line(out: &mut Out, source: &Source, line: &Line<'_>) {
    let is_pm2 = out.is_pm2();
    json_or_own(out, line, || {
        let mut object = json_object(source, line, line.time.at_ms());
        if !is_pm2 {
            object["time_from"] = json!(line.time.word());
        }
        if let Some((from, to)) = line.time.interval_ms() {
            object["received_between"] = json!([iso(from), iso(to)]);
        }
        object
    });
}

/// Prints an object, unless the line itself is such an object.
fn json_or_own(out: &mut Out, line: &Line<'_>, object: impl FnOnce() -> serde_json::Value) {
    if is_ours(line.text) {
        out.data(line.text);
        out.data(b"\n");
        return;
    }
    out.data(format!("{}\n", object()).as_bytes());
}

fn json_object(source: &Source, line: &Line<'_>, at_ms: Option<u64>) -> serde_json::Value {
    let kind = if source.kind == LogKind::Error { "err" } else { "out" };
    let mut object = json!({
        "message": String::from_utf8_lossy(line.text),
        "timestamp": at_ms.map(iso),
        "type": kind,
        "process_id": source.id,
        "app_name": source.name,
    });
    if source.kind == LogKind::Daemon {
        object["process_id"] = "pm2".into();
    }
    if line.is_partial {
        object["partial"] = true.into();
    }
    object
}

/// Returns true if the line is already such an object (`log_type: json`).
fn is_ours(line: &[u8]) -> bool {
    line.first() == Some(&b'{')
        && memchr::memmem::find(line, b"\"app_name\"").is_some()
        && serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(line)
            .is_ok_and(|map| ["message", "timestamp", "type", "process_id", "app_name"].iter().all(|key| map.contains_key(*key)))
}

pub(super) fn iso(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{stamp:.3}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_log_objects_are_not_wrapped_again() {
        let ours = br#"{"message":"x","timestamp":"2026-11-21T00:00:00.000Z","type":"out","process_id":0,"app_name":"api"}"#;
        assert!(is_ours(ours));
        for other in [&b"{}"[..], b"plain", b"{\"app_name\":1}", b"{\"message\":\"\\\"app_name\\\"\"", b"[\"app_name\"]"] {
            assert!(!is_ours(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn times_are_iso_with_milliseconds() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_795_235_209_293), "2026-11-21T04:26:49.293Z");
    }

    #[test]
    fn daemon_log_lines_are_dated_once() {
        for (line, expected) in [
            ("2026-11-21T06:53:54: PM2 log: Stopping app:a id:0", "Stopping app:a id:0"),
            ("2026-11-21T06:53:54: PM2 error: no", "2026-11-21T06:53:54: PM2 error: no"),
            ("ostler keeper: x", "ostler keeper: x"),
            ("", ""),
        ] {
            assert_eq!(undated(line.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn printed_lines_carry_id_and_name() {
        let source = |kind, name: &str| Source {
            path: "/x".into(),
            kind,
            id: 3,
            name: name.into(),
            namespace: "default".into(),
            revision: Some("8bd0".into()),
            rights: None,
        };
        let frame = String::from_utf8(frame(&source(LogKind::Error, "api"), &Line::past(b"x"), 5)).unwrap();
        assert!(
            frame.contains(r#"{"process":{"pm_id":3,"name":"api","rev":"8bd0","namespace":"default"},"at":5,"data":"x\n"}"#),
            "{frame}"
        );
        let partial = Line { is_partial: true, ..Line::past(b"x") };
        let frame = String::from_utf8(super::frame(&source(LogKind::Out, "api"), &partial, 5)).unwrap();
        assert!(frame.contains(r#""at":5,"data":"x","partial":true}"#), "{frame}");
        assert_eq!(json_object(&source(LogKind::Out, "api"), &partial, None)["partial"], true);
        assert_eq!(json_object(&source(LogKind::Out, "api"), &Line::past(b"x"), None).get("partial"), None);
        assert_eq!(label(&source(LogKind::Error, "api")), "3|api");
        let of = |name: &str, namespace: &str| service_label(&Source { namespace: namespace.into(), ..source(LogKind::Out, name) });
        assert_eq!((of("shop-api", "shop"), of("api", "shop"), of("shop-", "shop")), ("api-3".into(), "api-3".into(), "shop--3".into()));
        assert_eq!(label(&source(LogKind::Daemon, "PM2")), "PM2");
    }
}
