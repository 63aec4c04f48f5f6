//! Separate cores for servers and clients.

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;

/// Returns two available cores: the servers' and the clients'. None if there is only one.
pub(crate) fn cores() -> Result<Option<(usize, usize)>> {
    let allowed = sched_getaffinity(None).context("cannot read the cores")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    Ok(cores.next().zip(cores.next()))
}

/// Pins all threads of these processes to a core.
pub(crate) fn pin(pids: &[i32], core: usize) -> Result<()> {
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")?.flatten() {
            let thread = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            sched_setaffinity(thread, &only(core)).context("cannot pin the server")?;
        }
    }
    Ok(())
}

/// Runs a function whose thread, and those that it starts, have only this core.
pub(crate) fn on_core<T>(core: Option<usize>, run: impl FnOnce() -> T) -> Result<T> {
    let Some(core) = core else { return Ok(run()) };
    let before = sched_getaffinity(None).context("cannot read the cores")?;
    sched_setaffinity(None, &only(core)).context("cannot pin the clients")?;
    let value = run();
    sched_setaffinity(None, &before).context("cannot unpin this thread")?;
    Ok(value)
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
