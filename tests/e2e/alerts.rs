//! `alerts`, from the event to the request on the wire, over real sockets. The tests kill
//! processes, and the receivers misbehave in several ways.

use std::collections::BTreeSet;

use ostler_testkit::{Behaviour, Home, Receiver, fixture, free_port, needs_program};
use serde_json::{Value, json};

use crate::setup::home;

/// Starts the dashboard's process, which evaluates rules and sends alerts.
pub fn on(home: &Home) {
    home.ok(format!("web enable --port {}", free_port()));
}

pub fn webhook(home: &Home, name: &str, receiver: &Receiver, more: &str) {
    home.ok(format!("alerts channel add webhook name={name} url={} {more}", receiver.url("/hook")));
    ready(home);
}

/// Waits until the engine has a position in the event stream: it evaluates events from here on.
pub fn ready(home: &Home) {
    home.wait_until("the engine has begun", || home.dir().join("web/alerts/outbox.log").exists());
}

/// Starts an app that crashes once.
pub fn crash(home: &Home, name: &str) {
    home.run(format!("start {} --name {name} --no-autorestart -- exit 3", fixture()));
}

/// Returns `app rule status` of each alert that a webhook received, by message.
pub fn received_alerts(receiver: &Receiver) -> Vec<(String, Vec<String>)> {
    let of = |value: &Value| {
        let words = |alert: &Value| {
            format!("{} {} {}", alert["app"].as_str().unwrap(), alert["rule"].as_str().unwrap(), alert["status"].as_str().unwrap())
        };
        let id = value["id"].as_str().unwrap().to_owned();
        (id, value["alerts"].as_array().unwrap().iter().map(words).collect())
    };
    receiver.received_requests().iter().map(|received| of(&received.json())).collect()
}

pub fn has(receiver: &Receiver, words: &str) -> bool {
    received_alerts(receiver).iter().any(|(_, alerts)| alerts.iter().any(|alert| alert == words))
}

