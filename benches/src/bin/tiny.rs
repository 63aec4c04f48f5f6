//! The app of the benchmarks: does one small task, so that the measurement shows the manager and
//! not Node.
//!
//! ```text
//! tiny pause
//!     waits for a signal
//! tiny stamp FILE
//!     appends the time of its first instruction to FILE, then waits
//! tiny pid FILE
//!     appends its pid and the time of its first instruction to FILE, then waits
//! tiny crash FILE MS
//!     appends `S time`, waits, appends `E time`, exits with 1
//! tiny flood BYTES FILE
//!     writes lines of 100 bytes, appends the times before and after to FILE, then waits
//! tiny pour BYTES MB FILE
//!     the same, at this many MB a second; appends the delay: median, 99.9 %, longest
//! tiny swell FILE MS
//!     holds 50 MB and appends `S time`; the first process exceeds 100 MiB after this time and
//!     appends `O time` of that instant
//! tiny answer PORT
//!     answers HTTP
//! tiny serve PORT
//!     answers HTTP and writes numbered lines without end, 1,000 a second
//! tiny web PORT
//!     answers HTTP with its pid over any number of kept or new connections, in one thread; with
//!     `stdin` for the port, its standard input is the listening socket
//! tiny listen PORT FILE
//!     opens a port, appends the time of its first instruction and the time at which it listens
//! tiny bind PORT BINDS CALLS FILE
//!     appends the durations of `bind` and `listen` of this port for the first time, of the same
//!     again (median), of port 0 (median), of `getppid`, and of `read` of /dev/zero (means)
//! ```
//! Times are CLOCK_MONOTONIC in nanoseconds.

#![forbid(unsafe_code)]

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let begin = now();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["pause"] => Ok(()),
        ["stamp", file] => append(file, &format!("{begin}\n")),
        ["pid", file] => append(file, &format!("{} {begin}\n", std::process::id())),
        ["crash", file, ms] => return crash(file, ms.parse().unwrap_or(0), begin),
        ["flood", bytes, file] => append(file, &format!("{begin}\n"))
            .and_then(|()| flood(bytes.parse().unwrap_or(0)))
            .and_then(|()| append(file, &format!("{}\n", now()))),
        ["pour", bytes, speed, file] => append(file, &format!("{begin}\n"))
            .and_then(|()| write_lines(bytes.parse().unwrap_or(0), speed.parse().unwrap_or(1)))
            .and_then(|[median, most, longest]| append(file, &format!("{median}\n{most}\n{longest}\n{}\n", now()))),
        ["swell", file, ms] => return exceed_limit(file, ms.parse().unwrap_or(0), begin),
        ["answer", port] => answer(port.parse().unwrap_or(0)),
        ["serve", port] => serve(port.parse().unwrap_or(0)),
        ["web", port] => web(port),
        ["listen", port, file] => open(port.parse().unwrap_or(0)).and_then(|()| append(file, &format!("{begin}\n{}\n", now()))),
        ["bind", port, binds, calls, file] => time_calls(port.parse().unwrap_or(0), binds.parse().unwrap_or(0), calls.parse().unwrap_or(0))
            .and_then(|times| append(file, &times.map(|time| format!("{time}\n")).concat())),
        _ => return ExitCode::from(2),
    };
    if done.is_err() {
        return ExitCode::from(3);
    }
    loop {
        rustix::event::pause();
    }
}

fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Appends in one write, because several processes share the file.
fn append(file: &str, text: &str) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file)?.write_all(text.as_bytes())
}

fn crash(file: &str, ms: u64, begin: i64) -> ExitCode {
    let _ = append(file, &format!("S {begin}\n"));
    std::thread::sleep(Duration::from_millis(ms));
    let _ = append(file, &format!("E {}\n", now()));
    ExitCode::FAILURE
}

/// Returns pages that were written, so that they count as memory in use.
fn written_pages(bytes: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; bytes])
}

/// Exceeds the limit once: the next process stays below it.
fn exceed_limit(file: &str, ms: u64, begin: i64) -> ExitCode {
    let was_over = std::fs::read_to_string(file).is_ok_and(|text| text.contains('O'));
    let mut held = vec![written_pages(50_000_000)];
    let mut done = append(file, &format!("S {begin}\n"));
    if !was_over && done.is_ok() {
        std::thread::sleep(Duration::from_millis(ms));
        // Together with the memory of any program, it is over the limit at this instant at the
        // latest, and then well over it.
        held.push(written_pages((100 << 20) - 50_000_000));
        let over = now();
        held.push(written_pages(30_000_000));
        done = append(file, &format!("O {over}\n"));
    }
    if done.is_err() {
        return ExitCode::from(3);
    }
    loop {
        rustix::event::pause();
        std::hint::black_box(&held);
    }
}

/// Writes numbered lines of 100 bytes, 640 in one write.
fn flood(bytes: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    blocks(bytes, |block| out.write_all(block))?;
    out.flush()
}

