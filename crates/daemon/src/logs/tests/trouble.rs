//! Renamed files, full disks, and orphans that hold pipes.

use super::*;

#[test]
fn reopening_continues_in_a_new_file() {
    let mut rig = Rig::new("reopen");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("old\n");
    rig.wait_for_text("out.log", "D: old\n");
    std::fs::rename(rig.path("out.log"), rig.path("out.log.1")).unwrap();
    handle.reopen();
    until(|| rig.path("out.log").exists(), || "not reopened".into());
    rig.write("new\n");
    rig.end();
    handle.join();
    assert_eq!((rig.text("out.log.1"), rig.text("out.log")), ("D: old\n".into(), "D: new\n".into()));
}

#[test]
fn log_that_cannot_be_reopened_stays_open() {
    let mut rig = Rig::new("reopen-fails");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    std::fs::rename(rig.path("out.log"), rig.path("moved")).unwrap();
    std::fs::create_dir(rig.path("out.log")).unwrap();
    handle.reopen();
    let WriterReport::NotReopened { reason } = rig.wait_for(|report| matches!(report, WriterReport::NotReopened { .. })) else {
        unreachable!()
    };
    assert!(reason.contains("out.log") && reason.contains("directory"), "{reason}");
    rig.write("still\n");
    rig.end();
    handle.join();
    assert_eq!(rig.text("moved"), "D: still\n");
}

#[test]
fn truncated_file_continues_from_its_start() {
    let mut rig = Rig::new("flush");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("old\nopen");
    rig.wait_for_text("out.log", "D: old\nD: open");
    File::options().write(true).open(rig.path("out.log")).unwrap().set_len(0).unwrap();
    rig.write(" end\nnew\n");
    rig.end();
    handle.join();
    assert_eq!(rig.text("out.log"), "D:  end\nD: new\n");
}

#[test]
fn orphan_does_not_delay_the_finish() {
    let mut rig = Rig::new("orphan");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("a\nb");
    handle.finish(Duration::ZERO);
    assert_eq!(handle.join(), PipelineEnd::TimeUp);
    assert_eq!(rig.text("out.log"), "D: a\nD: b\n");
    // The stream itself is still available for a successor.
    let next = take_over(rig.config(dated("D")));
    rig.write("c\n");
    rig.end();
    assert_eq!(next.join(), PipelineEnd::Drained);
    assert_eq!(rig.text("out.log"), "D: a\nD: b\nD: c\n");
}

#[test]
fn next_process_does_not_continue_the_last_line() {
    for shown in [false, true] {
        let mut rig = Rig::new("next");
        let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
        rig.write("fatal");
        if shown {
            rig.wait_for_text("out.log", "D: fatal");
        }
        assert!(handle.end_lines(LONG));
        assert_eq!(rig.text("out.log"), "D: fatal\n", "it is there when the call returns");
        rig.write("started\n");
        rig.end();
        handle.join();
        assert_eq!(rig.text("out.log"), "D: fatal\nD: started\n");
    }
}

#[test]
fn missing_folder_is_created_and_bad_path_is_an_error() {
    let rig = Rig::new("paths");
    let config = Config { out: Some(rig.path("deep/er/out.log")), ..rig.config(Format::Plain) };
    assert!(Pipeline::prepare(config).is_ok() && rig.path("deep/er/out.log").exists());
    let config = Config { error: Some(rig.folder.path().to_owned()), ..rig.config(Format::Plain) };
    assert!(matches!(Pipeline::prepare(config), Err(PipelineError::Open(_))));
}

#[test]
fn null_paths_discard_output() {
    let mut rig = Rig::new("nowhere");
    let config = Config { out: Some("/dev/null".into()), error: Some("NULL".into()), ..rig.config(dated("D")) };
    let handle = Pipeline::spawn(config).unwrap();
    rig.write("x\n".repeat(1_000_000));
    rig.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
}

#[test]
fn gone_reader_does_not_block_the_app() {
    let mut rig = Rig::new("gone");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let runtime = RuntimeStreams { stdout: Some(Arc::new(write)), ..rig.config(Format::Plain).runtime };
    let config = Config { out: Some("/dev/stdout".into()), runtime, ..rig.config(Format::Plain) };
    let handle = Pipeline::spawn(config).unwrap();
    drop(read);
    rig.write("x\n");
    rig.wait_for(|report| matches!(report, WriterReport::NoReader { .. }));
    rig.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
}

