//! Incremental reader of an HTTP response: its first line and, for an error, the first line of its
//! body, which often names the problem.

use httparse::{EMPTY_HEADER, Header, ParserConfig, Response, parse_chunk_size};

/// Longest first line of a response. A server that sends a longer line does not use HTTP.
const STATUS_LINE_MAX: usize = 256;
/// Largest part of a response that is read, in bytes.
const SEEN_MAX: usize = 4096;
/// Largest number of headers of a response whose body is shown.
const HEADERS_MAX: usize = 100;
/// Largest number of characters of the body's line that are shown.
const SHOWN_MAX: usize = 120;

/// Response, as far as it has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeResponse {
    bytes: Vec<u8>,
}

/// Meaning of the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// More is needed.
    Unfinished,
    /// This status code.
    Code(u16),
    /// Not HTTP.
    Nonsense,
}

impl ProbeResponse {
    /// Takes more bytes; it ignores those after the first few thousand.
    pub fn take(&mut self, bytes: &[u8]) {
        let room = SEEN_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Returns the meaning of the first line, as far as it has arrived.
    pub fn status(&self) -> Status {
        let line = self.bytes.get(..STATUS_LINE_MAX).unwrap_or(&self.bytes);
        if line.first().is_some_and(|byte| *byte != b'H') {
            return Status::Nonsense;
        }
        let mut response = Response::new(&mut []);
        let parsed = response.parse(line);
        // The headers are not needed yet. Once there is a reason, even an empty one, the line is
        // complete.
        match (response.reason, response.code) {
            (Some(_), Some(code @ 100..)) => Status::Code(code),
            (None, _) if parsed.is_ok() && line.len() < STATUS_LINE_MAX => Status::Unfinished,
            _ => Status::Nonsense,
        }
    }

    /// Returns the first body line that is not blank, made safe to show; empty if the body has no
    /// such line. `None`: the line may still come, unless the response `is_over`.
    pub fn body_line(&self, is_over: bool) -> Option<String> {
        let is_over = is_over || self.bytes.len() >= SEEN_MAX;
        let Some((head, rest)) = BodyInfo::read(&self.bytes) else { return is_over.then(String::new) };
        let (body, is_whole) = head.body(rest);
        let body = body.trim_ascii_start();
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_there = is_over || is_whole || line.len() < body.len();
        is_there.then(|| shown(line))
    }
}

/// Facts about a body from the lines before it.
#[derive(Default)]
struct BodyInfo {
    length: Option<usize>,
    is_chunked: bool,
    is_packed: bool,
}

impl BodyInfo {
    /// Returns the head with the bytes after it; none if the head is incomplete or invalid.
    fn read(seen: &[u8]) -> Option<(Self, &[u8])> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        // One invalid header is no reason to ignore the rest.
        let mut lenient = ParserConfig::default();
        lenient.ignore_invalid_headers_in_responses(true).allow_spaces_after_header_name_in_responses(true);
        let end = match lenient.parse_response(&mut response, seen) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) | Err(_) => return None,
        };
        let mut head = Self::default();
        response.headers.iter().for_each(|header| head.take(header));
        Some((head, seen.get(end..).unwrap_or_default()))
    }

    fn take(&mut self, header: &Header<'_>) {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            self.length = value.parse().ok();
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            self.is_chunked |= value.to_ascii_lowercase().contains("chunked");
        } else if header.name.eq_ignore_ascii_case("content-encoding") {
            self.is_packed |= !value.eq_ignore_ascii_case("identity");
        }
    }

    /// Returns the bytes of the body, and whether they are complete. A compressed body, which the
    /// check did not request, counts as empty.
    fn body(&self, rest: &[u8]) -> (Vec<u8>, bool) {
        match self.length {
            _ if self.is_packed => (Vec::new(), true),
            _ if self.is_chunked => unchunked(rest),
            Some(length) => (rest.get(..length).unwrap_or(rest).to_vec(), rest.len() >= length),
            None => (rest.to_vec(), false),
        }
    }
}

/// Returns the content of the chunks so far, and whether the last chunk has arrived. An invalid
/// chunk ends the content.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(size) = parse_chunk_size(rest) {
        let httparse::Status::Complete((at, size)) = size else { return (body, false) };
        let chunk = rest.get(at..).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            break;
        }
        body.extend_from_slice(chunk.get(..size).unwrap_or(chunk));
        // After the end of its line.
        let Some(more) = chunk.get(size.saturating_add(2)..) else { return (body, false) };
        rest = more;
    }
    (body, true)
}

