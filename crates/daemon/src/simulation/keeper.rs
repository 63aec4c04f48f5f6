//! Played keeper: does the work of the real one, one step at a time.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_keeper::fake_keeper::Peer;
use ostler_keeper::{Child, Ended, FromKeeper, HELD_JOURNAL, HELD_LOCK, HELD_SOCKET, Inventory, Link, Originals, Revival, ToKeeper};
use ostler_sys::process::Target;
use ostler_sys::{ProcRef, Usage, WaitStatus};
use ostler_testkit::Rng;

use super::machine::Machine;

/// Original settings that apps inherit here.
pub(super) const ORIGINALS: Originals = Originals { umask: 0o22, nofile: None, oom_score_adj: None };

/// Played keeper.
pub(super) struct Keeper {
    machine: Rc<Machine>,
    pid: i32,
    /// Link to the daemon, or `None` while there is no daemon.
    peer: Option<Peer>,
    children: BTreeMap<u64, Child>,
    held: BTreeMap<String, OwnedFd>,
    /// Acknowledgements of the daemon since the last check.
    pub acknowledged: Vec<u64>,
    /// Whether it is killed before it can send anything more.
    is_mute: bool,
}

impl Keeper {
    /// Creates the first keeper of a home.
    pub(super) fn new(machine: &Rc<Machine>, lock: OwnedFd, socket: OwnedFd) -> Self {
        let journal = ostler_sys::fd::memfd::create("ostler-journal").unwrap();
        let held = [(HELD_LOCK, lock), (HELD_SOCKET, socket), (HELD_JOURNAL, journal)];
        let held = held.map(|(name, fd)| (name.to_owned(), fd)).into();
        Self::with(machine, BTreeMap::new(), held)
    }

    /// Creates the keeper after keeper and daemon were killed together. It gets the held
    /// descriptors from the anchor. The running processes are no longer children of a keeper.
    pub(super) fn behind(machine: &Rc<Machine>, former: Self) -> Self {
        Self::with(machine, BTreeMap::new(), former.held)
    }

    fn with(machine: &Rc<Machine>, children: BTreeMap<u64, Child>, held: BTreeMap<String, OwnedFd>) -> Self {
        let mut state = machine.state.borrow_mut();
        let pid = state.new_pid();
        state.keeper = Some(pid);
        drop(state);
        Self { machine: Rc::clone(machine), pid, peer: None, children, held, acknowledged: Vec::new(), is_mute: false }
    }

    /// Creates a keeper for a running daemon whose keeper was killed. It first reports which
    /// watched processes are gone.
    pub(super) fn revived(machine: &Rc<Machine>, revival: &Revival<'_>) -> (Self, Link) {
        let held = revival.held.iter().map(|(name, fd)| ((*name).to_owned(), fd.try_clone_to_owned().unwrap())).collect();
        let mut keeper = Self::with(machine, BTreeMap::new(), held);
        let link = keeper.link();
        for child in revival.children {
            keeper.watch(child.key, ProcRef { pid: child.pid, start_ticks: child.start_ticks });
        }
        (keeper, link)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Creates a link, and returns the daemon's end.
    fn link(&mut self) -> Link {
        let (ours, theirs) = ostler_sys::net::socket::packet_pair().unwrap();
        self.peer = Some(Peer::new(ours));
        Link::new(theirs)
    }

    /// Returns link and inventory for a new daemon.
    pub(super) fn begin_daemon(&mut self) -> (Link, Inventory, Vec<OwnedFd>) {
        let link = self.link();
        let inventory = Inventory {
            keeper_pid: self.pid,
            originals: ORIGINALS,
            children: self.children.values().copied().collect(),
            held: self.held.keys().cloned().collect(),
            ..Inventory::default()
        };
        let fds = self.held.values().map(|fd| fd.try_clone().unwrap()).collect();
        (link, inventory, fds)
    }

    /// Kills the keeper: messages on the way to it are lost. It may not have reported its last
    /// actions.
    pub(super) fn dies(&mut self, rng: &mut Rng) -> Vec<String> {
        self.is_mute = true;
        let done = (0..rng.below(5)).filter_map(|_| self.receive(rng)).collect();
        self.peer = None;
        done
    }

    /// Handles the end of the daemon: its sent messages are handled before the next daemon begins.
    pub(super) fn daemon_ended(&mut self, rng: &mut Rng) {
        while self.receive(rng).is_some() {}
        self.peer = None;
    }

    pub(super) fn journal(&self) -> BorrowedFd<'_> {
        self.held[HELD_JOURNAL].as_fd()
    }

