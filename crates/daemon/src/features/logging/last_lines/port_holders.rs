//! Lookups of the process that holds a port.
//!
//! A thread does them, because it may have to read the descriptors of all processes. It runs only
//! while there is a lookup. Each port has one lookup at a time. Its result is kept for a while,
//! because instances that crash because of the port need it at each exit.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use ostler_sys::ProcTable;
use ostler_sys::net::listening::{self, Listener};

use crate::engine::Ctx;
use crate::platform::reactor::{Reactor, Source};
use crate::platform::threads;
use crate::platform::waker::Waker;

/// Time for which the result of a lookup is kept.
const KNOWN_MS: u64 = 10_000;
/// Most ports whose holder is known, and most that are looked up at the same time.
const MOST_PORTS: usize = 64;
/// Most requests that wait for the same lookup.
const MOST_WAITING: usize = 256;
/// Most ancestors of the holder that are compared with apps.
const MOST_ANCESTORS: usize = 64;
/// Stack of the thread.
const STACK: usize = 256 << 10;

/// Requests of type `R` for holders of ports, and the last results.
#[derive(Debug)]
pub(super) struct PortHolders<R> {
    /// Results as text, and the time of each.
    results: BTreeMap<u16, (u64, String)>,
    /// Running lookups, with the requests that wait for them.
    waiting: BTreeMap<u16, Vec<R>>,
    worker: Option<Worker>,
}

impl<R> Default for PortHolders<R> {
    fn default() -> Self {
        Self { results: BTreeMap::new(), waiting: BTreeMap::new(), worker: None }
    }
}

/// State of a request for the holder of a port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The result, as text.
    Known(String),
    /// The request waits; [`PortHolders::take`] returns it.
    UnderWay,
    /// There are too many lookups, or the thread cannot be started.
    Refused,
}

impl<R> PortHolders<R> {
    /// Requests the holder of a port. `request` is dropped unless a lookup runs afterwards.
    pub(super) fn look_up(&mut self, ctx: &mut Ctx, port: u16, source: Source, request: R) -> Lookup {
        let now_ms = ctx.now.mono_ms;
        self.results.retain(|_, (at_ms, _)| now_ms < at_ms.saturating_add(KNOWN_MS));
        if let Some((_, holder)) = self.results.get(&port) {
            return Lookup::Known(holder.clone());
        }
        if !self.waiting.contains_key(&port) {
            if self.results.len() + self.waiting.len() >= MOST_PORTS {
                return Lookup::Refused;
            }
            let mut first: Vec<i32> = vec![std::process::id().cast_signed()];
            first.extend(ctx.state.slots.iter().filter_map(|slot| slot.durable.instance.pid()));
            if let Err(error) = self.order(&ctx.io.reactor, source, Task { port, first }) {
                ctx.io.log.error_once("port-holder", format_args!("cannot look up the holder of port {port}: {error}"));
                return Lookup::Refused;
            }
        }
        let waiting = self.waiting.entry(port).or_default();
        if waiting.len() >= MOST_WAITING {
            return Lookup::Refused;
        }
        waiting.push(request);
        Lookup::UnderWay
    }

    fn order(&mut self, reactor: &Reactor, source: Source, task: Task) -> io::Result<()> {
        let worker = match &self.worker {
            Some(worker) => worker,
            None => self.worker.insert(Worker::start(reactor, source)?),
        };
        worker.tasks.send(task).map_err(io::Error::other)
    }

    /// Returns the requests whose lookups are done, each with its port and the holder as text.
    /// Called when the waker is ready.
    pub(super) fn take(&mut self, ctx: &Ctx) -> Vec<(u16, String, R)> {
        let Some(worker) = &self.worker else { return Vec::new() };
        worker.waker.clear();
        let mut done = Vec::new();
        for (port, found) in worker.results.try_iter() {
            let holder = describe(ctx, &found);
            for request in self.waiting.remove(&port).unwrap_or_default() {
                done.push((port, holder.clone(), request));
            }
            self.results.insert(port, (ctx.now.mono_ms, holder));
        }
        if self.waiting.is_empty() {
            ctx.io.reactor.remove(&*worker.waker);
            self.worker = None;
        }
        done
    }

    /// Returns true if a request that fits waits for a lookup.
    pub(super) fn any_waiting(&self, fits: impl Fn(&R) -> bool) -> bool {
        self.waiting.values().flatten().any(fits)
    }
}

/// Lookup for the thread.
struct Task {
    port: u16,
    /// Processes that are read before all others.
    first: Vec<i32>,
}

/// Result of a lookup.
#[derive(Debug, Default)]
struct LookupResult {
    sockets: Vec<Listener>,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    pid: i32,
    program: String,
    /// The process itself, its parent, and so on.
    ancestors: Vec<i32>,
}

/// Handle of the thread. The thread exits when the handle is dropped.
#[derive(Debug)]
struct Worker {
    waker: Arc<Waker>,
    tasks: mpsc::Sender<Task>,
    results: mpsc::Receiver<(u16, LookupResult)>,
}

impl Worker {
    fn start(reactor: &Reactor, source: Source) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let back = Arc::clone(&waker);
        let (tasks, received) = mpsc::channel::<Task>();
        let (sender, results) = mpsc::channel();
        threads::spawn("port-holder".into(), STACK, move || {
            while let Some(Task { port, first }) = threads::receive(&received) {
                let found = threads::catch(|| find(port, &first)).unwrap_or_default();
                let _ = sender.send((port, found));
                back.wake();
            }
        })?;
        reactor.add(&*waker, source)?;
        Ok(Self { waker, tasks, results })
    }
}

fn find(port: u16, first: &[i32]) -> LookupResult {
    let sockets = listening::sockets_at(port);
    let holder = listening::holder_of(&sockets, first).map(|pid| {
        let table = ProcTable::with_ancestors(pid, []);
        let parent = |pid: &i32| table.get(*pid).map(|entry| entry.ppid).filter(|ppid| *ppid > 1);
        let ancestors = std::iter::successors(Some(pid), parent).take(MOST_ANCESTORS).collect();
        Holder { pid, program: listening::program(pid).unwrap_or_default(), ancestors }
    });
    LookupResult { sockets, holder }
}

/// Describes the holder in words that follow "port 80 is held".
fn describe(ctx: &Ctx, found: &LookupResult) -> String {
    let Some(socket) = found.sockets.first() else { return "by no process any more".into() };
    if let Some(app) = found.sockets.iter().find_map(|socket| ctx.state.listening.app_of(socket.inode)) {
        return format!("for app {app}, whose instances share it");
    }
    let Some(Holder { pid, program, ancestors }) = &found.holder else {
        return format!("by a process of uid {} that is not visible here (another user or container)", socket.uid);
    };
    let app = ancestors.iter().find_map(|pid| ctx.state.slots.iter().find(|slot| slot.durable.instance.pid() == Some(*pid)));
    let app = app.map(|slot| format!(", app {} (id {})", slot.spec().name, slot.durable.pm_id)).unwrap_or_default();
    format!("by process {pid} ({program}){app}")
}
