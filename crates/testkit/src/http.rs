//! A single HTTP request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
