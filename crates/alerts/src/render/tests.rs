use serde_json::{Value, json};

use super::*;
use crate::channel::tests::parse_channel;
use crate::message::{AlertItem, Status};
use crate::rule::Severity;

fn message(name: &str, text: &str, count: usize) -> Message {
    let item = AlertItem {
        rule: "crash".into(),
        app: crate::text::plain(name, crate::text::NAME),
        status: Status::Firing,
        severity: Severity::Critical,
        text: crate::text::plain(text, crate::text::TEXT),
        since_ms: 1_700_000_000_000,
        over_ms: None,
        instances: vec![0, 1],
        instance_count: 2,
        count: 3,
        flaps: false,
    };
    let items = vec![item; count];
    Message { id: "00ab-1".into(), channel: "ops".into(), at_ms: 1_700_000_001_000, host: "box".into(), items, more: 0 }
}

fn services() -> Vec<Value> {
    let mut all = vec![
        json!({ "type": "telegram", "token": "12:ab", "chat": "-5" }),
        json!({ "type": "ntfy", "topic": "t", "token": "tk" }),
        json!({ "type": "command", "argv": ["/bin/x"] }),
        json!({ "type": "email", "host": "h", "from": "a@b.example", "to": ["c@d"] }),
    ];
    for word in ["webhook", "slack", "discord", "alertmanager", "dingtalk", "feishu", "wecom"] {
        all.push(json!({ "type": word, "url": "https://h/x?k=1" }));
    }
    all
}

fn body(value: &Value, message: &Message) -> String {
    match render(&parse_channel(value).service, message, 1_700_000_002_345) {
        Outgoing::Post(post) => post.body,
        Outgoing::Run { stdin, .. } => stdin,
        Outgoing::Mail { text, .. } => text,
    }
}

/// 20 alerts with the longest texts fit each service's limit, and the lines of the mail fit theirs.
#[test]
fn longest_messages_fit_size_limit_of_each_service() {
    let long = message(&"名".repeat(5000), &"行<&@".repeat(5000), 20);
    for (word, most) in [
        ("wecom", 4096),
        ("dingtalk", 20_000),
        ("feishu", 20_000),
        ("slack", 40_000),
        ("discord", 8000),
        ("telegram", 4600),
        ("ntfy", 4800),
    ] {
        let value = services().into_iter().find(|value| value["type"] == word).unwrap();
        let text = body(&value, &long);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() <= most + 200, "{word}: {}", text.len());
        if word == "wecom" {
            assert!(parsed["markdown"]["content"].as_str().unwrap().len() <= 4096);
        }
    }
    let letter = body(&json!({ "type": "email", "host": "h", "from": "a@b", "to": "c@d" }), &long);
    let one = body(&json!({ "type": "email", "host": "h", "from": "a@b", "to": "c@d" }), &message(&"名".repeat(5000), "x", 1));
    assert!(one.contains("Subject: =?utf-8?B?") && one.split("\r\n").all(|line| line.len() <= 100), "{one}");
    assert!(letter.split("\r\n").all(|line| line.len() <= 100 && !line.contains('\n')), "{letter}");
}

/// No service interprets any part of a name or line.
#[test]
fn hostile_names_are_escaped_for_every_service() {
    let hostile = message("<!channel> <@U1> @everyone **x**\x1b[31m", "<at user_id=\"all\"></at> <font color=\"red\"> \r\nBcc: x@y", 1);
    let parsed = |word: &str| -> Value {
        let value = services().into_iter().find(|value| value["type"] == word).unwrap();
        serde_json::from_str(&body(&value, &hostile)).unwrap()
    };
    let slack = parsed("slack");
    assert!(!slack["text"].as_str().unwrap().contains('<') && slack["parse"] == "none");
    assert_eq!(parsed("discord")["allowed_mentions"], json!({ "parse": [] }));
    assert!(parsed("discord")["embeds"][0]["description"].as_str().unwrap().contains("\\*\\*x"));
    assert!(!parsed("telegram")["text"].as_str().unwrap().contains("@everyone") && parsed("telegram").get("parse_mode").is_none());
    assert!(!parsed("feishu")["content"]["text"].as_str().unwrap().contains('<'));
    assert!(!parsed("wecom")["markdown"]["content"].as_str().unwrap().contains('<'));
    assert_eq!(parsed("dingtalk")["at"]["isAtAll"], false);
    for value in services() {
        let text = body(&value, &hostile);
        assert!(!text.contains('\x1b') && !text.contains("\nBcc"), "{value}: {text}");
    }
    let letter = body(&json!({ "type": "email", "host": "h", "from": "a@b", "to": "c@d" }), &hostile);
    assert!(letter.contains("Message-ID: <00ab-1.ostler@b>\r\n"), "{letter}");
}

