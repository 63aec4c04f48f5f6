//! A hostile Node app of another user names root's paths to root's dashboard and command line. All
//! tests here need root and are skipped without it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, free_port, needs_program, needs_root};
use serde_json::json;

use crate::setup::{home, start_app};
use crate::web::Web;

/// A uid that owns nothing except its folder here.
const USER: u32 = 54_321;

/// Makes ostler's own preload name the file `$NAMES`: its folder, its two numbers, and an `open`
/// that creates nothing.
const SUBVERTS_THE_PRELOAD: &str = "\
const [, folder, pid, at] = /^(.*)\\/ostler-(\\d+)-(\\d+)\\./.exec(process.env.NAMES);
require('os').tmpdir = () => folder;
Object.defineProperty(process, 'pid', { value: Number(pid) });
Date.now = () => Number(at);
const fs = require('fs');
fs.openSync = () => 1e6;
fs.writeSync = (fd, text) => text.length;
fs.closeSync = () => {};
setInterval(() => {}, 1000);
";

/// Answers instead of the preload, and names the file `$NAMES`.
const ANSWERS_ITSELF: &str = "\
process.on('internalMessage', (message) => {
  if (message.act === 'profile') process.send({ cmd: 'NODE_OSTLER', act: 'profiled', call: message.call, file: process.env.NAMES });
});
setInterval(() => {}, 1000);
";

/// Starts a script as the user, and returns when it runs.
fn start(home: &Home, name: &str, code: &str, names: &Path) {
    let script = home.write(&format!("{name}.js"), code);
    let user = USER.to_string();
    start_app(home, &json!({ "name": name, "script": script, "uid": user, "gid": user, "env": { "NAMES": names } }));
}

/// Creates root's files that an app may name: a world-readable file, and a file in a closed folder.
fn roots_files(home: &Home) -> Vec<PathBuf> {
    let folder = |name: &str, mode| {
        let folder = home.work().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        folder
    };
    let files = [folder("open", 0o755), folder("closed", 0o700)].map(|folder| folder.join("ostler-1-2.cpuprofile"));
    for file in &files {
        fs::write(file, "{\"nodes\": \"ROOTS\"}").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    files.into()
}

#[track_caller]
fn are_untouched(files: &[PathBuf]) {
    for file in files {
        assert_eq!(fs::read_to_string(file).unwrap(), "{\"nodes\": \"ROOTS\"}");
        assert_eq!(fs::metadata(file).unwrap().uid(), 0);
    }
}

#[test]
fn dashboard_serves_no_root_file_as_profile() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let files = roots_files(&home);
    let mut shown = Vec::new();
    for (number, file) in files.iter().enumerate() {
        for (word, code) in [("subverts", SUBVERTS_THE_PRELOAD), ("answers", ANSWERS_ITSELF)] {
            let name = format!("{word}{number}");
            start(&home, &name, code, file);
            assert_eq!(web.post(&format!("/api/apps/{name}/profile"), &json!({ "kind": "cpu", "seconds": 0.05 })).status, 202);
            home.wait_until("nothing is profiled", || web.get("/api/profiles").json()["running"] == json!([]));
            let all = web.get("/api/profiles").json();
            shown.extend(all["profiles"].as_array().unwrap().iter().map(|one| (name.clone(), one["bytes"].clone())));
            are_untouched(&files);
        }
    }
    assert_eq!(shown, []);
}

#[test]
fn profile_command_copies_no_root_file() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let mut files = roots_files(&home);
    let plain = home.work().join("open/shadow");
    fs::write(&plain, "{\"nodes\": \"ROOTS\"}").unwrap();
    files.push(plain);
    for (number, file) in files.iter().enumerate() {
        let name = format!("answers{number}");
        start(&home, &name, ANSWERS_ITSELF, file);
        let output = home.run(format!("profile {name} --for 10ms"));
        assert!(output.code == 1 && !home.work().join(format!("{name}-0.cpuprofile")).exists(), "{output}");
        are_untouched(&files);
    }
}

#[test]
fn profile_of_app_of_other_user_is_taken() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    start(&home, "honest", "setInterval(() => {}, 10);\n", Path::new("/"));
    let output = home.ok("profile honest --for 10ms --json");
    let taken = output.json();
    let file = PathBuf::from(taken[0]["file"].as_str().unwrap());
    assert!(file.starts_with(home.work()) && fs::read_to_string(&file).unwrap().contains("nodes"), "{taken}");
    assert_eq!(web.post("/api/apps/honest/profile", &json!({ "kind": "heap" })).status, 202);
    home.wait_until("it is kept", || web.get("/api/profiles").json()["profiles"].as_array().is_some_and(|all| all.len() == 1));
}

#[test]
fn dashboard_does_not_connect_to_root_socket() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let _web = Web::on(&home, "--no-otlp");
    let folder = home.work().join("closed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let socket = folder.join("root.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    // Only the folder is closed: everybody may open the socket itself.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&socket, Some(USER), Some(USER)).unwrap();
    let port = free_port();
    let lies = "process.on('internalMessage', (m) => { if (m.act === 'reach') process.send({ cmd: 'NODE_OSTLER', act: 'reached', call: m.call, path: process.env.NAMES }); });\n";
    let script = home.write("lies.js", format!("{lies}require('http').createServer((q, r) => r.end('x 1\\n')).listen({port})"));
    let app = json!({
        "name": "lies", "script": script, "exec_mode": "cluster", "instances": 2, "uid": USER.to_string(), "gid": USER.to_string(),
        "env": { "NAMES": socket }, "scrape": port,
    });
    let file = home.write("lies.json", json!({ "apps": [app] }).to_string());
    home.ok(format!("start {file}"));
    home.wait_until("the dashboard has tried", || home.log("ostler-web-error.log").contains("scrape: lies"));
    assert!(home.log("ostler-web-error.log").contains("cannot connect to its preload"), "{}", home.log("ostler-web-error.log"));
    assert!(listener.accept().is_err(), "root's dashboard has connected to root's socket");
}
