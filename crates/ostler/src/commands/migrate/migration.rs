//! Moving one app after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ostler_core::message;
use ostler_proto::control::{OtherManager, Progress, Request, Response};
use ostler_sys::ProcRef;
use ostler_sys::process::tree::ProcTable;
use serde_json::{Value, json};

use super::super::wait_healthy::{StateWords, wait_until_healthy};
use super::finish::{delete, start_in};
use super::{EXIT_TIMEOUT, MoveStep, POLL_INTERVAL, listens, numbers};
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, MigrateError};
use crate::migrate::{self, App, MoveMethod, Moved, Pm2, Record, differing};
use crate::{module_conf, pm2_units};

/// Migration in progress.
pub(super) struct Migration {
    from: PathBuf,
    limit: Duration,
    pm2: Option<Pm2>,
    results: Vec<Value>,
}

impl Migration {
    /// Creates a migration that has moved nothing yet. If no PM2 runs, it only uses PM2's list.
    pub(super) fn new(from: PathBuf, limit: Duration, pm2: Option<Pm2>) -> Self {
        Self { from, limit, pm2, results: Vec::new() }
    }

    /// Returns PM2's daemon after the migration.
    pub(super) fn pm2(self) -> Option<Pm2> {
        self.pm2
    }

    /// Returns the result for each app, for `--json`.
    pub(super) fn report(&self, modules: &[String]) -> Value {
        json!({ "from": self.from, "apps": self.results, "modules": modules })
    }

