//! Every rule that the parser accepts can fire: each form of metric rule, with samples at the real
//! pace.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{Engine, config, custom_rule, happened};
use crate::input::{CheckResult, Input, InstanceState, MetricSample, Occurrence, OccurrenceKind};
use crate::rule::{Rule, SAMPLE_MS};

/// Milliseconds from one sample to the next: late by up to a second, and the fifth is missed.
fn pause(n: u64, jitter: u64) -> u64 {
    let late = (n * 379 + jitter) % 1000;
    if n % 11 == 5 { 2 * SAMPLE_MS + late } else { SAMPLE_MS + late }
}

/// Feeds a value for `ms` milliseconds. Returns true if the rule fires at any time.
fn fires(engine: &mut Engine, metric: &str, value: f64, ms: u64, jitter: u64) -> bool {
    let app = if metric.starts_with("host.") { "" } else { "api" };
    let until = engine.now + ms;
    let mut fired = false;
    for n in 0.. {
        let values = vec![(Some(0), value)];
        engine.step(Input::Measured(MetricSample { app: app.into(), metric: metric.into(), values, limit: None }));
        fired |= engine.state.alerts.values().any(super::Alert::fires);
        let pause = pause(n, jitter);
        if engine.now + pause > until {
            return fired;
        }
        engine.pass(pause);
        fired |= engine.state.alerts.values().any(super::Alert::fires);
    }
    fired
}

/// Simulates a restart of the dashboard process: the state is read from disk.
fn restart(engine: &mut Engine) {
    engine.state = serde_json::from_slice(&serde_json::to_vec(&engine.state).unwrap()).unwrap();
    engine.state.resume(engine.now);
}

/// Rules about metrics, each with a value for which the condition holds and one for which it does
/// not.
fn figure_rules() -> Vec<(Value, &'static str, f64, f64)> {
    vec![
        (json!({ "metric": "cpu", "above": 90 }), "cpu", 90.1, 90.0),
        (json!({ "metric": "cpu", "above": 90, "clear": 70 }), "cpu", 90.1, 90.0),
        (json!({ "metric": "cpu", "below": 5, "clear": 9 }), "cpu", 4.9, 5.0),
        (json!({ "metric": "memory", "above": "10M" }), "memory", 2e7, 1e7),
        (json!({ "metric": "memory", "below": "10M" }), "memory", 1e6, 2e7),
        (json!({ "metric": "restarts", "above": 3 }), "restarts", 4.0, 3.0),
        (json!({ "metric": "log_age", "above": 60 }), "log_age", 61.0, 60.0),
        (json!({ "metric": "queue", "below": -5 }), "queue", -6.0, -5.0),
        (json!({ "metric": "queue", "above": 5 }), "queue", 6.0, 5.0),
        (json!({ "error_rate": "50%" }), "error_rate", 80.0, 50.0),
        (json!({ "error_rate": 99.9 }), "error_rate", 100.0, 99.9),
        (json!({ "absent": "log", "for": "1m" }), "log_age", 61.0, 60.0),
        (json!({ "absent": "requests", "for": "1m" }), "requests", 0.0, 1.0),
        (json!({ "host": "disk", "above": "90%" }), "host.disk", 90.1, 90.0),
        (json!({ "host": "memory", "below": 5 }), "host.memory", 4.0, 5.0),
        (json!({ "host": "cpu", "above": 99 }), "host.cpu", 100.0, 99.0),
        (json!({ "host": "load", "above": 400 }), "host.load", 401.0, 400.0),
    ]
}

const WINDOWS: [u64; 13] = [1, 1000, 5000, 10_000, 20_000, 30_000, 60_000, 90_000, 100_000, 300_000, 620_000, 1_800_000, 3_600_000];

