//! Apps that exit by themselves.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::session;

session!(
    /// A crash loop ends as errored, with PM2's counters.
    crash_loop, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let script = home.write("crash.sh", "#!/bin/sh\nexit 3\n");
        home.ok(format!("start {script} --name crash"));
        let item = home.wait_app("crash", "errored, without a process", |item| item.status() == "errored" && item.pid() == 0);
        t.note(format!("restarts {} exit_code {} pid {}", item.restarts(), item.env("exit_code"), item.pid()));
        t.run("list");
        t.run("stop crash");
    }
);

session!(
    /// A `max_restarts` set by the user.
    crash_limit, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let script = home.write("crash.sh", "#!/bin/sh\nexit 3\n");
        home.ok(format!("start {script} --name crash --max-restarts 3"));
        let item = home.wait_app("crash", "errored, without a process", |item| item.status() == "errored" && item.pid() == 0);
        t.note(format!("restarts {} exit_code {}", item.restarts(), item.env("exit_code")));
    }
);

session!(
    /// Intentional exits.
    intentional_exits, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let script = home.write("exit.sh", "#!/bin/sh\nexit $1\n");
        home.ok(format!("start {script} --name once --no-autorestart -- 4"));
        let item = home.wait_status("once", "stopped");
        t.note(format!("restarts {} exit_code {}", item.restarts(), item.env("exit_code")));
        home.ok(format!("start {script} -f --name coded --stop-exit-codes 5 -- 5"));
        let item = home.wait_status("coded", "stopped");
        t.note(format!("restarts {} exit_code {}", item.restarts(), item.env("exit_code")));
        t.run("list");
    }
);

session!(
    /// Growing restart delay.
    backoff, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let script = home.write("crash.sh", "#!/bin/sh\nexit 3\n");
        home.ok(format!("start {script} --name crash --exp-backoff-restart-delay 100 --max-restarts 1000"));
        let item = home.wait_app("crash", "slowed down", |item| item.env("prev_restart_delay").as_u64().is_some_and(|ms| ms >= 500));
        // On a busy machine, the list may miss a step.
        let mut steps = std::iter::successors(Some(100_u64), |delay| Some(delay * 3 / 2)).take_while(|delay| *delay < 15_000);
        t.note(format!("a step of 100, 150, 225, 337, ...: {}", steps.any(|step| step == item.number("prev_restart_delay"))));
        home.ok("stop crash");
        t.note(home.app("crash").status());
    }
);

session!(
    /// An app that is killed from outside restarts.
    killed_from_outside, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok(format!("start {} --name app", fixture_app("hold.js")));
        let before = home.app("app").pid();
        ostler_testkit::kill(before, rustix::process::Signal::KILL);
        let after = home.wait_app("app", "another process", |item| item.status() == "online" && item.pid() > 0 && item.pid() != before);
        t.note(format!("restarts {}", after.restarts()));
    }
);
