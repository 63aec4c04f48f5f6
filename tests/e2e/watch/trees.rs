//! Folders and links that appear, move and disappear; limits of the kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use ostler_testkit::{kill, skip};
use rustix::process::Signal;

use super::{WAITS, kernel_watches, only_the_last_counts, restarted_by, restarts, wait_for_watching, watched};
use crate::setup::{ecosystem, home};

#[test]
fn folders_are_watched_when_created_moved_or_removed() {
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
    // A folder that was moved away no longer counts; a folder that replaces it does.
    fs::rename(at("b"), home.work().join("elsewhere")).unwrap();
    next();
    home.write("elsewhere/c/x.js", "6");
    only_the_last_counts(&home, "app", "last.js");
    // A folder that is moved in counts, however old it is. An empty folder does not.
    home.wait_app("app", "settled", |item| item.status() == "online");
    let before = home.app("app").restarts();
    fs::rename(home.work().join("elsewhere"), at("back")).unwrap();
    restarts(&home, "app", before + 1);
    assert_eq!(restarted_by(&home, "app").pop().unwrap(), "back/c/x.js");
    fs::create_dir(at("empty")).unwrap();
    fs::remove_dir(at("empty")).unwrap();
    only_the_last_counts(&home, "app", "back/c/x.js");
}