    /// Moves all apps, one after the other. The first failure stops the migration, and the failed
    /// app is back in PM2.
    pub(super) fn apps(&mut self, cx: &mut Cx, plan: &[MoveStep<'_>]) -> Result<(), CliError> {
        for (number, step) in plan.iter().enumerate() {
            let name = crate::text::shown(&step.app.name);
            let present = cx.client()?.table()?.iter().any(|row| row.name == step.app.name);
            let mut result = json!({ "name": step.app.name, "way": step.method.word(), "listens": step.addresses });
            let place = format!("[{}/{}] {name}", number + 1, plan.len());
            if present {
                cx.out.warn_err(message!("{place}: an app of that name already exists here; skipped", place));
                result["state"] = "present".into();
                self.results.push(result);
                continue;
            }
            cx.out.info(format_args!("{place}: {}", step.method.words()));
            cx.out.flush();
            let moved = self.app(cx, step);
            match &moved {
                Ok(differs) => {
                    result["state"] = "moved".into();
                    result["differs"] = json!(differs);
                    for line in step.app.notes.iter().chain(differs) {
                        cx.out.info(format_args!("{place}: {line}"));
                    }
                }
                Err(error) => {
                    result["state"] = "failed".into();
                    result["error"] = error.to_string().into();
                }
            }
            self.results.push(result);
            moved?;
        }
        Ok(())
    }

    /// Moves one app. Returns the differences that the user should know.
    fn app(&mut self, cx: &mut Cx, step: &MoveStep<'_>) -> Result<Vec<String>, CliError> {
        let home = cx.home()?.to_owned();
        let running = step.app.running_ids();
        let old: Vec<ProcRef> = step.app.pids().filter_map(|pid| ProcRef::of(pid).ok()).collect();
        let mut record = Record::read(&home)?.unwrap_or_default();
        record.from.clone_from(&self.from);
        record.note(Moved { name: step.app.name.clone(), pm_ids: running.clone() });
        record.write(&home)?;
        if step.method == MoveMethod::Beside {
            match self.start_app(cx, step, true) {
                Ok(differs) => {
                    self.stop_old(&running, &old)?;
                    return Ok(differs);
                }
                // The app may need something that the old processes have and that ostler cannot
                // see: a socket of PM2's.
                Err(_) if step.app.is_cluster && self.pm2.is_some() => delete(cx, &step.app.name)?,
                Err(error) => return Err(self.give_back(cx, step.app, &[], &mut record, error)?),
            }
        }
        if step.method != MoveMethod::Listed {
            self.stop_old(&running, &old)?;
        }
        match self.start_app(cx, step, false) {
            Ok(differs) => Ok(differs),
            Err(error) => Err(self.give_back(cx, step.app, &running, &mut record, error)?),
        }
    }

    /// Starts the app in ostler and waits until it is healthy. Returns the differences that the
    /// user should know.
    fn start_app(&mut self, cx: &mut Cx, step: &MoveStep<'_>, is_beside: bool) -> Result<Vec<String>, CliError> {
        let entries: Vec<Value> = step.app.instances.iter().map(|instance| instance.entry.clone()).collect();
        let share = self.pm2.as_ref().filter(|_| step.app.is_cluster && is_beside).map(|pm2| pm2.process);
        let mut warnings = Vec::new();
        let sockets_of = share.map(|ProcRef { pid, start_ticks }| OtherManager { pid, start_ticks });
        let request = Request::Restore { entries, sockets_of };
        let answer = cx.client()?.request(&request, &mut |progress| match progress {
            Progress::Warning(text) => warnings.push(text),
            Progress::InstanceFailed { reason, .. } => warnings.push(reason),
            _ => {}
        })?;
        let Response::Done { ids } = answer else { return Err(ClientError::Unexpected.into()) };
        if step.method == MoveMethod::Listed {
            return Ok(warnings);
        }
        let targets: Vec<String> = ids.iter().map(u32::to_string).collect();
        let wanted: BTreeSet<String> = step.addresses.iter().filter(|place| !is_ephemeral(place)).cloned().collect();
        let mut missing = Vec::new();
        let mut listens_everywhere = |pids: &[i32]| {
            if wanted.is_empty() || step.app.is_cluster {
                return true;
            }
            let open = listens(&ProcTable::scan(), pids.iter().copied());
            missing = wanted.difference(&open).cloned().collect();
            missing.is_empty()
        };
        let (healthy, line) = wait_until_healthy(cx, &targets, self.limit, StateWords::Own, &mut listens_everywhere)?;
        if !healthy {
            return Err(MigrateError::NotHealthy { state: line, missing }.into());
        }
        let table = cx.client()?.table()?;
        let pid = ids.first().and_then(|id| table.iter().find(|row| row.id == *id)).map(|row| row.pid);
        let environ = pid.and_then(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok());
        if let (Some(environ), Some(instance)) = (environ, step.app.instances.first()) {
            let names = differing(&instance.entry, &environ);
            if !names.is_empty() {
                warnings.push(message!("these variables differ: {names}", names = names.join(", ")));
            }
        }
        let former: Vec<u32> = step.app.instances.iter().map(|instance| instance.pm_id).collect();
        if self.pm2.is_some() && former != ids {
            warnings.push(message!("its ids changed from {old} to {new}", old = numbers(&former), new = numbers(&ids)));
        }
        Ok(warnings)
    }

    /// Stops instances in PM2, and asks the kernel whether their processes have exited.
    fn stop_old(&mut self, ids: &[u32], old: &[ProcRef]) -> Result<(), CliError> {
        let Some(pm2) = &mut self.pm2 else { return Ok(()) };
        for id in ids {
            pm2.stop(*id)?;
        }
        let until = Instant::now() + EXIT_TIMEOUT;
        while old.iter().any(ProcRef::runs) {
            if Instant::now() > until {
                let pids: Vec<String> = old.iter().filter(|process| process.runs()).map(|process| process.pid.to_string()).collect();
                return Err(MigrateError::StillRuns(pids.join(", ")).into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Returns an app to PM2 if it does not become healthy in ostler: PM2 starts these ids again.
    /// Returns the error for the user.
    fn give_back(&mut self, cx: &mut Cx, app: &App, ids: &[u32], record: &mut Record, why: CliError) -> Result<CliError, CliError> {
        delete(cx, &app.name)?;
        let started = match &mut self.pm2 {
            Some(pm2) => start_in(pm2, ids, self.limit),
            None => Ok(()),
        };
        if started.is_ok() {
            record.apps.retain(|moved| moved.name != app.name);
            record.write(cx.home()?)?;
        }
        let (app, reason) = (crate::text::shown(&app.name), why.to_string());
        Ok(match started {
            Ok(()) => MigrateError::GivenBack { app, reason },
            Err(error) => MigrateError::NotGivenBack { app, reason, cause: error.to_string() },
        }
        .into())
    }

    /// Copies those settings of PM2 that ostler does not have yet.
    pub(super) fn take_settings(&mut self, cx: &mut Cx) -> Result<(), CliError> {
        let their_path = crate::home::shell_paths(&self.from).conf;
        let theirs = module_conf::read(&their_path)?;
        let path = module_conf::writable(cx)?;
        let is_same = std::fs::canonicalize(&path).ok() == std::fs::canonicalize(&their_path).ok();
        let sections: Vec<(String, Value)> =
            module_conf::sections(&theirs).map(|(name, section)| (name.clone(), Value::Object(section.clone()))).collect();
        if sections.is_empty() || is_same {
            return Ok(());
        }
        let taken = module_conf::change(&path, |all| {
            let mut taken = Vec::new();
            for (name, section) in sections {
                if !all.contains_key(&name) {
                    taken.push(name.clone());
                    all.insert(name, section);
                }
            }
            Ok(taken)
        })?;
        if !taken.is_empty() {
            cx.out.info(message!("settings taken over: {names}", names = taken.join(", ")));
            module_conf::notify_daemon(cx)?;
        }
        Ok(())
    }

    /// Disables PM2's boot unit and enables ostler's. Without root, prints the commands for it.
    pub(super) fn take_boot(&mut self, cx: &mut Cx) -> Result<(), CliError> {
        let home = cx.home()?.to_owned();
        for unit in pm2_units::units(&self.from) {
            let off = ["systemctl", "disable", &unit.name];
            let on = ["startup", "systemd", "-u", &unit.user];
            if !rustix::process::geteuid().is_root() {
                let commands = format!("{} && OSTLER_HOME={} ostler {}", off.join(" "), home.display(), on.join(" "));
                cx.out.info(message!("PM2 starts at boot by {unit}; as root: {commands}", unit = unit.name, commands));
                continue;
            }
            // ostler's unit is enabled first: a boot in between then starts the apps twice instead
            // of never.
            let program = std::env::current_exe().map_err(CliError::system(message!("find this program")))?;
            migrate::carry_out(Command::new(program).args(on).env(ostler_core::environment::HOME.name, &home))?;
            let mut record = Record::read(&home)?.unwrap_or_default();
            record.from.clone_from(&self.from);
            record.units.retain(|name| *name != unit.name);
            record.units.push(unit.name.clone());
            record.write(&home)?;
            migrate::carry_out(Command::new(off[0]).args(&off[1..]))?;
            cx.out.info(message!("ostler now starts at boot instead of {unit}", unit = unit.name));
        }
        Ok(())
    }
}

/// Returns true for a port that the kernel chose: the next process gets another one.
fn is_ephemeral(place: &str) -> bool {
    let Ok(port) = place.trim_start_matches("udp ").parse::<u16>() else { return false };
    ostler_sys::net::listening::ephemeral_ports().is_some_and(|ports| ports.contains(&port))
}
