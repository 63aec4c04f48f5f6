//! Twenty apps after a reboot, on a machine with its own real systemd: from the start of the
//! manager's unit until all run.

use super::ms;
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::report::Row;
use anyhow::{Context, Result, anyhow, ensure};
use ostler_testkit::{Machine, no_machine};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const APPS: usize = 20;
/// Paths on the machine: the program of the apps, its counterpart for Node (both write the time of
/// their first instruction), and PM2.
const TINY: &str = "/usr/local/bin/tiny";
const SCRIPT: &str = "/srv/app.js";
const STAMPS: &str = "/srv/stamps";
const PM2: &str = "/opt/pm2/node_modules";
/// Large packages in PM2's cache folder that are not part of PM2.
const NOT_PM2: [&str; 4] = ["bun", "@oven", "deno", "@deno"];

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("boot: start of the unit → first instruction of all of 20 apps (floor: a shell)", "ms", "≤ 1,000"),
        Row::new("boot: the same with apps of Node, their first line", "ms", ""),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| {
        if subject == Subject::Manager(ManagerKind::Supervisor) {
            return Ok(TurnResult::LeftOut("has no unit"));
        }
        if no_machine().is_some() {
            return Ok(TurnResult::LeftOut("needs the systemd root"));
        }
        // The machine is made for tests, so its errors are panics.
        let turn = catch_unwind(AssertUnwindSafe(|| boot(lab, subject)));
        Ok(TurnResult::Values(turn.map_err(|_| anyhow!("the machine failed"))??))
    }))
}

fn boot(lab: &Lab, subject: Subject) -> Result<[f64; 2]> {
    let mut machine = Machine::boot(lab.program(ManagerKind::Ostler)?);
    copy(Path::new(&lab.tiny()), &machine.path(TINY))?;
    let line = format!("require('fs').appendFileSync('{STAMPS}', process.hrtime.bigint() + '\\n');");
    machine.write(SCRIPT, &format!("{line}\nsetInterval(() => {{}}, 1e6);\n"));
    let service = Service::install(lab, subject, &machine)?;
    let mut took = Vec::new();
    for app in [Program::Tiny, Program::Node] {
        service.save(&machine, app);
        all_run(&machine);
        forget(&machine)?;
        machine.reboot();
        all_run(&machine);
        let begin: u64 = machine.property(service.unit(), "InactiveExitTimestampMonotonic").parse().context("the unit has no start")?;
        let last = stamps(&machine.path(STAMPS)).into_iter().max().context("no app")?;
        took.push(ms(Duration::from_nanos(u64::try_from(last)?.saturating_sub(begin * 1000))));
        machine.wait_unit(service.unit(), "active");
        service.stop(&machine);
        forget(&machine)?;
    }
    took.try_into().map_err(|_| anyhow!("not as many boots as rows"))
}

fn all_run(machine: &Machine) {
    machine.wait_until("all apps run", || stamps(&machine.path(STAMPS)).len() == APPS);
}

fn forget(machine: &Machine) -> Result<()> {
    std::fs::remove_file(machine.path(STAMPS)).context("cannot remove the times")
}

/// Program of the apps.
#[derive(Clone, Copy)]
enum Program {
    Tiny,
    Node,
}

impl Program {
    /// Returns the words for a shell.
    fn words(self) -> String {
        match self {
            Program::Tiny => format!("{TINY} stamp {STAMPS}"),
            Program::Node => format!("node {SCRIPT}"),
        }
    }

    fn app(self, number: usize) -> serde_json::Value {
        let mut app = match self {
            Program::Tiny => json!({ "script": TINY, "args": ["stamp", STAMPS], "interpreter": "none" }),
            Program::Node => json!({ "script": SCRIPT }),
        };
        app["name"] = json!(format!("app-{number}"));
        app["exec_mode"] = json!("fork");
        app
    }
}

/// Service that restores the apps.
enum Service {
    /// The manager's program, and the unit that its `startup` creates.
    Manager(String, &'static str),
    /// A unit whose shell starts them.
    Shell,
}

impl Service {
    fn install(lab: &Lab, subject: Subject, machine: &Machine) -> Result<Service> {
        let service = match subject {
            Subject::Manager(ManagerKind::Pm2) => Service::Manager(install_pm2(lab, machine)?, "pm2-root.service"),
            Subject::Manager(_) => Service::Manager("/usr/bin/ostler".into(), "ostler-root.service"),
            Subject::Floor => Service::Shell,
        };
        service.call(machine, "startup systemd");
        Ok(service)
    }

    fn unit(&self) -> &'static str {
        match self {
            Service::Manager(_, unit) => unit,
            Service::Shell => "floor.service",
        }
    }

    fn call(&self, machine: &Machine, words: &str) {
        if let Service::Manager(program, _) = self {
            machine.ok(format!("env PM2_DISABLE_VERSION_CHECK=1 PM2_DISCRETE_MODE=1 {program} {words}"));
        }
    }

    /// Runs the apps, and arranges that a boot starts them.
    fn save(&self, machine: &Machine, program: Program) {
        match self {
            Service::Manager(..) => {
                let apps: Vec<_> = (0..APPS).map(|number| program.app(number)).collect();
                machine.write("/srv/apps.json", &json!({ "apps": apps }).to_string());
                self.call(machine, "start /srv/apps.json");
                self.call(machine, "save");
            }
            Service::Shell => {
                let all = format!("for i in $(seq {APPS}); do {} & done; wait", program.words());
                // At the same point of the boot as the managers.
                let unit = format!(
                    "[Unit]\nAfter=network.target dbus.service\n\n[Service]\nExecStart=/bin/sh -c '{}'\n\n[Install]\nWantedBy=multi-user.target\n",
                    all.replace('$', "$$")
                );
                machine.write("/etc/systemd/system/floor.service", &unit);
                machine.ok("systemctl daemon-reload");
                machine.ok("systemctl enable --now floor.service");
            }
        }
    }

    fn stop(&self, machine: &Machine) {
        self.call(machine, "delete all");
        if matches!(self, Service::Shell) {
            machine.ok("systemctl stop floor.service");
        }
    }
}

/// Installs PM2 from the cache where npm has put it; the machine has no network.
fn install_pm2(lab: &Lab, machine: &Machine) -> Result<String> {
    let script = std::fs::canonicalize(lab.program(ManagerKind::Pm2)?).context("PM2 is not there")?;
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
