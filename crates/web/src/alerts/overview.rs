//! Overview of the alerts for display. Pure.

use ostler_alerts::engine::{Alert, AlertChange, EngineState, Phase, Silence};
use ostler_alerts::journal::{FinishedMessage, OutboxContents};
use ostler_alerts::rule::Severity;
use ostler_core::message;
use serde::Serialize;

use super::settings::AlertSettings;

/// Overview of the alerts for display.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Wall clock, ms.
    pub at: u64,
    /// Pending and firing alerts, the most severe first.
    pub alerts: Vec<AlertView>,
    /// Channels.
    pub channels: Vec<ChannelView>,
    /// Names of the rules.
    pub rules: Vec<String>,
    /// Active silences.
    pub silences: Vec<Silence>,
    /// Problems in the settings, one line each.
    pub problems: Vec<String>,
    /// Alerts that began or ended, the newest first.
    pub history: Vec<AlertChange>,
    /// Finished messages, the newest first.
    pub sent: Vec<FinishedMessage>,
}

/// Alert in display form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertView {
    /// The rule.
    pub rule: String,
    /// The app; none = the daemon or the machine.
    pub app: Option<String>,
    /// `pending` or `firing`.
    pub status: &'static str,
    /// Its severity.
    pub severity: Severity,
    /// Description that follows the app's name.
    pub text: String,
    /// Start time, ms since 1970.
    pub since: u64,
    /// Number of occurrences.
    pub count: u64,
    /// Affected instances.
    pub instances: Vec<u32>,
    /// True if it flaps.
    pub flapping: bool,
    /// True if it is silenced.
    pub silenced: bool,
    /// Channels that were notified.
    #[serde(rename = "told")]
    pub notified: Vec<String>,
}

/// Channel in display form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// Its service.
    #[serde(rename = "type")]
    pub service: &'static str,
    /// Its destination, without secret parts.
    pub place: String,
    /// Lowest severity that the channel is notified of.
    pub severity: Severity,
    /// Number of waiting messages.
    pub waiting: usize,
    /// Error of its last message, if that was not delivered.
    pub fault: Option<String>,
}

/// Builds the overview from the outbox and the current state.
pub fn overview(contents: &OutboxContents, state: Option<&EngineState>, settings: &AlertSettings, now: u64) -> Overview {
    let alerts = state.map(|state| state.alerts.values().filter_map(|alert| view(alert, settings, now)).collect());
    let mut alerts: Vec<AlertView> = alerts.unwrap_or_default();
    alerts.sort_by_key(|alert| (alert.status != "firing", std::cmp::Reverse(alert.severity), std::cmp::Reverse(alert.since)));
    let channel = |channel: &ostler_alerts::channel::Channel| {
        let name = &channel.policy.name;
        let last = contents.sent.iter().rev().find(|sent| sent.channel == *name);
        ChannelView {
            name: name.clone(),
            service: channel.service.word(),
            place: channel.service.place(),
            severity: channel.policy.severity,
            waiting: contents.waiting.iter().filter(|message| message.channel == *name).count(),
            fault: last.and_then(|sent| sent.fault.clone()),
        }
    };
    let mut problems = settings.problems.clone();
    if contents.dropped > 0 {
        problems.push(message!("{count} messages were dropped because the queue was full", count = contents.dropped));
    }
    Overview {
        at: now,
        alerts,
        channels: settings.channels.iter().map(channel).collect(),
        rules: settings.rules.iter().map(|rule| rule.name.clone()).collect(),
        silences: settings.silences.iter().filter(|silence| silence.until_ms > now).cloned().collect(),
        problems,
        history: contents.changes.iter().rev().cloned().collect(),
        sent: contents.sent.iter().rev().cloned().collect(),
    }
}

fn view(alert: &Alert, settings: &AlertSettings, now: u64) -> Option<AlertView> {
    let (status, since) = match alert.phase {
        Phase::Pending { since_ms } => ("pending", since_ms),
        Phase::Firing { since_ms, .. } => ("firing", since_ms),
        Phase::Resolved { .. } => return None,
    };
    Some(AlertView {
        rule: alert.rule.clone(),
        app: Some(alert.app.clone()).filter(|app| !app.is_empty()),
        status,
        severity: alert.severity,
        text: alert.text.clone(),
        since,
        count: alert.count,
        instances: alert.instances.iter().copied().collect(),
        flapping: alert.flaps(now),
        silenced: settings.silences.iter().any(|silence| silence.covers(&alert.rule, &alert.app, now)),
        notified: alert.notified.keys().cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_alerts::engine::step;
    use ostler_alerts::input::{Input, Occurrence, OccurrenceKind};
    use ostler_alerts::message::Message;
    use ostler_alerts::rule::defaults;
    use serde_json::json;

    impl Overview {
        /// Returns an overview with an entry in every list.
        pub(crate) fn sample() -> Self {
            let channel = super::super::channels::read_channel(&json!({ "type": "slack", "url": "https://h/SECRET" })).unwrap();
            let silence = Silence {
                id: "a".into(),
                rule: Some("crash".into()),
                app: Some("api".into()),
                until_ms: 10_000,
                by: "me".into(),
                reason: "move".into(),
            };
            let settings = AlertSettings { channels: vec![channel], rules: defaults(), silences: vec![silence], problems: vec![] };
            let config = ostler_alerts::engine::Config { rules: defaults(), ..Default::default() };
            let mut state = EngineState::new(1);
            let crash = Occurrence { kind: OccurrenceKind::Crash, app: "api".into(), instance: Some(0), text: "exited with code 1".into() };
            let changes = step(&mut state, &config, Input::Occurred(crash), 1000).changes;
            let message = Message::test("slack", "box", "1-1".into(), 1000);
            let sent =
                FinishedMessage { id: "1-1".into(), channel: "slack".into(), at: 1500, title: message.title(), fault: Some("no".into()) };
            let contents =
                OutboxContents { waiting: [message].into(), changes: changes.into(), sent: [sent].into(), dropped: 3, state: None };
            overview(&contents, Some(&state), &settings, 2000)
        }
    }

    #[test]
    fn overview_omits_secrets() {
        let all = Overview::sample();
        assert!(all.alerts[0].silenced && all.alerts[0].status == "firing" && all.channels[0].waiting == 1);
        assert!(all.problems[0].contains("3 messages were dropped"));
        assert!(!serde_json::to_string(&all).unwrap().contains("SECRET"));
    }
}
