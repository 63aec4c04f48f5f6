//! Environments in the documents that this project started from, unchanged.

use ostler_testkit::{Home, fixture_path, needs_program};
use serde_json::Value;

use crate::setup::home_as_pm2;

/// An app that writes its environment to a file.
const APP: &str = "
const fs = require('fs');
fs.writeFileSync('env.part', JSON.stringify(process.env));
fs.renameSync('env.part', 'env.json');
setInterval(() => {}, 1e9);
";

/// Runs a command that starts the app again, with additional variables. Returns these variables of
/// the app.
#[track_caller]
fn env_after(home: &Home, command: &str, before: &[(&str, &str)], names: &[&str]) -> Vec<Option<String>> {
    drop(std::fs::remove_file(home.work().join("env.json")));
    before.iter().fold(home.cmd(command), |command, (name, value)| command.env(name, value)).run().ok();
    home.wait_until("the app has written its environment", || home.work().join("env.json").exists());
    let env: Value = serde_json::from_str(&home.read("env.json")).unwrap();
    names.iter().map(|name| env[name].as_str().map(str::to_owned)).collect()
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

/// Document 001: variables at the start. Real PM2 interprets the list as the name of an
/// environment, and sets nothing.
#[test]
fn env_sets_several_variables() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("app.js", APP);
    let names = ["NODE_ENV", "env1", "env2"];
    let env = env_after(&home, "start app.js --env NODE_ENV=development,env1=13,env2=32", &[], &names);
    assert_eq!(env, texts(&["development", "13", "32"]));
    // The variables stay, and the document's second form works, too.
    assert_eq!(env_after(&home, "restart app", &[], &names), texts(&["development", "13", "32"]));
    for value in ["development", "production"] {
        home.ok("delete app");
        assert_eq!(env_after(&home, "start app.js", &[("NODE_ENV", value)], &names[..1]), texts(&[value]));
    }
}

/// Document 002: the block of profiles and both commands. Real PM2 rejects the second command,
/// because it does not remember the file.
#[test]
fn profile_is_applied_by_app_name() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("dist/main.js", APP);
    let block = std::fs::read_to_string(fixture_path("config/seeds/profiles.json")).unwrap();
    home.write("ecosystem.config.js", format!("module.exports = {{ apps: [\n{block}\n] }};"));
    let names = ["NODE_ENV", "PORT", "LOG_LEVEL"];
    let production = texts(&["production", "80", "info"]);
    assert_eq!(env_after(&home, "start ecosystem.config.js --env production", &[], &names), production);
    assert_eq!(env_after(&home, "restart api-gateway --env staging", &[], &names), texts(&["staging", "8000", "info"]));
    assert_eq!(env_after(&home, "restart api-gateway --env production", &[], &names), production);
    // The profile belongs to the app from then on.
    assert_eq!(env_after(&home, "restart api-gateway", &[], &names), production);
    home.ok("delete all");
    assert_eq!(env_after(&home, "start ecosystem.config.js", &[], &names), texts(&["development", "30000", "debug"]));
    assert_eq!(env_after(&home, "restart api-gateway --env production", &[], &names), production);
    home.run("restart api-gateway --env productoin").code(1).says("did you mean production?");
    assert_eq!(home.app("api-gateway").text("NODE_ENV"), "production");
}

/// Document 000: the configuration can read variables that Docker injects by `-e` or a file `.env`.
/// Real PM2 reads no `.env`.
#[test]
fn config_can_read_env_injected_by_docker() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("app.js", APP);
    home.write(".env", "# of the image\nFROM_FILE='a value'\nBOTH=file\nHOST=db.internal\n");
    home.write(
        "ecosystem.config.js",
        "module.exports = { apps: [{ name: 'app', script: 'app.js', env_file: '.env', env_expand: true,
           env: { FROM_DOCKER: process.env.INJECTED, BOTH: 'config', URL: 'pg://${HOST}/${INJECTED}' } }] };",
    );
    let names = ["FROM_FILE", "FROM_DOCKER", "INJECTED", "BOTH", "URL"];
    let env = env_after(&home, "start ecosystem.config.js", &[("INJECTED", "by -e")], &names);
    assert_eq!(env, texts(&["a value", "by -e", "by -e", "config", "pg://db.internal/by -e"]));
}
