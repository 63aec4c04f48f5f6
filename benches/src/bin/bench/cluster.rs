//! Several copies of a server behind one port, run by each manager that supports it.

use crate::contender::{App, Contender, ManagerKind, Workers};
use crate::lab::Lab;
use crate::measure;
use anyhow::{Context, Result, bail, ensure};
use ostler_testkit::{Load, LoadReport, LoadSpec, free_port, get};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runner of the copies, and distribution of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterRunner {
    Pm2,
    /// Node's own cluster, with a small primary script.
    Node,
    RoundRobin,
    Reuseport,
    Shared,
    /// One Node process without a cluster.
    Bare,
}

impl ClusterRunner {
    pub(crate) const ALL: [ClusterRunner; 6] = [
        ClusterRunner::Node,
        ClusterRunner::Pm2,
        ClusterRunner::RoundRobin,
        ClusterRunner::Reuseport,
        ClusterRunner::Shared,
        ClusterRunner::Bare,
    ];
    /// Runners that can run several copies and replace them.
    pub(crate) const CLUSTERS: [ClusterRunner; 5] =
        [ClusterRunner::Node, ClusterRunner::Pm2, ClusterRunner::RoundRobin, ClusterRunner::Reuseport, ClusterRunner::Shared];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            ClusterRunner::Pm2 => "PM2 7",
            ClusterRunner::Node => "Node's cluster",
            ClusterRunner::RoundRobin => "ostler",
            ClusterRunner::Reuseport => "ostler reuseport",
            ClusterRunner::Shared => "ostler shared",
            ClusterRunner::Bare => "one bare Node",
        }
    }

    /// Returns ostler's word for the distribution; the others have only one.
    fn scheduling(self) -> &'static str {
        match self {
            ClusterRunner::Reuseport => "reuseport",
            ClusterRunner::Shared => "shared",
            ClusterRunner::Pm2 | ClusterRunner::Node | ClusterRunner::RoundRobin | ClusterRunner::Bare => "round_robin",
        }
    }

    /// Returns the manager that it needs.
    pub(crate) fn manager(self) -> Option<ManagerKind> {
        match self {
            ClusterRunner::Pm2 => Some(ManagerKind::Pm2),
            ClusterRunner::RoundRobin | ClusterRunner::Reuseport | ClusterRunner::Shared => Some(ManagerKind::Ostler),
            ClusterRunner::Node | ClusterRunner::Bare => None,
        }
    }
}

/// Servers of the benchmarks; the tests use them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Without code for signals or messages.
    Naive,
    /// Reports `ready`; SIGINT closes its server.
    Graceful,
    /// Behaviour that a file names: good, or bad in some way.
    Release,
}

impl Script {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Script::Naive => "naive",
            Script::Graceful => "graceful",
            Script::Release => "release",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Script::Naive => include_str!("../../../../tests/fixtures/apps/cluster-naive.js"),
            Script::Graceful => include_str!("../../../../tests/fixtures/apps/cluster-graceful.js"),
            Script::Release => include_str!("../../../../tests/fixtures/apps/cluster-release.js"),
        }
    }
}

const PRIMARY: &str = include_str!("../../../node/primary.js");

/// Name of the app.
const NAME: &str = "app-0";

/// Time limit of every operation.
const LIMIT: Duration = Duration::from_secs(60);

/// Time after which a silent reload counts as hung.
const UNANSWERED: Duration = Duration::from_secs(8);

/// Runner of the workers.
enum Runner {
    Manager(Contender),
    /// Node's own, with the primary script.
    Primary(Child),
    /// The only process.
    Bare(Child),
}

/// A running cluster. Dropping it stops it.
pub(crate) struct Cluster {
    runner: Runner,
    folder: PathBuf,
    pub(crate) port: u16,
}

/// Result of a reload.
pub(crate) struct Reload {
    /// Exit code of the command; Node's cluster has none.
    pub(crate) code: Option<i32>,
    pub(crate) wall: Duration,
}

