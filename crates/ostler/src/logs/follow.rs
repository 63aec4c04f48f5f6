//! Follower of one file over truncation and rotation.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::SeekFrom;

use super::lines::{Lines, count_lines, start_of_last};
use super::past;
use super::source::Source;
use super::watch::Watch;

/// Time after which a line without its end is shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest rotation: a file that has nothing where we read is being rotated, and its lines will be elsewhere. If not after this time, it just has nothing there.
const LONGEST_ROTATION: Duration = Duration::from_secs(10);

/// Receiver of lines; false = enough.
pub(super) type Each<'a> = &'a mut dyn FnMut(&Source, &[u8]) -> bool;

/// An open file.
struct Open {
    file: File,
    key: (u64, u64),
    position: u64,
    lines: Lines,
    partial_since: Option<Instant>,
    /// Name that it was renamed to, if it was.
    away: Option<PathBuf>,
    /// Time since when it has nothing where we are.
    hole_since: Option<Instant>,
    /// Position up to which that means nothing.
    passed: u64,
}

/// Log file that went back to its path (`reloadLogs` after a rename): what it had is in another file, under the name it had meanwhile.
struct Returned {
    key: (u64, u64),
    rotated: PathBuf,
    since: Instant,
}

impl Open {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            key: (meta.dev(), meta.ino()),
            file,
            position: 0,
            lines: Lines::default(),
            partial_since: None,
            away: None,
            hole_since: None,
            passed: 0,
        })
    }

    /// Shows what is new, up to the moment in which something is moved to the name of the log: from then on it may be another beginning.
    fn read(&mut self, source: &Source, watch: &mut Watch, seen: usize, each: Each<'_>) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut is_moved = || {
            watch.drain();
            watch.moves().iter().skip(seen).any(|moved| moved.to == source.path)
        };
        if length < self.position {
            if is_moved() {
                return Ok(());
            }
            (self.position, self.passed) = (0, 0);
            self.lines.forget();
        }
        // Only up to what is there now: a flood in one file must not silence the others.
        let mut hole = None;
        let (file, passed) = (&self.file, self.passed);
        let mut holds = |block: &[u8], at: u64| {
            hole = if block.contains(&0) { hole_end(file, at, block.len()).filter(|end| *end > passed) } else { None };
            hole.is_none() && !is_moved()
        };
        let any = self.lines.read(file, &mut self.position, length, &mut holds, &mut |line| each(source, line))?;
        if self.passes(hole) {
            return self.read(source, watch, seen, each);
        }
        if any || !self.lines.has_partial() {
            self.partial_since = self.lines.has_partial().then(Instant::now);
        }
        Ok(())
    }
}

impl Open {
    /// Waits for the end of a rotation, and not for ever.
    fn passes(&mut self, hole: Option<u64>) -> bool {
        let since = hole.map(|_| self.hole_since.unwrap_or_else(Instant::now));
        let is_over = since.is_some_and(|since| since.elapsed() >= LONGEST_ROTATION);
        self.hole_since = since.filter(|_| !is_over);
        self.passed = if is_over { hole.unwrap_or_default() } else { self.passed };
        is_over
    }

    /// Remembers what the file is called while that is not the name of the log.
    fn look_for_name(&mut self, log: &Path) {
        let name = std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok().filter(|name| name != log && name.exists());
        self.away = name.or(self.away.take());
    }
}

/// The position at which the file has something again, if part of what was read there is nothing.
fn hole_end(file: &File, at: u64, count: usize) -> Option<u64> {
    let begin = rustix::fs::seek(file, SeekFrom::Hole(at)).ok().filter(|begin| *begin < at + count as u64)?;
    rustix::fs::seek(file, SeekFrom::Data(begin)).ok().or_else(|| file.metadata().ok().map(|meta| meta.len()))
}

