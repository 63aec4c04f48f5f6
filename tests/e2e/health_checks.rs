//! Health checks: which instances are checked, how ostler handles failed checks, where the results
//! appear.

use std::collections::BTreeSet;

use ostler_testkit::{Home, fixture, free_port, free_ports, get, needs_program};
use serde_json::{Value, json};

use crate::setup::home;

/// A server that answers 200 while its folder has the file `well`, otherwise 503. `/` always
/// answers 200.
const SERVER: &str = "
const fs = require('fs');
const well = () => fs.existsSync('well') && !fs.existsSync('ill-' + process.env.NODE_APP_INSTANCE) && !fs.existsSync('ill-' + process.pid);
require('http').createServer((request, response) => {
  if (request.url === '/hang') { for (;;); }
  response.statusCode = request.url === '/' || well() ? 200 : 503;
  response.end(String(process.pid));
}).listen(process.env.PORT);
process.on('SIGINT', () => process.exit(0));
";

fn config(home: &Home, value: &Value) -> String {
    home.write("ecosystem.json", value.to_string())
}

fn status(home: &Home, name: &str) -> String {
    home.app(name).env("health_status")["status"].as_str().unwrap_or("none").to_owned()
}

fn wait_health(home: &Home, name: &str, expected: &str) {
    home.wait_until(&format!("{name} is {expected}"), || status(home, name) == expected);
}

/// Starts the server with this check.
fn serve(home: &Home, port: u16, more: &Value) {
    home.write("server.js", SERVER);
    home.write("well", "");
    let mut app = json!({"name": "web", "script": "server.js", "env": {"PORT": port}});
    app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.ok(format!("start {}", config(home, &json!({"apps": [app]}))));
}

/// Returns a check that is fast enough for a test and fails after three failed responses.
fn quick_check(port: u16) -> Value {
    json!({"http": {"port": port, "path": "/health", "interval": 100, "timeout": 2000, "grace": 0}})
}

/// With a long interval, an instance that responds is still known as healthy soon after its start,
/// in each phase.
#[test]
fn first_checks_run_soon_despite_long_interval() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let rarely = json!({"http": {"port": port, "path": "/health"}, "interval": "600s"});
    serve(&home, port, &json!({"health": {"startup": rarely, "readiness": rarely, "liveness": {"tcp": port, "interval": "600s"}}}));
    wait_health(&home, "web", "healthy");
}

#[test]
fn failed_check_restarts_app_and_is_visible_everywhere() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    serve(&home, port, &json!({"http": {"port": port, "path": "/health", "interval": 100, "timeout": 2000}}));
    wait_health(&home, "web", "healthy");
    let before = home.app("web");
    home.ok("list").says("● online");
    std::fs::remove_file(home.work().join("well")).unwrap();
    let after = home.wait_app("web", "restarted", |app| app.pid() > 0 && app.pid() != before.pid());
    assert_eq!(after.env("restart_time"), &json!(1));
    home.write("well", "");
    wait_health(&home, "web", "healthy");
    let why = home.ok("why web --all").stdout;
    let answer = format!("HTTP request to localhost:{port}: 503 `{}`", before.pid());
    assert!(why.contains(&format!("it is unhealthy: {answer} (3 times in a row)")), "{why}");
    assert!(why.contains("requested by the policy `health`"), "{why}");
    assert!(home.ok("describe web").stdout.contains("it has been healthy for"));
    assert!(home.daemon_log().contains(&format!("App [web:0] is unhealthy: {answer}")));
}

#[test]
fn action_none_only_reports() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let mut check = quick_check(port);
    check["http"]["action"] = json!("none");
    serve(&home, port, &check);
    wait_health(&home, "web", "healthy");
    let pid = home.app("web").pid();
    std::fs::remove_file(home.work().join("well")).unwrap();
    wait_health(&home, "web", "unhealthy");
    home.run("health web")
        .code(1)
        .says(&format!("unhealthy: 1 of 1 online; web:0 online (unhealthy: HTTP request to localhost:{port}: 503 `{pid}`)"));
    home.write("well", "");
    wait_health(&home, "web", "healthy");
    home.ok("health web");
    assert_eq!(home.app("web").pid(), pid);
}

