//! An answer of an HTTP server, read in pieces.

/// Maximum size of a head; longer ones are rejected.
const HEAD_LIMIT: usize = 64 << 10;

/// Number of bytes of a body that are kept for comparison; the rest is only counted.
const BODY_KEPT: usize = 64 << 10;

/// Part of the answer that is read next.
#[derive(Debug, PartialEq, Eq)]
enum AnswerPart {
    Head,
    /// This many bytes of the body.
    Length(u64),
    /// The line with the size of the next chunk.
    ChunkSize,
    /// This many bytes of the chunk, including its line end.
    Chunk(u64),
    /// Lines after the last chunk, up to an empty one.
    Trailer,
    /// Everything until the server closes.
    UntilEnd,
    Done,
}

/// An answer that is being read.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    part: AnswerPart,
    /// The head, or the line of a chunk, as far as it has arrived.
    line: Vec<u8>,
    body: Vec<u8>,
    /// Number of all bytes received.
    received: u64,
    status: u16,
    close: bool,
}

impl HttpAnswer {
    /// Creates an answer without any data.
    pub(crate) fn new() -> Self {
        Self { part: AnswerPart::Head, line: Vec::new(), body: Vec::new(), received: 0, status: 0, close: false }
    }

    /// Adds bytes from the server. Returns true if the answer is complete.
    ///
    /// # Errors
    /// Returns the problem of the answer, in words.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<bool, String> {
        self.received += bytes.len() as u64;
        while !bytes.is_empty() {
            bytes = match self.part {
                AnswerPart::Head => self.head(bytes)?,
                AnswerPart::Length(left) => {
                    let (taken, rest) = split(bytes, left);
                    self.keep_body(taken);
                    self.part = match left - taken.len() as u64 {
                        0 => AnswerPart::Done,
                        left => AnswerPart::Length(left),
                    };
                    rest
                }
                AnswerPart::ChunkSize => self.chunk_size(bytes)?,
                AnswerPart::Chunk(left) => self.chunk(bytes, left)?,
                AnswerPart::Trailer => self.trailer(bytes)?,
                AnswerPart::UntilEnd => {
                    self.keep_body(bytes);
                    &[]
                }
                AnswerPart::Done => return Err(format!("{} bytes after the end of the answer", bytes.len())),
            };
        }
        Ok(self.part == AnswerPart::Done)
    }

    /// Handles a close by the server.
    ///
    /// # Errors
    /// Returns an error if the answer was incomplete.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        if self.part != AnswerPart::UntilEnd {
            return Err("closed by the server".to_owned());
        }
        self.part = AnswerPart::Done;
        self.close = true;
        Ok(())
    }

    /// Returns the progress, for failure messages.
    pub(crate) fn progress(&self) -> String {
        match self.received {
            0 => "before the answer".to_owned(),
            received => format!("within the answer, after {received} bytes"),
        }
    }

    /// Returns true if the connection ends with this answer.
    pub(crate) fn closes(&self) -> bool {
        self.close
    }

    /// Returns the body, truncated if it is long.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    fn keep_body(&mut self, bytes: &[u8]) {
        let room = BODY_KEPT - self.body.len();
        self.body.extend_from_slice(split(bytes, room as u64).0);
    }

    /// Takes bytes up to the end of a line. The first element is `None` if the end has not arrived
    /// yet.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Result<(Option<Vec<u8>>, &'a [u8]), String> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (taken, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        self.line.extend_from_slice(taken);
        if self.line.len() > HEAD_LIMIT {
            return Err("a head without end".to_owned());
        }
        Ok((end.map(|_| std::mem::take(&mut self.line)), rest))
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        // The end of the head may be split over two pieces.
        let before = self.line.len().saturating_sub(3);
        let old = self.line.len();
        self.line.extend_from_slice(bytes);
        let Some(at) = self.line.get(before..).and_then(|tail| tail.windows(4).position(|four| four == b"\r\n\r\n")) else {
            return if self.line.len() > HEAD_LIMIT { Err("a head without end".to_owned()) } else { Ok(&[]) };
        };
        let end = before + at + 4;
        self.line.truncate(end);
        let head = std::mem::take(&mut self.line);
        self.parse_head(&head)?;
        Ok(bytes.get(end - old..).unwrap_or_default())
    }

    fn parse_head(&mut self, head: &[u8]) -> Result<(), String> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let (version, rest) = first.split_once(' ').unwrap_or((first, ""));
        self.status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || self.status == 0 {
            return Err(format!("no HTTP: {:?}", first.chars().take(80).collect::<String>()));
        }
        if self.status < 200 {
            // This is an interim answer; the final answer follows.
            return Ok(());
        }
        if self.status != 200 {
            return Err(format!("status {}", self.status));
        }
        self.close = version == "HTTP/1.0";
        self.part = AnswerPart::UntilEnd;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("connection") {
                self.close = !value.eq_ignore_ascii_case("keep-alive") && (self.close || value.eq_ignore_ascii_case("close"));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                self.part = AnswerPart::ChunkSize;
            } else if name.eq_ignore_ascii_case("content-length") && self.part != AnswerPart::ChunkSize {
                self.part = match value.parse().map_err(|_| format!("a length of {value:?}"))? {
                    0 => AnswerPart::Done,
                    length => AnswerPart::Length(length),
                };
            }
        }
        Ok(())
    }

    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let (line, rest) = self.take_line(bytes)?;
        if let Some(line) = line {
            let text = String::from_utf8_lossy(&line);
            let digits = text.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| format!("a chunk of size {digits:?}"))?;
            self.part = match size {
                0 => AnswerPart::Trailer,
                size => AnswerPart::Chunk(size.saturating_add(2)),
            };
        }
        Ok(rest)
    }

    fn chunk<'a>(&mut self, bytes: &'a [u8], left: u64) -> Result<&'a [u8], String> {
        let (taken, rest) = split(bytes, left);
        let content = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX).min(taken.len());
        let (content, line_end) = taken.split_at(content);
        self.keep_body(content);
        if !line_end.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err("a chunk longer than its size".to_owned());
        }
        self.part = match left - taken.len() as u64 {
            0 => AnswerPart::ChunkSize,
            left => AnswerPart::Chunk(left),
        };
        Ok(rest)
    }

    fn trailer<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let (line, rest) = self.take_line(bytes)?;
        if line.is_some_and(|line| line.trim_ascii().is_empty()) {
            self.part = AnswerPart::Done;
        }
        Ok(rest)
    }
}

