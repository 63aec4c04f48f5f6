//! Log lines of many hosts in the order of their times; each line once, even if a connection
//! breaks.
//!
//! With each line, the host sends the position in the log file after it (`logs --after`). After a
//! broken connection, the host gets these positions and sends what follows them.

use std::collections::BTreeMap;

use ostler_core::logs::line_date::without_date;
use ostler_core::message;
use ostler_fleet::{HostOutcome, Member};
use ostler_proto::pm2::{LogPlace, LogPlaces};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::connect::ConnectRules;
use super::host_command::{AnswerKind, HostCommand, script_for};
use super::host_states::HostStates;
use super::ordered::{self, HostOutput, LineKind};
use crate::cli::Call;
use crate::render::face::{AppLabels, LogColumns, LogLabel, TIME_WIDTHS, app_style};
use crate::render::{Out, View};
use crate::text::shown;

/// Longest list of positions that fits into one quoted word of a command line (128 KiB).
const MAX_PLACES_BYTES: usize = 100 << 10;

/// Shows the lines until the hosts are done, or without an end if it follows.
pub(super) fn run(
    out: &mut Out,
    host_states: HostStates<'_>,
    members: &[Member],
    command: &HostCommand,
    rules: ConnectRules,
    call: &Call,
) -> Vec<HostOutcome> {
    let follows = command.kind == AnswerKind::Logs { follow: true };
    let mut words = command.words.clone();
    if follows {
        words.push("--after".into());
    }
    let script = |member: &Member| script_for(member, &words, None, false);
    let places = members.iter().map(|_| HostPositions::default()).collect();
    let labels = members.iter().map(|_| AppLabels::default()).collect();
    let logs = LogLines { members, words: &words, places, labels, names: 0, raw: call.has("raw") };
    ordered::run(HostOutput { host_states, out, json: call.has("json"), follows }, logs, members, &script, rules)
}

/// Positions in the logs of one host.
#[derive(Default)]
struct HostPositions {
    is_known: bool,
    at_ms: u64,
    files: BTreeMap<String, Vec<LogPlace>>,
}

impl HostPositions {
    /// Replaces all positions of one log.
    fn set(&mut self, positions: LogPlaces) {
        if !std::mem::replace(&mut self.is_known, true) {
            self.at_ms = positions.at_ms;
        }
        if let Some(path) = positions.files.first().map(|place| place.path.clone()) {
            self.files.insert(path, positions.files);
        }
    }

    /// Updates the position after a line.
    fn advance(&mut self, place: LogPlace) {
        let all = self.files.entry(place.path.clone()).or_default();
        match all.iter_mut().find(|known| (known.dev, known.ino, known.since_ms) == (place.dev, place.ino, place.since_ms)) {
            Some(known) => known.end = place.end,
            None => all.push(place),
        }
    }

    /// Returns all positions as a word, or none if they are unknown or too many.
    fn word(&self) -> Option<String> {
        let all = LogPlaces { at_ms: self.at_ms, files: self.files.values().flatten().cloned().collect() };
        let text = serde_json::to_string(&all).ok()?;
        (self.is_known && text.len() <= MAX_PLACES_BYTES).then_some(text)
    }
}

struct LogLines<'a> {
    members: &'a [Member],
    words: &'a [String],
    places: Vec<HostPositions>,
    /// Labels of the apps of each host.
    labels: Vec<AppLabels>,
    /// Width of the widest name so far.
    names: usize,
    raw: bool,
}

