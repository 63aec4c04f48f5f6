//! Log writers over a played context: which outputs a process gets, and where its lines are when
//! its exit is reported.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{Event, Origin, Recovered, Transition};

use super::LogWriters;
use crate::engine::{SpawnExtras, TestContext, reacts};
use crate::logs::{Outputs, end_name};
use crate::state::store::Snapshot;

/// Returns an instance that writes its log itself, or (with times) through the daemon; and its log.
fn instance(through_us: bool) -> (TestContext, u32, PathBuf) {
    let mut spec = AppSpec { name: "app".into(), cwd: "/".into(), script: "/bin/app".into(), ..AppSpec::default() };
    if through_us {
        spec.logs.date_format = Some("[at]".into());
    }
    let mut played = TestContext::new(&[LogWriters::NAME]);
    let id = played.instance(spec);
    let out = PathBuf::from(played.ctx.state.slots.get(id).unwrap().live.files.out.clone().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    (played, id, out)
}

fn prepared(played: &mut TestContext, writers: &mut LogWriters, id: u32) -> Outputs {
    let mut extras = SpawnExtras::default();
    writers.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
    extras.outputs.unwrap()
}

/// Waits for the contents of the log. On a busy machine, the daemon does not wait for its writer.
#[track_caller]
fn wait_for_log(played: &mut TestContext, writers: &mut LogWriters, log: &Path, contents: &str) {
    played.wait(writers, |_, _| fs::read_to_string(log).unwrap() == contents);
}

/// Returns the snapshot that the next daemon would read.
fn journal(played: &mut TestContext) -> Snapshot {
    Snapshot::read(&played.ctx.state.journal.flush().1.unwrap()).0
}

#[test]
fn app_without_a_log_writer_gets_the_file_itself() {
    let (mut played, id, out) = instance(false);
    let mut writers = LogWriters::default();
    let outputs = prepared(&mut played, &mut writers, id);
    assert!(outputs.files.iter().all(Option::is_some), "{outputs:?}");
    File::from(outputs.out).write_all(b"x").unwrap();
    assert_eq!(fs::read_to_string(&out).unwrap(), "x");
    // There is no thread, and no descriptor that could wake the daemon.
    assert!(
        played.ctx.state.slots.get(id).unwrap().live.piped.is_none() && writers.waker.is_none() && writers.held(&played.ctx).is_empty()
    );
}

#[test]
fn log_writer_outlives_the_process_and_completes_its_last_line() {
    let (mut played, id, out) = instance(true);
    let mut writers = LogWriters::default();
    let outputs = prepared(&mut played, &mut writers, id);
    assert_eq!(outputs.files, [None; 2]);
    let place = played.ctx.state.slots.get(id).unwrap().live.piped.as_ref().unwrap().place;
    File::from(outputs.out).write_all(b"one\ntorn").unwrap();
    writers.on_process_gone(&mut played.ctx, id, 1);
    wait_for_log(&mut played, &mut writers, &out, "at: one\nat: torn\n");
    let outputs = prepared(&mut played, &mut writers, id);
    assert_eq!(outputs.sizes.1, 17, "where its own lines begin");
    assert_eq!(played.ctx.state.slots.get(id).unwrap().live.piped.as_ref().unwrap().place, place, "the same pipes, so lines stay in order");
    // A command beside the process writes there, too.
    let mut extras = SpawnExtras::default();
    writers.on_prepare_command(&mut played.ctx, id, &mut extras).unwrap();
    File::from(extras.outputs.unwrap().out).write_all(b"beside\n").unwrap();
    played.wait(&mut writers, |_, _| fs::read_to_string(&out).unwrap().ends_with("at: beside\n"));
}

/// The keeper died with the process. The end is therefore discovered in another way, or only before
/// the next start.
#[test]
fn open_line_is_completed_however_the_exit_is_found() {
    let (mut played, id, out) = instance(true);
    let mut writers = LogWriters::default();
    let outputs = prepared(&mut played, &mut writers, id);
    File::from(outputs.out).write_all(b"torn").unwrap();
    played.dispatch(&mut writers, id, Event::Recovered(Recovered::Nothing));
    wait_for_log(&mut played, &mut writers, &out, "at: torn\n");
    let outputs = prepared(&mut played, &mut writers, id);
    File::from(outputs.out).write_all(b"again").unwrap();
    drop(prepared(&mut played, &mut writers, id));
    wait_for_log(&mut played, &mut writers, &out, "at: torn\nat: again\n");
}

#[test]
fn new_keeper_gets_the_pipes_and_the_notes() {
    let (mut played, id, _) = instance(true);
    let mut writers = LogWriters::default();
    drop(prepared(&mut played, &mut writers, id));
    let place = played.ctx.state.slots.get(id).unwrap().live.piped.as_ref().unwrap().place;
    let names: Vec<String> = writers.held(&played.ctx).into_iter().map(|(name, _)| name).collect();
    let ends = (0..5).map(|end| end_name(id, place, end));
    assert_eq!(names, [super::NOTES.to_owned()].into_iter().chain(ends).collect::<Vec<String>>());
}

#[test]
fn remaining_pipe_data_is_journaled_with_the_deletion() {
    let (mut played, id, out) = instance(true);
    let mut writers = LogWriters::default();
    let outputs = prepared(&mut played, &mut writers, id);
    let place = played.ctx.state.slots.get(id).unwrap().live.piped.as_ref().unwrap().place;
    let mut writer = File::from(outputs.out);
    drop(outputs.error);
    played.dispatch(&mut writers, id, Event::Delete(Origin::Shutdown));
    assert!(journal(&mut played).log_tails.contains_key(&(id, place)), "in the write that has its end");
    writers.on_transition(&mut played.ctx, id, &Transition::Deleted);
    assert_eq!(writers.records().len(), 1, "until it is written");
    writer.write_all(b"rest\n").unwrap();
    drop(writer);
    played.drop_keeper_messages();
    played.wait(&mut writers, |writers, _| writers.records().is_empty());
    wait_for_log(&mut played, &mut writers, &out, "at: rest\n");
    assert!(writers.held(&played.ctx).iter().all(|(name, _)| name == super::NOTES));
}

/// Returns the writers of the next daemon with the pipes of the former one. The notes, without which
/// no writer can be taken over, are returned separately.
fn next_daemon(played: &TestContext, former: &LogWriters) -> (LogWriters, OwnedFd) {
    let mut writers = LogWriters::default();
    let mut notes = None;
    for (name, fd) in former.held(&played.ctx) {
        let fd = fd.try_clone_to_owned().unwrap();
        match name == super::NOTES {
            true => notes = Some(fd),
            false => assert!(writers.adopt_fd_of(&name, fd).is_none()),
        }
    }
    (writers, notes.unwrap())
}

/// Threads, descriptors or memory were short when the next daemon started. The app's lines must
/// not remain in the pipe.
#[test]
fn writer_that_cannot_be_taken_over_is_tried_again() {
    let (mut played, id, out) = instance(true);
    let mut former = LogWriters::default();
    let mut writer = File::from(prepared(&mut played, &mut former, id).out);
    let (mut writers, notes) = next_daemon(&played, &former);
    let piped = played.ctx.state.slots.get_mut(id).unwrap().live.piped.take().unwrap();
    let names: Vec<String> = piped.held(id).map(|(name, _)| name).collect();
    let (handle, ..) = piped.into_parts();
    handle.give_up(std::time::Duration::ZERO);
    handle.join();
    writers.on_boot(&mut played.ctx);
    assert!(played.ctx.state.slots.get(id).unwrap().live.piped.is_none());
    assert_eq!(played.ctx.outbox.timers.get(LogWriters::RETRY), Some(played.ctx.now.mono_ms + 1000));
    let held: Vec<String> = writers.held(&played.ctx).into_iter().map(|(name, _)| name).collect();
    assert_eq!(held, names, "a new keeper would get the pipes, too");
    writer.write_all(b"kept\n").unwrap();
    writers.notes = Some(notes);
    writers.on_timer(&mut played.ctx, 0);
    wait_for_log(&mut played, &mut writers, &out, "at: kept\n");
    writer.write_all(b"later\n").unwrap();
    wait_for_log(&mut played, &mut writers, &out, "at: kept\nat: later\n");
    assert!(writers.found.is_empty());
}

#[test]
fn log_tail_without_held_pipes_is_dropped() {
    let (mut played, id, _) = instance(true);
    let mut former = LogWriters::default();
    drop(prepared(&mut played, &mut former, id));
    played.dispatch(&mut former, id, Event::Delete(Origin::Shutdown));
    let mut snapshot = journal(&mut played);
    let mut writers = LogWriters::default();
    writers.restore(&mut snapshot);
    assert_eq!(writers.records().len(), 1);
    writers.on_boot(&mut played.ctx);
    assert!(writers.records().is_empty() && journal(&mut played).log_tails.is_empty());
}

reacts!(LogWriters: on_step, on_transition, on_ready);
