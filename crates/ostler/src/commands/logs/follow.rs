//! One file, followed over truncation and rotation.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::lines::{Lines, start_of_last};
use super::source::Source;
use super::watch::Watch;

/// A line without its end is shown after this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes lines; false = enough.
pub(super) type Each<'a> = &'a mut dyn FnMut(&Source, &[u8]) -> bool;

/// An open file.
struct Open {
    file: File,
    key: (u64, u64),
    position: u64,
    lines: Lines,
    partial_since: Option<Instant>,
}

impl Open {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { key: (meta.dev(), meta.ino()), file, position: 0, lines: Lines::default(), partial_since: None })
    }

    fn read(&mut self, source: &Source, each: Each<'_>) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.position {
            self.position = 0;
            self.lines.forget();
        }
        // Only up to what is there now: a flood in one file must not silence the others.
        let any = self.lines.read(&self.file, &mut self.position, length, &mut |line| each(source, line))?;
        if any || !self.lines.has_partial() {
            self.partial_since = self.lines.has_partial().then(Instant::now);
        }
        Ok(())
    }
}

/// One source and where we are in it.
pub(super) struct Follower {
    pub source: Source,
    /// The newest file of this name last. An older one is kept while its writer may still have it open.
    open: Vec<Open>,
}

impl Follower {
    /// Opens the file, if it is there, at its beginning.
    pub(super) fn new(source: Source) -> Self {
        let mut follower = Self { source, open: Vec::new() };
        follower.reopen(None);
        follower
    }

    /// Begins here instead.
    pub(super) fn skip_to(&mut self, position: u64) {
        if let Some(open) = self.open.last_mut() {
            open.position = position;
        }
    }

    /// Gives the last `count` lines to `each`; what comes later is for [`Self::advance`].
    pub(super) fn tail(&mut self, count: u64, is_last_look: bool, each: Each<'_>) -> io::Result<()> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let length = open.file.metadata()?.len();
        open.position = start_of_last(&open.file, length, count)?;
        let source = &self.source;
        let mut each_line = |line: &[u8]| each(source, line);
        open.lines.read(&open.file, &mut open.position, length, &mut each_line)?;
        if is_last_look {
            open.lines.flush(&mut each_line);
        }
        open.partial_since = open.lines.has_partial().then(Instant::now);
        Ok(())
    }

    /// Something to show as [`Self::tail`]?
    pub(super) fn has_content(&self) -> bool {
        self.open.last().is_some_and(|open| open.file.metadata().is_ok_and(|meta| meta.len() > 0))
    }

    /// Gives what is new to `each`: first the rest of the files before a rotation, then the new one.
    pub(super) fn advance(&mut self, look_for_new: bool, watch: &mut Watch, each: Each<'_>) -> io::Result<()> {
        for open in &mut self.open {
            open.read(&self.source, each)?;
        }
        if look_for_new && self.reopen(Some(watch)) {
            if let [.., old, new] = self.open.as_mut_slice() {
                // What came between the read above and the look.
                old.read(&self.source, each)?;
                new.read(&self.source, each)?;
            } else if let Some(new) = self.open.last_mut() {
                new.read(&self.source, each)?;
            }
            let excess = self.open.len().saturating_sub(2);
            self.open.drain(..excess);
        }
        Ok(())
    }

    /// Starts watching.
    pub(super) fn watch(&self, watch: &mut Watch) {
        watch.folder_of(&self.source.path);
        if let Some(open) = self.open.last() {
            watch.file(&open.file);
        }
    }

    /// When a line without its end is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|open| open.partial_since).min().map(|since| since + PATIENCE)
    }

    /// Shows lines without their end that have waited long enough.
    pub(super) fn flush_due(&mut self, each: Each<'_>) {
        for open in &mut self.open {
            if open.partial_since.is_some_and(|since| since.elapsed() >= PATIENCE) {
                open.partial_since = None;
                open.lines.flush(&mut |line| each(&self.source, line));
            }
        }
    }

    /// Opens what the path names now. True if that is another file.
    fn reopen(&mut self, watch: Option<&mut Watch>) -> bool {
        let Ok(file) = open_ordinary(&self.source.path) else { return false };
        let Ok(open) = Open::new(file) else { return false };
        if self.open.iter().any(|known| known.key == open.key) {
            return false;
        }
        if let Some(watch) = watch {
            watch.file(&open.file);
        }
        self.open.push(open);
        true
    }
}

