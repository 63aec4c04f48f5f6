//! The bare parent (see `floor.rs` of the programs).

use crate::measure;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Floor {
    child: Child,
    folder: PathBuf,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts the floor. Its apps have the folder as their mark, as those of the managers do.
    pub(crate) fn new(program: &Path, folder: PathBuf) -> Result<Floor> {
        let mut command = Command::new(program);
        let mut child = command
            .arg("keep")
            .env("HOME", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the floor")?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Floor { child, folder, orders, answers })
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Returns the processes that it started.
    pub(crate) fn apps(&self) -> Result<Vec<i32>> {
        Ok(measure::marked(&self.folder)?.into_iter().map(|process| process.pid).filter(|pid| *pid != self.pid()).collect())
    }

    /// Sends an order and waits until it is done.
    pub(crate) fn order(&mut self, line: &str) -> Result<()> {
        writeln!(self.orders, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer == "ok\n", "the floor answered {answer:?} to {line:?}");
        Ok(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.order("stop");
        let _ = writeln!(self.orders, "exit");
        let _ = self.child.wait();
    }
}
