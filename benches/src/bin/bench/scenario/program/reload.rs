//! Ten reloads while clients send requests at a moderate speed: none may fail or wait long.

use crate::cluster::Clients;
use crate::lab::{Lab, TurnResult};
use crate::measure::{self, Cpu};
use crate::program::{ProgramRunner, Server, Site};
use crate::report::Row;
use crate::scenario::ms;
use anyhow::Result;
use std::thread;
use std::time::{Duration, Instant};

/// Pause of each client between two requests.
const PAUSE_US: u64 = 5000;
/// Pause between two reloads, before the first and after the last.
const PAUSE: Duration = Duration::from_millis(200);

/// Ways to run Python's `http.server`: two processes, if the runner can run two on one port.
const PYTHON: [(ProgramRunner, usize); 5] = [
    (ProgramRunner::Activation, 1),
    (ProgramRunner::Pm2, 1),
    (ProgramRunner::Supervisor, 1),
    (ProgramRunner::Nginx, 2),
    (ProgramRunner::Cluster, 2),
];
/// Ways to run gunicorn with two workers.
const GUNICORN: [(ProgramRunner, usize); 2] = [(ProgramRunner::Gunicorn, 2), (ProgramRunner::Cluster, 2)];

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let reloads = lab.rounds(10, 2);
    let mut all = Vec::new();
    for (server, words, runners) in
        [(Server::Python, "Python's `http.server`", &PYTHON[..]), (Server::Gunicorn, "gunicorn, 2 workers", &GUNICORN[..])]
    {
        let rows = [
            Row::new(format!("{reloads} reloads of {words}: failed requests, `Connection: close`"), "", "0"),
            Row::new("… failed requests, keep-alive", "", ""),
            Row::new("… longest time without an answer", "ms", ""),
            Row::new("… answer, 99th percentile", "ms", ""),
            Row::new("… slowest answer", "ms", ""),
            Row::new("… one reload, mean", "ms", ""),
            Row::new("… CPU of manager or proxy, and of the command, per reload", "ms", ""),
        ];
        let kinds: Vec<ProgramRunner> = runners.iter().map(|(runner, _)| *runner).collect();
        all.extend(lab.program_rows(&kinds, lab.rounds(3, 1), rows, |runner| {
            let copies = runners.iter().find(|(known, _)| *known == runner).map_or(1, |(_, copies)| *copies);
            match Site::start(lab, runner, server, copies)? {
                Ok(site) => run(site, reloads).map(TurnResult::Values),
                Err(missing) => Ok(TurnResult::LeftOut(missing)),
            }
        }));
    }
    Ok(all)
}

fn run(mut site: Site, reloads: usize) -> Result<[f64; 7]> {
    let clients = Clients::with_pause(site.port, PAUSE_US);
    thread::sleep(PAUSE);
    let others = site.others()?;
    let (before, mut used, mut time) = (measure::cpu(&others), Cpu::ZERO, Duration::ZERO);
    for _ in 0..reloads {
        let begin = Instant::now();
        used += site.reload()?;
        time += begin.elapsed();
        thread::sleep(PAUSE);
    }
    used += measure::cpu(&others).saturating_sub(before);
    let [close, keep] = clients.reports();
    let both = |of: fn(&ostler_testkit::LoadReport) -> f64| of(&close).max(of(&keep));
    let each = |time: Duration| ms(time) / reloads as f64;
    Ok([
        close.failed as f64,
        keep.failed as f64,
        both(|report| report.longest_gap_ms),
        both(|report| report.percentile_ms(99.0)),
        both(|report| report.slowest_ms),
        each(time),
        if others.is_empty() { f64::NAN } else { each(used) },
    ])
}
