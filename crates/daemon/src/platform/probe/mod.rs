//! Probes: requests to servers over TCP, many at the same time, without blocking.
//!
//! # Theory of operation
//!
//! `ostler_core::health::probe` decides when an attempt begins and when it has timed out, and
//! parses the answer. This module has the sockets. Each probe belongs to an instance and has at
//! most one connection, watched by the daemon's one epoll. If processes share a port, the caller
//! chooses which of them the connection reaches ([`ProbeRoute`]). An attempt on this machine takes
//! five system calls: socket, connect, send, receive, close. Probes without urgency are at first
//! not even watched. All answers to probes that were sent together are read together a moment
//! later, so a hundred answers wake the daemon once.

mod attempt;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ostler_core::health::probe::{ProbeAction, ProbeRequest, Schedule, addresses};
use ostler_core::serving::probe_route::ProbeRoute;

use crate::platform::reactor::{Reactor, Source};
use attempt::{Attempt, Failure, Progress, Target};

/// Probes by a number that the caller chooses.
#[derive(Debug)]
pub(crate) struct Probes {
    all: BTreeMap<u32, Probe>,
    /// Time at which each probe is due.
    due: BTreeSet<(u64, u32)>,
    /// Our ends of the open connections. Some were not looked up yet.
    locals: BTreeMap<SocketAddr, u32>,
    nameless: BTreeSet<u32>,
    source: fn(u32) -> Source,
}

#[derive(Debug)]
struct Probe {
    /// Probed instance.
    instance: u32,
    question: ProbeRequest,
    addresses: Vec<IpAddr>,
    /// Destinations of the present attempt.
    targets: Vec<Target>,
    schedule: Schedule,
    attempt: Option<Attempt>,
}

/// Host of a probe that needs a name lookup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is neither an address nor localhost")]
pub(crate) struct UnknownHost(pub String);

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// The answer is as expected.
    Good,
    /// The answer is not as expected: request and answer as a text.
    Bad(String),
    /// The request could not be sent, for this reason. It does not count against the process.
    Broken(String),
}

impl Probes {
    /// Creates an empty set; `source` maps each probe's socket to a source of the event loop.
    pub(crate) fn new(source: fn(u32) -> Source) -> Self {
        Self { all: BTreeMap::new(), due: BTreeSet::new(), locals: BTreeMap::new(), nameless: BTreeSet::new(), source }
    }

    /// Begins to probe an instance at this time, until [`Probes::end`]. The first [`Probes::tick`]
    /// after that time makes the first attempt. A host that needs a name lookup is refused.
    pub(crate) fn begin(&mut self, id: u32, instance: u32, question: ProbeRequest, first_ms: u64) -> Result<(), UnknownHost> {
        let Some(addresses) = addresses(&question.host) else { return Err(UnknownHost(question.host)) };
        self.end(id);
        let schedule = Schedule::new(first_ms);
        self.due.insert((schedule.due_ms(), id));
        self.all.insert(id, Probe { instance, question, addresses, targets: Vec::new(), schedule, attempt: None });
        Ok(())
    }

    /// Stops a probe.
    pub(crate) fn end(&mut self, id: u32) {
        if let Some(probe) = self.all.remove(&id) {
            self.due.remove(&(probe.schedule.due_ms(), id));
            self.nameless.remove(&id);
            probe.attempt.as_ref().and_then(Attempt::local).map(|local| self.locals.remove(&local));
        }
    }

    /// Delays the next attempt to this time, unless an attempt is running.
    pub(crate) fn not_before(&mut self, id: u32, at_ms: u64) {
        self.with(id, |probe| {
            if probe.attempt.is_none() {
                probe.schedule = Schedule::new(at_ms);
            }
            None
        });
    }

    /// Returns the instance that the connection from this address probes.
    pub(crate) fn asked_by(&mut self, address: SocketAddr) -> Option<u32> {
        for id in std::mem::take(&mut self.nameless) {
            let attempt = self.all.get_mut(&id).and_then(|probe| probe.attempt.as_mut());
            self.locals.extend(attempt.and_then(Attempt::find_local).map(|local| (local, id)));
        }
        self.locals.get(&address).and_then(|id| self.all.get(id)).map(|probe| probe.instance)
    }

    /// Returns our ends of all connections, and the instance that each probes.
    #[cfg(test)]
    pub(crate) fn asking(&self) -> impl Iterator<Item = (SocketAddr, u32)> {
        self.all.values().filter_map(|probe| Some((probe.attempt.as_ref()?.own_end()?, probe.instance)))
    }

