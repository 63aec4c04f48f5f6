//! Message bodies within the size limit of each service. Names and lines are escaped so that the
//! service does not interpret them.

use jiff::Timestamp;
use serde_json::{Value, json};

use ostler_core::message;

use crate::message::{AlertItem, Message, Status};
use crate::rule::Severity;
use crate::text::cut;

/// Time until Alertmanager resolves an alert that is not sent again. It is longer than the default
/// repeat interval.
const ALERTMANAGER_MS: u64 = 5 * 3_600_000;

/// Returns title and lines within `most` bytes; omitted alerts are counted.
fn text(message: &Message, most: usize, safe: impl Fn(&str) -> String) -> String {
    let mut out = cut(&safe(&message.title()), most / 4);
    let lines = message.lines();
    for (at, line) in lines.iter().enumerate() {
        let line = safe(line);
        let rest = message!("\n… {count} more", count = lines.len() - at);
        if out.len() + 1 + line.len() + rest.len() > most {
            // A single long line is cut rather than omitted.
            let room = most.saturating_sub(out.len() + 1 + rest.len());
            if at == 0 && room > 100 {
                out.push('\n');
                out.push_str(&cut(&line, room));
            } else {
                out.push_str(&rest);
            }
            break;
        }
        out.push('\n');
        out.push_str(&line);
    }
    out
}

/// RFC 3339.
fn time(ms: u64) -> String {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn status(message: &Message) -> &'static str {
    if message.severity().is_some() { "firing" } else { "resolved" }
}

/// Returns the whole message as JSON, for programs.
pub(super) fn whole(message: &Message) -> Value {
    let alerts: Vec<Value> = message.items.iter().map(alert).collect();
    json!({
        "id": message.id,
        "at": time(message.at_ms),
        "host": message.host,
        "channel": message.channel,
        "status": status(message),
        "severity": message.severity().map(Severity::word),
        "title": message.title(),
        "text": message.lines().join("\n"),
        "alerts": alerts,
        "more": message.more,
    })
}

fn alert(item: &AlertItem) -> Value {
    json!({
        "rule": item.rule,
        "app": item.app,
        "status": item.status,
        "severity": item.severity,
        "text": item.text,
        "since": time(item.since_ms),
        "resolved": item.over_ms.map(time),
        "instances": item.instances,
        "instance_count": item.instance_count,
        "count": item.count,
        "flapping": item.flaps,
    })
}

/// Fills the template: each `{{word}}` becomes its text, escaped for a JSON string.
pub(super) fn filled(template: &str, message: &Message) -> String {
    let value = |word: &str| match word {
        "id" => Some(message.id.clone()),
        "title" => Some(message.title()),
        "text" => Some(message.lines().join("\n")),
        "status" => Some(status(message).to_owned()),
        "severity" => Some(message.severity().map_or("resolved", Severity::word).to_owned()),
        "host" => Some(message.host.clone()),
        "app" => Some(message.items.first().map_or_else(String::new, |item| item.app.clone())),
        "rule" => Some(message.items.first().map_or_else(String::new, |item| item.rule.clone())),
        _ => None,
    };
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        match after.split_once("}}").and_then(|(word, after)| Some((value(word.trim())?, after))) {
            Some((value, after)) => {
                let quoted = Value::String(value).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
                rest = after;
            }
            None => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out + rest
}

/// Slack shows 4,000 characters completely. `&`, `<` and `>` begin links and mentions; with `parse`
/// set to none, no other character does.
pub(super) fn slack(message: &Message) -> Value {
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": text(message, 3900, safe), "parse": "none", "link_names": false, "unfurl_links": false, "unfurl_media": false })
}

/// Discord: 4,096 characters in an embed. Mentions are disabled.
pub(super) fn discord(message: &Message) -> Value {
    let safe = |text: &str| {
        text.chars()
            .fold(String::new(), |out, c| if r"\*_~`|>[]()#-".contains(c) { out + "\\" + &c.to_string() } else { out + &c.to_string() })
    };
    let color = match message.severity() {
        Some(Severity::Critical) => 0x00d9_2d20,
        Some(Severity::Warning) => 0x00f7_9009,
        Some(Severity::Info) => 0x0024_88d6,
        None => 0x0017_b26a,
    };
    let description = text(message, 3900, safe);
    json!({
        "username": "ostler",
        "allowed_mentions": { "parse": [] },
        "embeds": [{ "description": description, "color": color, "timestamp": time(message.at_ms) }],
    })
}

/// Telegram: 4,096 characters. Without a parse mode nothing is markup, and only `@` starts a
/// mention.
pub(super) fn telegram(message: &Message, chat: &str) -> Value {
    let safe = |text: &str| text.replace('@', "@\u{2060}").replace("://", ":\u{2060}//");
    json!({ "chat_id": chat, "text": text(message, 4000, safe), "link_preview_options": { "is_disabled": true } })
}

/// ntfy: 4,096 bytes; a longer text would become an attachment.
pub(super) fn ntfy(message: &Message, topic: &str) -> Value {
    let (priority, tag) = match message.severity() {
        Some(Severity::Critical) => (5, "rotating_light"),
        Some(Severity::Warning) => (4, "warning"),
        Some(Severity::Info) => (3, "information_source"),
        None => (2, "white_check_mark"),
    };
    let lines = text(message, 3900, str::to_owned);
    let lines = lines.split_once('\n').map_or("", |(_, lines)| lines);
    json!({ "topic": topic, "title": message.title(), "message": lines, "priority": priority, "tags": [tag] })
}

/// Alertmanager: one alert for each item, because it groups by itself.
pub(super) fn alertmanager(message: &Message) -> Value {
    let alert = |item: &AlertItem| {
        let resolution =
            if item.status == Status::Resolved { item.over_ms.unwrap_or(message.at_ms) } else { message.at_ms + ALERTMANAGER_MS };
        json!({
            "labels": {
                "alertname": item.rule,
                "app": item.name(),
                "severity": item.severity.word(),
                "host": message.host,
                "job": "ostler",
            },
            "annotations": { "summary": item.line(), "description": item.text, "message_id": message.id },
            "startsAt": time(item.since_ms),
            "endsAt": time(resolution),
        })
    };
    message.items.iter().map(alert).collect()
}

/// `DingTalk`: plain text, 20,000 bytes including the envelope. Mentions are disabled.
pub(super) fn dingtalk(message: &Message) -> Value {
    let safe = |text: &str| text.replace('@', "@\u{2060}");
    json!({ "msgtype": "text", "text": { "content": text(message, 12_000, safe) }, "at": { "atMobiles": [], "atUserIds": [], "isAtAll": false } })
}

/// Feishu: 20 KB. In a text, `<at …>` mentions users, or all of them.
pub(super) fn feishu(message: &Message) -> Value {
    let safe = |text: &str| text.replace('<', "＜").replace('>', "＞");
    json!({ "msg_type": "text", "content": { "text": text(message, 12_000, safe) } })
}

/// `WeCom`: 4,096 bytes of its Markdown, in which `<@user>` mentions a user and `<font>` sets a
/// colour.
pub(super) fn wecom(message: &Message) -> Value {
    let safe = |text: &str| text.replace('<', "＜").replace('>', "＞").replace('[', "［").replace('`', "'");
    json!({ "msgtype": "markdown", "markdown": { "content": text(message, 4000, safe) } })
}
