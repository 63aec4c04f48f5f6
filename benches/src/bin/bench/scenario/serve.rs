//! Files over HTTP, by `serve` and by nginx. All servers run all the time and take short turns, so
//! that a busy moment of the machine affects all. Each server has one core, and the clients have
//! another.

mod clients;

use crate::contender::{Contender, ManagerKind};
use crate::cores;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::nginx::Nginx;
use crate::report::Row;
use anyhow::{Context, Result, ensure};
use ostler_testkit::{free_port, get};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Number of clients, each with one keep-alive connection.
const CLIENTS: usize = 32;

/// Files: name, words of the table, size, and goal.
const FILES: [(&str, &str, usize, &str); 3] =
    [("1k.bin", "1 KB", 1 << 10, ""), ("10k.bin", "10 KB", 10 << 10, "≥ 5 × PM2, ≥ nginx / 1.5"), ("1m.bin", "1 MB", 1 << 20, "")];

/// Runner of a server. Dropping it stops the server.
#[allow(dead_code, reason = "only dropped")]
enum Runner {
    Manager(Contender),
    Nginx(Nginx),
}

/// A running server.
struct Server {
    _runner: Runner,
    pids: Vec<i32>,
    port: u16,
}

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let site = lab.fresh()?;
    for (name, _, size, _) in FILES {
        fs::write(site.join(name), vec![b'x'; size]).context("cannot write the files")?;
    }
    let cores = cores::cores()?;
    let mut all = Vec::new();
    for copies in [1, 2] {
        let mut servers: Vec<(Subject, Server)> = Vec::new();
        for (file, words, size, goal) in FILES {
            if copies > 1 && file != "10k.bin" {
                continue;
            }
            let (how, goal) = if copies == 1 { ("one core", goal) } else { ("cluster of 2", "") };
            let rows = [
                Row::new(format!("serve: file of {words}, {how} (floor: nginx)"), "requests/s", goal),
                Row::new("… CPU of the server per request", "µs", ""),
            ];
            all.extend(lab.rows(lab.rounds(7, 2), rows, |subject| {
                if !servers.iter().any(|(known, _)| *known == subject) {
                    let server = match subject {
                        Subject::Manager(ManagerKind::Supervisor) => return Ok(TurnResult::LeftOut("has none")),
                        Subject::Manager(kind) => Server::managed(lab, kind, &site, copies)?,
                        Subject::Floor => match Server::nginx(lab, &site, copies)? {
                            Some(server) => server,
                            None => return Ok(TurnResult::LeftOut("no nginx here")),
                        },
                    };
                    // Several copies get all cores, as in production.
                    if let (1, Some((ours, _))) = (copies, cores) {
                        cores::pin(&server.pids, ours)?;
                    }
                    server.ask(file, size, Duration::from_millis(300), None)?;
                    servers.push((subject, server));
                }
                let Some((_, server)) = servers.iter().find(|(known, _)| *known == subject) else { return Ok(TurnResult::LeftOut("–")) };
                let clients = cores.map(|(_, clients)| clients).filter(|_| copies == 1);
                let time = Duration::from_millis(if lab.quick { 500 } else { 1000 });
                Ok(TurnResult::Values(server.ask(file, size, time, clients)?))
            }));
        }
    }
    Ok(all)
}

impl Server {
    /// Starts `serve` of a manager: one copy by the command, several by a file.
    fn managed(lab: &Lab, kind: ManagerKind, site: &Path, copies: usize) -> Result<Server> {
        let manager = lab.manager(kind)?;
        manager.warm(0)?;
        let known: BTreeSet<i32> = measure::marked(manager.folder())?.iter().map(|process| process.pid).collect();
        let (port, site) = (free_port(), site.display().to_string());
        if copies == 1 {
            manager.call(manager.client(&["serve", &site, &port.to_string()]))?;
        } else {
            let file = manager.folder().join("serve.json").display().to_string();
            let env = json!({ "PM2_SERVE_PATH": site, "PM2_SERVE_PORT": port.to_string() });
            let app = json!({ "name": "site", "script": "serve", "exec_mode": "cluster", "instances": copies, "env": env });
            fs::write(&file, json!({ "apps": [app] }).to_string()).context("cannot write the file of apps")?;
            manager.call(manager.client(&["start", &file]))?;
        }
        answers(port)?;
        let fresh = |process: &measure::Marked| !known.contains(&process.pid);
        let mut pids = Vec::new();
        measure::wait(Duration::from_secs(20), || {
            let marked = measure::marked(manager.folder()).unwrap_or_default();
            pids = marked.iter().filter(|process| fresh(process)).map(|process| process.pid).collect();
            pids.len() == copies
        });
        ensure!(pids.len() == copies, "{} processes instead of {copies} serve", pids.len());
        Ok(Server { _runner: Runner::Manager(manager), pids, port })
    }

    /// Starts nginx; none if it is not installed.
    fn nginx(lab: &Lab, site: &Path, copies: usize) -> Result<Option<Server>> {
        let (folder, port) = (lab.fresh()?, free_port());
        let http = format!("sendfile on;\nserver {{ listen 127.0.0.1:{port}; root {}; }}", site.display());
        let Some(nginx) = Nginx::start(&folder, copies, &http)? else { return Ok(None) };
        answers(port)?;
        let pids = nginx.workers()?;
        ensure!(pids.len() == copies, "{} processes instead of {copies} serve", pids.len());
        Ok(Some(Server { _runner: Runner::Nginx(nginx), pids, port }))
    }

    /// Requests a file without a pause: returns requests per second, and µs of the server for each.
    fn ask(&self, file: &str, size: usize, time: Duration, core: Option<usize>) -> Result<[f64; 2]> {
        let before = measure::cpu(&self.pids);
        let seen = cores::on_core(core, || clients::ask(self.port, &format!("/{file}"), size, CLIENTS, time))??;
        let used = measure::cpu(&self.pids).saturating_sub(before);
        let requests = seen.requests as f64;
        Ok([requests / seen.seconds, used.as_secs_f64() * 1e6 / requests])
    }
}

fn answers(port: u16) -> Result<()> {
    let serves = measure::wait(Duration::from_secs(20), || get(port, "/1k.bin").is_ok());
    ensure!(serves, "nothing answers on port {port}");
    Ok(())
}
