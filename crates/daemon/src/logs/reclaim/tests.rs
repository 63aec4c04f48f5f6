//! Reclaims of real files, with real writers.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use ostler_core::logs::line_times::growth::Sighting;
use ostler_sys::fs::facts::FileFacts;
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::descriptors::is_stopped;
use ostler_sys::{ProcRef, ProcTable};

use super::super::testing::Folder;
use super::copier::copy;
use super::copy::{copy_on, open_source};
use super::*;
use crate::logs::line_times::{TimesFolder, id_of};
use crate::platform::rights::follow_links;

pub(super) struct Scene {
    folder: Folder,
    pub(super) record: ReclaimRecord,
}

impl Scene {
    /// Returns a renamed log with this content.
    fn new(name: &str, content: &str) -> Self {
        let folder = Folder::new(name);
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (target, rotated) = (path("out.log"), path("out.log.1"));
        fs::write(&rotated, content).unwrap();
        fs::set_permissions(&rotated, fs::Permissions::from_mode(0o604)).unwrap();
        let meta = fs::metadata(&rotated).unwrap();
        let record = ReclaimRecord {
            id: 1,
            path: target.clone(),
            target,
            copy: copy_name(rotated.as_ref()).unwrap().to_str().unwrap().to_owned(),
            rotated,
            file: (meta.dev(), meta.ino()),
            stage: ReclaimStage::Copying,
            stays: false,
            emptied: false,
            rights: Rights::default(),
            times: None,
        };
        Self { folder, record }
    }

