//! Traces: a real OpenTelemetry SDK sends them without further settings, hostile senders are
//! limited, and figures, events and log lines reach a strict receiver.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use ostler_testkit::{
    Behaviour, Home, KilledOnDrop, Receiver, cache_dir, fixture_path, free_port, get, kill, needs_program, on_ci, post, python_program,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{ecosystem, home};
use crate::web::Web;

const JSON: &str = "Content-Type: application/json\r\n";

/// Returns a failed span of this sender.
pub fn failed(service: &str, instance: &str, name: &str, trace: &str, message: &str) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service), text("service.instance.id", instance)] },
        "scopeSpans": [{ "spans": [{
            "traceId": trace, "spanId": "0102030405060708", "name": name, "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "2000001",
            "attributes": [text("http.request.header.authorization", "Bearer hidden"), text("db.statement", "select 'hunter22'")],
            "status": { "code": 2, "message": message },
        }] }],
    }] })
}

fn traces(web: &Web<'_>, query: &str) -> Vec<Value> {
    web.get(&format!("/api/traces?{query}")).json()["traces"].as_array().unwrap().clone()
}

/// Turns the dashboard on, and waits until the receiver listens.
fn on<'a>(home: &'a Home, port: u16, more: &str) -> Web<'a> {
    let web = Web::on(home, &format!("--otlp-port {port} {more}"));
    home.wait_until("traces are taken", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    web
}