/// Returns the line to show. It is short, and nothing in it moves the cursor or hides other text.
fn shown(line: &[u8]) -> String {
    // A line that is cut within a character, or is not text, is shown as far as possible.
    let text = String::from_utf8_lossy(line);
    let mut shown = String::new();
    let mut chars = text.trim_end().chars();
    for c in chars.by_ref().take(SHOWN_MAX) {
        // Quotes stay; every invisible character is escaped.
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(pieces: &[&str]) -> ProbeResponse {
        let mut answer = ProbeResponse::default();
        pieces.iter().for_each(|piece| answer.take(piece.as_bytes()));
        answer
    }

    #[test]
    fn status_is_read_from_the_first_line() {
        for (pieces, expected) in [
            (&["HTTP/1.1 200 OK\r\n"][..], Status::Code(200)),
            (&["HTT", "P/1.0 4", "04 \n", "more"], Status::Code(404)),
            (&["HTTP/1.1 204\r\n"], Status::Code(204)),
            (&["HTTP/1.1 200 OK"], Status::Unfinished),
            (&[""], Status::Unfinished),
            (&["\r\n"], Status::Nonsense),
            (&["HTTP/2 200\n"], Status::Nonsense),
            (&["HTTP/1.1 2000\n"], Status::Nonsense),
            (&["HTTP/1.1 +20\n"], Status::Nonsense),
            (&["SSH-2.0-OpenSSH\r\n"], Status::Nonsense),
            // The result is known as soon as the line cannot become valid.
            (&["S"], Status::Nonsense),
            (&["HTTP/1.1 2x"], Status::Nonsense),
            (&["HTTP/1.1 099 No\r\n"], Status::Nonsense),
            // The headers do not matter.
            (&["HTTP/1.1 503 No\r\nX Y: \u{1}\r\n\r\n"], Status::Code(503)),
            (&["HTTP/1.1 503 N\u{f6}\r\n"], Status::Code(503)),
        ] {
            assert_eq!(answer(pieces).status(), expected, "{pieces:?}");
        }
        assert_eq!(answer(&["x".repeat(300).as_str()]).status(), Status::Nonsense);
    }

    #[test]
    fn first_body_line_is_the_detail() {
        let long = "x".repeat(10_000);
        let cut = format!("{}…", "x".repeat(SHOWN_MAX));
        for (headers, body, now, at_last) in [
            // Without a length, the line counts when it is complete.
            ("", "database is gone\nat x.js:1\n", Some("database is gone"), "database is gone"),
            ("", "database is go", None, "database is go"),
            ("", "\r\n \n  down  \r\nmore", Some("down"), "down"),
            ("", "", None, ""),
            ("Content-Length: 0\r\n", "", Some(""), ""),
            ("content-length:4\r\n", "down", Some("down"), "down"),
            ("content-length: 4\r\n", "do", None, "do"),
            ("content-length: 2\r\n", "down", Some("do"), "do"),
            ("content-length: 99999999999999999999\r\n", "a\nb", Some("a"), "a"),
            ("Transfer-Encoding: chunked\r\n", "4\r\ndown\r\n", None, "down"),
            ("Transfer-Encoding: chunked\r\n", "1\r\n\n\r\n2;x=y\r\ndo\r\n2\r\nwn\r\n0\r\n\r\n", Some("down"), "down"),
            ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\na", None, "a"),
            ("Transfer-Encoding: chunked\r\n", "-4\r\ndown\r\n", Some(""), ""),
            ("Content-Encoding: gzip\r\n", "\u{1f}x\n", Some(""), ""),
            // Invalid headers of broken servers.
            ("X Y: z\r\n:\r\nno colon\r\nContent-Length : 2\r\n", "down", Some("do"), "do"),
            ("", "{\"status\":\"down\"}\n", Some("{\"status\":\"down\"}"), "{\"status\":\"down\"}"),
            ("", "a\u{1b}[2J\tb\u{202e}c\n", Some("a\\u{1b}[2J\\tb\\u{202e}c"), "a\\u{1b}[2J\\tb\\u{202e}c"),
            ("", long.as_str(), Some(cut.as_str()), cut.as_str()),
        ] {
            let answer = answer(&["HTTP/1.1 503 No\r\nX: y\r\n", headers, "\r\n", body]);
            assert_eq!(answer.status(), Status::Code(503));
            assert_eq!(answer.body_line(false).as_deref(), now, "{headers}{body}");
            assert_eq!(answer.body_line(true).as_deref(), Some(at_last), "{headers}{body}");
        }
        let endless = answer(&["HTTP/1.1 500 No\r\n", "X: y\r\n".repeat(1000).as_str()]);
        assert_eq!(endless.body_line(false).as_deref(), Some(""));
        assert_eq!(answer(&["HTTP/1.1 500 No\r\nX: y\r\n"]).body_line(false), None);
    }

    proptest! {
        #[test]
        fn reading_any_answer_is_bounded_and_never_panics(
            http in any::<bool>(), chunked in any::<bool>(),
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        ) {
            let mut answer = ProbeResponse::default();
            if http {
                answer.take(b"HTTP/1.1 500 x\n");
                answer.take(if chunked { b"transfer-encoding: chunked\n\n" } else { b"\n" });
            }
            for piece in pieces {
                answer.take(&piece);
                let _ = answer.status();
                let _ = answer.body_line(false);
            }
            prop_assert!(answer.bytes.len() <= SEEN_MAX);
            let says = answer.body_line(true).unwrap();
            prop_assert!(!says.chars().any(char::is_control));
            prop_assert!(says.len() <= 16 * SHOWN_MAX);
        }
    }
}
