//! A message: what a channel is told at once.

use serde::{Deserialize, Serialize};

use crate::rule::Severity;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id: the same whenever it is sent again.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// When it was made, in ms since 1970.
    pub at_ms: u64,
    /// The machine.
    pub host: String,
    /// What it is about, what fires first.
    pub items: Vec<Item>,
    /// How many more there are.
    #[serde(default)]
    pub more: usize,
}

/// What is told about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It fires.
    Firing,
    /// It still fires.
    Repeated,
    /// It is over.
    Resolved,
}

/// One alert in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The rule.
    pub rule: String,
    /// The app; empty = the manager or the machine.
    pub app: String,
    /// What is told.
    pub status: Status,
    /// How grave it is.
    pub severity: Severity,
    /// What happened, in words that follow a name.
    pub text: String,
    /// Since when, in ms since 1970.
    pub since_ms: u64,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_ms: Option<u64>,
    /// The first of its instances.
    pub instances: Vec<u32>,
    /// Number of its instances.
    pub instance_count: usize,
    /// How often it happened.
    pub count: u64,
    /// Whether it comes and goes.
    pub flaps: bool,
}

impl Message {
    /// A message that tries a channel.
    pub fn test(channel: &str, host: &str, id: String, at_ms: u64) -> Self {
        let item = Item {
            rule: "test".into(),
            app: String::new(),
            status: Status::Firing,
            severity: Severity::Info,
            text: "this is a test of the channel; nothing happened".into(),
            since_ms: at_ms,
            over_ms: None,
            instances: Vec::new(),
            instance_count: 0,
            count: 1,
            flaps: false,
        };
        Self { id, channel: channel.into(), at_ms, host: host.into(), items: vec![item], more: 0 }
    }

    /// The gravest of what fires; none = everything in it is over.
    pub fn severity(&self) -> Option<Severity> {
        self.items.iter().filter(|item| item.status != Status::Resolved).map(|item| item.severity).max()
    }

    /// One line that says what it is about.
    pub fn title(&self) -> String {
        let firing = self.items.iter().filter(|item| item.status != Status::Resolved).count() + self.more;
        let head = match self.severity() {
            Some(severity) => severity.word().to_uppercase(),
            None => "RESOLVED".to_owned(),
        };
        let what = match &self.items[..] {
            [one] if self.more == 0 => format!("{} {}", one.name(), one.rule),
            all if firing == 0 => format!("{} alerts", all.len()),
            _ => format!("{firing} alert{}", if firing == 1 { "" } else { "s" }),
        };
        crate::text::plain(&format!("[{head}] {what} on {}", self.host), 200)
    }

    /// One line for each alert, and one for those that are counted.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.items.iter().map(Item::line).collect();
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines
    }
}

impl Item {
    /// The app's name, or that of the manager.
    pub fn name(&self) -> &str {
        if self.app.is_empty() { "ostler" } else { &self.app }
    }

    /// The alert in one line.
    pub fn line(&self) -> String {
        let mut line = match self.status {
            Status::Firing => format!("{}: ", self.severity.word()),
            Status::Repeated => format!("still {}: ", self.severity.word()),
            Status::Resolved => "over: ".to_owned(),
        };
        line.push_str(self.name());
        match (&self.instances[..], self.instance_count) {
            ([], _) => {}
            (some, all) if some.len() < all => line.push_str(&format!(" ({all} instances)")),
            (some, _) => line.push_str(&format!(" ({})", some.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))),
        }
        line.push(' ');
        line.push_str(&self.text);
        if self.count > 1 {
            line.push_str(&format!(", {} times", self.count));
        }
        if self.flaps {
            line.push_str(" (flapping)");
        }
        line
    }
}

/// A figure with its unit, by the name of what it measures.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
pub(crate) fn figure(metric: &str, value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    match metric {
        "memory" if value >= 1_048_576.0 => format!("{:.0}M", value / 1_048_576.0),
        "cpu" | "host.cpu" | "host.memory" | "host.disk" | "host.load" | "error_rate" => format!("{value:.1} %"),
        "log_age" => {
            let seconds = value.max(0.0) as u64;
            if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
        }
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
