//! PM2's sockets: lists of 100 apps, successive calls, and log lines for three subscribers.

use super::{ms, wait_until_idle};
use crate::contender::{Contender, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{self, Row};
use anyhow::{Context, Result, bail};
use ostler_proto::pm2::amp::Decoder;
use ostler_proto::pm2::rpc;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest frame.
const LIMIT: usize = 256 << 20;
/// Subscribers of the lines.
const SUBSCRIBERS: usize = 3;
/// Lines of 100 bytes in a megabyte.
const LINES_PER_MB: u64 = 10_000;
/// Megabytes of lines a second: 50,000 lines.
const SPEED: u64 = 5;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut rows = calls(lab);
    rows.extend(lines(lab));
    Ok(rows)
}

fn calls(lab: &Lab) -> Vec<Row> {
    let rows = [
        Row::new("`getMonitorData` of 100 apps on PM2's socket: wall time", "ms", "≤ 3"),
        Row::new("the same: CPU of the manager", "ms", "≤ PM2/5"),
        Row::new("`ping` on PM2's socket, one after the other", "requests/s", "≥ 5,000"),
    ];
    let (lists, pings) = if lab.quick { (20, 2_000) } else { (100, 20_000) };
    lab.rows(lab.rounds(3, 1), rows, |subject| {
        let Some(kind) = manager_with_sockets(subject) else { return Ok(TurnResult::LeftOut("has no such socket")) };
        let manager = lab.manager(kind)?;
        manager.start_all(&lab.apps(100, &["pause"]))?;
        wait_until_idle();
        let own = manager.manager_pids()?;
        let mut wire = SocketConnection::connect(&manager, "rpc.sock")?;
        wire.call("getMonitorData")?;
        let (before, mut walls) = (measure::cpu(&own), Vec::new());
        for _ in 0..lists {
            walls.push(ms(wire.call("getMonitorData")?));
        }
        let cpu = ms(measure::cpu(&own).saturating_sub(before)) / f64::from(lists);
        let begin = Instant::now();
        for _ in 0..pings {
            wire.call("ping")?;
        }
        let speed = f64::from(pings) / begin.elapsed().as_secs_f64();
        Ok(TurnResult::Values([report::median(&walls).unwrap_or(f64::NAN), cpu, speed]))
    })
}

fn lines(lab: &Lab) -> Vec<Row> {
    let megabytes = if lab.quick { 10 } else { 50 };
    let total = megabytes * LINES_PER_MB;
    let rows = [
        Row::new("50,000 lines a second for three subscribers: lines that each gets", "lines/s", "≥ 50,000"),
        Row::new("the same: missing at the one that got least", "lines", "0"),
        Row::new("the same: lost in the file", "lines", "0"),
        Row::new("the same: largest memory of the manager", "MB", "≤ 20"),
        Row::new("the same: CPU of the manager", "s/GB", ""),
    ];
    lab.rows(lab.rounds(2, 1), rows, |subject| {
        let Some(kind) = manager_with_sockets(subject) else { return Ok(TurnResult::LeftOut("has no such socket")) };
        let manager = lab.manager(kind)?;
        manager.warm(1)?;
        wait_until_idle();
        let times = lab.fresh()?.join("times").display().to_string();
        let bytes = megabytes * 1_000_000;
        let subscribers = (0..SUBSCRIBERS).map(|_| SocketConnection::connect(&manager, "pub.sock")).collect::<Result<Vec<_>>>()?;
        let before = measure::cpu(&manager.manager_pids()?);
        let over = AtomicBool::new(false);
        let (got, memory, cpu) = std::thread::scope(|scope| -> Result<_> {
            let readers: Vec<_> = subscribers.into_iter().map(|wire| scope.spawn(move || wire.lines(total))).collect();
            let watcher = scope.spawn(|| largest(&manager, before, &over));
            let started = manager.start(&lab.apps(1, &["pour", &bytes.to_string(), &SPEED.to_string(), &times]));
            let got: Vec<_> = readers.into_iter().filter_map(|reader| reader.join().ok()).collect();
            over.store(true, Ordering::Relaxed);
            started?;
            let (memory, cpu) = watcher.join().ok().context("the memory was not seen")?;
            Ok((got, memory, cpu))
        })?;
        let speed = got.iter().map(|got| got.lines as f64 / got.time.as_secs_f64()).fold(f64::INFINITY, f64::min);
        let missing = got.iter().map(|got| total.saturating_sub(got.lines)).max().unwrap_or(total);
        let written = || std::fs::read(manager.out_file("app-0").unwrap_or_default()).unwrap_or_default();
        let in_file = || memchr::memchr_iter(b'\n', &written()).count() as u64;
        measure::wait(PATIENCE, || in_file() >= total);
        let lost = total.saturating_sub(in_file());
        Ok(TurnResult::Values([speed, missing as f64, lost as f64, memory as f64 / 1e6, cpu.as_secs_f64() / (bytes as f64 / 1e9)]))
    })
}