/// Each cluster worker is checked separately, although all share one port. The other workers keep
/// running, and no request fails.
#[test]
fn only_unhealthy_cluster_worker_is_replaced() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let mut check = quick_check(port);
    check["instances"] = json!(3);
    // On a busy machine Node takes seconds to start, which must not count as a failure.
    check["http"]["grace"] = json!(5000);
    serve(&home, port, &check);
    let all = |state: &str| home.jlist().iter().all(|app| app.env("health_status")["status"] == state);
    home.wait_until("all are healthy", || all("healthy"));
    let pids: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    home.write(&format!("ill-{}", pids[1]), "");
    home.wait_until("the ill one is replaced", || {
        let apps = home.jlist();
        apps[1].pid() != pids[1] && apps[1].pid() > 0 && apps[1].env("health_status")["status"] == "healthy"
    });
    let apps = home.jlist();
    assert_eq!((apps[0].pid(), apps[2].pid()), (pids[0], pids[2]));
    assert_eq!(apps.iter().map(|app| app.env("restart_time").clone()).collect::<Vec<_>>(), [json!(0), json!(1), json!(0)]);
}

/// A worker that is not ready gets no new connections as long as another worker is ready.
#[test]
fn a_worker_that_is_not_ready_gets_no_connections() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let check = json!({"instances": 2, "health": {"readiness": {"http": {"port": port, "path": "/health"}, "interval": 100, "failures": 1}, "grace": 0}});
    serve(&home, port, &check);
    let states = || home.jlist().iter().map(|app| app.env("health_status")["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    home.wait_until("both are healthy", || states() == ["healthy", "healthy"]);
    let pids: Vec<String> = home.jlist().iter().map(|app| app.pid().to_string()).collect();
    let served = |times: usize| (0..times).map(|_| get(port, "/").unwrap()).collect::<BTreeSet<String>>();
    assert_eq!(served(20).len(), 2);
    home.write("ill-0", "");
    home.wait_until("one is not ready", || states() == ["unready", "healthy"]);
    assert_eq!(served(20), BTreeSet::from([pids[1].clone()]));
    // No worker is ready: a worker that is not ready is better than none.
    home.write("ill-1", "");
    home.wait_until("none is ready", || states() == ["unready", "unready"]);
    assert_eq!(served(20).len(), 2);
    std::fs::remove_file(home.work().join("ill-0")).unwrap();
    home.wait_until("one is ready again", || states() == ["healthy", "unready"]);
    assert_eq!(served(20), BTreeSet::from([pids[0].clone()]));
    assert!(home.jlist().iter().all(|app| app.env("restart_time") == &json!(0)));
}

/// All workers are unhealthy at once: they are replaced one after the other, so that one worker
/// always serves.
#[test]
fn health_restarts_are_staggered_over_instances() {
    needs_program!("node");
    let (home, port) = (home(), free_ports(3));
    home.write("server.js", SERVER);
    home.write("well", "");
    let app = json!({"name": "web", "script": "server.js", "instances": 3, "exec_mode": "fork", "increment_var": "PORT", "env": {"PORT": port},
        "listen_timeout": 20000, "ready": "http",
        "http": {"port": port, "path": "/health", "interval": 100, "timeout": 2000, "grace": 0}});
    home.ok(format!("start {}", config(&home, &json!({"apps": [app]}))));
    home.wait_until("all are healthy", || home.jlist().iter().all(|app| app.env("health_status")["status"] == "healthy"));
    let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    for pid in &before {
        home.write(&format!("ill-{pid}"), "");
    }
    let mut least = 3;
    home.wait_until("all are replaced", || {
        let apps = home.jlist();
        least = least.min(apps.iter().filter(|app| app.status() == "online").count());
        apps.iter().all(|app| !before.contains(&app.pid()) && app.env("health_status")["status"] == "healthy")
    });
    assert!(least >= 2, "only {least} of 3 were online at one time");
    let log = home.daemon_log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("Stopping app:web") || line.contains("] online")).collect();
    let story: String = lines[3..].iter().map(|line| if line.contains("Stopping") { 's' } else { 'o' }).collect();
    assert_eq!(story, "sososo", "{log}");
}

