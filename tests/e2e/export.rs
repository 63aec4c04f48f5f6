//! `export` and `import`: files of other tools, written and read. User edits are never lost, and
//! the exported files work.

use std::process::Command;

use ostler_testkit::{Home, fixture_path, program, python_program, skip};
use serde_json::{Value, json};

use crate::setup::home;

const APPS: &str = r#"{"apps": [{"name": "api", "script": "dist/main.js", "watch": true, "env": {"PORT": 3000}, "env_production": {"PORT": 8080, "API_TOKEN": "hunter2"}}]}"#;

fn export(home: &Home, words: &str, code: i32) -> Value {
    home.run(format!("export {words} --json")).code(code).json()
}

fn steps(answer: &Value) -> Vec<&str> {
    answer["files"].as_array().unwrap().iter().filter_map(|file| file["step"].as_str()).collect()
}

#[test]
fn user_edits_are_never_lost() {
    let home = home();
    let file = home.write("ecosystem.json", APPS);
    let words = format!("compose {file} --env production");
    let compose = home.work().join("compose.yaml");
    // `--check` writes nothing. A missing file counts as a difference.
    assert_eq!(steps(&export(&home, &format!("{words} --check"), 1)), ["create"; 4]);
    assert!(!compose.exists());
    let made = export(&home, &words, 0);
    assert_eq!(steps(&made), ["create"; 4]);
    assert_eq!(made["not_carried"][0]["attribute"], "watch");
    let text = std::fs::read_to_string(&compose).unwrap();
    assert!(text.contains("8080:8080") && !text.contains("hunter2"), "{text}");
    // The files are up to date. The only message is about the attribute without an equivalent.
    assert_eq!(steps(&export(&home, &format!("{words} --check"), 6)), ["same"; 4]);
    // An edit is kept as long as no new content conflicts with it.
    let edited = text.replace("retries: 3", "retries: 7");
    std::fs::write(&compose, &edited).unwrap();
    assert_eq!(steps(&export(&home, &words, 0))[0], "kept");
    assert_eq!(std::fs::read_to_string(&compose).unwrap(), edited);
    // Both sides have changed: only the new text is written, beside the edited file.
    let container = std::fs::read_to_string(home.work().join("ostler.container.yaml")).unwrap();
    home.write("ecosystem.json", APPS.replace("\"watch\": true", "\"kill_timeout\": 9000").replace("8080", "9090"));
    let answer = export(&home, &words, 1);
    assert_eq!(steps(&answer), ["conflict", "waits", "same", "waits"]);
    assert_eq!(std::fs::read_to_string(&compose).unwrap(), edited);
    assert_eq!(std::fs::read_to_string(home.work().join("ostler.container.yaml")).unwrap(), container);
    let new = home.work().join("compose.yaml.new");
    assert!(std::fs::read_to_string(&new).unwrap().contains("9090:9090"));
    // The user replaces the file by the new text, with the edit applied, and exports continue.
    let merged = std::fs::read_to_string(&new).unwrap().replace("retries: 3", "retries: 7");
    std::fs::write(&compose, &merged).unwrap();
    assert_eq!(steps(&export(&home, &words, 0)), ["kept", "replace", "same", "replace"]);
    assert_eq!(std::fs::read_to_string(&compose).unwrap(), merged);
    assert!(home.processes().is_empty(), "a daemon was started");
}

#[test]
fn env_file_lines_with_other_meaning_are_reported() {
    let home = home();
    home.write("api.env", "PLAIN=1\nQUOTED=\"hunter 2\"\nexport EXPORTED=3\nREF=a$HOME\n");
    let file = home.write("eco.json", r#"{"apps": [{"name": "api", "script": "dist/main.js", "env_file": "api.env"}]}"#);
    for (target, expected) in [
        ("kubernetes", "differently: line 2: QUOTED keeps its quotes; line 3: EXPORTED has `export`"),
        ("compose --swarm", "differently: line 2: QUOTED"),
        ("compose", "differently: line 4: REF has a $"),
        ("systemd", "differently: line 3: EXPORTED is not read"),
    ] {
        let answer = export(&home, &format!("{target} {file} --out {}", target.replace(' ', "")), 0);
        let text = answer["not_carried"].to_string();
        assert!(text.contains(expected) && !text.contains("hunter"), "{target}: {text}");
    }
}

#[test]
fn handwritten_files_are_left_alone() {
    let home = home();
    let file = home.write("ecosystem.json", APPS);
    home.write("Dockerfile", "FROM scratch\n");
    assert_eq!(steps(&export(&home, &format!("dockerfile {file}"), 1)), ["conflict", "waits", "waits"]);
    assert_eq!(std::fs::read_to_string(home.work().join("Dockerfile")).unwrap(), "FROM scratch\n");
    // The file is readable for the image's user, whatever the umask.
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&home.work().join("Dockerfile.new").metadata().unwrap().permissions()) & 0o777,
        0o644
    );
}

