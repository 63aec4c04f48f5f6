//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::app::args::split;
use crate::cron::Schedule;
use crate::errors::{Exception, ReportReader, pattern};
use crate::health::probe::{ProbeResponse, Status};
use crate::logs::date_format::{DateFormat, Stamper};
use crate::logs::error_lines::{pick, taken_port};
use crate::logs::line_date::{date_length, without_date};
use crate::logs::line_times::thin::{MOST_ENTRIES, thinned};
use crate::logs::line_times::{self, ENTRY_BYTES, Entry, LineTimes};
use crate::logs::masking::{MASK, mask, masked, secrets};
use crate::text::units;
use crate::watch::{GitIgnore, Glob, is_glob, split_base};

/// Takes eight bytes from the start as a number.
fn number(bytes: &mut &[u8]) -> u64 {
    let (head, rest) = bytes.split_at(bytes.len().min(8));
    *bytes = rest;
    head.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// Splits a text at its first line end.
fn first_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// Checks a cron pattern: its runs are whole seconds in the future, and no run is skipped.
pub fn cron(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let schedule = match Schedule::parse(&text) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(error.to_string().len() <= 8 * text.len() + 400, "a short message"),
    };
    assert_eq!(Schedule::parse(&format!(" {text}\t")), Ok(schedule.clone()), "with blanks around it");
    // A zone with a summer time, without a zone file.
    let summer = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap_or(TimeZone::UTC);
    for zone in [TimeZone::UTC, summer] {
        // 2026: an instant before a leap, one in each of the nights that change the offset, and the
        // last instants.
        for at in [0, 1_772_150_400_123, 1_774_745_999_000, 1_792_889_999_999, 253_402_207_100_000, u64::MAX] {
            let Some(next) = schedule.next_after(at, &zone) else { continue };
            assert!(next > at && next.is_multiple_of(1000), "{at}: {next}");
            for between in [at + (next - at) / 2, next - 1] {
                assert_eq!(schedule.next_after(between, &zone), Some(next), "{at}, {between}");
            }
        }
    }
}

/// Checks a pattern (first line) and a path (second line): a slow matcher gives the same answer.
pub fn glob(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, path) = first_line(&text);
    let (base, rest) = split_base(pattern);
    assert!(pattern.starts_with(base) && pattern.ends_with(rest), "{base:?} {rest:?}");
    let glob = match Glob::below("/srv", pattern) {
        Ok(glob) => glob,
        Err(error) => return assert!(error.to_string().len() <= 8 * pattern.len().min(1000) + 400, "a short message"),
    };
    let matches = glob.matches(path.as_bytes());
    assert_eq!(glob.matches(format!("//{path}//").as_bytes()), matches, "slashes around it");
    let is_simple = pattern.is_ascii() && path.is_ascii() && !pattern.contains(['[', '{', '\\', '(']) && pattern.len() * path.len() < 4000;
    let names = |text: &str| text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let segments = if pattern.starts_with('/') { names(pattern) } else { names(&format!("/srv/{pattern}")) };
    if is_simple && !segments.iter().any(|name| name == "." || name == "..") {
        assert_eq!(matches, slow_match(&segments, &names(path)), "{segments:?} {path:?}");
    }
    if !is_glob(pattern) && pattern.starts_with('/') && !pattern.contains(['\\', '[', '{', '(']) && !pattern.contains("/.") {
        assert!(glob.matches(pattern.as_bytes()), "a plain path matches itself");
    }
}

fn slow_match(segments: &[String], names: &[String]) -> bool {
    match (segments.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((star, rest)), _) if star == "**" => (0..=names.len()).any(|taken| slow_match(rest, &names[taken..])),
        (Some((pattern, rest)), Some((name, more))) => slow_name(pattern.as_bytes(), name.as_bytes()) && slow_match(rest, more),
        _ => false,
    }
}

/// Matches one name by a table: entry `at` is whether the pattern so far matches the first `at`
/// bytes.
fn slow_name(pattern: &[u8], name: &[u8]) -> bool {
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for token in pattern {
        if *token == b'*' {
            (1..=name.len()).for_each(|at| reach[at] |= reach[at - 1]);
        } else {
            (1..=name.len()).rev().for_each(|at| reach[at] = reach[at - 1] && (*token == b'?' || *token == name[at - 1]));
            reach[0] = false;
        }
    }
    reach[name.len()]
}

