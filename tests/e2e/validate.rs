//! `validate`: reports mistakes in a file before anything starts.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use ostler_testkit::{Home, Output, fixture, fixture_app, free_port, needs_program, needs_root};

use crate::setup::{ecosystem, home, home_as_pm2};

/// A user without an entry in the user database.
const OTHER: u32 = 54_321;

/// Validates a file with one app, of which these are the attributes.
#[track_caller]
fn validate(home: &Home, attributes: &str) -> Output {
    let file = home.write("one.json", format!(r#"{{"apps": [{{"name": "one", {attributes}}}]}}"#));
    home.run(["validate", &file])
}

/// Returns `key: message` of each problem, with its severity.
fn problems(home: &Home, attributes: &str) -> Vec<String> {
    let file = home.write("one.json", format!(r#"{{"apps": [{{"name": "one", {attributes}}}]}}"#));
    let output = home.run(["validate", &file, "--json"]);
    let problem = |it: &serde_json::Value| {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        assert!(it["line"].is_u64() && it["column"].is_u64() && text("app") == "one", "{it}");
        format!("{} {}: {}", text("severity"), text("key").trim_start_matches("apps[0]."), text("message"))
    };
    output.json()["problems"].as_array().unwrap().iter().map(problem).collect()
}

#[test]
fn valid_file_passes() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}""#, fixture_app("hold.js")));
    home.ok(format!("validate {file}"));
    assert!(home.processes().is_empty());
}

#[test]
fn misspelt_key_warns_and_fails_with_strict() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}", "max_restart": 3"#, fixture_app("hold.js")));
    home.ok(format!("validate {file}")).says("max_restart").says("max_restarts");
    home.run(format!("validate {file} --strict")).fails().says("max_restarts");
}

#[test]
fn every_problem_names_file_line_and_key() {
    let home = home();
    let text = "apps:\n  - name: a\n    script: app.js\n    kill_timeout: soon\n    autorestart: perhaps\n";
    let file = home.write("bad.yml", text);
    let output = home.run(format!("validate {file}")).fails();
    for words in ["bad.yml", "kill_timeout", "autorestart", "4", "5"] {
        assert!(output.all().contains(words), "no {words}\n{output}");
    }
}

/// All stages (evaluation, values, this machine, order) report into one list.
#[test]
fn one_pass_finds_all_mistakes() {
    let home = home();
    let text = r#"{"apps": [
        {"name": "size", "script": "missing.js", "max_memory_restart": "lots"},
        {"name": "interpreter", "script": "missing.py", "interpreter": "no-such-python"},
        {"name": "user", "script": "missing.js", "uid": "no-such-user", "cron_restart": "61 * * * *"},
        {"name": "folder", "script": "app.js", "cwd": "no-such-folder", "env_file": "no-such.env"},
        {"name": "group", "script": "/bin/sleep", "gid": "no-such-group", "kill_timeout": "soon"}
    ]}"#;
    let file = home.write("bad.json", text);
    let mistakes = [
        "apps[0].max_memory_restart",
        "apps[0].script",
        "apps[1].script",
        "apps[1].interpreter",
        "apps[2].script",
        "apps[2].uid",
        "apps[2].cron_restart",
        "apps[3].cwd",
        "apps[3].env_file",
        "apps[4].gid",
        "apps[4].kill_timeout",
    ];
    for command in ["validate", "start"] {
        let output = home.run([command, &file]).fails();
        for key in mistakes {
            assert!(output.all().contains(&format!("{key}: ")), "{command}: no {key}\n{output}");
        }
        // If the folder is missing, ostler does not search for the script in it.
        assert!(!output.all().contains("apps[3].script"), "{output}");
    }
    assert!(home.processes().is_empty());
}

/// Rejected values are not reported again as missing.
#[test]
fn rejected_value_is_reported_once() {
    let home = home();
    let text = r#"{"apps": [{"name": "a", "exec": 42}, {"name": "b", "script": "app.js", "cwd": 7}]}"#;
    let output = home.run(["validate", &home.write("bad.json", text)]).fails();
    assert_eq!(output.all().matches("bad.json:").count(), 2, "{output}");
}

