use proptest::prelude::*;

use super::*;
use crate::input::{CheckResult, Input, MetricSample, Occurrence, OccurrenceKind};
use crate::message::{Message, Status};
use crate::rule::{Rule, Severity, defaults, rule};
use serde_json::json;

fn channel(name: &str) -> Channel {
    Channel { name: name.into(), severity: Severity::Info, resolved: true, quiet: None }
}

pub(super) fn config(rules: Vec<Rule>) -> Config {
    Config { rules, channels: vec![channel("ops")], silences: vec![], host: "box".into() }
}

pub(super) fn custom_rule(value: &serde_json::Value) -> Rule {
    rule(value, None).unwrap()
}

pub(super) fn happened(kind: OccurrenceKind, app: &str, instance: u32) -> Input {
    Input::Occurred(Occurrence { kind, app: app.into(), instance: Some(instance), text: "exited with code 1".into() })
}

fn measured(app: &str, metric: &str, value: f64) -> Input {
    Input::Measured(MetricSample { app: app.into(), metric: metric.into(), values: vec![(Some(0), value)], limit: None })
}

/// Engine with its clock.
pub(super) struct Engine {
    pub(super) state: EngineState,
    pub(super) config: Config,
    pub(super) now: u64,
    pub(super) messages: Vec<Message>,
    pub(super) changes: Vec<AlertChange>,
}

impl Engine {
    pub(super) fn new(config: Config) -> Self {
        Self { state: EngineState::new(1), config, now: 1_700_000_000_000, messages: vec![], changes: vec![] }
    }

    pub(super) fn step(&mut self, input: Input) {
        let output = step(&mut self.state, &self.config, input, self.now);
        self.messages.extend(output.messages);
        self.changes.extend(output.changes);
    }

    /// Advances the clock and wakes the engine whenever it asks for that.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(wake) = self.state.wake_ms().filter(|at| *at <= until) {
            self.now = self.now.max(wake);
            self.step(Input::Time);
        }
        self.now = until;
        self.step(Input::Time);
    }

    /// Returns the items of the messages since the last call: `app rule status`.
    pub(super) fn take_sent(&mut self) -> Vec<String> {
        let words = |status| match status {
            Status::Firing => "firing",
            Status::Repeated => "repeated",
            Status::Resolved => "resolved",
        };
        let items = self.messages.drain(..).flat_map(|message| message.items);
        items.map(|item| format!("{} {} {}", item.name(), item.rule, words(item.status))).collect()
    }
}

#[test]
fn crash_alerts_once_for_all_instances_and_resolves() {
    let mut engine = Engine::new(config(defaults()));
    (0..4).for_each(|id| engine.step(happened(OccurrenceKind::Crash, "api", id)));
    assert_eq!(engine.take_sent(), [""; 0], "what has one cause is gathered");
    engine.pass(1000);
    let item = engine.messages[0].items[0].clone();
    assert_eq!((item.instances, item.count, item.severity), (vec![0, 1, 2, 3], 4, Severity::Warning));
    assert_eq!(engine.take_sent(), ["api crash firing"]);
    engine.pass(200_000);
    engine.step(happened(OccurrenceKind::Crash, "api", 1));
    engine.pass(200_000);
    assert_eq!(engine.take_sent(), [""; 0], "it continues: nothing new");
    engine.pass(200_000);
    assert_eq!(engine.take_sent(), ["api crash resolved"]);
    assert_eq!(engine.changes.iter().map(|change| change.status.as_str()).collect::<Vec<_>>(), ["firing", "resolved"]);
}

#[test]
fn errored_alert_replaces_crash_alerts_until_app_is_online() {
    let mut engine = Engine::new(config(defaults()));
    engine.step(happened(OccurrenceKind::Crash, "api", 0));
    engine.step(happened(OccurrenceKind::Errored, "api", 0));
    engine.step(happened(OccurrenceKind::Errored, "api", 1));
    engine.pass(1000);
    assert_eq!(engine.take_sent(), ["api errored firing"]);
    engine.step(happened(OccurrenceKind::Online, "api", 0));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), [""; 0], "one instance is still given up");
    engine.step(happened(OccurrenceKind::Deleted, "api", 1));
    engine.pass(60_000);
    assert!(engine.take_sent().contains(&"api errored resolved".to_owned()));
}