impl LineKind for LogLines<'_> {
    fn parse(&mut self, output: &mut HostOutput<'_, '_>, host: usize, line: &[u8]) -> Option<(Option<u64>, Value)> {
        let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(line) else { return None };
        let places = self.places.get_mut(host)?;
        if let Some(positions) = object.remove("places") {
            if let Ok(positions) = serde_json::from_value(positions) {
                places.set(positions);
            }
            return None;
        }
        if output.follows
            && let Some(place) = object.remove("place").and_then(|place| serde_json::from_value(place).ok())
        {
            places.advance(place);
        }
        let object = Value::Object(object);
        Some((time_of(&object), object))
    }

    fn print(&mut self, output: &mut HostOutput<'_, '_>, host: usize, line: Value) {
        // Only the JSON form shows events.
        let Some(message) = line.get("message").and_then(Value::as_str) else { return };
        let view = output.out.view().narrower(output.host_states.prefix_width());
        output.out.data(output.host_states.prefix(host, view.paint).as_bytes());
        let at_ms = time_of(&line);
        if !self.raw {
            output.out.text(self.label(host, &line, at_ms, &view));
        }
        // The time is in its column already.
        let message = if self.raw || at_ms.is_none() { message } else { without_date(message) };
        output.out.data(format!("{message}\n").as_bytes());
    }

    /// Returns the script that continues at the positions of a host.
    fn on_lost(&mut self, output: &mut HostOutput<'_, '_>, host: usize) -> Option<String> {
        let (member, places) = (self.members.get(host)?, self.places.get(host)?);
        let name = output.host_states.name(host);
        let after = match places.word() {
            Some(word) => {
                output.out.warn_err(message!("{host}: connection lost; connecting again", host = name));
                format!("--after={word}")
            }
            None => {
                output.out.warn_err(message!("{host}: connection lost; connecting again. Lines from this gap may be missing", host = name));
                "--after".into()
            }
        };
        let kept = |word: &&String| !word.starts_with("--after") && !word.starts_with("--lines");
        let words: Vec<String> = self.words.iter().filter(kept).cloned().chain([after]).collect();
        Some(script_for(member, &words, None, false))
    }
}

/// Returns the time of a line, ms since the epoch.
fn time_of(line: &Value) -> Option<u64> {
    let time = line.get("timestamp")?.as_str()?.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

impl LogLines<'_> {
    /// Returns the columns before the text of a line: time, app, and a mark for standard error.
    fn label(&mut self, host: usize, line: &Value, at_ms: Option<u64>, view: &View) -> String {
        let app = line.get("app_name").and_then(Value::as_str).unwrap_or_default();
        let id = line.get("process_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let name = match self.labels.get_mut(host) {
            Some(labels) => {
                labels.add(app, id.unwrap_or(0));
                labels.of(app, id)
            }
            None => shown(app),
        };
        self.names = self.names.max(name.width());
        let is_today = |at_ms: u64| view.date(at_ms) == view.date(view.now_ms);
        let time = |at_ms: u64| if is_today(at_ms) { view.time_of_day_ms(at_ms) } else { view.short_time(at_ms) };
        let time = at_ms.map(time).unwrap_or_default();
        let is_error = line.get("type").and_then(Value::as_str) == Some("err");
        let label = LogLabel { time: &time, name: &name, style: app_style(app), is_error, is_continued: false };
        LogColumns::new(view.width, &TIME_WIDTHS, self.names).label(&label, view.paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_places_advance_across_rotation() {
        let place = |path: &str, ino: u64, end: u64| LogPlace { path: path.into(), dev: 1, ino, end, since_ms: 0 };
        let mut places = HostPositions::default();
        assert_eq!(places.word(), None);
        places.set(LogPlaces { at_ms: 7, files: vec![place("/a", 1, 10)] });
        places.set(LogPlaces { at_ms: 9, files: vec![place("/b", 2, 0)] });
        places.advance(place("/a", 1, 20));
        places.advance(place("/a", 3, 5));
        let word: LogPlaces = serde_json::from_str(&places.word().unwrap()).unwrap();
        assert_eq!(word, LogPlaces { at_ms: 7, files: vec![place("/a", 1, 20), place("/a", 3, 5), place("/b", 2, 0)] });
        // The old file was read to its end: the log is one file again.
        places.set(LogPlaces { at_ms: 9, files: vec![place("/a", 3, 6)] });
        assert_eq!(places.files["/a"], [place("/a", 3, 6)]);
        (0..2000).for_each(|n| places.advance(place(&format!("/srv/logs/app-{n}.log"), n, 0)));
        assert_eq!(places.word(), None, "longer than a word may be");
    }
}
