//! Interface between the engine and a feature, and nothing else.

use std::os::fd::{BorrowedFd, OwnedFd};

use ostler_core::lifecycle::{Effect, Event, SpawnFailure, Transition};
use ostler_keeper::{Child, FromKeeper};
use ostler_proto::event::Event as Told;
use ostler_proto::node::Message;
use ostler_sys::ProcRef;

use super::{Answer, Ask, Beside, ChildEvent, Ctx, Ending, Request};
use crate::state::slots::processes::Leaders;
use crate::state::store::{Record, Snapshot};

/// Step of an instance that was decided, and is journaled before anything of it is done.
#[derive(Debug)]
pub(crate) struct InstanceStep<'a> {
    /// Our own number of the instance.
    pub id: u32,
    /// The event that it got.
    pub event: &'a Event,
    /// PM2's word for the status it had.
    pub before: &'static str,
    /// Transitions of this step.
    pub transitions: &'a [Transition],
    /// The hooks that it asks for and calls off: [`Effect::Hook`] and [`Effect::CancelHook`] only.
    pub hooks: &'a [Effect],
    /// It asks for a process.
    pub spawns: bool,
}

/// Whether a process is asked for by the effects of a step.
pub(crate) fn spawns(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }))
}

/// The transitions among the effects of a step.
pub(crate) fn transitions(effects: &[Effect]) -> Vec<Transition> {
    let transition = |effect: &Effect| if let Effect::Notify(transition) = effect { Some(transition.clone()) } else { None };
    effects.iter().filter_map(transition).collect()
}

/// The hooks among the effects of a step.
pub(crate) fn hooks(effects: &[Effect]) -> Vec<Effect> {
    effects.iter().filter(|effect| matches!(effect, Effect::Hook { .. } | Effect::CancelHook { .. })).cloned().collect()
}

/// A part of the daemon with a state of its own. It reads slots, and asks for what others do by putting it into the queue; it knows no other
/// feature. Each method is one occasion; a feature does nothing where it says nothing.
pub(crate) trait Feature {
    /// The daemon is complete: what there was before is known, and what runs was found.
    fn on_boot(&mut self, _ctx: &mut Ctx) {}

    /// A turn begins, after something was ready.
    fn on_turn(&mut self, _ctx: &mut Ctx) {}

