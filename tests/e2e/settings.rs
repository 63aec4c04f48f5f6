//! `set`, `get`, `unset`, `multiset`, `conf`, `config`; `install` of built-in modules; `slist`.

use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, kill};
use rustix::process::Signal;
use serde_json::json;

use crate::setup::{home, home_as_pm2, read_report, start_fixture};

#[test]
fn settings_are_set_read_and_removed() {
    let home = home_as_pm2();
    let said = home.ok("set foo:bar 1");
    assert!(said.stdout.contains("Setting changed") && said.stdout.ends_with("Module: foo\n$ pm2 set foo:bar 1\n"), "{}", said.stdout);
    assert_eq!(home.json_of("module_conf.json"), json!({ "foo": { "bar": "1" } }));
    let path = home.dir().join("module_conf.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // PM2 indents the file by four spaces.
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n    \"foo\": {\n        \"bar\": \"1\"\n    }\n}");
    assert_eq!(home.ok("get foo:bar").stdout, "Value for module foo key bar: 1\n");
    assert!(home.ok("get foo").stdout.starts_with("Module: foo\n$ pm2 set foo:bar 1\n"));
    let unknown = home.run("get nope");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));
    home.ok(["multiset", "a:b 1 a.c \"two words\""].as_slice());
    home.ok("config flat 3");
    assert_eq!(home.json_of("module_conf.json"), json!({ "foo": { "bar": "1" }, "a": { "b": "1", "c": "two words" }, "flat": "3" }));
    assert_eq!(home.ok("conf").stdout, "Module: foo\n$ pm2 set foo:bar 1\nModule: a\n$ pm2 set a:b 1\n$ pm2 set a:c two words\n");
    home.ok("unset foo:bar");
    home.ok("unset flat");
    assert_eq!(home.json_of("module_conf.json"), json!({ "foo": {}, "a": { "b": "1", "c": "two words" } }));
    home.ok("unset all");
    assert_eq!(home.json_of("module_conf.json"), json!({}));
}