#[test]
fn otel_sdk_sends_traces_without_settings() {
    needs_program!("node");
    let packages = cache_dir().unwrap_or_default().join("otel");
    if !packages.join("node_modules/@opentelemetry/auto-instrumentations-node").is_dir() {
        assert!(!on_ci(), "{} is not there, and on CI it has to be", packages.display());
        ostler_testkit::skip!("OpenTelemetry's packages are not installed");
    }
    let home = home();
    let (port, api, shop) = (free_port(), free_port(), free_port());
    let web = on(&home, port, "");
    std::os::unix::fs::symlink(packages, home.dir().join("otel")).unwrap();
    let apps = Path::new(&fixture_path("otlp")).to_owned();
    let env = |more: &str| {
        format!(r#""trace": true, "env": {{"OTEL_BSP_SCHEDULE_DELAY": "100", "API_PORT": "{api}", "SHOP_PORT": "{shop}"{more}}}"#)
    };
    // The first app gets its target from ostler, in protobuf. The second sets its own: compressed
    // JSON.
    let own = format!(
        r#", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
           "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "NODE_OPTIONS": "--dns-result-order=ipv4first""#
    );
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "api", "script": "{0}/api.js", {1}}}, {{"name": "shop", "script": "{0}/shop.js", "namespace": "prod", {2}"#,
            apps.display(),
            env(""),
            env(&own)
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_until("the app serves", || get(shop, "/").is_ok() && get(api, "/").is_ok());
    let _ = get(api, "/buy/0?token=hidden");
    let _ = get(api, "/slow");
    // Parts of a trace arrive from two processes, in any order.
    let whole = |one: &Value| one["from"].as_array().is_some_and(|from| from.len() == 2) && one["spans"].as_u64() >= Some(3);
    home.wait_until("both traces are there", || {
        let (bad, slow) = (traces(&web, "failed=true&app=api&route=/buy/:id"), traces(&web, "min_ms=1000"));
        bad.len() == 1 && whole(&bad[0]) && slow.len() == 1 && whole(&slow[0])
    });
    let slow = &traces(&web, "min_ms=1000")[0];
    assert_eq!((&slow["route"], &slow["kept"], &slow["from"][0]["app"]), (&json!("GET /slow"), &json!("slow"), &json!("api")));
    let bad = &traces(&web, "failed=true&app=api&route=/buy/:id")[0];
    let id = bad["id"].as_str().unwrap();
    let full = web.get(&format!("/api/traces/{id}"));
    let tree = full.json()["tree"].as_array().unwrap().clone();
    let shape: Vec<_> = tree.iter().map(|span| (span["kind"].clone(), span["depth"].clone())).collect();
    assert_eq!(shape[..3], [(json!("server"), json!(0)), (json!("client"), json!(1)), (json!("server"), json!(2))], "{tree:?}");
    assert!(!full.body.contains("hidden"), "{full:?}");
    // The log lines that contain the trace's id.
    let lines = web.get(&format!("/api/logs?app=shop&lines=1000&contains={id}")).json();
    assert!(
        lines["lines"].as_array().is_some_and(|lines| lines.len() == 1 && lines[0]["text"].as_str().unwrap().contains("/stock/0")),
        "{lines}"
    );
    // A token for a namespace shows only that namespace's part of the trace.
    let part = web.with("web token prod --role admin --namespace prod");
    let seen = part.get(&format!("/api/traces/{id}")).json();
    assert_eq!(
        (seen["tree"].as_array().unwrap().len(), &seen["from"][0]["app"], seen["from"].as_array().unwrap().len()),
        (1, &json!("shop"), 1)
    );
    assert!(part.get("/api/traces").json()["counts"].is_null());
    // If the process is killed, its traces are lost, but it accepts new ones.
    kill(home.app("ostler-web").pid(), Signal::KILL);
    home.wait_until("traces come again", || {
        let _ = get(api, "/buy/0");
        web.accepts_connections() && !traces(&web, "failed=true&app=shop").is_empty()
    });
}

#[test]
fn hostile_trace_senders_are_bounded_and_not_trusted() {
    let home = home();
    let port = free_port();
    let web = on(&home, port, "--traces-mb 1");
    let script =
        home.write("app.sh", "#!/bin/sh\necho id=$unique_id to=$OTEL_EXPORTER_OTLP_ENDPOINT as=$OTEL_SERVICE_NAME\nexec sleep 1000\n");
    home.cmd(format!("start {script} --name api --namespace prod --trace")).env("DB_PASSWORD", "hunter22").run().ok();
    home.wait_log("api-out.log", "id=");
    let line = home.log("api-out.log");
    assert!(line.contains(&format!("to=http://127.0.0.1:{port} as=api")), "other languages are told, too: {line}");
    let id = line.split(['=', ' ']).nth(1).unwrap().to_owned();
    let trace = |n: u32| format!("{:032x}", n + 1);
    let sent = |body: &Value| post(port, "/v1/traces", JSON, body.to_string().as_bytes());
    assert_eq!(sent(&failed("other", &id, "GET <b>", &trace(1), "no hunter22")).status, 200);
    assert_eq!(sent(&failed("api", "", "GET /claimed", &trace(2), "")).status, 200);
    let list = traces(&web, "");
    let of = |n: usize| (list[n]["from"][0]["app"].clone(), list[n]["message"].clone());
    assert_eq!((of(0), of(1)), ((Value::Null, json!("")), (json!("api"), json!("no ******"))), "{list:?}");
    let full = web.get(&format!("/api/traces/{}", trace(1)));
    assert!(!full.body.contains("hidden") && !full.body.contains("hunter22"), "{full:?}");
    let part = web.with("web token prod --namespace prod");
    assert_eq!(
        (traces(&part, "").len(), part.get(&format!("/api/traces/{}", trace(2))).status),
        (1, 404),
        "what is foreign is for whoever sees all"
    );
    // Requests that the receiver must reject.
    for (path, headers, body, status) in [
        ("/v1/traces", "Content-Type: text/plain\r\n", "{}", 415),
        ("/v1/traces", JSON, "[]", 400),
        ("/v1/traces", "Content-Type: application/x-protobuf\r\n", "{}", 400),
        ("/v1/traces", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "{}", 400),
        ("/v1/traces", "Content-Type: application/json\r\nContent-Encoding: br\r\n", "{}", 415),
        ("/v1/traces", "Content-Type: application/json\r\nHost: evil.example\r\n", "{}", 421),
        ("/v1/traces", "Content-Type: application/json\r\nOrigin: http://evil.example\r\n", "{}", 403),
        ("/v1/profiles", JSON, "{}", 404),
    ] {
        assert_eq!(post(port, path, headers, body.as_bytes()).status, status, "{path} {headers}");
    }
    assert_eq!(post(port, "/v1/traces", JSON, &vec![b' '; 5 << 20]).status, 413);
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{}, {}] }] }] });
    let told = post(port, "/v1/logs", JSON, logs.to_string().as_bytes());
    assert_eq!((told.status, &told.json()["partialSuccess"]["rejectedLogRecords"]), (200, &json!("2")));
    // A flood from a sender that is not an app of ostler: the sender must wait, the app's trace
    // stays, and memory is bounded.
    let large = "x".repeat(900);
    let mut flood = failed("api", "", "GET /flood", &trace(0), "");
    let span = flood["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone();
    let mut n = 100;
    let mut batch = || {
        let spans = (0..2000).map(|_| {
            n += 1;
            let mut span = span.clone();
            span["traceId"] = trace(n).into();
            span["status"]["message"] = large.as_str().into();
            span
        });
        flood["resourceSpans"][0]["scopeSpans"][0]["spans"] = spans.collect();
        sent(&flood)
    };
    let answers: Vec<_> = (0..12).map(|_| batch()).collect();
    assert_eq!(answers[0].status, 200, "{:?}", answers[0]);
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap_or_else(|| panic!("{answers:?}"));
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: "), "{refused:?}");
    assert_eq!(sent(&failed("api", &id, "GET /mine", &trace(3), "")).status, 200, "the app is not held up by others");
    let all = web.get("/api/traces").json();
    assert!(all["bytes"].as_u64().unwrap() <= 1 << 20 && all["counts"]["evicted"].as_u64() > Some(1000), "{}", all["bytes"]);
    assert_eq!(traces(&web, "app=api").len(), 2);
}

