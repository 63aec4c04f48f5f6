//! Owner of a home: the keeper that a folder belongs to.
//!
//! The lock in the folder keeps a second keeper out as long as the folder stays at its path. If the
//! folder is moved, removed or copied while a keeper runs, another folder with another lock may
//! appear. Then two keepers would supervise the same apps, or one command would start an app that
//! another command cannot see. The keeper therefore writes its identity into its lock, so a copy of
//! the folder names a living process. A client that creates a home first searches for a keeper that
//! already has this path.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ostler_sys::fs::lock::is_held;
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::signal::HUP;
use ostler_sys::process::tree::marker;
use ostler_sys::{ProcRef, ProcTable, net::socket, time::clock};

use crate::environment::{HOME_VAR, ROLE_VAR, RUNTIME_VAR};
use crate::state::{LOCK_FILE, PID_FILE, SOCKET_FILE, log_file};
use crate::title::keeper_comm;

/// Time for a keeper whose home was removed to create it again.
const RETURNS_WITHIN_MS: u64 = 1_000;
/// Maximum number of checks of a home whose files appear and disappear.
const LOOKS: u32 = 3;
/// Maximum length of the line with pid, start time and boot.
const MARK_MAX: usize = 256;

/// Writes the identity of the home's keeper into the lock.
///
/// # Errors
/// Returns an error if the write fails, most likely because the disk is full. Everything works
/// without the mark.
pub fn mark_lock(lock: BorrowedFd<'_>, keeper: ProcRef) -> io::Result<()> {
    let ProcRef { pid, start_ticks } = keeper;
    write_mark(lock, &format!("{pid} {start_ticks} {}\n", clock::boot_id().unwrap_or_default()))
}

/// Writes into the lock that the home no longer has a keeper.
pub(crate) fn clear_lock(lock: BorrowedFd<'_>) {
    // If this fails, the next keeper only has to check that process as well.
    let _ = write_mark(lock, "");
}

fn write_mark(lock: BorrowedFd<'_>, text: &str) -> io::Result<()> {
    // Overwrite first and truncate afterwards: after a truncation, a full disk might have no room.
    rustix::io::pwrite(lock, text.as_bytes(), 0)?;
    rustix::fs::ftruncate(lock, text.len() as u64)?;
    Ok(())
}

/// Returns the keeper that a lock names, if that process is alive.
fn marked(text: &str) -> Option<ProcRef> {
    let mut words = text.split_whitespace();
    let process = ProcRef { pid: words.next()?.parse().ok()?, start_ticks: words.next()?.parse().ok()? };
    let is_now = clock::boot_id().is_some_and(|boot_id| words.next() == Some(boot_id.as_str()));
    let lives = ProcessEntry::of(process.pid).is_some_and(|entry| entry.process() == process && !entry.is_zombie());
    (is_now && lives && process != ProcRef::me()).then_some(process)
}

fn read_mark(lock: BorrowedFd<'_>) -> String {
    let mut text = [0; MARK_MAX];
    let read = rustix::io::pread(lock, &mut text, 0).unwrap_or(0);
    String::from_utf8_lossy(text.get(..read).unwrap_or_default()).into_owned()
}

/// Returns the living keeper that this lock names.
pub(crate) fn keeper_of_lock(lock: BorrowedFd<'_>) -> Option<ProcRef> {
    marked(&read_mark(lock))
}

/// Returns the living keeper of a home by its lock file, for callers that do not hold that lock.
pub fn keeper_by_lock(home: &Path) -> Option<ProcRef> {
    let mut text = String::new();
    std::fs::File::open(home.join(LOCK_FILE)).ok()?.take(MARK_MAX as u64).read_to_string(&mut text).ok()?;
    marked(&text)
}

/// Asks a keeper to make its socket reachable.
pub(crate) fn ask_for_socket(keeper: ProcRef) {
    // In front of a container, the keeper passes signals on to the app.
    if marker(keeper.pid, RUNTIME_VAR).is_none() {
        // A keeper that has exited since then is fine.
        let _ = keeper.signal(HUP);
    }
}

/// Another keeper that this home belongs to, although its lock is free.
#[derive(Debug)]
pub(crate) enum ForeignKeeper {
    /// The folder is a copy of this keeper's home.
    Copied(ProcRef),
    /// The folder is new or missing, and this keeper's home was at the same path.
    Displaced(ProcRef),
}

/// Searches for another keeper. The caller holds the lock.
pub(crate) fn find_other(home: &Path, lock: BorrowedFd<'_>) -> Option<ForeignKeeper> {
    let text = read_mark(lock);
    if text.is_empty() { find_displaced(home).map(ForeignKeeper::Displaced) } else { marked(&text).map(ForeignKeeper::Copied) }
}

