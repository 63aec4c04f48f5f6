//! The full-screen view over a hundred apps at rest: the cost of leaving it open.

use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let time = Duration::from_secs(if lab.quick { 5 } else { 20 });
    let rows = [
        Row::new("`monit`, 100 apps at rest: CPU of the view", "%", "≤ 0.5"),
        Row::new("… CPU of the manager meanwhile", "%", ""),
        Row::new("… memory of the view, PSS", "MB", "≤ 15"),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| {
        let Subject::Manager(kind) = subject else { return Ok(TurnResult::LeftOut("–")) };
        if kind == crate::contender::ManagerKind::Supervisor {
            return Ok(TurnResult::LeftOut("–"));
        }
        let manager = lab.manager(kind)?;
        manager.start_all(&lab.apps(100, &["pause"]))?;
        let own = manager.manager_pids()?;
        let before: BTreeSet<i32> = measure::marked(manager.folder())?.iter().map(|process| process.pid).collect();
        // `script` provides a terminal, and reads its output.
        let inside = "stty cols 120 rows 40; exec \"$BENCH_PROGRAM\" monit";
        let program = manager.client(&[]).get_program().to_owned();
        let command = manager.client(&[]);
        let mut terminal = std::process::Command::new("script");
        terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("BENCH_PROGRAM", program);
        terminal.env("TERM", "xterm-256color").args(["-qfc", inside, "/dev/null"]);
        terminal.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let open = Open(terminal.spawn().context("cannot run script")?);
        super::wait_until_idle();
        let is_view = |process: &measure::Marked| {
            let first = process.command.split('\0').next().unwrap_or_default();
            !before.contains(&process.pid) && !["script", "sh"].iter().any(|other| first.rsplit('/').next() == Some(other))
        };
        let view: Vec<i32> =
            measure::marked(manager.folder())?.iter().filter(|process| is_view(process)).map(|process| process.pid).collect();
        anyhow::ensure!(!view.is_empty(), "there is no view");
        let at_begin = (measure::cpu(&view), measure::cpu(&own));
        thread::sleep(time);
        let share = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / time.as_secs_f64() * 100.0;
        let values =
            [share(measure::cpu(&view), at_begin.0), share(measure::cpu(&own), at_begin.1), measure::memory(&view).pss as f64 / 1e6];
        drop(open);
        Ok(TurnResult::Values(values))
    }))
}

/// A terminal that is closed on drop; the program in it exits with that.
struct Open(Child);

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
