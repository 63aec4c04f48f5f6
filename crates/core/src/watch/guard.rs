//! Guard against loops: an app that writes a watched file at each start would be restarted without
//! end.
//!
//! A change soon after a start may come from the app itself. Several restarts in a row by such
//! changes are delayed more and more, so that there is no tight loop and no user's change is lost.
//! If they continue by the same path each time, the change is a habit of the app. From then on such
//! a change causes no restart.

/// Age of a process within which a change may come from the process itself.
const YOUNG_MS: u64 = 3_000;
/// Number of restarts in a row by changes of young processes that are not delayed.
const FREE: usize = 3;
/// Delay of the first restart after that; each further delay is twice as long.
const FIRST_DELAY_MS: u64 = 500;
/// Number of restarts in a row that count as a habit: with all these delays, they cannot come from
/// a user who saves a file.
const HABIT: usize = 8;
/// Shortest time after a start in which writes are expected; otherwise it is twice the longest time
/// so far.
const SHORTEST_WINDOW_MS: u64 = 1_000;

/// Knowledge about an app's own writes.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Path of the change and age of the process, for the last restarts in a row.
    strikes: Vec<(String, u64)>,
    habit: Option<StartupWrite>,
}

/// File that an app writes at each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupWrite {
    /// A path, or a folder in which the names differ each time.
    pub path: String,
    /// Whether `path` is a folder.
    pub is_folder: bool,
    /// Time after a start in which the writes are expected.
    pub window_ms: u64,
}

/// Judgement of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOrigin {
    /// It does not come from the app.
    Counts,
    /// The app wrote it while it started.
    Own,
}

/// Consequence of a burst that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A restart.
    Restart,
    /// A restart after a delay.
    Later {
        /// Delay.
        delay_ms: u64,
        /// Whether it is the first restart that has to wait.
        is_first: bool,
    },
    /// No restart: the app wrote the file, as at each start.
    Nothing(StartupWrite),
}

impl Guard {
    /// Judges a change of this path, with the age of the app's newest process at that time (none =
    /// no process).
    pub fn judge(&self, path: &str, age_ms: Option<u64>) -> ChangeOrigin {
        let is_own = |habit: &StartupWrite| {
            let covers = if habit.is_folder { folder_of(path) == habit.path } else { path == habit.path };
            covers && age_ms.is_some_and(|age| age <= habit.window_ms)
        };
        if self.habit.as_ref().is_some_and(is_own) { ChangeOrigin::Own } else { ChangeOrigin::Counts }
    }

    /// Decides about a burst that began with this path, at this age of the newest process.
    pub fn outcome(&mut self, path: &str, age_ms: Option<u64>) -> Outcome {
        let Some(age_ms) = age_ms.filter(|age| *age < YOUNG_MS) else {
            self.strikes.clear();
            return Outcome::Restart;
        };
        // A user who works on several files saves in several places.
        if self.strikes.last().is_some_and(|(last, _)| !is_near(last, path)) {
            self.strikes.clear();
        }
        self.strikes.push((path.to_owned(), age_ms));
        let count = self.strikes.len();
        if count <= FREE {
            return Outcome::Restart;
        }
        if count >= HABIT {
            if let Some(habit) = self.habit_of(path) {
                self.strikes.clear();
                self.habit = Some(habit.clone());
                return Outcome::Nothing(habit);
            }
            // The paths differ each time: the cause is unknown, but the restart waits.
            self.strikes.remove(0);
        }
        let doublings = u32::try_from(count - FREE - 1).unwrap_or(u32::MAX).min(6);
        Outcome::Later { delay_ms: FIRST_DELAY_MS << doublings, is_first: count == FREE + 1 }
    }

    fn habit_of(&self, path: &str) -> Option<StartupWrite> {
        // The first changes may come from a user who saved a file.
        let last = self.strikes.get(FREE..).unwrap_or_default();
        let oldest = last.iter().map(|(_, age)| *age).max().unwrap_or(0);
        let window_ms = (2 * oldest).max(SHORTEST_WINDOW_MS);
        if last.iter().all(|(other, _)| other == path) {
            return Some(StartupWrite { path: path.to_owned(), is_folder: false, window_ms });
        }
        let folder = folder_of(path);
        last.iter().all(|(other, _)| folder_of(other) == folder).then(|| StartupWrite {
            path: folder.to_owned(),
            is_folder: true,
            window_ms,
        })
    }
}

/// Returns true if both are in the same folder, or in sibling folders.
fn is_near(a: &str, b: &str) -> bool {
    folder_of(a) == folder_of(b) || folder_of(folder_of(a)) == folder_of(folder_of(b))
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates an app that writes this path after each start; returns the delays until the habit
    /// was detected.
    fn loops(path: impl Fn(usize) -> String, age: u64) -> (Vec<u64>, Option<StartupWrite>, Guard) {
        let mut guard = Guard::default();
        let mut waits = Vec::new();
        for turn in 0..12 {
            match guard.outcome(&path(turn), Some(age)) {
                Outcome::Restart => waits.push(0),
                Outcome::Later { delay_ms, is_first } => {
                    assert_eq!(is_first, waits.len() == FREE);
                    waits.push(delay_ms);
                }
                Outcome::Nothing(habit) => return (waits, Some(habit), guard),
            }
        }
        (waits, None, guard)
    }

    #[test]
    fn restart_loop_by_own_writes_is_detected() {
        let (waits, habit, guard) = loops(|_| "/w/db.json".into(), 400);
        assert_eq!(waits, [0, 0, 0, 500, 1000, 2000, 4000]);
        assert_eq!(habit, Some(StartupWrite { path: "/w/db.json".into(), is_folder: false, window_ms: 1000 }));
        assert_eq!(guard.judge("/w/db.json", Some(900)), ChangeOrigin::Own);
        assert_eq!(guard.judge("/w/db.json", Some(1001)), ChangeOrigin::Counts);
        assert_eq!(guard.judge("/w/db.json", None), ChangeOrigin::Counts);
        assert_eq!(guard.judge("/w/app.js", Some(400)), ChangeOrigin::Counts);
        assert_eq!(loops(|turn| ["/w/app.js", "/w/db.json"][turn.min(1)].into(), 400).1, habit);
        let (_, habit, guard) = loops(|turn| format!("/w/tmp/{turn}"), 2000);
        assert_eq!(habit, Some(StartupWrite { path: "/w/tmp".into(), is_folder: true, window_ms: 4000 }));
        assert_eq!(guard.judge("/w/tmp/other", Some(3999)), ChangeOrigin::Own);
        // The paths have nothing in common: each restart waits.
        let (waits, habit, _) = loops(|turn| format!("/w/{turn}/x"), 10);
        assert_eq!((waits.last(), habit), (Some(&8000), None));
    }

    #[test]
    fn occasional_saves_are_not_attributed_to_the_app() {
        assert!(loops(|turn| ["/w/app.js", "/w/a/b/c.js"][turn % 2].into(), 10).0.iter().all(|wait| *wait == 0));
        assert!(loops(|_| "/w/app.js".into(), 3000).0.iter().all(|wait| *wait == 0));
        let mut guard = Guard::default();
        for turn in 0..30 {
            let age = if turn % 3 == 2 { 10_000 } else { 500 };
            assert_eq!(guard.outcome("/w/app.js", Some(age)), Outcome::Restart);
        }
        assert_eq!(guard.outcome("/w/app.js", None), Outcome::Restart);
    }
}
