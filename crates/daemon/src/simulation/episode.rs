//! One episode: a home, its managers, apps and a user, and a random word for each step.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ostler_core::app::AppSpec;
use ostler_keeper::{LOCK_FILE, SOCKET_FILE};
use ostler_sys::process::signal::SignalFd;
use ostler_testkit::Rng;

use super::apps::{UserCommand, descriptions};
use super::clock_jumps::JUMPS_MS;
use super::keeper::Keeper;
use super::lines::Lines;
use super::machine::{BOOT_MS, Killed, Machine, WALL_MS};
use super::oracle::Oracle;
use super::probes::{Network, is_asked_alone};
use super::process::Temper;
use super::reach::{Extra, Reach};
use super::shrink::{BrokenPromise, EpisodeResult};
use super::user::{Answer, Outcome, User};
use super::verdict::Verdict;
use super::watched::Files;
use super::worker::{Clients, path_of};
use crate::boot::{BootInputs, begin};
use crate::control::Control;
use crate::features::edges;
use crate::features::home::runtime::Runtime;
use crate::platform::settings::Settings;
use crate::platform::threads::{self, simulated::Disk};
use crate::state::slots::groups::Groups;

/// Longest leap of the clock, so that no periodic work is skipped.
const LEAP_MS: u64 = 1000;

/// Counters of an episode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub steps: u64,
    pub deaths: u64,
    pub keeper_deaths: u64,
    pub both_deaths: u64,
    pub spawns: u64,
    pub requests: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.deaths += other.deaths;
        self.keeper_deaths += other.keeper_deaths;
        self.both_deaths += other.both_deaths;
        self.spawns += other.spawns;
        self.requests += other.requests;
    }
}

type SharedKeeper = Rc<RefCell<Option<Keeper>>>;

pub(super) struct Episode {
    pub machine: Rc<Machine>,
    pub keeper: SharedKeeper,
    /// Keeper that was killed last: the anchor has its descriptors.
    former: Option<Keeper>,
    pub daemon: Option<Box<Control>>,
    pub home: PathBuf,
    pub specs: Vec<AppSpec>,
    pub reach: Reach,
    pub clients: Clients,
    pub files: Files,
    /// Whether a daemon died while there was no keeper.
    pub lost_both: bool,
    pub user: User,
    pub oracle: Oracle,
    tally: Tally,
    trace: Option<Vec<String>>,
    /// Number of lines of the daemon's log that are in the trace.
    own_lines: usize,
}

/// Plays an episode. The same setting and words give the same result.
pub(super) fn play(setting: u64, reach: Reach, words: &[u64], traced: bool) -> EpisodeResult<Tally> {
    edges::shuffle(reach.has(Extra::Orders).then_some(setting));
    let mut episode = Episode::new(&mut Rng::new(setting), reach, traced);
    let result = episode.run(words);
    let trace = episode.trace.take().unwrap_or_default();
    (result.map(|()| episode.tally), trace)
}

impl Episode {
    /// Moves the wall clock.
    pub(super) fn clock_jumps(&mut self, rng: &mut Rng) {
        let by_ms = rng.pick(&JUMPS_MS);
        self.log(|| format!("the wall clock jumps by {by_ms} ms"));
        self.machine.jump(by_ms);
    }

