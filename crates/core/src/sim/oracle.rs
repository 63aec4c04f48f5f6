//! Oracle: checks promises against the truth of the world and the journal, independently of the
//! machine's rules.

use super::daemon::WriteCause;
use super::world::{ForgottenExit, World};
use crate::app::KillMode;
use crate::app::hooks::{Hook, OnFailure};
use crate::lifecycle::{
    AfterStop, DesiredState, Event, ExitCause, ExitRecord, Instance, InstanceState, Lateness, Origin, Policy, ProcessEnding,
};

/// A broken promise.
pub(super) type Verdict = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// Intent of the user, as far as the daemon has confirmed (journaled) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Up,
    Down,
    Gone,
}

/// Knowledge of one instance.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) intent: Intent,
    /// Whether the policy stopped restarting it after the last command to be up.
    may_rest: bool,
    /// Whether a new process is requested but not spawned yet.
    needs_spawn: bool,
    /// The process must be younger than this.
    fresh_after: u64,
    /// Unstable runs in a row, counted from the history of exits.
    streak: u32,
    /// Highest incarnation in the history of exits.
    recorded: u32,
}

impl Slot {
    const NEW: Self = Self { intent: Intent::Down, may_rest: true, needs_spawn: false, fresh_after: 0, streak: 0, recorded: 0 };
}

/// Oracle for all instances.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) slots: Vec<Slot>,
}

