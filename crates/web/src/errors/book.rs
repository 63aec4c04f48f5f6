//! Groups of exceptions: counted and bounded. Pure.

use ostler_core::errors::{Exception, FoundReport};
use ostler_core::text::fnv::fnv_64;
use serde::{Deserialize, Serialize};

use super::Resolved;

/// Maximum number of groups. Beyond it, the group with the oldest last exception is removed.
const GROUPS: usize = 300;
/// Maximum number of releases per group. Beyond it, the oldest is merged into the next one.
const RELEASES: usize = 20;
/// Number of hours of which exceptions are counted.
const HOURS: usize = 24;
const HOUR_MS: u64 = 3_600_000;
/// Time between two samples of a group, in ms.
const SAMPLE_MS: u64 = 10_000;

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBook {
    /// Version of the file format.
    pub version: u32,
    /// The groups, unordered.
    pub groups: Vec<Group>,
}

/// Exceptions with a common cause in the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id: hash of the app and the fingerprint of its exceptions.
    pub id: String,
    /// The app.
    pub app: String,
    /// Type of the exceptions.
    #[serde(rename = "type")]
    pub kind: String,
    /// Message of the sample.
    pub message: String,
    /// Location in the code: the app's innermost frame; empty = unknown.
    pub culprit: String,
    /// Time of the first exception, wall clock, ms.
    pub first: u64,
    /// Time of the last exception.
    pub last: u64,
    /// Number of exceptions.
    pub count: u64,
    /// Number of exceptions by release, the oldest first.
    pub releases: Vec<ReleaseCount>,
    /// One of its exceptions.
    pub sample: ExceptionSample,
    /// First exception after the group was marked as resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Recurrence>,
    /// Number of exceptions by hour since 1970, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<(u64, u64)>,
}

/// Exceptions in one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCount {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Number of exceptions.
    pub count: u64,
    /// Time of the first exception, wall clock, ms.
    pub first: u64,
}

/// Release of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number; 0 = unknown.
    pub release: u32,
    /// Version of the app's package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One exception of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionSample {
    /// Wall clock, ms.
    pub at: u64,
    /// `pm_id` of the instance.
    pub instance: u32,
    /// The exception, without secrets.
    #[serde(flatten)]
    pub exception: Exception,
    /// Lines that the app wrote to standard error before it, without secrets.
    pub before: Vec<String>,
}

/// First exception after a group was marked as resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// Wall clock, ms.
    pub at: u64,
    /// The release.
    #[serde(flatten)]
    pub release: Release,
}

/// State of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// It was not marked.
    Open,
    /// It was marked, and has not occurred since.
    Resolved,
    /// It was marked, and occurred again.
    Returned,
}

/// Exception that occurred.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) app: &'a str,
    pub(crate) instance: u32,
    pub(crate) at: u64,
    pub(crate) exception: &'a Exception,
    pub(crate) before: &'a [String],
    pub(crate) release: &'a Release,
}

impl Group {
    /// Returns the state, based on the time of its mark.
    pub fn state(&self, resolved: &Resolved) -> GroupState {
        match (resolved.at(&self.id), &self.returned) {
            (None, _) => GroupState::Open,
            (Some(marked), Some(returned)) if returned.at > marked => GroupState::Returned,
            (Some(marked), _) if self.last > marked => GroupState::Returned,
            (Some(_), _) => GroupState::Resolved,
        }
    }

    /// Returns the number of exceptions in each of the last 24 hours, the oldest first.
    pub fn trend(&self, now_ms: u64) -> Vec<u64> {
        let now = now_ms / HOUR_MS;
        let count = |ago: usize| {
            let hour = now.checked_sub(u64::try_from(ago).ok()?)?;
            self.hours.iter().find(|(at, _)| *at == hour).map(|(_, count)| *count)
        };
        (0..HOURS).rev().map(|ago| count(ago).unwrap_or(0)).collect()
    }

    fn count_hour(&mut self, at_ms: u64) {
        let hour = at_ms / HOUR_MS;
        match self.hours.iter_mut().find(|(at, _)| *at == hour) {
            Some((_, count)) => *count += 1,
            None => self.hours.push((hour, 1)),
        }
        self.hours.sort_unstable();
        let more = self.hours.len().saturating_sub(HOURS);
        self.hours.drain(..more);
    }
}