#[test]
fn every_metric_rule_fires_only_while_its_condition_holds() {
    for (form, metric, beyond, within) in figure_rules() {
        for window_ms in std::iter::once(0).chain(WINDOWS) {
            for for_ms in [None, Some(0), Some(45_000), Some(300_000)] {
                let mut form = form.clone();
                if window_ms > 0 && form.get("absent").is_none() {
                    form["window"] = json!(window_ms);
                }
                if let Some(for_ms) = for_ms.filter(|_| form.get("absent").is_none()) {
                    form["for"] = json!(for_ms);
                }
                let rule = custom_rule(&form);
                let whole_ms = window_of(&rule) + rule.for_ms;
                let bound_ms = whole_ms + whole_ms / 20 + 4 * SAMPLE_MS;
                let mut engine = Engine::new(config(vec![rule]));
                assert!(!fires(&mut engine, metric, within, 2 * bound_ms, 7), "fires without a reason: {form}");
                let mut engine = Engine::new(config(engine.config.rules));
                if whole_ms > 2 * SAMPLE_MS {
                    let short = fires(&mut engine, metric, beyond, whole_ms - 2 * SAMPLE_MS, 7);
                    assert!(!short, "fires before its condition held for long enough: {form}");
                    // The dashboard restarts, so the window is empty again; the rule must still
                    // fire.
                    restart(&mut engine);
                }
                assert!(fires(&mut engine, metric, beyond, bound_ms, 13), "never fires: {form}");
            }
        }
    }
}

fn window_of(rule: &Rule) -> u64 {
    match &rule.condition {
        crate::rule::Condition::Threshold(threshold) => threshold.window_ms,
        _ => 0,
    }
}

#[test]
fn every_event_rule_fires() {
    for kind in OccurrenceKind::ALARMS {
        let recurs = if kind.resolution() == crate::input::Resolution::Unannounced { 1 } else { 5 };
        for (for_ms, repeats) in [(0, 1), (240_000, 1), (900_000, recurs)] {
            let mut engine = Engine::new(config(vec![custom_rule(&json!({ "on": kind.word(), "for": for_ms }))]));
            for _ in 0..repeats {
                engine.step(happened(*kind, "api", 0));
                engine.pass(240_000);
            }
            engine.pass(for_ms);
            assert!(!engine.take_sent().is_empty(), "{} for {for_ms} ms is never told", kind.word());
        }
    }
}

#[test]
fn single_event_does_not_satisfy_for_beyond_five_minutes() {
    let mut engine = Engine::new(config(vec![custom_rule(&json!({ "on": "crash", "for": "10m" }))]));
    engine.step(happened(OccurrenceKind::Crash, "api", 0));
    engine.pass(3_600_000);
    assert_eq!(engine.take_sent(), [""; 0]);
}

#[test]
fn every_log_exception_and_check_rule_fires() {
    let line = || Input::Wrote { app: "api".into(), instance: None, line: "boom".into() };
    let threw = |returned| Input::Exception { app: "api".into(), instance: None, title: "E".into(), returned };
    let failed = || Input::Checked { rule: "c".into(), result: Err("no answer".into()) };
    let expires = || Input::Checked { rule: "c".into(), result: Ok(CheckResult { certificate_days: Some(1) }) };
    let cases: [(Value, &dyn Fn() -> Input); 10] = [
        (json!({ "log": "boom" }), &line),
        (json!({ "log": "boom", "window": 0 }), &line),
        (json!({ "log": "boom", "count": 1000, "window": "1h" }), &line),
        (json!({ "log": "boom", "count": 5, "window": 1 }), &line),
        (json!({ "log": "boom", "for": "1m" }), &line),
        (json!({ "exception": "new" }), &|| threw(false)),
        (json!({ "exception": "returned" }), &|| threw(true)),
        (json!({ "exception": "any", "for": "2m" }), &|| threw(true)),
        (json!({ "tcp": "db:1", "name": "c", "for": "5m", "every": "1d" }), &failed),
        (json!({ "url": "https://example.com", "name": "c", "certificate_days": 9 }), &expires),
    ];
    for (form, input) in cases {
        let mut engine = Engine::new(config(vec![custom_rule(&form)]));
        for _ in 0..form.get("count").and_then(Value::as_u64).unwrap_or(1) {
            engine.step(input());
        }
        engine.pass(310_000);
        assert!(!engine.take_sent().is_empty(), "never told: {form}");
    }
}

