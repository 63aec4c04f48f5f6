//! Channels: destinations of messages, as users configure them in `alerts.json`.

mod url;

use jiff::tz::TimeZone;
use serde_json::Value;

pub use url::Url;

use ostler_core::message;

use crate::config;
use crate::fields::{Fields, Problem};
use crate::rule::Severity;

/// A channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Settings of the channel that the engine needs.
    pub policy: config::Channel,
    /// The service.
    pub service: Service,
}

/// Service with its settings. Addresses and keys are secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Service {
    /// Any receiver of JSON.
    Webhook {
        /// Its address.
        url: Url,
        /// Key for the signature.
        secret: Option<String>,
        /// Template of the body, with placeholders such as `{{title}}`; none = the whole message as
        /// JSON.
        template: Option<String>,
    },
    /// Slack and services that accept its messages (Mattermost, Rocket.Chat).
    Slack {
        /// The incoming webhook.
        url: Url,
    },
    /// Discord.
    Discord {
        /// The webhook.
        url: Url,
    },
    /// A Telegram bot.
    Telegram {
        /// The address of its API.
        api: Url,
        /// Its token.
        token: String,
        /// The chat.
        chat: String,
    },
    /// ntfy.
    Ntfy {
        /// The server.
        server: Url,
        /// The topic.
        topic: String,
        /// A token; none = the topic is open.
        token: Option<String>,
    },
    /// Prometheus Alertmanager, API version 2.
    Alertmanager {
        /// Its address.
        url: Url,
    },
    /// A `DingTalk` robot.
    DingTalk {
        /// The webhook.
        url: Url,
        /// Key for the signature.
        secret: Option<String>,
    },
    /// A Feishu or Lark bot.
    Feishu {
        /// The webhook.
        url: Url,
        /// Key for the signature.
        secret: Option<String>,
    },
    /// A `WeCom` robot.
    WeCom {
        /// The webhook.
        url: Url,
    },
    /// A program that receives the message as JSON on its standard input.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// E-mail.
    Email(Mail),
}

/// Settings for sending mail.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Encryption of the connection.
    pub tls: MailTls,
    /// User and password; none = the server requires no login.
    pub login: Option<(String, String)>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// Encryption of the connection to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// `STARTTLS` is required; without it, nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// No encryption; for a server on this machine.
    None,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Names of the services in settings.
pub const SERVICES: &[&str] =
    &["webhook", "slack", "discord", "telegram", "ntfy", "alertmanager", "dingtalk", "feishu", "wecom", "command", "email"];

/// Keys that every channel may have.
const SHARED: &[&str] = &["name", "type", "severity", "resolved", "quiet"];

impl Service {
    /// Returns the name of the service in settings.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
            Self::Telegram { .. } => "telegram",
            Self::Ntfy { .. } => "ntfy",
            Self::Alertmanager { .. } => "alertmanager",
            Self::DingTalk { .. } => "dingtalk",
            Self::Feishu { .. } => "feishu",
            Self::WeCom { .. } => "wecom",
            Self::Command { .. } => "command",
            Self::Email(_) => "email",
        }
    }

    /// Maximum number of requests per minute that the service allows. If a `DingTalk` robot exceeds
    /// it, the service blocks the robot for ten minutes.
    pub fn per_minute(&self) -> usize {
        match self {
            Self::DingTalk { .. } | Self::WeCom { .. } | Self::Telegram { .. } => 20,
            Self::Feishu { .. } => 100,
            Self::Discord { .. } => 30,
            Self::Ntfy { .. } => 12,
            _ => 60,
        }
    }

    /// Returns the part of the address that is not secret.
    pub fn place(&self) -> String {
        match self {
            Self::Webhook { url, .. }
            | Self::Slack { url }
            | Self::Discord { url }
            | Self::Alertmanager { url }
            | Self::DingTalk { url, .. }
            | Self::Feishu { url, .. }
            | Self::WeCom { url } => url.origin(),
            Self::Telegram { api, .. } => api.origin(),
            Self::Ntfy { server, .. } => server.origin(),
            Self::Command { argv } => crate::text::plain(argv.first().map_or("", String::as_str), 100),
            Self::Email(mail) => format!("{}:{}", mail.host, mail.port),
        }
    }
}

