//! Hosts of the hosts file on the dashboard: links to their dashboards.

use crate::setup::home;
use crate::web::Web;
use crate::web_page::browser;

#[test]
fn dashboard_links_to_configured_hosts() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    assert_eq!(web.get("/api/hosts").json(), serde_json::json!({ "hosts": [], "problem": null }));
    let file = home.dir().join("hosts.yaml");
    let hosts = "hosts:
  web1: { host: 10.0.0.1, dashboard: 'https://web1.example.com/ops/' }
  web2: { host: 10.0.0.2, user: deploy, port: 2222, key: ~/.ssh/SECRET }
  here: localhost
";
    std::fs::write(&file, hosts).unwrap();
    let shown = web.get("/api/hosts");
    assert!(!shown.body.contains("SECRET"), "{shown:?}");
    assert_eq!(
        (&shown.json()["hosts"][0]["dashboard"], &shown.json()["hosts"][1]["dashboard"]),
        (&"https://web1.example.com/ops/".into(), &serde_json::Value::Null)
    );
    let part = web.with("web token part --namespace shop").get("/api/hosts").json();
    assert_eq!(part["hosts"], serde_json::json!([]), "a user of one namespace sees no other machines");
    let viewer = web.with("web token looker").get("/api/hosts").json();
    assert_eq!(viewer["hosts"].as_array().unwrap().iter().map(|host| host["name"].clone()).collect::<Vec<_>>(), ["web1", "here"]);
    if let Some(browser) = browser() {
        browser.run(&home, "hosts.mjs", &[home.ok("web open").stdout.trim()]);
    }
    std::fs::write(&file, "hosts:\n  web1: { dashboard: 'javascript:alert(1)' }\n").unwrap();
    let broken = web.get("/api/hosts").json();
    assert!(
        broken["hosts"] == serde_json::json!([]) && broken["problem"].as_str().unwrap().contains("dashboard: expected an address"),
        "{broken}"
    );
}
