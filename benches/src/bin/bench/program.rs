//! A server that knows nothing of clusters, run by each manager, by a proxy with two copies, and
//! alone.

use crate::cluster::kill;
use crate::contender::{App, Contender, ManagerKind};
use crate::lab::Lab;
use crate::measure::{self, Cpu};
use crate::nginx::Nginx;
use anyhow::{Context, Result, ensure};
use ostler_testkit::{free_port, get};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runner of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramRunner {
    /// Nothing but the server.
    Alone,
    /// ostler without a shared port.
    Fork,
    /// ostler's cluster mode.
    Cluster,
    Pm2,
    Supervisor,
    /// nginx in front of copies with a port each.
    Nginx,
    /// Socket activation: a parent keeps the listening socket, and starts the server with it.
    Activation,
    /// gunicorn, with its own reload.
    Gunicorn,
}

impl ProgramRunner {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ProgramRunner::Alone => "alone",
            ProgramRunner::Fork => "ostler fork",
            ProgramRunner::Cluster => "ostler",
            ProgramRunner::Pm2 => "PM2 7",
            ProgramRunner::Supervisor => "supervisor",
            ProgramRunner::Nginx => "nginx in front",
            ProgramRunner::Activation => "socket activation",
            ProgramRunner::Gunicorn => "gunicorn",
        }
    }

    /// Returns the manager that it needs.
    pub(crate) fn manager(self) -> Option<ManagerKind> {
        match self {
            ProgramRunner::Fork | ProgramRunner::Cluster => Some(ManagerKind::Ostler),
            ProgramRunner::Pm2 => Some(ManagerKind::Pm2),
            ProgramRunner::Supervisor => Some(ManagerKind::Supervisor),
            ProgramRunner::Alone | ProgramRunner::Nginx | ProgramRunner::Activation | ProgramRunner::Gunicorn => None,
        }
    }
}

/// The servers. Each answers with the pid of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The small program of the benchmarks: one thread, starts in a millisecond.
    Tiny,
    /// Python's `http.server`: a thread for each connection, no code for signals.
    Python,
    /// gunicorn with two workers.
    Gunicorn,
}

impl Server {
    /// Returns the command line for this port; none if the program is not installed.
    fn words(self, lab: &Lab, folder: &Path, port: &str) -> Result<Option<Vec<String>>> {
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            fs::write(&file, text).context("cannot write the server").map(|()| file.display().to_string())
        };
        Ok(match self {
            Server::Tiny => Some(vec![lab.tiny(), "web".into(), port.into()]),
            Server::Python => {
                let script = write("server.py", include_str!("../../../python/server.py"))?;
                python().map(|python| vec![python, script, port.into()])
            }
            Server::Gunicorn => {
                write("wsgi.py", include_str!("../../../python/wsgi.py"))?;
                let words = format!("--workers 2 --chdir {} --bind 127.0.0.1:{port} wsgi:app", folder.display());
                let words = words.split(' ').map(str::to_owned);
                std::env::var("OSTLER_BENCH_GUNICORN").ok().map(|program| [program].into_iter().chain(words).collect())
            }
        })
    }

    fn is_missing(self) -> &'static str {
        match self {
            Server::Tiny => "no program of the benchmarks here",
            Server::Python => "no python3 here",
            Server::Gunicorn => "no gunicorn here",
        }
    }
}

/// Returns the interpreter itself: `python3` may be a script that chooses one.
fn python() -> Option<String> {
    let program = measure::installed("python3", &[])?;
    let output = Command::new(program).args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|path| !path.is_empty())
}

/// Name of the app.
const NAME: &str = "app-0";

/// Time limit of every operation.
const LIMIT: Duration = Duration::from_secs(60);

enum Runner {
    Manager(Contender),
    /// The benchmark itself starts the servers.
    Bare(Vec<Bare>, Option<Nginx>),
}

/// A running server with all its copies. Dropping it stops it.
pub(crate) struct Site {
    runner: Runner,
    kind: ProgramRunner,
    folder: PathBuf,
    pub(crate) port: u16,
    copies: usize,
}