impl Cluster {
    /// Starts this many workers and waits until all run and one answers.
    pub(crate) fn start(
        lab: &Lab,
        cluster_runner: ClusterRunner,
        script: Script,
        count: usize,
        env: &[(&'static str, String)],
    ) -> Result<Cluster> {
        let folder = lab.fresh()?;
        let file = folder.join(format!("cluster-{}.js", script.name()));
        fs::write(&file, script.text()).context("cannot write the app")?;
        let port = free_port();
        let mut env = env.to_vec();
        env.push(("PORT", port.to_string()));
        let (runner, folder) = match cluster_runner.manager() {
            Some(kind) => {
                let manager = lab.manager(kind)?;
                let mut app = App::new(NAME, &[&file.display().to_string()]);
                app.workers = Some(Workers { count, scheduling: cluster_runner.scheduling(), wait_ready: script == Script::Graceful, env });
                manager.start(&[app])?;
                let folder = manager.folder().to_path_buf();
                (Runner::Manager(manager), folder)
            }
            None if cluster_runner == ClusterRunner::Bare => (Runner::Bare(node(None, &folder, &file, &env)?), folder),
            None => (Runner::Primary(node(Some(count), &folder, &file, &env)?), folder),
        };
        let cluster = Cluster { runner, folder, port };
        let wanted = if cluster_runner == ClusterRunner::Bare { 1 } else { count };
        let serves = measure::wait(LIMIT, || get(port, "/").is_ok() && cluster.workers().is_ok_and(|pids| pids.len() == wanted));
        ensure!(serves, "{} of {wanted} workers run, and / gives {:?}", cluster.workers()?.len(), get(port, "/"));
        Ok(cluster)
    }

    /// Sends requests for half a second: code gets compiled, caches get filled.
    pub(crate) fn warm(&self) {
        let load = Load::start(LoadSpec { pause_us: 0, ..LoadSpec::to(self.port) });
        std::thread::sleep(Duration::from_millis(500));
        drop(load.stop());
    }

    /// Replaces all workers, and waits until that is complete.
    pub(crate) fn reload(&mut self) -> Result<Reload> {
        let begin = Instant::now();
        let code = match &mut self.runner {
            Runner::Manager(manager) => measure::run(&mut manager.client(&["reload", NAME]))?.0,
            Runner::Primary(primary) => {
                let before = count_reloaded(&self.folder);
                kill(i32::try_from(primary.id())?, Signal::HUP)?;
                // A primary that waits for a missing worker has not failed: it never finishes.
                measure::wait(UNANSWERED, || count_reloaded(&self.folder) > before);
                None
            }
            Runner::Bare(_) => bail!("a single process is not reloaded"),
        };
        Ok(Reload { code, wall: begin.elapsed() })
    }

    /// Returns the workers.
    pub(crate) fn workers(&self) -> Result<Vec<i32>> {
        match &self.runner {
            Runner::Manager(manager) => manager.apps(),
            Runner::Primary(child) => {
                let own = i32::try_from(child.id())?;
                Ok(measure::marked(&self.folder)?.into_iter().map(|process| process.pid).filter(|pid| *pid != own).collect())
            }
            Runner::Bare(child) => Ok(vec![i32::try_from(child.id())?]),
        }
    }

    /// Returns the manager, if it is one.
    pub(crate) fn manager(&self) -> Option<&Contender> {
        match &self.runner {
            Runner::Manager(manager) => Some(manager),
            Runner::Primary(_) | Runner::Bare(_) => None,
        }
    }

    /// Returns the managing processes; empty for a single process.
    pub(crate) fn manager_pids(&self) -> Result<Vec<i32>> {
        match &self.runner {
            Runner::Manager(manager) => manager.manager_pids(),
            Runner::Primary(child) => Ok(vec![i32::try_from(child.id())?]),
            Runner::Bare(_) => Ok(Vec::new()),
        }
    }

    /// Returns the process that decides: the one to kill.
    pub(crate) fn daemon(&self) -> Result<i32> {
        match &self.runner {
            Runner::Manager(manager) => manager.daemon(),
            Runner::Primary(child) | Runner::Bare(child) => Ok(i32::try_from(child.id())?),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Runner::Primary(child) | Runner::Bare(child) = &mut self.runner {
            let _ = child.kill();
            measure::kill_marked(&self.folder);
            let _ = child.wait();
        }
    }
}

/// Starts Node with the primary script and this many workers, or with the script alone.
fn node(workers: Option<usize>, folder: &Path, script: &Path, env: &[(&'static str, String)]) -> Result<Child> {
    // It gets a separate session, like the managers' daemons, because the kernel shares the CPU by
    // session.
    let mut command = Command::new("setsid");
    command.arg("node");
    if let Some(count) = workers {
        let primary = folder.join("primary.js");
        fs::write(&primary, PRIMARY).context("cannot write the primary")?;
        command.arg(primary).arg(count.to_string());
    }
    let out = File::create(folder.join("out")).context("cannot write the output of Node")?;
    command.arg(script).env_remove("NODE_OPTIONS").env("HOME", folder).envs(env.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().context("cannot run node")
}

/// Returns how often the primary has reported a completed reload.
fn count_reloaded(folder: &Path) -> usize {
    fs::read_to_string(folder.join("out")).unwrap_or_default().lines().filter(|line| *line == "reloaded").count()
}

/// Sends a signal.
pub(crate) fn kill(pid: i32, signal: Signal) -> Result<()> {
    kill_process(Pid::from_raw(pid).context("no pid")?, signal).with_context(|| format!("cannot signal {pid}"))
}

/// Clients that send requests without a pause: half of them open a connection for each request,
/// half keep one.
pub(crate) struct Clients {
    close: Load,
    keep: Load,
}

impl Clients {
    pub(crate) fn start(port: u16) -> Clients {
        Clients::with_pause(port, 0)
    }

    /// Starts clients with a pause between two requests, in microseconds.
    pub(crate) fn with_pause(port: u16, pause_us: u64) -> Clients {
        let spec = LoadSpec { connections: 4, pause_us, timeout_ms: 3000, ..LoadSpec::to(port) };
        Clients { close: Load::start(spec.clone()), keep: Load::start(LoadSpec { keep_alive: true, ..spec }) }
    }

    /// Returns the number of answered requests so far.
    pub(crate) fn good(&self) -> u64 {
        self.close.good() + self.keep.good()
    }

    /// Returns the failed requests over new connections and over keep-alive ones, and the longest
    /// time in ms in which one of the two got no answer.
    pub(crate) fn stop(self) -> [f64; 3] {
        let [close, keep] = self.reports();
        [close.failed as f64, keep.failed as f64, close.longest_gap_ms.max(keep.longest_gap_ms)]
    }

    /// Stops the clients. Returns the reports about new connections and about kept ones.
    pub(crate) fn reports(self) -> [LoadReport; 2] {
        let reports = [self.close.stop(), self.keep.stop()];
        reports.iter().for_each(report_failures);
        reports
    }
}

/// Prints the first failures if `OSTLER_BENCH_ERRORS` is set.
pub(crate) fn report_failures(report: &LoadReport) {
    if report.failed > 0 && std::env::var_os("OSTLER_BENCH_ERRORS").is_some() {
        eprintln!("{} of {} failed: {:#?}", report.failed, report.requests, report.errors);
    }
}
