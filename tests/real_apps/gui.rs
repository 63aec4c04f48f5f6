//! A third-party dashboard from npm, unmodified: a program with npm's PM2 library that knows only
//! PM2's home.

use std::io::Write;

use ostler_testkit::{Home, HttpResponse, Subject, connect, fixture, free_port};
use serde_json::{Value, json};

use crate::needs_packages;

/// Sends a request; returns the response's head and body.
fn ask(port: u16, method: &str, path: &str, cookie: &str, body: &Value) -> (String, Value) {
    let mut stream = connect(port);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: x\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    write!(stream, "{head}\r\n\r\n{body}").unwrap();
    let response = HttpResponse::read(stream);
    (response.head, serde_json::from_str(&response.body).unwrap_or_default())
}

#[test]
fn pm2_dashboard_works() {
    let packages = needs_packages!();
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    home.ok(format!("start {} --name app -- hold", fixture()));
    let port = free_port();
    let script = packages.join("gui/node_modules/pm2-dashboard/bin/pm2-dashboard.js");
    let database = home.root().join("gui.db");
    home.ok([
        "start",
        &script.display().to_string(),
        "--name",
        "gui",
        "--",
        &format!("--port={port}"),
        &format!("--db={}", database.display()),
    ]);
    home.wait_log("gui-out.log", "Setup URL:");
    let token = home.log("gui-out.log").split_once("token=").unwrap().1.trim().to_owned();
    let login = json!({ "username": "admin", "password": "correct horse 1" });
    ask(port, "POST", &format!("/api/setup?token={token}"), "", &login);
    let (head, _) = ask(port, "POST", "/api/auth/login", "", &login);
    let cookie = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap_or_else(|| panic!("{head}"));
    let cookie = cookie.split(';').next().unwrap();
    let status = || {
        let (_, list) = ask(port, "GET", "/api/processes", cookie, &Value::Null);
        list.as_array().unwrap().iter().find(|process| process["name"] == "app").unwrap_or_else(|| panic!("{list}")).clone()
    };
    let seen = status();
    assert!(seen["status"] == "online" && seen["memory"].as_u64() > Some(0), "{seen}");
    let (before, id) = (home.app("app").pid(), seen["id"].clone());
    ask(port, "POST", &format!("/api/processes/{id}/restart"), cookie, &Value::Null);
    assert_ne!(home.app("app").pid(), before);
    ask(port, "POST", &format!("/api/processes/{id}/stop"), cookie, &Value::Null);
    assert_eq!((home.app("app").status(), &status()["status"]), ("stopped", &json!("stopped")));
    ask(port, "POST", &format!("/api/processes/{id}/start"), cookie, &Value::Null);
    assert_eq!((home.app("app").status(), &status()["status"]), ("online", &json!("online")));
}