#[test]
fn reload_does_not_alert_on_exits_it_causes() {
    let mut engine = Engine::new(config(defaults()));
    engine.step(happened(OccurrenceKind::ReloadBegun, "api", 0));
    engine.step(happened(OccurrenceKind::Crash, "api", 1));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), [""; 0]);
    engine.step(happened(OccurrenceKind::ReloadRefused, "api", 0));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), ["api reload_refused firing"]);
    engine.step(happened(OccurrenceKind::ReloadBegun, "api", 0));
    engine.step(happened(OccurrenceKind::ReloadEnded, "api", 0));
    engine.step(happened(OccurrenceKind::Crash, "api", 1));
    engine.pass(60_000);
    assert_eq!(
        engine.take_sent(),
        ["api reload_refused resolved", "api crash firing"].map(str::to_owned).to_vec().into_iter().rev().collect::<Vec<_>>()
    );
}

#[test]
fn one_time_event_fires_once_and_is_forgotten() {
    let mut engine = Engine::new(config(defaults()));
    engine.step(happened(OccurrenceKind::HostRebooted, "", 0));
    engine.pass(86_400_000);
    assert_eq!(engine.take_sent(), ["ostler host_rebooted firing"]);
    assert!(engine.state.alerts.is_empty(), "and are forgotten");
}

#[test]
fn threshold_waits_for_duration_then_repeats_until_clear_value() {
    let mut engine =
        Engine::new(config(vec![custom_rule(&json!({ "metric": "cpu", "above": 90, "clear": 70, "for": "1m", "severity": "critical" }))]));
    let mut run = |value: f64, seconds: u64| {
        for _ in 0..seconds / 10 {
            engine.step(measured("api", "cpu", value));
            engine.pass(10_000);
        }
        engine.take_sent()
    };
    assert_eq!(run(95.0, 50), [""; 0]);
    assert_eq!(run(50.0, 10), [""; 0]);
    assert_eq!(run(95.0, 50), [""; 0], "it had to begin anew");
    assert_eq!(run(95.0, 30), ["api cpu firing"]);
    assert_eq!(run(80.0, 3600), [""; 0], "not yet within the clear value");
    assert_eq!(run(80.0, 4 * 3600), ["api cpu repeated"]);
    assert_eq!(run(60.0, 60), ["api cpu resolved"]);
}

#[test]
fn windowed_threshold_compares_mean() {
    let mut engine = Engine::new(config(vec![custom_rule(&json!({ "metric": "cpu", "above": 90, "window": "1m" }))]));
    for value in [100.0, 0.0, 100.0, 0.0, 100.0, 0.0, 100.0] {
        engine.step(measured("api", "cpu", value));
        engine.pass(10_000);
    }
    assert_eq!(engine.take_sent(), [""; 0]);
    for _ in 0..7 {
        engine.step(measured("api", "cpu", 99.0));
        engine.pass(10_000);
    }
    assert_eq!(engine.take_sent(), ["api cpu firing"]);
}

#[test]
fn threshold_alert_resolves_when_app_disappears() {
    let mut engine = Engine::new(config(vec![custom_rule(&json!({ "metric": "cpu", "above": 90 }))]));
    engine.step(measured("api", "cpu", 99.0));
    engine.pass(1000);
    assert_eq!(engine.take_sent(), ["api cpu firing"]);
    engine.pass(200_000);
    assert_eq!(engine.take_sent(), ["api cpu resolved"]);
}

