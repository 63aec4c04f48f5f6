//! Commands and options of PM2 that ostler replaces by something else. One line names the
//! replacement. Nothing starts, and no data leaves the machine.

use ostler_testkit::{Home, Subject, fixture, needs_program};

use crate::setup::{home, home_as_pm2};

#[test]
fn unsupported_command_names_its_replacement() {
    const SERVICE: &str = "has no monitoring service; its own dashboard shows";
    // Called as `ostler`, these commands open the dashboard, which is off here.
    const DASHBOARD: &str = " web enable`";
    const PROFILE: &str = "`ostler profile <app>` profiles an app";
    const IMAGES: &str = "`ostler runtime <app or file>` is the command of a container";
    for (home, label) in [(home(), "error: "), (home_as_pm2(), "[PM2][ERROR] ")] {
        let script = home.write("app.js", "");
        for (command, expected) in [
            ("link", SERVICE),
            ("link secret public name --info-node http://127.0.0.1:1", SERVICE),
            ("unlink", SERVICE),
            ("plus", DASHBOARD),
            ("plus login --discrete --install-all", DASHBOARD),
            ("register", DASHBOARD),
            ("login", SERVICE),
            ("logout", SERVICE),
            ("open", DASHBOARD),
            ("monitor", SERVICE),
            ("monitor app", SERVICE),
            ("unmonitor app", SERVICE),
            ("profile:cpu", PROFILE),
            ("profile:cpu 100", PROFILE),
            ("profile:mem", PROFILE),
            ("create", "`ostler ecosystem` writes a sample config file"),
            ("deepUpdate", "`ostler update --from <file>` installs a new ostler without restarting apps"),
            ("autoinstall", "`ostler install <module>` installs a module"),
            ("start --container", IMAGES),
            ("start --container SCRIPT", IMAGES),
            ("start SCRIPT --dist", IMAGES),
            ("start SCRIPT --container --image-name mine --node-version 20", IMAGES),
            ("start SCRIPT --dist --dockerdaemon --daemon --fresh", IMAGES),
        ] {
            let output = home.run(command.replace("SCRIPT", &script));
            assert_eq!((output.code, output.stdout.as_str(), output.stderr.trim_end().lines().count()), (1, "", 1), "{command}: {output}");
            assert!(output.stderr.starts_with(label) && output.stderr.contains(expected), "{command}: {output}");
        }
        assert!(home.processes().is_empty(), "nothing was started");
        assert!(!home.dir().join("pm2.pid").exists());
    }
}

/// Starts npm's PM2 with a saved app; none if PM2 is not installed.
fn npms_own() -> Option<Home> {
    let old = Home::new(Subject::pm2()?);
    old.ok(format!("start {} --interpreter none --name app -- hold", fixture()));
    old.ok("save");
    Some(old)
}

/// Returns homes of ostler, under both names, that use the folder of this PM2.
fn in_the_home_of(old: &Home) -> [Home; 2] {
    [home(), home_as_pm2()].map(|mut own| {
        own.set_dir(old.dir());
        own
    })
}

#[test]
fn running_pm2_daemon_is_not_replaced_or_overwritten() {
    needs_program!("node");
    let Some(old) = npms_own() else { return };
    let pid = old.app("app").pid();
    let saved = std::fs::read_to_string(old.dir().join("dump.pm2")).unwrap();
    let daemon = std::fs::read_to_string(old.dir().join("pm2.pid")).unwrap();
    let script = fixture();
    let refuses = |what: &str| {
        for own in in_the_home_of(&old) {
            for command in [
                "list",
                "jlist",
                "describe app",
                "save",
                "save --force",
                "cleardump",
                "resurrect",
                "kill",
                "update",
                "startup systemd",
                "restart app",
                &format!("start {script} --name second -- hold"),
                &format!("start {script} --name second --no-daemon -- hold"),
                &format!("runtime {script} -- hold"),
                "web enable",
            ] {
                let output = own.run(command);
                assert_ne!(output.code, 0, "{what}, {command}: {output}");
                output.says("PM2's own daemon (pid ").says("ostler migrate --in-place");
            }
            assert!(own.processes().is_empty(), "{what}: {}", own.report());
        }
    };
    refuses("its sockets answer");
    for socket in ["rpc.sock", "pub.sock"] {
        std::fs::rename(old.dir().join(socket), old.root().join(socket)).unwrap();
    }
    refuses("only pm2.pid is left");
    for socket in ["rpc.sock", "pub.sock"] {
        std::fs::rename(old.root().join(socket), old.dir().join(socket)).unwrap();
    }
    std::fs::remove_file(old.dir().join("pm2.pid")).unwrap();
    refuses("pm2.pid is gone");
    std::fs::write(old.dir().join("pm2.pid"), daemon).unwrap();
    assert_eq!(old.app("app").pid(), pid);
    assert_eq!(std::fs::read_to_string(old.dir().join("dump.pm2")).unwrap(), saved);
}

/// The protection also holds during a migration, while both have apps.
#[test]
fn save_does_not_replace_list_of_running_pm2() {
    needs_program!("node");
    let Some(old) = npms_own() else { return };
    let [own, _] = in_the_home_of(&old);
    std::fs::rename(old.dir().join("rpc.sock"), old.root().join("rpc.sock")).unwrap();
    let number = std::fs::read_to_string(old.dir().join("pm2.pid")).unwrap();
    std::fs::remove_file(old.dir().join("pm2.pid")).unwrap();
    own.ok(format!("start {} --name own -- hold", fixture()));
    std::fs::remove_file(old.dir().join("rpc.sock")).unwrap();
    std::fs::rename(old.root().join("rpc.sock"), old.dir().join("rpc.sock")).unwrap();
    for command in ["save", "cleardump"] {
        own.run(command).says(&format!("PM2's own daemon (pid {number})"));
    }
    assert!(std::fs::read_to_string(old.dir().join("dump.pm2")).unwrap().contains("\"app\""));
    own.ok("kill");
}

#[test]
fn stale_pm2_files_do_not_count_as_a_daemon() {
    needs_program!("node");
    let Some(old) = npms_own() else { return };
    old.ok("kill");
    // By now the pid belongs to another process, and no process serves the socket file.
    std::fs::write(old.dir().join("pm2.pid"), std::process::id().to_string()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(old.dir().join("rpc.sock")).unwrap());
    for own in in_the_home_of(&old) {
        own.ok("resurrect");
        own.wait_status("app", "online");
        own.ok("save");
        own.ok("kill");
    }
}