fn key_of(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// One source and our position in it.
pub(super) struct Follower {
    pub source: Source,
    /// The newest file of this name last. An older one is kept while its writer may still have it open.
    open: Vec<Open>,
    /// Moves of the watch that are dealt with.
    seen: usize,
    /// File that came back, and whose old content is not yet where it should be.
    returned: Option<Returned>,
}

impl Follower {
    /// Opens the file, if it is there, at its beginning.
    pub(super) fn new(source: Source) -> Self {
        let mut follower = Self { source, open: Vec::new(), seen: 0, returned: None };
        follower.reopen(None);
        follower
    }

    /// Begins at this position instead.
    pub(super) fn skip_to(&mut self, position: u64) {
        if let Some(open) = self.open.last_mut() {
            open.position = position;
        }
    }

    /// Passes over what is unread in the newest file but for so many bytes at its end.
    pub(super) fn skip_backlog(&mut self, bytes: u64) {
        let Some(open) = self.open.last_mut() else { return };
        let length = open.file.metadata().map_or(0, |meta| meta.len());
        if length.saturating_sub(open.position) > bytes {
            open.position = length - bytes;
            open.lines.forget();
        }
    }

    /// Gives the last `count` lines to `each`; what comes later is for [`Self::advance`].
    pub(super) fn tail(&mut self, count: u64, is_last_look: bool, each: Each<'_>) -> io::Result<()> {
        let source = &self.source;
        let mut each_line = |line: &[u8]| each(source, line);
        let mut before = |count: u64| past::lines_before(&source.path, count).iter().all(|line| each_line(line));
        let Some(open) = self.open.last_mut() else {
            before(count);
            return Ok(());
        };
        let length = open.file.metadata()?.len();
        open.position = start_of_last(&open.file, length, count)?;
        if open.position == 0 && count > 0 {
            let missing = count - count_lines(&open.file, length)?.min(count);
            if missing > 0 && !before(missing) {
                return Ok(());
            }
        }
        open.lines.read(&open.file, &mut open.position, length, &mut |_, _| true, &mut each_line)?;
        if is_last_look {
            open.lines.flush(&mut each_line);
        }
        open.partial_since = open.lines.has_partial().then(Instant::now);
        Ok(())
    }

    /// True if there is something to show as [`Self::tail`].
    pub(super) fn has_content(&self) -> bool {
        self.open.last().is_some_and(|open| open.file.metadata().is_ok_and(|meta| meta.len() > 0)) || past::has_past(&self.source.path)
    }

    /// Gives what is new to `each`: first the rest of the files before a rotation, then the new one.
    pub(super) fn advance(&mut self, look_for_new: bool, watch: &mut Watch, each: Each<'_>) -> io::Result<()> {
        loop {
            self.take_moves(watch);
            self.welcome_back(each)?;
            self.read_all(watch, each)?;
            if look_for_new && self.reopen(Some(watch)) {
                // First what came between the read above and the look.
                self.read_all(watch, each)?;
                let excess = self.open.len().saturating_sub(2);
                self.open.drain(..excess);
            }
            if look_for_new {
                self.open.iter_mut().for_each(|open| open.look_for_name(&self.source.path));
            }
            // Something came while it was read: its turn is now.
            if watch.moves().len() == self.seen || self.returned.is_some() {
                return Ok(());
            }
        }
    }

    fn read_all(&mut self, watch: &mut Watch, each: Each<'_>) -> io::Result<()> {
        let waits = self.returned.as_ref().map(|returned| returned.key);
        for open in self.open.iter_mut().filter(|open| waits != Some(open.key)) {
            open.read(&self.source, watch, self.seen, each)?;
        }
        Ok(())
    }

    /// Handles moves: was a file that we know moved to the name of the log, one move after the other?
    fn take_moves(&mut self, watch: &Watch) {
        while let (None, Some(moved)) = (&self.returned, watch.moves().get(self.seen)) {
            self.seen += 1;
            if moved.to != self.source.path {
                continue;
            }
            // By now it may have been renamed again: then it is the one that still has a name, because what it replaced has none.
            let now = key_of(&moved.to);
            let is_it = |open: &&Open| Some(open.key) == now;
            let has_name = |open: &&Open| open.file.metadata().is_ok_and(|meta| meta.nlink() > 0);
            let Some(key) = self.open.iter().find(is_it).or_else(|| self.open.iter().rev().find(has_name)).map(|open| open.key) else {
                continue;
            };
            let Some(index) = self.open.iter().position(|open| open.key == key) else { continue };
            // It is the newest one again.
            let open = self.open.remove(index);
            let rotated = moved.from.clone().or_else(|| open.away.clone());
            self.open.push(open);
            self.returned = rotated.map(|rotated| Returned { key, rotated, since: Instant::now() });
        }
    }

    /// Reads from the copy what was not read before the file was shortened, and goes on in the file.
    fn welcome_back(&mut self, each: Each<'_>) -> io::Result<()> {
        let Some(returned) = &self.returned else { return Ok(()) };
        let Some(open) = self.open.last_mut().filter(|open| open.key == returned.key) else {
            self.returned = None;
            return Ok(());
        };
        let copy = self.source.open(&returned.rotated).ok().and_then(|file| Open::new(file).ok()).filter(|copy| copy.key != open.key);
        let Some(copy) = copy else {
            // It gets its name in a moment; if not, somebody has only renamed the file back, or has removed the copy since.
            if returned.since.elapsed() >= PATIENCE {
                self.returned = None;
            }
            return Ok(());
        };
        let length = copy.file.metadata()?.len();
        let source = &self.source;
        open.lines.read(&copy.file, &mut open.position, length, &mut |_, _| true, &mut |line| each(source, line))?;
        // What was read beyond the copy was the open line, which is in the file now.
        open.position = open.position.saturating_sub(length);
        open.away = None;
        self.returned = None;
        Ok(())
    }

    /// Starts watching.
    pub(super) fn watch(&self, watch: &mut Watch) {
        watch.folder_of(&self.source.path);
        if let Some(open) = self.open.last() {
            watch.file(&open.file);
        }
    }

    /// The time at which a line without its end is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let returned = self.returned.iter().map(|returned| returned.since);
        let short = self.open.iter().filter_map(|open| open.partial_since).chain(returned).min().map(|since| since + PATIENCE);
        let long = self.open.iter().filter_map(|open| open.hole_since).min().map(|since| since + LONGEST_ROTATION);
        short.into_iter().chain(long).min()
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
        let Ok(file) = self.source.open(&self.source.path) else { return false };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

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
            let follower = Follower::new(Source {
                path,
                kind: Kind::Out,
                id: 0,
                name: "x".into(),
                namespace: "default".into(),
                revision: None,
                rights: None,
            });
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
            self.watch.drain();
            let (look, seen) = (self.watch.news().made, &mut self.seen);
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
    fn a_file_that_comes_back_is_read_where_it_goes_on() {
        // Whether the steps in between are looked at, or all of them at once.
        for (name, looks_between) in [("back", true), ("back-late", false)] {
            let mut scene = Scene::new(name, "a\n");
            scene.tail(1);
            scene.append("x.log", "b\nop");
            if looks_between {
                assert_eq!(scene.advance(), ["b"]);
            }
            std::fs::rename(scene.path("x.log"), scene.path("x.log.1")).unwrap();
            scene.append("x.log.1", "en\nc\nha");
            if looks_between {
                assert_eq!(scene.advance(), ["open", "c"]);
            }
            // As the daemon does it.
            std::fs::copy(scene.path("x.log.1"), scene.path(".copy")).unwrap();
            std::fs::rename(scene.path("x.log.1"), scene.path("x.log")).unwrap();
            let file = File::options().write(true).open(scene.path("x.log")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"ha", 0).unwrap();
            file.set_len(2).unwrap();
            let copy = File::options().write(true).open(scene.path(".copy")).unwrap();
            copy.set_len(copy.metadata().unwrap().len() - 2).unwrap();
            if looks_between {
                assert!(scene.advance().is_empty(), "its old lines have no name yet");
            }
            std::fs::rename(scene.path(".copy"), scene.path("x.log.1")).unwrap();
            // At full speed it is longer than before at once.
            scene.append("x.log", &format!("lf\n{}", "next\n".repeat(10)));
            let seen = scene.advance();
            let mut expected = if looks_between { vec!["half"] } else { vec!["b", "open", "c", "half"] };
            expected.extend(["next"; 10]);
            assert_eq!(seen, expected, "{name}");
            scene.append("x.log", "end\n");
            assert_eq!(scene.advance(), ["end"]);
        }
    }

    #[test]
    fn a_folder_that_comes_later_is_watched_too() {
        let mut scene = Scene::new("folder", "");
        let logs = scene.path("logs");
        let source = Source {
            path: logs.join("x.log"),
            kind: Kind::Out,
            id: 0,
            name: "x".into(),
            namespace: "default".into(),
            revision: None,
            rights: None,
        };
        (scene.watch, scene.follower) = (Watch::new(), Follower::new(source));
        scene.follower.watch(&mut scene.watch);
        assert!(scene.watch.blind);
        std::fs::create_dir(&logs).unwrap();
        scene.append("logs/x.log", "a\n");
        scene.watch.drain();
        assert!(!scene.watch.blind && scene.watch.news().made);
        let seen = &mut scene.seen;
        scene.follower.advance(true, &mut scene.watch, &mut |_, line| keep(seen, line)).unwrap();
        // Rotated, with a line that was not read before.
        scene.append("logs/x.log", "b\n");
        std::fs::rename(logs.join("x.log"), logs.join("x.log.1")).unwrap();
        std::fs::copy(logs.join("x.log.1"), logs.join(".copy")).unwrap();
        std::fs::rename(logs.join("x.log.1"), logs.join("x.log")).unwrap();
        File::options().write(true).open(logs.join("x.log")).unwrap().set_len(0).unwrap();
        std::fs::rename(logs.join(".copy"), logs.join("x.log.1")).unwrap();
        scene.append("logs/x.log", "c\n");
        assert_eq!(scene.advance(), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_taken_from_a_file_that_is_rotated_is_read_elsewhere() {
        let mut scene = Scene::new("hole", "a\n");
        scene.tail(1);
        let text: String = (0..20_000).map(|number| format!("line {number:06}\n")).collect();
        scene.append("x.log", &text);
        // As the daemon does it, before we have read a line of that.
        std::fs::copy(scene.path("x.log"), scene.path(".copy")).unwrap();
        let file = File::options().write(true).open(scene.path("x.log")).unwrap();
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&file, flags, 0, 128 << 10).is_err() {
            return;
        }
        assert!(scene.advance().is_empty(), "there is nothing");
        scene.append("x.log", "more\n");
        scene.append(".copy", "more\n");
        assert!(scene.advance().is_empty());
        assert!(scene.follower.due().is_some());
        std::fs::rename(scene.path("x.log"), scene.path("x.log.1")).unwrap();
        std::fs::rename(scene.path("x.log.1"), scene.path("x.log")).unwrap();
        file.set_len(0).unwrap();
        std::fs::rename(scene.path(".copy"), scene.path("x.log.1")).unwrap();
        scene.append("x.log", "new\n");
        let seen = scene.advance();
        assert_eq!((seen.len(), seen[0].as_str(), seen[20_000].as_str(), seen[20_001].as_str()), (20_002, "line 000000", "more", "new"));
    }

    #[test]
    fn a_hole_that_stays_is_passed() {
        let mut scene = Scene::new("sparse", "");
        scene.append("x.log", "");
        assert!(scene.advance().is_empty());
        File::options().write(true).open(scene.path("x.log")).unwrap().set_len(64 << 10).unwrap();
        scene.append("x.log", "new\n");
        if !scene.advance().is_empty() {
            return; // A file system without holes.
        }
        for open in &mut scene.follower.open {
            open.hole_since = open.hole_since.map(|since| since.checked_sub(LONGEST_ROTATION).unwrap());
        }
        scene.append("x.log", "next\n");
        let seen = scene.advance();
        assert!(seen[0].ends_with("new") && seen[1..] == ["next"]);
    }

    #[test]
    fn whoever_is_slow_sees_two_returns_at_once() {
        let mut scene = Scene::new("slow", "a\n");
        scene.tail(1);
        for (number, line) in [(1, "b\n"), (2, "c\n")] {
            scene.append("x.log", line);
            let rotated = scene.path(&format!("x.log.{number}"));
            std::fs::rename(scene.path("x.log"), &rotated).unwrap();
            std::fs::copy(&rotated, scene.path(".copy")).unwrap();
            std::fs::rename(&rotated, scene.path("x.log")).unwrap();
            File::options().write(true).open(scene.path("x.log")).unwrap().set_len(0).unwrap();
            std::fs::rename(scene.path(".copy"), &rotated).unwrap();
        }
        scene.append("x.log", "d\n");
        std::fs::rename(scene.path("x.log"), scene.path("x.log.3")).unwrap();
        assert_eq!(scene.advance(), ["b", "c", "d"]);
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
