//! Every command line of the documents that this project started from, unchanged, in a shell, under
//! the name `pm2`. The tests check the effect of each line, not only that ostler accepts it.
//! `tests/fixtures/seeds/commands.txt` lists all lines with the numbers of their documents.

use crate::watch::wait_for_watching;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use ostler_testkit::{Cmd, Foreground, Home, ListedApp, Output, Terminal, get, is_root, needs_program};
use serde_json::{Value, json};

use crate::setup::{DocumentPorts, binary, home_as_pm2};

/// A command line, and the function that runs it and checks its effect.
type Case = (&'static str, fn(&SeedHome, &str));

/// The app of all these lines: it has printed a lot, records its arguments and environment, and
/// prints more on a signal.
const APP: &str = "
for (let number = 1; number <= 150; number += 1) console.log(`line ${number}`);
console.error('an error');
process.on('SIGUSR2', () => { console.error('later error'); console.log('later'); });
const told = `${__dirname}/../told.json`;
require('fs').writeFileSync(`${told}.part${process.pid}`, JSON.stringify({ args: process.argv.slice(2), env: process.env }));
require('fs').renameSync(`${told}.part${process.pid}`, told);
setInterval(() => {}, 1000);
";

/// The file of all lines that name an ecosystem file.
const ECOSYSTEM: &str = "module.exports = { apps: [
  { name: 'api-gateway', script: 'app.js', instances: 2, exec_mode: 'cluster', env: { NODE_ENV: 'development' }, env_production: { NODE_ENV: 'production' } },
  { name: 'user-service', script: 'app.js', env_production: { NODE_ENV: 'production' } },
] };";

/// A home, and a folder in which the lines run.
struct SeedHome {
    home: Home,
}

impl SeedHome {
    fn new() -> Self {
        let home = home_as_pm2();
        for name in ["app.js", "dist/main.js"] {
            home.write(name, APP.replace("/../told", if name == "app.js" { "/../told" } else { "/../../told" }));
        }
        home.write("xxx", format!("#!/usr/bin/env node\n{APP}"));
        home.write("ecosystem.config.js", ECOSYSTEM);
        symlink(binary(), home.root().join("bin/pm2-runtime")).unwrap();
        Self { home }
    }

