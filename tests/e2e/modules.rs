//! Modules: installed completely or not at all, listed separately, with their settings, and
//! restored by the next daemon.

use std::fs;
use std::path::PathBuf;

use ostler_testkit::{Home, fixture, kill, needs_program, paths_below, sh};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{home, home_as_pm2, read_report, start_fixture};

/// Creates a folder with a module whose app does this.
pub fn module(home: &Home, folder: &str, name: &str, version: &str, what: &str) -> PathBuf {
    let path = home.work().join(folder);
    fs::create_dir_all(&path).unwrap();
    let package = json!({
        "name": name,
        "version": version,
        "config": { "retain": 30, "word": "x" },
        "apps": [{ "script": fixture(), "args": what }],
    });
    fs::write(path.join("package.json"), package.to_string()).unwrap();
    path
}

/// Creates the module as a tarball: npm is not needed.
#[track_caller]
fn tarball(home: &Home, folder: &str, name: &str, version: &str, what: &str) -> String {
    module(home, folder, name, version, what);
    home.ok(format!("package {folder}"));
    format!("{folder}-v{}.tar.gz", version.replace('.', "-"))
}

/// Returns all state of the modules that a failed installation must not change.
fn state(home: &Home) -> (Option<String>, Vec<PathBuf>, Vec<(String, i32)>) {
    let conf = fs::read_to_string(home.dir().join("module_conf.json")).ok();
    let files = paths_below(&home.dir().join("modules"));
    (conf, files, home.jlist().iter().map(|item| (item.name().to_owned(), item.pid())).collect())
}

#[test]
fn module_is_not_part_of_all() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    let file = tarball(&home, "mod", "mod", "1.0.2", "hold");
    home.ok(format!("install {file}")).says("Module mod 1.0.2 installed and started");
    let listed = home.ok("list").stdout;
    let (apps, modules) = listed.split_once("\nMODULE ").unwrap_or_else(|| panic!("{listed}"));
    assert!(apps.contains("api") && !apps.contains("\nmod ") && modules.contains("\nmod ") && modules.contains("1.0.2"), "{listed}");
    assert_eq!(home.app("mod").env("pmx_module"), true);
    let pid = home.app("mod").pid();
    home.ok("restart all");
    home.ok("stop all");
    assert_eq!((home.app("mod").pid(), home.app("api").status()), (pid, "stopped"));
    home.ok("delete all");
    assert_eq!(home.jlist().len(), 1);
    // A module can be addressed by name like any other app.
    home.ok("restart mod");
    assert_ne!(home.app("mod").pid(), pid);
    home.ok("save").says("no app is in the list; nothing was saved");
    home.ok("kill");
    assert_eq!(home.processes(), []);
}

#[test]
fn next_daemon_starts_modules() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    let file = tarball(&home, "mod", "mod", "1.0.0", "hold");
    home.ok(format!("install {file}"));
    home.ok("save");
    assert!(!fs::read_to_string(home.dir().join("dump.pm2")).unwrap().contains("\"mod\""), "the list has no modules");
    // A daemon after a kill adopts the modules unchanged.
    let pid = home.app("mod").pid();
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("the next daemon is there", || home.run("ping").code == 0);
    assert_eq!(home.app("mod").pid(), pid);
    // A new daemon starts the modules, no matter which command started it.
    home.ok("kill");
    start_fixture(&home, "other", "", "hold");
    home.wait_status("mod", "online");
    home.ok("kill");
    home.ok("resurrect");
    home.wait_status("mod", "online");
    home.wait_status("api", "online");
    assert_eq!(home.jlist().len(), 2);
    // A broken module does not keep the other apps from starting.
    home.ok("kill");
    fs::write(home.dir().join("modules/mod/package.json"), "{").unwrap();
    let said = home.ok("resurrect");
    assert!(said.stderr.contains("cannot start module mod"), "{said:?}");
    home.wait_status("api", "online");
}

#[test]
fn settings_reach_the_module() {
    let home = home();
    let report = home.work().join("report.json");
    let file = tarball(&home, "mod", "mod", "1.0.0", &format!("report {}", report.display()));
    home.ok("set mod:word mine");
    home.ok(format!("install {file}"));
    // Only the package's settings that the user has not set.
    assert_eq!(home.json_of("module_conf.json")["mod"], json!({ "word": "mine", "retain": 30 }));
    let env = read_report(&home, "report.json")["env"].clone();
    assert_eq!((&env["retain"], &env["word"]), (&json!("30"), &json!("mine")));
    assert_eq!(serde_json::from_str::<Value>(env["mod"].as_str().unwrap()).unwrap(), json!({ "word": "mine", "retain": 30 }));
    fs::remove_file(&report).unwrap();
    home.ok("set mod:retain 7").says("Module mod restarted");
    assert_eq!(read_report(&home, "report.json")["env"]["retain"], "7");
    home.ok("uninstall mod");
    assert_eq!(
        (home.jlist().len(), &home.json_of("module_conf.json")["tar-modules"], &home.json_of("module_conf.json")["mod"]["retain"]),
        (0, &json!({}), &json!("7"))
    );
    assert!(!home.dir().join("modules/mod").exists());
    home.run("uninstall mod").fails().says("Unknown module");
}