#[test]
fn rules_that_can_never_fire_are_rejected() {
    for (form, key) in [
        (json!({ "error_rate": "100%" }), "error_rate"),
        (json!({ "error_rate": 150 }), "error_rate"),
        (json!({ "host": "disk", "above": 100 }), "above"),
        (json!({ "host": "memory", "above": "101%" }), "above"),
        (json!({ "host": "cpu", "above": 100 }), "above"),
        (json!({ "host": "load", "below": 0 }), "below"),
        (json!({ "metric": "cpu", "below": 0 }), "below"),
        (json!({ "metric": "memory", "below": -1 }), "below"),
        (json!({ "metric": "error_rate", "above": 100 }), "above"),
        (json!({ "metric": "host.swap", "above": 1 }), "metric"),
        (json!({ "metric": "cpu", "above": 1, "window": "2h" }), "window"),
        (json!({ "log": "x", "count": 2, "window": 0 }), "window"),
        (json!({ "tcp": "db:1", "certificate_days": 9 }), "certificate_days"),
    ] {
        let problems = crate::rule::rule(&form, None).unwrap_err();
        assert!(problems.iter().any(|problem| problem.key.as_deref() == Some(key)), "{form}: {problems:?}");
    }
}

#[test]
fn resolved_alert_reports_duration_and_current_value() {
    let mut engine =
        Engine::new(config(vec![custom_rule(&json!({ "metric": "memory", "above": "400M" })), custom_rule(&json!("unhealthy"))]));
    engine.step(happened(OccurrenceKind::Unhealthy, "api", 0));
    assert!(fires(&mut engine, "memory", 450.0 * 1_048_576.0, 100_000, 0));
    engine.step(happened(OccurrenceKind::Healthy, "api", 0));
    fires(&mut engine, "memory", 120.0 * 1_048_576.0, 60_000, 0);
    let items = engine.messages.iter().flat_map(|message| &message.items);
    let over: Vec<&str> = items.filter(|item| item.over_ms.is_some()).map(|item| item.text.as_str()).collect();
    let is = |rest: &str| over.iter().any(|text| text.starts_with("resolved after ") && text.ends_with(rest));
    assert!(is(": memory is 120M (was: memory is 450M, above 400M)") && is(" (was: exited with code 1)"), "{over:?}");
    let changes = engine.changes.iter().filter(|change| change.status == "resolved");
    assert!(changes.map(|change| change.text.as_str()).all(|text| text.starts_with("resolved after ")));
}

/// Events that open an alert, and those that close it. None: the alert ends if the event does not
/// recur.
const PAIRS: &[(OccurrenceKind, Option<OccurrenceKind>)] = &[
    (OccurrenceKind::Crash, None),
    (OccurrenceKind::Errored, Some(OccurrenceKind::Online)),
    (OccurrenceKind::OutOfMemory, None),
    (OccurrenceKind::Unhealthy, Some(OccurrenceKind::Healthy)),
    (OccurrenceKind::Unhealthy, Some(OccurrenceKind::Finished)),
    (OccurrenceKind::CheckBroken, Some(OccurrenceKind::Healthy)),
    (OccurrenceKind::CheckBroken, Some(OccurrenceKind::Unhealthy)),
    (OccurrenceKind::Limit, None),
    (OccurrenceKind::ReloadRefused, Some(OccurrenceKind::ReloadEnded)),
    (OccurrenceKind::JobFailed, Some(OccurrenceKind::JobDone)),
    (OccurrenceKind::JobMissed, Some(OccurrenceKind::JobDone)),
    (OccurrenceKind::HostRebooted, None),
    (OccurrenceKind::DaemonReplaced, None),
    (OccurrenceKind::UpdateFailed, None),
    (OccurrenceKind::SetAside, None),
];

fn firing(engine: &Engine) -> usize {
    engine.state.alerts.values().filter(|alert| alert.fires()).count()
}