/// Reads a channel. `zone` returns the time zone for a name; an empty name is the machine's zone.
///
/// # Errors
/// Returns every problem that was found.
pub fn channel(value: &Value, zone: impl Fn(&str) -> Option<TimeZone>) -> Result<Channel, Vec<Problem>> {
    let word = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let own: &[&str] = match word {
        "webhook" => &["url", "secret", "template"],
        "slack" | "discord" | "alertmanager" | "wecom" => &["url"],
        "telegram" => &["token", "chat", "api"],
        "ntfy" => &["topic", "server", "token"],
        "dingtalk" | "feishu" => &["url", "secret"],
        "command" => &["argv"],
        "email" => &["host", "port", "tls", "user", "password", "from", "to"],
        _ => {
            let hint = crate::fields::did_you_mean(word, SERVICES);
            let found = if word.is_empty() { message!("nothing") } else { format!("{:?}", crate::text::plain(word, 60)) };
            let text = message!("expected one of {words}, found {found}{hint}", words = SERVICES.join(", "), found, hint);
            return Err(vec![Problem { key: Some("type".into()), text }]);
        }
    };
    let known: Vec<&str> = SHARED.iter().chain(own).copied().collect();
    let mut fields = Fields::of(value, &known)?;
    let service = service(&mut fields, word);
    let name = fields.text("name").unwrap_or_else(|| word.to_owned());
    if name.len() > 60 || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        fields.fault("name", message!("expected at most 60 characters and no spaces"));
    }
    let severity = fields.word("severity", Severity::WORDS).unwrap_or(Severity::Info);
    let resolved = fields.flag("resolved").unwrap_or(true);
    let quiet = quiet(&mut fields, zone);
    let made = service.map(|service| Channel { policy: config::Channel { name, severity, resolved, quiet }, service });
    fields.end(made)
}

fn service(fields: &mut Fields<'_>, word: &str) -> Option<Service> {
    Some(match word {
        "webhook" => {
            Service::Webhook { url: address(fields, "url", None)?, secret: fields.text("secret"), template: fields.text("template") }
        }
        "slack" => Service::Slack { url: address(fields, "url", None)? },
        "discord" => Service::Discord { url: address(fields, "url", None)? },
        "alertmanager" => Service::Alertmanager { url: address(fields, "url", None)? },
        "wecom" => Service::WeCom { url: address(fields, "url", None)? },
        "dingtalk" => Service::DingTalk { url: address(fields, "url", None)?, secret: fields.text("secret") },
        "feishu" => Service::Feishu { url: address(fields, "url", None)?, secret: fields.text("secret") },
        "telegram" => Service::Telegram {
            api: address(fields, "api", Some("https://api.telegram.org"))?,
            token: required_text(fields, "token")?,
            chat: required_text(fields, "chat")?,
        },
        "ntfy" => Service::Ntfy {
            server: address(fields, "server", Some("https://ntfy.sh"))?,
            topic: required_text(fields, "topic")?,
            token: fields.text("token"),
        },
        "command" => {
            let argv = fields.texts("argv");
            if argv.first().is_none_or(String::is_empty) {
                fields.fault("argv", message!("expected the program and its arguments"));
            }
            Service::Command { argv }
        }
        _ => Service::Email(mail(fields)?),
    })
}

fn required_text(fields: &mut Fields<'_>, key: &str) -> Option<String> {
    let value = fields.text(key);
    if value.is_none() && !fields.has(key) {
        fields.fault(key, message!("is required"));
    }
    value
}

fn address(fields: &mut Fields<'_>, key: &str, usual: Option<&str>) -> Option<Url> {
    let text = match fields.text(key) {
        Some(text) => text,
        None if fields.has(key) => return None,
        None => match usual {
            Some(usual) => usual.to_owned(),
            None => {
                fields.fault(key, message!("is required"));
                return None;
            }
        },
    };
    let url = Url::parse(&text);
    if url.is_none() {
        // Without the text, because it may be a secret.
        fields.fault(key, message!("expected an address that starts with http:// or https://"));
    }
    url
}

fn mail(fields: &mut Fields<'_>) -> Option<Mail> {
    let words = [("starttls", MailTls::StartTls), ("tls", MailTls::Implicit), ("none", MailTls::None)];
    let tls = fields.word("tls", &words).unwrap_or(MailTls::StartTls);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of a port")]
    let port = fields.number("port", 1.0, 65_535.0).map(|port| port as u16);
    let port = port.unwrap_or(match tls {
        MailTls::StartTls => 587,
        MailTls::Implicit => 465,
        MailTls::None => 25,
    });
    let (host, from, to) = (required_text(fields, "host"), required_text(fields, "from"), fields.texts("to"));
    let addresses = from.iter().chain(&to).filter(|text| !is_mail_address(text)).count();
    if to.is_empty() || addresses > 0 {
        fields.fault("to", message!("expected addresses such as ops@example.com, also in `from`"));
    }
    let login = match (fields.text("user"), fields.text("password")) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => {
            fields.fault("password", message!("is required together with `user`"));
            None
        }
    };
    if login.is_some() && tls == MailTls::None {
        fields.fault("tls", message!("a password is not sent without TLS"));
    }
    Some(Mail { host: host?, port, tls, login, from: from?, to })
}

