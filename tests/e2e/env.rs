//! The environment of apps, layer by layer.

use ostler_testkit::{Home, fixture};
use serde_json::Value;

use crate::setup::{ecosystem, home, home_as_pm2, read_report};

/// Returns the environment of an app from an ecosystem file with these members, started with these
/// options and variables of the caller.
fn env_of(home: &Home, members: &str, options: &str, caller: &[(&str, &str)]) -> Value {
    let report = home.work().join("r.json");
    drop(std::fs::remove_file(&report));
    let file =
        ecosystem(home, &format!(r#""name": "e", "script": "{}", "args": ["report", "{}"], {members}"#, fixture(), report.display()));
    let command = caller.iter().fold(home.cmd(format!("start {file} {options}")), |command, (name, value)| command.env(name, value));
    command.run().ok();
    read_report(home, "r.json")["env"].clone()
}

#[test]
fn profile_overrides_env_and_env_overrides_caller() {
    let home = home();
    let members = r#""env": {"A": "file", "B": "file", "N": 7, "T": true, "O": {"k": [1]}}, "env_production": {"B": "profile"}"#;
    let env = env_of(&home, members, "--env production", &[("A", "caller"), ("C", "caller")]);
    assert_eq!((&env["A"], &env["B"], &env["C"]), (&"file".into(), &"profile".into(), &"caller".into()));
    assert_eq!((&env["N"], &env["T"], &env["O"]), (&"7".into(), &"true".into(), &"{\"k\":[1]}".into()));
}

#[test]
fn profile_is_applied_by_app_name() {
    // PM2 differs: it refuses `restart <name> --env <profile>`.
    let home = home();
    let env = env_of(&home, r#""env": {"B": "base"}, "env_production": {"B": "profile"}"#, "", &[]);
    assert_eq!(env["B"], "base");
    std::fs::remove_file(home.work().join("r.json")).unwrap();
    home.ok("restart e --env production");
    assert_eq!(read_report(&home, "r.json")["env"]["B"], "profile");
}

#[test]
fn env_option_accepts_variables() {
    // PM2 differs: it takes the text as the name of a profile.
    let home = home();
    let report = home.work().join("r.json");
    home.ok(format!("start {} --name e --env NODE_ENV=development,env1=13,env2=a=b -- report {}", fixture(), report.display()));
    let env = read_report(&home, "r.json")["env"].clone();
    assert_eq!((&env["NODE_ENV"], &env["env1"], &env["env2"]), (&"development".into(), &"13".into(), &"a=b".into()));
}

#[test]
fn filtered_variables_are_not_passed() {
    let home = home();
    let env = env_of(&home, r#""filter_env": ["SECRET", "AWS"]"#, "", &[("MY_SECRET_KEY", "x"), ("AWS_REGION", "y"), ("KEPT", "z")]);
    assert_eq!((env.get("MY_SECRET_KEY"), env.get("AWS_REGION"), &env["KEPT"]), (None, None, &"z".into()));
    let text = home.ok("jlist").stdout;
    assert!(!text.contains("MY_SECRET_KEY"));
}

#[test]
fn env_file_is_parsed_and_not_evaluated() {
    let home = home();
    home.write("settings.env", "# comment\nexport A=plain\nB=\"quoted # text\"\nC='single $HOME'\nD=$(touch evaluated)\n\nE=\n");
    let env = env_of(&home, r#""env_file": "settings.env", "env": {"A": "wins"}"#, "", &[]);
    assert_eq!((&env["A"], &env["B"], &env["C"]), (&"wins".into(), &"quoted # text".into(), &"single $HOME".into()));
    assert_eq!((&env["D"], &env["E"]), (&"$(touch evaluated)".into(), &"".into()));
    assert!(!home.work().join("evaluated").exists());
}

#[test]
fn instance_and_increment_variables_are_numbered() {
    let home = home();
    let script = home.write("p.sh", "#!/bin/sh\necho port $PORT number $NUMBER\nexec sleep 1000\n");
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "p", "script": "{script}", "instances": 3, "exec_mode": "fork", "increment_var": "PORT", "instance_var": "NUMBER", "env": {{"PORT": 3000}}"#
        ),
    );
    home.ok(format!("start {file}"));
    for (id, line) in ["port 3000 number 0\n", "port 3001 number 1\n", "port 3002 number 2\n"].into_iter().enumerate() {
        home.wait_log(&format!("p-out-{id}.log"), line);
    }
}

#[test]
fn append_env_to_name_adds_profile_to_name() {
    let home = home();
    env_of(&home, r#""append_env_to_name": true, "env_staging": {"A": "1"}"#, "--env staging", &[]);
    assert_eq!(home.jlist()[0].name(), "e-staging");
}

#[test]
fn update_env_applies_caller_variables() {
    let home = home();
    let report = home.work().join("r.json");
    home.cmd(format!("start {} --name e -- report {}", fixture(), report.display())).env("V", "1").run().ok();
    assert_eq!(read_report(&home, "r.json")["env"]["V"], "1");
    for (options, wanted) in [("restart e", "1"), ("restart e --update-env", "2")] {
        std::fs::remove_file(&report).unwrap();
        home.cmd(options).env("V", "2").run().ok();
        assert_eq!(read_report(&home, "r.json")["env"]["V"], wanted, "{options}");
    }
}

/// The caller is a service or a worker itself; its app is neither.
#[test]
fn variables_about_the_caller_are_not_passed() {
    let home = home();
    let report = home.work().join("r.json");
    let names = ["NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"];
    let start = format!("start {} --name e -- report {}", fixture(), report.display());
    for command in [start.as_str(), "restart e --update-env"] {
        let _ = std::fs::remove_file(&report);
        names.iter().fold(home.cmd(command).env("V", "1"), |call, name| call.env(*name, "the caller's")).run().ok();
        let report = read_report(&home, "r.json");
        assert_eq!(report["env"]["V"], "1", "{command}");
        for name in names {
            assert_ne!(report["env"][name], "the caller's", "{command}: {name}");
        }
    }
}

#[test]
fn env_key_named_like_an_attribute_changes_no_attribute() {
    // PM2 differs: there the variable overwrites the attribute.
    let home = home();
    let env = env_of(&home, r#""env": {"name": "evil", "status": "evil", "pm_id": "99", "exec_mode": "evil"}"#, "", &[]);
    let item = home.app("e");
    assert_eq!((item.status(), item.text("name"), item.number("pm_id"), item.text("exec_mode")), ("online", "e", 0, "fork_mode"));
    assert!(env["name"].is_string());
}

#[test]
fn pm2_variables_are_injected() {
    let home = home();
    let env = env_of(&home, r#""namespace": "ns""#, "", &[]);
    for (name, value) in [
        ("name", "e"),
        ("namespace", "ns"),
        ("pm_id", "0"),
        ("NODE_APP_INSTANCE", "0"),
        ("exec_mode", "fork_mode"),
        ("status", "launching"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    for name in [
        "pm_exec_path",
        "pm_cwd",
        "pm_out_log_path",
        "pm_err_log_path",
        "pm_pid_path",
        "unique_id",
        "pm_uptime",
        "restart_time",
        "PM2_HOME",
    ] {
        assert!(env[name].is_string(), "{name} is missing");
    }
    assert_eq!(env["PM2_HOME"], *home.dir().to_string_lossy());
}

#[test]
fn daemon_variables_do_not_leak_into_apps() {
    let home = home();
    home.cmd("start sleep --name first -- 1000").env("LEAK_OF_FIRST_CALLER", "x").run().ok();
    let env = env_of(&home, r#""namespace": "ns""#, "", &[]);
    assert!(env.get("LEAK_OF_FIRST_CALLER").is_none() && env.get("OSTLER_ROLE").is_none(), "{env}");
}

#[test]
fn unknown_profile_error_lists_known_profiles() {
    let home = home();
    let file = |more: &str| {
        ecosystem(
            &home,
            &format!(
                r#""name": "e", "script": "sleep", "args": "1000", "env_production": {{"A": "1"}}, "env_staging": {{"A": "2"}}{more}"#
            ),
        )
    };
    let path = file("");
    home.ok(format!("start {path}"));
    let pid = home.app("e").pid();
    for command in
        ["restart e", "reload e", "start e", &format!("start {path}"), &format!("restart {path}"), &format!("startOrReload {path}")]
    {
        let said =
            home.run(format!("{command} --env prodution")).code(2).says("only production, staging").says("did you mean `production`?");
        assert!(!said.all().contains("Applying"), "{said}");
    }
    assert_eq!((home.app("e").pid(), home.app("e").restarts()), (pid, 0), "nothing was restarted");
    // Without the file, the remembered values apply.
    std::fs::remove_file(&path).unwrap();
    home.run("restart e --env prodution").code(2).says("did you mean `production`?");
    home.ok("restart e --env staging");
    // A second app without the profile, beside an app that has it, is not a mistake.
    file(r#"}, {"name": "other", "script": "sleep", "args": "1000""#);
    home.ok(format!("start {path} --env production")).says("warning: no env_production for other: only `env` applies");
    home.ok("restart all --env staging").says("no env_staging for other");
    assert_eq!((home.app("e").text("A"), home.app("other").restarts()), ("2", 1));
}

#[test]
fn pm2_name_warns_about_unknown_profile_and_rejects_typos() {
    let home = home_as_pm2();
    let path = ecosystem(&home, r#""name": "e", "script": "sleep", "args": "1000", "env_production": {"A": "1"}"#);
    home.ok(format!("start {path} --env prodution")).says("[PM2][WARN] Environment [prodution] is not defined in process file");
    home.ok(format!("restart {path} --env prodution"));
    home.ok("restart e --env qa").says("[PM2][WARN] Environment [qa] is not defined in process file");
    home.ok("restart e --env production");
    let app = home.app("e");
    for verb in ["restart", "reload", "start"] {
        home.run(format!("{verb} e --env prodution")).code(1).says("did you mean production?");
    }
    assert_eq!((home.app("e").pid(), home.app("e").text("A")), (app.pid(), "1"));
}

#[test]
fn node_app_gets_process_title() {
    ostler_testkit::needs_program!("node");
    let home = home();
    home.write("app.js", "console.log('I am ' + process.title); setInterval(() => {}, 1000)");
    let file = crate::setup::ecosystem(&home, r#""name": "app", "script": "app.js", "env": {"PROCESS_TITLE": "the api"}"#);
    home.ok(format!("start {file}"));
    home.wait_log("app-out.log", "I am the api");
}

/// In PM2 these variables overwrite the settings that are named like them.
#[test]
fn shell_variable_named_like_an_attribute_is_not_a_setting() {
    let names =
        ["cron_restart", "uid", "kill_timeout", "watch", "name", "instances", "status", "exec_mode", "max_memory_restart", "wait_ready"];
    for home in [home(), home_as_pm2()] {
        let start = home.cmd(format!("start {} --name plain --kill-timeout 900 -- hold", fixture()));
        names.iter().fold(start, |start, name| start.env(name, "77")).run().ok();
        let shown = home.app("plain");
        let attributes: Vec<Value> = names.iter().map(|name| shown.env(name).clone()).collect();
        let (null, text) = (Value::Null, |text: &str| Value::from(text));
        let expected = [
            null.clone(),
            null.clone(),
            900.into(),
            false.into(),
            text("plain"),
            1.into(),
            text("online"),
            text("fork_mode"),
            null.clone(),
            null,
        ];
        assert_eq!(attributes, expected);
        assert!(names.iter().all(|name| shown.env("env")[name] == "77"), "{:?}", shown.env("env"));
        // A saved list restores the same values.
        home.ok("save");
        home.ok("kill");
        home.ok("resurrect");
        let restored = home.wait_status("plain", "online");
        assert_eq!(restored.env("kill_timeout"), &Value::from(900));
        assert!(restored.env("cron_restart").is_null() && restored.env("env")["uid"] == "77");
    }
}

/// Returns a variable of the process, byte for byte.
fn raw_variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    environ.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(prefix.as_bytes())).map(<[u8]>::to_vec)
}

#[test]
fn non_utf8_variables_reach_the_app() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let values: [(&str, &[u8]); 4] =
        [("LATIN", b"caf\xe9"), ("BYTES", b"\xff\x80\xf4\x8f\xbe\x80"), ("PRIVATE", "\u{10FF80}".as_bytes()), ("TEXT", "ä€".as_bytes())];
    let home = home();
    let with =
        |line: &str| values.iter().fold(home.cmd(line), |command, (name, value)| command.env(name, OsStr::from_bytes(value))).run().ok();
    let reach = |pid: i32| {
        for (name, value) in values {
            assert_eq!(raw_variable(pid, name).as_deref(), Some(value), "{name}");
        }
    };
    with(&format!("start {} --name app -- hold", fixture()));
    reach(home.app("app").pid());
    with("restart app --update-env");
    reach(home.app("app").pid());
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    reach(home.wait_status("app", "online").pid());
}

/// Starts the app of a file in which `UNSET` is undefined, and in the profile `production` also
/// `MODE`.
fn undefined_in_file(home: &Home, options: &str) -> (String, impl Fn(&str) -> Option<String>) {
    let text = format!(
        "module.exports = {{ apps: [{{ name: 'app', script: {:?}, args: 'hold', env: {{ UNSET: process.env.ABSENT, MODE: 'file', OTHER: 1 }}, \
         env_production: {{ MODE: undefined }} }}] }}",
        fixture()
    );
    let file = home.write("eco.config.js", text);
    with_shell(home, &format!("start {file} {options}"), "first");
    let seen = |name: &str| raw_variable(home.app("app").pid(), name).map(|value| String::from_utf8(value).unwrap());
    (file, seen)
}

/// Runs a command in a shell that has all variables of the file.
fn with_shell(home: &Home, line: &str, value: &str) {
    ["UNSET", "MODE"].iter().fold(home.cmd(line), |command, name| command.env(name, value)).run().ok();
}

#[test]
fn undefined_variable_in_file_hides_shell_variable() {
    for home in [home(), home_as_pm2()] {
        let (_, seen) = undefined_in_file(&home, "");
        assert_eq!((seen("UNSET"), seen("MODE")), (None, Some("file".into())));
        with_shell(&home, "restart app", "second");
        assert_eq!(seen("UNSET"), None, "a plain restart keeps the variables");
        home.ok("save");
        home.ok("kill");
        home.ok("resurrect");
        home.wait_status("app", "online");
        assert_eq!(seen("UNSET"), None, "a saved app has the variables that it had");
        with_shell(&home, "restart app --update-env", "third");
        assert_eq!((seen("UNSET"), seen("MODE")), (Some("third".into()), Some("third".into())), "the shell wins");
    }
}

#[test]
fn undefined_variable_in_profile_hides_env_and_shell() {
    for home in [home(), home_as_pm2()] {
        let (_, seen) = undefined_in_file(&home, "--env production");
        assert_eq!((seen("UNSET"), seen("MODE")), (None, None));
    }
}

#[test]
fn undefined_variable_applies_in_later_commands_with_file() {
    // PM2 differs: it never removes a variable.
    for verb in ["restart", "reload", "start"] {
        let home = home();
        let (file, seen) = undefined_in_file(&home, "");
        with_shell(&home, "restart app --update-env", "shell");
        assert_eq!(seen("UNSET").as_deref(), Some("shell"));
        with_shell(&home, &format!("{verb} {file} --env production"), "shell");
        assert_eq!((seen("UNSET"), seen("MODE")), (None, None), "{verb}");
        assert_eq!(home.app("app").env("UNSET"), &Value::Null, "the list shows what the app sees");
    }
    let home = home_as_pm2();
    let (file, seen) = undefined_in_file(&home, "");
    with_shell(&home, "restart app --update-env", "shell");
    with_shell(&home, &format!("restart {file} --env production"), "later");
    assert_eq!((seen("UNSET").as_deref(), seen("MODE").as_deref()), (Some("shell"), Some("shell")), "as in PM2");
}

/// PM2 keeps the value that the file once had, even if a later shell has another value.
#[test]
fn pm2_name_keeps_former_value_of_undefined_variable() {
    let home = home_as_pm2();
    let text = format!(
        "module.exports = {{ apps: [{{ name: 'app', script: {:?}, args: 'hold', env: {{ MODE: process.env.TOKEN }} }}] }}",
        fixture()
    );
    let file = home.write("eco.config.js", text);
    home.cmd(format!("start {file}")).env("TOKEN", "file").run().ok();
    let seen = |name: &str| raw_variable(home.app("app").pid(), name).map(|value| String::from_utf8(value).unwrap());
    for verb in ["startOrRestart", "restart", "reload", "start"] {
        for option in ["", " --update-env"] {
            home.cmd(format!("{verb} {file}{option}")).env("MODE", "shell").env("OTHER", verb).run().ok();
            assert_eq!((seen("MODE").as_deref(), seen("OTHER").as_deref()), (Some("file"), Some(verb)), "{verb}{option}");
        }
    }
}

/// A variable that one app of the file hides still reaches the other apps.
#[test]
fn undefined_variable_of_one_app_reaches_other_apps() {
    for home in [home(), home_as_pm2()] {
        let app = |name: &str, more: &str| format!("{{ name: '{name}', script: {:?}, args: 'hold'{more} }}", fixture());
        let apps = [app("hides", ", env: { MODE: process.env.ABSENT }"), app("takes", "")].join(", ");
        let file = home.write("eco.config.js", format!("module.exports = {{ apps: [{apps}] }}"));
        let seen = |app: &str| raw_variable(home.app(app).pid(), "MODE").map(|value| String::from_utf8(value).unwrap());
        home.cmd(format!("start {file}")).env("MODE", "first").run().ok();
        assert_eq!((seen("hides"), seen("takes").as_deref()), (None, Some("first")));
        for verb in ["startOrRestart", "restart", "reload", "start"] {
            home.cmd(format!("{verb} {file}")).env("MODE", verb).run().ok();
            assert_eq!((seen("hides"), seen("takes").as_deref()), (None, Some(verb)));
        }
    }
}

#[test]
fn app_that_never_ran_gets_variables_of_each_command() {
    let home = home_as_pm2();
    let app = |name: &str, env: &str| format!(r#"{{"name": "{name}", "script": "{}", "autostart": false{env}}}"#, fixture());
    let file = home.write("eco.json", format!(r#"{{"apps": [{}, {}]}}"#, app("plain", ""), app("own", r#", "env": {"A": "1"}"#)));
    home.ok(format!("start {file}"));
    for verb in ["startOrReload", "startOrRestart", "reload", "restart", "start"] {
        home.cmd(format!("{verb} {file}")).env("MODE", verb).run().ok();
        let listed = ["plain", "own"].map(|name| home.app(name).env("MODE").clone());
        assert_eq!(listed, [Value::from(verb), Value::Null], "as in PM2, only if the file sets no variables");
    }
}
