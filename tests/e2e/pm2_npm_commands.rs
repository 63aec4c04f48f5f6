//! Commands of npm's own PM2 on ostler's daemon: commands that follow logs, commands that send to
//! an app, and commands that would replace the daemon.

use std::io::Write as _;
use std::process::Stdio;

use ostler_testkit::{Foreground, Home, installed_pm2, installed_pm2_of, needs_program};

use crate::pm2_sockets::{npms, run};
use crate::setup::{home, start_fixture};

/// An app that prints each message that it receives.
const PARROT: &str = "
console.log('begun');
console.error('an error');
process.stdin.on('data', (text) => console.log(`heard ${String(text).trim()}`));
process.on('SIGUSR2', () => console.log('a signal'));
setInterval(() => {}, 1000);
";

macro_rules! npms_pm2 {
    () => {
        match installed_pm2() {
            Some(pm2) => pm2,
            None => ostler_testkit::skip!("npm's pm2 is not installed"),
        }
    };
}

fn start_echo_app(home: &Home) {
    let script = home.write("app.js", PARROT);
    home.ok(format!("start {script} --name app"));
    home.wait_log("app-out.log", "begun");
    home.wait_log("app-error.log", "an error");
}

#[test]
fn npm_logs_send_and_signals_work() {
    needs_program!("node");
    let pm2 = npms_pm2!();
    let home = home();
    start_echo_app(&home);
    let follower = Foreground::open(npms(&pm2, &home, "logs app"));
    // npm's client decides which of the two files comes first.
    let mut past = Vec::new();
    while !(past.iter().any(|line: &String| line.contains("| an error")) && past.iter().any(|line| line.contains("| begun"))) {
        past.extend(follower.until("0|app"));
    }
    // The client has printed the past lines, but the test cannot know whether it follows already.
    home.wait_until("it follows", || {
        home.ok("sendSignal SIGUSR2 app");
        follower.out.try_iter().any(|line| line.contains("0|app") && line.ends_with("a signal"))
    });
    run(&pm2, &home, "send 0 word");
    follower.until("heard word");
    run(&pm2, &home, "sendSignal SIGUSR2 app");
    follower.until("a signal");
    let past = run(&pm2, &home, "logs app --nostream --lines 50");
    assert!(past.contains("heard word") && past.contains("an error"), "{past}");
    run(&pm2, &home, "flush app");
    assert_eq!((home.log("app-out.log"), home.log("app-error.log")), (String::new(), String::new()));
    run(&pm2, &home, "send 0 again");
    follower.until("heard again");
    assert_eq!(home.log("app-out.log"), "heard again\n");
}

#[test]
fn npm_attach_forwards_input_and_output() {
    needs_program!("node");
    let pm2 = npms_pm2!();
    let home = home();
    start_echo_app(&home);
    let mut attached = npms(&pm2, &home, "attach 0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = attached.stdin.take().unwrap();
    let file = home.root().join("attached");
    let mut screen = attached.stdout.take().unwrap();
    let copied = std::thread::spawn({
        let file = file.clone();
        move || std::io::copy(&mut screen, &mut std::fs::File::create(file).unwrap())
    });
    home.wait_until("what is typed is heard, and the answer seen", || {
        writeln!(keyboard, "word").unwrap();
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("heard word"))
    });
    attached.kill().unwrap();
    attached.wait().unwrap();
    copied.join().unwrap().unwrap();
}

#[test]
fn npm_files_lists_and_dumps_work() {
    needs_program!("node");
    let pm2 = npms_pm2!();
    let home = home();
    start_fixture(&home, "own", "", "hold");
    let daemon = home.daemon_pid();
    home.write("app.js", PARROT);
    home.write(
        "ecosystem.config.js",
        "module.exports = { apps: [
           { name: 'api', script: 'app.js', instances: 2, exec_mode: 'cluster', env: { MODE: 'dev' }, env_production: { MODE: 'prod' } },
           { name: 'worker', script: 'app.js', env_production: { MODE: 'prod' } } ] };",
    );
    run(&pm2, &home, "start ecosystem.config.js");
    let seen = |home: &Home| {
        let list = home.jlist();
        list.iter().map(|item| format!("{} {} {}", item.name(), item.text("exec_mode"), item.text("MODE"))).collect::<Vec<_>>()
    };
    assert_eq!(seen(&home), ["own fork_mode ", "api cluster_mode dev", "api cluster_mode dev", "worker fork_mode "]);
    let pids: Vec<i32> = home.jlist().iter().map(|item| item.pid()).collect();
    // A second start restarts the running apps with the other profile.
    run(&pm2, &home, "start ecosystem.config.js --env production");
    assert_eq!(seen(&home), ["own fork_mode ", "api cluster_mode prod", "api cluster_mode prod", "worker fork_mode prod"]);
    let after: Vec<i32> = home.jlist().iter().map(|item| item.pid()).collect();
    assert!(after[0] == pids[0] && after[1..].iter().all(|pid| !pids.contains(pid)));
    run(&pm2, &home, "save");
    run(&pm2, &home, "delete all");
    assert_eq!(home.jlist().len(), 0);
    run(&pm2, &home, "resurrect");
    let mut names: Vec<String> = seen(&home);
    names.sort();
    assert_eq!(names, ["api cluster_mode prod", "api cluster_mode prod", "own fork_mode ", "worker fork_mode prod"]);
    assert!(home.all_online(), "{}", home.report());
    assert_eq!(home.daemon_pid(), daemon);
}

