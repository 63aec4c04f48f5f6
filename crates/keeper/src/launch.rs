//! Launch of a keeper, either by a client for a home that has no keeper, or by a daemon whose
//! keeper was killed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ostler_sys::process::exec::{OWN_EXE, replace};
use ostler_sys::process::spawn::{Parent, Placement, spawn_at};
use ostler_sys::{
    CStrings, ProcRef, Rlimit, SpawnError, SpawnSpec, WaitStatus,
    fd::pipe,
    net::socket,
    process::{child, rlimit},
    time::clock,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::environment::{READY_FD_VAR, ROLE_VAR, RUNTIME_VAR, STARTER_VAR, STATE_FD_VAR, for_role, is_kept, runtime};
use crate::home;
use crate::link::Link;
use crate::link::message::{Child, Originals};
use crate::state::{DaemonState, KeeperState, LOG_FILE, SOCKET_FILE, log_file};
use crate::title::keeper_title;

/// Exit code of a keeper that finds another keeper in the home.
pub const EXIT_LOCKED: u8 = 41;
/// Exit code of a new binary that understands the state (see `Upgrade`).
pub const EXIT_CHECKED: u8 = 42;

/// Answer on the ready descriptor: the keeper listens.
pub(crate) const READY_LISTENING: u8 = b'L';
/// Answer: another keeper has the lock.
pub(crate) const READY_TAKEN: u8 = b'A';
/// Answer: the start failed; a text follows.
pub(crate) const READY_FAILED: u8 = b'E';

/// Maximum wait for a keeper to listen. It normally takes milliseconds; a machine that needs longer
/// than this has other problems.
pub const READY_MS: u64 = 10_000;
/// Maximum wait for a keeper that has the lock to listen. It takes microseconds, unless the keeper
/// was killed and the kernel has not released the lock yet.
const TAKEN_MS: u64 = 100;
/// Minimum limit of open files. With fewer, keeper and daemon would fail at some later,
/// inconvenient time.
pub const NEEDED_FILES: u64 = 128;
/// Number of the ready pipe in a new keeper.
const READY_FD: i32 = 3;

/// Result of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchResult {
    /// A new keeper, with this pid.
    New(i32),
    /// The home already had a keeper, and it listens.
    Already,
}