    /// Returns true if it holds a descriptor of this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.held.contains_key(name)
    }

    /// Returns true if it holds a listening socket with this key, of any app.
    pub(super) fn holds_port(&self, key: &str) -> bool {
        self.held.keys().any(|name| name.starts_with("listen:") && name.strip_suffix(key).is_some_and(|rest| rest.ends_with(':')))
    }

    /// Does one thing. Returns a text about it.
    pub(super) fn act(&mut self, rng: &mut Rng) -> Option<String> {
        if rng.percent(50) { self.reap().or_else(|| self.receive(rng)) } else { self.receive(rng).or_else(|| self.reap()) }
    }

    /// Handles one request of the daemon.
    fn receive(&mut self, rng: &mut Rng) -> Option<String> {
        let (request, fds) = self.peer.as_mut()?.receive().ok()??;
        let words = match &request {
            ToKeeper::Spawn(request) => format!("spawn {:x}", request.key),
            other => format!("{other:?}"),
        };
        self.perform(request, fds, rng);
        Some(format!("keeper: {words}"))
    }

    fn reap(&mut self) -> Option<String> {
        let (process, ending) = self.machine.state.borrow_mut().reap()?;
        self.ended(process, ending);
        Some(format!("keeper: {} has ended: {ending:?}", process.pid))
    }

    /// Checks processes that are not its children, and notices their exit at once.
    pub(super) fn check_adopted(&mut self) {
        let gone = |child: &Child| {
            let process = ProcRef { pid: child.pid, start_ticks: child.start_ticks };
            let state = self.machine.state.borrow();
            child.ended.is_none() && !state.processes.contains_key(&process.pid)
        };
        let gone: Vec<ProcRef> = self
            .children
            .values()
            .filter(|child| gone(child))
            .map(|child| ProcRef { pid: child.pid, start_ticks: child.start_ticks })
            .collect();
        gone.into_iter().for_each(|process| self.ended(process, WaitStatus::Unknown));
    }

    fn ended(&mut self, process: ProcRef, ending: WaitStatus) {
        let at_boot_ms = self.machine.now_ms();
        let known = self.children.values_mut().find(|child| child.pid == process.pid && child.ended.is_none());
        let Some(child) = known else { return };
        let ended = Ended { ending, usage: Usage::default(), at_boot_ms, at_wall_ms: at_boot_ms };
        child.ended = Some(ended);
        let message = exited(child.key, process.pid, ended);
        self.send(&message);
    }

    fn send(&mut self, message: &FromKeeper) {
        if let Some(peer) = self.peer.as_mut().filter(|_| !self.is_mute) {
            // A dead daemon reads nothing.
            let _ = peer.send(message, &[]);
        }
    }

    fn perform(&mut self, request: ToKeeper, mut fds: Vec<OwnedFd>, rng: &mut Rng) {
        match request {
            ToKeeper::Spawn(request) => {
                let key = request.key;
                if self.children.contains_key(&key) {
                    return self.send(&FromKeeper::SpawnFailed { key, step: "key".into(), errno: 17 });
                }
                let spawned = self.machine.state.borrow_mut().spawn(&request, fds, rng);
                match spawned {
                    Ok(ProcRef { pid, start_ticks }) => {
                        self.children.insert(key, Child { key, pid, start_ticks, ended: None });
                        self.send(&FromKeeper::Spawned { key, pid, start_ticks });
                    }
                    Err((step, errno)) => self.send(&FromKeeper::SpawnFailed { key, step: step.into(), errno }),
                }
            }
            ToKeeper::Kill { key, signal, group } => {
                if let Some(child) = self.children.get(&key).filter(|child| child.ended.is_none()) {
                    let process = ProcRef { pid: child.pid, start_ticks: child.start_ticks };
                    let _ = self.machine.state.borrow_mut().signal(process, signal, if group { Target::Group } else { Target::Process });
                }
            }
            ToKeeper::Ack { key } => {
                if self.children.get(&key).is_some_and(|child| child.ended.is_some()) {
                    self.children.remove(&key);
                    self.acknowledged.push(key);
                }
            }
            ToKeeper::Hold { name } => {
                if let Some(fd) = fds.pop() {
                    self.held.insert(name, fd);
                }
            }
            ToKeeper::Drop { name } => drop(self.held.remove(&name)),
            ToKeeper::Adopt { key, pid, start_ticks } => {
                self.send(&FromKeeper::Spawned { key, pid, start_ticks });
                self.watch(key, ProcRef { pid, start_ticks });
            }
            ToKeeper::Follow { key, pid, start_ticks } => {
                self.children.remove(&key);
                self.watch(key, ProcRef { pid, start_ticks });
            }
            ToKeeper::Verify { key, pid, start_ticks } => self.verify(key, ProcRef { pid, start_ticks }),
            ToKeeper::Ping => self.send(&FromKeeper::Pong),
            ToKeeper::Exit
            | ToKeeper::ExitWith { .. }
            | ToKeeper::Inspect(_)
            | ToKeeper::Upgrade { .. }
            | ToKeeper::Pong
            | ToKeeper::Ready
            | ToKeeper::At { .. }
            | ToKeeper::DeathReport { .. } => {}
        }
    }

    fn watch(&mut self, key: u64, process: ProcRef) {
        self.children.insert(key, Child { key, pid: process.pid, start_ticks: process.start_ticks, ended: None });
        if !self.machine.state.borrow().lives(process) {
            self.ended(process, WaitStatus::Unknown);
        }
    }

    fn verify(&mut self, key: u64, asked: ProcRef) {
        match self.children.get(&key) {
            Some(Child { pid, ended: Some(ended), .. }) => {
                let message = exited(key, *pid, *ended);
                self.send(&message);
            }
            Some(_) => {}
            None if self.machine.state.borrow().lives(asked) => self.watch(key, asked),
            None => {
                let now = self.machine.now_ms();
                let ended = Ended { ending: WaitStatus::Unknown, usage: Usage::default(), at_boot_ms: now, at_wall_ms: now };
                self.send(&exited(key, asked.pid, ended));
            }
        }
    }

    /// Returns the running process that it watches under this key.
    pub(super) fn watches(&self, key: u64) -> Option<i32> {
        self.children.get(&key).filter(|child| child.ended.is_none()).map(|child| child.pid)
    }

    /// Returns true if the daemon has not acknowledged all exits.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.children.values().any(|child| child.ended.is_some())
    }
}

fn exited(key: u64, pid: i32, ended: Ended) -> FromKeeper {
    let Ended { ending, usage, at_boot_ms, at_wall_ms } = ended;
    FromKeeper::Exited { key, pid, ending, usage, at_boot_ms, at_wall_ms }
}
