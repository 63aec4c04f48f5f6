//! `web`: the dashboard's server, over real sockets. `web_page.rs` tests the page in a real
//! browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ostler_testkit::{DEADLINE, Home, HttpResponse, connect, fixture, free_port, needs_program};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{home, home_as_pm2, start_fixture};

/// The dashboard of a home, and the credentials of a client.
pub struct Web<'a> {
    pub home: &'a Home,
    pub port: u16,
    pub token: String,
}

impl<'a> Web<'a> {
    /// Turns the dashboard on; the client gets an admin's token.
    pub fn on(home: &'a Home, options: &str) -> Self {
        let port = free_port();
        home.ok(format!("web enable --port {port} {options}"));
        let token = home.ok("web token root --role admin").stdout.trim().to_owned();
        Self { home, port, token }
    }

    pub fn with(&self, words: &str) -> Self {
        let token = self.home.ok(words).stdout.trim().to_owned();
        Web { home: self.home, port: self.port, token }
    }

    /// Returns true if the dashboard accepts connections.
    pub fn accepts_connections(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn connect(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = connect(self.port);
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        write!(stream, "{head}\r\n{length}\r\n{body}").unwrap();
        stream
    }

    /// Sends a raw head without its last empty line, and returns the response.
    fn raw(&self, head: &str, body: &str) -> HttpResponse {
        HttpResponse::read(self.connect(head, body))
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close{more}", self.port)
    }

    fn bearer(&self) -> String {
        format!("\r\nAuthorization: Bearer {}", self.token)
    }

    pub fn get(&self, path: &str) -> HttpResponse {
        self.raw(&self.head("GET", path, &self.bearer()), "")
    }

    pub fn post(&self, path: &str, body: &Value) -> HttpResponse {
        let more = format!("{}\r\nContent-Type: application/json", self.bearer());
        self.raw(&self.head("POST", path, &more), &body.to_string())
    }

    pub fn delete(&self, path: &str) -> HttpResponse {
        self.raw(&self.head("DELETE", path, &format!("{}\r\nContent-Type: application/json", self.bearer())), "")
    }

    /// Returns the lines of a log stream, up to the first for which the condition holds.
    pub fn lines(&self, path: &str, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut stream, mut lines) = (self.stream(path, ""), Vec::new());
        loop {
            let (_, _, data) = stream.next();
            lines.push(data["text"].as_str().unwrap_or_default().to_owned());
            if lines.last().is_some_and(|line| is_last(line)) {
                return lines;
            }
        }
    }

    /// Opens a stream of server-sent events after this id.
    pub fn stream(&self, path: &str, after: &str) -> Stream {
        let more = if after.is_empty() { self.bearer() } else { format!("{}\r\nLast-Event-ID: {after}", self.bearer()) };
        Stream(BufReader::new(self.connect(&self.head("GET", path, &more), "")))
    }
}

