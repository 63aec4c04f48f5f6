//! The follower on files that change.

#![allow(clippy::unwrap_used)]
use std::io::Write;

use super::super::source::LogKind;
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
            kind: LogKind::Out,
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

    /// Waits for an event, then shows the new lines.
    fn advance(&mut self) -> Vec<String> {
        let fd = self.watch.as_fd().unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        let longest = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&longest)), Ok(1), "nothing was noticed");
        self.watch.drain();
        let (look, seen) = (self.watch.events().made, &mut self.seen);
        self.follower.advance(look, &mut self.watch, &mut |_, line| keep(seen, line)).unwrap();
        std::mem::take(&mut self.seen)
    }
}

fn keep(seen: &mut Vec<String>, line: &Line<'_>) -> bool {
    seen.push(String::from_utf8_lossy(line.text).into_owned());
    true
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn appended_lines_are_shown_once() {
    let mut scene = Scene::new("grow", "a\nb\nc\n");
    assert_eq!(scene.tail(2), ["b", "c"]);
    scene.append("x.log", "d\npart");
    assert_eq!(scene.advance(), ["d"]);
    scene.append("x.log", "ial\n");
    assert_eq!(scene.advance(), ["partial"]);
}

#[test]
fn tail_zero_shows_only_new_lines() {
    let mut scene = Scene::new("zero", "a\nb\n");
    assert!(scene.tail(0).is_empty());
    scene.append("x.log", "c\n");
    assert_eq!(scene.advance(), ["c"]);
}

#[test]
fn truncated_file_is_read_from_its_start() {
    let mut scene = Scene::new("truncate", "a long line of the past\n");
    scene.tail(1);
    File::options().write(true).open(scene.path("x.log")).unwrap().set_len(0).unwrap();
    assert!(scene.advance().is_empty());
    scene.append("x.log", "new\n");
    assert_eq!(scene.advance(), ["new"]);
}

#[test]
fn rotated_file_is_read_first_and_still_followed() {
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
fn file_created_later_is_read_from_its_start() {
    let mut scene = Scene::new("later", "");
    assert!(scene.tail(9).is_empty());
    scene.append("x.log", "first\n");
    assert_eq!(scene.advance(), ["first"]);
}

#[test]
fn file_renamed_back_resumes_at_its_offset() {
    // Whether the follower advances after each step, or only once at the end.
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
        // The steps of the daemon.
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
        // A fast writer makes the file longer than before at once.
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
fn directory_created_later_is_watched() {
    let mut scene = Scene::new("folder", "");
    let logs = scene.path("logs");
    let source = Source {
        path: logs.join("x.log"),
        kind: LogKind::Out,
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
    assert!(!scene.watch.blind && scene.watch.events().made);
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
fn lines_punched_out_by_rotation_are_read_from_the_copy() {
    let mut scene = Scene::new("hole", "a\n");
    scene.tail(1);
    let text: String = (0..20_000).map(|number| format!("line {number:06}\n")).collect();
    scene.append("x.log", &text);
    // The steps of the daemon, before the follower has read any of these lines.
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
fn permanent_hole_is_skipped() {
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
fn slow_reader_sees_every_line_after_two_rename_backs() {
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

/// Replaces a file by its compressed form, as the daemon does.
fn compress(path: &Path) {
    let (modified, content) = (path.metadata().unwrap().modified().unwrap(), std::fs::read(path).unwrap());
    let file = File::create(compressed(path)).unwrap();
    let mut sink = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    sink.write_all(&content).unwrap();
    sink.finish().unwrap().set_modified(modified).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn slow_reader_sees_every_line_after_repeated_rotation() {
    for compressed in [&[][..], &[1], &[2], &[1, 2, 3]] {
        let mut scene = Scene::new("renamed", "a\n");
        scene.append("x__2020-01-01_00-00-00.log", "of the past\n");
        scene.tail(1);
        scene.append("x.log", "b\n");
        // The times of their last lines differ.
        let age = |scene: &Scene, name: &str, seconds| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            File::options().append(true).open(scene.path(name)).unwrap().set_modified(time).unwrap();
        };
        age(&scene, "x__2020-01-01_00-00-00.log", 20);
        for (number, line) in [(1, "c\n"), (2, "d\n"), (3, "e\n")] {
            age(&scene, "x.log", 10 - number);
            let rotated = scene.path(&format!("x__2026-01-01_00-00-0{number}.log"));
            std::fs::rename(scene.path("x.log"), &rotated).unwrap();
            if compressed.contains(&number) {
                compress(&rotated);
            }
            scene.append("x.log", line);
        }
        assert_eq!(scene.advance(), ["b", "c", "d", "e"], "{compressed:?}");
        scene.append("x.log", "f\n");
        assert_eq!(scene.advance(), ["f"], "{compressed:?}");
    }
}

#[test]
fn rotations_before_first_read_are_shown_completely() {
    let mut scene = Scene::new("started", "");
    let began = SystemTime::now();
    scene.append("x__2020-01-01_00-00-00.log", "of the past\n");
    for (name, age) in [("x__2020-01-01_00-00-00.log", 1), ("x__2026-01-01_00-00-01.log", 8), ("x__2026-01-01_00-00-02.log", 9)] {
        scene.append(name, &format!("{age}\n"));
        File::options()
            .append(true)
            .open(scene.path(name))
            .unwrap()
            .set_modified(began + Duration::from_secs(age) - Duration::from_secs(5))
            .unwrap();
    }
    scene.append("x.log", "10\n");
    File::options().append(true).open(scene.path("x.log")).unwrap().set_modified(began + Duration::from_secs(6)).unwrap();
    scene.follower = Follower::after(scene.follower.source.clone(), began);
    assert_eq!(scene.advance(), ["8", "9", "10"]);
}

#[test]
fn follower_waits_for_rotated_file_on_slow_disk() {
    let mut scene = Scene::new("slow-disk", "a\n");
    scene.tail(1);
    scene.append("x.log", "b\n");
    let (rotated, hidden) = (scene.path("x.log.1"), scene.path(".x.log.1.ostler"));
    std::fs::copy(scene.path("x.log"), &hidden).unwrap();
    std::fs::rename(scene.path("x.log"), &rotated).unwrap();
    std::fs::rename(&rotated, scene.path("x.log")).unwrap();
    File::options().write(true).open(scene.path("x.log")).unwrap().set_len(0).unwrap();
    assert!(scene.advance().is_empty(), "its old lines have no name yet");
    let due = scene.follower.due().unwrap();
    if let Some(returned) = &mut scene.follower.returned {
        returned.since = returned.since.checked_sub(PARTIAL_LINE_DELAY).unwrap();
    }
    scene.append("x.log", "c\n");
    assert!(scene.advance().is_empty(), "the hidden copy is still there");
    assert!(scene.follower.due().unwrap() > due, "nobody looks all the time");
    std::fs::rename(&hidden, &rotated).unwrap();
    assert_eq!(scene.advance(), ["b", "c"]);
}

#[test]
fn slow_reader_sees_lines_from_compressed_rotation() {
    let mut scene = Scene::new("compressed", "a\n");
    scene.tail(1);
    scene.append("x.log", "b\n");
    let rotated = scene.path("x.log.1");
    std::fs::rename(scene.path("x.log"), &rotated).unwrap();
    std::fs::copy(&rotated, scene.path(".copy")).unwrap();
    std::fs::rename(&rotated, scene.path("x.log")).unwrap();
    File::options().write(true).open(scene.path("x.log")).unwrap().set_len(0).unwrap();
    std::fs::rename(scene.path(".copy"), &rotated).unwrap();
    compress(&rotated);
    scene.append("x.log", "c\n");
    assert_eq!(scene.advance(), ["b", "c"]);
}

#[test]
fn partial_line_is_shown_after_a_delay() {
    let mut scene = Scene::new("due", "a\nprompt> ");
    assert_eq!(scene.tail(1), Vec::<String>::new());
    assert!(scene.follower.due().is_some());
    for open in &mut scene.follower.open {
        open.partial_since = open.partial_since.map(|since| since.checked_sub(PARTIAL_LINE_DELAY).unwrap());
    }
    let seen = &mut scene.seen;
    scene.follower.flush_due(&mut |_, line| keep(seen, line));
    assert_eq!(scene.seen, ["prompt> "]);
    assert!(scene.follower.due().is_none());
}
