//! Restarts and jobs at given times: attributes to specs.
#![allow(clippy::unwrap_used)]

mod project;

use ostler_config::{Overlay, load_stdin, merge, normalize};
use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::cron::{CronSpec, JobSpec, Overlap, RunOn};
use project::Project;
use serde_json::{Value, json};

fn project(name: &str) -> Project {
    let project = Project::new(name);
    project.file("app.js", "");
    project
}

fn restart(pattern: &str) -> CronSpec {
    CronSpec { pattern: pattern.into(), zone: None, overlap: Overlap::Kill, catch_up: false, run_on: RunOn::All, job: None }
}

fn job(pattern: &str) -> CronSpec {
    CronSpec { overlap: Overlap::Skip, run_on: RunOn::One, job: Some(JobSpec::default()), ..restart(pattern) }
}

fn refusal(project: &Project, attributes: Value) -> String {
    let error = project.error("app.js", attributes);
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn file(project: &Project, text: &str) -> Result<Vec<AppSpec>, String> {
    let loaded = load_stdin(text.as_bytes(), &project.context).map_err(|problems| problems.to_string())?;
    let normalized =
        |app| normalize(app, &project.context, &Overlay::default()).map(|app| app.spec).map_err(|problems| problems.to_string());
    loaded.apps.iter().map(normalized).collect()
}

#[test]
fn cron_restart_parses_schedule_and_options() {
    let project = project("cron-restart");
    for (given, spec) in [
        (json!({"cron_restart": "0 3 * * *"}), Some(restart("0 3 * * *"))),
        (json!({"cron_restart": " 2/3 * * * * * "}), Some(restart("2/3 * * * * *"))),
        (json!({"cron_restart": "@daily", "timezone": "UTC"}), Some(CronSpec { zone: Some("UTC".into()), ..restart("@daily") })),
        (
            json!({"cron_restart": "@daily", "overlap": "queue", "catch_up": true, "run_on": "one"}),
            Some(CronSpec { overlap: Overlap::Queue, catch_up: true, run_on: RunOn::One, ..restart("@daily") }),
        ),
        // As in PM2: off.
        (json!({"cron_restart": 0}), None),
        (json!({"cron_restart": "0", "overlap": "skip"}), None),
        (json!({"cron_restart": ""}), None),
        (json!({}), None),
    ] {
        let app = project.start("app.js", given.clone());
        assert_eq!(app.cron.as_deref(), spec.as_ref(), "{given}");
        assert!(app.autostart, "{given}");
    }
    let app = project.app(json!({"script": "app.js", "cron": "0 3 * * *", "cron_timezone": "UTC"}), &Overlay::default());
    assert_eq!(app.spec.cron.as_deref(), Some(&CronSpec { zone: Some("UTC".into()), ..restart("0 3 * * *") }));
    assert_eq!(app.spec.given.open()["cron_restart"], "0 3 * * *");
}

#[test]
fn job_parses_in_every_form() {
    let project = project("cron-job");
    let settings = json!({"schedule": "0 3 * * *", "retries": 2, "retry_delay": "30s", "timeout": "10m", "history": 50});
    let full = JobSpec { retries: 2, retry_delay_ms: 30_000, timeout_ms: Some(600_000), history: 50 };
    for (given, spec) in [
        (json!({"job": "0 3 * * *"}), job("0 3 * * *")),
        (json!({"job": settings}), CronSpec { job: Some(full), ..job("0 3 * * *") }),
        (json!({"job": {"schedule": "@daily", "timeout": 0}}), job("@daily")),
        (
            json!({"job": "@daily", "overlap": "kill", "run_on": "all", "instances": 3}),
            CronSpec { overlap: Overlap::Kill, run_on: RunOn::All, ..job("@daily") },
        ),
    ] {
        let app = project.start("app.js", given.clone());
        assert_eq!(app.cron.as_deref(), Some(&spec), "{given}");
        assert!(!app.autostart && app.is_job() && app.mode == ExecMode::Fork, "{given}");
    }
}

#[test]
fn jobs_parse_at_top_level_and_inside_apps() {
    let project = project("cron-jobs");
    project.file("sub/app.js", "");
    let shop = r#"
        apps:
          - name: shop
            script: app.js
            cwd: sub
            namespace: web
            env: { DB: main, LEVEL: info }
            jobs:
              - { name: clean, cron: "0 3 * * *", command: "bash -c true", retries: 1, env: { LEVEL: debug } }
              - { name: mail, schedule: "@hourly", script: app.js, retryDelay: 5s }
        jobs:
          report: { cron: "@weekly", script: app.js, timezone: UTC }
    "#;
    let apps = file(&project, shop).unwrap();
    assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["shop", "clean", "mail", "report"]);
    assert_eq!(apps[0].cron, None);
    assert_eq!(apps[0].given.open().get("jobs"), None);
    let [clean, mail, report] = [&apps[1], &apps[2], &apps[3]];
    assert_eq!(clean.cron.as_deref(), Some(&CronSpec { job: Some(JobSpec { retries: 1, ..JobSpec::default() }), ..job("0 3 * * *") }));
    assert!(clean.cwd.ends_with("/sub") && clean.namespace == "web" && clean.shell);
    assert_eq!((clean.env.vars["DB"].as_str(), clean.env.vars["LEVEL"].as_str()), ("main", "debug"));
    assert_eq!(
        mail.cron.as_deref(),
        Some(&CronSpec { job: Some(JobSpec { retry_delay_ms: 5000, ..JobSpec::default() }), ..job("@hourly") })
    );
    assert_eq!(report.cron.as_deref(), Some(&CronSpec { zone: Some("UTC".into()), ..job("@weekly") }));
    assert!(!report.cwd.ends_with("/sub"));
    // Only jobs; a single job; one app with jobs.
    assert_eq!(file(&project, r#"{"jobs": [{"name": "a", "cron": "@daily", "script": "app.js"}]}"#).unwrap().len(), 1);
    assert_eq!(file(&project, r#"{"jobs": {"name": "a", "cron": "@daily", "script": "app.js"}}"#).unwrap()[0].name, "a");
    let alone = file(&project, r#"{"script": "app.js", "jobs": [{"name": "a", "cron": "@daily", "command": "bash -c true"}]}"#).unwrap();
    assert_eq!(alone.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["app", "a"]);
}

#[test]
fn wrong_cron_settings_are_reported_with_their_key() {
    let project = project("cron-wrong");
    for (given, message) in [
        (json!({"cron_restart": "60 * * * *"}), r#""60 * * * *" is not a schedule: minute "60": expected 0 to 59"#),
        (json!({"cron_restart": "bad"}), "expected 5 fields (minute hour day month weekday) or 6 (second first), found 1"),
        (json!({"cron_restart": "0 0 31 2 *"}), "no such date exists, it would never run"),
        (json!({"job": "@noon"}), "unknown word \"@noon\""),
        (json!({"job": "@daily", "timezone": "Europe/Berlni"}), "unknown time zone \"Europe/Berlni\", did you mean \"Europe/Berlin\"?"),
        (json!({"cron_restart": 0, "timezone": "../../etc/passwd"}), "unknown time zone"),
        (json!({"job": "@daily", "overlap": "kil"}), "did you mean \"kill\"?"),
        (json!({"job": {"schedul": "@daily"}}), "unknown key `schedul`, did you mean `schedule`?"),
        (json!({"job": {"retries": 1}}), "expected `schedule`: the times at which it runs"),
        (json!({"job": {"schedule": 5}}), "expected `schedule` as a string such as"),
        (json!({"job": {"schedule": "@daily", "retries": -1}}), "expected `retries` as a number from 0 to 1000, found -1"),
        (json!({"job": {"schedule": "@daily", "history": 0}}), "expected `history` as a number from 1 to 100, found 0"),
        (json!({"job": {"schedule": "@daily", "timeout": "soon"}}), "expected `timeout` as milliseconds or a string such as \"10m\""),
        (json!({"job": "@daily", "cron_restart": "@daily"}), "cannot be combined with `cron_restart`"),
        (json!({"job": "@daily", "exec_mode": "cluster"}), "cannot be in cluster mode"),
        (json!({"job": "@daily", "instances": {"min": 1, "max": 2}}), "cannot scale with the load"),
    ] {
        let error = refusal(&project, given.clone());
        assert!(error.contains(message), "{given}: {error}");
    }
    for (text, message) in [
        (r#"{"jobs": 5}"#, "jobs: expected a list of jobs, found 5"),
        (r#"{"jobs": ["x"]}"#, "jobs[0]: expected a job (a table), found \"x\""),
        (r#"{"jobs": [{"name": "a", "script": "app.js", "cron": "99 * * * *"}]}"#, "jobs[0].job"),
        (r#"{"apps": [{"script": "app.js", "jobs": [{"name": "a", "script": "app.js"}]}]}"#, "apps[0].jobs[0].job"),
        (
            r#"{"apps": [{"script": "app.js", "jobs": [{"name": "app", "script": "app.js", "cron": "@daily"}]}]}"#,
            "the name \"app\" is already used by apps[0]",
        ),
    ] {
        let error = file(&project, text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn suspicious_cron_settings_cause_warnings() {
    let project = project("cron-warning");
    for (given, warning) in [
        (json!({"cron_restart": "0 0 13 * 5"}), Some("both must match")),
        (json!({"overlap": "kill"}), Some("has no effect without `cron_restart` or `job`")),
        (json!({"overlap": "kill", "cron_restart": 0}), None),
        (json!({"cron_restart": "0 0 13 * *"}), None),
    ] {
        let warnings = project.try_start("app.js", given.clone(), &[]).unwrap().warnings;
        assert_eq!(warnings.len(), usize::from(warning.is_some()), "{given}: {warnings:?}");
        assert!(warning.is_none_or(|text| warnings[0].to_string().contains(text)), "{given}: {warnings:?}");
    }
}

#[test]
fn merge_applies_cron_options_to_existing_app() {
    let project = project("cron-merge");
    let app = project.start("app.js", json!({"cron_restart": "@daily", "timezone": "UTC"}));
    let merged = |given: Value| merge(&app, given.as_object().unwrap(), None, &project.context).unwrap().spec.cron;
    assert_eq!(merged(json!({"max_restarts": 3})), app.cron);
    assert_eq!(merged(json!({"cron_restart": "0"})), None);
    assert_eq!(merged(json!({"cron_restart": "@hourly"})).as_deref(), Some(&CronSpec { zone: Some("UTC".into()), ..restart("@hourly") }));
    let job = project.start("app.js", json!({"job": "@daily"}));
    let other = merge(&job, json!({"job": "@hourly"}).as_object().unwrap(), None, &project.context).unwrap().spec;
    assert_eq!(other.cron.unwrap().pattern, "@hourly");
}
