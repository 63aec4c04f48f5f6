//! Bodies, each within what its service takes, and with nothing in names and lines that it would obey.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::message::{Item, Message, Status};
use crate::rule::Severity;
use crate::text::cut;

/// Time until Alertmanager gives up an alert of which it hears nothing more: longer than until it is told again.
const ALERTMANAGER_MS: u64 = 5 * 3_600_000;

/// Title and lines, of at most so many bytes; what is too much is counted.
fn text(message: &Message, most: usize, safe: impl Fn(&str) -> String) -> String {
    let mut out = cut(&safe(&message.title()), most / 4);
    let lines = message.lines();
    for (at, line) in lines.iter().enumerate() {
        let line = safe(line);
        let rest = format!("\n… {} more", lines.len() - at);
        if out.len() + 1 + line.len() + rest.len() > most {
            // One long line is better cut than left out.
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

/// Everything, for programs.
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

fn alert(item: &Item) -> Value {
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

/// The template, in which each `{{word}}` becomes its text as it stands within a JSON string.
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

/// 4,000 characters are shown whole. `&`, `<` and `>` begin links and mentions; nothing else does where `parse` is none.
pub(super) fn slack(message: &Message) -> Value {
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": text(message, 3900, safe), "parse": "none", "link_names": false, "unfurl_links": false, "unfurl_media": false })
}

/// 4,096 characters in an embed, and nobody may be mentioned.
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

/// 4,096 characters; without a mode nothing is markup, and a mention needs the sign before a name.
pub(super) fn telegram(message: &Message, chat: &str) -> Value {
    let safe = |text: &str| text.replace('@', "@\u{2060}").replace("://", ":\u{2060}//");
    json!({ "chat_id": chat, "text": text(message, 4000, safe), "link_preview_options": { "is_disabled": true } })
}

/// 4,096 bytes; more would become an attachment.
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

/// An alert for each item: Alertmanager groups by itself.
pub(super) fn alertmanager(message: &Message) -> Value {
    let alert = |item: &Item| {
        let ends = if item.status == Status::Resolved { item.over_ms.unwrap_or(message.at_ms) } else { message.at_ms + ALERTMANAGER_MS };
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
            "endsAt": time(ends),
        })
    };
    message.items.iter().map(alert).collect()
}

/// Plain text, 20,000 bytes with everything around it, and nobody is mentioned.
pub(super) fn dingtalk(message: &Message) -> Value {
    let safe = |text: &str| text.replace('@', "@\u{2060}");
    json!({ "msgtype": "text", "text": { "content": text(message, 12_000, safe) }, "at": { "atMobiles": [], "atUserIds": [], "isAtAll": false } })
}

/// 20 KB; in a text `<at …>` mentions, also everybody.
pub(super) fn feishu(message: &Message) -> Value {
    let safe = |text: &str| text.replace('<', "＜").replace('>', "＞");
    json!({ "msg_type": "text", "content": { "text": text(message, 12_000, safe) } })
}

/// 4,096 bytes of its Markdown, in which `<@user>` mentions and `<font>` colours.
pub(super) fn wecom(message: &Message) -> Value {
    let safe = |text: &str| text.replace('<', "＜").replace('>', "＞").replace('[', "［").replace('`', "'");
    json!({ "msgtype": "markdown", "markdown": { "content": text(message, 4000, safe) } })
}
