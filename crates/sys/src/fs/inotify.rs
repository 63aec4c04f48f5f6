//! Changes of files and folders as the kernel reports them: a descriptor, its watches, and the
//! events read from it.
//!
//! Reading never waits. To wait for events, poll the descriptor.

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{CreateFlags, Reader, add_watch, init, remove_watch};
use rustix::io::Errno;
use rustix::path::Arg;

/// Flags of a watch: the events that it reports.
pub use rustix::fs::inotify::WatchFlags;

/// Flags of an event: what happened.
pub use rustix::fs::inotify::ReadFlags;

/// Default size of the read buffer in bytes: room for more than a hundred events without names.
const AT_ONCE: usize = 4096;

/// Descriptor through which the kernel reports events of files and folders. Other programs do not
/// inherit it.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// Event of a file or folder.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// Number of the watch, or -1 if events were lost.
    pub watch: i32,
    /// Kind of event.
    pub flags: ReadFlags,
    /// Number that both halves of a rename share; otherwise 0.
    pub cookie: u32,
    /// Name of the affected entry in the watched folder; empty = the watched file or folder itself.
    pub name: &'a [u8],
}

impl Event<'_> {
    /// Returns true if the kernel dropped events because its queue was full. Any file may have
    /// changed then.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.flags.contains(ReadFlags::QUEUE_OVERFLOW)
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_ascii();
        write!(f, "{:?} of {}: \"{name}\" ({})", self.flags, self.watch, self.cookie)
    }
}