impl Oracle {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: vec![Slot::NEW; slots] }
    }

    /// Checks a write that changes the journal from `old` to `new`.
    pub(super) fn on_write(
        &mut self,
        slot: usize,
        old: Option<&Instance>,
        new: &Instance,
        cause: &WriteCause,
        policy: &Policy,
        world: &mut World,
    ) -> Verdict {
        let blank = Instance::new(crate::time::Now::at(world.now));
        if old.is_none() {
            self.slots[slot] = Slot::NEW;
        }
        let old = old.unwrap_or(&blank);
        let memo = &mut self.slots[slot];
        ensure!(new.inc == old.inc || new.inc == old.inc + 1, "inc went from {} to {}", old.inc, new.inc);
        numbers_agree(new)?;
        follows_the_named_process(slot, new, world)?;
        if let WriteCause::Command(command) = cause {
            take_command(memo, old, new, command, world)?;
        }
        if let Some(record) = new.exits.last().filter(|record| record.inc > memo.recorded || old.exits.last() != Some(record)) {
            ensure!(record.inc > memo.recorded, "exit of inc {} is recorded twice", record.inc);
            memo.recorded = record.inc;
            take_exit(memo, old, slot, record, policy, world)?;
        }
        if new.inc > old.inc {
            spawn_is_allowed(memo, old, new, cause, policy)?;
        }
        ensure!(
            matches!(cause, WriteCause::Command(Event::Reset))
                || (0..=1).contains(&(i64::from(new.counters.restarts) - i64::from(old.counters.restarts))),
            "restarts went from {} to {}",
            old.counters.restarts,
            new.counters.restarts
        );
        if matches!(cause, WriteCause::Event) {
            policy_may_end_it(memo, old, new, policy)?;
        }
        stop_is_justified(old, new, cause, slot, policy, world)?;
        online_is_true(old, new, slot, policy, world)?;
        if matches!(new.state, InstanceState::Gone) {
            ensure!(memo.intent == Intent::Gone, "gone, but wanted {:?}", memo.intent);
            for child in &world.children[slot] {
                ensure!(!child.leader_alive() && (!child.tree_alive() || !policy.owns_tree()), "gone, but inc {} is alive", child.inc);
                ensure!(!child.held || child.recorded, "gone, but the exit of inc {} is not recorded", child.inc);
            }
        }
        Ok(())
    }

    /// Checks that the keeper may forget an exit.
    pub(super) fn on_forgotten(forgotten: ForgottenExit) -> Verdict {
        ensure!(forgotten.recorded, "exit of inc {} is lost: acked, but never journaled", forgotten.inc);
        Ok(())
    }

    /// Checks a requested hook: it runs once at a time, and its process is in the right phase.
    pub(super) fn on_hook(&self, slot: usize, inc: u32, hook: Hook, world: &World) -> Verdict {
        ensure!(!world.hook_runs.iter().any(|run| run.is(slot, inc, hook)), "{hook} of inc {inc} runs twice");
        let child = world.children[slot].iter().rev().find(|child| child.inc == inc);
        let fits = match hook {
            Hook::PreStart => child.is_none_or(|child| !child.leader_alive()),
            Hook::PostStart | Hook::PreStop => child.is_some(),
            Hook::PostStop => child.is_some_and(|child| !child.leader_alive()),
            Hook::OnCrash => child.is_some_and(|child| !child.leader_alive()),
        };
        ensure!(fits, "{hook} of inc {inc} at the wrong time");
        Ok(())
    }

    /// Checks at any moment that an instance has at most one tree.
    pub(super) fn one_tree(slot: usize, policy: &Policy, world: &World) -> Verdict {
        if policy.kill_mode == KillMode::Mixed {
            let disturbed = world.children[slot].iter().find(|child| child.other_got_stop);
            ensure!(
                disturbed.is_none(),
                "a child of inc {} was asked to end beside its main process",
                disturbed.map_or(0, |child| child.inc)
            );
        }
        let alive = |child: &&super::world::Child| if policy.owns_tree() { child.tree_alive() } else { child.leader_alive() };
        let mut incs = world.children[slot].iter().rev().take(4).filter(alive).map(|child| child.inc);
        if let (Some(a), Some(b)) = (incs.next(), incs.next()) {
            return Err(format!("inc {a} and inc {b} are alive at the same time"));
        }
        Ok(())
    }

    /// Checks the end of an episode. All events are over, and the programs behave (`calm`) or crash
    /// immediately: the state must be as wanted.
    pub(super) fn at_rest(&self, slot: usize, journal: Option<&Instance>, calm: bool, policy: &Policy, world: &World) -> Verdict {
        let memo = &self.slots[slot];
        let leader = world.children[slot].iter().find(|child| child.leader_alive());
        let anything = world.children[slot].iter().any(|child| if policy.owns_tree() { child.tree_alive() } else { child.leader_alive() });
        let Some(instance) = journal else {
            ensure!(!anything, "forgotten, but a process is alive");
            ensure!(memo.intent != Intent::Up || world.children[slot].is_empty(), "forgotten, but wanted up");
            return Ok(());
        };
        for child in &world.children[slot] {
            ensure!(!child.held || child.leader_alive(), "exit of inc {} is not acked in the end", child.inc);
        }
        match memo.intent {
            Intent::Gone => Err("wanted gone, but still there".into()),
            Intent::Down => {
                ensure!(matches!(instance.state, InstanceState::Stopped), "wanted down, but {:?}", instance.state);
                ensure!(!anything, "wanted down, but a process is alive");
                Ok(())
            }
            Intent::Up => match (&instance.state, leader) {
                (InstanceState::Running { inc, pid, .. }, Some(child)) => {
                    ensure!(calm || policy.min_uptime_ms == 0, "running for ever, but it only crashes");
                    ensure!(child.inc == *inc && child.main == *pid, "says inc {inc} pid {pid}, but {} {} runs", child.inc, child.main);
                    ensure!(!child.had_handed_over(*pid), "pid {pid} had handed over, and nobody listened");
                    ensure!(child.held && child.watched == *pid, "pid {pid} is not watched by the keeper");
                    ensure!(child.seq > memo.fresh_after, "inc {inc} began before the last restart was asked for");
                    Ok(())
                }
                (InstanceState::Starting { inc, ready_deadline_ms: None, .. }, Some(child)) => {
                    ensure!(policy.lateness == Lateness::GoOn { at_most_ms: None }, "it starts for ever, but its time was named");
                    ensure!(
                        child.inc == *inc && child.ready_at.is_none(),
                        "it starts for ever, but inc {} said that it is ready",
                        child.inc
                    );
                    ensure!(child.seq > memo.fresh_after, "inc {inc} began before the last restart was asked for");
                    Ok(())
                }
                (InstanceState::Stopped | InstanceState::Errored, None) => {
                    ensure!(memo.may_rest, "wanted up, but {:?}", instance.state);
                    ensure!(!anything, "at rest, but a process is alive");
                    Ok(())
                }
                (state, _) => Err(format!("wanted up, but {state:?}, process alive: {anything}")),
            },
        }
    }
}

/// Checks that the incarnation in the state is the newest.
fn numbers_agree(new: &Instance) -> Verdict {
    match new.state {
        InstanceState::Preparing { inc, .. }
        | InstanceState::Spawning { inc, .. }
        | InstanceState::Starting { inc, .. }
        | InstanceState::Completing { inc, .. }
        | InstanceState::Running { inc, .. }
        | InstanceState::Leaving { inc, .. }
        | InstanceState::Draining { inc, .. }
        | InstanceState::Stopping { inc, .. }
        | InstanceState::Clearing { inc, .. } => {
            ensure!(inc == new.inc, "state is of inc {inc}, the newest is {}", new.inc);
        }
        InstanceState::Stopped
        | InstanceState::Waiting { .. }
        | InstanceState::Backoff { .. }
        | InstanceState::Errored
        | InstanceState::Gone => {}
    }
    Ok(())
}