    fn new(rng: &mut Rng, reach: Reach, traced: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = parent.join(format!("ostler-sim-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        let machine = Rc::new(Machine::new());
        let specs = descriptions(rng, reach, &home.to_string_lossy());
        for spec in &specs {
            machine.state.borrow_mut().tempers.insert(spec.name.clone(), Temper::random(rng));
        }
        machine.state.borrow_mut().asked_by_message =
            specs.iter().filter(|spec| spec.stop.shutdown_with_message).map(|spec| spec.name.clone()).collect();
        if reach.has(Extra::Handover) {
            let mut state = machine.state.borrow_mut();
            state.tempers.values_mut().for_each(|temper| temper.hands_over = rng.pick(&[0, 20, 60]));
        }
        if reach.has(Extra::Cluster) {
            machine.state.borrow_mut().workers.folder = Some(home.to_string_lossy().into_owned());
        }
        if reach.has(Extra::Probes) {
            let mut state = machine.state.borrow_mut();
            state.network = Network::of(&specs, &home, rng);
            state.workers.sharing = specs.iter().filter(|spec| !is_asked_alone(spec)).map(|spec| spec.name.clone()).collect();
        }
        if reach.has(Extra::Logs) {
            machine.state.borrow_mut().lines = Lines::of(&specs);
            threads::simulated::play(Some(rng.next_u64()));
        }
        let files = Files::of(&specs, &home.to_string_lossy(), &machine);
        let oracle = Oracle::of(&specs);
        let keeper: SharedKeeper = Rc::default();
        ostler_sys::simulated::simulate(Some(Rc::clone(&machine) as _));
        let (of_keeper, of_machine) = (Rc::clone(&keeper), Rc::clone(&machine));
        ostler_keeper::fake_keeper::simulate_revive(Some(Box::new(move |revival| {
            let was_in_daemon = std::mem::take(&mut of_machine.state.borrow_mut().is_in_daemon);
            let (revived, link) = Keeper::revived(&of_machine, revival);
            let pid = revived.pid();
            *of_keeper.borrow_mut() = Some(revived);
            of_machine.state.borrow_mut().is_in_daemon = was_in_daemon;
            Ok((link, pid))
        })));
        let mut episode = Self {
            machine,
            keeper,
            former: None,
            daemon: None,
            home,
            specs,
            reach,
            clients: Clients::default(),
            files,
            lost_both: false,
            user: User::default(),
            oracle,
            tally: Tally::default(),
            trace: traced.then(Vec::new),
            own_lines: 0,
        };
        episode.launch();
        episode
    }

    /// Starts a keeper as the first client does.
    fn launch(&mut self) {
        let socket = self.home.join(SOCKET_FILE);
        let _ = std::fs::remove_file(&socket);
        let lock = std::fs::File::create(self.home.join(LOCK_FILE)).unwrap();
        let socket = ostler_sys::net::socket::listen_at(&socket).unwrap();
        *self.keeper.borrow_mut() = Some(Keeper::new(&self.machine, lock.into(), socket));
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let now = self.machine.now_ms();
            trace.push(format!("{now}: {}", line()));
        }
    }

    /// Adds an optional line to the trace. Returns true if there was one.
    pub(super) fn trace_line(&mut self, said: Option<String>) -> bool {
        let any = said.is_some();
        said.into_iter().for_each(|line| self.log(|| line));
        any
    }

    /// Adds new lines of the daemon's log to the trace.
    fn log_own_lines(&mut self) {
        if self.trace.is_none() {
            return;
        }
        let text = std::fs::read_to_string(self.home.join("pm2.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().skip(self.own_lines).collect();
        self.own_lines += lines.len();
        lines.into_iter().for_each(|line| self.log(|| format!("    daemon: {line}")));
    }

    fn run(&mut self, words: &[u64]) -> Result<(), BrokenPromise> {
        for (at, word) in words.iter().enumerate() {
            let result = self.step(&mut Rng::new(*word));
            result.map_err(|what| BrokenPromise { description: what, after: at + 1 })?;
        }
        self.fall_silent(&mut Rng::new(7)).map_err(|what| BrokenPromise { description: what, after: words.len() })
    }

    fn step(&mut self, rng: &mut Rng) -> Verdict {
        self.tally.steps += 1;
        if self.reach.has(Extra::Autoscale) {
            match rng.below(100) {
                0..4 => self.load_changes(rng),
                4..6 => self.pass_time(rng)?,
                _ => {}
            }
        }
        if self.reach.has(Extra::Cluster) && rng.percent(10) {
            self.client_connects(rng);
        }
        if self.reach.has(Extra::Watch) {
            self.files_change(rng);
        }
        if self.reach.has(Extra::Logs) {
            self.threads_act(rng);
        }
        if self.reach.has(Extra::Clock) && rng.percent(3) {
            self.clock_jumps(rng);
        }
        match rng.below(100) {
            0..35 => self.managers_act(rng)?,
            35..60 => self.keeper_acts(rng),
            60..82 => self.app_acts(rng),
            82..90 => self.time_passes(rng),
            90..95 => self.user_acts(rng),
            95..99 => self.machine.state.borrow_mut().dies_after = Some(rng.below(40) as u32),
            _ => self.keeper_dies(rng),
        }
        self.read_answers()
    }

    /// Runs a turn of the daemon, or starts a daemon.
    pub(super) fn managers_act(&mut self, rng: &mut Rng) -> Verdict {
        if let Some(mut control) = self.daemon.take() {
            let turn = move || {
                let ready = control.ctx.io.reactor.wait(Some(Duration::ZERO)).unwrap();
                control.turn(ready).unwrap();
                control
            };
            return self.in_daemon(turn, rng);
        }
        if self.keeper.borrow().is_none() {
            self.tally.both_deaths += 1;
            self.log(|| "both are dead; the anchor starts a keeper".into());
            if let Some(former) = self.former.take() {
                *self.keeper.borrow_mut() = Some(Keeper::behind(&self.machine, former));
            }
        }
        if self.reach.has(Extra::Cluster) {
            // Connections are numbered by the time in milliseconds, so no daemon starts in the
            // millisecond in which another one died.
            self.machine.advance(1);
        }
        self.log(|| "the keeper starts a daemon".into());
        let (link, inventory, fds) = self.keeper.borrow_mut().as_mut().unwrap().begin_daemon();
        let settings = Settings::from_env(self.home.clone());
        let signals = SignalFd::new(&[]).unwrap();
        let beginning =
            BootInputs { settings, link, inventory, fds, signals, groups: Groups::default(), runtime: Runtime::default(), threads: Ok(()) };
        let start = move || {
            let mut control = Box::new(begin(beginning).unwrap());
            control.open();
            control
        };
        self.in_daemon(start, rng)
    }

    /// Runs the daemon until it is done or killed.
    fn in_daemon(&mut self, work: impl FnOnce() -> Box<Control>, rng: &mut Rng) -> Verdict {
        self.machine.state.borrow_mut().is_in_daemon = true;
        let result = catch_unwind(AssertUnwindSafe(work));
        self.machine.state.borrow_mut().is_in_daemon = false;
        self.log_own_lines();
        match result {
            Ok(control) => {
                let keeper = &mut *self.keeper.borrow_mut();
                let verdict = self.oracle.after_turn(&control, keeper.as_mut(), &self.machine);
                self.files.daemon_turned();
                let mut state = self.machine.state.borrow_mut();
                state.network.daemon_turned(&control);
                let judged = state.network.judge(&std::mem::take(&mut self.oracle.found), WALL_MS - BOOT_MS, &control);
                drop(state);
                self.daemon = Some(control);
                verdict.and(judged).and(self.oracle.exits_are_true(&self.machine))?;
                self.files.judge(std::mem::take(&mut self.oracle.watching.caused), WALL_MS - BOOT_MS)
            }
            Err(payload) if payload.is::<Killed>() => self.daemon_died(rng),
            Err(payload) => Err(format!("the daemon panicked: {}", text_of(&*payload))),
        }
    }

    fn daemon_died(&mut self, rng: &mut Rng) -> Verdict {
        self.tally.deaths += 1;
        threads::simulated::kill();
        let mut state = self.machine.state.borrow_mut();
        (state.dies_after, state.is_dying) = (None, false);
        state.network.daemon_died();
        drop(state);
        self.log(|| "the daemon is killed".into());
        let keeper = &mut *self.keeper.borrow_mut();
        let is_keeper_dead = keeper.is_none();
        // Descriptors that it opened since the keeper's death are lost.
        self.files.daemon_died(keeper.as_ref().is_some_and(|keeper| keeper.holds("watch")));
        // If the keeper is dead too, the anchor has its descriptors.
        let Some(keeper) = keeper.as_mut().or(self.former.as_mut()) else { return Ok(()) };
        keeper.daemon_ended(rng);
        self.oracle.manager_died(&self.machine);
        self.lost_both |= is_keeper_dead;
        self.machine.state.borrow_mut().lines.may_be_lost |= is_keeper_dead;
        let verdict = self.oracle.at_death(keeper, !is_keeper_dead, &Settings::from_env(self.home.clone()));
        // The daemon's open probes are unknown now.
        self.oracle.found.clear();
        verdict
    }

    pub(super) fn keeper_acts(&mut self, rng: &mut Rng) {
        let mut shared = self.keeper.borrow_mut();
        let Some(keeper) = shared.as_mut() else { return };
        keeper.check_adopted();
        let done = keeper.act(rng);
        drop(shared);
        if let Some(line) = done {
            self.tally.spawns += u64::from(line.starts_with("keeper: spawn"));
            self.log(|| line);
        }
    }

    fn keeper_dies(&mut self, rng: &mut Rng) {
        let killed = self.keeper.borrow_mut().take();
        if let Some(mut killed) = killed {
            let done = killed.dies(rng);
            self.former = Some(killed);
            done.into_iter().for_each(|line| self.log(|| format!("{line}, and nobody hears of it")));
            if rng.percent(30) {
                // The keeper dies together with its daemon.
                self.machine.state.borrow_mut().dies_after = Some(rng.below(4) as u32);
            }
            self.tally.keeper_deaths += 1;
            self.oracle.manager_died(&self.machine);
            self.machine.state.borrow_mut().keeper_dies();
            self.log(|| "the keeper is killed".into());
        }
    }

    fn app_acts(&mut self, rng: &mut Rng) {
        let alive = self.machine.state.borrow().alive();
        if alive.is_empty() {
            return;
        }
        let pid = alive[rng.below(alive.len())];
        let done = self.machine.state.borrow_mut().act(pid, rng);
        if let Some(line) = done {
            self.log(|| line);
        }
    }

    fn time_passes(&mut self, rng: &mut Rng) {
        let now = self.machine.now_ms();
        let due = self.daemon.as_ref().and_then(|control| control.next_deadline_ms()).map_or(0, |at| at.saturating_sub(now));
        let ms = match rng.below(4) {
            0 => 1 + rng.below(20) as u64,
            1 => 1 + rng.below(1000) as u64,
            _ => due.clamp(1, 10 * LEAP_MS),
        };
        self.machine.advance(ms);
    }

    /// Runs a thread beside the daemon, or changes the state of its disk.
    fn threads_act(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..40 => {
                threads::simulated::turn(rng.below(threads::simulated::count()), rng.pick(&[1, 2, 5, 30, 200]));
            }
            40..43 => {
                let disk = rng.pick(&[Disk::Good, Disk::Good, Disk::Slow, Disk::Full]);
                self.log(|| format!("the disk is {disk:?}"));
                self.machine.state.borrow_mut().lines.disk_is(disk == Disk::Good);
                threads::simulated::disk_is(disk);
            }
            _ => {}
        }
    }

    /// Lets each thread continue until it waits for something. Returns true if one did anything.
    fn threads_rest(&mut self) -> bool {
        (0..threads::simulated::count()).filter(|which| threads::simulated::turn(*which, usize::MAX)).count() > 0
    }

    fn client_connects(&mut self, rng: &mut Rng) {
        let app = self.specs[rng.below(self.specs.len())].name.clone();
        self.connect_to(&app);
    }

    pub(super) fn connect_to(&mut self, app: &str) {
        if let Some(number) = self.clients.connect(&path_of(&self.home.to_string_lossy(), app)) {
            let line = format!("client {number} connects to {app}");
            self.log(|| line);
        }
    }

    fn files_change(&mut self, rng: &mut Rng) {
        let has_daemon = self.daemon.is_some();
        let done = match rng.below(100) {
            0..6 => self.files.change(&self.machine, has_daemon, rng),
            6..46 => {
                self.files.thread_turns();
                None
            }
            46..48 => {
                let at = rng.below(self.specs.len());
                let command = rng.pick(&[UserCommand::StopWatch, UserCommand::RestartWatch, UserCommand::RestartWatch]);
                if self.specs[at].watch.on && !self.user.waits_for(&self.specs[at].name) {
                    self.user_wants(at, command);
                }
                None
            }
            _ => None,
        };
        self.trace_line(done);
    }

    /// Lets up to two minutes pass in which the only requests are for another number of instances.
    fn pass_time(&mut self, rng: &mut Rng) -> Verdict {
        for _ in 0..rng.below(120) {
            self.tally.steps += 1;
            self.machine.advance(LEAP_MS);
            self.managers_act(rng)?;
            self.keeper_acts(rng);
            self.app_acts(rng);
            if rng.percent(2) {
                let to = 1 + rng.below(4) as u32;
                self.user_wants(rng.below(self.specs.len()), UserCommand::Scale(to));
            }
        }
        Ok(())
    }

    /// Gives an app another amount of work.
    fn load_changes(&mut self, rng: &mut Rng) {
        let app = self.specs[rng.below(self.specs.len())].name.clone();
        let load = rng.pick(&[0, 20, 60, 150, 400]);
        self.log(|| format!("{app} has work for {load} % of a core"));
        self.machine.state.borrow_mut().loads.insert(app, load);
    }

    fn user_acts(&mut self, rng: &mut Rng) {
        let at = rng.below(self.specs.len());
        let command = UserCommand::random(rng);
        if self.user.waits_for(&self.specs[at].name) && !rng.percent(20) {
            return;
        }
        self.user_wants(at, command);
    }

    fn user_wants(&mut self, at: usize, command: UserCommand) {
        let socket = self.home.join(SOCKET_FILE);
        let newest_pid = self.machine.state.borrow().newest_pid();
        if self.user.send_request(&socket, &self.specs[at], command, newest_pid) {
            self.tally.requests += 1;
            let line = format!("the user wants {command:?} of {}", self.specs[at].name);
            self.log(|| line);
        }
    }

    fn read_answers(&mut self) -> Verdict {
        for Answer { app, command, outcome, is_certain, newest_pid } in self.user.read() {
            self.log(|| format!("{command:?} of {app}: {outcome:?}"));
            let is_done = outcome == Outcome::Done && is_certain;
            if is_done && matches!(command, UserCommand::Restart | UserCommand::RestartWatch) {
                self.is_restarted(&app, newest_pid)?;
            }
            if is_done && matches!(command, UserCommand::Stop | UserCommand::StopWatch | UserCommand::Delete) {
                let left = self.machine.state.borrow().mains_of(&app);
                if !left.is_empty() {
                    return Err(format!("{command:?} of {app} is done, but {left:?} live"));
                }
                if self.reach.has(Extra::Cluster) && self.clients.connect(&path_of(&self.home.to_string_lossy(), &app)).is_some() {
                    return Err(format!("{command:?} of {app} is done, but its port is open"));
                }
            }
        }
        Ok(())
    }

    /// Checks that the processes of an app are newer than the request to restart it.
    fn is_restarted(&self, app: &str, newest_pid: i32) -> Verdict {
        let Some(control) = &self.daemon else { return Ok(()) };
        let of_app = control.ctx.state.slots.serving().filter(|slot| slot.spec().name == app);
        let old = of_app.filter_map(|slot| slot.durable.instance.pid()).find(|pid| *pid <= newest_pid);
        ensure!(old.is_none(), "{app} is restarted, but {old:?} is older than the request");
        Ok(())
    }

    /// Lets all participants do their pending work. Returns true if a participant other than the
    /// daemon did something.
    pub(super) fn round(&mut self, rng: &mut Rng) -> Result<bool, String> {
        self.tally.steps += 1;
        self.managers_act(rng)?;
        self.read_answers()?;
        let mut anything = self.files.thread_turns();
        anything |= self.threads_rest();
        for _ in 0..4 {
            let done = self.keeper.borrow_mut().as_mut().and_then(|keeper| {
                keeper.check_adopted();
                keeper.act(rng)
            });
            anything |= self.trace_line(done);
        }
        let alive = self.machine.state.borrow().alive();
        for pid in alive {
            let said = self.machine.state.borrow_mut().act(pid, rng);
            anything |= self.trace_line(said);
        }
        Ok(anything)
    }

    /// Lets time pass until something is due.
    pub(super) fn leap(&mut self) {
        let now = self.machine.now_ms();
        let due = self.daemon.as_ref().and_then(|control| control.next_deadline_ms()).map_or(LEAP_MS, |at| at.saturating_sub(now));
        self.machine.advance(due.clamp(1, LEAP_MS));
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for no reason in words")
}

impl Drop for Episode {
    fn drop(&mut self) {
        threads::simulated::play(None);
        self.daemon = None;
        ostler_keeper::fake_keeper::simulate_revive(None);
        ostler_sys::simulated::simulate(None);
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