/// Writes such lines at this many megabytes a second. Returns the delay in nanoseconds: median,
/// 99.9 % and longest.
///
/// The delay of a block is the time from when it could be written (it was due, and the previous
/// block was done) until it was written. This includes pauses between writes: a process that is
/// stopped for a moment is mostly asleep between two writes.
fn write_lines(bytes: u64, speed: u64) -> std::io::Result<[i64; 3]> {
    let mut out = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 0)?);
    let (begin, mut written) = (now(), 0_i64);
    let (mut done, mut late) = (begin, Vec::new());
    blocks(bytes, |block| {
        // 1 MB/s is a byte in 1000 ns.
        let due = begin + written * 1000 / i64::try_from(speed.max(1)).unwrap_or(1);
        let early = u64::try_from(due - now()).unwrap_or(0);
        if early > 500_000 {
            std::thread::sleep(Duration::from_nanos(early));
        }
        let could = due.max(done).min(now());
        out.write_all(block)?;
        done = now();
        late.push(done - could);
        written += i64::try_from(block.len()).unwrap_or(0);
        Ok(())
    })?;
    late.sort_unstable();
    let at = |per_mille: usize| late.get((late.len() * per_mille / 1000).min(late.len().saturating_sub(1))).copied().unwrap_or(0);
    Ok([at(500), at(999), at(1000)])
}

fn blocks(bytes: u64, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let lines = bytes / 100;
    let mut block = Vec::with_capacity(64_000);
    for number in 0..lines {
        let head = block.len();
        write!(block, "{number:012} ")?;
        block.resize(head + 99, b'x');
        block.push(b'\n');
        if block.len() == 64_000 || number + 1 == lines {
            each(&block)?;
            block.clear();
        }
    }
    Ok(())
}

fn serve(port: u16) -> std::io::Result<()> {
    std::thread::spawn(|| {
        let mut out = std::io::stdout();
        for number in 0_u64.. {
            if out.write_all(format!("line {number}\n").as_bytes()).is_err() {
                std::process::exit(4);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    answer(port)
}

fn answer(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        // The benchmark's own client sends the whole request in one read.
        let mut request = [0; 1024];
        if stream.read(&mut request).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    }
    Ok(())
}

/// Opens a port that stays open.
fn open(port: u16) -> std::io::Result<()> {
    std::mem::forget(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
    Ok(())
}

fn web(port: &str) -> std::io::Result<()> {
    let listener = match port {
        "stdin" => TcpListener::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)?),
        port => TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().unwrap_or(0)))?,
    };
    listener.set_nonblocking(true)?;
    let body = std::process::id().to_string();
    let answer = |end: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{end}\r\n{body}", body.len()).into_bytes();
    let (kept, last) = (answer(""), answer("connection: close\r\n"));
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(0), EventFlags::IN)?;
    let (mut streams, mut opened) = (HashMap::<u64, TcpStream>::new(), 0);
    let (mut events, mut request) = (Vec::<epoll::Event>::with_capacity(64), [0; 1024]);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let key = event.data.u64();
            let Some(stream) = streams.get_mut(&key) else {
                while let Ok((stream, _)) = listener.accept() {
                    opened += 1;
                    epoll::add(&epoll, &stream, EventData::new_u64(opened), EventFlags::IN)?;
                    streams.insert(opened, stream);
                }
                continue;
            };
            // The clients of the benchmarks send the whole request in one write.
            let length = stream.read(&mut request).unwrap_or(0);
            let is_last = request.get(..length).is_some_and(|request| request.windows(17).any(|word| word == b"Connection: close"));
            if length == 0 || stream.write_all(if is_last { &last } else { &kept }).is_err() || is_last {
                streams.remove(&key);
            }
        }
    }
}

/// Returns nanoseconds of the calls that `tiny bind` lists.
fn time_calls(port: u16, binds: usize, calls: u32) -> std::io::Result<[i64; 5]> {
    let first = time_bind(port)?;
    let again = median_of_binds(port, binds)?;
    let any = median_of_binds(0, binds)?;
    let mean = |begin: i64| (now() - begin) / i64::from(calls.max(1));
    let begin = now();
    for _ in 0..calls {
        std::hint::black_box(rustix::process::getppid());
    }
    let plain = mean(begin);
    let zero = File::open("/dev/zero")?;
    let begin = now();
    for _ in 0..calls {
        rustix::io::read(&zero, &mut [0_u8; 1])?;
    }
    Ok([first, again, any, plain, mean(begin)])
}

fn median_of_binds(port: u16, binds: usize) -> std::io::Result<i64> {
    let mut times = (0..binds).map(|_| time_bind(port)).collect::<std::io::Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or(0))
}

/// Returns nanoseconds of `bind` and `listen` of a new socket, which is closed.
fn time_bind(port: u16) -> std::io::Result<i64> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let begin = now();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    listen(&socket, 128)?;
    Ok(now() - begin)
}
