//! Frames of stacks, in the form of each language.

use super::{FRAME, FRAMES, Frame, cut};
use crate::logs::error_lines::{ReportFormat, is_cause, is_own};

/// Returns true for a line like `    at main (/srv/app.js:1:2)`.
pub(super) fn is_at(line: &str) -> bool {
    line.starts_with([' ', '\t']) && line.trim_start().starts_with("at ")
}

/// Returns the frames in the lines of one report, the innermost first.
pub(super) fn of(form: ReportFormat, lines: &[&str]) -> Vec<Frame> {
    let lines: Vec<&str> = lines.iter().map(|line| cut(line, 2 * FRAME)).collect();
    let lines = &lines[..];
    match form {
        ReportFormat::At => {
            let first = lines.iter().position(|line| is_at(line)).unwrap_or(lines.len());
            let until = lines[first..].iter().take_while(|line| !is_cause(line));
            until.filter(|line| is_at(line)).take(FRAMES).map(|line| at(line)).collect()
        }
        ReportFormat::Python => {
            let from = lines.iter().rposition(|line| line.starts_with("Traceback (")).unwrap_or(0);
            let places = lines[from..].iter().rev().filter(|line| line.trim_start().starts_with("File \""));
            places.take(FRAMES).filter_map(|line| python(line)).collect()
        }
        ReportFormat::Php => {
            let from = lines.iter().rposition(|line| line.starts_with("Next ")).unwrap_or(0);
            let thrown = lines.get(from).and_then(|line| php_head(line));
            thrown.into_iter().chain(lines[from..].iter().filter_map(|line| php(line))).take(FRAMES).collect()
        }
        ReportFormat::Ruby => {
            let thrown = lines.iter().take(1).filter_map(|line| ruby(line.split("': ").next()?));
            let calls = lines.iter().skip(1).map_while(|line| line.trim_start().strip_prefix("from "));
            thrown.chain(calls.filter_map(ruby)).take(FRAMES).collect()
        }
        ReportFormat::Go => go(lines),
        ReportFormat::Rust => rust(lines),
        ReportFormat::Perl => {
            let thrown = lines.iter().take(1).filter_map(|line| perl("", line, " at "));
            let calls = lines.iter().skip(1).filter_map(|line| {
                let name = line.trim_start().split(['(', ' ']).next().unwrap_or_default();
                perl(name, line, " called at ")
            });
            thrown.chain(calls).take(FRAMES).collect()
        }
    }
}

fn frame(function: &str, file: &str, line: Option<u32>, text: &str) -> Frame {
    let file = file.strip_prefix("file://").unwrap_or(file);
    Frame { function: cut(function.trim(), FRAME).to_owned(), file: cut(file.trim(), FRAME).to_owned(), line, own: is_own(text) }
}

/// Splits `file:12:5` or `file:12` into its parts.
fn place(text: &str) -> (&str, Option<u32>) {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let Some((rest, last)) = text.rsplit_once(':') else { return (text, None) };
    let Some(last) = number(last.trim_start_matches("line ")) else { return (text, None) };
    match rest.rsplit_once(':').and_then(|(file, line)| Some((file, number(line)?))) {
        Some((file, line)) => (file, Some(line)),
        None => (rest, Some(last)),
    }
}

/// Reads `at f (/srv/app.js:1:2)`, `at /srv/app.js:1:2`, `at a.b.C.m(C.java:3)`,
/// `at A.B() in /srv/a.cs:line 5`.
pub(super) fn at(text: &str) -> Frame {
    let call = text.trim().trim_end_matches(" {").strip_prefix("at ").unwrap_or_default();
    let call = call.strip_prefix("async ").unwrap_or(call);
    let (function, within) = match (call.rsplit_once(" in "), call.strip_suffix(')').and_then(|call| call.rsplit_once('('))) {
        (Some((function, within)), None) => (function, within),
        (_, Some((function, within))) => (function, within),
        _ => ("", call),
    };
    let (file, line) = place(within);
    // Node does not number these names; the suffix only shows the name under which a method was
    // called.
    let function = function.split(" [as ").next().unwrap_or_default();
    frame(function, file, line, text)
}

