//! Exceptions of apps: the dashboard collects and groups them; `errors` shows them in the terminal.

use ostler_testkit::{Home, kill, needs_program};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::home;
use crate::web::Web;

/// Returns the groups of an app.
fn errors(web: &Web<'_>, app: &str) -> Vec<Value> {
    web.get(&format!("/api/errors?app={app}")).json()["errors"].as_array().unwrap().clone()
}

/// Waits until an app has groups for which `holds` is true, and returns them.
fn wait_errors(home: &Home, web: &Web<'_>, app: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Vec::new();
    home.wait_until(&format!("the errors of {app}"), || {
        last = errors(web, app);
        holds(&last)
    });
    last
}

/// An app that throws on each input line and keeps running.
const THROWS: &str = "
let n = 0;
function connect(id) { throw new RangeError(`no row ${id} of ${Math.random().toString(36)}`); }
process.stdin.on('data', (text) => {
  for (const line of String(text).trim().split('\\n')) {
    for (let i = 0; i < Number(line); i++) {
      console.error('token is s3cret-t0ken at', ++n);
      try { connect(n); } catch (error) { console.error(error); }
    }
  }
});
setInterval(() => {}, 1000);
";

fn start(home: &Home, name: &str, text: &str, options: &str) {
    let script = home.write(&format!("{name}.js"), text);
    home.ok(format!("start {script} --name {name} {options}"));
}

#[test]
fn errors_with_random_ids_are_one_group_without_secrets() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let script = home.write("api.js", THROWS);
    home.cmd(format!("start {script} --name api")).env("API_TOKEN", "s3cret-t0ken").run().code(0);
    home.ok("send api 400");
    home.ok("send api 100");
    let list = wait_errors(&home, &web, "api", |list| list.len() == 1 && list[0]["count"] == 500);
    let group = &list[0];
    assert_eq!((&group["type"], &group["state"], &group["release"]["release"]), (&json!("RangeError"), &json!("open"), &json!(1)));
    assert!(group["culprit"].as_str().unwrap().starts_with("connect ("), "{group}");
    let id = group["id"].as_str().unwrap();
    let full = web.get(&format!("/api/errors/{}", &id[..8])).json();
    assert_eq!((&full["id"], &full["sample"]["frames"][0]["function"]), (&group["id"], &json!("connect")));
    let before = full["sample"]["before"].to_string();
    assert!(before.contains("token is ****** at") && !before.contains("s3cret"), "{before}");
    home.wait_until("it is kept", || {
        std::fs::read_to_string(home.dir().join("web/errors.json")).is_ok_and(|text| text.contains("\"count\":500"))
    });
    assert!(!std::fs::read_to_string(home.dir().join("web/errors.json")).unwrap().contains("s3cret"));
    home.ok("errors").says("api").says("RangeError: no row").says("500 ×").says("release 1").says(&id[..8]);
    home.ok("errors api").says("500 ×");
    home.ok(format!("errors {}", &id[..8])).says("at connect (").says("token is ******").says("ostler logs api --err --grep RangeError");
    let shown = home.ok("errors --json").json();
    assert_eq!((&shown[0]["count"], &shown[0]["state"]), (&json!(500), &json!("open")));
}

/// The dashboard reads logs in a process of its own. Exceptions that an app prints before that
/// process reads are not lost.
#[test]
fn errors_before_the_reader_of_logs_starts_are_counted() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let mut readers = Vec::new();
    home.wait_until("it reads logs", || {
        readers = home.processes().into_iter().filter(|process| process.cmdline.contains("--err")).collect();
        !readers.is_empty()
    });
    kill(readers[0].pid, Signal::KILL);
    let text = "for (let n = 0; n < 5; n++) console.error(new RangeError(`no row ${n}`));\nsetInterval(() => {}, 1000);";
    start(&home, "api", text, "");
    home.wait_log("api-error.log", "no row 4");
    wait_errors(&home, &web, "api", |list| list.len() == 1 && list[0]["count"] == 5);
}

