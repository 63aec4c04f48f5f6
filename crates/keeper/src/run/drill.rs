//! Drill: before its memory is locked, the keeper once does everything that it may have to do while
//! its disk is gone. The code and the constants for that are then in memory.
//!
//! A list of functions is not enough, because the compiler decides the layout. The text of a
//! message, a table of digits or the tail of a library function may be on separate pages. So a copy
//! of this process performs the real work with a keeper that has no home. An app exits, the anchor
//! is lost, the daemon hangs, crashes and cannot be started, and a client asks why. Then the copy
//! reports the pages that it used.

use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use ostler_sys::process::Target;
use ostler_sys::process::fork::{ForkSide, fork};
use ostler_sys::process::signal::{KILL, STOP};
use ostler_sys::seccomp::inspection::{BindCall, BindCopies};
use ostler_sys::{ProcRef, WaitStatus, memory, net::socket, process::child, time::clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::anchor::Role;
use crate::children::Watch;
use crate::daemon::{Daemon, Running};
use crate::keeper::{Keeper, adopted_token, complain};
use crate::link::Channel;
use crate::link::codec::encode;
use crate::link::message::{HELD_SOCKET, ToKeeper};
use crate::state::KeeperState;

/// Maximum wait for the copy. Without its report, the keeper locks only the pages that it has used
/// itself.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// Path without a program.
const NO_PROGRAM: &std::ffi::CStr = c"/proc/self/no-program";
/// Number of program crashes after which the keeper reports the reason to clients, plus one.
const CRASHES: i32 = 4;
/// Steps of the clock, in milliseconds, until a stopped daemon is killed.
const HANG: Range<u64> = 1..12;
/// Number of anchors that are lost. After the last one, the keeper waits before it starts another.
const ANCHORS: u64 = 5;
/// Maximum number of polls of a process for which the kernel gives no pidfd.
const LOOKS: u32 = 1000;
/// Maximum wait for the copies from a process, in milliseconds.
const COPIES_MS: u64 = 500;
/// Time, in milliseconds, after which every delay has passed.
const LATER_MS: u64 = 3_600_000;

/// Uses the pages that the drill needs. Returns [`ForkSide::Child`] in the processes that it starts
/// for that; these must exit.
pub(crate) fn drill(keeper: &Keeper) -> ForkSide {
    let Ok((ours, theirs)) = socket::packet_pair() else { return ForkSide::Parent(0) };
    match fork() {
        Err(_) => ForkSide::Parent(0),
        Ok(ForkSide::Child) => {
            drop(ours);
            end_with_parent();
            // If this fails, the pages used so far still count. Other code does not depend on it.
            let _ = rehearse(keeper.home.clone(), keeper.as_pm2);
            let _ = report(&theirs);
            ForkSide::Child
        }
        Ok(ForkSide::Parent(pid)) => {
            drop(theirs);
            receive(&ours).into_iter().for_each(memory::use_pages);
            // It has exited, or is late.
            let _ = child::signal(pid, KILL, Target::Process);
            child::reap(pid);
            ForkSide::Parent(pid)
        }
    }
}

/// Simulates everything that may happen to a keeper whose disk is gone. An error stops it early;
/// the pages used so far count.
fn rehearse(home: PathBuf, as_pm2: bool) -> io::Result<()> {
    silence()?;
    let mut keeper = Keeper::assemble(KeeperState { home, as_pm2, ..KeeperState::default() })?;
    // The start below fails immediately, because the program is missing. The strings of a real
    // start are elsewhere.
    black_box(keeper.daemon_spec());
    keeper.daemon_program = NO_PROGRAM;
    keeper.hold(HELD_SOCKET.to_owned(), listener()?)?;
    let mut played = DrillProcesses(Vec::new());
    let app = played.process()?;
    keeper.children.add(1, app, Watch::Reap);
    let adopted = played.process()?;
    match adopted.open() {
        Ok(pidfd) => keeper.adopt(2, adopted, pidfd),
        // If the kernel refuses pidfds, such processes are polled.
        Err(_) => keeper.adopt_by_looking(2, adopted),
    }

    let (daemon, link) = played.start_daemon(&mut keeper)?;
    inspect(&mut keeper, app, &link)?;
    app.signal(KILL)?;
    wait_for_exit(app);
    keeper.reap();
    adopted.signal(KILL)?;
    wait_for_exit(adopted);
    keeper.adopted_ended(adopted_token(adopted.pid));
    keeper.poll_children(clock::boot_ms() + LATER_MS);
    played.lose_anchors(&mut keeper);

    daemon.signal(STOP)?;
    keeper.doubt_daemon();
    HANG.for_each(|step| keeper.check_daemon(clock::boot_ms() + step * 1000));
    keeper.reap();
    for code in 0..CRASHES {
        let (daemon, link) = played.start_daemon(&mut keeper)?;
        let reports = [ToKeeper::Ready, ToKeeper::At { record: Some(1) }, ToKeeper::DeathReport { record: None, text: "drill".into() }];
        reports.iter().take(usize::try_from(code).unwrap_or(0)).try_for_each(|report| send(&link, &encode(report)))?;
        if let Some(running) = keeper.daemon.running_as(daemon.pid) {
            running.life.ending = Some(if code == 0 { WaitStatus::Code(100) } else { WaitStatus::Signal { signal: KILL, core: false } });
        }
        keeper.daemon_ended();
    }
    let (_, _link) = played.start_daemon(&mut keeper)?;
    keeper.lost_link(&io::Error::from(io::ErrorKind::InvalidData));
    keeper.daemon_ended();
    // The first start fails, as there is no such program, and clients get the reason.
    keeper.daemon_time(clock::boot_ms() + LATER_MS);
    keeper.update_door();
    send_request(&keeper)?;
    keeper.on_clients_waiting();
    keeper.handle_time();
    keeper.update_interest();
    black_box(keeper.deadline_ms());
    complain("the drill is over");
    Ok(())
}

/// Makes the daemon ask for copies from the memory of a process.
fn inspect(keeper: &mut Keeper, process: ProcRef, link: &OwnedFd) -> io::Result<()> {
    let (ours, theirs) = socket::packet_pair()?;
    // The process is a copy of this one, so it has the same addresses.
    let call = BindCall { thread: process.pid, pid: process.pid, fd: 0, address: NO_PROGRAM.as_ptr() as u64, length: 16 };
    Channel::new(link.try_clone()?).offer(&encode(&ToKeeper::Inspect(call)), &[theirs.as_fd()])?;
    drop(theirs);
    keeper.on_daemon_link();
    // Without the copies, the drill continues.
    let _ = BindCopies::receive(&ours, COPIES_MS);
    Ok(())
}

/// Makes the kernel kill this process when its parent exits. Without that, the copy could outlive
/// its parent.
fn end_with_parent() {
    // If that fails, the parent still kills it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Discards messages: standard output and error are the keeper's.
fn silence() -> io::Result<()> {
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Returns a socket without a known name, so no client connects to it.
fn listener() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

fn send(link: &OwnedFd, message: &[u8]) -> io::Result<()> {
    rustix::net::send(link, message, SendFlags::DONTWAIT).map(drop).map_err(io::Error::from)
}

/// Processes of the drill. They are killed when this value is dropped.
struct DrillProcesses(Vec<i32>);

impl DrillProcesses {
    /// Starts a process that does nothing.
    fn process(&mut self) -> io::Result<ProcRef> {
        match fork()? {
            ForkSide::Parent(pid) => {
                self.0.push(pid);
                Ok(ProcRef::of(pid)?)
            }
            ForkSide::Child => {
                end_with_parent();
                loop {
                    let _ = poll(&mut [], None);
                }
            }
        }
    }

    /// Gives the keeper a daemon. Returns that daemon and its end of the link.
    fn start_daemon(&mut self, keeper: &mut Keeper) -> io::Result<(ProcRef, OwnedFd)> {
        let (ours, theirs) = socket::packet_pair()?;
        let (daemon, link) = (self.process()?, Channel::new(ours));
        keeper.watch_link(&link)?;
        keeper.daemon = Daemon::Running(Running::new(daemon, link));
        Ok((daemon, theirs))
    }

    /// Makes the keeper start an anchor and lose it, repeatedly, until the keeper waits before the
    /// next start.
    fn lose_anchors(&mut self, keeper: &mut Keeper) {
        for times in 1..=ANCHORS {
            if let Role::Anchor(_) = keeper.supervise_anchor(clock::boot_ms() + times * LATER_MS) {
                std::process::exit(0);
            }
            if let Some(link) = keeper.anchors.link() {
                self.0.push(link.process().pid);
                link.kill();
                wait_for_exit(link.process());
            }
            keeper.on_anchor();
        }
    }
}

/// Waits until a process has exited, without reaping it. After some time the drill continues
/// anyway.
fn wait_for_exit(process: ProcRef) {
    match process.open() {
        Ok(pidfd) => drop(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE))),
        Err(_) => drop((0..LOOKS).find(|_| {
            rustix::thread::sched_yield();
            process.has_ended()
        })),
    }
}

/// Sends a request to the socket as a client does.
fn send_request(keeper: &Keeper) -> io::Result<()> {
    let Some(socket) = keeper.held.get(HELD_SOCKET) else { return Ok(()) };
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(socket)?)?;
    let client = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&client, &address)?;
    Ok(())
}

impl Drop for DrillProcesses {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = child::signal(*pid, KILL, Target::Process);
            child::reap(*pid);
        }
    }
}

/// Sends the list of pages in use.
fn report(to: &OwnedFd) -> io::Result<()> {
    let pages: Vec<u8> = memory::used().iter().flat_map(|run| [run.start, run.end]).flat_map(usize::to_ne_bytes).collect();
    send(to, &pages)
}

fn receive(from: &OwnedFd) -> Vec<Range<usize>> {
    let mut report = vec![0; 64 << 10];
    let mut fds = [PollFd::new(from, PollFlags::IN)];
    let length = match poll(&mut fds, Some(&PATIENCE)) {
        Ok(1..) => rustix::io::read(from, &mut report).unwrap_or(0),
        _ => 0,
    };
    let words: Vec<usize> = report[..length].as_chunks().0.iter().map(|word| usize::from_ne_bytes(*word)).collect();
    words.as_chunks().0.iter().map(|[start, end]| *start..*end).collect()
}
