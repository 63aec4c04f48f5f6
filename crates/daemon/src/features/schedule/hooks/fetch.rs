//! Fetch of secrets that commands return, for a process that is about to be started.
//!
//! The values are in the memory of this daemon until the process is requested or the start is
//! cancelled. They die with the daemon, and the next one runs the commands again. The journal has
//! the running commands, so it also shows that the hook before them is done.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use ostler_core::app::hooks::Hook;
use ostler_core::app::secrets::{BadSecret, MAX_BYTES, SecretSource, value};
use ostler_core::lifecycle::command::{Command, CommandOutcome};
use ostler_core::lifecycle::{Event, InstanceState};

use super::{CommandOwner, CommandReport, CommandSpec, Ctx, FeatureRequest, Hooks, Output};
use crate::platform::secrets::{Value, Values};
use crate::state::slots::Slot;

/// Most commands of a process that run at the same time.
const AT_ONCE: usize = 8;

/// Fetches in progress, by slot and incarnation of the future process.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    all: BTreeMap<(u32, u32), Fetch>,
}

/// Fetch for one process.
#[derive(Debug, Default)]
struct Fetch {
    values: Values,
    /// Variables whose commands were requested and have not ended.
    requested: BTreeSet<String>,
    failure: Option<Failure>,
}

/// Reason why the start fails, and the command's output in the app's error log.
#[derive(Debug)]
struct Failure {
    reason: String,
    last_lines: Vec<String>,
}

impl Fetches {
    /// Takes the values for a process that is started now, and forgets them.
    pub(super) fn take(&mut self, slot: u32, inc: u32) -> Values {
        self.all.remove(&(slot, inc)).unwrap_or_default().values
    }

    /// Forgets the values if the process is not started after all.
    pub(super) fn drop_unless_spawned(&mut self, slot: &Slot, inc: u32) {
        if !matches!(slot.durable.instance.state, InstanceState::Spawning { inc: coming, .. } if coming == inc) {
            self.all.remove(&(slot.durable.id, inc));
        }
    }

    /// Returns the number of values.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.all.values().map(|fetch| fetch.values.iter().count()).sum()
    }

    /// Forgets a slot that is gone.
    pub(super) fn forget(&mut self, slot: u32) {
        self.all.retain(|(of, _), _| *of != slot);
    }
}

/// Returns the variables of an app whose values come from commands.
fn commands(slot: &Slot) -> impl Iterator<Item = (&String, &Command, u64)> {
    slot.spec().secrets.iter().filter_map(|(name, source)| match source {
        SecretSource::Command { command, timeout_ms } => Some((name, command, *timeout_ms)),
        SecretSource::File(_) | SecretSource::Credential(_) => None,
    })
}

/// Returns true if commands must run before a start of this slot.
pub(super) fn needs_commands(slot: &Slot) -> bool {
    commands(slot).next().is_some()
}

impl Hooks {
    /// Returns true if a former daemon was running commands for this process. The hook before them
    /// is then done, and the running commands are recorded here.
    pub(super) fn was_at_secrets(&mut self, ctx: &Ctx, id: u32, inc: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| needs_commands(slot)) else { return false };
        let requested: BTreeSet<String> = ctx
            .state
            .commands
            .iter()
            .filter_map(|command| match &command.owner {
                CommandOwner::Secret { slot, inc: of, name } if (*slot, *of) == (id, inc) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let was_at = slot.spec().hooks.get(Hook::PreStart).is_none() || !requested.is_empty();
        if was_at {
            self.fetches.all.entry((id, inc)).or_default().requested.extend(requested);
        }
        was_at
    }

    /// Requests the missing values. Reports when all values are there, or one has failed.
    pub(super) fn fetch(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return self.fetches.forget(id) };
        if slot.durable.instance.hook() != Some((inc, Hook::PreStart)) {
            self.fetches.all.remove(&(id, inc));
            return;
        }
        let is_called_off = slot.durable.instance.is_called_off();
        let fetch = self.fetches.all.entry((id, inc)).or_default();
        if is_called_off || fetch.failure.is_some() {
            if fetch.requested.is_empty() {
                self.end_fetch(ctx, id, inc, is_called_off);
            }
            return;
        }
        let is_missing = |name: &String| !fetch.values.has(name) && !fetch.requested.contains(name);
        let room = AT_ONCE.saturating_sub(fetch.requested.len());
        let missing: Vec<_> = commands(slot).filter(|(name, ..)| is_missing(name)).take(room).collect();
        if missing.is_empty() && fetch.requested.is_empty() {
            return ctx.event(id, Event::HookDone { inc, hook: Hook::PreStart, outcome: CommandOutcome::Code(0) });
        }
        fetch.requested.extend(missing.iter().map(|(name, ..)| (*name).clone()));
        let runs: Vec<FeatureRequest> = missing.into_iter().map(|(name, command, ms)| run(slot, inc, name, command, ms)).collect();
        runs.into_iter().for_each(|run| ctx.request(run));
    }