/// Checks a path (first line) and a `.gitignore` (the rest): line ends do not matter, and without a
/// `!` nothing is included.
pub fn gitignore(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (path, file) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let git = GitIgnore::parse(file);
    let other = GitIgnore::parse(&[file, b"\n"].concat());
    for is_folder in [false, true] {
        let verdict = git.verdict(path, is_folder);
        assert!(verdict != Some(false) || file.contains(&b'!'), "nothing is included");
        assert!(verdict.is_none() || !git.is_empty());
        assert_eq!(other.verdict(path, is_folder), verdict, "with a line end");
    }
}

/// Checks sizes, durations and percentages: what is read can be written and read again.
pub fn units(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = bytes;
    for count in [number(&mut rest), number(&mut rest) >> 20] {
        assert_eq!(units::millis(&units::millis_text(count)), Ok(count));
        assert_eq!(units::bytes(&units::bytes_text(count)), Ok(count));
        assert!(units::size_text(count).len() < 20 && units::in_seconds(count).len() < 30);
    }
    match units::millis(&text) {
        Ok(ms) => assert_eq!(units::millis(&units::millis_text(ms)), Ok(ms)),
        Err(error) => assert!(error.to_string().len() < 800, "a short message"),
    }
    match units::bytes(&text) {
        Ok(count) => assert_eq!(units::bytes(&units::bytes_text(count)), Ok(count)),
        Err(error) => assert!(error.to_string().len() < 800, "a short message"),
    }
    assert!(units::percent(&text).is_none_or(f64::is_finite));
    let _ = units::whole_percent(&text);
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        let _ = (units::whole(&value), units::millis_of(&value), units::bytes_of(&value));
    }
}

/// Checks a date format (after the first eight bytes, a time): the cache for successive lines writes
/// the same dates.
pub fn date_format(mut bytes: &[u8]) {
    // The last instant that a calendar has here.
    let at = number(&mut bytes) % 253_402_207_200_000;
    let text = String::from_utf8_lossy(bytes);
    let format = DateFormat::parse(&text);
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap_or(TimeZone::UTC);
    let mut stamper = Stamper::new(format.clone(), zone.clone());
    for at in [at, at.wrapping_add(1), at.wrapping_add(999), at >> 20, (at >> 20) + 1, 1_792_889_999_999, 1_792_890_000_000] {
        let mut whole = Vec::new();
        format.write(at, &zone, &mut whole);
        assert!(whole.len() <= 10 * text.len() + 10, "{} bytes", whole.len());
        assert_eq!(stamper.stamp(at), whole, "{at}");
        assert!(std::str::from_utf8(&whole).is_ok());
    }
}

/// Checks lines of an app's output: reports of errors in them are bounded, and the lines that
/// explain an exit are few.
pub fn error_reports(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let picked = pick(&lines);
    assert!(picked.len() <= 10 && picked.iter().map(String::len).sum::<usize>() <= 4096, "{} lines", picked.len());
    assert!(taken_port(&picked).is_none_or(|port| port > 0));
    for line in &lines {
        assert!(date_length(line) <= line.len() && line.ends_with(without_date(line)));
        assert!(pattern(line).len() <= 2 * line.len() + 10);
    }
    for settled in [1, 7, usize::MAX] {
        let mut reader = ReportReader::default();
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            reader.push(line);
            if reader.is_full() || at % settled == settled - 1 {
                found.extend(reader.take(false));
            }
            assert!(!reader.is_full(), "a search frees room");
        }
        found.extend(reader.take(true));
        assert!(reader.is_empty());
        for report in found {
            assert!(report.before.len() <= 10);
            is_bounded(&report.exception);
        }
    }
    if let Some(exception) = serde_json::from_slice(bytes).ok().and_then(|value: Value| Exception::reported(&value)) {
        is_bounded(&exception);
    }
}

