//! A hundred apps with an HTTP health check every 5 s: the cost for their manager.

use super::ms;
use crate::contender::{App, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::Result;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

const APPS: usize = 100;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let time = Duration::from_secs(if lab.quick { 10 } else { 30 });
    let rows = [
        Row::new("at rest, 100 apps, each asked by HTTP every 5 s: CPU per second", "ms/s", "≤ 2"),
        Row::new("at rest, 100 apps, each asked by HTTP every 5 s: wake-ups per second", "1/s", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        if subject != Subject::Manager(ManagerKind::Ostler) {
            return Ok(TurnResult::LeftOut("no checks"));
        }
        let manager = lab.manager(ManagerKind::Ostler)?;
        manager.start_all(&apps(lab)?)?;
        let pids = manager.manager_pids()?;
        // Until each has answered, and the checks are spread over the five seconds.
        thread::sleep(Duration::from_secs(8));
        let before = (measure::cpu(&pids), measure::sleeps(&pids));
        thread::sleep(time);
        let cpu = ms(measure::cpu(&pids).saturating_sub(before.0)) / time.as_secs_f64();
        let sleeps = (measure::sleeps(&pids) - before.1) as f64 / time.as_secs_f64();
        Ok(TurnResult::Values([cpu, sleeps]))
    }))
}

/// Returns the apps, each on a separate port.
fn apps(lab: &Lab) -> Result<Vec<App>> {
    let listeners = (0..APPS).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<Vec<u16>>>()?;
    let tiny = lab.tiny();
    let app = |(number, port): (usize, &u16)| App {
        health_port: Some(*port),
        ..App::new(format!("app-{number}"), &[tiny.as_str(), "answer", &port.to_string()])
    };
    Ok(ports.iter().enumerate().map(app).collect())
}
