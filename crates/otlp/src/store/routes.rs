//! Statistics of one app's routes: their usual duration, and the number of traces that are kept as
//! samples.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::trace::{EntrySpan, KeepReason};

/// Maximum number of routes of an app; all further routes share one entry.
const MOST: usize = 256;
/// Duration from which a request is always slow.
const SLOW_NS: u64 = 1_000_000_000;
/// Duration below which a request is never slow.
const QUICK_NS: u64 = 20_000_000;
/// A request is slow if it takes this many times the usual duration.
const TIMES: f64 = 4.0;
/// Number of traces of a route from which its usual duration is known.
const KNOWN: u32 = 20;
/// Weight of a new trace in the mean.
const WEIGHT: f64 = 0.05;
/// Number of first traces of a route that are samples. After them, one trace per interval (in ms)
/// is a sample.
const FIRST: u32 = 3;
const EVERY_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
struct Route {
    count: u32,
    mean_ns: f64,
    sampled_ms: u64,
}

/// Route statistics. The keys are hashes of the names with a random seed, so a sender cannot choose
/// colliding names.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: HashMap<u64, Route>,
    numbers: RandomState,
    other: Route,
}

impl Routes {
    pub(super) fn bytes(&self) -> usize {
        self.routes.capacity() * (size_of::<(u64, Route)>() + 8)
    }

    /// Decides whether to keep a trace because of its entry span. Returns the reason.
    pub(super) fn judge(&mut self, entry: &EntrySpan, now_ms: u64) -> Option<KeepReason> {
        let number = self.numbers.hash_one(&entry.route);
        if self.routes.len() < MOST {
            self.routes.entry(number).or_default();
        }
        let route = self.routes.get_mut(&number).unwrap_or(&mut self.other);
        route.judge(entry.took_ns, entry.is_counted, now_ms)
    }
}

impl Route {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn judge(&mut self, took_ns: u64, is_counted: bool, now_ms: u64) -> Option<KeepReason> {
        let unusual = self.count >= KNOWN && took_ns >= QUICK_NS && took_ns as f64 > self.mean_ns * TIMES;
        let is_slow = took_ns >= SLOW_NS || unusual;
        if is_counted {
            return is_slow.then_some(KeepReason::Slow);
        }
        let took = took_ns as f64;
        self.mean_ns = if self.count == 0 { took } else { self.mean_ns + (took - self.mean_ns) * WEIGHT };
        self.count = self.count.saturating_add(1);
        if is_slow {
            return Some(KeepReason::Slow);
        }
        // If the clock was set back, the trace is a sample.
        let is_sample = self.count <= FIRST || now_ms < self.sampled_ms || now_ms - self.sampled_ms >= EVERY_MS;
        is_sample.then(|| {
            self.sampled_ms = now_ms;
            KeepReason::Sample
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(route: &str, ms: u64) -> EntrySpan {
        EntrySpan { route: route.into(), took_ns: ms * 1_000_000, is_counted: false }
    }

    #[test]
    fn slow_is_judged_by_limit_or_by_usual_duration() {
        let mut routes = Routes::default();
        let judged: Vec<_> = (0..30).map(|_| routes.judge(&entry("GET /", 10), 1000)).collect();
        assert_eq!(judged.iter().filter(|why| **why == Some(KeepReason::Sample)).count(), 3, "{judged:?}");
        for (ms, expected) in [(15, None), (39, None), (60, Some(KeepReason::Slow)), (1000, Some(KeepReason::Slow))] {
            assert_eq!(routes.judge(&entry("GET /", ms), 1000), expected, "{ms}");
        }
        assert_eq!(routes.judge(&entry("GET /", 10), 62_000), Some(KeepReason::Sample), "one a minute");
        assert_eq!(routes.judge(&entry("GET /new", 999), 1000), Some(KeepReason::Sample), "of another route nothing is known");
        let again = EntrySpan { is_counted: true, ..entry("GET /", 10) };
        assert_eq!(routes.judge(&again, 1_000_000), None, "a trace is a sample once");
    }

    #[test]
    fn number_of_routes_is_bounded() {
        let mut routes = Routes::default();
        let kept = (0..100_000).filter(|n| routes.judge(&entry(&format!("GET /{n}"), 1), 1000).is_some()).count();
        assert!(kept <= MOST + 3 && routes.routes.len() == MOST && routes.bytes() < 100_000, "{kept} {}", routes.bytes());
    }
}
