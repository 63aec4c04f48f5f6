//! `save` and `resurrect`.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

session!(
    /// The saved list outlives the daemon.
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
        // PM2 restores two apps at a time, so the order of the lines is random.
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

session!(
    /// Unreadable lists, and no list at all.
    resurrect_broken, [Difference {
        pm2: "! [PM2][ERROR] No processes saved; DUMP file doesn't exist\n$ list  [exit 0]",
        ostler: "! [PM2][ERROR] No processes saved; DUMP file doesn't exist\n! [PM2][ERROR] cannot read \"<home>/dump.pm2\": the saved list is not valid JSON: key must be a string at line 1 column 2\n$ list  [exit 0]",
        why: "the reason is reported, too",
    }, Difference {
        pm2: "! [PM2][ERROR] Failed to parse dump file in <home>/dump.pm2\n$ id app  [exit 0]",
        ostler: "! [PM2][ERROR] Failed to parse dump file in <home>/dump.pm2\n! [PM2][WARN] cannot read \"<home>/dump.pm2\": the saved list is not valid JSON: key must be a string at line 1 column 2; restored from \"<home>/dump.pm2.bak\"\n$ id app  [exit 0]",
        why: "the reason is reported, too",
    }], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok("ping");
        t.run("resurrect");
        std::fs::write(home.dir().join("dump.pm2"), "{broken").unwrap();
        t.run("resurrect");
        t.run("list");
        // PM2 deletes a list that it cannot read.
        for name in ["dump.pm2", "dump.pm2.bak"] {
            std::fs::write(home.dir().join(name), "{broken").unwrap();
        }
        t.run("resurrect");
        t.run("list");
        for name in ["dump.pm2", "dump.pm2.bak"] {
            drop(std::fs::remove_file(home.dir().join(name)));
        }
        home.ok(format!("start {} --name app", fixture_app("hold.js")));
        home.ok("save");
        home.ok("save");
        home.ok("delete all");
        std::fs::write(home.dir().join("dump.pm2"), "{broken").unwrap();
        t.run("resurrect");
        t.run("id app");
    }
);
