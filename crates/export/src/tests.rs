//! Whole exports of realistic files: golden files, and parsed results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ostler_config::{Context, Overlay};
use serde_json::{Value, json};

use crate::*;

/// A folder with files, removed at the end of the test.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ostler-export-{}-{number}", std::process::id())).join("shop");
        for (path, text) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn project(&self, file: &str, profile: Option<&str>) -> Project {
        // The programs of this machine do not matter for the machine of the apps.
        let env = [("PATH".to_owned(), String::new())].into_iter().collect();
        let context = Context { lowest_nice: -20, elsewhere: true, ..Context::new(self.0.clone(), env, 4).unwrap() };
        let loaded = ostler_config::load(&self.0.join(file), file, &context).unwrap_or_else(|problems| panic!("{problems:?}"));
        let overlay = Overlay { profile: profile.map(str::to_owned), ..Overlay::default() };
        let spec = |app| ostler_config::normalize(app, &context, &overlay).unwrap_or_else(|problems| panic!("{problems:?}")).spec;
        let apps = loaded.apps.iter().map(spec).collect();
        let mut folders = BTreeMap::new();
        folder(&self.0, "", &mut folders);
        Project {
            name: "shop".into(),
            dir: self.0.to_str().unwrap().to_owned(),
            apps,
            folders,
            env_files: std::collections::BTreeMap::new(),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn folder(dir: &Path, inside: &str, all: &mut BTreeMap<String, Folder>) {
    let mut own = Folder::default();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            folder(&entry.path(), &project::joined(inside, &name), all);
        }
        own.files.insert(name);
    }
    own.package = std::fs::read_to_string(dir.join("package.json")).ok().and_then(|text| Package::read(&text));
    all.insert(inside.to_owned(), own);
}

/// A shop with common features, and each rare one.
const SHOP: &str = r#"{
  "apps": [
    {
      "name": "api", "script": "dist/main.js", "instances": { "min": 2, "max": 10, "cpu": 70 }, "exec_mode": "cluster",
      "env": { "NODE_ENV": "development", "PORT": 3000, "GREETING": "50% of $HOME {{ x }} \"no\"", "DB_PASSWORD": "hunter2", "CACHE": "redis://redis:6379" },
      "env_production": { "NODE_ENV": "production", "PORT": 8080, "API_TOKEN": "s3cret" },
      "http": { "path": "/health", "interval": "10s" }, "wait_ready": true, "listen_timeout": "20s",
      "max_memory_restart": "400M", "cpu_quota": 150, "kill_timeout": "10s", "cron_restart": "0 4 * * *", "timezone": "Europe/Berlin",
      "depends_on": { "migrate": "completed", "redis": "healthy" }, "watch": true, "error_file": "./logs/error.log"
    },
    {
      "name": "worker", "script": "worker.py", "interpreter": "python3", "instances": 3, "env_file": ".env", "env": { "MODE": "on" },
      "secrets": { "QUEUE_KEY": "./queue.key" }, "max_restarts": 5, "uid": "www-data", "memory_max": "256M", "stop_exit_codes": [0]
    },
    { "name": "migrate", "script": "npm run migrate", "autorestart": false },
    { "name": "Cleanup Job", "script": "clean.js", "job": { "schedule": "30 3 * * MON-FRI", "retries": 2, "timeout": "10m" } },
    { "name": "redis", "script": "redis-server" }
  ]
}"#;