    pub(super) fn order(&self) -> CopyOrder {
        let ReclaimRecord { id, copy, target, file, .. } = self.record.clone();
        CopyOrder { id, source: self.record.source().to_owned(), copy, target, file, folder: None, rights: Rights::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Returns a writer that appends its input to the file.
    fn writer(&self) -> Parrot {
        let file = fs::OpenOptions::new().append(true).open(&self.record.rotated).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        Parrot { child, stdin }
    }

    fn reclaim(&mut self, note: &mut dyn FnMut(&ReclaimRecord) -> std::io::Result<()>) -> Result<ReclaimResult, ReclaimFailure> {
        let mut copied = copy(&self.order(), &Default::default())?;
        let none = |_: &ProcTable| Vec::<ProcessEntry>::new();
        reclaim(&mut self.record, &mut copied, &Writers { trees: &none, never: [ProcRef::me().pid, 0] }, note)
    }

    #[track_caller]
    pub(super) fn is_done(&self, old: &str, open: &str) {
        assert_eq!(self.names(), ["out.log", "out.log.1"]);
        assert_eq!((self.read("out.log.1").as_str(), self.read("out.log").as_str()), (old, open));
        assert_eq!(fs::metadata(self.path("out.log")).unwrap().ino(), self.record.file.1);
        assert_eq!(fs::metadata(self.path("out.log.1")).unwrap().mode() & 0o777, 0o604);
    }
}

pub(super) struct Parrot {
    child: Child,
    stdin: std::process::ChildStdin,
}

impl Parrot {
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Writes a text, and returns when it is in the file.
    pub(super) fn write(&mut self, text: &str, file: &std::path::Path) {
        let before = fs::metadata(file).unwrap().len();
        self.stdin.write_all(text.as_bytes()).unwrap();
        wait(|| fs::metadata(file).unwrap().len() == before + text.len() as u64);
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[track_caller]
pub(super) fn wait(mut condition: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn reclaim_keeps_the_writer_at_the_path_and_lines_whole() {
    for (content, old, open) in [("a\nb\n", "a\nb\n", ""), ("a\nb", "a\n", "b"), ("b", "", "b"), ("", "", "")] {
        let mut scene = Scene::new("handback", content);
        let mut parrot = scene.writer();
        let done = scene.reclaim(&mut |_| Ok(())).unwrap();
        assert_eq!(done.cut, old.len() as u64);
        scene.is_done(old, open);
        parrot.write("c\n", &scene.path("out.log"));
        assert_eq!(scene.read("out.log"), format!("{open}c\n"));
    }
}

#[test]
fn reclaim_survives_a_kill_at_any_note() {
    let mut after = 0;
    loop {
        let mut scene = Scene::new("killed", "a\nb");
        let mut parrot = scene.writer();
        let mut noted = scene.record.clone();
        let mut count = 0;
        let killed = catch_unwind(AssertUnwindSafe(|| {
            scene.reclaim(&mut |record| {
                if count == after {
                    panic!("killed");
                }
                count += 1;
                noted = record.clone();
                Ok(())
            })
        }));
        let undone = recover(&noted).unwrap();
        wait(|| !is_stopped(parrot.pid()));
        if undone {
            assert_eq!((scene.names(), scene.read("out.log.1").as_str()), (vec!["out.log.1".to_owned()], "a\nb"));
            scene.record = noted;
            scene.reclaim(&mut |_| Ok(())).unwrap();
        }
        scene.is_done("a\n", "b");
        parrot.write("c\n", &scene.path("out.log"));
        if killed.is_ok() {
            break;
        }
        after += 1;
    }
    assert!(after >= 3, "only {after} notes");
}

/// Returns a log at its path.
pub(super) fn at_its_path(name: &str, content: &str) -> Scene {
    let mut scene = Scene::new(name, content);
    fs::rename(&scene.record.rotated, &scene.record.target).unwrap();
    scene.record.stays = true;
    scene
}

pub(super) fn writer_at_its_path(scene: &Scene) -> Parrot {
    fs::rename(&scene.record.target, &scene.record.rotated).unwrap();
    let parrot = scene.writer();
    fs::rename(&scene.record.rotated, &scene.record.target).unwrap();
    parrot
}

#[test]
fn rotation_takes_whole_lines_and_the_writer_continues() {
    for (content, old, open) in [("a\nb\n", "a\nb\n", ""), ("a\nb", "a\n", "b"), ("b", "", "b")] {
        let mut scene = at_its_path("rotate", content);
        let mut parrot = writer_at_its_path(&scene);
        let done = scene.reclaim(&mut |_| Ok(())).unwrap();
        assert_eq!((done.cut, done.renamed), (old.len() as u64, None));
        scene.is_done(old, open);
        parrot.write("c\n", &scene.path("out.log"));
        assert_eq!(scene.read("out.log"), format!("{open}c\n"));
    }
    // A rotation also works without writers.
    let mut scene = at_its_path("rotate", "a\n");
    scene.reclaim(&mut |_| Ok(())).unwrap();
    scene.is_done("a\n", "");
}

/// Returns the last record of a reclaim that is killed after this many records.
pub(super) fn noted_until_killed(
    after: usize,
    first: ReclaimRecord,
    act: impl FnOnce(&mut dyn FnMut(&ReclaimRecord) -> std::io::Result<()>),
) -> ReclaimRecord {
    let (mut noted, mut count) = (first, 0);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        act(&mut |record| {
            assert!(count < after, "killed");
            count += 1;
            noted = record.clone();
            Ok(())
        });
    }));
    noted
}

/// The index has the name of the file that the lines are in.
#[test]
fn receive_times_move_with_the_lines() {
    for after in 0..4 {
        let mut scene = at_its_path("rotate-times", "a\nb");
        let times = TimesFolder::of_home(&scene.path("home"));
        fs::create_dir(scene.path("home")).unwrap();
        let id = |path: PathBuf| id_of(&FileFacts::at(&path).unwrap());
        times.record(id(scene.path("out.log")), &Sighting { length: 3, modified_ms: 7, now_ms: 7, before: None, is_new: false }).unwrap();
        scene.record.times = Some(times);
        let noted = noted_until_killed(after, scene.record.clone(), |note| drop(scene.reclaim(note)));
        let holder = if recover(&noted).unwrap() { "out.log" } else { "out.log.1" };
        let indexes = fs::read_dir(scene.path("home/line-times")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(
            indexes.collect::<Vec<_>>(),
            [std::ffi::OsString::from(id(scene.path(holder)).index_name())],
            "killed after {after} notes"
        );
    }
}

#[test]
fn rotation_survives_a_kill_at_any_note() {
    for after in 0..4 {
        let mut scene = at_its_path("rotate-killed", "a\nb");
        let mut parrot = writer_at_its_path(&scene);
        let noted = noted_until_killed(after, scene.record.clone(), |note| drop(scene.reclaim(note)));
        let undone = recover(&noted).unwrap();
        wait(|| !is_stopped(parrot.pid()));
        if undone {
            assert_eq!((scene.names(), scene.read("out.log").as_str()), (vec!["out.log".to_owned()], "a\nb"));
            scene.record.stage = ReclaimStage::Copying;
            scene.reclaim(&mut |_| Ok(())).unwrap();
        }
        scene.is_done("a\n", "b");
        parrot.write("c\n", &scene.path("out.log"));
    }
}

#[test]
fn rotation_survives_a_kill_between_any_steps_of_the_cut() {
    type Step = fn(&Scene, &Copied);
    let steps: [Step; 6] = [
        |scene, _| fs::rename(&scene.record.target, &scene.record.rotated).unwrap(),
        |scene, _| fs::rename(&scene.record.rotated, &scene.record.target).unwrap(),
        |_, copied| std::os::unix::fs::FileExt::write_all_at(&copied.source, b"b", 0).unwrap(),
        |_, copied| copied.source.set_len(1).unwrap(),
        |_, copied| copied.copy.set_len(2).unwrap(),
        |scene, _| fs::rename(&scene.record.copy, &scene.record.rotated).unwrap(),
    ];
    for done in 0..=steps.len() {
        let mut scene = at_its_path("rotate-steps", "a\nb");
        let copied = copy(&scene.order(), &Default::default()).unwrap();
        scene.record.stage = ReclaimStage::Cutting { stopped: Vec::new(), cut: 2, end: 3, like: None };
        steps[..done].iter().for_each(|step| step(&scene, &copied));
        for _ in 0..2 {
            assert!(!recover(&scene.record).unwrap(), "after {done} steps");
            scene.is_done("a\n", "b");
        }
    }
}

#[test]
fn rotation_picks_another_name_if_its_name_gets_taken() {
    let mut scene = at_its_path("rotate-taken", "a\n");
    let mut copied = copy(&scene.order(), &Default::default()).unwrap();
    fs::write(scene.path("out.log.1"), "other").unwrap();
    let none = |_: &ProcTable| Vec::<ProcessEntry>::new();
    let writers = Writers { trees: &none, never: [ProcRef::me().pid, 0] };
    let done = reclaim(&mut scene.record, &mut copied, &writers, &mut |_| Ok(())).unwrap();
    assert_eq!(done.renamed.as_deref().map(std::path::Path::new), Some(scene.path("out.log-1.1").as_path()));
    assert_eq!((scene.read("out.log-1.1"), scene.read("out.log.1"), scene.read("out.log")), ("a\n".into(), "other".into(), String::new()));
}

#[test]
fn log_moved_during_the_rotation_is_left_unchanged() {
    let mut scene = at_its_path("rotate-moved", "a\n");
    let mut copied = copy(&scene.order(), &Default::default()).unwrap();
    fs::rename(scene.path("out.log"), scene.path("elsewhere")).unwrap();
    let none = |_: &ProcTable| Vec::<ProcessEntry>::new();
    let writers = Writers { trees: &none, never: [ProcRef::me().pid, 0] };
    let failure = reclaim(&mut scene.record, &mut copied, &writers, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(failure, ReclaimFailure::Moved), "{failure}");
    assert_eq!((scene.names(), scene.read("elsewhere").as_str()), (vec!["elsewhere".to_owned()], "a\n"));
}

#[test]
fn folder_replaced_by_a_link_is_not_followed() {
    let folder = Folder::new("rotate-folder");
    let (logs, other) = (folder.path().join("logs"), folder.path().join("other"));
    fs::create_dir(&logs).unwrap();
    fs::create_dir(&other).unwrap();
    let log = logs.join("out.log");
    fs::write(&log, "a\n").unwrap();
    let meta = fs::metadata(&log).unwrap();
    let key = (meta.dev(), meta.ino());
    let held = super::Folder::with(&log, key, &Rights::default()).unwrap();
    // The user of the app exchanges the folder; the work continues in the original one.
    fs::rename(&logs, folder.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(&other, &logs).unwrap();
    fs::write(held.inside("new"), "x").unwrap();
    assert!(folder.path().join("moved/new").exists() && fs::read_dir(&other).unwrap().next().is_none());
    assert_eq!(held.plain(&format!("in {}", held.inside("new"))), format!("in {}", logs.join("new").display()));
    assert!(super::Folder::with(&log, key, &Rights::default()).is_err(), "not even opened");
}

#[test]
fn reclaim_survives_a_kill_between_any_steps_of_the_cut() {
    let begin = || {
        let mut scene = Scene::new("steps", "a\nb");
        let copied = copy(&scene.order(), &Default::default()).unwrap();
        scene.record.stage = ReclaimStage::Cutting { stopped: Vec::new(), cut: 2, end: 3, like: None };
        (scene, copied)
    };
    type Step = fn(&Scene, &Copied);
    let steps: [Step; 5] = [
        |scene, _| fs::rename(&scene.record.rotated, &scene.record.target).unwrap(),
        |_, copied| std::os::unix::fs::FileExt::write_all_at(&copied.source, b"b", 0).unwrap(),
        |_, copied| copied.source.set_len(1).unwrap(),
        |_, copied| copied.copy.set_len(2).unwrap(),
        |scene, _| fs::rename(&scene.record.copy, &scene.record.rotated).unwrap(),
    ];
    for done in 0..=steps.len() {
        let (scene, copied) = begin();
        steps[..done].iter().for_each(|step| step(&scene, &copied));
        assert!(!recover(&scene.record).unwrap(), "after {done} steps");
        scene.is_done("a\n", "b");
        // A daemon may also be killed during its recovery.
        assert!(!recover(&scene.record).unwrap());
        scene.is_done("a\n", "b");
    }
}

#[test]
fn lines_written_after_the_cut_without_a_daemon_are_kept() {
    let mut scene = Scene::new("woken", "a\nb");
    copy(&scene.order(), &Default::default()).unwrap();
    scene.record.stage = ReclaimStage::Cutting { stopped: Vec::new(), cut: 2, end: 3, like: None };
    // Another process sent SIGCONT.
    let mut file = fs::OpenOptions::new().append(true).open(&scene.record.rotated).unwrap();
    file.write_all(b"c\nd\n").unwrap();
    recover(&scene.record).unwrap();
    scene.is_done("a\n", "bc\nd\n");
}

#[test]
fn writer_stopped_by_its_user_stays_stopped() {
    let mut scene = Scene::new("stopped", "a\n");
    let parrot = scene.writer();
    let process = ProcRef::of(parrot.pid()).unwrap();
    process.signal(19).unwrap();
    wait(|| is_stopped(parrot.pid()));
    let mut stopped = None;
    scene
        .reclaim(&mut |record| {
            if let ReclaimStage::Freezing { stopped: now } = &record.stage {
                stopped = Some(now.clone());
            }
            Ok(())
        })
        .unwrap();
    scene.is_done("a\n", "");
    assert!(stopped.is_none_or(|stopped| stopped.is_empty()) && is_stopped(parrot.pid()));
}

/// Continues this process again and again during an action.
fn kept_awake<T>(process: ProcRef, done: impl FnOnce() -> T) -> T {
    let is_over = Mutex::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !*is_over.lock().unwrap() {
                process.signal(18).unwrap();
            }
        });
        let result = done();
        *is_over.lock().unwrap() = true;
        result
    })
}