#[test]
fn mistakes_are_grouped_by_app_and_counted() {
    let home = home();
    let text = r#"{"apps": [
        {"name": "api", "script": "sleep", "max_restarts": "ten", "max_restart": 3},
        {"name": "web", "script": "sleep", "exec_mode": "clustr"},
        {"name": "good", "script": "sleep"}
    ]}"#;
    let file = home.write("bad.json", text);
    let output = home.run("validate bad.json").code(1);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let expected = [
        "api",
        "bad.json:2:44: ✗ apps[0].max_restarts: expected a number, found \"ten\"",
        "bad.json:2:67: ! apps[0].max_restart: unknown key, did you mean `max_restarts`?",
        "",
        "web",
        "bad.json:3:44: ✗ apps[1].exec_mode: expected \"fork\" or \"cluster\" or \"fork_mode\" or \"cluster_mode\", found \"clustr\" (did you mean \"cluster\"?)",
        "",
        "2 errors, 1 warning in 2 apps",
    ];
    assert_eq!(lines, expected, "{output}");
    let told = home.run(["validate", &file, "--json"]).json();
    assert_eq!((&told["valid"], &told["apps"]), (&false.into(), &serde_json::json!(["good"])));
    home.ok(format!("validate {file} --only good")).says("is valid: 1 app (good)");
    // Called as `pm2`, the lines are those of earlier versions.
    let output = home_as_pm2().run(["validate", &file]).fails();
    assert!(output.stderr.starts_with("[PM2][ERROR] ") && !output.all().contains('✗'), "{output}");
}

#[test]
fn script_is_no_configuration() {
    let home = home();
    home.write("x.js", "setInterval(() => {}, 1000)");
    home.write("apps.js", "module.exports = { apps: [{ name: 'a', script: 'x.js' }] }");
    home.write("server.config.js", "require('http').createServer().listen(0)");
    home.write("tool", "#!/bin/sh\n");
    for file in ["x.js", "apps.js", "server.config.js", "tool"] {
        home.run(["validate", file]).code(1).says("is a script, not a configuration").says(&format!("`ostler start {file}`"));
    }
    let told = home.run("validate x.js --json").code(1).json();
    assert_eq!((&told["valid"], &told["problems"][0]["file"]), (&false.into(), &"x.js".into()));
    // A configuration may have any name that is no script.
    home.write("list", "apps:\n  - script: sleep\n");
    home.ok("validate list").says("is valid: 1 app (sleep)");
}

