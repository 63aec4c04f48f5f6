//! Secrets that commands give, for a process that is about to be started.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use ostler_core::errand::{Command, Outcome};
use ostler_core::hooks::Hook;
use ostler_core::lifecycle::Event;
use ostler_core::secrets::{BadSecret, MAX_BYTES, SecretSource, value};

use super::{Value, Values};
use crate::control::Control;
use crate::errands::{ErrandSpec, Output, Owner, Report};
use crate::slots::Slot;

/// So many commands of a process run at the same time.
const AT_ONCE: usize = 8;

/// What is being fetched, by slot and number of the process to be.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    all: BTreeMap<(u32, u32), Fetch>,
}

/// For one process.
#[derive(Debug, Default)]
struct Fetch {
    values: Values,
    failure: Option<Failure>,
}

/// Why there is no start, and what the command wrote to the app's error log.
#[derive(Debug)]
struct Failure {
    why: String,
    last_lines: Vec<String>,
}

impl Fetches {
    /// The values for a process that is started now. They are forgotten here.
    pub(crate) fn take(&mut self, slot: u32, inc: u32) -> Values {
        self.all.remove(&(slot, inc)).unwrap_or_default().values
    }

    /// The slot is gone.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.all.retain(|(of, _), _| *of != slot);
    }
}

/// Variables of an app whose values commands give.
fn commands(slot: &Slot) -> impl Iterator<Item = (&String, &Command, u64)> {
    slot.spec().secrets.iter().filter_map(|(name, source)| match source {
        SecretSource::Command { command, timeout_ms } => Some((name, command, *timeout_ms)),
        SecretSource::File(_) | SecretSource::Credential(_) => None,
    })
}

impl Control {
    /// Before a start of this slot commands are to be asked.
    pub(crate) fn needs_commands(&self, id: u32) -> bool {
        self.ctx.slots.get(id).is_some_and(|slot| commands(slot).next().is_some())
    }

    /// A former daemon was asking commands for this process: what is before them is done.
    pub(crate) fn was_at_secrets(&self, id: u32, inc: u32) -> bool {
        let has_hook = self.ctx.slots.get(id).is_some_and(|slot| slot.spec().hooks.get(Hook::PreStart).is_some());
        self.needs_commands(id) && (!has_hook || !self.errands.of(|owner| owner.secret_of(id, inc).is_some()).is_empty())
    }

    /// Asks for what is missing, and says when everything is there, or will not be.
    pub(crate) fn fetch_secrets(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return self.secrets.forget(id) };
        if slot.instance.hook() != Some((inc, Hook::PreStart)) {
            self.secrets.all.remove(&(id, inc));
            return;
        }
        let is_called_off = slot.instance.is_called_off();
        let under_way = self.errands.secrets_of(id, inc);
        let fetch = self.secrets.all.entry((id, inc)).or_default();
        if is_called_off || fetch.failure.is_some() {
            if under_way.is_empty() {
                self.end_fetch(id, inc, is_called_off);
            }
            return;
        }
        let is_missing = |name: &String| !fetch.values.has(name) && !under_way.iter().any(|(_, asked)| asked == name);
        let missing = commands(slot).filter(|(name, ..)| is_missing(name));
        let room = AT_ONCE.saturating_sub(under_way.len());
        let asked: Vec<(Owner, ErrandSpec)> = missing.take(room).map(|(name, command, ms)| errand(slot, inc, name, command, ms)).collect();
        if asked.is_empty() && under_way.is_empty() {
            return self.feed(id, Event::HookDone { inc, hook: Hook::PreStart, outcome: Outcome::Code(0) });
        }
        for (owner, spec) in asked {
            self.start_errand(owner, spec);
        }
    }

    /// It comes to no start.
    fn end_fetch(&mut self, id: u32, inc: u32, is_called_off: bool) {
        let failure = self.secrets.all.remove(&(id, inc)).and_then(|fetch| fetch.failure);
        match failure.filter(|_| !is_called_off) {
            Some(Failure { why, last_lines }) => {
                self.feed(id, Event::Unprepared { inc, why });
                self.add_last_lines(id, inc, last_lines);
            }
            None => self.feed(id, Event::HookDone { inc, hook: Hook::PreStart, outcome: Outcome::Cancelled }),
        }
    }

    /// A command has ended.
    pub(crate) fn told_secret(&mut self, id: u32, inc: u32, name: &str, report: Report) {
        let last_lines = report.last_lines;
        match given(&report.outcome, &report.output) {
            // Its answer died with the daemon that listened: it is asked again.
            None => {}
            Some(Ok(value)) => self.secrets.all.entry((id, inc)).or_default().values.insert(name, value),
            Some(Err(why)) => {
                let failure = Failure { why: format!("secret {name}: {why}"), last_lines };
                self.secrets.all.entry((id, inc)).or_default().failure.get_or_insert(failure);
                for (number, _) in self.errands.secrets_of(id, inc) {
                    self.cancel_errand(number);
                }
            }
        }
        self.fetch_secrets(id, inc);
    }
}

/// The value, or why there is none; never the value in it. `None` = nobody knows.
fn given(outcome: &Outcome, output: &[u8]) -> Option<Result<Value, String>> {
    let bad = |bad: BadSecret| format!("what its command wrote {bad}");
    match outcome {
        Outcome::Lost => None,
        // It was ended for that.
        _ if output.len() > MAX_BYTES + 2 => Some(Err(bad(BadSecret::TooLong))),
        Outcome::Code(0) => Some(value(output).map(Value::from).map_err(bad)),
        failed => Some(Err(format!("its command {failed}"))),
    }
}

fn errand(slot: &Slot, inc: u32, name: &str, command: &Command, timeout_ms: u64) -> (Owner, ErrandSpec) {
    let vars = [("OSTLER_SECRET", name.to_owned()), ("OSTLER_APP", slot.spec().name.clone()), ("OSTLER_INSTANCE", slot.index.to_string())];
    let spec = ErrandSpec {
        slot: slot.id,
        command: command.clone(),
        vars: vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<IndexMap<_, _>>(),
        timeout_ms,
        output: Output::Captured,
    };
    (Owner::Secret { slot: slot.id, inc, name: name.to_owned() }, spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_did_well_gives_a_value() {
        let words = |outcome: Outcome, output: &[u8]| given(&outcome, output).map(|given| given.map(|value| value.to_string()));
        assert_eq!(words(Outcome::Code(0), b"v4lue\n"), Some(Ok("v4lue".into())));
        assert_eq!(words(Outcome::Lost, b"v4lue\n"), None);
        for (outcome, output, why) in [
            (Outcome::Code(3), &b"v4lue\n"[..], "its command exited with code 3"),
            (Outcome::TimedOut(50), b"v4lue", "its command was killed after its 50 ms"),
            (Outcome::Code(0), b"", "what its command wrote is empty"),
            (Outcome::Code(0), b"v4lue\0", "what its command wrote holds a NUL byte"),
            (Outcome::Code(0), b"v4lue\xff", "what its command wrote is not UTF-8"),
            (Outcome::Cancelled, &[b'v'; MAX_BYTES + 3], "what its command wrote is longer than 64 KiB"),
        ] {
            assert_eq!(words(outcome, output), Some(Err(why.into())));
        }
        assert_eq!(words(Outcome::Code(0), &[&[b'v'; MAX_BYTES][..], b"\r\n"].concat()).map(|value| value.is_ok()), Some(true));
    }
}
