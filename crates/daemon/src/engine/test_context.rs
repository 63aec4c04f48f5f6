//! Context without a keeper, for tests of features. The test plays the keeper, the clock and the
//! turns.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName, Transition};
use ostler_core::time::Now;
use ostler_keeper::{Link, Originals};

use super::{
    ClientRequest, Ctx, DaemonState, FeatureAnswer, FeatureRequest, Input, InstanceStep, Io, Outbox, ProcessView, Work, hooks, spawns,
    transitions,
};
use crate::logs::LogFiles;
use crate::platform::fd_budget::FdBudget;
use crate::platform::keeper_connection::KeeperConnection;
use crate::platform::log::DaemonLog;
use crate::platform::node_version::NodeVersions;
use crate::platform::probe::Probes;
use crate::platform::reactor::{Reactor, Source};
use crate::platform::settings::Settings;
use crate::platform::working_trees::WorkingTrees;
use crate::state::slots::Slots;
use crate::state::slots::commands::Commands;
use crate::state::slots::complaints::Complaints;
use crate::state::slots::groups::Groups;
use crate::state::slots::listening::Listening;
use crate::state::store::events::Events;
use crate::state::store::state_file::StateFile;
use crate::state::store::{Journal, Snapshot};

/// Longest wait for threads.
const PATIENCE: Duration = Duration::from_secs(60);

/// Played context with its own home. Messages to the keeper are dropped.
pub(crate) struct TestContext {
    pub ctx: Ctx,
    home: PathBuf,
    /// Keeper's end of the link, which keeps the link open.
    _keeper: OwnedFd,
}

