//! Environment of the benchmarks: the programs, a folder, and fresh homes.

use crate::cluster::ClusterRunner;
use crate::contender::{App, Contender, ManagerKind};
use crate::floor::Floor;
use crate::program::ProgramRunner;
use crate::report::{Cell, Row};
use anyhow::{Context, Result};
use std::cell::Cell as Counter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runner of the small apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Manager(ManagerKind),
    Floor,
}

/// Columns of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Apps(Subject),
    /// Runner of several copies behind one port.
    Cluster(ClusterRunner),
    /// Runner of a server that knows nothing of clusters.
    Program(ProgramRunner),
}

/// Result of one turn of a subject.
pub(crate) enum TurnResult<const N: usize> {
    /// One value for each row.
    Values([f64; N]),
    /// Not supported; the table shows these words.
    LeftOut(&'static str),
}

/// Time budget of a subject for some rows. After that it takes no further turn, which bounds the
/// whole run.
const ENOUGH: Duration = Duration::from_secs(50);

pub(crate) struct Lab {
    pub(crate) quick: bool,
    managers: Vec<(ManagerKind, PathBuf)>,
    binaries: PathBuf,
    folder: PathBuf,
    number: Counter<u16>,
}

impl Lab {
    pub(crate) fn new(quick: bool) -> Result<Lab> {
        let binaries = std::env::current_exe()?.parent().context("no folder of this program")?.to_path_buf();
        let folder = std::env::temp_dir().join(format!("ob{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut managers = Vec::new();
        for (kind, variable) in [
            (ManagerKind::Pm2, "OSTLER_BENCH_PM2"),
            (ManagerKind::Supervisor, "OSTLER_BENCH_SUPERVISOR"),
            (ManagerKind::Ostler, "OSTLER_BENCH_OSTLER"),
        ] {
            if let Some(path) = std::env::var_os(variable) {
                managers.push((kind, PathBuf::from(path)));
            }
        }
        Ok(Lab { quick, managers, binaries, folder, number: Counter::new(0) })
    }

    /// Returns `full` rounds, or `quick` ones.
    pub(crate) fn rounds(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Returns a new folder for one measurement.
    pub(crate) fn fresh(&self) -> Result<PathBuf> {
        self.number.set(self.number.get() + 1);
        let folder = self.folder.join(self.number.get().to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Returns the program of this manager.
    pub(crate) fn program(&self, kind: ManagerKind) -> Result<&Path> {
        let (_, program) = self.managers.iter().find(|(known, _)| *known == kind).context("this manager is left out")?;
        Ok(program)
    }

    /// Returns a manager in a new home; no process runs yet.
    pub(crate) fn manager(&self, kind: ManagerKind) -> Result<Contender> {
        Contender::new(kind, self.program(kind)?, self.fresh()?)
    }

    pub(crate) fn floor(&self) -> Result<Floor> {
        Floor::new(&self.binaries.join("floor"), self.fresh()?)
    }

    pub(crate) fn floor_program(&self) -> PathBuf {
        self.binaries.join("floor")
    }

    /// Returns the app of the benchmarks.
    pub(crate) fn tiny(&self) -> String {
        self.binaries.join("tiny").display().to_string()
    }

    /// Returns this many apps that run `tiny` with these words.
    pub(crate) fn apps(&self, count: usize, words: &[&str]) -> Vec<App> {
        let tiny = self.tiny();
        let all: Vec<&str> = [tiny.as_str()].into_iter().chain(words.iter().copied()).collect();
        (0..count).map(|number| App::new(format!("app-{number}"), &all)).collect()
    }

    pub(crate) fn kinds(&self) -> Vec<ManagerKind> {
        self.managers.iter().map(|(kind, _)| *kind).collect()
    }

    /// Measures all subjects in turn, `rounds` times. A slow subject takes part in fewer rounds. A
    /// failure becomes a note in the table and ends only the turns of that subject.
    pub(crate) fn rows<const N: usize>(
        &self,
        rounds: usize,
        mut rows: [Row; N],
        measure: impl FnMut(Subject) -> Result<TurnResult<N>>,
    ) -> Vec<Row> {
        let subjects = self.kinds().into_iter().map(Subject::Manager).chain([Subject::Floor]);
        take_turns(subjects.map(|subject| (subject, Column::Apps(subject))).collect(), rounds, ENOUGH, &mut rows, measure);
        rows.into()
    }

    /// Same for the runners of clusters, as far as their managers are available.
    pub(crate) fn cluster_rows<const N: usize>(
        &self,
        cluster_runners: &[ClusterRunner],
        rounds: usize,
        mut rows: [Row; N],
        measure: impl FnMut(ClusterRunner) -> Result<TurnResult<N>>,
    ) -> Vec<Row> {
        let known = |cluster_runner: &ClusterRunner| cluster_runner.manager().is_none_or(|kind| self.kinds().contains(&kind));
        let subjects =
            cluster_runners.iter().copied().filter(known).map(|cluster_runner| (cluster_runner, Column::Cluster(cluster_runner)));
        take_turns(subjects.collect(), rounds, ENOUGH, &mut rows, measure);
        rows.into()
    }

    /// Same for the runners of a server that knows nothing of clusters.
    pub(crate) fn program_rows<const N: usize>(
        &self,
        runners: &[ProgramRunner],
        rounds: usize,
        mut rows: [Row; N],
        measure: impl FnMut(ProgramRunner) -> Result<TurnResult<N>>,
    ) -> Vec<Row> {
        let known = |runner: &ProgramRunner| runner.manager().is_none_or(|kind| self.kinds().contains(&kind));
        let subjects = runners.iter().copied().filter(known).map(|runner| (runner, Column::Program(runner)));
        take_turns(subjects.collect(), rounds, ENOUGH, &mut rows, measure);
        rows.into()
    }
}

fn take_turns<S: Copy, const N: usize>(
    subjects: Vec<(S, Column)>,
    rounds: usize,
    enough: Duration,
    rows: &mut [Row; N],
    mut measure: impl FnMut(S) -> Result<TurnResult<N>>,
) {
    let mut subjects: Vec<(S, Column, Duration)> =
        subjects.into_iter().map(|(subject, column)| (subject, column, Duration::ZERO)).collect();
    for _ in 0..rounds {
        subjects.retain_mut(|(subject, column, spent)| {
            let begin = Instant::now();
            let note = match measure(*subject) {
                Ok(TurnResult::Values(values)) => {
                    for (row, value) in rows.iter_mut().zip(values) {
                        row.add(*column, value);
                    }
                    *spent += begin.elapsed();
                    return *spent < enough;
                }
                Ok(TurnResult::LeftOut(why)) => why,
                Err(error) => {
                    eprintln!("{column:?}: {error:#}");
                    "failed"
                }
            };
            for row in rows.iter_mut() {
                row.set(*column, Cell::Note(note.into()));
            }
            false
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the times that apps wrote into a file, in order.
pub(crate) fn stamps(file: &Path) -> Vec<i64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    const OSTLER: Subject = Subject::Manager(ManagerKind::Ostler);

    fn turns(enough: Duration) -> Vec<Subject> {
        let mut taken = Vec::new();
        let subjects = vec![Subject::Manager(ManagerKind::Pm2), Subject::Manager(ManagerKind::Supervisor), Subject::Floor, OSTLER];
        let subjects = subjects.into_iter().map(|subject| (subject, Column::Apps(subject))).collect();
        take_turns(subjects, 3, enough, &mut [Row::new("x", "ms", "")], |subject| {
            taken.push(subject);
            match subject {
                Subject::Manager(ManagerKind::Pm2) => bail!("does not run"),
                Subject::Manager(ManagerKind::Supervisor) => Ok(TurnResult::LeftOut("cannot do this")),
                _ => Ok(TurnResult::Values([1.0])),
            }
        });
        taken
    }

    #[test]
    fn failing_or_unsupported_subject_gets_no_more_turns() {
        assert_eq!(turns(Duration::MAX)[2..], [Subject::Floor, OSTLER].repeat(3));
    }

    #[test]
    fn subject_over_its_time_budget_gets_one_turn_only() {
        assert_eq!(turns(Duration::ZERO)[2..], [Subject::Floor, OSTLER]);
    }
}
