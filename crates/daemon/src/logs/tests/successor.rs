//! Takeovers in every state that a dead daemon may leave, made by hand.

use super::super::record::{BatchPhase, Checkpoint, LineStart, Slot, TargetCheckpoint};
use super::*;

const INPUT: &str = "one\ntwo\nthree\n";
const BATCH: usize = 8;
const WRITTEN: &str = "D: one\nD: two\n";

/// Returns the state after the batch of the first two lines was recorded. `held` bytes of it are in
/// the holding pipe, and `written` bytes in the file.
fn killed_at(phase: BatchPhase, held: usize, written: usize) -> Rig {
    let mut rig = Rig::new("dead");
    rig.write(INPUT);
    let mut file = File::create(rig.path("out.log")).unwrap();
    file.write_all(b"before\n").unwrap();
    let key = super::super::open::identity(&file).unwrap().0;
    let mut checkpoint = Checkpoint { phase, count: BATCH as u32, wall_ms: 1, ..Checkpoint::default() };
    checkpoint.targets[0] = TargetCheckpoint { key, offset: 7, length: WRITTEN.len() as u32, lead: LineStart::Fresh };
    Slot::new(File::from(rig.record.try_clone().unwrap()), rig.slot).store(&checkpoint).unwrap();
    let moved = if phase == BatchPhase::Written { BATCH } else { held };
    super::super::pipes::hold(&rig.pipes[0], &rig.holding, moved).unwrap();
    let mut rest = [0; 64];
    if held < moved {
        rustix::io::read(&rig.holding, &mut rest[..moved - held]).unwrap();
    }
    file.write_all(&WRITTEN.as_bytes()[..written]).unwrap();
    rig
}

fn outcome(mut rig: Rig, format: Format) -> String {
    let handle = take_over(rig.config(format));
    rig.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
    assert_eq!(super::super::pipes::level(&rig.holding).unwrap(), 0);
    rig.text("out.log")
}

#[test]
fn each_line_is_written_once_wherever_the_daemon_died() {
    let expected = "before\nD: one\nD: two\nD: three\n";
    for held in 0..=BATCH {
        assert_eq!(outcome(killed_at(BatchPhase::Moving, held, 0), dated("D")), expected, "moving, {held} held");
        assert_eq!(outcome(killed_at(BatchPhase::Written, held, WRITTEN.len()), dated("D")), expected, "emptying, {held} held");
        assert_eq!(outcome(killed_at(BatchPhase::Copied, held, WRITTEN.len()), dated("D")), expected, "copied, {held} held");
    }
    for written in 0..=WRITTEN.len() {
        assert_eq!(outcome(killed_at(BatchPhase::Moving, BATCH, written), dated("D")), expected, "{written} written");
    }
}

/// Returns the outcome if daemon, keeper and standby were killed together: the content of the
/// holding pipe is lost.
fn outcome_without_holding_pipe(mut rig: Rig) -> String {
    rig.holding = holding_pipe().unwrap();
    let handle = take_over(Config { is_holding_lost: true, ..rig.config(dated("D")) });
    rig.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
    rig.text("out.log")
}

#[test]
fn lost_holding_pipe_loses_and_duplicates_no_line() {
    let expected = "before\nD: one\nD: two\nD: three\n";
    for written in 0..=WRITTEN.len() {
        assert_eq!(outcome_without_holding_pipe(killed_at(BatchPhase::Moving, 0, written)), expected, "{written} written");
    }
    let all = WRITTEN.len();
    assert_eq!(outcome_without_holding_pipe(killed_at(BatchPhase::Copied, 0, all)), expected, "still in the app's pipe");
    assert_eq!(outcome_without_holding_pipe(killed_at(BatchPhase::Copied, BATCH, all)), expected, "in the lost pipe");
    assert_eq!(outcome_without_holding_pipe(killed_at(BatchPhase::Written, BATCH, all)), expected, "being emptied");
}

#[test]
fn uncertain_line_is_duplicated_rather_than_lost() {
    // A user renamed the file after it was written.
    let rig = killed_at(BatchPhase::Moving, BATCH, WRITTEN.len());
    std::fs::rename(rig.path("out.log"), rig.path("old.log")).unwrap();
    assert_eq!(outcome(rig, dated("D")), "D: one\nD: two\nD: three\n");

    // Another program wrote at the place of our lines.
    let rig = killed_at(BatchPhase::Moving, BATCH, 0);
    File::options().append(true).open(rig.path("out.log")).unwrap().write_all(b"something else, and longer\n").unwrap();
    assert_eq!(outcome(rig, dated("D")), "before\nsomething else, and longer\nD: one\nD: two\nD: three\n");

    // The new daemon has another format.
    let rig = killed_at(BatchPhase::Moving, BATCH, 5);
    assert_eq!(outcome(rig, dated("longer")), "before\nD: on\nlonger: one\nlonger: two\nlonger: three\n");

    // The file was truncated.
    let rig = killed_at(BatchPhase::Moving, BATCH, WRITTEN.len());
    File::options().write(true).open(rig.path("out.log")).unwrap().set_len(0).unwrap();
    assert_eq!(outcome(rig, dated("D")), "D: one\nD: two\nD: three\n");

    // The record was lost while the holding pipe had content.
    let rig = killed_at(BatchPhase::Moving, BATCH, 0);
    Slot::new(File::from(rig.record.try_clone().unwrap()), rig.slot).store(&Checkpoint::default()).unwrap();
    assert_eq!(outcome(rig, dated("D")), "before\nD: one\nD: two\nD: three\n");
}

#[test]
fn foreign_slot_is_ignored() {
    let mut checkpoint = Checkpoint { phase: BatchPhase::Moving, count: 500, stream: 1, ..Checkpoint::default() };
    checkpoint.open = [true, true];
    let rig = |checkpoint: &Checkpoint| {
        let mut rig = Rig::new("slot");
        Slot::new(File::from(rig.record.try_clone().unwrap()), rig.slot).store(checkpoint).unwrap();
        rig.write("a\n");
        rig
    };
    let mut fresh = rig(&checkpoint);
    let handle = Pipeline::spawn(fresh.config(dated("D"))).unwrap();
    fresh.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
    assert_eq!((fresh.text("out.log"), fresh.text("error.log")), ("D: a\n".into(), String::new()));
    // The same, even if it is mistaken for our own.
    assert_eq!(outcome(rig(&checkpoint), dated("D")), "D: a\n");
}

#[test]
fn successor_continues_an_open_line() {
    let mut rig = Rig::new("open-line");
    let first = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("name? ");
    rig.wait_for_text("out.log", "D: name? ");
    // The first pipeline is practically dead: the pipe is empty, and the record notes the open
    // line.
    std::mem::forget(first);
    let checkpoint = || Slot::new(File::from(rig.record.try_clone().unwrap()), rig.slot).load().unwrap();
    until(|| checkpoint().open[0] && checkpoint().phase == BatchPhase::Idle, || format!("{:?}", checkpoint()));
    let saved = rig.record.try_clone().unwrap();
    let other = Rig::with(Folder::new("open-line-2"), Arc::new(saved), 0, OpenFiles::default());
    let mut successor = other;
    let config = Config { out: Some(rig.path("out.log")), ..successor.config(dated("D")) };
    let handle = take_over(config);
    successor.write("alice\n");
    successor.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
    assert_eq!(rig.text("out.log"), "D: name? alice\n");
    rig.end();
}