#[test]
fn replaced_watched_folder_is_watched() {
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
    // The parent folder is moved, too. The process must have read its script by then: otherwise it
    // fails, and the process after it has read the change that follows.
    home.wait_until("the script runs", || home.pids_of("sleep 1000").len() == 1);
    fs::rename(work.join("app"), work.join("moved")).unwrap();
    home.write("app/src/x.js", "5");
    home.wait_until("the new one is found", || restarted_by(&home, "app").len() == 3);
    home.write("app/app.sh", WAITS);
    fs::set_permissions(work.join("app/app.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = restarted_by(&home, "app").len();
    home.wait_until("and followed", || {
        home.write("app/src/x.js", "6");
        restarted_by(&home, "app").len() > before
    });
}

#[test]
fn changed_link_to_a_release_is_followed() {
    let home = home();
    for release in 1..3 {
        home.write(&format!("releases/{release}/app.sh"), WAITS);
        home.write(&format!("releases/{release}/src/x.js"), "x");
    }
    let current = home.work().join("current");
    symlink("releases/1", &current).unwrap();
    let file = ecosystem(&home, &format!(r#""name": "app", "script": "./app.sh", "cwd": "{}", "watch": true"#, current.display()));
    home.ok(format!("start {file}"));
    wait_for_watching(&home, "app", 1);
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
fn links_to_files_are_watched_with_their_target() {
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
fn links_are_followed_unless_disabled_and_without_loops() {
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
    // Removing a link must not remove the watch of its target folder.
    fs::create_dir(home.work().join("app/real")).unwrap();
    for link in ["0", "zzz"] {
        symlink("real", home.work().join("app").join(link)).unwrap();
    }
    home.ok("restart app --watch").says("app is not watched any more: `--watch` is a switch");
    home.ok("restart app --watch").says("app is watched for changes from now on");
    wait_for_watching(&home, "app", 2);
    let pid = home.app("app").pid();
    for link in ["0", "zzz"] {
        fs::remove_file(home.work().join("app").join(link)).unwrap();
    }
    home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    only_the_last_counts(&home, "app", "real/x.js");
    // The link is replaced by a rename, which leaves no gap.
    home.write("another/y.js", "1");
    symlink("../another", home.work().join("app/.next")).unwrap();
    fs::rename(home.work().join("app/.next"), home.work().join("app/out")).unwrap();
    home.wait_until("the new one counts", || restarted_by(&home, "app").last().is_some_and(|path| path == "out/y.js"));
    home.wait_app("app", "online", |item| item.status() == "online");
    home.write("outside/x.js", "3");
    only_the_last_counts(&home, "app", "out/y.js");
    only_the_last_counts(&home, "shy", "a/x.js");
}

#[test]
fn polling_detects_changes() {
    let home = home();
    // Each folder leads to all others, so paths never end.
    for (from, to) in (0..5).flat_map(|from| (0..5).map(move |to| (from, to))).filter(|(from, to)| from != to) {
        fs::create_dir_all(home.work().join(format!("app/{from}"))).unwrap();
        symlink(format!("../{to}"), home.work().join(format!("app/{from}/{to}"))).unwrap();
    }
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
fn unreadable_folder_is_reported_and_skipped() {
    // Root can read everything, and only root can switch to another user.
    ostler_testkit::needs_root!();
    const UID: u32 = 65_534;
    let home = home();
    for folder in [home.root().to_owned(), home.work()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    home.write("app/secret/x", "1");
    fs::set_permissions(home.work().join("app/secret"), fs::Permissions::from_mode(0o700)).unwrap();
    let script = home.write("app/app.sh", WAITS);
    let cwd = home.work().join("app");
    let file = ecosystem(&home, &format!(r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()));
    home.cmd(format!("start {file} --allow-foreign-file")).uid(UID).run().ok();
    wait_for_watching(&home, "app", 1);
    let told = format!("cannot watch \"{}\": permission denied", cwd.join("secret").display());
    home.wait_until("it is reported", || home.daemon_log().contains(&told));
    home.write("app/x.js", "1");
    home.wait_until("it is restarted", || restarted_by(&home, "app") == ["x.js"]);
}

#[test]
fn ignored_folders_use_no_watches() {
    let home = home();
    for package in 0..500 {
        let folder = home.work().join(format!("app/node_modules/p{package}/lib"));
        fs::create_dir_all(&folder).unwrap();
        (0..100).for_each(|file| fs::write(folder.join(format!("{file}.js")), "").unwrap());
    }
    home.write("app/src/a/x.js", "1");
    watched(&home, "app", r#""watch": true"#);
    // Watches: the app's folder, src, src/a, and the folders on the path.
    let way = home.work().join("app").components().count();
    assert!(kernel_watches(&home) <= 3 + way, "{} watches", kernel_watches(&home));
    only_the_last_counts(&home, "app", "src/a/x.js");
}

#[test]
fn queue_overflow_restarts_once_and_rescans() {
    let home = home();
    home.write("app/src/a", "1");
    watched(&home, "app", r#""watch": true"#);
    let (daemon, at) = (home.daemon_pid(), |path: &str| home.work().join("app").join(path));
    kill(daemon, Signal::STOP);
    // More events than the kernel's queue holds; the dropped events include the new folder.
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

/// Sets the limits in a user namespace of its own.
#[test]
fn without_watches_it_polls_and_reports_it() {
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
        wait_for_watching(&home, "app", 1);
        home.wait_until("it is reported", || home.daemon_log().contains(told));
        assert_eq!(home.daemon_log().matches(told).count(), 1);
        for (count, folder) in [(1, 0), (2, 15), (3, 29)] {
            home.write(&format!("app/src/{folder}/x.js"), "22");
            restarts(&home, "app", count);
        }
        home.write("app/src/new/x.js", "1");
        restarts(&home, "app", 4);
    }
}

#[test]
fn ten_thousand_events_cause_one_restart() {
    let home = home();
    let script = home.write("app/app.sh", WAITS);
    let cwd = home.work().join("app");
    fs::create_dir_all(cwd.join("src")).unwrap();
    let members = format!(
        r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "watch_delay": 1000, "kill_timeout": 10"#,
        cwd.display()
    );
    home.ok(format!("start {}", ecosystem(&home, &members)));
    wait_for_watching(&home, "app", 1);
    // Two events for each file, in much less than a second. Writes would wait for the disk.
    let files: Vec<_> = (0..100).map(|file| [format!("{file}.js"), format!("{file}.ts")].map(|name| cwd.join("src").join(name))).collect();
    files.iter().for_each(|[name, _]| fs::write(name, "x").unwrap());
    for _ in 0..200 {
        for [one, other] in &files {
            fs::rename(one, other).unwrap();
            fs::rename(other, one).unwrap();
        }
    }
    // The daemon responds all the time, and is quiet again at the end.
    home.ok("ping");
    home.wait_until("it is restarted", || !restarted_by(&home, "app").is_empty());
    while restarted_by(&home, "app").last().is_none_or(|path| path != "end.js") {
        let pid = home.app("app").pid();
        home.write("app/end.js", "x");
        home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    }
    assert!(restarted_by(&home, "app").len() < 10, "{:?}", restarted_by(&home, "app"));
}
