//! Played threads: real threads, of which only the selected one runs at a time.
//!
//! They belong to the thread that plays ([`play`]), which waits while one of them runs. Their
//! actions therefore depend only on the random words of an episode.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_testkit::Rng;

/// Most points that a thread passes before it waits for something.
const ENDLESS: usize = 100_000;

/// Panic payload with which a thread of a killed daemon unwinds.
struct Killed;

/// Position of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopPoint {
    /// Before a step whose effect outlives the daemon.
    Step,
    /// The thread waits for something.
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThreadState {
    Runs,
    Paused(StopPoint),
    Dies,
    Over,
}

/// Thread of a played daemon.
#[derive(Debug)]
pub(crate) struct SimulatedThread {
    turn: Mutex<ThreadState>,
    changed: Condvar,
    world: Arc<Mutex<World>>,
}

/// State that all played threads share.
#[derive(Debug)]
struct World {
    now: Instant,
    disk: Disk,
    rng: Rng,
}

/// State of the disk with the log files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Accepts everything.
    #[default]
    Good,
    /// Accepts parts of a write.
    Slow,
    /// Accepts nothing.
    Full,
}

/// Threads of the daemon that is played here.
struct ThreadSet {
    parts: Vec<Arc<SimulatedThread>>,
    world: Arc<Mutex<World>>,
}

