//! Clients that take more than their share of the dashboard, or try forbidden requests.

use std::io::{Read, Write};
use std::net::TcpStream;

use ostler_testkit::{Home, connect, fixture};
use serde_json::{Value, json};

use crate::setup::home;
use crate::web::Web;

/// More connections than the dashboard accepts.
const MANY: usize = 600;

/// Opens a connection and sends this part of a request.
fn send(web: &Web<'_>, text: &str) -> TcpStream {
    let mut stream = connect(web.port);
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// Returns the status of a response, or none if the connection closes first.
fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.split(' ').nth(1)?.parse().ok()
}

fn host(web: &Web<'_>) -> String {
    format!("Host: 127.0.0.1:{}\r\n", web.port)
}

fn login(web: &Web<'_>, body: &Value) -> u16 {
    let body = body.to_string();
    let head = format!("POST /api/session HTTP/1.1\r\n{}Content-Type: application/json\r\nConnection: close\r\n", host(web));
    status(&mut send(web, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))).expect("an answer")
}

fn link_of(home: &Home) -> String {
    let link = home.ok("web open").stdout;
    link.trim().rsplit(['#', '=']).next().unwrap().to_owned()
}

#[test]
fn unfinished_connections_do_not_block_clients() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let head = format!("POST /api/session HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{", host(&web));
    let halves = [head.as_str(), "GET /api/apps HTTP/1.1\r\nHost:", ""];
    for half in halves {
        let mut open: Vec<TcpStream> = (0..MANY).map(|_| send(&web, half)).collect();
        assert_eq!(web.get("/api/apps").status, 200, "{half}");
        assert_eq!(login(&web, &json!({ "link": link_of(&home) })), 200, "{half}");
        // The dashboard closed them to make room, not because they timed out.
        assert!(!matches!(status(&mut open[0]), Some(200 | 408)), "{half}");
    }
}

#[test]
fn streams_of_one_viewer_leave_room_for_others() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    home.ok(format!("start {} --name api -- hold", fixture()));
    let viewer = web.with("web token eyes");
    for path in ["/api/live", "/api/logs/live?app=api", "/api/logs/search?app=api&q=x", "/api/logs/download?app=api"] {
        let ask = format!("GET {path} HTTP/1.1\r\n{}Authorization: Bearer {}\r\n\r\n", host(&web), &viewer.token);
        let mut open: Vec<TcpStream> = (0..MANY / 2).map(|_| send(&web, &ask)).collect();
        assert_eq!(web.get("/api/apps").status, 200, "{path}");
        assert_eq!(web.get("/api/logs?app=api").status, 200, "{path}");
        let answers: Vec<Option<u16>> = open.iter_mut().map(status).collect();
        assert!(answers.contains(&Some(429)) && answers.contains(&Some(200)), "{path}: {answers:?}");
    }
}

#[test]
fn wrong_passwords_do_not_lock_out_users() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    assert_eq!(home.cmd("web passwd").stdin("correct horse\n").run().code, 0);
    for _ in 0..7 {
        assert_eq!(login(&web, &json!({ "password": "wrong" })), 401);
    }
    assert_eq!(login(&web, &json!({ "link": link_of(&home) })), 200);
    assert_eq!(login(&web, &json!({ "token": &web.token })), 200);
    for _ in 0..20 {
        assert_eq!(login(&web, &json!({ "link": "0".repeat(64) })), 401);
        assert_eq!(login(&web, &json!({ "token": "wrong" })), 401);
    }
    // Several clients wait at a time, and the client with the right token is still served.
    std::thread::scope(|scope| {
        let others = [(); 2].map(|()| scope.spawn(|| login(&web, &json!({ "password": "wrong" }))));
        assert_eq!(login(&web, &json!({ "password": "correct horse" })), 200);
        assert_eq!(others.map(|other| other.join().unwrap()), [401, 401]);
    });
    assert_eq!(home.app("ostler-web").restarts(), 0);
}

/// Returns the lines of the audit log: user, action, app, result.
fn audited(web: &Web<'_>) -> Vec<[String; 4]> {
    let audit = web.get("/api/access").json()["audit"].clone();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    audit.as_array().unwrap().iter().map(|entry| ["who", "what", "app", "result"].map(|key| text(entry, key))).collect()
}

