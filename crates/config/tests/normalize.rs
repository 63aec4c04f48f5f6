//! Options and attributes to specs: scripts, interpreters, environment, directories.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ostler_config::{Context, EnvOption, Overlay, ProblemKind, load_stdin, merge, normalize, select};
use ostler_core::app::{AppSpec, CombinedLog, EnvMap, ExecMode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

mod project;
use project::Project;

#[test]
fn scripts_are_files_programs_or_command_lines() {
    let project = Project::new("scripts");
    let app = project.file("app.js", "");
    let blank = project.file("my app.js", "");
    let npm = project.program("npm", "#!/usr/bin/env node\nx");
    let spec = project.start("app.js", json!({}));
    assert_eq!((spec.script, spec.name, spec.interpreter.as_deref()), (app.clone(), "app".into(), Some("node")));
    assert!(!spec.shell && spec.logs.merge_logs && spec.mode == ExecMode::Fork);
    // A path with a blank is a file if that file exists.
    let spec = project.start("./my app.js", json!({}));
    assert_eq!((spec.script, spec.shell), (blank, false));
    // `npm -- start`
    let spec = project.try_start("npm", json!({}), &["start"]).unwrap().spec;
    assert_eq!((spec.script, spec.interpreter.as_deref(), spec.args), (npm, Some("node"), vec!["start".to_owned()]));
    // A command line.
    let spec = project.start("node app.js && echo done", json!({}));
    assert_eq!(spec.args, ["-c", "node app.js && echo done"]);
    assert_eq!((spec.name.as_str(), spec.shell, spec.interpreter), ("node app", true, None));
    assert!(spec.script.ends_with("/bin/bash"));
    // With arguments after `--`.
    let spec = project.try_start("echo hello", json!({}), &["a b", "$HOME"]).unwrap().spec;
    assert_eq!(spec.args, ["-c", "echo hello \"$@\"", "sh", "a b", "$HOME"]);
    // A program takes precedence over a folder of its name; a folder alone is left to Node.
    fs::create_dir(project.dir.join("npm")).unwrap();
    assert!(project.start("npm", json!({})).script.ends_with("/bin/npm"));
    // A user's own file takes precedence over a program.
    let own = project.file("perl", "");
    assert_eq!(project.start("perl", json!({})).script, own);
    fs::create_dir(project.dir.join("service")).unwrap();
    assert!(project.try_start("service", json!({}), &[]).is_err(), "Node would find nothing in it");
    project.file("service/index.js", "");
    assert_eq!(project.start("service", json!({})).interpreter.as_deref(), Some("node"));
}

#[test]
fn several_instances_behind_a_package_manager_cause_warning() {
    let project = Project::new("several-npm");
    project.file("app.js", "");
    project.program("npm", "#!/usr/bin/env node\nx");
    let told = |script: &str, options: Value| {
        let warnings = project.try_start(script, options, &["start"]).unwrap().warnings;
        warnings.iter().any(|warning| warning.to_string().contains("all but the first fail"))
    };
    assert!(told("npm", json!({"instances": 2, "exec_mode": "fork"})));
    project.program("tsx", "#!/usr/bin/env node\nx");
    assert!(told("app.js", json!({"instances": 2, "exec_interpreter": "tsx", "exec_mode": "fork"})));
    assert!(!told("npm", json!({})), "one has no rival");
    assert!(!told("npm", json!({"instances": 2, "increment_var": "PORT"})), "each has a port of its own");
    for script in ["app.js", "npm"] {
        assert!(!told(script, json!({"instances": 2})), "{script}: cluster mode shares the port");
    }
}

#[test]
fn node_is_recognised_by_its_file() {
    use ostler_core::app::program::ProgramKind;
    let mut project = Project::new("kinds");
    project.file("app.js", "");
    let run = project.program("run", "#!/bin/sh\nexec node \"$@\"\n");
    project.program("node22", "\x7fELF\0\0");
    project.program("engine", "\x7fELF\0 _ZN4node5StartEiPPc\0");
    std::os::unix::fs::symlink(project.dir.join("bin/node22"), project.dir.join("bin/js")).unwrap();
    let kind = |project: &Project, interpreter: &str, mode: &str| {
        project.start("app.js", json!({"exec_interpreter": interpreter, "exec_mode": mode})).program
    };
    for (interpreter, in_cluster, in_fork) in [
        ("node", None, None),
        ("node22", Some(ProgramKind::Node), Some(ProgramKind::Node)),
        ("js", Some(ProgramKind::Node), Some(ProgramKind::Node)),
        ("engine", Some(ProgramKind::Node), None),
        (run.as_str(), Some(ProgramKind::StartsNode), None),
        ("python3", None, None),
    ] {
        assert_eq!(kind(&project, interpreter, "cluster"), in_cluster, "{interpreter}");
        assert_eq!(kind(&project, interpreter, "fork"), in_fork, "{interpreter}");
    }
    // Several instances of it are workers; PM2 decides by the name `node`.
    let several = |project: &Project| project.start("app.js", json!({"exec_interpreter": "node22", "instances": 2})).mode;
    assert_eq!(several(&project), ExecMode::Cluster);
    project.context.as_pm2 = true;
    assert_eq!(several(&project), ExecMode::Fork);
}

#[test]
fn relative_interpreter_resolves_like_a_script() {
    let project = Project::new("relative-interpreter");
    project.file("app/app.js", "");
    project.program("local", "#!/bin/sh\n");
    fs::create_dir_all(project.dir.join("app/tools")).unwrap();
    fs::rename(project.dir.join("bin/local"), project.dir.join("app/tools/local")).unwrap();
    let file = project.file(
        "app/ecosystem.json",
        r#"{"apps": [{"script": "app.js", "interpreter": "./tools/local"}, {"name": "b", "script": "app.js", "interpreter": "tools/local"}]}"#,
    );
    let loaded = ostler_config::load(Path::new(&file), "app/ecosystem.json", &project.context).unwrap();
    let apps: Vec<AppSpec> = loaded.apps.iter().map(|app| normalize(app, &project.context, &Overlay::default()).unwrap().spec).collect();
    let expected = project.dir.join("app/tools/local");
    for app in &apps {
        assert_eq!(app.interpreter.as_deref(), expected.to_str(), "{}", app.name);
    }
    // The folder of the shell.
    let spec = project.start("app/app.js", json!({"exec_interpreter": "app/tools/local"}));
    assert_eq!(spec.interpreter.as_deref(), expected.to_str());
}

#[test]
fn missing_script_or_interpreter_is_an_error_with_its_kind() {
    let project = Project::new("missing");
    project.file("app.js", "");
    project.file("app.rb", "");
    let cases = [
        ("nothing.js", json!({}), ProblemKind::ScriptNotFound, format!("Script not found: {}/nothing.js", project.dir.display())),
        ("", json!({}), ProblemKind::ScriptNotFound, "No script path - aborting".into()),
        ("app.rb", json!({}), ProblemKind::InterpreterNotFound, "the interpreter ruby is not in PATH".into()),
        (
            "app.js",
            json!({"exec_interpreter": "/no/such/node"}),
            ProblemKind::InterpreterNotFound,
            "the interpreter /no/such/node does not exist, or is not executable".into(),
        ),
        (
            "app.js",
            json!({"cwd": "/no/such/dir"}),
            ProblemKind::DirectoryNotFound,
            "--cwd: the directory /no/such/dir does not exist".into(),
        ),
        ("app.js", json!({"max_restarts": "ten"}), ProblemKind::Value, "--max-restarts: expected a number, found \"ten\"".into()),
        (
            "app.js",
            json!({"env_file": ["absent.env"]}),
            ProblemKind::Value,
            format!("--env-file: {}/absent.env: file not found", project.dir.display()),
        ),
    ];
    for (script, options, kind, text) in cases {
        let problems = project.try_start(script, options, &[]).expect_err(script);
        assert_eq!(problems.kind(), Some(kind), "{problems}");
        assert_eq!(problems.to_string().lines().next().unwrap(), text);
    }
    assert!(project.error("app.js", json!({"exec_interpreter": "node@20"})).contains("node@20 is not installed in"));
    assert!(project.error("app.js", json!({"name": "a\nb"})).contains("control characters"));
    assert!(project.error("app.js", json!({"name": "  "})).contains("cannot be blank"));
}

#[test]
fn interpreter_follows_from_extension_and_shebang() {
    let project = Project::new("interpreters");
    let cases: [(&str, &str, Option<&str>, &[&str]); 11] = [
        ("a.mjs", "", Some("node"), &[]),
        ("a.cjs", "", Some("node"), &[]),
        ("a.py", "", Some("python3"), &[]),
        ("a.sh", "", Some("bash"), &[]),
        ("a.pl", "", Some("perl"), &[]),
        ("tool", "#!/usr/bin/env python3\n", Some("python3"), &[]),
        ("tool2", "#!/bin/sh -e\n", Some("/bin/sh"), &["-e"]),
        ("text", "console.log(1)", Some("node"), &[]),
        ("binary", "\x7fELF\0\0\0", None, &[]),
        ("odd", "#!/usr/bin/env -i sh\n", None, &[]),
        ("main.go.out", "\0\0", None, &[]),
    ];
    for (name, text, interpreter, args) in cases {
        project.file(name, text);
        let spec = project.start(&format!("./{name}"), json!({}));
        assert_eq!(
            (spec.interpreter.as_deref(), spec.interpreter_args.as_slice()),
            (interpreter, &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()[..]),
            "{name}"
        );
    }
    assert_eq!(project.start("./a.py", json!({"exec_interpreter": "none"})).interpreter, None);
    assert_eq!(project.start("./a.py", json!({})).env.vars["PYTHONUNBUFFERED"], "1");
    let own = project.start("./tool2", json!({"node_args": "-x"}));
    assert_eq!(own.interpreter_args, ["-e", "-x"]);
    // node@20 through nvm's folder.
    for version in ["v20.9.0", "v20.11.1", "v18.0.0"] {
        let node = project.file(&format!("home/.nvm/versions/node/{version}/bin/node"), "");
        fs::set_permissions(node, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let spec = project.start("./a.mjs", json!({"exec_interpreter": "node@20"}));
    assert!(spec.interpreter.unwrap().ends_with("/v20.11.1/bin/node"));
}

#[test]
fn typescript_uses_an_available_runtime() {
    let project = Project::new("typescript");
    project.file("app.ts", "");
    project.program("node", "#!/bin/sh\necho v20.1.0\n");
    assert!(project.error("app.ts", json!({})).contains("TypeScript apps require bun, Node.js >= 22.6 or deno"));
    project.program("node", "#!/bin/sh\necho v22.7.0\n");
    let spec = project.start("app.ts", json!({}));
    assert_eq!((spec.interpreter.as_deref(), spec.interpreter_args), (Some("node"), vec!["--experimental-strip-types".to_owned()]));
    project.program("node", "#!/bin/sh\necho v24.0.0\n");
    assert!(project.start("app.ts", json!({})).interpreter_args.is_empty());
    project.program("bun", "");
    assert_eq!(project.start("app.ts", json!({})).interpreter.as_deref(), Some("bun"));
}

#[test]
fn mode_follows_from_instances_and_interpreter() {
    let mut project = Project::new("mode");
    project.file("app.js", "");
    project.file("app.py", "");
    project.file("run.sh", "#!/bin/sh\nnode app.js\n");
    let cases = [
        ("app.js", json!({}), ExecMode::Fork, 1),
        ("app.js", json!({"instances": 1}), ExecMode::Cluster, 1),
        ("app.js", json!({"instances": "max"}), ExecMode::Cluster, 4),
        ("app.js", json!({"instances": -1}), ExecMode::Cluster, 3),
        ("app.js", json!({"instances": 2, "exec_mode": "fork_mode"}), ExecMode::Fork, 2),
        ("app.js", json!({"instances": 2, "execute_command": true}), ExecMode::Fork, 2),
        ("app.js", json!({"exec_mode": "cluster"}), ExecMode::Cluster, 1),
        ("app.py", json!({"instances": 3}), ExecMode::Cluster, 3),
        ("app.py", json!({"instances": "max"}), ExecMode::Cluster, 4),
        ("app.py", json!({"instances": {"min": 1, "max": 2}}), ExecMode::Cluster, 1),
        ("app.py", json!({"instances": 1}), ExecMode::Fork, 1),
        ("app.py", json!({"instances": 3, "exec_mode": "fork"}), ExecMode::Fork, 3),
        ("app.py", json!({"instances": 3, "execute_command": true}), ExecMode::Fork, 3),
        ("app.py", json!({"instances": 3, "listen": 8080}), ExecMode::Fork, 3),
        ("app.py", json!({"instances": 3, "increment_var": "PORT"}), ExecMode::Fork, 3),
        ("app.py", json!({"instances": 3, "job": "@daily"}), ExecMode::Fork, 3),
        // Each starts a Node of its own.
        ("run.sh", json!({"instances": 3}), ExecMode::Fork, 3),
    ];
    for (script, options, mode, instances) in cases {
        let spec = project.start(script, options.clone());
        assert_eq!((spec.mode, spec.instances), (mode, instances), "{script} {options}");
        assert_eq!(spec.instances_given, options.get("instances").is_some());
        assert_eq!(spec.logs.merge_logs, mode == ExecMode::Fork && options.get("instances").is_none());
    }
    project.context.as_pm2 = true;
    assert_eq!(project.start("app.py", json!({"instances": 3})).mode, ExecMode::Fork);
}

#[test]
fn environment_is_built_in_layers() {
    let project = Project::new("environment");
    project.file("app.js", "");
    project.file("base.env", "FROM=file\nA=file\nONLY=\"x # y\"\n");
    let app = json!({
        "script": "app.js", "name": "api", "env_file": "base.env", "port": 8080, "append_env_to_name": true, "instance_var": "WHICH",
        "increment_var": "PORT", "env": {"A": "env", "N": null, "B": true, "O": {"x": [1]}, "PORT": 1},
        "env_production": {"A": "production", "P": 1},
    });
    let plain = project.app(app.clone(), &Overlay::default()).spec;
    let merged = plain.env.merged();
    let expect = [
        ("FROM", "file"),
        ("ONLY", "x # y"),
        ("A", "env"),
        ("N", "null"),
        ("B", "true"),
        ("O", r#"{"x":[1]}"#),
        ("PORT", "8080"),
        ("CALLER", "1"),
    ];
    for (name, value) in expect {
        assert_eq!(merged.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(
        (plain.name.as_str(), plain.env.instance_var.as_deref(), plain.env.increment_var.as_deref()),
        ("api", Some("WHICH"), Some("PORT"))
    );
    let production = Overlay { profile: Some("production".into()), ..Overlay::default() };
    let spec = project.app(app.clone(), &production).spec;
    assert_eq!((spec.env.merged()["A"].as_str(), spec.name.as_str()), ("production", "api-production"));
    // Variables of the command line take precedence over the profile.
    let EnvOption::Vars(vars) = EnvOption::parse("A=cli,X=1,2") else { panic!("variables") };
    let spec = project.app(app.clone(), &Overlay { vars, ..production }).spec;
    assert_eq!((spec.env.merged()["A"].as_str(), spec.env.merged()["X"].as_str()), ("cli", "1,2"));
    // A profile that does not exist.
    let unknown = project.app(app, &Overlay { profile: Some("staging".into()), ..Overlay::default() });
    assert_eq!(unknown.warnings[0].kind, ProblemKind::UnknownProfile);
    assert_eq!(unknown.warnings[0].message, "Environment [staging] is not defined in process file");
    assert_eq!(unknown.spec.env.profile, None);
}

#[test]
fn caller_variables_set_options() {
    let mut project = Project::new("variables");
    project.file("app.js", "");
    let vars = [
        ("ASZ_MODE", "1"),
        ("PM2_DEFAULT_LOG_PATH", "spool"),
        ("PM2_DEFAULT_PID_PATH", "/run/p"),
        ("PM2_NODE_OPTIONS", "--a  --b=1"),
        ("PM2_DEEP_MONITORING", ""),
    ];
    std::sync::Arc::make_mut(&mut project.context.env).extend(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let spec = project.start("app.js", json!({"name": "my app", "node_args": ["--c"]}));
    let spool = project.dir.join("spool").display().to_string();
    assert_eq!(spec.logs.out_file, Some(format!("{spool}/my-app-out.log")));
    assert_eq!(spec.logs.error_file, Some(format!("{spool}/my-app-error.log")));
    assert_eq!((spec.logs.log_file, spec.pid_file.as_deref()), (None, Some("/run/p/my-app.pid")));
    assert_eq!(spec.interpreter_args, ["--a", "--b=1", "--c"]);
    assert_eq!((spec.logs.date_format.as_deref(), spec.given.open().get("deep_monitoring")), (Some("YYYY-MM-DDTHH:mm:ss"), None));
    let files = |spec: AppSpec| (spec.logs.out_file.unwrap(), spec.pid_file.unwrap());
    let own = files(project.start("app.js", json!({"name": "订单"})));
    assert_eq!(own, (format!("{spool}/订单-out.log"), "/run/p/订单.pid".into()));
    project.context.as_pm2 = true;
    assert_eq!(files(project.start("app.js", json!({"name": "订单"}))), (format!("{spool}/---out.log"), "/run/p/--.pid".into()));
    project.context.as_pm2 = false;
    // The app's own settings take precedence.
    let own = json!({"out_file": "/x.log", "time": false, "exec_mode": "cluster", "pid_file": "/x.pid", "log_file": "/y.log"});
    let spec = project.start("app.js", own);
    assert_eq!((spec.logs.out_file.as_deref(), spec.pid_file.as_deref(), spec.logs.date_format), (Some("/x.log"), Some("/x.pid"), None));
    assert_eq!((spec.interpreter_args, spec.logs.log_file), (Vec::<String>::new(), Some(CombinedLog::Path("/y.log".into()))));
}

#[test]
fn deploy_variables_fill_gaps_only() {
    let project = Project::new("deploy");
    project.file("app.js", "");
    let text =
        json!({"apps": [{"script": "app.js", "env": {"A": "env"}}], "deploy": {"production": {"env": {"A": "deploy", "D": "deploy"}}}});
    let loaded = load_stdin(text.to_string().as_bytes(), &project.context).unwrap();
    let overlay = Overlay { profile: Some("production".into()), ..Overlay::default() };
    let normalized = normalize(&loaded.apps[0], &project.context, &overlay).unwrap();
    assert_eq!((normalized.spec.env.merged()["A"].as_str(), normalized.spec.env.merged()["D"].as_str()), ("env", "deploy"));
    assert_eq!(normalized.warnings, []);
}

#[test]
fn filter_env_removes_variables_of_the_caller() {
    let mut project = Project::new("filter");
    project.file("app.js", "");
    for name in ["AWS_KEY", "AWS_SECRET", "KEY", "NODE_CHANNEL_FD", "LC_ALL"] {
        std::sync::Arc::make_mut(&mut project.context.env).insert(name.into(), "x".into());
    }
    let names = |app: Value| project.app(app, &Overlay::default()).spec.env.base.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(json!({"script": "app.js"})), ["PATH", "HOME", "CALLER", "AWS_KEY", "AWS_SECRET", "KEY", "LC_ALL"]);
    assert_eq!(names(json!({"script": "app.js", "filter_env": ["AWS"]})), ["PATH", "HOME", "CALLER", "KEY", "LC_ALL"]);
    assert_eq!(names(json!({"script": "app.js", "filter_env": "KEY"})), ["PATH", "HOME", "CALLER", "AWS_KEY", "AWS_SECRET", "LC_ALL"]);
    assert_eq!(names(json!({"script": "app.js", "env_policy": "clean"})), ["PATH", "HOME", "LC_ALL"]);
    // An app without a `PATH` of the caller is still found by its absolute path.
    let told = project.app(json!({"script": "app.js", "filter_env": true}), &Overlay::default());
    assert!(told.warnings[0].message.contains("no effect"));
}

#[test]
fn references_expand_only_if_enabled() {
    let mut project = Project::new("references");
    project.file("app.js", "");
    let dotenv = project.file("x.env", "BASE=/srv\nURL=tcp://${DB_HOST}\n");
    std::sync::Arc::make_mut(&mut project.context.env).insert("DB_HOST".into(), "db".into());
    let app = |more: Value| {
        let mut app = json!({
            "name": "a", "script": "app.js", "env_file": dotenv, "args": ["--db=${DB_HOST}", "$X"],
            "env": {"LOG": "${BASE}/log", "PRICE": "5$$"}, "env_other": {"LOG": "${NOWHERE}"},
        });
        app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        project.app(app, &Overlay::default())
    };
    // As in PM2, values stay unchanged, but one warning reports it.
    let plain = app(json!({}));
    assert_eq!(plain.spec.env.vars["LOG"], "${BASE}/log");
    assert_eq!(plain.warnings.len(), 1);
    assert!(plain.warnings[0].message.contains("env_expand"), "{:?}", plain.warnings);
    assert_eq!(app(json!({"env_expand": false})).warnings, []);
    // This also works with a clean environment: a variable can be passed by name.
    let resolved = app(json!({"env_expand": true, "env_policy": "clean"}));
    assert_eq!(resolved.warnings, []);
    let env = &resolved.spec.env;
    assert_eq!((env.file["URL"].as_str(), env.vars["LOG"].as_str(), env.vars["PRICE"].as_str()), ("tcp://db", "/srv/log", "5$"));
    assert_eq!(resolved.spec.args, ["--db=db", "$X"]);
    assert!(!env.base.contains_key("DB_HOST"));
    let problems = |app: Value| {
        let loaded = load_stdin(json!({"apps": [app]}).to_string().as_bytes(), &project.context).unwrap();
        normalize(&loaded.apps[0], &project.context, &Overlay { profile: Some("p".into()), ..Overlay::default() }).unwrap_err().to_string()
    };
    let told = problems(json!({"name": "a", "script": "app.js", "env_expand": true, "env": {"A": "${B}", "B": "${A}"}, "env_p": {}}));
    assert!(told.contains("refers to itself: A → B → A"), "{told}");
    let told =
        problems(json!({"name": "a", "script": "app.js", "env_expand": true, "env_p": {"A": "${NO:?set NO}"}, "args": "${NEITHER}"}));
    assert!(told.contains("set NO") && told.contains("NEITHER is not set"), "{told}");
}

#[test]
fn cwd_defaults_to_caller_directory_or_config_directory() {
    let project = Project::new("directories");
    let script = project.file("project/app.js", "");
    project.file("project/sub/app.js", "");
    let file = project.file(
        "project/ecosystem.json",
        r#"[{"script": "app.js"}, {"name": "sub", "script": "app.js", "cwd": "sub"}, {"name": "home", "script": "app.js", "cwd": "~/x"}]"#,
    );
    project.file("home/x/app.js", "");
    let loaded = ostler_config::load(Path::new(&file), "project/ecosystem.json", &project.context).unwrap();
    let specs: Vec<AppSpec> = loaded.apps.iter().map(|app| normalize(app, &project.context, &Overlay::default()).unwrap().spec).collect();
    assert_eq!(specs[0].script, script);
    assert_eq!(specs[0].cwd, project.dir.to_string_lossy());
    assert_eq!(specs[0].config_file, Some(file));
    assert!(specs[1].cwd.ends_with("/project/sub") && specs[1].script.ends_with("/project/sub/app.js"));
    assert!(specs[2].cwd.ends_with("/home/x"));
    let folders: Vec<Option<&String>> = specs.iter().map(|spec| spec.env.base.get("PWD")).collect();
    assert_eq!(folders, [None, Some(&specs[1].cwd), Some(&specs[2].cwd)], "`PWD` is the folder of an app that has `cwd`");
    // A file in the caller's directory takes precedence, as in PM2.
    let mine = project.file("app.js", "");
    assert_eq!(normalize(&loaded.apps[0], &project.context, &Overlay::default()).unwrap().spec.script, mine);
}

#[test]
fn log_paths_and_limits_are_normalized() {
    let project = Project::new("logs");
    project.file("app.js", "");
    project.file("package.json", r#"{"version": "3.2.1"}"#);
    let spec = project.start(
        "app.js",
        json!({"out_file": "logs/out.log", "error_file": "NULL", "log_file": true, "pid_file": "~/a.pid", "time": true, "log_date_format": "YY",
               "kill_signal": "SIGTERM", "nice": 20, "umask": "027", "rlimits": {"nofile": [10, "unlimited"]}, "uid": 33, "gid": "www",
               "stop_exit_codes": "0", "ready_timeout_action": "accept", "min_uptime": "5s", "log_type": "json", "port": "80"}),
    );
    assert_eq!(spec.logs.out_file.unwrap(), format!("{}/logs/out.log", project.dir.display()));
    assert_eq!(spec.logs.error_file.as_deref(), Some("/dev/null"));
    assert_eq!(spec.logs.log_file, Some(CombinedLog::Default));
    assert_eq!(spec.pid_file.unwrap(), format!("{}/home/a.pid", project.dir.display()));
    assert_eq!(spec.logs.date_format.as_deref(), Some("YYYY-MM-DDTHH:mm:ss"));
    assert_eq!((spec.stop.signal, spec.limits.nice, spec.limits.umask), (Some(15), Some(19), Some(0o27)));
    assert_eq!(spec.limits.rlimits, [("nofile".to_owned(), Some(10), None)]);
    assert_eq!((spec.uid.as_deref(), spec.gid.as_deref()), (Some("33"), Some("www")));
    assert_eq!(spec.restart.stop_exit_codes, [0]);
    assert!(spec.ready.accept_timeout && spec.logs.json);
    assert_eq!(spec.version.as_deref(), Some("3.2.1"));
    assert_eq!(spec.env.vars["PORT"], "80");
}

#[test]
fn overlay_wins_and_its_namespace_is_a_default() {
    let project = Project::new("overlay");
    project.file("app.js", "");
    let attributes = json!({"max_restarts": "5", "instances": "3"}).as_object().unwrap().clone();
    let overlay = Overlay { namespace: Some("shop".into()), attributes, ..Overlay::default() };
    let spec = project.app(json!({"script": "app.js", "max_restarts": 1}), &overlay).spec;
    assert_eq!((spec.restart.max_restarts, spec.instances, spec.namespace.as_str()), (Some(5), 3, "shop"));
    assert_eq!(project.app(json!({"script": "app.js", "namespace": "own"}), &overlay).spec.namespace, "own");
}

#[test]
fn only_selects_by_name() {
    let project = Project::new("only");
    let text = "apps:\n- {name: a, script: x.js}\n- {script: b.js}\n- {name: c d, script: y.js}\n";
    let apps = load_stdin(text.as_bytes(), &project.context).unwrap().apps;
    let names = |only: &str| select(&apps, only).iter().map(|app| app.name()).collect::<Vec<_>>();
    assert_eq!(names("a,b"), ["a", "b"]);
    assert_eq!(names("b a"), ["a", "b"]);
    assert_eq!(names("c d"), ["c d"]);
    assert_eq!(names("x"), Vec::<String>::new());
}

#[test]
fn merge_changes_named_attributes_only() {
    let project = Project::new("merge");
    project.file("app.js", "");
    let old = project.start("app.js", json!({"max_restarts": 3, "kill_timeout": 9, "merge_logs": false, "args": "a b"}));
    let change = |attributes: Value, args: Option<&[String]>| merge(&old, attributes.as_object().unwrap(), args, &project.context);
    let new = change(json!({"max_restarts": "5", "name": "other"}), None).unwrap().spec;
    let mut expected = old.clone();
    expected.restart.max_restarts = Some(5);
    expected.name = "other".into();
    expected.given.open_mut().insert("max_restarts".into(), 5.into());
    expected.given.open_mut().insert("name".into(), "other".into());
    assert_eq!(new, expected);
    assert_eq!(change(json!({}), Some(&["x y".into()])).unwrap().spec.args, ["x y"]);
    assert_eq!(change(json!({"kill_timeout": "3x"}), None).unwrap_err().to_string().split(':').next(), Some("--kill-timeout"));
    // A command line keeps its text; other arguments replace the old ones.
    let shell = project.try_start("echo a", json!({}), &["1"]).unwrap().spec;
    let new = merge(&shell, &Map::new(), Some(&["2".into()]), &project.context).unwrap().spec;
    assert_eq!(new.args, ["-c", "echo a \"$@\"", "sh", "2"]);
}

#[test]
fn stdin_accepts_every_format() {
    let project = Project::new("stdin");
    let texts = [
        r#"{"apps": [{"name": "x", "script": "a.js"}]}"#,
        "{apps: [{name: 'x', script: 'a' + '.js'}]}",
        "module.exports = {apps: [{name: 'x', script: 'a.js'}]}",
        "// comment\n[{name: 'x', script: 'a.js'}]",
        "apps:\n  - name: x\n    script: a.js\n",
        "[[apps]]\nname = 'x'\nscript = 'a.js'\n",
        "\u{feff}{name: 'x', script: 'a.js'}",
    ];
    for text in texts {
        let loaded = load_stdin(text.as_bytes(), &project.context).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        assert_eq!((loaded.apps[0].name().as_str(), loaded.apps[0].attributes()["script"].as_str()), ("x", Some("a.js")), "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("10s")),
        Just(json!("max")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,8}", inner), 0..4).prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(ostler_config::keys::KEYS).prop_map(|key| key.name.to_owned()),
        1 => Just("env_production".to_owned()),
        1 => ".{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// For an app with any content, the result is an answer and never a panic, and a created spec
    /// has valid values.
    #[test]
    fn normalize_never_panics_and_yields_sound_specs(entries in prop::collection::vec((any_key(), any_value()), 0..12)) {
        let mut app: Map<String, Value> = entries.into_iter().collect();
        app.entry("script").or_insert(json!("/bin/sh"));
        let context = Context::new("/".into(), [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into_iter().collect(), 2).unwrap();
        let text = json!({"apps": [app]}).to_string();
        if let Ok(loaded) = load_stdin(text.as_bytes(), &context) {
            let overlay = Overlay { profile: Some("production".into()), ..Overlay::default() };
            if let Ok(normalized) = normalize(&loaded.apps[0], &context, &overlay) {
                let spec = normalized.spec;
                prop_assert!(spec.instances >= 1 && spec.script.starts_with('/') && spec.cwd.starts_with('/'));
                prop_assert!(!spec.name.contains(char::is_control) && !spec.namespace.is_empty());
                prop_assert!(spec.env.merged().iter().all(|(name, value)| !name.contains(['=', '\0']) && !name.is_empty() && !value.contains('\0')));
                prop_assert!(spec.args.iter().chain(&spec.interpreter_args).all(|arg| !arg.contains('\0')));
            }
        }
    }

    /// The same for a file with any content.
    #[test]
    fn load_stdin_never_panics_on_any_text(text in "[\\[\\]{}:,a-z0-9 \n'\"#=-]{0,80}") {
        let context = Context::new("/".into(), EnvMap::new(), 2).unwrap();
        let _ = load_stdin(text.as_bytes(), &context);
    }
}