thread_local! {
    /// Set on the thread that plays.
    static STAGE: RefCell<Option<ThreadSet>> = const { RefCell::new(None) };
    /// Set on a played thread.
    static OWN: RefCell<Option<Arc<SimulatedThread>>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays the threads that this thread starts from now on. Without a seed they are real threads
/// again.
pub(crate) fn play(seed: Option<u64>) {
    kill();
    let stage = |seed| ThreadSet {
        parts: Vec::new(),
        world: Arc::new(Mutex::new(World { now: Instant::now(), disk: Disk::Good, rng: Rng::new(seed) })),
    };
    STAGE.set(seed.map(stage));
}

/// Kills all played threads at their present points, as a daemon's SIGKILL does.
pub(crate) fn kill() {
    let parts = STAGE.with_borrow_mut(|stage| stage.as_mut().map(|stage| std::mem::take(&mut stage.parts)));
    for part in parts.into_iter().flatten() {
        let mut turn = lock(&part.turn);
        if matches!(*turn, ThreadState::Paused(_)) {
            *turn = ThreadState::Dies;
            part.changed.notify_all();
        }
        drop(part.changed.wait_while(turn, |turn| *turn != ThreadState::Over));
    }
}

/// Advances the played time.
pub(crate) fn pass(ms: u64) {
    change(|world| world.now += Duration::from_millis(ms));
}

/// Sets the state of the disk.
pub(crate) fn disk_is(disk: Disk) {
    change(|world| world.disk = disk);
}

fn change(change: impl Fn(&mut World)) {
    STAGE.with_borrow(|stage| stage.iter().for_each(|stage| change(&mut lock(&stage.world))));
}

/// Returns the number of threads.
pub(crate) fn count() -> usize {
    STAGE.with_borrow_mut(|stage| {
        let Some(stage) = stage else { return 0 };
        stage.parts.retain(|part| !part.is_finished());
        stage.parts.len()
    })
}

/// Lets one thread pass this many points. Returns true if it did something.
pub(crate) fn turn(which: usize, points: usize) -> bool {
    let part = STAGE.with_borrow(|stage| stage.as_ref()?.parts.get(which).cloned());
    part.is_some_and(|part| part.runs_until(points, || false))
}

pub(super) fn cast() -> Option<Arc<SimulatedThread>> {
    STAGE.with_borrow_mut(|stage| {
        let stage = stage.as_mut()?;
        let turn = Mutex::new(ThreadState::Paused(StopPoint::Step));
        let part = Arc::new(SimulatedThread { turn, changed: Condvar::new(), world: Arc::clone(&stage.world) });
        stage.parts.push(Arc::clone(&part));
        Some(part)
    })
}

/// Returns true on a played thread.
pub(super) fn is_simulated_thread() -> bool {
    OWN.with_borrow(Option::is_some)
}

/// Waits for the next turn and returns true on a played thread.
pub(super) fn point(at: StopPoint) -> bool {
    let Some(part) = OWN.with_borrow(Clone::clone) else {
        // The daemon itself does work of its threads when it begins.
        if at == StopPoint::Step && STAGE.with_borrow(Option::is_some) {
            ostler_sys::simulated::step();
        }
        return false;
    };
    part.pause(at);
    true
}

fn world<T>(look: impl FnOnce(&mut World) -> T) -> Option<T> {
    let of_part = OWN.with_borrow(|part| part.as_ref().map(|part| Arc::clone(&part.world)));
    let world = of_part.or_else(|| STAGE.with_borrow(|stage| stage.as_ref().map(|stage| Arc::clone(&stage.world))))?;
    let mut world = lock(&world);
    Some(look(&mut world))
}

pub(super) fn now() -> Option<Instant> {
    world(|world| world.now)
}

/// Returns how many points a thread passes while another thread waits for it.
pub(super) fn patience() -> usize {
    world(|world| if world.disk == Disk::Good { ENDLESS } else { world.rng.below(30) }).unwrap_or_default()
}

pub(super) fn room(bytes: usize) -> std::io::Result<usize> {
    let taken = world(|world| match world.disk {
        Disk::Good => Ok(bytes),
        Disk::Slow => Ok(1 + world.rng.below(bytes.max(1))),
        Disk::Full => Err(rustix::io::Errno::NOSPC.into()),
    });
    taken.unwrap_or(Ok(bytes))
}

/// Returns the result, or continues the unwinding of a killed thread.
pub(super) fn pass_on<T>(result: std::thread::Result<T>) -> std::thread::Result<T> {
    match result {
        Err(panic) if panic.is::<Killed>() => std::panic::resume_unwind(panic),
        result => result,
    }
}

impl SimulatedThread {
    /// Runs the body of the thread.
    pub(super) fn play<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        /// Marks the thread as over, however it ends.
        struct FinishGuard(Arc<SimulatedThread>);
        impl Drop for FinishGuard {
            fn drop(&mut self) {
                *lock(&self.0.turn) = ThreadState::Over;
                self.0.changed.notify_all();
            }
        }
        let over = FinishGuard(Arc::clone(&self));
        OWN.set(Some(Arc::clone(&self)));
        self.wait();
        let result = work();
        OWN.set(None);
        drop(over);
        result
    }

    fn pause(&self, at: StopPoint) {
        *lock(&self.turn) = ThreadState::Paused(at);
        self.changed.notify_all();
        self.wait();
    }

    fn wait(&self) {
        let turn = self
            .changed
            .wait_while(lock(&self.turn), |turn| matches!(turn, ThreadState::Paused(_)))
            .unwrap_or_else(PoisonError::into_inner);
        if *turn == ThreadState::Dies {
            drop(turn);
            std::panic::resume_unwind(Box::new(Killed));
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        *lock(&self.turn) == ThreadState::Over
    }

    /// Lets the thread pass this many points, until `is_done` is true or the thread waits for
    /// something. Returns true if it did something.
    pub(super) fn runs_until(&self, points: usize, is_done: impl Fn() -> bool) -> bool {
        let mut did_something = false;
        for _ in 0..points.min(ENDLESS) {
            if is_done() {
                break;
            }
            let mut turn = lock(&self.turn);
            if *turn == ThreadState::Over {
                break;
            }
            *turn = ThreadState::Runs;
            self.changed.notify_all();
            let turn = self.changed.wait_while(turn, |turn| *turn == ThreadState::Runs).unwrap_or_else(PoisonError::into_inner);
            did_something |= *turn != ThreadState::Paused(StopPoint::Rest);
            if *turn == ThreadState::Paused(StopPoint::Rest) {
                break;
            }
        }
        did_something
    }
}
