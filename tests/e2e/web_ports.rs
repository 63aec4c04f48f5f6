//! `/api/ports`: which app listens on which port.

use ostler_testkit::{fixture, free_port, needs_program};
use serde_json::{Value, json};

use crate::setup::home;
use crate::web::Web;

/// Returns the rows of these apps.
fn ports_of(web: &Web<'_>, apps: &[&str]) -> Vec<Value> {
    let answer = web.get("/api/ports").json();
    let rows = answer["ports"].as_array().unwrap().iter();
    rows.filter(|row| apps.iter().any(|app| row["app"] == *app)).cloned().collect()
}

#[test]
fn ports_of_apps_are_those_of_describe() {
    let home = home();
    let web = Web::on(&home, "");
    let (first, second) = (free_port(), free_port());
    // The server is a child of the app's process.
    let script = home.write("wrapped.sh", format!("#!/bin/sh\n{} http {first} &\nwait\n", fixture()));
    home.ok(format!("start {script} --name shop --namespace prod"));
    home.ok(format!("start {} --name lab --namespace dev -- http {second}", fixture()));
    home.ok(format!("start {} --name quiet -- hold", fixture()));
    let row = |port: u16, app: &str, namespace: &str| {
        let id = home.app(app).id();
        json!({ "port": port, "ephemeral": false, "app": app, "namespace": namespace, "instances": [id] })
    };
    let mut rows = [row(first, "shop", "prod"), row(second, "lab", "dev")];
    rows.sort_by_key(|row| row["port"].as_u64());
    let apps = ["shop", "lab", "quiet"];
    home.wait_until("both listen", || ports_of(&web, &apps) == rows);
    home.ok("describe shop").says(&format!(":{first}"));
    assert!(ports_of(&web, &["ostler-web"]).iter().any(|row| row["port"] == web.port), "modules listen, too");
    // A token sees the apps of its namespaces.
    let some = web.with("web token eyes --namespace dev");
    assert_eq!(some.get("/api/ports").json(), json!({ "ports": [row(second, "lab", "dev")] }));
    assert_eq!(web.post("/api/ports", &json!({})).status, 405);
    home.ok("stop shop");
    assert_eq!(ports_of(&web, &apps), [row(second, "lab", "dev")]);
}

#[test]
fn workers_share_the_port_of_their_cluster() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let port = free_port();
    let app = home.write("app.js", format!("require('http').createServer((_, res) => res.end('x')).listen({port});\n"));
    home.ok(format!("start {app} --name api -i 2"));
    home.wait_until("both workers listen", || {
        let rows = ports_of(&web, &["api"]);
        matches!(&rows[..], [row] if row["port"] == port && row["instances"].as_array().is_some_and(|list| list.len() == 2))
    });
}
