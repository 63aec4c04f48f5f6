//! `save` and `resurrect`.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

session!(
    /// The list survives the daemon.
    save_resurrect, [Difference {
        pm2: "  1 │ down │ default │ N/A │ fork │ <pid> │ 0 │ 0 │ stopped │ <cpu> │ <mem> │ <user> │ disabled",
        ostler: "  1 │ down │ default │ N/A │ fork │ 0 │ 0 │ 0 │ stopped │ <cpu> │ <mem> │ <user> │ disabled",
        why: "PM2 shows N/A for the pid of an entry that was restored as stopped, and 0 for any other that is stopped",
    }], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok(format!("start {} --name up", fixture_app("hold.js")));
        home.ok(format!("start {} --name down", fixture_app("other.js")));
        home.ok("stop down");
        t.run("save");
        home.ok("kill");
        home.ok("ping");
        // Two at a time: the order of the lines is chance.
        let mut lines: Vec<String> = home.ok("resurrect").stdout.lines().filter(|line| line.contains("restored")).map(str::to_owned).collect();
        lines.sort();
        lines.iter().for_each(|line| t.note(line));
        home.wait_status("up", "online");
        t.note(home.app("down").status());
        t.run("resurrect");
        t.run("dump");
    }
);

session!(
    /// An empty list does not overwrite a full one.
    save_empty, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok("ping");
        t.run("save");
        t.run("resurrect");
        home.ok(format!("start {} --name app", fixture_app("hold.js")));
        home.ok("save");
        home.ok("delete all");
        t.run("save");
        t.run("save --force");
        t.run("cleardump");
    }
);