const SHOP_FILES: &[(&str, &str)] = &[
    ("ecosystem.json", SHOP),
    ("package.json", r#"{"scripts": {"build": "tsc", "test": "node --test"}, "engines": {"node": ">=22"}}"#),
    ("package-lock.json", "{}"),
    ("requirements.txt", "redis\n"),
    ("dist/main.js", ""),
    ("worker.py", ""),
    ("clean.js", ""),
    ("queue.key", "k"),
    (".env", "A=1\n"),
    ("bin/redis-server", "#!/bin/sh\n"),
];

/// Returns the apps of the shop; the database server counts as one of the machine, on any test
/// machine.
fn shop(tree: &Tree, profile: Option<&str>) -> Project {
    let text = SHOP.replace("\"redis-server\"", "\"true\"");
    std::fs::write(tree.0.join("ecosystem.json"), text).unwrap();
    let mut project = tree.project("ecosystem.json", profile);
    project.apps[4].script = "/usr/bin/redis-server".into();
    project.apps[4].given.open_mut().insert("script".into(), "redis-server".into());
    project
}

/// Returns all files as one text, without the path of the folder.
fn shown(tree: &Tree, exported: &Exported) -> String {
    let mut out = String::new();
    for file in &exported.files {
        out.push_str(&format!("=== {}\n{}\n", file.path, file.text));
    }
    for notices in &exported.notices {
        out.push_str(&format!("told: {} · {} · {}\n", notices.app, notices.key, notices.why));
    }
    for next in &exported.next {
        out.push_str(&format!("next: {next}\n"));
    }
    let sum = without_sums(&out);
    sum.replace(tree.0.to_str().unwrap(), "/srv/shop")
}

/// Returns the text without checksums, which depend on the path of the folder.
fn without_sums(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = line.split_once(" (sum ").map_or(line, |(line, _)| line);
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn made(project: &Project, target: Target, options: &Options) -> Exported {
    let exported = export(project, target, options).unwrap_or_else(|error| panic!("{error}"));
    let again = export(project, target, options).unwrap();
    assert_eq!(exported, again, "it is the same each time");
    let paths: BTreeSet<&String> = exported.files.iter().map(|file| &file.path).collect();
    assert_eq!(paths.len(), exported.files.len(), "each file once");
    for file in &exported.files {
        assert!(!file.path.starts_with('/') && !file.path.contains(".."), "{}", file.path);
        for secret in ["hunter2", "s3cret"] {
            assert!(!file.text.contains(secret), "{} holds a secret", file.path);
        }
    }
    exported
}

/// Returns the documents of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))).collect()
}

fn file<'a>(exported: &'a Exported, path: &str) -> &'a str {
    let found = exported.files.iter().find(|file| file.path == path);
    &found.unwrap_or_else(|| panic!("no {path} in {:?}", exported.files.iter().map(|file| &file.path).collect::<Vec<_>>())).text
}

#[test]
fn exports_match_snapshots() {
    let tree = Tree::new(SHOP_FILES);
    let (plain, production) = (shop(&tree, None), shop(&tree, Some("production")));
    let host = || Options { host: Some("shop.example.com".into()), ..Options::default() };
    for (name, project, target, options) in [
        ("dockerfile", &production, Target::Dockerfile, Options::default()),
        ("compose", &production, Target::Compose, Options::default()),
        (
            "swarm",
            &production,
            Target::Compose,
            Options { swarm: true, image: Some("registry.example.com/shop".into()), ..Options::default() },
        ),
        ("kubernetes", &production, Target::Kubernetes, Options { network_policy: true, ..host() }),
        ("kustomize", &plain, Target::Kubernetes, Options { form: ManifestForm::Kustomize, ..Options::default() }),
        ("helm", &plain, Target::Kubernetes, Options { form: ManifestForm::Helm, ..host() }),
        ("systemd", &production, Target::Systemd, Options::default()),
        ("nomad", &production, Target::Nomad, Options::default()),
        ("github", &production, Target::GithubActions, Options::default()),
        ("gitlab", &production, Target::GitlabCi, Options::default()),
    ] {
        insta::assert_snapshot!(name, shown(&tree, &made(project, target, &options)));
    }
}

