//! The page over a long day: its memory, two browsers at once, a page in the background for a
//! while; and with a thousand apps. `cargo xtask bench web` measures the times; this test does not
//! check them.

use ostler_testkit::{fixture, free_port};
use serde_json::{Value, json};

use crate::setup::home;
use crate::web::Web;
use crate::web_page::browser;

#[test]
fn page_works_for_hours_with_two_browsers_and_in_background() {
    let Some(browser) = browser() else { return };
    let home = home();
    home.ok(format!("web enable --port {} --no-otlp", free_port()));
    let work = home.work();
    home.ok(format!("start {} --name many -i 10 -- hold", fixture()));
    let lines = "i=1; while [ $i -le 10000 ]; do echo \"$n $i end\"; i=$((i+1)); done";
    let script = home.write(
        "writer.sh",
        format!(
            "#!/bin/sh\nfor n in 1 2 3 4; do while [ ! -e {}/go-$n ]; do sleep 0.2; done; {lines}; done\nexec sleep 10000\n",
            work.display()
        ),
    );
    home.ok(["start", &script, "--name", "writer"]);
    let links = [home.ok("web open").stdout, home.ok("web open").stdout];
    let told = browser.run(&home, "live.mjs", &[links[0].trim(), links[1].trim(), work.to_str().unwrap()]);
    assert!(told["events"].as_u64() >= Some(50) && told["usable_ms"].is_u64() && told["played_s"] == 2400, "{told}");
    eprintln!("{told}");
}

#[test]
fn dashboard_handles_a_thousand_apps() {
    const APPS: usize = 1000;
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let apps: Vec<Value> = (0..APPS)
        .map(|n| json!({ "name": format!("app-{n}"), "script": fixture().to_string(), "args": ["hold"], "interpreter": "none" }))
        .collect();
    let file = home.write("many.json", json!({ "apps": apps }).to_string());
    home.ok(["start", &file]);
    let list = web.get("/api/apps").json();
    let list = list["apps"].as_array().unwrap();
    assert!(list.len() == APPS && list.iter().all(|app| app["state"] == "online"), "{} apps", list.len());
    let text = web.get("/metrics").body;
    let up = text.lines().filter(|line| line.starts_with("ostler_app_up{app=\"app-") && line.ends_with(" 1")).count();
    assert_eq!(up, APPS);
    home.wait_until("each has its figures in the history", || {
        let series = web.get("/api/history/series").json();
        let memory = series["series"].as_array().into_iter().flatten().filter(|one| one["metric"] == "memory" && one["app"] != Value::Null);
        series["left_out"] == 0 && memory.count() > APPS
    });
    if let Some(browser) = browser() {
        browser.run(&home, "many.mjs", &[home.ok("web open").stdout.trim(), &APPS.to_string()]);
    }
}

/// Memory used at the start and by requests is returned. The first pages to leave are unused code
/// and constants of the program.
#[test]
fn dashboard_returns_unused_memory() {
    /// Without a rest, it keeps nearly all that it ever had.
    const LEAST_KIB: u64 = 2048;
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    home.ok(format!("start {} --name api -- hold", fixture()));
    for path in ["/", "/api/apps", "/metrics", "/api/history/series"] {
        assert_eq!(web.get(path).status, 200, "{path}");
    }
    let resident = |pid: i32, key: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok());
        line.unwrap_or_else(|| panic!("{pid} has no {key}: {status}"))
    };
    let reads = |process: &ostler_testkit::Proc| process.cmdline.contains("logs --json --err");
    home.wait_until("its reader of standard error is there", || home.processes().iter().any(reads));
    let reader = home.processes().iter().find(|process| reads(process)).unwrap().pid;
    for pid in [home.app("ostler-web").pid(), reader] {
        home.wait_until("a part of what it had is gone", || resident(pid, "VmRSS:") + LEAST_KIB < resident(pid, "VmHWM:"));
    }
    assert_eq!(web.get("/").status, 200);
}

/// Instances exit one after the other, even between two reads for the same response.
#[test]
fn app_stays_listed_while_it_is_scaled_down() {
    const MOST: usize = 20;
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    home.ok(format!("start {} --name api -i {MOST} -- hold", fixture()));
    for _ in 0..3 {
        let answers = std::thread::scope(|scope| {
            let order = scope.spawn(|| web.post("/api/apps/api/scale", &json!({ "instances": 1 })));
            let mut answers = Vec::new();
            while !order.is_finished() {
                answers.push(web.get("/api/apps/api"));
            }
            assert_eq!(order.join().unwrap().status, 200);
            answers
        });
        let refused = answers.iter().find(|answer| answer.status != 200);
        assert!(!answers.is_empty() && refused.is_none(), "{refused:?} of {} answers", answers.len());
        assert_eq!(web.get("/api/apps/api").json()["instances"].as_array().unwrap().len(), 1);
        assert_eq!(web.post("/api/apps/api/scale", &json!({ "instances": MOST })).status, 200);
    }
}

/// As in the documentation's nginx example: the proxy removes a path prefix, and all URLs of the
/// page are relative.
#[test]
fn page_works_below_a_proxy_path() {
    let Some(browser) = browser() else { return };
    let home = home();
    let (port, front) = (free_port(), free_port());
    home.ok(format!("web enable --port {port} --no-otlp --behind-proxy"));
    home.ok(format!("start {} --name app-777 -- hold", fixture()));
    let proxy = home.write(
        "proxy.js",
        "const http = require('http'), [,, front, port] = process.argv;
         http.createServer((request, answer) => {
           if (!request.url.startsWith('/ostler/')) return answer.writeHead(404).end();
           const headers = { ...request.headers, 'X-Forwarded-For': request.socket.remoteAddress, 'X-Forwarded-Proto': 'http' };
           const there = http.request({ port, method: request.method, path: request.url.slice('/ostler'.length), headers }, (back) => {
             answer.writeHead(back.statusCode, back.headers);
             back.pipe(answer);
           });
           there.on('error', () => answer.destroy());
           answer.on('close', () => there.destroy());
           request.pipe(there);
         }).listen(front, '127.0.0.1');",
    );
    home.ok(format!("start {proxy} --name proxy -- {front} {port}"));
    home.wait_until("the proxy listens", || std::net::TcpStream::connect(("127.0.0.1", front)).is_ok());
    let link = home.ok("web open").stdout;
    let (_, secret) = link.trim().split_once('#').unwrap();
    browser.run(&home, "many.mjs", &[&format!("http://127.0.0.1:{front}/ostler/#{secret}"), "1"]);
}
