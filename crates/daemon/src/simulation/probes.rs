//! Probed apps: their answers, and the promises about the consequences.
//!
//! Unix sockets play the network and carry everything at once; the names of their ends stand for
//! addresses (`ostler_sys::net::dial`). An app in fork mode has a port for each instance. The
//! workers of a cluster share a port, and each is probed separately.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Action, Check, CheckMethod, HealthSpec, HealthState};
use ostler_core::lifecycle::InstanceState;
use ostler_core::serving::{HttpProbe, ReadyBy, Scheduling};
use ostler_proto::event::{Event, EventKind, Health};
use ostler_sys::net::dial;
use ostler_testkit::Rng;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv, send, socket_with,
};

use super::verdict::Verdict;
use super::worker::path_of;
use crate::control::Control;
use crate::state::slots::Slot;
use crate::state::store::Role;

/// Port of the first app, and number of ports per app.
const FIRST_PORT: u16 = 7000;
const PORTS: u16 = 100;
const HOST: &str = "127.0.0.1";
/// Time between two probes.
const INTERVAL_MS: u64 = 1000;
/// Longest time without a probe of a healthy app.
const SILENT_MS: u64 = 3000;
/// More connections than ever wait to be accepted.
const BACKLOG: i32 = 1000;

/// Adds a random health check to an app.
pub(super) fn add_check(spec: &mut AppSpec, number: u16, is_worker: bool, rng: &mut Rng) {
    let port = FIRST_PORT + number * PORTS;
    if !is_worker {
        (spec.mode, spec.interpreter, spec.script) = (ExecMode::Fork, None, "/bin/true".into());
        spec.env.vars.insert("PORT".into(), port.to_string());
        spec.env.increment_var = Some("PORT".into());
    }
    let http = HttpProbe {
        host: HOST.into(),
        port,
        path: "/".into(),
        expect: vec![(200, 200)],
        interval_ms: 100,
        timeout_ms: 500,
        method: None,
        headers: Vec::new(),
    };
    let is_http = is_worker || rng.percent(70);
    let ask = if is_http { CheckMethod::Http(http.clone()) } else { CheckMethod::Tcp { host: HOST.into(), port } };
    let (timeout_ms, delay_ms, successes) = (rng.pick(&[200, 500, 900]), rng.pick(&[0, 0, 700]), rng.pick(&[1, 1, 2]));
    let check = |failures| Some(Check { method: ask.clone(), interval_ms: INTERVAL_MS, timeout_ms, failures, successes, delay_ms });
    let failures = rng.pick(&[1, 2, 3]);
    let mut health = HealthSpec {
        grace_ms: rng.pick(&[None, Some(0), Some(3000)]),
        action: rng.pick(&[Action::Restart, Action::Restart, Action::Reload, Action::None]),
        ..HealthSpec::default()
    };
    match rng.below(4) {
        0 => health.readiness = check(failures),
        1 => health.liveness = check(failures),
        2 => (health.startup, health.liveness) = (check(failures), check(failures)),
        _ => (health.readiness, health.liveness) = (check(1), check(failures)),
    }
    spec.safeguards = Some(Box::new(Safeguards { health, ..Safeguards::default() }));
    if !is_worker && rng.percent(25) {
        let by = if is_http { ReadyBy::Http(http) } else { ReadyBy::Tcp { host: HOST.into(), port } };
        spec.ready.by = Some(Box::new(by));
    }
}

fn health_of(spec: &AppSpec) -> Option<&HealthSpec> {
    spec.health().filter(|health| health.has_checks())
}

/// Temper of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerMood {
    Healthy,
    /// It answers that it is ill. A server that gets only connections stops listening.
    Unhealthy,
    /// It does not answer.
    Silent,
}

/// State of all probed apps.
#[derive(Default)]
pub(super) struct Network {
    /// Folder of the sockets; `None` if no app is probed.
    folder: Option<PathBuf>,
    apps: BTreeMap<String, ProbedApp>,
    attempts: Vec<Attempt>,
    /// Number of attempts of dead daemons.
    void: usize,
    pub are_good: bool,
    /// First broken promise that a server noticed.
    pub broken: Option<String>,
}

struct ProbedApp {
    first_port: u16,
    is_worker: bool,
    is_http: bool,
    timeout_ms: u64,
    /// Chance that its mood changes, in percent.
    moody: u8,
}

