//! Receive times over a played context: the test writes to logs and plays clock and turns.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::Transition;
use ostler_core::logs::line_times::decode;
use ostler_sys::fs::facts::FileFacts;

use super::{FAILED, LOOK_MS, LineTimes};
use crate::engine::{FeatureAnswer, TestContext, reacts};
use crate::logs::line_times::id_of;
use crate::platform::reactor::{Ready, Source};

reacts!(LineTimes: on_timer, on_ready, on_answer, on_transition);

/// App that writes its output to a log, and its feature.
struct Scene {
    played: TestContext,
    times: LineTimes,
    out: PathBuf,
    id: u32,
}

impl Scene {
    /// Returns an app that just started. Its log has this content.
    fn started(content: &str) -> Self {
        let mut played = TestContext::new(&[LineTimes::NAME]);
        let id = played.instance(AppSpec { name: "app".into(), cwd: "/".into(), script: "/bin/app".into(), ..AppSpec::default() });
        let slot = played.ctx.state.slots.get(id).unwrap();
        let out = PathBuf::from(slot.live.files.out.clone().unwrap());
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        fs::write(&out, content).unwrap();
        let mut scene = Self { played, times: LineTimes::default(), out, id };
        scene.opens_log(id);
        scene.times.on_spawn(&mut scene.played.ctx, id);
        scene
    }

    /// Returns an app that has been silent for a minute. The last turn of its daemon was just now.
    fn resting(content: &str) -> Self {
        let mut scene = Self::started(content);
        scene.pass(60_000);
        assert_eq!(scene.timer(), None, "a silent log costs nothing");
        scene.turn();
        scene
    }

    /// Lets the process of an instance have the file at the path open.
    fn opens_log(&mut self, id: u32) {
        let meta = fs::metadata(&self.out).unwrap();
        let slot = self.played.ctx.state.slots.get_mut(id).unwrap();
        slot.durable.log_files = [None, Some((meta.dev(), meta.ino()))];
        slot.durable.log_start = (0, meta.len());
    }

    fn pass(&mut self, ms: u64) {
        self.played.pass(&mut self.times, ms);
    }

    fn turn(&mut self) {
        self.times.on_turn(&mut self.played.ctx);
    }

    fn now(&self) -> u64 {
        self.played.ctx.now.wall_ms
    }

    fn timer(&self) -> Option<u64> {
        self.played.ctx.outbox.timers.next_ms()
    }

