//! `scrape`: the page of an app's own Prometheus client, read from each instance and summed. The
//! tests use the real `prom-client` and `prometheus_client`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ostler_testkit::{cache_dir, free_port, free_ports, get, needs_program, nodes, on_ci, python_program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::setup::{home, start_app};
use crate::web::Web;

/// A server with `prom-client`, as in its documentation.
const NODE: &str = "\
const http = require('http');
const client = require(process.env.PROM);
client.collectDefaultMetrics();
const served = new client.Counter({ name: 'shop_orders_total', help: 'Orders, \"paid\" or not.', labelNames: ['kind', 'app'] });
const took = new client.Histogram({ name: 'shop_order_seconds', help: 'Time of an order.', buckets: [0.1, 1] });
new client.Gauge({ name: 'shop_queue_depth', help: 'Orders that wait.' }).set(process.pid);
new client.Summary({ name: 'shop_bill_bytes', help: 'Size of a bill.', percentiles: [0.5] }).observe(7);
http.createServer(async (request, response) => {
  if (request.url === '/own') return response.setHeader('Content-Type', client.register.contentType), response.end(await client.register.metrics());
  served.inc({ kind: 'a\"b\\\\c', app: 'mine' });
  took.observe(0.5);
  response.end(String(process.pid));
}).listen(PORT);
";

const PYTHON: &str = "\
import os, time
from prometheus_client import Counter, Gauge, Histogram, start_http_server
number = int(os.environ['NODE_APP_INSTANCE'])
Counter('jobs', 'Jobs done.', ['kind']).labels('mail').inc(number + 1)
Gauge('waiting_jobs', 'Jobs that wait.').set(number)
Histogram('job_seconds', 'Time of a job.', buckets=(1, 5)).observe(2)
start_http_server(PORT + number, addr='127.0.0.1')
while True: time.sleep(1000)
";

/// Returns the value of a line with this prefix.
fn value(text: &str, begin: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(begin)?.trim().parse().ok())
}

/// Returns the lines with the name of this family.
fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).collect()
}

/// Returns the result of Prometheus's checker: whether it can read the text, and its remarks on
/// names.
fn checked(text: &str) -> (bool, String) {
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let told = check.wait_with_output().unwrap();
    // Exit code 3 means remarks on names only.
    let words = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    (matches!(told.status.code(), Some(0 | 3)), words)
}

#[test]
fn every_node_cluster_worker_is_scraped() {
    needs_program!("promtool");
    let Some(package) = cache_dir().map(|cache| cache.join("prom-client/node_modules/prom-client")) else { return };
    assert!(package.is_dir() || !on_ci(), "CI has prom-client");
    if !package.is_dir() {
        return;
    }
    for (at, node) in nodes().into_iter().enumerate() {
        let home = home();
        let web = Web::on(&home, "");
        let port = free_port();
        let script = home.write("app.js", NODE.replace("PORT", &port.to_string()));
        let env = json!({ "PROM": package, "TMPDIR": home.work() });
        let scrape = json!({ "port": port, "path": "/own" });
        start_app(
            &home,
            &json!({ "name": "shop", "script": script, "interpreter": node.path, "exec_mode": "cluster", "instances": 3, "env": env, "scrape": scrape }),
        );
        let count = "shop_orders_total{app=\"shop\",namespace=\"default\",exported_app=\"mine\",kind=\"a\\\"b\\\\c\"}";
        // The workers become ready one after the other.
        let mut workers: Vec<String> = Vec::new();
        let mut answered = 0.0;
        home.wait_until("each worker has answered", || {
            if let Ok(pid) = get(port, "/") {
                answered += 1.0;
                workers.push(pid);
            }
            workers.sort();
            workers.dedup();
            workers.len() == 3
        });
        let seen = |text: &str| value(text, count).unwrap_or_default();
        let mut text = String::new();
        home.wait_until("all is added up", || {
            text = web.get("/metrics").body;
            seen(&text) == answered
        });
        let depths: Vec<&str> = lines(&text, "shop_queue_depth").into_iter().filter_map(|line| line.rsplit(' ').next()).collect();
        assert!(
            depths.len() == 3 && workers.iter().all(|pid| depths.contains(&pid.as_str())),
            "{node}: a gauge of each: {depths:?} {workers:?}"
        );
        assert_eq!(value(&text, "shop_order_seconds_bucket{app=\"shop\",namespace=\"default\",le=\"1\"}"), Some(answered), "{node}");
        assert_eq!(value(&text, "shop_order_seconds_count{app=\"shop\",namespace=\"default\"}"), Some(answered));
        assert_eq!(lines(&text, "shop_bill_bytes_sum").len(), 3);
        assert_eq!(lines(&text, "ostler_app_scrape_up").iter().filter(|line| line.ends_with(" 1")).count(), 3, "{node}: {text}");
        assert_eq!(lines(&text, "process_start_time_seconds").len(), 3, "what prom-client has by itself");
        let (is_read, words) = checked(&text);
        // prom-client itself gives gauges names that suit counters.
        assert!(is_read && words.lines().all(|line| line.starts_with("nodejs_") || line.is_empty()), "{node}: {words}");
        // The sum does not fall when workers are replaced.
        home.ok("reload shop");
        home.wait_until("all three are read again", || {
            text = web.get("/metrics").body;
            lines(&text, "ostler_app_scrape_up").iter().filter(|line| line.ends_with(" 1")).count() == 3
        });
        assert!(seen(&text) >= answered, "{node}: {}", seen(&text));
        // The history's step is long, and the same for each version, so one version is enough.
        if at == 0 {
            home.wait_until("the history has it", || web.get("/api/history/series").body.contains("own:shop_queue_depth"));
        }
        // Each socket file serves one connection.
        let ways = || {
            std::fs::read_dir(home.work())
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("ostler-way-"))
                .count()
        };
        home.wait_until("no way is open", || ways() == 0);
        home.ok("delete shop");
        assert_eq!(ways(), 0, "nothing stays");
    }
}