#[test]
fn log_check_exception_and_forecast_rules_fire() {
    let rules = [
        json!({ "log": "panic|OOM", "count": 2, "window": "1m", "name": "panics" }),
        json!({ "url": "https://example.com/", "certificate_days": 14, "name": "site" }),
        json!({ "exception": "new" }),
        json!({ "forecast": "memory", "within": "1h" }),
        json!({ "absent": "log", "for": "10m" }),
    ];
    let mut engine = Engine::new(config(rules.iter().map(custom_rule).collect()));
    let line = |text: &str| Input::Wrote { app: "api".into(), instance: None, line: text.into() };
    engine.step(line("panic \x1b[31mat once"));
    engine.step(line("fine"));
    engine.pass(1000);
    assert_eq!(engine.take_sent(), [""; 0]);
    engine.step(line("OOM"));
    engine.pass(1000);
    assert_eq!(engine.take_sent(), ["api panics firing"]);
    let checked = |result| Input::Checked { rule: "site".into(), result };
    engine.step(checked(Ok(CheckResult { certificate_days: Some(60) })));
    engine.pass(60_000);
    engine.take_sent();
    engine.step(checked(Ok(CheckResult { certificate_days: Some(13) })));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), ["ostler site firing"]);
    engine.step(checked(Err("it does not answer".into())));
    engine.step(checked(Ok(CheckResult { certificate_days: Some(60) })));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), ["ostler site resolved"]);
    let exception = |returned| Input::Exception { app: "api".into(), instance: None, title: "TypeError".into(), returned };
    engine.step(exception(true));
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), [""; 0]);
    engine.step(exception(false));
    engine.pass(60_000);
    assert!(engine.take_sent().contains(&"api exception firing".to_owned()));
    for n in 0..60_u32 {
        let values = vec![(Some(0), f64::from(100 + n) * 1e6)];
        engine.step(Input::Measured(MetricSample { app: "api".into(), metric: "memory".into(), values, limit: Some(300e6) }));
        engine.pass(10_000);
    }
    assert!(engine.take_sent().contains(&"api memory_forecast firing".to_owned()));
    engine.step(measured("api", "log_age", 700.0));
    engine.pass(100_000);
    assert!(engine.take_sent().contains(&"api no_log firing".to_owned()));
}

#[test]
fn silences_and_quiet_hours_delay_alerts() {
    let silence =
        |until_ms| Silence { id: "1".into(), rule: None, app: Some("a*".into()), until_ms, by: "me".into(), reason: String::new() };
    let mut engine = Engine::new(config(defaults()));
    engine.config.silences = vec![silence(engine.now + 60_000)];
    engine.step(happened(OccurrenceKind::Errored, "api", 0));
    engine.step(happened(OccurrenceKind::Errored, "web", 0));
    engine.pass(30_000);
    assert_eq!(engine.take_sent(), ["web errored firing"]);
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), ["api errored firing"], "the silence is over, and it still is so");
    // 2023-11-14 22:13 UTC.
    engine.config.silences.clear();
    engine.config.channels[0].quiet = Some(QuietHours { from: 22 * 60, to: 7 * 60, zone: jiff::tz::TimeZone::UTC });
    engine.step(happened(OccurrenceKind::Crash, "db", 0));
    engine.step(happened(OccurrenceKind::Unhealthy, "db", 0));
    engine.pass(600_000);
    assert_eq!(engine.take_sent(), ["db unhealthy firing"], "what is critical comes through");
    engine.pass(9 * 3_600_000);
    let notified = engine.take_sent();
    assert!(notified.contains(&"db crash resolved".to_owned()), "the rest is reported in the morning: {notified:?}");
}

#[test]
fn flapping_alert_is_damped() {
    let mut engine = Engine::new(config(defaults()));
    for _ in 0..20 {
        engine.step(happened(OccurrenceKind::Unhealthy, "api", 0));
        engine.pass(60_000);
        engine.step(happened(OccurrenceKind::Healthy, "api", 0));
        engine.pass(60_000);
    }
    let notified = engine.take_sent();
    assert!(notified.len() <= 6, "{notified:?}");
    engine.pass(3_600_000);
    assert_eq!(engine.take_sent(), ["api unhealthy resolved"]);
}

#[test]
fn event_flood_sends_three_messages_per_minute_per_channel() {
    let mut engine = Engine::new(config(defaults()));
    engine.config.channels.push(channel("mail"));
    for n in 0..10_000_u32 {
        engine.step(happened(OccurrenceKind::Crash, &format!("app{}", n % 700), n));
        engine.now += 6;
        if engine.state.wake_ms().is_some_and(|at| at <= engine.now) {
            engine.step(Input::Time);
        }
    }
    for name in ["ops", "mail"] {
        let count = engine.messages.iter().filter(|message| message.channel == name).count();
        assert!((1..=3).contains(&count), "{name}: {count}");
    }
    engine.pass(60_000);
    let counted: usize =
        engine.messages.iter().filter(|message| message.channel == "ops").map(|message| message.items.len() + message.more).sum();
    assert_eq!(counted, 700, "each is told of, if only by number");
    assert!(serde_json::to_vec(&engine.state).unwrap().len() < 1 << 20);
}

#[test]
fn alerts_beyond_the_limit_are_counted_as_refused() {
    let mut engine = Engine::new(config(defaults()));
    (0..5000).for_each(|n| engine.step(happened(OccurrenceKind::Errored, &format!("app{n}"), n)));
    assert_eq!((engine.state.alerts.len(), engine.state.refused()), (1000, 4000));
}

