//! Ecosystem files in every format.

use ostler_testkit::{fixture_app, needs_program};

use crate::setup::{home, home_as_pm2};

/// The same two apps in every format that ostler reads.
#[test]
fn every_format_starts_the_same_apps() {
    let script = fixture_app("hello.sh");
    let files = [
        (
            "a.json",
            format!(
                r#"{{"apps": [{{"name": "x", "script": "{script}", "args": ["1"], "env": {{"A": "b"}}}}, {{"name": "y", "script": "{script}"}}]}}"#
            ),
        ),
        (
            "a.json5",
            format!(
                "{{apps: [{{name: 'x', script: '{script}', args: ['1'], env: {{A: 'b'}},}}, {{name: 'y', script: '{script}'}}], /* c */}}"
            ),
        ),
        (
            "a.yml",
            format!("apps:\n  - name: x\n    script: {script}\n    args: ['1']\n    env: {{A: b}}\n  - {{name: y, script: {script}}}\n"),
        ),
        ("a.yaml", format!("apps:\n  - {{name: x, script: {script}, args: ['1'], env: {{A: b}}}}\n  - {{name: y, script: {script}}}\n")),
        (
            "a.toml",
            format!("[[apps]]\nname = 'x'\nscript = '{script}'\nargs = ['1']\nenv.A = 'b'\n[[apps]]\nname = 'y'\nscript = '{script}'\n"),
        ),
        (
            "a.config.js",
            format!(
                "module.exports = {{apps: ['x', 'y'].map(name => ({{name, script: '{script}', args: name == 'x' ? ['1'] : [], env: {{A: 'b'}}}}))}}"
            ),
        ),
        (
            "a.config.cjs",
            format!("exports.apps = [{{name: 'x', script: '{script}', args: '1', env: {{A: 'b'}}}}, {{name: 'y', script: '{script}'}}]"),
        ),
        (
            "a.config.mjs",
            format!(
                "export default {{apps: [{{name: 'x', script: '{script}', args: '1', env: {{A: 'b'}}}}, {{name: 'y', script: '{script}'}}]}}"
            ),
        ),
    ];
    for (name, text) in files {
        let home = home();
        let file = home.write(name, text);
        home.ok(format!("start {file}"));
        let item = home.app("x");
        assert_eq!((item.status(), item.text("A"), item.env("args")[0].as_str()), ("online", "b", Some("1")), "{name}");
        assert_eq!(home.app("y").status(), "online", "{name}");
        home.ok(format!("delete {file}"));
        assert!(home.jlist().is_empty(), "{name}");
    }
}