#[test]
fn reclaim_is_retried_if_the_writer_does_not_stop() {
    let none = |_: &ProcTable| Vec::<ProcessEntry>::new();
    let writers = Writers { trees: &none, never: [ProcRef::me().pid, 0] };
    // If two calls see it stopped, the reclaim succeeds at once.
    for _ in 0..100 {
        let mut scene = Scene::new("later", "a\nb");
        let mut parrot = scene.writer();
        let mut copied = copy(&scene.order(), &Default::default()).unwrap();
        let process = ProcRef::of(parrot.pid()).unwrap();
        let result = kept_awake(process, || reclaim(&mut scene.record, &mut copied, &writers, &mut |_| Ok(())));
        let Err(failure) = result else { continue };
        assert!(matches!(failure, ReclaimFailure::Later), "{failure}");
        assert_eq!(
            (&scene.record.stage, scene.names()),
            (&ReclaimStage::Copying, vec![".out.log.1.ostler".to_owned(), "out.log.1".to_owned()])
        );
        parrot.write("c\nd", &scene.path("out.log.1"));
        copied.catch_up().unwrap();
        reclaim(&mut scene.record, &mut copied, &writers, &mut |_| Ok(())).unwrap();
        return scene.is_done("a\nbc\n", "d");
    }
    panic!("it was never kept awake");
}

