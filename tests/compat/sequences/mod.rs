//! Generated sequences of commands, run on real PM2 and on ostler called as `pm2`.
//!
//! [`grammar`] generates a sequence from a seed. [`compare`] runs it in twin worlds and compares
//! them after each step: exit code, list, the environment that each process sees, files, dump.
//! [`listed`] has the intended differences. A sequence with another difference is shrunk and
//! printed as a script. `OSTLER_SEQUENCES=300 OSTLER_SEED=7` runs more sequences than continuous
//! integration does, from another seed.

mod compare;
mod grammar;
mod listed;
mod model;
mod observe;
mod shrink;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ostler_testkit::{Home, Subject, skip};

use self::compare::{Failure, run};
use self::model::{Sequence, Step, shell_script};

/// Number of sequences that continuous integration runs.
const COUNT: u64 = 24;
/// Sequences that run at the same time.
const AT_ONCE: usize = 2;
/// Maximum number of runs to shrink a failing sequence.
const TRIES: u64 = 60;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Returns true if the line of output is not part of the table.
fn is_message(line: &&str) -> bool {
    !line.is_empty() && !line.starts_with(['│', '┌', '├', '└']) && !line.starts_with("host metrics")
}

fn report(seed: u64, sequence: &Sequence, failure: &Failure) -> String {
    let differences: String = failure.differences.iter().take(25).map(|difference| format!("#   {difference}\n")).collect();
    let step = sequence.steps.get(failure.step).map(model::line).unwrap_or_default();
    let script = shell_script(sequence, world::SCRIPT, &world::NAMES);
    let quoted = |text: &String| text.lines().filter(is_message).map(|line| format!("#   {line}\n")).collect::<String>();
    let [pm2, ostler] = failure.outputs.each_ref().map(quoted);
    format!("\n# seed {seed}: differs after: {step}{differences}# PM2 printed:\n{pm2}# ostler printed:\n{ostler}{script}")
}

/// Shrinks the sequence as long as one of its kinds of differences remains.
fn smallest(sequence: Sequence, failure: Failure, subjects: &[Subject; 2]) -> (Sequence, Failure) {
    let kind = failure.kinds().into_iter().next().unwrap_or_default();
    let found = Mutex::new(failure);
    let tries = setting("OSTLER_SEQUENCES_TRIES", TRIES);
    let small = shrink::shrink(sequence, tries, |candidate| match run(candidate, subjects) {
        Err(failure) if failure.kinds().contains(&kind) => {
            *found.lock().unwrap() = failure;
            true
        }
        _ => false,
    });
    (small, found.into_inner().unwrap())
}

/// Runs the sequences of these seeds. Prints how to reproduce each kind of failure, and returns the
/// number of failures.
fn run_all(seeds: std::ops::Range<u64>, subjects: &[Subject; 2]) -> usize {
    let next = AtomicU64::new(seeds.start);
    let known = Mutex::new((BTreeSet::new(), 0));
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
            let sequence = grammar::sequence(seed);
            let Err(failure) = run(&sequence, subjects) else { continue };
            let kinds = failure.kinds();
            let is_new = {
                let mut known = known.lock().unwrap();
                known.1 += 1;
                let is_new = known.0.is_disjoint(&kinds);
                known.0.extend(kinds);
                is_new
            };
            let text = if is_new {
                let (sequence, failure) = smallest(sequence, failure, subjects);
                report(seed, &sequence, &failure)
            } else {
                format!("\n# seed {seed} differs in a way that is shown above:{}", report(seed, &sequence, &failure))
            };
            eprintln!("{text}");
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    known.into_inner().unwrap().1
}

/// Returns a program that drops an option of each command.
fn without_option(home: &Home, option: &str) -> Subject {
    let (Subject::OstlerAsPm2(binary) | Subject::Ostler(binary) | Subject::Pm2(binary)) = crate::compare::ostler();
    let real = home.work().join("pm2");
    std::os::unix::fs::symlink(binary, &real).unwrap();
    let loop_over_words = format!("for word; do shift; [ \"$word\" = {option} ] || set -- \"$@\" \"$word\"; done");
    // Some shells count their nesting level in a variable.
    let text = format!("#!/bin/sh\n{loop_over_words}\nexec env -u SHLVL -u _ {} \"$@\"\n", real.display());
    Subject::OstlerAsPm2(home.write("forgetful", text).into())
}

/// Returns a sequence with two apps, edits, and an option that matters in the step before the last.
fn with_update_env() -> Sequence {
    let call = |verb: &str, target: &str| model::Call {
        verb: verb.to_owned(),
        targets: vec![target.to_owned()],
        folder: "a".to_owned(),
        ..model::Call::default()
    };
    let app = |name: &str| {
        model::App::from(
            [("name", format!("\"{name}\"")), ("script", "\"quick.js\"".to_owned())].map(|(key, value)| (key.to_owned(), value)),
        )
    };
    let mut restart = call("restart", "web");
    restart.options = vec!["--update-env".to_owned(), "--kill-timeout 1000".to_owned()];
    restart.shell = vec![("X".to_owned(), "red".to_owned()), ("TOKEN".to_owned(), "blue".to_owned())];
    let added = Step::Edit { app: 0, key: "kill_timeout".to_owned(), value: Some("900".to_owned()) };
    let steps = vec![Step::Run(call("start", model::FILE_TARGET)), added, Step::Kill(1), Step::Run(restart), Step::Run(call("save", ""))];
    Sequence { apps: vec![app("web"), app("api")], steps }
}

#[test]
fn sequence_detects_a_faulty_program() {
    let home = Home::new(crate::compare::ostler());
    let mut sequence = with_update_env();
    sequence.steps.retain(|step| matches!(step, Step::Run(call) if call.verb != "save"));
    let failure = run(&sequence, &[crate::compare::ostler(), without_option(&home, "--update-env")]).unwrap_err();
    let kinds = failure.kinds();
    assert!(failure.step == 1 && kinds.contains("[] sees X: only in PM2") && kinds.contains("[] X: only in PM2"), "{failure:?}");
}

#[test]
fn failing_sequence_is_shrunk() {
    let fails = |sequence: &Sequence| {
        let words: Vec<String> = sequence.steps.iter().map(model::line).collect();
        words.iter().any(|words| words.contains("start eco"))
            && words.iter().any(|words| words.contains("X=red") && words.contains("--update-env"))
    };
    let small = shrink::shrink(with_update_env(), 1000, fails);
    let words: Vec<String> = small.steps.iter().map(model::line).collect();
    assert_eq!(
        words,
        ["(cd a; $pm2 start eco.config.js); echo \"exit $?\"\n", "(cd a; X=red $pm2 restart web --update-env); echo \"exit $?\"\n"]
    );
    assert_eq!(small.apps.len(), 1);
}

#[test]
fn generated_sequences_match_pm2() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to compare with") };
    let subjects = [pm2, crate::compare::ostler()];
    let (first, count) = (setting("OSTLER_SEED", 1), setting("OSTLER_SEQUENCES", COUNT));
    let failed = run_all(first..first + count, &subjects);
    assert!(failed == 0, "{failed} of {count} sequences differ, in the ways that are shown above");
}