/// Expected values from other programs.
#[test]
fn webhook_signatures_match_reference_values() {
    let post = |value: Value| match render(&parse_channel(&value).service, &message("api", "x", 1), 1_700_000_002_345) {
        Outgoing::Post(post) => post,
        other => panic!("{other:?}"),
    };
    let webhook = post(json!({ "type": "webhook", "url": "https://h/x", "secret": "key", "template": "{\"t\":\"{{title}}\"}" }));
    assert_eq!(webhook.body, "{\"t\":\"[CRITICAL] api crash on box\"}");
    let header = |name: &str| webhook.headers.iter().find(|(is, _)| *is == name).map(|(_, value)| value.clone());
    assert_eq!(header("x-ostler-id").as_deref(), Some("00ab-1"));
    assert_eq!(header("x-ostler-timestamp").as_deref(), Some("1700000002"));
    assert_eq!(header("x-ostler-signature").unwrap(), sign::webhook("key", 1_700_000_002, &webhook.body));
    assert_eq!(sign::webhook("key", 1, "body"), "sha256=91b5374b153842ad05b2c4eab9349b8321b14703165bd3fb8b034dfb8be98ae5");
    assert_eq!(sign::dingtalk("SECkey", 1_700_000_000_000), "n31EFkeVASf6duQZFjI9B9OAxOUf2Ax4dEvysv6uETc=");
    assert_eq!(sign::feishu("key", 1_700_000_000), "q6Oev4Wrs23QSZVkmQVsgFJ6N6asqz82R5NA5r3kxD0=");
    let dingtalk = post(json!({ "type": "dingtalk", "url": "https://h/robot?access_token=t", "secret": "SECkey" }));
    assert!(dingtalk.url.path.starts_with("/robot?access_token=t&timestamp=1700000002345&sign=") && !dingtalk.url.path.contains('+'));
    let feishu: Value = serde_json::from_str(&post(json!({ "type": "feishu", "url": "https://h/x", "secret": "key" })).body).unwrap();
    assert_eq!(feishu["timestamp"], "1700000002");
    assert_eq!(post(json!({ "type": "alertmanager", "url": "http://u:p@h:9093/am/" })).url.path, "/am/api/v2/alerts");
}

#[test]
fn template_replaces_known_placeholders() {
    let hostile = message("a\"b\\", "x", 1);
    for (template, expected) in [
        ("", ""),
        ("{{app}}", "a\\\"b\\\\"),
        ("{{ severity }}/{{status}}/{{host}}", "critical/firing/box"),
        ("{{nothing}} {{", "{{nothing}} {{"),
    ] {
        assert_eq!(bodies::filled(template, &hostile), expected);
    }
}

#[test]
fn judge_maps_responses_to_verdicts() {
    let judged = |word: &str, status: u16, retry_after: Option<&str>, body: &str| {
        let value = services().into_iter().find(|value| value["type"] == word).unwrap();
        let answer = HttpReply { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() };
        match delivery_result(&parse_channel(&value).service, &answer, 1_700_000_000_000) {
            DeliveryResult::Delivered => "delivered".to_owned(),
            DeliveryResult::Later { after_ms, .. } => format!("later {after_ms:?}"),
            DeliveryResult::Refused(_) => "refused".to_owned(),
        }
    };
    for (word, status, retry, body, expected) in [
        ("webhook", 200, None, "", "delivered"),
        ("webhook", 204, None, "", "delivered"),
        ("webhook", 302, None, "", "refused"),
        ("webhook", 400, None, "", "refused"),
        ("webhook", 500, None, "", "later None"),
        ("webhook", 503, Some("7"), "", "later Some(7000)"),
        ("webhook", 429, None, "", "later Some(60000)"),
        ("webhook", 429, Some("Tue, 14 Nov 2023 22:13:30 GMT"), "", "later Some(10000)"),
        ("webhook", 429, Some("99999999"), "", "later Some(3600000)"),
        ("discord", 429, None, r#"{"retry_after":1.5}"#, "later Some(1500)"),
        ("telegram", 429, None, r#"{"ok":false,"parameters":{"retry_after":3}}"#, "later Some(3000)"),
        ("telegram", 200, None, r#"{"ok":true}"#, "delivered"),
        ("dingtalk", 200, None, r#"{"errcode":0}"#, "delivered"),
        ("dingtalk", 200, None, r#"{"errcode":310000,"errmsg":"sign not match"}"#, "refused"),
        ("dingtalk", 200, None, r#"{"errcode":130101}"#, "later Some(60000)"),
        ("dingtalk", 200, None, "<html>", "refused"),
        ("wecom", 200, None, r#"{"errcode":45009}"#, "later Some(60000)"),
        ("wecom", 200, None, r#"{"errcode":93000}"#, "refused"),
        ("feishu", 200, None, r#"{"StatusCode":0}"#, "delivered"),
        ("feishu", 200, None, r#"{"code":9499,"msg":"too many"}"#, "later Some(60000)"),
        ("feishu", 200, None, r#"{"code":19021,"msg":"sign match fail"}"#, "refused"),
        ("slack", 200, None, "ok", "delivered"),
        ("slack", 200, None, r#"{"ok":false,"error":"ratelimited"}"#, "later Some(60000)"),
        ("slack", 200, None, r#"{"ok":false,"error":"no_text"}"#, "refused"),
    ] {
        assert_eq!(judged(word, status, retry, body), expected, "{word} {status} {body}");
    }
}
