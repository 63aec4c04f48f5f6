//! Minimal HTTP client that checks whether a service answers.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Response of a service.
pub(crate) struct HttpResponse {
    /// Status code.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: String,
}

/// Sends one request over a new connection.
pub(crate) fn request(method: &str, port: u16, path: &str) -> Result<HttpResponse> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(1 << 20).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP")
}

fn parse(text: &str) -> Option<HttpResponse> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(HttpResponse { status, body: body.to_owned() })
}

/// Returns the first of `count` consecutive free ports.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    (0..200)
        .map(|step| 30_000 + step * 10)
        .find(|first| (*first..first + count).all(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()))
        .context("no free ports between 30000 and 32000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_parsed() {
        let answer = parse("HTTP/1.1 502 Bad Gateway\r\nx: y\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (502, "{\"a\":1}"));
        assert!(parse("SSH-2.0").is_none());
        assert!(parse("HTTP/1.1 \u{e9}\r\n\r\n").is_none());
    }
}
