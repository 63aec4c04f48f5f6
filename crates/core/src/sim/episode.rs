//! One episode: a few instances and some hundred random steps. Then no further commands or deaths
//! happen, and all instances must come to rest as wanted.

use super::daemon::{Daemon, JournaledStep, Outcome};
use super::oracle::Oracle;
use super::rng::Rng;
use super::shrink::{BrokenPromise, EpisodeResult};
use super::world::{Child, HookRun, Tendency, World};
use crate::app::KillMode;
use crate::app::hooks::{Hook, HookPolicy, OnFailure};
use crate::lifecycle::{Event, Instance, Lateness, Origin, Policy, PolicyName};

/// Instances in one episode.
const SLOTS: usize = 3;

/// Number of turns in which everything must come to rest.
const PATIENCE: usize = 20_000;

/// Constant that derives the seed of an episode's hooks from the seed of the episode. With it,
/// episodes that once found a bug stay unchanged.
const HOOKS: u64 = 1768;

/// Statistics of an episode.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Turns of the daemon, the keeper, the apps, the user and the clock that did something.
    pub steps: u64,
    /// Calls of the state machine that were journaled.
    pub state_steps: u64,
    /// Journal writes.
    pub writes: u64,
    /// Deaths of the daemon.
    pub deaths: u64,
    /// Deaths of the keeper.
    pub keeper_deaths: u64,
    /// Processes started.
    pub spawns: u64,
    /// Handovers to another main process.
    pub handovers: u64,
}

impl Tally {
    /// Adds another tally.
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.state_steps += other.state_steps;
        self.writes += other.writes;
        self.deaths += other.deaths;
        self.keeper_deaths += other.keeper_deaths;
        self.spawns += other.spawns;
        self.handovers += other.handovers;
    }
}

/// All participants of an episode.
struct Participants {
    world: World,
    daemon: Daemon,
    journal: Vec<Option<Instance>>,
    policies: Vec<Policy>,
    oracle: Oracle,
    tally: Tally,
    /// Deaths of the daemon per thousand steps. Quiet episodes allow longer stories.
    death_permille: usize,
    /// Commands per thousand steps.
    command_permille: usize,
    trace: Option<Vec<String>>,
    broken: Option<String>,
}

/// Runs one episode: `seed` determines the setting, and each word is one step. The same arguments
/// result in the same episode.
pub(super) fn play(seed: u64, words: &[u64], traced: bool) -> EpisodeResult<Tally> {
    let mut rng = Rng::new(seed);
    let mut stage = Participants::new(&mut rng);
    stage.add_hooks(&mut Rng::new(seed ^ HOOKS));
    if traced {
        stage.trace = Some(stage.policies.iter().enumerate().map(|(slot, policy)| format!("#{slot} {policy:?}")).collect());
    }
    for (index, word) in words.iter().enumerate() {
        stage.random_step(&mut Rng::new(*word));
        if let Some(what) = stage.broken.take() {
            return (Err(BrokenPromise { after: index + 1, description: what }), stage.trace.unwrap_or_default());
        }
    }
    let calm = rng.percent(60);
    let result = stage.settle(calm, &mut rng).map_err(|what| BrokenPromise { after: words.len(), description: what });
    stage.tally.spawns = stage.world.seq;
    (result.map(|()| stage.tally), stage.trace.unwrap_or_default())
}

impl Participants {
    fn new(rng: &mut Rng) -> Self {
        let mut world = World::new(SLOTS, rng);
        let journal = vec![None; SLOTS];
        let daemon = Daemon::boot(&journal, &mut world, rng, &mut Vec::new());
        Self {
            world,
            daemon,
            journal,
            policies: (0..SLOTS).map(|_| random_policy(rng)).collect(),
            oracle: Oracle::new(SLOTS),
            tally: Tally::default(),
            death_permille: rng.pick(&[0, 2, 10, 60]),
            command_permille: rng.pick(&[10, 40, 90, 200]),
            trace: None,
            broken: None,
        }
    }

    /// Adds hooks and dependencies to half of the episodes. The other episodes stay unchanged.
    fn add_hooks(&mut self, rng: &mut Rng) {
        if rng.percent(50) {
            return;
        }
        for policy in &mut self.policies {
            policy.hooks = random_hooks(rng);
            policy.depends_timeout_ms = rng.percent(20).then(|| rng.pick(&[1, 500, 60_000]));
        }
        for tendency in &mut self.world.tendency {
            *tendency = tendency.with_hooks(rng);
        }
    }

