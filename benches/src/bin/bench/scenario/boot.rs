//! Twenty apps after a reboot, on a machine with a real systemd of its own: from the start of the manager's unit until all run.

use super::ms;
use crate::contender::Kind;
use crate::lab::{Lab, Subject, Turn, stamps};
use crate::report::Row;
use anyhow::{Context, Result, anyhow, ensure};
use ostler_testkit::{Machine, no_machine};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const APPS: usize = 20;
/// On the machine: the apps' program, its Node counterpart, where both write the time of their first instruction, and PM2.
const TINY: &str = "/usr/local/bin/tiny";
const SCRIPT: &str = "/srv/app.js";
const STAMPS: &str = "/srv/stamps";
const PM2: &str = "/opt/pm2/node_modules";
/// In the cache beside PM2, large, and not its own.
const NOT_PM2: [&str; 4] = ["bun", "@oven", "deno", "@deno"];

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("boot: start of the unit → first instruction of all of 20 apps", "ms", "≤ 1,000"),
        Row::new("boot: the same with apps of Node, their first line", "ms", "≤ 1,000"),
    ];
    Ok(lab.rows(lab.rounds(5, 1), rows, |subject| {
        let Subject::Manager(kind @ (Kind::Ostler | Kind::Pm2)) = subject else { return Ok(Turn::LeftOut("has no unit")) };
        if no_machine().is_some() {
            return Ok(Turn::LeftOut("needs the systemd root"));
        }
        // The machine is made for tests: what goes wrong with it is a panic.
        let turn = catch_unwind(AssertUnwindSafe(|| boot(lab, kind)));
        Ok(Turn::Values(turn.map_err(|_| anyhow!("the machine failed"))??))
    }))
}

fn boot(lab: &Lab, kind: Kind) -> Result<[f64; 2]> {
    let mut machine = Machine::boot(lab.program(Kind::Ostler)?);
    copy(Path::new(&lab.tiny()), &machine.path(TINY))?;
    machine.write(
        SCRIPT,
        &format!("require('fs').appendFileSync('{STAMPS}', process.hrtime.bigint() + '\\n');\nsetInterval(() => {{}}, 1e6);\n"),
    );
    let (program, unit) = match kind {
        Kind::Pm2 => (install_pm2(lab, &machine)?, "pm2-root.service"),
        _ => ("/usr/bin/ostler".to_owned(), "ostler-root.service"),
    };
    let call = |machine: &Machine, words: &str| {
        drop(machine.ok(format!("env PM2_DISABLE_VERSION_CHECK=1 PM2_DISCRETE_MODE=1 {program} {words}")));
    };
    call(&machine, "startup systemd");
    let mut took = Vec::new();
    for app in [(TINY, r#""args": ["stamp", "/srv/stamps"], "interpreter": "none", "#), (SCRIPT, "")] {
        machine.write("/srv/apps.json", &apps(app));
        call(&machine, "start /srv/apps.json");
        call(&machine, "save");
        machine.wait_until("all apps have run", || stamps(&machine.path(STAMPS)).len() == APPS);
        std::fs::remove_file(machine.path(STAMPS)).context("cannot remove the times")?;
        machine.reboot();
        machine.wait_until("all apps run", || stamps(&machine.path(STAMPS)).len() == APPS);
        let begin: u64 = machine.property(unit, "InactiveExitTimestampMonotonic").parse().context("the unit has no start")?;
        let last = stamps(&machine.path(STAMPS)).into_iter().max().context("no app")?;
        took.push(ms(Duration::from_nanos(u64::try_from(last)?.saturating_sub(begin * 1000))));
        machine.wait_unit(unit, "active");
        call(&machine, "delete all");
        std::fs::remove_file(machine.path(STAMPS)).context("cannot remove the times")?;
    }
    took.try_into().map_err(|_| anyhow!("not as many boots as rows"))
}

fn apps((script, more): (&str, &str)) -> String {
    let app = |number| format!(r#"{{"name": "app-{number}", "script": "{script}", {more}"exec_mode": "fork"}}"#);
    format!(r#"{{"apps": [{}]}}"#, (0..APPS).map(app).collect::<Vec<_>>().join(", "))
}

/// From the cache, where npm has put it; the machine has no network.
fn install_pm2(lab: &Lab, machine: &Machine) -> Result<String> {
    let script = std::fs::canonicalize(lab.program(Kind::Pm2)?).context("PM2 is not there")?;
    let modules = script.ancestors().find(|folder| folder.ends_with("node_modules")).context("PM2 is in no node_modules")?;
    let inside = script.strip_prefix(modules)?.to_str().context("PM2 is nowhere that can be named")?.to_owned();
    let to: PathBuf = machine.path(PM2);
    std::fs::create_dir_all(&to).context("cannot make a place for PM2")?;
    for entry in std::fs::read_dir(modules).context("cannot read PM2")?.flatten() {
        if !NOT_PM2.iter().any(|name| entry.file_name() == *name) {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(format!("{PM2}/{inside}"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let status = Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status().context("cannot run cp")?;
    ensure!(status.success(), "cannot copy {}", from.display());
    Ok(())
}
