//! `startup --check`: would a boot restore everything? It only reads; nothing is changed.
//!
//! Each check is one line with its result and, for a problem, the command that fixes it. [`unit`]
//! checks the service, [`list`] the saved list, and [`apps`] the requirements of each app. The
//! checks use the service's view: its user and its `PATH`.

mod apps;
mod list;
mod unit;

use std::path::Path;

use ostler_core::message;
use ostler_core::text::language::translated;
use serde_json::json;

use super::facts::{Facts, Scope, gather};
use super::platform::Platform;
use super::quote::sh;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, StartupError, Status};
use crate::render::face::{self, FindingRow, Mark};
use crate::render::{self, styles};
use crate::text::shown;

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Subject of the check.
    pub what: &'static str,
    /// Whether it is correct.
    pub ok: bool,
    /// Facts that were found.
    pub found: String,
    /// Remedy.
    pub remedy: Option<String>,
}

/// Creates a finding without a problem.
fn fine(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, ok: true, found: found.into(), remedy: None }
}

/// Creates a finding with a problem and its remedy.
fn wrong(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what, ok: false, found: found.into(), remedy: Some(remedy.into()) }
}

/// Returns the problems that would prevent a boot; none if the init system is unknown.
///
/// # Errors
/// Returns an error if the facts for `startup` cannot be determined.
pub(crate) fn verdict(cx: &Cx, call: &Call) -> Result<Option<Vec<String>>, CliError> {
    let Some(platform) = Platform::here() else { return Ok(None) };
    let facts = facts(cx, call, platform)?;
    let wrong = findings(&facts).into_iter().filter(|finding| !finding.ok);
    Ok(Some(wrong.map(|finding| format!("{}: {}", translated(finding.what), finding.found)).collect()))
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![];
    let path = unit::inspect(facts, &mut findings);
    let entries = list::inspect(facts, &mut findings);
    apps::inspect(facts, &entries, &path, &mut findings);
    findings
}

/// Runs all checks. The exit code is 0 only if a boot would restore everything.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let here = Platform::here();
    let platform = call.target().and_then(Platform::parse).or(here);
    let Some(platform) = platform else { return Err(StartupError::NothingToCheck.into()) };
    let facts = facts(cx, call, platform)?;
    let findings = findings(&facts);
    let ok = findings.iter().all(|finding| finding.ok);
    if call.has("json") {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "check": finding.what, "ok": finding.ok, "found": finding.found, "remedy": finding.remedy }))
            .collect();
        render::json(&mut cx.out, &json!({ "ok": ok, "platform": platform.name(), "service": facts.name, "checks": list }));
    } else {
        print(cx, &findings);
    }
    Ok(if ok { Status::Ok } else { Status::Failed })
}

/// Collects the facts. The user's own unit is checked if the user asks for it, or if no other unit
/// exists.
fn facts(cx: &Cx, call: &Call, platform: Platform) -> Result<Facts, CliError> {
    let user_unit = call.has("user-unit");
    let system = gather(cx, call, platform, if user_unit { Scope::User } else { Scope::System })?;
    if user_unit || platform != Platform::Systemd || super::plan(&system).target.exists() {
        return Ok(system);
    }
    match gather(cx, call, platform, Scope::User) {
        Ok(user) if super::plan(&user).target.exists() => Ok(user),
        _ => Ok(system),
    }
}

fn print(cx: &mut Cx, findings: &[Finding]) {
    let wrong = findings.iter().filter(|finding| !finding.ok).count();
    let verdict = match wrong {
        0 => message!("all saved apps start at boot"),
        1 => message!("1 problem found"),
        count => message!("{count} problems found", count),
    };
    if !cx.program.is_pm2() {
        let view = cx.out.view();
        let rows: Vec<FindingRow<'_>> = findings.iter().map(row).collect();
        let last = mark(wrong == 0);
        let line = face::hang(&[(&last.glyph().to_string(), last.style()), (&verdict, styles::PLAIN)], (0, 2), &view);
        return cx.out.text(face::findings(&rows, &view) + &line);
    }
    let paint = cx.out.paint();
    for Finding { what, ok, found, remedy } in findings {
        let sign = if *ok { paint.with(styles::GREEN, '✓') } else { paint.with(styles::RED, '✗') };
        cx.out.text(format_args!("{sign} {}: {}\n", translated(what), shown(found)));
        if let Some(remedy) = remedy {
            cx.out.text(format_args!("    → {}\n", shown(remedy)));
        }
    }
    cx.out.text(format_args!("{verdict}\n"));
}

fn mark(ok: bool) -> Mark {
    if ok { Mark::Done } else { Mark::Error }
}

fn row(finding: &Finding) -> FindingRow<'_> {
    FindingRow { mark: mark(finding.ok), what: translated(finding.what), found: &finding.found, remedy: finding.remedy.as_deref() }
}

/// Returns the command that would write the correct unit.
fn startup_command(facts: &Facts) -> String {
    let mut words = vec![facts.program.name().to_owned(), "startup".into(), facts.platform.name().into()];
    match facts.scope {
        Scope::User => words.push("--user-unit".into()),
        Scope::System => {
            words.insert(0, "sudo".into());
            words.extend(["-u".into(), sh(&facts.user.name)]);
            match Path::new(&facts.home).parent().and_then(Path::to_str).filter(|_| facts.has_usual_home()) {
                Some(base) => words.extend(["--hp".into(), sh(base)]),
                None => words.insert(1, format!("env {}={}", facts.variable(), sh(&facts.home))),
            }
        }
    }
    let usual = format!("{}-{}", facts.program.name(), super::quote::name_part(&facts.user.name));
    if facts.platform == Platform::Systemd && facts.name != usual {
        words.extend(["--service-name".into(), sh(&facts.name)]);
    }
    if facts.wait_ip {
        words.push("--wait-ip".into());
    }
    words.join(" ")
}

/// Returns true if the user's systemd runs without a login.
pub(crate) fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}
