//! `scale`.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::session;

session!(
    /// Scale up, down, to the same number, and to zero.
    scale, [], |t: &mut Transcript<'_>| {
        t.home().ok(format!("start {} --name app -i 2 -x", fixture_app("hold.js")));
        t.run("scale app 4");
        t.run("scale app 2");
        t.run("scale app +1");
        t.run("scale app 3");
        t.run("scale app nonsense");
        t.run("list");
        t.run("scale app 0");
    }
);
