//! Search in logs: files of the binary, and their checks.

#[path = "../../../ostler/src/logs/search/expression.rs"]
mod expression;
#[path = "../../../ostler/src/logs/search/pattern.rs"]
mod pattern;
#[path = "../../../ostler/src/logs/search/time.rs"]
mod time;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use pattern::Pattern;

/// Checks a search: the pattern on the first line, and the lines of a log. A search of all lines at
/// once finds what a search line by line finds.
pub fn log_search(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (text, log) = (String::from_utf8_lossy(&bytes[..at]), bytes.get(at + 1..).unwrap_or_default());
    for (is_regex, ignores_case) in [(false, false), (false, true), (true, false), (true, true)] {
        let pattern = match Pattern::new(&text, is_regex, ignores_case) {
            Ok(pattern) => pattern,
            Err(error) => {
                let message = error.to_string();
                assert!(is_regex || text.len() > 1000, "{message}");
                assert!(!message.contains('\n') && !message.is_empty(), "{message:?}");
                continue;
            }
        };
        let mut start = 0;
        let mut expected = Vec::new();
        for line in log.split(|byte| *byte == b'\n') {
            if start < log.len() && pattern.is_match(line) {
                expected.push(start..start + line.len());
            }
            start += line.len() + 1;
        }
        let mut found = Vec::new();
        pattern.lines(log, 0..log.len(), &mut |line| {
            found.push(line);
            true
        });
        assert_eq!(found, expected, "{text:?} {is_regex} {ignores_case}");
        // A part of a log: only matches that begin in it count.
        let range = log.len() / 3..log.len() / 2;
        pattern.lines(log, range.clone(), &mut |line| {
            assert!(line.end >= range.start && expected.contains(&line), "{line:?} of {expected:?}");
            true
        });
    }
}

/// Checks the time in a log line, and a moment as a user enters it.
pub fn log_times(bytes: &[u8]) {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap_or(TimeZone::UTC);
    for line in bytes.split(|byte| *byte == b'\n').take(20) {
        let _ = time::line_time(line, &zone);
    }
    let text = String::from_utf8_lossy(bytes);
    let Ok(now) = Timestamp::from_second(1_795_600_000) else { return };
    let now: Zoned = now.to_zoned(zone);
    if let Some(ms) = time::moment(&text, &now) {
        assert_eq!(time::moment(&format!(" {text} "), &now), Some(ms), "blanks around it");
    }
}