    fn random_step(&mut self, rng: &mut Rng) {
        if rng.below(1000) < self.death_permille {
            // The keeper is more robust, so it dies more rarely.
            return if rng.percent(15) { self.keeper_dies() } else { self.daemon_dies(rng) };
        }
        if rng.below(1000) < self.command_permille {
            return self.command(rng);
        }
        match rng.below(100) {
            0..50 => _ = self.daemon_turn(rng),
            50..67 => self.keeper_turn(rng),
            67..87 => self.app_turn(rng.below(SLOTS), rng),
            87..99 => {
                let by = rng.pick(&[1, 1, 20, 100, 500, 1000, 1600, 5000, 40_000]);
                self.advance(by);
            }
            _ => self.late_event(rng),
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>7} ms  {}", self.world.now, line()));
        }
    }

    fn fail(&mut self, slot: usize, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.note(|| format!("#{slot} BROKEN: {what}"));
            self.broken.get_or_insert_with(|| format!("#{slot}: {what}"));
        }
    }

    /// Gives the daemon a turn. Returns whether it had something to do.
    fn daemon_turn(&mut self, rng: &mut Rng) -> bool {
        let outcome = self.daemon.turn(&self.policies, &mut self.world, rng);
        self.tally.steps += u64::from(!matches!(outcome, Outcome::Idle));
        match outcome {
            Outcome::Idle => {
                if let Some(slot) = self.daemon.stuck_slot(&self.world) {
                    self.fail(slot, Err("waits for the end of a tree that nobody sweeps, or of a hook that nobody runs".into()));
                }
                return false;
            }
            Outcome::Internal => {}
            Outcome::Write(steps) => {
                self.tally.writes += 1;
                self.check_write(&steps);
                for step in steps {
                    self.note_hooks(&step);
                    self.write(step.slot);
                }
            }
        }
        true
    }

    /// Judges each step of a write; then all steps take effect at the same time.
    fn check_write(&mut self, steps: &[JournaledStep]) {
        for (index, JournaledStep { slot, cause, after, .. }) in steps.iter().enumerate() {
            let slot = *slot;
            self.tally.state_steps += 1;
            let earlier = steps[..index].iter().rev().find(|step| step.slot == slot);
            let old = earlier.map_or(self.journal[slot].as_ref(), |step| step.after.as_ref());
            let Some(new) = after.as_ref().or(self.daemon.instances[slot].as_ref()) else { continue };
            let handed_over = old.is_some_and(|old| new.pid().is_some_and(|pid| old.is_former(new.inc, pid)));
            self.tally.handovers += u64::from(handed_over);
            let verdict = self.oracle.on_write(slot, old, new, cause, &self.policies[slot], &mut self.world);
            if self.trace.is_some() {
                let line = format!("#{slot} journal: {}", in_short(new));
                self.note(|| line);
            }
            self.fail(slot, verdict);
        }
    }

    /// Checks that the step that requests a hook adds it to the journal, and that the step after
    /// its end removes it.
    fn note_hooks(&mut self, JournaledStep { slot, hooks, cancels, ended_hook: told, .. }: &JournaledStep) {
        let slot = *slot;
        if let Some((inc, hook)) = *told {
            self.world.hook_runs.retain(|run| !run.is(slot, inc, hook));
            self.daemon.hook_is_recorded(slot, inc, hook);
        }
        for &(inc, hook) in hooks {
            let verdict = self.oracle.on_hook(slot, inc, hook, &self.world);
            self.fail(slot, verdict);
            self.world.hook_runs.push(HookRun { slot, inc, hook, cancelled: false });
        }
        for &(inc, hook) in cancels {
            self.world.hook_runs.iter_mut().filter(|run| run.is(slot, inc, hook)).for_each(|run| run.cancelled = true);
        }
    }

    fn write(&mut self, slot: usize) {
        let Some(new) = &self.daemon.instances[slot] else { return };
        if matches!(new.state, crate::lifecycle::InstanceState::Gone) {
            self.journal[slot] = None;
            self.world.forget(slot);
            self.daemon.drop_if_gone(slot);
            return;
        }
        match &mut self.journal[slot] {
            // Most writes change only the state; a copy of the history would take most of the
            // simulation's time.
            Some(old) if old.exits.last() == new.exits.last() => {
                let exits = std::mem::take(&mut old.exits);
                *old = Instance { exits, state: new.state.clone(), counters: new.counters.clone(), wanted: new.wanted, inc: new.inc };
            }
            old => *old = Some(new.clone()),
        }
    }

    fn keeper_turn(&mut self, rng: &mut Rng) {
        self.tally.steps += u64::from(!self.world.keeper_is_idle());
        if let Some(forgotten) = self.world.keeper_turn(rng) {
            self.fail(forgotten.slot, Oracle::on_forgotten(forgotten));
        }
        self.check_trees();
    }

    fn app_turn(&mut self, slot: usize, rng: &mut Rng) {
        let happened = self.world.app_turn(slot, rng);
        self.tally.steps += u64::from(happened);
        if happened && self.trace.is_some() {
            let child = self.world.children[slot].last().map(|child| format!("{child:?}"));
            self.note(|| format!("#{slot} app: {}", child.unwrap_or_default()));
        }
    }

    fn check_trees(&mut self) {
        for slot in 0..SLOTS {
            let verdict = Oracle::one_tree(slot, &self.policies[slot], &self.world);
            self.fail(slot, verdict);
        }
    }

    fn advance(&mut self, by_ms: u64) {
        self.tally.steps += 1;
        self.world.now += by_ms;
    }

    fn command(&mut self, rng: &mut Rng) {
        if !self.daemon.is_open() {
            return;
        }
        self.tally.steps += 1;
        let slot = rng.below(SLOTS);
        let user = || Origin::User { command: String::new(), uid: 0, pid: 1, on_behalf_of: None };
        let event = match rng.below(100) {
            0..30 => Event::Start(if rng.percent(20) { Origin::Resurrect } else { user() }),
            30..55 => Event::Restart(user()),
            55..60 => Event::Restart(Origin::policy(PolicyName::Cron)),
            60..65 => Event::Fail(Origin::policy(PolicyName::Cron)),
            65..77 => Event::Stop(user()),
            77..85 => Event::StopGently(user()),
            85..91 => Event::Delete(user()),
            91..94 => Event::Retire(user()),
            94 => Event::Hurry,
            98..100 => Event::RestartAt { origin: Origin::policy(PolicyName::Cron), at_ms: self.world.now + 700 },
            _ => Event::Reset,
        };
        self.note(|| format!("#{slot} command: {event:?}"));
        self.daemon.command(slot, &self.policies, event, self.world.now);
    }

    /// Sends a late event. An event of an old incarnation, or an early tick, must not change
    /// anything.
    fn late_event(&mut self, rng: &mut Rng) {
        let slot = rng.below(SLOTS);
        let Some(instance) = &self.daemon.instances[slot] else { return };
        let Some(inc) = instance.inc.checked_sub(1) else { return };
        self.tally.steps += 1;
        let exit = crate::lifecycle::ExitReport { ending: crate::lifecycle::ProcessEnding::Code(3), oom: false };
        let is_due = instance.deadline_ms().is_some_and(|due| due <= self.world.now);
        let event = match rng.below(9) {
            0 if !is_due => Event::Tick,
            0 | 1 => Event::Spawned { inc, pid: 1 },
            2 => Event::SpawnFailed { inc, failure: crate::lifecycle::SpawnFailure { step: String::new(), errno: 1 } },
            3 => Event::Ready { inc },
            4 => Event::Exited { inc, exit },
            5 => Event::Drained { inc },
            7 if self.policies[slot].hooks != HookPolicy::default() => {
                let hook = Hook::ALL[rng.below(Hook::ALL.len())];
                Event::HookDone { inc, hook, outcome: crate::lifecycle::command::CommandOutcome::Code(1) }
            }
            6 => Event::Followed { inc, pid: 1 },
            7 => Event::Extend { inc, until_ms: u64::MAX },
            _ => Event::TreeGone { inc },
        };
        let mut after = instance.clone();
        let effects = after.step(&self.policies[slot], event.clone(), crate::time::Now::at(self.world.now));
        if !effects.is_empty() || after != *instance {
            self.fail(slot, Err(format!("late {event:?} did something")));
        }
    }

    fn daemon_dies(&mut self, rng: &mut Rng) {
        self.tally.steps += 1;
        self.tally.deaths += 1;
        self.note(|| "the daemon dies".into());
        let mut forgotten = Vec::new();
        self.daemon = Daemon::boot(&self.journal, &mut self.world, rng, &mut forgotten);
        for forgotten in forgotten {
            self.fail(forgotten.slot, Oracle::on_forgotten(forgotten));
        }
        self.check_trees();
    }

    fn keeper_dies(&mut self) {
        self.tally.steps += 1;
        self.tally.keeper_deaths += 1;
        self.note(|| "the keeper dies".into());
        self.world.keeper_dies();
        self.daemon.keeper_dies();
    }

    /// Continues without commands and deaths. The programs behave, or (not `calm`) each crashes as
    /// soon as it runs.
    fn settle(&mut self, calm: bool, rng: &mut Rng) -> Result<(), String> {
        self.note(|| format!("silence; programs behave: {calm}"));
        for tendency in &mut self.world.tendency {
            *tendency = if calm {
                Tendency::GOOD
            } else {
                Tendency { crashes: 100, obeys: 100, sends_ready: 50, hooks_fail: 50, ..Tendency::GOOD }
            };
        }
        // A program that can crash without limit and never count as unstable never comes to rest. A
        // run that began before this phase and never becomes ready does not either, but the policy
        // handles that case.
        for _ in 0..PATIENCE {
            let mut busy = false;
            while self.daemon_turn(rng) {
                busy = true;
            }
            while !self.world.keeper_is_idle() {
                self.keeper_turn(rng);
                busy = true;
            }
            for slot in 0..SLOTS {
                if self.world.children[slot].iter().any(Child::tree_alive) {
                    self.app_turn(slot, rng);
                }
            }
            if let Some(what) = self.broken.take() {
                return Err(what);
            }
            if busy {
                continue;
            }
            match self.journal.iter().flatten().filter_map(Instance::deadline_ms).min() {
                Some(due) if due > self.world.now && rng.percent(50) => self.world.now = due,
                _ => self.world.now += 1,
            }
            if self.world.hook_runs.is_empty() && rng.percent(10) && (0..SLOTS).all(|slot| self.verdict(slot, calm).is_ok()) {
                return Ok(());
            }
        }
        (0..SLOTS).try_for_each(|slot| self.verdict(slot, calm).map_err(|what| format!("#{slot}: in the end {what}")))
    }

    fn verdict(&self, slot: usize, calm: bool) -> Result<(), String> {
        self.oracle.at_rest(slot, self.journal[slot].as_ref(), calm, &self.policies[slot], &self.world)
    }
}

