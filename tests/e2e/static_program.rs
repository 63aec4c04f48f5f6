//! The program as shipped: its system requirements, and that it works without the system's C
//! library.

use std::path::PathBuf;
use std::process::Command;

use ostler_testkit::{Home, Load, LoadSpec, Subject, fixture_app, free_port, get, needs_program, skip};

use crate::setup::binary;

/// Version of Red Hat Enterprise Linux 9 and Amazon Linux 2023. (The standard library's threads
/// also need it, if the build system has it.)
const OLDEST_GLIBC: (u32, u32) = (2, 34);
/// Newer headers give old functions new names, so every program built with them needs them.
const NEWEST_TO_BUILD_ON: (u32, u32) = (2, 37);

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[test]
fn binary_needs_no_newer_glibc_than_promised() {
    needs_program!("objdump");
    let here = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok().and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        version(text.trim().rsplit(' ').next()?)
    });
    let Some(here) = here else { skip!("this system has another C library than glibc") };
    if here > NEWEST_TO_BUILD_ON {
        skip!("what is built with glibc {}.{} needs it", here.0, here.1);
    }
    let output = Command::new("objdump").arg("-T").arg(binary()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed = |line: &str| version(line.split("(GLIBC_").nth(1)?.split(')').next()?);
    let too_new: Vec<&str> = text.lines().filter(|line| needed(line).is_some_and(|version| version > OLDEST_GLIBC)).collect();
    assert!(too_new.is_empty(), "these are not in glibc {}.{}:\n{}", OLDEST_GLIBC.0, OLDEST_GLIBC.1, too_new.join("\n"));
    assert!(text.contains("GLIBC_"), "objdump says nothing: {text}");
}

/// The complete life of an app, run by the program without any library.
#[test]
fn static_program_runs_a_complete_app_life() {
    let Some(program) = std::env::var_os("OSTLER_STATIC").map(PathBuf::from) else {
        skip!("there is no static program: `cargo xtask static --test` builds it");
    };
    needs_program!("node");
    let home = Home::new(Subject::Ostler(program));
    let port = free_port();
    home.cmd(format!("start {} --name web -i 2 --kill-timeout 10000", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .run()
        .ok();
    home.wait_until("the server answers", || get(port, "/").is_ok());
    home.ok(format!("start {} --name lines", fixture_app("hello.sh")));
    home.wait_log("lines-out.log", "");
    home.ok("list").says("web");
    assert_eq!(home.jlist().iter().filter(|item| item.name() == "web" && item.status() == "online").count(), 2);
    home.ok("logs web --nostream --lines 5").says("listening");
    // JavaScript in the embedded engine, and user names.
    let file =
        home.write("eco.config.js", "module.exports = {apps: [{name: 'math', script: 'sleep', args: String(Math.hypot(600, 800))}]};");
    home.cmd(format!("start {file}")).env("OSTLER_JS", "embedded").run().ok();
    assert_eq!(home.app("math").env("args")[0], "1000");
    assert!(!home.app("math").text("username").is_empty());
    let load = Load::start(LoadSpec { keep_alive: true, connections: 4, ..LoadSpec::to(port) });
    home.ok("reload web");
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
    // After a kill, the next daemon has the same processes.
    let pids = |home: &Home| home.jlist().iter().map(|item| (item.id(), item.pid())).collect::<Vec<_>>();
    let (before, daemon) = (pids(&home), home.daemon_pid());
    ostler_testkit::kill(daemon, rustix::process::Signal::KILL);
    home.wait_until("another daemon runs", || home.daemons().first().is_some_and(|pid| *pid != daemon));
    assert_eq!(pids(&home).iter().filter(|entry| before.contains(entry)).count(), before.len(), "{}", home.report());
    home.ok("stop all");
    assert!(home.jlist().iter().all(|item| item.status() == "stopped"));
    home.ok("delete all");
    assert!(home.app_processes().is_empty());
}
