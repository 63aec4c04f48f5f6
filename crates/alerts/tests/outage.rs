//! A receiver answers 500 for an hour while apps crash and the sender is killed. Tests engine,
//! outbox and dispatch together with a simulated clock.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use ostler_alerts::dispatch::{Dispatch, SendAction};
use ostler_alerts::engine::{Channel, Config, EngineState, step};
use ostler_alerts::input::{Input, Occurrence, OccurrenceKind};
use ostler_alerts::journal::{HEAD, JournalRecord, MOST_WAITING, OutboxContents, encode};
use ostler_alerts::message::Status;
use ostler_alerts::render::DeliveryResult;
use ostler_alerts::rule::{Severity, defaults};

const BEGIN: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Sender: the file on disk, and the memory that is lost when it dies.
struct Sender {
    file: Vec<u8>,
    book: OutboxContents,
    state: EngineState,
    dispatch: Dispatch,
    config: Config,
    /// Time and message id of each request.
    requests: Vec<(u64, String)>,
    /// Number of deliveries per alert that was reported as firing, and per message.
    firing: BTreeMap<String, usize>,
    delivered: BTreeMap<String, usize>,
}

impl Sender {
    fn new() -> Self {
        let channels = vec![Channel { name: "ops".into(), severity: Severity::Info, resolved: true, quiet: None }];
        Self {
            file: HEAD.as_bytes().to_vec(),
            book: OutboxContents::default(),
            state: EngineState::new(1),
            dispatch: Dispatch::default(),
            config: Config { rules: defaults(), channels, silences: vec![], host: "box".into() },
            requests: vec![],
            firing: BTreeMap::new(),
            delivered: BTreeMap::new(),
        }
    }

    fn append(&mut self, record: JournalRecord) {
        self.file.extend(encode(&record));
        self.book.apply(record);
        assert!(self.book.waiting.len() <= MOST_WAITING);
    }

    fn step(&mut self, input: Input, now: u64) {
        let output = step(&mut self.state, &self.config, input, now);
        self.append(JournalRecord::Step { state: Box::new(self.state.clone()), messages: output.messages, changes: output.changes });
    }

    /// Simulates SIGKILL and a new process.
    fn killed(&mut self, now: u64) {
        let (book, fault) = OutboxContents::read(&self.file);
        assert!(fault.is_none());
        self.state = book.state.clone().unwrap();
        self.state.resume(now);
        self.book = book;
        self.dispatch = Dispatch::default();
    }

    /// Does the work that is due and returns the time of the next work.
    fn turn(&mut self, now: u64, is_well: bool) -> u64 {
        if self.state.wake_ms().is_some_and(|at| at <= now) {
            self.step(Input::Time, now);
        }
        let (orders, again) = self.dispatch.next(&self.book.waiting, |_| Some(60), now);
        let has_sent = !orders.is_empty();
        for order in orders {
            let SendAction::Send(message) = order else { panic!("{order:?}") };
            self.requests.push((now, message.id.clone()));
            let verdict = if is_well { DeliveryResult::Delivered } else { DeliveryResult::Later { after_ms: None, why: "500".into() } };
            if !self.dispatch.done("ops", &message.id, &verdict, now) {
                continue;
            }
            *self.delivered.entry(message.id.clone()).or_default() += 1;
            for item in message.items.iter().filter(|item| item.status == Status::Firing) {
                *self.firing.entry(item.name().to_owned()).or_default() += 1;
            }
            self.append(JournalRecord::Done { id: message.id, fault: None, at: now });
        }
        let wake = self.state.wake_ms().map(|at| at.max(now + 1));
        let again = if has_sent { Some(now + 1) } else { again };
        wake.into_iter().chain(again).min().unwrap_or(u64::MAX)
    }
}

#[test]
fn alerts_survive_an_hour_of_500_responses_and_a_kill() {
    let mut sender = Sender::new();
    let crash = |n: u64| {
        let app = format!("app{n}");
        Input::Occurred(Occurrence { kind: OccurrenceKind::Errored, app, instance: Some(0), text: "was given up".into() })
    };
    let (mut now, mut crashed, mut is_killed) = (BEGIN, 0, false);
    while now < BEGIN + 2 * HOUR {
        if now >= BEGIN + crashed * 2 * MINUTE && crashed < 30 {
            sender.step(crash(crashed), now);
            crashed += 1;
        }
        if now >= BEGIN + HOUR / 2 && !std::mem::replace(&mut is_killed, true) {
            sender.killed(now);
        }
        let next = sender.turn(now, now >= BEGIN + HOUR);
        let crash_at = if crashed < 30 { BEGIN + crashed * 2 * MINUTE } else { u64::MAX };
        let kill_at = if is_killed { u64::MAX } else { BEGIN + HOUR / 2 };
        now = next.min(crash_at).min(kill_at).max(now + 1);
    }
    let (during, after): (Vec<_>, Vec<_>) = sender.requests.iter().partition(|(at, _)| *at < BEGIN + HOUR);
    // Two series of retries, before and after the kill: delays double from one second up to five
    // minutes, always for the same message.
    let ids: BTreeSet<&String> = during.iter().map(|(_, id)| id).collect();
    assert!(ids.len() == 1 && (15..=35).contains(&during.len()), "{} requests: {during:?}", during.len());
    let gaps: Vec<u64> = during.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap <= 5 * MINUTE) && gaps.last() == Some(&(5 * MINUTE)), "{gaps:?}");
    // After the outage the receiver gets every message once, and the first has the id from before.
    assert!(after[0].0 <= BEGIN + HOUR + 5 * MINUTE && ids.contains(&after[0].1), "{:?}", after[0]);
    assert!(after.iter().all(|(at, _)| *at <= BEGIN + HOUR + 10 * MINUTE), "{after:?}");
    assert!(sender.delivered.values().all(|times| *times == 1) && sender.delivered.len() == after.len(), "{:?}", sender.delivered);
    assert!(sender.firing.len() == 30 && sender.firing.values().all(|times| *times == 1), "{:?}", sender.firing);
    assert!(sender.book.waiting.is_empty() && sender.book.dropped == 0);
}
