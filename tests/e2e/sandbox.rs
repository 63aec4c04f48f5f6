//! Sandboxes: what a confined app can and cannot do.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, ListedApp, Subject, fixture_path, free_port, free_ports, get, needs_program, needs_root, nodes, set_mode};
use serde_json::{Value, json};

use crate::opened_port::{SERVER, all_answer, reloads_without_failures};
use crate::setup::{binary, home, home_as_pm2, refusing, start_app, start_sleeper};

/// User that owns no other files.
const STRANGER: u32 = 54_321;

/// Folder for homes: a confined app may write to `/tmp`, where those of other tests are.
const FOLDER: &str = "/srv";

/// Home outside `/tmp`.
struct Ground {
    home: Home,
    /// Contains the copy of the binary that an ordinary user may execute.
    _owner: Option<Home>,
}

impl std::ops::Deref for Ground {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

/// Creates a home outside `/tmp`. For an ordinary user, its folders belong to that user.
fn ground(uid: Option<u32>) -> Ground {
    let owner = Home::in_folder(Subject::Ostler(binary()), Path::new(FOLDER));
    let Some(uid) = uid else { return Ground { home: owner, _owner: None } };
    let copy = owner.root().join("bin/ostler-copy");
    fs::copy(binary(), &copy).unwrap();
    set_mode(&copy, 0o755);
    let mut home = Home::in_folder(Subject::Ostler(copy), Path::new(FOLDER));
    for folder in ["work", "user"] {
        chown(home.root().join(folder), Some(uid), Some(uid)).unwrap();
    }
    let dir = home.root().join("user/.home");
    home.set_dir(dir);
    Ground { home, _owner: Some(owner) }
}

/// Writes an app that makes these attempts into a folder of its own, and returns its description.
#[track_caller]
fn probe(home: &Home, name: &str, attempts: &[String], sandbox: Value) -> Value {
    let folder = format!("apps/{name} app");
    home.write(&format!("{folder}/attempts"), attempts.join("\n"));
    let script = home.write(&format!("{folder}/probe.py"), fs::read(fixture_path("sandbox/probe.py")).unwrap());
    let cwd = home.work().join(&folder);
    json!({ "name": name, "script": script, "interpreter": "/usr/bin/python3", "args": ["attempts"], "cwd": cwd, "sandbox": sandbox })
}

/// Returns the results of the attempts, once all are made.
#[track_caller]
fn results(home: &Home, name: &str) -> String {
    home.wait_log(&format!("{name}-out.log"), "done");
    home.log(&format!("{name}-out.log"))
}

#[track_caller]
fn assert_results(home: &Home, name: &str, expected: &[(String, &str)]) {
    let seen = results(home, name);
    let wrong: Vec<String> = expected
        .iter()
        .map(|(attempt, result)| format!("{attempt}: {result}"))
        .filter(|line| !seen.lines().any(|other| other == line))
        .collect();
    assert!(wrong.is_empty(), "expected {wrong:#?}\nin\n{seen}\n{}", home.log(&format!("{name}-error.log")));
}

fn attempts(expected: &[(String, &str)]) -> Vec<String> {
    expected.iter().map(|(attempt, _)| attempt.clone()).collect()
}

fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Tests the rules of `web` for files, ports and signals.
#[track_caller]
fn web_is_confined(home: &Home, uid: Option<u32>) {
    start_in(
        home,
        uid,
        &json!({ "name": "other", "script": home.write("apps/other/run.sh", "#!/bin/sh\necho secret\nexec sleep 1002\n") }),
    );
    home.wait_log("other-out.log", "secret");
    let other = home.app("other").pid();
    let ports = free_ports(2);
    let own = home.work().join("apps/web app");
    fs::create_dir_all(own.join("my data")).unwrap();
    let file = home.root().join("user/private");
    fs::write(&file, "x").unwrap();
    set_mode(&file, 0o644);
    if let Some(uid) = uid {
        for path in [&home.work().join("apps"), &own, &own.join("my data"), &file] {
            chown(path, Some(uid), Some(uid)).unwrap();
        }
    }
    let expected = [
        (format!("read {}", path(own.join("probe.py"))), "ok"),
        ("read /etc/passwd".into(), "ok"),
        (format!("read {}", path(home.dir().join("logs/other-out.log"))), "EACCES"),
        (format!("read {}", path(home.work().join("apps/other/run.sh"))), "EACCES"),
        (format!("read {}", path(&file)), "EACCES"),
        ("read /root".into(), "EACCES"),
        (format!("write {}", path(own.join("new"))), "EACCES"),
        (format!("write {}", path(own.join("my data/new"))), "ok"),
        (format!("write /tmp/ot-sandbox-{}", std::process::id()), "ok"),
        ("write /dev/stdout".into(), "ok"),
        (format!("bind {}", ports), "ok"),
        (format!("bind {}", ports + 1), "EACCES"),
        (format!("kill {other}"), "EPERM"),
        (format!("unix {}", path(home.dir().join("ostler.sock"))), "ECONNRESET"),
    ];
    let mut app = probe(home, "web", &attempts(&expected), json!({ "profile": "web", "read_write_paths": ["my data"] }));
    app["port"] = json!(ports);
    start_in(home, uid, &app);
    assert_results(home, "web", &expected);
    home.wait_until("it serves", || get(ports, "/").is_ok_and(|body| body == "hi"));
    let said = home.cmd("describe web").run_as(uid);
    assert!(said.contains("web (files; ") && said.contains(&format!("binds ports: {ports}")), "{said}");
    let _ = fs::remove_file(format!("/tmp/ot-sandbox-{}", std::process::id()));
}

/// Commands of an ordinary user.
trait RunAs {
    fn run_as(self, uid: Option<u32>) -> String;
}

impl RunAs for ostler_testkit::Cmd<'_> {
    #[track_caller]
    fn run_as(self, uid: Option<u32>) -> String {
        let command = match uid {
            Some(uid) => self.uid(uid),
            None => self,
        };
        command.run().ok().all()
    }
}