#[test]
fn every_opening_event_has_a_closing_event() {
    for kind in OccurrenceKind::ALARMS {
        assert!(PAIRS.iter().any(|(opens, _)| opens == kind), "{kind:?} has no end");
    }
    for (opens, closes) in PAIRS {
        let is_report = opens.resolution() == crate::input::Resolution::Unannounced;
        let mut engine = Engine::new(config(vec![custom_rule(&json!({ "on": opens.word(), "name": "rule" }))]));
        engine.step(happened(*opens, "api", 0));
        engine.step(happened(*opens, "api", 1));
        engine.pass(1000);
        assert_eq!(engine.take_sent(), ["api rule firing"], "{opens:?}");
        match closes {
            Some(closes) => (0..2).for_each(|id| engine.step(happened(*closes, "api", id))),
            None => engine.pass(310_000),
        }
        assert_eq!(firing(&engine), 0, "{opens:?} {closes:?}");
        engine.pass(60_000);
        let expected: &[&str] = if is_report { &[] } else { &["api rule resolved"] };
        assert_eq!(engine.take_sent(), expected, "{opens:?} {closes:?}");
    }
}

fn listed(apps: &[(&str, u32, InstanceState)], at_ms: u64) -> Input {
    let mut all: BTreeMap<String, BTreeMap<u32, InstanceState>> = BTreeMap::new();
    for (app, id, standing) in apps {
        all.entry((*app).to_owned()).or_default().insert(*id, *standing);
    }
    Input::Listed { apps: all, at_ms }
}

/// Each event of a rule has its own end. A later crash does not hide that the app is unhealthy.
#[test]
fn multi_event_rule_resolves_when_every_event_has_resolved() {
    let rules = || vec![custom_rule(&json!({ "on": ["crash", "unhealthy", "errored"], "name": "rule" }))];
    for last in [OccurrenceKind::Crash, OccurrenceKind::Errored, OccurrenceKind::Unhealthy] {
        let mut engine = Engine::new(config(rules()));
        for kind in [OccurrenceKind::Crash, OccurrenceKind::Errored, OccurrenceKind::Unhealthy, last] {
            engine.step(happened(kind, "api", 0));
        }
        engine.pass(600_000);
        assert_eq!(engine.take_sent(), ["api rule firing"], "{last:?} came last");
        engine.step(happened(OccurrenceKind::Online, "api", 0));
        engine.pass(600_000);
        assert_eq!(firing(&engine), 1, "{last:?} came last: it is still unhealthy");
        engine.step(happened(OccurrenceKind::Healthy, "api", 0));
        engine.pass(60_000);
        assert_eq!(engine.take_sent(), ["api rule resolved"], "{last:?} came last");
    }
    // An alert that holds only crashes ends after five minutes without a crash.
    let mut engine = Engine::new(config(rules()));
    engine.step(happened(OccurrenceKind::Unhealthy, "api", 0));
    engine.step(happened(OccurrenceKind::Crash, "api", 0));
    engine.step(happened(OccurrenceKind::Healthy, "api", 0));
    engine.pass(200_000);
    assert_eq!(firing(&engine), 1);
    engine.pass(200_000);
    assert_eq!(firing(&engine), 0);
}

