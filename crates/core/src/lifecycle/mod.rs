//! The instance state machine: total, pure, and the only place where the fate of a process is decided.
//!
//! # Theory of operation
//!
//! An [`Instance`] is one supervised slot of an app. It knows what the user wants ([`Wanted`]) and what is observed ([`State`]);
//! [`Instance::step`] reconciles the two. The daemon performs the returned [`Effect`]s *in order* and feeds results back as
//! [`Event`]s. Each OS process of an instance has an incarnation number; an event of an older incarnation is ignored by type.
//!
//! Something of an instance's process tree can be alive only in `Spawning`, `Starting`, `Completing`, `Running`, `Leaving`, `Draining` and
//! `Stopping`. So an exit that nobody asked for also passes through `Stopping` (with `leader_gone`) while its leftovers are swept, and only then the next
//! process is spawned: at most one tree per instance, always. Where nothing is left over the daemon answers `TreeGone` at once.
//!
//! The main process may hand over: a server that executes itself anew, or a parent that forks and ends, says which process is the main one
//! from now on ([`Event::Followed`]). The incarnation stays the same, because its tree does; only the pid changes. The keeper is told by
//! [`Effect::Follow`], and speaks of the new one from then on.
//!
//! A process that has to prove that it is ready is `Starting` until it has. Where the user named a time ([`Lateness::Fail`]) that is the
//! end of it; else being late is only reported, once, and it goes on for as long as it takes.
//!
//! Hooks are states, too: `Preparing` (`pre_start`, and secrets that commands give) before `Spawning`, `Completing` (`post_start`) between ready and `Running`, `Leaving`
//! (`pre_stop`) before `Draining` or `Stopping`, `Clearing` (`post_stop`) after it. Each waits for [`Event::HookDone`], which comes in any case:
//! whoever runs a hook bounds its time. `Waiting` comes before all of them: what the app depends on is not there yet; it ends by
//! [`Event::Released`], [`Event::Unmet`] or at its deadline.
//!
//! # Protocol of the daemon
//!
//! The daemon may die between any two of these lines. The simulation (`crate::sim`) runs exactly this protocol and kills it there.
//!
//! For each event, or for a batch of events, of one instance or of many, in the order in which they came:
//!
//! 1. **Step**: `effects = instance.step(policy, event, now)`. Where it recorded an exit, fill in `last_lines` of the last record.
//! 2. **Journal**: write the changed instances to the journal. It is held by the keeper, so it outlives the daemon; a write is
//!    all or nothing. An instance that became `Gone` is removed by the same write, and its channels, sweeps and timer are dropped (its
//!    id may be used again, with incarnations from 1). A new one is added before its first `Spawn`. A hook that is asked for or called off
//!    is noted by the write of the step that does, and forgotten by that of the step that its end makes; so each ends once.
//! 3. **Ack**: if the event was `Exited` (or `Recovered::Ended`), let the keeper forget that exit. Not earlier: what is not in
//!    the journal must still be in the keeper.
//! 4. **Effects**, in order. `Spawn` goes to the keeper with a key made of instance id and incarnation. A `Notify` that is lost
//!    with the daemon is not repeated.
//!
//! An exit of a process that is the main one no more ([`Instance::is_former`]) is neither dispatched nor acked: the keeper forgets it with the
//! `Follow` that is on its way. Before any exit is taken, what the app sent until then is read: it may have handed over before it ended.
//! That it handed over is taken from the app's channel only when it is in the journal.
//!
//! What an effect triggers is queued and handled as the next event, never inside the effect.
//!
//! Arm one timer at [`Instance::deadline_ms`]; when it is due dispatch `Tick`. Early, late and repeated ticks do no harm. Two rules: what
//! can be read from the keeper and the apps comes before ticks (an app that said `ready` in time must not be stopped because the
//! daemon was slow), and a tick never shares a batch with an earlier step of its instance (SIGKILL must not be journaled before the
//! polite request was sent).
//!
//! A fresh daemon (and likewise the old one after it had to start a new keeper):
//!
//! 1. Reads the journal.
//! 2. Takes the keeper's inventory. The keeper reads what the dead daemon sent to the end *before* it makes the inventory, so
//!    nothing is in flight: each `Spawn` that was sent is now a child in it, alive or ended, or has failed.
//! 3. Per instance: the child with the highest incarnation becomes one [`Event::Recovered`] (`Alive`, `Ended` or `Nothing`), with
//!    its own journal write and ack as above (where the journal knows another main process than the keeper, the keeper is told again). Every other ended child of the instance was journaled by the old daemon: just ack it.
//!    A newer inventory replaces what is left of an older one.
//! 4. An ended child of no known instance is acked: its instance was deleted. A live child of no known instance is
//!    never killed (the journal may be what is broken): it is reported and left alone.
//! 5. From here on as above. Commands are accepted only after this.
//!
//! What the keeper promises: it keeps an ended child until it is acked; an exit is either in the inventory or reported after it, never
//! both; a `Spawn` with a key that it still holds does nothing; a signal goes only to a child that has not been reaped; after a `Follow`
//! it reports the end of that process, at once where it has ended already, and never again that of a former one.
//!
//! What may happen twice because of a death: the polite signal or the shutdown message, SIGKILL, a sweep, and the attempt of a
//! spawn that had failed (under a new number). What never happens twice: a process, a restart in the counters, an exit in the
//! history. Where the keeper itself is lost, the ending of what died meanwhile is [`Ending::Unknown`].
//!
//! # Who waits for what
//!
//! Waiting clients look at the instance after each step rather than at transitions: [`Instance::settled`] says whether the state is
//! what is wanted. `Delete` is final: a later `Start` does not bring a doomed instance back, a new one has to be made.

pub mod backoff;
pub mod command;
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
mod ready_tests;
mod recover;
pub mod restart;
pub mod runtime;
pub mod signal;
pub mod standing;
mod state;
mod step;
pub mod stop;
#[cfg(test)]
mod tests;
mod trouble;

pub use effect::{Effect, Late, Scope, Transition};
pub use event::{Event, ExitReport, Recovered, SpawnFailure};
pub use origin::{Finding, Origin, PolicyName};
pub use policy::{Lateness, PATIENCE_MS, Policy};
pub use state::{AfterStop, Counters, Ending, ExitCause, ExitRecord, Instance, State, Wanted};
pub use trouble::Trouble;
