//! With `up` and `import`, compose files have the same meaning as in Compose.

use std::path::PathBuf;

use ostler_testkit::Home;
use serde_json::Value;

use crate::setup::home;

/// Creates a folder with these files.
fn project(home: &Home, files: &[(&str, &str)]) -> PathBuf {
    for (name, text) in files {
        home.write(&format!("shop/{name}"), text);
    }
    home.work().join("shop")
}

fn variables(home: &Home, app: &str) -> Value {
    home.wait_until("the app writes its variables", || home.work().join(format!("shop/{app}.json")).exists());
    let text = std::fs::read_to_string(home.work().join(format!("shop/{app}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A script that writes its variables into a file, all at once.
const WRITES: &str = "const fs = require('fs'); const to = process.argv[2] + '.json';\n\
    fs.writeFileSync(to + '.new', JSON.stringify({...process.env, ARGS: process.argv.slice(3)})); fs.renameSync(to + '.new', to);\n\
    setInterval(() => {}, 1000);\n";

#[test]
fn files_env_files_and_spelling_match_compose() {
    let home = home();
    let folder = project(
        &home,
        &[
            ("writes.js", WRITES),
            (
                "compose.yaml",
                "services:\n  a:\n    command: [node, writes.js, a, NO, 01234, '${TAG}']\n    env_file: [one.env, two.env, {path: none.env, required: false}]\n    environment: {A: y, B: 1e3, C: .inf, PLAIN: here}\n",
            ),
            ("compose.override.yaml", "services:\n  a: {environment: [PLAIN=over]}\n"),
            (".env", "VERSION=1.2\nTAG=app:${VERSION}\nCOMPOSE_PROFILES=extra\n"),
            ("one.env", "X=1\nY=${X}-${NONE:-d}\nZ='${X}'\nLATER=one\n"),
            ("two.env", "LATER=two ${X}\n"),
            (
                "third.yaml",
                "services:\n  a: {environment: [PLAIN=third]}\n  b: {extends: {service: a}, command: [node, writes.js, b], profiles: [extra]}\n",
            ),
        ],
    );
    home.cmd("up -d").cwd(&folder).run().ok();
    let seen = variables(&home, "a");
    for (name, value) in
        [("A", "y"), ("B", "1e3"), ("C", ".inf"), ("PLAIN", "over"), ("X", "1"), ("Y", "1-d"), ("Z", "${X}"), ("LATER", "two 1")]
    {
        assert_eq!(seen[name], value, "{name}");
    }
    assert_eq!(seen["ARGS"], serde_json::json!(["NO", "01234", "app:1.2"]));
    home.cmd("down").cwd(&folder).run().ok();
    std::fs::remove_file(folder.join("a.json")).unwrap();
    home.cmd("up -d -f compose.yaml -f third.yaml").cwd(&folder).run().ok();
    assert_eq!((&variables(&home, "a")["PLAIN"], &variables(&home, "b")["PLAIN"]), (&"third".into(), &"third".into()));
    home.cmd("down").cwd(&folder).run().ok();
    std::fs::remove_file(folder.join("a.json")).unwrap();
    home.cmd("up -d a").env("COMPOSE_FILE", "compose.yaml:third.yaml").env("COMPOSE_PROJECT_NAME", "named").cwd(&folder).run().ok();
    assert_eq!(variables(&home, "a")["PLAIN"], "third");
    assert_eq!(home.jlist()[0].name(), "named-a");
}

#[test]
fn restart_policy_matches_compose() {
    let home = home();
    let folder = project(
        &home,
        &[(
            "compose.yaml",
            "services:\n  a: {command: \"sh -c 'echo run >> a.log; exit 1'\", restart: on-failure:2}\n  b: {command: \"sh -c 'echo run >> b.log; exit 1'\"}\n  c: {command: \"sh -c 'trap \\\"\\\" INT; trap \\\"echo TERM >> c.log; exit\\\" TERM; echo run >> c.log; while :; do sleep 0.1; done'\", healthcheck: {test: 'echo x >> checks; false', interval: 50ms, retries: 1, start_period: 1ms}}\n",
        )],
    );
    home.cmd("up -d").cwd(&folder).run();
    let lines = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default().lines().count();
    home.wait_until("a gives up", || home.app("shop-a").status() == "errored");
    assert_eq!((lines("a.log"), lines("b.log"), home.app("shop-b").status()), (3, 1, "stopped"));
    // A failed check is only reported.
    home.wait_until("the check has failed often", || lines("checks") > 5);
    assert_eq!((home.app("shop-c").status(), lines("c.log")), ("online", 1));
    home.cmd("down").cwd(&folder).run().ok();
    assert_eq!(std::fs::read_to_string(folder.join("c.log")).unwrap(), "run\nTERM\n");
}

#[test]
fn dockerfile_supplies_command_and_image_only_project_fails() {
    let home = home();
    let folder = project(
        &home,
        &[
            ("dist/writes.js", WRITES),
            (
                "Dockerfile",
                "FROM node:20 AS builder\nWORKDIR /app\nCOPY . .\nFROM node:20\nWORKDIR /app\nCOPY --from=builder /app/dist ./dist\nENV NODE_ENV=production\nEXPOSE 3000\nCMD [\"node\", \"dist/writes.js\", \"app\"]\n",
            ),
            ("compose.yaml", "services:\n  app: {build: ., ports: ['8123:3000'], depends_on: [db]}\n  db: {image: 'postgres:15'}\n"),
            ("none.yaml", "services:\n  db: {image: 'postgres:15'}\n"),
        ],
    );
    home.cmd("up -d --scale app=2").cwd(&folder).run().ok();
    let seen = variables(&home, "app");
    assert_eq!((&seen["NODE_ENV"], &seen["PORT"]), (&"production".into(), &"8123".into()));
    assert_eq!(home.jlist().len(), 2);
    home.cmd("up -d --scale db=2").cwd(&folder).run().fails().says("db cannot run here");
    home.cmd("up -d db").cwd(&folder).run().fails().says("postgres:15");
    // `import` uses the same services. `down` finds the project although an ecosystem file exists
    // now.
    home.cmd("import compose").cwd(&folder).run().ok();
    let file = std::fs::read_to_string(folder.join("ecosystem.config.js")).unwrap();
    assert!(file.contains("dist/writes.js") && file.contains("PORT: 8123") && file.contains("SIGTERM"), "{file}");
    home.cmd("down").cwd(&folder).run().ok();
    assert!(home.jlist().is_empty());
    for command in ["import compose none.yaml --out other.config.js", "up -d -f none.yaml"] {
        home.cmd(command).cwd(&folder).run().fails().says("postgres:15");
    }
    assert!(!folder.join("other.config.js").exists());
}