    fn write(&mut self, text: &str) {
        fs::OpenOptions::new().append(true).open(&self.out).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until a watch fires, and plays the turn.
    fn wake(&mut self) {
        self.played.wait(&mut self.times, |times, _| !times.fired.is_empty());
        self.turn();
    }

    /// Waits until the index of a file has these entries.
    #[track_caller]
    fn has(&self, path: &Path, expected: &[(u64, u64)]) {
        let index = self.played.home().join("line-times").join(id_of(&FileFacts::at(path).unwrap()).index_name());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let bytes = fs::read(&index).unwrap_or_default();
            let entries: Vec<(u64, u64)> = decode(&bytes).iter().map(|entry| (entry.length, entry.at_ms)).collect();
            if entries == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{entries:?} instead of {expected:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn first_line_after_a_rest_has_an_exact_time() {
    let mut scene = Scene::resting("");
    let (before, out) = (scene.now(), scene.out.clone());
    scene.write("one\n");
    scene.wake();
    scene.has(&out, &[(0, before), (4, before)]);
    // It rests again when it has not grown for a second, and its thread is gone.
    scene.pass(2 * LOOK_MS);
    assert!(scene.timer().is_none() && scene.times.recorder.is_none());
    // The next line is half a minute later.
    scene.pass(30_000);
    scene.turn();
    let later = scene.now();
    scene.write("two\n");
    scene.wake();
    scene.has(&out, &[(0, before), (4, before), (4, later), (8, later)]);
}

#[test]
fn growing_log_gets_an_entry_each_second() {
    let mut scene = Scene::resting("");
    let (before, out) = (scene.now(), scene.out.clone());
    scene.write("1\n");
    scene.wake();
    for _ in 0..3 {
        (0..50).for_each(|_| scene.write("x\n"));
        scene.pass(LOOK_MS);
    }
    scene.has(&out, &[(0, before), (2, before), (102, before + 1000), (202, before + 2000), (302, before + 3000)]);
    assert!(scene.times.watches.keys().next().is_none(), "no watch while it grows");
}

#[test]
fn start_of_the_app_is_the_first_known_time() {
    let mut scene = Scene::started("old\n");
    let (started, out) = (scene.now(), scene.out.clone());
    scene.write("new\n");
    scene.pass(LOOK_MS);
    let modified = FileFacts::at(&out).unwrap().modified_ms.max(started);
    scene.has(&out, &[(4, started), (8, modified)]);
}

#[test]
fn restart_separates_the_output_of_two_processes() {
    let mut scene = Scene::resting("");
    let (before, out, id) = (scene.now(), scene.out.clone(), scene.id);
    scene.write("1\n");
    scene.wake();
    scene.pass(400);
    scene.write("crash\n");
    scene.opens_log(id);
    scene.times.on_spawn(&mut scene.played.ctx, id);
    scene.write("new\n");
    scene.pass(2 * LOOK_MS);
    scene.has(&out, &[(0, before), (2, before), (8, before + 400), (12, before + 1600)]);
}

#[test]
fn stopped_daemon_claims_no_exact_time() {
    let mut scene = Scene::resting("");
    scene.write("1\n");
    scene.times.on_continued(&mut scene.played.ctx);
    scene.played.wait(&mut scene.times, |times, _| !times.fired.is_empty());
    scene.pass(20_000);
    scene.turn();
    let (now, out) = (FileFacts::at(&scene.out).unwrap().modified_ms, scene.out.clone());
    scene.has(&out, &[(2, now)]);
}

#[test]
fn busy_daemon_claims_the_time_of_its_last_turn() {
    let mut scene = Scene::resting("");
    let (before, out) = (scene.now(), scene.out.clone());
    scene.write("1\n");
    scene.pass(8000);
    scene.wake();
    let now = scene.now();
    scene.has(&out, &[(0, before), (2, now)]);
}

#[test]
fn emptied_log_starts_anew() {
    for is_growing in [false, true] {
        let mut scene = Scene::resting("");
        let out = scene.out.clone();
        scene.write("before\n");
        scene.wake();
        scene.pass(if is_growing { 0 } else { 3 * LOOK_MS });
        scene.pass(500);
        let emptied = scene.now();
        fs::write(&out, "").unwrap();
        let answer = FeatureAnswer::LogRestarted { path: out.to_str().unwrap().to_owned() };
        scene.times.on_answer(&mut scene.played.ctx, &answer);
        // The log is soon longer than it was.
        scene.write("after the flush\n");
        scene.turn();
        scene.pass(2 * LOOK_MS);
        let entries = if is_growing { emptied + 500 } else { emptied + 1000 };
        scene.has(&out, &[(0, emptied), (16, entries)]);
    }
}

#[test]
fn log_emptied_by_another_program_is_noticed() {
    let mut scene = Scene::resting("");
    let out = scene.out.clone();
    scene.write("before\n");
    scene.wake();
    scene.pass(10 * LOOK_MS);
    scene.turn();
    let emptied = scene.now();
    fs::File::options().write(true).open(&out).unwrap().set_len(0).unwrap();
    scene.write("x\n");
    scene.wake();
    scene.has(&out, &[(0, emptied), (2, emptied)]);
}

#[test]
fn moved_log_is_found_again_when_it_returns() {
    let mut scene = Scene::resting("");
    let (before, out, away) = (scene.now(), scene.out.clone(), scene.out.with_file_name("away"));
    scene.write("1\n");
    scene.wake();
    scene.pass(2 * LOOK_MS);
    fs::rename(&out, &away).unwrap();
    scene.wake();
    scene.pass(2 * LOOK_MS);
    assert_eq!(scene.timer(), None, "a lost log costs nothing");
    // Another file at its path is not its log.
    fs::write(&out, "of another program\n").unwrap();
    scene.wake();
    scene.pass(2 * LOOK_MS);
    assert_eq!(scene.timer(), None);
    fs::write(&away, "1\n2\n").unwrap();
    fs::rename(&away, &out).unwrap();
    scene.wake();
    scene.pass(LOOK_MS);
    let found = scene.now();
    scene.has(&out, &[(0, before), (2, before), (4, found)]);
}

/// The file that a log writer gets after a rotation is created at that moment.
#[test]
fn new_file_of_a_log_writer_starts_with_its_creation() {
    let mut scene = Scene::started("");
    let (out, rotated) = (scene.out.clone(), scene.out.with_file_name("rotated"));
    let slot = scene.played.ctx.state.slots.get_mut(scene.id).unwrap();
    slot.durable.log_files = [None; 2];
    let spec =
        AppSpec { logs: ostler_core::app::LogSpec { date_format: Some("HH".into()), ..slot.spec().logs.clone() }, ..slot.spec().clone() };
    scene.played.ctx.redescribe(scene.id, spec);
    scene.times = LineTimes::default();
    scene.times.on_spawn(&mut scene.played.ctx, scene.id);
    let before = scene.now();
    scene.write("old\n");
    scene.pass(LOOK_MS);
    fs::rename(&out, &rotated).unwrap();
    fs::write(&out, "").unwrap();
    scene.write("longer than before\n");
    scene.pass(LOOK_MS);
    let modified = |path: &Path| FileFacts::at(path).unwrap().modified_ms;
    scene.has(&rotated, &[(0, before), (4, modified(&rotated).max(before))]);
    let facts = FileFacts::at(&out).unwrap();
    let born = facts.born_ns / 1_000_000;
    let expected = [(0, born.min(before + LOOK_MS)), (19, facts.modified_ms)];
    scene.has(&out, if born > 0 { &expected } else { &expected[1..] });
}

#[test]
fn log_of_json_lines_needs_no_index() {
    let mut scene = Scene::started("");
    let slot = scene.played.ctx.state.slots.get(scene.id).unwrap();
    let spec = AppSpec { logs: ostler_core::app::LogSpec { json: true, ..slot.spec().logs.clone() }, ..slot.spec().clone() };
    scene.played.ctx.redescribe(scene.id, spec);
    scene.write("{}\n");
    scene.pass(LOOK_MS);
    assert!(scene.timer().is_none() && scene.times.watches.keys().next().is_none() && scene.times.recorder.is_none());
}

#[test]
fn next_daemon_records_what_was_written_without_it() {
    let mut scene = Scene::resting("");
    let (before, out) = (scene.now(), scene.out.clone());
    scene.write("1\n");
    scene.wake();
    scene.has(&out, &[(0, before), (2, before)]);
    scene.times = LineTimes::default();
    scene.write("2\n");
    scene.pass(3_600_000);
    scene.times.on_boot(&mut scene.played.ctx);
    scene.pass(0);
    // The played clock is ahead of that of the file system.
    let now = scene.now();
    scene.has(&out, &[(0, before), (2, before), (4, now)]);
    scene.pass(2 * LOOK_MS);
    assert_eq!(scene.timer(), None);
}

#[test]
fn shared_log_survives_the_deletion_of_an_instance() {
    let mut scene = Scene::started("");
    let slot = scene.played.ctx.state.slots.get(scene.id).unwrap();
    let out_file = slot.live.files.out.clone();
    let spec = AppSpec { logs: ostler_core::app::LogSpec { out_file, ..slot.spec().logs.clone() }, ..slot.spec().clone() };
    let other = scene.played.instance(spec);
    scene.opens_log(other);
    scene.times.on_spawn(&mut scene.played.ctx, other);
    scene.pass(2 * LOOK_MS);
    for (id, is_last) in [(other, false), (scene.id, true)] {
        scene.times.on_transition(&mut scene.played.ctx, id, &Transition::Deleted);
        scene.played.ctx.state.slots.remove(id);
        scene.pass(2 * LOOK_MS);
        let rests = scene.times.watches.keys().filter(|rest| rest.log.id == scene.id).count();
        assert_eq!((rests, scene.timer()), (usize::from(!is_last), None));
    }
    assert!(scene.times.watches.keys().next().is_none());
}

#[test]
fn unwritable_home_is_reported_once() {
    let mut scene = Scene::resting("");
    let folder = scene.played.home().join("line-times");
    fs::write(&folder, "in the way").unwrap();
    for _ in 0..2 {
        scene.write("x\n");
        scene.wake();
        let is_failure = |ready: &Ready| ready.source == Source::Feature(LineTimes::NAME, FAILED);
        while !scene.played.ctx.io.reactor.wait(None).unwrap().iter().any(is_failure) {}
        scene.times.on_ready(&mut scene.played.ctx, FAILED, false);
        scene.pass(2 * LOOK_MS);
    }
    assert_eq!(scene.played.log().matches("receive times").count(), 1, "{}", scene.played.log());
    fs::remove_file(folder).unwrap();
    scene.turn();
    let (before, out) = (scene.now(), scene.out.clone());
    scene.write("x\n");
    scene.wake();
    scene.has(&out, &[(4, before), (6, before)]);
}
