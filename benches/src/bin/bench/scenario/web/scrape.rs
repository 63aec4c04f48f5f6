//! The page for Prometheus over a hundred apps, beside PM2 with the exporter of npm (`OSTLER_BENCH_EXPORTER`: its script).

use super::dashboard::{Dashboard, processes, whole};
use crate::contender::Kind;
use crate::lab::{Lab, Subject, Turn};
use crate::measure;
use crate::report::{Row, median};
use crate::scenario::ms;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The exporter listens there and nowhere else.
const EXPORTER_PORT: u16 = 9209;
/// Longer than a look of the dashboard is good for another scrape.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let count = if lab.quick { 5 } else { 20 };
    let rows = [
        Row::new(format!("`/metrics` of 100 apps, median of {count} (PM2: pm2-prometheus-exporter)"), "ms", "≤ 5"),
        Row::new("… memory of who answers, PSS", "MB", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        let Subject::Manager(kind) = subject else { return Ok(Turn::LeftOut("–")) };
        if kind == Kind::Supervisor {
            return Ok(Turn::LeftOut("–"));
        }
        let exporter = std::env::var_os("OSTLER_BENCH_EXPORTER");
        if kind == Kind::Pm2 && exporter.is_none() {
            return Ok(Turn::LeftOut("–"));
        }
        let manager = lab.manager(kind)?;
        manager.start_all(&lab.apps(100, &["pause"]))?;
        let mut scrapes = Vec::new();
        let mut scrape = |ask: &dyn Fn() -> Result<String>, name: &str| -> Result<()> {
            for _ in 0..count {
                thread::sleep(PAUSE);
                let begin = Instant::now();
                let text = ask()?;
                scrapes.push(ms(begin.elapsed()));
                let apps = text.lines().filter(|line| line.starts_with(name)).count();
                ensure!(apps >= 100, "{apps} apps are on the page");
            }
            Ok(())
        };
        let memory = if kind == Kind::Ostler {
            let dashboard = Dashboard::on(&manager)?;
            scrape(&|| dashboard.get("/metrics"), "ostler_app_up{")?;
            measure::memory(&[processes(&manager)?.0])
        } else {
            // With the variables of the manager's home, as an app of it has them.
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
            scrape(&ask, "pm2_up{")?;
            measure::memory(&[i32::try_from(running.0.id())?])
        };
        Ok(Turn::Values([median(&scrapes).unwrap_or(f64::NAN), memory.pss as f64 / 1e6]))
    }))
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
