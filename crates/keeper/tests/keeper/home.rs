//! A home of its own for each test. When the test ends, in whatever way, every process of the home
//! is killed.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ostler_keeper::{FromKeeper, Inventory, LaunchResult, Launcher, Link, SpawnRequest, ToKeeper, anchor_of};
use ostler_sys::{ProcRef, ProcTable, SpawnSpec, fd::fdpass, process::tree};

/// Maximum wait for anything on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
static COUNT: AtomicU32 = AtomicU32::new(0);
const MARK: &str = "OSTLER_TEST_HOME";

pub(crate) fn fixture() -> &'static str {
    env!("CARGO_BIN_EXE_keeper-fixture")
}

/// A home, and the place where its daemons report.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    listener: UnixListener,
}

/// A daemon that the test simulates.
pub(crate) struct Daemon {
    pub(crate) link: Link,
    pub(crate) process: ProcRef,
    /// Its end of the link to the anchor.
    pub(crate) anchor: Option<(String, OwnedFd)>,
    /// Connection that ends the process when it is closed.
    _life: UnixStream,
}

impl Home {
    pub(crate) fn new() -> Self {
        let path = PathBuf::from(format!("/tmp/ok-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).unwrap();
        let listener = UnixListener::bind(path.join("test.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { path, listener }
    }

    pub(crate) fn launcher(&self) -> Launcher {
        Launcher::new(&self.path, false).exe(CString::new(fixture()).unwrap())
    }

    /// Starts keeper and daemon, and reads the daemon's inventory.
    pub(crate) fn start(&self) -> (ProcRef, Daemon) {
        let LaunchResult::New(pid) = self.launcher().launch().unwrap() else { panic!("there was a keeper") };
        let (daemon, inventory) = self.next_daemon();
        assert_eq!(inventory.0.keeper_pid, pid);
        (ProcRef::of(pid).unwrap(), daemon)
    }

    /// Returns the next daemon that the keeper starts, with the inventory and its descriptors.
    pub(crate) fn next_daemon(&self) -> (Daemon, (Inventory, Vec<OwnedFd>)) {
        let (mut daemon, peer) = self.next_silent_daemon();
        let (message, mut fds) = daemon.next();
        let FromKeeper::Inventory(mut inventory) = message else { panic!("{message:?} from the keeper of {peer}") };
        assert_eq!(inventory.held.len(), fds.len());
        if let Some(at) = inventory.held.iter().position(|name| anchor_of(name).is_some()) {
            daemon.anchor = Some((inventory.held.remove(at), fds.remove(at)));
        }
        (daemon, (inventory, fds))
    }

    fn next_silent_daemon(&self) -> (Daemon, i32) {
        let life = wait_for("a daemon", || self.listener.accept().ok().map(|(stream, _)| stream));
        life.set_nonblocking(false).unwrap();
        let pid = ostler_sys::net::socket::peer(&life).unwrap().pid;
        let mut fds = Vec::new();
        fdpass::recv(&life, &mut [0; 8], &mut fds).unwrap();
        (Daemon { link: Link::new(fds.pop().unwrap()), process: ProcRef::of(pid).unwrap(), anchor: None, _life: life }, pid)
    }

    /// Returns a request for a shell script, marked as belonging to this test.
    pub(crate) fn shell(&self, key: u64, script: &str) -> SpawnRequest {
        self.program(key, "/bin/sh", &["sh", "-c", script])
    }

    pub(crate) fn program(&self, key: u64, program: &str, argv: &[&str]) -> SpawnRequest {
        let mark = format!("{MARK}={}", self.path.display());
        let spec = SpawnSpec {
            program: CString::new(program).unwrap(),
            argv: argv.iter().map(|arg| CString::new(*arg).unwrap()).collect(),
            envp: [CString::new(mark).unwrap().as_c_str(), c"PATH=/usr/bin:/bin"].into(),
            cwd: c"/".into(),
            ..SpawnSpec::default()
        };
        SpawnRequest { key, spec, targets: Vec::new(), confinement: None }
    }

    fn is_ours(&self, pid: i32) -> bool {
        // A home below this one is ours, too.
        let is_here = |value: Vec<u8>| PathBuf::from(OsString::from_vec(value)).starts_with(&self.path);
        [MARK, "OSTLER_HOME"].iter().any(|name| tree::marker(pid, name).is_some_and(is_here))
    }

    /// Returns every running process that belongs to this test.
    pub(crate) fn processes(&self) -> Vec<ProcRef> {
        let table = ProcTable::scan();
        table.entries().iter().filter(|e| !e.is_zombie() && self.is_ours(e.pid)).map(|e| e.process()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            // A process that has already exited is fine.
            left.iter().for_each(|process| process.signal(9).unwrap_or(()));
        }
        if std::thread::panicking() {
            eprintln!("pm2.log: {}", std::fs::read_to_string(self.path.join("pm2.log")).unwrap_or_default());
        }
        std::fs::remove_dir_all(&self.path).unwrap();
    }
}

impl Daemon {
    pub(crate) fn send(&mut self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) {
        self.link.send(message, fds).unwrap();
    }

    pub(crate) fn spawn(&mut self, request: SpawnRequest) -> ProcRef {
        let key = request.key;
        self.send(&ToKeeper::Spawn(Box::new(request)), &[]);
        match self.receive() {
            FromKeeper::Spawned { key: of, pid, start_ticks } if of == key => ProcRef { pid, start_ticks },
            other => panic!("{other:?}"),
        }
    }

    /// Returns the next message that is not about orphans or the anchor.
    pub(crate) fn receive(&mut self) -> FromKeeper {
        loop {
            match self.next() {
                (FromKeeper::OrphanExited { .. }, _) => {}
                (FromKeeper::Keep { name }, mut fds) => self.anchor = Some((name, fds.pop().unwrap())),
                (message, _) => return message,
            }
        }
    }

    /// Returns the anchor, once it differs from `former`.
    pub(crate) fn anchor(&mut self, former: Option<ProcRef>) -> ProcRef {
        wait_for("an anchor", || {
            self.ping();
            self.anchor.as_ref().and_then(|(name, _)| anchor_of(name)).filter(|anchor| Some(*anchor) != former)
        })
    }

    /// Returns the next message with its descriptors.
    pub(crate) fn next(&mut self) -> (FromKeeper, Vec<OwnedFd>) {
        wait_for("a message of the keeper", || self.link.recv().unwrap_or_else(|error| panic!("the link: {error}")))
    }

    pub(crate) fn ping(&mut self) {
        self.send(&ToKeeper::Ping, &[]);
        assert_eq!(self.receive(), FromKeeper::Pong);
    }

    pub(crate) fn kill(self) {
        self.process.signal(9).unwrap();
    }
}

/// Waits until `look` returns a value.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns true if the process no longer runs. Its zombie may stay: if PID 1 is not an init, the
/// orphans of a killed keeper may stay unreaped.
pub(crate) fn has_exited(process: ProcRef) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    !process.exists() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// Returns a descriptor to hold, which its content identifies.
pub(crate) fn labelled(text: &str) -> OwnedFd {
    ostler_sys::fd::memfd::with("test", text.as_bytes()).unwrap()
}

pub(crate) fn label(fd: impl AsFd) -> String {
    String::from_utf8(ostler_sys::fd::memfd::read(fd, 1 << 20).unwrap()).unwrap()
}

/// Returns `argv` of a process, joined by blanks.
pub(crate) fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

pub(crate) fn mode(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}