#[test]
fn invalid_settings_change_nothing() {
    let home = home();
    home.ok("set log_rotate:max_size 10M");
    let before = home.json_of("module_conf.json");
    for (words, problem) in [
        ("set log_rotate:max_size plenty", "expected a size"),
        ("set log_rotate:max_sice 1M", "did you mean max_size"),
        ("set pm2-logrotate:rotateInterval often", "expected a cron pattern"),
        ("set pm2-logrotate:TZ Mars/Olympus", "expected a time zone"),
        ("set pm2-logrotate:retain nonsense", "expected a number of files"),
        ("set __proto__:x 1", "not allowed"),
        ("set lone", "missing argument"),
        ("set a:b one two three", "write `ostler set a:b 'one two three'`"),
        ("set", "missing argument"),
        ("multiset a:b", "missing argument"),
        ("unset nope", "no setting nope"),
        ("install no;such;module", "characters that are not allowed"),
        ("uninstall pm2-logrotate", "not installed"),
    ] {
        let said = home.run(words);
        assert!(said.code != 0 && said.stderr.contains(problem), "{words}: {} {}", said.code, said.stderr);
        assert_eq!(home.json_of("module_conf.json"), before, "{words}");
    }
    // A broken file is reported, and not overwritten.
    let path = home.dir().join("module_conf.json");
    std::fs::write(&path, "{ broken").unwrap();
    let said = home.run("set a:b 1");
    assert!(said.code != 0 && said.stderr.contains("module_conf.json"), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ broken");
}

#[test]
fn an_app_gets_its_settings_as_variables() {
    let home = home();
    home.ok("set report:LEVEL debug");
    start_fixture(&home, "report", "", &format!("report {}", home.work().join("report.json").display()));
    let env = |home: &Home| read_report(home, "report.json")["env"].clone();
    assert_eq!((&env(&home)["LEVEL"], &env(&home)["report"]), (&json!("debug"), &json!("{\"LEVEL\":\"debug\"}")));
    let pid = home.app("report").pid();
    // An app with settings of its own restarts with the new values; the other apps keep running.
    start_fixture(&home, "other", "", "hold");
    let other = home.app("other").pid();
    std::fs::remove_file(home.work().join("report.json")).unwrap();
    let said = home.ok("set report:LEVEL info");
    said.says("Module report restarted");
    assert_eq!(env(&home)["LEVEL"], "info");
    assert!(home.app("report").pid() != pid && home.app("other").pid() == other);
}

#[test]
fn settings_apply_to_running_and_next_daemon() {
    let home = home();
    start_fixture(&home, "c", "--no-autorestart", "count 3000000 50");
    home.wait_log("c-out.log", "00010000");
    home.ok(["multiset", "log_rotate:check_interval 1 log_rotate:max_size 50K"].as_slice());
    let rotated = |home: &Home| {
        std::fs::read_dir(home.dir().join("logs"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("__"))
            .count()
    };
    home.wait_until("it was rotated", || rotated(&home) > 0);
    let before = rotated(&home);
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("the next daemon rotates it, too", || rotated(&home) > before);
}

#[test]
fn two_modules_of_pm2_are_built_in() {
    let home = home_as_pm2();
    start_fixture(&home, "app", "", "hold");
    let said = home.ok("install pm2-logrotate");
    assert!(said.stdout.contains("built in") && said.stdout.contains("$ pm2 set pm2-logrotate:max_size 10M"), "{}", said.stdout);
    home.ok("set pm2-logrotate:max_size 1G");
    home.ok("install pm2-logrotate@2.7.0");
    let conf = home.json_of("module_conf.json");
    assert_eq!(conf["pm2-logrotate"]["max_size"], "1G", "what was set stays");
    assert_eq!(conf["pm2-logrotate"]["rotateInterval"], "0 0 * * *");
    home.ok("module:install pm2-server-monit");
    assert_eq!(home.ok("module:list").stdout.lines().count(), 2);
    // The built-in modules have no process.
    assert_eq!(home.jlist().len(), 1);
    home.ok("uninstall pm2-logrotate");
    assert_eq!(home.ok("module:list").stdout, "pm2-server-monit  built in\n");
    assert_eq!(home.json_of("module_conf.json")["pm2-logrotate"]["max_size"], "1G", "as in PM2");
}

#[test]
fn slist_shows_machine_figures() {
    let home = home_as_pm2();
    start_fixture(&home, "app", "", "hold");
    for word in ["slist", "sysinfos"] {
        let said = home.ok(word);
        assert!(said.stdout.starts_with("{\n  'CPU Usage': { value: ") && said.stdout.ends_with('}'), "{}", said.stdout);
        assert!(said.stdout.contains("'RAM Total': { value: "));
    }
    assert!(home.ok("slist --tree").stdout.starts_with("├─ CPU Usage\n│  ├─ value: "));
    let metrics = home.ok("slist --json").json();
    let total = metrics["RAM Total"]["value"].as_u64().unwrap();
    assert!(total > metrics["RAM Available"]["value"].as_u64().unwrap() && total > 1 << 20);
    let line = |home: &Home| home.ok("list").stdout.lines().last().unwrap().to_owned();
    assert!(line(&home).starts_with("host metrics | cpu: "), "{}", line(&home));
    home.ok("set pm2:sysmonit false");
    assert!(!line(&home).contains("host metrics") && home.ok("slist").stdout == "{}");
}

#[test]
fn settings_of_an_app_are_shown_as_variables() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    home.ok("set app:color blue");
    assert_eq!((home.app("app").text("color"), home.app("app").env("env")["app"].as_str()), ("blue", Some(r#"{"color":"blue"}"#)));
    home.ok("env app").says("color: blue");
    home.ok("prettylist").says("color: 'blue'");
    // The value belongs to the settings, not to the app: a saved list has no copy that would
    // outlive them.
    home.ok("save");
    home.ok("unset app:color");
    home.ok("kill");
    home.ok("resurrect");
    assert_eq!(home.app("app").text("color"), "");
}