#[test]
fn modules_require_an_admin_of_all_namespaces() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let operator = web.with("web token hands --role operator");
    let of_part = web.with("web token part --role admin --namespace default");
    for (who, name) in [(&operator, "token hands"), (&of_part, "token part")] {
        for verb in ["stop", "restart", "reload", "scale", "reset", "profile", "trigger", "send", "start"] {
            let answer = who.post(&format!("/api/apps/ostler-web/{verb}"), &json!({}));
            // The dashboard checks the request's other requirements first.
            assert!([400, 403].contains(&answer.status), "{name} {verb}: {answer:?}");
            let is_noted = |entry: &[String; 4]| entry[..3] == [name, verb, "ostler-web"] && entry[3].starts_with("refused: ");
            assert!(audited(&web).iter().any(is_noted), "{name} {verb}: {:?}", audited(&web));
        }
        assert_eq!(who.post("/api/apps/ostler-web/stop", &json!({})).status, 403);
    }
    assert_eq!(of_part.post("/api/apps/ostler-web/delete", &json!({})).status, 403);
    assert_eq!(home.app("ostler-web").status(), "online");
    assert_eq!(web.post("/api/apps/ostler-web/reset", &json!({})).status, 200);
}

#[test]
fn refused_requests_are_in_the_audit_log() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    home.ok(format!("start {} --name api -- hold", fixture()));
    let viewer = web.with("web token eyes");
    for (who, status) in [
        (viewer.post("/api/apps/api/restart", &json!({})), 403),
        (viewer.post("/api/alerts/silences", &json!({ "app": "api" })), 403),
        (viewer.post("/api/access/token", &json!({ "name": "x", "role": "admin" })), 403),
        (viewer.get("/api/access"), 403),
        (viewer.delete("/api/alerts/channels/x"), 403),
        (web.post("/api/apps/nobody/restart", &json!({})), 404),
        (web.post("/api/apps/api/scale", &json!({ "instances": 0 })), 400),
        (web.post("/api/access/token", &json!({ "name": "a b", "role": "viewer" })), 400),
    ] {
        assert_eq!(who.status, status, "{who:?}");
    }
    assert_eq!(web.post("/api/apps/api/reset", &json!({})).status, 200);
    assert_eq!(login(&web, &json!({ "token": "wrong" })), 401);
    let audit = audited(&web);
    for (who, what, app) in [
        ("token eyes", "restart", "api"),
        ("token eyes", "POST /api/alerts/silences", ""),
        ("token eyes", "POST /api/access/token", ""),
        ("token eyes", "GET /api/access", ""),
        ("token eyes", "DELETE /api/alerts/channels/x", ""),
        ("token root", "restart", "nobody"),
        ("token root", "scale", "api"),
        ("token root", "POST /api/access/token", ""),
        ("token", "login", ""),
    ] {
        let is_it = |entry: &&[String; 4]| entry[..3] == [who, what, app] && entry[3].starts_with("refused");
        assert!(audit.iter().any(|entry| is_it(&entry)), "{who} {what} {app}: {audit:?}");
    }
    let done = |entry: &[String; 4]| entry[..] == ["token root", "reset", "api", "done"];
    assert!(audit.iter().any(done), "{audit:?}");
}

#[test]
fn namespace_admin_sees_only_access_to_that_namespace() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    home.ok(format!("start {} --name api -- hold", fixture()));
    home.ok(format!("start {} --name lab --namespace dev -- hold", fixture()));
    web.with("web token wide --namespace dev --namespace default");
    web.with("web token tester --namespace dev");
    let part = web.with("web token part --role admin --namespace dev");
    assert_eq!(web.post("/api/apps/api/restart", &json!({})).status, 200);
    assert_eq!(web.post("/api/apps/lab/reset", &json!({})).status, 200);
    assert_eq!(part.post("/api/apps/lab/restart", &json!({})).status, 200);
    assert_eq!(part.post("/api/access/token", &json!({ "name": "mine", "role": "viewer" })).status, 403);
    let seen = part.get("/api/access").json();
    let tokens: Vec<&str> = seen["tokens"].as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap()).collect();
    assert_eq!(tokens, ["tester", "part"]);
    assert_eq!((&seen["settings"], &seen["otlp"]), (&Value::Null, &Value::Null));
    let own = audited(&part);
    assert!(own.iter().all(|entry| entry[0] == "token part" || entry[2] == "lab"), "{own:?}");
    for (who, what) in [("token root", "reset"), ("token part", "restart"), ("token part", "POST /api/access/token")] {
        assert!(own.iter().any(|entry| entry[0] == who && entry[1] == what), "{who} {what}: {own:?}");
    }
    assert!(audited(&web).iter().any(|entry| entry[2] == "api"));
}

#[test]
fn dashboard_is_restarted_without_limit() {
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    for _ in 0..5 {
        let pid = home.app("ostler-web").pid();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
        home.wait_app("ostler-web", "has a new process", |app| app.pid() > 0 && app.pid() != pid);
    }
    home.wait_until("it serves again", || web.accepts_connections() && web.get("/api/apps").status == 200);
    // With a growing delay and without a number of failures, restarts never stop
    // (`ostler_core::lifecycle::restart`).
    let app = home.app("ostler-web");
    assert_eq!((app.env("exp_backoff_restart_delay"), app.env("max_restarts")), (&json!(100), &Value::Null));
}
