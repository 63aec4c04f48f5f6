//! Profiles of Node apps through the dashboard: over the API, and in a real browser.

use std::os::unix::fs::PermissionsExt as _;

use ostler_testkit::{Home, fixture, free_port, needs_program};
use serde_json::{Value, json};

use crate::setup::home;
use crate::web::Web;
use crate::web_page::{browser, table};

/// Uses CPU in a function with a name, and pauses a little. The function is too long for V8 to
/// inline.
fn burns() -> String {
    let work = "n += Math.sqrt(n + 1); ".repeat(100);
    format!(
        "function burnsWithThisName() {{ const end = Date.now() + 30; let n = 0; while (Date.now() < end) {{ {work} }} return n; }}\nsetInterval(() => burnsWithThisName(), 40);\n"
    )
}

/// Answers with a file that it did not create: a secret of its user.
const LIES: &str = "\
process.on('internalMessage', (message) => {
  if (message.act === 'profile') process.send({ cmd: 'NODE_OSTLER', act: 'profiled', call: message.call, file: process.env.NAMES });
});
setInterval(() => {}, 1000);
";

fn profiles(web: &Web<'_>) -> Value {
    web.get("/api/profiles").json()
}

/// Waits until no profile is running, and returns the list.
fn settled(home: &Home, web: &Web<'_>) -> Value {
    home.wait_until("nothing is profiled", || profiles(web)["running"] == json!([]));
    profiles(web)
}

#[test]
fn profiles_are_taken_kept_downloaded_and_removed() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let app = home.write("app.js", burns());
    home.ok(format!("start {app} --name api -i 2"));
    home.ok(format!("start {app} --name lab --namespace dev"));
    home.ok(format!("start {} --name other -- hold", fixture()));
    let take = |who: &Web<'_>, app: &str, body: &Value| who.post(&format!("/api/apps/{app}/profile"), body);
    let viewer = web.with("web token eyes");
    let operator = web.with("web token hands --role operator");
    let part = web.with("web token part --role admin --namespace dev");
    let cpu = json!({ "kind": "cpu", "seconds": 0.2 });
    assert_eq!(take(&viewer, "api", &cpu).status, 403);
    for (app, body, status) in [
        ("nobody", &cpu, 404),
        ("other", &cpu, 409),
        ("api", &json!({ "kind": "soul" }), 400),
        ("api", &json!({ "kind": "cpu", "seconds": 1e9 }), 400),
        ("api", &json!({ "kind": "cpu", "instance": 99 }), 400),
        ("api", &json!({ "kind": "cpu", "file": "/etc/passwd" }), 400),
        ("api", &json!({ "kind": "heap" }), 403),
    ] {
        let answer = take(&operator, app, body);
        assert_eq!(answer.status, status, "{app} {body}: {answer:?}");
    }
    assert_eq!(take(&part, "api", &cpu).status, 404, "of another namespace");
    // All instances, and then one instance; each has its own profile.
    assert_eq!(take(&operator, "api", &cpu).status, 202);
    let all = settled(&home, &web);
    assert_eq!((all["profiles"].as_array().unwrap().len(), &all["failed"]), (2, &json!([])), "{all}");
    assert_eq!(take(&operator, "api", &json!({ "kind": "memory", "seconds": 0.2, "instance": 1 })).status, 202);
    assert_eq!(take(&web, "lab", &json!({ "kind": "heap" })).status, 202);
    let all = settled(&home, &web);
    let list = all["profiles"].as_array().unwrap();
    assert_eq!(list.len(), 4, "{all}");
    for one in list {
        let kind = one["kind"].as_str().unwrap();
        let (key, role) = match kind {
            "cpu" => ("nodes", 200),
            "memory" => ("head", 200),
            _ => ("snapshot", 403),
        };
        let path = format!("/api/profiles/{}", one["id"].as_str().unwrap());
        let answer = web.get(&path);
        assert!(!answer.json()[key].is_null() && answer.body.len() as u64 == one["bytes"].as_u64().unwrap(), "{one}");
        // Whether a function shows up in a short CPU profile depends on the machine; the heap
        // always contains it.
        assert!(kind != "heap" || answer.body.contains("burnsWithThisName"), "{one}");
        assert_eq!(viewer.get(&path).status, role, "a heap has secrets: {one}");
        assert_eq!(part.get(&path).status, if one["namespace"] == "dev" { 200 } else { 404 });
        assert_eq!(viewer.delete(&path).status, 403);
    }
    assert_eq!(profiles(&part)["profiles"].as_array().unwrap().len(), 1);
    for id in ["x", "..%2F..%2Faudit.log", "1%00", "999"] {
        assert_eq!((web.get(&format!("/api/profiles/{id}")).status, web.delete(&format!("/api/profiles/{id}")).status), (404, 404), "{id}");
    }
    let folder = home.dir().join("web/profiles");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() == 8 && files.iter().all(|file| file.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
    // The profiles survive a restart of the dashboard; an unfinished profile is removed.
    std::fs::write(folder.join("77.part"), "half").unwrap();
    home.ok("restart ostler-web");
    home.wait_until("it answers again", || {
        std::net::TcpStream::connect(("127.0.0.1", web.port)).is_ok() && web.get("/api/profiles").status == 200
    });
    assert_eq!(profiles(&web)["profiles"], all["profiles"]);
    assert!(!folder.join("77.part").exists());
    for one in list {
        assert_eq!(web.delete(&format!("/api/profiles/{}", one["id"].as_str().unwrap())).status, 200);
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let audit = std::fs::read_to_string(home.dir().join("web/audit.log")).unwrap();
    for told in ["\"what\":\"profile cpu\"", "\"what\":\"profile heap\"", "\"what\":\"remove profile\"", "token hands"] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
}

#[test]
fn one_profile_at_a_time_and_errors_are_reported() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let app = home.write("app.js", burns());
    home.ok(format!("start {app} --name api"));
    let long = json!({ "kind": "cpu", "seconds": 300 });
    assert_eq!(web.post("/api/apps/api/profile", &long).status, 202);
    assert_eq!(web.post("/api/apps/api/profile", &long).status, 409);
    assert_eq!(profiles(&web)["running"][0]["by"], "token root");
    home.ok("restart api");
    let all = settled(&home, &web);
    let reason = all["failed"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("exited before it answered") && all["profiles"] == json!([]), "{all}");
}

