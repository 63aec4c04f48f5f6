//! Files over HTTP, by `serve` and by nginx. All servers run all the time and take short turns, so
//! that a busy moment of the machine affects all. Each server has one core, and the clients have
//! another.

mod clients;

use crate::contender::{Contender, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result, ensure};
use ostler_testkit::{free_port, get};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Number of clients, each with one keep-alive connection.
const CLIENTS: usize = 32;

/// Files: name, words of the table, size, and goal.
const FILES: [(&str, &str, usize, &str); 3] =
    [("1k.bin", "1 KB", 1 << 10, ""), ("10k.bin", "10 KB", 10 << 10, "≥ 5 × PM2, ≥ nginx / 1.5"), ("1m.bin", "1 MB", 1 << 20, "")];

/// Runner of a server.
enum Runner {
    Manager(#[allow(dead_code, reason = "dropping it ends the server")] Contender),
    Nginx(Child),
}

/// A running server. Dropping it stops it.
struct Server {
    runner: Runner,
    pids: Vec<i32>,
    port: u16,
}

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let site = lab.fresh()?;
    for (name, _, size, _) in FILES {
        fs::write(site.join(name), vec![b'x'; size]).context("cannot write the files")?;
    }
    let cores = cores()?;
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
                        Subject::Floor => match nginx() {
                            Some(program) => Server::nginx(lab, program, &site, copies)?,
                            None => return Ok(TurnResult::LeftOut("no nginx here")),
                        },
                    };
                    // Several copies get all cores, as in production.
                    if let (1, Some((ours, _))) = (copies, cores) {
                        server.pin(ours)?;
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
        Ok(Server { runner: Runner::Manager(manager), pids, port })
    }

    fn nginx(lab: &Lab, program: &Path, site: &Path, copies: usize) -> Result<Server> {
        let (folder, port) = (lab.fresh()?, free_port());
        let temporary: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|name| format!("{name}_temp_path {name};\n")).collect();
        // Without root, nginx keeps its user and logs that.
        let text = format!(
            "user root;\nworker_processes {copies};\ndaemon off;\npid pid;\nerror_log error.log;\nevents {{ worker_connections 512; }}\n\
             http {{\nsendfile on;\naccess_log off;\nkeepalive_requests 100000000;\n{temporary}\
             server {{ listen 127.0.0.1:{port}; root {}; }}\n}}\n",
            site.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).context("cannot write nginx.conf")?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot run nginx")?;
        let mut server = Server { runner: Runner::Nginx(child), pids: Vec::new(), port };
        answers(port)?;
        if let Runner::Nginx(child) = &server.runner {
            let pid = child.id();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).context("nginx is gone")?;
            server.pids = children.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        }
        ensure!(server.pids.len() == copies, "{} processes instead of {copies} serve", server.pids.len());
        Ok(server)
    }

    /// Pins all threads of the server to this core.
    fn pin(&self, core: usize) -> Result<()> {
        for pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")?.flatten() {
                let thread = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
                sched_setaffinity(thread, &only(core)).context("cannot pin the server")?;
            }
        }
        Ok(())
    }

    /// Requests a file without a pause: returns requests per second, and µs of the server for each.
    fn ask(&self, file: &str, size: usize, time: Duration, core: Option<usize>) -> Result<[f64; 2]> {
        let before = measure::cpu(&self.pids);
        let seen = on_core(core, || clients::ask(self.port, &format!("/{file}"), size, CLIENTS, time))??;
        let used = measure::cpu(&self.pids).saturating_sub(before);
        let requests = seen.requests as f64;
        Ok([requests / seen.seconds, used.as_secs_f64() * 1e6 / requests])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Runner::Nginx(child) = &mut self.runner {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

/// Returns two available cores: the servers' and the clients'. None if there is only one.
fn cores() -> Result<Option<(usize, usize)>> {
    let allowed = sched_getaffinity(None).context("cannot read the cores")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    Ok(cores.next().zip(cores.next()))
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// Runs a function whose thread has only this core.
fn on_core<T>(core: Option<usize>, run: impl FnOnce() -> T) -> Result<T> {
    let Some(core) = core else { return Ok(run()) };
    let before = sched_getaffinity(None).context("cannot read the cores")?;
    sched_setaffinity(None, &only(core)).context("cannot pin the clients")?;
    let value = run();
    sched_setaffinity(None, &before).context("cannot unpin this thread")?;
    Ok(value)
}

fn answers(port: u16) -> Result<()> {
    let serves = measure::wait(Duration::from_secs(20), || get(port, "/1k.bin").is_ok());
    ensure!(serves, "nothing answers on port {port}");
    Ok(())
}

/// Returns nginx, if it is installed: on PATH, or in Debian's folder.
fn nginx() -> Option<&'static Path> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|folder| folder.join("nginx").is_file());
    let places = [Path::new("nginx"), Path::new("/usr/sbin/nginx")];
    places.into_iter().find(|place| if place.is_absolute() { place.is_file() } else { on_path })
}
