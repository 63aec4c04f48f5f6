//! `reload` of a cluster.

use ostler_testkit::{Transcript, fixture_app, free_port};

use crate::compare::session;

session!(
    /// By name, by id, all, by script; restart counters.
    reload, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let port = free_port();
        home.cmd(format!("start {} --name app -i 2", fixture_app("cluster-naive.js"))).env("PORT", port.to_string()).run().ok();
        home.wait_until("both listen", || ostler_testkit::get(port, "/").is_ok() && (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
        t.run("reload app");
        t.run("reload 0");
        t.run("reload all");
        t.run("list");
        t.run("reload nothing");
        t.run("delete all");
        t.run("reload all");
    }
);
