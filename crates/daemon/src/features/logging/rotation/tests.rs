//! Rotation over a played context: requested rotations, the timer, and reactions to answers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::logs::rotate::RotateSpec;

use super::Rotation;
use crate::engine::{FeatureAnswer, FeatureRequest, Input, TestContext, reacts};
use crate::logs::reclaim::{FileKey, Rotating};

/// Time of the first check of a folder after a write.
const SOON_MS: u64 = 1000;
const MAX_BYTES: u64 = 1000;

/// Returns an app that writes its own log, or (with times) through the daemon.
fn spec(time: bool) -> AppSpec {
    let mut spec = AppSpec { name: "app".into(), cwd: "/".into(), script: "/bin/app".into(), ..AppSpec::default() };
    spec.log_rotate = RotateSpec { max_size: Some(MAX_BYTES), compress: Some(true), ..RotateSpec::default() }.into();
    if time {
        spec.logs.date_format = Some("YYYY".into());
    }
    spec
}

fn key(path: &Path) -> FileKey {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

/// Returns an instance whose output is this file, which the feature checks.
fn writing(through_us: bool) -> (TestContext, Rotation, PathBuf) {
    let (mut played, mut rotation) = (TestContext::new(&[Rotation::NAME]), Rotation::default());
    let id = played.instance(spec(through_us));
    let slot = played.ctx.state.slots.get_mut(id).unwrap();
    let out = PathBuf::from(slot.live.files.out.clone().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::write(&out, "").unwrap();
    if !through_us {
        slot.durable.log_files = [None, Some(key(&out))];
    }
    rotation.on_spawn(&mut played.ctx, id);
    // This is the one check of a new folder.
    played.pass(&mut rotation, SOON_MS);
    (played, rotation, out)
}

fn write(played: &mut TestContext, rotation: &mut Rotation, path: &Path, bytes: u64) {
    fs::write(path, "x".repeat(bytes as usize)).unwrap();
    played.wait(rotation, |_, ctx| ctx.outbox.timers.next_ms().is_some());
}

fn requests(played: &mut TestContext) -> Vec<Rotating> {
    let rotating = |input| match input {
        Input::Request(FeatureRequest::Rotate(log)) => *log,
        other => panic!("{other:?}"),
    };
    played.queued().into_iter().map(rotating).collect()
}

#[test]
fn oversized_log_is_rotated_after_a_write() {
    let (mut played, mut rotation, out) = writing(false);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "who does not write costs nothing");
    write(&mut played, &mut rotation, &out, MAX_BYTES - 1);
    played.pass(&mut rotation, SOON_MS);
    assert!(requests(&mut played).is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "until the next write");
    write(&mut played, &mut rotation, &out, MAX_BYTES);
    played.pass(&mut rotation, 60_000);
    let requested = requests(&mut played);
    let [log] = &requested[..] else { panic!("{requested:?}") };
    assert_eq!((&log.target, log.file), (&out.canonicalize().unwrap(), key(&out)));
    assert!(log.rotated.starts_with("app-out") && log.rotated.contains("__"), "{}", log.rotated);
}

#[test]
fn log_oversized_before_the_watch_is_rotated() {
    let (mut played, mut rotation) = (TestContext::new(&[Rotation::NAME]), Rotation::default());
    let id = played.instance(spec(false));
    let slot = played.ctx.state.slots.get_mut(id).unwrap();
    let out = PathBuf::from(slot.live.files.out.clone().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::write(&out, "x".repeat(MAX_BYTES as usize)).unwrap();
    slot.durable.log_files = [None, Some(key(&out))];
    rotation.on_spawn(&mut played.ctx, id);
    played.pass(&mut rotation, SOON_MS);
    assert_eq!(requests(&mut played).len(), 1);
}

#[test]
fn running_rotation_is_not_requested_again() {
    let (mut played, mut rotation, out) = writing(false);
    played.ctx.state.log_files.moving.insert(key(&out));
    write(&mut played, &mut rotation, &out, MAX_BYTES);
    played.pass(&mut rotation, SOON_MS);
    assert!(requests(&mut played).is_empty());
}

#[test]
fn rotation_failure_is_reported_once() {
    let (mut played, mut rotation, out) = writing(false);
    let path = out.to_str().unwrap().to_owned();
    for _ in 0..2 {
        let answer = FeatureAnswer::Rotated { path: path.clone(), target: out.clone(), file: key(&out), result: Err("no luck".into()) };
        rotation.on_answer(&mut played.ctx, &answer);
    }
    assert_eq!(played.log().matches("cannot be rotated: no luck").count(), 1, "{}", played.log());
}

/// The compressing thread wakes the daemon through its own descriptor, and exits when it has no
/// work.
#[test]
fn rotated_file_is_compressed_in_a_thread() {
    let (mut played, mut rotation, out) = writing(false);
    write(&mut played, &mut rotation, &out, MAX_BYTES);
    played.pass(&mut rotation, SOON_MS);
    let log = requests(&mut played).remove(0);
    let rotated = out.with_file_name(&log.rotated);
    fs::copy(&out, &rotated).unwrap();
    let result = Ok(rotated.to_str().unwrap().to_owned());
    rotation.on_answer(&mut played.ctx, &FeatureAnswer::Rotated { path: log.path, target: log.target, file: log.file, result });
    assert!(played.log().contains(&format!("\"{}\" has been created", rotated.display())));
    rotation.on_settled(&mut played.ctx);
    assert!(rotation.care.is_some());
    played.wait(&mut rotation, |rotation, _| rotation.care.is_none());
    let compressed = out.with_file_name(format!("{}.gz", log.rotated));
    assert!(compressed.exists() && !rotated.exists());
}

#[test]
fn log_of_a_log_writer_is_renamed_immediately() {
    let (mut played, mut rotation, out) = writing(true);
    write(&mut played, &mut rotation, &out, 2 * MAX_BYTES);
    played.pass(&mut rotation, SOON_MS);
    assert!(played.queued().is_empty());
    assert_eq!(fs::metadata(&out).unwrap().len(), 0, "a new file is at its path");
    assert!(played.log().contains("has been created"), "{}", played.log());
}

#[test]
fn rotation_of_a_killed_daemon_is_repeated_immediately() {
    let (mut played, _, out) = writing(false);
    fs::write(&out, "x".repeat(MAX_BYTES as usize)).unwrap();
    let mut rotation = Rotation::default();
    rotation.on_boot(&mut played.ctx);
    rotation.on_answer(&mut played.ctx, &FeatureAnswer::RotationUndone);
    played.pass(&mut rotation, 0);
    assert_eq!(requests(&mut played).len(), 1);
}

/// Lines of this turn count, too, and go to the old file.
#[test]
fn daemon_log_is_rotated_by_the_home_settings() {
    let (mut played, mut rotation) = (TestContext::new(&[Rotation::NAME]), Rotation::default());
    fs::write(played.ctx.io.settings.conf.path(), format!(r#"{{"log_rotate": {{"max_size": "{MAX_BYTES}"}}}}"#)).unwrap();
    rotation.on_settings(&mut played.ctx);
    played.ctx.io.log.line(format_args!("{}", "x".repeat(MAX_BYTES as usize / 2)));
    rotation.on_settled(&mut played.ctx);
    assert!(!played.log().contains("has been created"));
    played.ctx.io.log.line(format_args!("{}", "y".repeat(MAX_BYTES as usize)));
    rotation.on_settled(&mut played.ctx);
    let log = played.log();
    assert!(log.contains("has been created") && !log.contains("yyy"), "{log}");
}

reacts!(Rotation: on_settings, on_timer, on_ready, on_answer);