#[test]
fn python_exceptions_are_grouped() {
    needs_program!("python3");
    let home = home();
    let web = Web::on(&home, "");
    let python = "import logging, sys, time\ndef work(n):\n    raise ValueError('bad %d' % n)\n\
        for n in range(7):\n    try: work(n)\n    except ValueError: logging.exception('while working')\nsys.stderr.flush()\ntime.sleep(1000)\n";
    let script = home.write("py.py", python);
    home.ok(format!("start {script} --name py --interpreter python3"));
    let list = wait_errors(&home, &web, "py", |list| list.len() == 1 && list[0]["count"] == 7);
    assert_eq!(list[0]["type"], "ValueError");
    let go =
        "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/app/main.go:10 +0x25\n";
    let java = "Exception in thread \"main\" java.lang.IllegalStateException: no host 7\n\tat app.Main.connect(Main.java:2)\n";
    let rust = "\nthread 'main' (7) panicked at src/main.rs:2:5:\nno host\nnote: run with `RUST_BACKTRACE=1`\n";
    let reports = home.write("reports.txt", format!("{go}listening\n\n{java}\nlistening\n{rust}"));
    let script = home.write("reports.sh", format!("cat {reports} >&2\nexec sleep 1000\n"));
    home.ok(format!("start {script} --name sh"));
    let list = wait_errors(&home, &web, "sh", |list| list.len() == 3);
    let mut kinds: Vec<&str> = list.iter().map(|group| group["type"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["java.lang.IllegalStateException", "panic", "panic"]);
}

#[test]
fn crash_counts_once_even_without_output() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let text = "class DbError extends Error {}\nfunction work() { throw new DbError('gone'); }\nsetTimeout(work, 50);";
    start(&home, "loud", text, "--no-autorestart");
    start(&home, "mute", text, "--no-autorestart --error /dev/null");
    start(&home, "late", "setTimeout(() => Promise.reject(new TypeError('no database')), 50);", "--no-autorestart --error /dev/null");
    let list = wait_errors(&home, &web, "mute", |list| list.len() == 1);
    assert_eq!((&list[0]["type"], &list[0]["count"]), (&json!("DbError"), &json!(1)));
    let list = wait_errors(&home, &web, "late", |list| list.len() == 1);
    assert_eq!(list[0]["type"], "TypeError");
    // An app reports a crash itself, and its log shows the crash. When the second crash is visible
    // in the log, both reports of the first have arrived.
    home.wait_status("loud", "stopped");
    home.ok("restart loud");
    home.wait_log("loud-error.log", "DbError");
    let twice = |list: &[Value]| list.len() == 1 && list[0]["count"] == 2;
    let id = wait_errors(&home, &web, "loud", twice)[0]["id"].as_str().unwrap().to_owned();
    home.wait_until("the lines were seen, too", || {
        let frames = web.get(&format!("/api/errors/{id}")).json()["sample"]["before"].as_array().unwrap().len();
        frames > 0
    });
    assert!(twice(&errors(&web, "loud")), "{:?}", errors(&web, "loud"));
}

#[test]
fn resolved_error_reopens_and_survives_a_kill() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    start(&home, "api", THROWS, "");
    home.ok("send api 3");
    let id = wait_errors(&home, &web, "api", |list| list.len() == 1 && list[0]["count"] == 3)[0]["id"].as_str().unwrap().to_owned();
    let viewer = web.with("web token looker");
    assert_eq!(viewer.post(&format!("/api/errors/{id}/resolve"), &json!({})).status, 403);
    assert_eq!(web.post("/api/errors/nothing/resolve", &json!({})).status, 404);
    assert_eq!(web.post(&format!("/api/errors/{id}/resolve"), &json!({})).json()["done"], true);
    assert_eq!(errors(&web, "api")[0]["state"], "resolved");
    home.wait_until("it is kept", || home.dir().join("web/errors.json").exists());
    home.ok("errors").says("no exceptions");
    home.ok("errors --all").says("resolved");
    // Recorded exceptions survive the death of any process.
    let pid = home.app("ostler-web").pid();
    kill(pid, Signal::KILL);
    home.wait_app("ostler-web", "another process", |item| item.pid() != pid && item.status() == "online");
    home.wait_until("it answers", || std::net::TcpStream::connect(("127.0.0.1", web.port)).is_ok());
    assert_eq!(errors(&web, "api")[0]["count"], 3);
    home.ok("reload api");
    home.wait_until("somebody reads the log again", || {
        home.ok("send api 1");
        errors(&web, "api")[0]["state"] == "returned"
    });
    let group = &errors(&web, "api")[0];
    let release = group["returned"]["release"].as_u64().unwrap();
    assert!(release > 1 && group["count"].as_u64().unwrap() >= 4, "{group}");
    home.wait_until("it is shown", || home.ok("errors").stdout.contains(&format!("recurred in release {release}")));
    // The terminal offers the same actions.
    home.ok(format!("errors --resolve {}", &id[..8])).says("is resolved");
    assert_eq!(errors(&web, "api")[0]["state"], "resolved");
    assert_eq!(home.run("errors --resolve 00000000").code, 4);
    assert_eq!(home.run("errors --resolve x").code, 2);
}

