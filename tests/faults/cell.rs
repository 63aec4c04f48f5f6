//! One cell: the fault, the scenario, and the verdict.

use ostler_testkit::{ListedApp, Part, fixture, kill};
use rustix::process::Signal;

use crate::judge;
use crate::stage::{DashboardAnswer, Stage};
use crate::table::{Cell, Phase};

/// Result of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A clear line, a fallback or a clean refusal; nothing was lost.
    Green,
    /// The part made no such call while the fault was active.
    Untouched,
    /// A broken promise.
    Red(String),
}

/// Runs a cell. `stage` is reused by later cells, unless the verdict is red.
pub(crate) fn run(cell: &Cell, stage: &mut Option<Stage>) -> Verdict {
    let result = match cell.phase {
        Phase::First => first(cell),
        _ => with_apps(cell, stage),
    };
    match result {
        Ok(0) => Verdict::Untouched,
        Ok(_) => Verdict::Green,
        Err(why) => {
            *stage = None;
            Verdict::Red(why)
        }
    }
}

/// Runs a cell on a stage with apps. Returns how many calls failed.
fn with_apps(cell: &Cell, stage: &mut Option<Stage>) -> Result<u64, String> {
    let stage = match stage {
        Some(stage) => stage,
        None => stage.insert(Stage::with_apps(cell.part)?),
    };
    let log = stage.own_log(0).len();
    let victim = stage.app("victim").map(|app| app.pid()).ok_or("setup: the daemon does not answer")?;
    stage.supervisor.inject(cell.fault());
    let acted = act(cell, stage);
    let failed = stage.supervisor.failed();
    let is_idle = if failed > 0 && cell.part != Part::Command { judge::idle(&stage.own_processes()) } else { Ok(()) };
    stage.supervisor.lift();
    let actions = acted?;
    is_idle?;
    stage.recovers(actions.was_refused)?;
    let own = stage.own_log(log);
    if let Some(line) = own.lines().find(|line| judge::is_panic(line)) {
        return Err(format!("panic: {line}"));
    }
    if actions.restarted && stage.app("victim").is_some_and(|app| app.pid() == victim) {
        return Err("`restart` reports success, but the app still has the same process".to_owned());
    }
    if stage.list().is_some_and(|list| list.iter().any(|app| app.name() == "extra")) {
        stage.plain("delete extra");
    }
    Ok(failed)
}

/// Reports of the commands of a cell.
#[derive(Debug, Default)]
struct Actions {
    /// A restart succeeded.
    restarted: bool,
    /// A command was refused that would have replaced the process of an app.
    was_refused: bool,
}

/// Does with ostler what the part is for.
fn act(cell: &Cell, stage: &Stage) -> Result<Actions, String> {
    let mut actions = Actions::default();
    let is_mute = cell.part == Part::Command && matches!(cell.call.as_str(), "write" | "writev");
    let command = |words: &str| judge::output(stage.run(words).as_ref(), words, is_mute);
    match (cell.part, cell.phase) {
        (Part::Dashboard, phase) => {
            if phase == Phase::Replaced {
                stage.kill(Part::Dashboard);
                stage.wait_a_moment();
            }
            for _ in 0..3 {
                if stage.dashboard_answer() == DashboardAnswer::Hangs {
                    return Err("the dashboard accepts a request and does not answer".to_owned());
                }
            }
        }
        (Part::Command, _) => {
            command("list")?;
            actions.restarted = command("restart victim")?;
            actions.was_refused = !actions.restarted;
            command("logs ticker --nostream --lines 5")?;
            command("describe victim")?;
            command(&format!("start {} --name extra -- hold", fixture()))?;
            command("delete extra")?;
        }
        (part, Phase::Replaced) => {
            stage.kill(part);
            command("list")?;
            actions.restarted = command("restart victim")?;
            actions.was_refused = !actions.restarted;
        }
        (Part::Standby, _) => {
            stage.kill_both();
            command("list")?;
        }
        (part, _) => {
            crash(stage.app("fragile"));
            actions.restarted = command("restart victim")?;
            actions.was_refused = !actions.restarted;
            command("list")?;
            if part == Part::Daemon {
                actions.was_refused |= !command("reload victim")?;
                command("save")?;
            }
        }
    }
    Ok(actions)
}

fn crash(app: Option<ListedApp>) {
    if let Some(app) = app {
        kill(app.pid(), Signal::KILL);
    }
}

/// Runs a cell in a new home. Returns how many calls failed.
fn first(cell: &Cell) -> Result<u64, String> {
    let stage = Stage::empty(cell.part);
    let start = format!("start {} --name victim -- hold", fixture());
    stage.supervisor.inject(cell.fault());
    let started = judge::output(stage.run(&start).as_ref(), "start", cell.part == Part::Command && cell.call == "write");
    let failed = stage.supervisor.failed();
    let is_idle = if failed > 0 { judge::idle(&stage.own_processes()) } else { Ok(()) };
    stage.supervisor.lift();
    if failed == 0 {
        return Ok(0);
    }
    is_idle?;
    if !started? {
        // A refused start has no effect that prevents the next one.
        let again = stage.plain(&start).ok_or("`start` hangs after the fault")?;
        if again.code != 0 {
            return Err(format!("after the fault, `start` fails: {}", again.all()));
        }
    }
    stage.wait("the app is online", |stage| stage.app("victim").is_some_and(|app| app.status() == "online"))?;
    if stage.own_log(0).lines().any(judge::is_panic) {
        return Err("panic in the log".to_owned());
    }
    let killed = stage.plain("kill").ok_or("`kill` hangs after the fault")?;
    if killed.code != 0 {
        return Err(format!("after the fault, `kill` fails: {}", killed.all()));
    }
    stage.wait("no process is left", |stage| stage.home.processes().is_empty())?;
    Ok(failed)
}
