//! Alerts to unmodified services: Debian's Alertmanager, and an SMTP server (aiosmtpd) without TLS,
//! with STARTTLS and with TLS.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ostler_testkit::{
    Behaviour, Home, KilledOnDrop, Receiver, fixture, fixture_path, free_port, get, needs_program, python_program, skip, text_of,
};
use serde_json::{Value, json};

use crate::alerts::{crash, on, ready};
use crate::setup::{home, json_lines};

/// Waits for a condition that may hold only after the next message of a minute.
#[track_caller]
fn wait_a_minute(home: &Home, what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(100);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}\n{}", home.run("alerts history"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Alertmanager accepts the alerts, groups them as one alert, and notifies its own receiver when
/// the alert fires and when it resolves.
#[test]
fn alertmanager_accepts_and_resolves_alerts() {
    needs_program!("prometheus-alertmanager");
    let home = home();
    let receiver = Receiver::new(Behaviour::Accepts);
    home.write(
        "alertmanager.yml",
        format!(
            "route: {{receiver: test, group_by: [alertname, app], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
            receiver.url("/from-alertmanager")
        ),
    );
    let port = free_port();
    let manager = Command::new("prometheus-alertmanager")
        .args(["--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address=", "--log.level=error"])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(home.work())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _manager = KilledOnDrop(manager);
    home.wait_until("Alertmanager is ready", || get(port, "/-/ready").is_ok_and(|text| text.contains("OK")));
    on(&home);
    home.ok(format!("alerts channel add alertmanager url=http://127.0.0.1:{port}"));
    ready(&home);
    home.ok("alerts test").says("sent");
    let known = |app: &str, rule: &str| -> Option<Value> {
        let all: Value = serde_json::from_str(&get(port, "/api/v2/alerts").ok()?).ok()?;
        all.as_array()?.iter().find(|alert| alert["labels"]["app"] == app && alert["labels"]["alertname"] == rule).cloned()
    };
    home.run(format!("start {} --name bad\"name --max-restarts 1 --restart-delay 1 -- exit 3", fixture()));
    wait_a_minute(&home, "Alertmanager knows what was given up", || known("bad\"name", "errored").is_some());
    let alert = known("bad\"name", "errored").unwrap();
    assert_eq!((&alert["labels"]["severity"], &alert["labels"]["job"]), (&json!("critical"), &json!("ostler")), "{alert}");
    assert!(alert["status"]["state"] == "active" && alert["annotations"]["summary"].as_str().unwrap().contains("bad\"name"), "{alert}");
    let told = |status: &str| {
        let is_it = |alert: &Value| alert["labels"]["alertname"] == "errored" && alert["status"] == status;
        receiver.received_requests().iter().any(|received| received.json()["alerts"].as_array().unwrap().iter().any(is_it))
    };
    wait_a_minute(&home, "its receiver has heard of it", || told("firing"));
    home.ok(["delete", "bad\"name"].as_slice());
    wait_a_minute(&home, "its receiver has heard of the end", || told("resolved"));
    home.wait_until("Alertmanager has it no more", || known("bad\"name", "errored").is_none());
}