impl Inotify {
    /// Creates an instance without watches.
    ///
    /// # Errors
    /// Returns `EMFILE` if the user has reached its limit of instances
    /// (`fs.inotify.max_user_instances`), or if no descriptor is free.
    pub fn new() -> Result<Self, Errno> {
        init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Self)
    }

    /// Duplicates the descriptor, for another thread.
    ///
    /// # Errors
    /// Returns an error if no descriptor is free.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Watches the file or folder at a path. If it is already watched, the number of that watch is
    /// returned.
    ///
    /// # Errors
    /// Returns an error if the path does not exist or does not match the flags. Returns `ENOSPC` if
    /// the user has reached its limit of watches (`fs.inotify.max_user_watches`).
    pub fn watch(&self, path: impl Arg, what: WatchFlags) -> Result<i32, Errno> {
        add_watch(&self.0, path, what)
    }

    /// Watches an open file, whatever its current name.
    ///
    /// # Errors
    /// Returns the errors of [`watch`](Self::watch).
    pub fn watch_open(&self, file: impl AsFd, what: WatchFlags) -> Result<i32, Errno> {
        self.watch(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()), what)
    }

    /// Removes a watch. The kernel may have removed it already.
    pub fn forget(&self, watch: i32) {
        let _ = remove_watch(&self.0, watch);
    }

    /// Performs one read with a buffer of this size (in bytes; the largest event has less than 300)
    /// and passes on its events.
    pub fn read_once(&self, buffer: &mut [MaybeUninit<u8>], mut take: impl FnMut(Event<'_>)) {
        let mut reader = Reader::new(&self.0, buffer);
        while next(&mut reader, &mut take) && !reader.is_buffer_empty() {}
    }

    /// Passes on all pending events.
    pub fn read(&self, mut take: impl FnMut(Event<'_>)) {
        let mut buffer = [MaybeUninit::uninit(); AT_ONCE];
        let mut reader = Reader::new(&self.0, &mut buffer);
        while next(&mut reader, &mut take) {}
    }

    /// Discards all pending events, for callers to whom readability is enough.
    pub fn clear(&self) {
        self.read(|_| {});
    }
}

/// Returns false if no event was pending.
fn next(reader: &mut Reader<'_, &OwnedFd>, take: &mut impl FnMut(Event<'_>)) -> bool {
    let Ok(event) = reader.next() else { return false };
    let name = event.file_name().map_or(&[][..], |name| name.to_bytes());
    take(Event { watch: event.wd(), flags: event.events(), cookie: event.cookie(), name });
    true
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Inotify {
    /// Wraps a descriptor that another process has opened.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ostler-inotify-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn all(inotify: &Inotify) -> Vec<(i32, ReadFlags, u32, Vec<u8>)> {
        let mut all = Vec::new();
        inotify.read(|event| all.push((event.watch, event.flags, event.cookie, event.name.to_owned())));
        all
    }

    #[test]
    fn events_of_names_in_a_folder_are_read() {
        let folder = folder("names");
        let inotify = Inotify::new().unwrap();
        let flags = rustix::io::fcntl_getfd(&inotify).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        // Nothing happened, so the call does not wait.
        assert!(all(&inotify).is_empty());
        let what = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let watch = inotify.watch(&folder, what).unwrap();
        fs::write(folder.join("a"), "").unwrap();
        fs::rename(folder.join("a"), folder.join("b")).unwrap();
        let events = all(&inotify);
        assert_eq!(
            events.iter().map(|(number, what, _, name)| (*number, *what, &**name)).collect::<Vec<_>>(),
            [(watch, ReadFlags::CREATE, &b"a"[..]), (watch, ReadFlags::MOVED_FROM, b"a"), (watch, ReadFlags::MOVED_TO, b"b"),]
        );
        assert!(events[0].2 == 0 && events[1].2 != 0 && events[1].2 == events[2].2, "{events:?}");
        assert!(inotify.watch(folder.join("b"), what) == Err(Errno::NOTDIR) && inotify.watch(folder.join("c"), what) == Err(Errno::NOENT));
        inotify.forget(watch);
        fs::write(folder.join("d"), "").unwrap();
        let left = all(&inotify);
        assert_eq!(left.iter().map(|(_, what, ..)| *what).collect::<Vec<_>>(), [ReadFlags::IGNORED], "{left:?}");
        // A second removal does no harm.
        inotify.forget(watch);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn open_file_is_watched_regardless_of_its_name() {
        let folder = folder("open");
        let inotify = Inotify::new().unwrap();
        let file = fs::File::create(folder.join("a")).unwrap();
        fs::remove_file(folder.join("a")).unwrap();
        let watch = inotify.watch_open(&file, WatchFlags::MODIFY).unwrap();
        fs::write(folder.join("a"), "another").unwrap();
        assert!(all(&inotify).is_empty());
        std::io::Write::write_all(&mut &file, b"text").unwrap();
        assert_eq!(all(&inotify), [(watch, ReadFlags::MODIFY, 0, Vec::new())]);
        std::io::Write::write_all(&mut &file, b"text").unwrap();
        inotify.clear();
        assert!(all(&inotify).is_empty());
        // If links are not followed, the link itself is watched.
        std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("link")).unwrap();
        assert_eq!(inotify.watch(folder.join("link"), WatchFlags::ATTRIB), Err(Errno::NOENT));
        inotify.watch(folder.join("link"), WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn read_once_returns_a_bounded_number_of_events() {
        let folder = folder("much");
        let inotify = Inotify::new().unwrap();
        inotify.watch(&folder, WatchFlags::CREATE).unwrap();
        let names: Vec<String> = (0..300).map(|number| format!("{number:0200}")).collect();
        names.iter().for_each(|name| fs::write(folder.join(name), "").unwrap());
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 1024];
        inotify.read_once(&mut buffer, |event| seen.push(event.name.to_owned()));
        assert!((1..=4).contains(&seen.len()), "{}", seen.len());
        // The remaining events, more than one read returns, arrive in order.
        inotify.read(|event| seen.push(event.name.to_owned()));
        assert!(seen.iter().eq(names.iter().map(|name| name.as_bytes())), "{}", seen.len());
        inotify.read_once(&mut buffer, |event| panic!("{event:?}"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn watch_queue_continues_from_a_duplicate() {
        let folder = folder("former");
        let inotify = Inotify::new().unwrap();
        let watch = inotify.watch(&folder, WatchFlags::CREATE).unwrap();
        let again = Inotify::from(inotify.as_fd().try_clone_to_owned().unwrap());
        drop(inotify);
        fs::write(folder.join("a"), "").unwrap();
        assert_eq!(all(&again), [(watch, ReadFlags::CREATE, 0, b"a".to_vec())]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lost_events_are_reported() {
        let folder = folder("lost");
        let inotify = Inotify::new().unwrap();
        inotify.watch(&folder, WatchFlags::ATTRIB).unwrap();
        let files = ["a", "b"].map(|name| fs::File::create(folder.join(name)).unwrap());
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        // The kernel merges an event that equals the last one in its queue.
        files.iter().cycle().take(most + 2).for_each(|file| rustix::fs::fchmod(file, rustix::fs::Mode::RWXU).unwrap());
        let (mut known, mut lost) = (0, Vec::new());
        inotify.read(|event| match event.is_overflow() {
            true => lost.push((event.watch, event.name.is_empty())),
            false => known += 1,
        });
        assert_eq!((known, lost), (most, vec![(-1, true)]));
        fs::remove_dir_all(&folder).unwrap();
    }
}
