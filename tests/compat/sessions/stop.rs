//! `stop`, `restart` and `delete` of running apps.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::session;

session!(
    /// Life cycle of an app.
    stop_restart_delete, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app", fixture_app("hold.js")));
        t.run("stop app");
        t.run("stop app");
        t.run("restart app");
        t.run("restart 0");
        t.run("list");
        t.run("delete app");
        t.run("delete app");
    }
);

session!(
    /// A restart with changed options.
    restart_changes, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app -- first", fixture_app("hold.js")));
        t.run("restart app -- second third");
        t.run("restart app --update-env");
        t.run("restart app --name renamed");
        t.run("restart app");
    }
);

session!(
    /// `reload` of a fork app is a restart and prints no table.
    reload_fork, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app", fixture_app("hold.js")));
        t.run("reload app");
        t.run("list");
        t.run("reload nothing");
    }
);

session!(
    /// `--silent` keeps the exit codes.
    silent, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app -s", fixture_app("hold.js")));
        t.run("stop nothing -s");
        t.run("delete app --silent");
    }
);

session!(
    /// `kill` with apps.
    kill, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app", fixture_app("hold.js")));
        t.run("kill");
    }
);

session!(
    /// Signals to main processes.
    send_signal, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name app --no-autorestart", fixture_app("traps.sh")));
        let home = t.home();
        home.wait_log("app-out.log", "trapping");
        // The list that follows may show the app as running or as exited.
        home.ok("sendSignal SIGUSR1 app").stdout.lines().take(2).for_each(|line| t.note(line));
        home.wait_log("app-out.log", "got USR1");
        home.wait_status("app", "stopped");
        t.run("sendSignal SIGUSR1 nothing");
    }
);