#[test]
fn errors_reads_log_files_without_dashboard() {
    needs_program!("node");
    let home = home();
    assert!(home.run("errors --resolve 12345678").stderr.contains("web enable"));
    start(&home, "api", THROWS, "");
    home.ok("send api 20");
    home.wait_until("they are shown", || home.ok("errors").stdout.contains("20 ×"));
    home.ok("errors").says("web enable");
    let shown = home.ok("errors api --json").json();
    assert_eq!((&shown[0]["count"], &shown[0]["type"]), (&json!(20), &json!("RangeError")));
    assert!(!home.dir().join("web").exists(), "nothing is kept");
}

#[test]
fn hostile_lines_are_bounded_and_namespaces_separate() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let text = "
const long = 'x'.repeat(1 << 20);
process.stderr.write(Buffer.from([0xff, 0xfe, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x0a]));
console.error(long);
for (let n = 0; n < 500; n++) console.error(`E${'abcdefghij'[n % 10]}${'klmnopqrst'[n % 100 / 10 | 0]}${'uvwxyz'[n / 100 | 0]}Error: <b>${long.slice(0, 5000)}\\u001b[31m\\n    at f (/srv/<i>.js:1:1)`);
console.error('Traceback (most recent call last):\\n'.repeat(2000));
console.error('EndError: end\\n    at f (/srv/app.js:1:1)');
setInterval(() => {}, 1000);";
    start(&home, "wild", text, "--namespace lab");
    let list = wait_errors(&home, &web, "wild", |list| list.iter().any(|group| group["type"] == "EndError"));
    assert!(list.len() <= 300 && list.len() > 100, "{}", list.len());
    assert!(list.iter().all(|group| group["message"].as_str().unwrap().len() <= 1000));
    let other = web.with("web token other --namespace shop --role operator");
    assert_eq!((errors(&other, "wild").len(), errors(&web.with("web token lab --namespace lab"), "wild").len()), (0, list.len()));
    let id = list[0]["id"].as_str().unwrap();
    assert_eq!(other.get(&format!("/api/errors/{id}")).status, 404);
    assert_eq!(other.post(&format!("/api/errors/{id}/resolve"), &json!({})).status, 404);
    let output = home.ok("errors").stdout;
    assert!(!output.contains('\u{1b}'), "what apps write does not reach the terminal as it is");
}

/// An error is one line, `error: …`. A hint with a similar name or file follows.
#[test]
fn a_misspelt_name_or_file_gets_a_suggestion() {
    let home = home();
    home.ok("start sleep --name payments -- 1000");
    home.write("server.js", "");
    home.write("shop.config.js", "module.exports = { apps: [] }");
    for (command, hint) in [
        ("restart paymnets", "`payments`"),
        ("reload paymnets", "`payments`"),
        ("describe paymnets", "`payments`"),
        ("scale paymnets 2", "`payments`"),
        ("reset paymnets", "`payments`"),
        ("env paymnets", "`payments`"),
        ("sendSignal SIGHUP paymnets", "`payments`"),
        ("logs paymnets --nostream", "`payments`"),
        ("start servr.js", "server.js`"),
        ("start shp.config.js", "shop.config.js`"),
        ("stop shp.config.js", "shop.config.js`"),
        ("restrat payments", "restart`"),
        ("list --srot name", "`--sort`"),
    ] {
        let output = home.run(command).fails();
        let lines: Vec<&str> = output.stderr.lines().filter(|line| !line.starts_with("Sending signal ")).collect();
        assert!(lines.len() == 2 && lines[0].starts_with("error: "), "{output}");
        assert!(lines[1].starts_with("hint: did you mean ") && lines[1].contains(hint), "{output}");
    }
    // No name is similar: the hint names the command that lists the names.
    home.run("restart zzz").code(4).says("error: no app, namespace or script is named zzz").says("hint: `ostler list`");
    assert_eq!(home.app("payments").status(), "online");
}

/// The reported place is the end of the text, not the open bracket.
#[test]
fn a_truncated_file_is_reported_at_its_end() {
    let home = home();
    for (text, place) in [
        ("{\"apps\": [\n  {\"name\": \"a\",\n   \"script\": \"x.js\"", "3:20: ✗ the file ends before the { of line 2 is closed"),
        ("{\"apps\": [{\"name\": \"a", "1:22: ✗ the file ends before the \" of line 1 is closed"),
        ("// apps\n{apps: [", "2:9: ✗ the file ends before the [ of line 2 is closed"),
    ] {
        home.run(["validate", &home.write("cut.json", text)]).fails().says(place);
    }
}

#[test]
fn folder_without_an_entry_is_rejected() {
    let home = home();
    std::fs::create_dir(home.work().join("empty")).unwrap();
    home.run("start empty").code(4).says("has neither a package.json nor an index.js");
    home.write("full/index.js", "setInterval(() => {}, 1000)");
    home.ok("start full");
    assert_eq!(home.app("full").status(), "online");
}