/// Returns the keeper of another folder that was started with this path.
fn find_displaced(home: &Path) -> Option<ProcRef> {
    let lock_here = home.canonicalize().ok().map(|home| home.join(LOCK_FILE));
    // Other keepers that are starting here have no lock yet, or try to take the same lock.
    let has_another_lock = |pid: i32| lock_of(pid).is_some_and(|lock| Some(lock) != lock_here);
    let keeps = |entry: &&ProcessEntry| {
        let pid = entry.pid;
        marker(pid, ROLE_VAR).is_some_and(|role| role == b"keeper") && is_home_of(pid, home) && has_another_lock(pid)
    };
    let table = ProcTable::scan();
    let me = ProcRef::me().pid;
    // Only processes with the keeper's name are examined: reading the environment of all processes
    // would take most of a cold start.
    let may_be_keeper = |entry: &&ProcessEntry| [false, true].iter().any(|&as_pm2| entry.has_comm(keeper_comm(as_pm2)));
    let others = table.entries().iter().filter(|entry| entry.pid != me && !entry.is_zombie());
    others.filter(may_be_keeper).find(keeps).map(ProcessEntry::process)
}

/// Returns true if a keeper was started for this path.
fn is_home_of(pid: i32, home: &Path) -> bool {
    // In a container, the same path is another folder.
    let root = |of: &str| rustix::fs::stat(format!("{of}/")).map(|stat| (stat.st_dev, stat.st_ino));
    if root(&format!("/proc/{pid}/root")) != root("") {
        return false;
    }
    let other_home = marker(pid, HOME_VAR).map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
    other_home.is_some_and(|theirs| {
        theirs == home || theirs.canonicalize().is_ok_and(|theirs| home.canonicalize().is_ok_and(|home| home == theirs))
    })
}

/// Owner of a home whose socket does not accept connections.
#[derive(Debug)]
pub enum HomeHolder {
    /// The home has no keeper.
    NoKeeper,
    /// The home's keeper, which listens again.
    Keeper,
    /// A keeper whose home is no longer this folder, with a text for people.
    Elsewhere(String),
}

/// Returns the owner of a home whose socket does not accept connections: the socket may have been
/// removed, or the folder moved. If a keeper lost its socket, this function asks it for a new one
/// and waits a moment.
pub fn behind(home: &Path) -> HomeHolder {
    find_holder(home, LOOKS)
}

fn find_holder(home: &Path, looks: u32) -> HomeHolder {
    let lock = home.join(LOCK_FILE);
    let other = match std::fs::read_to_string(&lock) {
        Ok(text) => match marked(&text) {
            Some(keeper) if is_home_of(keeper.pid, home) || place_of(keeper) == home.canonicalize().ok() => {
                return if returns(keeper, home) { HomeHolder::Keeper } else { HomeHolder::NoKeeper };
            }
            Some(keeper) => ForeignKeeper::Copied(keeper),
            // The lock was created a moment ago and does not name its keeper yet.
            None if text.is_empty() && is_held(&lock) => {
                return if accepts_soon(home, || is_held(&lock)) { HomeHolder::Keeper } else { HomeHolder::NoKeeper };
            }
            None => return HomeHolder::NoKeeper,
        },
        Err(_) => match find_displaced(home) {
            Some(keeper) => ForeignKeeper::Displaced(keeper),
            // The lock file appeared again between the two checks.
            None if looks > 1 && lock.exists() => return find_holder(home, looks - 1),
            None => return HomeHolder::NoKeeper,
        },
    };
    if matches!(other, ForeignKeeper::Displaced(_)) {
        // If the user moves the home back, a folder created a moment ago would be in the way.
        drop(std::fs::remove_dir(home));
    }
    if other.returns(home) { HomeHolder::Keeper } else { HomeHolder::Elsewhere(format!("the keeper {}", other.refusal(home))) }
}

/// Returns true if a keeper whose socket or home was removed a moment ago has created it again and
/// can be reached.
fn returns(keeper: ProcRef, home: &Path) -> bool {
    ask_for_socket(keeper);
    accepts_soon(home, || keeper.exists())
}

