//! Figures of Node apps: measured by the preload while somebody looks, without a package.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use ostler_testkit::{DEADLINE, free_port, needs_program};
use serde_json::Value;

use crate::setup::home;
use crate::web::Web;

fn ask(port: u16, path: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
}

#[test]
fn of_every_worker_for_prometheus_and_in_the_lists() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
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
    let metrics = || web.get("/metrics").body;
    // Once somebody has asked they measure.
    home.wait_until("both measure", || metrics().matches("ostler_node_measured_seconds{").count() == 2);
    let value = |text: &str, start: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    for n in 0..20 {
        ask(port, &format!("/orders/{n}"));
        ask(port, "/fails");
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
