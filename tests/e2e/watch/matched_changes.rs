//! Changes that count, and changes that do not.

use std::fs;

use ostler_testkit::needs_program;

use super::{WAITS, only_the_last_counts, restarted_by, restarts, wait_for_watching, watched};
use crate::setup::{ecosystem, home};

#[test]
fn default_ignores_cause_no_restart() {
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
fn own_logs_never_restart_the_app() {
    let home = home();
    let script = home.write("app/app.sh", "#!/bin/sh\nwhile :; do echo line; echo line >&2; sleep 0.01; done\n");
    let cwd = home.work().join("app");
    // The default ignore list is replaced, too.
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "ignore_watch": ["tmp"],
        "out_file": "out.txt", "error_file": "err.txt", "log_file": "all.txt", "pid_file": "run.pid", "instances": 2"#,
            cwd.display()
        ),
    );
    home.ok(format!("start {file}"));
    wait_for_watching(&home, "app", 1);
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
fn ignore_watch_accepts_folders_patterns_and_regexes() {
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
fn javascript_config_accepts_regexp_literals() {
    for engine in ["embedded", "runtime"] {
        let home = home();
        if engine == "runtime" {
            needs_program!("node");
        }
        home.write("app.sh", WAITS);
        let file = home.write(
            "ecosystem.config.js",
            "module.exports = { name: 'app', script: './app.sh', watch: true, ignore_watch: [/[\\/\\\\]\\./, /\\.CSS$/i] };",
        );
        home.cmd(format!("start {file}")).env("OSTLER_JS", engine).run().ok();
        wait_for_watching(&home, "app", 1);
        for path in [".env", "a.css"] {
            home.write(path, "x");
        }
        home.write("a.js", "x");
        restarts(&home, "app", 1);
        assert_eq!(restarted_by(&home, "app"), ["a.js"]);
    }
}

#[test]
fn gitignore_applies_except_to_the_running_code() {
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
    // A changed `.gitignore` itself counts immediately.
    home.write("app/.gitignore", "*.css\n");
    // The file is read again some time later. A path that then counts shows it.
    let mut number = 0;
    while restarted_by(&home, "app").last().is_none_or(|path| path != "a.tmp") {
        number += 1;
        let pid = home.app("app").pid();
        home.write("app/a.tmp", "x");
        home.write(&format!("app/b{number}"), "x");
        home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    }

    // git ignores the build, but the app runs from it.
    let script = home.write("built/dist/server/app.sh", WAITS);
    home.write("built/.gitignore", "dist\nother\n");
    fs::create_dir_all(home.work().join("built/other")).unwrap();
    let cwd = home.work().join("built");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "built", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()))
    ));
    wait_for_watching(&home, "built", 1);
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
    // As an editor saves: another file takes over the name.
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
fn ext_limits_the_watched_extensions() {
    let home = home();
    home.write("src/a.js", "1");
    let script = home.write("app.sh", WAITS);
    home.ok(format!("start {script} --watch --ext js,json"));
    wait_for_watching(&home, "app", 1);
    home.write("src/a.css", "1");
    home.write("src/new/a.css", "1");
    home.write("src/a.js", "2");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app"), ["src/a.js"]);
}

#[test]
fn invalid_patterns_are_rejected_before_start() {
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
fn unsupported_chokidar_options_are_reported_once() {
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
