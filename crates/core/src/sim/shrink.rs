//! From a failing episode to the shortest one that still fails.

use std::fmt;

use super::episode::{Broken, play};

const LINES_SHOWN: usize = 150;

/// A broken promise, ready to be read.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Run the episode again with [`super::run_episode`].
    pub seed: u64,
    /// What is broken.
    pub what: String,
    /// What happened, step by step, after everything that is not needed was left out.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "episode seed {}: {}", self.seed, self.what)?;
        // What never comes to rest goes on for long: its beginning tells enough.
        self.trace.iter().take(LINES_SHOWN).try_for_each(|line| writeln!(f, "  {line}"))?;
        match self.trace.len().checked_sub(LINES_SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "  … and {more} more"),
        }
    }
}

impl std::error::Error for Failure {}

/// The episode of the failure, without what is not needed.
pub(super) fn shrink(seed: u64, setting: u64, words: &[u64], broken: &Broken) -> Failure {
    let words = shortest(&words[..broken.after], |shorter| play(setting, shorter, false).0.err().map(|still| still.after));
    let (result, trace) = play(setting, &words, true);
    let what = result.err().map_or_else(|| broken.what.clone(), |still| still.what);
    Failure { seed, what, trace }
}

/// Leaves out ever smaller pieces of a sequence as long as anything breaks without them; `breaks` says after how many words.
pub fn shortest(words: &[u64], mut breaks: impl FnMut(&[u64]) -> Option<usize>) -> Vec<u64> {
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
