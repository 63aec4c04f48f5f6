//! `startup`: start the saved apps at boot.

use std::path::Path;

use ostler_core::message;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::startup::{self, Facts, Plan, Platform, Scope, check, perform, prepare, sh};

/// Writes the files that the init system needs and enables them; nothing is started. Without root,
/// prints the command line to run.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("check") {
        return check::run(cx, call);
    }
    let Some((platform, scope)) = prepare(cx, call, "startup")? else { return Ok(Status::Failed) };
    let facts = startup::gather(cx, call, platform, scope)?;
    cx.refuse_beside_pm2(Path::new(&facts.home), &message!("set up the start at boot"))?;
    let plan = startup::plan(&facts);
    show(cx, &plan, platform);
    perform(cx, &plan)?;
    close(cx, &facts);
    Ok(Status::Ok)
}

fn show(cx: &mut Cx, plan: &Plan, platform: Platform) {
    cx.out.line(message!("Platform {name}", name = platform.name()));
    cx.out.line(message!("Template\n{text}", text = plan.text));
    cx.out.line(message!("Target path\n{path}", path = plan.target.display()));
    let commands: Vec<String> = plan.commands().iter().map(|command| format!("'{command}'")).collect();
    cx.out.line(message!("Command list\n[ {commands} ]", commands = commands.join(", ")));
}

fn close(cx: &mut Cx, facts: &Facts) {
    let name = cx.program.name();
    let (platform, flag) = (facts.platform.name(), if facts.scope == Scope::User { " --user-unit" } else { "" });
    cx.out.line("+---------------------------------------+");
    cx.out.info(message!("Freeze a process list on reboot via:"));
    cx.out.line(format_args!("$ {name} save\n"));
    cx.out.info(message!("Remove init script via:"));
    cx.out.line(format_args!("$ {name} unstartup {platform}{flag}\n"));
    cx.out.info(message!("Check that all saved apps would start at boot:"));
    cx.out.line(format_args!("$ {name} startup --check{flag}"));
    if facts.scope == Scope::User && !check::lingers(&facts.user.name) {
        let user = sh(&facts.user.name);
        cx.out.warn(message!("your user's systemd starts with the first login and stops with the last logout; to start it at boot: sudo loginctl enable-linger {user}", user));
    }
}