    /// Returns true while a probe has a connection.
    pub(crate) fn is_asking(&self) -> bool {
        !self.locals.is_empty() || !self.nameless.is_empty()
    }

    /// Returns the time at which [`Probes::tick`] is due.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Begins attempts that are due, and ends those that timed out. Returns the results of attempts.
    /// `route` returns the destination of an instance's probe that connects to this address.
    pub(crate) fn tick(
        &mut self,
        reactor: &Reactor,
        now_ms: u64,
        route: impl Fn(u32, SocketAddr) -> ProbeRoute,
    ) -> Vec<(u32, ProbeOutcome)> {
        let due: Vec<u32> = self.due.range(..=(now_ms, u32::MAX)).map(|(_, id)| *id).collect();
        due.into_iter().filter_map(|id| Some((id, self.advance(id, reactor, now_ms, &route)?))).collect()
    }

    fn advance(&mut self, id: u32, reactor: &Reactor, now_ms: u64, route: impl Fn(u32, SocketAddr) -> ProbeRoute) -> Option<ProbeOutcome> {
        let source = (self.source)(id);
        self.with(id, |probe| match probe.schedule.tick(&probe.question, now_ms) {
            ProbeAction::Nothing => None,
            ProbeAction::Abort => {
                let attempt = probe.attempt.take()?;
                let trouble = attempt.too_late(&probe.question);
                Some(ProbeOutcome::Bad(probe.describe(&trouble)))
            }
            ProbeAction::Read => probe.advance(reactor, source, now_ms),
            ProbeAction::Begin => {
                probe.set_targets(route);
                match Attempt::begin(&probe.targets) {
                    Ok(attempt) => {
                        probe.attempt = Some(attempt);
                        probe.advance(reactor, source, now_ms)
                    }
                    Err(failure) => {
                        probe.schedule.failed(&probe.question, now_ms);
                        Some(probe.failed(failure))
                    }
                }
            }
        })
    }

    /// Handles a ready socket of a probe.
    pub(crate) fn on_ready(&mut self, id: u32, reactor: &Reactor, now_ms: u64) -> Option<ProbeOutcome> {
        let source = (self.source)(id);
        self.with(id, |probe| probe.advance(reactor, source, now_ms))
    }

    /// Changes a probe and keeps the order of deadlines.
    fn with(&mut self, id: u32, act: impl FnOnce(&mut Probe) -> Option<ProbeOutcome>) -> Option<ProbeOutcome> {
        let probe = self.all.get_mut(&id)?;
        let before = probe.schedule.due_ms();
        let had = probe.attempt.as_ref().and_then(Attempt::local);
        let answer = act(probe);
        let has = probe.attempt.as_ref().and_then(Attempt::local);
        let is_nameless = probe.attempt.is_some() && has.is_none();
        if had != has {
            had.map(|local| self.locals.remove(&local));
        }
        if is_nameless {
            self.nameless.insert(id);
        } else {
            self.nameless.remove(&id);
        }
        let after = probe.schedule.due_ms();
        if before != after {
            self.due.remove(&(before, id));
            self.due.insert((after, id));
        }
        answer
    }
}

impl Probe {
    /// Sets the destinations of an attempt. Sockets of the process may come and go between two.
    fn set_targets(&mut self, route: impl Fn(u32, SocketAddr) -> ProbeRoute) {
        let peers = self.addresses.iter().map(|address| SocketAddr::new(*address, self.question.port));
        self.targets = peers.map(|peer| Target { peer, route: route(self.instance, peer) }).collect();
    }

    fn advance(&mut self, reactor: &Reactor, source: Source, now_ms: u64) -> Option<ProbeOutcome> {
        let teller = (!self.schedule.is_patient()).then_some((reactor, source));
        let progress = self.attempt.as_mut()?.advance(&self.question, &self.targets, teller);
        let answer = match progress {
            Progress::Waiting => return None,
            Progress::Good => ProbeOutcome::Good,
            Progress::Failed(failure) => self.failed(failure),
        };
        self.attempt = None;
        // Good or bad, the next attempt follows after the same time.
        self.schedule.failed(&self.question, now_ms);
        Some(answer)
    }

    fn failed(&self, failure: Failure) -> ProbeOutcome {
        let text = self.describe(&failure.reason);
        if failure.is_local { ProbeOutcome::Broken(text) } else { ProbeOutcome::Bad(text) }
    }

