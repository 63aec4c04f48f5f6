//! Reclaims over a played context. A step waits until the journal has it and no process is being
//! spawned. The caller gets the result.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{LogOutcome, Response};
use ostler_sys::ProcRef;
use ostler_sys::process::descriptors::is_stopped;

use super::Reclaim;
use crate::engine::{FeatureAnswer, FeatureRequest, Input, TestContext, reacts};
use crate::logs::reclaim::{FileKey, Folder, ReclaimRecord, ReclaimStage, Rotating, copy_name};
use crate::platform::rights::Rights;
use crate::state::store::Snapshot;

/// App that appends its input to its log.
struct Writer {
    child: Child,
    id: u32,
    out: PathBuf,
}

impl Writer {
    fn start(played: &mut TestContext, reclaim: &mut Reclaim) -> Self {
        let spec = AppSpec { name: "app".into(), cwd: "/".into(), script: "/bin/cat".into(), ..AppSpec::default() };
        let id = played.instance(spec);
        let out = PathBuf::from(played.ctx.state.slots.get(id).unwrap().live.files.out.clone().unwrap());
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let file = fs::File::options().append(true).create(true).open(&out).unwrap();
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
        played.start(reclaim, id, child.id().cast_signed());
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.durable.start_ticks = ProcRef::of(child.id().cast_signed()).unwrap().start_ticks;
        slot.durable.log_files = [None, Some(key(&out))];
        Self { child, id, out }
    }

    fn write(&mut self, text: &str, file: &Path) {
        let until = fs::metadata(file).unwrap().len() + text.len() as u64;
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        wait(|| fs::metadata(file).unwrap().len() == until);
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.out.with_file_name(name)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn key(path: &Path) -> FileKey {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

fn wait(is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < until, "waited in vain");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn playing() -> (TestContext, Reclaim) {
    (TestContext::new(&[Reclaim::NAME]), Reclaim::default())
}

/// Makes one turn after an event.
fn turn(played: &mut TestContext, reclaim: &mut Reclaim) {
    reclaim.on_turn(&mut played.ctx);
    played.pass(reclaim, 0);
    played.do_work(reclaim);
}

fn journal(played: &mut TestContext) -> Snapshot {
    Snapshot::read(&played.ctx.state.journal.flush().1.unwrap()).0
}

#[test]
fn renamed_log_is_reclaimed_and_the_client_is_answered() {
    let (mut played, mut reclaim) = playing();
    let mut writer = Writer::start(&mut played, &mut reclaim);
    writer.write("a\nb", &writer.out.clone());
    fs::rename(&writer.out, writer.beside("old.log")).unwrap();
    reclaim.reload(&mut played.ctx, Some((7, 1)));
    let copy = copy_name(&writer.beside("old.log")).unwrap();
    assert!(reclaim.copier.is_none() && !copy.exists(), "the journal does not have it yet");
    played.do_work(&mut reclaim);
    played.wait(&mut reclaim, |reclaim, _| !reclaim.ready.is_empty());
    // The next process of another instance may have the new file open already.
    let other = played.instance(AppSpec { name: "other".into(), script: "/bin/other".into(), ..AppSpec::default() });
    played.dispatch(&mut reclaim, other, Event::Start(Origin::Shutdown));
    turn(&mut played, &mut reclaim);
    assert!(!writer.out.exists() && played.ctx.outbox.replies.is_empty());
    played.spawned(&mut reclaim, other, 1);
    turn(&mut played, &mut reclaim);
    writer.write("c\n", &writer.out.clone());
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!((read(&writer.beside("old.log")), read(&writer.out)), ("a\n".to_owned(), "bc\n".to_owned()));
    assert!(journal(&mut played).reclaims.is_empty() && reclaim.records().is_empty() && !copy.exists());
    let replies: Vec<_> = played.ctx.outbox.replies.drain(..).collect();
    let [(7, 1, Response::LogsReloaded(logs))] = &replies[..] else { panic!("{replies:?}") };
    assert!(matches!(&logs[..], [log] if matches!(log.outcome, LogOutcome::Reclaimed { bytes: 2, .. })), "{logs:?}");
}

#[test]
fn process_stopped_by_a_killed_daemon_is_resumed_first() {
    let (mut played, mut reclaim) = playing();
    let mut writer = Writer::start(&mut played, &mut reclaim);
    let process = ProcRef::of(writer.child.id().cast_signed()).unwrap();
    fs::rename(&writer.out, writer.beside("old.log")).unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let record = ReclaimRecord {
        id: 3,
        path: text(writer.out.clone()),
        target: text(writer.out.clone()),
        rotated: text(writer.beside("old.log")),
        copy: text(copy_name(&writer.beside("old.log")).unwrap()),
        file: key(&writer.beside("old.log")),
        stage: ReclaimStage::Freezing { stopped: vec![(process.pid, process.start_ticks)] },
        stays: false,
        emptied: false,
        rights: Rights::default(),
        times: None,
    };
    process.signal(19).unwrap();
    wait(|| is_stopped(process.pid));
    let mut snapshot = Snapshot { reclaims: [(3, record)].into(), ..Snapshot::default() };
    reclaim.restore(&mut snapshot);
    wait(|| !is_stopped(process.pid));
    assert!(snapshot.reclaims.is_empty());
    // The reclaim was undone, and is then done under another number.
    reclaim.on_boot(&mut played.ctx);
    assert_eq!(journal(&mut played).reclaims.keys().copied().collect::<Vec<_>>(), [4]);
    played.do_work(&mut reclaim);
    played.wait(&mut reclaim, |reclaim, _| !reclaim.ready.is_empty());
    turn(&mut played, &mut reclaim);
    writer.write("x\n", &writer.out.clone());
}

#[test]
fn rotations_run_one_at_a_time_and_are_answered() {
    let (mut played, mut reclaim) = playing();
    let mut writer = Writer::start(&mut played, &mut reclaim);
    writer.write("a\n", &writer.out.clone());
    let order = || {
        let (file, rights) = (key(&writer.out), Rights::default());
        let folder = Folder::with(&writer.out, file, &rights).unwrap();
        let path = writer.out.to_str().unwrap().to_owned();
        FeatureRequest::Rotate(Box::new(Rotating { path, target: writer.out.clone(), file, rotated: "old.log".into(), rights, folder }))
    };
    assert!(reclaim.on_request(&mut played.ctx, order()).is_none());
    assert!(reclaim.on_request(&mut played.ctx, order()).is_none());
    assert_eq!(reclaim.records().len(), 1);
    played.do_work(&mut reclaim);
    played.wait(&mut reclaim, |reclaim, _| !reclaim.ready.is_empty());
    played.ctx.state.slots.get_mut(writer.id).unwrap().durable.log_start = (0, 2);
    turn(&mut played, &mut reclaim);
    let answers = played.queued();
    let [Input::Answer(FeatureAnswer::Rotated { result: Ok(rotated), .. })] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((fs::read_to_string(rotated).unwrap(), fs::metadata(&writer.out).unwrap().len()), ("a\n".to_owned(), 0));
    assert_eq!(played.ctx.state.slots.get(writer.id).unwrap().durable.log_start, (0, 0), "its own lines begin earlier now");
    assert!(played.ctx.state.log_files.moving.is_empty());
}

reacts!(Reclaim: on_timer, on_effect, on_client_request, on_request, on_ready);
