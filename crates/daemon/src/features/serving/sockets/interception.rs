//! Sockets for programs that open their port by themselves.
//!
//! # Theory of operation
//!
//! A process of an app that shares its port this way starts with a filter: the kernel stops each
//! `bind` of the process and of its descendants until we answer it. A TCP port that a process opens
//! becomes a port of the app. Each process that opens it gets its shard in place of its own socket,
//! so everything about shards holds for it. The kernel executes all other calls.
//!
//! A process may be hostile. Its memory is read by a thread of its own, which is given up after
//! [`READS_WITHIN_MS`]. The keeper holds the listener of each filter, so calls wait while no daemon
//! runs. A call that a killed daemon received is issued again ([`reissue_calls`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, mpsc};

use ostler_core::serving::budget::{Bucket, CALLS as CALL_RATE};
use ostler_core::serving::interception::{Obstacle, OwnSocket, OwnSocketReason};
use ostler_keeper::CALLS_TARGET;
use ostler_sys::net::socket;
use ostler_sys::seccomp::caller::reissue_calls;
use ostler_sys::seccomp::calls::{Answer, Call, CallListener, TrappedCall};
use ostler_sys::seccomp::filter::{self, Installed};
use ostler_sys::seccomp::inspection::BindCall;
use rustix::io::Errno;

use super::Sockets;
use super::opened::{LISTEN_TIMERS, keep_own};
use super::reading::{READS_WITHIN_MS, ReadBind, read_bind};
use crate::engine::{Ctx, Input, Key, SpawnExtras};
use crate::platform::reactor::Source;
use crate::platform::threads;
use crate::platform::waker::Waker;
use crate::state::slots::complaints::Topic;

/// Prefix of the names under which the keeper holds listeners, and sockets for their reports.
const CALLS: &str = "calls:";
const REPORTS: &str = "call-reports:";

/// Most calls of a process in one turn. A program that floods us waits for its next turn.
const CALLS_PER_TURN: usize = 16;
/// Most threads that read the memory of processes, and of one process and its descendants. A hostile
/// process can make its threads hang.
const MOST_READERS: usize = 64;
const MOST_READERS_OF_PROCESS: usize = 8;
/// Stack of such a thread.
const STACK_BYTES: usize = 128 << 10;
/// Time after which calls are received again if that has failed.
const RECEIVES_AGAIN_MS: u64 = 100;
/// Time for which the calls of a process wait if too many of them are being read.
const READERS_FREE_MS: u64 = 5;

/// Key of the waker of the threads. Those of processes are smaller.
const READ: u64 = 1 << 32;
/// Timer of [`READS_WITHIN_MS`].
const READ_TIMER: Key = (Sockets::NAME, 1 << 33);
/// Bit of the timers of processes that wait because they made too many calls, beside the number of
/// their interception.
const RESUME_TIMERS: u64 = 1 << 35;

/// Calls of all processes with a filter.
#[derive(Debug, Default)]
pub(super) struct Interceptions {
    by_number: BTreeMap<u32, Interception>,
    next: u32,
    /// Calls whose process is being read, by their ids: process, and until when.
    reads: BTreeMap<u64, (u32, u64)>,
    results: Option<(mpsc::Sender<Bound>, mpsc::Receiver<Bound>)>,
    waker: Option<Arc<Waker>>,
}

/// Calls of a process and its descendants.
#[derive(Debug)]
struct Interception {
    id: u32,
    inc: u32,
    from: CallSource,
    calls: Bucket,
    /// Number of threads that read its memory.
    readers: usize,
    /// Whether the kernel executes all calls: it cannot replace sockets, or the instance was
    /// forgotten, so another one may have the same number.
    is_passive: bool,
    /// Whether it was reported that the process listens.
    listens: bool,
    /// Processes that opened a port, by the port's key.
    openers: BTreeMap<String, i32>,
    /// Number of ports when it was last checked which of them are closed again.
    checked_ports: usize,
}

#[derive(Debug)]
enum CallSource {
    /// The process has not sent its listener yet.
    Reports(OwnedFd),
    Calls(CallListener),
}

