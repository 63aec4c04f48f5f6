//! `save` and `resurrect`.

use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, Subject, fixture, fixture_app, kill, skip};
use rustix::process::Signal;

use crate::setup::{binary, home, home_as_pm2, start_fixture};

#[test]
fn resurrect_restores_running_and_stopped_apps() {
    let home = home();
    home.cmd(format!("start {} --name up --namespace ns --kill-timeout 2222 -- a b", fixture_app("hello.sh")))
        .env("MINE", "kept")
        .run()
        .ok();
    start_fixture(&home, "down", "-f", "hold");
    home.ok("stop down");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    let up = home.wait_status("up", "online");
    assert_eq!((up.text("namespace"), up.number("kill_timeout"), up.text("MINE")), ("ns", 2222, "kept"));
    assert_eq!(up.env("args"), &serde_json::json!(["a", "b"]));
    assert_eq!((home.app("down").status(), home.app("down").pid()), ("stopped", 0));
    home.ok("resurrect");
    assert_eq!(home.jlist().len(), 2, "a second resurrect doubles the apps");
}

#[test]
fn dump_is_private_and_previous_one_is_kept() {
    let home = home();
    start_fixture(&home, "first", "", "hold");
    home.ok("save");
    start_fixture(&home, "second", "-f", "hold");
    home.ok("save");
    let mode = |name: &str| std::fs::metadata(home.dir().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("dump.pm2"), mode("dump.pm2.bak"), mode("")), (0o600, 0o600, 0o700));
    let old = std::fs::read_to_string(home.dir().join("dump.pm2.bak")).unwrap();
    assert!(old.contains("first") && !old.contains("second"));
}

#[test]
fn empty_list_does_not_overwrite_the_dump() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("save");
    home.ok("delete all");
    home.run("save");
    let dump = std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap();
    assert!(dump.contains("\"app\""));
    home.ok("save --force");
    assert_eq!(std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap().trim(), "[]");
}

#[test]
fn dump_is_not_evaluated() {
    let home = home();
    let mark = home.work().join("evaluated");
    std::fs::create_dir_all(home.dir()).unwrap();
    let dump = format!(
        r#"[{{"name": "x", "pm_exec_path": "/bin/sleep", "args": ["9"], "evil": require("fs").writeFileSync("{}", "")}}]"#,
        mark.display()
    );
    std::fs::write(home.dir().join("dump.pm2"), &dump).unwrap();
    home.run("resurrect");
    assert!(!mark.exists(), "the dump was evaluated");
    assert_eq!(std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap(), dump, "a dump that cannot be read has to be left alone");
}

#[test]
fn broken_dump_falls_back_to_previous_one() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("save");
    home.ok("save");
    home.ok("kill");
    std::fs::write(home.dir().join("dump.pm2"), "[{\"name\": \"app\", \"pm_ex").unwrap();
    home.ok("resurrect");
    home.wait_status("app", "online");
}

#[test]
fn dump_of_real_pm2_is_restored() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to save a dump") };
    let old = Home::new(pm2);
    old.cmd(format!("start {} --name web --namespace ns --max-restarts 9 -- one two", fixture_app("hello.js")))
        .env("MINE", "kept")
        .run()
        .ok();
    old.ok("start sleep --name many -i 2 -x -- 1000");
    old.ok("start sleep -f --name stopped -- 1000");
    old.ok("stop stopped");
    old.ok("save");
    old.ok("kill");
    let new = Home::new(Subject::OstlerAsPm2(binary()));
    std::fs::create_dir_all(new.dir()).unwrap();
    let dump = std::fs::read_to_string(old.dir().join("dump.pm2")).unwrap();
    // The old home, and its logs, are removed before this test is done.
    let dump = dump.replace(old.root().to_str().unwrap(), new.root().to_str().unwrap());
    std::fs::write(new.dir().join("dump.pm2"), dump).unwrap();
    new.ok("resurrect");
    let web = new.wait_status("web", "online");
    assert_eq!((web.text("namespace"), web.text("MINE"), web.number("max_restarts")), ("ns", "kept", 9));
    new.wait_log("web-out.log", "hello from javascript one,two");
    assert_eq!(new.app("stopped").status(), "stopped");
    assert_eq!(new.jlist().iter().filter(|item| item.name() == "many" && item.status() == "online").count(), 2);
    new.ok("save");
    new.ok("kill");
    new.ok("resurrect");
    assert_eq!(new.jlist().len(), 4);
}