/// One probe.
#[derive(Debug)]
struct Attempt {
    port: u16,
    at_ms: u64,
    answer: ServerAnswer,
    /// Target instance, once it is known.
    target: Option<(u32, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerAnswer {
    None,
    Good(u64),
    Bad,
}

impl Attempt {
    /// Returns true if the attempt may have counted as failed at this time.
    fn is_bad(&self, timeout_ms: u64, now_ms: u64) -> bool {
        match self.answer {
            ServerAnswer::Bad => true,
            ServerAnswer::Good(at) => at.min(now_ms) >= self.at_ms + timeout_ms,
            ServerAnswer::None => now_ms >= self.at_ms + timeout_ms,
        }
    }
}

impl Network {
    pub(super) fn of(specs: &[AppSpec], folder: &Path, rng: &mut Rng) -> Self {
        let apps = specs.iter().zip(0..).filter_map(|(spec, number)| {
            let health = health_of(spec)?;
            let check = health.liveness.as_ref().or(health.readiness.as_ref())?;
            let is_http = match check.method {
                CheckMethod::Http(_) => true,
                CheckMethod::Tcp { .. } => false,
                CheckMethod::Command(_) => return None,
            };
            let app = ProbedApp {
                first_port: FIRST_PORT + number * PORTS,
                is_worker: spec.mode == ExecMode::Cluster,
                is_http,
                timeout_ms: check.timeout_ms,
                moody: rng.pick(&[0, 0, 3, 20]),
            };
            Some((spec.name.clone(), app))
        });
        let apps: BTreeMap<String, ProbedApp> = apps.collect();
        Self { folder: (!apps.is_empty()).then(|| folder.to_owned()), apps, ..Self::default() }
    }

    /// Returns the server role of an app's process that uses this port.
    pub(super) fn server(&self, app: &str, port: Option<u16>) -> Option<Server> {
        let (folder, asked) = (self.folder.as_ref()?, self.apps.get(app)?);
        let port = if asked.is_worker { None } else { Some(port?) };
        let path = port.map(|port| folder.join(format!("port-{port}")));
        Some(Server { app: app.into(), port, path, listener: None, mood: ServerMood::Healthy, is_doomed: false, open: Vec::new() })
    }

    fn path(&self, port: u16) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let of = |asked: &ProbedApp| (asked.first_port..asked.first_port + PORTS).contains(&port);
        let (app, asked) = self.apps.iter().find(|(_, asked)| of(asked))?;
        Some(if asked.is_worker { path_of(&folder.to_string_lossy(), app).into() } else { folder.join(format!("port-{port}")) })
    }

    /// Connects the daemon to a server.
    pub(super) fn connect(&mut self, to: SocketAddr, now_ms: u64) -> Option<Result<OwnedFd, Errno>> {
        let (folder, path) = (self.folder.clone()?, self.path(to.port())?);
        // Each attempt gets its own port, while ports last.
        let number = FIRST_PORT + (self.attempts.len() % 50_000) as u16;
        let socket = begin(&folder.join(format!("{HOST}:{number}")), &path).map_err(|_| Errno::CONNREFUSED);
        let is_http = self.apps.values().any(|asked| asked.is_http && (asked.first_port..asked.first_port + PORTS).contains(&to.port()));
        let answer = match &socket {
            Ok(_) if is_http => ServerAnswer::None,
            Ok(_) => ServerAnswer::Good(now_ms),
            Err(_) => ServerAnswer::Bad,
        };
        self.attempts.push(Attempt { port: to.port(), at_ms: now_ms, answer, target: None });
        Some(socket)
    }

    /// Returns the attempt with this address.
    fn attempt(&mut self, peer: SocketAddr) -> Option<&mut Attempt> {
        let number = usize::from(peer.port() - FIRST_PORT);
        let turns = self.attempts.len().checked_sub(number + 1)? / 50_000;
        self.attempts.get_mut(number + turns * 50_000)
    }

    /// Records the targets of probes after a turn of the daemon.
    pub(super) fn daemon_turned(&mut self, control: &Control) {
        if self.folder.is_none() {
            return;
        }
        for (address, id) in control.ctx.io.checks.asking() {
            let Some(slot) = control.ctx.state.slots.get(id) else { continue };
            if let Some(attempt) = self.attempt(address).filter(|attempt| attempt.target.is_none()) {
                attempt.target = Some((id, slot.durable.unique_id.clone()));
            }
        }
    }

    pub(super) fn daemon_died(&mut self) {
        self.void = self.attempts.len();
    }

    /// Handles the end of a server.
    pub(super) fn died(&mut self, server: &Server, mark: Option<&str>) {
        let is_its_own = |attempt: &Attempt| match (server.port, &attempt.target) {
            (Some(port), _) => attempt.port == port,
            (None, Some((_, meant))) => Some(meant.as_str()) == mark,
            (None, None) => false,
        };
        let open = self.attempts.iter_mut().rev().take(100).filter(|attempt| attempt.answer == ServerAnswer::None);
        open.filter(|attempt| is_its_own(attempt)).for_each(|attempt| attempt.answer = ServerAnswer::Bad);
    }

    /// Returns the target instance of this connection, or `None` if it is not a probe.
    pub(super) fn target_instance(&mut self, connection: &OwnedFd) -> Option<String> {
        Some(self.attempt(dial::peer(connection)?)?.target.as_ref()?.1.clone())
    }

    /// Checks that each reported health change has its reasons.
    pub(super) fn judge(&self, found: &[Event], offset_ms: u64, control: &Control) -> Verdict {
        for event in found {
            let (Some(app), EventKind::Health { state }) = (&event.app, &event.kind) else { continue };
            let Some(asked) = self.apps.get(app) else { continue };
            let of_instance = |slot: &&Slot| slot.spec().name == *app && Some(slot.durable.pm_id) == event.id;
            let slots: Vec<&Slot> = control.ctx.state.slots.iter().filter(of_instance).collect();
            let Some(health) = slots.first().and_then(|slot| health_of(slot.spec())) else { continue };
            let now_ms = event.at_ms - offset_ms;
            let is_own = |attempt: &&Attempt| match asked.is_worker {
                false => slots.iter().any(|slot| attempt.port == asked.first_port + slot.durable.index as u16),
                true => {
                    // If the connection failed, only the daemon knows its target.
                    let is_of = |id: u32| slots.iter().any(|slot| slot.durable.id == id);
                    let is_meant = attempt.target.as_ref().map_or(attempt.answer == ServerAnswer::Bad, |(id, _)| is_of(*id));
                    is_meant && (asked.first_port..asked.first_port + PORTS).contains(&attempt.port)
                }
            };
            let own = self.attempts[self.void..].iter().rev().filter(|attempt| attempt.at_ms <= now_ms).filter(is_own);
            let bad = own.clone().take_while(|attempt| attempt.is_bad(asked.timeout_ms, now_ms)).count() as u32;
            let failures = |check: &Option<Check>| check.as_ref().map(|check| check.failures);
            let needed = match state {
                Health::Healthy => {
                    let has_good = own.clone().any(|attempt| matches!(attempt.answer, ServerAnswer::Good(at) if at <= now_ms));
                    ensure!(has_good, "{app} is healthy, and no question was answered: {:?}", own.collect::<Vec<_>>());
                    continue;
                }
                Health::Broken => Some(0),
                Health::Unready => failures(&health.readiness),
                Health::Unhealthy => failures(&health.startup).into_iter().chain(failures(&health.liveness)).min(),
            };
            let last: Vec<&Attempt> = own.take(4).collect();
            ensure!(needed.is_some_and(|needed| bad >= needed), "{event:?} after {bad} bad answers, {needed:?} are needed: {last:?}");
        }
        Ok(())
    }

    /// Checks that every running instance is known to be healthy, and is still probed.
    pub(super) fn at_rest(&self, control: &Control, now_ms: u64) -> Verdict {
        for slot in control.ctx.state.slots.iter().filter(|slot| matches!(slot.durable.instance.state, InstanceState::Running { .. })) {
            let (name, id) = (&slot.spec().name, slot.durable.id);
            let Some(asked) = self.apps.get(name) else { continue };
            ensure!(is_healthy(slot), "{name} ({id}) runs and is well, and known as {:?}", slot.live.health);
            let port = asked.first_port + slot.durable.index as u16;
            let is_own = |attempt: &&Attempt| match asked.is_worker {
                true => attempt.target.as_ref().is_some_and(|(meant, _)| *meant == id),
                false => attempt.port == port,
            };
            let last = self.attempts.iter().rev().find(is_own).map(|attempt| attempt.at_ms);
            ensure!(
                last.is_some_and(|last| now_ms - last <= SILENT_MS),
                "{name} ({id}) was asked at {last:?} and not since, until {now_ms}"
            );
        }
        Ok(())
    }

    pub(super) fn probes_app(&self, app: &str) -> bool {
        self.apps.contains_key(app)
    }
}

/// Returns true if the instance is known to be healthy, or is not probed.
pub(super) fn is_healthy(slot: &Slot) -> bool {
    health_of(slot.spec()).is_none() || slot.live.health.as_ref().is_some_and(|report| report.state == HealthState::Healthy)
}

/// Returns true if each of its processes can be probed separately.
pub(super) fn is_asked_alone(spec: &AppSpec) -> bool {
    spec.mode == ExecMode::Fork || spec.scheduling == Scheduling::RoundRobin
}

fn stream() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn begin(own: &Path, to: &Path) -> Result<OwnedFd, Errno> {
    let socket = stream()?;
    let to = SocketAddrUnix::new(to)?;
    let _ = std::fs::remove_file(own);
    bind(&socket, &SocketAddrUnix::new(own)?)?;
    let _ = std::fs::remove_file(own);
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}

/// Probed process.
pub(super) struct Server {
    app: String,
    /// Own port; `None` for a worker, which is handed the probes.
    port: Option<u16>,
    path: Option<PathBuf>,
    listener: Option<OwnedFd>,
    mood: ServerMood,
    /// Whether it stays ill even after all others behave well.
    is_doomed: bool,
    open: Vec<OwnedFd>,
}

impl Server {
    /// Sets the mood until the process ends.
    pub(super) fn set_mood(&mut self, mood: ServerMood) {
        (self.mood, self.is_doomed) = (mood, mood != ServerMood::Healthy);
    }

