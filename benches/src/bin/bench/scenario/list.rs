//! One call of `list`: the most frequent command there is.

use super::ms;
use crate::lab::{Lab, Subject, Turn};
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
    let mut server = Command::new(lab.floor_program()).args(["answer", &socket]).spawn().context("cannot run the floor")?;
    measure::wait(Duration::from_secs(5), || std::path::Path::new(&socket).exists());
    let rows = [Row::new("`list`, 100 apps: CPU of the call", "ms", "≤ 2"), Row::new("`list`, 100 apps: wall time", "ms", "")];
    let rows = lab.rows(lab.rounds(31, 7), rows, |subject| {
        let call = match subject {
            Subject::Manager(kind) => {
                let manager = managers.iter().find(|manager| manager.kind == kind).context("not started")?;
                let call = manager.list()?;
                (call.wall, call.cpu)
            }
            Subject::Floor => {
                let begin = Instant::now();
                let (_, cpu) = measure::run(Command::new(lab.floor_program()).args(["list", &socket]).stdout(Stdio::null()))?;
                (begin.elapsed(), cpu)
            }
        };
        Ok(Turn::Values([ms(call.1), ms(call.0)]))
    });
    server.kill()?;
    server.wait()?;
    Ok(rows)
}
