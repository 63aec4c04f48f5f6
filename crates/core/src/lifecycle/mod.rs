//! The instance state machine. It is total and pure, and only this code decides about a process.
//!
//! # Theory of operation
//!
//! An [`Instance`] is one supervised slot of an app. It holds the intent of the user
//! ([`DesiredState`]) and the observed state ([`InstanceState`]); [`Instance::step`] reconciles the
//! two. The daemon performs the returned [`Effect`]s *in order* and feeds results back as
//! [`Event`]s. Each OS process of an instance has an incarnation number; an event of an older
//! incarnation is ignored.
//!
//! A process of an instance's tree can be alive only in `Spawning`, `Starting`, `Completing`,
//! `Running`, `Leaving`, `Draining` and `Stopping`. An unrequested exit therefore also passes
//! through `Stopping` (with `leader_gone`) while the rest of the tree is swept. Only then does the
//! next process start, so an instance has at most one tree at any time. If the tree is already
//! empty, the daemon answers `TreeGone` immediately.
//!
//! The main process may hand over: a server that re-executes itself, or a parent that forks and
//! exits, names the process that is the main process from now on ([`Event::Followed`]). The
//! incarnation stays the same, because its tree does; only the pid changes. [`Effect::Follow`]
//! informs the keeper, which reports the new process from then on.
//!
//! A process that has to prove its readiness is `Starting` until it does. If the user set a time
//! ([`Lateness::Fail`]), the daemon stops the process after that time. Otherwise lateness is only
//! reported, once, and the process keeps starting for as long as it takes.
//!
//! Hooks are states, too: `Preparing` (`pre_start`, and secrets that commands return) before
//! `Spawning`, `Completing` (`post_start`) between ready and `Running`, `Leaving` (`pre_stop`)
//! before `Draining` or `Stopping`, `Clearing` (`post_stop`) after it. Each waits for
//! [`Event::HookDone`], which always comes, because the daemon limits the time of a hook. `Waiting`
//! comes before all of them, while the app's dependencies are not met; it ends by
//! [`Event::Released`], [`Event::Unmet`] or at its deadline.
//!
//! # Protocol of the daemon
//!
//! The daemon may die between any two of these lines. The simulation of the daemon kills it there.
//!
//! For each event, or for a batch of events, of one instance or of many, in the order in which they
//! came:
//!
//! 1. **Step**: `effects = instance.step(policy, event, now)`. If the step recorded an exit, fill
//!    in `last_lines` of the last record.
//! 2. **Journal**: write the changed instances to the journal. The keeper holds the journal, so it
//!    outlives the daemon; a write is atomic. The same write removes an instance that became
//!    `Gone`, and the daemon drops its channels, sweeps and timer (its id may be used again, with
//!    incarnations from 1). A new instance is added before its first `Spawn`. The write of a step
//!    that requests or cancels a hook also records that. The write of the step after the hook's end
//!    removes the record, so each hook ends once.
//! 3. **Ack**: if the event was `Exited` (or `Recovered::Ended`), let the keeper forget that exit.
//!    Never do this earlier: until the exit is in the journal, the keeper must hold it.
//! 4. **Effects**, in order. `Spawn` goes to the keeper with a key made of instance id and
//!    incarnation. A `Notify` that is lost with the daemon is not repeated.
//!
//! An exit of a former main process ([`Instance::is_former`]) is neither dispatched nor acked: the
//! keeper forgets it when it gets the pending `Follow`. Before the daemon takes any exit, it reads
//! the messages that the app sent until then: the app may have handed over before it exited. A
//! handover message is removed from the app's channel only after the handover is in the journal.
//!
//! The result of an effect is queued and handled as the next event, never inside the effect.
//!
//! Arm one timer at [`Instance::deadline_ms`]; when it is due, dispatch `Tick`. Early, late and
//! repeated ticks do no harm. There are two rules. Messages from the keeper and the apps come
//! before ticks: an app that reported `ready` in time must not be stopped because the daemon was
//! slow. And a tick never shares a batch with an earlier step of its instance: SIGKILL must not be
//! journaled before the polite request was sent.
//!
//! A fresh daemon (and likewise the old daemon after it had to start a new keeper):
//!
//! 1. Reads the journal.
//! 2. Takes the keeper's inventory. The keeper reads everything that the dead daemon sent *before*
//!    it makes the inventory, so no request is in flight: each `Spawn` that was sent is now a child
//!    in it, alive or exited, or has failed.
//! 3. Per instance: the child with the highest incarnation becomes one [`Event::Recovered`]
//!    (`Alive`, `Ended` or `Nothing`), with its own journal write and ack as above. If the journal
//!    has another main process than the keeper, the keeper gets `Follow` again. The old daemon
//!    journaled every other exited child of the instance: just ack it. A newer inventory replaces
//!    the unhandled rest of an older one.
//! 4. An exited child of no known instance is acked: its instance was deleted. A live child of no
//!    known instance is never killed, because the journal may be the broken part: it is reported
//!    and left alone.
//! 5. From here on as above. Commands are accepted only after this.
//!
//! The keeper promises:
//!
//! - It keeps an exited child until the daemon acks it.
//! - An exit is either in the inventory or reported after it, never both.
//! - A `Spawn` with a key that it still holds does nothing.
//! - A signal goes only to a child that has not been reaped.
//! - After a `Follow` it reports the exit of that process, immediately if it has already exited. It
//!   never again reports the exit of a former one.
//!
//! These may happen twice because the daemon died: the polite signal or the shutdown message,
//! SIGKILL, a sweep, and the attempt of a spawn that had failed. The attempt then has a new number.
//! These never happen twice: a process, a restart in the counters, an exit in the history. If the
//! keeper itself is lost, the ending of a process that exited while the keeper was down is
//! [`ProcessEnding::Unknown`].
//!
//! # Waiting clients
//!
//! Waiting clients read the instance after each step rather than transitions: [`Instance::settled`]
//! is true if the state is the wanted one. `Delete` is final: a later `Start` does not restore a
//! doomed instance; the daemon has to create a new one.

pub mod backoff;
pub mod command;
pub mod dependency_state;
#[cfg(test)]
mod drain_tests;
mod effect;
mod event;
pub mod goal;
#[cfg(test)]
mod hook_tests;
mod hooks;
pub mod observation;
pub mod order;
mod origin;
mod policy;
mod process;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod ready_tests;
mod recover;
pub mod restart;
pub mod runtime;
pub mod signal;
mod state;
mod step;
pub mod stop;
#[cfg(test)]
mod tests;
mod trouble;

pub use effect::{Effect, LateAction, Scope, Transition};
pub use event::{Event, ExitReport, Recovered, SpawnFailure};
pub use origin::{Origin, PolicyFinding, PolicyName};
pub use policy::{Lateness, PATIENCE_MS, Policy};
pub use state::{AfterStop, Counters, DesiredState, ExitCause, ExitRecord, Instance, InstanceState, ProcessEnding};
pub use trouble::Trouble;