/// Servers that never answer, answer endlessly or redirect endlessly do not block any other check.
#[test]
fn probes_of_hostile_servers_time_out() {
    needs_program!("node");
    let home = home();
    let server = |answer: &str| {
        format!(
            "require('net').createServer((s) => {{ s.on('error', () => {{}}); s.on('data', () => {{}}); {answer} }}).listen(process.env.PORT);"
        )
    };
    let apps: Vec<Value> = [
        ("hangs", server(""), "no answer within 300 ms"),
        ("gigabyte", server("const go = () => { while (s.write(Buffer.alloc(65536, 120))); }; s.on('drain', go); s.write('HTTP/1.1 200 OK\\r\\nContent-Length: 1073741824\\r\\n\\r\\n'); go();"), ""),
        ("headers", server("const go = () => { while (s.write('X-Y: z\\r\\n')); }; s.on('drain', go); s.write('HTTP/1.1 500 No\\r\\n'); go();"), ": 500"),
        ("endless", server("const go = () => { while (s.write('x'.repeat(65536))); }; s.on('drain', go); go();"), "not an HTTP response"),
        ("redirects", server("s.end('HTTP/1.1 302 Found\\r\\nLocation: /\\r\\nContent-Length: 0\\r\\n\\r\\n');"), ": 302"),
        ("closes", server("s.destroy();"), ""),
        ("stalls", server("s.write('HTTP/1.1 503 No\\r\\n\\r\\nno data');"), ": 503 `no data`"),
        ("paints", server("s.end('HTTP/1.1 500 No\\r\\n\\r\\n\\n\\x1b[2J\\x07' + 'x'.repeat(1e6));"), "x…`"),
    ]
    .into_iter()
    .map(|(name, code, expected)| {
        home.write(&format!("{name}.js"), code);
        let port = free_port();
        json!({"name": name, "script": format!("{name}.js"), "env": {"PORT": port, "EXPECTED": expected},
            "http": {"port": port, "interval": 100, "timeout": 300, "grace": 0, "action": "none"}})
    })
    .collect();
    home.ok(format!("start {}", config(&home, &json!({"apps": apps}))));
    for app in &apps {
        let (name, expected) = (app["name"].as_str().unwrap(), app["env"]["EXPECTED"].as_str().unwrap());
        wait_health(&home, name, if name == "gigabyte" { "healthy" } else { "unhealthy" });
        // If many runtimes start at once, checks begin before the app listens.
        home.wait_until(&format!("{name} is asked when it listens: {expected:?}"), || {
            home.app(name).env("health_status")["last_answer"]["text"].as_str().is_some_and(|last| last.ends_with(expected))
        });
    }
}

/// The body of a failed response often contains the reason.
#[test]
fn failed_check_reports_response_body() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    home.write(
        "chunks.js",
        "require('http').createServer((request, response) => {
           if (require('fs').existsSync('well')) return response.end();
           response.writeHead(503);
           response.write('{\"db\": ');
           setTimeout(() => response.end('\"\\u001b[31mgone\"}\\nat db.js:1'), 20);
         }).listen(process.env.PORT);",
    );
    let app = json!({"name": "web", "script": "chunks.js", "env": {"PORT": port},
        "http": {"port": port, "interval": 200, "timeout": 20_000, "action": "none"}});
    home.write("well", "");
    home.ok(format!("start {}", config(&home, &json!({"apps": [app]}))));
    wait_health(&home, "web", "healthy");
    std::fs::remove_file(home.work().join("well")).unwrap();
    wait_health(&home, "web", "unhealthy");
    let answer = format!("HTTP request to localhost:{port}: 503 `{{\"db\": \"\\u{{1b}}[31mgone\"}}`");
    for command in ["why web", "describe web", "health web"] {
        assert!(home.run(command).stdout.contains(&answer), "{command}: {:?}", home.run(command));
    }
    assert!(home.daemon_log().contains(&answer));
}