/// Starts a mail server on this port and returns the file of received messages.
fn mail_server(home: &Home, python: &str, mode: &str) -> (KilledOnDrop, u16, String) {
    let (port, letters) = (free_port(), home.work().join(format!("{mode}.jsonl")).to_string_lossy().into_owned());
    let mut child = Command::new(python)
        .arg(fixture_path("mail/server.py"))
        .args([&port.to_string(), &letters, mode])
        .arg(fixture_path("tls"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    (KilledOnDrop(child), port, letters)
}

fn letters(path: &str) -> Vec<Value> {
    json_lines(&text_of(path))
}

/// Adds a channel, with its settings on standard input.
fn add(home: &Home, channel: &Value) {
    home.cmd("alerts channel add -").stdin(channel.to_string()).run().ok();
}

#[test]
fn mail_is_sent_with_and_without_tls() {
    let Some(python) = python_program("python") else { skip!("there is no Python environment of .ci/run") };
    if !Command::new(&python).args(["-c", "import aiosmtpd"]).status().is_ok_and(|status| status.success()) {
        assert!(!ostler_testkit::on_ci(), "aiosmtpd is not installed, and on CI it has to be");
        skip!("aiosmtpd is not installed");
    }
    let home = home();
    let servers = ["none", "starttls", "tls"].map(|mode| mail_server(&home, &python, mode));
    let channel = |name: &str, (_, port, _): &(KilledOnDrop, u16, String), mode: &str, password: &str, to: &str| {
        let mut channel = json!({ "type": "email", "name": name, "host": "localhost", "port": port, "tls": mode, "from": "ostler@example.com", "to": to.split(',').collect::<Vec<_>>() });
        if mode != "none" {
            channel["user"] = json!("u");
            channel["password"] = json!(password);
        }
        add(&home, &channel);
    };
    let [plain, starttls, tls] = &servers;
    channel("plain", plain, "none", "", "a@example.com,b@example.com");
    channel("starttls", starttls, "starttls", "pass word", "a@example.com");
    channel("tls", tls, "tls", "pass word", "a@example.com");
    let test = |name: &str| home.cmd(format!("alerts test {name}")).env("SSL_CERT_FILE", fixture_path("tls/ca.pem")).run();
    for (name, (_, _, file)) in [("plain", plain), ("starttls", starttls), ("tls", tls)] {
        test(name).ok();
        let all = letters(file);
        let letter = &all[0];
        assert!(all.len() == 1 && letter["defects"] == json!([]), "{all:?}");
        assert_eq!((&letter["sender"], &letter["recipients"][0]), (&json!("ostler@example.com"), &json!("a@example.com")));
        let (tls, user) = if name == "plain" { (json!(false), Value::Null) } else { (json!(true), json!("u")) };
        assert_eq!((&letter["tls"], &letter["user"]), (&tls, &user));
        assert!(
            letter["text"].as_str().unwrap().contains("test")
                && letter["headers"]["message-id"].as_str().unwrap().ends_with("@example.com>")
        );
    }
    assert_eq!(letters(&plain.2)[0]["recipients"][1], "b@example.com");
    // Each error contains the server's response.
    channel("starttls", starttls, "starttls", "other", "a@example.com");
    channel("tls", tls, "tls", "pass word", "a@example.org");
    for (name, why) in [("starttls", "535"), ("tls", "550 no such user here")] {
        let output = test(name);
        assert!(output.code == 1 && (output.stdout.clone() + &output.stderr).contains(why), "{name}: {output}");
    }
    // A server with an untrusted certificate or without STARTTLS never receives the password.
    let output = home.run("alerts test tls");
    assert!(output.code == 1 && (output.stdout.clone() + &output.stderr).contains("TLS handshake with localhost failed"), "{output}");
    channel("plain", plain, "starttls", "pass word", "a@example.com");
    let output = test("plain");
    assert!(output.code == 1 && (output.stdout.clone() + &output.stderr).contains("does not offer STARTTLS"), "{output}");
    assert!(letters(&plain.2).iter().chain(&letters(&starttls.2)).chain(&letters(&tls.2)).count() == 3);
    // A crash of an app whose name cannot appear unencoded in a mail header.
    home.ok("alerts channel remove starttls");
    home.ok("alerts channel remove tls");
    channel("plain", plain, "none", "", "a@example.com");
    on(&home);
    ready(&home);
    crash(&home, "käse");
    let crashed = || letters(&plain.2).into_iter().find(|letter| letter["text"].as_str().unwrap().contains("exited with code 3"));
    home.wait_until("the letter came", || crashed().is_some());
    let letter = crashed().unwrap();
    assert!(
        letter["headers"]["subject"].as_str().unwrap().contains("käse") && letter["text"].as_str().unwrap().contains("käse"),
        "{letter}"
    );
    assert_eq!(letter["defects"], json!([]));
}
