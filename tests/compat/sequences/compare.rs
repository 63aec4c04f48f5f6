//! Runs a sequence in twin worlds and compares them after each step.

use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use ostler_testkit::Subject;

use super::listed::{DifferenceVerdict, History, verdict};
use super::model::{Sequence, Step, edit, line};
use super::observe::{View, view};
use super::world::{NO_EXIT, World};

/// Worlds that differ and have not changed for this long count as different.
const QUIET: Duration = Duration::from_millis(1500);
/// Longest wait for worlds that keep changing.
const LONGEST: Duration = Duration::from_secs(25);

/// A fact in which the worlds differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the fact.
    pub fact: String,
    /// Value with PM2, if any.
    pub pm2: Option<String>,
    /// Value with ostler, if any.
    pub ostler: Option<String>,
}

impl Difference {
    /// Returns the key or variable that the fact is about.
    pub fn key(&self) -> &str {
        self.fact.rsplit(' ').next().unwrap_or_default()
    }

    /// Returns the kind of difference: the fact without ids, and which side lacks it.
    pub fn kind(&self) -> String {
        let fact = self.fact.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let sides = match (&self.pm2, &self.ostler) {
            (Some(_), None) => "only in PM2",
            (None, _) => "only in ostler",
            _ => "other value",
        };
        format!("{fact}: {sides}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.as_ref().map_or_else(|| "-".to_owned(), |value| format!("{value:?}"));
        write!(f, "{}: PM2 {}, ostler {}", self.fact, shown(&self.pm2), shown(&self.ostler))
    }
}

/// Step and facts in which the worlds first differ.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Position of the step.
    pub step: usize,
    /// All unlisted differences after the step.
    pub differences: Vec<Difference>,
    /// Output of both programs at this step.
    pub outputs: [String; 2],
}

impl Failure {
    /// Returns the kinds of the differences.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.differences.iter().map(Difference::kind).collect()
    }
}

/// Twin worlds.
struct Twins {
    worlds: [World; 2],
    before: [View; 2],
    history: History,
}

/// Result of comparing the worlds after a step.
enum StepOutcome {
    /// The worlds agree.
    Agree,
    /// The worlds differ as intended, and are no longer comparable.
    Diverge,
    /// The worlds differ in a way that is not listed.
    Differ(Vec<Difference>, [String; 2]),
}

/// Runs a sequence. The first step with an unlisted difference is the failure.
pub fn run(sequence: &Sequence, subjects: &[Subject; 2]) -> Result<(), Failure> {
    let [pm2, ostler] = subjects;
    let worlds = both(|side| World::new(if side == 0 { pm2.clone() } else { ostler.clone() }, &sequence.apps));
    let mut twins = Twins { worlds, before: Default::default(), history: History::default() };
    let mut apps = sequence.apps.clone();
    for (position, step) in sequence.steps.iter().enumerate() {
        twins.history.add(step, &apps);
        if edit(&mut apps, step) {
            twins.worlds.iter().for_each(|world| world.write_file(&apps));
            continue;
        }
        match twins.step(step) {
            StepOutcome::Agree => {}
            StepOutcome::Diverge => return Ok(()),
            StepOutcome::Differ(differences, outputs) => return Err(Failure { step: position, differences, outputs }),
        }
    }
    Ok(())
}

/// Does the same work on both sides at the same time.
fn both<T: Send>(work: impl Fn(usize) -> T + Sync) -> [T; 2] {
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        let first = work(0);
        [first, other.join().unwrap()]
    })
}

impl Twins {
    fn step(&mut self, step: &Step) -> StepOutcome {
        let [(pm2_code, pm2_text), (our_code, our_text)] = both(|side| match step {
            Step::Run(call) => self.worlds[side].run(call),
            Step::Kill(position) => self.worlds[side].kill(*position),
            Step::Edit { .. } | Step::Add(_) => Default::default(),
        });
        let outputs = [pm2_text, our_text];
        if std::env::var_os("OSTLER_SEQUENCES_SHOW").is_some() {
            eprintln!("{}{}\n----\n{}", line(step), outputs[0], outputs[1]);
        }
        for (program, code) in [("PM2", &pm2_code), ("ostler", &our_code)] {
            if code == NO_EXIT {
                eprintln!("{program}: {NO_EXIT}: {}", line(step));
            }
        }
        let hangs = our_code == NO_EXIT;
        let code = Difference { fact: "exit code".to_owned(), pm2: Some(pm2_code), ostler: Some(our_code) };
        let mut differences = if code.pm2 == code.ostler && !hangs { Vec::new() } else { vec![code] };
        // No row of the list excuses a hanging command of ostler.
        if hangs {
            return StepOutcome::Differ(differences, outputs);
        }
        differences.extend(self.settle());
        let parts = differences.iter().any(|difference| verdict(difference, &self.history) == DifferenceVerdict::Parting);
        differences.retain(|difference| verdict(difference, &self.history) == DifferenceVerdict::Unlisted);
        match (differences.is_empty(), parts) {
            (true, false) => StepOutcome::Agree,
            (true, true) => StepOutcome::Diverge,
            (false, _) => StepOutcome::Differ(differences, outputs),
        }
    }

    /// Waits until both worlds are settled and agree, or until they differ and no longer change.
    fn settle(&mut self) -> Vec<Difference> {
        let begun = Instant::now();
        let (mut changed, mut agreed) = (Instant::now(), 0);
        let mut last: [View; 2] = Default::default();
        loop {
            let now = both(|side| view(&self.worlds[side], &self.before[side]));
            if now != last {
                (changed, agreed) = (Instant::now(), 0);
            }
            let settled = now.iter().all(|view| view.settled);
            let differences = differences(&now);
            let is_meant = |difference: &Difference| verdict(difference, &self.history) == DifferenceVerdict::Meant;
            agreed += usize::from(settled && differences.iter().all(is_meant));
            let quiet = changed.elapsed() > QUIET && (settled || changed.elapsed() > QUIET * 4);
            if agreed > 2 || quiet || begun.elapsed() > LONGEST {
                self.before = now;
                return differences;
            }
            last = now;
            thread::sleep(Duration::from_millis(40));
        }
    }
}

/// Returns the facts that differ between two views.
fn differences([pm2, ostler]: &[View; 2]) -> Vec<Difference> {
    let names: BTreeSet<&String> = pm2.facts.keys().chain(ostler.facts.keys()).collect();
    let pairs = names.into_iter().map(|name| (name, pm2.facts.get(name), ostler.facts.get(name)));
    let differing = pairs.filter(|(_, pm2, ostler)| pm2 != ostler);
    let mut found: Vec<Difference> =
        differing.map(|(fact, pm2, ostler)| Difference { fact: fact.clone(), pm2: pm2.cloned(), ostler: ostler.cloned() }).collect();
    let unsettled = |view: &View| (!view.settled).then(|| "is still changing".to_owned());
    if pm2.settled != ostler.settled {
        found.push(Difference { fact: "state".to_owned(), pm2: unsettled(pm2), ostler: unsettled(ostler) });
    }
    found
}