#[test]
fn module_can_have_several_apps() {
    let home = home();
    let path = module(&home, "two", "two", "1.0.0", "hold");
    let app = |name: &str| json!({ "name": name, "script": fixture(), "args": format!("report {}/{name}.json", home.work().display()) });
    let package = json!({ "name": "two", "version": "1.0.0", "config": { "key": "v" }, "apps": [app("a"), app("b")] });
    fs::write(path.join("package.json"), package.to_string()).unwrap();
    home.ok("package two");
    home.ok("install two-v1-0-0.tar.gz");
    for name in ["a", "b"] {
        home.wait_status(&format!("two:{name}"), "online");
        assert_eq!(read_report(&home, &format!("{name}.json"))["env"]["key"], "v");
    }
    let pids = || ["two:a", "two:b"].map(|name| home.app(name).pid());
    let before = pids();
    home.ok("set two:key w");
    let now = pids();
    assert!(before[0] != now[0] && before[1] != now[1]);
    // A release that drops one of the apps, installed as the same user.
    let package =
        json!({ "name": "two", "version": "1.1.0", "apps": [app("a"), json!({ "name": "c", "script": fixture(), "args": "hold" })] });
    fs::write(path.join("package.json"), package.to_string()).unwrap();
    home.ok("package two");
    home.ok("install two-v1-1-0.tar.gz");
    let mut names: Vec<String> = home.jlist().iter().map(|item| item.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["two:a", "two:c"]);
    home.ok("uninstall two");
    assert_eq!(home.jlist().len(), 0);
}

#[test]
fn failed_installation_changes_nothing() {
    let home = home_as_pm2();
    start_fixture(&home, "api", "", "hold");
    let good = tarball(&home, "mod", "mod", "1.0.0", "hold");
    home.ok(format!("install {good}"));
    let crashes = tarball(&home, "crashing", "crashing", "1.0.0", "exit 3");
    let worse = tarball(&home, "mod2", "mod", "2.0.0", "exit 3");
    let app = tarball(&home, "api", "api", "1.0.0", "hold");
    let before = state(&home);
    home.write("no-tar.tar.gz", "x");
    for (words, problem) in [
        (format!("install {crashes}"), "nothing was changed"),
        (format!("install {app}"), "an app named api already exists"),
        ("install no-tar.tar.gz".into(), "nothing was changed"),
        ("install nowhere.tar.gz".into(), "No such file"),
        ("install ./nowhere".into(), "does not exist"),
        ("install $(true)".into(), "characters that are not allowed"),
        ("install typescript".into(), "part of PM2 itself"),
    ] {
        let said = home.run(words.as_str());
        assert!(said.code == 1 && said.stderr.contains(problem), "{words}: {said:?}");
        assert_eq!(state(&home), before, "{words}");
    }
    // A new release that does not become healthy: the former release runs again.
    let said = home.run(format!("install {worse}")).fails();
    assert!(said.stderr.contains("does not become healthy") && said.stdout.contains("rolled back to 1.0.0"), "{said:?}");
    home.wait_status("mod", "online");
    let after = state(&home);
    assert_eq!((after.0, after.1), (before.0, before.1));
    assert_eq!(home.app("mod").env("version"), "1.0.0");
}

#[test]
fn hostile_packages_are_refused() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    let before = state(&home);
    let pack = |package: &Value| {
        let folder = home.work().join("hostile/module");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("package.json"), package.to_string()).unwrap();
        sh(home.work().join("hostile"), &format!("tar czf '{}' module", home.work().join("h.tar.gz").display()));
    };
    for name in ["../up", "/etc/x", "..", "a/b", "__proto__", "module-db-v2", "-x", "a\u{1b}[2J", ""] {
        pack(&json!({ "name": name, "version": "1.0.0", "main": fixture() }));
        let said = home.run("install h.tar.gz").fails();
        assert!(said.stderr.contains("not a valid module name") && !said.stderr.contains('\u{1b}'), "{name}: {said:?}");
        // From now on the folder of modules exists; it is empty.
        assert_eq!(state(&home).2, before.2);
        assert_eq!(fs::read_dir(home.dir().join("modules")).unwrap().flatten().filter(|entry| entry.file_name() != ".lock").count(), 0);
    }
    // Files outside the folder.
    home.write("hostile/out", "x");
    sh(
        home.work().join("hostile/module"),
        &format!("tar czf '{}' -P --transform=s,package,module/package, package.json ../out", home.work().join("h.tar.gz").display()),
    );
    home.run("install h.tar.gz").fails();
    assert_eq!(home.jlist().len(), 1);
    assert!(!home.dir().join("modules/out").exists() && !home.dir().join("out").exists());
}

