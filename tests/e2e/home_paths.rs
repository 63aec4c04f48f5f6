//! Where the files of a home are: variables that move them, and commands in a folder that was removed.

use ostler_testkit::{Cmd, Home};

use crate::setup::{home, home_as_pm2};

fn moved<'a>(home: &'a Home, words: &'a str) -> Cmd<'a> {
    let elsewhere = home.work().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let cmd = home.cmd(words).env("PM2_DUMP_FILE_PATH", elsewhere.join("list"));
    cmd.env("PM2_DUMP_BACKUP_FILE_PATH", elsewhere.join("list.bak")).env("PM2_LOG_FILE_PATH", elsewhere.join("daemon.log"))
}

#[test]
fn every_command_uses_the_files_that_variables_move() {
    for home in [home(), home_as_pm2()] {
        let list = home.work().join("elsewhere/list");
        let shown = list.display().to_string();
        moved(&home, "start sleep --name app -x --interpreter none -- 1000").run().ok();
        moved(&home, "save").run().ok().says(&shown);
        assert!(std::fs::read_to_string(&list).unwrap().contains("\"app\""));
        moved(&home, "resurrect").run().ok().says(&shown);
        moved(&home, "report").run().ok().says("App [app:0]");
        moved(&home, "logs --nostream --lines 100").run().ok().says("App [app:0]");
        // The daemon knows where its files are, whatever a later shell says.
        for later in [home.cmd("cleardump"), moved(&home, "cleardump")] {
            moved(&home, "save").run().ok();
            later.run().ok().says(&shown);
            assert_eq!(std::fs::read_to_string(&list).unwrap(), "[]");
        }
        let other = home.cmd("cleardump").env("PM2_DUMP_FILE_PATH", home.work().join("other"));
        other.run().ok().says("counts when a daemon is started");
        moved(&home, "save").run().ok();
        moved(&home, "kill").run().ok();
        // Without a daemon the variables of the shell say it.
        moved(&home, "resurrect").run().ok().says(&shown);
        assert_eq!(home.app("app").status(), "online");
        moved(&home, "kill").run().ok();
        moved(&home, "cleardump").run().ok().says(&shown);
        for name in ["dump.pm2", "dump.pm2.bak"] {
            assert!(!home.dir().join(name).exists(), "{name}");
        }
        assert!(!home.work().join("other").exists());
    }
}

/// Runs a command in a folder that is removed before it starts.
fn in_removed<'a>(home: &'a Home, words: &'a str) -> Cmd<'a> {
    home.cmd(words).after("mkdir -p removed && cd removed && rmdir ../removed")
}

#[test]
fn only_relative_paths_need_the_current_folder() {
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