#[test]
fn file_is_read_from_standard_input() {
    let home = home();
    let text = format!(r#"{{"apps": [{{"name": "piped", "script": "{}"}}]}}"#, fixture_app("hello.sh"));
    home.cmd("start -").stdin(&text).run().ok();
    assert_eq!(home.app("piped").status(), "online");
    home.cmd("delete -").stdin(&text).run().ok();
    assert!(home.jlist().is_empty());
}

#[test]
fn large_file_on_standard_input_is_read_completely() {
    // PM2 differs: it reads the first chunk only.
    let home = home();
    let filler = "x".repeat(300_000);
    let text = format!(
        r#"{{"apps": [{{"name": "big", "script": "sleep", "args": "1000", "env": {{"B": "{filler}"}}, "autostart": false}}, {{"name": "last", "script": "sleep", "args": "1000"}}]}}"#
    );
    home.cmd("start -").stdin(&text).run().ok();
    assert_eq!(home.app("last").status(), "online");
    assert_eq!(home.app("big").text("B").len(), 300_000);
}

#[test]
fn file_that_needs_node_is_evaluated_by_node() {
    needs_program!("node");
    let home = home();
    let script = fixture_app("hello.sh");
    let text = format!(
        "const crypto = require('crypto');\nconst id = crypto.createHash('sha1').update('x').digest('hex').slice(0, 8);\n\
         module.exports = {{ apps: [{{ name: 'h-' + id, script: '{script}' }}] }};\n"
    );
    let file = home.write("eco.config.js", text);
    home.ok(format!("start {file}"));
    assert_eq!(home.jlist()[0].name(), "h-11f6ad8e");
}

#[test]
fn only_selects_apps_and_file_selects_all_of_them() {
    let home = home();
    let app = |name: &str| format!(r#"{{"name": "{name}", "script": "sleep", "args": "1000"}}"#);
    let file = home.write("abc.json", format!("[{}, {}, {}]", app("a"), app("b"), app("c")));
    home.ok(format!("start {file} --only a,c"));
    let names: Vec<String> = home.jlist().iter().map(|item| item.name().to_owned()).collect();
    assert_eq!(names, ["a", "c"]);
    home.ok(format!("start {file}"));
    assert_eq!(home.jlist().len(), 3);
    home.ok(format!("stop {file}"));
    assert!(home.jlist().iter().all(|item| item.status() == "stopped"));
    home.ok(format!("restart {file} --only b"));
    assert_eq!(home.app("b").status(), "online");
    home.ok(format!("delete {file}"));
    assert!(home.jlist().is_empty());
}

#[test]
fn one_invalid_app_rejects_the_whole_file() {
    let home = home();
    let file = home.write(
        "bad.json",
        r#"[{"name": "good", "script": "sleep", "args": "1000"}, {"name": "bad", "script": "sleep", "kill_timeout": "soon"}]"#,
    );
    home.run(format!("start {file}")).fails().says("kill_timeout");
    assert!(home.run("jlist").stdout.trim_end().ends_with("[]") || home.processes().is_empty());
}

#[test]
fn unknown_key_suggests_closest_known_key() {
    let home = home();
    let file = home.write("typo.json", r#"[{"name": "t", "script": "sleep", "args": "1000", "autorestrat": false}]"#);
    home.ok(format!("start {file}")).says("autorestrat").says("autorestart");
    assert_eq!(home.app("t").status(), "online");
}

#[test]
fn apps_with_the_same_name_keep_their_own_config() {
    let home = home_as_pm2();
    let file = home.write(
        "eco.json",
        r#"[{"name": "twin", "script": "sleep", "args": "1000", "env": {"WHO": "first"}},
            {"name": "twin", "script": "sleep", "args": "2000", "env": {"WHO": "second"}}]"#,
    );
    let described = || home.jlist().iter().map(|item| (item.text("WHO").to_owned(), item.env("args").to_string())).collect::<Vec<_>>();
    let both = [("first".to_owned(), r#"["1000"]"#.to_owned()), ("second".to_owned(), r#"["2000"]"#.to_owned())];
    for verb in ["start", "restart", "start", "reload"] {
        home.ok(format!("{verb} {file}"));
        assert_eq!(described(), both, "after {verb}");
    }
    // A change by name applies to each of them.
    home.ok("restart twin --restart-delay 100");
    assert_eq!(described(), both);
    assert!(home.jlist().iter().all(|item| item.env("restart_delay") == 100 && item.status() == "online"));
    home.ok(format!("delete {file}"));
    assert!(home.jlist().is_empty());
}

/// As `ostler`, the program applies a file completely or not at all.
#[test]
fn missing_script_of_one_app_rejects_the_whole_file() {
    let home = home();
    let file =
        home.write("bad.json", r#"[{"name": "good", "script": "sleep", "args": "1000"}, {"name": "bad", "script": "/nowhere/app"}]"#);
    home.run(format!("start {file}")).fails().says("Script not found: /nowhere/app");
    assert!(home.app_processes().is_empty());
}

/// Each JavaScript engine words this error differently, and none of them names the fix.
#[test]
fn commonjs_in_es_module_project_suggests_cjs() {
    let home = home_as_pm2();
    home.write("project/package.json", r#"{"type": "module"}"#);
    let file = home.write("project/ecosystem.config.js", "module.exports = {apps: [{name: 'x', script: 'sleep', args: '1000'}]};");
    let engines: &[&str] = if ostler_testkit::program("node").is_some() { &["embedded", "auto", "runtime"] } else { &["embedded"] };
    for engine in engines {
        let said = home.cmd(format!("start {file}")).env("OSTLER_JS", engine).run();
        assert!(said.code == 1 && said.stderr.contains("rename it to ecosystem.config.cjs"), "{engine}: {}", said.stderr);
    }
    std::fs::rename(&file, home.work().join("project/ecosystem.config.cjs")).unwrap();
    home.ok(format!("start {}", home.work().join("project/ecosystem.config.cjs").display()));
    assert_eq!(home.app("x").status(), "online");
    // A valid ES module does not get this hint.
    let file =
        home.write("project/other.config.js", "export default {apps: [{name: 'y', script: 'sleep', args: '1000'}]}; // module.exports");
    home.ok(format!("start {file}"));
}
