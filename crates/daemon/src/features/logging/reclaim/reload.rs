//! `reloadLogs`: reopens every log file, and reports the result of each to the caller.

use std::collections::BTreeSet;

use ostler_proto::control::{LogOutcome, ReloadedLog, Response};

use super::Reclaim;
use super::begin::{BeginOutcome, direct_logs};
use crate::engine::Ctx;
use crate::logs;

/// Request that waits for its reclaims.
pub(super) struct Reload {
    /// Caller that waits for the answer; `None` = the request came by signal.
    pub caller: Option<(u32, u64)>,
    pub waiting: BTreeSet<u32>,
    pub logs: Vec<ReloadedLog>,
}

impl Reclaim {
    /// Reopens every log file: the daemon's own, those of apps whose lines pass through the daemon,
    /// and renamed ones.
    pub(super) fn reload(&mut self, ctx: &mut Ctx, caller: Option<(u32, u64)>) {
        ctx.io.log.line(format_args!("Reloading all logs..."));
        ctx.io.log.reopen();
        let mut reload = Reload { caller, waiting: BTreeSet::new(), logs: Vec::new() };
        for slot in ctx.state.slots.iter() {
            let Some(piped) = &slot.live.piped else { continue };
            piped.reopen();
            let paths = [&slot.live.files.out, &slot.live.files.error, &slot.live.files.combined];
            for path in paths.into_iter().flatten().filter(|path| !logs::is_nowhere(path.as_ref())) {
                add(&mut reload.logs, path, &[slot.durable.pm_id], LogOutcome::Reopened);
            }
        }
        for log in direct_logs(ctx) {
            match self.begin_reclaim(ctx, &log) {
                Ok(BeginOutcome::Nothing) => {}
                Ok(BeginOutcome::Reclaim(id)) => drop(reload.waiting.insert(id)),
                Ok(BeginOutcome::Carried) => add(&mut reload.logs, &log.path, &log.ids, LogOutcome::Reopened),
                Err(reason) => add(&mut reload.logs, &log.path, &log.ids, LogOutcome::Failed { reason }),
            }
        }
        self.reloads.push(reload);
        self.answer_reloads(ctx);
    }

    /// Handles the end of a reclaim. Outcome `None` = there is nothing to report.
    pub(super) fn on_reclaim_over(&mut self, ctx: &mut Ctx, (id, path): (u32, &str), ids: &[u32], outcome: Option<&LogOutcome>) {
        for reload in &mut self.reloads {
            if reload.waiting.remove(&id)
                && let Some(outcome) = outcome
            {
                add(&mut reload.logs, path, ids, outcome.clone());
            }
        }
        self.answer_reloads(ctx);
    }

    fn answer_reloads(&mut self, ctx: &mut Ctx) {
        let (done, waiting) = std::mem::take(&mut self.reloads).into_iter().partition(|reload| reload.waiting.is_empty());
        self.reloads = waiting;
        let done: Vec<Reload> = done;
        for reload in done {
            for log in &reload.logs {
                if let LogOutcome::Failed { reason } = &log.outcome {
                    ctx.io.log.error(format_args!("\"{}\" cannot be reopened: {reason}", log.path));
                }
            }
            if let Some((client, request)) = reload.caller {
                ctx.reply(client, request, Response::LogsReloaded(reload.logs));
            }
        }
    }
}

/// Adds one line per log, regardless of the number of instances that write to it.
fn add(logs: &mut Vec<ReloadedLog>, path: &str, ids: &[u32], outcome: LogOutcome) {
    match logs.iter_mut().find(|log| log.path == path && log.outcome == outcome) {
        Some(log) => ids.iter().filter(|id| !log.ids.contains(id)).copied().collect::<Vec<_>>().into_iter().for_each(|id| log.ids.push(id)),
        None => logs.push(ReloadedLog { path: path.to_owned(), ids: ids.to_vec(), outcome }),
    }
}
