//! The loop: the corpus, then mutations of it, until the time is over.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::corpus;
use crate::mutate::Mutator;

/// Processor time of the normal run, and its most inputs.
const NORMAL: Duration = Duration::from_millis(500);
const MOST_INPUTS: u64 = 20_000;
/// Processor time that a single input may take. The largest corpora take some milliseconds, and a
/// program in JavaScript has a limit of two seconds of its own.
const LONGEST: Duration = Duration::from_secs(4);

/// Runs a check on its corpus and on mutations.
pub(crate) fn target(name: &str, check: fn(&[u8])) {
    let notes = Notes::new(name);
    let files = corpus::of(name);
    for (file, bytes) in &files {
        notes.run(check, bytes, &format!("fuzz/corpus/{name}/{file}"));
    }
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("OSTLER_FUZZ_SECONDS");
    let seed = number("OSTLER_SEED").unwrap_or(0);
    let (time, most) = wanted.map_or((NORMAL, MOST_INPUTS), |seconds| (Duration::from_secs(seconds), u64::MAX));
    let mutator = Mutator::new(&files, name, seed);
    let start = cpu_time();
    let mut count = 0;
    while count < most && cpu_time() - start < time {
        notes.run(check, &mutator.input(count), &format!("input {count} of seed {seed}"));
        count += 1;
    }
    println!("{name}: {} inputs of the corpus, {count} mutations, {:?}", files.len(), cpu_time() - start);
    notes.done();
}

/// Processor time of this thread: other tests run at the same time.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Files that keep a failing input, also if it ends this process (an overflow of the stack, a
/// hang).
struct Notes {
    running: File,
    path: PathBuf,
    failed: PathBuf,
}

impl Notes {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.running"));
        Self { running: File::create(&path).unwrap(), path, failed: folder.join(format!("{name}.failed")) }
    }

    fn run(&self, check: fn(&[u8]), bytes: &[u8], which: &str) {
        self.running.write_all_at(bytes, 0).unwrap();
        self.running.set_len(bytes.len() as u64).unwrap();
        let start = cpu_time();
        let done = catch_unwind(AssertUnwindSafe(|| check(bytes)));
        let took = cpu_time() - start;
        if done.is_err() || took > LONGEST {
            std::fs::write(&self.failed, bytes).unwrap();
            let why = if done.is_err() { "fails".to_owned() } else { format!("takes {took:?}") };
            panic!("{which} {why}; it is kept in {}", self.failed.display());
        }
    }

    fn done(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