impl Site {
    /// Starts this many copies and waits until each has answered. Returns the reason if something
    /// is not installed.
    pub(crate) fn start(lab: &Lab, kind: ProgramRunner, server: Server, copies: usize) -> Result<Result<Site, &'static str>> {
        let port = free_port();
        let manager = kind.manager().map(|kind| lab.manager(kind)).transpose()?;
        let folder = manager.as_ref().map_or_else(|| lab.fresh(), |manager| Ok(manager.folder().to_path_buf()))?;
        let words = |port: &str| server.words(lab, &folder, port);
        let Some(own_words) = words(&port.to_string())? else { return Ok(Err(server.is_missing())) };
        // gunicorn starts its workers itself, in cluster mode as well.
        let processes = if server == Server::Gunicorn { 1 } else { copies };
        let runner = match (manager, kind) {
            (Some(manager), _) => {
                let mut app = App { name: NAME.into(), words: own_words, ..App::default() };
                app.copies = (kind == ProgramRunner::Cluster).then_some(processes);
                manager.start(&[app])?;
                Runner::Manager(manager)
            }
            (None, ProgramRunner::Nginx) => {
                let ports: Vec<u16> = (0..copies).map(|_| free_port()).collect();
                let Some(nginx) = Nginx::start(&folder, copies, &proxy(port, &ports))? else { return Ok(Err("no nginx here")) };
                let start = |port: &u16| Bare::start(words(&port.to_string())?.context("no words")?, &folder, None);
                Runner::Bare(ports.iter().map(start).collect::<Result<_>>()?, Some(nginx))
            }
            (None, ProgramRunner::Activation) => {
                let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot open the port")?;
                let start = |_| Bare::start(words("stdin")?.context("no words")?, &folder, Some(held.try_clone()?.into()));
                Runner::Bare((0..copies).map(start).collect::<Result<_>>()?, None)
            }
            (None, _) => Runner::Bare(vec![Bare::start(own_words, &folder, None)?], None),
        };
        let site = Site { runner, kind, folder, port, copies };
        site.pids()?;
        Ok(Ok(site))
    }

    /// Waits until each copy has answered, and returns their pids.
    pub(crate) fn pids(&self) -> Result<BTreeSet<i32>> {
        let mut seen = BTreeSet::new();
        let all = measure::wait(LIMIT, || {
            seen.extend(get(self.port, "/").ok().and_then(|body| body.trim().parse::<i32>().ok()));
            seen.retain(|pid| measure::alive(*pid));
            seen.len() == self.copies
        });
        ensure!(all, "{seen:?} of {} copies answer", self.copies);
        Ok(seen)
    }

    /// Returns the processes beside the server: a manager or proxy.
    pub(crate) fn others(&self) -> Result<Vec<i32>> {
        match &self.runner {
            Runner::Manager(manager) => manager.manager_pids(),
            Runner::Bare(_, Some(nginx)) => nginx.workers(),
            Runner::Bare(_, None) => Ok(Vec::new()),
        }
    }

    /// Replaces all processes, waits until that is complete, and returns the CPU time of the
    /// command.
    pub(crate) fn reload(&mut self) -> Result<Cpu> {
        let old = self.pids()?;
        let mut used = Cpu::ZERO;
        match &mut self.runner {
            Runner::Manager(manager) => {
                let word = if manager.kind == ManagerKind::Supervisor { "restart" } else { "reload" };
                used = manager.call(manager.client(&[word, NAME]))?.cpu;
            }
            Runner::Bare(masters, _) if self.kind == ProgramRunner::Gunicorn => {
                for master in masters {
                    kill(master.pid()?, Signal::HUP)?;
                }
            }
            Runner::Bare(servers, nginx) => {
                for server in servers {
                    server.restart(nginx.is_some())?;
                }
            }
        }
        ensure!(measure::wait(LIMIT, || !old.iter().any(|pid| measure::alive(*pid))), "an old process still runs");
        self.pids()?;
        Ok(used)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Runner::Bare(servers, _) = &mut self.runner {
            // A parent of workers first.
            for server in servers.iter_mut() {
                let _ = server.child.kill();
            }
            measure::kill_marked(&self.folder);
            for server in servers {
                let _ = server.child.wait();
            }
        }
    }
}

/// A server that the benchmark starts.
struct Bare {
    words: Vec<String>,
    folder: PathBuf,
    /// Its listening socket, if it does not open one.
    held: Option<OwnedFd>,
    child: Child,
}

impl Bare {
    fn start(words: Vec<String>, folder: &Path, held: Option<OwnedFd>) -> Result<Bare> {
        let child = Bare::spawn(&words, folder, held.as_ref())?;
        Ok(Bare { words, folder: folder.to_path_buf(), held, child })
    }

    fn spawn(words: &[String], folder: &Path, held: Option<&OwnedFd>) -> Result<Child> {
        // It gets a separate session, like the managers' daemons, because the kernel shares the CPU
        // by session.
        let mut command = Command::new("setsid");
        command.args(words).env("HOME", folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.stdin(match held {
            Some(held) => Stdio::from(held.try_clone().context("cannot copy the socket")?),
            None => Stdio::null(),
        });
        command.spawn().context("cannot run the server")
    }

    fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// Stops the server and starts it again. The next copy is restarted when this one answers.
    fn restart(&mut self, waits: bool) -> Result<()> {
        kill(self.pid()?, Signal::TERM)?;
        self.child.wait()?;
        self.child = Bare::spawn(&self.words, &self.folder, self.held.as_ref())?;
        if waits {
            let port: Option<u16> = self.words.last().and_then(|word| word.parse().ok());
            let port = port.context("a server without a port")?;
            ensure!(measure::wait(LIMIT, || get(port, "/").is_ok()), "the copy does not answer");
        }
        Ok(())
    }
}

/// Returns the lines of nginx for a proxy in front of these ports. It keeps connections to them, and
/// sends a request to another copy if one does not answer. By default it also avoids that copy
/// for ten seconds, so a rolling restart could leave no copy.
fn proxy(port: u16, ports: &[u16]) -> String {
    let servers: String = ports.iter().map(|port| format!("server 127.0.0.1:{port} max_fails=0;\n")).collect();
    format!(
        "upstream copies {{\n{servers}keepalive 64;\n}}\nserver {{\nlisten 127.0.0.1:{port};\nlocation / {{\n\
         proxy_pass http://copies;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n}}\n}}"
    )
}