/// Returns the id of the group of an exception.
fn id_of(app: &str, exception: &Exception) -> String {
    let key = format!("{app}\0{:x}", exception.fingerprint());
    format!("{:016x}", fnv_64(key.into_bytes()))
}

impl ErrorBook {
    /// Version of the file format that this program writes.
    pub const VERSION: u32 = 1;

    /// Returns a book without groups.
    pub fn empty() -> Self {
        Self { version: Self::VERSION, groups: Vec::new() }
    }

    /// Counts an exception. `masked` removes secrets from a text; it is called only if the
    /// exception becomes the sample. If the exception is new or has returned, returns its group and
    /// whether it has returned.
    pub(crate) fn add(&mut self, seen: &Occurrence<'_>, resolved: &Resolved, masked: impl Fn(&str) -> String) -> Option<(&Group, bool)> {
        let id = id_of(seen.app, seen.exception);
        let known = self.groups.iter().position(|group| group.id == id);
        let at = known.unwrap_or_else(|| self.add_group(id, seen, &masked));
        let group = self.groups.get_mut(at)?;
        group.count += 1;
        group.last = group.last.max(seen.at);
        group.count_hour(seen.at);
        if group.sample.at.saturating_add(SAMPLE_MS) <= seen.at {
            group.sample = sample(seen, &masked);
            group.message.clone_from(&group.sample.exception.message);
        }
        group.count_release(seen);
        let marked = resolved.at(&group.id).filter(|marked| *marked < seen.at);
        let is_back = marked.is_some_and(|marked| group.returned.as_ref().is_none_or(|returned| returned.at <= marked));
        if is_back {
            group.returned = Some(Recurrence { at: seen.at, release: seen.release.clone() });
        }
        (known.is_none() || is_back).then_some((group, is_back))
    }

    /// Counts an exception of an unknown time, without masking.
    pub fn note(&mut self, app: &str, instance: u32, found: &FoundReport) {
        let release = Release::default();
        let seen = Occurrence { app, instance, at: 0, exception: &found.exception, before: &found.before, release: &release };
        let _ = self.add(&seen, &Resolved::default(), str::to_owned);
    }

    /// Adds preceding lines to a sample that has none, because the app reported the exception
    /// before it printed it.
    pub(crate) fn add_before(&mut self, seen: &Occurrence<'_>, masked: impl Fn(&str) -> String) {
        let origin = seen.exception.origin();
        let of_it = self.groups.iter_mut().filter(|group| group.app == seen.app && group.sample.before.is_empty());
        if let Some(group) = of_it.into_iter().find(|group| group.sample.exception.origin() == origin) {
            group.sample.before = seen.before.iter().map(|line| masked(line)).collect();
        }
    }

    /// Returns the group of an exception of an app. The exception may lack its outer frames; then
    /// it is the newest group with its type and message.
    pub(crate) fn of_exception(&self, app: &str, exception: &Exception) -> Option<&Group> {
        let id = id_of(app, exception);
        let is_alike = |group: &&Group| group.app == app && group.kind == exception.kind && group.message == exception.message;
        let exact = self.groups.iter().find(|group| group.id == id);
        exact.or_else(|| self.groups.iter().filter(is_alike).max_by_key(|group| group.last))
    }

    fn add_group(&mut self, id: String, seen: &Occurrence<'_>, masked: &impl Fn(&str) -> String) -> usize {
        while self.groups.len() >= GROUPS {
            let oldest = self.groups.iter().enumerate().min_by_key(|(_, group)| group.last).map(|(at, _)| at);
            self.groups.swap_remove(oldest.unwrap_or(0));
        }
        let sample = sample(seen, masked);
        self.groups.push(Group {
            id,
            app: seen.app.to_owned(),
            kind: sample.exception.kind.clone(),
            message: sample.exception.message.clone(),
            culprit: culprit(&sample.exception),
            first: seen.at,
            last: seen.at,
            count: 0,
            releases: Vec::new(),
            sample,
            returned: None,
            hours: Vec::new(),
        });
        self.groups.len() - 1
    }

