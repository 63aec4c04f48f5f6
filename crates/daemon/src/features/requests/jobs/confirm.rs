//! Confirmation of a start. Beyond the execution of a process, its runtime must run the script
//! before the start is reported as done.
//!
//! A Node process reports that through our preload. Other interpreters report nothing, but exit
//! soon if they cannot read the script. They are therefore watched for a moment. A program that is
//! executed directly has no runtime before its first line.

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{ExitCause, ProcessEnding};
use ostler_core::text::units::in_seconds;
use ostler_proto::control::Confirm;

use crate::state::slots::{Slot, exit_text};

/// Interpreters that read a whole file before they run any of it, by the prefixes of their names.
const READERS: &[&str] = &["node", "bun", "deno", "python", "ruby", "php", "perl", "tsx", "ts-node"];

/// Confirmation that a request waits for, and its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// Time (`mono_ms`) at which a script counts as running, unless `watches`.
    until_ms: u64,
    /// Whether a process that exits before that fails the start.
    pub early_exit_fails: bool,
    /// Whether each new process has to run for its `min_uptime`.
    pub watches: bool,
}

impl Confirmation {
    pub(super) fn new(confirm: Confirm, now_ms: u64) -> Self {
        let Confirm { within_ms, early_exit_fails, watches, .. } = confirm;
        Self { until_ms: now_ms.saturating_add(within_ms), early_exit_fails, watches }
    }

    /// Returns the time until which a process that is online has to be confirmed. `None`: its start
    /// is confirmed.
    pub(super) fn until_ms(self, slot: &Slot, now_ms: u64) -> Option<u64> {
        let until_ms = if self.watches { slot.watched_until() } else { Some(self.until_ms).filter(|_| self.may_not_run_yet(slot)) };
        until_ms.filter(|until_ms| now_ms < *until_ms)
    }

    /// Returns true if it is unknown whether this process runs its script.
    fn may_not_run_yet(self, slot: &Slot) -> bool {
        // A process that has reported its readiness, or that listens, runs its script.
        let proved = slot.live.proof.is_some() || !slot.never_listened();
        !proved && if slot.durable.preloaded { !slot.live.script_runs } else { self.early_exit_fails && is_read_first(slot.spec()) }
    }

    /// Returns the reason why a process that was online counts as not started, in words that follow
    /// its name.
    pub(super) fn judge(self, slot: &Slot) -> Option<String> {
        let exit = slot.durable.instance.exits.last().filter(|_| self.early_exit_fails)?;
        // A process that finished, or that was stopped in between, did start.
        if exit.ending == ProcessEnding::Code(0) || !matches!(exit.cause, ExitCause::Itself | ExitCause::OutOfMemory) {
            return None;
        }
        let lived = in_seconds(exit.ended.mono_ms.saturating_sub(exit.started.mono_ms));
        let then = if slot.durable.instance.will_restart() { "ostler restarts it" } else { "it stays stopped" };
        let lines: String = exit.last_lines.iter().map(|line| format!("\n    │ {line}")).collect();
        Some(format!("{} within {lived} of its start; {then}{lines}", exit_text(exit)))
    }
}

fn is_read_first(spec: &AppSpec) -> bool {
    let name = spec.interpreter.as_deref().and_then(|path| path.rsplit('/').next());
    name.is_some_and(|name| READERS.iter().any(|reader| name.starts_with(reader)))
}
