//! Lines of an output that explain why a program failed.
//!
//! A report of an error has a *head* (the error), *causes* (earlier errors) and *frames* (the
//! location). Languages order them differently: Node and Java print the head first, Python prints
//! it last, PHP and Python print the causes before it. The newest report at the end of the output
//! is printed in one order: head, causes, the app's own frames, and the lines after it. Without a
//! report, the last lines of the output are kept.

use std::ops::Range;

use super::line_date::without_date;

/// Largest number of lines that are kept.
const MOST: usize = 10;
/// Largest total size of the kept lines, in bytes.
const MOST_BYTES: usize = 4096;
/// Longest line.
const LONGEST: usize = 1000;
/// Largest number of frames that are kept.
const FRAMES: usize = 4;
/// Largest number of causes that are kept.
const CAUSES: usize = 3;
/// Largest number of message lines after the first.
const MESSAGE: usize = 2;
/// Largest number of lines after a report that ended the program; with more lines, the report is
/// old.
const AFTER: usize = 5;

/// Form of a report, by language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    /// Node, Deno, Java, .NET: a head, then lines that begin with `at`.
    At,
    Python,
    Php,
    Go,
    Ruby,
    Rust,
    Perl,
}

/// Finder of the newest report of one form.
type Find = fn(&[&str]) -> Option<Report>;

const FINDERS: [(ReportFormat, Find); 7] = [
    (ReportFormat::Python, python),
    (ReportFormat::Php, php),
    (ReportFormat::Go, go),
    (ReportFormat::Ruby, ruby),
    (ReportFormat::At, at_frames),
    (ReportFormat::Rust, rust),
    (ReportFormat::Perl, perl),
];

/// Returns the newest report in these lines.
pub(crate) fn newest(lines: &[&str]) -> Option<(ReportFormat, Report)> {
    FINDERS.iter().filter_map(|(form, find)| Some((*form, find(lines)?))).max_by_key(|(_, report)| report.place.end)
}

/// Report with lines that are ready to show.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) head: Vec<String>,
    causes: Vec<String>,
    /// Frames of the app, the innermost first.
    pub(crate) frames: Vec<String>,
    /// Lines after the head that may be part of its message.
    more: Vec<String>,
    /// Its range in the output.
    pub(crate) place: Range<usize>,
}

/// Returns the relevant lines from the end of an output, at most ten, without dates before them.
pub fn pick(lines: &[&str]) -> Vec<String> {
    let lines: Vec<&str> = lines.iter().map(|line| without_date(line)).collect();
    let end = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let lines = &lines[..end];
    let newest = newest(lines).map(|(_, report)| report);
    let after = |report: &Report| lines[report.place.end.min(end)..].iter().filter(|line| !is_empty_talk(line)).count();
    let picked = match newest.filter(|report| after(report) <= AFTER) {
        Some(report) => lines_of(report, lines),
        None => lines[end.saturating_sub(MOST)..].iter().map(|line| short(line)).collect(),
    };
    within(picked)
}

/// Returns the port that another process already uses, if the lines name it.
pub fn taken_port(lines: &[String]) -> Option<u16> {
    let says = |line: &&String| {
        let line = line.to_ascii_lowercase();
        ["eaddrinuse", "address already in use", "connection in use", "address in use"].iter().any(|words| line.contains(words))
    };
    lines.iter().filter(says).find_map(|line| last_port(line))
}

/// Returns the last number in the position of a port: `:8080`, `port 8080`, `', 8080)`.
fn last_port(line: &str) -> Option<u16> {
    let starts = [":", "port ", "', ", "\", "];
    let ports = starts.iter().flat_map(|start| line.match_indices(start).map(move |(at, _)| at + start.len()));
    let number = |at: usize| -> Option<(usize, u16)> {
        let digits = line[at..].bytes().take_while(u8::is_ascii_digit).count();
        line[at..at + digits].parse::<u16>().ok().filter(|port| *port > 0).map(|port| (at, port))
    };
    ports.filter_map(number).max().map(|(_, port)| port)
}

fn lines_of(report: Report, lines: &[&str]) -> Vec<String> {
    let mut all = report.head;
    let surplus = report.causes.len().saturating_sub(CAUSES);
    all.extend(report.causes.into_iter().skip(surplus));
    all.extend(report.frames.into_iter().take(FRAMES));
    all.extend(report.more);
    let after = lines[report.place.end..].iter().filter(|line| !is_empty_talk(line)).map(|line| short(line));
    let room = MOST.saturating_sub(after.clone().count());
    all.truncate(room.max(MOST / 2));
    all.extend(after);
    all.truncate(MOST);
    all
}

