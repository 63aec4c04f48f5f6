//! The files that ostler ships for Prometheus and Grafana. The rules pass Prometheus's checker and
//! fire when they should. Each query of rules and board finds figures that ostler really exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use ostler_testkit::{Home, Load, LoadSpec, Subject, fixture, free_port, get, needs_program, python_program};
use serde_json::Value;

use crate::prometheus::{prometheus, query};

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).canonicalize().unwrap()
}

fn board() -> Value {
    serde_json::from_str(&fs::read_to_string(example("grafana/ostler.json")).unwrap()).unwrap()
}

/// Returns the names of ostler's metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("ostler_") && *word != "ostler_").map(str::to_owned).collect()
}

/// Returns the queries of the board, unchanged, with the title of the panel.
fn board_queries(board: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (title.clone(), target["expr"].as_str().unwrap().to_owned())).collect()
    };
    let annotations = board["annotations"]["list"].as_array().unwrap().iter();
    let annotations = annotations.map(|one| (one["name"].as_str().unwrap().to_owned(), one["expr"].as_str().unwrap().to_owned()));
    board["panels"].as_array().unwrap().iter().flat_map(of_panel).chain(annotations).collect()
}

/// Returns a query as Grafana sends it if every choice is selected.
fn filled(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$namespace", ".*").replace("$app", ".*")
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[track_caller]
fn promtool(words: &[&str]) {
    let output = Command::new("promtool").args(words).current_dir(example("prometheus")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.to_lowercase().contains("duplicate"), "promtool {words:?}: {said}");
}

/// Returns the values of `key:` in a YAML file of ostler, each on its own line or in a list.
fn values_of(text: &str, key: &str) -> BTreeSet<String> {
    let key = format!("{key}: ");
    text.split(&key).skip(1).map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect()).collect()
}

#[test]
fn every_alert_rule_fires_in_its_test() {
    needs_program!("promtool");
    promtool(&["check", "rules", "ostler.rules.yml"]);
    promtool(&["test", "rules", "ostler.rules.test.yml"]);
    let read = |name: &str| fs::read_to_string(example("prometheus").join(name)).unwrap();
    let (rules, tested) = (values_of(&read("ostler.rules.yml"), "alert"), values_of(&read("ostler.rules.test.yml"), "alertname"));
    assert!(rules.len() > 5 && rules == tested, "without a test: {:?}", rules.difference(&tested));
}

/// The board as Grafana's own library reads it: the library would drop fields that it does not
/// know.
#[test]
fn board_has_only_fields_known_to_grafana() {
    let board = board();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id comes twice");
    let places: Vec<[u64; 4]> =
        panels.iter().map(|panel| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap())).collect();
    for (at, [x, y, w, h]) in places.iter().enumerate() {
        assert!(x + w <= 24, "{:?} is outside", panels[at]["title"]);
        for (other, [ox, oy, ow, oh]) in places.iter().enumerate().skip(at + 1) {
            let apart = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
            assert!(apart, "{:?} lies over {:?}", panels[at]["title"], panels[other]["title"]);
        }
    }
    let variables: BTreeSet<&str> =
        board["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for (title, query) in board_queries(&board) {
        let used = query.split('$').skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap());
        used.for_each(|name| assert!(variables.contains(name) || name.starts_with("__"), "{title}: ${name} is not known"));
    }
    let Some(python) = python_program("python") else { return };
    let script = "import json, sys\nfrom grafana_foundation_sdk.models.dashboard import Dashboard\nfrom grafana_foundation_sdk.cog.encoder import JSONEncoder\n\
        import grafana_foundation_sdk.cog.plugins as plugins\nplugins.register_default_plugins()\n\
        print(json.dumps(Dashboard.from_json(json.load(open(sys.argv[1]))), cls=JSONEncoder))";
    let output = Command::new(python).args(["-c", script]).arg(example("grafana/ostler.json")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("No module named") && !ostler_testkit::on_ci() {
        ostler_testkit::skip!("grafana-foundation-sdk is not installed");
    }
    assert!(output.status.success(), "{error}");
    let known: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut lost = Vec::new();
    compare(&board, &known, "", &mut lost);
    // Fields of Prometheus annotations, which Prometheus's own plugin reads.
    lost.retain(|field| !field.starts_with("/annotations/list/0/titleFormat") && !field.starts_with("/annotations/list/0/step"));
    assert!(lost.is_empty(), "Grafana does not know {lost:#?}");
}

