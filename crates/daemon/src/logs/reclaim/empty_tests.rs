//! Tests of the removal of copied bytes from large files while their writers continue.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex};

use ostler_sys::process::ProcessEntry;
use ostler_sys::process::descriptors::is_stopped;
use ostler_sys::{ProcRef, ProcTable};
use ostler_testkit::{Tmpfs, needs_root, skip};

use super::copier::copy;
use super::empty::{MUCH, empty};
use super::tests::{Scene, at_its_path, noted_until_killed, wait, writer_at_its_path};
use super::*;

const MB: usize = 1 << 20;

/// Returns numbered lines.
fn text(bytes: usize) -> String {
    (0..bytes / 16).map(|number| format!("{number:015}\n")).collect()
}

/// Returns true if the file system supports holes.
fn has_holes(scene: &Scene) -> bool {
    let file = fs::File::create(scene.path("holes")).unwrap();
    file.set_len(1 << 20).unwrap();
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    let done = rustix::fs::fallocate(&file, flags, 0, 1 << 16);
    fs::remove_file(scene.path("holes")).unwrap();
    done.is_ok()
}

/// Returns the copy after the removal, which is recorded first, as the daemon does it.
fn emptied(scene: &mut Scene) -> Copied {
    let copied = copy(&scene.order(), &Default::default()).unwrap();
    scene.record.emptied = true;
    empty(copied, &Default::default()).unwrap()
}

fn freed(scene: &Scene) -> u64 {
    let meta = fs::metadata(scene.record.source()).unwrap();
    meta.len().saturating_sub(meta.blocks() * 512)
}

fn finish(
    scene: &mut Scene,
    mut copied: Copied,
    note: &mut dyn FnMut(&ReclaimRecord) -> std::io::Result<()>,
) -> Result<ReclaimResult, ReclaimFailure> {
    let none = |_: &ProcTable| Vec::<ProcessEntry>::new();
    let result = reclaim(&mut scene.record, &mut copied, &Writers { trees: &none, never: [ProcRef::me().pid, 0] }, note);
    if result.is_err() && scene.record.emptied {
        super::cut::give_up(&scene.record, &copied.source)?;
    }
    result
}

#[test]
fn work_while_writers_are_stopped_is_independent_of_size() {
    for megabytes in [12, 48] {
        let content = text(megabytes * MB);
        let mut scene = at_its_path("large", &(content.clone() + "open"));
        if !has_holes(&scene) {
            skip!("the file system has no holes");
        }
        let mut parrot = writer_at_its_path(&scene);
        let copied = emptied(&mut scene);
        let done = finish(&mut scene, copied, &mut |_| Ok(())).unwrap();
        assert_eq!(done.work.copied, 0);
        assert!(done.work.freed <= MUCH, "{:?} of {megabytes} MB", done.work);
        scene.is_done(&content, "open");
        parrot.write("c\n", &scene.path("out.log"));
        assert_eq!(scene.read("out.log"), "openc\n");
    }
}

#[test]
fn lines_written_while_emptying_are_copied() {
    let content = text(12 * MB);
    let mut scene = at_its_path("large-grows", &content);
    let mut parrot = writer_at_its_path(&scene);
    let copied = emptied(&mut scene);
    parrot.write("a\nb", &scene.path("out.log"));
    finish(&mut scene, copied, &mut |_| Ok(())).unwrap();
    scene.is_done(&(content + "a\n"), "b");
}

#[test]
fn kill_while_emptying_or_restoring_loses_nothing() {
    let content = text(12 * MB);
    let mut scene = at_its_path("large-killed", &content);
    let mut parrot = writer_at_its_path(&scene);
    drop(emptied(&mut scene));
    assert!(!has_holes(&scene) || freed(&scene) > 4 << 20);
    parrot.write("a\n", &scene.path("out.log"));
    // A part was put back when that daemon was killed, too.
    let file = fs::OpenOptions::new().write(true).open(scene.path("out.log")).unwrap();
    file.write_all_at(&content.as_bytes()[4 * MB..5 * MB], 4 << 20).unwrap();
    for stage in [ReclaimStage::Copying, ReclaimStage::Freezing { stopped: Vec::new() }] {
        scene.record.stage = stage;
        assert!(recover(&scene.record).unwrap());
        assert_eq!(scene.names(), ["out.log"]);
        assert!(scene.read("out.log") == content.clone() + "a\n");
        // Everything was put back, so the next attempt starts from the beginning.
        drop(emptied(&mut scene));
    }
}