#[test]
fn compose_file_means_the_same_as_the_apps() {
    let tree = Tree::new(SHOP_FILES);
    let exported = made(&shop(&tree, Some("production")), Target::Compose, &Options::default());
    let compose = &documents(file(&exported, "compose.yaml"))[0];
    let api = &compose["services"]["api"];
    // Compose turns two dollar signs into one.
    assert_eq!(api["environment"]["GREETING"].as_str().map(|text| text.replace("$$", "$")).as_deref(), Some("50% of $HOME {{ x }} \"no\""));
    assert_eq!(api["environment"]["DB_PASSWORD"], "${DB_PASSWORD:?is not set}");
    assert_eq!(
        api["depends_on"],
        json!({"migrate": {"condition": "service_completed_successfully"}, "redis": {"condition": "service_healthy"}})
    );
    assert_eq!(compose["services"]["worker"]["environment"]["MODE"], "on");
    assert_eq!(compose["services"]["worker"]["deploy"]["replicas"], 3);
    assert_eq!(compose["services"]["redis"]["image"], "redis:7-alpine");
    // The apps of the image are an ecosystem file without variables and secrets.
    let container = &documents(file(&exported, "ostler.container.yaml"))[0];
    assert_eq!(container["apps"][0]["script"], "/app/dist/main.js");
    assert!(container["apps"].as_array().unwrap().iter().all(|app| app.get("env").is_none() && app.get("secrets").is_none()));
}

