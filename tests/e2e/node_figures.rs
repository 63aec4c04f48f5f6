//! Figures of Node apps: the preload measures them while a client reads them, without a package.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use ostler_testkit::{free_port, needs_program, nodes, request};
use serde_json::Value;

use crate::setup::home;
use crate::web::Web;

#[test]
fn metrics_of_every_worker_reach_prometheus_and_lists() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let script = home.write(
        "api.js",
        format!(
            "require('http').createServer((q, s) => {{ s.statusCode = q.url === '/fails' ? 503 : 200; s.end('ok'); }}).listen({port}, '127.0.0.1');"
        ),
    );
    home.ok(format!("start {script} --name api -i 2"));
    let other = home.write("plain.js", "setInterval(() => {}, 1000);");
    home.ok(format!("start {other} --name plain --no-pmx"));
    home.wait_until("it serves", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let monitors = || -> Vec<Value> {
        let all = home.jlist();
        all.iter().filter(|app| app.text("name") == "api").map(|app| app.0["pm2_env"]["axm_monitor"].clone()).collect()
    };
    assert!(monitors().iter().all(|monitor| monitor.as_object().unwrap().is_empty()), "nobody looks: {:?}", monitors());
    let web = Web::on(&home, "");
    let metrics = || web.get("/metrics").body;
    // They measure after the first request for metrics.
    home.wait_until("both measure", || metrics().matches("ostler_node_measured_seconds{").count() == 2);
    let value = |text: &str, start: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    for n in 0..20 {
        assert!(request(port, &format!("GET /orders/{n}"), "").starts_with("HTTP/1.1 "));
        assert!(request(port, "GET /fails", "").starts_with("HTTP/1.1 "));
    }
    home.wait_until("all are counted", || value(&metrics(), "ostler_node_http_requests_total{") >= 40.0);
    let text = metrics();
    assert!(value(&text, "ostler_node_http_failed_requests_total{") >= 20.0, "{text}");
    assert!(text.contains("route=\"GET /orders/:id\"") && !text.contains("/orders/1"), "{text}");
    assert!(text.contains("ostler_node_http_response_seconds{") && text.contains("percentile=\"95\""), "{text}");
    home.ok("describe api").says("Response time p95").says("GET /orders/:id").says("Heap used");
    assert!(monitors().iter().all(|monitor| monitor["Event loop use"]["unit"] == "%"), "{:?}", monitors());
    if let Ok(mut promtool) =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    {
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Twenty thousand requests a second for some time, simulated through Node's diagnostics channels
/// only; then none. Prints a line for each report.
const MANY: &str = r"
const collect = require(process.argv[2]);
const { channel } = require('diagnostics_channel');
const { EventEmitter } = require('events');
const starts = channel('http.server.request.start'), finishes = channel('http.server.response.finish');
let sent = 0, failed = 0, reports = 0;
setInterval(() => {}, 1000);
collect(120000, ({ requests, failed: said, rate, p99, routes }) => {
  const ends = finishes.hasSubscribers;
  console.log(JSON.stringify({ sent, failed, requests, said, rate, p99, routes, ends }));
  reports += 1;
  if (reports === 3) clearInterval(busy);
  if (reports > 3 && ends) { collect(0); console.log(JSON.stringify({ left: starts.hasSubscribers || finishes.hasSubscribers })); process.exit(); }
});
const busy = setInterval(() => {
  for (let n = 0; n < 2000; n++) {
    const request = { method: 'GET', url: `/orders/${sent}` }, response = new EventEmitter();
    // A tenth, in no order that a sample could follow.
    const fails = Math.imul(sent, 2654435761) >>> 0 < 2 ** 32 / 10;
    response.statusCode = fails ? 500 : 200;
    sent += 1;
    failed += fails;
    starts.publish({ request, response });
    finishes.publish({ request, response });
    response.emit('finish');
  }
}, 100);
";

#[test]
fn requests_are_counted_and_sampled() {
    let home = home();
    let script = home.write("many.js", MANY);
    let collector = concat!(env!("CARGO_MANIFEST_DIR"), "/../daemon/preload/collector.cjs");
    let run = |node: &std::path::Path| Command::new(node).args([&*script, collector]).stdout(Stdio::piped()).spawn().unwrap();
    let all: Vec<_> = nodes().into_iter().map(|node| (run(&node.path), node)).collect();
    for (child, node) in all {
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let mut reports: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(reports.pop(), Some(serde_json::json!({ "left": false })), "{node}: {output}");
        for report in &reports {
            assert_eq!(report["requests"], report["sent"], "{node}: each is counted: {report}");
            let share = report["said"].as_f64().unwrap() / report["failed"].as_f64().unwrap();
            assert!((0.7..1.4).contains(&share), "{node}: {report}");
            // Figures of the last seconds; at the end none are left.
            assert!(report["p99"].is_number() || report["rate"] == 0.0, "{node}: {report}");
            assert_eq!(report["routes"][0]["route"], "GET /orders/:id", "{node}: {report}");
            let of_route = report["routes"][0]["requests"].as_f64().unwrap() / report["sent"].as_f64().unwrap();
            assert!((0.7..1.4).contains(&of_route), "{node}: {report}");
        }
        // Counts are exact until the rate is known to be high, and again when it is low.
        assert_eq!(reports[0]["said"], reports[0]["failed"], "{node}");
        assert!(reports.iter().any(|report| report["ends"] == false) && reports.last().unwrap()["ends"] == true, "{node}: {output}");
    }
}
