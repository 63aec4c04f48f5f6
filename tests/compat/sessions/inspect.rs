//! Read-only commands.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

session!(
    /// `list` under all its names, small and sorted.
    list_forms, [], |t: &mut Transcript<'_>| {
        t.home().ok("ping");
        t.run("list");
        let hold = fixture_app("hold.js");
        for name in ["b", "a", "a-rather-long-name-that-is-longer-than-the-column-may-be"] {
            t.home().ok(format!("start {hold} -f --name {name}"));
        }
        t.home().ok("stop b");
        for list in ["list", "ls", "l", "ps", "status", "list --sort id:desc"] {
            t.run(list);
        }
    }
);

session!(
    /// `describe` has PM2's rows in PM2's order.
    describe, [
        Difference { pm2: "   Add your own code metrics: http://bit.ly/code-metrics", ostler: "", why: "a link to the vendor" },
        Difference {
            pm2: "   Use `pm2 monit` to monitor CPU and Memory usage app",
            ostler: "   Use `pm2 why 0` to see its last exits",
            why: "`why` shows the last exits",
        },
    ], |t: &mut Transcript<'_>| {
        t.home().write("package.json", "{\"name\": \"demo\", \"version\": \"1.2.3\"}");
        let script = t.home().write("app.sh", "#!/bin/sh\nexec sleep 1000\n");
        t.home().ok(format!("start {script} --name app --namespace ns -- one two"));
        t.run("describe app");
        t.home().ok("stop app");
        // Below its table ostler prints how the app exited. The rows of the table are PM2's.
        for words in ["show 0", "info app", "desc app"] {
            let output = t.home().ok(words);
            let rows = output.stdout.lines().take_while(|line| !line.starts_with('└')).filter_map(|line| line.strip_prefix("│ ")?.split(" │").next());
            rows.for_each(|row| t.note(row.trim()));
        }
    }
);

session!(
    /// `id`, `pid`, `ping`.
    id_pid_ping, [], |t: &mut Transcript<'_>| {
        t.run("ping");
        t.run("ping");
        t.run("id app");
        t.run("pid");
        t.home().ok(format!("start {} --name app -i 2 -x", fixture_app("hold.js")));
        t.run("id app");
        let output = t.home().ok("pid app");
        t.note(format!("{} lines", output.stdout.lines().count()));
        t.home().ok("stop app");
        t.run("pid app");
        t.run("pid nothing");
    }
);

session!(
    /// `prettylist` is greppable in the forms that scripts use.
    prettylist, [], |t: &mut Transcript<'_>| {
        t.home().ok(format!("start {} --name app", fixture_app("hold.js")));
        t.home().ok("restart app");
        let text = t.home().ok("prettylist").stdout;
        for wanted in ["restart_time: 1", "status: 'online'", "watch: false", "name: 'app'", "pm_id: 0", "exec_mode: 'fork_mode'", "node_args: []"] {
            t.note(format!("{wanted}: {}", text.contains(wanted)));
        }
    }
);

session!(
    /// The tail of logs without following.
    logs_tail, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let script = home.write("say.sh", "#!/bin/sh\nfor i in 1 2 3 4 5; do echo line $i; done\necho oops >&2\nexec sleep 1000\n");
        home.ok(format!("start {script} --name say"));
        home.wait_log("say-error.log", "oops");
        t.run("logs say --nostream --lines 3 --out");
        t.run("logs say --nostream --lines 2 --err");
        t.run("logs 0 --nostream --lines 2 --out --raw");
    }
);

session!(
    /// `reset` zeroes the counters, `flush` truncates the log files, `reloadLogs` reopens them.
    reset_flush, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok(format!("start {} --name app -- x", fixture_app("hello.js")));
        home.ok("restart app");
        t.run("reset app");
        t.note(home.app("app").restarts());
        t.run("reset all");
        home.wait_log("app-out.log", "hello");
        t.run("flush app");
        t.note(home.log("app-out.log"));
        t.run("flush");
        t.run("flush nothing");
        t.run("reloadLogs");
    }
);

session!(
    /// `env` of an instance.
    env, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        let output = home.cmd(format!("start {} --name app", fixture_app("hold.js"))).env("MY_VARIABLE", "my value").run().ok();
        t.note(output.code);
        let text = home.ok("env 0").stdout;
        t.note(text.lines().filter(|line| line.starts_with("MY_VARIABLE")).collect::<String>());
    }
);

session!(
    /// Past log lines have one form, whatever form the options request.
    past_log_formats, [], |t: &mut Transcript<'_>| {
        let script = t.home().write("two.js", "console.log('to out'); console.error('to err'); setInterval(() => {}, 1 << 30);");
        t.home().ok(format!("start {script} --name two"));
        t.home().wait_log("two-error.log", "to err");
        t.home().wait_log("two-out.log", "to out");
        for form in ["--json", "--format", "--raw"] {
            t.run(format!("logs two --nostream {form}"));
        }
    }
);

session!(
    /// A new name: the log files stay, and their lines get the new name.
    renamed, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        t.home().ok(format!("start {hold} --name old --node-args=--trace-warnings"));
        t.home().ok(format!("start {hold} -f --name pair -i 2 -x"));
        t.run("restart old --name new");
        t.run("reload new --name newer");
        t.run("restart pair --name couple");
        for item in t.home().jlist() {
            for key in ["pm_out_log_path", "pm_err_log_path", "pm_pid_path"] {
                let path = item.text(key);
                t.note(format!("{} {}", item.name(), path.rsplit('/').next().unwrap_or_default()));
            }
        }
        t.note(t.home().app("newer").env("node_args"));
        t.home().ok("restart newer --node-args=null");
        t.note(t.home().app("newer").env("node_args").as_array().is_none_or(Vec::is_empty));
    }
);
