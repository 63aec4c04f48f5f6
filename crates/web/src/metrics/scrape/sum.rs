//! Sums over the pages of an app's instances. Pure.
//!
//! Counters and histograms are summed for the app. The sum does not fall when an instance is
//! replaced, because the counts of former processes stay in it. All other metrics are kept per
//! instance.

use std::collections::{BTreeMap, HashMap};

use super::page::{Family, FamilyKind, FamilyValue, MOST_SERIES, Page, Series, SeriesPoints};

/// Reading of an instance: id, pid, page; none = the page could not be read.
pub(super) type PageReading = (u32, i32, Option<Page>);

/// Data about the pages of an app.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Last page of each running process, with its pid, by instance.
    pub(super) last: BTreeMap<u32, (i32, Page)>,
    /// Counts of ended processes.
    pub(super) former: Page,
    /// True if `former` has changed.
    pub(super) moved: bool,
}

/// Metrics of an app.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Counters and histograms.
    pub(crate) summed: Vec<Family>,
    /// All other families, by instance.
    pub(crate) by_worker: Vec<(u32, Family)>,
    /// Number of samples that were invalid or too many.
    pub(crate) left_out: usize,
}

/// Metrics of an app with its name.
#[derive(Clone, Debug)]
pub(crate) struct AppFigures {
    pub(crate) app: String,
    pub(crate) namespace: String,
    pub(crate) figures: Figures,
    /// Instances that should have a page, and whether it could be read.
    pub(crate) workers: Vec<(u32, bool)>,
}

impl Sums {
    /// Returns true if counts of ended processes were added since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Updates the sums with the present pages of the running processes.
    pub(super) fn take(&mut self, read: Vec<PageReading>) -> Figures {
        let is_there = |id: u32, pid: i32| read.iter().any(|(other, of, _)| *other == id && *of == pid);
        let gone: Vec<u32> = self.last.iter().filter(|(id, (pid, _))| !is_there(**id, *pid)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some((_, page)) = self.last.remove(&id) {
                add(&mut self.former.families, page.families);
                self.moved = true;
            }
        }
        let mut figures = Figures::default();
        for (id, pid, page) in read {
            let Some(page) = page else { continue };
            figures.left_out += page.left_out;
            let others = page.families.iter().filter(|family| !is_summed(family.kind));
            figures.by_worker.extend(others.map(|family| (id, family.clone())));
            let families = page.families.into_iter().filter(|family| is_summed(family.kind)).collect();
            if let Some((_, before)) = self.last.insert(id, (pid, Page { families, left_out: 0 })) {
                self.keep_lost_counts(id, before);
            }
        }
        figures.summed.clone_from(&self.former.families);
        // An unreadable instance keeps its last counts, so the sum does not fall.
        for (_, page) in self.last.values() {
            add(&mut figures.summed, page.families.clone());
        }
        figures
    }

    /// Keeps lost counts of the same process in the sum: it reset its counters or removed a series.
    fn keep_lost_counts(&mut self, id: u32, before: Page) {
        let Some((_, now)) = self.last.get(&id) else { return };
        let named = now
            .families
            .iter()
            .flat_map(|family| family.series.iter().map(move |series| ((&*family.name, &*series.labels), counted(&series.value))));
        let named: HashMap<(&str, &str), f64> = named.collect();
        let lost =
            |family: &Family, series: &Series| named.get(&(&*family.name, &*series.labels)).is_none_or(|now| *now < counted(&series.value));
        let mut families = Vec::new();
        for family in &before.families {
            let series: Vec<Series> = family.series.iter().filter(|series| lost(family, series)).cloned().collect();
            if !series.is_empty() {
                families.push(Family { series, ..family.clone() });
            }
        }
        self.moved |= !families.is_empty();
        add(&mut self.former.families, families);
    }
}

fn is_summed(kind: FamilyKind) -> bool {
    matches!(kind, FamilyKind::Counter | FamilyKind::Histogram)
}

fn counted(value: &FamilyValue) -> f64 {
    match value {
        FamilyValue::One(value) => *value,
        FamilyValue::Many(points) => points.total(),
    }
}

/// Adds families to others. Families of another kind, and those beyond the limit, are left out.
fn add(to: &mut Vec<Family>, families: Vec<Family>) {
    let mut size: usize = to.iter().map(|family| family.series.len()).sum();
    for family in families {
        let at = match to.iter().position(|other| other.name == family.name) {
            Some(at) if to[at].kind == family.kind => at,
            Some(_) => continue,
            None => {
                to.push(Family { series: Vec::new(), ..family.clone() });
                to.len() - 1
            }
        };
        let places: HashMap<Box<str>, usize> =
            to[at].series.iter().enumerate().map(|(place, series)| (series.labels.clone(), place)).collect();
        for series in family.series {
            match places.get(&series.labels) {
                Some(place) => to[at].series[*place].value.add(&series.value),
                None if size < MOST_SERIES => {
                    size += 1;
                    to[at].series.push(series);
                }
                None => {}
            }
        }
    }
    to.retain(|family| !family.series.is_empty());
}