/// Splits off at most this many bytes.
fn split(bytes: &[u8], most: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text in pieces of this size. Returns the body and whether the connection ends, or
    /// the error.
    fn read(text: &str, piece: usize, closed: bool) -> Result<(String, bool), String> {
        let mut answer = HttpAnswer::new();
        let mut done = false;
        for part in text.as_bytes().chunks(piece) {
            done = answer.feed(part)?;
        }
        if closed && !done {
            answer.end()?;
            done = true;
        }
        assert!(done, "not complete");
        Ok((String::from_utf8_lossy(answer.body()).into_owned(), answer.closes()))
    }

    #[test]
    fn complete_response_parses_in_pieces_of_any_size() {
        let good = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "", false),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:3\r\n\r\nyes", false, "yes", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok", true),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", false, "ok", false),
            ("HTTP/1.1 200 OK\r\n\r\nall of it", true, "all of it", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                false,
                "abc0123456789",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-a: b\r\n\r\n", false, "", false),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz", false, "z", false),
        ];
        for (text, closed, body, closes) in good {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(read(text, piece, closed), Ok((body.to_owned(), closes)), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn incomplete_or_bad_response_is_reported() {
        let bad = [
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status 503"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "closed by the server"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", "1 bytes after the end of the answer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a length of \"-1\""),
            ("HTTP/1.1 200 OK\r\nContent-Le", "closed by the server"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "closed by the server"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "a chunk longer than its size"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "a chunk of size \"x\""),
            ("SSH-2.0-x\r\n\r\n", "no HTTP: \"SSH-2.0-x\""),
        ];
        for (text, expected) in bad {
            assert_eq!(read(text, 1000, true), Err(expected.to_owned()), "{text:?}");
        }
        assert_eq!(read("", 1, true), Err("closed by the server".to_owned()));
        assert_eq!(read(&"x".repeat(HEAD_LIMIT + 1), 1000, true), Err("a head without end".to_owned()));
    }

    #[test]
    fn long_body_is_read_and_truncated() {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", BODY_KEPT + 5, "y".repeat(BODY_KEPT + 5));
        assert_eq!(read(&text, 1000, false).map(|(body, _)| body.len()), Ok(BODY_KEPT));
    }
}
