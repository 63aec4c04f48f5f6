//! Single HTTP requests, and connections to ports of this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::home::DEADLINE;
use crate::load::{Address, HttpAnswer};

/// Maximum wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns a free port that no other test gets. Outgoing connections of the machine use another
/// range.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// Returns the first of `count` consecutive free ports.
pub fn free_ports(count: u16) -> u16 {
    let all_free = |first: &u16| {
        let ports = (0..count).map(|n| TcpListener::bind(("127.0.0.1", first + n)).ok());
        // All ports must be free at the same time.
        ports.collect::<Option<Vec<_>>>().is_some()
    };
    std::iter::repeat_with(|| next_ports(count)).find(all_free).unwrap_or_default()
}

/// Returns the next ports of a range below `net.ipv4.ip_local_port_range`. All tests of the machine
/// share its counter.
fn next_ports(count: u16) -> u16 {
    const FIRST: u16 = 10_000;
    const END: u16 = 32_000;
    let path = std::env::temp_dir().join(format!("ostler-test-ports-{}", rustix::process::geteuid().as_raw()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut last = [0; 2];
    let next = file.read_exact_at(&mut last, 0).map_or(FIRST, |()| u16::from_ne_bytes(last));
    let next = if (FIRST..END - count).contains(&next) { next } else { FIRST };
    file.write_all_at(&(next + count).to_ne_bytes(), 0).unwrap();
    next
}

/// Connects to a port of this machine; reads time out.
#[track_caller]
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads a line without its end, and nothing beyond it; empty at the end of the stream.
pub fn read_line(mut stream: impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|len| len == 1) && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// An HTTP response.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The unparsed head.
    pub head: String,
    /// The body, without chunks.
    pub body: String,
}

impl HttpResponse {
    /// Reads a response until the server closes the connection.
    #[track_caller]
    pub fn read(stream: impl Read) -> Self {
        Self::parse(&text_until_close(stream))
    }

    #[track_caller]
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no response but {text:?}"));
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body }
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a raw request and returns the response as text, up to the end of the connection. A server
/// that rejects a request before it has read all of it resets the connection; only the data before
/// that counts.
#[track_caller]
pub fn exchange(port: u16, request: impl AsRef<[u8]>) -> String {
    let mut stream = connect(port);
    let _ = stream.write_all(request.as_ref());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a request with this first line (`GET /`) and these headers, each with its line end.
/// Returns the response as text.
#[track_caller]
pub fn request(port: u16, line: &str, headers: &str) -> String {
    let mut stream = connect(port);
    write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    text_until_close(stream)
}

/// Sends a POST with these headers, each with its line end, and this body. The server may reject it
/// before it has read all of it.
#[track_caller]
pub fn post(port: u16, path: &str, headers: &str, body: &[u8]) -> HttpResponse {
    let host = if headers.contains("Host: ") { "" } else { "Host: 127.0.0.1\r\n" };
    let head = format!("POST {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    HttpResponse::parse(&exchange(port, [head.as_bytes(), body].concat()))
}

#[track_caller]
fn text_until_close(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the contents of the chunks of a body.
fn unchunked(body: &str) -> String {
    let (mut rest, mut out) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        out.push_str(&after[..size]);
        rest = &after[(size + 2).min(after.len())..];
    }
    out
}

/// Reason why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The connection failed.
    #[error("{step}: {source}")]
    Io {
        /// `connect`, `write` or `read`.
        step: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The answer is not HTTP, or incomplete.
    #[error("{0}")]
    Answer(String),
}

/// Performs one GET and returns the body.
///
/// # Errors
/// Returns an error that names the failed step.
pub fn get(addr: impl Into<Address>, path: &str) -> Result<String, GetError> {
    let connect = |source| GetError::Io { step: "connect", source };
    match addr.into() {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).map_err(connect)?;
            stream.set_read_timeout(Some(LIMIT)).map_err(connect)?;
            ask(stream, path)
        }
        Address::Unix(file) => {
            let stream = UnixStream::connect(file).map_err(connect)?;
            stream.set_read_timeout(Some(LIMIT)).map_err(connect)?;
            ask(stream, path)
        }
    }
}

fn ask(mut stream: impl Read + Write, path: &str) -> Result<String, GetError> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|source| GetError::Io { step: "write", source })?;
    let (mut answer, mut buffer) = (HttpAnswer::new(), vec![0; 16 << 10]);
    loop {
        let done = match stream.read(&mut buffer) {
            Ok(0) => answer.end().map(|()| true).map_err(GetError::Answer)?,
            Ok(n) => answer.feed(&buffer[..n]).map_err(GetError::Answer)?,
            Err(source) => return Err(GetError::Io { step: "read", source }),
        };
        if done {
            return Ok(String::from_utf8_lossy(answer.body()).into_owned());
        }
    }
}