#[test]
fn hostile_names_and_values_stay_quoted() {
    let hostile = json!({ "apps": [
        { "name": "a\"; rm -rf / #", "script": "a.js", "args": ["$(touch x)", "{{ fail }}", "%n", "'", "\"", "new\nline", "${X}"],
          "env": { "A": "no", "B": "0755", "C": "1e3", "D": "a\nb\n", "E": "{{ .Values }}", "F": "$$ ${X} $X", "G": "%h", "H": "💥", "I": "'\"\\" } },
        { "name": "订单", "script": "a.js", "namespace": "../..", "env": { "PORT": "80" } },
        { "name": "a---rm-rf", "script": "a.js" }
    ] });
    let tree = Tree::new(&[("ecosystem.json", &hostile.to_string()), ("a.js", "")]);
    let project = tree.project("ecosystem.json", None);
    let env = hostile["apps"][0]["env"].clone();
    for options in [
        Options::default(),
        Options { form: ManifestForm::Kustomize, ..Options::default() },
        Options { form: ManifestForm::Helm, ..Options::default() },
    ] {
        let exported = made(&project, Target::Kubernetes, &options);
        let map = match options.form {
            ManifestForm::Plain => documents(file(&exported, "k8s/a-rm-rf.yaml"))[0]["data"].clone(),
            ManifestForm::Kustomize => documents(file(&exported, "k8s/base/a-rm-rf.yaml"))[0]["data"].clone(),
            ManifestForm::Helm => documents(file(&exported, "helm/shop/values.yaml"))[0]["a-rm-rf"]["env"].clone(),
        };
        assert_eq!(map, env);
        assert_eq!(exported.notices.iter().filter(|notices| notices.key == "name").count(), 3, "{:?}", exported.notices);
    }
    let compose = made(&project, Target::Compose, &Options::default());
    let read = documents(file(&compose, "compose.yaml"))[0]["services"]["a-rm-rf"]["environment"].clone();
    let read: serde_json::Map<String, Value> =
        read.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().replace("$$", "$").into())).collect();
    assert_eq!(Value::from(read), env);
    let units = made(&project, Target::Systemd, &Options::default());
    let unit = file(&units, "systemd/shop-a-rm-rf.service");
    assert!(unit.contains(r#""$$(touch x)" "{{ fail }}" "%%n" "'" "\"" "new\nline" "$${X}""#), "{unit}");
    assert!(unit.contains(r#"Environment="F=$$ ${X} $X""#) && unit.contains(r#"Environment="D=a\nb\n""#), "{unit}");
    for target in Target::ALL {
        made(&project, target.1, &Options::default());
    }
}

/// Returns the keys of a unit as systemd reads it: a line that ends in a backslash continues on the
/// next one.
fn keys_of(unit: &str) -> Vec<String> {
    let (mut keys, mut is_continued) = (Vec::new(), false);
    for line in unit.lines() {
        let is_comment = line.starts_with(['#', ';']);
        if !is_continued && !is_comment && !line.is_empty() {
            let key = line.split_once('=').map_or(line, |(key, _)| key);
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || "[]".contains(c)), "{line:?}");
            keys.push(key.to_owned());
        }
        is_continued = !is_comment && line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
    }
    keys
}

#[test]
fn hostile_value_does_not_swallow_next_unit_directive() {
    let units = |hostile: &str| {
        let value = |plain: &str| format!("{plain}{hostile}");
        let path = |plain: &str| format!("/srv/{}", value(plain));
        let apps = json!({ "apps": [{
            // Such a name is rejected earlier.
            "name": if hostile.contains(char::is_control) { "api".into() } else { value("api") }, "script": path("app"), "interpreter": "none", "args": [value("x"), hostile], "cwd": path("cwd"),
            "env": { "A": value("a") }, "out_file": path("out.log"), "error_file": path("error.log"),
            "secrets": { "KEY": { "file": path("key") } },
            "pre_start": ["/bin/echo", value("hook")], "listen": [path("app.sock")],
        }] });
        let tree = Tree::new(&[("ecosystem.json", &apps.to_string())]);
        let project = tree.project("ecosystem.json", None);
        let exported = made(&project, Target::Systemd, &Options::default());
        let notices: Vec<String> = exported.notices.iter().map(|notices| notices.key.clone()).collect();
        let keys: Vec<String> = exported.files.iter().flat_map(|file| keys_of(&file.text)).collect();
        (keys, notices)
    };
    let (plain, _) = units("");
    // A value that cannot be written is reported, and all other keys are present.
    let of_key = |key: &str| match key {
        "StandardOutput" => Some("out_file"),
        "StandardError" => Some("error_file"),
        "LoadCredential" => Some("secrets"),
        "ListenStream" => Some("listen"),
        "WorkingDirectory" => Some("cwd"),
        _ => None,
    };
    for hostile in [
        "\\",
        " \\",
        "\\\\",
        "\\\\\\",
        "%",
        "%n",
        "$",
        "${HOME}",
        "\"",
        "'",
        ";",
        " ; ",
        "#",
        "\n",
        "\r\nUser=root\n",
        "\t",
        "\u{2028}",
        "💥",
        "@",
        "-",
        "+",
        "!",
    ] {
        let (keys, notices) = units(hostile);
        let expected: Vec<&String> =
            plain.iter().filter(|key| !of_key(key).is_some_and(|of| notices.iter().any(|notices| notices == of))).collect();
        assert_eq!(keys.iter().collect::<Vec<_>>(), expected, "{hostile:?}: {notices:?}");
    }
}

#[test]
fn attributes_without_equivalent_are_reported() {
    let tree = Tree::new(SHOP_FILES);
    let project = shop(&tree, Some("production"));
    let keys = |target| {
        let exported = made(&project, target, &Options::default());
        exported.notices.into_iter().map(|notices| (notices.app, notices.key)).collect::<Vec<_>>()
    };
    let has = |all: &[(String, String)], app: &str, key: &str| all.iter().any(|notices| notices.0 == app && notices.1 == key);
    let kubernetes = keys(Target::Kubernetes);
    for (app, key) in
        [("api", "watch"), ("api", "depends_on"), ("worker", "uid"), ("worker", "stop_exit_codes"), ("Cleanup Job", "timezone")]
    {
        assert!(has(&kubernetes, app, key), "{app} {key}: {kubernetes:?}");
    }
    let systemd = keys(Target::Systemd);
    for (app, key) in [("api", "http"), ("api", "wait_ready"), ("api", "exec_mode")] {
        assert!(has(&systemd, app, key), "{app} {key}: {systemd:?}");
    }
    assert!(!has(&systemd, "worker", "stop_exit_codes"));
}

#[test]
fn host_port_is_published_once() {
    let apps = json!([
        { "name": "a", "script": "a.js", "env": { "PORT": 3000 }, "instances": 2, "exec_mode": "fork" },
        { "name": "b", "script": "a.js", "env": { "PORT": 3001 } },
        { "name": "c", "script": "a.js", "env": { "PORT": 3002 }, "instances": 4 }
    ]);
    let tree = Tree::new(&[("ecosystem.json", &apps.to_string()), ("a.js", "")]);
    let exported = made(&tree.project("ecosystem.json", None), Target::Compose, &Options::default());
    let services = &documents(file(&exported, "compose.yaml"))[0]["services"];
    // Two containers with one port each, an app whose port is already taken, and four processes
    // that share a port.
    assert_eq!((&services["a"]["ports"], &services["a"]["deploy"]["replicas"]), (&json!(["3000-3001:3000"]), &json!(2)));
    assert_eq!((&services["b"]["ports"], &services["b"]["expose"]), (&Value::Null, &json!(["3001"])));
    assert_eq!(services["c"]["ports"], json!(["3002:3002"]));
    assert!(services["c"]["command"].as_array().unwrap().ends_with(&[json!("-i"), json!("4")]));
    assert!(exported.notices.iter().any(|notices| notices.app == "b" && notices.key == "port"));
}

/// An app with a TCP socket and a unix socket, all hooks, and rare settings for restarts, stops and
/// checks.
const EDGE: &str = r#"[{
        "name": "edge", "script": "a.js", "args": ["--fd={fd:web}"], "listen": [{ "port": 8443, "host": "127.0.0.1", "name": "web", "backlog": 64 }, "/run/edge.sock"],
        "pre_start": { "command": ["./prepare", "a b"], "timeout": "5s", "on_failure": "continue" }, "post_start": "./announce $NOW", "pre_stop": ["./leave"],
        "post_stop": "./tidy", "on_crash": "./cry", "exp_backoff_restart_delay": 200, "restart_budget": { "n": 5, "window": "10m" }, "max_lifetime": "1d",
        "ready": "notify", "watchdog": "30s", "sticky": true, "instances": 1, "namespace": "front", "reload_batch": 2, "canary": "30s", "uid": "edge",
        "gid": "edge", "nice": 5, "umask": "027", "rlimits": { "nofile": [1024, "unlimited"] }, "pids_max": 100, "memory_max": "1G", "io_weight": 50,
        "kill_signal": "SIGTERM", "kill_mode": "mixed", "drain_timeout": "20s", "log_rotate": { "max_size": "5M", "retain": 3 }, "autostart": false,
        "health": { "startup": { "tcp": 8443, "interval": "2s" }, "liveness": { "command": ["./alive"], "interval": "15s" }, "readiness": { "http": { "path": "/r", "port": 9000, "method": "HEAD" } } }
}]"#;

