//! SIGKILL of the daemon while its app answers requests and writes lines.

use super::ms;
use crate::contender::Contender;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("SIGKILL of the daemon: app keeps its pid (1 = yes)", "", "1"),
        Row::new("… requests that failed", "", "0"),
        Row::new("… log lines lost", "lines", "0"),
        Row::new("… daemon back by itself and answers", "ms", "≤ 50"),
        Row::new("… copies of the app after `save`, kill, `resurrect` (supervisor: its start)", "", "1"),
    ];
    Ok(lab.rows(lab.rounds(5, 1), rows, |subject| match subject {
        Subject::Manager(kind) => run(lab, &lab.manager(kind)?).map(TurnResult::Values),
        Subject::Floor => Ok(TurnResult::LeftOut("–")),
    }))
}

fn run(lab: &Lab, manager: &Contender) -> Result<[f64; 5]> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    manager.start(&lab.apps(1, &["serve", &port.to_string()]))?;
    anyhow::ensure!(measure::wait(Duration::from_secs(10), || ask(port)), "the app does not answer");
    manager.save()?;
    let pid = *manager.apps()?.first().context("the app does not run")?;
    let daemon = manager.daemon()?;

    let (over, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = thread::spawn({
        let (over, failed) = (over.clone(), failed.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                failed.fetch_add(u64::from(!ask(port)), Ordering::Relaxed);
            }
        }
    });
    thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_raw(daemon).context("no pid")?, Signal::KILL)?;
    let begin = Instant::now();
    let mut back = f64::INFINITY;
    while begin.elapsed() < Duration::from_secs(3) {
        // Only an automatic restart of the daemon counts, because the first command would start
        // one.
        if back.is_infinite() && manager.daemon().is_ok_and(|new| new != daemon) && manager.list().is_ok() {
            back = ms(begin.elapsed());
        }
        thread::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::Relaxed);
    let _ = load.join();
    let same = measure::alive(pid);
    let lost = lost_lines(manager)?;
    let _ = manager.resurrect();
    // Not every manager's command waits until the app runs, and a second copy may follow the first.
    measure::wait(Duration::from_secs(5), || manager.apps().is_ok_and(|apps| !apps.is_empty()));
    thread::sleep(Duration::from_millis(500));
    let copies = manager.apps()?.len();
    Ok([f64::from(u8::from(same)), failed.load(Ordering::Relaxed) as f64, lost as f64, back, copies as f64])
}

/// Sends one request over a new connection.
fn ask(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(2)) else {
        // A refused connection fails immediately, so this avoids a busy loop.
        thread::sleep(Duration::from_millis(1));
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut answer = String::new();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with("ok")
}

/// Returns how many numbers are missing between the first and the last line.
fn lost_lines(manager: &Contender) -> Result<u64> {
    let text = std::fs::read_to_string(manager.out_file("app-0")?)?;
    let numbers: Vec<u64> = text.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    // A restarted process counts from 0 again: every step other than one is a loss.
    Ok(numbers.windows(2).map(|pair| pair[1].saturating_sub(pair[0] + 1)).sum())
}