#[test]
fn safe_watches_for_longer() {
    let home = home();
    let good = tarball(&home, "mod", "mod", "1.0.0", "hold");
    home.ok(format!("install {good}"));
    // Exits repeatedly, but not immediately.
    let file = home.work().join("bad");
    fs::create_dir(&file).unwrap();
    let package = json!({ "name": "mod", "version": "2.0.0", "apps": [{ "script": "run.sh" }] });
    fs::write(file.join("package.json"), package.to_string()).unwrap();
    fs::write(file.join("run.sh"), "sleep 1.3; exit 1\n").unwrap();
    home.ok("package bad");
    home.run("install bad-v2-0-0.tar.gz --safe 60000").fails().says("nothing was changed");
    assert_eq!(home.app("mod").env("version"), "1.0.0");
    home.wait_status("mod", "online");
}

#[test]
fn leftovers_of_killed_installation_are_removed() {
    let home = home();
    let file = tarball(&home, "mod", "mod", "1.0.0", "hold");
    fs::create_dir_all(home.dir().join("modules/.fresh/node_modules/half")).unwrap();
    home.ok(format!("install {file}"));
    assert!(!home.dir().join("modules/.fresh").exists());
    home.wait_status("mod", "online");
}

#[test]
fn npm_fetches_from_a_folder() {
    needs_program!("npm");
    let home = home();
    module(&home, "my mod", "@me/mod", "1.0.0", "hold");
    // The name contains a blank, so the words are passed as a list.
    home.run(["install", "./my mod"].as_slice()).fails().says("characters that are not allowed");
    fs::rename(home.work().join("my mod"), home.work().join("my-mod")).unwrap();
    home.ok("install ./my-mod");
    let package = home.dir().join("modules/@me/mod/node_modules/@me/mod");
    assert!(package.join("package.json").is_file());
    assert_eq!(home.app("@me/mod").env("pm_cwd"), package.to_str().unwrap());
    assert_eq!(home.json_of("module_conf.json")["module-db-v2"], json!({ "@me/mod": {} }));
    // The newest version is the current content of the folder.
    module(&home, "my-mod", "@me/mod", "1.1.0", "hold");
    home.ok("module:update @me/mod").says("Module @me/mod 1.1.0 installed");
    assert_eq!(home.ok("module:list").stdout, "@me/mod  1.1.0  online\n");
    // npm fails: nothing changes.
    let before = state(&home);
    module(&home, "needy", "needy", "1.0.0", "hold");
    let package = json!({ "name": "needy", "version": "1.0.0", "dependencies": { "x": "file:./nowhere" }, "main": "x.js" });
    home.write("needy/package.json", package.to_string());
    home.run("install ./needy").fails();
    assert_eq!(state(&home), before);
    home.ok("uninstall all");
    assert_eq!(fs::read_dir(home.dir().join("modules")).unwrap().flatten().filter(|entry| entry.file_name() != ".lock").count(), 0);
}

#[test]
fn module_in_development_is_installed_from_its_folder() {
    let home = home();
    home.ok("module:generate sample");
    for file in ["package.json", "index.js", "README.md"] {
        assert!(home.work().join("sample").join(file).is_file(), "{file}");
    }
    home.run("module:generate sample").fails();
    home.run("module:generate ../x").fails().says("not a valid module name");
    let path = module(&home, "dev", "dev", "1.0.0", "hold");
    home.cmd("install .").cwd(&path).run().ok();
    let pid = home.app("dev").pid();
    fs::write(path.join("new.js"), "1").unwrap();
    home.wait_app("dev", "it is restarted", |app| app.pid() != pid && app.pid() > 0);
    home.ok("uninstall dev");
    assert_eq!(home.jlist().len(), 0);
    assert!(path.join("package.json").exists());
}

#[test]
fn publish_runs_npm() {
    needs_program!("npm");
    let home = home();
    module(&home, "mod", "ostler-test-module", "1.0.0", "hold");
    home.ok("publish mod --dry-run").says("Nothing was published");
    home.write("none/package.json", "{}");
    home.run("publish none --dry-run").fails().says("no name");
}

#[test]
fn runtime_does_not_wait_for_modules() {
    let home = home();
    let report = home.work().join("report.json");
    let file = tarball(&home, "mod", "mod", "1.0.0", &format!("report {}", report.display()));
    home.ok(format!("install {file}"));
    home.ok("kill");
    fs::remove_file(&report).unwrap();
    // The app exits once the module has started.
    home.write("app.sh", format!("while [ ! -e '{}' ]; do sleep 0.05; done; exit 7\n", report.display()));
    home.run("runtime app.sh --no-autorestart").code(7);
    assert_eq!(home.processes(), []);
}
