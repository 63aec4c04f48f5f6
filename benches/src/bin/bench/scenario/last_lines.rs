//! The most important lines: those before the exit.

use crate::contender::App;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::Result;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "for (let i = 0; i < 20000; i++) console.log(String(i).padEnd(99, 'x'));\nprocess.exit(1);\n";

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let Some(node) = node() else {
        eprintln!("there is no node: left out");
        return Ok(Vec::new());
    };
    let rows = [Row::new("20,000 lines, then `exit(1)` (Node): lines in the log", "lines", "20,000")];
    Ok(lab.rows(lab.rounds(5, 2), rows, |subject| {
        let folder = lab.fresh()?;
        let program = folder.join("lines.js");
        fs::write(&program, PROGRAM)?;
        let program = program.display().to_string();
        let lines = match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                let mut app = App::new("app-0", &[&node.display().to_string(), &program]);
                app.once = true;
                manager.start(&[app])?;
                measure::wait(Duration::from_secs(10), || manager.out_file("app-0").is_ok());
                let out = manager.out_file("app-0")?;
                wait_until_written(&out);
                fs::read_to_string(out)?.lines().count()
            }
            Subject::Floor => {
                let out = folder.join("out");
                Command::new(&node).arg(&program).stdout(File::create(&out)?).status()?;
                fs::read_to_string(out)?.lines().count()
            }
        };
        Ok(TurnResult::Values([lines as f64]))
    }))
}

fn node() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("node")).find(|path| path.is_file())
}

/// Waits until the file is not empty and has not grown for two seconds.
fn wait_until_written(file: &Path) {
    let (mut size, mut since) = (0, std::time::Instant::now());
    measure::wait(Duration::from_secs(20), || {
        let found = fs::metadata(file).map_or(0, |data| data.len());
        if found != size {
            (size, since) = (found, std::time::Instant::now());
        }
        size > 0 && since.elapsed() > Duration::from_secs(2)
    });
}
