//! Episodes of a simulation, and the reduction of a failing episode to its shortest failing form.

use std::fmt;

use ostler_testkit::Rng;

const LINES_SHOWN: usize = 150;

/// A broken promise, and the number of words until it broke.
#[derive(Clone, Debug)]
pub(super) struct BrokenPromise {
    /// Words played until then.
    pub after: usize,
    /// Description of the broken promise.
    pub description: String,
}

/// Result of an episode, and its trace if one was requested.
pub(super) type EpisodeResult<T> = (Result<T, BrokenPromise>, Vec<String>);

/// A broken promise, ready to print.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Seed of its episode.
    pub seed: u64,
    /// Description of the broken promise.
    pub description: String,
    /// Trace of the shortened episode, step by step.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "episode seed {}: {}", self.seed, self.description)?;
        // An episode that never comes to rest has a long trace; its beginning is enough.
        self.trace.iter().take(LINES_SHOWN).try_for_each(|line| writeln!(f, "  {line}"))?;
        match self.trace.len().checked_sub(LINES_SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "  … and {more} more"),
        }
    }
}

impl std::error::Error for Failure {}

/// Plays the episode of this seed: one word is its setting, and each of `steps` further words is a
/// step. For the same seed and words, `play` must return the same; its last argument requests a
/// trace.
///
/// # Errors
/// Returns the broken promise, with the shortest trace that was found.
pub(super) fn play_seed<T>(seed: u64, steps: usize, play: impl Fn(u64, &[u64], bool) -> EpisodeResult<T>) -> Result<T, Box<Failure>> {
    let mut rng = Rng::new(seed);
    let setting = rng.next_u64();
    let words: Vec<u64> = (0..steps).map(|_| rng.next_u64()).collect();
    play(setting, &words, false).0.map_err(|broken| Box::new(shrink(seed, setting, &words, &broken, play)))
}

/// Shortens the episode of the failure.
fn shrink<T>(
    seed: u64,
    setting: u64,
    words: &[u64],
    broken: &BrokenPromise,
    play: impl Fn(u64, &[u64], bool) -> EpisodeResult<T>,
) -> Failure {
    let words = shortest(&words[..broken.after], |shorter| play(setting, shorter, false).0.err().map(|still| still.after));
    let (result, trace) = play(setting, &words, true);
    let what = result.err().map_or_else(|| broken.description.clone(), |still| still.description);
    Failure { seed, description: what, trace }
}

/// Removes smaller and smaller pieces of a sequence while it still breaks a promise; `breaks`
/// returns the number of words until then.
fn shortest(words: &[u64], mut breaks: impl FnMut(&[u64]) -> Option<usize>) -> Vec<u64> {
    let mut words = words.to_vec();
    let mut piece = words.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < words.len() {
            let end = (at + piece).min(words.len());
            let shorter = [&words[..at], &words[end..]].concat();
            match breaks(&shorter) {
                Some(after) => words = shorter[..after].to_vec(),
                None => at = end,
            }
        }
        piece /= 2;
    }
    words
}
