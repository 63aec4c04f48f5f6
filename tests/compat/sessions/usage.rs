//! Invalid command lines.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

session!(
    /// Exit codes and first words of usage errors.
    usage_errors, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok("ping");
        for line in [
            "", "nonsense", "start x.js --no-such-option", "list --no-such-option", "stop", "restart", "delete", "describe", "scale",
            "scale app", "sendSignal SIGINT", "kill now", "save here", "prettylist x",
        ] {
            let output = home.run(line);
            t.note(format!("{line:?} exits {}", output.code));
            let told = ["unknown option", "missing required argument", "Command not found", "Unknown command argument"];
            told.iter().filter(|words| output.all().contains(**words)).for_each(|words| t.note(format!("  says {words}")));
        }
    }
);

session!(
    /// Extra words, options before and after, `=` and joined short options.
    usage_forms, [], |t: &mut Transcript<'_>| {
        let hold = fixture_app("hold.js");
        t.run(format!("--name front start {hold}"));
        t.run(format!("start --namespace=middle {hold} -f -n joined"));
        t.run(format!("start {hold} -xf --name flags -- --name not-an-option -i 4"));
        t.run("list extra words");
        t.note(t.home().app("flags").env("args"));
    }
);

session!(
    /// The version, in a home where a daemon runs.
    version, [], |t: &mut Transcript<'_>| {
        t.home().ok("ping");
        for flag in ["--version", "-v", "-V"] {
            t.run(flag);
        }
    }
);

session!(
    /// Messages if there is nothing to act on, and their stream.
    messages_without_apps, [
        Difference {
            pm2: "$ kill  [exit 0]\n  [PM2] Spawning PM2 daemon with pm2_home=<home>\n  [PM2] PM2 Successfully daemonized\n  [PM2] [v] All Applications Stopped",
            ostler: "$ kill  [exit 0]\n  [PM2] [v] All Applications Stopped",
            why: "no daemon is started to be killed",
        },
    ], |t: &mut Transcript<'_>| {
        t.run("kill");
        t.run("ls -s");
        t.note(format!("a daemon runs: {}", t.home().dir().join("pm2.pid").exists()));
        t.run("reset all");
        t.run("set lone value");
        t.run("set module:key value");
        t.run("unset lone");
        t.run("unset module:key");
        t.run("unset never-set");
    }
);

session!(
    /// The starter file that `ecosystem` writes, under each of the command's names.
    ecosystem_starter_file, [], |t: &mut Transcript<'_>| {
        t.home().ok("ping");
        for words in ["init", "init echo", "ecosystem simple"] {
            t.run(words);
            let path = t.home().work().join("ecosystem.config.js");
            let apps = std::fs::read_to_string(&path).unwrap_or_default().matches("script").count();
            t.note(format!("several apps: {}", apps > 1));
            let _ = std::fs::remove_file(path);
        }
    }
);