/// File system of 256 KiB. The test is skipped if mounting is not permitted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let status = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&path).status();
        status.is_ok_and(|status| status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn full_disk_loses_no_lines() {
    let mut rig = Rig::new("full");
    let Some(disk) = SmallDisk::mount(rig.path("disk")) else { return eprintln!("skipped: mounting is not permitted") };
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 200 << 10]).unwrap();
    let log = disk.0.join("out.log");
    let mut out = rig.out.take().unwrap();
    rig.error = None;
    let config = || Config { out: Some(log.clone()), ..rig.config(dated("D")) };
    let handle = Pipeline::spawn(config()).unwrap();
    let text: String = (0..8000).map(|n| format!("line {n}\n")).collect();
    let sent = text.clone();
    let writer = std::thread::spawn(move || out.write_all(sent.as_bytes()).unwrap());
    let stuck = rig.wait_for(|report| matches!(report, WriterReport::Stuck { .. }));
    assert_eq!(stuck, WriterReport::Stuck { path: log.clone(), errno: rustix::io::Errno::NOSPC.raw_os_error() });
    // The daemon gives up for now. A successor retries in vain and gives up, too. A third one finds
    // room.
    handle.give_up(Duration::ZERO);
    assert_eq!(handle.join(), PipelineEnd::Unwritten);
    let second = take_over(config());
    rig.wait_for(|report| matches!(report, WriterReport::Stuck { .. }));
    second.give_up(Duration::ZERO);
    assert_eq!(second.join(), PipelineEnd::Unwritten);
    std::fs::remove_file(&filler).unwrap();
    let third = take_over(config());
    assert_eq!(third.join(), PipelineEnd::Drained);
    writer.join().unwrap();
    let expected: String = text.lines().map(|line| format!("D: {line}\n")).collect();
    assert!(std::fs::read_to_string(&log).unwrap() == expected);
}

#[test]
fn writing_resumes_when_the_disk_has_room() {
    let mut rig = Rig::new("room");
    let Some(disk) = SmallDisk::mount(rig.path("disk")) else { return eprintln!("skipped: mounting is not permitted") };
    let filler = disk.0.join("filler");
    drop(std::fs::write(&filler, vec![0; 300 << 10]));
    let log = disk.0.join("out.log");
    let handle = Pipeline::spawn(Config { out: Some(log.clone()), ..rig.config(dated("D")) }).unwrap();
    rig.write("a line\n");
    rig.wait_for(|report| matches!(report, WriterReport::Stuck { .. }));
    assert!(!handle.end_lines(Duration::from_millis(1)), "nobody waits for a full disk");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(rig.wait_for(|report| matches!(report, WriterReport::Resumed { .. })), WriterReport::Resumed { path: log.clone() });
    rig.end();
    handle.join();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "D: a line\n");
}

/// Returns the configuration of a container's output: the same lines in another form, to a pipe.
fn shown_to(rig: &Rig, write: OwnedFd) -> Config {
    let label: Label = Box::new(|stream, _, line| line.extend_from_slice(if stream == 0 { b"0|a | " } else { b"0!a | " }));
    let runtime = RuntimeStreams { stdout: Some(Arc::new(write)), ..RuntimeStreams::default() };
    let format = Formats { files: dated("D"), shown: Some(Format::Labelled(label)) };
    Config { shown: [Some("/dev/stdout".into()), Some("/dev/stdout".into())], runtime, format, ..rig.config(Format::Plain) }
}

#[test]
fn runtime_output_uses_the_labelled_form() {
    let mut rig = Rig::new("shown");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let handle = Pipeline::spawn(shown_to(&rig, write)).unwrap();
    rig.out.as_ref().unwrap().write_all(b"one\ntwo\nthr").unwrap();
    rig.error.as_ref().unwrap().write_all(b"oops\n").unwrap();
    drop((rig.out.take(), rig.error.take()));
    assert_eq!(handle.join(), PipelineEnd::Drained);
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut File::from(read), &mut seen).unwrap();
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0!a | oops", "0|a | one", "0|a | thr", "0|a | two"]);
    assert_eq!((rig.text("out.log"), rig.text("error.log")), ("D: one\nD: two\nD: thr\n".into(), "D: oops\n".into()));
}

#[test]
fn wait_for_a_slow_reader_is_bounded() {
    let rig = Rig::new("unread");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let handle = Pipeline::spawn(shown_to(&rig, write)).unwrap();
    let text = "x".repeat(99) + "\n";
    let line_count = 4000;
    rig.out.as_ref().unwrap().write_all(text.repeat(line_count).as_bytes()).unwrap();
    until(|| rig.text("out.log").len() >= 1000, || "nothing in the file".into());
    assert!(!handle.end_lines(Duration::from_millis(50)), "it waits for the reader");
    handle.give_up(Duration::from_millis(50));
    assert_eq!(handle.join(), PipelineEnd::Unwritten);
    // Nothing was lost: the successor writes the rest.
    let (_, write_again) = (drop(read), rustix::pipe::pipe().unwrap().1);
    let successor = Pipeline::prepare(shown_to(&rig, write_again)).unwrap().start().unwrap();
    successor.finish(Duration::from_secs(20));
    assert_eq!(successor.join(), PipelineEnd::TimeUp);
    assert_eq!(rig.text("out.log").lines().filter(|line| line.len() == 99 + 3).count(), line_count);
}
