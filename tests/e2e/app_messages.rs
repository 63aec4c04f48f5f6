//! Messages that apps send about themselves, as lists and PM2's bus show them. Names such as
//! `__proto__` are ordinary names, and an action without an answer times out.

use ostler_testkit::needs_program;
use serde_json::{Value, json};

use crate::pm2_sockets::SocketConnection;
use crate::setup::home;

/// An app that claims another name, and uses `__proto__` for everything that it names.
const HOSTILE: &str = "
const send = (type, data) => process.send(JSON.parse(JSON.stringify({ type, data })));
send('axm:option:configuration', { name: 'other', pm_id: 7, status: 'stopped', custom: 'mine' });
process.send(JSON.parse('{\"type\":\"axm:monitor\",\"data\":{\"__proto__\":{\"value\":\"41\",\"type\":\"x\"},\"constructor\":{\"value\":1}}}'));
process.send(JSON.parse('{\"type\":\"axm:action\",\"data\":{\"action_name\":\"__proto__\",\"arity\":1}}'));
send('axm:action', { action_name: 'silent' });
process.on('message', (message) => {
  const action = message.msg || message;
  if (action === '__proto__') send('axm:reply', { action_name: '__proto__', return: 'answered' });
  if (message.topic === 'speak') process.send(JSON.parse('{\"type\":\"__proto__\",\"data\":{\"__proto__\":{\"polluted\":true},\"process\":{\"name\":\"forged\"}}}'));
  if (message.topic === 'long') { send('long', 'x'.repeat(70000)); send('long', 'x'.repeat(70000)); send('short', 'after'); }
});
setInterval(() => {}, 1000);
";

#[test]
fn special_names_are_kept_and_app_is_not_renamed() {
    needs_program!("node");
    let home = home();
    let script = home.write("hostile.js", HOSTILE);
    home.ok(format!("start {script} --name app"));
    let actions = |app: &ostler_testkit::ListedApp| app.env("axm_actions").as_array().is_some_and(|all| all.len() == 2);
    let app = home.wait_app("app", "it has said everything", actions);
    assert_eq!((app.id(), app.status()), (0, "online"));
    assert_eq!((&app.env("axm_options")["name"], &app.env("axm_options")["custom"]), (&json!("other"), &json!("mine")));
    assert_eq!(home.jlist().len(), 1);
    let own = |value: &Value, key: &str| value.as_object().and_then(|map| map.get(key)).cloned();
    assert_eq!(own(app.env("axm_monitor"), "__proto__"), Some(json!({"value": "41", "type": "x"})));
    assert_eq!(app.env("axm_monitor")["constructor"]["value"], 1);
    assert_eq!(app.env("axm_actions")[0]["action_name"], "__proto__");
    assert!(home.ok("describe app").stdout.contains("__proto__"));
    assert!(home.ok("trigger app __proto__").stdout.contains("answered"));

    let mut events = SocketConnection::connect(&home, "pub.sock");
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    let say = |rpc: &mut SocketConnection, topic: &str| {
        let answer = rpc.call("sendDataToProcessId", json!([{"id": 0, "type": "process:msg", "topic": topic, "data": {"x": 1}}]));
        assert_eq!(answer["args"][0]["success"], true, "{answer}");
    };
    say(&mut rpc, "speak");
    let (topic, payload) = loop {
        let (topic, payload) = events.event();
        if topic == "__proto__" {
            break (topic, payload);
        }
    };
    assert_eq!(own(&payload["data"], "__proto__"), Some(json!({"polluted": true})), "{topic}");
    assert_eq!(payload["process"], json!({"pm_id": 0, "name": "app", "namespace": "default"}), "who sent it, not who it says it is");

    // The daemon ignores messages that are too long, logs that once, and still reads the messages
    // after them.
    for _ in 0..2 {
        say(&mut rpc, "long");
        let (topic, payload) = loop {
            let (topic, payload) = events.event();
            if topic == "long" || topic == "short" {
                break (topic, payload);
            }
        };
        assert_eq!((topic.as_str(), &payload["data"]), ("short", &json!("after")));
    }
    let log = home.daemon_log();
    assert_eq!(log.matches("App [app:0] sent a message longer than 64 KiB: such messages are ignored").count(), 1, "{log}");
}

#[test]
fn unanswered_action_times_out() {
    needs_program!("node");
    let home = home();
    let script = home.write("hostile.js", HOSTILE);
    home.ok(format!("start {script} --name app"));
    home.wait_app("app", "it offers its actions", |app| app.env("axm_actions").as_array().is_some_and(|all| all.len() == 2));
    let (daemon, pid) = (home.daemon_pid(), home.app("app").pid());
    let output = home.run("trigger app silent --timeout 300ms").code(1);
    assert!(output.stderr.contains("[app](0) has not answered within 0.3 s"), "{output}");
    let output = home.run("trigger app silent --timeout 300ms --json").code(1);
    let answers: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("not one document: {error}: {output}"));
    assert_eq!(answers, json!([{"pm_id": 0, "name": "app", "error": "has not answered within 0.3 s"}]));
    // The unanswered action leaves nothing behind.
    assert!(home.ok("trigger app __proto__").stdout.contains("answered"));
    assert_eq!((home.daemon_pid(), home.app("app").pid()), (daemon, pid));
}