/// The daemon waits for all responses together, and a late response still counts.
#[test]
fn parallel_checks_keep_their_own_responses() {
    needs_program!("node");
    let home = home();
    home.write(
        "slow.js",
        "require('http').createServer((request, response) => {
           response.statusCode = Number(process.env.STATUS);
           setTimeout(() => response.end('it is ' + process.env.PORT), Number(process.env.AFTER));
         }).listen(process.env.PORT);",
    );
    let first = free_ports(6);
    let apps: Vec<Value> = (0..6)
        .map(|number| {
            let port = first + number;
            json!({"name": format!("app-{number}"), "script": "slow.js",
                "env": {"PORT": port, "AFTER": number % 3 * 100, "STATUS": if number < 3 { 200 } else { 500 }},
                "http": {"port": port, "interval": 1000, "timeout": 20_000, "grace": 0, "action": "none", "retries": 1}})
        })
        .collect();
    home.ok(format!("start {}", config(&home, &json!({"apps": apps}))));
    for (number, app) in apps.iter().enumerate() {
        let (name, port) = (app["name"].as_str().unwrap(), &app["env"]["PORT"]);
        wait_health(&home, name, if number < 3 { "healthy" } else { "unhealthy" });
        // The connection was refused before the app listened.
        let answer = if number < 3 { String::new() } else { format!("HTTP request to localhost:{port}: 500 `it is {port}`") };
        home.wait_until(&format!("{name}: {answer}"), || home.app(name).env("health_status")["last_answer"]["text"] == *answer);
    }
}

#[test]
fn tcp_check_passes_when_port_accepts() {
    let (home, port) = (home(), free_port());
    let file = config(
        &home,
        &json!({"apps": [{"name": "web", "script": fixture(), "args": ["http", port.to_string()],
        "health": {"liveness": {"tcp": port, "interval": 100, "failures": 2}, "grace": 0}}]}),
    );
    home.ok(format!("start {file}"));
    wait_health(&home, "web", "healthy");
    assert_eq!(home.app("web").env("restart_time"), &json!(0));
}

/// The command runs with the app's folder and environment. A hanging command is killed with all
/// processes that it started.
#[test]
fn command_checks_run_in_app_context_and_are_killed() {
    let home = home();
    home.write("well", "");
    let apps = json!([
        {"name": "web", "script": fixture(), "args": "hold", "env": {"FILE": "well"},
            "health": {"liveness": {"command": "test -e \"$FILE\"", "interval": 100}, "grace": 0}},
        {"name": "slow", "script": fixture(), "args": "hold",
            "health": {"liveness": {"command": ["sh", "-c", "sleep 9876 & sleep 9876"], "interval": 100, "timeout": 200}, "grace": 0, "action": "none"}},
    ]);
    home.ok(format!("start {}", config(&home, &json!({"apps": apps}))));
    wait_health(&home, "web", "healthy");
    wait_health(&home, "slow", "unhealthy");
    let before = home.app("web").pid();
    std::fs::remove_file(home.work().join("well")).unwrap();
    home.wait_app("web", "another process", |app| app.pid() > 0 && app.pid() != before);
    let why = home.ok("why web").stdout;
    assert!(why.contains("ago: unhealthy: command `test -e \"$FILE\"` exited with code 1 (3 times in a row)"), "{why}");
    assert!(home.ok("why slow").stdout.contains("timed out after 200 ms and was killed"));
    home.ok("delete all");
    home.wait_until("nothing is left of the commands", || home.app_processes().is_empty());
}