#[test]
fn crash_alert_is_signed_and_silence_suppresses_it() {
    let home = home();
    let receiver = Receiver::new(Behaviour::Webhook("key".into()));
    home.ok("alerts").says("no channel is configured");
    on(&home);
    webhook(&home, "ops", &receiver, "secret=key");
    home.ok("alerts test").says("ops: sent");
    home.ok("alerts silence quiet --for 1h --reason move").says("Silence");
    crash(&home, "quiet");
    crash(&home, "loud");
    home.wait_until("the crash is reported", || has(&receiver, "loud crash firing"));
    let all = home.ok("alerts list --json").json();
    let alerts: Vec<(&str, bool)> = all["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| (alert["app"].as_str().unwrap(), alert["silenced"].as_bool().unwrap()))
        .collect();
    assert!(alerts.contains(&("loud", false)) && alerts.contains(&("quiet", true)), "{alerts:?}");
    assert!(!received_alerts(&receiver).iter().any(|(_, alerts)| alerts.iter().any(|alert| alert.starts_with("quiet"))));
    // Alerts that the silence held back are sent when it ends. A new channel without earlier
    // messages gets them immediately.
    home.ok("alerts unsilence all").says("1 silence ended");
    let other = Receiver::new(Behaviour::Accepts);
    webhook(&home, "other", &other, "");
    home.wait_until("the rest is reported", || has(&other, "quiet crash firing"));
    home.ok("alerts history").says("ops sent");
    home.ok("alerts").says("loud crash: exited with code 3");
    // No output shows secrets.
    let shown = home.ok("alerts list --json").stdout + &home.ok("alerts channel list").stdout;
    assert!(!shown.contains("/hook") && !shown.contains("\"key\""), "{shown}");
    home.ok("alerts channel remove ops");
    home.ok("alerts channel remove other");
    home.ok("alerts").says("no channel is configured");
}

/// An exception alerts once per group, and again if it recurs after it was resolved.
#[test]
fn exception_alerts_when_new_and_on_regression() {
    needs_program!("node");
    let home = home();
    let receiver = Receiver::new(Behaviour::Accepts);
    on(&home);
    webhook(&home, "ops", &receiver, "");
    let script = home.write("api.js", "process.stdin.on('data', () => console.error(new RangeError(`no row ${Math.random()}`)));\n");
    home.ok(format!("start {script} --name api"));
    home.ok("send api a");
    home.wait_until("it is reported", || has(&receiver, "api exception firing"));
    let text = receiver.received_requests().iter().map(|received| received.json().to_string()).collect::<String>();
    assert!(text.contains("a new exception: RangeError: no row"), "{text}");
    let mut id = String::new();
    home.wait_until("the group is kept", || {
        let groups: Value = serde_json::from_str(&home.run("errors api --json").stdout).unwrap_or_default();
        id = groups[0]["id"].as_str().unwrap_or_default().to_owned();
        home.dir().join("web/errors.json").exists() && !id.is_empty()
    });
    home.ok(format!("errors --resolve {id}"));
    home.ok("send api b");
    home.wait_until("it is back", || home.ok("alerts list --json").stdout.contains("an exception recurred: RangeError"));
}

#[test]
fn wrong_usage_suggests_the_correct_word() {
    let home = home();
    for (words, code, text) in [
        ("alerts lst", 2, "expected list, test"),
        ("alerts channel add slak url=https://h/x", 2, "did you mean slack?"),
        ("alerts channel add slack", 2, "url: is required"),
        ("alerts channel add slack url=https://h/x secrit=1", 2, "secrit: unknown key"),
        ("alerts channel add slack https://h/x", 2, "expected key=value"),
        ("alerts silence api --for soon", 2, "30m or 2h"),
        ("alerts unsilence", 2, "id of a silence"),
        ("alerts unsilence abc", 4, "no silence"),
        ("alerts test", 4, "no channel"),
        ("alerts channel remove x", 4, "no channel"),
    ] {
        let output = home.run(words);
        assert!(output.code == code && (output.stderr.clone() + &output.stdout).contains(text), "{words}: {output}");
    }
}

#[test]
fn failing_receiver_does_not_block_other_channels() {
    let home = home();
    let (hangs, fails, good, elsewhere) = (
        Receiver::new(Behaviour::Hangs),
        Receiver::new(Behaviour::Answers(503, "Retry-After: 1\r\n".into(), "not now".into())),
        Receiver::new(Behaviour::Accepts),
        Receiver::new(Behaviour::Accepts),
    );
    let leads = Receiver::new(Behaviour::Answers(307, format!("Location: {}\r\n", elsewhere.url("/x")), String::new()));
    on(&home);
    for (name, receiver) in [("a-hangs", &hangs), ("b-fails", &fails), ("c-leads", &leads), ("d-good", &good)] {
        webhook(&home, name, receiver, "");
    }
    crash(&home, "api");
    home.wait_until("the good one has it", || has(&good, "api crash firing"));
    home.wait_until("the others were asked, too", || {
        !hangs.received().is_empty() && fails.received().len() >= 2 && !leads.received().is_empty()
    });
    let ids: BTreeSet<String> = fails.received().iter().map(|received| received.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1, "a repeat has the same id");
    fails.set_behaviour(Behaviour::Accepts);
    home.wait_until("it comes when the receiver is well again", || has(&fails, "api crash firing"));
    let times = received_alerts(&fails).into_iter().flat_map(|(_, alerts)| alerts).filter(|alert| alert == "api crash firing").count();
    assert_eq!(times, 1, "once");
    home.ok("alerts history").says("not sent (redirects are not followed (307)");
    assert!(elsewhere.received().is_empty(), "a redirect was followed");
}

#[test]
fn services_receive_valid_signatures_and_bodies() {
    let home = home();
    let (ding, feishu, wecom, mail) = (
        Receiver::new(Behaviour::DingTalk("SECkey".into(), 20)),
        Receiver::new(Behaviour::Feishu("key".into())),
        Receiver::new(Behaviour::WeCom),
        Receiver::new(Behaviour::Mail),
    );
    home.ok(format!("alerts channel add dingtalk url={} secret=SECkey", ding.url("/robot/send?access_token=t")));
    home.ok(format!("alerts channel add feishu url={} secret=key", feishu.url("/hook")));
    home.ok(format!("alerts channel add wecom url={}", wecom.url("/send?key=k")));
    home.ok(format!(
        "alerts channel add email host=127.0.0.1 port={} tls=none from=ostler@example.com to=a@example.com,b@example.com",
        mail.port()
    ));
    let file = home.work().join("told.json");
    home.ok(format!("alerts channel add command -- /bin/sh -c cat>{}", file.display()));
    home.ok("alerts test");
    assert!([&ding, &feishu, &wecom, &mail].iter().all(|receiver| receiver.received_requests().len() == 1));
    let letter = &mail.received()[0];
    assert!(letter.head.contains("RCPT TO:<b@example.com>") && letter.body.contains("Subject: [INFO]"), "{letter:?}");
    let told: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(told["alerts"][0]["rule"], "test");
    // DingTalk reports a wrong key in the body of a 200 response.
    home.ok(format!("alerts channel add dingtalk url={} secret=other", ding.url("/robot/send?access_token=t")));
    let output = home.run("alerts test dingtalk");
    assert!(output.code == 1 && (output.stdout.clone() + &output.stderr).contains("sign not match"), "{output}");
}

#[test]
fn app_rules_are_validated_and_evaluated() {
    let home = home();
    let receiver = Receiver::new(Behaviour::Accepts);
    on(&home);
    webhook(&home, "ops", &receiver, "");
    let app = |script: &str, rules: Value| {
        json!({ "apps": [{ "name": "own", "script": fixture(), "interpreter": "none", "args": script, "autorestart": false, "alerts": rules }] }).to_string()
    };
    home.write(
        "own.json",
        app("hold", json!([{ "metric": "memory", "above": 1, "severity": "critical", "name": "big" }, { "on": "crash", "name": "mine" }])),
    );
    home.ok("start own.json");
    home.wait_until("its own rule fires", || has(&receiver, "own own/big firing"));
    let wrong = app("hold", json!([{ "on": "crahs" }]));
    home.write("wrong.json", &wrong);
    let output = home.run("validate wrong.json");
    assert!(output.code != 0 && (output.stdout.clone() + &output.stderr).contains("did you mean crash?"), "{output}");
}

/// An app reports health by a file. The alert resolves when the app's next process is healthy. An
/// alert of a broken check resolves when the check answers.
#[test]
fn health_alert_resolves_when_next_process_is_healthy() {
    let home = home();
    let receiver = Receiver::new(Behaviour::Accepts);
    on(&home);
    webhook(&home, "ops", &receiver, "");
    let answer = home.write("answer", "0");
    let answers = |code: u8| {
        let next = home.write("next", code.to_string());
        std::fs::rename(next, &answer).unwrap();
    };
    let health = json!({ "liveness": { "command": ["sh", "-c", format!("exit $(cat '{answer}')")], "interval": 50, "failures": 1 } });
    let app = json!({ "name": "api", "script": fixture(), "args": "hold", "health": health });
    home.write("api.json", json!({ "apps": [app] }).to_string());
    home.ok("start api.json");
    answers(1);
    // Messages wait for more alerts of their kind; the history does not.
    let changes = |rule: &str| {
        let all = home.ok("alerts history --json").json();
        let of_rule = |change: &&Value| change["rule"] == rule && change["app"] == "api";
        all["history"].as_array().unwrap().iter().filter(of_rule).map(|change| change["status"].to_string()).collect::<BTreeSet<_>>()
    };
    home.wait_until("the message arrives", || has(&receiver, "api unhealthy firing"));
    answers(0);
    home.wait_until("the next process is healthy", || changes("unhealthy").len() == 2);
    answers(127);
    home.wait_until("the check is broken", || changes("check_broken").len() == 1);
    answers(0);
    home.wait_until("the check answers again", || changes("check_broken").len() == 2);
}

/// TLS with the system's root certificates: with `SSL_CERT_FILE` the client trusts the test's
/// server, without it the client does not.
#[test]
fn untrusted_certificate_is_rejected() {
    needs_program!("node");
    let home = home();
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tls");
    let port = free_port();
    let script = home.write(
        "server.js",
        "const fs = require('fs'); require('https').createServer({ key: fs.readFileSync(process.argv[3] + '/server-key.pem'), cert: fs.readFileSync(process.argv[3] + '/server.pem') }, (q, r) => r.end('ok')).listen(process.argv[2], '127.0.0.1');",
    );
    home.ok(format!("start {script} --name server -- {port} {tls}"));
    home.wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    home.ok(format!("alerts channel add webhook name=good url=https://localhost:{port}/"));
    home.ok(format!("alerts channel add webhook name=other url=https://127.0.0.1:{port}/"));
    let output = home.cmd("alerts test --json").env("SSL_CERT_FILE", format!("{tls}/ca.pem")).run();
    assert!(output.stdout.matches("\"sent\":true").count() == 2, "{output}");
    let output = home.run("alerts test good");
    assert!(output.code == 1 && (output.stdout.clone() + &output.stderr).contains("TLS handshake with localhost failed"), "{output}");
}