#[track_caller]
fn start_in(home: &Home, uid: Option<u32>, app: &Value) {
    let name = app["name"].as_str().unwrap();
    let file = home.write(&format!("{name}.json"), json!({ "apps": [app] }).to_string());
    home.cmd(format!("start {file} --allow-foreign-file")).run_as(uid);
}

#[test]
fn web_confines_an_app_of_root() {
    needs_root!();
    web_is_confined(&ground(None), None);
}

#[test]
fn web_confines_an_app_of_an_ordinary_user() {
    needs_root!();
    web_is_confined(&ground(Some(STRANGER)), Some(STRANGER));
}

#[test]
fn web_confines_an_app_with_a_uid() {
    needs_root!();
    let home = ground(None);
    let expected = [("read /etc/passwd".to_owned(), "ok"), ("read /root".to_owned(), "EACCES"), ("status CapPrm".to_owned(), "ok")];
    let mut app = probe(&home, "web", &attempts(&expected), json!("web"));
    app["uid"] = json!(STRANGER);
    app["gid"] = json!(STRANGER);
    start_app(&home, &app);
    assert_results(&home, "web", &expected);
    assert!(home.log("web-out.log").contains("status CapPrm:\t0000000000000000"), "{}", home.log("web-out.log"));
}

#[test]
fn strict_refuses_connections_and_system_calls() {
    needs_root!();
    let home = ground(None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port_of = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let mut expected = vec![
        (format!("connect {}", port_of(&listener)), "ok"),
        (format!("connect {}", port_of(&other)), "EACCES"),
        ("family 1".to_owned(), "EAFNOSUPPORT"),
        ("family 2".to_owned(), "ok"),
        ("status CapBnd".to_owned(), "ok"),
        ("status NoNewPrivs".to_owned(), "ok"),
        ("execute /tmp/ot-program".to_owned(), "EACCES"),
    ];
    if cfg!(target_arch = "x86_64") {
        // ptrace, mount, bpf, keyctl, unshare, io_uring_setup, userfaultfd, perf_event_open
        expected.extend([101, 165, 321, 250, 272, 425, 323, 298].map(|number| (format!("raw {number}"), "EPERM")));
    }
    let app = probe(&home, "strict", &attempts(&expected), json!({ "profile": "strict", "connect_ports": [port_of(&listener)] }));
    start_app(&home, &app);
    assert_results(&home, "strict", &expected);
    let log = home.log("strict-out.log");
    assert!(log.contains("status CapBnd:\t0000000000000000") && log.contains("status NoNewPrivs:\t1"), "{log}");
}

#[test]
fn sockets_and_notifications_work_in_a_sandbox() {
    needs_root!();
    let home = ground(None);
    let port = free_port();
    let expected = [("inherited 3".to_owned(), "ok"), ("notify READY=1".to_owned(), "ok")];
    for profile in ["web", "strict"] {
        let mut app = probe(&home, profile, &attempts(&expected), json!(profile));
        app["listen"] = json!(port);
        app["ready"] = json!("notify");
        start_app(&home, &app);
        assert_results(&home, profile, &expected);
        home.wait_status(profile, "online");
        home.ok(format!("delete {profile}"));
    }
}

#[test]
fn custom_sandbox_restricts_what_it_names() {
    needs_root!();
    let home = ground(None);
    let expected = [
        (format!("read {}", path(home.write("apps/elsewhere/file", "x"))), "ok"),
        (format!("write {}", path(home.work().join("apps/elsewhere/file"))), "EACCES"),
        (format!("write {}", path(home.work().join("apps/custom app/data/x"))), "ok"),
        ("write /tmp/ot-private".to_owned(), "ok"),
        ("execute /tmp/ot-private-program".to_owned(), "ok"),
        ("status CapBnd".to_owned(), "ok"),
    ];
    fs::create_dir_all(home.work().join("apps/custom app/data")).unwrap();
    let sandbox = json!({ "read_only": true, "read_write_paths": ["data", "/tmp"], "private_tmp": true, "capabilities": ["CAP_KILL"] });
    // A private `/tmp` hides the folder of the same name that the rule allows.
    let output =
        home.run(format!("start {}", home.write("bad.json", json!({ "apps": [probe(&home, "custom", &[], sandbox)] }).to_string())));
    assert!(output.all().contains("a private /tmp would hide /tmp"), "{}", output.all());
    let sandbox = json!({ "read_only": true, "read_write_paths": ["data"], "private_tmp": true, "capabilities": ["CAP_KILL"] });
    start_app(&home, &probe(&home, "custom", &attempts(&expected), sandbox));
    assert_results(&home, "custom", &expected);
    assert!(home.log("custom-out.log").contains("status CapBnd:\t0000000000000020"), "{}", home.log("custom-out.log"));
    assert!(!Path::new("/tmp/ot-private").exists(), "its /tmp is separate");
}

#[test]
fn link_that_the_app_could_have_made_is_not_followed() {
    needs_root!();
    let home = ground(None);
    let data = home.work().join("apps/web app/data");
    fs::create_dir_all(&data).unwrap();
    symlink("/root", data.join("fixed")).unwrap();
    let sandbox = json!({ "profile": "web", "read_write_paths": ["data"], "read_only_paths": ["data/fixed"] });
    let app = probe(&home, "web", &["read /root".into()], sandbox);
    let file = home.write("web.json", json!({ "apps": [app] }).to_string());
    let output = home.run(format!("start {file}"));
    assert!(output.all().contains("which the app may write to"), "{}", output.all());
    // A missing path has a hint, and a `-` allows it.
    let app = |name: &str| probe(&home, "web", &["read /etc/passwd".into()], json!({ "profile": "web", "read_write_paths": [name] }));
    let output = home.run(format!("start {}", home.write("web.json", json!({ "apps": [app("gone")] }).to_string())));
    assert!(output.all().contains("write \"-"), "{}", output.all());
    start_app(&home, &app("-gone"));
    assert_results(&home, "web", &[("read /etc/passwd".into(), "ok")]);
}

#[test]
fn kernel_without_landlock_is_reported_and_strict_does_not_start() {
    needs_root!();
    let home = ground(None);
    let web = probe(&home, "web", &["read /root".into()], json!("web"));
    let file = home.write("web.json", json!({ "apps": [web] }).to_string());
    let output = home.cmd(format!("start {file}")).after(&refusing("ENOSYS", "landlock_create_ruleset")).run().ok();
    assert!(output.all().contains("files are not restricted"), "{}", output.all());
    results(&home, "web");
    let described = home.ok("describe web").all();
    assert!(described.contains("NOT: files are not restricted"), "{described}");
    assert_eq!(home.ok("why web --json").json()[0]["sandbox"]["missing"][0], "files");
    let doctor = home.cmd("doctor").after(&refusing("ENOSYS", "landlock_create_ruleset")).run().all();
    assert!(doctor.contains("files are not restricted: the kernel has no Landlock"), "{doctor}");
    let strict = probe(&home, "strict", &[], json!("strict"));
    let output = home.run(format!("start {}", home.write("strict.json", json!({ "apps": [strict] }).to_string())));
    assert!(output.all().contains("files are not restricted") && output.all().contains("required: false"), "{}", output.all());
    assert!(!home.ok("ls").all().contains("strict"), "it does not start");
}

#[test]
fn changed_sandbox_applies_after_a_restart_and_is_saved() {
    needs_root!();
    let home = ground(None);
    let secret = home.write("apps/elsewhere/file", "x");
    let attempt = format!("read {secret}");
    let started = |sandbox: Value| start_app(&home, &probe(&home, "web", std::slice::from_ref(&attempt), sandbox));
    started(json!("web"));
    assert_results(&home, "web", &[(attempt.clone(), "EACCES")]);
    home.ok("flush web");
    started(json!({ "profile": "web", "read_only_paths": [secret] }));
    assert_results(&home, "web", &[(attempt.clone(), "ok")]);
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    home.wait_status("web", "online");
    assert!(home.ok("describe web").all().contains("web (files"));
    assert!(home.ok("ls").all().contains("SANDBOX"));
    assert_eq!(home.ok("why web --json").json()[0]["sandbox"]["profile"], "web");
}

#[test]
fn node_cluster_serves_reloads_and_asks_for_declared_ports_only() {
    for node in nodes() {
        let home = ground(None);
        let ports = free_ports(2);
        let script = home.write(
            "apps/node app/server.js",
            "const http = require('http');\n\
             http.createServer((_, answer) => answer.end(String(process.pid))).listen(+process.env.PORT);\n\
             http.createServer().on('error', error => console.log('other port', error.code)).listen(+process.env.OTHER);\n\
             try { require('fs').readFileSync('/root') } catch (error) { console.log('root', error.code) }\n\
             process.send && process.send('ready');\n",
        );
        let path = std::env::var("PATH").unwrap();
        let env = json!({ "PORT": ports, "OTHER": ports + 1, "PATH": format!("{}:{path}", node.dir().display()) });
        start_app(
            &home,
            &json!({ "name": "node", "script": script, "instances": 2, "exec_mode": "cluster", "env": env, "sandbox": "web" }),
        );
        home.wait_log("node-out-0.log", "other port EACCES");
        home.wait_log("node-out-0.log", "root EACCES");
        all_answer(&home, ports, 2);
        reloads_without_failures(&home, "node", ports);
    }
}

#[test]
fn unmodified_server_shares_its_declared_port_only() {
    needs_program!("/usr/bin/python3");
    let home = ground(None);
    let ports = free_ports(2);
    let script = home.write("apps/py/server.py", SERVER);
    let app = |name: &str, port: u16, declared: u16| {
        json!({
            "name": name, "exec_mode": "cluster", "instances": 2, "interpreter": "/usr/bin/python3", "script": script,
            "args": ["127.0.0.1", port.to_string()], "port": declared, "sandbox": "web", "max_restarts": 1,
        })
    };
    start_app(&home, &app("py", ports, ports));
    all_answer(&home, ports, 2);
    reloads_without_failures(&home, "py", ports);
    let file = home.write("other.json", json!({ "apps": [app("other", ports + 1, ports)] }).to_string());
    home.run(format!("start {file}"));
    home.wait_log("other-error-2.log", "Permission denied");
    home.wait_status("other", "errored");
    let why = home.ok("why other").all();
    assert!(why.contains("probable cause") && why.contains("sandbox learn"), "{why}");
}

#[test]
fn runtimes_start_in_web() {
    let home = ground(None);
    let started = |name: &str, app: Value| {
        start_app(&home, &app);
        home.wait_log(&format!("{name}-out.log"), "started");
        home.wait_status(name, "online");
    };
    for node in nodes() {
        let name = format!("node{}", node.major);
        let script =
            home.write(&format!("apps/{name}/x.js"), "console.log('started', require('os').cpus().length); setInterval(() => {}, 1e6)");
        let program = node.dir().join("node");
        for profile in ["web", "strict"] {
            let name = format!("{name}-{profile}");
            started(&name, json!({ "name": name, "script": script, "interpreter": program, "sandbox": profile }));
        }
    }
    let python = home.write("apps/python/x.py", "import ssl, threading, time\nprint('started', flush=True)\ntime.sleep(1000)\n");
    started("python", json!({ "name": "python", "script": python, "sandbox": "strict" }));
    if ostler_testkit::program("java").is_some() {
        let text =
            "class X { public static void main(String[] a) throws Exception { System.out.println(\"started\"); Thread.sleep(1000000); } }";
        let java = home.write("apps/java/X.java", text);
        started(
            "java",
            json!({ "name": "java", "script": "java", "args": [java], "cwd": home.work().join("apps/java"), "sandbox": "web" }),
        );
    }
}

#[test]
fn learn_proposes_rules() {
    let home = ground(None);
    let port = free_port();
    let shared = home.write("shared models/m.bin", "x");
    let script = home.write(
        "apps/learned/run.py",
        format!(
            "import socket, time, os\nos.makedirs('data', exist_ok=True)\na = open('data/db', 'w')\nb = open({shared:?})\n\
             s = socket.create_server(('127.0.0.1', {port}))\nprint('runs', flush=True)\ntime.sleep(1000)\n"
        ),
    );
    let cwd = home.work().join("apps/learned");
    start_app(&home, &json!({ "name": "learned", "script": script, "interpreter": "/usr/bin/python3", "cwd": cwd }));
    home.wait_log("learned-out.log", "runs");
    let seen = home.ok("sandbox learn learned --for 300ms --json").json();
    let expected = json!({
        "profile": "web",
        "read_write_paths": [cwd.join("data")],
        "read_only_paths": [PathBuf::from(&shared).parent().unwrap()],
        "bind_ports": [port],
    });
    assert_eq!(seen["sandbox"], expected);
    assert!(home.ok("sandbox learn learned --for 100ms --strict").all().contains("\"profile\": \"strict\""));
}

#[test]
fn option_confines_an_app_but_not_as_pm2() {
    let home = home();
    start_sleeper(&home, "plain", 1003);
    assert!(!home.ok("ls").all().contains("SANDBOX"));
    let script = home.write("run.sh", "#!/bin/sh\necho started\nexec sleep 1004\n");
    home.ok(format!("start {script} --name confined --sandbox web"));
    home.wait_log("confined-out.log", "started");
    let app: ListedApp = home.app("confined");
    assert_eq!(app.text("sandbox"), "web");
    home.run(format!("start {script} --name bad --sandbox wbe")).fails().says("did you mean");
    home_as_pm2().run(format!("start {script} --sandbox web")).fails().says("unknown option");
}