/// Server-sent events.
pub struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Returns the next event: its name, its id, its data. Fails if the server sends nothing for
    /// too long.
    fn next(&mut self) -> (String, String, Value) {
        let (mut name, mut id) = (String::new(), String::new());
        let begin = Instant::now();
        loop {
            // Signs of life do not count as events.
            assert!(begin.elapsed() < DEADLINE, "nothing came but signs of life");
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            let line = line.trim_end();
            if let Some(word) = line.strip_prefix("event: ") {
                name = word.to_owned();
            } else if let Some(word) = line.strip_prefix("id: ") {
                id = word.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, id, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Waits for the next event of this name for which the condition holds.
    pub fn wait(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> (String, Value) {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < DEADLINE, "no such {name} came");
            let (is, id, data) = self.next();
            if is == name && holds(&data) {
                return (id, data);
            }
        }
    }
}

#[test]
fn dashboard_is_off_by_default_and_survives_restart() {
    let home = home();
    home.ok("web status").says("dashboard is off");
    for words in ["web open", "plus", "register", "open"] {
        assert!(home.run(words).fails().stderr.contains("`ostler web enable`"), "{words}");
    }
    let web = Web::on(&home, "");
    assert_eq!(web.get("/api/apps").status, 200);
    home.ok("web status").says("dashboard: online");
    let status = home.ok("web status --json").json();
    assert_eq!((&status["enabled"], &status["status"], &status["tokens"][0]["name"]), (&json!(true), &json!("online"), &json!("root")));
    // All processes exit. The next daemon runs the dashboard again, with the same tokens.
    home.ok("kill");
    assert!(TcpStream::connect(("127.0.0.1", web.port)).is_err());
    start_fixture(&home, "api", "", "hold");
    assert_eq!(web.get("/api/apps").json()["apps"][0]["name"], "api");
    // After an update the new program serves in a new process.
    let before = home.app("ostler-web").pid();
    home.ok("update");
    assert_eq!(web.get("/api/apps").status, 200);
    assert_ne!(home.app("ostler-web").pid(), before);
    // The saved list contains only apps.
    home.ok("save");
    assert!(!std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap().contains("ostler-web"));
    home.ok("web disable");
    assert!(TcpStream::connect(("127.0.0.1", web.port)).is_err());
    assert_eq!(home.app_processes().len(), 1, "only the app's");
    home.ok("kill");
    start_fixture(&home, "api", "", "hold");
    assert_eq!(home.jlist().len(), 1);
}

#[test]
fn public_address_requires_a_proxy_and_taken_port_fails() {
    let home = home();
    let output = home.run("web enable --listen 0.0.0.0");
    assert!(output.code == 1 && output.stderr.contains("--behind-proxy"), "{output}");
    let output = home.run("web enable --listen example.com --behind-proxy");
    assert!(output.code == 1 && output.stderr.contains("is not an address"), "{output}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = home.run(format!("web enable --port {port}"));
    assert!(output.code != 0, "{output}");
    home.ok("web status").says("dashboard is off");
    for words in ["web nonsense", "web enable --port 0", "web enable --port x", "web open --role king"] {
        assert_eq!(home.run(words).code, 2, "{words}");
    }
}

/// A command that fails changes nothing: the same process keeps serving. The output names the
/// process that has the port, and the address that still serves.
#[test]
fn taken_port_leaves_the_dashboard_unchanged() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().port();
    let holder = format!("the port is taken by process {} (", std::process::id());
    home.run(format!("web enable --port {busy}"))
        .code(1)
        .says(&format!("cannot listen at 127.0.0.1:{busy}: {holder}"))
        .says("the dashboard stays off");
    assert!(home.jlist().is_empty());
    let port = free_port();
    home.ok(format!("web enable --port {port}"));
    let row = || home.run("web status --json").stdout;
    let before = row();
    for words in [format!("--port {busy}"), format!("--pm2-port {busy}"), format!("--otlp-port {busy}")] {
        let output = home.run(format!("web enable {words}")).code(1);
        assert!(output.stderr.contains(&holder) && !output.stderr.contains("os error"), "{output}");
        output.says(&format!("nothing was changed; the dashboard still serves at http://127.0.0.1:{port}/"));
        assert_eq!(row(), before, "{words}");
    }
    let unknown = home.run("web enable --listen 192.0.2.7 --behind-proxy").code(1);
    unknown.says("not an address of this machine").never_says("os error").says("still serves");
    home.run("web enable --tls-cert /nowhere/cert.pem --tls-key /nowhere/key.pem").code(1).never_says("os error");
    assert_eq!(row(), before);
    // The dashboard's own port does not count as taken.
    home.ok(format!("web enable --port {port} --listen localhost"));
}

#[test]
fn host_origin_and_token_are_checked() {
    let home = home();
    let web = Web::on(&home, "--allow-host ops.example.com --trust-origin https://portal.example.com");
    start_fixture(&home, "api", "", "hold");
    let viewer = web.with("web token looker");
    let at = |host: &str, more: &str| web.raw(&format!("GET /api/apps HTTP/1.1\r\nHost: {host}\r\nConnection: close{more}"), "").status;
    let bearer = web.bearer();
    assert_eq!((at("evil.com", &bearer), at("ops.example.com", &bearer), at("localhost:1", &bearer)), (421, 200, 200));
    assert_eq!(
        (at("localhost", ""), at("localhost", "\r\nAuthorization: Bearer x"), at("localhost", "\r\nCookie: ostler-1=x")),
        (401, 401, 401)
    );
    let post = |more: &str| web.raw(&web.head("POST", "/api/apps/api/reset", &format!("{bearer}{more}")), "").status;
    let json = "\r\nContent-Type: application/json";
    assert_eq!((post(json), post(""), post("\r\nContent-Type: text/plain")), (200, 415, 415));
    assert_eq!(post(&format!("{json}\r\nOrigin: http://evil.com")), 403);
    assert_eq!(post(&format!("{json}\r\nSec-Fetch-Site: cross-site")), 403);
    assert_eq!(post(&format!("{json}\r\nOrigin: https://portal.example.com")), 200);
    assert_eq!((viewer.get("/api/apps").status, viewer.post("/api/apps/api/restart", &json!({})).status), (200, 403));
    assert_eq!((viewer.get("/api/access").status, web.get("/api/access").status), (403, 200));
    assert_eq!(
        (web.get("/api/apps/api/restart").status, web.get("/api/nothing").status, web.get("/../etc/passwd").status),
        (405, 404, 404)
    );
    let big = web.raw(&web.head("POST", "/api/apps/api/restart", &format!("{bearer}{json}")), &"x".repeat(100_000));
    assert_eq!(big.status, 413);
    assert_eq!(web.post("/api/apps/api/restart", &json!({ "nonsense": 1 })).status, 400);
    // All responses have these headers, errors too.
    for answer in [web.get("/"), web.get("/api/apps"), web.get("/api/nothing")] {
        let head = answer.head.to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'self'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "cache-control: no-",
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        assert!(!head.contains("access-control"));
    }
    // A revoked token loses its access immediately.
    home.ok("web token --revoke looker");
    assert_eq!((viewer.get("/api/apps").status, home.run("web token --revoke looker").code), (401, 4));
}

#[test]
fn link_works_once_and_cookie_until_logout() {
    let home = home();
    let web = Web::on(&home, "");
    assert!(home.ok("plus").stdout.contains("#link="));
    let link = home.ok("web open").stdout;
    let secret = link.trim().split_once("#link=").unwrap().1.to_owned();
    let json_head = "\r\nContent-Type: application/json";
    let login = |body: Value| web.raw(&web.head("POST", "/api/session", json_head), &body.to_string());
    let answer = login(json!({ "link": secret }));
    assert_eq!((answer.status, &answer.json()["role"]), (200, &json!("admin")));
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().to_owned();
    assert!(
        cookie.starts_with(&format!("ostler-{}=", web.port)) && cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("Secure")
    );
    assert_eq!(login(json!({ "link": secret })).status, 401, "a second time");
    let pair = cookie.split(';').next().unwrap();
    let with_cookie =
        |method: &str, path: &str, more: &str| web.raw(&web.head(method, path, &format!("\r\nCookie: {pair}{more}")), "").status;
    assert_eq!(with_cookie("GET", "/api/apps", ""), 200);
    // A cookie alone cannot change anything: the browser must also send the request's origin.
    let own = format!("{json_head}\r\nSec-Fetch-Site: same-origin");
    start_fixture(&home, "api", "", "hold");
    assert_eq!((with_cookie("POST", "/api/apps/api/reset", json_head), with_cookie("POST", "/api/apps/api/reset", &own)), (403, 200));
    assert_eq!(with_cookie("DELETE", "/api/session", &own), 200);
    assert_eq!(with_cookie("GET", "/api/apps", ""), 401);
}

#[test]
fn password_attempts_are_limited() {
    let home = home();
    let web = Web::on(&home, "");
    let login = |password: &str| {
        let answer =
            web.raw(&web.head("POST", "/api/session", "\r\nContent-Type: application/json"), &json!({ "password": password }).to_string());
        answer.status
    };
    let set = |password: &str| home.cmd("web passwd").stdin(format!("{password}\n")).run();
    assert_eq!((login("anything"), set("short").code, set("correct horse").code), (401, 1, 0));
    assert_eq!((login("correct horse"), login("wrong")), (200, 401));
    for _ in 0..4 {
        assert_eq!(login("wrong"), 401);
    }
    // All clients on this machine share its address: they are slowed down, but not locked out.
    assert_eq!((login("wrong"), login("correct horse")), (401, 200));
    let file = std::fs::read_to_string(home.dir().join("web/access.json")).unwrap();
    assert!(file.contains("argon2id") && !file.contains("correct horse"), "{file}");
}

#[test]
fn commands_are_recorded_with_the_token_name() {
    let home = home();
    let web = Web::on(&home, "");
    start_fixture(&home, "api", "-i 2", "hold");
    let operator = web.with("web token alice --role operator");
    let before: Vec<i32> = home.jlist().iter().filter(|app| app.text("name") == "api").map(ostler_testkit::ListedApp::pid).collect();
    assert_eq!(operator.post("/api/apps/api/restart", &json!({})).json()["done"], true);
    let after: Vec<i32> = home.jlist().iter().filter(|app| app.text("name") == "api").map(ostler_testkit::ListedApp::pid).collect();
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
    home.ok("why api").says("on behalf of dashboard: token alice");
    assert_eq!(operator.post("/api/apps/api/scale", &json!({ "instances": 3 })).status, 200);
    assert_eq!(operator.get("/api/apps").json()["apps"][0]["instances"].as_array().unwrap().len(), 3);
    assert_eq!(operator.post("/api/apps/api/delete", &json!({})).status, 403);
    assert_eq!(operator.post("/api/apps/nothing/restart", &json!({})).status, 404);
    assert_eq!(operator.post("/api/apps/api/stop", &json!({})).status, 200);
    assert_eq!(operator.post("/api/apps/api/start", &json!({})).status, 200);
    assert_eq!(web.post("/api/apps/api/delete", &json!({})).status, 200);
    assert_eq!(web.get("/api/apps").json()["apps"], json!([]));
    let audit = web.get("/api/access").json()["audit"].clone();
    let newest = &audit[0];
    assert_eq!(
        (&newest["who"], &newest["what"], &newest["app"], &newest["result"]),
        (&json!("token root"), &json!("delete"), &json!("api"), &json!("done"))
    );
    assert!(audit.as_array().unwrap().iter().any(|entry| entry["who"] == "token alice" && entry["what"] == "restart"), "{audit}");
}

#[test]
fn namespace_token_sees_only_its_namespaces() {
    let home = home();
    let web = Web::on(&home, "");
    start_fixture(&home, "shop", "--namespace prod", "hold");
    start_fixture(&home, "lab", "--namespace dev", "hold");
    let some = web.with("web token dev --role admin --namespace dev");
    let names = |web: &Web<'_>| -> Vec<String> {
        web.get("/api/apps").json()["apps"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&web), names(&some)), (vec!["shop".into(), "lab".into()], vec!["lab".to_owned()]));
    assert_eq!((some.get("/api/apps/shop").status, some.post("/api/apps/shop/stop", &json!({})).status), (404, 404));
    assert_eq!((some.get("/api/logs?app=shop").status, some.get("/api/logs?app=lab").status), (404, 200));
    assert!(!some.get("/metrics").body.contains("shop") && web.get("/metrics").body.contains("shop"));
    assert!(!some.get("/api/events").body.contains("shop") && some.get("/api/events").body.contains("lab"));
    assert_eq!(some.post("/api/access/token", &json!({ "name": "more", "role": "admin" })).status, 403);
    assert_eq!(some.post("/api/apps/lab/stop", &json!({})).status, 200);
    home.wait_status("lab", "stopped");
    assert_eq!(home.app("shop").status(), "online");
}

