//! Messages: one notification of a channel, about one or more alerts.

use serde::{Deserialize, Serialize};

use ostler_core::message;
use ostler_core::text::language::translated;

use crate::rule::Severity;

/// Notification of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id; retries use the same id.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// Creation time, in ms since 1970.
    pub at_ms: u64,
    /// Name of the machine.
    pub host: String,
    /// Alerts in the message, firing ones first.
    pub items: Vec<AlertItem>,
    /// Number of further alerts that are not in `items`.
    #[serde(default)]
    pub more: usize,
}

/// Status of an alert in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The alert began to fire.
    Firing,
    /// The alert still fires.
    Repeated,
    /// The alert is resolved.
    Resolved,
}

/// One alert in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertItem {
    /// The rule.
    pub rule: String,
    /// The app; empty = the daemon or the machine.
    pub app: String,
    /// Its status in this message.
    pub status: Status,
    /// Its severity.
    pub severity: Severity,
    /// Description that follows the app's name.
    pub text: String,
    /// Start of the alert, in ms since 1970.
    pub since_ms: u64,
    /// Time at which it was resolved, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_ms: Option<u64>,
    /// The first affected instances.
    pub instances: Vec<u32>,
    /// Number of affected instances.
    pub instance_count: usize,
    /// Number of occurrences.
    pub count: u64,
    /// True if the alert flaps, that is, fires and resolves repeatedly.
    pub flaps: bool,
}

impl Message {
    /// Returns a message that tests a channel.
    pub fn test(channel: &str, host: &str, id: String, at_ms: u64) -> Self {
        let item = AlertItem {
            rule: "test".into(),
            app: String::new(),
            status: Status::Firing,
            severity: Severity::Info,
            text: message!("this is a test of the channel; nothing happened"),
            since_ms: at_ms,
            over_ms: None,
            instances: Vec::new(),
            instance_count: 0,
            count: 1,
            flaps: false,
        };
        Self { id, channel: channel.into(), at_ms, host: host.into(), items: vec![item], more: 0 }
    }

    /// Returns the highest severity of the firing alerts; none = all alerts in it are resolved.
    pub fn severity(&self) -> Option<Severity> {
        self.items.iter().filter(|item| item.status != Status::Resolved).map(|item| item.severity).max()
    }

    /// Returns a one-line summary.
    pub fn title(&self) -> String {
        let firing = self.items.iter().filter(|item| item.status != Status::Resolved).count() + self.more;
        let head = match self.severity() {
            Some(severity) => translated(severity.word()).to_uppercase(),
            None => message!("RESOLVED"),
        };
        let what = match &self.items[..] {
            [one] if self.more == 0 => format!("{} {}", one.name(), one.rule),
            all if firing == 0 => message!("{count} alerts", count = all.len()),
            _ if firing == 1 => message!("1 alert"),
            _ => message!("{count} alerts", count = firing),
        };
        crate::text::plain(&message!("[{state}] {alert} on {host}", state = head, alert = what, host = self.host), 200)
    }

    /// Returns one line per alert, and one with the number of further alerts.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.items.iter().map(AlertItem::line).collect();
        if self.more > 0 {
            lines.push(message!("and {count} more", count = self.more));
        }
        lines
    }
}

impl AlertItem {
    /// Returns the app's name, or the daemon's.
    pub fn name(&self) -> &str {
        if self.app.is_empty() { "ostler" } else { &self.app }
    }

    /// Returns the alert as one line.
    pub fn line(&self) -> String {
        let name = self.name();
        let name = match (&self.instances[..], self.instance_count) {
            ([], _) => name.to_owned(),
            (some, all) if some.len() < all => message!("{app} ({count} instances)", app = name, count = all),
            (some, _) => format!("{name} ({})", some.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
        };
        let mut alert = format!("{name} {}", self.text);
        if self.count > 1 {
            alert = message!("{alert}, {count} times", alert, count = self.count);
        }
        if self.flaps {
            alert = message!("{alert} (flapping)", alert);
        }
        let severity = translated(self.severity.word());
        match self.status {
            Status::Firing => message!("{severity}: {alert}", severity, alert),
            Status::Repeated => message!("still {severity}: {alert}", severity, alert),
            Status::Resolved => message!("over: {alert}", alert),
        }
    }
}

/// Formats a value with the unit of its metric.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
pub(crate) fn figure(metric: &str, value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    match metric {
        "memory" if value >= 1_048_576.0 => format!("{:.0}M", value / 1_048_576.0),
        "cpu" | "host.cpu" | "host.memory" | "host.disk" | "host.load" | "error_rate" => format!("{value:.1} %"),
        "log_age" => {
            let seconds = value.max(0.0) as u64;
            if seconds < 120 { message!("{seconds} s", seconds) } else { message!("{minutes} min", minutes = seconds / 60) }
        }
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
