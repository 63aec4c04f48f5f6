//! `doctor`: problems on this machine, and how to fix them.

use serde_json::json;

use crate::cli::Call;
use crate::cx::Cx;
use crate::doctor::{DaemonState, Finding, Level, inspect};
use crate::error::{CliError, Status};
use crate::render::{self, styles};
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
                &[Finding::new(Level::Wrong, "home", ostler_core::text::causes::with_causes(&error), "set OSTLER_HOME")],
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
            "no supported init system was found",
            "in a container, use ostler runtime; the engine restarts it",
        ),
        Ok(Some(wrong)) if wrong.is_empty() => Finding::fine(what, "all saved apps start at boot"),
        Ok(Some(wrong)) => {
            let more = wrong.len() - 1;
            let found = if more == 0 { wrong[0].clone() } else { format!("{}; and {more} more", wrong[0]) };
            Finding::new(Level::Warning, what, found, "ostler startup --check  (lists each problem and its fix)")
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
        print(cx, findings);
    }
    Ok(if worst < Level::Wrong { Status::Ok } else { Status::Failed })
}

fn print(cx: &mut Cx, findings: &[Finding]) {
    let paint = cx.out.paint();
    for Finding { what, level, found, remedy } in findings {
        let sign = match level {
            Level::Fine => paint.with(styles::GREEN, '✓'),
            Level::Note => paint.with(styles::GREY, '·'),
            Level::Warning => paint.with(styles::YELLOW, '!'),
            Level::Wrong => paint.with(styles::RED, '✗'),
        };
        cx.out.text(format_args!("{sign} {}: {}\n", shown(what), shown(found)));
        if let Some(remedy) = remedy {
            cx.out.text(format_args!("    → {}\n", shown(remedy)));
        }
    }
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let counted = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts: Vec<String> = [counted(count(Level::Wrong), "error", "errors"), counted(count(Level::Warning), "warning", "warnings")]
        .into_iter()
        .flatten()
        .collect();
    let verdict = if parts.is_empty() { "no problems found".to_owned() } else { parts.join(", ") };
    cx.out.text(format_args!("{verdict}\n"));
}
