//! `completion`, `help`, `--version`, wrong usage.

use std::process::Command;

use crate::setup::home;

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
