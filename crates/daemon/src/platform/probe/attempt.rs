//! One attempt of a probe: connect, send, read the first line. No step blocks.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use ostler_core::health::ProbeVerdict;
use ostler_core::health::probe::{HttpProbeRequest, ProbeRequest, ProbeResponse, Status};
use ostler_core::serving::probe_route::ProbeRoute;
use ostler_sys::net::dial;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::platform::reactor::{Reactor, Source};

/// Reactor that watches the socket; `None` if the caller polls by itself.
pub(super) type Watcher<'a> = Option<(&'a Reactor, Source)>;

/// Address of the server, and the socket to reach there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub peer: SocketAddr,
    pub route: ProbeRoute,
}

impl Target {
    /// Starts a connection.
    fn connect(self) -> Result<OwnedFd, Errno> {
        match self.route {
            ProbeRoute::Common => dial::connect(self.peer, None),
            ProbeRoute::Position(position) => dial::connect(self.peer, Some(position)),
            ProbeRoute::NotOpened => Err(Errno::CONNREFUSED),
        }
    }
}

/// Connection of an attempt, and its progress.
#[derive(Debug)]
pub(super) struct Attempt {
    socket: OwnedFd,
    peer: SocketAddr,
    phase: AttemptPhase,
    /// Number of addresses that were tried.
    tried: usize,
    /// Watched events: `None` if the socket is not watched yet, otherwise whether it also waits for
    /// room to write.
    watched: Option<bool>,
    /// Daemon's end of the connection, once it was looked up.
    local: Option<SocketAddr>,
    /// Failure of the addresses that were tried before.
    earlier: Option<Failure>,
}

#[derive(Debug)]
enum AttemptPhase {
    Connecting,
    Sending { sent: usize },
    Reading(ProbeResponse),
}

/// State of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The attempt continues when the socket is ready.
    Waiting,
    /// The answer is good.
    Good,
    /// The answer is bad, or did not arrive.
    Failed(Failure),
}

/// Failure of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The reason.
    pub reason: String,
    /// Whether the attempt failed on our side. Then it does not count against the server.
    pub is_local: bool,
}

impl Failure {
    fn of(errno: Errno) -> Self {
        Self { reason: error_text(errno), is_local: ProbeVerdict::of_connection(errno.raw_os_error()) == ProbeVerdict::Broken }
    }

    /// Returns the failure to report for two addresses of a host: a failure of a server has
    /// precedence over a failure of our own.
    fn or(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if self.is_local => earlier,
            _ => self,
        }
    }
}

impl Attempt {
    /// Begins with the first reachable address. Call [`Attempt::advance`] next: a connection on
    /// this machine is open at once.
    pub(super) fn begin(targets: &[Target]) -> Result<Self, Failure> {
        Self::begin_at(targets, 0, None)
    }

    fn begin_at(targets: &[Target], mut tried: usize, mut earlier: Option<Failure>) -> Result<Self, Failure> {
        while let Some(target) = targets.get(tried) {
            tried += 1;
            match target.connect() {
                Ok(socket) => {
                    let phase = AttemptPhase::Connecting;
                    return Ok(Self { socket, peer: target.peer, phase, tried, watched: None, local: None, earlier });
                }
                Err(errno) => earlier = Some(Failure::of(errno).or(earlier)),
            }
        }
        Err(earlier.unwrap_or_else(|| Failure::of(Errno::ADDRNOTAVAIL)))
    }

    /// Returns the daemon's end of the connection, if it was looked up.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    #[cfg(test)]
    pub(super) fn own_end(&self) -> Option<SocketAddr> {
        dial::local(&self.socket)
    }

    /// Looks up the daemon's end of the connection.
    pub(super) fn find_local(&mut self) -> Option<SocketAddr> {
        self.local = dial::local(&self.socket);
        self.local
    }