#[test]
fn dump_is_readable_by_real_pm2() {
    let Some(pm2) = Subject::pm2() else { skip!("there is no real PM2 to go back to") };
    let ours = Home::new(Subject::OstlerAsPm2(binary()));
    ours.ok(format!("start {} --name web -- one", fixture_app("hello.js")));
    ours.ok("save");
    let dump = std::fs::read_to_string(ours.dir().join("dump.pm2")).unwrap();
    let theirs = Home::new(pm2);
    std::fs::write(theirs.dir().join("dump.pm2"), dump.replace(ours.root().to_str().unwrap(), theirs.root().to_str().unwrap())).unwrap();
    theirs.ok("resurrect");
    theirs.wait_status("web", "online");
    theirs.wait_log("web-out.log", "hello from javascript one");
}

#[test]
fn resurrect_adds_missing_apps_to_running_ones() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "more", "-f", "hold");
    home.ok("save");
    home.ok("delete more");
    let pid = home.app("app").pid();
    home.ok("resurrect");
    home.wait_status("more", "online");
    assert_eq!(home.app("app").pid(), pid);
    kill(pid, Signal::KILL);
    home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
}

/// If the newest list is broken and the next is empty, ostler restores an older list that is not
/// empty.
#[test]
fn broken_list_is_reported_and_newest_usable_is_restored() {
    let home = home();
    home.ok("start sleep --name first -- 1000");
    home.ok("save");
    home.ok("delete all");
    home.ok("save --force");
    home.ok("start sleep --name second -- 1000");
    home.ok("save");
    home.ok("kill");
    // There are three lists now: the list with `second`, an empty list, and the list with `first`.
    std::fs::write(home.dir().join("dump.pm2"), "{ this is no list").unwrap();
    assert_eq!(std::fs::read_to_string(home.dir().join("dump.pm2.bak")).unwrap().trim(), "[]");
    let said = home.run("resurrect").ok();
    assert!(!said.stdout.contains("dump.pm2"), "{}", said.stdout);
    assert!(
        said.stderr.contains("cannot read") && said.stderr.contains("restored from") && said.stderr.contains("dump.pm2.bak.1"),
        "{}",
        said.stderr
    );
    assert_eq!(home.wait_status("first", "online").name(), "first");
    assert_eq!(home.jlist().len(), 1);
    assert!(home.dir().join("dump.pm2").exists(), "a damaged list may be all that somebody has");
}

/// Part that is missing when the list is restored.
#[derive(Clone, Copy, Debug)]
enum Missing {
    Folder,
    Program,
    LogFolder,
    User,
    Entry,
}

/// Creates a home whose saved list has the apps `fine` and `bad`; `bad` cannot be restored.
fn saved_with_one_bad(home: &Home, gone: Missing) {
    let folder = home.work().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let program = home.work().join("program");
    std::fs::copy(fixture(), &program).unwrap();
    home.ok(format!("start {} --name fine -- hold", fixture()));
    let bad = format!(
        "start {} --name bad --interpreter none --cwd {} -o {}/out.log -- hold",
        program.display(),
        home.work().display(),
        folder.display()
    );
    home.ok(match gone {
        Missing::Folder => format!("start {} --name bad --cwd {} -- hold", fixture(), folder.display()),
        _ => bad,
    });
    home.ok("save");
    home.ok("kill");
    let dump = home.dir().join("dump.pm2");
    match gone {
        Missing::Folder => std::fs::remove_dir_all(folder).unwrap(),
        Missing::Program => std::fs::remove_file(program).unwrap(),
        Missing::LogFolder => {
            std::fs::remove_dir_all(&folder).unwrap();
            std::fs::write(folder, "").unwrap();
        }
        Missing::User | Missing::Entry => {
            let mut list: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&dump).unwrap()).unwrap();
            list[1].as_object_mut().unwrap().remove("ostler");
            let (key, value) = if matches!(gone, Missing::User) { ("uid", "no-such-user") } else { ("pm_exec_path", "relative") };
            list[1][key] = value.into();
            std::fs::write(dump, list.to_string()).unwrap();
        }
    }
}

/// At boot, one bad app must not make `ExecStart=pm2 resurrect` fail. `ostler` names the missing
/// part and exits with 1.
#[test]
fn app_that_cannot_be_restored_does_not_block_others() {
    for gone in [Missing::Folder, Missing::Program, Missing::LogFolder, Missing::User, Missing::Entry] {
        for (home, code) in [(home_as_pm2(), 0), (home(), 1)] {
            saved_with_one_bad(&home, gone);
            let said = home.run("resurrect");
            assert_eq!(said.code, code, "{gone:?}: {}{}", said.stdout, said.stderr);
            assert!(said.stderr.contains("bad"), "{gone:?}: {}", said.stderr);
            assert_eq!(home.wait_status("fine", "online").name(), "fine");
        }
    }
}
