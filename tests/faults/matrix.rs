//! Selection of the cells of a run, and its report.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ostler_testkit::{Part, setting};

use crate::cell::{self, Verdict};
use crate::stage::Stage;
use crate::table::{self, Cell};

/// A share is one cell of so many, and other cells each day.
const SHARE: u64 = 10;

/// Most cells of a part in a share, in addition to those that were red once. The budget of the
/// whole run is 90 s of processor time.
const MOST: usize = 10;

/// Selection of a run, from the environment (`cargo xtask faults` sets it).
struct Selection {
    call: Option<String>,
    error: Option<String>,
    phase: Option<String>,
    all: bool,
    seed: u64,
}

impl Selection {
    fn from_env() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (call, error, phase) = (text("OSTLER_FAULTS_CALL"), text("OSTLER_FAULTS_ERROR"), text("OSTLER_FAULTS_PHASE"));
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        let all = std::env::var_os("OSTLER_FAULTS_ALL").is_some() || call.is_some() || error.is_some() || phase.is_some();
        Self { call, error, phase, all, seed: setting("OSTLER_FAULTS_SEED").unwrap_or(today) }
    }

    fn of(&self, cells: Vec<Cell>) -> Vec<Cell> {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted.split(',').any(|it| it == value));
        let named = |cell: &Cell| is(&self.call, &cell.call) && is(&self.error, cell.error) && is(&self.phase, &cell.phase.to_string());
        let mut chosen: Vec<Cell> = cells.into_iter().filter(named).collect();
        // A run that is bounded or stopped early does not miss the same calls each day.
        chosen.sort_by_key(|cell| hash(&format!("{}{cell}", self.seed)));
        if !self.all {
            let (fixed, mut others): (Vec<Cell>, Vec<Cell>) = chosen.into_iter().partition(table::was_fixed);
            others.retain(|cell| (hash(&cell.to_string()) + self.seed).is_multiple_of(SHARE));
            others.truncate(MOST);
            chosen = [fixed, others].concat();
        }
        chosen
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Runs the selected cells of a part, and fails if a cell is red that is not known to be.
#[track_caller]
pub(crate) fn run(part: Part) {
    let selection = Selection::from_env();
    let cells = selection.of(table::cells(part));
    let jobs = setting("OSTLER_FAULTS_JOBS").unwrap_or(2).max(1);
    eprintln!("OSTLER_FAULTS_SEED={}: {} of {} cells of the {part}", selection.seed, cells.len(), table::cells(part).len());
    let begun = Instant::now();
    let queue: Mutex<VecDeque<Cell>> = Mutex::new(cells.into());
    let verdicts: Mutex<Vec<(Cell, Verdict)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut stage: Option<Stage> = None;
                loop {
                    let Some(cell) = queue.lock().unwrap().pop_front() else { break };
                    let mut verdict = cell::run(&cell, &mut stage);
                    // A busy machine delays everything. Only what repeats in a new home is a fault of ostler.
                    if let Verdict::Red(_) = verdict {
                        verdict = cell::run(&cell, &mut stage);
                    }
                    note(&cell, &verdict);
                    verdicts.lock().unwrap().push((cell, verdict));
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    let number = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, verdict)| wanted(verdict)).count();
    let (green, untouched) = (number(|it| *it == Verdict::Green), number(|it| *it == Verdict::Untouched));
    eprintln!(
        "{part}: {green} green, {untouched} without such a call, {} red, {:.0?}",
        verdicts.len() - green - untouched,
        begun.elapsed()
    );
    let known = table::known_red();
    let mut report = String::new();
    for (cell, verdict) in &verdicts {
        let is_known = known.iter().any(|(red, _)| *red == cell.to_string());
        match verdict {
            // The whole matrix has not been run on a quiet machine yet. Until then, a red cell of a daily share
            // is printed, and only cells that were fixed or that the caller selected fail the run.
            Verdict::Red(why) if !is_known && (selection.all || table::was_fixed(cell)) => _ = writeln!(report, "{cell}: {why}"),
            Verdict::Green if is_known && selection.all => _ = writeln!(report, "{cell}: is green, remove it from tests/faults/red.txt"),
            _ => {}
        }
    }
    assert!(report.is_empty(), "red cells (repeat one: cargo xtask faults --part {part} --call CALL --error ERROR):\n{report}");
}

/// Appends the verdict to the file of `OSTLER_FAULTS_RESULTS`.
fn note(cell: &Cell, verdict: &Verdict) {
    let line = match verdict {
        Verdict::Green => format!("green {cell}"),
        Verdict::Untouched => format!("untouched {cell}"),
        Verdict::Red(why) => format!("red {cell}: {}", why.replace('\n', " | ")),
    };
    if let Verdict::Red(_) = verdict {
        eprintln!("{line}");
    }
    if let Some(path) = std::env::var_os("OSTLER_FAULTS_RESULTS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        drop(writeln!(file, "{line}"));
    }
}

#[test]
fn shares_of_ten_days_are_the_whole_table() {
    let cells = table::cells(Part::Daemon);
    let selection = |seed| Selection { call: None, error: None, phase: None, all: false, seed };
    let share = |seed: u64| cells.iter().filter(|cell| (hash(&cell.to_string()) + seed).is_multiple_of(SHARE)).count();
    assert_eq!((0..SHARE).map(share).sum::<usize>(), cells.len());
    assert!(selection(1).of(cells.clone()).len() <= MOST + 20);
    let one = Selection { call: Some("openat".into()), error: Some("EIO".into()), all: true, ..selection(1) };
    assert!(one.of(cells).iter().all(|cell| cell.call == "openat" && cell.error == "EIO"));
}

#[test]
fn known_red_cells_exist() {
    let all: Vec<String> = Part::ALL.iter().flat_map(|(part, _)| table::cells(*part)).map(|cell| cell.to_string()).collect();
    let red = table::known_red();
    assert!(table::fixed().iter().all(|cell| all.contains(cell)), "a fixed cell is not in the table");
    let unknown: Vec<_> = red.iter().filter(|(cell, _)| !all.contains(cell)).collect();
    assert!(unknown.is_empty(), "tests/faults/red.txt has cells that are not in the table: {unknown:?}");
    assert!(red.len() <= table::MOST_RED, "tests/faults/red.txt may only shrink: {} cells, at most {}", red.len(), table::MOST_RED);
}
