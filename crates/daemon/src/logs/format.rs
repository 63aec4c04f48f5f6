//! Format of log lines: from the bytes of an app to the bytes of a file.

use memchr::{memchr, memchr_iter};

use super::record::{LineStart, SHOWN};

/// Writer of the date of a wall-clock time (ms since the epoch).
pub(crate) type DateWriter = Box<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// Writer of the label before a line of output (0) or error output (1) at a wall-clock time.
pub(crate) type Label = Box<dyn Fn(usize, u64, &mut Vec<u8>) + Send + Sync>;

/// Form of a line in a file.
pub(crate) enum Format {
    /// As the app wrote it.
    Plain,
    /// `<date>: <line>`.
    Dated(DateWriter),
    /// `<label><line>`.
    Labelled(Label),
    /// `{"message":"<line>","timestamp":"<date>","type":"out","process_id":0,"app_name":"api"}`. A
    /// piece of a line that has no end yet has `"partial":true` at the end of the object.
    Json {
        /// Format of the timestamp; without it, ISO 8601, UTC, milliseconds.
        stamp: Option<DateWriter>,
        /// `pm_id`.
        process_id: u32,
        /// Name of the app.
        app_name: String,
    },
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Dated(_) => "Dated",
            Self::Labelled(_) => "Labelled",
            Self::Json { .. } => "Json",
        })
    }
}

/// Batch as it goes to a file: `bytes[lead.skip..]`. Only the beginning of the first line differs
/// between files.
#[derive(Debug, Default)]
pub(super) struct Formatted {
    bytes: Vec<u8>,
    prefix: usize,
}

impl Formatted {
    /// Returns the bytes for a file whose first line begins with this lead.
    pub(super) fn for_lead(&self, lead: LineStart) -> &[u8] {
        let skip = match lead {
            LineStart::Break => 0,
            LineStart::Fresh => 1,
            LineStart::Continue => 1 + self.prefix,
        };
        &self.bytes[skip..]
    }
}

/// Form of a line in files, and in a runtime's output if that is another one.
#[derive(Debug)]
pub(crate) struct Formats {
    /// Form in files.
    pub files: Format,
    /// Form in a runtime's output.
    pub shown: Option<Format>,
}

impl From<Format> for Formats {
    fn from(files: Format) -> Self {
        Self { files, shown: None }
    }
}

impl Formats {
    /// Returns true if each line becomes its own object in at least one target.
    pub(super) fn is_json(&self) -> bool {
        self.files.is_json() || self.shown.as_ref().is_some_and(Format::is_json)
    }

    /// Returns true if each line becomes its own object in all targets, so no line is ever left
    /// open.
    pub(super) fn is_all_json(&self) -> bool {
        self.files.is_json() && self.shown.as_ref().is_none_or(Format::is_json)
    }

    /// See [`Format::format`].
    pub(super) fn format(&self, input: &[u8], stream: usize, close: bool, wall_ms: u64, batch: &mut Batch) {
        self.files.format(input, stream, close, wall_ms, &mut batch.files);
        if let Some(shown) = &self.shown {
            shown.format(input, stream, close, wall_ms, batch.shown.get_or_insert_default());
        }
    }
}

/// Batch in each of the formats.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Formatted,
    shown: Option<Formatted>,
}

impl Batch {
    /// Returns the bytes for this target if its first line begins with this lead.
    pub(super) fn for_target(&self, target: usize, lead: LineStart) -> &[u8] {
        self.shown.as_ref().filter(|_| target == SHOWN).unwrap_or(&self.files).for_lead(lead)
    }

    /// Frees the memory.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }
}

impl Format {
    /// Returns true if each line becomes its own object, so no line is ever left open.
    pub(super) const fn is_json(&self) -> bool {
        matches!(self, Self::Json { .. })
    }

    /// Formats one batch. The same input and time give the same bytes, so a fresh daemon can
    /// recognize the bytes of its predecessor.
    pub(super) fn format(&self, input: &[u8], stream: usize, close: bool, wall_ms: u64, output: &mut Formatted) {
        let bytes = &mut output.bytes;
        bytes.clear();
        bytes.push(b'\n');
        match self {
            Self::Plain => {
                bytes.extend_from_slice(input);
                output.prefix = 0;
            }
            Self::Dated(stamp) => {
                stamp(wall_ms, bytes);
                bytes.extend_from_slice(b": ");
                output.prefix = bytes.len() - 1;
                prefixed(input, bytes);
            }
            Self::Labelled(label) => {
                label(stream, wall_ms, bytes);
                output.prefix = bytes.len() - 1;
                prefixed(input, bytes);
            }
            Self::Json { stamp, process_id, app_name } => {
                output.prefix = 0;
                let tail = json_tail(stamp.as_ref(), stream, *process_id, app_name, wall_ms);
                json(input, close, &tail, bytes);
                return;
            }
        }
        if close && input.last() != Some(&b'\n') {
            output.bytes.push(b'\n');
        }
    }
}

