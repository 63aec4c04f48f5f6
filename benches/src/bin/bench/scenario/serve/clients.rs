//! Clients for a file server with a minimal cost, so that the server dominates the measurement.
//!
//! One thread, one epoll set. The first answer is read as HTTP. All later answers must begin like
//! it and have the same length, because their heads differ only in the date.

use anyhow::{Context, Result, ensure};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use rustix::time::Timespec;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// Largest number of bytes in one read.
const BUFFER: usize = 256 << 10;

/// Start of a good answer.
const GOOD: &[u8] = b"HTTP/1.1 200 ";

/// Time after which a server without an answer counts as broken.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Measurements of the clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) requests: u64,
    pub(super) seconds: f64,
}

/// A client with its connection.
struct Client {
    stream: TcpStream,
    /// Bytes of the answer so far.
    received: usize,
}

/// Requests a file over this many connections, without a pause, for this time.
///
/// # Errors
/// Returns an error if the server refuses, closes, answers differently than before, or does not
/// answer.
pub(super) fn ask(port: u16, path: &str, size: usize, connections: usize, time: Duration) -> Result<Measured> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let mut buffer = vec![0; BUFFER];
    let length = length(port, &request, size, &mut buffer)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("no epoll")?;
    let mut clients = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("cannot connect")?;
        stream.set_nonblocking(true).context("cannot set up a client")?;
        sockopt::set_tcp_nodelay(&stream, true).context("cannot set up a client")?;
        epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN).context("cannot wait for a client")?;
        clients.push(Client { stream, received: 0 });
    }
    let begin = Instant::now();
    for client in &clients {
        client.ask(&request)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(connections);
    let mut requests = 0;
    loop {
        events.clear();
        let count = epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&PATIENCE)).context("cannot wait")?;
        ensure!(count > 0, "no answer");
        for event in &events {
            let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let client = clients.get_mut(number).context("an event of nobody")?;
            if client.is_answered(&mut buffer, length)? {
                requests += 1;
                client.ask(&request)?;
            }
        }
        let spent = begin.elapsed();
        if spent >= time {
            return Ok(Measured { requests, seconds: spent.as_secs_f64() });
        }
    }
}

impl Client {
    fn ask(&self, request: &[u8]) -> Result<()> {
        let sent = send(&self.stream, request, SendFlags::NOSIGNAL).context("cannot ask")?;
        ensure!(sent == request.len(), "a request that is not taken");
        Ok(())
    }

    /// Reads the available bytes; returns true when the answer is complete.
    fn is_answered(&mut self, buffer: &mut [u8], length: usize) -> Result<bool> {
        let (count, _) = recv(&self.stream, &mut buffer[..], RecvFlags::empty()).context("an answer that broke off")?;
        ensure!(count > 0, "closed by the server");
        ensure!(self.received > 0 || buffer[..count].starts_with(GOOD), "another status than 200");
        self.received += count;
        ensure!(self.received <= length, "an answer that is longer than the first");
        let is_whole = self.received == length;
        if is_whole {
            self.received = 0;
        }
        Ok(is_whole)
    }
}

/// Returns the length of a complete answer, by parsing one as HTTP.
fn length(port: u16, request: &[u8], size: usize, buffer: &mut [u8]) -> Result<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("cannot connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).context("cannot set up a client")?;
    stream.write_all(request).context("cannot ask")?;
    let mut answer: Vec<u8> = Vec::new();
    loop {
        let count = stream.read(buffer).context("an answer that broke off")?;
        ensure!(count > 0, "closed by the server");
        answer.extend_from_slice(&buffer[..count]);
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let (head, body) = answer.split_at(head + 4);
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        ensure!(head.starts_with(GOOD), "the answer {:?}", text.lines().next().unwrap_or_default());
        let report_failures = text.lines().find_map(|line| line.strip_prefix("content-length:")).map(|value| value.trim().parse());
        let is_whole = match report_failures {
            Some(report_failures) => {
                ensure!(report_failures == Ok(size), "a length of {report_failures:?} instead of {size}");
                body.len() == size
            }
            // In chunks, as PM2 sends it: the files contain no such bytes.
            None => body.len() > size && body.ends_with(b"\r\n0\r\n\r\n"),
        };
        if is_whole {
            return Ok(answer.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Returns the port of a server whose connections each return these answers in order, and
    /// repeat the last one.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut given = 0;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                    let answer = answers[given.min(answers.len() - 1)];
                    given += 1;
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        port
    }

    fn measure(answers: &'static [&'static str]) -> Result<Measured> {
        ask(server(answers), "/", 4, 1, Duration::from_millis(1))
    }

    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nxxxx";

    #[test]
    fn complete_responses_are_counted() {
        for answer in [PLAIN, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nxxxx\r\n0\r\n\r\n"] {
            assert!(measure(Box::leak(Box::new([answer]))).unwrap().requests > 0, "{answer}");
        }
    }

    #[test]
    fn unexpected_response_aborts_measurement() {
        for (answers, expected) in [
            (&["HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nxxxx"][..], "404"),
            (&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nxxxxx"], "instead of 4"),
            (&[PLAIN, "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nxxxxxxx"], "another status"),
            (&[PLAIN, "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nxxxxxxxxxxxxxx"], "longer than the first"),
            (&[PLAIN, ""], "closed by the server"),
        ] {
            let error = measure(answers).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