/// Reason why no keeper runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The home cannot be used.
    #[error("cannot {step} \"{}\"", .path.display())]
    Home {
        /// The failed step.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Its process could not be started.
    #[error("cannot start the keeper")]
    Spawn(#[source] SpawnError),
    /// The hard limit of open files is too small, and only root can raise it.
    #[error("the limit of open files is {hard}, at least {NEEDED_FILES} are needed: raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)")]
    FewFiles {
        /// The limit.
        hard: u64,
    },
    /// A pipe or socket could not be created.
    #[error("cannot prepare the start of the keeper")]
    Prepare(#[source] io::Error),
    /// The keeper failed to start and gave this reason.
    #[error("the keeper {0}")]
    Failed(String),
    /// The keeper exited without a reason.
    #[error("the keeper exited before it was ready ({0:?}); see its log (pm2.log in the home, or PM2_LOG_FILE_PATH)")]
    Ended(WaitStatus),
    /// The keeper was not ready in time.
    #[error("the keeper was not ready within {} s", READY_MS / 1000)]
    Timeout,
}

/// Starts a keeper with this binary for the home unless there is one. Returns when its socket
/// accepts connections. Concurrent calls are fine: one starts the keeper and all succeed. With
/// `as_pm2`, the keeper shows PM2's process title.
///
/// # Errors
/// Returns an error if the home cannot be created or written, or if the keeper cannot start.
pub fn launch(home: &Path, as_pm2: bool) -> Result<LaunchResult, LaunchError> {
    Launcher::new(home, as_pm2).launch()
}

/// Launcher of a keeper.
#[derive(Clone, Debug)]
pub struct Launcher {
    home: PathBuf,
    as_pm2: bool,
    exe: CString,
}

/// State that a daemon hands to the successor of a killed keeper.
#[derive(Debug)]
pub struct Revival<'a> {
    /// Settings from the inventory that the daemon started with.
    pub originals: Originals,
    /// All processes that the daemon knows. If one of them is gone, the new keeper reports its exit
    /// first.
    pub children: &'a [Child],
    /// All descriptors that were held, at least `lock`, `socket` and `journal`.
    pub held: &'a [(&'a str, BorrowedFd<'a>)],
}

impl Launcher {
    /// Creates a launcher of this binary.
    pub fn new(home: &Path, as_pm2: bool) -> Self {
        Self { home: home.to_owned(), as_pm2, exe: OWN_EXE.into() }
    }

    /// Uses another binary instead.
    #[must_use]
    pub fn exe(mut self, exe: CString) -> Self {
        self.exe = exe;
        self
    }

    /// Launches a keeper, see [`launch`].
    ///
    /// # Errors
    /// Returns the errors of [`launch`].
    pub fn launch(&self) -> Result<LaunchResult, LaunchError> {
        let deadline = clock::boot_ms() + READY_MS;
        // The soft limit may be too small even for the steps below. The keeper gets the old limit
        // and passes it on to apps.
        let limit = rlimit::raise_nofile();
        if let Some(limit) = limit.filter(|limit| limit.hard < NEEDED_FILES) {
            return Err(LaunchError::FewFiles { hard: limit.hard });
        }
        loop {
            if let Some(launched) = self.try_once(limit, deadline)? {
                return Ok(launched);
            }
            if self.wait_for_other_keeper(deadline.min(clock::boot_ms() + TAKEN_MS))? {
                return Ok(LaunchResult::Already);
            }
            // The socket of that keeper may have been removed.
            if let Some(keeper) = home::keeper_by_lock(&self.home) {
                home::ask_for_socket(keeper);
            }
            if clock::boot_ms() >= deadline {
                return Err(LaunchError::Timeout);
            }
        }
    }

    /// Tries once. `None` means that another keeper has the home.
    fn try_once(&self, limit: Option<Rlimit>, deadline: u64) -> Result<Option<LaunchResult>, LaunchError> {
        let log = self.open_log()?;
        let (read, write) = pipe::pipe().map_err(|errno| LaunchError::Prepare(errno.into()))?;
        let envp = for_role(&self.home, self.as_pm2, &[(ROLE_VAR, "keeper"), (READY_FD_VAR, &READY_FD.to_string())], is_kept);
        let fds = [(log.as_fd(), 1), (log.as_fd(), 2), (write.as_fd(), READY_FD)];
        let keeper =
            ostler_sys::spawn(&SpawnSpec { rlimits: limit.into_iter().collect(), ..self.spec(envp) }, &fds).map_err(LaunchError::Spawn)?;
        drop(write);
        let answer = read_answer(&read, deadline)?;
        match answer.split_first() {
            Some((&READY_LISTENING, _)) => Ok(Some(LaunchResult::New(keeper.pid))),
            Some((&READY_TAKEN, _)) => {
                child::reap(keeper.pid);
                Ok(None)
            }
            Some((&READY_FAILED, text)) => {
                child::reap(keeper.pid);
                Err(LaunchError::Failed(String::from_utf8_lossy(text).into_owned()))
            }
            _ => Err(LaunchError::Ended(child::reap(keeper.pid).map_or(WaitStatus::Unknown, |reaped| reaped.ending))),
        }
    }

    /// Replaces this process with the keeper: same pid, same standard output and error, `runtime`
    /// as [`crate::RUNTIME_VAR`]. `starter` is the child that starts the runtime's program. The
    /// keeper reports the exit of that child to the daemon under [`crate::STARTER_KEY`]. Through
    /// `ready`, which the child reads with [`wait_ready`], the keeper signals the child to start.
    /// Returns only if the replacement failed.
    pub fn become_keeper(&self, runtime: &str, starter: ProcRef, ready: &OwnedFd) -> LaunchError {
        let prepare = |errno: Errno| LaunchError::Prepare(errno.into());
        // With too few open files, fail here rather than at an inconvenient time later.
        let hard = rlimit::nofile().hard;
        if hard < NEEDED_FILES {
            return LaunchError::FewFiles { hard };
        }
        if let Err(errno) = rustix::io::fcntl_setfd(ready, rustix::io::FdFlags::empty()) {
            return prepare(errno);
        }
        let (starter, ready) = (format!("{}:{}", starter.pid, starter.start_ticks), ready.as_raw_fd().to_string());
        let vars = [(ROLE_VAR, "keeper"), (READY_FD_VAR, ready.as_str()), (RUNTIME_VAR, runtime), (STARTER_VAR, starter.as_str())];
        let SpawnSpec { program, argv, envp, .. } = self.spec(for_role(&self.home, self.as_pm2, &vars, is_kept));
        prepare(replace(&program, &argv, &envp))
    }

    /// Starts the successor of a killed keeper for the calling daemon. The new keeper takes over
    /// everything in `revival` and watches the daemon without starting another. It becomes the
    /// daemon's sibling, so the daemon has nothing to reap. Returns the new link and the keeper's
    /// pid. The keeper sends no inventory.
    ///
    /// # Errors
    /// Returns an error if processes, memory or descriptors are short. Nothing has changed then,
    /// and the caller can retry.
    pub fn revive(&self, revival: &Revival<'_>) -> Result<(Link, i32), LaunchError> {
        #[cfg(feature = "simulation")]
        if let Some(revived) = played::revive(revival) {
            return revived;
        }
        self.revive_for(ProcRef::me(), revival)
    }

    /// Runs [`Launcher::revive`] for a process other than the calling one.
    ///
    /// # Errors
    /// Returns the errors of [`Launcher::revive`].
    pub fn revive_for(&self, daemon: ProcRef, revival: &Revival<'_>) -> Result<(Link, i32), LaunchError> {
        let prepare = |errno: Errno| LaunchError::Prepare(errno.into());
        let (ours, theirs) = socket::packet_pair().map_err(prepare)?;
        let mut passed = PassedFds::default();
        let link = passed.add(theirs.as_fd());
        let mut held = Vec::new();
        for (name, fd) in revival.held {
            held.push(((*name).to_owned(), passed.add_one_more(*fd).map_err(prepare)?));
        }
        let state = KeeperState {
            home: self.home.clone(),
            as_pm2: self.as_pm2,
            originals: revival.originals,
            daemon: Some(DaemonState { pid: daemon.pid, start_ticks: daemon.start_ticks, link: Some(link), retire: false }),
            held,
            children: revival.children.iter().map(|child| (*child, None)).collect(),
            signals: 0,
        };
        let memory = state.to_memfd().map_err(prepare)?;
        let number = passed.add(memory.as_fd()).to_string();
        let fds: Vec<_> = passed.fds().chain([(rustix::stdio::stdout(), 1), (rustix::stdio::stderr(), 2)]).collect();
        let runtime = runtime();
        let vars = [(ROLE_VAR, "keeper"), (STATE_FD_VAR, number.as_str())];
        let vars: Vec<_> = vars.into_iter().chain(runtime.iter().map(|how| (RUNTIME_VAR, how.as_str()))).collect();
        let envp = for_role(&self.home, self.as_pm2, &vars, is_kept);
        let keeper = spawn_at(&self.spec(envp), &fds, Placement { parent: Parent::OurParent, ..Placement::default() })
            .map_err(LaunchError::Spawn)?;
        Ok((Link::new(ours), keeper.pid))
    }

    fn spec(&self, envp: CStrings) -> SpawnSpec {
        let argv = [keeper_title(&self.home, self.as_pm2)].into_iter().collect();
        SpawnSpec { program: self.exe.clone(), argv, envp, cwd: c"/".into(), ..SpawnSpec::default() }
    }

    fn open_log(&self) -> Result<OwnedFd, LaunchError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| LaunchError::Home { step: what, path, source }
        };
        let open = |path: &Path| OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        // A log that cannot be opened at its configured path must not leave apps without
        // supervision.
        if let Ok(moved) = open(&log_file(&self.home)) {
            return Ok(moved.into());
        }
        let path = self.home.join(LOG_FILE);
        match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_home(&self.home).map_err(failed("create the home", &self.home))?;
                open(&path)
            }
            opened => opened,
        }
        .map(OwnedFd::from)
        .map_err(failed("open", &path))
    }

    /// Waits for the other keeper, which takes the lock before its socket listens. Returns true if
    /// it listens.
    fn wait_for_other_keeper(&self, deadline: u64) -> Result<bool, LaunchError> {
        let path = self.home.join(SOCKET_FILE);
        loop {
            match socket::connect_at(&path) {
                // A full queue means that the socket listens.
                Ok(_) | Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(Errno::NOENT | Errno::CONNREFUSED) if clock::boot_ms() < deadline => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(false),
                Err(errno) => return Err(LaunchError::Home { step: "connect to", path, source: errno.into() }),
            }
        }
    }
}

