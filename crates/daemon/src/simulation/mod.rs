//! Simulation of the whole real daemon over a played machine: clocks, processes, keeper, apps and a
//! user.
//!
//! A seed makes an *episode*: a few apps with random descriptions, and programs with random
//! tempers. They crash, ignore signals, fork, hang, never become ready, or cannot be executed. A
//! user sends random requests over the real socket to the real [`crate::control::Control`] with all
//! features. The daemon may be killed at each step that another process can see: a message to the
//! keeper or an app, a write of the journal, a signal. The keeper may be killed at any time, also
//! together with the daemon. Then all disturbances end, and everything must come to rest in the
//! wanted state. `oracle` has the promises.
//!
//! Processes and clocks come from `ostler_sys::simulated`, the keeper's end of the link from
//! `ostler_keeper::fake_keeper`. Files, sockets and memory are the kernel's own. No threads run
//! freely, so a seed always gives the same result.
//!
//! ```text
//! cargo xtask sim --seed 7 --steps 10000000
//! ```

/// Returns the words as an error unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

mod acts;
mod after_rest;
mod apps;
mod clock_jumps;
mod episode;
mod keeper;
mod lines;
mod machine;
mod oracle;
mod probes;
mod process;
mod reach;
mod scaling;
mod shrink;
mod silence;
mod user;
mod verdict;
mod watched;
mod worker;

use ostler_testkit::Rng;

use episode::{Tally, play};
use reach::{Extra, Reach};
use shrink::{Failure, play_seed};

/// Random steps of one episode before the silence.
const EPISODE_STEPS: usize = 300;

/// Runs episodes until this many steps are done. `reach` gets the extras of an episode, and may
/// change them.
fn run(seed: u64, steps: u64, reach: impl Fn(Reach) -> Reach) -> Result<Tally, Box<Failure>> {
    let mut seeds = Rng::new(seed);
    let mut total = Tally::default();
    while total.steps < steps {
        let seed = seeds.next_u64();
        let own = Reach::random(&mut seeds);
        total.add(&run_episode(seed, reach(own))?);
    }
    Ok(total)
}

/// Runs one episode. An error begins with the episode's extras, because `OSTLER_SIM_EPISODE` needs
/// both.
fn run_episode(seed: u64, reach: Reach) -> Result<Tally, Box<Failure>> {
    play_seed(seed, EPISODE_STEPS, |setting, words, traced| play(setting, reach, words, traced)).map_err(|mut failure| {
        failure.description.insert_str(0, &reach.to_string());
        failure
    })
}

fn check_invariants(seed: u64) {
    let tally = run(seed, 70_000, |own| own).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.deaths > 300 && tally.keeper_deaths > 300 && tally.spawns > 500, "too tame: {tally:?}");
}

// Three tests, so that they run in parallel.

#[test]
fn invariants_hold_with_seed_1() {
    check_invariants(1);
}

#[test]
fn invariants_hold_with_seed_2() {
    check_invariants(2);
}

#[test]
fn invariants_hold_with_seed_3() {
    check_invariants(3);
}

/// Runs each row of the table of reactions in orders that no feature expects. Rows that need one
/// order have an edge.
#[test]
fn invariants_hold_in_other_reaction_orders() {
    let tally = run(4, 70_000, |own| own.with(Extra::Orders)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.deaths > 300 && tally.keeper_deaths > 300 && tally.spawns > 500, "too tame: {tally:?}");
}

/// Episodes that once broke a promise:
///
/// - A start was not journaled as watching again, so after a death changed files were missed.
/// - The next daemon took the command of a deleted instance for one of the next instance with that
///   number.
/// - An exit that was reported twice cost the next process its channel.
/// - Only a dead daemon knew the remains of a crash.
/// - A reload of an app undid its stop.
/// - A stop was never answered, because the caller got the exit of a hook before it was recorded.
/// - The present release was recorded in memory only.
/// - The releases of an app broke when it was deleted during a reload.
/// - The last episode found two processes of one instance when a waiting start outlived its keeper.
#[test]
fn past_failures_stay_fixed() {
    for seed in [
        13_757_245_211_066_428_519,
        9_147_370_558_249_537_485,
        7_134_619_674_990_341_741,
        15_064_918_907_143_111_998,
        14_852_928_750_821_997_855,
        3_181_058_836_670_584_564,
        17_781_294_407_260_175_759,
        14_993_625_845_218_930_443,
        16_606_380_900_152_414_352,
        2_934_810_682_032_330_468,
        2_670_520_926_563_105_171,
        8_781_782_608_483_428_414,
    ] {
        run_episode(seed, Reach::default()).unwrap_or_else(|failure| panic!("{failure}"));
    }
    for (seed, reach) in WITH_EXTRAS {
        run_episode(seed, Reach::parse(reach).unwrap()).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// Episodes with extras that once broke a promise:
///
/// - An app's own scaling undid a user's scaling, because it used an earlier measurement.
/// - A worker had its port from a daemon that died before the keeper had it.
/// - A worker without a channel still counted in the journal as one with a server.
/// - A port was not closed after a death.
/// - The number of a worker was given twice.
/// - A start removed the mark of a changed file in memory only.
/// - After a stop during a start, the app's files were still watched.
/// - A port stayed open after a failed start.
/// - The keeper still held a port that the previous daemon had closed.
/// - The disk was full while lines of a deleted app were written.
/// - A worker's request was consumed from its channel before the journal had the answer.
/// - A new process kept the former main processes of the previous one in the journal.
const WITH_EXTRAS: [(u64, &str); 12] = [
    (7_923_724_220_186_219_862, "autoscale"),
    (5_292_580_334_274_787_743, "cluster"),
    (10_028_955_912_863_736_053, "cluster"),
    (6_578_006_502_381_876_378, "cluster"),
    (10_451_216_379_200_822_465, "cluster"),
    (6_089_443_743_789_525_095, "watch"),
    (4_934_602_996_846_587_775, "watch"),
    (4_462_658_466_784_925_846, "cluster+probes"),
    (13_804_062_022_804_950_990, "cluster+probes"),
    (5_262_933_774_306_647_827, "logs"),
    (11_477_533_283_967_664_455, "cluster+probes"),
    (17_657_656_306_681_644_586, "handover"),
];

#[test]
fn the_same_seed_gives_the_same_run() {
    let tally = |seed| format!("{:?}", run(seed, 2_000, |own| own).map_err(|failure| failure.to_string()));
    assert_eq!(tally(5), tally(5));
    assert_ne!(tally(5), tally(6));
}

/// Runs for hours with a seed and a number of steps from variables. `OSTLER_SIM_REACH=autoscale`
/// gives each episode exactly that extra.
#[test]
fn runs_the_requested_steps() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let Some(steps) = number("OSTLER_SIM_STEPS") else { return };
    let reach = std::env::var("OSTLER_SIM_REACH").ok().map(|text| Reach::parse(&text).unwrap_or_else(|| panic!("unknown: {text}")));
    let tally =
        run(number("OSTLER_SIM_SEED").unwrap_or(1), steps, |own| reach.unwrap_or(own)).unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{tally:?}");
}

/// Runs one episode with its trace: `7`, or with extras `7+autoscale`.
#[test]
fn runs_the_requested_episode() {
    let Ok(text) = std::env::var("OSTLER_SIM_EPISODE") else { return };
    let (seed, reach) = text.split_once('+').unwrap_or((&text, ""));
    let (Ok(seed), Some(reach)) = (seed.parse(), Reach::parse(reach)) else { panic!("no episode: {text}") };
    run_episode(seed, reach).unwrap_or_else(|failure| panic!("{failure}"));
}
