//! ostler's own look: mistakes of a config file, and the findings of `doctor`.

use ostler_config::{Position, Problem, ProblemKind};

use super::{assert_fits, golden_at_each_width};
use crate::commands::doctor_report;
use crate::doctor::{Finding, Level};
use crate::render::View;
use crate::render::face::{mistakes, mistakes_verdict};

fn problem(app: &str, place: (u32, u32), key: &str, message: &str) -> Problem {
    let position = Position { line: place.0, column: place.1 };
    Problem::error(ProblemKind::Value, message).at(key).in_file(Some("ecosystem.config.js"), Some(position)).of_app(app)
}

/// Mistakes of apps with ordinary and with difficult names.
fn problems() -> Vec<Problem> {
    let long = "x".repeat(200);
    vec![
        Problem::warning(ProblemKind::Other, "every user can change this file or a folder on its path")
            .in_file(Some("ecosystem.config.js"), None),
        problem("api", (7, 7), "apps[0].max_restarts", "expected a number, found \"ten\""),
        problem("api", (9, 12), "apps[0].listen", "port 3000 is used by nginx (pid 812)"),
        problem("worker", (15, 7), "apps[1].max_memory_restart", "16 GB is more than this machine has (4.0 GB)").as_warning(),
        problem("日本語 🚀", (21, 5), "apps[2].script", "Script not found: /srv/日本語/app.js"),
        problem("\u{1b}[31mred", (27, 5), "apps[3].cwd", "the directory /srv/\u{1b}[2J does not exist"),
        problem(&long, (33, 5), &format!("apps[4].env[\"{long}\"]"), "the name of a variable cannot contain \"=\""),
        Problem::error(ProblemKind::Foreign, "the file is refused: the user 1001 can change it or a folder on its path")
            .in_file(Some("/srv/shared/other.config.js"), None),
    ]
}

fn validated(view: &View) -> String {
    let problems = problems();
    let names = |count: usize| (0..count).map(|n| format!("app-{n}")).collect::<Vec<_>>();
    let warnings: Vec<Problem> = problems.iter().filter(|problem| !problem.is_error()).cloned().collect();
    [
        mistakes(&problems, view) + "\n" + &mistakes_verdict("ecosystem.config.js", &problems, &names(1), view),
        mistakes(&warnings, view) + "\n" + &mistakes_verdict("ecosystem.config.js", &warnings, &names(2), view),
        mistakes_verdict("ecosystem.config.js", &[], &names(3), view),
        mistakes_verdict("ecosystem.config.js", &[], &names(1000), view),
        mistakes_verdict("ecosystem.config.js", &[], &[], view),
    ]
    .join("---\n")
}

fn findings() -> Vec<Finding> {
    vec![
        Finding::fine("home", "/root/.ostler, mode 700"),
        Finding::new(
            Level::Note,
            "clock",
            "not synchronized (NTP is off)",
            "start chrony, ntpd or systemd-timesyncd: cron and the dates in logs depend on the clock",
        ),
        Finding::new(
            Level::Warning,
            "PM2",
            "its daemon runs (pid 812) in /root/.pm2",
            "ostler migrate /root/.pm2  (one app after the other; --dry-run shows how)",
        ),
        Finding::new(
            Level::Wrong,
            "disk of /var/lib/ostler",
            "0 B of 20 GB free",
            "logs are delayed while the disk is full: ostler flush, or `ostler set pm2-logrotate:retain`, `max_size`",
        ),
        Finding::new(
            Level::Warning,
            format!("app {}", "日本".repeat(60)),
            "\u{1b}[2J express-session keeps sessions in the memory of one instance (2 instances)",
            "use a store that all instances share",
        ),
        Finding::fine("open files", "unlimited"),
    ]
}

fn doctored(view: &View) -> String {
    let all = findings();
    let only = |levels: &[Level]| all.iter().filter(|finding| levels.contains(&finding.level)).cloned().collect::<Vec<_>>();
    [
        doctor_report(&all, false, "ostler", view),
        doctor_report(&all, true, "ostler", view),
        doctor_report(&only(&[Level::Fine, Level::Note]), false, "ostler", view),
        doctor_report(&only(&[Level::Fine]), false, "ostler", view),
    ]
    .join("---\n")
}

#[test]
fn mistakes_fit_and_match_golden_files() {
    golden_at_each_width("own-validate", validated);
}

#[test]
fn findings_fit_and_match_golden_files() {
    golden_at_each_width("own-doctor", doctored);
}

#[test]
fn checks_are_never_wider_than_the_terminal() {
    for width in 20..=200 {
        let view = View::played(0, Some(width));
        assert_fits(&validated(&view), width);
        assert_fits(&doctored(&view), width);
    }
}

/// Nothing is lost on a narrow terminal.
#[test]
fn narrow_terminals_wrap_but_drop_nothing() {
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let wide = View::played(0, None);
    for width in [20, 37, 60] {
        let narrow = View::played(0, Some(width));
        assert_eq!(words(&validated(&narrow)), words(&validated(&wide)), "{width}");
        assert_eq!(words(&doctored(&narrow)), words(&doctored(&wide)), "{width}");
    }
}