impl FamilyValue {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::One(value), Self::One(more)) => *value += more,
            (Self::Many(points), Self::Many(more)) => points.add(more),
            _ => {}
        }
    }
}

impl SeriesPoints {
    /// Returns the total count.
    pub(crate) fn total(&self) -> f64 {
        self.count.or(self.at.last().map(|(.., count)| *count)).unwrap_or(0.0)
    }

    /// Returns the number of observations at or below a bound.
    fn up_to(&self, bound: f64) -> f64 {
        self.at.iter().rev().find(|(at, ..)| *at <= bound).map_or(0.0, |(.., count)| *count)
    }

    /// Adds another histogram, which may have other bounds if the instance runs another release.
    fn add(&mut self, other: &Self) {
        let mut all: Vec<(f64, Box<str>)> = self.at.iter().chain(&other.at).map(|(bound, text, _)| (*bound, text.clone())).collect();
        all.sort_by(|one, two| one.0.total_cmp(&two.0));
        all.dedup_by(|one, two| one.0 == two.0);
        let at = all.into_iter().map(|(bound, text)| (bound, text, self.up_to(bound) + other.up_to(bound))).collect();
        let total = self.total() + other.total();
        *self = Self { at, sum: Some(self.sum.unwrap_or(0.0) + other.sum.unwrap_or(0.0)), count: Some(total) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::scrape::page::page;

    fn value(figures: &Figures, name: &str) -> Option<f64> {
        figures.summed.iter().find(|family| &*family.name == name).map(|family| counted(&family.series[0].value))
    }

    fn counter(value: u32) -> Option<Page> {
        Some(page(&format!("# TYPE c counter\nc {value}\n# TYPE g gauge\ng {value}\n")))
    }

    #[test]
    fn sum_never_decreases() {
        let mut sums = Sums::default();
        let mut take = |read: Vec<PageReading>| {
            let figures = sums.take(read);
            (value(&figures, "c"), figures.by_worker.len())
        };
        assert_eq!(take(vec![(0, 10, counter(5)), (1, 11, counter(7))]), (Some(12.0), 2));
        assert_eq!(take(vec![(0, 10, counter(6)), (1, 11, None)]), (Some(13.0), 1), "one does not answer");
        assert_eq!(take(vec![(0, 10, counter(6)), (1, 12, None)]), (Some(13.0), 1), "one was replaced");
        assert_eq!(take(vec![(0, 10, counter(6)), (1, 12, counter(1))]), (Some(14.0), 2));
        assert_eq!(take(vec![(0, 10, counter(2)), (1, 12, counter(1))]), (Some(16.0), 2), "one has begun anew by itself");
        assert_eq!(take(vec![(0, 10, counter(2))]), (Some(16.0), 1), "scaled down");
        assert_eq!(take(vec![]), (Some(16.0), 0));
    }

    #[test]
    fn histograms_with_different_bounds_are_summed() {
        let of = |bounds: &[(&str, u32)]| {
            let lines: String = bounds.iter().map(|(bound, count)| format!("h_bucket{{le=\"{bound}\"}} {count}\n")).collect();
            Some(page(&format!("# TYPE h histogram\n{lines}h_sum 1.5\nh_count {}\n", bounds.last().unwrap().1)))
        };
        let figures =
            Sums::default().take(vec![(0, 1, of(&[("1", 2), ("2", 4), ("+Inf", 5)])), (1, 2, of(&[("1.0", 1), ("3", 7), ("+Inf", 9)]))]);
        let FamilyValue::Many(points) = &figures.summed[0].series[0].value else { panic!() };
        let at: Vec<(f64, f64)> = points.at.iter().map(|(bound, _, count)| (*bound, *count)).collect();
        assert_eq!(at, [(1.0, 3.0), (2.0, 5.0), (3.0, 11.0), (f64::INFINITY, 14.0)]);
        assert_eq!((points.sum, points.count), (Some(3.0), Some(14.0)));
    }

    #[test]
    fn short_lived_series_are_bounded() {
        let mut sums = Sums::default();
        for round in 0..5 {
            let text: String = (0..4000).map(|n| format!("c{{id=\"{round}-{n}\"}} 1\n")).collect();
            let figures = sums.take(vec![(0, round, Some(page(&format!("# TYPE c counter\n{text}"))))]);
            assert!(figures.summed[0].series.len() <= MOST_SERIES);
        }
        let mut other = Sums::default();
        let kinds = [counter(1), Some(page("# TYPE c histogram\nc_bucket{le=\"1\"} 1\nc_count 1\nc_sum 1\n"))];
        let figures = other.take(kinds.into_iter().zip(0..).map(|(page, id)| (id, 1, page)).collect());
        assert_eq!(value(&figures, "c"), Some(1.0), "of two kinds the first counts");
    }
}
