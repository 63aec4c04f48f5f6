//! `start` with scripts and command strings.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

session!(
    /// Messages about a schedule.
    start_cron, [], |t: &mut Transcript<'_>| {
        let script = fixture_app("hold.js");
        t.run("ping");
        t.run(["start", &script, "--name", "x", "--cron-restart", "0 4 * * *"].as_slice());
        t.run(["restart", "x", "--cron-restart", "0 5 * * *"].as_slice());
        t.run(["restart", "x", "--cron-restart", "0"].as_slice());
        let file = t.home().write("eco.config.js", format!("module.exports = {{ apps: [{{ name: 'one', script: '{script}', cron_restart: '0 3 * * *' }}] }};"));
        t.run(format!("start {file}"));
        t.run(format!("restart {file}"));
        t.run(format!("reload {file}"));
        t.run("restart one");
    }
);

session!(
    /// A script, the same script again, and again with force.
    start_script, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        t.run(format!("start {hold}"));
        t.run(format!("start {hold}"));
        t.run(format!("start {hold} -f"));
        t.run("list");
        t.run("stop 0");
        t.run(format!("start {hold} --name hold"));
        t.run("delete all");
    }
);

session!(
    /// A start by an existing name restarts the app in any state.
    start_by_name, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name first --namespace one", fixture_app("hold.js")));
        t.run(format!("start {} --name second --namespace one", fixture_app("other.js")));
        t.run("start first");
        t.run("stop first");
        t.run("start first");
        t.run("start one");
        t.run("start 1");
        t.run("start all");
        t.run("start 77");
    }
);

session!(
    /// Options that are visible in the list and in `describe`.
    start_options, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        t.run(format!("start {hold} --name=opts --namespace ns --kill-timeout 3000 --merge-logs -- one --two"));
        t.run(format!("start {hold} --name idle --no-autostart"));
    }
);

session!(
    /// PM2 reports that it started an app without autostart, but leaves the app stopped.
    start_no_autostart, [Difference { pm2: "# stopped", ostler: "# online", why: "what the user starts by name is started" }], |t: &mut Transcript<'_>| {
        t.home().ok("start sleep --name idle --no-autostart -- 1000");
        t.home().ok("start idle");
        t.note(t.home().app("idle").status());
    }
);

session!(
    /// Several instances without cluster mode.
    start_instances, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} --name many -i 3 -x", fixture_app("hold.js")));
        t.run("id many");
        t.run("restart many");
        t.run("delete many");
    }
);

session!(
    /// With one instance per CPU, the instances share log files. With any other number, each
    /// instance has its own.
    start_instances_logs, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        let file = t.home().write(
            "eco.config.js",
            format!(
                "module.exports = {{ apps: [\n  {{ name: 'file-max', script: '{hold}', instances: 'max' }},\n  \
                 {{ name: 'file-zero', script: '{hold}', instances: 0 }},\n  \
                 {{ name: 'file-own', script: '{hold}', instances: 'max', merge_logs: false }},\n] }};\n"
            ),
        );
        for words in ["--name max -i max", "--name zero -i 0", "--name forks -i max -x", "--name one -i 1"] {
            t.home().ok(format!("start {hold} -f {words}"));
        }
        t.home().ok(format!("start {file}"));
        let list = t.home().jlist();
        for name in ["max", "zero", "forks", "one", "file-max", "file-zero", "file-own"] {
            let Some(item) = list.iter().find(|item| item.name() == name) else { panic!("{name} is not listed") };
            let id = format!("-{}.log", item.id());
            for key in ["pm_out_log_path", "pm_err_log_path"] {
                let path = item.text(key).to_owned();
                let shown = path.rsplit('/').next().unwrap_or_default();
                t.note(shown.replace(&id, "-<id>.log"));
            }
        }
    }
);

session!(
    /// A target with a space is a shell command.
    start_command_string, [], |t: &mut Transcript<'_>| {
        t.run(["start", "echo out && sleep 1000"]);
        t.run(["start", "sleep 1000", "--name", "sleeper"]);
        t.run("stop sleeper");
        t.run("delete all");
    }
);

session!(
    /// A program on `PATH`.
    start_program, [], |t: &mut Transcript<'_>| {
        t.run("start sleep --name s -- 1000");
        t.run("restart s");
        t.run("delete s");
    }
);

session!(
    /// A failed start prints an error and leaves nothing in the list.
    start_refused, [], |t: &mut Transcript<'_>| {
        // ostler checks the file before it starts a daemon. This session does not compare the
        // daemon's start messages.
        t.home().ok("ping");
        t.run("start nothing.js");
        t.run("start nothing");
        t.run(format!("start {} --interpreter no-such-interpreter", fixture_app("hold.js")));
        t.run("start");
        t.run("start missing.config.js");
        t.run("list");
    }
);

session!(
    /// Two targets in one call; the first failure stops the call.
    start_several, [], |t: &mut Transcript<'_>| {
        t.run(format!("start {} {}", fixture_app("hold.js"), fixture_app("other.js")));
        t.run("delete all");
        t.run(format!("start {} nothing.js {}", fixture_app("hold.js"), fixture_app("other.js")));
        t.run("list");
    }
);