/// Reactions of one feature, for [`TestContext`]: the rows of the table (`crate::features`) that a
/// test needs. [`reacts`] implements it.
pub(crate) trait Reactions {
    fn on_step(&mut self, _ctx: &mut Ctx, _step: &InstanceStep<'_>) {}
    fn on_serving(&mut self, _ctx: &mut Ctx, _id: u32) {}
    fn on_message(&mut self, _ctx: &mut Ctx, _id: u32, _inc: u32, _message: &ostler_proto::node::Message) {}
    fn on_channel_ended(&mut self, _ctx: &mut Ctx, _id: u32) {}
    fn on_described(&mut self, _ctx: &mut Ctx, _id: u32) {}
    fn on_capacity(&mut self, _ctx: &mut Ctx, _id: u32) {}
    fn on_settings(&mut self, _ctx: &mut Ctx) {}
    fn on_client_request(&mut self, _ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        Some(ask)
    }
    fn on_request(&mut self, _ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        Some(request)
    }
    fn on_answer(&mut self, _ctx: &mut Ctx, _answer: &FeatureAnswer) {}
    fn on_idle(&mut self, _ctx: &mut Ctx) {}
    fn on_transition(&mut self, _ctx: &mut Ctx, _id: u32, _transition: &Transition) {}
    fn on_forgotten(&mut self, _ctx: &mut Ctx, _id: u32) {}
    fn on_timer(&mut self, _ctx: &mut Ctx, _key: u64) {}
    fn on_ready(&mut self, _ctx: &mut Ctx, _key: u64, _writable: bool) {}
    fn on_effect(&mut self, _ctx: &mut Ctx, _key: u64) {}
}

/// Implements [`Reactions`] for a feature through its methods of these names.
macro_rules! reacts {
    ($feature:ty: $($name:ident),*) => {
        impl $crate::engine::Reactions for $feature {
            $($crate::engine::reacts!(@$name);)*
        }
    };
    (@on_step) => {
        fn on_step(&mut self, ctx: &mut $crate::engine::Ctx, step: &$crate::engine::InstanceStep<'_>) {
            Self::on_step(self, ctx, step);
        }
    };
    (@on_serving) => {
        fn on_serving(&mut self, ctx: &mut $crate::engine::Ctx, id: u32) {
            Self::on_serving(self, ctx, id);
        }
    };
    (@on_message) => {
        fn on_message(&mut self, ctx: &mut $crate::engine::Ctx, id: u32, inc: u32, message: &ostler_proto::node::Message) {
            Self::on_message(self, ctx, id, inc, message);
        }
    };
    (@on_channel_ended) => {
        fn on_channel_ended(&mut self, ctx: &mut $crate::engine::Ctx, id: u32) {
            Self::on_channel_ended(self, ctx, id);
        }
    };
    (@on_described) => {
        fn on_described(&mut self, ctx: &mut $crate::engine::Ctx, id: u32) {
            Self::on_described(self, ctx, id);
        }
    };
    (@on_capacity) => {
        fn on_capacity(&mut self, ctx: &mut $crate::engine::Ctx, id: u32) {
            Self::on_capacity(self, ctx, id);
        }
    };
    (@on_settings) => {
        fn on_settings(&mut self, ctx: &mut $crate::engine::Ctx) {
            Self::on_settings(self, ctx);
        }
    };
    (@on_client_request) => {
        fn on_client_request(&mut self, ctx: &mut $crate::engine::Ctx, ask: $crate::engine::ClientRequest) -> Option<$crate::engine::ClientRequest> {
            Self::on_client_request(self, ctx, ask)
        }
    };
    (@on_request) => {
        fn on_request(&mut self, ctx: &mut $crate::engine::Ctx, request: $crate::engine::FeatureRequest) -> Option<$crate::engine::FeatureRequest> {
            Self::on_request(self, ctx, request)
        }
    };
    (@on_answer) => {
        fn on_answer(&mut self, ctx: &mut $crate::engine::Ctx, answer: &$crate::engine::FeatureAnswer) {
            Self::on_answer(self, ctx, answer);
        }
    };
    (@on_idle) => {
        fn on_idle(&mut self, ctx: &mut $crate::engine::Ctx) {
            Self::on_idle(self, ctx);
        }
    };
    (@on_transition) => {
        fn on_transition(&mut self, ctx: &mut $crate::engine::Ctx, id: u32, transition: &ostler_core::lifecycle::Transition) {
            Self::on_transition(self, ctx, id, transition);
        }
    };
    (@on_forgotten) => {
        fn on_forgotten(&mut self, ctx: &mut $crate::engine::Ctx, id: u32) {
            Self::on_forgotten(self, ctx, id);
        }
    };
    (@on_timer) => {
        fn on_timer(&mut self, ctx: &mut $crate::engine::Ctx, key: u64) {
            Self::on_timer(self, ctx, key);
        }
    };
    (@on_ready) => {
        fn on_ready(&mut self, ctx: &mut $crate::engine::Ctx, key: u64, writable: bool) {
            Self::on_ready(self, ctx, key, writable);
        }
    };
    (@on_effect) => {
        fn on_effect(&mut self, ctx: &mut $crate::engine::Ctx, key: u64) {
            Self::on_effect(self, ctx, key);
        }
    };
}
pub(crate) use reacts;

impl TestContext {
    /// Returns a context with descriptors of these features. Its clock starts one second after the
    /// boot.
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().canonicalize().unwrap().join(format!("ostler-played-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        let (keeper, ours) = ostler_sys::net::socket::packet_pair().unwrap();
        let memfd = ostler_sys::fd::memfd::create("ostler-played").unwrap();
        let mut journal = Journal::open(memfd).unwrap().0;
        let events = Events::restore(&mut Snapshot::default(), &mut journal);
        let io = Io {
            settings: Settings::from_env(home.clone()),
            log: DaemonLog::new(home.join("pm2.log"), ""),
            reactor: Reactor::of_features(names).unwrap(),
            keeper: KeeperConnection::new(Link::new(ours), 1),
            fds: FdBudget::new(),
            originals: Originals { umask: 0o77, nofile: None, oom_score_adj: None },
            anchor: None,
            lock: std::fs::File::create(home.join("lock")).unwrap().into(),
            listener: UnixListener::bind(home.join("sock")).unwrap(),
            processes: ProcessView::default(),
            checks: Probes::new(|id| Source::Feature("health", id.into())),
            node_versions: NodeVersions::default(),
            working_trees: WorkingTrees::default(),
        };
        let state = DaemonState {
            boot_id: "played".into(),
            slots: Slots::default(),
            journal,
            state_file: StateFile::new(home.join("state")),
            events,
            groups: Groups::default(),
            commands: Commands::default(),
            listening: Listening::default(),
            log_files: LogFiles::new(home.clone()),
            complaints: Complaints::default(),
            pending_starts: BTreeSet::new(),
            waiting: BTreeSet::new(),
            open_requests: 0,
        };
        let now = Now { mono_ms: 1000, wall_ms: ostler_sys::now().wall_ms };
        let ctx = Ctx { now, io, state, outbox: Outbox::default() };
        Self { ctx, home, _keeper: keeper }
    }

    /// Returns a folder for files of apps.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Adds an instance of this app that was never started.
    pub(crate) fn instance(&mut self, spec: AppSpec) -> u32 {
        let (app, _) = self.ctx.state.slots.shared_app(spec);
        let (base, _) = self.ctx.state.slots.base(std::borrow::Cow::Owned(EnvMap::default()));
        self.ctx.state.slots.add(&app, &base, None, self.ctx.now, &self.ctx.io.settings)
    }

    /// Dispatches an event to an instance, and calls the feature. The resulting effects are not
    /// performed.
    pub(crate) fn dispatch(&mut self, feature: &mut dyn Reactions, id: u32, event: Event) {
        self.step(feature, id, event);
    }

    /// Makes a step; returns its transitions.
    fn step(&mut self, feature: &mut dyn Reactions, id: u32, event: Event) -> Vec<Transition> {
        let slot = self.ctx.state.slots.get_mut(id).unwrap();
        let before = slot.durable.instance.status();
        let effects = slot.durable.instance.step(&slot.live.policy, event.clone(), self.ctx.now);
        self.ctx.state.slots.changed(id);
        let transitions = transitions(&effects);
        let (hooks, spawns) = (hooks(&effects), spawns(&effects));
        feature.on_step(&mut self.ctx, &InstanceStep { id, event: &event, before, transitions: &transitions, hooks: &hooks, spawns });
        transitions
    }

    /// Dispatches the queue as a turn does, until it is empty. Returns answers, and requests to
    /// other features. Deleted instances are forgotten.
    pub(crate) fn settle(&mut self, feature: &mut dyn Reactions) -> Vec<Input> {
        let mut rest = Vec::new();
        loop {
            while let Some(input) = self.ctx.outbox.queue.pop_front() {
                match input {
                    Input::Event(id, event) => self.deal_with(feature, id, event),
                    Input::Serving(id) => feature.on_serving(&mut self.ctx, id),
                    Input::Message(id, inc, message) => feature.on_message(&mut self.ctx, id, inc, &message),
                    Input::ChannelEnded(id) => feature.on_channel_ended(&mut self.ctx, id),
                    Input::Described(id) => feature.on_described(&mut self.ctx, id),
                    Input::Capacity(id) => {
                        feature.on_capacity(&mut self.ctx, id);
                        rest.push(Input::Capacity(id));
                    }
                    Input::Listens(_) => rest.push(input),
                    Input::Settings => feature.on_settings(&mut self.ctx),
                    Input::Ask(ask) => rest.extend(feature.on_client_request(&mut self.ctx, ask).map(Input::Ask)),
                    Input::Request(request) => rest.extend(feature.on_request(&mut self.ctx, request).map(Input::Request)),
                    Input::Answer(answer) => {
                        feature.on_answer(&mut self.ctx, &answer);
                        rest.push(Input::Answer(answer));
                    }
                }
            }
            feature.on_idle(&mut self.ctx);
            if self.ctx.outbox.queue.is_empty() {
                return rest;
            }
        }
    }

    fn deal_with(&mut self, feature: &mut dyn Reactions, id: u32, event: Event) {
        if self.ctx.state.slots.get(id).is_none() {
            return;
        }
        let transitions = self.step(feature, id, event);
        transitions.iter().for_each(|transition| feature.on_transition(&mut self.ctx, id, transition));
        if self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.state == InstanceState::Gone) {
            feature.on_transition(&mut self.ctx, id, &Transition::Deleted);
            self.ctx.state.slots.remove(id);
            feature.on_forgotten(&mut self.ctx, id);
        }
    }