    /// Returns the matching groups, the one with the newest exception first.
    pub fn newest(&self, is_listed: impl Fn(&Group) -> bool) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().filter(|group| is_listed(group)).collect();
        groups.sort_by(|one, other| other.last.cmp(&one.last).then_with(|| one.id.cmp(&other.id)));
        groups
    }

    /// Returns the group whose id starts with this text. Returns `None` if there is no such group,
    /// or more than one.
    pub fn find(&self, id: &str) -> Option<&Group> {
        let mut found = self.groups.iter().filter(|group| !id.is_empty() && group.id.starts_with(id));
        let first = found.next()?;
        (first.id == id || found.next().is_none()).then_some(first)
    }

    /// Limits the contents of a file to the maximum sizes.
    pub(crate) fn trim(&mut self) {
        self.version = Self::VERSION;
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.last));
        self.groups.truncate(GROUPS);
    }
}

impl Group {
    fn count_release(&mut self, seen: &Occurrence<'_>) {
        match self.releases.iter_mut().find(|known| known.release == *seen.release) {
            Some(known) => known.count += 1,
            None => self.releases.push(ReleaseCount { release: seen.release.clone(), count: 1, first: seen.at }),
        }
        if self.releases.len() > RELEASES {
            let oldest = self.releases.remove(0);
            if let Some(next) = self.releases.first_mut() {
                next.count += oldest.count;
                next.first = oldest.first;
            }
        }
    }
}

fn sample(seen: &Occurrence<'_>, masked: &impl Fn(&str) -> String) -> ExceptionSample {
    let mut exception = seen.exception.clone();
    exception.message = masked(&exception.message);
    exception.route = exception.route.map(|route| masked(&route));
    ExceptionSample { at: seen.at, instance: seen.instance, exception, before: seen.before.iter().map(|line| masked(line)).collect() }
}

