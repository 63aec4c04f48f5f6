//! One call of `list`, the most frequent command, and one of `jlist`, which programs read.

use super::ms;
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut managers = Vec::new();
    for kind in lab.kinds() {
        let manager = lab.manager(kind)?;
        manager.start_all(&lab.apps(100, &["pause"]))?;
        managers.push(manager);
    }
    let socket = lab.fresh()?.join("s").display().to_string();
    let mut apps = lab.floor()?;
    apps.order(&format!("start 100 {} pause", lab.tiny()))?;
    let pids = apps.apps()?.into_iter().map(|pid| pid.to_string());
    let mut server = Command::new(lab.floor_program());
    let mut server = server.args(["answer", &socket]).args(pids).spawn().context("cannot run the floor")?;
    measure::wait(Duration::from_secs(5), || std::path::Path::new(&socket).exists());
    let own = managers.iter().map(|manager| manager.manager_pids()).collect::<Result<Vec<_>>>()?;
    let floor = [i32::try_from(server.id())?];
    let rows = [
        Row::new("`list`, 100 apps: CPU of client and manager (floor: ready bytes)", "ms", ""),
        Row::new("`list`, 100 apps: the same (floor: ready bytes, and one file of `/proc` is read per app)", "ms", "≤ 2.5 × floor"),
        Row::new("`list`, 100 apps: CPU of the client alone", "ms", "≤ 2"),
        Row::new("`list`, 100 apps: wall time", "ms", ""),
        Row::new("`jlist`, 100 apps: CPU of client and manager", "ms", "≤ 6"),
        Row::new("`jlist`, 100 apps: wall time", "ms", ""),
    ];
    let rows = lab.rows(lab.rounds(31, 7), rows, |subject| {
        let called = |words: [&str; 2]| -> Result<CallCost> {
            match subject {
                Subject::Manager(kind) => {
                    let (manager, own) = managers.iter().zip(&own).find(|(manager, _)| manager.kind == kind).context("not started")?;
                    called(own, || manager.call(manager.client(&words[..1])).map(|call| call.cpu))
                }
                Subject::Floor => called(&floor, || {
                    let mut client = Command::new(lab.floor_program());
                    measure::run(client.args([words[1], &socket]).stdout(Stdio::null())).map(|(_, cpu)| cpu)
                }),
            }
        };
        let list = called([if subject == Subject::Manager(ManagerKind::Supervisor) { "status" } else { "list" }, "list"])?;
        let measuring = match subject {
            Subject::Floor => called(["", "proc"])?,
            Subject::Manager(_) => list,
        };
        let [json_cpu, json_wall] = match subject {
            // Supervisor has no such command.
            Subject::Manager(ManagerKind::Supervisor) => [f64::NAN; 2],
            _ => called(["jlist", "json"]).map(|json| [ms(json.client + json.manager), ms(json.wall)])?,
        };
        let measuring = ms(measuring.client + measuring.manager);
        Ok(TurnResult::Values([ms(list.client + list.manager), measuring, ms(list.client), ms(list.wall), json_cpu, json_wall]))
    });
    server.kill()?;
    server.wait()?;
    Ok(rows)
}

/// Cost of one call.
#[derive(Clone, Copy)]
struct CallCost {
    /// CPU time of the client.
    client: Duration,
    /// CPU time of the manager's processes during the call.
    manager: Duration,
    wall: Duration,
}

fn called(manager: &[i32], call: impl FnOnce() -> Result<Duration>) -> Result<CallCost> {
    let (before, begin) = (measure::cpu(manager), Instant::now());
    let client = call()?;
    let wall = begin.elapsed();
    Ok(CallCost { client, manager: measure::cpu(manager).saturating_sub(before), wall })
}