/// Descriptors for a revived keeper. They keep their numbers: to renumber several hundred of them
/// would take twice as many descriptors, which may exceed the limit.
#[derive(Default)]
struct PassedFds<'a> {
    by_number: BTreeMap<RawFd, BorrowedFd<'a>>,
    /// Duplicates: a descriptor with two names needs two numbers.
    copies: Vec<OwnedFd>,
}

impl<'a> PassedFds<'a> {
    fn add(&mut self, fd: BorrowedFd<'a>) -> RawFd {
        self.by_number.insert(fd.as_raw_fd(), fd);
        fd.as_raw_fd()
    }

    fn add_one_more(&mut self, fd: BorrowedFd<'a>) -> Result<RawFd, Errno> {
        if !self.by_number.contains_key(&fd.as_raw_fd()) {
            return Ok(self.add(fd));
        }
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
        let number = copy.as_raw_fd();
        self.copies.push(copy);
        Ok(number)
    }

    /// Returns all descriptors, each with its number.
    fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, RawFd)> {
        self.by_number.values().copied().chain(self.copies.iter().map(AsFd::as_fd)).map(|fd| (fd, fd.as_raw_fd()))
    }
}

/// Creates the home with access for its owner only. Parent folders get the usual permissions.
fn make_home(home: &Path) -> io::Result<()> {
    if let Some(parent) = home.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(home) {
        // Another client created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && home.is_dir() => Ok(()),
        made => made,
    }
}