/// Reads `File "/srv/app.py", line 3, in f`.
fn python(text: &str) -> Option<Frame> {
    let rest = text.trim_start().strip_prefix("File \"")?;
    let (file, rest) = rest.split_once("\", line ")?;
    let (line, function) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some(frame(function, file, line.trim().parse().ok(), text))
}

/// Reads `… in /srv/a.php:2`, after the message.
fn php_head(text: &str) -> Option<Frame> {
    let (_, within) = text.rsplit_once(" in ")?;
    let (file, line) = match within.split_once(" on line ") {
        Some((file, line)) => (file, line.trim().parse().ok()),
        None => place(within.trim()),
    };
    file.contains('/').then(|| frame("", file, line, within))
}

/// Reads `#0 /srv/a.php(3): Db->get()`.
fn php(text: &str) -> Option<Frame> {
    let (number, rest) = text.strip_prefix('#')?.split_once(' ')?;
    let _: u32 = number.parse().ok()?;
    let (within, function) = rest.split_once(": ")?;
    let (file, line) = within.strip_suffix(')').and_then(|within| within.rsplit_once('(')).unwrap_or((within, ""));
    Some(frame(function.split('(').next().unwrap_or_default(), file, line.parse().ok(), rest))
}

/// Reads ``/srv/app.rb:5:in `connect'``.
fn ruby(text: &str) -> Option<Frame> {
    let (within, function) = text.split_once(":in ").unwrap_or((text, ""));
    let (file, line) = place(within);
    line?;
    Some(frame(function.trim_matches(['`', '\'', ' ', '\n']), file, line, text))
}

/// Reads a function with its arguments, and its location on the next line.
fn go(lines: &[&str]) -> Vec<Frame> {
    let Some(from) = lines.iter().position(|line| line.starts_with("goroutine ")) else { return Vec::new() };
    let pairs = lines[from + 1..].windows(2).take_while(|pair| !pair[0].starts_with("goroutine "));
    let frames = pairs.filter(|pair| !pair[0].starts_with('\t') && pair[1].starts_with('\t')).map(|pair| {
        let function = pair[0].rsplit_once('(').map_or(pair[0], |(name, _)| name);
        let (file, line) = place(pair[1].trim().split(" +0x").next().unwrap_or_default());
        let mut frame = frame(function, file, line, pair[1]);
        frame.own &= !function.starts_with("runtime.") && function != "panic";
        frame
    });
    frames.filter(|frame| frame.function != "panic").take(FRAMES).collect()
}

/// Reads `  1: main::connect`, and `at ./src/main.rs:1:23` on the next line. Without a backtrace,
/// only the location of the panic.
fn rust(lines: &[&str]) -> Vec<Frame> {
    let frames = lines.windows(2).filter_map(|pair| {
        let (number, function) = pair[0].trim_start().split_once(": ")?;
        let _: u32 = number.parse().ok()?;
        let within = pair[1].trim_start().strip_prefix("at ").unwrap_or_default();
        let (file, line) = place(within);
        // Types of generic parameters and hashes are not part of the location.
        let name = function.split("::<").next().unwrap_or_default();
        let name = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(name, _)| name);
        let mut frame = frame(name, file, line, within);
        let is_foreign =
            ["std::", "core::", "alloc::", "rust_", "__rust", "<", "_start", "__libc"].iter().any(|start| name.starts_with(start));
        frame.own &= !is_foreign && !file.is_empty();
        Some(frame)
    });
    let frames: Vec<Frame> = frames.take(FRAMES).collect();
    if !frames.is_empty() {
        return frames;
    }
    let thrown = lines.first().and_then(|line| line.split_once(" panicked at ")).map(|(_, rest)| rest.trim().trim_end_matches(':'));
    let (file, line) = place(thrown.map_or("", |rest| rest.rsplit_once("', ").map_or(rest, |(_, place)| place)));
    line.map(|line| frame("", file, Some(line), file)).into_iter().collect()
}

/// Reads `… called at app.pl line 3`.
fn perl(function: &str, text: &str, before: &str) -> Option<Frame> {
    let (_, within) = text.rsplit_once(before)?;
    let (file, line) = within.split_once(" line ")?;
    Some(frame(function, file, line.trim_end_matches(['.', '\n']).parse().ok(), text))
}
