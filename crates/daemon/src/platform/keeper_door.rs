//! Keeper's door: what is to be sent to the keeper is collected, and leaves only after the journal was written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_keeper::{FromKeeper, Link, ToKeeper};
use ostler_sys::process::activity;
use ostler_sys::process::signal::CONT;
use ostler_sys::{Ending, ProcRef};

use crate::platform::reactor::{Reactor, Source};

/// Errnos of a keeper that is gone: `EPIPE` and `ECONNRESET`.
const BROKEN: [i32; 2] = [32, 104];

/// Splits a keeper's key into the id of a slot and an incarnation.
pub(crate) fn split_key(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// True if the keeper's key is that of a process of an instance: incarnations are never 0.
pub(crate) fn is_of_instance(key: u64) -> bool {
    split_key(key).1 != 0
}

/// Link, and what waits to be sent.
#[derive(Debug)]
pub(crate) struct KeeperDoor {
    link: Link,
    pid: i32,
    /// The keeper's process; none if what it does cannot be seen.
    process: Option<ProcRef>,
    /// True if something was sent since the last [`KeeperDoor::take_sent`].
    has_sent: bool,
    /// Reason why the daemon killed the keeper.
    pub fault: Option<String>,
    /// Ends that the daemon saw by itself, by key.
    endings: BTreeMap<u64, Ending>,
    queue: VecDeque<(ToKeeper, Vec<OwnedFd>)>,
    waits_for_room: bool,
    /// Starts that could not be sent for want of descriptors: key and errno.
    unsent: Vec<(u64, i32)>,
}

impl KeeperDoor {
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

    /// Pid of the keeper: parent and subreaper of all apps.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The keeper's process; none if what it does cannot be seen.
    pub(crate) fn process(&self) -> Option<ProcRef> {
        self.process
    }

    /// True if the keeper was sent something that it has to do, once.
    pub(crate) fn take_sent(&mut self) -> bool {
        std::mem::take(&mut self.has_sent)
    }

    /// Notes an end that the daemon saw by itself.
    pub(crate) fn note_ending(&mut self, key: u64, ending: Ending) {
        self.endings.insert(key, ending);
    }

    /// The end that the keeper reports, or the one that the daemon saw if the keeper does not know it.
    pub(crate) fn known_ending(&mut self, key: u64, reported: Ending) -> Ending {
        let seen = self.endings.remove(&key);
        if reported == Ending::Unknown { seen.unwrap_or(reported) } else { reported }
    }

    /// Replaces the keeper by another one.
    pub(crate) fn replace(&mut self, link: Link, pid: i32) {
        let endings = std::mem::take(&mut self.endings);
        *self = Self { endings, ..Self::new(link, pid) };
    }

    /// Continues a keeper that was stopped by a signal: it is to end now.
    pub(crate) fn continue_stopped(&self) {
        if let Some(keeper) = self.process.filter(|keeper| activity(keeper.pid).is_ok_and(|found| found.state == b'T')) {
            // Whoever asked for the end waits for it, and reports it if it does not come.
            let _ = keeper.signal(CONT);
        }
    }

    /// Puts a message without descriptors into the queue.
    pub(crate) fn send(&mut self, message: ToKeeper) {
        self.send_with(message, Vec::new());
    }

    /// Puts a message into the queue.
    pub(crate) fn send_with(&mut self, message: ToKeeper, fds: Vec<OwnedFd>) {
        self.has_sent |= !matches!(message, ToKeeper::Ping | ToKeeper::Pong | ToKeeper::Ready);
        self.queue.push_back((message, fds));
    }

    /// Signals a main process, or its whole group.
    pub(crate) fn kill(&mut self, key: u64, signal: i32, group: bool) {
        self.send(ToKeeper::Kill { key, signal, group });
    }

    /// Gives the keeper a copy of a descriptor, to outlive the daemon; one of the same name is replaced.
    pub(crate) fn hold(&mut self, name: &str, fd: BorrowedFd<'_>) {
        // Without a copy everything works on as long as the daemon lives.
        if let Ok(copy) = fd.try_clone_to_owned() {
            self.send_with(ToKeeper::Hold { name: name.to_owned() }, vec![copy]);
        }
    }

    /// Gives the keeper a copy at once: before anybody is told that there is such a thing, as whoever was told finds it closed if we are killed in
    /// between. That the next daemon gets something that the journal does not have yet is for whoever takes it back.
    pub(crate) fn hold_now(&mut self, name: &str, fd: BorrowedFd<'_>) {
        let is_older = |message: &ToKeeper| matches!(message, ToKeeper::Hold { name: of } | ToKeeper::Drop { name: of } if of == name);
        self.queue.retain(|(message, _)| !is_older(message));
        self.has_sent = true;
        // A link that is broken shows it when it is read.
        let _ = self.link.send(&ToKeeper::Hold { name: name.to_owned() }, &[fd]);
    }

    /// Has the keeper close its copy.
    pub(crate) fn drop_held(&mut self, name: &str) {
        self.send(ToKeeper::Drop { name: name.to_owned() });
    }

    /// Has the keeper become this program.
    pub(crate) fn upgrade(&mut self, exe: PathBuf) {
        self.send(ToKeeper::Upgrade { exe });
    }

    /// Adopts a process that is not the keeper's child.
    pub(crate) fn adopt(&mut self, key: u64, process: ProcRef) {
        let ProcRef { pid, start_ticks } = process;
        // Where there are no pidfds, or it has just ended, the keeper finds another way.
        self.send_with(ToKeeper::Adopt { key, pid, start_ticks }, process.open().into_iter().collect());
    }

    /// Has the keeper follow another process behind a key.
    pub(crate) fn follow(&mut self, key: u64, process: ProcRef) {
        let ProcRef { pid, start_ticks } = process;
        // One that has just ended has none: the keeper reports that.
        self.send_with(ToKeeper::Follow { key, pid, start_ticks }, process.open().into_iter().collect());
    }

    /// Sends what waits, as far as the link takes it.
    pub(crate) fn flush(&mut self, reactor: &Reactor) {
        starts_first(&mut self.queue);
        while let Some((message, fds)) = self.queue.pop_front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            // A link that is broken shows it when it is read.
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

    /// Starts that could not be sent, once.
    pub(crate) fn take_unsent(&mut self) -> Vec<(u64, i32)> {
        std::mem::take(&mut self.unsent)
    }

    /// True if something that was sent waits until the keeper has taken what came before it.
    pub(crate) fn is_behind(&self) -> bool {
        self.waits_for_room
    }

    /// Descriptors that wait in our hands until the keeper has taken what came before them.
    pub(crate) fn waiting_fds(&self) -> usize {
        self.link.waiting_fds()
    }

    /// Before the daemon ends: waits until everything is sent.
    pub(crate) fn flush_finally(&mut self, reactor: &Reactor) {
        self.flush(reactor);
        let _ = self.link.flush_blocking();
    }

    /// The next message, if one is there.
    pub(crate) fn receive(&mut self) -> io::Result<Option<(FromKeeper, Vec<OwnedFd>)>> {
        self.link.recv()
    }
}

/// Puts what only cleans up after others behind the starts: nobody waits for it, and somebody for them.
fn starts_first(queue: &mut VecDeque<(ToKeeper, Vec<OwnedFd>)>) {
    let Some(last) = queue.iter().rposition(|(message, _)| matches!(message, ToKeeper::Spawn(_))) else { return };
    let held: Vec<String> = queue.iter().filter_map(|(message, _)| held_name(message)).collect();
    let cleans_up = |message: &ToKeeper| match message {
        ToKeeper::Ack { .. } => true,
        // What is held again under the same name comes after it.
        ToKeeper::Drop { name } => !held.contains(name),
        _ => false,
    };
    let (later, first): (Vec<_>, Vec<_>) = queue.drain(..=last).partition(|(message, _)| cleans_up(message));
    first.into_iter().chain(later).rev().for_each(|sent| queue.push_front(sent));
}

fn held_name(message: &ToKeeper) -> Option<String> {
    if let ToKeeper::Hold { name } = message { Some(name.clone()) } else { None }
}

impl AsFd for KeeperDoor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_keeper::SpawnRequest;

    #[test]
    fn nobody_who_waits_for_a_start_waits_for_a_cleanup() {
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