    /// Stops a fetch that leads to no start.
    fn end_fetch(&mut self, ctx: &mut Ctx, id: u32, inc: u32, is_called_off: bool) {
        let failure = self.fetches.all.remove(&(id, inc)).and_then(|fetch| fetch.failure);
        match failure.filter(|_| !is_called_off) {
            Some(Failure { reason: why, last_lines }) => {
                self.keep_last_lines(id, inc, &last_lines);
                ctx.event(id, Event::Unprepared { inc, reason: why });
            }
            None => ctx.event(id, Event::HookDone { inc, hook: Hook::PreStart, outcome: CommandOutcome::Cancelled }),
        }
    }

    /// Cancels the running commands for this process. Returns false if none runs.
    pub(super) fn call_off_fetch(&self, ctx: &mut Ctx, id: u32, inc: u32) -> bool {
        let requested = self.fetches.all.get(&(id, inc)).map(|fetch| &fetch.requested).filter(|asked| !asked.is_empty());
        requested.into_iter().flatten().for_each(|name| ctx.request(FeatureRequest::CallOff(owner(id, inc, name))));
        requested.is_some()
    }

    /// Handles the end of a command.
    pub(super) fn on_secret(&mut self, ctx: &mut Ctx, id: u32, inc: u32, name: &str, report: &CommandReport) {
        // Otherwise the start was already given up.
        let Some(fetch) = self.fetches.all.get_mut(&(id, inc)) else { return };
        fetch.requested.remove(name);
        match given(&report.outcome, &report.output) {
            // The output died with the former daemon, so the command runs again.
            None => {}
            Some(Ok(value)) => fetch.values.insert(name, value),
            Some(Err(why)) => {
                let last_lines = report.last_lines.clone();
                if fetch.failure.is_none() {
                    fetch.failure = Some(Failure { reason: format!("secret {name}: {why}"), last_lines });
                    self.call_off_fetch(ctx, id, inc);
                }
            }
        }
        self.fetch(ctx, id, inc);
    }
}

/// Returns the value, or the reason for its lack, which never contains the value. `None` = unknown.
fn given(outcome: &CommandOutcome, output: &[u8]) -> Option<Result<Value, String>> {
    let bad = |bad: BadSecret| format!("the output of its command {bad}");
    match outcome {
        CommandOutcome::Lost => None,
        // The command was killed for that.
        _ if output.len() > MAX_BYTES + 2 => Some(Err(bad(BadSecret::TooLong))),
        CommandOutcome::Code(0) => Some(value(output).map(Value::from).map_err(bad)),
        failed => Some(Err(format!("its command {failed}"))),
    }
}

fn run(slot: &Slot, inc: u32, name: &str, command: &Command, timeout_ms: u64) -> FeatureRequest {
    let vars =
        [("OSTLER_SECRET", name.to_owned()), ("OSTLER_APP", slot.spec().name.clone()), ("OSTLER_INSTANCE", slot.durable.index.to_string())];
    let spec = CommandSpec {
        slot: slot.durable.id,
        command: command.clone(),
        vars: vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<IndexMap<_, _>>(),
        timeout_ms,
        output: Output::Captured,
    };
    FeatureRequest::Run { owner: owner(slot.durable.id, inc, name), spec: Box::new(spec) }
}

fn owner(slot: u32, inc: u32, name: &str) -> CommandOwner {
    CommandOwner::Secret { slot, inc, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_successful_command_gives_a_secret() {
        let words = |outcome: CommandOutcome, output: &[u8]| given(&outcome, output).map(|given| given.map(|value| value.to_string()));
        assert_eq!(words(CommandOutcome::Code(0), b"v4lue\n"), Some(Ok("v4lue".into())));
        assert_eq!(words(CommandOutcome::Lost, b"v4lue\n"), None);
        for (outcome, output, why) in [
            (CommandOutcome::Code(3), &b"v4lue\n"[..], "its command exited with code 3"),
            (CommandOutcome::TimedOut(50), b"v4lue", "its command timed out after 50 ms and was killed"),
            (CommandOutcome::Code(0), b"", "the output of its command is empty"),
            (CommandOutcome::Code(0), b"v4lue\0", "the output of its command contains a NUL byte"),
            (CommandOutcome::Code(0), b"v4lue\xff", "the output of its command is not UTF-8"),
            (CommandOutcome::Cancelled, &[b'v'; MAX_BYTES + 3], "the output of its command is longer than 64 KiB"),
        ] {
            assert_eq!(words(outcome, output), Some(Err(why.into())));
        }
        assert_eq!(words(CommandOutcome::Code(0), &[&[b'v'; MAX_BYTES][..], b"\r\n"].concat()).map(|value| value.is_ok()), Some(true));
    }
}
