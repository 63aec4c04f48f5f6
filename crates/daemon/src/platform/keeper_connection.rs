//! Connection to the keeper: collects messages, and sends them only after the journal was written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_keeper::{FromKeeper, Link, LinkSender, ToKeeper};
use ostler_sys::process::activity;
use ostler_sys::process::signal::CONT;
use ostler_sys::{ProcRef, WaitStatus};

use crate::platform::reactor::{Reactor, Source};

/// Errnos of a keeper that is gone: `EPIPE` and `ECONNRESET`.
const BROKEN: [i32; 2] = [32, 104];

/// Splits a keeper's key into the id of a slot and an incarnation.
pub(crate) fn split_key(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// Returns true if the keeper's key belongs to a process of an instance: incarnations are never 0.
pub(crate) fn is_of_instance(key: u64) -> bool {
    split_key(key).1 != 0
}

/// Link to the keeper, and its queue.
#[derive(Debug)]
pub(crate) struct KeeperConnection {
    link: Link,
    pid: i32,
    /// Process of the keeper; `None` if its activity cannot be inspected.
    process: Option<ProcRef>,
    /// True if something was sent since the last [`KeeperConnection::take_sent`].
    has_sent: bool,
    /// Reason why the daemon killed the keeper.
    pub fault: Option<String>,
    /// Exits that the daemon noticed itself, by key.
    endings: BTreeMap<u64, WaitStatus>,
    queue: VecDeque<(ToKeeper, Vec<OwnedFd>)>,
    waits_for_room: bool,
    /// Starts that could not be sent for lack of descriptors: key and errno.
    unsent: Vec<(u64, i32)>,
}

impl KeeperConnection {
    pub(crate) fn new(link: Link, pid: i32) -> Self {
        Self {
            link,
            pid,
            process: ProcRef::of(pid).ok().filter(|_| activity(pid).is_ok()),
            has_sent: false,
            fault: None,
            endings: BTreeMap::new(),
            queue: VecDeque::new(),
            waits_for_room: false,
            unsent: Vec::new(),
        }
    }

    /// Returns the pid of the keeper, which is parent and subreaper of all apps.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the process of the keeper, or `None` if its activity cannot be inspected.
    pub(crate) fn process(&self) -> Option<ProcRef> {
        self.process
    }

    /// Returns true once after the keeper was sent a message that it must act on.
    pub(crate) fn take_sent(&mut self) -> bool {
        std::mem::take(&mut self.has_sent)
    }

    /// Records an exit that the daemon noticed itself.
    pub(crate) fn note_ending(&mut self, key: u64, ending: WaitStatus) {
        self.endings.insert(key, ending);
    }

    /// Returns the exit that the keeper reports. If the keeper does not know it, returns the exit
    /// that the daemon noticed.
    pub(crate) fn known_ending(&mut self, key: u64, reported: WaitStatus) -> WaitStatus {
        let seen = self.endings.remove(&key);
        if reported == WaitStatus::Unknown { seen.unwrap_or(reported) } else { reported }
    }

    /// Replaces the keeper by another one.
    pub(crate) fn replace(&mut self, link: Link, pid: i32) {
        let endings = std::mem::take(&mut self.endings);
        *self = Self { endings, ..Self::new(link, pid) };
    }

    /// Continues a keeper that a signal stopped, because it is to exit now.
    pub(crate) fn continue_stopped(&self) {
        if let Some(keeper) = self.process.filter(|keeper| activity(keeper.pid).is_ok_and(|found| found.state == b'T')) {
            // The process that requested the exit waits for it, and reports a timeout.
            let _ = keeper.signal(CONT);
        }
    }

    /// Queues a message without descriptors.
    pub(crate) fn send(&mut self, message: ToKeeper) {
        self.send_with(message, Vec::new());
    }

    /// Queues a message.
    pub(crate) fn send_with(&mut self, message: ToKeeper, fds: Vec<OwnedFd>) {
        self.has_sent |= !matches!(message, ToKeeper::Ping | ToKeeper::Pong | ToKeeper::Ready);
        self.queue.push_back((message, fds));
    }

    /// Signals a main process, or its whole group.
    pub(crate) fn kill(&mut self, key: u64, signal: i32, group: bool) {
        self.send(ToKeeper::Kill { key, signal, group });
    }

    /// Returns a sender for another thread.
    pub(crate) fn sender(&self) -> Option<LinkSender> {
        LinkSender::of(&self.link).ok()
    }

    /// Gives the keeper a copy of a descriptor, to outlive the daemon. It replaces one of the same
    /// name.
    pub(crate) fn hold(&mut self, name: &str, fd: BorrowedFd<'_>) {
        // Without a copy, everything works as long as the daemon runs.
        if let Ok(copy) = fd.try_clone_to_owned() {
            self.send_with(ToKeeper::Hold { name: name.to_owned() }, vec![copy]);
        }
    }

    /// Gives the keeper a copy at once, before other processes learn of the descriptor: otherwise
    /// they would find it closed if the daemon is killed in between. The next daemon may then get a
    /// descriptor that is not in the journal yet; the feature that takes it over must handle that.
    pub(crate) fn hold_now(&mut self, name: &str, fd: BorrowedFd<'_>) {
        let is_older = |message: &ToKeeper| matches!(message, ToKeeper::Hold { name: of } | ToKeeper::Drop { name: of } if of == name);
        self.queue.retain(|(message, _)| !is_older(message));
        self.has_sent = true;
        // A broken link is noticed at the next read.
        let _ = self.link.send(&ToKeeper::Hold { name: name.to_owned() }, &[fd]);
    }

    /// Makes the keeper close its copy.
    pub(crate) fn drop_held(&mut self, name: &str) {
        self.send(ToKeeper::Drop { name: name.to_owned() });
    }

    /// Makes the keeper execute this program.
    pub(crate) fn upgrade(&mut self, exe: PathBuf) {
        self.send(ToKeeper::Upgrade { exe });
    }

    /// Adopts a process that is not the keeper's child.
    pub(crate) fn adopt(&mut self, key: u64, process: ProcRef) {
        let ProcRef { pid, start_ticks } = process;
        // If the system has no pidfds, or the process has just exited, the keeper finds another
        // way.
        self.send_with(ToKeeper::Adopt { key, pid, start_ticks }, process.open().into_iter().collect());
    }

    /// Makes the keeper follow another process under this key.
    pub(crate) fn follow(&mut self, key: u64, process: ProcRef) {
        let ProcRef { pid, start_ticks } = process;
        // A process that has just exited has no pidfd; the keeper reports the exit.
        self.send_with(ToKeeper::Follow { key, pid, start_ticks }, process.open().into_iter().collect());
    }

    /// Sends queued messages, as far as the link accepts them.
    pub(crate) fn flush(&mut self, reactor: &Reactor) {
        starts_first(&mut self.queue);
        while let Some((message, fds)) = self.queue.pop_front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            // A broken link is noticed at the next read.
            if let (Err(error), ToKeeper::Spawn(request)) = (self.link.send(&message, &fds), &message)
                && let Some(errno) = error.raw_os_error().filter(|errno| !BROKEN.contains(errno))
            {
                self.unsent.push((request.key, errno));
            }
        }
        let waits = self.link.flush().is_ok_and(|all| !all);
        if waits != self.waits_for_room && reactor.want_write(&self.link, Source::Keeper, waits).is_ok() {
            self.waits_for_room = waits;
        }
    }

    /// Returns starts that could not be sent, once.
    pub(crate) fn take_unsent(&mut self) -> Vec<(u64, i32)> {
        std::mem::take(&mut self.unsent)
    }

    /// Returns true if sent messages wait until the keeper has read earlier ones.
    pub(crate) fn is_behind(&self) -> bool {
        self.waits_for_room
    }

    /// Returns the number of descriptors that wait in the daemon until the keeper has read earlier
    /// messages.
    pub(crate) fn waiting_fds(&self) -> usize {
        self.link.waiting_fds()
    }

    /// Sends all messages with blocking writes before the daemon exits.
    pub(crate) fn flush_finally(&mut self, reactor: &Reactor) {
        self.flush(reactor);
        let _ = self.link.flush_blocking();
    }

    /// Returns the next message, if one has arrived.
    pub(crate) fn receive(&mut self) -> io::Result<Option<(FromKeeper, Vec<OwnedFd>)>> {
        self.link.recv()
    }
}