/// Returns `function (file:line)` of the place where it was thrown.
fn culprit(exception: &Exception) -> String {
    let Some(frame) = exception.culprit() else { return String::new() };
    let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
    match (frame.function.as_str(), frame.file.as_str()) {
        (function, "") => function.to_owned(),
        ("", file) => format!("{file}{line}"),
        (function, file) => format!("{function} ({file}{line})"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ostler_core::errors::Frame;

    /// Returns a group with one exception.
    pub(crate) fn group() -> Group {
        let (mut book, release) = (ErrorBook::empty(), Release { release: 1, version: Some("1.2.3".into()) });
        let exception = exception("E", "f");
        let seen = Occurrence { app: "api", instance: 2, at: 5, exception: &exception, before: &[], release: &release };
        let news = book.add(&seen, &Resolved::default(), str::to_owned);
        assert!(news.is_some_and(|(_, is_back)| !is_back));
        book.groups.remove(0)
    }

    fn exception(kind: &str, function: &str) -> Exception {
        let frame = Frame { function: function.into(), file: "/srv/a.js".into(), line: Some(3), own: true };
        Exception { kind: kind.into(), message: "no row 7 for s3cret".into(), frames: vec![frame], route: None }
    }

    /// Returns whether the exception has returned; none if it was already known.
    fn add(book: &mut ErrorBook, resolved: &Resolved, at: u64, release: u32, exception: &Exception) -> Option<bool> {
        let before = ["token=s3cret".to_owned()];
        let release = Release { release, version: None };
        let seen = Occurrence { app: "api", instance: 2, at, exception, before: &before, release: &release };
        book.add(&seen, resolved, |text| text.replace("s3cret", "******")).map(|(_, is_back)| is_back)
    }

    #[test]
    fn exceptions_count_by_group_and_release_without_secrets() {
        let (mut book, none) = (ErrorBook::default(), Resolved::default());
        for n in 0..10_000 {
            add(&mut book, &none, 100 + n, if n < 4000 { 1 } else { 2 }, &exception("E", "f"));
        }
        add(&mut book, &none, 5, 2, &exception("E", "g"));
        let groups = book.newest(|_| true);
        let [first, second] = groups[..] else { panic!("{groups:?}") };
        assert_eq!((first.count, first.first, first.last, first.culprit.as_str()), (10_000, 100, 10_099, "f (/srv/a.js:3)"));
        assert_eq!(
            first.releases.iter().map(|seen| (seen.release.release, seen.count, seen.first)).collect::<Vec<_>>(),
            [(1, 4000, 100), (2, 6000, 4100)]
        );
        assert_eq!((second.count, book.find(&second.id[..8]), book.find("")), (1, Some(second), None));
        let text = serde_json::to_string(&book).unwrap();
        assert!(!text.contains("s3cret") && text.contains("token=******"), "{text}");
        assert_eq!(serde_json::from_str::<ErrorBook>(&text).unwrap(), book);
    }

    #[test]
    fn trend_counts_the_last_hours() {
        let (mut book, none) = (ErrorBook::default(), Resolved::default());
        let error = exception("E", "f");
        let start = 1_000 * HOUR_MS;
        for (hours, count) in [(0, 3), (23, 2), (24, 5), (25, 1), (24, 1)] {
            for n in 0..count {
                add(&mut book, &none, start + hours * HOUR_MS + n, 1, &error);
            }
        }
        let group = &book.groups[0];
        let trend = |hours| group.trend(start + hours * HOUR_MS + 5);
        assert_eq!((trend(25).len(), &trend(25)[21..], trend(25)[0]), (HOURS, &[2, 6, 1][..], 0));
        assert_eq!((trend(46)[0], trend(100).iter().sum::<u64>()), (2, 0));
        assert_eq!(trend(23)[0], 3);
        // A restored clock, and many hours.
        assert!(Group { hours: vec![(5, 1)], ..group.clone() }.trend(0).iter().all(|count| *count == 0));
        for n in 0..500 {
            let _ = add(&mut book, &none, start + n * HOUR_MS, 1, &error);
        }
        assert_eq!(book.groups[0].hours.len(), HOURS);
    }

    #[test]
    fn resolved_exception_returns_as_regression() {
        let (mut book, mut resolved) = (ErrorBook::default(), Resolved::default());
        let error = exception("E", "f");
        assert_eq!([100, 110].map(|at| add(&mut book, &resolved, at, 1, &error)), [Some(false), None], "once");
        let id = book.groups[0].id.clone();
        let state = |book: &ErrorBook, resolved: &Resolved| book.groups[0].state(resolved);
        assert_eq!(state(&book, &resolved), GroupState::Open);
        resolved.mark(&id, 200, "alice");
        assert_eq!(state(&book, &resolved), GroupState::Resolved);
        add(&mut book, &resolved, 150, 1, &error);
        assert_eq!((state(&book, &resolved), &book.groups[0].returned), (GroupState::Resolved, &None), "printed before that");
        assert_eq!([(300, 3), (400, 4)].map(|(at, release)| add(&mut book, &resolved, at, release, &error)), [Some(true), None], "once");
        let release = |number| Release { release: number, version: None };
        assert_eq!(
            (state(&book, &resolved), &book.groups[0].returned),
            (GroupState::Returned, &Some(Recurrence { at: 300, release: release(3) }))
        );
        resolved.mark(&id, 500, "alice");
        assert_eq!(state(&book, &resolved), GroupState::Resolved);
        add(&mut book, &resolved, 600, 5, &error);
        assert_eq!(book.groups[0].returned, Some(Recurrence { at: 600, release: release(5) }));
    }

    #[test]
    fn groups_releases_and_texts_are_bounded() {
        let (mut book, none) = (ErrorBook::default(), Resolved::default());
        for n in 0..2000_u32 {
            add(&mut book, &none, n.into(), n, &exception(&format!("E{n}"), "f"));
            add(&mut book, &none, 5000 + u64::from(n), n, &exception("E", "f"));
        }
        assert_eq!(book.groups.len(), GROUPS);
        let often = book.newest(|_| true)[0];
        assert_eq!((often.count, often.releases.len(), often.releases[0].first), (2000, RELEASES, 5000));
        assert_eq!(often.releases.iter().map(|seen| seen.count).sum::<u64>(), 2000);
        let long = "ü".repeat(100_000);
        let big = Exception::reported(&serde_json::json!({"name": long, "message": long, "stack": long})).unwrap();
        add(&mut book, &none, 9000, 1, &big);
        assert!(serde_json::to_string(&book).unwrap().len() < 400_000);
    }
}
