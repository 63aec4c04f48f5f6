//! The daemon as it is, all of it, over a machine that is played: clocks, processes, keeper, apps and a user.
//!
//! A seed makes an *episode*: a few apps with random descriptions, programs with random tempers (they crash, ignore signals, fork, hang, never
//! become ready, cannot be executed), a user who asks for things at random over the real socket, and the real [`crate::control::Control`] with all
//! features. The daemon may be killed at each of its steps that anybody else can see (a message to the keeper or an app, a write of the journal, a
//! signal), the keeper at any time, and both. Then all falls silent, and everything must come to rest as it was wanted. `oracle` has the promises.
//!
//! Processes and clocks come from `ostler_sys::played`, the keeper's end of the link from `ostler_keeper::played`; files, sockets and memory are
//! the kernel's own. Nothing here runs in a thread, so a seed repeats itself.
//!
//! ```text
//! cargo xtask sim --daemon --seed 7 --steps 10000000
//! ```

/// What is broken, in words, unless this holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

mod after_rest;
mod apps;
mod episode;
mod keeper;
mod lines;
mod machine;
mod oracle;
mod probes;
mod reach;
mod scaling;
mod user;
mod verdict;
mod watched;
mod worker;

use ostler_core::sim::{Failure, Rng, play_seed};

use episode::{Tally, play};
use reach::{Extra, Reach};

/// Random steps in one episode before the silence.
const EPISODE_STEPS: usize = 300;

/// Runs episodes until so many steps are done. `reach` gets what an episode has beyond the ordinary, and may change it.
fn run(seed: u64, steps: u64, reach: impl Fn(Reach) -> Reach) -> Result<Tally, Box<Failure>> {
    let mut seeds = Rng::new(seed);
    let mut total = Tally::default();
    while total.steps < steps {
        let seed = seeds.word();
        let own = Reach::random(&mut seeds);
        total.add(&run_episode(seed, reach(own))?);
    }
    Ok(total)
}

/// What an episode has beyond the ordinary stands before what it broke: both belong to `OSTLER_SIM_EPISODE`.
fn run_episode(seed: u64, reach: Reach) -> Result<Tally, Box<Failure>> {
    play_seed(seed, EPISODE_STEPS, |setting, words, traced| play(setting, reach, words, traced)).map_err(|mut failure| {
        failure.what.insert_str(0, &reach.to_string());
        failure
    })
}

fn nothing_breaks(seed: u64) {
    let tally = run(seed, 70_000, |own| own).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.deaths > 300 && tally.keeper_deaths > 300 && tally.spawns > 500, "too tame: {tally:?}");
}

// Three, so that they run beside each other.

#[test]
fn nothing_breaks_in_many_steps() {
    nothing_breaks(1);
}

#[test]
fn nothing_breaks_in_many_more() {
    nothing_breaks(2);
}

#[test]
fn nothing_breaks_in_as_many_again() {
    nothing_breaks(3);
}

/// Each row of the table of reactions, in orders that no feature expects: what needs one order has an edge.
#[test]
fn nothing_breaks_in_other_orders() {
    let tally = run(4, 70_000, |own| own.with(Extra::Orders)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.deaths > 300 && tally.keeper_deaths > 300 && tally.spawns > 500, "too tame: {tally:?}");
}

/// Episodes that once broke a promise: a start that was not journaled as one that watches again, so that after a death changed files were passed
/// over; a command of a deleted instance that the next daemon took for one of the next instance of that number; an end that was reported twice and
/// cost the next process its channel; what a crash had left and only a dead daemon knew; a stop of an app that its reload undid; a stop that was
/// never answered, as the caller got the end of a hook before that was noted; a present release that was noted in memory only; releases of an
/// app that was deleted while it was reloaded. The last one finds two processes of one instance where a start that waits outlives its keeper.
#[test]
fn what_broke_once_stays_fixed() {
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

/// The same with what they had beyond the ordinary: a user's scaling that the app's own undid by what was measured before; a worker that had its
/// port from a daemon that died before the keeper had it; a worker without a channel that was still one with a server in the journal; a port that was
/// not closed after a death; the number of a worker that was given twice; a mark of a changed file that a start took away in memory only; a stop while
/// an app started, after which its files were watched on; a port that stayed open after a start that failed; one that the daemon before had closed
/// and the keeper still held; lines of a deleted app while the disk was full; a question of a worker that was
/// taken out of its channel before the journal had the answer.
const WITH_EXTRAS: [(u64, &str); 11] = [
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
];

#[test]
fn the_same_seed_gives_the_same_run() {
    let tally = |seed| format!("{:?}", run(seed, 2_000, |own| own).map_err(|failure| failure.to_string()));
    assert_eq!(tally(5), tally(5));
    assert_ne!(tally(5), tally(6));
}

/// A seed and so many steps as are asked for by variables: for hours. `OSTLER_SIM_REACH=autoscale`: each episode has just that beyond the ordinary.
#[test]
fn as_many_steps_as_are_wanted() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let Some(steps) = number("OSTLER_SIM_STEPS") else { return };
    let reach = std::env::var("OSTLER_SIM_REACH").ok().map(|text| Reach::parse(&text).unwrap_or_else(|| panic!("unknown: {text}")));
    let tally =
        run(number("OSTLER_SIM_SEED").unwrap_or(1), steps, |own| reach.unwrap_or(own)).unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{tally:?}");
}

/// One episode, with what happens in it: `7` or, with what it has beyond the ordinary, `7+autoscale`.
#[test]
fn one_episode() {
    let Ok(text) = std::env::var("OSTLER_SIM_EPISODE") else { return };
    let (seed, reach) = text.split_once('+').unwrap_or((&text, ""));
    let (Ok(seed), Some(reach)) = (seed.parse(), Reach::parse(reach)) else { panic!("no episode: {text}") };
    run_episode(seed, reach).unwrap_or_else(|failure| panic!("{failure}"));
}