#[test]
fn typos_get_suggestions() {
    let home = home();
    let file = home.write("ecosystem.json", APPS);
    home.run(format!("export kubernets {file}")).code(2).says("did you mean `kubernetes`?");
    home.run(format!("export compose {file} --app nope")).code(4).says("its apps: api");
    home.run(format!("export compose {file} --env prodution")).code(2).says("did you mean `production`?");
    home.run(format!("export kubernetes {file} --host a..b")).code(1).says("--host");
    home.run("import compose").code(4).says("compose.yaml");
    home.run("import systemd").code(2);
}

/// Imports a Procfile as an ecosystem file, and starts it.
#[test]
fn imported_procfile_runs() {
    let home = home();
    home.write("Procfile", "web: sleep 1000 && echo $PORT\nworker: sleep 2000\n");
    home.ok("import procfile");
    home.run("import procfile").code(1).says("exists already");
    home.ok("start ecosystem.config.js");
    assert_eq!(home.app("web").status(), "online");
    assert_eq!(home.app("worker").status(), "online");
    let environ = std::fs::read(format!("/proc/{}/environ", home.app("web").pid())).unwrap();
    assert!(environ.split(|byte| *byte == 0).any(|line| line == b"PORT=5000"));
}

/// Files included by a supervisor file are read. An optional file of variables may be missing.
#[test]
fn import_reads_included_files() {
    let home = home();
    home.run("import compose - --port 80").code(2).says("only a Procfile needs ports");
    std::fs::create_dir_all(home.work().join("conf.d")).unwrap();
    home.write("supervisord.conf", "[include]\nfiles = conf.d/*.conf\n");
    home.write("conf.d/b.conf", "[program:b]\ncommand=sleep 1000\nenvironment=HERE=%(here)s\n");
    home.write("conf.d/.hidden.conf", "[program:c]\ncommand=sleep 1000\n");
    let imported = home.ok("import supervisor --out - --json");
    let answer = imported.json();
    assert_eq!(answer["apps"][0]["env"]["HERE"], json!(home.work()));
    assert_eq!(answer["apps"].as_array().map(Vec::len), Some(1));
    home.write("api.service", "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nEnvironmentFile=-/nowhere/api.env\n");
    home.ok("import systemd api.service");
    home.ok("start ecosystem.config.js");
    assert_eq!(home.app("api").status(), "online");
    home.write("Procfile", "web: sleep 1000\nworker: sleep 1000\n");
    home.write(".env", "PORT=7000\nA=b # c\n");
    let ports = |words: &str| {
        let answer = home.ok(format!("import procfile --out - --json {words}")).json();
        [0, 1].map(|at: usize| answer["apps"][at]["env"]["PORT"].clone())
    };
    assert_eq!(ports(""), [7000, 7100]);
    assert_eq!(ports("-p 9000"), [9000, 9100]);
    home.run("import procfile --out - -p x").code(2).says("expected a port");
}

/// Compose's own parser reads the exported file with the intended values.
#[test]
fn compose_parses_exported_values() {
    let Some(compose) = python_program("docker-compose") else { skip!("docker-compose is not installed") };
    let home = home();
    let value = "50% of $HOME ${X} {{ y }} \"q\" 'a' no: on # c\nline";
    let apps = json!({ "apps": [{ "name": "api", "script": "a.js", "env": { "PORT": 3000, "TEXT": value, "FLAG": "no", "MODE": "0755", "DB_PASSWORD": "x" } }] });
    let file = home.write("ecosystem.json", apps.to_string());
    home.ok(format!("export compose {file}"));
    let config = |secret: Option<&str>| {
        let mut command = Command::new(&compose);
        command.args(["config", "--format", "json"]).current_dir(home.work()).env_remove("DB_PASSWORD");
        if let Some(secret) = secret {
            command.env("DB_PASSWORD", secret);
        }
        command.output().unwrap()
    };
    // Without the secret, Compose refuses to start and names the missing variable.
    assert!(String::from_utf8_lossy(&config(None).stderr).contains("DB_PASSWORD is missing a value"));
    let output = config(Some("hunter2"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let env = &read["services"]["api"]["environment"];
    // Compose doubles each dollar again, so that its output can be its input.
    assert_eq!(env["TEXT"].as_str().map(|text| text.replace("$$", "$")).as_deref(), Some(value));
    assert_eq!((env["FLAG"].as_str(), env["MODE"].as_str(), env["DB_PASSWORD"].as_str()), (Some("no"), Some("0755"), Some("hunter2")));
}

const SHOP: &str = r#"{"apps": [
    {"name": "api", "script": "dist/main.js", "instances": {"min": 2, "max": 9, "cpu": 70}, "http": {"path": "/health"}, "cron_restart": "0 4 * * *",
     "env": {"PORT": 3000, "API_TOKEN": "x"}, "env_production": {"PORT": 8080}, "max_memory_restart": "300M", "cpu_quota": 50},
    {"name": "worker", "script": "worker.py", "instances": 3, "env_file": ".env", "autostart": false},
    {"name": "clean", "script": "clean.sh", "job": {"schedule": "30 3 * * *", "timeout": "5m", "retries": 2}, "timezone": "Europe/Berlin"},
    {"name": "migrate", "script": "npm run migrate", "autorestart": false},
    {"name": "db", "script": "postgres"}, {"name": "cache", "script": "redis-server"}
]}"#;