    /// An instance made a step.
    fn on_step(&mut self, _ctx: &mut Ctx, _step: &InstanceStep<'_>) {}

    /// An instance serves from now on, in place of another process of the same number. It has not made a step.
    fn on_serving(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// A transition of an instance is journaled, and is reported now.
    fn on_transition(&mut self, _ctx: &mut Ctx, _id: u32, _transition: &Transition) {}

    /// A process of an instance is about to be asked for: the feature adds what it is to have. With an error it is not started.
    fn on_prepare(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32, _beside: &mut Beside) -> Result<(), SpawnFailure> {
        Ok(())
    }

    /// Something that runs beside the process of an instance, for it, is about to be asked for.
    fn on_prepare_command(&mut self, _ctx: &mut Ctx, _id: u32, _beside: &mut Beside) -> Result<(), SpawnFailure> {
        Ok(())
    }

    /// The next process of an instance is about to be born, in its cgroup where it has one: what the kernel is to hold it to is set now.
    fn on_birth(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// The keeper is asked for a process of an instance; its log files are open.
    fn on_spawn(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// An instance has a process that no keeper held anything for: both manager processes were killed, and it runs on.
    fn on_adopted(&mut self, _ctx: &mut Ctx, _id: u32, _process: ProcRef) {}

    /// This process of an instance was asked for by a former daemon, which did not live to note what it gave to it: that is looked for.
    fn on_recognised(&mut self, _ctx: &mut Ctx, _id: u32, _pid: i32) {}

    /// The process of an instance is to get nothing new and to finish what it has. True: this feature sees to that.
    fn on_drain(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32) -> bool {
        false
    }

    /// The main process of an instance has ended, or may have: what it sent until now counts before its end does. True: the journal has to
    /// have some of it before the feature is asked for the rest.
    fn on_end(&mut self, _ctx: &mut Ctx, _id: u32) -> bool {
        false
    }

    /// The main process of an instance is gone, or could not be started. The instance has not made the step that follows.
    fn on_process_gone(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32) {}

    /// The main process of an instance is another one from now on ([`Event::Followed`]), and the journal has that.
    fn on_follow(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32) {}

    /// The process of an instance sent this over its channel.
    fn on_message(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32, _message: &Message) {}

    /// An instance can perhaps take more or less than before: there is room in its channel again, its worker has answered what it was
    /// handed, or it is another matter now whether it is to get new connections.
    fn on_capacity(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// The process of an instance has its first listening socket as a cluster worker.
    fn on_listening(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// Nothing more comes over the channel of an instance, and nothing can be sent. Not called for a process that is gone, which implies it.
    fn on_channel_ended(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// An instance has another description.
    fn on_described(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// An instance leaves the tables; its number may be used again.
    fn on_forgotten(&mut self, _ctx: &mut Ctx, _id: u32) {}

    /// A deadline of an instance has come. True: this feature sees to it, and the instance gets no tick.
    fn on_due(&mut self, _ctx: &mut Ctx, _id: u32) -> bool {
        false
    }

    /// A deadline of this feature has come ([`super::Timers`]).
    fn on_timer(&mut self, _ctx: &mut Ctx, _key: u64) {}

    /// A descriptor of this feature is ready, perhaps for writing, too ([`crate::platform::reactor::Source::Feature`]).
    fn on_ready(&mut self, _ctx: &mut Ctx, _key: u64, _writable: bool) {}

    /// An effect of this feature ([`super::Work::Feature`]): the journal has what led to it.
    fn on_effect(&mut self, _ctx: &mut Ctx, _key: u64) {}

    /// A daemon has begun, and its instances know what became of their processes. These processes the keeper has: none where it is a new
    /// one. By their marks main processes are found that outlived a former keeper. Before [`Feature::on_boot`].
    fn on_inventory(&mut self, _ctx: &mut Ctx, _children: &[Child], _leaders: &mut Leaders) {}

    /// The keeper was killed: processes of this feature that are no instances and still run, with their keys, for the next keeper to watch.
    fn survivors(&mut self, _leaders: &mut Leaders) -> Vec<(u64, ProcRef)> {
        Vec::new()
    }

    /// There is another keeper, which watches these processes of all features. What the former one was asked for and did not do has to be
    /// asked for again.
    fn on_new_keeper(&mut self, _ctx: &mut Ctx, _survivors: &[(u64, ProcRef)]) {}

    /// The keeper reports a process that is no instance. True: it is one of this feature.
    fn on_child(&mut self, _ctx: &mut Ctx, _key: u64, _event: ChildEvent<'_>) -> bool {
        false
    }

    /// Somebody sent this signal to keeper or daemon. True: this feature sees to it, and nobody else is asked.
    fn on_signal(&mut self, _ctx: &mut Ctx, _signal: i32) -> bool {
        false
    }

    /// The keeper reports something of itself.
    fn on_keeper(&mut self, _ctx: &mut Ctx, _message: &FromKeeper) {}

    /// Nothing is left to do, for the moment: what is put into the queue now is dealt with in the same turn, and then it is quiet again.
    fn on_quiet(&mut self, _ctx: &mut Ctx) {}

    /// Another feature requests something. Returns what this feature does not do.
    fn on_request(&mut self, _ctx: &mut Ctx, request: Request) -> Option<Request> {
        Some(request)
    }

    /// Somebody asks for something, through whichever door. Returns what this feature does not answer.
    fn on_ask(&mut self, _ctx: &mut Ctx, ask: Ask) -> Option<Ask> {
        Some(ask)
    }

    /// Something that was asked for is done, or cannot be.
    fn on_answer(&mut self, _ctx: &mut Ctx, _answer: &Answer) {}

    /// The settings of the home may have changed.
    fn on_settings(&mut self, _ctx: &mut Ctx) {}

    /// Everything that happened in this turn was dealt with; what the kernel is to know (a timer on the wall clock) is set now.
    fn on_settled(&mut self, _ctx: &mut Ctx) {}

    /// Something was written to the journal, and with it these events, the oldest first: they may be sent now.
    fn on_journaled(&mut self, _ctx: &mut Ctx, _events: &[Told]) {}

    /// Somebody's request was dealt with: the door that it came through takes the answers over, so that it counts what waits for a client that
    /// does not read. They leave when the turn is over.
    fn on_replies(&mut self, _ctx: &mut Ctx) {}

    /// The turn is over: journal and keeper have what was decided, and answers may leave.
    fn on_turn_end(&mut self, _ctx: &mut Ctx) {}

    /// The daemon ends after this, with everything or for another daemon.
    fn on_leave(&mut self, _ctx: &mut Ctx, _ending: Ending) {}

    /// What a journal that is written anew must have of this feature.
    fn records(&self) -> Vec<Record<'_>> {
        Vec::new()
    }

    /// What the journal knows, before [`Feature::on_boot`].
    fn restore(&mut self, _snapshot: &mut Snapshot) {}

    /// Descriptors that the keeper holds for this feature, by name, also those that stand in a slot: they outlive the daemon. A new keeper gets them.
    fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        Vec::new()
    }

    /// Everything that the keeper held was taken back; what processes sent meanwhile, and their ends, come after this.
    fn on_taken_back(&mut self, _ctx: &mut Ctx) {}

    /// A descriptor that the keeper held while there was no daemon, before [`Feature::on_boot`]. Returns what is not of this feature.
    fn take_back(&mut self, _ctx: &mut Ctx, _name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        Some(fd)
    }
}
