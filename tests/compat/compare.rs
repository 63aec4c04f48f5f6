//! Runs a session on one subject and compares its transcript with the golden file.

use std::fs;
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, Subject, Transcript};

/// An intended difference from PM2: ostler prints other lines than the golden file has.
pub struct Difference {
    /// Lines of the golden file.
    pub pm2: &'static str,
    /// Lines that ostler prints instead; empty if it prints none.
    pub ostler: &'static str,
    /// Reason for the difference.
    pub why: &'static str,
}

/// ostler called as `pm2`: the binary of this build, or `$OSTLER_TEST_BINARY`.
pub fn ostler() -> Subject {
    let given = std::env::var_os("OSTLER_TEST_BINARY");
    Subject::OstlerAsPm2(given.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ostler")), PathBuf::from))
}

/// Runs a session and returns its transcript.
pub fn transcript(subject: Subject, session: fn(&mut Transcript<'_>)) -> String {
    let home = Home::new(subject);
    let mut transcript = Transcript::new(&home);
    session(&mut transcript);
    transcript.finish()
}

fn golden(name: &str) -> PathBuf {
    Path::new(&ostler_testkit::fixture_path("../compat/golden")).join(format!("{name}.txt"))
}

/// Checks that real PM2 still prints the golden file. With `OSTLER_COMPAT_RECORD`, writes the
/// golden file instead.
pub fn check_pm2(name: &str, seen: &str) {
    if std::env::var_os("OSTLER_COMPAT_RECORD").is_some() {
        fs::write(golden(name), seen).unwrap();
        return;
    }
    let expected = fs::read_to_string(golden(name)).unwrap();
    assert!(expected == seen, "real PM2 does not say what golden/{name}.txt says\n{}", diff(&expected, seen));
}

/// Checks that ostler prints the golden file, apart from the intended differences.
pub fn check_ostler(name: &str, seen: &str, differences: &[Difference]) {
    let mut expected = fs::read_to_string(golden(name)).unwrap();
    for difference in differences {
        let line = format!("{}\n", difference.pm2);
        assert!(expected.contains(&line), "golden/{name}.txt has no line {:?} ({})", difference.pm2, difference.why);
        let replacement = if difference.ostler.is_empty() { String::new() } else { format!("{}\n", difference.ostler) };
        expected = expected.replace(&line, &replacement);
    }
    assert!(expected == seen, "ostler does not say what PM2 says in {name}\n{}", diff(&expected, seen));
}

/// Returns a line diff: ` ` in both, `-` expected, `+` seen. Uses the longest common subsequence,
/// which is fast enough for some hundred lines.
fn diff(expected: &str, seen: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), seen.lines().collect());
    let mut longest = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = if a[i] == b[j] { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        let (mark, line);
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (mark, line) = (' ', a[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            (mark, line) = ('-', a[i]);
            i += 1;
        } else {
            (mark, line) = ('+', b[j]);
            j += 1;
        }
        out += &format!("{mark}{line}\n");
    }
    out
}

/// Declares a session: `session!(name, [differences], function)` makes the tests `name::pm2` and
/// `name::ostler`.
macro_rules! session {
    ($(#[$doc:meta])* $name:ident, [$($difference:expr),* $(,)?], $run:expr) => {
        $(#[$doc])*
        mod $name {
            use super::*;

            #[test]
            fn pm2() {
                let Some(pm2) = ostler_testkit::Subject::pm2() else { ostler_testkit::skip!("there is no real PM2 to compare with") };
                let seen = $crate::compare::transcript(pm2, $run);
                $crate::compare::check_pm2(stringify!($name), &seen);
            }

            #[test]
            fn ostler() {
                let seen = $crate::compare::transcript($crate::compare::ostler(), $run);
                $crate::compare::check_ostler(stringify!($name), &seen, &[$($difference),*]);
            }
        }
    };
}
pub(crate) use session;
