//! Paths of a home's files: variables that change them, and commands in a removed folder.

use ostler_testkit::{Cmd, Home};

use crate::setup::{home, home_as_pm2};

fn moved<'a>(home: &'a Home, words: &'a str) -> Cmd<'a> {
    let elsewhere = home.work().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let cmd = home.cmd(words).env("PM2_DUMP_FILE_PATH", elsewhere.join("list"));
    cmd.env("PM2_DUMP_BACKUP_FILE_PATH", elsewhere.join("list.bak")).env("PM2_LOG_FILE_PATH", elsewhere.join("daemon.log"))
}

#[test]
fn commands_use_file_paths_set_by_variables() {
    for home in [home(), home_as_pm2()] {
        let list = home.work().join("elsewhere/list");
        let shown = list.display().to_string();
        moved(&home, "start sleep --name app -x --interpreter none -- 1000").run().ok();
        moved(&home, "save").run().ok().says(&shown);
        assert!(std::fs::read_to_string(&list).unwrap().contains("\"app\""));
        moved(&home, "resurrect").run().ok().says(&shown);
        moved(&home, "report").run().ok().says("App [app:0]");
        moved(&home, "logs --nostream --lines 100").run().ok().says("App [app:0]");
        moved(&home, "flush").run().ok().says("elsewhere/daemon.log");
        moved(&home, "kill").run().ok();
        // Without a daemon, the shell's variables decide.
        moved(&home, "resurrect").run().ok().says(&shown);
        assert_eq!(home.app("app").status(), "online");
        moved(&home, "kill").run().ok();
        moved(&home, "cleardump").run().ok().says(&shown);
        for name in ["dump.pm2", "dump.pm2.bak", "pm2.log"] {
            assert!(!home.dir().join(name).exists(), "{name}");
        }
    }
}

#[test]
fn ostler_uses_file_paths_of_running_daemon() {
    let home = home();
    let (list, conf) = (home.work().join("elsewhere/list"), home.work().join("elsewhere/conf"));
    let shown = list.display().to_string();
    let first = moved(&home, "start sleep --name app -x --interpreter none -- 1000").env("PM2_MODULE_CONF_FILE", &conf);
    // A relative path is relative to the home, for daemon and keeper as well.
    first.env("PM2_PID_FILE_PATH", "keeper.pid").run().ok();
    assert!(home.dir().join("keeper.pid").exists() && !home.dir().join("pm2.pid").exists());
    for later in [home.cmd("cleardump"), moved(&home, "cleardump")] {
        home.cmd("save").run().ok().says(&shown);
        later.run().ok().says(&shown);
        assert_eq!(std::fs::read_to_string(&list).unwrap(), "[]");
    }
    let elsewhere = |words, variable| home.cmd(words).env(variable, home.work().join("other")).run().ok();
    elsewhere("cleardump", "PM2_DUMP_FILE_PATH").says("takes effect when a daemon starts");
    elsewhere("set app:key value", "PM2_MODULE_CONF_FILE").says("takes effect when a daemon starts");
    assert!(std::fs::read_to_string(&conf).unwrap().contains("value"));
    home.cmd("get app:key").run().ok().says("value");
    assert!(!home.work().join("other").exists() && !home.dir().join("dump.pm2").exists());
    home.cmd("kill").run().ok();
    home.wait_until("the keeper has ended", || !home.dir().join("keeper.pid").exists());
}

#[test]
fn pm2_name_uses_file_paths_of_its_shell() {
    let home = home_as_pm2();
    let elsewhere = home.work().join("elsewhere");
    let (list, log) = (elsewhere.join("list"), elsewhere.join("daemon.log"));
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let usual = home.dir().join("dump.pm2");
    home.ok("start sleep --name app -x --interpreter none -- 1000");
    moved(&home, "save").run().ok().says(&list.display().to_string());
    assert!(text(&list).contains("\"app\"") && !usual.exists());
    home.ok("save");
    moved(&home, "cleardump").run().ok().says(&list.display().to_string()).never_says("takes effect when");
    assert!(text(&list) == "[]" && text(&usual).contains("\"app\""));
    moved(&home, "save").run().ok();
    assert_eq!(text(&elsewhere.join("list.bak")), "[]");
    // Neither list contains the daemon's own app.
    home.ok("cleardump");
    for damaged in [false, true] {
        home.ok("delete app");
        if damaged {
            std::fs::rename(&list, elsewhere.join("list.bak")).unwrap();
            std::fs::write(&list, "{ this is no list").unwrap();
        }
        let said = moved(&home, "resurrect").run().ok().says(&list.display().to_string());
        assert_eq!(said.stdout.contains("list.bak"), damaged, "{}", said.stdout);
        home.wait_status("app", "online");
    }
    std::fs::write(&log, "a line of this log\n").unwrap();
    moved(&home, "logs PM2 --nostream").run().ok().says("a line of this log");
    moved(&home, "flush").run().ok().says(&log.display().to_string());
    assert!(text(&log).is_empty() && !text(&home.dir().join("pm2.log")).is_empty());
    home.cmd("set app:key value").env("PM2_MODULE_CONF_FILE", elsewhere.join("conf")).run().ok();
    assert!(text(&elsewhere.join("conf")).contains("value") && !text(&home.dir().join("module_conf.json")).contains("value"));
    home.ok("kill");
    // Only the daemon has the variables.
    moved(&home, "start sleep --name app -x --interpreter none -- 1000").run().ok();
    home.ok("save");
    assert!(text(&usual).contains("\"app\""));
    home.ok("cleardump");
    assert!(text(&usual) == "[]" && text(&list) != "[]");
}

/// Runs a command in a folder that is removed before it starts.
fn in_removed<'a>(home: &'a Home, words: &'a str) -> Cmd<'a> {
    home.cmd(words).after("mkdir -p removed && cd removed && rmdir ../removed")
}

#[test]
fn removed_current_folder_affects_only_relative_paths() {
    for home in [home(), home_as_pm2()] {
        home.ok("start sleep --name app -x --interpreter none -- 1000");
        let file = home
            .write("eco.json", r#"{"apps": [{"name": "other", "script": "sleep", "args": "1000", "cwd": "/", "interpreter": "none"}]}"#);
        let with_file = ["validate", "start", "restart", "reload", "startOrRestart", "startOrReload", "diff", "stop", "delete"];
        let by_file = with_file.map(|word| format!("{word} {file}"));
        let plain = [
            "list",
            "jlist",
            "prettylist",
            "describe app",
            "restart app",
            "restart all --update-env",
            "reload app",
            "reload app --env A=1",
            "scale app 2",
            "reset app",
            "stop app",
            "start app",
            "start sleep --name third --cwd / -x --interpreter none -- 1000",
            "logs --nostream",
            "logs app --nostream",
            "flush",
            "reloadLogs",
            "pid app",
            "id app",
            "env 0",
            "why app",
            "ping",
            "report",
            "set m:a b",
            "get m:a",
            "conf",
            "unset m:a",
            "save",
            "resurrect",
            "cleardump",
            "ps",
            "sendSignal SIGCONT app",
            "examples",
            "help",
            "update",
            "delete app",
            "kill",
        ];
        for command in by_file.iter().map(String::as_str).chain(plain) {
            in_removed(&home, command).run().ok().never_says("hint: the current directory");
        }
        for command in ["start", "start app.js", "start eco.json", "validate eco.json", "ecosystem", "start sleep --name x -- 1"] {
            in_removed(&home, command).run().fails().says("the current directory was removed");
        }
    }
}
