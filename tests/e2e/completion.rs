//! `completion`, `help`, `--version`, wrong usage.

use std::process::Command;

use ostler_testkit::{Home, fixture};

use crate::setup::{home, home_as_pm2, start_fixture};

#[test]
fn the_script_is_valid_shell() {
    let home = home();
    let script = home.ok("completion").stdout;
    let file = home.write("completion.sh", &script);
    let output = Command::new("bash").args(["-n", &file]).output().unwrap();
    assert!(output.status.success() && !script.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_has_help() {
    let home = home();
    for command in [
        "start",
        "stop",
        "restart",
        "delete",
        "list",
        "logs",
        "describe",
        "save",
        "resurrect",
        "kill",
        "scale",
        "why",
        "update",
        "validate",
    ] {
        home.ok(format!("{command} --help")).says(command);
        home.ok(format!("help {command}")).says(command);
    }
    home.ok("--help").says("start").says("why");
    assert!(home.processes().is_empty());
}

#[test]
fn the_version_is_a_number() {
    let home = home();
    for flag in ["--version", "-v", "-V"] {
        let output = home.ok(flag);
        assert_eq!(output.stdout.trim().split('.').count(), 3, "{output}");
    }
}

#[test]
fn wrong_usage_exits_with_code_2() {
    let home = home();
    for line in ["nonsense", "start x.js --no-such-option", "stop", "scale app", "list --no-such-option"] {
        home.run(line).code(2);
    }
    home.run("strat app.js").says("start");
    assert!(home.processes().is_empty());
}

/// Returns the words that a shell's script gets for these words.
#[track_caller]
fn words(home: &Home, line: &str) -> Vec<String> {
    let words = ["completion", "--shell", "fish", "--complete", "--", "ostler"].into_iter().chain(line.split(' '));
    let output = home.ok(words.collect::<Vec<_>>());
    assert_eq!(output.stderr, "", "{output}");
    output.stdout.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn completion_starts_no_daemon_and_prints_no_error() {
    let home = home();
    for line in [
        "",
        "restart ",
        "rollout undo api --to ",
        "errors ",
        "set ",
        "trigger api ",
        "list --hosts ",
        "nonsense --x=",
        "alerts channel remove ",
    ] {
        words(&home, line);
    }
    assert!(home.processes().is_empty() && !home.dir().exists());
    // A home that cannot be used, and words that are no text.
    home.write("file", "");
    let broken = home.cmd(["completion", "--shell", "zsh", "--complete", "--", "restart", ""]);
    let output = broken.env("OSTLER_HOME", home.work().join("file")).run().code(0);
    assert!(!output.stdout.contains("\n0:") && output.stderr.is_empty(), "{output}");
}

#[test]
fn completion_does_not_wait_for_a_daemon_that_hangs() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    assert!(words(&home, "restart ").contains(&"api".to_owned()));
    let stopped = home.stop_process(home.daemon_pid());
    let found = words(&home, "restart ");
    assert!(found.contains(&"all".to_owned()) && !found.contains(&"api".to_owned()), "{found:?}");
    ostler_testkit::kill(stopped, rustix::process::Signal::CONT);
}

#[test]
fn words_come_from_daemon_home_and_folder() {
    let home = home();
    for name in ["api", "-rf", "ad\u{202e}min"] {
        home.ok(["start", &fixture(), "--namespace", "shop", &format!("--name={name}"), "--", "hold"]);
    }
    home.ok(["start", &fixture(), "--name", "web", "-i", "2", "--", "hold"]);
    home.ok("set log_rotate:retain 7");
    home.ok("set mymodule:level debug");
    home.write(
        "ecosystem.config.js",
        "require('fs').writeFileSync('evaluated', ''); module.exports = { apps: [{ name: 'shop-front', env_production: {}, env_staging: {} }], deploy: { production: {} } }",
    );
    std::fs::write(home.dir().join("hosts.yaml"), "hosts: {web1: 10.0.0.1}\ngroups: {front: [web1]}\n").unwrap();
    // Ids instead of names that cannot be typed or shown.
    let ids: Vec<String> = home.jlist().iter().map(|item| item.id().to_string()).collect();
    for (line, expected) in [
        ("describe ", [&["api", "web"], ids.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat()),
        ("reset ", [&["api", "web"], ids.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &["all"]].concat()),
        ("monit ", vec!["api", "web", "default", "shop"]),
        ("start ecosystem.config.js --env ", vec!["production", "staging"]),
        ("start --env=", vec!["--env=production", "--env=staging"]),
        ("up ", vec!["shop-front"]),
        ("up --scale ", vec!["", "shop-front="]),
        ("deploy ", vec!["production", "ecosystem.config.js"]),
        ("unset ", vec!["log_rotate:retain", "mymodule:level"]),
        ("set log_rotate:retain ", vec!["7", "all"]),
        ("list --hosts ", vec!["all", "front", "web1"]),
        ("list --hosts web1,", vec!["web1,all", "web1,front"]),
        ("rollout undo api --to ", vec![]),
        ("start app.js --kill-mode ", vec!["mixed", "tree", "process"]),
        ("completion --shell ", vec!["bash", "zsh", "fish"]),
        ("web en", vec!["enable", "disable", "open", "status", "passwd", "token"]),
        ("start app.js -- ", vec!["", ""]),
        ("jlist ", vec![]),
    ] {
        assert_eq!(words(&home, line), expected, "{line:?}");
    }
    assert!(!home.work().join("evaluated").exists(), "a key press has run the file");
    let restart = words(&home, "restart ");
    assert!(restart.contains(&"ecosystem.config.js".to_owned()) && restart.contains(&"shop".to_owned()), "{restart:?}");
    // The releases of an app, the newest first.
    home.ok("reload web");
    home.ok("reload web");
    assert_eq!(words(&home, "rollout undo web --to "), ["3", "2", "1"]);
    assert!(words(&home, "sendSignal SIGU").contains(&"SIGUSR1".to_owned()));
    assert!(words(&home, "start x --timezone ").contains(&"Europe/Berlin".to_owned()));
}

#[test]
fn completion_of_pm2_stays_as_it_is() {
    let home = home_as_pm2();
    home.ok(["start", &fixture(), "--name", "api", "--", "hold"]);
    let script = home.ok("completion bash").stdout;
    assert!(
        script.starts_with("###-begin-pm2-completion-###\n_pm2_complete() {") && script.ends_with("###-end-pm2-completion-###\n"),
        "{script}"
    );
    for (line, expected) in
        [("restart ", "all\napi\n"), ("start a", "api\n::files\n"), ("rest", "restart\n"), ("rollout ", "history\nstatus\nundo\n")]
    {
        let words = ["completion", "--complete", "--"].into_iter().chain(line.split(' ')).collect::<Vec<_>>();
        assert_eq!(home.ok(words).stdout, expected, "{line}");
    }
}

#[test]
fn script_is_installed_where_the_shell_reads_it() {
    let home = home();
    let (user, zsh, config) = (home.root().join("user"), home.work().join("zsh"), home.work().join("config"));
    for (shell, variable, file) in [
        ("bash", ("X", ""), user.join(".bashrc")),
        ("zsh", ("ZDOTDIR", ""), user.join(".zshrc")),
        ("zsh", ("ZDOTDIR", zsh.to_str().unwrap()), zsh.join(".zshrc")),
        ("fish", ("XDG_CONFIG_HOME", ""), user.join(".config/fish/completions/ostler.fish")),
        ("fish", ("XDG_CONFIG_HOME", config.to_str().unwrap()), config.join("fish/completions/ostler.fish")),
    ] {
        let run = |words: &str| home.cmd(format!("completion {words} --shell {shell}")).env(variable.0, variable.1).run().ok();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "# mine\n").unwrap();
        run("install");
        run("install");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("# mine\n{}", home.ok(format!("completion {shell}")).stdout), "{}", file.display());
        run("uninstall");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
    }
}
