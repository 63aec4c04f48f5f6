//! Servers for Node, as workers of a cluster.

use ostler_testkit::{fixture_app, nodes};
use serde_json::{Value, json};

use crate::apps::RealApp;
use crate::needs_packages;

fn cluster(script: &str) -> Value {
    json!({ "script": script, "exec_mode": "cluster" })
}

/// Reloads under both kinds of clients at once.
#[track_caller]
fn reloads(app: &RealApp) {
    let report = app.reloads_under([app.load(false), app.load(true)]);
    app.all_answered(&report);
}

#[test]
fn express_reloads_without_failures() {
    let packages = needs_packages!();
    for node in nodes() {
        let mut members = cluster("express.js");
        members["interpreter"] = json!(node.path);
        reloads(&RealApp::start(&packages, members).at("/"));
    }
}

#[test]
fn http2_reloads_without_failures() {
    let packages = needs_packages!();
    let app = RealApp::start(&packages, cluster("http2.js"));
    let report = app.reloads_under_clients(["node", &fixture_app("cluster-client.js"), "http2", &app.port().to_string()]);
    app.all_answered(&report);
}

#[test]
fn ws_reloads_without_failures() {
    let packages = needs_packages!();
    let app = RealApp::start(&packages, cluster("ws.js")).at("/");
    let report = app.reloads_under_clients(["node", &app.file("ws-client.js"), &app.port().to_string(), "8"]);
    app.all_answered(&report);
}

#[test]
fn socket_io_works_with_sticky_address() {
    let packages = needs_packages!();
    let mut members = cluster("socket.io.js");
    members["sticky"] = json!("address");
    let app = RealApp::start(&packages, members).at("/");
    app.reloads_under_clients(["env", "ADDRESSES=1", "node", &app.file("socket.io-client.js"), &app.port().to_string(), "8"]);
}

#[test]
fn socket_io_works_with_sticky_cookie() {
    let packages = needs_packages!();
    let mut members = cluster("socket.io.js");
    members["sticky"] = json!("cookie");
    let app = RealApp::start(&packages, members).at("/");
    app.reloads_under_clients(["node", &app.file("socket.io-client.js"), &app.port().to_string(), "8"]);
}