fn is_bounded(exception: &Exception) {
    let Exception { kind, message, frames, route } = exception;
    assert!(kind.len() <= 200 && message.len() <= 1000 && frames.len() <= 30, "{exception:?}");
    assert!(!message.contains('\n') && route.as_ref().is_none_or(|route| !route.chars().any(char::is_control)));
    let _ = (exception.fingerprint(), exception.origin(), exception.culprit(), exception.is_of_a_stop());
}

/// Checks a response to a health check: its meaning does not depend on how it arrives, and a result
/// never changes.
pub fn probe_response(bytes: &[u8]) {
    let mut whole = ProbeResponse::default();
    whole.take(bytes);
    let (status, line) = (whole.status(), whole.body_line(true));
    if let Some(line) = &line {
        assert!(line.chars().count() <= 121 * 10 && !line.chars().any(char::is_control), "{line:?}");
    }
    let mut pieces = ProbeResponse::default();
    let (mut known, mut shown) = (None, None);
    for piece in bytes.chunks(7) {
        pieces.take(piece);
        let now = Some(pieces.status()).filter(|status| *status != Status::Unfinished);
        assert!(known.is_none() || now == known, "{known:?}, then {now:?}");
        known = now;
        shown = shown.or_else(|| pieces.body_line(false));
    }
    assert_eq!(pieces, whole);
    assert!(known.is_none_or(|known| known == status));
    assert!(shown.is_none() || shown == line, "{shown:?}, then {line:?}");
}

/// Checks a command line: it can be split, and quoted words stay the same.
pub fn command_line(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words = split(&text);
    assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
    let quoted = |word: &String| {
        let hide = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\');
        let escaped: String = word.chars().flat_map(|c| hide(c).then_some('\\').into_iter().chain([c])).collect();
        if escaped.is_empty() { "''".to_owned() } else { escaped }
    };
    let line = words.iter().map(quoted).collect::<Vec<_>>().join(" ");
    assert_eq!(split(&line), words, "{line:?}");
}

/// Checks the removal of secrets from a description of an app (JSON), and from a text.
pub fn masking(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = masked(&text, &[]);
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return };
    // A mask beside other text may look like a secret that contains a star.
    let found: Vec<String> = secrets(&value).into_iter().filter(|secret| !secret.contains('*')).collect();
    mask(&mut value, &found);
    assert!(!holds(&value, &found), "{found:?} in {value}");
    let masked = masked(&text, &found);
    assert!(!found.iter().any(|secret| masked.contains(secret)), "{found:?} in {masked:?}");
    assert!(masked.len() <= text.len() * (MASK.len() + 1));
}

fn holds(value: &Value, secrets: &[String]) -> bool {
    match value {
        Value::Object(map) => map.values().any(|value| holds(value, secrets)),
        Value::Array(list) => list.iter().any(|value| holds(value, secrets)),
        Value::String(text) => secrets.iter().any(|secret| text.contains(secret)),
        _ => false,
    }
}

/// Checks the index of a log's receive times: only its valid beginning counts, and it stays small.
pub fn line_times(bytes: &[u8]) {
    let entries = line_times::decode(bytes);
    let encoded: Vec<u8> = entries.iter().flat_map(|entry| entry.encode()).collect();
    assert!(bytes.starts_with(&encoded), "the entries are the beginning of the file");
    assert_eq!(line_times::decode(&encoded), entries);
    let thin = thinned(&entries);
    assert!(thin.len() <= MOST_ENTRIES / 2 && thin.len() <= entries.len());
    assert_eq!((thin.first(), thin.last()), (entries.first(), entries.last()), "both ends stay");
    let mut rest = bytes.get(encoded.len()..).unwrap_or_default();
    let end = Entry { length: number(&mut rest), at_ms: number(&mut rest) };
    assert!(line_times::cut(&entries, end.length).iter().all(|entry| entry.length <= end.length));
    let times = LineTimes::new(bytes, end);
    for at in [0, 1, end.length / 2, end.length.wrapping_sub(1), end.length, u64::MAX] {
        if let Some(received) = times.received(at) {
            assert!(received.from_ms.is_none_or(|from| from <= received.to_ms), "{received:?}");
            assert!(times.latest_ms(at).is_some_and(|latest| latest >= received.to_ms));
        }
        let _ = times.end_of(at);
    }
    assert!(encoded.len().is_multiple_of(ENTRY_BYTES));
}