/// Checks that the main process is a process that the app named.
fn follows_the_named_process(slot: usize, new: &Instance, world: &mut World) -> Verdict {
    if let (Some(pid), Some(child)) = (new.pid(), world.child(slot, new.inc)) {
        ensure!(child.named(pid), "pid {pid} is the main process of inc {}, but nobody said so", new.inc);
        child.main = pid;
    }
    Ok(())
}

fn take_command(memo: &mut Slot, old: &Instance, new: &Instance, command: &Event, world: &mut World) -> Verdict {
    let runs = matches!(
        old.state,
        InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
    );
    match command {
        Event::Start(_) if memo.intent != Intent::Gone => {
            memo.needs_spawn |= !runs || memo.intent == Intent::Down;
            memo.intent = Intent::Up;
            memo.may_rest = false;
        }
        Event::Restart(origin) => {
            let overrides = match memo.intent {
                Intent::Up => !memo.may_rest || !matches!(origin, Origin::Policy(_)),
                Intent::Down => !matches!(origin, Origin::Policy(_)),
                Intent::Gone => false,
            };
            if !overrides {
                ensure!(new == old, "a refused restart changed something");
                return Ok(());
            }
            world.seq += 1;
            *memo = Slot { intent: Intent::Up, may_rest: false, needs_spawn: true, fresh_after: world.seq, ..*memo };
            let counts = u32::from(matches!(old.state, InstanceState::Running { .. }));
            ensure!(new.counters.restarts == old.counters.restarts + counts, "restart by hand counts {counts}");
        }
        Event::RestartAt { .. } if old.wanted == DesiredState::Up && matches!(old.state, InstanceState::Running { .. }) => {
            world.seq += 1;
            *memo = Slot { may_rest: false, needs_spawn: true, fresh_after: world.seq, ..*memo };
            ensure!(new.counters.restarts == old.counters.restarts, "it is counted when it comes");
        }
        Event::RestartAt { .. } => ensure!(new == old, "a restart at a time changed what does not run"),
        Event::Stop(_) | Event::StopGently(_) if memo.intent != Intent::Gone => memo.intent = Intent::Down,
        Event::Delete(_) | Event::Retire(_) => memo.intent = Intent::Gone,
        _ => {}
    }
    // An earlier verdict remains valid, even if the counters are reset later.
    let judged = matches!(
        new.state,
        InstanceState::Stopping { next: AfterStop::GiveUp { .. }, .. } | InstanceState::Clearing { next: AfterStop::GiveUp { .. }, .. }
    );
    if new.counters.unstable == 0 && !judged {
        memo.streak = 0;
    }
    let wanted = match memo.intent {
        Intent::Up if memo.may_rest => new.wanted,
        Intent::Up => DesiredState::Up,
        Intent::Down => DesiredState::Down,
        Intent::Gone => DesiredState::Gone,
    };
    ensure!(new.wanted == wanted, "command {command:?} left wanted at {:?}", new.wanted);
    Ok(())
}