/// Sockets, hooks, and the kinds of restart, in units and manifests.
#[test]
fn exports_of_sockets_and_hooks_match_snapshots() {
    let tree = Tree::new(&[("ecosystem.json", EDGE), ("a.js", ""), ("package.json", "{}"), ("yarn.lock", "")]);
    let project = tree.project("ecosystem.json", None);
    for target in [Target::Systemd, Target::Kubernetes, Target::Compose, Target::Nomad] {
        let mut exported =
            made(&project, target, &Options { ostler_image: Some("registry.example.com/ostler:1".into()), ..Options::default() });
        exported.files.retain(|file| file.path != ".dockerignore");
        insta::assert_snapshot!(format!("edge_{}", target.word()), shown(&tree, &exported));
    }
}

#[test]
fn sandbox_is_translated() {
    let app = json!([{
        "name": "api", "script": "a.js", "port": 3000,
        "sandbox": { "profile": "strict", "read_write_paths": ["my data"], "capabilities": ["net_bind_service"], "connect_ports": [5432] }
    }]);
    let tree = Tree::new(&[("ecosystem.json", &app.to_string()), ("a.js", ""), ("package.json", "{}")]);
    let project = tree.project("ecosystem.json", None);
    let compose = made(&project, Target::Compose, &Options::default());
    let service = &documents(file(&compose, "compose.yaml"))[0]["services"]["api"];
    assert_eq!(
        (&service["read_only"], &service["tmpfs"], &service["cap_add"]),
        (&json!(true), &json!(["/tmp"]), &json!(["NET_BIND_SERVICE"]))
    );
    assert!(compose.notices.iter().any(|notice| notice.key == "sandbox"));
    let kubernetes = shown(&tree, &made(&project, Target::Kubernetes, &Options::default()));
    assert!(kubernetes.contains("readOnlyRootFilesystem: true") && kubernetes.contains("NET_BIND_SERVICE"), "{kubernetes}");
    let exported = made(&project, Target::Systemd, &Options::default());
    let unit = shown(&tree, &exported);
    for line in [
        "ProtectSystem=strict",
        "ReadWritePaths=\"",
        "ProtectProc=invisible",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "SocketBindAllow=tcp:3000",
        "SocketBindDeny=tcp",
        "SystemCallFilter=~",
        "RestrictNamespaces=true",
    ] {
        assert!(unit.contains(line), "{line}: {unit}");
    }
    assert!(exported.notices.iter().any(|notice| notice.key == "sandbox"));
}

