//! `validate`: what is wrong in a file, before anything is started.

use ostler_testkit::fixture_app;

use crate::setup::{ecosystem, home};

#[test]
fn a_good_file_is_good() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}""#, fixture_app("hold.js")));
    home.ok(format!("validate {file}"));
    assert!(home.processes().is_empty());
}

#[test]
fn a_misspelt_key_is_told_and_under_strict_an_error() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "a", "script": "{}", "max_restart": 3"#, fixture_app("hold.js")));
    home.ok(format!("validate {file}")).says("max_restart").says("max_restarts");
    home.run(format!("validate {file} --strict")).fails().says("max_restarts");
}

#[test]
fn every_problem_with_file_line_and_key() {
    let home = home();
    let text = "apps:\n  - name: a\n    script: app.js\n    kill_timeout: soon\n    autorestart: perhaps\n";
    let file = home.write("bad.yml", text);
    let output = home.run(format!("validate {file}")).fails();
    for words in ["bad.yml", "kill_timeout", "autorestart", "4", "5"] {
        assert!(output.all().contains(words), "no {words}\n{output}");
    }
}
