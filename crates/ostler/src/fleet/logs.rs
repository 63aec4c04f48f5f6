//! Log lines of many hosts in the order of their times; each line once, even if a connection
//! breaks.
//!
//! With each line, the host sends the position in the log file after it (`logs --after`). After a
//! broken connection, the host gets these positions and sends what follows them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ostler_fleet::{HostOutcome, Interleave, Member, TimedLine, merge};
use ostler_proto::pm2::{LogPlace, LogPlaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::connect::{self, ConnectRules, HostEvent, HostListener};
use super::host_command::{AnswerKind, HostCommand, script_for};
use super::host_states::{HostStates, HostUpdate};
use crate::cli::Call;
use crate::render::{Out, styles};

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
    if call.has("json") {
        out.data_only();
    }
    let follows = command.kind == AnswerKind::Logs { follow: true };
    let mut words = command.words.clone();
    if follows {
        words.push("--after".into());
    }
    let mut logs = LogReceiver {
        host_states,
        out,
        members,
        words: words.clone(),
        places: members.iter().map(|_| HostPositions::default()).collect(),
        order: Interleave::default(),
        json: call.has("json"),
        raw: call.has("raw"),
        follows,
    };
    let script = |member: &Member| script_for(member, &words, None, false);
    connect::run(members, 0..members.len(), &script, rules, &mut logs);
    while let Some((host, line)) = logs.order.next_immediately() {
        logs.show(host, &line);
    }
    let LogReceiver { host_states, out, .. } = logs;
    host_states.conclude(out)
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

struct LogReceiver<'a, 'b> {
    host_states: HostStates<'a>,
    out: &'b mut Out,
    members: &'a [Member],
    words: Vec<String>,
    places: Vec<HostPositions>,
    order: Interleave<Value>,
    json: bool,
    raw: bool,
    follows: bool,
}

impl LogReceiver<'_, '_> {
    fn line(&mut self, host: usize, line: &[u8]) {
        let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(line) else { return };
        let Some(places) = self.places.get_mut(host) else { return };
        if let Some(positions) = object.remove("places") {
            if let Ok(positions) = serde_json::from_value(positions) {
                places.set(positions);
            }
            return;
        }
        if self.follows
            && let Some(place) = object.remove("place").and_then(|place| serde_json::from_value(place).ok())
        {
            places.advance(place);
        }
        let time = object.get("timestamp").and_then(Value::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let at_ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        self.order.push(TimedLine { host, at_ms, line: Value::Object(object) }, Instant::now());
    }

    fn show(&mut self, host: usize, line: &Value) {
        let Some(object) = line.as_object() else { return };
        if self.json {
            self.out.data(format!("{}\n", merge::with_host(&self.host_states.name(host), object.clone())).as_bytes());
            return;
        }
        // Only the JSON form shows events.
        let Some(message) = object.get("message").and_then(Value::as_str) else { return };
        let paint = self.out.paint();
        let mut text = self.host_states.prefix(host, paint);
        if !self.raw {
            let name = object.get("app_name").and_then(Value::as_str).unwrap_or_default();
            let label = match object.get("process_id") {
                Some(Value::Number(id)) => format!("{id}|{name} |"),
                _ => format!("{name} |"),
            };
            let style = match object.get("type").and_then(Value::as_str) {
                Some("err") => styles::RED,
                _ => styles::GREEN,
            };
            text += &format!("{} ", paint.with(style, label));
        }
        self.out.data(format!("{text}{message}\n").as_bytes());
    }

    /// Returns the script that continues at the positions of a host.
    fn reconnect_script(&mut self, host: usize) -> Option<String> {
        let (member, places) = (self.members.get(host)?, self.places.get(host)?);
        let name = self.host_states.name(host);
        let after = match places.word() {
            Some(word) => {
                self.out.warn_err(format_args!("{name}: connection lost; connecting again"));
                format!("--after={word}")
            }
            None => {
                self.out.warn_err(format_args!("{name}: connection lost; connecting again. Lines from this gap may be missing"));
                "--after".into()
            }
        };
        let kept = |word: &&String| !word.starts_with("--after") && !word.starts_with("--lines");
        let words: Vec<String> = self.words.iter().filter(kept).cloned().chain([after]).collect();
        Some(script_for(member, &words, None, false))
    }
}

impl HostListener for LogReceiver<'_, '_> {
    fn on_event(&mut self, host: usize, event: HostEvent) {
        match self.host_states.take(self.out, host, event) {
            HostUpdate::Line(line) => self.line(host, &line),
            HostUpdate::Lost(answer) => {
                if let Some(script) = self.reconnect_script(host) {
                    let _ = answer.send(script);
                }
            }
            HostUpdate::Back => self.out.warn_err(format_args!("{}: connected again", self.host_states.name(host))),
            // A command that follows never prints a summary, so the outcome is printed at once.
            HostUpdate::Ended if self.follows => self.host_states.report(self.out, host),
            HostUpdate::Ended | HostUpdate::Nothing => {}
        }
    }

    fn on_tick(&mut self) -> Option<Duration> {
        if !self.follows {
            return None;
        }
        let now = Instant::now();
        while let Some((host, line)) = self.order.pop(now) {
            self.show(host, &line);
        }
        self.out.flush();
        self.order.wait(now)
    }

    fn is_over(&self) -> bool {
        self.out.is_closed() || self.follows && has_no_reader()
    }
}

/// Returns true if the reader of our output is gone.
pub(super) fn has_no_reader() -> bool {
    let stdout = std::io::stdout();
    // The poll requests no events on stdout, so it reports only that the reader is gone.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
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