/// Returns true if the home's socket accepts connections soon. The function waits only while
/// `holds` returns true.
fn accepts_soon(home: &Path, holds: impl Fn() -> bool) -> bool {
    let deadline = clock::boot_ms() + RETURNS_WITHIN_MS;
    while clock::boot_ms() < deadline && holds() {
        if socket::connect_at(&home.join(SOCKET_FILE)).is_ok() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

impl ForeignKeeper {
    /// Returns true if the keeper of a home that was removed a moment ago has created it again and
    /// can be reached. The caller must have released the lock.
    pub(crate) fn returns(&self, home: &Path) -> bool {
        // A folder that was moved stays at its new path.
        let is_elsewhere = |keeper| place_of(keeper).is_some_and(|place| home.canonicalize().ok() != Some(place));
        matches!(self, Self::Displaced(keeper) if !is_elsewhere(*keeper) && returns(*keeper, home))
    }

    /// Returns the text for people: the reason why no second keeper starts, and how to resolve it.
    pub(crate) fn refusal(&self, home: &Path) -> String {
        match self {
            Self::Copied(keeper) => {
                let other_home = marker(keeper.pid, HOME_VAR).unwrap_or_default();
                let home_of_other = String::from_utf8_lossy(&other_home);
                format!(
                    "would conflict with a running one: \"{}\" is a copy of the home of the keeper with pid {}, which runs in \"{home_of_other}\"; stop that keeper \
                     (OSTLER_HOME={home_of_other} ostler kill), or remove {LOCK_FILE}, {PID_FILE} and ostler.state here",
                    home.display(),
                    keeper.pid,
                )
            }
            Self::Displaced(keeper) => {
                let place = place_of(*keeper).map_or_else(|| "elsewhere".to_owned(), |place| format!("to \"{}\"", place.display()));
                let at = place_of(*keeper).map_or_else(String::new, |place| format!(" (OSTLER_HOME={} ostler kill)", place.display()));
                format!(
                    "would conflict with a running one: \"{}\" was removed or moved {place} while its keeper (pid {}) runs; move it back, \
                     or stop that keeper{at}",
                    home.display(),
                    keeper.pid,
                )
            }
        }
    }
}

/// Returns the lock that a keeper has open, as the kernel names it now. A keeper that has just
/// started has no lock yet.
fn lock_of(pid: i32) -> Option<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    // The kernel appends " (deleted)" to the path of a removed file.
    open.find(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(LOCK_FILE.as_bytes())))
}

/// Returns the current folder of a keeper's home, or `None` if the home was removed.
fn place_of(keeper: ProcRef) -> Option<PathBuf> {
    let lock = lock_of(keeper.pid).filter(|path| path.file_name().is_some_and(|name| name == LOCK_FILE))?;
    Some(lock.parent()?.to_owned())
}

/// Removes a home that was created needlessly.
pub(crate) fn unmake(home: &Path) {
    let log = log_file(home);
    drop(std::fs::remove_file(home.join(LOCK_FILE)));
    if log.metadata().is_ok_and(|meta| meta.len() == 0) {
        drop(std::fs::remove_file(log));
    }
    // This only removes an empty folder.
    drop(std::fs::remove_dir(home));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn lock_names_only_a_living_keeper() {
        let path = std::env::temp_dir().join(format!("ostler-mark-{}", std::process::id()));
        let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(&[b'x'; 100]).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcRef::of(child.id() as i32).unwrap();
        mark_lock(file.as_fd(), process).unwrap();
        assert_eq!(marked(&read_mark(file.as_fd())), Some(process));
        child.kill().unwrap();
        // A zombie is not a keeper any more.
        let waits = std::time::Instant::now();
        while marked(&read_mark(file.as_fd())).is_some() {
            assert!(waits.elapsed().as_secs() < 20);
            std::thread::yield_now();
        }
        child.wait().unwrap();
        mark_lock(file.as_fd(), ProcRef::me()).unwrap();
        assert_eq!(marked(&read_mark(file.as_fd())), None, "oneself is no other");
        clear_lock(file.as_fd());
        assert_eq!(read_mark(file.as_fd()), "");
        for nonsense in ["", "1", "1 2", "x y z", "-5 3 boot", "99999999999 1 boot"] {
            assert_eq!(marked(nonsense), None, "{nonsense}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn unmarked_lock_is_waited_for() {
        let home = std::env::temp_dir().join(format!("ostler-behind-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let lock = ostler_sys::fs::lock::try_lock(&home.join(LOCK_FILE)).unwrap().unwrap();
        assert!(matches!(behind(&home), HomeHolder::NoKeeper), "nobody comes");
        let listener = socket::listen_at(&home.join(SOCKET_FILE)).unwrap();
        assert!(matches!(behind(&home), HomeHolder::Keeper));
        // The process that held the lock is gone.
        drop(lock);
        assert!(matches!(behind(&home), HomeHolder::NoKeeper));
        drop(listener);
        std::fs::remove_dir_all(&home).unwrap();
    }
}
