//! What it costs a Node server to be measured: one server that collects by turns; and the same server in two homes, in one of which the dashboard collects.

use super::dashboard::Dashboard;
use crate::cluster::{Cluster, Script, Way};
use crate::contender::Kind;
use crate::lab::{Lab, Subject, Turn};
use crate::measure;
use crate::report::{Row, median};
use crate::scenario::ms;
use anyhow::{Context, Result, anyhow, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const PAIRS: usize = 10;
/// Of fresh servers: two processes of the same program differ by a hundredth or two as long as they live, by what V8 has made of them.
const ROUNDS: usize = 5;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rounds = if lab.quick { 1 } else { ROUNDS };
    let turns = turns(lab);
    let rows = [
        Row::new(format!("Node throughput, one server that collects by turns, ÷ not: median of {turns} turns"), "", "≥ 0.99"),
        Row::new("… CPU of the server for a request", "", ""),
        Row::new(format!("… of two servers, one of which the dashboard measures: median of {PAIRS} turns each of {rounds} pairs"), "", ""),
        Row::new("… CPU of the server for a request", "", ""),
        Row::new("… requests per second while collected", "requests/s", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        if subject != Subject::Manager(Kind::Ostler) {
            return Ok(Turn::LeftOut("–"));
        }
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..rounds {
            pair_of_servers(lab, round % 2 == 0, &mut samples)?;
        }
        let [throughput, cpu, speed] = samples;
        let [own_throughput, own_cpu] = by_turns(lab)?;
        let lists = [own_throughput, own_cpu, throughput, cpu, speed];
        Ok(Turn::Values(lists.map(|list| median(&list).unwrap_or(f64::NAN))))
    }))
}

fn turns(lab: &Lab) -> usize {
    if lab.quick { 5 } else { 15 }
}

/// The ratios of throughput and of CPU for a request: each turn in which the one server collects, by the mean of the turns around it in which it does not. The same
/// process, so that nothing else differs.
fn by_turns(lab: &Lab) -> Result<[Vec<f64>; 2]> {
    let port = ostler_testkit::free_port();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.arg(folder.join("node/collected.js")).arg(port.to_string()).arg(folder.join("../crates/daemon/preload/collector.cjs"));
    let mut server = Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run node")?);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let ask = |path: &str| ostler_testkit::get(address, path).map_err(|error| anyhow!("{path}: {error}"));
    ensure!(measure::wait(Duration::from_secs(20), || ask("/spent").is_ok()), "no server: {:?}", server.0.try_wait());
    let load = |time: u64| {
        let load = Load::start(LoadSpec { connections: 32, keep_alive: true, pause_us: 0, ..LoadSpec::to(port) });
        thread::sleep(Duration::from_millis(time));
        load.stop()
    };
    // Requests per second and CPU for a request, after some time in which the collector learns how much there is to do, and V8 compiles anew what has changed.
    let spent = |switch: &str, settles: u64| -> Result<[f64; 2]> {
        ask(switch)?;
        load(settles);
        let numbers = || -> Result<(f64, f64)> {
            let text = ask("/spent")?;
            let (cpu, requests) = text.split_once(' ').context("no figures")?;
            Ok((cpu.parse()?, requests.parse()?))
        };
        let before = numbers()?;
        let report = load(2000);
        let after = numbers()?;
        Ok([report.requests as f64 / report.seconds, (after.0 - before.0) / (after.1 - before.1)])
    };
    load(5000);
    let mut ratios = [Vec::new(), Vec::new()];
    let mut without = spent("/off", 5000)?;
    for _ in 0..turns(lab) {
        let with = spent("/on", 9000)?;
        let next = spent("/off", 5000)?;
        for (figure, list) in ratios.iter_mut().enumerate() {
            list.push(2.0 * with[figure] / (without[figure] + next[figure]));
        }
        without = next;
    }
    Ok(ratios)
}

/// A process that ends with the benchmark.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two fresh servers; the first or the second is measured. Adds the ratios of throughput and of CPU for a request, and requests per second.
fn pair_of_servers(lab: &Lab, is_first: bool, samples: &mut [Vec<f64>; 3]) -> Result<()> {
    let start = || Cluster::start(lab, Way::Reuseport, Script::Naive, 1, &[]);
    let (one, two) = (start()?, start()?);
    let (measured, other) = if is_first { (one, two) } else { (two, one) };
    let dashboard = Dashboard::on(measured.manager().context("a manager runs it")?)?;
    let has_begun = measure::wait(Duration::from_secs(60), || {
        dashboard.get("/metrics").is_ok_and(|text| text.contains("ostler_node_measured_seconds{"))
    });
    ensure!(has_begun, "nothing is collected");
    for cluster in [&measured, &other] {
        for _ in 0..3 {
            cluster.warm();
        }
    }
    for pair in 0..PAIRS {
        // Who is first takes turns.
        let (with, without) = if pair % 2 == 0 {
            let with = turn(lab, &measured)?;
            (with, turn(lab, &other)?)
        } else {
            let without = turn(lab, &other)?;
            (turn(lab, &measured)?, without)
        };
        let [throughput, cpu, speeds] = samples;
        throughput.push(with[0] / without[0]);
        cpu.push(with[1] / without[1]);
        speeds.push(with[0]);
    }
    Ok(())
}

/// Requests per second, and CPU of the server for one in microseconds.
fn turn(lab: &Lab, cluster: &Cluster) -> Result<[f64; 2]> {
    let workers = cluster.workers()?;
    let before = measure::cpu(&workers);
    let load = Load::start(LoadSpec { connections: 32, keep_alive: true, pause_us: 0, ..LoadSpec::to(cluster.port) });
    thread::sleep(Duration::from_millis(if lab.quick { 800 } else { 2000 }));
    let report = load.stop();
    let cpu = measure::cpu(&workers).saturating_sub(before);
    ensure!(report.failed == 0, "{} of {} requests failed", report.failed, report.requests);
    let requests = report.requests as f64;
    Ok([requests / report.seconds, ms(cpu) * 1000.0 / requests])
}