    /// Returns the request and its result as a text: `HTTP request to localhost:80: 503`.
    fn describe(&self, trouble: &str) -> String {
        let ProbeRequest { host, port, .. } = &self.question;
        let request_kind = if self.question.http.is_some() { "HTTP request to" } else { "connection to" };
        format!("{request_kind} {host}:{port}: {trouble}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::health::{Check, CheckMethod};
    use ostler_core::serving::HttpProbe;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Returns a probe that is repeated every 5 s.
    fn question(port: u16) -> ProbeRequest {
        let probe = HttpProbe {
            host: "127.0.0.1".into(),
            port,
            path: "/".into(),
            expect: vec![(200, 200)],
            interval_ms: 1,
            timeout_ms: 1,
            method: None,
            headers: Vec::new(),
        };
        let ask = CheckMethod::Http(probe);
        ProbeRequest::of_check(&Check { method: ask, interval_ms: 5000, timeout_ms: 5000, failures: 1, successes: 1, delay_ms: 0 }, 0)
            .unwrap()
    }

    fn common(_: u32, _: SocketAddr) -> ProbeRoute {
        ProbeRoute::Common
    }

    /// The common port answers, but not for the process that has not opened it.
    #[test]
    fn probe_of_a_port_that_the_process_has_not_opened_fails() {
        let reactor = Reactor::of_features(&["probes"]).unwrap();
        let mut probes = Probes::new(|id| Source::Feature("probes", id.into()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let tcp = ProbeRequest { http: None, patience_ms: 0, ..question(at.port()) };
        for id in [1, 2] {
            probes.begin(id, id + 10, tcp.clone(), 1000).unwrap();
        }
        let route = |instance, to| {
            assert_eq!(to, at);
            if instance == 11 { ProbeRoute::NotOpened } else { ProbeRoute::Position(0) }
        };
        let answers = probes.tick(&reactor, 1000, route);
        let refused = format!("connection to {at}: Connection refused");
        assert_eq!(answers, [(1, ProbeOutcome::Bad(refused)), (2, ProbeOutcome::Good)]);
    }

    #[test]
    fn patient_probes_are_polled_together_and_late_answers_count() {
        let mut reactor = Reactor::of_features(&["probes"]).unwrap();
        let mut probes = Probes::new(|id| Source::Feature("probes", id.into()));
        let mut servers = Vec::new();
        for id in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            probes.begin(id, id + 10, question(listener.local_addr().unwrap().port()), 1000).unwrap();
            let (says, asked) = mpsc::channel();
            let (go, goes) = mpsc::channel::<()>();
            std::thread::spawn(move || {
                let (mut stream, client) = listener.accept().unwrap();
                drop(stream.read(&mut [0; 1024]));
                says.send(client).unwrap();
                let _ = goes.recv();
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
                says.send(client).unwrap();
            });
            servers.push((asked, go));
        }
        assert_eq!(probes.tick(&reactor, 999, common), []);
        assert!(!probes.is_asking());
        assert_eq!(probes.tick(&reactor, 1000, common), []);
        assert!(probes.is_asking());
        for (id, (asked, go)) in (0..).zip(&servers) {
            let client = asked.recv().unwrap();
            assert_eq!(probes.asked_by(client), Some(id + 10));
            // The last server does not answer yet.
            if id < 2 {
                go.send(()).unwrap();
                asked.recv().unwrap();
            }
        }
        assert_eq!(reactor.wait(Some(Duration::ZERO)).unwrap(), [], "nobody is to be told of an answer yet");
        assert_eq!(probes.deadline_ms(), Some(1020));
        let mut answers = probes.tick(&reactor, 1020, common);
        assert!(answers.iter().all(|(id, _)| *id < 2));
        servers[2].1.send(()).unwrap();
        while answers.len() < 3 {
            for ready in reactor.wait(Some(Duration::from_secs(60))).unwrap() {
                let Source::Feature("probes", key) = ready.source else { panic!("{ready:?}") };
                let id = key as u32;
                answers.extend(probes.on_ready(id, &reactor, 1030).map(|answer| (id, answer)));
            }
        }
        answers.sort_by_key(|(id, _)| *id);
        assert_eq!(answers, (0..3).map(|id| (id, ProbeOutcome::Good)).collect::<Vec<_>>());
        assert!(!probes.is_asking());
    }
}