#[test]
fn live_stream_resumes_after_daemon_and_server_death() {
    let home = home();
    let web = Web::on(&home, "");
    start_fixture(&home, "api", "", "hold");
    let mut live = web.stream("/api/live", "");
    live.wait("table", |table| table["apps"][0]["state"] == "online");
    home.ok("restart api");
    let (mut id, _) = live.wait("event", |event| event["kind"] == "online");
    // The daemon is replaced: the stream continues.
    ostler_testkit::kill(home.daemon_pid(), Signal::KILL);
    home.ok("restart api");
    let (after, _) = live.wait("event", |event| event["kind"] == "online");
    assert!(after != id);
    id = after;
    // The server is replaced: the browser reconnects with the id of the last event, and gets each
    // later event once.
    ostler_testkit::kill(home.app("ostler-web").pid(), Signal::KILL);
    home.ok("restart api");
    home.wait_app("ostler-web", "is back", |app| app.status() == "online" && app.pid() > 0);
    let mut live = web.stream("/api/live", &id);
    let (mut seen, mut sequence) = (Vec::new(), id.split_once('-').unwrap().1.parse::<u64>().unwrap());
    while seen.last().is_none_or(|(kind, app): &(String, String)| kind != "online" || app != "api") {
        let (name, _, data) = live.next();
        assert!(name != "gone", "nothing is gone: {seen:?}");
        if name == "event" {
            sequence += 1;
            assert_eq!(data["sequence"], sequence, "each once");
            seen.push((data["kind"].as_str().unwrap().to_owned(), data["app"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let of_api: Vec<&str> = seen.iter().filter(|(_, app)| app == "api").map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(of_api, ["stopping", "exit", "launched", "online"], "{seen:?}");
    // A browser that has received no event reconnects from the last table.
    let (name, id, _) = web.stream("/api/live", "").next();
    assert_eq!(name, "table");
    home.ok("restart api");
    let mut live = web.stream("/api/live", &id);
    let (first, _) = live.wait("event", |_| true);
    let sequence = |id: &str| id.split_once('-').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(sequence(&first), sequence(&id) + 1, "{id} {first}");
    // An id from an earlier epoch: the server first sends `gone`, and then a table with the id for
    // the next connection.
    let mut live = web.stream("/api/live", "1-1");
    let (first, second) = (live.next(), live.next());
    assert_eq!((first.0.as_str(), second.0.as_str()), ("gone", "table"));
    assert!(first.1 == second.1 && first.1 != "1-1", "{first:?}");
    // `before` returns only events of the same epoch.
    let before = |id: &str| web.get(&format!("/api/events?before={id}")).json()["events"].as_array().unwrap().len();
    let (epoch, number) = first.1.split_once('-').unwrap();
    assert!(before(&first.1) > 0 && before(number) == before(&first.1) && before(&format!("{epoch}-1")) == 0);
    assert_eq!(before("1-999999"), 0);
}

#[test]
fn past_and_new_log_lines_are_streamed() {
    let home = home();
    let web = Web::on(&home, "");
    let app = home.write(
        "app.sh",
        "echo '<img src=x onerror=alert(1)>'\nprintf '\\033[31mred\\033[0m\\n'\necho wrong >&2\nhead -c 1000000 /dev/zero | tr '\\0' x\necho\nwhile read line; do echo \"got $line\"; done\nsleep 1000\n",
    );
    home.ok(format!("start {app} --name talk --interpreter sh"));
    home.wait_log("talk-error.log", "wrong");
    let read = || web.get("/api/logs?app=talk&lines=50").json()["lines"].as_array().unwrap().clone();
    home.wait_until("all lines are there", || read().iter().any(|line| line["cut"] == true));
    let lines = read();
    let text = |at: usize| lines[at]["text"].as_str().unwrap();
    let is_there = |text: &str, stream: &str| lines.iter().any(|line| line["text"] == text && line["stream"] == stream);
    assert!(
        is_there("<img src=x onerror=alert(1)>", "out") && is_there("\u{1b}[31mred\u{1b}[0m", "out") && is_there("wrong", "err"),
        "{}",
        text(0)
    );
    let long = lines.iter().find(|line| line["cut"] == true).unwrap();
    assert!(long["text"].as_str().unwrap().len() <= 64 << 10);
    let mut live = web.stream("/api/logs/live?app=talk&lines=1", "");
    // The reader runs once the last past line has arrived.
    live.wait("line", |line| line["cut"] == true);
    let id = home.app("talk").id();
    home.ok(format!("send {id} hello"));
    live.wait("line", |line| line["text"] == "got hello" && !line["at"].is_null());
    assert!(web.get("/api/logs/download?app=talk").body.contains("|talk|err wrong"));
    assert_eq!(web.get("/api/logs?app=nothing").status, 404);
    // The maximum number of readers runs, and leaves nothing behind.
    let reads = |_| {
        let mut stream = web.stream("/api/logs/live?app=talk&lines=1", "");
        stream.wait("line", |_| true);
        stream
    };
    let others: Vec<Stream> = (0..15).map(reads).collect();
    assert_eq!(web.get("/api/logs?app=talk").status, 503);
    drop((live, others));
    home.wait_until("there is room again", || web.get("/api/logs?app=talk").status == 200);
    // The reader that collects exceptions stays.
    home.wait_until("the reader has ended", || {
        !home.processes().iter().any(|process| process.cmdline.contains("--json") && !process.cmdline.contains("--err"))
    });
}

#[test]
fn metrics_have_both_formats_and_pm2_page_works() {
    let home = home_as_pm2();
    let page = free_port();
    let web = Web::on(&home, &format!("--pm2-port {page}"));
    home.cmd(format!("start {} --name api -- hold", fixture())).env("SECRET_TOKEN", "hunter22").run();
    let plain = web.get("/metrics");
    assert!(
        plain.head.contains("text/plain; version=0.0.4") && plain.body.contains("ostler_app_up{app=\"api\",namespace=\"default\""),
        "{plain:?}"
    );
    let open = web.raw(&web.head("GET", "/metrics", &format!("{}\r\nAccept: application/openmetrics-text", web.bearer())), "");
    assert!(open.head.contains("application/openmetrics-text") && open.body.ends_with("# EOF\n"));
    assert!(web.get("/metrics?format=pm2").body.contains("pm2_up{name=\"api\",instance=\"0\"} 1"));
    assert_eq!(web.raw(&web.head("GET", "/metrics", ""), "").status, 401);
    // Detail and page show names of variables, never values.
    let detail = web.get("/api/apps/api");
    assert!(detail.body.contains("SECRET_TOKEN") && !detail.body.contains("hunter22"));
    let pm2 = Web { home: &home, port: page, token: String::new() };
    let list = pm2.raw(&pm2.head("GET", "/", ""), "");
    assert!(list.status == 200 && !list.body.contains("hunter22") && list.body.contains("SECRET_TOKEN"), "{}", list.status);
    assert!(list.json()["processes"].as_array().unwrap().iter().any(|process| process["name"] == "api"));
    assert_eq!((pm2.raw(&pm2.head("GET", "/api/apps", ""), "").status, pm2.raw(&pm2.head("POST", "/", ""), "").status), (404, 415));
    let status = home.ok("web status");
    status.says(&format!("http://127.0.0.1:{page}/"));
}

#[test]
fn dashboard_listens_on_a_unix_socket() {
    let home = home();
    let path = home.root().join("w.sock");
    home.ok(format!("web enable --listen {}", path.display()));
    let token = home.ok("web token t").stdout.trim().to_owned();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /api/apps HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(home.run("web open").stderr.contains("browsers cannot open"));
}

/// Rights about alerts by role: viewing, silencing, setting up channels. Some settings are never
/// available over the network.
#[test]
fn alert_rights_depend_on_the_role() {
    let home = home();
    let web = Web::on(&home, "");
    let (viewer, operator) = (web.with("web token looker"), web.with("web token hand --role operator"));
    let part = web.with("web token part --role operator --namespace shop");
    let receiver = ostler_testkit::Receiver::new(ostler_testkit::Behaviour::Accepts);
    let channel = json!({ "type": "webhook", "url": receiver.url("/SECRET"), "secret": "KEY123" });
    assert_eq!((operator.post("/api/alerts/channels", &channel).status, web.post("/api/alerts/channels", &channel).status), (403, 200));
    let wrong = web.post("/api/alerts/channels", &json!({ "type": "slak" }));
    assert!(wrong.status == 400 && wrong.body.contains("did you mean slack?"), "{wrong:?}");
    let program = web.post("/api/alerts/channels", &json!({ "type": "command", "argv": ["/bin/true"] }));
    assert_eq!(program.status, 403, "a program is never set up over the network");
    assert_eq!(web.post("/api/alerts/test", &json!({})).json()["results"][0]["sent"], true);
    assert_eq!(operator.post("/api/alerts/test", &json!({})).status, 403);
    let silence = json!({ "app": "api*", "for": "2h", "reason": "move" });
    assert_eq!((viewer.post("/api/alerts/silences", &silence).status, part.post("/api/alerts/silences", &silence).status), (403, 403));
    let made = operator.post("/api/alerts/silences", &silence).json();
    assert_eq!(made["by"], "token hand");
    assert_eq!(operator.post("/api/alerts/silences", &json!({ "for": "soon" })).status, 400);
    home.wait_until("it is seen", || viewer.get("/api/alerts").json()["silences"][0]["id"] == made["id"]);
    let shown = viewer.get("/api/alerts").body;
    assert!(!shown.contains("SECRET") && !shown.contains("KEY123"), "{shown}");
    let seen = part.get("/api/alerts").json();
    assert_eq!((&seen["channels"], &seen["silences"]), (&json!([]), &json!([])), "not theirs");
    let delete = |who: &Web<'_>, path: &str| {
        who.raw(&who.head("DELETE", path, &format!("{}\r\nContent-Type: application/json", who.bearer())), "").status
    };
    let path = format!("/api/alerts/silences/{}", made["id"].as_str().unwrap());
    assert_eq!((delete(&part, &path), delete(&viewer, &path), delete(&operator, &path), delete(&operator, &path)), (404, 403, 200, 404));
    assert_eq!((delete(&operator, "/api/alerts/channels/webhook"), delete(&web, "/api/alerts/channels/webhook")), (403, 200));
    let audit = web.get("/api/access").body;
    assert!(audit.contains("set alert channel webhook") && audit.contains("unsilence"), "{audit}");
}

/// TLS without a proxy: certificate and key are files, which may be replaced.
#[test]
fn dashboard_serves_tls() {
    needs_program!("curl");
    let home = home();
    let (port, fixtures) = (free_port(), concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tls"));
    let (cert, key) = (home.work().join("cert.pem"), home.work().join("key.pem"));
    let put = |from: &str, to: &Path| {
        let new = home.work().join("new");
        std::fs::copy(format!("{fixtures}/{from}"), &new).unwrap();
        std::fs::rename(&new, to).unwrap();
    };
    put("server.pem", &cert);
    put("server-key.pem", &key);
    let enable = |words: &str| home.run(format!("web enable --port {port} {words}"));
    enable("--tls-cert cert.pem").code(2).says("--tls-key is also required");
    enable("--tls-cert cert.pem --tls-key absent.pem").fails().says("absent.pem");
    enable(&format!("--tls-cert cert.pem --tls-key {fixtures}/key.pem")).fails().says("cannot be used together");
    assert!(!home.ok("list").stdout.contains("ostler-web"), "nothing of it runs");
    // Other machines can connect, and no traffic is readable on the network.
    enable("--listen 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --allow-host localhost")
        .code(0)
        .says(&format!("https://localhost:{port}/"));
    let curl = |words: &str| {
        let text = format!("curl --silent --show-error --max-time 10 --cacert {fixtures}/ca.pem {words}");
        std::process::Command::new("sh").args(["-c", &text]).output().unwrap()
    };
    let page = format!("https://localhost:{port}/");
    let status = |url: &str| String::from_utf8(curl(&format!("--output /dev/null --write-out '%{{http_code}}' {url}")).stdout).unwrap();
    assert_eq!(status(&page), "200");
    assert!(!curl(&format!("http://localhost:{port}/")).status.success(), "clear text is not answered");
    let link = home.ok("web open").stdout.trim().split_once("#link=").unwrap().1.to_owned();
    let body = format!("'{{\"link\": \"{link}\"}}'");
    let login = curl(&format!(
        "--include --header 'Content-Type: application/json' --header 'Origin: https://localhost:{port}' --data {body} {page}api/session"
    ));
    let login = String::from_utf8(login.stdout).unwrap();
    assert!(login.starts_with("HTTP/1.1 200") && login.contains("; Secure"), "{login}");
    // An incomplete renewal does no harm.
    std::fs::write(&cert, "half").unwrap();
    assert_eq!(status(&page), "200");
    put("server.pem", &cert);
    assert_eq!(status(&page), "200");
    enable("--no-tls").fails().says("is reachable from other machines");
    enable("--no-tls --listen 127.0.0.1").code(0).says(&format!("http://127.0.0.1:{port}/"));
    assert_eq!(status(&format!("http://127.0.0.1:{port}/")), "200");
    // A port that is taken changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.run(format!("web enable --port {}", taken.local_addr().unwrap().port())).fails().says("taken by process");
    assert_eq!(status(&format!("http://127.0.0.1:{port}/")), "200");
}