/// Moves cleanup messages behind the starts. Cleanup is not urgent, but clients wait for the
/// starts.
fn starts_first(queue: &mut VecDeque<(ToKeeper, Vec<OwnedFd>)>) {
    let Some(last) = queue.iter().rposition(|(message, _)| matches!(message, ToKeeper::Spawn(_))) else { return };
    let held: Vec<String> = queue.iter().filter_map(|(message, _)| held_name(message)).collect();
    let cleans_up = |message: &ToKeeper| match message {
        ToKeeper::Ack { .. } => true,
        // A later hold under the same name must stay behind the drop.
        ToKeeper::Drop { name } => !held.contains(name),
        _ => false,
    };
    let (later, first): (Vec<_>, Vec<_>) = queue.drain(..=last).partition(|(message, _)| cleans_up(message));
    first.into_iter().chain(later).rev().for_each(|sent| queue.push_front(sent));
}

fn held_name(message: &ToKeeper) -> Option<String> {
    if let ToKeeper::Hold { name } = message { Some(name.clone()) } else { None }
}

impl AsFd for KeeperConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_keeper::SpawnRequest;

    #[test]
    fn spawns_are_sent_before_cleanups() {
        let hold = |name: &str| ToKeeper::Hold { name: name.into() };
        let drop = |name: &str| ToKeeper::Drop { name: name.into() };
        let spawn = |key: u64| ToKeeper::Spawn(Box::new(SpawnRequest { key, ..SpawnRequest::default() }));
        let ack = |key: u64| ToKeeper::Ack { key };
        let kill = ToKeeper::Kill { key: 9, signal: 2, group: true };
        for (given, sent) in [
            (
                vec![drop("ipc:1"), ack(1), hold("ipc:2"), spawn(2), kill.clone(), ack(3)],
                vec![hold("ipc:2"), spawn(2), drop("ipc:1"), ack(1), kill.clone(), ack(3)],
            ),
            (vec![drop("port"), hold("port"), ack(1), spawn(2)], vec![drop("port"), hold("port"), spawn(2), ack(1)]),
            (vec![ack(1), kill.clone(), ack(2)], vec![ack(1), kill, ack(2)]),
        ] {
            let mut queue: VecDeque<_> = given.into_iter().map(|message| (message, Vec::new())).collect();
            starts_first(&mut queue);
            assert_eq!(queue.into_iter().map(|(message, _)| message).collect::<Vec<_>>(), sent);
        }
    }
}
