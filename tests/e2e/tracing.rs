//! OpenTelemetry: installed completely or not at all, and loaded by the apps that enable it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, Output, needs_program};

use crate::setup::{ecosystem, home};

/// File that npm would install: it prints the variables that it gets.
const REGISTER: &str = "node_modules/@opentelemetry/auto-instrumentations-node/build/src/register.js";

/// Runs a command with a fake npm on the `PATH`.
fn with_npm(home: &Home, words: &str, npm: &str) -> Output {
    let bin = home.work().join("npm-bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("npm"), format!("#!/bin/sh\n{npm}")).unwrap();
    fs::set_permissions(bin.join("npm"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    home.cmd(words).env("PATH", path).run()
}

#[test]
fn only_apps_with_trace_load_opentelemetry() {
    needs_program!("node");
    let home = home();
    home.write("app.js", "setInterval(() => {}, 1000)");
    let file = ecosystem(
        &home,
        r#""name": "traced", "script": "app.js", "trace": true}, {"name": "own", "script": "app.js", "trace": true, "env": {"OTEL_SERVICE_NAME": "mine"}},
           {"name": "plain", "script": "app.js""#,
    );
    home.ok(format!("start {file}"));
    home.wait_file(&home.dir().join("pm2.log").display().to_string(), "[traced:0] runs without OpenTelemetry");

    let failed = with_npm(&home, "install-otel", "mkdir -p node_modules/half; exit 1");
    assert!(failed.code == 1 && failed.stderr.contains("nothing was changed"), "{failed}");
    assert!(!home.dir().join("otel").exists() && !home.dir().join("otel.new").exists());
    let npm = format!(
        "case \"$*\" in *@opentelemetry/auto-instrumentations-node*) ;; *) exit 2;; esac\nmkdir -p $(dirname {REGISTER})\n\
         echo \"console.log('service', process.env.OTEL_SERVICE_NAME, process.env.OTEL_RESOURCE_ATTRIBUTES)\" > {REGISTER}"
    );
    let installed = with_npm(&home, "install-otel", &npm);
    assert_eq!(installed.code, 0, "{installed}");
    // npm's own output must not appear in the JSON.
    let again = with_npm(&home, "install-otel --json", &format!("echo added 218 packages\n{npm}"));
    let said = again.json();
    assert_eq!(said["packages"].as_array().map(Vec::len), Some(2), "{said}");
    assert!(again.stderr.contains("added 218 packages"), "{again}");
    home.ok("restart all");
    home.wait_log("traced-out.log", "service traced service.namespace=default,service.instance.id=");
    home.wait_log("own-out.log", "service mine");
    assert_eq!(home.log("plain-out.log"), "");
    home.ok("uninstall-otel");
    assert_eq!(home.run("uninstall-otel").code, 4);
    home.ok("restart traced");
    home.wait_status("traced", "online");
}
