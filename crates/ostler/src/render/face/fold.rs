//! Repeats of events, folded into one. Pure.

use ostler_core::lifecycle::ProcessEnding;
use ostler_proto::event::{Event, EventCause, EventKind, Health, LimitKind};

/// Most events of a cycle, such as exit, restart, launch, online.
const LONGEST_CYCLE: usize = 6;

/// Least number of times that an event happened to be folded.
const LEAST_TIMES: usize = 3;

/// An event, or a cycle of events that an instance repeated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoldedEvent<'a> {
    /// The event; of a cycle, the last one of the most important kind.
    pub event: &'a Event,
    /// Number of times that it happened.
    pub times: usize,
    /// Time of the first event of the first cycle.
    pub first_ms: u64,
    /// Time of the last event of the last cycle.
    pub last_ms: u64,
    /// Other events of a cycle.
    pub others: Vec<&'a Event>,
    /// Median of the durations of the runs, if the event is an exit.
    pub usual_ms: Option<u64>,
}

impl<'a> FoldedEvent<'a> {
    /// Returns an event that was not repeated.
    pub(crate) const fn single(event: &'a Event) -> Self {
        Self { event, times: 1, first_ms: event.at_ms, last_ms: event.at_ms, others: Vec::new(), usual_ms: None }
    }
}

/// Folds the repeats of each instance. The result is in the order of the last events.
pub(crate) fn fold<'a>(events: &[&'a Event]) -> Vec<FoldedEvent<'a>> {
    let mut subjects: Vec<(&Option<String>, Option<u32>)> = Vec::new();
    let mut of_subject: Vec<Vec<usize>> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let subject = (&event.app, event.id);
        match subjects.iter().position(|known| *known == subject) {
            Some(known) => of_subject[known].push(place),
            None => {
                subjects.push(subject);
                of_subject.push(vec![place]);
            }
        }
    }
    let mut folded: Vec<(usize, FoldedEvent<'a>)> = of_subject.iter().flat_map(|places| fold_one(events, places)).collect();
    folded.sort_by_key(|(place, _)| *place);
    folded.into_iter().map(|(_, event)| event).collect()
}

/// Folds the events of one instance, which are at these places. Returns each with its last place.
fn fold_one<'a>(events: &[&'a Event], places: &[usize]) -> Vec<(usize, FoldedEvent<'a>)> {
    let own: Vec<&'a Event> = places.iter().map(|place| events[*place]).collect();
    let shapes: Vec<Option<Shape<'a>>> = own.iter().map(|event| Shape::of(event)).collect();
    let mut folded = Vec::new();
    let mut at = 0;
    while at < own.len() {
        let repeats = (1..=LONGEST_CYCLE).map(|length| (repeated(&shapes[at..], length), length));
        let longest = repeats.max_by_key(|(count, length)| (*count, std::cmp::Reverse(*length)));
        let cycle = longest.and_then(|(count, length)| Some((count, cycle(own.get(at..at + count)?, length)?)));
        let (count, event) = cycle.unwrap_or((1, FoldedEvent::single(own[at])));
        at += count;
        folded.push((places[at - 1], event));
    }
    folded
}

/// Returns the number of events at the start that repeat a cycle of this length.
fn repeated(shapes: &[Option<Shape<'_>>], length: usize) -> usize {
    let is_same = |at: &usize| shapes[*at].is_some() && shapes[*at] == shapes[*at - length];
    let more = (length..shapes.len()).take_while(is_same).count();
    if more < length { 0 } else { length + more }
}

/// Returns the fold of events that repeat a cycle of this length, if its main event happened often
/// enough.
fn cycle<'a>(events: &[&'a Event], length: usize) -> Option<FoldedEvent<'a>> {
    let main = (0..length).max_by_key(|at| (events.get(*at).map(|event| weight(&event.kind)), length - at))?;
    let mains: Vec<&'a Event> = events.iter().skip(main).step_by(length).copied().collect();
    let mut runs_ms: Vec<u64> = mains.iter().filter_map(|event| run_ms(&event.kind)).collect();
    runs_ms.sort_unstable();
    let others = (0..length).filter(|at| *at != main).filter_map(|at| events.get(at).copied()).collect();
    Some(FoldedEvent {
        event: mains.last()?,
        times: mains.len(),
        first_ms: events.first()?.at_ms,
        last_ms: events.last()?.at_ms,
        others,
        usual_ms: runs_ms.get(runs_ms.len() / 2).copied(),
    })
    .filter(|folded| folded.times >= LEAST_TIMES)
}

fn run_ms(kind: &EventKind) -> Option<u64> {
    if let EventKind::Exit { uptime_ms, .. } = kind { Some(*uptime_ms) } else { None }
}

/// Returns the importance of an event within a cycle.
const fn weight(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Exit { .. } | EventKind::CouldNotStart { .. } => 3,
        EventKind::Health { state: Health::Healthy } => 1,
        EventKind::Health { .. } | EventKind::LimitExceeded { .. } | EventKind::HookFailed { .. } | EventKind::NotReady { .. } => 2,
        EventKind::RunMissed { .. } | EventKind::KillTimeout => 2,
        EventKind::Launched { .. } | EventKind::Restarting { .. } | EventKind::Stopped | EventKind::Waiting => 0,
        _ => 1,
    }
}