    /// Advances as far as possible without waiting.
    pub(super) fn advance(&mut self, question: &ProbeRequest, targets: &[Target], watcher: Watcher<'_>) -> Progress {
        loop {
            let step = match (&mut self.phase, &question.http) {
                (AttemptPhase::Connecting, None) => self.connected(),
                // If the connection is not open yet, or fails, sending reports it.
                (AttemptPhase::Connecting, Some(http)) => send_from(&self.socket, 0, http),
                (AttemptPhase::Sending { sent }, Some(http)) => send_from(&self.socket, *sent, http),
                (AttemptPhase::Reading(answer), Some(http)) => read(&self.socket, answer, http),
                (AttemptPhase::Sending { .. } | AttemptPhase::Reading(_), None) => AttemptStep::Done(Progress::Good),
            };
            match step {
                // No server answers that soon.
                AttemptStep::Go(phase @ AttemptPhase::Reading(_)) if watcher.is_none() => {
                    self.phase = phase;
                    return Progress::Waiting;
                }
                AttemptStep::Go(phase) => self.phase = phase,
                AttemptStep::Wait => return self.wait(watcher),
                AttemptStep::Done(Progress::Failed(failure)) => {
                    let is_alone = self.is_with_itself();
                    let failure = if is_alone { Failure::of(Errno::CONNREFUSED) } else { failure };
                    let failure = failure.or(self.earlier.take());
                    if !is_alone && !matches!(self.phase, AttemptPhase::Connecting) {
                        return Progress::Failed(failure);
                    }
                    // The host name has a further address.
                    match Self::begin_at(targets, self.tried, Some(failure)) {
                        Ok(next) => *self = next,
                        Err(failure) => return Progress::Failed(failure),
                    }
                }
                AttemptStep::Done(progress) => return progress,
            }
        }
    }

    /// Returns the reason of an attempt that took too long.
    pub(super) fn too_late(&self, question: &ProbeRequest) -> String {
        if let AttemptPhase::Reading(answer) = &self.phase
            && let Status::Code(code) = answer.status()
        {
            return describe(code, answer);
        }
        format!("no answer within {} ms", question.timeout_ms)
    }

    /// Watches the socket for the events that are needed.
    fn wait(&mut self, watcher: Watcher<'_>) -> Progress {
        let Some((reactor, source)) = watcher else { return Progress::Waiting };
        // Once everything is sent, only the answer matters.
        let write = !matches!(self.phase, AttemptPhase::Reading(_));
        let watched = match self.watched {
            Some(same) if same == write => Ok(()),
            Some(_) => reactor.want_write(&self.socket, source, write),
            None if write => reactor.add_for_write(&self.socket, source),
            None => reactor.add(&self.socket, source),
        };
        match watched {
            Ok(()) => {
                self.watched = Some(write);
                Progress::Waiting
            }
            Err(error) => Progress::Failed(Failure { reason: error.to_string(), is_local: true }),
        }
    }

    /// Returns the result of a connection that needs no request.
    fn connected(&self) -> AttemptStep {
        match dial::outcome(&self.socket, self.peer) {
            Ok(()) if self.is_with_itself() => failed(Errno::CONNREFUSED),
            Ok(()) => AttemptStep::Done(Progress::Good),
            Err(Errno::ALREADY) => AttemptStep::Wait,
            Err(errno) => failed(errno),
        }
    }

    /// Returns true if the socket is connected to itself. That happens if no server listens and the
    /// kernel chooses the same port for our end.
    fn is_with_itself(&self) -> bool {
        let peer = dial::peer(&self.socket);
        peer.is_some() && peer == dial::local(&self.socket)
    }
}

/// Next action after a step.
enum AttemptStep {
    Go(AttemptPhase),
    Wait,
    Done(Progress),
}

/// Returns the step for an unexpected answer.
fn bad(trouble: impl Into<String>) -> AttemptStep {
    AttemptStep::Done(Progress::Failed(Failure { reason: trouble.into(), is_local: false }))
}

fn failed(errno: Errno) -> AttemptStep {
    AttemptStep::Done(Progress::Failed(Failure::of(errno)))
}

fn send_from(socket: &OwnedFd, mut sent: usize, http: &HttpProbeRequest) -> AttemptStep {
    let before = sent;
    while let Some(rest) = http.request.get(sent..).filter(|rest| !rest.is_empty()) {
        match send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if sent == before => return AttemptStep::Wait,
            Err(Errno::AGAIN) => return AttemptStep::Go(AttemptPhase::Sending { sent }),
            Err(errno) => return failed(errno),
        }
    }
    AttemptStep::Go(AttemptPhase::Reading(ProbeResponse::default()))
}

fn read(socket: &OwnedFd, answer: &mut ProbeResponse, http: &HttpProbeRequest) -> AttemptStep {
    let mut buffer = [0; 2048];
    loop {
        let over = match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Some(Failure { reason: "nothing".into(), is_local: false }),
            Ok((_, count)) => {
                answer.take(buffer.get(..count).unwrap_or_default());
                None
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return AttemptStep::Wait,
            Err(errno) => Some(Failure::of(errno)),
        };
        match (answer.status(), over) {
            (Status::Code(code), _) if http.accepts(code) => return AttemptStep::Done(Progress::Good),
            (Status::Code(code), over) if over.is_some() || answer.body_line(false).is_some() => return bad(describe(code, answer)),
            (Status::Unfinished, Some(failure)) => return AttemptStep::Done(Progress::Failed(failure)),
            (Status::Code(_) | Status::Unfinished, _) => {}
            (Status::Nonsense, _) => return bad("not an HTTP response"),
        }
    }
}

