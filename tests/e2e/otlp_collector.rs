//! A real OpenTelemetry collector accepts ostler's pushes and forwards traces to ostler in
//! protobuf. A second test pushes over TLS.

use std::fs::File;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use ostler_testkit::{Home, KilledOnDrop, cache_dir, fixture, fixture_path, free_port, needs_program, on_ci, post};
use serde_json::json;

use crate::setup::home;
use crate::traces::failed;
use crate::web::Web;

/// A running collector, and its log of received data.
struct Collector {
    _child: KilledOnDrop,
    http: u16,
    log: PathBuf,
}

impl Collector {
    /// Starts a collector with these export options; none if it is not installed.
    fn new(home: &Home, name: &str, words: &[&str]) -> Option<Self> {
        let libraries = cache_dir().unwrap_or_default().join("python/lib");
        let folders = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
        let program = folders.map(|folder| folder.path().join("site-packages/rotel/rotel-agent")).find(|path| path.is_file());
        assert!(program.is_some() || !on_ci(), "rotel is not below {}, and on CI it has to be", libraries.display());
        let (http, grpc, log) = (free_port(), free_port(), home.work().join(format!("{name}.log")));
        let mut command = Command::new(program?);
        command.args(["start", "--pid-file"]).arg(home.work().join(format!("{name}.pid")));
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}"), "--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
        for signal in ["traces", "metrics", "logs"] {
            command.args(["--debug-log", signal]);
        }
        command.args(["--debug-log-verbosity", "detailed"]).args(words);
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let collector = Self { _child: KilledOnDrop(command.spawn().unwrap()), http, log };
        home.wait_until("the collector listens", || TcpStream::connect(("127.0.0.1", http)).is_ok());
        Some(collector)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

#[test]
fn collector_accepts_pushed_data() {
    let home = home();
    let Some(collector) = Collector::new(&home, "takes", &["--exporter", "blackhole"]) else {
        ostler_testkit::skip!("rotel is not installed")
    };
    let web = Web::on(&home, &format!("--no-otlp --otlp-to http://127.0.0.1:{} --otlp-logs", collector.http));
    let script = home.write("app.sh", "#!/bin/sh\nwhile :; do echo a line for the collector; sleep 1; done\n");
    home.ok(["start", &script, "--name", "api-über", "-i", "2"]);
    home.wait_until("figures, lines and events are there", || {
        let text = collector.text();
        ["-> Name: ostler.app.memory.usage", "-> Name: ostler.app.restarts", "a line for the collector", "ostler.online"]
            .iter()
            .all(|part| text.contains(part))
    });
    let text = collector.text();
    for part in ["-> service.name: Str(api-über)", "-> service.namespace: Str(default)", "-> service.instance.id: Str(", "-> DataType: Sum"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let push = web.get("/api/access").json()["otlp"]["push"].clone();
    assert!(push["sent"].as_u64() > Some(0) && push["refused"] == json!(0), "{push}");
}

/// A sender's JSON passes the collector and reaches ostler as compressed protobuf.
#[test]
fn collector_forwards_traces_to_ostler() {
    let home = home();
    let port = free_port();
    let web = Web::on(&home, &format!("--otlp-port {port}"));
    home.wait_until("traces are taken", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let to = format!("http://127.0.0.1:{port}");
    let words = ["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", &to];
    let Some(collector) = Collector::new(&home, "sends", &words) else { ostler_testkit::skip!("rotel is not installed") };
    let id = "5b8efff798038103d269b633813fc60c";
    let sent = failed("elsewhere", "", "GET /checkout", id, "no stock");
    assert_eq!(post(collector.http, "/v1/traces", "Content-Type: application/json\r\n", sent.to_string().as_bytes()).status, 200);
    home.wait_until("the trace is here", || web.get(&format!("/api/traces/{id}")).status == 200);
    let trace = web.get(&format!("/api/traces/{id}")).json();
    assert_eq!(
        (&trace["route"], &trace["message"], &trace["failed"]),
        (&json!("GET /checkout"), &json!("no stock"), &json!(true)),
        "{trace}"
    );
}

#[test]
fn tls_push_requires_a_trusted_certificate() {
    needs_program!("node");
    let home = home();
    let (port, tls) = (free_port(), fixture_path("tls"));
    let script = home.write(
        "receiver.js",
        "const fs = require('fs'), [,, port, tls] = process.argv;
         require('https').createServer({ key: fs.readFileSync(tls + '/server-key.pem'), cert: fs.readFileSync(tls + '/server.pem') }, (request, answer) => {
           let size = 0;
           request.on('data', (piece) => (size += piece.length)).on('end', () => { console.log(request.method, request.url, size > 0); answer.end('{}'); });
         }).listen(port, '127.0.0.1');",
    );
    home.ok(format!("start {script} --name receiver -- {port} {tls}"));
    home.ok(format!("start {} --name api -- hold", fixture()));
    home.wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    // The root certificates do not include the server's: nothing is sent, and the error is logged.
    home.ok(format!("web enable --port {} --no-otlp --otlp-to https://localhost:{port}/", free_port()));
    home.wait_log("ostler-web-error.log", "TLS handshake with localhost failed");
    assert_eq!(home.log("receiver-out.log"), "");
    home.ok("web disable");
    home.cmd("web enable").env("SSL_CERT_FILE", format!("{tls}/ca.pem")).run().ok();
    home.wait_log("receiver-out.log", "POST /v1/metrics true");
}