/// Checks that an exit in the history is true, and updates the count of unstable runs.
fn take_exit(memo: &mut Slot, old: &Instance, slot: usize, record: &ExitRecord, policy: &Policy, world: &mut World) -> Verdict {
    let never_ran = matches!(record.ending, ProcessEnding::SpawnFailed { .. });
    let truth = world.child(slot, record.inc).map(|child| {
        child.recorded = true;
        let pid = if record.pid == 0 { child.spawned() } else { record.pid };
        (child.ending(pid), child.held, child.had_handed_over(pid))
    });
    match (record.ending, truth) {
        (ProcessEnding::SpawnFailed { .. }, _) => {}
        (_, None) => return Err(format!("exit of inc {}, which never ran", record.inc)),
        (_, Some((_, _, true))) => return Err(format!("inc {} had handed over, and what it named lives", record.inc)),
        (_, Some((None, ..))) => return Err(format!("exit of inc {}, which is alive", record.inc)),
        // Lost with a keeper.
        (ProcessEnding::Unknown, Some((Some(_), held, _))) => ensure!(!held, "ending of inc {} is known to the keeper", record.inc),
        (ending, Some((Some((real, _)), ..))) => ensure!(ending == real, "inc {} ended by {real:?}, not {ending:?}", record.inc),
    }
    let failed = matches!(old.state, InstanceState::Stopping { next: AfterStop::Failed, .. });
    let unstable = match &record.cause {
        ExitCause::Requested(_) | ExitCause::OutOfMemory if failed => record.ended.mono_ms - record.started.mono_ms < policy.min_uptime_ms,
        ExitCause::Requested(_) => return Ok(()),
        ExitCause::KilledAfterTimeout(_) => {
            let by_kill = matches!(record.ending, ProcessEnding::Signal { signal: 9, .. } | ProcessEnding::Unknown);
            let unasked = world.child(slot, record.inc).is_some_and(|child| child.killed_unasked);
            ensure!(!unasked, "inc {} was killed without having been asked", record.inc);
            ensure!(by_kill, "inc {} was not killed, it ended by {:?}", record.inc, record.ending);
            if !failed {
                return Ok(());
            }
            record.ended.mono_ms - record.started.mono_ms < policy.min_uptime_ms
        }
        // Another process is wanted anyway, so the failure does not count.
        ExitCause::CouldNotStart { .. } if matches!(old.state, InstanceState::Spawning { superseded: Some(_), .. }) => return Ok(()),
        ExitCause::OutOfMemory if matches!(old.state, InstanceState::Leaving { .. } | InstanceState::Stopping { .. }) => return Ok(()),
        // A failed dependency is not the app's fault.
        ExitCause::NotStarted { .. } if matches!(old.state, InstanceState::Waiting { .. }) => return Ok(()),
        ExitCause::Itself | ExitCause::OutOfMemory => {
            let ready = matches!(old.state, InstanceState::Completing { .. } | InstanceState::Running { .. }) || !policy.wait_ready;
            !ready || record.ended.mono_ms - record.started.mono_ms < policy.min_uptime_ms
        }
        ExitCause::NotReady | ExitCause::CouldNotStart { .. } | ExitCause::NotStarted { .. } => true,
    };
    ensure!(
        never_ran == (record.pid == 0) || matches!(old.state, InstanceState::Spawning { .. }),
        "pid {} of {:?}",
        record.pid,
        record.ending
    );
    let finished = matches!(record.cause, ExitCause::Itself)
        && record.ending == ProcessEnding::Code(0)
        && (matches!(old.state, InstanceState::Completing { .. } | InstanceState::Running { .. }) || !policy.wait_ready);
    memo.streak = match (unstable, finished) {
        (true, false) => memo.streak + 1,
        // Short, but it had finished its work.
        (true, true) => memo.streak,
        (false, _) => 0,
    };
    Ok(())
}

/// Checks that a new process is wanted.
fn spawn_is_allowed(memo: &mut Slot, old: &Instance, new: &Instance, cause: &WriteCause, policy: &Policy) -> Verdict {
    // A number without a process: the wait for the dependencies failed.
    if matches!((&old.state, &new.state), (InstanceState::Waiting { .. }, InstanceState::Errored)) {
        return Ok(());
    }
    ensure!(memo.intent == Intent::Up, "spawned, but wanted {:?}", memo.intent);
    let needed_spawn = std::mem::take(&mut memo.needs_spawn);
    let by_policy = matches!(cause, WriteCause::Event) && new.counters.restarts == old.counters.restarts + 1;
    if by_policy && !needed_spawn {
        ensure!(policy.autorestart, "restarted in spite of autorestart: false");
        ensure!(memo.streak == 0 || memo.streak < policy.max_restarts, "restarted after {} unstable runs", memo.streak);
    } else {
        // After a death, a spawn that never ran is repeated.
        let again = match old.state {
            InstanceState::Spawning { .. } => true,
            InstanceState::Stopping { pid, .. } => pid == 0,
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => false,
        };
        ensure!(needed_spawn || again, "spawned inc {}, without a request", new.inc);
    }
    Ok(())
}