/// Returns the text of a bad answer: ``503 `database is gone` ``.
fn describe(code: u16, answer: &ProbeResponse) -> String {
    match answer.body_line(true).filter(|says| !says.is_empty()) {
        Some(says) => format!("{code} `{says}`"),
        None => code.to_string(),
    }
}

/// Returns the usual text of an error: `Connection refused`.
fn error_text(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use ostler_core::health::probe::addresses;
    use ostler_core::serving::{HttpProbe, ReadyBy};

    const SOURCE: Source = Source::Feature("probes", 1);

    fn http(port: u16) -> ProbeRequest {
        let expect = vec![(200, 299)];
        let probe = HttpProbe {
            host: "localhost".into(),
            port,
            path: "/".into(),
            expect,
            interval_ms: 10,
            timeout_ms: 1000,
            method: None,
            headers: Vec::new(),
        };
        ProbeRequest::http(&probe, 0)
    }

    fn tcp(port: u16) -> ProbeRequest {
        ProbeRequest::of(&ReadyBy::Tcp { host: "127.0.0.1".into(), port }, 0).unwrap()
    }

    fn attempt_once(question: &ProbeRequest) -> Progress {
        let mut reactor = Reactor::of_features(&["probes"]).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let target = |ip| Target { peer: SocketAddr::new(ip, question.port), route: ProbeRoute::Common };
        let all: Vec<Target> = addresses(&question.host).unwrap().into_iter().map(target).collect();
        let mut attempt = match Attempt::begin(&all) {
            Ok(attempt) => attempt,
            Err(failure) => return Progress::Failed(failure),
        };
        while Instant::now() < until {
            match attempt.advance(question, &all, Some((&reactor, SOURCE))) {
                Progress::Waiting => drop(reactor.wait(Some(Duration::from_millis(100)))),
                done => return done,
            }
        }
        Progress::Waiting
    }

    /// Starts a server that answers one connection with these pieces.
    fn server(pieces: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            drop(stream.read(&mut request));
            for piece in pieces {
                drop(stream.write_all(piece.as_bytes()));
                std::thread::yield_now();
            }
        });
        port
    }

    #[test]
    fn probe_result_depends_on_the_answer() {
        let bad = |text: &str| Progress::Failed(Failure { reason: text.into(), is_local: false });
        let endless: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
        let endless: &'static [&'static str] = Box::leak(vec![endless].into_boxed_slice());
        for (pieces, expected) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"][..], Progress::Good),
            (&["HT", "TP/1.1 2", "04\r\n"], Progress::Good),
            (&["HTTP/1.1 503 No\r\n\r\n"], bad("503")),
            (&["HTTP/1.1 503 No\r\n", "\r\n", "no data", "base\n"], bad("503 `no database`")),
            (&["HTTP/1.1"], bad("nothing")),
            (&[], bad("nothing")),
            (&["220 smtp ready\r\n"], bad("not an HTTP response")),
            (endless, bad("not an HTTP response")),
        ] {
            let answer = attempt_once(&http(server(pieces)));
            // A server that closes with unread input resets the connection instead of closing it
            // normally.
            assert!(answer == expected || answer == bad("Connection reset by peer"), "{pieces:?}: {answer:?}");
        }
    }

    #[test]
    fn tcp_probe_succeeds_on_connection() {
        assert_eq!(attempt_once(&tcp(server(&[]))), Progress::Good);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // This also holds without IPv6: of the addresses of `localhost`, the one with an answer
        // counts.
        assert_eq!(attempt_once(&tcp(free)), Progress::Failed(Failure::of(Errno::CONNREFUSED)));
        assert_eq!(attempt_once(&http(free)), Progress::Failed(Failure::of(Errno::CONNREFUSED)));
        let (refused, ours) = (Failure::of(Errno::CONNREFUSED), Failure::of(Errno::MFILE));
        assert!(ours.is_local && !refused.is_local);
        assert_eq!([ours.clone().or(Some(refused.clone())), refused.clone().or(Some(ours.clone()))], [refused.clone(), refused]);
    }

    #[test]
    fn localhost_probe_tries_ipv4_and_ipv6() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let question = ProbeRequest::of(&ReadyBy::Tcp { host: "localhost".into(), port }, 0).unwrap();
        assert_eq!(attempt_once(&question), Progress::Good);
    }
}
