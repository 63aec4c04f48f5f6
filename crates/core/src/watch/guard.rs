//! Who wrote? An app that writes a watched file whenever it starts would be restarted for ever.

/// A change that comes so soon after a start may be of the app itself.
const YOUNG_MS: u64 = 3_000;
/// So many restarts in a row by changes of young processes are no coincidence.
const STRIKES: usize = 3;
/// Writes of a start are expected for twice the longest time seen, but at least for so long.
const SHORTEST_WINDOW_MS: u64 = 1_000;

/// What is known of an app's own writing.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Path and age of the process, of the last restarts in a row.
    strikes: Vec<(String, u64)>,
    habit: Option<Habit>,
}

/// What an app writes at each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habit {
    /// A path, or a folder in which the names are others each time.
    pub path: String,
    /// `path` is a folder.
    pub is_folder: bool,
    /// So long after a start.
    pub window_ms: u64,
}

/// Does a change count?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Somebody else's.
    Counts,
    /// The app wrote it while it started.
    Own,
}

impl Guard {
    /// A change of this path while the newest process of the app was so old (none = there is none).
    pub fn judge(&self, path: &str, age_ms: Option<u64>) -> Judgement {
        let is_own = |habit: &Habit| {
            let covers = if habit.is_folder { folder_of(path) == habit.path } else { path == habit.path };
            covers && age_ms.is_some_and(|age| age <= habit.window_ms)
        };
        if self.habit.as_ref().is_some_and(is_own) { Judgement::Own } else { Judgement::Counts }
    }

    /// A burst that began so is acted on: by it, the app is restarted. Gives a habit when it is found out: the restart is then left out.
    pub fn restarts(&mut self, path: &str, age_ms: Option<u64>) -> Option<Habit> {
        let Some(age_ms) = age_ms.filter(|age| *age < YOUNG_MS) else {
            self.strikes.clear();
            return None;
        };
        self.strikes.push((path.to_owned(), age_ms));
        if self.strikes.len() <= STRIKES {
            return None;
        }
        let strikes = std::mem::take(&mut self.strikes);
        let oldest = strikes.iter().map(|(_, age)| *age).max().unwrap_or(0);
        let window_ms = (2 * oldest).max(SHORTEST_WINDOW_MS);
        let habit = if strikes.iter().all(|(other, _)| other == path) {
            Habit { path: path.to_owned(), is_folder: false, window_ms }
        } else if strikes.iter().all(|(other, _)| folder_of(other) == folder_of(path)) {
            Habit { path: folder_of(path).to_owned(), is_folder: true, window_ms }
        } else {
            return None;
        };
        self.habit = Some(habit.clone());
        Some(habit)
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Restarts by an app that writes this after each start; gives how many there were before it was found out.
    fn loops(path: impl Fn(usize) -> String, age: u64) -> Option<(usize, Habit, Guard)> {
        let mut guard = Guard::default();
        (0..20).find_map(|turn| guard.restarts(&path(turn), Some(age)).map(|habit| (turn, habit, guard.clone())))
    }

    #[test]
    fn an_app_that_writes_at_its_start_is_found_out() {
        let (turns, habit, guard) = loops(|_| "/w/db.json".into(), 400).unwrap();
        assert_eq!((turns, &habit), (3, &Habit { path: "/w/db.json".into(), is_folder: false, window_ms: 1000 }));
        assert_eq!(guard.judge("/w/db.json", Some(900)), Judgement::Own);
        assert_eq!(guard.judge("/w/db.json", Some(1001)), Judgement::Counts);
        assert_eq!(guard.judge("/w/db.json", None), Judgement::Counts);
        assert_eq!(guard.judge("/w/app.js", Some(400)), Judgement::Counts);
        let (_, habit, guard) = loops(|turn| format!("/w/tmp/{turn}"), 2000).unwrap();
        assert_eq!(habit, Habit { path: "/w/tmp".into(), is_folder: true, window_ms: 4000 });
        assert_eq!(guard.judge("/w/tmp/other", Some(3999)), Judgement::Own);
    }

    #[test]
    fn who_saves_now_and_then_is_not_taken_for_the_app() {
        assert!(loops(|_| "/w/app.js".into(), 3000).is_none());
        let mut guard = Guard::default();
        for turn in 0..30 {
            let age = if turn % 3 == 2 { 10_000 } else { 500 };
            assert_eq!(guard.restarts("/w/app.js", Some(age)), None);
        }
        assert_eq!(guard.restarts("/w/app.js", None), None);
    }
}