#[test]
fn python_instances_with_own_ports_are_scraped() {
    needs_program!("promtool");
    let Some(python) = python_program("python3") else { return };
    let home = home();
    let web = Web::on(&home, "");
    let port = free_ports(2);
    let script = home.write("jobs.py", PYTHON.replace("PORT", &port.to_string()));
    start_app(
        &home,
        &json!({ "name": "jobs", "script": script, "interpreter": python, "instances": 2, "scrape": { "port": port, "increment": true } }),
    );
    let one = free_port();
    let script = home.write("one.py", PYTHON.replace("PORT", &one.to_string()).replace("'jobs'", "'single'").replace("job_", "single_"));
    start_app(&home, &json!({ "name": "single", "script": script, "interpreter": python, "namespace": "dev", "scrape": one }));
    let mut text = String::new();
    home.wait_until("all are read", || {
        text = web.get("/metrics").body;
        lines(&text, "ostler_app_scrape_up").iter().filter(|line| line.ends_with(" 1")).count() == 3
    });
    for (begin, is) in [
        ("jobs_total{app=\"jobs\",namespace=\"default\",kind=\"mail\"}", 3.0),
        ("waiting_jobs{app=\"jobs\",namespace=\"default\",worker=\"2\"}", 1.0),
        ("job_seconds_bucket{app=\"jobs\",namespace=\"default\",le=\"5.0\"}", 2.0),
        ("single_total{app=\"single\",namespace=\"dev\",kind=\"mail\"}", 1.0),
    ] {
        assert_eq!(value(&text, begin), Some(is), "{begin}\n{text}");
    }
    let (is_read, words) = checked(&text);
    assert!(is_read && words.is_empty(), "{words}");
    let part = web.with("web token part --namespace dev");
    let text = part.get("/metrics").body;
    assert!(text.contains("single_total{") && !text.contains("jobs_total{") && !text.contains("app=\"jobs\""), "{text}");
    // Counts of exited processes survive a restart of the dashboard.
    home.ok("restart jobs");
    let jobs = "jobs_total{app=\"jobs\",namespace=\"default\",kind=\"mail\"}";
    home.wait_until("the former processes' are in the sum", || value(&web.get("/metrics").body, jobs) == Some(6.0));
    let before = home.app("ostler-web").pid();
    kill_process(Pid::from_raw(before).unwrap(), Signal::KILL).unwrap();
    home.wait_until("there is another dashboard", || ![0, before].contains(&home.app("ostler-web").pid()));
    home.wait_until("both are read by it", || {
        value(&web.get("/metrics").body, "ostler_app_scrape_up{app=\"jobs\",namespace=\"default\",worker=\"2\"}") == Some(1.0)
    });
    assert_eq!(value(&web.get("/metrics").body, jobs), Some(6.0), "it does not begin anew");
}

/// Answers with the page that its environment names.
const HOSTILE: &str = "\
const http = require('http');
const pages = {
  many: (r) => r.end(Array.from({ length: 100000 }, (_, n) => `# TYPE name_${n} counter\\nname_${n} 1\\n`).join('')),
  endless: (r) => { const more = () => { while (r.write('x'.repeat(65536))); r.once('drain', more); }; more(); },
  redirect: (r) => { r.writeHead(302, { Location: 'http://127.0.0.1:' + process.env.ELSEWHERE + '/' }); r.end(); },
  slow: (r) => r.write('a 1\\n'),
  error: (r) => { r.statusCode = 500; r.end('secret'); },
  odd: (r) => r.end('# HELP odd \\u0000 \"x\\\\q\\n# TYPE odd gauge\\nodd{a=\"\\\\\"} 1 } x 2\\nodd{app=\"victim\"} 1\\nostler_up 7\\n# TYPE ostler_up counter\\nodd{le=\"\\ud83d\\n'),
  fine: (r) => r.end('# TYPE fine gauge\\nfine 1\\n'),
};
http.createServer((q, r) => pages[process.env.PAGE](r)).listen(process.env.PORT, '127.0.0.1');
";