    /// Returns the line as a command of a shell.
    fn shell(&self, line: &str) -> Cmd<'_> {
        self.home.cmd("").after(&text(&self.home, line))
    }

    #[track_caller]
    fn ok(&self, line: &str) -> Output {
        self.shell(line).run().ok()
    }

    /// Checks that the line succeeds, and that exactly these apps run: `name mode count`.
    #[track_caller]
    fn starts(&self, line: &str, expected: &str) -> Vec<ListedApp> {
        self.ok(line);
        self.runs(expected)
    }

    #[track_caller]
    fn runs(&self, expected: &str) -> Vec<ListedApp> {
        let list = self.home.jlist();
        let names: BTreeSet<&str> = list.iter().map(ListedApp::name).collect();
        let mode = |name: &str| list.iter().find(|item| item.name() == name).map_or("", |item| item.text("exec_mode")).to_owned();
        let count = |name: &str| list.iter().filter(|item| item.name() == name && item.status() == "online").count();
        let seen: Vec<String> = names.iter().map(|name| format!("{name} {} {}", mode(name), count(name))).collect();
        assert_eq!(seen.join(", "), expected, "{}", self.home.report());
        list
    }

    /// Checks that the line replaces each process of this app, and leaves the other apps alone.
    #[track_caller]
    fn replaces_processes(&self, line: &str, name: &str) {
        let before = self.home.jlist();
        self.ok(line);
        let after = self.home.jlist();
        assert_eq!(after.len(), before.len());
        for (before, after) in before.iter().zip(&after) {
            let is_meant = name == "all" || before.name() == name;
            assert_eq!((before.pid() != after.pid(), after.status()), (is_meant, "online"), "{line}: {}", after.name());
        }
    }

    /// Checks that the line stops the app's instances, and leaves the other apps alone.
    #[track_caller]
    fn stops(&self, line: &str, name: &str) {
        self.ok(line);
        for item in self.home.jlist() {
            let is_meant = name == "all" || item.name() == name;
            assert_eq!(item.status(), if is_meant { "stopped" } else { "online" }, "{line}: {}", item.name());
        }
    }

    /// Checks that the line deletes the app, and leaves the other apps alone.
    #[track_caller]
    fn deletes(&self, line: &str, name: &str) {
        let mut left = self.home.jlist();
        left.retain(|item| name != "all" && item.name() != name);
        self.ok(line);
        let pids: Vec<i32> = left.iter().map(ListedApp::pid).collect();
        assert_eq!(self.home.pids(), pids, "{line}");
    }

    /// Returns the arguments and the environment that the app recorded.
    #[track_caller]
    fn app_report(&self) -> Value {
        let file = self.home.root().join("told.json");
        self.home.wait_until("the app has written what it was given", || file.exists());
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    /// Checks that the line prints past output up to `last`, and then new output up to `later`.
    /// Returns all lines.
    #[track_caller]
    fn follows(&self, line: &str, last: &str, later: &str) -> Vec<String> {
        self.printed();
        let follower = Foreground::open(self.shell(line).command());
        let mut lines = follower.until(last);
        for name in self.home.jlist().iter().map(ListedApp::name).collect::<BTreeSet<_>>() {
            self.home.ok(["sendSignal", "SIGUSR2", name]);
        }
        lines.extend(follower.until(later));
        lines
    }

    /// Waits until all apps have printed everything.
    #[track_caller]
    fn printed(&self) {
        for item in self.home.jlist() {
            let has = |key: &str, text: &str| fs::read_to_string(item.text(key)).is_ok_and(|log| log.contains(text));
            self.home.wait_until("it has printed", || has("pm_out_log_path", "line 150") && has("pm_err_log_path", "an error"));
        }
    }

    /// Checks that the line prints the last 15 lines of each file, as PM2 does, and then new lines.
    #[track_caller]
    fn follows_the_last_15(&self, line: &str) {
        let lines = self.follows(line, "line 150", "later");
        assert!(has(&lines, "line 136") && !has(&lines, "line 135"), "{lines:?}");
    }

    #[track_caller]
    fn follows_the_last_100(&self, line: &str) {
        let lines = self.follows(line, "line 150", "later");
        assert!(has(&lines, "line 51") && !has(&lines, "line 50"), "{lines:?}");
    }

    /// Checks that the line opens `monit` on a terminal, and that a key closes it.
    #[track_caller]
    fn shows_monit(&self, line: &str) {
        let shell = format!("exec setsid -c -w bash -c '{}'", text(&self.home, line));
        let mut terminal = Terminal::start_shell(self.home.cmd(""), &shell, 100, 30);
        for text in ["Process List", "0 app ", "Logs", "Metadata"] {
            terminal.wait_for(text);
        }
        terminal.press("q");
        assert!(terminal.end().success());
    }

    /// Checks that a user other than root gets the command to run as root, and that nothing is
    /// written.
    #[track_caller]
    fn prints_command_for_root(&self, line: &str, command: &str) {
        let shell = self.shell(line);
        let output = if is_root() { shell.uid(65_534) } else { shell }.run();
        assert_eq!(output.code, 1, "{output}");
        let asked = output.stdout.lines().find(|line| line.starts_with("sudo env PATH=")).unwrap_or_default();
        assert!(asked.contains(&format!("pm2 {command} systemd")) && asked.contains(" -u ") && asked.contains("PM2_HOME="), "{output}");
    }

    /// Checks that the line prints one line that names ostler's replacement.
    #[track_caller]
    fn names_replacement(&self, line: &str, text: &str) {
        let before = self.home.pids();
        let output = self.shell(line).run();
        assert_eq!((output.code, output.all().trim().lines().count()), (1, 1), "{output}");
        assert!(output.all().contains(text), "{output}");
        assert_eq!(self.home.pids(), before);
    }
}

