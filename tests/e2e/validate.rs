//! `validate`: reports mistakes in a file before anything starts.

use ostler_testkit::fixture_app;

use crate::setup::{ecosystem, home};

#[test]
fn valid_file_passes() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}""#, fixture_app("hold.js")));
    home.ok(format!("validate {file}"));
    assert!(home.processes().is_empty());
}

#[test]
fn misspelt_key_warns_and_fails_with_strict() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}", "max_restart": 3"#, fixture_app("hold.js")));
    home.ok(format!("validate {file}")).says("max_restart").says("max_restarts");
    home.run(format!("validate {file} --strict")).fails().says("max_restarts");
}

#[test]
fn every_problem_names_file_line_and_key() {
    let home = home();
    let text = "apps:\n  - name: a\n    script: app.js\n    kill_timeout: soon\n    autorestart: perhaps\n";
    let file = home.write("bad.yml", text);
    let output = home.run(format!("validate {file}")).fails();
    for words in ["bad.yml", "kill_timeout", "autorestart", "4", "5"] {
        assert!(output.all().contains(words), "no {words}\n{output}");
    }
}

/// All stages (evaluation, values, this machine, order) report into one list.
#[test]
fn one_pass_finds_all_mistakes() {
    let home = home();
    let text = r#"{"apps": [
        {"name": "size", "script": "missing.js", "max_memory_restart": "lots"},
        {"name": "interpreter", "script": "missing.py", "interpreter": "no-such-python"},
        {"name": "user", "script": "missing.js", "uid": "no-such-user", "cron_restart": "61 * * * *"},
        {"name": "folder", "script": "app.js", "cwd": "no-such-folder", "env_file": "no-such.env"},
        {"name": "group", "script": "/bin/sleep", "gid": "no-such-group", "kill_timeout": "soon"}
    ]}"#;
    let file = home.write("bad.json", text);
    let mistakes = [
        "apps[0].max_memory_restart",
        "apps[0].script",
        "apps[1].script",
        "apps[1].interpreter",
        "apps[2].script",
        "apps[2].uid",
        "apps[2].cron_restart",
        "apps[3].cwd",
        "apps[3].env_file",
        "apps[4].gid",
        "apps[4].kill_timeout",
    ];
    for command in ["validate", "start"] {
        let output = home.run([command, &file]).fails();
        for key in mistakes {
            assert!(output.all().contains(&format!("{key}: ")), "{command}: no {key}\n{output}");
        }
        // If the folder is missing, ostler does not search for the script in it.
        assert!(!output.all().contains("apps[3].script"), "{output}");
    }
    assert!(home.processes().is_empty());
}

/// Rejected values are not reported again as missing.
#[test]
fn rejected_value_is_reported_once() {
    let home = home();
    let text = r#"{"apps": [{"name": "a", "exec": 42}, {"name": "b", "script": "app.js", "cwd": 7}]}"#;
    let output = home.run(["validate", &home.write("bad.json", text)]).fails();
    assert_eq!(output.all().matches("bad.json:").count(), 2, "{output}");
}
