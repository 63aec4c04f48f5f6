//! Shares: the number of instances of a request that are touched at the same time.

use std::collections::BTreeMap;

use ostler_core::lifecycle::goal::{at_a_time, at_a_time_watched};
use ostler_proto::control::Action;

use super::job::{Job, JobStep};
use crate::state::slots::{Slot, Slots};

/// Number of instances that may still start.
pub(super) enum StartLimit<'a> {
    /// All instances.
    All,
    /// This many, of any app.
    Any(usize),
    /// This many of each app, by its name.
    Each(BTreeMap<&'a str, usize>),
}

impl<'a> StartLimit<'a> {
    /// Returns the shares by `--parallel`. By default a restart takes half of an app's instances
    /// (so that the other half still serves), and other actions take all at once. A restart whose
    /// new processes are watched takes one instance of each app first.
    pub(super) fn of(job: &Job, slots: &'a Slots) -> Self {
        if job.parallel > 0 {
            return Self::Any(job.parallel.saturating_sub(job.waiting.len()));
        }
        let JobStep::Act(Action::Restart, _) = job.step else { return Self::All };
        let name = |id: &u32| slots.get(*id).map(|slot| slot.spec().key());
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        job.ids.iter().filter_map(name).for_each(|name| *shares.entry(name).or_default() += 1);
        match job.confirm.filter(|confirm| confirm.watches) {
            None => shares.values_mut().for_each(|count| *count = at_a_time(*count)),
            Some(_) => {
                let mut proved = shares.clone();
                for name in job.waiting.keys().chain(&job.pending).filter_map(name) {
                    proved.entry(name).and_modify(|count| *count = count.saturating_sub(1));
                }
                shares.iter_mut().for_each(|(name, count)| *count = at_a_time_watched(*count, proved.get(name).copied().unwrap_or(0)));
            }
        }
        for name in job.waiting.keys().filter_map(name) {
            let left = shares.entry(name).or_default();
            *left = left.saturating_sub(1);
        }
        Self::Each(shares)
    }

    /// Returns true if one more may be in progress. `None` = the slot is forgotten, which completes
    /// at once.
    pub(super) fn has(&self, slot: Option<&Slot>) -> bool {
        match (self, slot) {
            (Self::All, _) | (Self::Each(_), None) => true,
            (Self::Any(left), _) => *left > 0,
            (Self::Each(left), Some(slot)) => left.get(slot.spec().key()).is_some_and(|left| *left > 0),
        }
    }

    /// Takes the share of this instance.
    pub(super) fn take(&mut self, slot: &Slot) {
        let left = match self {
            Self::All => return,
            Self::Any(left) => Some(left),
            Self::Each(left) => left.get_mut(slot.spec().key()),
        };
        if let Some(left) = left {
            *left = left.saturating_sub(1);
        }
    }
}