/// Returns true for a single address without characters that could end the line or the brackets
/// around it.
fn is_mail_address(text: &str) -> bool {
    let is_safe = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[],;:\\\"".contains(c);
    text.len() <= 254 && text.chars().all(is_safe) && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}

fn quiet(fields: &mut Fields<'_>, zone: impl Fn(&str) -> Option<TimeZone>) -> Option<config::QuietHours> {
    let value = fields.get("quiet")?;
    let mut inner = match Fields::of(value, &["from", "to", "zone"]) {
        Ok(inner) => inner,
        Err(problems) => {
            problems.into_iter().for_each(|problem| fields.fault("quiet", problem.text));
            return None;
        }
    };
    let mut time = |key: &str| {
        let read = inner.text(key).as_deref().and_then(minutes);
        if read.is_none() {
            inner.fault(key, message!("expected a time such as 22:00"));
        }
        read
    };
    let (from, to) = (time("from"), time("to"));
    let name = inner.text("zone").unwrap_or_default();
    let zone = zone(&name);
    if zone.is_none() {
        inner.fault("zone", message!("expected a time zone such as Europe/Berlin"));
    }
    for problem in inner.problems {
        let key = problem.key.map_or_else(|| "quiet".to_owned(), |key| format!("quiet.{key}"));
        fields.fault(&key, problem.text);
    }
    Some(config::QuietHours { from: from?, to: to?, zone: zone? })
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn parse_channel(value: &Value) -> Channel {
        channel(value, |_| Some(TimeZone::UTC)).unwrap_or_else(|problems| panic!("{value}: {problems:?}"))
    }

    #[test]
    fn every_service_parses_from_its_settings() {
        for value in [
            json!({ "type": "webhook", "url": "https://h/x", "secret": "s", "template": "{}" }),
            json!({ "type": "slack", "url": "https://h/x", "name": "ops", "severity": "critical", "resolved": false }),
            json!({ "type": "telegram", "token": "1:a", "chat": "-5" }),
            json!({ "type": "ntfy", "topic": "t" }),
            json!({ "type": "command", "argv": ["/bin/x", "y"], "quiet": { "from": "22:00", "to": "07:30", "zone": "Europe/Berlin" } }),
            json!({ "type": "email", "host": "h", "from": "a@b", "to": ["c@d"], "user": "u", "password": "p" }),
        ] {
            assert_eq!(parse_channel(&value).service.word(), value["type"].as_str().unwrap());
        }
        let text = format!("{:?}", parse_channel(&json!({ "type": "slack", "url": "https://h/SECRET" })));
        assert!(!text.contains("SECRET"), "{text}");
    }

    #[test]
    fn invalid_channel_settings_report_key_and_reason() {
        for (value, key, text) in [
            (json!({ "type": "slak" }), "type", "did you mean slack?"),
            (json!({ "type": "slack" }), "url", "is required"),
            (json!({ "type": "slack", "url": "h" }), "url", "http"),
            (json!({ "type": "slack", "url": "https://h", "secrt": 1 }), "secrt", "unknown key"),
            (json!({ "type": "slack", "url": "https://h", "name": "a b" }), "name", "no spaces"),
            (json!({ "type": "ntfy", "topic": "t", "quiet": { "from": "25:00", "to": "1:00" } }), "quiet.from", "22:00"),
            (json!({ "type": "command", "argv": [] }), "argv", "program"),
            (json!({ "type": "email", "host": "h", "from": "a@b\r\nX: y", "to": "c@d" }), "to", "addresses"),
            (
                json!({ "type": "email", "host": "h", "tls": "none", "from": "a@b", "to": "c@d", "user": "u", "password": "p" }),
                "tls",
                "without TLS",
            ),
        ] {
            let problems = channel(&value, |_| Some(TimeZone::UTC)).unwrap_err();
            let found = problems.iter().any(|problem| problem.key.as_deref() == Some(key) && problem.text.contains(text));
            assert!(found, "{value}: {problems:?}");
        }
    }
}