/// Copies lines, with the prefix (`output[1..]`) before each line except the first.
fn prefixed(input: &[u8], output: &mut Vec<u8>) {
    let prefix = 1..output.len();
    // A guess of 64 bytes per line avoids most reallocations.
    output.reserve(input.len() + input.len() / 64 * prefix.len());
    let mut start = 0;
    for end in memchr_iter(b'\n', input) {
        if start > 0 {
            output.extend_from_within(prefix.clone());
        }
        output.extend_from_slice(&input[start..=end]);
        start = end + 1;
    }
    if start < input.len() {
        if start > 0 {
            output.extend_from_within(prefix);
        }
        output.extend_from_slice(&input[start..]);
    }
}

/// Returns the rest of an object behind the message, with the newline.
fn json_tail(stamp: Option<&DateWriter>, stream: usize, process_id: u32, app_name: &str, wall_ms: u64) -> Vec<u8> {
    let mut date = Vec::new();
    match stamp {
        Some(stamp) => stamp(wall_ms, &mut date),
        None => iso_utc(wall_ms, &mut date),
    }
    let mut tail = b"\",\"timestamp\":\"".to_vec();
    escape(&date, &mut tail);
    tail.extend_from_slice(if stream == 0 { b"\",\"type\":\"out\",\"process_id\":" } else { b"\",\"type\":\"err\",\"process_id\":" });
    tail.extend_from_slice(process_id.to_string().as_bytes());
    tail.extend_from_slice(b",\"app_name\":\"");
    escape(app_name.as_bytes(), &mut tail);
    tail.extend_from_slice(b"\"}\n");
    tail
}

fn json(mut input: &[u8], close: bool, tail: &[u8], output: &mut Vec<u8>) {
    const END: &[u8] = b"}\n";
    while !input.is_empty() {
        let newline = memchr(b'\n', input);
        let end = newline.unwrap_or(input.len());
        output.extend_from_slice(b"{\"message\":\"");
        escape(&input[..end], output);
        output.extend_from_slice(tail);
        if newline.is_none() && !close {
            output.truncate(output.len() - END.len());
            output.extend_from_slice(b",\"partial\":true");
            output.extend_from_slice(END);
        }
        input = input.get(end + 1..).unwrap_or_default();
    }
}

