//! Migration from a real PM2 to ostler, and back.

use ostler_testkit::{Home, Load, Subject, fixture, free_port, get, needs_program};
use serde_json::Value;

use crate::setup::home;

/// Starts npm's PM2 with these apps; none if PM2 is not installed.
fn pm2(apps: &str) -> Option<Home> {
    let old = Home::new(Subject::pm2()?);
    old.write("server.js", "require('http').createServer((_, answer) => answer.end(String(process.pid))).listen(+process.env.AT)");
    let file = old.write("app.json", format!("{{\"apps\": [{apps}]}}"));
    old.ok(format!("start {file}"));
    Some(old)
}

fn migrate(home: &Home, old: &Home, options: &str) -> String {
    format!("migrate {} {options}", old.dir().display()).trim().to_owned() + if home.dir() == old.dir() { " --in-place" } else { "" }
}

#[test]
fn migration_and_rollback_move_every_app() {
    needs_program!("node");
    let (port, shared) = (free_port(), free_port());
    let members = format!(
        r#"{{"name": "web", "script": "server.js", "env": {{"AT": {port}, "SECRET": "a b=c"}}}},
           {{"name": "api", "script": "server.js", "instances": 2, "exec_mode": "cluster", "env": {{"AT": {shared}}}}},
           {{"name": "worker", "script": "{0}", "interpreter": "none", "args": "hold"}},
           {{"name": "down", "script": "{0}", "interpreter": "none", "args": "hold"}}"#,
        fixture()
    );
    let Some(old) = pm2(&members) else { return };
    old.ok("stop down");
    old.ok("set pm2-logrotate:max_size 5M");
    let new = home();
    let before = old.jlist();

    let plan = new.ok(migrate(&new, &old, "--dry-run --json")).json();
    let apps = plan["apps"].as_array().unwrap();
    let moves: Vec<_> = apps.iter().map(|app| (app["name"].as_str().unwrap(), app["way"].as_str().unwrap())).collect();
    assert_eq!(moves, [("web", "in_place"), ("api", "beside"), ("worker", "beside"), ("down", "listed")]);
    assert_eq!(plan["apps"][0]["listens"], serde_json::json!([port.to_string()]));
    assert_eq!(old.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>(), before.iter().map(|item| item.pid()).collect::<Vec<_>>());

    let load = Load::mixed(shared, 2);
    let done = new.ok(migrate(&new, &old, "--json")).json();
    // PM2 itself drops accepted connections when its last worker exits: at most as many as there
    // are concurrent clients.
    load.stop().assert_at_most(4);
    assert!(done["apps"].as_array().unwrap().iter().all(|app| app["state"] == "moved"), "{done}");
    for app in done["apps"].as_array().unwrap() {
        let differs: Vec<&str> = app["differs"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(differs.iter().all(|line| line.starts_with("its ids changed")), "{app}");
    }
    let states = |home: &Home| {
        let mut all: Vec<(String, String)> = home.jlist().iter().map(|item| (item.name().to_owned(), item.status().to_owned())).collect();
        all.sort();
        all
    };
    let as_it_was: Vec<(String, String)> =
        [("api", "online"), ("api", "online"), ("down", "stopped"), ("web", "online"), ("worker", "online")]
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .to_vec();
    assert_eq!(states(&new), as_it_was);
    assert!(states(&old).iter().all(|(_, state)| state == "stopped"));
    let of = |home: &Home, name: &str| home.app(name).pid().to_string();
    assert_eq!(get(port, "/").unwrap(), of(&new, "web"));
    let workers: Vec<String> = new.jlist().iter().filter(|item| item.name() == "api").map(|item| item.pid().to_string()).collect();
    assert!(workers.contains(&get(shared, "/").unwrap()));
    assert!(new.read_own("module_conf.json").contains("5M") && new.dir().join("dump.pm2").exists());

    // A second migration does not duplicate running apps.
    let again = new.ok(migrate(&new, &old, "--json")).json();
    assert!(again["apps"].as_array().unwrap().iter().all(|app| app["state"] == "present"), "{again}");

    new.ok("migrate --back");
    assert_eq!((states(&new), states(&old)), (Vec::new(), as_it_was.clone()));
    // PM2 reports an app as online before it listens.
    old.wait_until("it answers again", || get(port, "/").is_ok());
    assert_eq!((get(port, "/").unwrap(), new.dir().join("migration.json").exists()), (of(&old, "web"), false));

    new.ok(migrate(&new, &old, ""));
    let daemon = old.keeper_pid();
    // Nothing was saved in PM2: its list is completed before it is stopped.
    assert!(!old.dir().join("dump.pm2").exists());
    new.ok("migrate --finish").says("PM2's list was saved in ");
    assert!(!ostler_testkit::alive(daemon) && !old.dir().join("rpc.sock").exists());
    assert_eq!(new.app("web").status(), "online");
    let back = new.run("migrate --back").code(4);
    assert!(back.stderr.contains("hint: after `migrate --finish`: `ostler delete all`, then PM2's `pm2 resurrect`"), "{back}");
    new.ok("delete all");
    old.ok("resurrect");
    old.wait_until("it answers again", || get(port, "/").is_ok());
    assert_eq!(states(&old), as_it_was);
}

/// A list that has the moved apps is the user's own, and stays.
#[test]
fn finish_keeps_a_saved_list_that_is_complete() {
    needs_program!("node");
    let app = |name: &str| format!(r#"{{"name": "{name}", "script": "{}", "interpreter": "none", "args": "hold"}}"#, fixture());
    let Some(old) = pm2(&format!("{}, {}", app("one"), app("two"))) else { return };
    old.ok("save");
    old.ok("delete two");
    let saved = old.read_own("dump.pm2");
    let new = home();
    new.ok(migrate(&new, &old, ""));
    new.ok("migrate --finish").never_says("list was saved");
    assert_eq!(old.read_own("dump.pm2"), saved);
}

#[test]
fn unhealthy_app_stays_with_pm2() {
    needs_program!("node");
    let port = free_port();
    let first = format!(r#"{{"name": "first", "script": "{}", "interpreter": "none", "args": "hold"}}"#, fixture());
    let Some(old) = pm2(&first) else { return };
    // The app runs only under PM2.
    old.write("picky.js", "if (!process.env.PM2_HOME.includes(process.env.ONLY)) process.exit(3); require('./server.js')");
    let file = old.write(
        "picky.json",
        format!(r#"{{"apps": [{{"name": "picky", "script": "picky.js", "env": {{"AT": {port}, "ONLY": "{}"}}}}]}}"#, old.dir().display()),
    );
    old.ok(format!("start {file}"));
    old.wait_until("it answers", || get(port, "/").is_ok());
    let new = home();
    let failed = new.run(migrate(&new, &old, ""));
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stderr.contains("picky did not become healthy here") && failed.stderr.contains("PM2 runs it as before"), "{failed}");
    old.wait_until("it answers again", || get(port, "/").is_ok());
    assert_eq!((old.app("picky").status(), old.app("first").status()), ("online", "stopped"));
    let names: Vec<String> = new.jlist().iter().map(|item| item.name().to_owned()).collect();
    assert_eq!(names, ["first"], "what was moved before stays");
    let refused = new.run("migrate --finish");
    assert!(refused.code == 1 && refused.stderr.contains("PM2 still runs picky"), "{refused}");
}

#[test]
fn migration_into_the_pm2_folder_works() {
    needs_program!("node");
    let port = free_port();
    let Some(old) = pm2(&format!(r#"{{"name": "web", "script": "server.js", "env": {{"AT": {port}}}}}"#)) else { return };
    old.wait_until("it answers", || get(port, "/").is_ok());
    // A module of PM2's; it runs once, either under PM2 or under ostler.
    old.write("mod/package.json", r#"{"name": "mod", "version": "1.0.0", "apps": [{"name": "mod", "script": "mod.js"}]}"#);
    old.write("mod/mod.js", "setInterval(() => {}, 1000)");
    old.ok("package mod");
    old.ok(format!("install {}", old.work().join("mod-v1-0-0.tar.gz").display()));
    let of_module = || old.app_processes().iter().filter(|process| process.cmdline.contains("mod.js")).count();
    let mut new = home();
    new.set_dir(old.dir());
    let refused = new.run(format!("migrate {}", old.dir().display()));
    assert!(refused.code == 1 && refused.stderr.contains("--in-place"), "{refused}");
    let daemon = old.keeper_pid();
    new.ok(migrate(&new, &old, ""));
    assert!(!ostler_testkit::alive(daemon));
    new.wait_status("mod", "online");
    assert_eq!(of_module(), 1);
    assert_eq!(get(port, "/").unwrap(), new.app("web").pid().to_string());
    new.wait_until("npm's PM2 finds ostler there", || old.run("jlist").stdout.contains("\"web\""));
    assert_eq!(old.app("web").pid(), new.app("web").pid());
    assert_eq!(new.read_own("pm2.pid").trim(), new.keeper_pid().to_string());
    // PM2 is gone, and its home is ostler's: the way back is another one than after `--finish`.
    let back = new.run(format!("migrate {} --back --in-place", old.dir().display())).code(1);
    let folder = old.dir().display().to_string();
    let hint = "ostler save && ostler kill && ostler compat uninstall; pm2 resurrect`";
    assert!(back.stderr.contains("hint: ") && back.stderr.contains(hint) && back.stderr.contains(&folder), "{back}");
    assert!(!back.stderr.contains("delete all"), "{back}");
    assert_eq!(new.app("web").status(), "online");
    new.ok("kill");
}

#[test]
fn migration_without_pm2_is_rejected() {
    let (old, new) = (home(), home());
    let none = new.run(format!("migrate {}", old.dir().display()));
    assert!(none.code == 4 && none.stderr.contains("PM2 does not run in"), "{none}");
    assert_eq!(new.run("migrate --back").code, 4);
    old.ok(format!("start {} --name a -- hold", fixture()));
    let ours = new.run(format!("migrate {}", old.dir().display()));
    assert!(ours.code == 1 && ours.stderr.contains("ostler itself runs"), "{ours}");
}