#[test]
fn instance_state_resolves_alerts_without_closing_event() {
    for (kind, standing, is_over) in [
        (OccurrenceKind::Errored, InstanceState::Online, true),
        (OccurrenceKind::Errored, InstanceState::Other, false),
        (OccurrenceKind::Errored, InstanceState::Stopped, true),
        (OccurrenceKind::Unhealthy, InstanceState::Healthy, true),
        (OccurrenceKind::Unhealthy, InstanceState::Online, false),
        (OccurrenceKind::CheckBroken, InstanceState::Healthy, true),
        (OccurrenceKind::ReloadRefused, InstanceState::Stopped, true),
        (OccurrenceKind::ReloadRefused, InstanceState::Healthy, false),
        (OccurrenceKind::JobFailed, InstanceState::Online, false),
        (OccurrenceKind::Crash, InstanceState::Stopped, false),
    ] {
        let mut engine = Engine::new(config(vec![custom_rule(&json!({ "on": kind.word() }))]));
        let instance = (kind != OccurrenceKind::ReloadRefused).then_some(3);
        engine.step(Input::Occurred(Occurrence { kind, app: "api".into(), instance, text: "did it".into() }));
        engine.pass(1000);
        engine.step(listed(&[("api", 3, standing)], engine.now - 1001));
        assert_eq!(firing(&engine), 1, "{kind:?}: the list is older than the event");
        engine.step(listed(&[("api", 3, standing)], engine.now));
        assert_eq!(firing(&engine), usize::from(!is_over), "{kind:?} {standing:?}");
    }
    let mut engine = Engine::new(config(vec![custom_rule(&json!({ "on": "errored" }))]));
    (3..5).for_each(|id| engine.step(happened(OccurrenceKind::Errored, "api", id)));
    engine.pass(1000);
    engine.step(listed(&[("api", 3, InstanceState::Online), ("api", 4, InstanceState::Other)], engine.now));
    assert_eq!(firing(&engine), 1, "one instance is still given up");
    engine.step(listed(&[("api", 3, InstanceState::Online)], engine.now));
    assert_eq!(firing(&engine), 0, "that instance is gone");
}

#[test]
fn stop_delete_or_rename_resolves_alerts_of_the_app() {
    let pending = json!({ "metric": "cpu", "above": 90, "for": "1m" });
    let rules = [json!({ "metric": "cpu", "above": 90, "name": "now" }), json!({ "log": "boom" }), json!({ "exception": "new" }), pending];
    for way in ["stop", "delete", "rename"] {
        let mut all: Vec<Rule> = rules.iter().map(custom_rule).collect();
        all.extend(PAIRS.iter().map(|(kind, _)| custom_rule(&json!({ "on": kind.word() }))).filter(|rule| rule.severity.is_none()));
        let mut engine = Engine::new(config(all));
        for (kind, _) in PAIRS.iter().filter(|(kind, _)| kind.resolution() != crate::input::Resolution::Unannounced) {
            engine.step(happened(*kind, "api", 0));
        }
        engine.step(Input::Wrote { app: "api".into(), instance: Some(0), line: "boom".into() });
        engine.step(Input::Exception { app: "api".into(), instance: Some(0), title: "E".into(), returned: false });
        let sample = MetricSample { app: "api".into(), metric: "cpu".into(), values: vec![(Some(0), 99.0)], limit: None };
        engine.step(Input::Measured(sample));
        engine.step(happened(OccurrenceKind::Errored, "other", 5));
        engine.pass(1000);
        match way {
            "stop" => engine.step(happened(OccurrenceKind::Stopped, "api", 0)),
            "delete" => engine.step(happened(OccurrenceKind::Deleted, "api", 0)),
            _ => {
                let apps = [("other", 5, InstanceState::Other), ("new", 0, InstanceState::Online)];
                engine.step(listed(&apps, engine.now));
            }
        }
        assert_eq!(firing(&engine), 1, "{way}: only the other app's alert");
        engine.pass(90_000);
        assert_eq!(firing(&engine), 1, "{way}: nothing that was pending fires later");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any window and `for`, with any lateness of the samples.
    #[test]
    fn mean_rule_fires_within_window_plus_for(window_ms in 0_u64..=3_600_000, for_ms in 0_u64..600_000, jitter in any::<u16>()) {
        let rule = custom_rule(&json!({ "metric": "cpu", "above": 90, "window": window_ms, "for": for_ms }));
        let whole_ms = window_ms + for_ms;
        let mut engine = Engine::new(config(vec![rule]));
        fires(&mut engine, "cpu", 10.0, whole_ms.min(120_000), 0);
        prop_assert!(fires(&mut engine, "cpu", 1000.0, whole_ms + whole_ms / 20 + 4 * SAMPLE_MS, jitter.into()));
    }
}
