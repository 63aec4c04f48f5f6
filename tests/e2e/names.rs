//! The program's names, and the home that each name selects.

use ostler_testkit::{Home, ListedApp, Subject, fixture};

use crate::setup::{binary, home};

#[test]
fn over_home_takes_precedence_over_pm2_home() {
    let home = Home::new(Subject::OstlerAsPm2(binary()));
    let other = home.root().join("over");
    home.cmd("ping").env("OVER_HOME", &other).run().ok();
    assert!(other.join("pm2.pid").exists() && !home.dir().exists());
    home.cmd("kill").env("OVER_HOME", &other).run().ok();
}

#[test]
fn variable_sets_concurrent_actions() {
    let home = home();
    home.ok(format!("start {} --name app -i 4 -x -- hold", fixture()));
    let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    for value in ["3", "1", "0", "many"] {
        home.cmd("restart app").env("PM2_CONCURRENT_ACTIONS", value).run().ok();
    }
    let list = home.jlist();
    assert!(
        list.iter().all(|item| item.status() == "online" && item.restarts() == 4 && !before.contains(&item.pid())),
        "{}",
        home.report()
    );
}

/// `all` selects all apps in commands. PM2 accepts it as a name, and apps that have it keep it.
#[test]
fn words_of_commands_are_no_names_of_new_apps() {
    let pm2 = Home::new(Subject::OstlerAsPm2(binary()));
    let mut home = home();
    home.set_dir(pm2.dir());
    let (script, file) =
        (home.write("all.sh", "exec sleep 1000\n"), home.write("eco.json", r#"{"apps": [{"name": "all", "script": "all.sh"}]}"#));
    for words in ["start sleep --name all -- 1000".to_owned(), format!("start {script} --name all"), format!("start {script}")] {
        home.run(words).code(1).says("error: cannot name an app all: ").says("hint: `--name <name>` sets another name");
    }
    home.run(format!("start {file}")).code(1).says("cannot name an app all: ").says("apps[0].name");
    home.run(format!("validate {file}")).code(1).says("cannot name an app all: ");
    // A number is a name, as in PM2.
    home.ok(format!("start {script} --name 7"));
    home.run("restart 7 --name all").code(1).says("cannot name an app all: ");
    assert_eq!(home.jlist().iter().map(ListedApp::name).collect::<Vec<_>>(), ["7"]);
    home.ok("delete 7");
    pm2.ok(format!("start {script}"));
    pm2.ok("save");
    pm2.ok("kill");
    home.ok("resurrect");
    home.ok(format!("restart {file}"));
    home.ok("stop all");
    home.ok(format!("start {script}"));
    assert_eq!(home.jlist().iter().map(|app| (app.name(), app.status())).collect::<Vec<_>>(), [("all", "online")]);
    home.ok("kill");
}

/// As everywhere: 0 and false switch colours off.
#[test]
fn colours_are_on_only_if_requested() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    for (variables, is_coloured) in [
        (vec![], false),
        (vec![("FORCE_COLOR", "1")], true),
        (vec![("FORCE_COLOR", "true")], true),
        (vec![("FORCE_COLOR", "0")], false),
        (vec![("FORCE_COLOR", "false")], false),
        (vec![("FORCE_COLOR", "")], false),
        (vec![("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false),
    ] {
        let cmd = variables.iter().fold(home.cmd("list").without("NO_COLOR"), |cmd, (name, value)| cmd.env(name, value));
        assert_eq!(cmd.command().output().unwrap().stdout.contains(&b'\x1b'), is_coloured, "{variables:?}");
    }
}

/// `-s` drops progress messages, not errors.
#[test]
fn silence_does_not_hide_errors() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    let said = home.run("-s stop nobody");
    assert_eq!((said.code, said.stdout.as_str()), (4, ""));
    assert!(said.stderr.contains("is named nobody"), "{}", said.stderr);
    let said = home.cmd("stop nobody").env("PM2_SILENT", "1").run();
    assert!(said.code == 4 && said.stderr.contains("is named nobody"), "{}", said.stderr);
    assert_eq!(home.run("-s stop app").ok().stdout, "");
    // Called as pm2, it prints nothing at all, like PM2.
    let pm2 = Home::new(Subject::OstlerAsPm2(binary()));
    let said = pm2.run("-s stop nobody");
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (1, "", ""));
}