/// Returns the line as in its document, in a shell in which `pm2` is a program.
fn text(home: &Home, line: &str) -> String {
    format!("export PATH={}:\"$PATH\"\n{line}\nexit", home.root().join("bin").display())
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.ends_with(text))
}

#[track_caller]
fn is_in_cluster(place: &SeedHome, line: &str) {
    place.starts(line, &format!("app cluster_mode {}", std::thread::available_parallelism().unwrap()));
}

/// Checks that the line changes this setting of the rotation module.
#[track_caller]
fn sets(place: &SeedHome, line: &str, key: &str, value: &str) {
    place.ok("pm2 install pm2-logrotate");
    place.ok(line);
    assert_eq!(place.home.json_of("module_conf.json")["pm2-logrotate"][key], value);
}

#[track_caller]
fn env_of(place: &SeedHome, name: &str) -> Value {
    let list = place.home.jlist();
    list.iter().find(|item| item.name() == name).unwrap().env("env")["NODE_ENV"].clone()
}

/// Checks that a change restarts the app. The file system may report the change late.
#[track_caller]
fn is_watched(place: &SeedHome, line: &str, name: &str, changed: &str) {
    place.ok(line);
    assert_eq!(place.home.app(name).env("watch"), &json!(true));
    wait_for_watching(&place.home, name, 1);
    let script = place.home.read(changed);
    place.home.write(changed, format!("{script}\n"));
    place.home.wait_app(name, "restarted", |item| item.restarts() == 1 && item.status() == "online");
}