/// Returns the manager, if it has PM2's sockets.
fn manager_with_sockets(subject: Subject) -> Option<ManagerKind> {
    match subject {
        Subject::Manager(kind @ (ManagerKind::Pm2 | ManagerKind::Ostler)) => Some(kind),
        _ => None,
    }
}

/// Returns the largest memory of the manager's processes together, and their CPU time since
/// `before`, until `over` is set. A reader that has exited by then counts as far as it was seen.
fn largest(manager: &Contender, before: Duration, over: &AtomicBool) -> (u64, Duration) {
    let (mut memory, mut cpu) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        if let Ok(own) = manager.manager_pids() {
            memory = memory.max(measure::memory(&own).pss);
            cpu = cpu.max(measure::cpu(&own).saturating_sub(before));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (memory, cpu)
}

/// A connection to one of the sockets.
struct SocketConnection {
    stream: UnixStream,
    decoder: Decoder,
}

/// Data that a subscriber received.
struct Received {
    lines: u64,
    /// Time from the first line to the last.
    time: Duration,
}

impl SocketConnection {
    fn connect(manager: &Contender, name: &str) -> Result<SocketConnection> {
        let path = manager.home().join(name);
        let stream = UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(SocketConnection { stream, decoder: Decoder::with_limit(LIMIT) })
    }

    /// Returns the next frame; none at the end.
    fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            if let Some(args) = self.decoder.take()? {
                return Ok(Some(args));
            }
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                length => self.decoder.push(buffer.get(..length).unwrap_or_default()),
            }
        }
    }

    /// Makes a call. Returns the time until the whole answer has arrived; the client's processing
    /// is not part of it.
    fn call(&mut self, method: &str) -> Result<Duration> {
        let begin = Instant::now();
        self.stream.write_all(&rpc::invocation("1:1", method, &[json!({})]))?;
        let frame = self.next()?;
        let took = begin.elapsed();
        let answer = frame.and_then(rpc::answer).context("no answer")?;
        if let Err(why) = answer.result {
            bail!("{method}: {why}");
        }
        Ok(took)
    }

    /// Reads until this many lines of the app have arrived, or none arrives for some time.
    fn lines(mut self, total: u64) -> Received {
        let (mut lines, mut first, mut last) = (0, None, Instant::now());
        while lines < total {
            let Ok(Some(args)) = self.next() else { break };
            let [topic, payload] = args.as_slice() else { continue };
            if topic != b"s:log:out" {
                continue;
            }
            let payload: Value = serde_json::from_slice(payload.get(2..).unwrap_or_default()).unwrap_or_default();
            let data = payload.get("data").and_then(Value::as_str).unwrap_or_default();
            lines += memchr::memchr_iter(b'\n', data.as_bytes()).count() as u64;
            last = Instant::now();
            first.get_or_insert(last);
        }
        Received { lines, time: first.map_or(Duration::MAX, |first| last.duration_since(first)) }
    }
}