/// Never waits for the writer of a FIFO; nothing but ordinary files can be followed.
fn open_ordinary(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::path::PathBuf;

    use super::super::source::Kind;
    use super::*;

    struct Scene {
        folder: PathBuf,
        watch: Watch,
        follower: Follower,
        seen: Vec<String>,
    }

    impl Scene {
        fn new(name: &str, content: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ostler-follow-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("x.log");
            if !content.is_empty() {
                std::fs::write(&path, content).unwrap();
            }
            let follower = Follower::new(Source { path, kind: Kind::Out, id: 0, name: "x".into() });
            let mut watch = Watch::new();
            follower.watch(&mut watch);
            Self { folder, watch, follower, seen: Vec::new() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }

        fn append(&self, name: &str, text: &str) {
            std::fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn tail(&mut self, count: u64) -> Vec<String> {
            let seen = &mut self.seen;
            self.follower.tail(count, false, &mut |_, line| keep(seen, line)).unwrap();
            std::mem::take(&mut self.seen)
        }

        /// Waits for news, then shows what is new.
        fn advance(&mut self) -> Vec<String> {
            let fd = self.watch.as_fd().unwrap();
            let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            let longest = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&longest)), Ok(1), "nothing was noticed");
            let look = self.watch.drain();
            let seen = &mut self.seen;
            self.follower.advance(look, &mut self.watch, &mut |_, line| keep(seen, line)).unwrap();
            std::mem::take(&mut self.seen)
        }
    }

    fn keep(seen: &mut Vec<String>, line: &[u8]) -> bool {
        seen.push(String::from_utf8_lossy(line).into_owned());
        true
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }

    #[test]
    fn what_is_added_is_shown_once() {
        let mut scene = Scene::new("grow", "a\nb\nc\n");
        assert_eq!(scene.tail(2), ["b", "c"]);
        scene.append("x.log", "d\npart");
        assert_eq!(scene.advance(), ["d"]);
        scene.append("x.log", "ial\n");
        assert_eq!(scene.advance(), ["partial"]);
    }

    #[test]
    fn no_lines_of_the_past_when_none_are_wanted() {
        let mut scene = Scene::new("zero", "a\nb\n");
        assert!(scene.tail(0).is_empty());
        scene.append("x.log", "c\n");
        assert_eq!(scene.advance(), ["c"]);
    }

    #[test]
    fn a_truncated_file_is_read_from_its_beginning() {
        let mut scene = Scene::new("truncate", "a long line of the past\n");
        scene.tail(1);
        File::options().write(true).open(scene.path("x.log")).unwrap().set_len(0).unwrap();
        assert!(scene.advance().is_empty());
        scene.append("x.log", "new\n");
        assert_eq!(scene.advance(), ["new"]);
    }

    #[test]
    fn after_a_rotation_the_old_file_comes_first_and_is_not_forgotten() {
        let mut scene = Scene::new("rotate", "a\n");
        scene.tail(1);
        scene.append("x.log", "b\n");
        std::fs::rename(scene.path("x.log"), scene.path("x.log.1")).unwrap();
        scene.append("x.log.1", "c\n");
        scene.append("x.log", "d\n");
        assert_eq!(scene.advance(), ["b", "c", "d"]);
        // A writer that still has the old file open, as a direct one has until the next restart.
        scene.append("x.log.1", "e\n");
        assert_eq!(scene.advance(), ["e"]);
        scene.append("x.log", "f\n");
        assert_eq!(scene.advance(), ["f"]);
    }

    #[test]
    fn a_file_that_comes_later_is_shown_from_its_beginning() {
        let mut scene = Scene::new("later", "");
        assert!(scene.tail(9).is_empty());
        scene.append("x.log", "first\n");
        assert_eq!(scene.advance(), ["first"]);
    }

    #[test]
    fn a_line_without_its_end_is_shown_when_it_is_due() {
        let mut scene = Scene::new("due", "a\nprompt> ");
        assert_eq!(scene.tail(1), Vec::<String>::new());
        assert!(scene.follower.due().is_some());
        for open in &mut scene.follower.open {
            open.partial_since = open.partial_since.map(|since| since.checked_sub(PATIENCE).unwrap());
        }
        let seen = &mut scene.seen;
        scene.follower.flush_due(&mut |_, line| keep(seen, line));
        assert_eq!(scene.seen, ["prompt> "]);
        assert!(scene.follower.due().is_none());
    }
}
