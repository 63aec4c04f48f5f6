//! The thread that runs all clients.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::answer::HttpAnswer;
use super::client::{Client, ClientState, IdleConnection, connect};
use super::{LoadReport, LoadSpec, Shared};

/// Minimum wait of a client after a failure. Otherwise a refused client would retry in a tight
/// loop.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Delay before another try if a unix socket has a full queue. It refuses immediately, whereas TCP
/// would let the client wait.
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// Token of the eventfd that stops the run.
const STOP: u64 = u64::MAX;

/// All clients; lives in their thread.
pub(super) struct Driver {
    spec: LoadSpec,
    shared: Arc<Shared>,
    request: Vec<u8>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Times of the next actions: after a pause, after a failure, after a full queue. Each queue is
    /// sorted, because its waits are equally long. A client that finds a full queue stays ahead of
    /// those that came later.
    pauses: VecDeque<(Instant, usize)>,
    penalties: VecDeque<(Instant, usize)>,
    retries: VecDeque<(Instant, usize)>,
    /// Deadlines of requests (time, client, request), sorted.
    deadlines: VecDeque<(Instant, usize, u32)>,
    report: LoadReport,
    begin: Instant,
    last_good: Instant,
    busy: usize,
    /// Time since which no new requests are sent.
    stopped: Option<Instant>,
    buffer: Vec<u8>,
}

