//! HTTP clients that count every failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// One GET; the body.
///
/// # Errors
/// What failed, worded.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let mut connection = Connection::open(port)?;
    connection.get(path, false)
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| format!("connect: {e}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn get(&mut self, path: &str, keep: bool) -> Result<String, String> {
        let connection = if keep { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).map_err(|e| format!("write: {e}"))?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200") {
            return Err(format!("answer {status:?}"));
        }
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|e| format!("length: {e}"))?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|e| format!("body: {e}"))?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err("connection closed".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(format!("read: {error}")),
        }
    }
}

/// Clients that ask without pause until they are stopped: half of them keep their connection, half open a new one each time.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<(u64, Vec<String>)>>,
}

/// What the clients saw.
#[derive(Debug)]
pub struct LoadReport {
    /// Requests that were answered with 200.
    pub good: u64,
    /// Every failure, worded.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts so many clients.
    pub fn start(port: u16, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let client = |number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            thread::spawn(move || ask(port, number % 2 == 0, &stop, &done))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, done, clients }
    }

    /// Requests answered so far.
    pub fn good(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the clients and tells what they saw.
    pub fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = LoadReport { good: 0, failures: Vec::new() };
        for client in self.clients.drain(..) {
            let (good, failures) = client.join().unwrap();
            report.good += good;
            report.failures.extend(failures);
        }
        report
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(port: u16, keep: bool, stop: &AtomicBool, done: &AtomicU64) -> (u64, Vec<String>) {
    let (mut good, mut failures, mut kept) = (0, Vec::new(), None);
    while !stop.load(Ordering::Relaxed) {
        let connection = kept.take().map_or_else(|| Connection::open(port), Ok);
        let answer = connection.and_then(|mut connection| connection.get("/", keep).map(|_| connection));
        match answer {
            Ok(connection) => {
                good += 1;
                done.fetch_add(1, Ordering::Relaxed);
                kept = keep.then_some(connection);
            }
            Err(failure) => failures.push(failure),
        }
        // A client that never pauses would starve the server on a small machine.
        thread::sleep(Duration::from_millis(1));
    }
    (good, failures)
}
