//! The smallest program, for containers: built without features, it supervises apps, and its errors
//! name the missing parts.

use std::path::PathBuf;

use ostler_testkit::{Home, Subject, fixture_app, skip};

/// Returns a home of its own for the program of `OSTLER_LEAST`.
fn home() -> Option<Home> {
    std::env::var_os("OSTLER_LEAST").map(|program| Home::new(Subject::Ostler(PathBuf::from(program))))
}

/// Exit code of a command whose part is not built in.
const LEFT_OUT: i32 = 7;

#[test]
fn apps_run_and_daemon_is_restarted() {
    let Some(home) = home() else { skip!("OSTLER_LEAST names no program: `cargo xtask static --test` builds it") };
    home.ok(format!("start {} --name lines -i 2", fixture_app("hello.sh")));
    home.wait_log("lines-out-0.log", "");
    let file = home.write("eco.yaml", "apps:\n  - name: rests\n    script: sleep\n    args: '1000'\n");
    home.ok(format!("start {file}"));
    assert_eq!(home.app("rests").status(), "online");
    home.ok("list").says("rests");
    home.ok("logs lines --nostream --grep hello");
    home.ok("health rests");
    let (before, daemon) = (home.app("rests").pid(), home.daemon_pid());
    ostler_testkit::kill(daemon, rustix::process::Signal::KILL);
    home.wait_until("another daemon runs", || home.daemons().first().is_some_and(|pid| *pid != daemon));
    assert_eq!(home.app("rests").pid(), before, "{}", home.report());
    home.ok("delete all");
    assert!(home.app_processes().is_empty());
}

#[test]
fn missing_features_are_named() {
    let Some(home) = home() else { skip!("OSTLER_LEAST names no program: `cargo xtask static --test` builds it") };
    for (words, command, feature) in [
        ("web enable", "web", "web"),
        ("serve", "serve", "serve"),
        ("export compose", "export", "export"),
        ("up -d", "up", "export"),
        ("ps --project-name shop", "ps --project-name", "export"),
        ("list --hosts a,b", "list --hosts", "fleet"),
        ("doctor", "doctor", "machine"),
        ("install pm2-metrics", "install", "machine"),
        ("update --from new.tar.gz", "update --from", "machine"),
        ("monit", "monit", "monit"),
        ("logs --grep a.b --regex", "logs --regex", "search"),
        ("logs --grep ab --ignore-case", "logs --ignore-case", "search"),
    ] {
        let run = home.cmd(words).run();
        let text = run.stderr.trim();
        let expected = format!("`{command}` is not available: this program was built without the feature `{feature}`");
        assert_eq!((run.code, text.lines().count()), (LEFT_OUT, 1), "{words}: {text}");
        assert!(text.contains(&expected), "{words}: {text}");
    }
    assert!(home.daemons().is_empty());
}