    /// Starts the instance: requests its process and spawns it now.
    pub(crate) fn start(&mut self, feature: &mut dyn Reactions, id: u32, pid: i32) {
        self.dispatch(feature, id, Event::Start(Origin::policy(PolicyName::Recovery)));
        let slot = self.ctx.state.slots.get_mut(id).unwrap();
        slot.live.spawned_ms = Some(self.ctx.now.mono_ms);
        self.spawned(feature, id, pid);
    }

    /// Reports that the keeper has spawned the requested process.
    pub(crate) fn spawned(&mut self, feature: &mut dyn Reactions, id: u32, pid: i32) {
        let state = &self.ctx.state.slots.get(id).unwrap().durable.instance.state;
        let InstanceState::Spawning { inc, .. } = *state else { panic!("{state:?}") };
        self.dispatch(feature, id, Event::Spawned { inc, pid });
    }

    /// Moves the clock forward, and calls each deadline at its time.
    pub(crate) fn pass(&mut self, feature: &mut dyn Reactions, ms: u64) {
        let until_ms = self.ctx.now.mono_ms + ms;
        while let Some(at_ms) = self.ctx.outbox.timers.next_ms().filter(|at_ms| *at_ms <= until_ms) {
            self.clock(at_ms.max(self.ctx.now.mono_ms));
            for (owner, key) in self.ctx.outbox.timers.due(at_ms) {
                if self.ctx.outbox.timers.take((owner, key), at_ms) {
                    feature.on_timer(&mut self.ctx, key);
                }
            }
        }
        self.clock(until_ms);
    }