/// The update would kill ostler with all apps, and start npm's daemon.
#[test]
fn npm_update_changes_nothing() {
    needs_program!("node");
    for version in ["5.4.3", "6.0.14", "7.0.4"] {
        let Some(pm2) = (if version == "7.0.4" { installed_pm2() } else { installed_pm2_of(version) }) else {
            ostler_testkit::skip!("npm's pm2 {version} is not installed")
        };
        let home = home();
        start_fixture(&home, "app", "", "hold");
        std::fs::write(home.dir().join("touch"), "1").unwrap();
        let (keeper, daemon, pid) = (home.keeper_pid(), home.daemon_pid(), home.app("app").pid());
        let out = npms(&pm2, &home, "update").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains("Run `ostler update`: it restarts no app"), "{version}: {said}");
        assert!(!said.contains("TypeError") && !said.contains("Spawning PM2 daemon"), "{version}: {said}");
        assert_eq!((home.keeper_pid(), home.daemon_pid(), home.app("app").pid(), home.app("app").restarts()), (keeper, daemon, pid, 0));
        // Restarts work, and `kill` stops everything.
        run(&pm2, &home, "restart app");
        run(&pm2, &home, "kill");
        home.wait_no_processes();
    }
}

/// Programs parse the output of npm's command line, so it must not contain a banner or a hint about
/// versions.
#[test]
fn npm_jlist_prints_only_json() {
    needs_program!("node");
    for pm2 in [Some(npms_pm2!()), installed_pm2_of("6.0.14"), installed_pm2_of("5.4.3")].into_iter().flatten() {
        let home = home();
        start_fixture(&home, "app", "", "hold");
        for round in ["first", "second"] {
            let output = npms(&pm2, &home, "jlist").output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let list: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{round}, {pm2:?}: {error}: {text}"));
            assert_eq!(list[0]["name"], "app");
        }
        for command in ["list", "pid app", "prettylist"] {
            let text = run(&pm2, &home, command);
            assert!(!text.contains("out-of-date") && !text.contains("Runtime Edition"), "{pm2:?} {command}: {text}");
        }
    }
}

/// A setting that names a version applies to every client.
#[test]
fn configured_pm2_version_is_sent_to_every_client() {
    needs_program!("node");
    let Some(pm2) = installed_pm2_of("5.4.3") else { return };
    let home = home();
    home.cmd("start sleep --name app -- 1000").env("OSTLER_PM2_VERSION", "6.0.0").run().ok();
    assert!(run(&pm2, &home, "pid app").contains("In memory PM2 version: 6.0.0"));
}

#[test]
fn home_has_every_file_of_a_pm2_home() {
    needs_program!("node");
    let Some(subject) = ostler_testkit::Subject::pm2() else { return };
    let (real, own) = (Home::new(subject), home());
    for home in [&real, &own] {
        home.ok("start sleep --name app -- 1000");
    }
    for entry in std::fs::read_dir(real.dir()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(own.dir().join(&name).exists(), "{name:?} is missing");
    }
    assert_eq!(std::fs::read_to_string(own.dir().join("module_conf.json")).unwrap().trim(), "{}");
    // The files are created again together with the sockets.
    std::fs::remove_file(own.dir().join("touch")).unwrap();
    std::fs::remove_file(own.dir().join("rpc.sock")).unwrap();
    own.wait_until("the files are there again", || own.dir().join("rpc.sock").exists() && own.dir().join("touch").exists());
}