/// The schemas of four versions of Kubernetes accept every object and know every field.
#[test]
fn kubernetes_schemas_accept_manifests() {
    let Some(validate) = python_program("kubernetes-validate") else { skip!("kubernetes-validate is not installed") };
    let home = home();
    let file = home.write("ecosystem.json", SHOP);
    let answer = export(&home, &format!("kubernetes {file} --host shop.example.com --network-policy"), 0);
    let paths: Vec<&str> = answer["files"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(paths.len(), 6);
    for version in ["1.25", "1.31", "1.34", "1.37"] {
        let output = Command::new(&validate).args(["--strict", "-k", version]).args(&paths).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // For an unknown kind, the validator only prints a warning.
        assert!(output.status.success() && !said.contains("WARN"), "{version}: {said}");
    }
}

/// kustomize builds the base and the overlay; only the overlay has the profile's values.
#[test]
fn kustomize_overlay_applies_the_profile() {
    // Debian does not package kubectl, so the test runs only on machines that have it.
    let Some(kubectl) = program("kubectl") else { skip!("kubectl is not installed") };
    let home = home();
    let file = home.write("ecosystem.json", SHOP);
    export(&home, &format!("kubernetes {file} --kustomize"), 0);
    let built = |folder: &str| {
        let output = Command::new(&kubectl).args(["kustomize", folder]).current_dir(home.work()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (base, production) = (built("k8s/base"), built("k8s/overlays/production"));
    assert!(base.contains("containerPort: 3000") && !base.contains("8080"), "{base}");
    assert!(production.contains("containerPort: 8080") && !production.contains("containerPort: 3000"), "{production}");
    assert!(production.contains("PORT: \"8080\"") && production.contains("port: 3000"), "{production}");
}

/// helm accepts the chart. Its output with a profile's values matches the schemas.
#[test]
fn helm_renders_the_chart() {
    let (Some(helm), Some(validate)) = (python_program("helm"), python_program("kubernetes-validate")) else {
        skip!("helm or kubernetes-validate is not installed")
    };
    let home = home();
    let file = home.write("ecosystem.json", SHOP);
    let answer = export(&home, &format!("kubernetes {file} --helm --host shop.example.com --network-policy"), 0);
    let paths: Vec<&str> = answer["files"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    let chart = paths.iter().find_map(|path| path.strip_suffix("/Chart.yaml")).unwrap_or_else(|| panic!("no chart: {paths:?}"));
    let says = |words: &[&str]| {
        let output = Command::new(&helm).args(words).current_dir(home.work()).env("HOME", home.work()).output().unwrap();
        assert!(
            output.status.success(),
            "{words:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    says(&["lint", "--strict", chart]);
    let base = says(&["template", "shop", chart]);
    let production = says(&["template", "shop", chart, "--values", &format!("{chart}/values-production.yaml")]);
    assert!(base.contains("containerPort: 3000") && !base.contains("8080"), "{base}");
    assert!(production.contains("containerPort: 8080") && !production.contains("containerPort: 3000"), "{production}");
    let rendered = [home.write("base.yaml", &base), home.write("production.yaml", &production)];
    for version in ["1.25", "1.31", "1.34", "1.37"] {
        let output = Command::new(&validate).args(["--strict", "-k", version]).args(&rendered).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !said.contains("WARN"), "{version}: {said}");
    }
    // Text that looks like a template stays text.
    home.write(
        "braces.json",
        r#"{"apps": [{"name": "api", "script": "date +{{.x}}", "job": {"schedule": "0 3 * * *"}, "env": {"T": "{{ .y }}"}}]}"#,
    );
    export(&home, "kubernetes braces.json --helm --out braces", 0);
    let folder = std::fs::read_dir(home.work().join("braces/helm")).unwrap().next().unwrap().unwrap().path();
    let rendered = says(&["template", "shop", folder.to_str().unwrap()]);
    assert!(["date +{{.x}}", "{{ .y }}"].iter().all(|text| rendered.contains(text)), "{rendered}");
}

/// `examples/export` contains exactly the files that `export` writes.
#[test]
fn export_example_is_up_to_date() {
    let home = home();
    // Names derive from the folder, so the copy keeps the folder's name.
    let copied = Command::new("cp").args(["-r", &fixture_path("../../examples/export")]).arg(home.work()).status().unwrap();
    assert!(copied.success());
    let file = "export/ecosystem.config.js";
    for words in ["compose --env production", "kubernetes --kustomize --host myapp.example.com"] {
        let (target, options) = words.split_once(' ').unwrap();
        let output = home.run(format!("export {target} {file} {options} --check --json"));
        let answer = output.json();
        assert!(steps(&answer).iter().all(|step| *step == "same"), "run `ostler export {words}` in examples/export: {output}");
    }
}