/// Parts of an event that are the same in each repeat. Numbers such as pids differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape<'a> {
    kind: std::mem::Discriminant<EventKind>,
    ending: Option<ProcessEnding>,
    health: Option<Health>,
    limit: Option<LimitKind>,
    why: Option<&'a str>,
    cause: std::mem::Discriminant<EventCause>,
    policy: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// Returns the shape; none for an event that is never folded: a command of a user, a release, an
    /// event of ostler itself.
    fn of(event: &'a Event) -> Option<Self> {
        let kind = &event.kind;
        let is_repeatable = match kind {
            EventKind::ReloadBegun { .. }
            | EventKind::Replaced { .. }
            | EventKind::ReloadDone { .. }
            | EventKind::ReloadFailed { .. }
            | EventKind::ReloadOverruled { .. }
            | EventKind::Scaled { .. }
            | EventKind::SetAside { .. }
            | EventKind::Deleted
            | EventKind::Errored { .. } => false,
            _ => event.app.is_some(),
        };
        if !is_repeatable || matches!(event.cause, EventCause::User { .. } | EventCause::Shutdown) {
            return None;
        }
        Some(Self {
            kind: std::mem::discriminant(kind),
            ending: if let EventKind::Exit { ending, .. } = kind { Some(*ending) } else { None },
            health: if let EventKind::Health { state } = kind { Some(*state) } else { None },
            limit: if let EventKind::LimitExceeded { limit, .. } = kind { Some(*limit) } else { None },
            why: if let EventKind::HookFailed { why } | EventKind::CouldNotStart { why, .. } = kind { Some(why) } else { None },
            cause: std::mem::discriminant(&event.cause),
            policy: if let EventCause::Policy { name, .. } = &event.cause { Some(name.word()) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::lifecycle::PolicyName;

    use super::*;

    fn event(app: &str, id: u32, kind: EventKind, cause: EventCause) -> Event {
        Event { epoch: 1, seq: 1, at_ms: 0, app: Some(app.into()), id: Some(id), kind, cause, before: None, after: None }
    }

    /// Returns the events of an app that crashes again and again, and is restarted in between.
    fn crash_loop(app: &str, crashes: u64) -> Vec<Event> {
        let policy = || EventCause::policy(PolicyName::Autorestart, "exited with code 1".to_owned());
        let by_user = EventCause::User { command: "start".into(), uid: 0, pid: 1, on_behalf_of: None };
        let mut all =
            vec![event(app, 0, EventKind::Launched { pid: 1 }, by_user.clone()), event(app, 0, EventKind::Online { pid: 1 }, by_user)];
        for n in 1..=crashes {
            let pid = i32::try_from(n).unwrap();
            let ending = ProcessEnding::Code(1);
            all.push(event(app, 0, EventKind::Exit { pid, ending, uptime_ms: 500 + n }, EventCause::App));
            if n < crashes {
                all.push(event(app, 0, EventKind::Restarting { delay_ms: n }, policy()));
                all.push(event(app, 0, EventKind::Launched { pid: pid + 1 }, policy()));
                all.push(event(app, 0, EventKind::Online { pid: pid + 1 }, policy()));
            }
        }
        all.push(event(app, 0, EventKind::Errored { unstable: 16 }, EventCause::policy(PolicyName::MaxRestarts, None)));
        all
    }

    /// Returns how often each event happened, and the kinds of the others of its cycle.
    fn folded(mut events: Vec<Event>) -> Vec<(usize, u64, u64, usize)> {
        events.iter_mut().zip(1..).for_each(|(event, at_ms)| event.at_ms = at_ms);
        let events: Vec<&Event> = events.iter().collect();
        fold(&events).into_iter().map(|folded| (folded.times, folded.first_ms, folded.last_ms, folded.others.len())).collect()
    }

    #[test]
    fn crashes_of_a_loop_become_one_line() {
        assert_eq!(folded(crash_loop("mailer", 16)), [(1, 1, 1, 0), (1, 2, 2, 0), (16, 3, 63, 3), (1, 64, 64, 0)]);
        // Two crashes are shown with all events between them.
        assert_eq!(folded(crash_loop("mailer", 2)).len(), 8);
        assert!(folded(Vec::new()).is_empty());
    }

    #[test]
    fn loops_of_two_apps_are_told_apart() {
        let (one, two) = (crash_loop("a", 5), crash_loop("b", 7));
        let mut mixed = Vec::new();
        for place in 0..one.len().max(two.len()) {
            mixed.extend(one.get(place).cloned());
            mixed.extend(two.get(place).cloned());
        }
        let times: Vec<usize> = folded(mixed).into_iter().map(|(times, ..)| times).filter(|times| *times > 1).collect();
        assert_eq!(times, [5, 7]);
    }

    #[test]
    fn other_endings_and_commands_of_users_are_not_folded() {
        let exit = |code, uptime_ms| EventKind::Exit { pid: 1, ending: ProcessEnding::Code(code), uptime_ms };
        let of = |kinds: Vec<EventKind>, cause: EventCause| {
            folded(kinds.into_iter().map(|kind| event("a", 0, kind, cause.clone())).collect()).iter().map(|row| row.0).collect::<Vec<_>>()
        };
        assert_eq!(of(vec![exit(1, 5), exit(1, 6), exit(1, 7), exit(2, 5)], EventCause::App), [3, 1]);
        assert_eq!(of(vec![exit(1, 5), exit(2, 6), exit(1, 5), exit(2, 6), exit(1, 5), exit(2, 6)], EventCause::App), [3]);
        let user = EventCause::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        assert_eq!(of(vec![EventKind::Stopped; 4], user), [1; 4]);
        assert_eq!(of(vec![EventKind::ReloadDone { release: 1 }; 4], EventCause::App), [1; 4]);
    }
}
