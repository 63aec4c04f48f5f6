//! Commands and options of PM2 in whose place something else is here: one line says what, nothing is started, nothing leaves the machine.

use crate::setup::{home, home_as_pm2};

#[test]
fn one_line_says_what_is_here() {
    const SERVICE: &str = "sends nothing to a monitoring service; `ostler list`, `why`, `events` and `logs`";
    const PROFILE: &str = "`ostler profile <app>` profiles an app";
    const IMAGES: &str = "`ostler runtime <app or file>` is the command of a container";
    for (home, label) in [(home(), "[ostler][ERROR] "), (home_as_pm2(), "[PM2][ERROR] ")] {
        let script = home.write("app.js", "");
        for (command, expected) in [
            ("link", SERVICE),
            ("link secret public name --info-node http://127.0.0.1:1", SERVICE),
            ("unlink", SERVICE),
            ("plus", SERVICE),
            ("plus login --discrete --install-all", SERVICE),
            ("register", SERVICE),
            ("login", SERVICE),
            ("logout", SERVICE),
            ("open", SERVICE),
            ("monitor", SERVICE),
            ("monitor app", SERVICE),
            ("unmonitor app", SERVICE),
            ("profile:cpu", PROFILE),
            ("profile:cpu 100", PROFILE),
            ("profile:mem", PROFILE),
            ("create", "`ostler ecosystem` writes a config file to start with"),
            ("deepUpdate", "`ostler update --from <file>` puts a new program in the place of this one, without a restart of apps"),
            ("autoinstall", "`ostler install <module>` installs a module"),
            ("start --container", IMAGES),
            ("start --container SCRIPT", IMAGES),
            ("start SCRIPT --dist", IMAGES),
            ("start SCRIPT --container --image-name mine --node-version 20", IMAGES),
            ("start SCRIPT --dist --dockerdaemon --daemon --fresh", IMAGES),
        ] {
            let output = home.run(command.replace("SCRIPT", &script));
            assert_eq!((output.code, output.stdout.as_str(), output.stderr.trim_end().lines().count()), (1, "", 1), "{command}: {output}");
            assert!(output.stderr.starts_with(label) && output.stderr.contains(expected), "{command}: {output}");
        }
        assert!(home.processes().is_empty(), "nothing was started");
        assert!(!home.dir().join("pm2.pid").exists());
    }
}
