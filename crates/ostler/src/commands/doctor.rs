//! `doctor`: problems on this machine, and how to fix them.

use ostler_core::message;
use serde_json::json;

use crate::cli::Call;
use crate::cx::Cx;
use crate::doctor::{DaemonState, Finding, Level, inspect};
use crate::error::{CliError, Status};
use crate::render::face::{self, FindingRow, Mark};
use crate::render::{self, View, styles};
use crate::startup::check;
use crate::text::shown;

/// Runs all checks. The exit code is 1 if a check fails; warnings and notes are no
/// failure.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = match cx.home() {
        Ok(home) => home.to_owned(),
        Err(error) => {
            return report(
                cx,
                call,
                &[Finding::new(Level::Wrong, "home", ostler_core::text::causes::with_causes(&error), message!("set OSTLER_HOME"))],
            );
        }
    };
    let daemon = match cx.running_client() {
        Ok(None) => DaemonState::None,
        Ok(Some(client)) => match client.inspect(&[]) {
            Ok(details) => client.peer().cloned().map_or(DaemonState::None, |peer| DaemonState::Runs(peer, details)),
            Err(error) => DaemonState::Faulty(ostler_core::text::causes::with_causes(&error)),
        },
        Err(error) => DaemonState::Faulty(ostler_core::text::causes::with_causes(&error)),
    };
    let mut findings = inspect(&home, &daemon);
    findings.push(boot(cx, call));
    report(cx, call, &findings)
}

/// Summarizes `startup --check` in one line.
fn boot(cx: &Cx, call: &Call) -> Finding {
    let what = "boot";
    match check::verdict(cx, call) {
        Ok(None) => Finding::new(
            Level::Note,
            what,
            message!("no supported init system was found"),
            message!("in a container, use ostler runtime; the engine restarts it"),
        ),
        Ok(Some(wrong)) if wrong.is_empty() => Finding::fine(what, message!("all saved apps start at boot")),
        Ok(Some(wrong)) => {
            let more = wrong.len() - 1;
            let found = if more == 0 { wrong[0].clone() } else { message!("{problem}; and {more} more", problem = wrong[0], more) };
            Finding::new(Level::Warning, what, found, message!("ostler startup --check  (lists each problem and its fix)"))
        }
        Err(error) => Finding::new(Level::Note, what, ostler_core::text::causes::with_causes(&error), "ostler startup --check"),
    }
}

fn report(cx: &mut Cx, call: &Call, findings: &[Finding]) -> Result<Status, CliError> {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Fine);
    if call.has("json") {
        let list: Vec<_> = findings
            .iter()
            .map(
                |finding| json!({ "check": finding.what, "level": finding.level.word(), "found": finding.found, "remedy": finding.remedy }),
            )
            .collect();
        render::json(&mut cx.out, &json!({ "ok": worst < Level::Wrong, "level": worst.word(), "checks": list }));
    } else {
        print(cx, findings, call.has("all"));
    }
    Ok(if worst < Level::Wrong { Status::Ok } else { Status::Failed })
}

/// Prints the findings, the worst first. Checks that passed are only counted, unless the user wants
/// to see them.
fn print(cx: &mut Cx, findings: &[Finding], is_all: bool) {
    if cx.program.is_pm2() {
        return print_as_pm2(cx, findings);
    }
    let text = doctor_report(findings, is_all, cx.program.name(), &cx.out.view());
    cx.out.text(text);
}

/// Formats the findings and the counts.
pub(crate) fn doctor_report(findings: &[Finding], is_all: bool, program: &str, view: &View) -> String {
    let rows: Vec<FindingRow<'_>> = findings.iter().filter(|finding| is_all || finding.level > Level::Fine).map(row).collect();
    let all = (!is_all).then(|| format!("{program} doctor --all"));
    face::findings(&rows, view) + &verdict_line(findings, all.as_deref(), view)
}

/// Returns the last line: the counts, and the command that shows the checks that passed.
fn verdict_line(findings: &[Finding], all: Option<&str>, view: &View) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let verdict = problem_counts(findings);
    let notes = match count(Level::Note) {
        0 => None,
        1 => Some(message!("1 note")),
        count => Some(message!("{count} notes", count)),
    };
    let passed = match (count(Level::Fine), all) {
        (0, _) => None,
        (1, None) => Some(message!("1 check passed")),
        (1, Some(command)) => Some(message!("1 check passed (`{command}` lists them)", command)),
        (count, None) => Some(message!("{count} checks passed", count)),
        (count, Some(command)) => Some(message!("{count} checks passed (`{command}` lists them)", count, command)),
    };
    let rest = [notes, passed];
    let rest: String = rest.into_iter().flatten().map(|text| format!(", {text}")).collect();
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Fine);
    let mark = if worst < Level::Warning { Mark::Done } else { mark(worst) };
    face::hang(&[(&mark.glyph().to_string(), mark.style()), (&(verdict + &rest), styles::PLAIN)], (0, 2), view)
}

fn row(finding: &Finding) -> FindingRow<'_> {
    let Finding { what, level, found, remedy } = finding;
    FindingRow { mark: mark(*level), what, found, remedy: remedy.as_deref() }
}

fn mark(level: Level) -> Mark {
    match level {
        Level::Fine => Mark::Done,
        Level::Note => Mark::Note,
        Level::Warning => Mark::Warning,
        Level::Wrong => Mark::Error,
    }
}

/// Counts errors and warnings in words.
fn problem_counts(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let errors = match count(Level::Wrong) {
        0 => None,
        1 => Some(message!("1 error")),
        count => Some(message!("{count} errors", count)),
    };
    let warnings = match count(Level::Warning) {
        0 => None,
        1 => Some(message!("1 warning")),
        count => Some(message!("{count} warnings", count)),
    };
    let counts: Vec<String> = [errors, warnings].into_iter().flatten().collect();
    if counts.is_empty() { message!("no problems found") } else { counts.join(", ") }
}

/// Prints every finding without wrapping, for scripts that call `pm2`.
fn print_as_pm2(cx: &mut Cx, findings: &[Finding]) {
    let paint = cx.out.paint();
    for Finding { what, level, found, remedy } in findings {
        let style = if *level == Level::Note { styles::GREY } else { mark(*level).style() };
        cx.out.text(format_args!("{} {}: {}\n", paint.with(style, mark(*level).glyph()), shown(what), shown(found)));
        if let Some(remedy) = remedy {
            cx.out.text(format_args!("    → {}\n", shown(remedy)));
        }
    }
    cx.out.text(format_args!("{}\n", problem_counts(findings)));
}