/// Waits until the keeper at the other end of this pipe listens.
///
/// # Errors
/// Returns an error if the keeper does not listen. The reason is on its standard error.
pub fn wait_ready(pipe: &OwnedFd) -> Result<(), LaunchError> {
    match read_answer(pipe, clock::boot_ms() + READY_MS)?.first() {
        Some(&READY_LISTENING) => Ok(()),
        _ => Err(LaunchError::Ended(WaitStatus::Unknown)),
    }
}

/// Reads the keeper's report until the keeper closes the pipe.
fn read_answer(pipe: &OwnedFd, deadline: u64) -> Result<Vec<u8>, LaunchError> {
    let failed = |error: io::Error| LaunchError::Prepare(error);
    let mut file = std::fs::File::from(pipe.try_clone().map_err(failed)?);
    let mut answer = Vec::new();
    loop {
        let left = deadline.saturating_sub(clock::boot_ms());
        let timeout = Timespec { tv_sec: i64::try_from(left / 1000).unwrap_or(0), tv_nsec: (left % 1000 * 1_000_000) as _ };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(LaunchError::Timeout),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno.into())),
        }
        let mut chunk = [0; 512];
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(answer),
            n => answer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(feature = "simulation")]
pub(crate) mod played {
    //! Source of new keepers for the daemons of a thread, for tests that simulate keepers.

    use std::cell::RefCell;

    use super::{LaunchError, Link, Revival};

    type Revive = dyn Fn(&Revival<'_>) -> Result<(Link, i32), LaunchError>;

    thread_local! {
        static REVIVE: RefCell<Option<Box<Revive>>> = const { RefCell::new(None) };
    }

    /// Sets the function that gives daemons of this thread their new keepers.
    pub fn simulate_revive(revive: Option<Box<Revive>>) {
        REVIVE.set(revive);
    }

    pub(super) fn revive(revival: &Revival<'_>) -> Option<Result<(Link, i32), LaunchError>> {
        REVIVE.with_borrow(|revive| revive.as_ref().map(|revive| revive(revival)))
    }
}