/// Formats an instance as one readable line.
fn in_short(instance: &Instance) -> String {
    let Instance { wanted, state, counters, exits, .. } = instance;
    let state =
        format!("{state:?}").replace("Now { mono_ms: ", "{ ").replace("User { command: \"\", uid: 0, pid: 1, on_behalf_of: None }", "User");
    let last = exits.last().map(|exit| format!("inc {} {:?} by {:?}", exit.inc, exit.ending, exit.cause));
    let (restarts, unstable, delay) = (counters.restarts, counters.unstable, counters.last_delay_ms);
    format!("wanted {wanted:?}, {state}, restarts {restarts}, unstable {unstable}, delay {delay}, last exit: {}", last.unwrap_or_default())
}

fn random_hooks(rng: &mut Rng) -> HookPolicy {
    if rng.percent(40) {
        return HookPolicy::default();
    }
    let meaning = |rng: &mut Rng| rng.pick(&[None, Some(OnFailure::Abort), Some(OnFailure::Continue)]);
    HookPolicy {
        pre_start: meaning(rng),
        post_start: meaning(rng),
        pre_stop: rng.percent(50),
        post_stop: rng.percent(50),
        on_crash: rng.percent(50),
    }
}

fn random_policy(rng: &mut Rng) -> Policy {
    Policy {
        autorestart: rng.percent(85),
        max_restarts: rng.pick(&[0, 1, 3, 16, 16]),
        min_uptime_ms: rng.pick(&[100, 1000, 1000]),
        restart_delay_ms: rng.pick(&[0, 0, 0, 700]),
        exp_backoff_ms: rng.pick(&[0, 0, 0, 100]),
        backoff_cap_ms: crate::lifecycle::backoff::CAP_MS,
        backoff_reset_ms: 30_000,
        stop_exit_codes: if rng.percent(20) { vec![0, 7] } else { Vec::new() },
        kill_signal: 2,
        kill_timeout_ms: rng.pick(&[0, 1600, 1600, 5000]),
        kill_mode: rng.pick(&[KillMode::Tree, KillMode::Tree, KillMode::Mixed, KillMode::Mixed, KillMode::Process]),
        shutdown_with_message: rng.percent(20),
        drain_timeout_ms: rng.pick(&[None, Some(0), Some(1600), Some(5000)]),
        drain_answer_ms: rng.pick(&[None, None, Some(1000)]),
        drains_after_signal: rng.percent(30),
        wait_ready: rng.percent(40),
        listen_timeout_ms: rng.pick(&[1, 3000, 3000]),
        lateness: rng.pick(&[
            Lateness::Accept,
            Lateness::Fail,
            Lateness::GoOn { at_most_ms: None },
            Lateness::GoOn { at_most_ms: Some(9000) },
        ]),
        hooks: HookPolicy::default(),
        depends_timeout_ms: None,
        budget: rng.percent(20).then(|| crate::app::RestartBudget { n: rng.pick(&[0, 1, 3]), window_ms: rng.pick(&[1, 5000, 100_000]) }),
        exits_kept: rng.pick(&[1, 8, 20]),
    }
}
