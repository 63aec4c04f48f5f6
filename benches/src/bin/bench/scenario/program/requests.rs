//! Requests per second of the same server, started afresh in each round: two processes of one
//! program differ by a hundredth or two for their whole life.

use crate::cores;
use crate::lab::{Lab, TurnResult};
use crate::measure;
use crate::program::{ProgramRunner, Server, Site};
use crate::report::Row;
use anyhow::{Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::thread;
use std::time::Duration;

/// Runners with one process. The others are compared with the first.
const SINGLE: [ProgramRunner; 5] =
    [ProgramRunner::Alone, ProgramRunner::Cluster, ProgramRunner::Activation, ProgramRunner::Pm2, ProgramRunner::Supervisor];
/// Runners with two processes.
const DOUBLE: [ProgramRunner; 3] = [ProgramRunner::Activation, ProgramRunner::Cluster, ProgramRunner::Nginx];

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for (runners, copies, words, goal) in [(&SINGLE[..], 1, "1 process on one core", "≥ 0.99"), (&DOUBLE[..], 2, "2 processes", "")] {
        let base = runners.first().map_or("", |runner| runner.name());
        let rows = [
            Row::new(format!("{words}, `Connection: close`"), "requests/s", ""),
            Row::new(format!("… ÷ {base} (median of the rounds' ratios)"), "", goal),
            Row::new("… CPU of all processes per request", "µs", ""),
            Row::new(format!("{words}, keep-alive"), "requests/s", ""),
            Row::new(format!("… ÷ {base} (median of the rounds' ratios)"), "", goal),
            Row::new("… CPU of all processes per request", "µs", ""),
        ];
        let mut of_base = [f64::NAN; 2];
        all.extend(lab.program_rows(runners, lab.rounds(15, 2), rows, |runner| {
            let site = match Site::start(lab, runner, Server::Tiny, copies)? {
                Ok(site) => site,
                Err(missing) => return Ok(TurnResult::LeftOut(missing)),
            };
            let ([close, close_cpu], [keep, keep_cpu]) = (ask(lab, &site, false, copies)?, ask(lab, &site, true, copies)?);
            if Some(&runner) == runners.first() {
                of_base = [close, keep];
            }
            Ok(TurnResult::Values([close, close / of_base[0], close_cpu, keep, keep / of_base[1], keep_cpu]))
        }));
    }
    Ok(all)
}

/// Returns requests per second, and µs of the server and of everything beside it per request. A
/// single process has one core and the clients another.
fn ask(lab: &Lab, site: &Site, keep_alive: bool, copies: usize) -> Result<[f64; 2]> {
    let servers: Vec<i32> = site.pids()?.into_iter().collect();
    let cores = cores::cores()?.filter(|_| copies == 1);
    if let Some((ours, _)) = cores {
        cores::pin(&servers, ours)?;
    }
    let all: Vec<i32> = site.others()?.into_iter().chain(servers).collect();
    let run = |time| {
        let load = Load::start(LoadSpec { connections: 32, keep_alive, pause_us: 0, ..LoadSpec::to(site.port) });
        thread::sleep(time);
        load.stop()
    };
    let (report, used) = cores::on_core(cores.map(|(_, clients)| clients), || {
        // Caches get filled.
        drop(run(Duration::from_millis(200)));
        let before = measure::cpu(&all);
        let report = run(Duration::from_millis(if lab.quick { 500 } else { 1000 }));
        (report, measure::cpu(&all).saturating_sub(before))
    })?;
    ensure!(report.failed == 0, "{} of {} requests failed: {:?}", report.failed, report.requests, report.errors);
    let requests = report.requests as f64;
    Ok([requests / report.seconds, used.as_secs_f64() * 1e6 / requests])
}