/// Lines that start an app; before each of them, nothing runs.
const STARTS: &[Case] = &[
    ("pm2 start app.js", |place, line| drop(place.starts(line, "app fork_mode 1"))),
    ("pm2 start app.js --watch", |place, line| is_watched(place, line, "app", "app.js")),
    ("pm2 start app.js -i 4 --name myApp", |place, line| drop(place.starts(line, "myApp cluster_mode 4"))),
    ("pm2 start app.js --name \"app1\" -- arg1=value1 arg2=value2", |place, line| {
        place.starts(line, "app1 fork_mode 1");
        assert_eq!(place.app_report()["args"], json!(["arg1=value1", "arg2=value2"]));
    }),
    ("pm2 start app.js -i 4", |place, line| drop(place.starts(line, "app cluster_mode 4"))),
    ("pm2 start app.js --max-memory-restart 1G", |place, line| {
        assert_eq!(place.starts(line, "app fork_mode 1")[0].number("max_memory_restart"), 1 << 30);
    }),
    ("NODE_ENV=development pm2 start app.js", |place, line| {
        place.starts(line, "app fork_mode 1");
        assert_eq!(place.app_report()["env"]["NODE_ENV"], "development");
    }),
    ("NODE_ENV=production pm2 start app.js", |place, line| {
        place.starts(line, "app fork_mode 1");
        assert_eq!(place.app_report()["env"]["NODE_ENV"], "production");
    }),
    ("pm2 start app.js --env NODE_ENV=development,env1=13,env2=32", |place, line| {
        place.starts(line, "app fork_mode 1");
        let env = &place.app_report()["env"];
        assert_eq!([&env["NODE_ENV"], &env["env1"], &env["env2"]], ["development", "13", "32"]);
    }),
    ("pm2 start app.js --kill-timeout 3000", |place, line| {
        assert_eq!(place.starts(line, "app fork_mode 1")[0].number("kill_timeout"), 3000);
    }),
    ("pm2 start ./dist/main.js", |place, line| drop(place.starts(line, "main fork_mode 1"))),
    ("pm2 start xxx --max-memory-restart 200M", |place, line| {
        assert_eq!(place.starts(line, "xxx fork_mode 1")[0].number("max_memory_restart"), 200 << 20);
    }),
    ("pm2 start xxx --cron-restart \"2/3 * * * * *\"", |place, line| {
        place.ok(line);
        assert_eq!(place.home.app("xxx").text("cron_restart"), "2/3 * * * * *");
        place.home.wait_app("xxx", "restarted twice, at its times", |item| item.restarts() >= 2);
    }),
    ("pm2 start xxx --watch", |place, line| is_watched(place, line, "xxx", "app.js")),
    ("pm2 start xxx --no-autorestart", |place, line| {
        assert_eq!(place.starts(line, "xxx fork_mode 1")[0].env("autorestart"), &json!(false));
        ostler_testkit::kill(place.home.app("xxx").pid(), rustix::process::Signal::TERM);
        place.home.wait_app("xxx", "stopped for good", |item| item.status() == "stopped" && item.restarts() == 0);
    }),
    ("pm2 start xxx --max-memory-restart 1K", |place, line| {
        place.ok(line);
        place.home.wait_app("xxx", "restarted: everything has more", |item| item.restarts() >= 2);
    }),
    ("pm2 start app.js -i max", is_in_cluster),
    ("pm2 start app.js -i 0", is_in_cluster),
    ("pm2 start app.js                    # 单进程", |place, line| drop(place.starts(line, "app fork_mode 1"))),
    ("pm2 start app.js -i max             # 集群模式（CPU 核心数）", is_in_cluster),
    ("pm2 start app.js -i 4               # 指定 4 个进程", |place, line| drop(place.starts(line, "app cluster_mode 4"))),
    ("pm2 start app.js --name myapp       # 指定名称", |place, line| drop(place.starts(line, "myapp fork_mode 1"))),
    ("pm2 start app.js --watch            # 文件变化自动重启", |place, line| is_watched(place, line, "app", "app.js")),
    ("pm2 start ecosystem.config.js", |place, line| {
        place.starts(line, "api-gateway cluster_mode 2, user-service fork_mode 1");
        assert_eq!(env_of(place, "api-gateway"), "development");
    }),
    ("pm2 start ecosystem.config.js --env production", |place, line| {
        place.starts(line, "api-gateway cluster_mode 2, user-service fork_mode 1");
        assert_eq!(env_of(place, "user-service"), "production");
    }),
    ("pm2 start ecosystem.config.js --only api-gateway", |place, line| drop(place.starts(line, "api-gateway cluster_mode 2"))),
    ("pm2-runtime ecosystem.config.js", |place, line| {
        place.home.ok("kill");
        let mut runtime = Foreground::open(place.shell(&format!("{line} &\nwait -n")).command());
        runtime.until("line 150");
        let pid_file = place.home.dir().join("pm2.pid");
        place.home.wait_until("it has come up", || fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.is_empty()));
        // The first lines may appear before the last app was started.
        place.home.wait_until("all are online", || {
            let list = place.home.jlist();
            list.len() == 3 && list.iter().all(|item| item.status() == "online")
        });
        place.runs("api-gateway cluster_mode 2, user-service fork_mode 1");
        ostler_testkit::kill(place.home.keeper_pid(), rustix::process::Signal::TERM);
        assert_eq!(runtime.exit_code(&place.home), 0);
        place.home.wait_no_processes();
    }),
];

