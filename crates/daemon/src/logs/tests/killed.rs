//! Kills of the daemon at random instants under a flood of lines: no line is lost, doubled or torn.
//!
//! This test's process plays keeper and apps. The daemon is the test binary itself, run again with
//! a variable that contains the paths of the descriptors (`/proc/<pid>/fd`; no inheritance is
//! needed).

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use super::*;

const VARIABLE: &str = "OSTLER_TEST_LOG_PIPELINES";

/// Bytes of the longest body of a line.
const LONGEST: usize = 60_000;

fn daemon(rigs: &[Rig], shared: bool) -> Child {
    let describe = |rig: &Rig| {
        let fds = [&rig.pipes[0], &rig.pipes[1], &rig.holding, &*rig.record].map(|fd| fd.as_raw_fd().to_string());
        format!("{} {} {}", fds.join(" "), rig.slot, rig.folder.path().display())
    };
    let lines: Vec<String> = rigs.iter().map(describe).collect();
    let common = if shared { rigs[0].folder.path().display().to_string() } else { String::new() };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{}::the_daemon", module_path!().split_once("::").unwrap().1)])
        .env(VARIABLE, format!("{}\n{common}\n{}", std::process::id(), lines.join("\n")))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test: code of the process that is killed.
#[test]
fn the_daemon() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let mut lines = text.lines();
    let (parent, common) = (lines.next().unwrap(), lines.next().unwrap());
    let files = OpenFiles::default();
    let configs = lines.map(|line| config(parent, common, line, &files));
    let prepared: Vec<Pipeline> = configs.map(|config| Pipeline::prepare(config).unwrap()).collect();
    let handles: Vec<Handle> = prepared.into_iter().map(|pipeline| pipeline.start().unwrap()).collect();
    for handle in handles {
        assert_eq!(handle.join(), PipelineEnd::Drained);
    }
}

fn config(parent: &str, common: &str, line: &str, files: &OpenFiles) -> Config {
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let folder = PathBuf::from(words[5]);
    let open = |at: usize, write: bool| -> OwnedFd {
        File::options().read(true).write(write).open(format!("/proc/{parent}/fd/{}", words[at])).unwrap().into()
    };
    let out = if common.is_empty() { folder.join("out.log") } else { PathBuf::from(common).join("out.log") };
    Config {
        name: "killed".into(),
        out: Some(out),
        error: Some(folder.join("error.log")),
        combined: Some(folder.join("all.log")),
        shown: [None, None],
        format: Format::Dated(Box::new(|ms, out| out.extend_from_slice(ms.to_string().as_bytes()))).into(),
        pipes: [open(0, false), open(1, false)],
        holding: open(2, true),
        is_holding_lost: false,
        record: open(3, true),
        slot: words[4].parse().unwrap(),
        files: files.clone(),
        runtime: RuntimeStreams { home: folder, ..RuntimeStreams::default() },
        report: Arc::new(|report| assert!(!matches!(report, WriterReport::Panicked { .. } | WriterReport::Trouble { .. }), "{report:?}")),
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Writes numbered lines of many lengths, at full speed or in pieces, until `stop` is set. Returns
/// their number.
fn flood(mut pipe: File, label: String, stop: Arc<std::sync::atomic::AtomicBool>, seed: u64) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut random = Random(seed);
        let mut number = 0;
        let mut text = String::new();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            text.clear();
            for _ in 0..=random.below(300) {
                let length = if random.below(2000) == 0 { LONGEST } else { usize::try_from(random.below(120)).unwrap() };
                text.push_str(&format!("{label} {number} {}|\n", "x".repeat(length)));
                number += 1;
            }
            if random.below(3) == 0 {
                for piece in text.as_bytes().chunks(usize::try_from(1 + random.below(5000)).unwrap()) {
                    pipe.write_all(piece).unwrap();
                }
            } else {
                pipe.write_all(text.as_bytes()).unwrap();
            }
        }
        number
    })
}

/// Checks every line: whole, with one date, each number once and in order, per label. Returns the
/// last numbers.
fn check(text: &str, labels: &[String]) -> Vec<u64> {
    let longest = "x".repeat(LONGEST);
    let mut next = vec![0; labels.len()];
    assert!(text.is_empty() || text.ends_with('\n'));
    for (at, line) in text.lines().enumerate() {
        let (date, rest) = line.split_once(": ").unwrap_or_else(|| panic!("line {at}: no date: {line:?}"));
        assert!(date.bytes().all(|b| b.is_ascii_digit()), "line {at}: {line:?}");
        let mut words = rest.split(' ');
        let (label, number, body) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let index = labels.iter().position(|known| known == label).unwrap_or_else(|| panic!("line {at}: {line:?}"));
        assert_eq!(number.parse(), Ok(next[index]), "line {at}: {:?}", &line[..line.len().min(80)]);
        // A comparison of slices is fast without optimisation, and there are many megabytes.
        assert!(body.strip_suffix('|').is_some_and(|body| longest.starts_with(body)) && words.next().is_none(), "line {at}: {line:?}");
        next[index] += 1;
    }
    next
}

fn rounds(normal: u64) -> u64 {
    std::env::var("OSTLER_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(normal)
}

fn kill_repeatedly(rigs: &mut [Rig], shared: bool, rounds: u64, seed: u64) {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = Vec::new();
    let mut labels = Vec::new();
    for (at, rig) in rigs.iter_mut().enumerate() {
        for (kind, pipe) in [("o", rig.out.take()), ("e", rig.error.take())] {
            let label = format!("{kind}{at}");
            writers.push(flood(pipe.unwrap(), label.clone(), Arc::clone(&stop), seed + labels.len() as u64 + 1));
            labels.push(label);
        }
    }
    let mut random = Random(seed);
    for _ in 0..rounds {
        let mut child = daemon(rigs, shared);
        std::thread::sleep(Duration::from_micros(2000 + random.below(25_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = daemon(rigs, shared);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written: Vec<u64> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    assert!(child.wait().unwrap().success());
    let mut total = 0;
    for (at, rig) in rigs.iter().enumerate() {
        let all = check(&rig.text("all.log"), &labels);
        assert_eq!(all[2 * at..2 * at + 2], written[2 * at..2 * at + 2], "combined file of {at}");
        assert_eq!(check(&rig.text("error.log"), &labels)[2 * at + 1], written[2 * at + 1]);
        if !shared {
            assert_eq!(check(&rig.text("out.log"), &labels)[2 * at], written[2 * at]);
        }
        total += written[2 * at] + written[2 * at + 1];
    }
    if shared {
        let merged = check(&rigs[0].text("out.log"), &labels);
        assert!((0..rigs.len()).all(|at| merged[2 * at] == written[2 * at]), "{merged:?} {written:?}");
    }
    println!("{rounds} kills, {total} lines, none lost, none doubled");
}

#[test]
fn killed_daemon_loses_and_duplicates_no_line() {
    kill_repeatedly(&mut [Rig::new("killed")], false, rounds(150), 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn killed_daemon_keeps_shared_files_complete() {
    let first = Rig::new("killed-shared");
    let (second, third) = (first.sibling(1), first.sibling(2));
    kill_repeatedly(&mut [first, second, third], true, rounds(100), 0x1234_5678_9abc_def1);
}