#[test]
fn large_rotation_survives_a_kill_at_any_note() {
    let content = text(9 * MB);
    for after in 0..4 {
        let mut scene = at_its_path("large-notes", &(content.clone() + "b"));
        let mut parrot = writer_at_its_path(&scene);
        let copied = emptied(&mut scene);
        let noted = noted_until_killed(after, scene.record.clone(), |note| drop(finish(&mut scene, copied, note)));
        let undone = recover(&noted).unwrap();
        wait(|| !is_stopped(parrot.pid()));
        if undone {
            assert_eq!(scene.names(), ["out.log"]);
            assert!(scene.read("out.log") == content.clone() + "b");
            (scene.record.stage, scene.record.emptied) = (ReclaimStage::Copying, false);
            let copied = emptied(&mut scene);
            finish(&mut scene, copied, &mut |_| Ok(())).unwrap();
        }
        scene.is_done(&content, "b");
        parrot.write("c\n", &scene.path("out.log"));
    }
}

#[test]
fn failed_rotation_restores_the_emptied_content() {
    let content = text(9 * MB);
    let mut scene = at_its_path("large-moved", &content);
    let copied = emptied(&mut scene);
    fs::rename(scene.path("out.log"), scene.path("elsewhere")).unwrap();
    let failure = finish(&mut scene, copied, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(failure, ReclaimFailure::Moved), "{failure}");
    assert_eq!(scene.names(), ["elsewhere"]);
    assert!(scene.read("elsewhere") == content);
}

#[test]
fn stopping_the_writer_is_retried_a_bounded_number_of_times() {
    let mut scene = at_its_path("large-later", &text(9 * MB));
    let mut copied = emptied(&mut scene);
    let tries = std::iter::repeat_with(|| copied.may_try_again()).take(100).take_while(|again| *again).count();
    assert!((1..10).contains(&tries), "{tries}");
    // If the file was truncated, no further attempt is made.
    copied.tries = 0;
    copied.source.set_len(0).unwrap();
    assert!(!copied.may_try_again());
}

#[test]
fn file_truncated_by_the_user_stays_truncated() {
    let mut scene = at_its_path("large-flush", &text(9 * MB));
    let mut parrot = writer_at_its_path(&scene);
    drop(emptied(&mut scene));
    fs::File::options().write(true).truncate(true).open(scene.path("out.log")).unwrap();
    parrot.write("new\n", &scene.path("out.log"));
    assert!(recover(&scene.record).unwrap());
    assert_eq!((scene.names(), scene.read("out.log")), (vec!["out.log".to_owned()], "new\n".to_owned()));
}

#[test]
fn nothing_is_emptied_while_the_daemon_exits() {
    let scene = at_its_path("large-ends", &text(9 * MB));
    let copied = copy(&scene.order(), &Default::default()).unwrap();
    let failure = empty(copied, &Arc::new(Mutex::new(true))).unwrap_err();
    assert!(matches!(failure, ReclaimFailure::NotWritten), "{failure}");
    assert_eq!(freed(&scene), 0);
}

#[test]
fn rotated_file_is_kept_if_a_full_disk_prevents_restoring() {
    needs_root!();
    let content = text(9 * MB);
    let mut scene = at_its_path("large-full", "");
    let Some(disk) = Tmpfs::mount(&scene.path("disk"), 24 << 10) else { skip!("no file system can be mounted") };
    for path in [&mut scene.record.target, &mut scene.record.rotated, &mut scene.record.copy] {
        let name = path.rsplit('/').next().unwrap().to_owned();
        *path = disk.path().join(name).to_str().unwrap().to_owned();
    }
    fs::write(&scene.record.target, &content).unwrap();
    let meta = fs::metadata(&scene.record.target).unwrap();
    scene.record.file = (meta.dev(), meta.ino());
    drop(emptied(&mut scene));
    disk.resize(14 << 10);
    let failure = recover(&scene.record).unwrap_err();
    assert!(matches!(&failure, ReclaimFailure::NotPutBack { rotated, .. } if *rotated == scene.record.rotated), "{failure}");
    // No byte is missing, and none exists twice.
    let (old, rest) = (fs::read(&scene.record.rotated).unwrap(), fs::read(&scene.record.target).unwrap());
    assert_eq!(rest.len(), content.len());
    assert!(old.iter().chain(&rest[old.len()..]).eq(content.as_bytes()));
}

#[test]
fn leftover_copy_of_a_lost_journal_is_kept() {
    let mut scene = at_its_path("large-lost", "a\n");
    fs::write(&scene.record.copy, "before the power cut\n").unwrap();
    let copied = copy(&scene.order(), &Default::default()).unwrap();
    finish(&mut scene, copied, &mut |_| Ok(())).unwrap();
    assert_eq!(scene.names(), ["out.log", "out.log-1.1", "out.log.1"]);
    assert_eq!((scene.read("out.log-1.1"), scene.read("out.log.1")), ("before the power cut\n".into(), "a\n".into()));
}