#[test]
fn hostile_pages_are_bounded() {
    needs_program!("node");
    needs_program!("promtool");
    let home = home();
    let web = Web::on(&home, "");
    let script = home.write("hostile.js", HOSTILE);
    let ports = free_ports(8);
    let pages = ["many", "endless", "redirect", "slow", "error", "odd", "fine"];
    let apps: Vec<Value> = pages
        .iter()
        .zip(ports..)
        .map(|(page, port)| json!({ "name": page, "script": script, "env": { "PAGE": page, "PORT": port, "ELSEWHERE": ports + 7 }, "scrape": port }))
        .collect();
    let file = home.write("hostile.json", json!({ "apps": apps }).to_string());
    // Target of the redirect.
    let trap = std::net::TcpListener::bind(("127.0.0.1", ports + 7)).unwrap();
    trap.set_nonblocking(true).unwrap();
    home.ok(format!("start {file}"));
    let mut text = String::new();
    home.wait_until("the honest one and two others are read", || {
        text = web.get("/metrics").body;
        lines(&text, "ostler_app_scrape_up").iter().filter(|line| line.ends_with(" 1")).count() == 3
    });
    assert_eq!(value(&text, "fine{app=\"fine\",namespace=\"default\",worker=\"7\"}"), Some(1.0), "{}", lines(&text, "fine").join("\n"));
    assert_eq!(value(&text, "ostler_up"), Some(1.0));
    assert_eq!(lines(&text, "odd"), ["odd{app=\"odd\",namespace=\"default\",worker=\"6\",exported_app=\"victim\"} 1"]);
    assert_eq!(value(&text, "ostler_app_scrape_left_out_samples{app=\"many\",namespace=\"default\"}"), Some(99_000.0));
    assert!(text.lines().filter(|line| line.starts_with("name_")).count() == 1000 && !text.contains("secret"));
    assert!(trap.accept().is_err(), "a redirect is not followed");
    assert!(checked(&text).0, "{}", checked(&text).1);
    let told = home.log("ostler-web-error.log");
    for words in [
        "redirect (3) answered 302",
        "endless (2) has a page of more than 4 MiB",
        "slow (4) did not answer within 3 s",
        "error (5) answered 500",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// The dashboard does not trust a worker that names the socket of another process.
#[test]
fn worker_that_names_a_foreign_socket_is_not_trusted() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let port = free_port();
    let socket = home.work().join("other.sock");
    let other = home.write(
        "other.js",
        format!("require('http').createServer((q, r) => r.end('# TYPE stolen gauge\\nstolen 1\\n')).listen('{}')", socket.display()),
    );
    home.ok(format!("start {other} --name other"));
    let lies = "process.on('internalMessage', (m) => { if (m.act === 'reach') process.send({ cmd: 'NODE_OSTLER', act: 'reached', call: m.call, path: process.env.NAMES }); });\n";
    let script = home.write("lies.js", format!("{lies}require('http').createServer((q, r) => r.end('x 1\\n')).listen({})", port));
    start_app(
        &home,
        &json!({ "name": "lies", "script": script, "exec_mode": "cluster", "instances": 2, "env": { "NAMES": socket }, "scrape": port }),
    );
    let mut text = String::new();
    home.wait_until("it is found out", || {
        text = web.get("/metrics").body;
        home.log("ostler-web-error.log").contains("reported a socket of another process")
    });
    assert!(!text.contains("stolen"), "{text}");
}

#[test]
fn unreadable_targets_are_reported() {
    needs_program!("python3");
    let home = home();
    for (scrape, words) in [
        (json!({ "port": 9100, "host": "10.0.0.1" }), "host: unknown key"),
        (json!({ "path": "/x" }), "port: expected"),
        (json!({ "port": 9100, "path": "/x HTTP/1.1\r\nX: y" }), "path: expected"),
        (json!("http://169.254.169.254/latest"), "scrape"),
    ] {
        let file = home.write("bad.json", json!({ "apps": [{ "name": "bad", "script": "/bin/sleep", "scrape": scrape }] }).to_string());
        let output = home.run(format!("start {file}"));
        assert!(output.code != 0 && output.stderr.contains(words), "{scrape}: {output}");
    }
    // Instances share a port, so the dashboard cannot distinguish them: it logs that, and counts
    // none of them twice.
    let web = Web::on(&home, "");
    let port = free_port();
    let script = home.write("sleep.py", "import time\ntime.sleep(1000)\n");
    start_app(&home, &json!({ "name": "twins", "script": script, "interpreter": "python3", "instances": 2, "scrape": port }));
    let mut text = String::new();
    home.wait_until("it is reported", || {
        text = web.get("/metrics").body;
        home.log("ostler-web-error.log").contains("set `increment: true`")
    });
    assert_eq!(lines(&text, "ostler_app_scrape_up").iter().filter(|line| line.ends_with(" 0")).count(), 2, "{text}");
}