/// Returns true for lines without information: blank lines, braces, Node's version.
fn is_empty_talk(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || matches!(line, "}" | "{" | "]" | "};") || line.starts_with("Node.js v") || line.starts_with("exit status ")
}

fn short(line: &str) -> String {
    // Node prints the properties of an error after its last frame.
    let line = line.trim_end();
    let line = if line.trim_start().starts_with("at ") { line.trim_end_matches(" {") } else { line };
    let end = (0..=LONGEST.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line[..end].to_owned()
}

fn within(lines: Vec<String>) -> Vec<String> {
    let mut room = MOST_BYTES;
    let fits = |line: &String| {
        room = room.saturating_sub(line.len() + 1);
        room > 0
    };
    lines.into_iter().take_while(fits).collect()
}

fn caused_by(line: &str) -> String {
    format!("  caused by {}", short(line.trim_start()))
}

/// Returns true for a frame of the app, not of the language, its packages or its libraries.
pub(crate) fn is_own(frame: &str) -> bool {
    const FOREIGN: [&str; 30] = [
        "node:",
        "node_modules/",
        "(<anonymous>)",
        "internal/",
        "site-packages/",
        "dist-packages/",
        "/lib/python",
        "<frozen ",
        "/gems/",
        "/lib/ruby/",
        "/vendor/",
        "/pkg/mod/",
        "/go/src/",
        "java.base/",
        "jdk.",
        "at java.",
        "at javax.",
        "at sun.",
        "at kotlin.",
        "at scala.",
        "at org.springframework.",
        "at org.apache.",
        "at io.netty.",
        "at System.",
        "at Microsoft.",
        "/rustc/",
        "/.cargo/registry/",
        "/ruby/gems/",
        "<internal:",
        "/share/perl",
    ];
    !FOREIGN.iter().any(|part| frame.contains(part))
}

/// Returns the app's own frames, or the first frame if the app has none.
fn own_frames<'a>(frames: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let own: Vec<String> = frames.clone().filter(|frame| is_own(frame)).map(short).collect();
    if own.is_empty() { frames.filter(|frame| frame.contains('/')).take(1).map(short).collect() } else { own }
}

/// Finds a report of Node, Deno, Java and similar: a head, then lines that begin with `at`.
fn at_frames(lines: &[&str]) -> Option<Report> {
    let is_frame = |line: &str| line.trim_start().starts_with("at ") && line.starts_with([' ', '\t']);
    // Frames of causes are indented further, or follow a separate line, so the block is read from
    // its first frame.
    let last = lines.iter().rposition(|line| is_frame(line))?;
    let is_link = |line: &str| is_cause(line) || line.starts_with("Emitted 'error' event");
    let belongs = |line: &str| is_frame(line) || is_link(line) || line.starts_with([' ', '\t']) && !line.trim().is_empty();
    let mut first = last;
    while first > 0 && belongs(lines[first - 1]) && last - first < 200 {
        first -= 1;
    }
    let first = (first..=last).find(|at| is_frame(lines[*at]))?;
    // The message may have several lines; Node prints a blank line before it.
    let mut start = first;
    while start > 0 && first - start < 8 && !lines[start - 1].trim().is_empty() && !names_error(lines[start]) {
        start -= 1;
    }
    if start == first {
        return None;
    }
    let follows_blank = start > 0 && lines[start - 1].trim().is_empty();
    if !names_error(lines[start]) && !follows_blank {
        start = first - 1;
    }
    let mut end = last + 1;
    while lines.get(end).is_some_and(|line| line.starts_with(' ') || line.starts_with('}')) {
        end += 1;
    }
    let block = &lines[first..end];
    let head_lines = lines[start..first].iter().filter(|line| !line.starts_with("Require stack:") && !line.starts_with("- "));
    let mut head: Vec<String> = head_lines.take(3).map(|line| short(line)).collect();
    let causes = block.iter().filter(|line| is_cause(line));
    let causes: Vec<String> =
        causes.map(|line| caused_by(line.trim_start().trim_start_matches("[cause]: ").trim_start_matches("Caused by: "))).collect();
    // A system error has its code beside its message, and sometimes only there.
    let code = block.iter().map(|line| line.trim()).find_map(|line| line.strip_prefix("code: '")?.split('\'').next());
    if let (Some(code), Some(first)) = (code, head.first_mut())
        && !first.contains(code)
    {
        first.push_str(" (");
        first.push_str(code);
        first.push(')');
    }
    let until_cause = block.iter().position(|line| is_cause(line)).unwrap_or(block.len());
    let frames = block[..until_cause].iter().copied().filter(|line| is_frame(line));
    let mut frames = own_frames(frames);
    // The source excerpt above the message: for a syntax error, only it names the location.
    let excerpt = lines[..start].iter().rev().take(6).find(|line| is_place(line));
    if let Some(place) = excerpt.filter(|_| !frames.iter().any(|frame| is_own(frame))) {
        frames = vec![format!("    at {}", short(place))];
    }
    Some(Report { head, causes, frames, place: start..end, ..Report::default() })
}