#[test]
fn impossible_reclaim_changes_nothing() {
    type Case = (&'static str, fn(&Scene), &'static str);
    let cases: [Case; 4] = [
        ("content", |scene| fs::write(scene.path("out.log"), "x\n").unwrap(), "other content"),
        ("folder", |scene| fs::create_dir(scene.path("out.log")).unwrap(), "is not a regular file"),
        ("gone", |scene| fs::remove_file(scene.path("out.log.1")).unwrap(), "cannot open"),
        ("other", |scene| fs::rename(scene.path("out.log.1"), scene.path("out.log.2")).unwrap(), "cannot open"),
    ];
    for (name, change, reason) in cases {
        let mut scene = Scene::new(name, "a\n");
        let parrot = scene.writer();
        change(&scene);
        let names = scene.names();
        let failure = scene.reclaim(&mut |_| Ok(())).unwrap_err().to_string();
        assert!(failure.contains(reason), "{name}: {failure}");
        assert_eq!(scene.names(), names, "{name}");
        wait(|| !is_stopped(parrot.pid()));
    }
}

#[test]
fn file_with_another_writer_is_not_replaced() {
    let mut scene = Scene::new("rival", "a\n");
    let parrot = scene.writer();
    let rival = fs::OpenOptions::new().append(true).create(true).open(scene.path("out.log")).unwrap();
    let failure = scene.reclaim(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(failure, ReclaimFailure::Impossible(plan::ReclaimObstacle::TwoWriters)), "{failure}");
    wait(|| !is_stopped(parrot.pid()));
    drop(rival);
    scene.reclaim(&mut |_| Ok(())).unwrap();
    scene.is_done("a\n", "");
}

