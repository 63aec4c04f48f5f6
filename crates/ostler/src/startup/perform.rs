//! Common start of every boot command, and the execution of its plan.

use std::path::Path;

use ostler_core::message;

use super::facts::{Scope, own_program};
use super::plan::Plan;
use super::platform::Platform;
use super::quote::sh;
use super::steps;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, StartupError};
use crate::home;

/// Returns the init system and its scope; none if the command line for root was printed instead.
pub(crate) fn prepare(cx: &mut Cx, call: &Call, command: &str) -> Result<Option<(Platform, Scope)>, CliError> {
    let platform = platform(cx, call)?;
    if call.has("user-unit") {
        return match platform {
            Platform::Systemd => Ok(Some((platform, Scope::User))),
            _ => Err(StartupError::UserUnit(platform.name()).into()),
        };
    }
    // An agent of launchd belongs to the user, but PM2 requires root there, too.
    if rustix::process::geteuid().is_root() {
        return Ok(Some((platform, Scope::System)));
    }
    if platform == Platform::Systemd {
        let name = cx.program.name();
        cx.out.err_line(message!("without root, in your own systemd: {name} {command} --user-unit", name, command));
    }
    print_root_command(cx, call, &[command, platform.name()])?;
    Ok(None)
}

fn platform(cx: &mut Cx, call: &Call) -> Result<Platform, CliError> {
    let here = Platform::here();
    if let Some(here) = here {
        cx.out.info(message!("Init System found: {name}", name = here.name()));
    }
    let Some(word) = call.target() else {
        return here.ok_or_else(|| StartupError::NoInit(names()).into());
    };
    let given = Platform::parse(word).ok_or_else(|| StartupError::UnknownPlatform { word: word.to_owned(), names: names() })?;
    if let Some(here) = here.filter(|here| *here != given) {
        let (label, name, line) = (cx.program.label(), cx.program.name(), "-".repeat(59));
        cx.out.line(message!(
            "{line}\n {label} detected {detected} but you precised {given}",
            line,
            label,
            detected = here.name(),
            given = given.name()
        ));
        cx.out.line(message!(" Please verify that your choice is indeed your init system"));
        cx.out.line(message!(" If you arent sure, just run : {name} startup\n{line}", name, line));
    }
    Ok(given)
}

fn names() -> String {
    Platform::ALL.map(Platform::name).join(", ")
}

/// Prints the command line for root. It is the last line on stdout, so that scripts can find it.
pub(crate) fn print_root_command(cx: &mut Cx, call: &Call, command: &[&str]) -> Result<(), CliError> {
    let exe = own_program(cx.program)?;
    let me = rustix::process::geteuid().as_raw();
    let own = ostler_sys::users::user::user_by_id(me).ok().flatten();
    let user = call.value("user").map(str::to_owned).or_else(|| own.as_ref().map(|own| own.name.clone())).unwrap_or_else(|| me.to_string());
    let folder = Path::new(&exe).parent().map_or("/usr/bin".into(), |folder| folder.display().to_string());
    let mut words = vec!["sudo".to_owned(), "env".into(), format!("PATH=$PATH:{}", sh(&folder))];
    let mut base = call.value("hp").map(str::to_owned);
    if base.is_none() && home::is_given() {
        words.push(format!("{}={}", home::variable(cx.program), sh(&home::locate(cx.program)?.display().to_string())));
    } else if base.is_none() {
        base = std::env::var("HOME").ok().filter(|home| !home.is_empty()).or_else(|| own.map(|own| own.home));
    }
    words.push(sh(&exe));
    words.extend(command.iter().map(|&word| word.to_owned()));
    words.extend(["-u".into(), sh(&user)]);
    if let Some(base) = base {
        words.extend(["--hp".into(), sh(&base)]);
    }
    if let Some(name) = call.value("service-name") {
        words.extend(["--service-name".into(), sh(name)]);
    }
    if call.has("wait-ip") {
        words.push("--wait-ip".into());
    }
    cx.out.info(match command.first() {
        Some(&"startup") => message!("To setup the Startup Script, copy/paste the following command:"),
        Some(&"unstartup") => message!("To unsetup the Startup Script, copy/paste the following command:"),
        _ => message!("You have to run this command as root. Execute the following command:"),
    });
    cx.out.data(format!("{}\n", words.join(" ")).as_bytes());
    Ok(())
}

/// Performs all steps or none.
pub(crate) fn perform(cx: &mut Cx, plan: &Plan) -> Result<(), CliError> {
    let out = &mut cx.out;
    steps::perform(&plan.steps, &mut |progress| match progress {
        steps::SetupProgress::Writing(path) => {
            out.info(message!("Writing init configuration in {path}", path = path.display()));
            out.info(message!("Making script booting at startup..."));
        }
        steps::SetupProgress::Removing(path) => out.info(message!("Removing {path}", path = path.display())),
        steps::SetupProgress::Executing(command) => out.info(message!("[-] Executing: {command}...", command)),
        steps::SetupProgress::Executed => out.info(message!("[v] Command successfully executed.")),
        steps::SetupProgress::Passed(reason) => out.info(message!("[v] Nothing to do ({reason}).", reason)),
        steps::SetupProgress::Undoing => out.warn(message!("undoing the steps that were done")),
    })
    .map_err(CliError::unchanged)
}