    fn clock(&mut self, mono_ms: u64) {
        let now = &mut self.ctx.now;
        *now = Now { mono_ms, wall_ms: now.wall_ms + (mono_ms - now.mono_ms) };
    }

    /// Waits for descriptors of the feature until the condition holds.
    pub(crate) fn wait<F: Reactions>(&mut self, feature: &mut F, is_so: impl Fn(&F, &Ctx) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(feature, &self.ctx) {
            assert!(Instant::now() < deadline, "it does not come to that; the log: {}", self.log());
            for ready in self.ctx.io.reactor.wait(Some(Duration::from_millis(100))).unwrap() {
                if let Source::Feature(_, key) = ready.source {
                    feature.on_ready(&mut self.ctx, key, ready.writable);
                }
            }
            self.ctx.io.log.flush();
        }
    }

    /// Writes the journal, also to disk, and lets the feature perform its effects.
    pub(crate) fn do_work(&mut self, feature: &mut dyn Reactions) {
        let (written, bytes) = self.ctx.state.journal.flush();
        self.ctx.state.state_file.append(&bytes.unwrap(), self.ctx.now.mono_ms);
        self.ctx.state.state_file.flush().unwrap();
        for work in self.ctx.outbox.effects.take(written) {
            if let Work::Feature(_, key) = work {
                feature.on_effect(&mut self.ctx, key);
            }
        }
    }

    /// Forgets the messages to the keeper, with the copies of descriptors that it would hold.
    pub(crate) fn drop_keeper_messages(&mut self) {
        let (keeper, ours) = ostler_sys::net::socket::packet_pair().unwrap();
        self.ctx.io.keeper = KeeperConnection::new(Link::new(ours), 1);
        self._keeper = keeper;
    }

    /// Removes and returns the queued inputs.
    pub(crate) fn queued(&mut self) -> Vec<Input> {
        self.ctx.outbox.queue.drain(..).collect()
    }

    /// Writes the noted records to the journal. Returns the effects that may be performed now, and
    /// the bytes of the records.
    pub(crate) fn written(&mut self) -> (Vec<Work>, Vec<u8>) {
        let (written, bytes) = self.ctx.state.journal.flush();
        (self.ctx.outbox.effects.take(written).into(), bytes.unwrap())
    }

    /// Returns the events that are in the journal now.
    pub(crate) fn events(&mut self) -> Vec<ostler_proto::event::Event> {
        self.ctx.state.events.write_to(&mut self.ctx.state.journal);
        self.ctx.state.journal.flush().1.unwrap();
        self.ctx.state.events.written()
    }

    /// Returns the daemon's log so far.
    pub(crate) fn log(&mut self) -> String {
        self.ctx.io.log.flush();
        std::fs::read_to_string(self.ctx.io.log.path()).unwrap_or_default()
    }
}

impl Drop for TestContext {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