#[test]
fn log_without_a_writer_is_not_reclaimed() {
    let mut scene = Scene::new("nobody", "a\n");
    let failure = scene.reclaim(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(failure, ReclaimFailure::NotWritten), "{failure}");
    assert_eq!(scene.names(), ["out.log.1"]);
}

#[test]
fn taken_rotated_name_loses_no_lines() {
    let mut scene = Scene::new("taken", "a\nb");
    let _parrot = scene.writer();
    let taken = scene.path("out.log.1");
    let failure = scene
        .reclaim(&mut |record| {
            // The last moment before the file is renamed: afterwards only the daemon could take the
            // name.
            if matches!(record.stage, ReclaimStage::Cutting { .. }) {
                fs::rename(&taken, taken.with_extension("2"))?;
                fs::write(&taken, "other")?;
            }
            Ok(())
        })
        .err();
    // No line of the app is lost, in any case.
    let all: String = scene.names().iter().map(|name| scene.read(name)).collect();
    assert!(all.contains("a\n") && all.contains('b') && all.contains("other"), "{failure:?} {:?} {all:?}", scene.names());
}

#[test]
fn large_file_is_copied_while_it_grows() {
    let scene = Scene::new("grows", &"0123456789abcde\n".repeat(200_000));
    let order = scene.order();
    let mut copied = copy(&order, &Default::default()).unwrap();
    fs::OpenOptions::new().append(true).open(&order.source).unwrap().write_all(b"more\n").unwrap();
    copy_on(&copied.source, &copied.copy, &mut copied.length).unwrap();
    assert_eq!(fs::read(&order.copy).unwrap(), fs::read(&order.source).unwrap());
    assert!(open_source(&Rights::default(), scene.path("out.log.1").as_path(), (0, 0)).is_err(), "another file is not taken for it");
}

#[test]
fn no_copy_starts_while_the_daemon_exits() {
    let scene = Scene::new("ends", "a\n");
    assert!(copy(&scene.order(), &Arc::new(Mutex::new(true))).is_err());
    assert_eq!(scene.names(), ["out.log.1"]);
}

#[test]
fn links_to_missing_files_are_followed() {
    let folder = Folder::new("links");
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("b", path("a")).unwrap();
    std::os::unix::fs::symlink(path("c"), path("b")).unwrap();
    assert_eq!(follow_links(&path("a")), path("c"));
    std::os::unix::fs::symlink("round", path("round")).unwrap();
    follow_links(&path("round"));
}

#[test]
fn failed_copy_leaves_disk_space_for_the_writers() {
    ostler_testkit::needs_root!();
    let folder = Folder::new("room");
    let Some(disk) = ostler_testkit::Tmpfs::mount(folder.path(), 4 << 10) else { ostler_testkit::skip!("no file system can be mounted") };
    let (log, copy) = (disk.path().join("x.log"), disk.path().join("copy"));
    fs::write(&log, vec![b'x'; 2 << 20]).unwrap();
    let copy = fs::File::create_new(copy).unwrap();
    let source = fs::File::open(&log).unwrap();
    let mut length = 0;
    // Half of the disk is free, and must stay free.
    let error = copy_on(&source, &copy, &mut length).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    fs::File::options().append(true).open(&log).unwrap().write_all(&vec![b'x'; 240 << 10]).unwrap();
}