/// An app names files of its user, but the dashboard serves none of them.
#[test]
fn dashboard_serves_no_file_named_by_an_app() {
    needs_program!("node");
    let home = home();
    let web = Web::on(&home, "");
    let secret = home.write("secret", "BEGIN PRIVATE KEY");
    let names = home.work().join("ostler-1-2.cpuprofile");
    std::os::unix::fs::symlink(&secret, &names).unwrap();
    let app = home.write("lies.js", LIES);
    for (number, named) in [secret.clone(), names.to_string_lossy().into_owned(), "/dev/zero".into(), "x".repeat(5000)].iter().enumerate() {
        let output = home.cmd(["start", &app, "--name", &format!("lies{number}")]).env("NAMES", named).run();
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(web.post(&format!("/api/apps/lies{number}/profile"), &json!({ "kind": "cpu", "seconds": 1 })).status, 202);
        let all = settled(&home, &web);
        assert!(all["profiles"] == json!([]) && all["failed"][0]["app"] == format!("lies{number}"), "{named}: {all}");
    }
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "BEGIN PRIVATE KEY");
}

#[test]
fn page_reads_any_profile_of_an_app() {
    needs_program!("node");
    table("profile_table.mjs", "profile.js");
}

#[test]
fn flame_graph_is_drawn_in_the_browser() {
    let Some(browser) = browser() else { return };
    let home = home();
    home.ok(format!("web enable --port {}", free_port()));
    let app = home.write("app.js", format!("{}\nconst odd = {{ ['<img src=x onerror=alert(1)>']() {{ burnsWithThisName(); }} }};\nsetInterval(() => Object.values(odd)[0](), 400);", burns()));
    // V8 attributes an inlined function to its caller. It does the same if it optimised the
    // function in the middle of a loop before the profile began.
    home.ok(["start", &app, "--name", "api", "--node-args", "--max-inlined-bytecode-size=0 --no-use-osr"]);
    home.ok(format!("start {} --name other -- hold", fixture()));
    let link = home.ok("web open").stdout;
    let told = browser.run(&home, "profiles.mjs", &[link.trim(), "api", "burnsWithThisName", "other"]);
    assert_eq!(told["links"].as_array().unwrap().len(), 2, "{told}");
}
