//! Alert channels on the dashboard: admins add, change, test and remove them. Saved secrets are
//! never shown, and never sent to another address.

use ostler_testkit::{Behaviour, Receiver};
use serde_json::json;

use crate::setup::home;
use crate::web::Web;
use crate::web_page::browser;

#[test]
fn admins_change_channels_without_seeing_secrets() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let operator = web.with("web token hand --role operator");
    let of_shop = web.with("web token boss --role admin --namespace shop");
    let receiver = Receiver::new(Behaviour::Accepts);
    let channel = json!({ "type": "webhook", "url": receiver.url("/SECRET"), "secret": "KEY123" });
    assert_eq!(web.post("/api/alerts/channels", &channel).status, 200);
    assert_eq!([&operator, &of_shop].map(|who| who.get("/api/alerts/channels").status), [403, 403]);
    let shown = web.get("/api/alerts/channels");
    assert!(!shown.body.contains("SECRET") && !shown.body.contains("KEY123"), "{shown:?}");
    assert_eq!(shown.json()["channels"][0]["secrets"], json!(["url", "secret"]));
    let path = "/api/alerts/channels/webhook";
    let change = json!({ "severity": "critical" });
    assert_eq!([&operator, &of_shop, &web].map(|who| who.post(path, &change).status), [403, 403, 200]);
    let moved = web.post(path, &json!({ "url": "http://127.0.0.1:1/" }));
    assert!(moved.status == 400 && moved.body.contains("secret: enter it again"), "{moved:?}");
    for (body, status) in [
        (json!({ "url": "file:///etc/passwd" }), 400),
        (json!({ "url": "http://h/\r\nX: y", "secret": "s" }), 400),
        (json!({ "argv": ["/bin/sh"] }), 403),
        (json!({ "type": "command" }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(web.post(path, &body).status, status, "{body}");
    }
    assert_eq!(web.post("/api/alerts/channels/none", &change).status, 404);
    let saved = std::fs::read_to_string(home.dir().join("web/alerts.json")).unwrap();
    assert!(saved.contains("KEY123") && saved.contains("/SECRET") && saved.contains("critical"), "{saved}");
    let audit = web.get("/api/access").body;
    assert!(audit.contains("change alert channel webhook") && !audit.contains("KEY123"), "{audit}");
    // A program that was added on the machine keeps its arguments.
    home.ok("alerts channel add command -- /bin/true --key KEY123");
    assert!(!web.get("/api/alerts/channels").body.contains("KEY123"));
    assert_eq!(web.post("/api/alerts/channels/command", &json!({ "severity": "critical" })).status, 200);
    assert_eq!(web.post("/api/alerts/test", &json!({ "channel": "command" })).json()["results"][0]["sent"], true);
}

#[test]
fn page_sets_up_channels() {
    let Some(browser) = browser() else { return };
    let home = home();
    let _web = Web::on(&home, "--no-otlp");
    let receiver = Receiver::new(Behaviour::Accepts);
    let links = [home.ok("web open").stdout, home.ok("web open --role operator").stdout];
    browser.run(&home, "channels.mjs", &[links[0].trim(), links[1].trim(), &receiver.url("/SECRET")]);
    assert!(receiver.received_requests().iter().any(|request| format!("{request:?}").contains("/SECRET")), "the test message arrived");
    let saved = std::fs::read_to_string(home.dir().join("web/alerts.json")).unwrap();
    assert!(saved.contains("\"channels\": []"), "{saved}");
}