#[test]
fn taken_port_is_reported_and_the_rest_works() {
    let home = home();
    let port = free_port();
    home.ok(format!("web enable --port {} --otlp-port {port}", free_port()));
    home.ok("web disable");
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // The configured port is taken by now. The same port on the command line would be rejected.
    let web = Web::on(&home, "");
    home.wait_until("it is reported", || {
        web.get("/api/traces").json()["receiver"]["problem"].as_str().is_some_and(|text| text.contains("another program"))
    });
    home.wait_log("ostler-web-error.log", &format!("port {port} of 127.0.0.1: another program uses it"));
    assert_eq!(web.get("/api/apps").status, 200);
    home.ok("web enable --no-otlp");
    home.ok("web status").says("traces: not received");
    assert!(!home.dir().join("web/otlp-port").exists());
    home.wait_until("it is off", || web.get("/api/traces").json()["receiver"] == json!({ "port": null, "problem": null, "refused": 0 }));
    for (option, says) in [
        ("--otlp-to ftp://x", "--otlp-to"),
        ("--otlp-logs", "--otlp-to is also required"),
        ("--otlp-to http://127.0.0.1:1 --otlp-header s3cret", "--otlp-header"),
        ("--traces-mb 0", "megabytes"),
        ("--otlp-port 0", "expected a port"),
    ] {
        let refused = home.run(format!("web enable {option}"));
        assert!(refused.code == 2 && refused.stderr.contains(says) && !refused.stderr.contains("s3cret"), "{option}: {refused}");
    }
}

/// A strict receiver that uses the official message definitions, and the file with the received
/// data.
struct Strict {
    _child: KilledOnDrop,
    file: String,
    port: u16,
}

impl Strict {
    fn new(home: &Home, python: &str, answers: &[&str]) -> Self {
        let file = home.work().join("otlp.jsonl").display().to_string();
        let _ = std::fs::remove_file(format!("{file}.port"));
        let child = Command::new(python).arg(fixture_path("otlp/receiver.py")).arg(&file).args(answers).spawn().unwrap();
        home.wait_until("the receiver listens", || Path::new(&format!("{file}.port")).exists());
        let port = std::fs::read_to_string(format!("{file}.port")).unwrap().parse().unwrap();
        Self { _child: KilledOnDrop(child), file, port }
    }

