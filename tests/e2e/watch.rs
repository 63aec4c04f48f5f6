//! `watch`: restarts when files change, of the changed app only, once per burst, and never in a circle.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ostler_testkit::{Home, Load, LoadSpec, free_port, get, is_root, kill, skip};
use rustix::process::Signal;

use crate::setup::{ecosystem, home, home_as_pm2};

const WAITS: &str = "#!/bin/sh\nexec sleep 1000\n";

/// An app in a folder of its own, watched with these members of its entry. Waits until it is.
#[track_caller]
fn watched(home: &Home, name: &str, members: &str) {
    let script = home.write(&format!("{name}/app.sh"), WAITS);
    let cwd = home.work().join(name);
    let file = ecosystem(home, &format!(r#""name": "{name}", "script": "{script}", "cwd": "{}", {members}"#, cwd.display()));
    home.ok(format!("start {file}"));
    armed(home, name, 1);
}

/// Waits until the app was begun to be watched so often.
#[track_caller]
fn armed(home: &Home, name: &str, times: usize) {
    home.wait_until(&format!("{name} is watched"), || {
        let log = daemon_log(home);
        log.lines().filter(|line| line.contains("Watching ") && line.ends_with(&format!(" for app {name}"))).count() >= times
    });
}

fn daemon_log(home: &Home) -> String {
    fs::read_to_string(home.dir().join("pm2.log")).unwrap_or_default()
}

/// Paths that restarted an app, in order.
fn restarted_by(home: &Home, name: &str) -> Vec<String> {
    let tail = format!(" for app {name} - restarting");
    let of_line = |line: &str| Some(line.split_once("Change detected on path ")?.1.strip_suffix(&tail)?.to_owned());
    daemon_log(home).lines().filter_map(of_line).collect()
}

/// Waits until it was restarted so often in all, and runs.
#[track_caller]
fn restarts(home: &Home, name: &str, count: u64) {
    home.wait_app(name, &format!("restarted {count} times"), |item| item.restarts() == count && item.status() == "online");
}

/// A change that counts, after others that should not: it alone restarts the app.
#[track_caller]
fn only_the_last_counts(home: &Home, name: &str, last: &str) {
    let (before, app) = (restarted_by(home, name).len(), home.app(name));
    home.write(&format!("{name}/{last}"), format!("{before}"));
    home.wait_app(name, "restarted", |item| item.pid() != app.pid() && item.status() == "online");
    assert_eq!(restarted_by(home, name)[before..], [last]);
}

/// Watches of the daemon in the kernel, by inode.
fn kernel_watches(home: &Home) -> usize {
    let folder = format!("/proc/{}/fdinfo", home.daemon_pid());
    let files = fs::read_dir(folder).unwrap().flatten();
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().filter(|line| line.starts_with("inotify wd:")).count();
    // The descriptor is there twice: the thread has a copy.
    files.map(|entry| lines(&entry.path())).max().unwrap_or(0)
}

#[test]
fn a_change_restarts_the_changed_app_only() {
    let home = home();
    watched(&home, "a", r#""watch": true"#);
    watched(&home, "b", r#""watch": true"#);
    home.write("a/src/deep/x.js", "1");
    restarts(&home, "a", 1);
    home.write("a/src/deep/x.js", "2");
    restarts(&home, "a", 2);
    // Which of what is new is seen first depends on who is faster.
    let by = restarted_by(&home, "a");
    assert!(by[0].starts_with("src") && by[1] == "src/deep/x.js", "{by:?}");
    fs::remove_file(home.work().join("a/src/deep/x.js")).unwrap();
    restarts(&home, "a", 3);
    only_the_last_counts(&home, "b", "y.js");
    restarts(&home, "b", 1);
    assert_eq!(home.app("a").restarts(), 3);
    home.ok("why a").says("watch: src/deep/x.js");
}

#[test]
fn what_is_ignored_by_default_restarts_nothing() {
    let home = home();
    for folder in ["node_modules/m", ".git", ".cache", "logs", "sub/node_modules"] {
        fs::create_dir_all(home.work().join("app").join(folder)).unwrap();
    }
    watched(&home, "app", r#""watch": true, "out_file": "own/out.txt", "error_file": "own/err.txt", "pid_file": "own/app.pid""#);
    for path in [
        "node_modules/m/a.js",
        "node_modules/new/a.js",
        ".git/HEAD",
        ".env",
        ".cache/x",
        "logs/a.txt",
        "sub/debug.log",
        "sub/node_modules/a.js",
        "own/out-0.txt.1",
        "x.js~",
        ".x.js.swp",
        "4913",
    ] {
        home.write(&format!("app/{path}"), "x");
    }
    only_the_last_counts(&home, "app", "src.js");
}

#[test]
fn an_app_never_restarts_by_its_own_logs() {
    let home = home();
    let script = home.write("app/app.sh", "#!/bin/sh\nwhile :; do echo line; echo line >&2; sleep 0.01; done\n");
    let cwd = home.work().join("app");
    // Where the default is replaced, too.
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "ignore_watch": ["tmp"],
        "out_file": "out.txt", "error_file": "err.txt", "log_file": "all.txt", "pid_file": "run.pid", "instances": 2"#,
            cwd.display()
        ),
    );
    home.ok(format!("start {file}"));
    armed(&home, "app", 1);
    let all = home.jlist()[0].text("pm_log_path").to_owned();
    let size = || fs::metadata(&all).map_or(0, |meta| meta.len());
    let before = size();
    home.wait_until("it logs", || size() > before + 2000);
    home.ok("flush app");
    home.ok("reloadLogs");
    home.ok("restart app");
    home.write("app/src.js", "x");
    home.wait_until("something restarts it", || !restarted_by(&home, "app").is_empty());
    assert_eq!(restarted_by(&home, "app"), ["src.js"]);
}

#[test]
fn ignore_watch_takes_folders_patterns_and_regular_expressions() {
    let home = home();
    for folder in ["tmp", "client/img", "src/gen"] {
        fs::create_dir_all(home.work().join("app").join(folder)).unwrap();
    }
    watched(
        &home,
        "app",
        r#""watch": true, "ignore_watch": ["tmp", "./client/img/", "*.bak", "src/**/gen", "regex:\\.(css|map)$", "^pub"]"#,
    );
    for path in ["tmp/a.js", "client/img/a.png", "src/x.bak", "src/gen/a.js", "src/a.css", "src/a.js.map", "public.js"] {
        home.write(&format!("app/{path}"), "x");
    }
    only_the_last_counts(&home, "app", "src/tmp");
    // The list replaces the default.
    only_the_last_counts(&home, "app", ".env");
}

#[test]
fn a_config_file_of_javascript_may_have_a_real_regular_expression() {
    let home = home();
    home.write("app.sh", WAITS);
    let file = home.write(
        "ecosystem.config.js",
        "module.exports = { name: 'app', script: './app.sh', watch: true, ignore_watch: [/[\\/\\\\]\\./, /\\.CSS$/i] };",
    );
    home.ok(format!("start {file}"));
    armed(&home, "app", 1);
    for path in [".env", "a.css"] {
        home.write(path, "x");
    }
    home.write("a.js", "x");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app"), ["a.js"]);
}

#[test]
fn gitignore_is_heeded_but_not_for_what_runs() {
    let home = home();
    home.write("app/.gitignore", "build/\n*.tmp\n!keep.tmp\n/only-here\n");
    home.write("app/sub/.gitignore", "*.js\n");
    for folder in ["build", "sub/only-here"] {
        fs::create_dir_all(home.work().join("app").join(folder)).unwrap();
    }
    watched(&home, "app", r#""watch": true"#);
    for path in ["build/a.js", "a.tmp", "sub/a.js", "only-here"] {
        home.write(&format!("app/{path}"), "x");
    }
    only_the_last_counts(&home, "app", "keep.tmp");
    only_the_last_counts(&home, "app", "sub/only-here/a.css");
    // A changed file counts at once.
    home.write("app/.gitignore", "*.css\n");
    // It is read again some time: what counts then shows it.
    let mut number = 0;
    while restarted_by(&home, "app").last().is_none_or(|path| path != "a.tmp") {
        number += 1;
        let pid = home.app("app").pid();
        home.write("app/a.tmp", "x");
        home.write(&format!("app/b{number}"), "x");
        home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    }

    // What is built is ignored by git, but runs.
    let script = home.write("built/dist/server/app.sh", WAITS);
    home.write("built/.gitignore", "dist\nother\n");
    fs::create_dir_all(home.work().join("built/other")).unwrap();
    let cwd = home.work().join("built");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "built", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()))
    ));
    armed(&home, "built", 1);
    home.write("built/other/x", "x");
    only_the_last_counts(&home, "built", "dist/client.js");
    watched(&home, "off", r#""watch": true, "watch_options": {"gitignore": false}"#);
    home.write("off/.gitignore", "x.js");
    only_the_last_counts(&home, "off", "x.js");
}

#[test]
fn paths_patterns_and_files_can_be_watched() {
    let home = home();
    for folder in ["app/src", "app/lib", "shared dir"] {
        fs::create_dir_all(home.work().join(folder)).unwrap();
    }
    home.write("app/.env", "1");
    watched(&home, "app", r#""watch": ["src/**/*.js", "../shared dir", ".env", "not/yet"]"#);
    for path in ["app/src/a.css", "app/lib/a.js", "app/other.js"] {
        home.write(path, "x");
    }
    only_the_last_counts(&home, "app", "src/a.js");
    home.write("app/src/new/deep/b.js", "x");
    restarts(&home, "app", 2);
    home.write("shared dir/x", "x");
    restarts(&home, "app", 3);
    // An editor's way to save: another file takes the name.
    for count in 4..6 {
        home.write("app/.env.new", "2");
        fs::rename(home.work().join("app/.env.new"), home.work().join("app/.env")).unwrap();
        restarts(&home, "app", count);
        assert_eq!(restarted_by(&home, "app").last().unwrap(), ".env");
    }
    home.write("app/not/yet/x.js", "x");
    restarts(&home, "app", 6);
    home.write("app/not/yet/x.js", "y");
    restarts(&home, "app", 7);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "not/yet/x.js");
}

#[test]
fn a_burst_restarts_once() {
    let home = home();
    watched(&home, "app", r#""watch": true, "watch_delay": "1500ms""#);
    for number in 0..500 {
        home.write(&format!("app/src/{}/{number}.js", number % 20), "x");
    }
    restarts(&home, "app", 1);
    only_the_last_counts(&home, "app", "end.js");
    restarts(&home, "app", 2);
}

#[test]
fn folders_come_move_and_go() {
    let home = home();
    watched(&home, "app", r#""watch": true"#);
    let at = |path: &str| home.work().join("app").join(path);
    let mut count = 0;
    let mut next = || {
        count += 1;
        restarts(&home, "app", count);
        restarted_by(&home, "app").pop().unwrap()
    };
    home.write("app/a/b/c/x.js", "1");
    next();
    fs::rename(at("a"), at("z")).unwrap();
    next();
    home.write("app/z/b/c/x.js", "2");
    assert_eq!(next(), "z/b/c/x.js");
    fs::rename(at("z/b"), at("b")).unwrap();
    next();
    home.write("app/b/c/x.js", "3");
    assert_eq!(next(), "b/c/x.js");
    fs::remove_dir_all(at("b")).unwrap();
    next();
    home.write("app/b/c/x.js", "4");
    next();
    home.write("app/b/c/x.js", "5");
    assert_eq!(next(), "b/c/x.js");
    // Moved out, it is not ours any more; what takes its place is.
    fs::rename(at("b"), home.work().join("elsewhere")).unwrap();
    next();
    home.write("elsewhere/c/x.js", "6");
    only_the_last_counts(&home, "app", "last.js");
}

#[test]
fn the_watched_folder_itself_may_be_replaced() {
    let home = home();
    home.write("app/src/x.js", "1");
    watched(&home, "app", r#""watch": ["src"]"#);
    let work = home.work();
    fs::rename(work.join("app/src"), work.join("app/old")).unwrap();
    home.write("app/new/x.js", "2");
    fs::rename(work.join("app/new"), work.join("app/src")).unwrap();
    restarts(&home, "app", 1);
    home.write("app/old/x.js", "3");
    home.write("app/src/x.js", "4");
    restarts(&home, "app", 2);
    assert_eq!(restarted_by(&home, "app"), ["src", "src/x.js"]);
    // Its parent, too.
    fs::rename(work.join("app"), work.join("moved")).unwrap();
    home.write("app/src/x.js", "5");
    home.wait_until("the new one is found", || restarted_by(&home, "app").len() == 3);
    home.write("app/app.sh", WAITS);
    fs::set_permissions(work.join("app/app.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = restarted_by(&home, "app").len();
    home.wait_until("and followed", || {
        home.write("app/src/x.js", "6");
        restarted_by(&home, "app").len() > before
    });
}

#[test]
fn a_link_to_a_release_is_followed_when_it_is_set_anew() {
    let home = home();
    for release in 1..3 {
        home.write(&format!("releases/{release}/app.sh"), WAITS);
        home.write(&format!("releases/{release}/src/x.js"), "x");
    }
    let current = home.work().join("current");
    symlink("releases/1", &current).unwrap();
    let file = ecosystem(&home, &format!(r#""name": "app", "script": "./app.sh", "cwd": "{}", "watch": true"#, current.display()));
    home.ok(format!("start {file}"));
    armed(&home, "app", 1);
    home.write("releases/1/src/x.js", "y");
    restarts(&home, "app", 1);
    symlink("releases/2", home.work().join("next")).unwrap();
    fs::rename(home.work().join("next"), &current).unwrap();
    restarts(&home, "app", 2);
    home.write("releases/1/src/x.js", "z");
    home.write("releases/2/src/x.js", "z");
    restarts(&home, "app", 3);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "src/x.js");
}

#[test]
fn links_to_files_count_when_the_file_does() {
    let home = home();
    home.write("outside/a.json", "1");
    fs::create_dir_all(home.work().join("app/etc")).unwrap();
    // As Kubernetes mounts a ConfigMap: `config.json -> ..data/config.json`, `..data -> ..1`.
    home.write("app/etc/..1/config.json", "1");
    home.write("app/etc/..2/config.json", "2");
    for (target, link) in [("../../outside/a.json", "etc/a.json"), ("..1", "etc/..data"), ("..data/config.json", "etc/config.json")] {
        symlink(target, home.work().join("app").join(link)).unwrap();
    }
    watched(&home, "app", r#""watch": ["etc"]"#);
    home.write("outside/a.json", "2");
    restarts(&home, "app", 1);
    symlink("..2", home.work().join("app/etc/..new")).unwrap();
    fs::rename(home.work().join("app/etc/..new"), home.work().join("app/etc/..data")).unwrap();
    restarts(&home, "app", 2);
    symlink("../../outside/late.json", home.work().join("app/etc/late.json")).unwrap();
    restarts(&home, "app", 3);
    home.write("outside/late.json", "1");
    restarts(&home, "app", 4);
    assert_eq!(restarted_by(&home, "app"), ["etc/a.json", "etc/config.json", "etc/late.json", "etc/late.json"]);
}

#[test]
fn links_are_followed_unless_told_otherwise_and_never_in_circles() {
    let home = home();
    home.write("outside/x.js", "1");
    for name in ["app", "shy"] {
        let folder = home.work().join(name);
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::create_dir_all(folder.join("b")).unwrap();
        for (target, link) in
            [("../outside", "out"), ("..", "up"), ("/", "root"), ("/proc", "proc"), ("../b", "a/b"), ("../a", "b/a"), ("nowhere", "no")]
        {
            symlink(target, folder.join(link)).unwrap();
        }
    }
    watched(&home, "app", r#""watch": true"#);
    watched(&home, "shy", r#""watch": true, "watch_options": {"followSymlinks": false}"#);
    assert!(kernel_watches(&home) < 20, "{} watches", kernel_watches(&home));
    home.write("outside/x.js", "2");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app"), ["out/x.js"]);
    only_the_last_counts(&home, "shy", "a/x.js");
}

#[test]
fn stop_means_stop_and_what_ended_by_itself_is_started_again() {
    let home = home();
    watched(&home, "app", r#""watch": true"#);
    home.ok("stop app");
    home.write("app/x.js", "1");
    watched(&home, "other", r#""watch": true"#);
    only_the_last_counts(&home, "other", "x.js");
    assert_eq!(home.app("app").status(), "stopped");
    assert!(home.ok("list").stdout.lines().any(|line| line.contains(" app ") && line.contains("disabled")));
    // PM2 would not watch any more now.
    home.ok("start app");
    armed(&home, "app", 2);
    only_the_last_counts(&home, "app", "x.js");

    let script = home.write("bad/app.sh", "#!/bin/sh\nexit 3\n");
    let cwd = home.work().join("bad");
    let entry = format!(r#""name": "bad", "script": "{script}", "cwd": "{}", "watch": true, "max_restarts": 1"#, cwd.display());
    home.cmd(format!("start {}", ecosystem(&home, &entry))).run();
    home.wait_status("bad", "errored");
    home.write("bad/app.sh", WAITS);
    home.wait_status("bad", "online");
}

#[test]
fn a_clustered_app_is_reloaded_and_a_bad_change_takes_nothing_down() {
    let home = home();
    let port = free_port();
    let server = "require('http').createServer((q, r) => r.end(String(process.pid))).listen(process.env.PORT);\n";
    let script = home.write("app/app.js", server);
    let cwd = home.work().join("app");
    let members = format!(
        r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "instances": 2, "exec_mode": "cluster", "env": {{"PORT": {port}}}"#,
        cwd.display()
    );
    home.ok(format!("start {}", ecosystem(&home, &members)));
    armed(&home, "app", 1);
    home.wait_until("it serves", || get(port, "/").is_ok());
    let pids = || home.jlist().iter().map(ostler_testkit::Item::pid).collect::<Vec<_>>();
    let load = Load::start_all([LoadSpec::to(port)]);
    let before = pids();
    home.write("app/app.js", format!("{server}// changed\n"));
    home.wait_until("all are replaced", || {
        let list = home.jlist();
        list.iter().all(|item| item.status() == "online" && !before.contains(&item.pid())) && list.len() == 2
    });
    home.wait_until("the reload is over", || home.ok("rollout status app").all().contains(": serves"));
    let good = pids();
    home.write("app/app.js", "throw new Error('mistake');\n");
    home.wait_until("it is refused", || home.run("rollout status app").all().contains(": failed"));
    load.stop().assert_whole();
    assert_eq!(pids(), good);
    home.write("app/app.js", server);
    home.wait_until("and mended", || pids().iter().all(|pid| !good.contains(pid)));
}

#[test]
fn a_saved_list_brings_watching_back() {
    let home = home();
    watched(&home, "app", r#""watch": true, "ignore_watch": ["tmp"]"#);
    watched(&home, "down", r#""watch": true"#);
    home.ok("stop down");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    armed(&home, "app", 2);
    home.write("app/tmp/x", "1");
    home.write("down/x.js", "1");
    only_the_last_counts(&home, "app", "x.js");
    assert_eq!(home.app("down").status(), "stopped");
}

#[test]
fn watching_is_switched_by_options() {
    let home = home_as_pm2();
    home.write("src/x.js", "1");
    let script = home.write("app.sh", WAITS);
    let enabled = |home: &Home| home.ok("list").stdout.lines().any(|line| line.contains(" app ") && line.contains("enabled"));
    home.ok(format!("start {script} --watch src --ignore-watch src/tmp"));
    armed(&home, "app", 1);
    assert!(enabled(&home));
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(["src"]));
    home.ok("restart app --watch");
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(false));
    assert!(!enabled(&home));
    home.ok("restart --watch app");
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(["src"]));
    armed(&home, "app", 2);
    home.ok("stop --watch app");
    assert_eq!((home.app("app").status(), home.app("app").env("watch")), ("stopped", &serde_json::json!(false)));
    home.ok("start app");
    assert!(!enabled(&home));
    home.ok("start app --watch");
    assert!(enabled(&home));
    armed(&home, "app", 3);
    let before = home.app("app").restarts();
    home.write("x.js", "1");
    restarts(&home, "app", before + 1);
    home.ok("delete app");
    home.wait_until("nothing is watched any more", || kernel_watches(&home) == 0);
}

#[test]
fn only_files_with_these_endings_count() {
    let home = home();
    home.write("src/a.js", "1");
    let script = home.write("app.sh", WAITS);
    home.ok(format!("start {script} --watch --ext js,json"));
    armed(&home, "app", 1);
    home.write("src/a.css", "1");
    home.write("src/new/a.css", "1");
    home.write("src/a.js", "2");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app"), ["src/a.js"]);
}

#[test]
fn bad_patterns_are_refused_before_anything_starts() {
    let home = home();
    let script = home.write("app.sh", WAITS);
    for (members, key, message) in [
        (r#""watch": ["src/[a"]"#, "watch", "\"[\" without its \"]\""),
        (r#""watch": true, "ignore_watch": ["regex:(a"]"#, "ignore_watch", "regex:(a"),
        (r#""watch": true, "ignore_watch": ["{a,b"]"#, "ignore_watch", "\"{\" without its \"}\""),
        (r#""watch": true, "ignore_watch": ["a/!(b).js"]"#, "ignore_watch", "\"!(\" is not supported"),
        (r#""watch": true, "watch_delay": "soon""#, "watch_delay", "expected"),
        (r#""watch": true, "watch_options": {"depth": "deep"}"#, "watch_options", "depth: expected"),
    ] {
        let file = ecosystem(&home, &format!(r#""name": "app", "script": "{script}", {members}"#));
        let output = home.run(format!("start {file}"));
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(output.code != 0 && text.contains("app.json") && text.contains(key) && text.contains(message), "{members}\n{text}");
        assert!(!home.dir().join("ostler.sock").exists(), "a daemon was started");
    }
    let output = home.run(format!("start {script} --watch --ignore-watch regex:["));
    assert!(output.code != 0 && format!("{}{}", output.stdout, output.stderr).contains("--ignore-watch"), "{output}");
}

#[test]
fn options_of_chokidar_without_a_meaning_are_told_once() {
    let home = home();
    let script = home.write("app.sh", WAITS);
    let file = ecosystem(
        &home,
        &format!(r#""name": "app", "script": "{script}", "watch": true, "watch_options": {{"persistent": true, "usePolling": false}}"#),
    );
    let output = home.ok(format!("start {file}"));
    let text = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(text.matches("without effect here: persistent").count(), 1, "{text}");
    assert!(!text.contains("usePolling"), "{text}");
}

#[test]
fn where_the_kernel_does_not_tell_one_looks() {
    let home = home();
    home.write("app/src/deep/x.js", "1");
    watched(&home, "app", r#""watch": true, "watch_options": {"usePolling": true, "interval": 20}"#);
    home.write("app/node_modules/m/a.js", "1");
    home.write("app/src/deep/x.js", "22");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app"), ["src/deep/x.js"]);
    home.write("app/src/other/y.js", "1");
    restarts(&home, "app", 2);
    fs::remove_dir_all(home.work().join("app/src/deep")).unwrap();
    restarts(&home, "app", 3);
}

#[test]
fn a_process_that_writes_at_its_start_is_found_out() {
    let home = home();
    let script = home.write("app/app.sh", "#!/bin/sh\nsleep 0.1\necho $$ > db.json\nexec sleep 1000\n");
    let cwd = home.work().join("app");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()))
    ));
    home.wait_until("it is told", || {
        // Whether the first write is seen depends on who is faster.
        if restarted_by(&home, "app").is_empty() {
            home.write("app/x.js", "1");
        }
        daemon_log(&home).contains("App app writes \"")
    });
    let line = daemon_log(&home).lines().find(|line| line.contains("App app writes")).unwrap().to_owned();
    assert!(line.contains("app/db.json\" itself each time it is started") && line.contains("ignore_watch"), "{line}");
    let before = restarted_by(&home, "app").len();
    home.write("app/x.js", "2");
    home.wait_until("others still count", || restarted_by(&home, "app").len() > before);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "x.js");
}

#[test]
fn what_changes_while_there_is_no_daemon_is_not_lost() {
    let home = home();
    home.write("app/src/x.js", "1");
    watched(&home, "app", r#""watch": true"#);
    let pid = home.app("app").pid();
    kill(home.daemon_pid(), Signal::KILL);
    home.write("app/src/x.js", "2");
    restarts(&home, "app", 1);
    assert_ne!(home.app("app").pid(), pid);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "src/x.js");
    // And a death alone restarts nothing.
    let pid = home.app("app").pid();
    kill(home.daemon_pid(), Signal::KILL);
    armed(&home, "app", 3);
    kill(home.keeper_pid(), Signal::KILL);
    home.wait_until("there is another keeper", || home.run("jlist").code == 0);
    only_the_last_counts(&home, "app", "src/y.js");
    assert_ne!(home.app("app").pid(), pid);
    restarts(&home, "app", 2);
}

#[test]
fn an_unreadable_folder_is_told_and_left_out() {
    if is_root() {
        skip!("root can read everything");
    }
    let home = home();
    home.write("app/secret/x", "1");
    fs::set_permissions(home.work().join("app/secret"), std::os::unix::fs::PermissionsExt::from_mode(0)).unwrap();
    watched(&home, "app", r#""watch": true"#);
    assert!(daemon_log(&home).contains("permission denied"));
    only_the_last_counts(&home, "app", "x.js");
}

#[test]
fn no_watch_is_spent_on_what_is_ignored() {
    let home = home();
    for package in 0..500 {
        let folder = home.work().join(format!("app/node_modules/p{package}/lib"));
        fs::create_dir_all(&folder).unwrap();
        (0..100).for_each(|file| fs::write(folder.join(format!("{file}.js")), "").unwrap());
    }
    home.write("app/src/a/x.js", "1");
    watched(&home, "app", r#""watch": true"#);
    // The app's folder, src, src/a; and the folders on the way.
    let way = home.work().join("app").components().count();
    assert!(kernel_watches(&home) <= 3 + way, "{} watches", kernel_watches(&home));
    only_the_last_counts(&home, "app", "src/a/x.js");
}

#[test]
fn instances_of_one_app_share_their_watches() {
    let home = home();
    home.write("app/src/x.js", "1");
    watched(&home, "app", r#""watch": true, "instances": 4, "exec_mode": "fork""#);
    let one = kernel_watches(&home);
    home.write("app/src/x.js", "2");
    home.wait_until("all are restarted", || home.jlist().iter().all(|item| item.restarts() == 1 && item.status() == "online"));
    home.ok("scale app +2");
    assert_eq!(kernel_watches(&home), one);
    assert_eq!(restarted_by(&home, "app"), ["src/x.js"]);
}

#[test]
fn a_lost_count_is_one_restart_and_everything_is_found_again() {
    let home = home();
    home.write("app/src/a", "1");
    watched(&home, "app", r#""watch": true"#);
    let (daemon, at) = (home.daemon_pid(), |path: &str| home.work().join("app").join(path));
    kill(daemon, Signal::STOP);
    // More than the kernel's queue holds; the new folder is among what it forgets.
    for _ in 0..20_000 {
        fs::rename(at("src/a"), at("src/b")).unwrap();
        fs::rename(at("src/b"), at("src/a")).unwrap();
    }
    home.write("app/src/new/x.js", "1");
    kill(daemon, Signal::CONT);
    home.wait_app("app", "restarted", |item| item.restarts() > 0 && item.status() == "online");
    assert!(restarted_by(&home, "app").len() <= 3, "{:?}", restarted_by(&home, "app"));
    let before = restarted_by(&home, "app").len();
    home.wait_until("the new folder is followed", || {
        home.write("app/src/new/x.js", "2");
        restarted_by(&home, "app")[before..].iter().any(|path| path == "src/new/x.js")
    });
}

/// The limits of a user namespace of its own.
#[test]
fn without_watches_one_looks_and_says_so() {
    for (limit, told) in
        [("max_inotify_watches", "fs.inotify.max_user_watches"), ("max_inotify_instances", "fs.inotify.max_user_instances")]
    {
        let home = home();
        if !std::process::Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success()) {
            skip!("no user namespaces");
        }
        for folder in 0..30 {
            home.write(&format!("app/src/{folder}/x.js"), "1");
        }
        let script = home.write("app/app.sh", WAITS);
        let cwd = home.work().join("app");
        let file = ecosystem(&home, &format!(r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()));
        let number = if limit == "max_inotify_watches" { 20 } else { 0 };
        let inside = format!(
            "[ \"$IN\" ] || IN=1 exec unshare -Ur \"$BASH\" -c '{}' \"$0\" \"$@\"",
            format_args!("echo {number} > /proc/sys/user/{limit} && exec \"$0\" \"$@\"")
        );
        home.cmd(format!("start {file}")).after(&inside).run().ok();
        armed(&home, "app", 1);
        home.wait_until("it is told", || daemon_log(&home).contains(told));
        assert_eq!(daemon_log(&home).matches(told).count(), 1);
        for (count, folder) in [(1, 0), (2, 15), (3, 29)] {
            home.write(&format!("app/src/{folder}/x.js"), "22");
            restarts(&home, "app", count);
        }
        home.write("app/src/new/x.js", "1");
        restarts(&home, "app", 4);
    }
}

#[test]
fn ten_thousand_events_a_second_are_one_restart() {
    let home = home();
    let script = home.write("app/app.sh", WAITS);
    let cwd = home.work().join("app");
    fs::create_dir_all(cwd.join("src")).unwrap();
    let members = format!(
        r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "watch_delay": 1000, "kill_timeout": 10"#,
        cwd.display()
    );
    home.ok(format!("start {}", ecosystem(&home, &members)));
    armed(&home, "app", 1);
    // Two events each, in much less than a second; writing would wait for the disk.
    let files: Vec<_> = (0..100).map(|file| [format!("{file}.js"), format!("{file}.ts")].map(|name| cwd.join("src").join(name))).collect();
    files.iter().for_each(|[name, _]| fs::write(name, "x").unwrap());
    for _ in 0..200 {
        for [one, other] in &files {
            fs::rename(one, other).unwrap();
            fs::rename(other, one).unwrap();
        }
    }
    // The daemon listens all the time; and in the end it is quiet.
    home.ok("ping");
    home.wait_until("it is restarted", || !restarted_by(&home, "app").is_empty());
    while restarted_by(&home, "app").last().is_none_or(|path| path != "end.js") {
        let pid = home.app("app").pid();
        home.write("app/end.js", "x");
        home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    }
    assert!(restarted_by(&home, "app").len() < 10, "{:?}", restarted_by(&home, "app"));
}