/// Checks `wanted`: without a command it may only change from up to down, and only for a reason.
fn policy_may_end_it(memo: &mut Slot, old: &Instance, new: &Instance, policy: &Policy) -> Verdict {
    if new.wanted == old.wanted {
        return Ok(());
    }
    ensure!(
        (old.wanted, new.wanted) == (DesiredState::Up, DesiredState::Down),
        "wanted went from {:?} to {:?} by itself",
        old.wanted,
        new.wanted
    );
    let Some(last) = new.exits.last() else { return Err("gave up without any exit".into()) };
    let done = match last.ending {
        ProcessEnding::Code(code) => policy.stop_exit_codes.contains(&code),
        ProcessEnding::Signal { .. } | ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => false,
    };
    let failed_for_caller =
        matches!((&old.state, &last.cause), (InstanceState::Spawning { automatic: false, .. }, ExitCause::CouldNotStart { .. }));
    let over = memo.streak >= policy.max_restarts.max(1);
    let unmet = matches!((&old.state, &last.cause), (InstanceState::Waiting { .. }, ExitCause::NotStarted { .. }));
    let spent = policy.budget.is_some_and(|budget| old.counters.recent.len() >= budget.n as usize);
    // The verdict remains valid, even if the counters are reset before it takes effect.
    let judged = matches!(
        old.state,
        InstanceState::Stopping { next: AfterStop::GiveUp { .. }, .. } | InstanceState::Clearing { next: AfterStop::GiveUp { .. }, .. }
    );
    let spent = spent || (policy.budget.is_some() && judged);
    let may = done || failed_for_caller || unmet || over || spent || !policy.autorestart;
    ensure!(may, "gave up after {} unstable runs and {last:?}", memo.streak);
    memo.may_rest = true;
    memo.streak = 0;
    Ok(())
}

/// Checks a stop: it has a deadline, and it follows a command or a missed readiness deadline.
fn stop_is_justified(old: &Instance, new: &Instance, cause: &WriteCause, slot: usize, policy: &Policy, world: &mut World) -> Verdict {
    if matches!(new.state, InstanceState::Leaving { .. }) && !matches!(old.state, InstanceState::Leaving { .. }) {
        ensure!(matches!(cause, WriteCause::Command(_)), "leaves {:?}, without a request", old.state);
    }
    let InstanceState::Stopping { inc, deadline_ms, leader_gone, next, .. } = new.state else { return Ok(()) };
    let finishes = if policy.drains_after_signal { policy.drain_timeout_ms.unwrap_or(0) } else { 0 };
    let latest = world.now + policy.kill_timeout_ms.max(1000).max(finishes);
    ensure!(deadline_ms <= latest, "the deadline {deadline_ms} is later than {latest}");
    if matches!(old.state, InstanceState::Stopping { .. }) || leader_gone || matches!(cause, WriteCause::Command(_)) {
        return Ok(());
    }
    match (&old.state, next) {
        (
            InstanceState::Spawning { superseded: Some(_), .. } | InstanceState::Leaving { .. } | InstanceState::Draining { .. },
            AfterStop::Settle { .. },
        ) => Ok(()),
        (InstanceState::Leaving { next: AfterStop::Restart { .. }, .. }, AfterStop::Restart { .. }) => Ok(()),
        (InstanceState::Completing { .. }, AfterStop::Judge) if policy.hooks.post_start == Some(OnFailure::Abort) => Ok(()),
        (InstanceState::Starting { ready_deadline_ms, .. }, AfterStop::Judge) => {
            ensure!(policy.lateness != Lateness::GoOn { at_most_ms: None }, "inc {inc} was stopped as not ready, but nobody named a time");
            let Some(deadline_ms) = ready_deadline_ms else {
                return Err(format!("inc {inc} was stopped as not ready, but nothing was due"));
            };
            let ready_at = world.child(slot, inc).and_then(|child| child.ready_at);
            ensure!(ready_at.is_none_or(|at| at >= *deadline_ms), "inc {inc} was ready at {ready_at:?}, but stopped as not ready");
            Ok(())
        }
        (state, _) => Err(format!("stopped from {state:?}, without a request")),
    }
}

/// Checks that an online instance is really online.
fn online_is_true(old: &Instance, new: &Instance, slot: usize, policy: &Policy, world: &mut World) -> Verdict {
    let (InstanceState::Completing { inc, .. } | InstanceState::Running { inc, .. }) = new.state else { return Ok(()) };
    ensure!(
        !(matches!(new.state, InstanceState::Running { .. })
            && matches!(old.state, InstanceState::Spawning { .. } | InstanceState::Starting { .. }))
            || policy.hooks.post_start.is_none(),
        "online without its post_start"
    );
    if matches!(old.state, InstanceState::Completing { .. } | InstanceState::Running { .. }) || !policy.wait_ready {
        return Ok(());
    }
    let is_ready = world.child(slot, inc).is_some_and(|child| child.ready_at.is_some());
    let accepted = match old.state {
        InstanceState::Starting { ready_deadline_ms, adopted, .. } => {
            (adopted || policy.lateness == Lateness::Accept) && ready_deadline_ms.is_some_and(|at| at <= world.now)
        }
        _ => false,
    };
    ensure!(is_ready || accepted, "online, but inc {inc} never said that it is ready");
    Ok(())
}