/// The event loop is blocked. Only this check notices, because the kernel still accepts
/// connections.
#[test]
fn autokill_kills_process_with_blocked_event_loop() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    serve(&home, port, &json!({"autokill": true, "kill_timeout": 300, "health": {"heartbeat": "1s"}}));
    let before = home.app("web");
    home.wait_until("it serves", || get(port, "/").is_ok());
    std::thread::spawn(move || drop(get(port, "/hang")));
    let after = home.wait_app("web", "another process", |app| app.pid() > 0 && app.pid() != before.pid());
    assert_eq!(after.env("restart_time"), &json!(1));
    let why = home.ok("why web --all").stdout;
    assert!(why.contains("its event loop has been blocked for 1000 ms"), "{why}");
    assert!(why.contains("was killed by SIGKILL, killed because it did not stop in time, requested by the policy `health`"), "{why}");
}

/// Results survive the daemon, and the next daemon continues the checks.
#[test]
fn next_daemon_continues_checks() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    serve(&home, port, &quick_check(port));
    wait_health(&home, "web", "healthy");
    let pid = home.app("web").pid();
    ostler_testkit::kill(home.daemon_pid(), rustix::process::Signal::KILL);
    wait_health(&home, "web", "healthy");
    assert_eq!(home.app("web").pid(), pid);
    std::fs::remove_file(home.work().join("well")).unwrap();
    home.wait_app("web", "restarted", |app| app.pid() > 0 && app.pid() != pid);
    ostler_testkit::kill(home.daemon_pid(), rustix::process::Signal::KILL);
    home.wait_until("there is a daemon", || home.run("why web").stdout.contains(" ago: unhealthy"));
}

/// If a replacement does not start, the old process stays. A reload by a user does not wait for the
/// replacement.
#[test]
fn reload_does_not_wait_for_failing_replacement() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let say = "if (!require('fs').existsSync('mute')) process.send('ready');";
    home.write("server.js", format!("{SERVER}\n{say}"));
    home.write("well", "");
    let mut app = quick_check(port);
    let more =
        json!({"name": "web", "script": "server.js", "instances": 1, "wait_ready": true, "listen_timeout": 600_000, "env": {"PORT": port}});
    app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.ok(format!("start {}", config(&home, &json!({"apps": [app]}))));
    wait_health(&home, "web", "healthy");
    let pid = home.app("web").pid();
    home.write("mute", "");
    home.write(&format!("ill-{pid}"), "");
    home.wait_until("a process is started beside it", || home.app_processes().len() >= 2);
    assert_eq!(get(port, "/").unwrap(), pid.to_string());
    std::fs::remove_file(home.work().join("mute")).unwrap();
    home.ok("reload web");
    wait_health(&home, "web", "healthy");
    home.wait_until("one process is left", || home.app_processes().len() == 1);
    assert!(home.app("web").pid() != pid && !home.ok("rollout history web").stdout.contains("health"));
}

/// `depends_on: {db: "healthy"}` waits for the checks, not only for the process.
#[test]
fn dependent_app_waits_for_healthy_checks() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    home.write("server.js", SERVER);
    let mut db = quick_check(port);
    db["http"]["action"] = json!("none");
    let more = json!({"name": "db", "script": "server.js", "env": {"PORT": port}});
    db.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let web = json!({"name": "web", "script": fixture(), "args": "hold", "depends_on": {"db": "healthy"}, "depends_timeout": 600_000});
    let file = config(&home, &json!({"apps": [db, web]}));
    let mut start = home.cmd(format!("start {file}")).command();
    let mut start = start.stdout(std::process::Stdio::null()).spawn().unwrap();
    home.wait_until("db runs", || home.run("jlist").stdout.contains("health_status"));
    wait_health(&home, "db", "unhealthy");
    assert_eq!((home.app("db").status(), home.app("web").status()), ("online", "launching"));
    home.write("well", "");
    assert!(start.wait().unwrap().success());
    assert_eq!((home.app("web").status(), status(&home, "db").as_str()), ("online", "healthy"));
}