#[test]
fn removing_a_rule_resolves_its_alerts() {
    let mut engine = Engine::new(config(defaults()));
    engine.step(happened(OccurrenceKind::Errored, "api", 0));
    engine.pass(60_000);
    engine.config.rules.clear();
    engine.pass(60_000);
    engine.pass(60_000);
    assert_eq!(engine.take_sent(), ["api errored firing", "api errored resolved"]);
}

/// Builds an input from three numbers.
fn input(which: u8, app: u8, instance: u8) -> Input {
    let app = format!("app{}", app % 3);
    let kinds = [
        OccurrenceKind::Crash,
        OccurrenceKind::Errored,
        OccurrenceKind::Online,
        OccurrenceKind::Unhealthy,
        OccurrenceKind::Healthy,
        OccurrenceKind::Deleted,
        OccurrenceKind::ReloadBegun,
        OccurrenceKind::ReloadRefused,
    ];
    match usize::from(which % 12) {
        8 => measured(&app, "cpu", f64::from(instance)),
        9 => Input::Time,
        10 => happened(OccurrenceKind::DaemonReplaced, "", 0),
        11 => happened(OccurrenceKind::ReloadEnded, &app, 0),
        n => happened(kinds[n], &app, u32::from(instance % 2)),
    }
}

fn any_config() -> Config {
    let mut rules = defaults();
    rules.push(custom_rule(&json!({ "metric": "cpu", "above": 100, "clear": 50, "for": "30s" })));
    let mut config = config(rules);
    config.channels.push(Channel { severity: Severity::Critical, ..channel("pager") });
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Invariants for any inputs at any times:
    /// - Any minute has at most three messages.
    /// - At the end, each alert that was reported as firing either fires or was reported as
    ///   resolved.
    /// - An engine that is saved and restored between two steps gives the same results.
    #[test]
    fn message_limit_and_resolution_hold_for_any_inputs(steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0_u64..400_000), 1..120)) {
        let mut engine = Engine::new(any_config());
        let mut other = Engine::new(any_config());
        for (which, app, instance, ms) in steps {
            let ms = if which % 3 == 0 { ms } else { ms % 3000 };
            engine.step(input(which, app, instance));
            engine.pass(ms);
            other.step(input(which, app, instance));
            other.state = serde_json::from_slice(&serde_json::to_vec(&other.state).unwrap()).unwrap();
            // Only the actions of the first step after a start are due.
            other.step(Input::Time);
            other.pass(ms);
        }
        prop_assert_eq!(&engine.messages, &other.messages);
        for name in ["ops", "pager"] {
            let times: Vec<u64> = engine.messages.iter().filter(|message| message.channel == name).map(|message| message.at_ms).collect();
            for at in &times {
                let within = times.iter().filter(|other| (*at..=at + 60_000).contains(other)).count();
                prop_assert!(within <= 3, "{name}: {times:?}");
            }
            let mut firing = std::collections::BTreeSet::new();
            engine.pass(1_000_000);
            engine.pass(100_000);
            for item in engine.messages.iter().filter(|message| message.channel == name).flat_map(|message| &message.items) {
                let key = (item.rule.clone(), item.app.clone());
                match item.status {
                    Status::Resolved => drop(firing.remove(&key)),
                    _ => drop(firing.insert(key)),
                }
            }
            let news = ["daemon_replaced"];
            for (rule, app) in firing.into_iter().filter(|(rule, _)| !news.contains(&rule.as_str())) {
                let alert = engine.state.alerts.get(&EngineState::key(&rule, &app));
                prop_assert!(alert.is_some_and(Alert::fires), "{rule} of {app} was never told to be over: {alert:?}");
            }
        }
        let ids: std::collections::BTreeSet<&str> = engine.messages.iter().map(|message| message.id.as_str()).collect();
        prop_assert_eq!(ids.len(), engine.messages.len());
    }

    /// With a clock that jumps anywhere, nothing panics, and the engine's own time limits the
    /// number of messages.
    #[test]
    fn jumping_clock_neither_panics_nor_floods(steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u64>()), 1..60)) {
        let mut engine = Engine::new(any_config());
        for (which, app, at) in steps {
            engine.now = at % (1 << 42);
            engine.step(input(which, app, 0));
            engine.step(Input::Time);
        }
        prop_assert!(engine.messages.len() <= 120);
    }
}
