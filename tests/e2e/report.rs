//! `report`: which data it puts into an issue, and which data it leaves out.

use serde_json::Value;

use crate::setup::{ecosystem, home};
use ostler_testkit::fixture;

#[test]
fn report_has_all_sections_and_no_secret() {
    let home = home();
    let nothing = home.ok("report");
    assert!(nothing.stdout.contains("--- Daemon ") && nothing.stdout.contains("not running"), "{nothing}");
    assert!(!home.dir().join("pm2.pid").exists(), "it started a daemon");
    let more =
        r#""name": "api", "args": "hold", "node_args": "t0k3n-of-mine", "env": {"API_TOKEN": "t0k3n-of-mine", "PLAIN": "wh0-knows"}"#;
    let file = ecosystem(&home, &format!(r#""script": "{}", {more}"#, fixture()));
    home.ok(format!("start {file}"));
    let text = home.ok("report").stdout;
    for part in ["--- ostler report ", "--- CLI ", "--- System info ", "kernel", "│ api", "--- Daemon logs ", "App [api:0] online"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = home.ok("report --json").stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["daemon"]["pid"], home.daemon_pid());
    assert_eq!(report["apps"].as_array().map(Vec::len), Some(1), "{json}");
    for secret in ["t0k3n-of-mine", "wh0-knows"] {
        assert!(!text.contains(secret) && !json.contains(secret), "{secret}: {json}");
    }
}

/// Secrets that occur only in a command line.
#[test]
fn report_masks_secrets_in_arguments() {
    let home = home();
    let fixture = fixture();
    let line = ["start", &fixture, "--name", "api", "--", "hold", "--db-password", "hunter22", "--token=abcd", "redis://me:pa55w@h/0"];
    home.ok(line.as_slice());
    let file = ecosystem(&home, &format!(r#""script": "{fixture}", "name": "text", "args": "hold --api-key k3y5 --level 3""#));
    home.ok(format!("start {file}"));
    let (text, json) = (home.ok("report").stdout, home.ok("report --json").stdout);
    assert!(json.contains("--db-password") && json.contains("--level"), "{json}");
    for secret in ["hunter22", "abcd", "pa55w", "k3y5"] {
        assert!(!text.contains(secret) && !json.contains(secret), "{secret}: {json}");
    }
}
