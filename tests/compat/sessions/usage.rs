//! Command lines that are not understood.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::session;

session!(
    /// Exit codes and first words of wrong usage.
    usage_errors, [], |t: &mut Transcript<'_>| {
        let home = t.home();
        home.ok("ping");
        for line in [
            "", "nonsense", "start x.js --no-such-option", "list --no-such-option", "stop", "restart", "delete", "describe", "scale",
            "scale app", "sendSignal SIGINT", "kill now", "save here", "prettylist x", "web",
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
