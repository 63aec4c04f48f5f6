//! One HTTP request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::load::{Address, Answer};

/// For one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The first of so many ports in a row that were free a moment ago.
pub fn free_ports(count: u16) -> u16 {
    let all_free = |first: &u16| {
        let ports = (0..count).map(|n| first.checked_add(n).and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()));
        // All at the same time.
        ports.collect::<Option<Vec<_>>>().is_some()
    };
    std::iter::repeat_with(free_port).find(all_free).unwrap_or_default()
}

/// One GET; the body.
///
/// # Errors
/// What failed, worded.
pub fn get(addr: impl Into<Address>, path: &str) -> Result<String, String> {
    let connect = |error: std::io::Error| format!("connect: {error}");
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

fn ask(mut stream: impl Read + Write, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let (mut answer, mut buffer) = (Answer::new(), vec![0; 16 << 10]);
    loop {
        let done = match stream.read(&mut buffer) {
            Ok(0) => answer.end().map(|()| true)?,
            Ok(n) => answer.feed(&buffer[..n])?,
            Err(error) => return Err(format!("read: {error}")),
        };
        if done {
            return Ok(String::from_utf8_lossy(answer.body()).into_owned());
        }
    }
}
