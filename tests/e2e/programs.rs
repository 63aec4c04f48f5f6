//! Apps in any language, by extension and by `interpreter`.

use ostler_testkit::{fixture_app, needs_program};

use crate::setup::{ecosystem, home};

fn runs(script: &str, options: &str, says: &str) {
    let home = home();
    home.ok(format!("start {} --name app {options} -- one two", fixture_app(script)));
    home.wait_log("app-out.log", &format!("hello from {says} one,two\n"));
    assert_eq!(home.app("app").status(), "online");
    home.ok("delete app");
    assert!(home.app_processes().is_empty());
}

#[test]
fn javascript_runs() {
    needs_program!("node");
    runs("hello.js", "", "javascript");
}

#[test]
fn javascript_modules_run() {
    needs_program!("node");
    runs("hello.mjs", "", "a module");
    runs("hello.cjs", "", "commonjs");
}

#[test]
fn bun_runs() {
    needs_program!("bun");
    runs("hello.js", "--interpreter bun", "javascript");
    runs("hello.ts", "", "typescript");
}

#[test]
fn deno_runs() {
    needs_program!("deno");
    runs("hello.ts", "--interpreter deno --interpreter-args run", "typescript");
}

#[test]
fn python_runs() {
    needs_program!("python3");
    runs("hello.py", "", "python");
    runs("hello.py", "--interpreter python3", "python");
}

#[test]
fn ruby_runs() {
    needs_program!("ruby");
    runs("hello.rb", "", "ruby");
}

#[test]
fn php_runs() {
    needs_program!("php");
    runs("hello.php", "", "php");
}

#[test]
fn perl_runs() {
    needs_program!("perl");
    runs("hello.pl", "", "perl");
}

#[test]
fn shell_runs() {
    runs("hello.sh", "", "shell");
    runs("hello.sh", "--interpreter sh", "shell");
}

#[test]
fn script_without_extension_runs_by_its_shebang() {
    // PM2 differs: it passes such a file to node.
    let home = home();
    let script = home.write("tool", "#!/bin/sh\necho my shell is $0\nexec sleep 1000\n");
    home.ok(format!("start {script} --name tool"));
    home.wait_log("tool-out.log", "my shell is");
    assert_eq!(home.app("tool").restarts(), 0);
}

#[test]
fn interpreter_none_runs_the_file() {
    let home = home();
    let script = home.write("direct.js", "#!/bin/sh\necho not javascript\nexec sleep 1000\n");
    home.ok(format!("start {script} --name direct --interpreter none"));
    home.wait_log("direct-out.log", "not javascript");
}

#[test]
fn interpreter_arguments_precede_the_script() {
    needs_program!("node");
    let home = home();
    let script = home.write("heap.js", "console.log('flags', process.execArgv.join(',')); setInterval(() => {}, 1 << 30);");
    home.ok(["start", &script, "--name", "cli", "--node-args", "--max-old-space-size=77 --no-warnings"]);
    home.wait_log("cli-out.log", "--max-old-space-size=77,--no-warnings\n");
    let file = ecosystem(&home, &format!(r#""name": "file", "script": "{script}", "interpreter_args": ["--stack-size=900"]"#));
    home.ok(format!("start {file}"));
    home.wait_log("file-out.log", "--stack-size=900\n");
}

#[test]
fn node_apps_see_their_own_command_line() {
    needs_program!("node");
    let home = home();
    let script = home.write("argv.js", "console.log(process.argv[1], require.main === module); setInterval(() => {}, 1 << 30);");
    home.ok(format!("start {script} --name argv"));
    home.wait_log("argv-out.log", &format!("{script} true\n"));
}

#[test]
fn messages_of_hostile_apps_are_harmless() {
    needs_program!("node");
    let home = home();
    home.ok(format!("start {} --name hostile", fixture_app("hostile.js")));
    home.wait_log("hostile-out.log", "all sent");
    let daemon = home.daemon_pid();
    let item = home.wait_status("hostile", "online");
    assert_eq!((item.name(), item.restarts(), home.daemon_pid()), ("hostile", 0, daemon));
}

#[test]
fn shutdown_by_message_replaces_the_signal() {
    needs_program!("node");
    let home = home();
    home.ok(format!("start {} --name m --shutdown-with-message", fixture_app("message.js")));
    home.wait_log("m-out.log", "channel function");
    home.ok("stop m");
    let log = home.log("m-out.log");
    assert!(log.contains("message \"shutdown\"") && !log.contains("SIGINT"), "{log}");
}
