//! How targets select instances.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::session;

fn start_three_apps(t: &mut Transcript<'_>) {
    let hold = fixture_app("hold.js");
    for (name, namespace) in [("api-a", "red"), ("api-b", "blue"), ("web", "red")] {
        t.home().ok(format!("start {hold} -f --name {name} --namespace {namespace}"));
    }
}

session!(
    /// Names, ids, namespaces, patterns, `all`.
    target_forms, [], |t: &mut Transcript<'_>| {
        start_three_apps(t);
        t.run("stop web");
        t.run("stop 0");
        t.run("restart red");
        t.run("stop /api/");
        t.run("restart all");
        t.run("stop /^w/");
        t.run("delete blue");
    }
);

session!(
    /// A script path selects the apps that run it.
    target_script, [], |t: &mut Transcript<'_>| {
        let script = t.home().write("here/app.js", "setInterval(() => {}, 1 << 30);");
        t.home().ok(format!("start {script} --name other-name"));
        t.run(format!("stop {script}"));
        let output = t.home().cmd("restart app.js").cwd(t.home().work().join("here")).run();
        t.add(&output);
        t.run("restart app.js");
    }
);

session!(
    /// Options that change an app also find it by its script.
    target_script_changes, [], |t: &mut Transcript<'_>| {
        let script = t.home().write("here/http.js", "setInterval(() => {}, 1 << 30);");
        let here = t.home().work().join("here");
        t.home().ok(format!("start {script} --name other-name"));
        for options in ["--watch", "--node-args=--trace-warnings", "--max-memory-restart 100M", "--time", "-- a b"] {
            let output = t.home().cmd(format!("restart http.js {options}")).cwd(&here).run();
            t.add(&output);
        }
        t.note(t.home().app("other-name").env("args"));
        let output = t.home().cmd("reload http.js --kill-timeout 1000").cwd(&here).run();
        t.add(&output);
    }
);

session!(
    /// A numeric name takes precedence over the id.
    target_numbers, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        t.home().ok(format!("start {hold} --name 1"));
        t.home().ok(format!("start {hold} -f --name plain"));
        t.run("stop 1");
        t.run("id 1");
        t.run("delete 0");
    }
);

session!(
    /// Targets that match nothing.
    target_unknown, [], |t: &mut Transcript<'_>| {
        t.run("stop all");
        t.run("restart /x/");
        t.run("delete all");
        t.home().ok(format!("start {} --name app", fixture_app("hold.js")));
        t.run("stop nothing");
        t.run("restart nothing");
        t.run("delete nothing");
        t.run("reload nothing");
        t.run("stop 99");
        t.run("delete 99");
        t.run("restart 99");
        t.run("reload 99");
        t.run("start 99");
        t.run("stop /x/");
        t.run("describe nothing");
        t.run("describe 99");
        t.run("env 99");
        t.run("scale nothing 3");
        t.run("reset nothing");
        t.run("pid nothing");
        t.run("id nothing");
    }
);

session!(
    /// Several targets run one after the other; the first failure stops the command.
    target_several, [], |t: &mut Transcript<'_>| {
        start_three_apps(t);
        t.run("stop api-a web");
        t.run("restart api-a nothing web");
        t.run("list");
        t.run("delete api-a api-b");
    }
);