    /// Returns the complete requests received so far.
    fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

#[test]
fn figures_events_and_lines_reach_a_strict_receiver() {
    let Some(python) = python_program("python") else { ostler_testkit::skip!("the Python environment is not there") };
    if !Command::new(&python).args(["-c", "import opentelemetry.proto.logs.v1.logs_pb2"]).status().unwrap().success() {
        assert!(!on_ci(), "opentelemetry-proto is not installed, and on CI it has to be");
        ostler_testkit::skip!("opentelemetry-proto is not installed");
    }
    let home = home();
    let strict = Strict::new(&home, &python, &["503", "429:Retry-After=1"]);
    home.ok(format!("web enable --port {} --no-otlp", free_port()));
    let to = format!("http://127.0.0.1:{}/otlp/", strict.port);
    home.ok(["web", "enable", "--otlp-to", &to, "--otlp-header", "X-Key=s3cret=1", "--otlp-logs"]);
    let status = home.ok("web status --json").stdout;
    assert!(status.contains("X-Key") && !status.contains("s3cret"), "{status}");
    home.ok("web status").says("metrics and events, lines go to");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let script = home.write(
        "app.sh",
        format!("#!/bin/sh\nsleep 1; while :; do echo trace_id={trace} password is $DB_PASSWORD; echo oh >&2; sleep 1; done\n"),
    );
    home.cmd(format!("start {script} --name api -i 2")).env("DB_PASSWORD", "hunter22").run().ok();
    home.wait_status("api", "online");
    home.ok("restart 1");
    let find = |holds: &dyn Fn(&Value) -> bool| {
        let all = strict.requests().into_iter().filter(|request| request["status"] == 200);
        all.flat_map(|request| request["items"].as_array().unwrap().clone()).find(holds)
    };
    let wait = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        home.wait_until(what, || find(holds).is_some());
        find(holds).unwrap()
    };
    let memory = wait("the memory of each", &|item| item["name"] == "ostler.app.memory.usage" && item["of"]["ostler.instance"] == "2");
    let of = &memory["of"];
    assert_eq!((&of["service.name"], &of["service.namespace"], &memory["unit"]), (&json!("api"), &json!("default"), &json!("By")));
    assert_eq!(of["service.instance.id"].as_str().map(str::len), Some(36));
    let restarts = wait("restarts add up", &|item| {
        item["name"] == "ostler.app.restarts" && item["of"]["ostler.instance"] == "1" && item["value"] == 1.0
    });
    assert_eq!(restarts["kind"], "sum");
    let line = wait("a line", &|item| item["trace"] == trace);
    assert_eq!((&line["attributes"]["log.iostream"], &line["of"]["service.name"]), (&json!("stdout"), &json!("api")));
    wait("a line of standard error", &|item| item["body"] == "oh" && item["attributes"]["log.iostream"] == "stderr");
    let event = wait("an event", &|item| item["event"] == "ostler.online" && item["of"]["ostler.instance"] == "1");
    assert_eq!((&event["severity"], event["of"]["service.instance.id"].is_string()), (&json!("INFO"), true));
    let all = strict.requests();
    assert!(all.iter().all(|request| request["fault"].is_null()), "{all:?}");
    assert_eq!((&all[0]["status"], &all[1]["status"]), (&json!(503), &json!(429)));
    assert_eq!((&all[0]["items"], &all[0]["items"]), (&all[1]["items"], &all[2]["items"]), "the same again until it is taken");
    assert!(all.iter().all(|request| request["headers"].to_string().contains("s3cret=1")));
    let text = std::fs::read_to_string(&strict.file).unwrap();
    assert!(!text.contains("hunter22"), "secrets are masked");
    home.wait_log("ostler-web-error.log", "all data is accepted again");
    assert!(!home.log("ostler-web-error.log").contains("s3cret"));
}

#[test]
fn failing_receiver_is_reported_and_blocks_nothing() {
    let home = home();
    let elsewhere = Receiver::new(Behaviour::Accepts);
    let wrong = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = wrong.local_addr().unwrap().port();
    let to = elsewhere.url("/");
    std::thread::spawn(move || {
        for mut stream in wrong.incoming().flatten() {
            let _ = stream.read(&mut [0; 65536]);
            let _ = write!(stream, "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let web = Web::on(&home, &format!("--no-otlp --otlp-to http://127.0.0.1:{port}"));
    home.wait_log("ostler-web-error.log", "redirects are not followed");
    assert_eq!(web.get("/api/apps").status, 200);
    let push = || web.get("/api/access").json()["otlp"]["push"].clone();
    home.wait_until("it is counted", || push()["refused"].as_u64() > Some(0));
    assert!(elsewhere.received().is_empty() && push()["sent"] == 0, "{}", push());
    home.ok("web enable --no-otlp-to");
    home.wait_until("it is off", || push().is_null());
}