impl Driver {
    pub(super) fn new(spec: LoadSpec, shared: Arc<Shared>) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, &shared.stop, EventData::new_u64(STOP), EventFlags::IN).unwrap();
        let connection = if spec.keep_alive { "keep-alive" } else { "close" };
        let (path, headers) = (&spec.path, &spec.headers);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n{headers}\r\n").into_bytes();
        let now = Instant::now();
        Self {
            clients: (0..spec.connections).map(|_| Client::new(now)).collect(),
            pauses: (0..spec.connections).map(|client| (now, client)).collect(),
            penalties: VecDeque::new(),
            retries: VecDeque::new(),
            deadlines: VecDeque::new(),
            report: LoadReport::default(),
            begin: now,
            last_good: now,
            busy: 0,
            stopped: None,
            buffer: vec![0; 64 << 10],
            spec,
            shared,
            request,
            epoll,
        }
    }

    pub(super) fn run(mut self) -> LoadReport {
        let mut events = Vec::with_capacity(256);
        while self.stopped.is_none() || self.busy > 0 {
            self.run_until_stopped();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            for Event { flags, data, .. } in events.drain(..) {
                self.event(flags, data.u64());
            }
            self.over();
        }
        let end = self.stopped.unwrap_or(self.last_good);
        self.gap(end);
        self.report.seconds = end.max(self.last_good).duration_since(self.begin).as_secs_f64();
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        self.report.cpu_ms = cpu.tv_sec as f64 * 1e3 + cpu.tv_nsec as f64 / 1e6;
        self.report
    }

    /// Starts the requests whose wait is over.
    fn run_until_stopped(&mut self) {
        let now = Instant::now();
        // Keep the order of arrival, as in TCP's queue: on a busy machine, a client that is
        // overtaken would time out.
        while let Some((_, number)) = pop_due(&mut self.retries, now) {
            // It may have given up since then.
            if self.clients[number].state == ClientState::Connecting && self.clients[number].stream.is_none() && !self.connect(number) {
                self.retries.push_front((Instant::now() + QUEUE_FULL, number));
                break;
            }
        }
        if self.stopped.is_some() {
            return;
        }
        // Only the clients that wait now: a client that fails again immediately must first let
        // other events through.
        for _ in 0..self.penalties.len() {
            let Some((_, number)) = pop_due(&mut self.penalties, now) else { break };
            self.start_request(number);
        }
        for _ in 0..self.pauses.len() {
            let Some((_, number)) = pop_due(&mut self.pauses, now) else { break };
            self.start_request(number);
        }
    }

    fn timeout(&mut self) -> Option<Timespec> {
        while self.deadlines.front().is_some_and(|(_, number, request)| self.clients[*number].request != *request) {
            self.deadlines.pop_front();
        }
        let turns = [&self.pauses, &self.penalties].into_iter().filter(|_| self.stopped.is_none()).chain([&self.retries]);
        let turns = turns.filter_map(|queue| queue.front()).map(|(due, _)| *due);
        let next = turns.chain(self.deadlines.front().map(|(due, ..)| *due)).min()?;
        Timespec::try_from(next.saturating_duration_since(Instant::now())).ok()
    }

    fn start_request(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let now = Instant::now();
        if client.state == ClientState::Idle {
            client.begun = now;
            client.request = client.request.wrapping_add(1);
            client.answer = HttpAnswer::new();
            self.deadlines.push_back((now + Duration::from_millis(self.spec.timeout_ms), number, client.request));
            self.busy += 1;
        }
        if client.stream.is_some() {
            match client.idle_state() {
                IdleConnection::Open => {
                    client.state = ClientState::Asking(0);
                    return self.write(number);
                }
                IdleConnection::Talks => return self.fail(number, "bytes that nobody asked for"),
                IdleConnection::Closed => self.report.closed_idle += 1,
            }
        }
        self.open(number);
    }

    fn open(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.stream = None;
        client.kept = false;
        client.state = ClientState::Connecting;
        if !self.retries.is_empty() || !self.connect(number) {
            self.retries.push_back((Instant::now() + QUEUE_FULL, number));
        }
    }

    /// Connects a client. Returns false if the queue of a unix socket is full.
    fn connect(&mut self, number: usize) -> bool {
        let stream = match connect(&self.spec) {
            Ok(stream) => stream,
            Err(Errno::AGAIN) => return false,
            Err(error) => {
                self.fail(number, &words(error));
                return true;
            }
        };
        let client = &mut self.clients[number];
        client.connection = client.connection.wrapping_add(1);
        let token = (u64::from(client.connection) << 32) | number as u64;
        // Edge-triggered: the registration need not change while a connection lives.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &stream, EventData::new_u64(token), flags) {
            self.fail(number, &words(error));
            return true;
        }
        client.stream = Some(stream);
        self.report.connections += 1;
        true
    }

    fn event(&mut self, flags: EventFlags, token: u64) {
        if token == STOP {
            self.stopped = self.stopped.or(Some(Instant::now()));
            // The stop is noted. Without this, the eventfd would wake each wait from now on.
            let _known = epoll::delete(&self.epoll, &self.shared.stop);
            return;
        }
        let number = token as u32 as usize;
        let client = &mut self.clients[number];
        if u64::from(client.connection) != token >> 32 || client.stream.is_none() {
            return;
        }
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        match client.state {
            // An idle client examines its connection before its next request.
            ClientState::Idle => return,
            ClientState::Connecting => self.connected(number),
            ClientState::Asking(_) if flags.contains(EventFlags::OUT) => self.write(number),
            ClientState::Asking(_) => {}
        }
        if ended || flags.contains(EventFlags::IN) {
            self.read(number, ended);
        }
    }

    fn connected(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(stream) = &client.stream else { return };
        match sockopt::socket_error(stream) {
            Ok(Ok(())) => {
                client.state = ClientState::Asking(0);
                self.write(number);
            }
            Ok(Err(error)) | Err(error) => self.fail(number, &words(error)),
        }
    }

    fn write(&mut self, number: usize) {
        let client = &mut self.clients[number];
        match client.write(&self.request) {
            Ok(_) => {}
            // No byte was accepted: the server had closed before the request.
            Err(Errno::PIPE | Errno::CONNRESET) if client.kept && client.state == ClientState::Asking(0) => {
                self.report.closed_idle += 1;
                self.open(number);
            }
            Err(error) => self.fail(number, &words(error)),
        }
    }

    /// Reads the available bytes. Edges report new bytes only, so after a close by the other side
    /// it reads up to the end.
    fn read(&mut self, number: usize, ended: bool) {
        loop {
            let client = &mut self.clients[number];
            let (Some(stream), ClientState::Asking(_)) = (&client.stream, client.state) else { return };
            let result = match recv(stream, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => client.answer.end().map(|()| true),
                Ok((n, _)) => match client.answer.feed(&self.buffer[..n]) {
                    Ok(false) if n < self.buffer.len() && !ended => return,
                    fed => fed,
                },
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => Ok(false),
                Err(error) => Err(words(error)),
            };
            match result {
                Ok(false) => {}
                Ok(true) => return self.finish_request(number),
                Err(why) => return self.fail(number, &why),
            }
        }
    }

    fn finish_request(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !matches!(client.state, ClientState::Asking(written) if written == self.request.len()) {
            return self.fail(number, "an answer before the request was written");
        }
        if !self.spec.body.is_expected(client.answer.body()) {
            let body: String = String::from_utf8_lossy(client.answer.body()).chars().take(100).collect();
            return self.fail(number, &format!("the body {body:?}"));
        }
        let now = Instant::now();
        self.report.good_answer(client.answer.body(), now.duration_since(client.begun));
        self.shared.good.fetch_add(1, Ordering::Relaxed);
        client.state = ClientState::Idle;
        client.request = client.request.wrapping_add(1);
        client.kept = self.spec.keep_alive && !client.answer.closes();
        if !client.kept {
            client.stream = None;
        }
        self.busy -= 1;
        // The first answer ends no gap: a server that starts slowly was not up yet.
        if self.report.good() > 1 {
            self.gap(now);
        }
        self.last_good = now;
        self.pauses.push_back((now + Duration::from_micros(self.spec.pause_us), number));
    }

    fn fail(&mut self, number: usize, why: &str) {
        let client = &mut self.clients[number];
        let why = format!("{why} {}", client.describe_state());
        client.state = ClientState::Idle;
        client.request = client.request.wrapping_add(1);
        client.stream = None;
        let kept = client.kept;
        self.busy -= 1;
        let now = Instant::now();
        self.report.failure(now.duration_since(self.begin), kept, &why);
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        self.penalties.push_back((now + AFTER_FAILURE.max(Duration::from_micros(self.spec.pause_us)), number));
    }

    /// Fails the requests whose deadline has passed.
    fn over(&mut self) {
        let now = Instant::now();
        while let Some((_, number, request)) = self.deadlines.front().copied().filter(|(due, ..)| *due <= now) {
            self.deadlines.pop_front();
            if self.clients[number].request == request {
                self.fail(number, &format!("no answer in {} ms", self.spec.timeout_ms));
            }
        }
    }

    fn gap(&mut self, until: Instant) {
        self.report.longest_gap_ms = self.report.longest_gap_ms.max(ms(until.saturating_duration_since(self.last_good)));
    }
}

fn pop_due(queue: &mut VecDeque<(Instant, usize)>, now: Instant) -> Option<(Instant, usize)> {
    queue.front().filter(|(due, _)| *due <= now)?;
    queue.pop_front()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns an error in words without its number: `connection reset by peer`.
fn words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
