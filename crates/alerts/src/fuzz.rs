//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::certificate::days_left;
use crate::channel::{Mail, MailTls, Service, Url, channel};
use crate::journal::{JournalDamage, OutboxContents, encode};
use crate::message::{AlertItem, Message, Status};
use crate::render::{DeliveryResult, HttpReply, Outgoing, Post, delivery_result, render};
use crate::rule::{Severity, rule};
use crate::text::{cut, plain};

/// Time of the checks: 25 November 2026.
const NOW_MS: u64 = 1_795_600_000_000;

fn values(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

/// Checks rules and channels (JSON, one or a list): an accepted channel can send a message.
pub fn alert_rules(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let message = message("api", "is down");
    for value in values(&value) {
        for app in [None, Some("api")] {
            match rule(value, app) {
                Ok(rule) => {
                    assert!(rule.covers("api") || !rule.apps.is_empty());
                    assert!(!rule.name.is_empty() && !rule.name.chars().any(char::is_control), "{:?}", rule.name);
                }
                Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|problem| problem.text.len() < 10_000)),
            }
        }
        let zone = |name: &str| (name.is_empty() || name == "UTC").then_some(TimeZone::UTC);
        match channel(value, zone) {
            Ok(channel) => {
                let own_template = matches!(&channel.service, Service::Webhook { template: Some(_), .. });
                is_safe(render(&channel.service, &message, NOW_MS), own_template);
                assert!(!format!("{channel:?}").contains("hunter2"), "a secret is printed");
                assert!(channel.policy.quiet.is_none_or(|quiet| quiet.from < 1440 && quiet.to < 1440));
            }
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
}

/// Checks a template of a webhook (first line) with any texts (the rest) in the message, and the
/// message in the form of each service.
pub fn alert_templates(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (template, texts) = text.split_once('\n').unwrap_or((&text, ""));
    let (app, line) = texts.split_once('\n').unwrap_or((texts, ""));
    for most in [0, 1, 2, 3, 10, 100] {
        assert!(plain(texts, most).len() <= most && cut(texts, most).len() <= most);
        assert!(!plain(texts, most).chars().any(char::is_control));
    }
    let message = message(app, line);
    let Some(url) = Url::parse("https://example.com/hook?x=1") else { return };
    let secret = Some("hunter2".to_owned());
    let mail =
        Mail { host: "mx".into(), port: 25, tls: MailTls::None, login: None, from: "a@b.example".into(), to: vec!["c@d.example".into()] };
    let webhook = Service::Webhook { url: url.clone(), secret: secret.clone(), template: Some(template.to_owned()) };
    // A template whose placeholders are within quotes stays JSON whatever the texts are.
    let is_json = serde_json::from_str::<Value>(template).is_ok() && !template.contains("\\");
    is_safe(render(&webhook, &message, NOW_MS), !is_json);
    for service in [
        Service::Webhook { url: url.clone(), secret: secret.clone(), template: None },
        Service::Slack { url: url.clone() },
        Service::Discord { url: url.clone() },
        Service::Telegram { api: url.clone(), token: "hunter2".into(), chat: "1".into() },
        Service::Ntfy { server: url.clone(), topic: "t".into(), token: secret.clone() },
        Service::Alertmanager { url: url.clone() },
        Service::DingTalk { url: url.clone(), secret: secret.clone() },
        Service::Feishu { url: url.clone(), secret },
        Service::WeCom { url },
        Service::Command { argv: vec!["notify".into()] },
        Service::Email(mail),
    ] {
        is_safe(render(&service, &message, NOW_MS), false);
    }
}

/// Returns a message about an app; its texts are as the engine makes them.
fn message(app: &str, text: &str) -> Message {
    let item = AlertItem {
        rule: format!("{}/exit", plain(app, crate::text::NAME)),
        app: plain(app, crate::text::NAME),
        status: Status::Firing,
        severity: Severity::Critical,
        text: plain(text, crate::text::TEXT),
        since_ms: NOW_MS - 1000,
        over_ms: None,
        instances: vec![0],
        instance_count: 1,
        count: 3,
        flaps: false,
    };
    let items = vec![item.clone(), AlertItem { status: Status::Resolved, over_ms: Some(NOW_MS), ..item }];
    Message { id: "1-2".into(), channel: "ops".into(), at_ms: NOW_MS, host: "box".into(), items, more: 1 }
}

/// Checks that no text of a message ends a line of a head or a text of JSON.
fn is_safe(outgoing: Outgoing, is_free: bool) {
    match outgoing {
        Outgoing::Post(Post { headers, body, .. }) => {
            assert!(is_free || serde_json::from_str::<Value>(&body).is_ok(), "{body}");
            assert!(is_free || body.len() < 20_000, "{} bytes", body.len());
            let own = headers.iter().filter(|(name, _)| *name != "authorization");
            own.for_each(|(name, value)| assert!(!value.contains(['\r', '\n']), "{name}: {value:?}"));
        }
        Outgoing::Run { stdin, .. } => {
            assert!(serde_json::from_str::<Value>(&stdin).is_ok() && stdin.matches('\n').count() == 1);
        }
        Outgoing::Mail { text, .. } => {
            let Some((head, body)) = text.split_once("\r\n\r\n") else { panic!("a mail without a body: {text:?}") };
            let names: Vec<&str> = head.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(':').next()).collect();
            assert_eq!(names.len(), 9, "{names:?}");
            assert!(body.is_ascii() && head.is_ascii() && text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        }
    }
}

/// Checks the outbox on disk: its intact beginning counts, and its contents can be written and read
/// again. Lines without a checksum are checked with theirs.
pub fn alert_outbox(bytes: &[u8]) {
    let (contents, damage) = OutboxContents::read(bytes);
    let good = match damage {
        None => bytes.len(),
        Some(JournalDamage::Torn { good }) => good,
        Some(JournalDamage::Unknown) => 0,
    };
    let (again, damage) = OutboxContents::read(&bytes[..good]);
    assert_eq!((again, damage), (contents.clone(), None), "the intact beginning");
    can_be_written(&contents);
    let mut contents = OutboxContents::default();
    for record in bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
        let line = encode(&record);
        assert!(line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
        contents.apply(record);
    }
    can_be_written(&contents);
}

fn can_be_written(contents: &OutboxContents) {
    let (again, damage) = OutboxContents::read(&contents.write());
    assert_eq!(damage, None);
    // Numbers with a fraction may lose their last digit on the way.
    assert_eq!(
        (again.waiting.len(), again.sent.len(), again.changes.len()),
        (contents.waiting.len(), contents.sent.len(), contents.changes.len())
    );
}

/// Checks an answer of a service: status and `Retry-After` on the first line, then the body.
pub fn alert_replies(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, body) = text.split_once('\n').unwrap_or((&text, ""));
    let (status, after) = first.split_once(' ').unwrap_or((first, ""));
    let Ok(status) = status.parse::<u16>() else { return };
    let retry_after = (!after.is_empty()).then(|| after.to_owned());
    let reply = HttpReply { status, retry_after, body: body.to_owned() };
    let Some(url) = Url::parse("https://example.com/hook") else { return };
    for service in [
        Service::Webhook { url: url.clone(), secret: None, template: None },
        Service::Slack { url: url.clone() },
        Service::Telegram { api: url.clone(), token: "t".into(), chat: "1".into() },
        Service::DingTalk { url: url.clone(), secret: None },
        Service::Feishu { url: url.clone(), secret: None },
        Service::WeCom { url },
    ] {
        match delivery_result(&service, &reply, NOW_MS) {
            DeliveryResult::Delivered => assert!((200..300).contains(&status)),
            DeliveryResult::Later { after_ms, why } => {
                assert!(after_ms.is_none_or(|ms| ms <= 3_600_000) && why.len() < 500, "{after_ms:?} {why}");
            }
            DeliveryResult::Refused(why) => assert!(!why.is_empty() && why.len() < 500, "{why}"),
        }
    }
}

/// Checks a certificate (DER), and an address.
pub fn certificate(bytes: &[u8]) {
    if let Some(days) = days_left(bytes, NOW_MS) {
        assert!((-800_000..4_000_000).contains(&days), "{days}");
    }
    if let Some(url) = std::str::from_utf8(bytes).ok().and_then(Url::parse) {
        let again = Url::parse(&format!("{}{}", url.origin(), url.path));
        let Some(again) = again else { panic!("{:?} {:?}", url.origin(), url.path) };
        assert_eq!((again.origin(), &again.path), (url.origin(), &url.path));
        assert!(!url.origin().contains('@'), "a login is printed");
    }
}