/// Returns true for a line like `/srv/app.js:12`.
fn is_place(line: &str) -> bool {
    let place = line.strip_prefix("file://").unwrap_or(line);
    let number = place.rsplit(':').next().unwrap_or_default();
    place.starts_with('/') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn is_cause(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Caused by: ") || line.starts_with("[cause]: ")
}

/// Returns true for a line like `TypeError: …`, `Uncaught Error`, `Exception in thread "main" …`,
/// `java.io.IOException: …`.
fn names_error(line: &str) -> bool {
    if line.starts_with([' ', '\t']) {
        return false;
    }
    let line = line.strip_prefix("Uncaught ").unwrap_or(line);
    let name = line.split([':', ' ', '(']).next().unwrap_or_default();
    let name = if name == "Exception" { return true } else { name };
    !name.is_empty()
        && (name.ends_with("Error") || name.ends_with("Exception"))
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._$".contains(&byte))
}

/// Finds tracebacks, the causes first; the error itself is the line after the frames.
fn python(lines: &[&str]) -> Option<Report> {
    let is_start = |line: &str| line.trim_end() == "Traceback (most recent call last):";
    let links =
        |line: &str| line.starts_with("The above exception was the direct") || line.starts_with("During handling of the above exception");
    let last = lines.iter().rposition(|line| is_start(line))?;
    let block = |from: usize| -> (usize, Range<usize>) {
        let body = (from + 1..lines.len()).find(|at| !lines[*at].starts_with([' ', '\t'])).unwrap_or(lines.len());
        (from, from + 1..body)
    };
    let (_, body) = block(last);
    let head = lines.get(body.end).filter(|line| !line.trim().is_empty())?;
    // Further lines of the message, if any.
    let rest = body.end + 1;
    let more = lines[rest.min(lines.len())..].iter().take(20).take_while(|line| !line.trim().is_empty()).count();
    let end = rest + more;
    let frames: Vec<&str> = lines[body].iter().copied().filter(|line| line.trim_start().starts_with("File \"")).collect();
    let mut causes = Vec::new();
    let mut at = last;
    while let Some(link) = (0..at).rev().take(4).find(|index| links(lines[*index])) {
        let Some(start) = (0..link).rev().find(|index| is_start(lines[*index])) else { break };
        let (_, body) = block(start);
        if let Some(error) = lines.get(body.end).filter(|line| !line.trim().is_empty()) {
            causes.push(caused_by(error));
        }
        at = start;
    }
    causes.truncate(CAUSES);
    let shown = end.min(rest + MESSAGE);
    let more = lines[rest.min(lines.len())..shown].iter().map(|line| short(line)).collect();
    Some(Report { head: vec![short(head)], causes, frames: own_frames(frames.into_iter().rev()), more, place: at..end })
}

/// Finds `PHP Fatal error:  Uncaught …`; the error itself is the last one, after the word `Next`.
fn php(lines: &[&str]) -> Option<Report> {
    let is_start = |line: &str| {
        let line = line.trim_start_matches("PHP ");
        ["Fatal error: ", "Parse error: "].iter().any(|kind| line.starts_with(kind))
    };
    let at = lines.iter().rposition(|line| is_start(line))?;
    let end = (at + 1..lines.len()).find(|index| lines[*index].trim_start().starts_with("thrown in ")).map_or(at + 1, |last| last + 1);
    let block = &lines[at..end];
    let mut errors: Vec<(usize, String)> = vec![(0, short(block[0]))];
    errors.extend(block.iter().enumerate().filter_map(|(index, line)| Some((index, short(line.strip_prefix("Next ")?)))));
    let (newest, head) = errors.pop()?;
    let causes = errors
        .iter()
        .rev()
        .map(|(_, line)| caused_by(line.trim_start_matches("PHP ").trim_start_matches("Fatal error:  Uncaught ")))
        .collect();
    let frames = block[newest..].iter().copied().filter(|line| line.starts_with('#') && line.contains('/'));
    Some(Report { head: vec![head], causes, frames: own_frames(frames), place: at..end, ..Report::default() })
}

/// Finds `panic: …`, then the goroutine that panicked: a function, and its location on the next
/// line.
fn go(lines: &[&str]) -> Option<Report> {
    let is_start = |at: &usize| {
        let is_head = lines[*at].starts_with("panic: ") || lines[*at].starts_with("fatal error: ");
        is_head && lines[*at..].iter().take(12).any(|line| line.starts_with("goroutine "))
    };
    let last = (0..lines.len()).rev().find(is_start)?;
    // A panic during another panic prints both, the first one first.
    let first =
        (0..=last).rev().take(6).take_while(|at| *at == last || !lines[*at].trim().is_empty()).filter(is_start).last().unwrap_or(last);
    let goroutine = (last..lines.len()).find(|at| lines[*at].starts_with("goroutine "))?;
    let stack_end = (goroutine + 1..lines.len()).find(|at| !is_go_frame(lines, *at)).unwrap_or(lines.len());
    // Other goroutines follow.
    let mut end = stack_end;
    while let Some(next) = (end..lines.len()).find(|at| !lines[*at].trim().is_empty()).filter(|at| lines[*at].starts_with("goroutine ")) {
        end = (next + 1..lines.len()).find(|at| !is_go_frame(lines, *at)).unwrap_or(lines.len());
    }
    let head = lines[first..goroutine].iter().filter(|line| !line.trim().is_empty()).take(3).map(|line| short(line)).collect();
    let frames = lines[goroutine + 1..stack_end].iter().copied().filter(|line| line.starts_with('\t'));
    Some(Report { head, causes: Vec::new(), frames: own_frames(frames), place: first..end, ..Report::default() })
}

fn is_go_frame(lines: &[&str], at: usize) -> bool {
    lines[at].starts_with('\t') || lines.get(at + 1).is_some_and(|next| next.starts_with("\t/"))
}

/// Finds `app.rb:5:in 'connect': message (IOError)`, then `from …`; causes follow in the same form.
fn ruby(lines: &[&str]) -> Option<Report> {
    let is_from = |line: &str| line.starts_with("\tfrom ") || line.trim_start().starts_with("from ") && line.starts_with(' ');
    let is_head = |line: &str| {
        let has_class = line.trim_end().ends_with(')') && line.contains(" (");
        !line.starts_with([' ', '\t']) && line.contains(":in ") && line.contains("': ") && (has_class || line.contains(".rb:"))
    };
    let last = lines.iter().rposition(|line| is_head(line))?;
    let mut first = last;
    // An error, its frames, its cause, the frames of the cause.
    while let Some(before) = (0..first).rev().find(|at| !is_from(lines[*at])).filter(|at| is_head(lines[*at])) {
        first = before;
    }
    let mut end = last + 1;
    while lines.get(end).is_some_and(|line| is_from(line)) {
        end += 1;
    }
    let causes = lines[first + 1..end].iter().filter(|line| is_head(line)).map(|line| caused_by(line)).collect();
    let frames = lines[first + 1..end].iter().copied().take_while(|line| is_from(line));
    let own = frames.filter(|line| is_own(line)).map(short).collect();
    Some(Report { head: vec![short(lines[first])], causes, frames: own, place: first..end, ..Report::default() })
}

/// Finds `thread 'main' panicked at src/main.rs:2:5:`, the message, then a backtrace if it is
/// enabled.
fn rust(lines: &[&str]) -> Option<Report> {
    let start = lines.iter().rposition(|line| line.starts_with("thread '") && line.contains(" panicked at "))?;
    let is_in_trace = |line: &&&str| line.starts_with("  ") || line.starts_with("stack backtrace:");
    let is_message = |line: &&&str| !line.trim().is_empty() && !line.starts_with("note: ") && !is_in_trace(line);
    let has_message = lines[start].trim_end().ends_with(':');
    let message = if has_message { lines[start + 1..].iter().take(MESSAGE).take_while(is_message).count() } else { 0 };
    let trace = start + 1 + message;
    let mut end = trace + lines[trace..].iter().take_while(is_in_trace).count();
    if lines.get(end).is_some_and(|line| line.starts_with("note: ")) {
        end += 1;
    }
    let head = lines[start..trace].iter().map(|line| short(line)).collect();
    let frames = lines[trace..end].iter().copied().filter(|line| line.trim_start().starts_with("at "));
    Some(Report { head, frames: own_frames(frames), place: start..end, ..Report::default() })
}

/// Finds `message at app.pl line 5.`, then lines with the calls, in the form `called at` (Carp).
fn perl(lines: &[&str]) -> Option<Report> {
    let is_frame = |line: &str| line.starts_with('\t') && line.contains(" called at ");
    let last = lines.iter().rposition(|line| is_frame(line))?;
    let mut first = last;
    while first > 0 && is_frame(lines[first - 1]) {
        first -= 1;
    }
    let start = first.checked_sub(1).filter(|at| lines[*at].contains(" at ") && lines[*at].contains(" line "))?;
    let frames = lines[first..=last].iter().copied();
    Some(Report { head: vec![short(lines[start])], frames: own_frames(frames), place: start..last + 1, ..Report::default() })
}

#[cfg(test)]
mod tests;
