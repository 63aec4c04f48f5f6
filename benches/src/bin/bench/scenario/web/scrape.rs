//! The page for Prometheus over a hundred apps, beside PM2 with the exporter of npm
//! (`OSTLER_BENCH_EXPORTER`: its script). Also the additional cost if some apps have their own
//! pages, which the dashboard reads.

use super::dashboard::{Dashboard, processes, whole};
use crate::contender::{Contender, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{Row, median};
use crate::scenario::ms;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Fixed port of the exporter.
const EXPORTER_PORT: u16 = 9209;
/// Longer than the dashboard's cached sample is valid for another scrape.
const PAUSE: Duration = Duration::from_secs(2);
/// Apps with their own page, and the number of metrics on each.
const PAGES: usize = 10;
const FIGURES: usize = 200;

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let count = if lab.quick { 5 } else { 20 };
    let rows = [
        Row::new(format!("`/metrics` of 100 apps, median of {count} (PM2: pm2-prometheus-exporter)"), "ms", "≤ 5"),
        Row::new("… CPU for one, of who answers and of the daemon", "ms", ""),
        Row::new("… memory of who answers, PSS", "MB", ""),
        Row::new(format!("… with {PAGES} apps more that have {FIGURES} figures each on a page of their own"), "ms", ""),
        Row::new("… CPU for one, of who answers and of the daemon", "ms", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        let Subject::Manager(kind) = subject else { return Ok(TurnResult::LeftOut("–")) };
        if kind == ManagerKind::Supervisor {
            return Ok(TurnResult::LeftOut("–"));
        }
        let exporter = std::env::var_os("OSTLER_BENCH_EXPORTER");
        if kind == ManagerKind::Pm2 && exporter.is_none() {
            return Ok(TurnResult::LeftOut("–"));
        }
        let manager = lab.manager(kind)?;
        manager.start_all(&lab.apps(100, &["pause"]))?;
        // Time per scrape, and CPU time of these processes per scrape.
        let scrape = |ask: &dyn Fn() -> Result<String>, name: &str, least: usize, pids: &[i32]| -> Result<[f64; 2]> {
            let (mut times, mut before) = (Vec::new(), Duration::ZERO);
            for round in 0..=count {
                thread::sleep(PAUSE);
                let begin = Instant::now();
                let text = ask()?;
                let apps = text.lines().filter(|line| line.starts_with(name)).count();
                ensure!(apps >= least, "{apps} of {least} are on the page");
                // The first one runs with cold caches.
                match round {
                    0 => before = measure::cpu(pids),
                    _ => times.push(ms(begin.elapsed())),
                }
            }
            let cpu = ms(measure::cpu(pids).saturating_sub(before)) / count as f64;
            Ok([median(&times).unwrap_or(f64::NAN), cpu])
        };
        let values = if kind == ManagerKind::Ostler {
            let dashboard = Dashboard::on(&manager)?;
            let (web, daemon) = (processes(&manager)?.0, manager.daemon()?);
            let ask = || dashboard.get("/metrics");
            let plain = scrape(&ask, "ostler_app_up{", 100, &[web, daemon])?;
            let memory = measure::memory(&[web]);
            start_pages(lab, &manager)?;
            let is_read =
                |text: &str| text.lines().filter(|line| line.starts_with("ostler_app_scrape_up{") && line.ends_with(" 1")).count() == PAGES;
            ensure!(measure::wait(Duration::from_secs(60), || ask().is_ok_and(|text| is_read(&text))), "their pages are not read");
            let own = scrape(&ask, "own_", PAGES * FIGURES, &[web, daemon])?;
            [plain[0], plain[1], memory.pss as f64 / 1e6, own[0], own[1]]
        } else {
            // With the variables of the manager's home, as one of its apps gets them.
            let mut command = std::process::Command::new("node");
            let client = manager.client(&[]);
            command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.arg(exporter.unwrap_or_default()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let running = Running(command.spawn().context("cannot run node")?);
            let ask = || {
                let mut stream = TcpStream::connect(("127.0.0.1", EXPORTER_PORT)).context("the exporter does not listen")?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
                whole(stream)
            };
            let is_up = measure::wait(Duration::from_secs(30), || ask().is_ok_and(|text| text.contains("pm2_up{")));
            ensure!(is_up, "the exporter does not answer");
            let pid = i32::try_from(running.0.id())?;
            let plain = scrape(&ask, "pm2_up{", 100, &[pid, manager.daemon()?])?;
            [plain[0], plain[1], measure::memory(&[pid]).pss as f64 / 1e6, f64::NAN, f64::NAN]
        };
        Ok(TurnResult::Values(values))
    }))
}

/// Starts Node apps with their own pages, each on its port.
fn start_pages(lab: &Lab, manager: &Contender) -> Result<()> {
    let folder = lab.fresh()?;
    let script = folder.join("page.js");
    let text = format!(
        "const page = Array.from({{ length: {FIGURES} }}, (_, n) => `# TYPE own_${{n}}_total counter\nown_${{n}}_total ${{n}}\n`).join('');\n\
         require('http').createServer((_, answer) => answer.end(page)).listen(process.env.PORT, '127.0.0.1');\n"
    );
    std::fs::write(&script, text)?;
    let port = ostler_testkit::free_ports(u16::try_from(PAGES)?);
    let app =
        |n: u16| serde_json::json!({ "name": format!("page-{n}"), "script": script, "env": { "PORT": port + n }, "scrape": port + n });
    let apps: Vec<_> = (0..u16::try_from(PAGES)?).map(app).collect();
    let file = folder.join("pages.json");
    std::fs::write(&file, serde_json::json!({ "apps": apps }).to_string())?;
    manager.call(manager.client(&["start", &file.display().to_string()]))?;
    Ok(())
}

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
