//! Extras of an episode, beyond the ordinary. They are drawn separately, so most episodes stay
//! cheap, and the seed of an ordinary one keeps its meaning.

use std::fmt;

use ostler_testkit::Rng;

/// One extra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Apps that scale themselves, under a load that changes.
    Autoscale,
    /// Workers of Node's cluster that ask for sockets, and clients that connect.
    Cluster,
    /// Apps whose files change.
    Watch,
    /// Apps that are probed over a network.
    Probes,
    /// Apps that write lines, the threads that carry them, and a disk that is slow or full.
    Logs,
    /// Apps that report by sd_notify, and hand over to another main process.
    Handover,
    /// A wall clock that jumps.
    Clock,
    /// Features that react in random orders, within the limits of their edges
    /// (`crate::features::edges`).
    Orders,
}

/// Name of each extra, and its share of the episodes with extras, in percent.
const ALL: [(Extra, &str, u8); 8] = [
    (Extra::Autoscale, "autoscale", 25),
    (Extra::Cluster, "cluster", 25),
    (Extra::Watch, "watch", 15),
    (Extra::Probes, "probes", 15),
    (Extra::Logs, "logs", 20),
    (Extra::Handover, "handover", 25),
    (Extra::Orders, "orders", 30),
    (Extra::Clock, "clock", 20),
];

/// Set of extras of an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach(u8);

impl Reach {
    /// Returns no extras for half of the episodes.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let is_ordinary = rng.percent(50);
        let chosen = ALL.into_iter().filter(|(_, _, share)| rng.percent(*share) && !is_ordinary);
        // Apps that scale themselves need a long silence, in which probing and polling would take
        // most of the time.
        chosen.fold(Self::default(), |reach, (extra, ..)| match extra {
            Extra::Watch | Extra::Probes if reach.has(Extra::Autoscale) => reach,
            // Their promises compare times of the wall clock.
            Extra::Clock if [Extra::Autoscale, Extra::Watch, Extra::Probes].into_iter().any(|other| reach.has(other)) => reach,
            _ => reach.with(extra),
        })
    }

    pub(super) fn with(self, extra: Extra) -> Self {
        Self(self.0 | 1 << extra as u8)
    }

    pub(super) fn has(self, extra: Extra) -> bool {
        self.0 & (1 << extra as u8) != 0
    }

    /// Parses the form of [`fmt::Display`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| ALL.into_iter().find(|(_, known, _)| *known == name).map(|(extra, ..)| extra);
        text.split('+').filter(|name| !name.is_empty()).try_fold(Self::default(), |reach, name| Some(reach.with(named(name)?)))
    }
}

/// Writes the names, each after a `+`, as a prefix.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ALL.into_iter().filter(|(extra, ..)| self.has(*extra)).try_for_each(|(_, name, _)| write!(f, "+{name}"))?;
        if *self == Self::default() { Ok(()) } else { f.write_str(": ") }
    }
}