impl AsFd for CallSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Reports(socket) => socket.as_fd(),
            Self::Calls(listener) => listener.as_fd(),
        }
    }
}

impl Interception {
    fn new(id: u32, inc: u32, from: CallSource) -> Self {
        let is_passive = matches!(&from, CallSource::Calls(listener) if !listener.can_replace());
        Self { id, inc, from, calls: Bucket::default(), readers: 0, is_passive, listens: false, openers: BTreeMap::new(), checked_ports: 0 }
    }

    /// Returns true if it belongs to the present process of its instance.
    fn is_present(&self, ctx: &Ctx) -> bool {
        !self.is_passive && ctx.state.slots.get(self.id).is_some_and(|slot| slot.durable.instance.inc == self.inc)
    }

    fn held_name(&self) -> String {
        let prefix = match self.from {
            CallSource::Reports(_) => REPORTS,
            CallSource::Calls(_) => CALLS,
        };
        format!("{prefix}{}.{}", self.id, self.inc)
    }
}

/// Call of `bind` whose process was read.
#[derive(Debug)]
struct Bound {
    number: u32,
    call: u64,
    fd: RawFd,
    read: Result<ReadBind, OwnSocketReason>,
}

impl Sockets {
    /// Prepares the filter of a process that is about to be started.
    pub(super) fn intercept(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.spec().is_intercepted()) else { return };
        let app = slot.spec().key().to_owned();
        match socket::packet_pair() {
            Ok((ours, theirs)) => {
                self.watch_calls(ctx, Interception::new(id, inc, CallSource::Reports(ours)));
                beside.fds.push((theirs, CALLS_TARGET));
            }
            Err(errno) => ctx.io.log.error_once("calls", format_args!("App [{app}] cannot share the port that it opens: {errno}")),
        }
    }

    /// Begins to wait for calls, and gives the keeper a copy.
    fn watch_calls(&mut self, ctx: &mut Ctx, interception: Interception) {
        ctx.io.keeper.hold_now(&interception.held_name(), interception.from.as_fd());
        self.wait_for_calls(ctx, interception);
    }

    fn wait_for_calls(&mut self, ctx: &mut Ctx, interception: Interception) {
        let calls = &mut self.interceptions;
        let number = calls.next;
        calls.next = calls.next.wrapping_add(1);
        if let Err(error) = ctx.io.reactor.add(interception.from.as_fd(), Source::Feature(Self::NAME, number.into())) {
            ctx.io.log.error(format_args!("cannot wait for calls of a process: {error}"));
        }
        calls.by_number.insert(number, interception);
    }

    fn forget_calls(&mut self, ctx: &mut Ctx, number: u32) {
        if let Some(interception) = self.interceptions.by_number.remove(&number) {
            ctx.io.reactor.remove(interception.from.as_fd());
            ctx.io.keeper.drop_held(&interception.held_name());
        }
    }

    /// Handles that an instance is gone. Descendants of its processes may still run.
    pub(super) fn forget_instance_of_calls(&mut self, id: u32) {
        self.interceptions.by_number.values_mut().filter(|interception| interception.id == id).for_each(|orphan| orphan.is_passive = true);
    }

    /// Returns names and descriptors for the keeper.
    pub(super) fn held_calls(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.interceptions.by_number.values().map(|interception| (interception.held_name(), interception.from.as_fd()))
    }

    /// Takes a descriptor of the former daemon, or returns it if it is another.
    pub(super) fn adopt_calls(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        let of = |prefix: &str| {
            let (id, inc) = name.strip_prefix(prefix)?.split_once('.')?;
            Some((id.parse().ok()?, inc.parse().ok()?))
        };
        if let Some((id, inc)) = of(REPORTS) {
            self.wait_for_calls(ctx, Interception::new(id, inc, CallSource::Reports(fd)));
        } else if let Some((id, inc)) = of(CALLS) {
            if let Some(pid) = ctx.state.slots.get(id).and_then(|slot| slot.durable.instance.pid()) {
                reissue_calls(pid);
            }
            self.wait_for_calls(ctx, Interception::new(id, inc, CallSource::Calls(fd.into())));
        } else {
            return Some(fd);
        }
        None
    }

    /// Handles a descriptor that is ready.
    pub(super) fn on_calls(&mut self, ctx: &mut Ctx, key: u64) {
        if key == READ {
            return self.on_reads(ctx);
        }
        let number = key as u32;
        match self.interceptions.by_number.get(&number).map(|interception| &interception.from) {
            Some(CallSource::Reports(_)) => self.on_report(ctx, number),
            Some(CallSource::Calls(_)) => self.take_calls(ctx, number),
            None => {}
        }
    }

    /// Handles the report of a process about its filter.
    fn on_report(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(Interception { id, inc, from: CallSource::Reports(socket), .. }) = self.interceptions.by_number.get(&number) else {
            return;
        };
        let (id, inc, report) = (*id, *inc, filter::receive(socket.as_fd()));
        match report {
            Ok(None) => {}
            Ok(Some(Installed::Listener { fd, without_new_privileges })) => {
                let interception = Interception::new(id, inc, CallSource::Calls(fd.into()));
                if interception.is_passive {
                    keep_own(ctx, id, OwnSocket { address: None, reason: OwnSocketReason::FilterRefused(Errno::NOSYS.raw_os_error()) });
                }
                self.watch_calls(ctx, interception);
                self.forget_calls(ctx, number);
                if without_new_privileges {
                    ctx.io.log.error_once(
                        "setuid",
                        format_args!(
                            "below apps that share the port that they open, sudo and other setuid programs do not work without root"
                        ),
                    );
                }
            }
            Ok(Some(Installed::Refused(errno))) => {
                self.forget_calls(ctx, number);
                keep_own(ctx, id, OwnSocket { address: None, reason: OwnSocketReason::FilterRefused(errno.raw_os_error()) });
            }
            // The program could not be started.
            Err(_) => self.forget_calls(ctx, number),
        }
    }

    /// Receives calls of a process.
    fn take_calls(&mut self, ctx: &mut Ctx, number: u32) {
        let readers: usize = self.interceptions.by_number.values().map(|interception| interception.readers).sum();
        for _ in 0..CALLS_PER_TURN {
            let Some(interception) = self.interceptions.by_number.get_mut(&number) else { return };
            let CallSource::Calls(listener) = &interception.from else { return };
            let id = interception.id;
            // Signals make the kernel issue calls again that are still being read.
            let is_full = interception.readers >= MOST_READERS_OF_PROCESS;
            if is_full && self.interceptions.reads.values().any(|(of, _)| *of == number) {
                let retry_ms = ctx.now.mono_ms.saturating_add(READERS_FREE_MS);
                return self.pause(ctx, number, Some(retry_ms));
            }
            let trapped = match listener.receive() {
                Ok(Some(trapped)) => trapped,
                Ok(None) => return,
                // No process with this filter is left.
                Err(Errno::PIPE) => return self.forget_calls(ctx, number),
                // Without a listener, the calls would fail.
                Err(_) => {
                    let retry_ms = ctx.now.mono_ms.saturating_add(RECEIVES_AGAIN_MS);
                    return self.pause(ctx, number, Some(retry_ms));
                }
            };
            let resumes_ms = interception.calls.spend(CALL_RATE, 1, ctx.now.mono_ms);
            // Readers that are beyond their deadline may never return.
            let may_read = readers < MOST_READERS && !is_full;
            let is_present = interception.is_present(ctx);
            match trapped.call {
                Call::Bind { fd, address, length } if is_present && may_read => self.read(ctx, number, trapped, (fd, address, length)),
                Call::Bind { .. } if is_present => {
                    self.leave_alone(ctx, number, trapped.id, None, OwnSocketReason::Unreadable(Obstacle::Busy));
                }
                Call::Bind { .. } => self.answer(number, trapped.id, Answer::Continue),
                Call::Listen { .. } => {
                    // As long as the thread waits, it cannot close the socket.
                    self.begins_to_listen(ctx, id);
                    self.answer(number, trapped.id, Answer::Continue);
                }
                Call::Filter => {
                    self.answer(number, trapped.id, Answer::Continue);
                    let text = "the kernel refuses its own listener of system calls (seccomp) below ostler's: run it in fork mode";
                    ctx.complain(id, Topic::OwnListener, format_args!("{text}"));
                }
                Call::Narrow => self.leave_alone(ctx, number, trapped.id, None, OwnSocketReason::Narrow),
            }
            if resumes_ms.is_some() {
                return self.pause(ctx, number, resumes_ms);
            }
        }
    }

    /// Leaves the further calls of a process waiting, or receives them again.
    fn pause(&mut self, ctx: &mut Ctx, number: u32, until_ms: Option<u64>) {
        let Some(interception) = self.interceptions.by_number.get(&number) else { return };
        match until_ms {
            Some(_) => ctx.io.reactor.remove(interception.from.as_fd()),
            // The next turn receives what waits.
            None => drop(ctx.io.reactor.add(interception.from.as_fd(), Source::Feature(Self::NAME, number.into()))),
        }
        ctx.outbox.timers.set((Self::NAME, RESUME_TIMERS | u64::from(number)), until_ms);
    }

    /// Reads in a thread what a process binds.
    fn read(&mut self, ctx: &mut Ctx, number: u32, trapped: TrappedCall, (fd, address, length): (RawFd, u64, u32)) {
        let keeper = ctx.io.keeper.sender();
        let calls = &mut self.interceptions;
        let results = calls.results.get_or_insert_with(mpsc::channel).0.clone();
        let thread = Waker::of_feature(&mut calls.waker, &ctx.io.reactor, Source::Feature(Self::NAME, READ)).and_then(|waker| {
            let call = BindCall { thread: trapped.thread, fd, address, length, ..BindCall::default() };
            let work = move || {
                let read = read_bind(call, keeper.as_ref());
                // If the daemon is exiting, nothing receives it.
                let _ = results.send(Bound { number, call: trapped.id, fd, read });
                waker.wake();
            };
            threads::spawn("bind".into(), STACK_BYTES, work)
        });
        match thread {
            Ok(_) => {
                calls.by_number.get_mut(&number).into_iter().for_each(|interception| interception.readers += 1);
                calls.reads.insert(trapped.id, (number, ctx.now.mono_ms.saturating_add(READS_WITHIN_MS)));
                self.set_read_timer(ctx);
            }
            Err(error) => {
                let reason = OwnSocketReason::NotReplaced(error.raw_os_error().unwrap_or_default());
                self.leave_alone(ctx, number, trapped.id, None, reason);
            }
        }
    }

    fn set_read_timer(&self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(READ_TIMER, self.interceptions.reads.values().map(|(_, until_ms)| *until_ms).min());
    }

    /// Handles calls whose processes were read.
    fn on_reads(&mut self, ctx: &mut Ctx) {
        let Some(waker) = &self.interceptions.waker else { return };
        waker.clear();
        let read: Vec<Bound> = self.interceptions.results.iter().flat_map(|(_, results)| results.try_iter()).collect();
        for bound in read {
            if let Some(interception) = self.interceptions.by_number.get_mut(&bound.number) {
                interception.readers = interception.readers.saturating_sub(1);
            }
            // It may have been given up.
            if self.interceptions.reads.remove(&bound.call).is_some() {
                self.on_bind(ctx, bound);
            }
        }
        self.set_read_timer(ctx);
    }

    /// Handles a deadline. Returns false if it is another's.
    pub(super) fn on_call_timer(&mut self, ctx: &mut Ctx, key: u64) -> bool {
        if key == READ_TIMER.1 {
            let now_ms = ctx.now.mono_ms;
            let late: Vec<(u64, u32)> = self
                .interceptions
                .reads
                .iter()
                .filter(|(_, (_, until_ms))| *until_ms <= now_ms)
                .map(|(call, (number, _))| (*call, *number))
                .collect();
            for (call, number) in late {
                self.interceptions.reads.remove(&call);
                self.leave_alone(ctx, number, call, None, OwnSocketReason::Unreadable(Obstacle::Late));
            }
            self.set_read_timer(ctx);
            return true;
        }
        if key & RESUME_TIMERS != 0 {
            self.pause(ctx, key as u32, None);
        } else if key & LISTEN_TIMERS != 0 {
            self.begins_to_listen(ctx, key as u32);
        } else {
            return false;
        }
        true
    }

    /// Gives the process its socket, or lets the kernel execute its call.
    fn on_bind(&mut self, ctx: &mut Ctx, bound: Bound) {
        let Bound { number, call, fd, read } = bound;
        let present = self.interceptions.by_number.get(&number).filter(|interception| interception.is_present(ctx));
        let Some(id) = present.map(|interception| interception.id) else { return self.answer(number, call, Answer::Continue) };
        let address = read.as_ref().ok().and_then(|read| read.address);
        let given = read.and_then(|read| Ok((self.socket_for_bind(ctx, id, &read)?, read)));
        let ((socket, key), ReadBind { pid, socket: own, .. }) = match given {
            Ok(given) => given,
            Err(reason) => return self.leave_alone(ctx, number, call, address, reason),
        };
        own.copy_options(&socket);
        let Some(Interception { from: CallSource::Calls(listener), .. }) = self.interceptions.by_number.get(&number) else { return };
        match listener.replace(call, socket.as_fd(), fd, own.is_cloexec()) {
            Ok(()) => {
                self.answer(number, call, Answer::Done);
                self.interceptions.by_number.get_mut(&number).into_iter().for_each(|present| _ = present.openers.insert(key.clone(), pid));
            }
            // A call that was interrupted is repeated by the kernel or by the program.
            Err(Errno::NOENT) => {}
            Err(errno) => {
                self.take_back(ctx, id, &key);
                self.leave_alone(ctx, number, call, address, OwnSocketReason::NotReplaced(errno.raw_os_error()));
            }
        }
    }

    /// Handles that a process has begun to listen.
    fn begins_to_listen(&mut self, ctx: &mut Ctx, id: u32) {
        ctx.outbox.timers.set((Self::NAME, LISTEN_TIMERS | u64::from(id)), None);
        let slot = ctx.state.slots.get(id).filter(|slot| slot.spec().shares_opened_port());
        let ports = slot.map_or(0, |slot| slot.durable.learned.sockets.len());
        let mut calls = self.interceptions.by_number.iter_mut().filter(|_| ports > 0);
        let Some((number, present)) = calls.find(|(_, interception)| interception.id == id && interception.is_present(ctx)) else { return };
        if !std::mem::replace(&mut present.listens, true) {
            ctx.outbox.queue.push_back(Input::Listens(id));
        }
        // To check them, all descriptors of the process are read.
        if ports > 1 && present.checked_ports != ports {
            let (number, openers) = (*number, present.openers.clone());
            let left = self.forget_closed_ports(ctx, id, &openers);
            self.interceptions.by_number.get_mut(&number).into_iter().for_each(|present| present.checked_ports = left);
        }
    }

    /// Lets the kernel execute a call, and records the reason if users should learn of it.
    fn leave_alone(&mut self, ctx: &mut Ctx, number: u32, call: u64, address: Option<SocketAddr>, reason: OwnSocketReason) {
        self.answer(number, call, Answer::Continue);
        let interception = self.interceptions.by_number.get(&number).filter(|interception| interception.is_present(ctx));
        if let Some(id) = interception.map(|interception| interception.id).filter(|_| reason.is_a_problem()) {
            keep_own(ctx, id, OwnSocket { address, reason });
        }
    }

    fn answer(&self, number: u32, call: u64, answer: Answer) {
        if let Some(Interception { from: CallSource::Calls(listener), .. }) = self.interceptions.by_number.get(&number) {
            // It fails if the process was killed or the call was interrupted.
            let _ = listener.answer(call, answer);
        }
    }
}