    /// Takes a probe that was handed to it.
    pub(super) fn take(&mut self, connection: OwnedFd) {
        self.open.push(connection);
    }

    /// Answers all probes. Returns a text if it does.
    pub(super) fn act(&mut self, network: &mut Network, now_ms: u64, rng: &mut Rng) -> Option<String> {
        let app = network.apps.get(&self.app)?;
        let is_http = app.is_http;
        if network.are_good {
            self.mood = if self.is_doomed { self.mood } else { ServerMood::Healthy };
        } else if rng.percent(app.moody) {
            self.mood = rng.pick(&[ServerMood::Healthy, ServerMood::Healthy, ServerMood::Unhealthy, ServerMood::Silent]);
        }
        if let Some(path) = &self.path {
            let listens = is_http || self.mood == ServerMood::Healthy;
            match &self.listener {
                None if listens => self.listener = open(path).ok(),
                Some(_) if !listens => self.listener = None,
                _ => {}
            }
        }
        while let Some(listener) = &self.listener
            && let Ok(connection) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            self.open.push(connection);
        }
        if self.mood == ServerMood::Silent || self.open.is_empty() || !is_http {
            return None;
        }
        let is_good = self.mood == ServerMood::Healthy;
        let count = self.open.len();
        for connection in self.open.drain(..) {
            // A closed connection already has its answer.
            let is_over = recv(&connection, &mut [0; 1024], RecvFlags::DONTWAIT).is_ok_and(|(_, length)| length == 0);
            let text = if is_good { "HTTP/1.1 200 OK\r\n\r\n" } else { "HTTP/1.1 503 No\r\n\r\n" };
            let sent = send(&connection, text.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            let attempt = dial::peer(&connection).and_then(|peer| network.attempt(peer));
            if let Some(attempt) = attempt.filter(|_| !is_over && sent.is_ok()) {
                attempt.answer = if is_good { ServerAnswer::Good(now_ms) } else { ServerAnswer::Bad };
            }
        }
        Some(format!("{} answers {count} as {:?}", self.app, self.mood))
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = stream()?;
    let _ = std::fs::remove_file(path);
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Distribution of client connections.
#[derive(Default)]
pub(super) struct Routing {
    /// Workers that must get no connections, and workers that may get some, after the last turn.
    unready: BTreeSet<u32>,
    ready: BTreeSet<u32>,
    handed: BTreeSet<u64>,
}

impl Routing {
    /// Checks that a worker that is not ready gets no new connection while another worker of its
    /// port could have it.
    pub(super) fn after_turn(&mut self, control: &Control) -> Verdict {
        let slots = || control.ctx.state.slots.iter().filter(|slot| !slot.live.worker.served_by.is_empty());
        let is_ready = |slot: &&Slot| {
            slot.durable.role == Role::Serving && matches!(slot.durable.instance.state, InstanceState::Running { .. }) && !slot.live.unready
        };
        let mut handed_now = BTreeSet::new();
        for slot in slots() {
            let id = slot.durable.id;
            for handed in &slot.live.worker.handed {
                handed_now.insert(handed.seq);
                let is_check = dial::peer(&handed.connection.fd).is_some();
                let is_new = handed.at_ms == control.ctx.now.mono_ms && !self.handed.contains(&handed.seq);
                if is_check || !is_new || !slot.live.unready || !self.unready.contains(&id) {
                    continue;
                }
                let others = slots().filter(|other| other.live.worker.served_by.contains(&handed.listener)).filter(is_ready);
                let other = others.map(|other| other.durable.id).find(|other| self.ready.contains(other));
                ensure!(
                    other.is_none(),
                    "instance {id} of {} is not ready, and gets a connection that {other:?} could have",
                    slot.spec().name
                );
            }
        }
        self.handed = handed_now;
        self.unready = slots().filter(|slot| slot.live.unready).map(|slot| slot.durable.id).collect();
        self.ready = slots().filter(is_ready).map(|slot| slot.durable.id).collect();
        Ok(())
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