#[test]
fn directories_with_own_packages_get_own_images() {
    let apps = json!([
        { "name": "users", "script": "main.js", "cwd": "backend/users service" },
        { "name": "orders", "script": "main.js", "cwd": "backend/orders" },
        { "name": "outside", "script": "/bin/true", "cwd": "/" }
    ]);
    let tree = Tree::new(&[
        ("ecosystem.json", &apps.to_string()),
        ("backend/users service/main.js", ""),
        ("backend/users service/package.json", "{}"),
        ("backend/users service/package-lock.json", "{}"),
        ("backend/orders/main.js", ""),
        ("backend/orders/package.json", r#"{"scripts": {"build": "x"}}"#),
        ("backend/orders/pnpm-lock.yaml", ""),
    ]);
    let exported = made(&tree.project("ecosystem.json", None), Target::Dockerfile, &Options::default());
    let users = file(&exported, "Dockerfile.backend-users-service");
    assert!(users.contains("WORKDIR /app/backend/users service\n"), "{users}");
    assert!(users.contains(r#"COPY ["backend/users service/package.json", "backend/users service/package-lock.json", "./"]"#), "{users}");
    assert!(users.contains(r#"CMD ["ostler", "runtime", "ostler.container.yaml", "--only", "users"]"#), "{users}");
    let orders = file(&exported, "Dockerfile.backend-orders");
    assert!(orders.contains("pnpm install --frozen-lockfile\nCOPY . /app/\nRUN pnpm run build"), "{orders}");
    assert!(exported.notices.iter().any(|notices| notices.app == "outside" && notices.key == "cwd"));
}

/// Kubernetes expands words of a command, and a swarm expands values; both must stay text.
#[test]
fn kubernetes_and_swarm_do_not_expand_values() {
    let apps = json!([{ "name": "clean", "script": "a.js", "args": ["$(HOME)", "$HOME", "$$(X)"], "job": "0 3 * * *", "env": { "T": "{{.Node.ID}} $X" } }]);
    let tree = Tree::new(&[("ecosystem.json", &apps.to_string()), ("a.js", "")]);
    let project = tree.project("ecosystem.json", None);
    let exported = made(&project, Target::Kubernetes, &Options::default());
    let pod = &documents(file(&exported, "k8s/clean.yaml"))[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    // Kubernetes turns two dollar signs into one, and keeps a single one before a letter.
    assert_eq!(pod["containers"][0]["command"], json!(["node", "/app/a.js", "$$(HOME)", "$HOME", "$$$$(X)"]));
    let exported = made(&project, Target::Compose, &Options { swarm: true, ..Options::default() });
    let env = &documents(file(&exported, "stack.yaml"))[0]["services"]["clean"]["environment"];
    assert_eq!(env["T"], "{{\"{{\"}}.Node.ID}} $$X");
}

/// The exporting machine needs no build and no installation.
#[test]
fn export_works_if_files_and_programs_are_missing() {
    let apps = json!([
        { "name": "built", "script": "dist/main.js", "cwd": "later", "env_file": ".env.production" },
        { "name": "python", "script": "app.py", "interpreter": "python9" },
        { "name": "pinned", "script": "x.js", "interpreter": "node@20.1" },
        { "name": "typed", "script": "x.tsx" },
        { "name": "broker", "script": "rabbitmq-server" },
        { "name": "shell", "script": "gunicorn app:app -b :8000" }
    ]);
    let tree = Tree::new(&[("ecosystem.json", &apps.to_string())]);
    let project = tree.project("ecosystem.json", None);
    let exported = made(&project, Target::Compose, &Options::default());
    let services = &documents(file(&exported, "compose.yaml"))[0]["services"];
    let dockerfile = |name: &str| services[name]["build"]["dockerfile"].as_str().unwrap_or_default().to_owned();
    for (name, from) in [("built", "node:24"), ("python", "python:3"), ("pinned", "node:20"), ("typed", "node:24"), ("shell", "python:3")] {
        let text = file(&exported, &dockerfile(name));
        assert!(text.contains(&format!("FROM {from}")), "{name}: {text}");
    }
    assert_eq!(services["broker"]["image"], "rabbitmq:4-alpine");
    assert_eq!(services["built"]["env_file"], json!(["./later/.env.production"]));
    let container = &documents(file(&exported, "ostler.container.yaml"))[0]["apps"];
    assert_eq!((&container[0]["script"], &container[0]["cwd"]), (&json!("/app/later/dist/main.js"), &json!("/app/later")));
    // The image provides an interpreter of another name.
    assert_eq!(container[1]["interpreter"], "python9");
}

#[test]
fn invalid_option_values_are_rejected() {
    let tree = Tree::new(&[("ecosystem.json", r#"{"apps": [{"script": "a.js"}]}"#), ("a.js", "")]);
    let project = tree.project("ecosystem.json", None);
    for options in [
        Options { image: Some("a b".into()), ..Options::default() },
        Options { image: Some("-x".into()), ..Options::default() },
        Options { ostler_image: Some("x\nRUN y".into()), ..Options::default() },
        Options { tag: Some("a:b".into()), ..Options::default() },
        Options { host: Some("a..b".into()), ..Options::default() },
        Options { host: Some("{{ x }}".into()), ..Options::default() },
    ] {
        assert!(matches!(export(&project, Target::Kubernetes, &options), Err(ExportError::Value { .. })), "{options:?}");
    }
    assert_eq!(export(&Project::default(), Target::Compose, &Options::default()), Err(ExportError::NoApps));
}

#[test]
fn hundred_apps_are_exported() {
    let apps: Vec<Value> = (0..100).map(|n| json!({"name": format!("app-{n}"), "script": "a.js", "env": {"PORT": 3000 + n}})).collect();
    let tree = Tree::new(&[("ecosystem.json", &json!({ "apps": apps }).to_string()), ("a.js", "")]);
    let exported = made(&tree.project("ecosystem.json", None), Target::Kubernetes, &Options::default());
    assert_eq!(exported.files.len(), 100);
}

/// An app as in the guides to Kubernetes: requests below limits, port 80 for a container's 3000,
/// mirrors in China.
#[test]
fn exports_with_export_settings_match_snapshots() {
    let apps = json!([{
        "name": "myapp", "script": "dist/main.js", "instances": { "min": 2, "max": 10, "cpu": 70 }, "exec_mode": "cluster", "env": { "PORT": 3000 },
        "memory_max": "512M", "cpu_quota": 50, "export": {
            "requests": { "cpu": "200m", "memory": "256M" },
            "mirrors": { "npm": "https://registry.npmmirror.com", "alpine": "mirrors.aliyun.com", "debian": "mirrors.aliyun.com" }
        }
    }]);
    let tree = Tree::new(&[
        ("ecosystem.json", &apps.to_string()),
        ("package.json", r#"{"scripts": {"build": "tsc"}}"#),
        ("pnpm-lock.yaml", ""),
        ("src/main.ts", ""),
        ("test/main.ts", ""),
        ("public/logo.svg", ""),
    ]);
    let project = tree.project("ecosystem.json", None);
    for target in [Target::Kubernetes, Target::Compose] {
        let mut exported = made(&project, target, &Options::default());
        exported.files.retain(|file| file.path != ".dockerignore");
        insta::assert_snapshot!(format!("settings_{}", target.word()), shown(&tree, &exported));
    }
}

#[test]
fn unreachable_autoscale_target_is_reported() {
    let notices = |quota: Option<u32>, request: Option<&str>, cpu: u32| {
        let mut app = json!({ "name": "api", "script": "a.js", "instances": { "min": 2, "max": 9, "cpu": cpu } });
        quota.iter().for_each(|quota| app["cpu_quota"] = json!(quota));
        request.iter().for_each(|request| app["export"] = json!({ "requests": { "cpu": request } }));
        let tree = Tree::new(&[("ecosystem.json", &json!([app]).to_string()), ("a.js", "")]);
        let exported = made(&tree.project("ecosystem.json", None), Target::Kubernetes, &Options::default());
        exported.notices.into_iter().filter(|notices| notices.key == "instances").map(|notices| notices.why).collect::<Vec<_>>().join("")
    };
    for (quota, request, cpu, never) in [
        (Some(50), Some("200m"), 70, false),
        (Some(50), None, 70, false),
        (Some(50), None, 100, true),
        (Some(50), Some("200m"), 250, true),
        (Some(50), Some("200m"), 240, false),
        (None, Some("200m"), 1000, false),
        (None, None, 400, false),
    ] {
        assert_eq!(notices(quota, request, cpu).contains("never scales up"), never, "{quota:?} {request:?} {cpu}");
    }
}

#[test]
fn service_port_follows_app_and_settings() {
    let ports = |app: Value| {
        let tree = Tree::new(&[("ecosystem.json", &json!([app]).to_string()), ("a.js", "")]);
        let exported = made(&tree.project("ecosystem.json", None), Target::Kubernetes, &Options::default());
        let all = documents(file(&exported, "k8s/api.yaml"));
        let service = all.iter().find(|object| object["kind"] == "Service").unwrap();
        let entries = service["spec"]["ports"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| format!("{}={}->{}", entry["name"], entry["port"], entry["targetPort"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    let app = |port: u16, settings: Value| json!({ "name": "api", "script": "a.js", "env": { "PORT": port }, "export": settings });
    assert_eq!(ports(app(3000, json!({}))), ["http=80->http", "port-3000=3000->http"]);
    assert_eq!(ports(app(3000, json!({ "service_port": 8080 }))), ["http=8080->http", "port-3000=3000->http"]);
    assert_eq!(ports(app(3000, json!({ "service_port": 3000 }))), ["http=3000->http"]);
    assert_eq!(ports(app(80, json!({}))), ["http=80->http"]);
    let two = json!({ "name": "api", "script": "a.js", "listen": [3000, 80] });
    assert_eq!(ports(two), ["http=3000->http", "port-80=80->port-80"]);
}

/// A folder that is only partly built, or that has other scripts, is copied as a whole.
#[test]
fn image_copies_build_output_or_whole_directory() {
    let lines = |script: &str, files: &[(&str, &str)]| {
        let apps = json!([{ "name": "api", "script": script }]).to_string();
        let files = [files, &[("ecosystem.json", apps.as_str())]].concat();
        let tree = Tree::new(&files);
        let exported = made(&tree.project("ecosystem.json", None), Target::Dockerfile, &Options::default());
        let text = file(&exported, "Dockerfile").to_owned();
        text.lines().filter_map(|line| Some(line.strip_prefix("COPY --from=build ")?.to_owned())).collect::<Vec<_>>()
    };
    let package = ("package.json", r#"{"scripts": {"build": "tsc"}}"#);
    let built = ["/app/dist /app/dist", "/app/node_modules /app/node_modules", "/app/package.json /app/package.json"];
    assert_eq!(lines("dist/main.js", &[package, ("src/main.ts", "")]), built);
    let with_views = [&built[..], &["/app/views /app/views"]].concat();
    assert_eq!(lines("dist/main.js", &[package, ("views/a.html", "")]), with_views);
    for (script, files) in [
        ("dist/main.js", &[("package.json", "{}")][..]),
        ("server.js", &[package]),
        ("npm run start", &[package]),
        ("dist/main.js", &[package, ("pnpm-workspace.yaml", "")]),
        ("dist/main.js", &[package, ("yarn.lock", ""), (".yarnrc.yml", "")]),
    ] {
        assert_eq!(lines(script, files), ["/app ./"], "{script} {files:?}");
    }
}
