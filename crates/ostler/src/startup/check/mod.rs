//! `startup --check`: would a boot bring everything back? Looks only; nothing is changed.
//!
//! Each check is one line that says what was found, and for what is wrong the command that corrects it. [`unit`] looks at the service,
//! [`list`] at what was saved, [`apps`] at what each app needs, seen as the service will see it: with its user and its `PATH`.

mod access;
mod apps;
mod list;
mod unit;

use std::path::Path;

use serde_json::json;

use super::facts::{Facts, Scope, gather};
use super::platform::Platform;
use super::quote::sh;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, StartupError, Status};
use crate::render::{self, styles};
use crate::text::shown;

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The thing that was looked at.
    pub what: &'static str,
    /// Whether it is as it has to be.
    pub ok: bool,
    /// The facts that were found.
    pub found: String,
    /// Remedy.
    pub remedy: Option<String>,
}

/// A finding that is as it has to be.
fn fine(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, ok: true, found: found.into(), remedy: None }
}

/// A finding that is not, and its remedy.
fn wrong(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what, ok: false, found: found.into(), remedy: Some(remedy.into()) }
}

/// What stands in the way of a boot, in words; none where no init system is known.
///
/// # Errors
/// What `startup` would need to know cannot be found out.
pub(crate) fn verdict(cx: &Cx, call: &Call) -> Result<Option<Vec<String>>, CliError> {
    let Some(platform) = Platform::here() else { return Ok(None) };
    let facts = facts(cx, call, platform)?;
    let wrong = findings(&facts).into_iter().filter(|finding| !finding.ok);
    Ok(Some(wrong.map(|finding| format!("{}: {}", finding.what, finding.found)).collect()))
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![];
    let path = unit::look(facts, &mut findings);
    let entries = list::look(facts, &mut findings);
    apps::look(facts, &entries, &path, &mut findings);
    findings
}

/// Everything at once; exit code 0 only when a boot would bring everything back.
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

/// The facts. The user's own unit is meant when it is asked for, or when it is the only one there is.
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
    let paint = cx.out.paint();
    for Finding { what, ok, found, remedy } in findings {
        let sign = if *ok { paint.with(styles::GREEN, '✓') } else { paint.with(styles::RED, '✗') };
        cx.out.text(format_args!("{sign} {what}: {}\n", shown(found)));
        if let Some(remedy) = remedy {
            cx.out.text(format_args!("    → {}\n", shown(remedy)));
        }
    }
    let wrong = findings.iter().filter(|finding| !finding.ok).count();
    let verdict = match wrong {
        0 => "a boot brings everything back".to_owned(),
        1 => "1 thing stands in the way".to_owned(),
        n => format!("{n} things stand in the way"),
    };
    cx.out.text(format_args!("{verdict}\n"));
}

/// The command that would write the unit as it has to be.
fn startup_again(facts: &Facts) -> String {
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

/// True if the user's systemd runs without a login.
pub(crate) fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}
