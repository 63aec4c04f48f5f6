//! Sums that survive a restart of the dashboard: the counts of ended processes and the last page of
//! each running process, in a file. Pages are stored as Prometheus text, so reading the file has
//! the same limits as reading the page of an app.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::page::{Family, FamilyKind, FamilyValue, page};
use super::sum::Sums;
use crate::json_file::{FileError, JsonFile};

const VERSION: u32 = 1;
/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 32 << 20;

/// Contents of the file.
#[derive(Serialize, Deserialize)]
struct SavedFile {
    version: u32,
    apps: Vec<SavedApp>,
}

#[derive(Serialize, Deserialize)]
struct SavedApp {
    namespace: String,
    app: String,
    former: String,
    last: Vec<LastPage>,
}

#[derive(Serialize, Deserialize)]
struct LastPage {
    id: u32,
    pid: i32,
    page: String,
}

/// App, by namespace and name, with its sums.
type AppSums = ((String, String), Sums);

fn file(home: &Path) -> JsonFile {
    JsonFile::internal(home, "scraped.json", MAX_BYTES)
}

/// Writes the sums of these apps.
///
/// # Errors
/// Returns a [`FileError`] if the file cannot be written; it is unchanged then.
pub(super) fn save<'a>(home: &Path, apps: impl Iterator<Item = (&'a (String, String), &'a Sums)>) -> Result<(), FileError> {
    let app = |((namespace, app), sums): (&(String, String), &Sums)| SavedApp {
        namespace: namespace.clone(),
        app: app.clone(),
        former: text(&sums.former.families),
        last: sums.last.iter().map(|(id, (pid, page))| LastPage { id: *id, pid: *pid, page: text(&page.families) }).collect(),
    };
    file(home).write(&SavedFile { version: VERSION, apps: apps.map(app).collect() })
}

/// Reads the sums to continue with. If the file is invalid, it is renamed, all sums start at zero,
/// and a description of the problem is returned.
pub(super) fn load(home: &Path) -> (Vec<AppSums>, Option<String>) {
    let file = file(home);
    match read(&file) {
        Ok(apps) => (apps, None),
        Err(problem) => (Vec::new(), Some(file.set_aside(&problem))),
    }
}

fn read(file: &JsonFile) -> Result<Vec<AppSums>, FileError> {
    let Some(kept) = file.read::<SavedFile>()? else { return Ok(Vec::new()) };
    if kept.version > VERSION {
        return Err(FileError::Later { path: file.path().to_owned(), version: kept.version });
    }
    let of = |app: SavedApp| {
        let last = app.last.into_iter().map(|last| (last.id, (last.pid, page(&last.page)))).collect();
        ((app.namespace, app.app), Sums { last, former: page(&app.former), moved: false })
    };
    Ok(kept.apps.into_iter().map(of).collect())
}

/// Formats counters and histograms as a page.
fn text(families: &[Family]) -> String {
    let mut out = String::new();
    for Family { name, kind, help, series } in families {
        let word = if *kind == FamilyKind::Histogram { "histogram" } else { "counter" };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {word}");
        for one in series {
            let labels = &one.labels;
            match &one.value {
                FamilyValue::One(value) => sample(&mut out, name, "", labels, *value),
                FamilyValue::Many(points) => {
                    let comma = if labels.is_empty() { "" } else { "," };
                    for (_, bound, count) in &points.at {
                        sample(&mut out, name, "_bucket", &format!("{labels}{comma}le=\"{bound}\""), *count);
                    }
                    points.sum.into_iter().for_each(|sum| sample(&mut out, name, "_sum", labels, sum));
                    points.count.into_iter().for_each(|count| sample(&mut out, name, "_count", labels, count));
                }
            }
        }
    }
    out
}

fn sample(out: &mut String, name: &str, ending: &str, labels: &str, value: f64) {
    let _ = match value {
        f64::INFINITY => writeln!(out, "{name}{ending}{{{labels}}} +Inf"),
        f64::NEG_INFINITY => writeln!(out, "{name}{ending}{{{labels}}} -Inf"),
        _ => writeln!(out, "{name}{ending}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const PAGE: &str = "# HELP c_total a \\\\ \\n b\n# TYPE c_total counter\nc_total{k=\"a\\\"b\\\\c\\nd\",app=\"x\"} 5\nc_total 1e300\n# TYPE empty counter\nempty 0\n\
                        # TYPE h histogram\nh_bucket{x=\"1\",le=\"0.5\"} 1\nh_bucket{x=\"1\",le=\"+Inf\"} 4\nh_sum{x=\"1\"} +Inf\nh_count{x=\"1\"} 4\n";

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("ostler-scraped-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join("web")).unwrap();
        home
    }

    #[test]
    fn page_round_trips() {
        let before = page(PAGE);
        assert!(before.left_out == 0 && before.families.len() == 3, "{before:?}");
        assert_eq!(page(&text(&before.families)), before);
    }

    #[test]
    fn sums_continue_after_restart() {
        let home = home("sums");
        let counter = |value: u32| Some(page(&format!("# TYPE c counter\nc {value}\n")));
        let total = |sums: &mut Sums, read| match sums.take(read).summed[0].series[0].value {
            FamilyValue::One(value) => value,
            FamilyValue::Many(_) => panic!(),
        };
        let mut sums = Sums::default();
        total(&mut sums, vec![(0, 10, counter(5)), (1, 11, counter(7))]);
        assert!(!sums.take_changed(), "nothing has ended");
        assert!((total(&mut sums, vec![(0, 10, counter(6)), (1, 12, counter(1))]) - 14.0).abs() < 1e-9 && sums.take_changed());
        let app = ("default".to_owned(), "api".to_owned());
        save(&home, [(&app, &sums)].into_iter()).unwrap();
        let (mut all, problem) = load(&home);
        assert!(problem.is_none() && all[0].0 == app);
        // In the meantime, one process counted further, and another was replaced.
        let read = vec![(0, 10, counter(8)), (1, 13, counter(2))];
        assert!((total(&mut all[0].1, read) - (7.0 + 8.0 + 1.0 + 2.0)).abs() < 1e-9);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn malformed_file_is_set_aside() {
        let home = home("broken");
        assert!(load(&home).1.is_none());
        for text in ["", "[1", "{\"version\": 1}", "{\"version\": 9, \"apps\": []}"] {
            std::fs::write(file(&home).path(), text).unwrap();
            let (apps, problem) = load(&home);
            assert!(apps.is_empty() && problem.is_some() && !file(&home).path().exists(), "{text}");
            assert_eq!(std::fs::read_to_string(file(&home).path().with_extension("json.aside")).unwrap(), text);
        }
        std::fs::remove_dir_all(&home).unwrap();
    }
}
