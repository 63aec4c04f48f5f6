//! `startup`: have the saved apps started at boot.

use std::path::Path;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::home;
use crate::startup::{self, Facts, Plan, Platform, Scope, check, sh, steps};

/// Writes what the init system needs and switches it on; nothing is started. Without root: says which command line to run.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("check") {
        return check::run(cx, call);
    }
    let Some((platform, scope)) = begin(cx, call, "startup")? else { return Ok(Status::Failed) };
    let facts = startup::gather(cx, call, platform, scope)?;
    let plan = startup::plan(&facts);
    show(cx, &plan, platform);
    perform(cx, &plan)?;
    close(cx, &facts);
    Ok(Status::Ok)
}

/// Which init system, and whose; none when it was said how to do it as root.
pub(super) fn begin(cx: &mut Cx, call: &Call, command: &str) -> Result<Option<(Platform, Scope)>, CliError> {
    let platform = platform(cx, call)?;
    if call.has("user-unit") {
        return match platform {
            Platform::Systemd => Ok(Some((platform, Scope::User))),
            _ => Err(CliError::Failed(format!("--user-unit is for systemd, this is {}", platform.name()))),
        };
    }
    // An agent of launchd is the user's own, but PM2 asks for root there, too.
    if rustix::process::geteuid().is_root() {
        return Ok(Some((platform, Scope::System)));
    }
    if platform == Platform::Systemd {
        let name = cx.program.name();
        cx.out.err_line(format_args!("without root, in your own systemd: {name} {command} --user-unit"));
    }
    tell_root(cx, call, &[command, platform.name()])?;
    Ok(None)
}

fn platform(cx: &mut Cx, call: &Call) -> Result<Platform, CliError> {
    let here = Platform::here();
    if let Some(here) = here {
        cx.out.info(format_args!("Init System found: {}", here.name()));
    }
    let Some(word) = call.target() else {
        return here.ok_or_else(|| CliError::Failed(format!("Init system not found; name one: {}", names())));
    };
    let given = Platform::parse(word)
        .ok_or_else(|| CliError::Failed(format!("Unknown platform / init system name: {word}; it is one of {}", names())))?;
    if let Some(here) = here.filter(|here| *here != given) {
        let (label, name, line) = (cx.program.label(), cx.program.name(), "-".repeat(59));
        cx.out.line(format_args!("{line}\n {label} detected {} but you precised {}", here.name(), given.name()));
        cx.out.line(" Please verify that your choice is indeed your init system");
        cx.out.line(format_args!(" If you arent sure, just run : {name} startup\n{line}"));
    }
    Ok(given)
}

fn names() -> String {
    Platform::ALL.map(Platform::name).join(", ")
}

/// What root has to type. The line to copy is the last one on stdout: scripts take it from there.
pub(super) fn tell_root(cx: &mut Cx, call: &Call, command: &[&str]) -> Result<(), CliError> {
    let exe = startup::own_program(cx.program)?;
    let me = rustix::process::geteuid().as_raw();
    let own = ostler_sys::user::user_by_id(me).ok().flatten();
    let user = call.value("user").map(str::to_owned).or_else(|| own.as_ref().map(|own| own.name.clone())).unwrap_or_else(|| me.to_string());
    let folder = Path::new(&exe).parent().map_or("/usr/bin".into(), |folder| folder.display().to_string());
    let mut words = vec!["sudo".to_owned(), "env".into(), format!("PATH=$PATH:{}", sh(&folder))];
    let mut base = call.value("hp").map(str::to_owned);
    if base.is_none() && home::is_given() {
        let variable = if cx.program.is_pm2() { "PM2_HOME" } else { "OSTLER_HOME" };
        words.push(format!("{variable}={}", sh(&home::locate(cx.program)?.display().to_string())));
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
        Some(&"startup") => "To setup the Startup Script, copy/paste the following command:",
        Some(&"unstartup") => "To unsetup the Startup Script, copy/paste the following command:",
        _ => "You have to run this command as root. Execute the following command:",
    });
    cx.out.data(format!("{}\n", words.join(" ")).as_bytes());
    Ok(())
}

fn show(cx: &mut Cx, plan: &Plan, platform: Platform) {
    cx.out.line(format_args!("Platform {}", platform.name()));
    cx.out.line(format_args!("Template\n{}", plan.text));
    cx.out.line(format_args!("Target path\n{}", plan.target.display()));
    let commands: Vec<String> = plan.commands().iter().map(|command| format!("'{command}'")).collect();
    cx.out.line(format_args!("Command list\n[ {} ]", commands.join(", ")));
}

/// All steps or none.
pub(super) fn perform(cx: &mut Cx, plan: &Plan) -> Result<(), CliError> {
    let out = &mut cx.out;
    steps::perform(&plan.steps, &mut |told| match told {
        steps::Told::Writing(path) => {
            out.info(format_args!("Writing init configuration in {}", path.display()));
            out.info("Making script booting at startup...");
        }
        steps::Told::Removing(path) => out.info(format_args!("Removing {}", path.display())),
        steps::Told::Executing(command) => out.info(format_args!("[-] Executing: {command}...")),
        steps::Told::Executed => out.info("[v] Command successfully executed."),
        steps::Told::Passed(reason) => out.info(format_args!("[v] Nothing to do ({reason}).")),
        steps::Told::Undoing => out.warn("taking back what was done"),
    })
    .map_err(|error| CliError::Failed(format!("{error}; nothing was changed")))
}

fn close(cx: &mut Cx, facts: &Facts) {
    let name = cx.program.name();
    let (platform, flag) = (facts.platform.name(), if facts.scope == Scope::User { " --user-unit" } else { "" });
    cx.out.line("+---------------------------------------+");
    cx.out.info("Freeze a process list on reboot via:");
    cx.out.line(format_args!("$ {name} save\n"));
    cx.out.info("Remove init script via:");
    cx.out.line(format_args!("$ {name} unstartup {platform}{flag}\n"));
    cx.out.info("See whether a boot would bring everything back:");
    cx.out.line(format_args!("$ {name} startup --check{flag}"));
    if facts.scope == Scope::User && !check::lingers(&facts.user.name) {
        let user = sh(&facts.user.name);
        cx.out.warn(format_args!(
            "your systemd starts with your first login and ends with the last; to have it start at boot: sudo loginctl enable-linger {user}"
        ));
    }
}