#[test]
fn files_of_the_app_are_checked() {
    let home = home();
    home.write("file", "");
    home.write("app.sh", "");
    let app = |rest: &str| problems(&home, &format!(r#""script": "app.sh", {rest}"#));
    let work = home.work().canonicalize().unwrap();
    let work = work.display();
    for (attributes, expected) in [
        (r#""out_file": "file/out.log""#, vec![format!("error out_file: cannot write {work}/file/out.log: {work}/file is not a folder")]),
        (r#""error_file": ".""#, vec![format!("error error_file: cannot write {work}: it is a folder")]),
        (r#""pid_file": "file/pid""#, vec![format!("warning pid_file: cannot write {work}/file/pid: {work}/file is not a folder")]),
        (r#""out_file": "new/deep/out.log", "pid_file": "new/pid", "error_file": "/dev/null""#, vec![]),
        (r#""secrets": {"TOKEN": "none"}"#, vec![format!("error secrets: TOKEN: cannot read {work}/none: it does not exist")]),
        (r#""env_file": ".evn""#, vec![format!("error env_file: {work}/.evn: file not found")]),
        (r#""pre_start": ["no-such-program"]"#, vec!["warning pre_start: the program no-such-program is in no folder of PATH".to_owned()]),
        (r#""health": {"liveness": {"command": "./check"}}"#, vec!["warning health: the program ./check does not exist yet".to_owned()]),
        (r#""interpreter": "bahs""#, vec!["error interpreter: the interpreter bahs is not in PATH, did you mean `bash`?".to_owned()]),
        (r#""max_memory_restart": "900T""#, vec!["warning max_memory_restart: 900 TB is more than this machine has".to_owned()]),
        (r#""depends_on": ["two"]"#, vec!["error depends_on: no app is named two, in this file or in the list".to_owned()]),
        (r#""instances": 60, "exec_mode": "fork""#, vec![]),
        (r#""instances": 5000, "exec_mode": "fork""#, vec!["warning instances: 5000 instances are many for this machine".to_owned()]),
        (r#""http": {"host": "256.1.1.1", "port": 80}"#, vec!["error http: \"256.1.1.1\" would need a DNS lookup".to_owned()]),
    ] {
        let found = app(attributes);
        let is_same =
            found.len() == expected.len() && found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected.as_str()));
        assert!(is_same, "{attributes}\n{found:#?}\n{expected:#?}");
    }
    // An app of the running list is a dependency, too.
    home.ok("start sleep --name two -- 1000");
    assert_eq!(app(r#""depends_on": ["two"]"#), Vec::<String>::new());
    assert_eq!(
        app(r#""depends_on": ["tow"]"#),
        ["error depends_on: no app is named tow, in this file or in the list, did you mean `two`?"]
    );
}

/// An error is one only if `start` fails, too.
#[test]
fn start_fails_where_validate_reports_an_error() {
    needs_root!();
    let home = home();
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.work(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(home.work().join("closed")).unwrap();
    fs::set_permissions(home.work().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let user = format!(r#""uid": {OTHER}, "gid": {OTHER}"#);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (attributes, key) in [
        (format!(r#""script": "sleep", "args": "1000", "listen": {port}"#), "listen"),
        (format!(r#""script": "sleep", "args": "1000", "cwd": "closed", {user}"#), "cwd"),
        (r#""script": "sleep", "args": "1000", "secrets": {"A": "none"}"#.to_owned(), "secrets"),
        (r#""script": "sleep", "args": "1000", "depends_on": ["none"]"#.to_owned(), "depends_on"),
    ] {
        validate(&home, &attributes).code(1).says(&format!("✗ apps[0].{key}: "));
        home.run("start one.json").fails();
        home.run("delete all");
    }
    // The same without the obstacle.
    for attributes in [
        format!(r#""script": "sleep", "args": "1000", "listen": {}"#, free_port()),
        format!(r#""script": "sleep", "args": "1000", {user}"#),
    ] {
        validate(&home, &attributes).ok().never_says("✗");
        home.ok("start one.json");
        home.ok("delete all");
    }
}

/// Root checks with the rights of the app's user.
#[test]
fn access_is_that_of_the_user_of_the_app() {
    needs_root!();
    let home = home();
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(home.root(), 0o755);
    open(&home.work(), 0o755);
    home.write("app.sh", "");
    home.write("private.sh", "");
    open(&home.work().join("private.sh"), 0o600);
    let theirs = home.work().join("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(OTHER), Some(OTHER)).unwrap();
    fs::create_dir(theirs.join("roots")).unwrap();
    let user = format!(r#""uid": {OTHER}, "gid": {OTHER}"#);
    let found = |attributes: &str| problems(&home, &format!("{attributes}, {user}"));
    assert_eq!(found(r#""script": "app.sh", "out_file": "theirs/out.log""#), Vec::<String>::new());
    // Only root can change this path, so the daemon opens it with its own rights.
    assert_eq!(found(r#""script": "app.sh", "out_file": "logs/out.log""#), Vec::<String>::new());
    let private = found(r#""script": "private.sh""#);
    assert!(private.len() == 1 && private[0].contains("error script: the script ") && private[0].contains("no access"), "{private:?}");
    let roots = found(r#""script": "app.sh", "out_file": "theirs/roots/out.log""#);
    assert!(
        roots.len() == 1 && roots[0].starts_with("error out_file: cannot write ") && roots[0].contains(&format!("uid {OTHER}")),
        "{roots:?}"
    );
    // Without root, no app can have another user.
    let file = home.write("one.json", r#"{"apps": [{"name": "one", "script": "/bin/sleep", "uid": "root"}]}"#);
    let refused = home.cmd(["validate", &file, "--allow-foreign-file"]).uid(OTHER).run();
    refused.code(1).says("only root can start an app as user root");
}

#[test]
fn ports_of_other_programs_are_reported() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.write("server.js", "require('http').createServer((_, answer) => answer.end()).listen(+process.env.PORT, '127.0.0.1')");
    let mine = format!(r#""script": "server.js", "env": {{"PORT": {port}}}"#);
    assert_eq!(problems(&home, &mine), Vec::<String>::new());
    home.ok("start one.json");
    home.wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(problems(&home, &mine), Vec::<String>::new(), "it is the app itself");
    let other = format!(r#""name": "other", "script": "server.js", "env": {{"PORT": {port}}}"#);
    let file = home.write("other.json", format!(r#"{{"apps": [{{{other}}}]}}"#));
    home.ok(["validate", &file]).says("! apps[0].env: port").says("is used by");
    let listen = home.write("listen.json", format!(r#"{{"apps": [{{"name": "other", "script": "sleep", "listen": {port}}}]}}"#));
    home.run(["validate", &listen]).code(1).says(&format!("✗ apps[0].listen: port {port} is used by node (pid "));
    // A socket that ostler holds for the app is the app's own.
    home.ok("delete all");
    let socket = format!(r#""script": "{}", "args": "activated blocking", "listen": {port}"#, fixture());
    assert_eq!(problems(&home, &socket), Vec::<String>::new());
    home.ok("start one.json");
    assert_eq!(problems(&home, &socket), Vec::<String>::new());
    home.run(["validate", &listen]).code(1).says("is used by the app one");
}

/// `validate` never starts a daemon, and needs no home.
#[test]
fn validate_starts_nothing() {
    let home = home();
    validate(&home, r#""script": "sleep""#).ok();
    assert!(home.processes().is_empty() && !home.dir().join("ostler.sock").exists());
}