/// Records fields of the first value that are missing or different in the second.
fn compare(ours: &Value, known: &Value, at: &str, lost: &mut Vec<String>) {
    match (ours, known) {
        (Value::Object(ours), Value::Object(known)) => {
            for (key, value) in ours {
                compare(value, known.get(key).unwrap_or(&Value::Null), &format!("{at}/{key}"), lost);
            }
        }
        (Value::Array(ours), Value::Array(known)) if ours.len() == known.len() => {
            ours.iter().zip(known).enumerate().for_each(|(n, (ours, known))| compare(ours, known, &format!("{at}/{n}"), lost));
        }
        // An empty list or table may be left out.
        (Value::Array(list), Value::Null) if list.is_empty() => {}
        (Value::Object(table), Value::Null) if table.is_empty() => {}
        (ours, known) if ours == known => {}
        (ours, known) if ours.as_f64().is_some() && ours.as_f64() == known.as_f64() => {}
        (ours, known) => lost.push(format!("{at}: {ours} became {known}")),
    }
}

/// A real Prometheus scrapes a real dashboard with Node apps under load. Every name is one of
/// ostler's metrics, every query is valid, every panel has figures, and every figure has a panel.
#[test]
fn every_panel_has_figures() {
    needs_program!("prometheus");
    needs_program!("node");
    needs_program!("curl");
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    let (web, port) = (free_port(), free_port());
    home.ok(format!("web enable --port {web}"));
    let token = home.ok("web token prometheus").stdout.trim().to_owned();
    home.write("api.js", format!(
        "require('http').createServer((q, s) => {{ s.statusCode = Math.random() < 0.1 ? 503 : 200; s.end('1'); }}).listen({port}, '127.0.0.1');"
    ));
    home.write(
        "apps.json",
        format!(
            "{{\"apps\": [{{\"name\": \"api\", \"script\": \"api.js\", \"instances\": 2, \"exec_mode\": \"cluster\", \
             \"health\": {{\"liveness\": {{\"tcp\": {port}, \"interval\": \"1s\"}}}}}}]}}"
        ),
    );
    home.ok("start apps.json");
    home.ok(format!("start {} --name plain -- hold", fixture()));
    home.wait_until("it serves", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let load = Load::start_all([LoadSpec { connections: 2, ..LoadSpec::to(port) }]);
    let (_prometheus, own) = prometheus(
        &home,
        &format!("- {{job_name: ostler, authorization: {{credentials: {token}}}, static_configs: [{{targets: ['127.0.0.1:{web}']}}]}}\n"),
    );
    let board = board();
    let queries = board_queries(&board);
    let rules = fs::read_to_string(example("prometheus/ostler.rules.yml")).unwrap();
    let scrape = || {
        let output = Command::new("curl")
            .args(["-sS", "-H", &format!("Authorization: Bearer {token}"), &format!("http://127.0.0.1:{web}/metrics")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    home.wait_until("the workers measure, and answer to checks", || {
        let text = scrape();
        text.contains("ostler_node_http_response_seconds{") && text.contains("ostler_app_healthy{")
    });
    let page = scrape();
    let shown: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    let on_board: BTreeSet<String> = queries.iter().flat_map(|(_, query)| names(query)).collect();
    let variables: BTreeSet<String> = names(&board["templating"].to_string());
    let in_rules: BTreeSet<String> = names(&rules);
    for name in on_board.iter().chain(&variables).chain(&in_rules) {
        assert!(shown.contains(name), "{name} is nothing that we show: {shown:?}");
    }
    assert!(shown.is_subset(&on_board), "without a panel: {:?}", shown.difference(&on_board));
    // Printed as text: each answer is a success and has content.
    let mut empty: BTreeMap<String, String> = BTreeMap::new();
    home.wait_until("each panel has figures", || {
        empty.clear();
        for (title, text) in queries.iter().filter(|(title, _)| title != "Restarts") {
            let text = filled(text);
            let answer = get(own, &format!("/api/v1/query?query={}", percent_encoded(&text))).unwrap_or_default();
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            assert!(answer["status"] != "error", "{title}: {text}: {answer}");
            if answer["data"]["result"].as_array().is_none_or(Vec::is_empty) {
                empty.insert(text, title.clone());
            }
        }
        empty.is_empty()
    });
    assert!(!query(own, "up").is_empty());
    drop(load.stop());
}
