//! Tests every file under `tests/fixtures/config`, good and bad, through the public functions.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ostler_config::{Context, Engine, Loaded, Overlay, ProblemKind, Problems, load, load_stdin, normalize};
use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use serde_json::json;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/config").canonicalize().unwrap()
}

fn context(dir: &Path) -> Context {
    let mut env: EnvMap = [("HOME", "/home/someone"), ("CHANGED", "before"), ("REMOVED", "x"), ("TZ", "UTC")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.insert("PATH".into(), std::env::var("PATH").unwrap());
    env.insert("NODE_PATH".into(), fixtures().join("js/runtime").to_string_lossy().into_owned());
    let mut context = Context::new(dir.to_owned(), env, 4).unwrap();
    context.argv = vec!["ostler".into(), "start".into()];
    context
}

fn read(folder: &str, name: &str) -> Result<Loaded, Problems> {
    let dir = fixtures().join(folder);
    load(&dir.join(name), name, &context(&dir))
}

fn files(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixtures().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns directories that each hold one runtime of this machine, to use as `PATH` together with
/// the system's programs.
fn runtimes() -> Vec<(&'static str, PathBuf)> {
    let found = |name: &'static str| {
        let program = std::env::var("PATH").unwrap().split(':').map(|dir| Path::new(dir).join(name)).find(|file| file.is_file())?;
        let dir = std::env::temp_dir().join(format!("ostler-runtime-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink(program.canonicalize().unwrap(), dir.join(name)).unwrap();
        Some((name, dir))
    };
    ["node", "bun", "deno"].into_iter().filter_map(found).collect()
}

fn node() -> bool {
    runtimes().iter().any(|(name, _)| *name == "node")
}

// --- seeds ---

/// Loads a block of the seeds and makes it startable: script and directory exist.
fn seed(name: &str) -> (Loaded, Vec<AppSpec>) {
    let loaded = read("seeds", name).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let dir = std::env::temp_dir().join(format!("ostler-seed-{}-{}", name.replace('.', "-"), std::process::id()));
    for folder in ["", "dist", "backend/api-gateway/dist", "backend/user-service/dist"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
        for script in ["app.js", "app2.js", "main.js"] {
            std::fs::write(dir.join(folder).join(script), "").unwrap();
        }
    }
    let mut overlay = Overlay::default();
    overlay.attributes.insert("script".into(), "app.js".into());
    let specs = loaded.apps.iter().map(|app| {
        let overlay = if app.attributes().contains_key("script") { Overlay::default() } else { overlay.clone() };
        normalize(app, &context(&dir), &overlay).unwrap_or_else(|problems| panic!("{name}: {problems}")).spec
    });
    let specs = specs.collect();
    std::fs::remove_dir_all(&dir).unwrap();
    (loaded, specs)
}

#[test]
fn every_seed_config_loads() {
    let names = files("seeds");
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let (loaded, specs) = seed(&name);
        assert!(!specs.is_empty(), "{name}");
        assert!(loaded.warnings.iter().all(|warning| warning.kind == ProblemKind::NoEffect), "{name}: {:?}", loaded.warnings);
    }
}

#[test]
fn seed_production_template_normalizes_as_documented() {
    let (_, specs) = seed("production.config.js");
    let [gateway, users] = specs.as_slice() else { panic!("{specs:?}") };
    assert_eq!((gateway.mode, gateway.instances, gateway.instances_given), (ExecMode::Cluster, 4, true));
    assert_eq!((users.mode, users.instances), (ExecMode::Fork, 1));
    assert!(gateway.script.ends_with("/backend/api-gateway/dist/main.js"), "{}", gateway.script);
    assert!(gateway.logs.out_file.as_deref().unwrap().ends_with("/backend/api-gateway/logs/api-gateway-out.log"));
    assert_eq!(gateway.logs.date_format.as_deref(), Some("YYYY-MM-DD HH:mm:ss"));
    assert_eq!(gateway.restart.min_uptime_ms, Some(10_000));
    assert_eq!(gateway.ready.listen_timeout_ms, Some(10_000));
    assert_eq!(gateway.stop.kill_timeout_ms, Some(5000));
    assert_eq!(gateway.given.open()["max_memory_restart"], json!(1 << 30));
    assert_eq!(gateway.given.open()["http"]["path"], "/health");
    assert_eq!(gateway.env.profiles["production"]["PORT"], "30000");
}

#[test]
fn seed_extras_are_kept_for_later() {
    let (_, specs) = seed("limits.json");
    assert_eq!(specs[0].limits.nice, Some(-5));
    assert_eq!(specs[0].given.open()["max_cpu"], 80);
    assert_eq!(specs[0].given.open()["autokill"], true);
    let (_, specs) = seed("error-threshold.json");
    assert_eq!(specs[0].given.open()["error"]["error_threshold"], 50);
    assert_eq!(specs[0].logs.error_file, None);
    assert_eq!(specs[0].env.instance_var.as_deref(), Some("INSTANCE_ID"));
    let (_, specs) = seed("docker-logs.config.js");
    assert_eq!(specs[0].logs.error_file.as_deref(), Some("/proc/1/fd/2"));
    let (_, specs) = seed("two-apps.config.js");
    assert_eq!(specs[0].args, ["arg1", "arg2"]);
}

#[test]
fn keys_without_effect_are_kept_and_reported() {
    let text = r#"
        v8 = true
        event_loop_inspector = true
        deep_monitoring = true
        io = { tracing = true }
    "#;
    let dir = std::env::temp_dir().join(format!("ostler-no-effect-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("app.js"), "").unwrap();
    let file = dir.join("probes.toml");
    std::fs::write(&file, format!("[[apps]]\nscript = \"app.js\"\n{text}")).unwrap();
    let loaded = load(&file, "probes.toml", &context(&dir)).unwrap_or_else(|problems| panic!("{problems}"));
    let app = normalize(&loaded.apps[0], &context(&dir), &Overlay::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let keys: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(" = ")?.0.trim())).collect();
    let warnings: Vec<_> = loaded.warnings.iter().chain(&app.warnings).collect();
    assert!(keys.len() == 4 && warnings.iter().all(|warning| warning.kind == ProblemKind::NoEffect), "{warnings:?}");
    for key in keys {
        assert!(app.spec.given.open().contains_key(key), "{key} is lost: {:?}", app.spec.given);
        assert!(warnings.iter().any(|warning| warning.key == format!("apps[0].{key}")), "no warning for {key}: {warnings:?}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

// --- formats ---

#[test]
fn all_formats_give_the_same_apps() {
    let dir = fixtures().join("formats");
    let specs = |name: &str| -> Vec<AppSpec> {
        let loaded = read("formats", name).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(loaded.warnings, [], "{name}");
        let spec = |app| {
            let spec = normalize(app, &context(&dir), &Overlay::default()).unwrap_or_else(|problems| panic!("{name}: {problems}")).spec;
            AppSpec { config_file: None, ..spec }
        };
        loaded.apps.iter().map(spec).collect()
    };
    let expected = specs("ecosystem.config.js");
    for name in ["ecosystem.json", "ecosystem.json5", "ecosystem.yaml", "ecosystem.toml"] {
        let found = specs(name);
        assert_eq!(found.len(), 2, "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            // Order of keys is the file's own.
            assert_eq!(sorted(found), sorted(expected), "{name}");
        }
    }
    let api = &expected[0];
    assert_eq!(api.restart.max_restarts, Some(0));
    assert!(!api.restart.autorestart);
    assert_eq!(api.env.vars["TAGS"], r#"{"a":1}"#);
    assert_eq!(api.env.vars["DEBUG"], "false");
    assert_eq!(api.version.as_deref(), Some("1.2.3"));
    assert_eq!(expected[1].env.vars["PYTHONUNBUFFERED"], "1");
    assert_eq!(expected[1].logs.date_format.as_deref(), Some("YYYY-MM-DDTHH:mm:ss"));
}

fn sorted(spec: &AppSpec) -> String {
    let open = spec.given.open();
    let mut given: Vec<_> = open.iter().collect();
    given.sort_by_key(|(key, _)| key.to_owned());
    let given = format!("{given:?}");
    format!("{:?} {given}", AppSpec { given: serde_json::Map::new().into(), ..spec.clone() })
}

#[test]
fn package_json_uses_its_pm2_key() {
    let loaded = read("formats", "package.json").unwrap();
    assert_eq!(loaded.apps.len(), 1);
    assert_eq!(loaded.apps[0].path(), "pm2[0]");
}

// --- JavaScript ---

fn outcome(dir: &Path, name: &str, context: &Context) -> Result<String, Problems> {
    let loaded = load(&dir.join(name), name, context)?;
    let apps: Vec<_> = loaded.apps.iter().map(|app| format!("{app:?}")).collect();
    Ok(format!("{:?} {:?} {:?} {}", loaded.env_changes, loaded.warnings, loaded.deploy, apps.join("\n")))
}

/// The embedded engine and every runtime of this machine agree on every fixture of this folder.
fn engines_agree(folder: &str) {
    let dir = fixtures().join(folder);
    for (runtime, path) in runtimes() {
        let mut context = context(&dir);
        // Fixtures may show `PATH` itself, so it is the same for both.
        std::sync::Arc::make_mut(&mut context.env).insert("PATH".into(), path.to_string_lossy().into_owned());
        for name in files(folder).iter().filter(|name| name.contains(".config.") || name.as_str() == "expression.json" || folder == "seeds")
        {
            let run = |engine| outcome(&dir, name, &Context { engine, ..context.clone() });
            let embedded = run(Engine::Embedded).unwrap_or_else(|problems| panic!("embedded {name}: {problems}"));
            let other = run(Engine::Runtime).unwrap_or_else(|problems| panic!("{runtime} {name}: {problems}"));
            for (embedded, other) in embedded.split(", ").zip(other.split(", ")) {
                assert_eq!(embedded, other, "{runtime} {name}");
            }
            assert_eq!(embedded, other, "{runtime} {name}");
        }
    }
}

#[test]
fn both_engines_agree_on_every_fixture() {
    engines_agree("js");
}

#[test]
fn both_engines_agree_on_the_seeds() {
    engines_agree("seeds");
}

#[test]
fn both_engines_agree_in_a_module_package() {
    engines_agree("js/package-module");
}

#[test]
fn typescript_config_is_evaluated_by_bun_or_deno() {
    let dir = fixtures().join("js/typed");
    for (runtime, path) in runtimes().into_iter().filter(|(name, _)| *name != "node") {
        let mut context = context(&dir);
        std::sync::Arc::make_mut(&mut context.env).insert("PATH".into(), path.to_string_lossy().into_owned());
        let loaded = load(&dir.join("ecosystem.config.ts"), "ecosystem.config.ts", &context)
            .unwrap_or_else(|problems| panic!("{runtime}: {problems}"));
        assert_eq!(loaded.apps[0].name(), "typed", "{runtime}");
    }
}

#[test]
fn unsupported_modules_fall_back_to_the_runtime() {
    if !node() {
        return;
    }
    let dir = fixtures().join("js/runtime");
    let with = |engine| Context { engine, ..context(&dir) };
    for name in files("js/runtime").into_iter().filter(|name| name.contains(".config.")) {
        let embedded = outcome(&dir, &name, &with(Engine::Embedded)).expect_err(&name);
        assert!(embedded.to_string().contains("needs a JavaScript runtime"), "{name}: {embedded}");
        let auto = outcome(&dir, &name, &with(Engine::Auto)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(auto, outcome(&dir, &name, &with(Engine::Runtime)).unwrap(), "{name}");
    }
    let loaded = read("js/runtime", "npm.config.js").unwrap();
    assert_eq!(loaded.env_changes, [("FROM_DOTENV".to_owned(), Some("yes".to_owned()))]);
}

#[test]
fn caught_import_error_is_no_failure_without_a_runtime() {
    let dir = fixtures().join("js/runtime");
    let mut context = context(&dir);
    std::sync::Arc::make_mut(&mut context.env).insert("PATH".into(), "/nonexistent".into());
    assert!(load(&dir.join("caught.config.js"), "caught.config.js", &context).is_ok());
    let problems = load(&dir.join("npm.config.js"), "npm.config.js", &context).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "npm.config.js: the module \"fake-dotenv\" needs a JavaScript runtime: neither node, bun nor deno is on PATH"
    );
}

#[test]
fn environment_changes_are_reported() {
    let loaded = read("js", "environment.config.js").unwrap();
    let changes = [("ADDED", Some("7")), ("CHANGED", Some("before!")), ("REMOVED", None)];
    assert_eq!(loaded.env_changes, changes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    let mut context = context(&fixtures());
    context.apply_env_changes(&loaded.env_changes);
    assert_eq!(context.env.get("ADDED").map(String::as_str), Some("7"));
    assert!(!context.env.contains_key("REMOVED"));
}

// --- bad input ---

#[test]
fn bad_files_are_rejected_with_one_line_each() {
    let cases = [
        ("infinite.config.js", ProblemKind::Malformed, "infinite.config.js: time limit: the file did not finish within 2 s"),
        ("memory.config.js", ProblemKind::Malformed, "memory.config.js: memory limit: the file needs more than 128 MiB"),
        ("cyclic.config.js", ProblemKind::Malformed, "cyclic.config.js: TypeError: apps[0].env.SELF refers to itself (cyclic object)"),
        ("server.config.js", ProblemKind::NotApps, "server.config.js: "),
        ("apps-text.config.js", ProblemKind::Value, "apps-text.config.js:1:20: apps: expected a list of apps, found \"api\""),
        (
            "did-you-mean.config.js",
            ProblemKind::NotApps,
            "did-you-mean.config.js:1:20: contains no apps: expected a key `apps` with a list (did you mean `apps` instead of `app`?)",
        ),
        (
            "docker-compose.yml",
            ProblemKind::NotApps,
            "docker-compose.yml: is a compose file: `ostler up` runs it, `ostler import compose` writes an ecosystem file from it",
        ),
        ("empty.json", ProblemKind::Malformed, "empty.json: the file is empty"),
        ("syntax.json", ProblemKind::Malformed, "syntax.json:3:"),
        ("syntax.yaml", ProblemKind::Malformed, "syntax.yaml:3:"),
        ("syntax.toml", ProblemKind::Malformed, "syntax.toml:3:10: "),
        ("throws.config.js", ProblemKind::Malformed, "throws.config.js:4:"),
        ("syntax.config.js", ProblemKind::Malformed, "syntax.config.js:4:"),
        ("recursion.config.js", ProblemKind::Malformed, "recursion.config.js:1:"),
        ("recursive.config.js", ProblemKind::Malformed, "recursive.config.js:1:"),
        ("absent.yaml", ProblemKind::NotFound, "absent.yaml: file not found"),
    ];
    for (name, kind, text) in cases {
        let problems = read("bad", name).expect_err(name);
        assert_eq!(problems.kind(), Some(kind), "{name}: {problems}");
        assert!(problems.to_string().starts_with(text), "{name}: {problems}");
        assert_eq!(problems.to_string().lines().count(), 1, "{name}: {problems}");
    }
}

#[test]
fn config_that_exits_or_never_resolves_is_reported() {
    if node() {
        let problems = read("bad", "exit.config.js").unwrap_err();
        assert_eq!(problems.to_string(), "exit.config.js: node exited before the file was evaluated (exit code 3)");
        let problems = read("bad", "never.config.mjs").unwrap_err();
        assert!(problems.to_string().starts_with("never.config.mjs: node exited before"), "{problems}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    let problems = read("bad", "types.config.js").unwrap_err();
    let expected = [
        "types.config.js:7:7: apps[1].script: expected a string, found a list",
        "types.config.js:8:7: apps[1].max_restarts: expected a number, found \"ten\"",
        "types.config.js:9:7: apps[1].autorestart: expected true or false, found \"false\"",
        "types.config.js:10:7: apps[1].min_uptime: expected a number of milliseconds or a time such as \"3s\", found \"3 weeks\"",
        "types.config.js:11:7: apps[1].exec_mode: expected \"fork\" or \"cluster\" or \"fork_mode\" or \"cluster_mode\", found \"clustr\" (did you mean \"cluster\"?)",
        "types.config.js:12:7: apps[1].env: expected a table of variables, found \"NODE_ENV=production\"",
        "types.config.js:13:25: apps[1].env_production[\"A=B\"]: the name of a variable cannot contain \"=\"",
        "types.config.js:14:7: apps[1].kill_signal: expected a signal, found \"SIGTREM\" (did you mean \"SIGTERM\"?)",
        "types.config.js:15:18: apps[1].rlimits: unknown resource \"nofiles\", did you mean \"nofile\"?",
        "types.config.js:16:7: apps[1].max_restart: unknown key, did you mean `max_restarts`?",
        "types.config.js:17:7: apps[1].watch: read as false; remove the quotes",
        "types.config.js:18:7: apps[1].instances: expected a number from -10000 to 10000 or \"max\" or a table, found 1.5",
    ];
    assert_eq!(problems.to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn positions_are_exact_in_yaml_and_toml() {
    let yaml = read("bad", "types.yaml").unwrap_err().to_string();
    let expected = [
        "types.yaml:4:5: apps[0].max_restarts: expected a number, found \"ten\"",
        "types.yaml:5:5: apps[1].name: the name \"a\" is already used by apps[0] (line 2): give each app its own",
    ];
    assert_eq!(yaml.lines().collect::<Vec<_>>(), expected);
    let toml = read("bad", "types.toml").unwrap_err().to_string();
    let expected = [
        "types.toml:4:1: apps[0].max_restarts: expected a number, found \"ten\"",
        "types.toml:5:1: apps[0].max_restart: unknown key, did you mean `max_restarts`?",
    ];
    assert_eq!(toml.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn proto_keys_are_rejected() {
    let text = read("bad", "proto.json").unwrap_err().to_string();
    let expected = [
        "proto.json:5:5: apps[0].__proto__: this key is not allowed",
        "proto.json:6:14: apps[0].env.__proto__: this key is not allowed",
        "proto.json:7:5: apps[0].maxRestarts: expected a number, found a list",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn hostile_texts_are_rejected() {
    let dir = std::env::temp_dir().join(format!("ostler-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("x"), "").unwrap();
    let huge = format!("{{\"script\": \"x\", \"name\": \"{}\"}}", "a".repeat(2 << 20));
    let larger = " ".repeat(5 << 20);
    let deep = format!("{{\"script\": {}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let cases: [(&str, &[u8], &str); 8] = [
        ("latin1.json", b"{\n\"name\": \"caf\xe9\"}", "latin1.json: line 2: the file is not UTF-8 (byte 0xe9)"),
        ("nul.yaml", b"script: x\nname: a\0b", "nul.yaml: line 2: the file contains a NUL byte"),
        ("nul.json", b"{\"script\": \"a\\u0000b\"}", "nul.json:1:2: script: the string contains a NUL byte"),
        ("huge.json", huge.as_bytes(), "huge.json:1:17: name: the string is longer than 1 MiB"),
        ("larger.json", larger.as_bytes(), "larger.json: the file is larger than 4 MiB"),
        ("deep.json", deep.as_bytes(), "deep.json: nested deeper than 100 levels"),
        ("deep.json5", deep.as_bytes(), "deep.json5: nested deeper than 100 levels"),
        ("text.json", b"\"apps\"", "text.json: expected a table with `apps`, a list of apps or one app, found \"apps\""),
    ];
    for (name, text, expected) in cases {
        std::fs::write(dir.join(name), text).unwrap();
        let problems = load(&dir.join(name), name, &context(&dir)).expect_err(name);
        assert_eq!(problems.to_string(), expected, "{name}");
    }
    let problems = load(&dir, "dir.json", &context(&dir)).unwrap_err();
    assert_eq!(problems.to_string(), "dir.json: cannot read the file: it is a directory");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn strict_turns_warnings_into_errors() {
    let strict = Context { strict: true, ..context(&fixtures()) };
    let problems = load_stdin(br#"[{"script": "app.js", "max_restart": 3}]"#, &strict).unwrap_err();
    assert!(problems.0.iter().all(|problem| problem.is_error()));
}