/// Lines about `app`, one process of `app.js` with id 0. Another app, `other`, runs beside it.
const OF_AN_APP: &[Case] = &[
    ("pm2 --version", |place, line| assert_eq!(place.ok(line).stdout.trim(), place.home.ok("-v").stdout.trim())),
    ("pm2 stop app.js", |place, line| place.stops(line, "app")),
    ("pm2 stop 0", |place, line| place.stops(line, "app")),
    ("pm2 stop all", |place, line| place.stops(line, "all")),
    ("pm2 restart app.js", |place, line| place.replaces_processes(line, "app")),
    ("pm2 restart all", |place, line| place.replaces_processes(line, "all")),
    ("pm2 delete app.js", |place, line| place.deletes(line, "app")),
    ("pm2 delete 0", |place, line| place.deletes(line, "app")),
    ("pm2 delete all", |place, line| place.deletes(line, "all")),
    ("pm2 reload app.js", |place, line| place.replaces_processes(line, "app")),
    ("pm2 reload all", |place, line| place.replaces_processes(line, "all")),
    ("pm2 list", lists),
    ("pm2 list                            # 查看所有进程", lists),
    ("pm2 status", lists),
    ("pm2 describe 0", |place, line| drop(place.ok(line).says("Describing process with id 0 - name app"))),
    ("pm2 monit", |place, line| place.shows_monit(line)),
    ("pm2 monit                           # 实时监控面板", |place, line| place.shows_monit(line)),
    ("pm2 logs", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs app.js", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs                            # 查看所有日志", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs --lines 100", |place, line| place.follows_the_last_100(line)),
    ("pm2 logs --lines 100                # 最近 100 行", |place, line| place.follows_the_last_100(line)),
    ("pm2 logs --json", |place, line| {
        place.printed();
        // As in PM2: new lines only, no past lines.
        let follower = Foreground::open(place.shell(line).command());
        let mut later = String::new();
        place.home.wait_until("what is printed is there as JSON", || {
            place.ok("pm2 sendSignal SIGUSR2 app");
            later = follower.out.try_recv().unwrap_or_default();
            later.contains("later")
        });
        let later: Value = serde_json::from_str(&later).unwrap();
        assert_eq!(
            (&later["message"], &later["app_name"]),
            (&json!(if later["type"] == "err" { "later error" } else { "later" }), &json!("app"))
        );
    }),
    ("pm2 save", saves),
    ("pm2 save                            # 保存当前进程列表", saves),
    ("pm2 flush", flushes),
    ("pm2 flush                           # 清空日志", flushes),
    ("pm2 update", |place, line| {
        let (daemon, pids) = (place.home.daemon_pid(), place.home.pids());
        place.ok(line);
        assert_eq!(place.home.pids(), pids, "no app is restarted by it");
        assert_ne!(place.home.daemon_pid(), daemon);
    }),
    ("pm2 startup", |place, line| place.prints_command_for_root(line, "startup")),
    ("pm2 startup systemd", |place, line| place.prints_command_for_root(line, "startup")),
    ("pm2 startup                         # 生成启动脚本", |place, line| place.prints_command_for_root(line, "startup")),
    ("pm2 unstartup", |place, line| place.prints_command_for_root(line, "unstartup")),
    ("pm2 ecosystem", |place, line| {
        fs::remove_file(place.home.work().join("ecosystem.config.js")).unwrap();
        place.ok(line).says("ecosystem.config.js generated");
        assert!(place.home.read("ecosystem.config.js").contains("module.exports"));
        place.ok("pm2 validate ecosystem.config.js");
        place.home.write("ecosystem.config.js", ECOSYSTEM);
    }),
    ("pm2 plus", |place, line| place.names_replacement(line, "`pm2 web enable`, then `pm2 web open`")),
    ("pm2 plus                            # Web 监控（付费）", |place, line| {
        place.names_replacement(line, "has no monitoring service")
    }),
    ("pm2 link xxx xxx", |place, line| place.names_replacement(line, "has no monitoring service")),
    ("pm2 web", |place, line| {
        let _ports = DocumentPorts::take(&[9615, 9616]);
        place.ok(line);
        let page = get(9615, "/").unwrap();
        assert!(page.contains("\"system_info\"") && page.contains("\"name\":\"app\""), "{page}");
        place.ok("pm2 web disable");
    }),
    ("pm2 install pm2-server-monit", |place, line| drop(place.ok(line).says("pm2-server-monit"))),
    ("pm2 install pm2-logrotate", |place, line| {
        place.ok(line);
        assert_eq!(place.home.json_of("module_conf.json")["pm2-logrotate"]["max_size"], "10M");
    }),
    ("pm2 set pm2-logrotate:max_size 10M", |place, line| sets(place, line, "max_size", "10M")),
    ("pm2 set pm2-logrotate:max_size 100M", |place, line| sets(place, line, "max_size", "100M")),
    ("pm2 set pm2-logrotate:retain 30", |place, line| sets(place, line, "retain", "30")),
    ("pm2 set pm2-logrotate:compress true", |place, line| sets(place, line, "compress", "true")),
];

fn lists(place: &SeedHome, line: &str) {
    let table = place.ok(line).stdout;
    let rows: Vec<&str> = table.lines().filter(|row| row.contains("online")).collect();
    assert!(rows.len() == 2 && rows[0].contains(" app ") && rows[1].contains(" other "), "{table}");
}

fn saves(place: &SeedHome, line: &str) {
    drop(fs::remove_file(place.home.dir().join("dump.pm2")));
    place.ok(line).says("Successfully saved");
    let dump = place.home.json_of("dump.pm2");
    assert_eq!([&dump[0]["name"], &dump[1]["name"]], ["app", "other"]);
}

fn flushes(place: &SeedHome, line: &str) {
    place.printed();
    place.ok(line);
    for item in place.home.jlist() {
        assert_eq!(fs::read_to_string(item.text("pm_out_log_path")).unwrap(), "");
    }
}

/// Lines about a clustered app of two, with the name that the line uses.
const OF_A_CLUSTER: &[Case] = &[
    ("pm2 scale app +1", |place, line| drop(place.starts(line, "app cluster_mode 3"))),
    ("pm2 scale app 4", |place, line| drop(place.starts(line, "app cluster_mode 4"))),
    ("pm2 scale main 3", |place, line| drop(place.starts(line, "main cluster_mode 3"))),
    ("pm2 scale main +3", |place, line| drop(place.starts(line, "main cluster_mode 5"))),
    ("pm2 logs main --lines 100", |place, line| place.follows_the_last_100(line)),
    ("pm2 logs 进程名", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs 进程id", |place, line| place.follows_the_last_15(line)),
    ("pm2 flush 进程名", flushes),
    ("pm2 show myapp                      # 查看详情", |place, line| drop(place.ok(line).says("name myapp"))),
    ("pm2 stop myapp                      # 停止", |place, line| place.stops(line, "myapp")),
    ("pm2 restart myapp                   # 重启", |place, line| place.replaces_processes(line, "myapp")),
    ("pm2 restart myapp", |place, line| place.replaces_processes(line, "myapp")),
    ("pm2 reload myapp                    # 零停机重启 🔥", |place, line| place.replaces_processes(line, "myapp")),
    ("pm2 reload myapp", |place, line| place.replaces_processes(line, "myapp")),
    ("pm2 delete myapp                    # 删除", |place, line| place.deletes(line, "myapp")),
    ("pm2 logs myapp                      # 查看指定应用", |place, line| place.follows_the_last_15(line)),
];

/// Lines about the services of [`ECOSYSTEM`].
const OF_SERVICES: &[Case] = &[
    ("pm2 restart api-gateway", |place, line| place.replaces_processes(line, "api-gateway")),
    ("pm2 reload api-gateway", |place, line| place.replaces_processes(line, "api-gateway")),
    ("pm2 reload api-gateway  # 零停机重启（集群模式）", |place, line| place.replaces_processes(line, "api-gateway")),
    ("pm2 stop api-gateway", |place, line| place.stops(line, "api-gateway")),
    ("pm2 stop api-gateway --wait-ready", |place, line| place.stops(line, "api-gateway")),
    ("pm2 delete api-gateway", |place, line| place.deletes(line, "api-gateway")),
    ("pm2 restart api-gateway --env production", |place, line| {
        assert_eq!(env_of(place, "api-gateway"), "development");
        place.replaces_processes(line, "api-gateway");
        assert_eq!(env_of(place, "api-gateway"), "production");
    }),
    ("pm2 scale api-gateway 4", |place, line| drop(place.starts(line, "api-gateway cluster_mode 4, user-service fork_mode 1"))),
    ("pm2 reset api-gateway", |place, line| {
        place.ok("pm2 restart api-gateway user-service");
        place.ok(line);
        assert_eq!(place.home.jlist().iter().map(ListedApp::restarts).collect::<Vec<_>>(), [0, 0, 1]);
    }),
    ("pm2 show api-gateway", |place, line| drop(place.ok(line).says("name api-gateway").never_says("name user-service"))),
    ("pm2 describe api-gateway", |place, line| drop(place.ok(line).says("name api-gateway").never_says("name user-service"))),
    ("pm2 logs api-gateway", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs api-gateway --lines 100", |place, line| place.follows_the_last_100(line)),
    ("pm2 logs user-service", |place, line| place.follows_the_last_15(line)),
    ("pm2 logs user-service --lines 100", |place, line| place.follows_the_last_100(line)),
    ("pm2 logs user-service --err", |place, line| {
        let lines = place.follows(line, "an error", "later error");
        assert!(!lines.iter().any(|line| line.contains("line ") || line.ends_with("| later")), "{lines:?}");
    }),
];

/// Runs the lines one after the other, each after `begin`.
#[track_caller]
fn run(cases: &[Case], begin: fn(&SeedHome, &str)) {
    let place = SeedHome::new();
    for (line, does) in cases {
        eprintln!("{line}");
        place.home.run("delete all");
        drop(fs::remove_file(place.home.root().join("told.json")));
        for log in fs::read_dir(place.home.dir().join("logs")).into_iter().flatten().flatten() {
            fs::remove_file(log.path()).unwrap();
        }
        begin(&place, line);
        does(&place, line);
    }
}

#[test]
fn lines_that_start_apps_work() {
    needs_program!("node");
    run(STARTS, |_, _| {});
}

#[test]
fn lines_for_an_app_work() {
    needs_program!("node");
    needs_program!("setsid");
    run(OF_AN_APP, |place, _| {
        place.ok("pm2 start app.js");
        place.ok("pm2 start ./dist/main.js --name other");
    });
}

#[test]
fn lines_for_a_cluster_work() {
    needs_program!("node");
    run(OF_A_CLUSTER, |place, line| {
        let name = line.split_whitespace().nth(2).unwrap();
        place.ok(&format!("pm2 start app.js -i 2 --name {name}"));
    });
}

#[test]
fn lines_for_services_work() {
    needs_program!("node");
    run(OF_SERVICES, |place, _| drop(place.ok("pm2 start ecosystem.config.js")));
}

/// Each line of the table has a case, and each case has a line.
#[test]
fn each_line_has_a_case() {
    let table = include_str!("../fixtures/seeds/commands.txt");
    let lines: Vec<&str> = table.lines().filter_map(|row| row.split_once('\t')).map(|(_, line)| line).collect();
    assert_eq!(lines.len(), table.lines().count(), "each row is documents, a tab, a line");
    let cases: BTreeSet<&str> = [STARTS, OF_AN_APP, OF_A_CLUSTER, OF_SERVICES].concat().into_iter().map(|(line, _)| line).collect();
    let without: Vec<_> = lines.iter().filter(|line| !cases.contains(*line)).collect();
    assert!(without.is_empty(), "lines without a case: {without:#?}");
    let invented: Vec<_> = cases.iter().filter(|line| !lines.contains(line)).collect();
    assert!(invented.is_empty(), "cases without a line: {invented:#?}");
}