/// Escapes text for a JSON string. Invalid UTF-8 becomes U+FFFD, because JSON cannot hold it.
fn escape(text: &[u8], output: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        escape_valid(chunk.valid().as_bytes(), output);
        if !chunk.invalid().is_empty() {
            output.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_valid(text: &[u8], output: &mut Vec<u8>) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        output.extend_from_slice(&text[start..at]);
        start = at + 1;
        match byte {
            b'"' => output.extend_from_slice(b"\\\""),
            b'\\' => output.extend_from_slice(b"\\\\"),
            b'\t' => output.extend_from_slice(b"\\t"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\n' => output.extend_from_slice(b"\\n"),
            _ => output.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    output.extend_from_slice(&text[start..]);
}

fn iso_utc(wall_ms: u64, output: &mut Vec<u8>) {
    let timestamp = i64::try_from(wall_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    output.extend_from_slice(timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().as_bytes());
}

/// Returns the position at which to cut a line that is too long. It never splits a UTF-8 character.
pub(super) fn cut(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(4);
    let continues = bytes[tail..].iter().rev().take_while(|byte| **byte & 0xc0 == 0x80).count();
    let Some(&head) = bytes.len().checked_sub(continues + 1).and_then(|at| bytes.get(at)) else { return bytes.len() };
    let needed = match head {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return bytes.len(),
    };
    if continues + 1 < needed && bytes.len() > continues + 1 { bytes.len() - continues - 1 } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dated_format() -> Format {
        Format::Dated(Box::new(|ms, out| out.extend_from_slice(ms.to_string().as_bytes())))
    }

    fn text(format: &Format, input: &[u8], close: bool, lead: LineStart) -> String {
        let mut output = Formatted::default();
        format.format(input, 1, close, 42, &mut output);
        String::from_utf8_lossy(output.for_lead(lead)).into_owned()
    }

    #[test]
    fn each_line_gets_its_date() {
        let format = dated_format();
        let cases: [(&str, bool, LineStart, &str); 8] = [
            ("a\nb\n", false, LineStart::Fresh, "42: a\n42: b\n"),
            ("a\nb\n", false, LineStart::Continue, "a\n42: b\n"),
            ("a\nb\n", false, LineStart::Break, "\n42: a\n42: b\n"),
            ("a\nb", false, LineStart::Fresh, "42: a\n42: b"),
            ("a\nb", true, LineStart::Fresh, "42: a\n42: b\n"),
            ("", true, LineStart::Continue, "\n"),
            ("\n\n", false, LineStart::Fresh, "42: \n42: \n"),
            ("a", true, LineStart::Continue, "a\n"),
        ];
        for (input, close, lead, expected) in cases {
            assert_eq!(text(&format, input.as_bytes(), close, lead), expected, "{input:?} {lead:?}");
        }
        assert_eq!(text(&Format::Plain, b"a\nb\n", false, LineStart::Fresh), "a\nb\n");
    }

    #[test]
    fn non_utf8_bytes_are_unchanged() {
        let mut output = Formatted::default();
        dated_format().format(b"\xff\x00\xc3\n\xc3\xa9\n", 0, false, 1, &mut output);
        assert_eq!(output.for_lead(LineStart::Fresh), b"1: \xff\x00\xc3\n1: \xc3\xa9\n");
    }

    #[test]
    fn json_format_writes_one_object_per_line() {
        let format = Format::Json { stamp: None, process_id: 3, app_name: "a\"b".into() };
        let lines = text(&format, b"he said \"hi\"\\\t\x01\xff\xc3\xa9\n\nlast", true, LineStart::Fresh);
        let values: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values.len(), 3);
        assert_eq!(
            lines.lines().next().unwrap(),
            "{\"message\":\"he said \\\"hi\\\"\\\\\\t\\u0001\u{fffd}é\",\"timestamp\":\"1970-01-01T00:00:00.042Z\",\"type\":\"err\",\"process_id\":3,\"app_name\":\"a\\\"b\"}"
        );
        assert_eq!((values[1]["message"].as_str(), values[2]["message"].as_str()), (Some(""), Some("last")));
    }

    #[test]
    fn only_an_unfinished_line_is_partial() {
        let format = Format::Json { stamp: None, process_id: 0, app_name: "x".into() };
        let partial = |input: &str, close| -> Vec<bool> {
            let lines = text(&format, input.as_bytes(), close, LineStart::Fresh);
            let objects = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            objects.map(|object| object.get("partial").is_some_and(|partial| partial == true)).collect()
        };
        assert_eq!(partial("a\nb", false), [false, true]);
        assert_eq!(partial("a\nb", true), [false, false], "the stream has ended");
        assert_eq!(partial("a\n", false), [false]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        for (text, at) in [("aé", 3), ("a€", 4), ("a😀", 5), ("abc", 3), ("", 0)] {
            assert_eq!(cut(text.as_bytes()), at, "{text}");
            for short in 1..text.len() {
                let cut = cut(&text.as_bytes()[..short]);
                assert!(text.is_char_boundary(cut), "{text} {short} {cut}");
            }
        }
        assert_eq!(cut(b"\x80\x80\x80\x80\x80"), 5);
        assert_eq!(cut(b"ab\xff"), 3);
        assert_eq!(cut("é".as_bytes().split_at(1).0), 1, "never nothing: it would never end");
    }

    /// Returns byte strings of all lengths, with many newlines and invalid UTF-8.
    fn samples() -> impl Iterator<Item = Vec<u8>> {
        let mut seed = 1_u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed.to_le_bytes()[6]
        };
        (0..400).map(move |length| (0..length).map(|_| if next() < 40 { b'\n' } else { next() }).collect())
    }

    #[test]
    fn removing_dates_restores_the_input() {
        for input in samples() {
            let mut output = Formatted::default();
            dated_format().format(&input, 0, false, 42, &mut output);
            let mut back = Vec::new();
            for line in output
                .for_lead(if input.is_empty() { LineStart::Continue } else { LineStart::Fresh })
                .split_inclusive(|byte| *byte == b'\n')
            {
                assert!(line.starts_with(b"42: "));
                back.extend_from_slice(&line[4..]);
            }
            assert_eq!(back, input);
        }
    }

    #[test]
    fn every_json_line_parses() {
        for input in samples() {
            let mut output = Formatted::default();
            Format::Json { stamp: None, process_id: 0, app_name: "x".into() }.format(&input, 0, false, 42, &mut output);
            for line in output.for_lead(LineStart::Fresh).split_inclusive(|byte| *byte == b'\n') {
                assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
            }
        }
    }
}
