//! `stats`, `top` and `api/history`: past figures, as the dashboard's process stores them.

use crate::web::Web;
use std::os::unix::fs::PermissionsExt as _;

use ostler_testkit::{Home, kill};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::home;

/// Starts the app `api` with two instances, and an app in another namespace. The dashboard, which
/// is returned, records their figures.
pub fn recorded(home: &Home) -> Web<'_> {
    let script =
        home.write("app.js", "setInterval(() => process.send && process.send({type: 'axm:monitor', data: {queue: {value: 7}}}), 50)");
    home.ok(format!("start {} --name api -i 2", script));
    home.ok(format!("start {} --name other --namespace jobs", script));
    Web::on(home, "--history-mb 16")
}

/// Returns the response as soon as it has this many figures.
pub fn figures_of(web: &Web<'_>, path: &str, count: usize) -> Value {
    let mut answer = Value::Null;
    web.home.wait_until(path, || {
        answer = web.get(path).json();
        answer["figures"].as_array().is_some_and(|list| list.len() >= count)
    });
    answer
}

#[test]
fn the_api_has_figures_by_app_instance_and_namespace() {
    let home = home();
    let web = recorded(&home);
    let figures = |web: &Web<'_>, path: &str| figures_of(web, path, 1);
    let answer = figures(&web, "/api/history?app=api&metric=memory");
    let figure = &answer["figures"][0];
    assert!(figure[2].as_f64().unwrap() > 1e6 && figure[0].as_u64().unwrap() <= answer["to"].as_u64().unwrap(), "{answer}");
    assert!(answer["marks"].as_array().unwrap().iter().any(|mark| mark["kind"] == "online"), "{answer}");
    let host = figures(&web, "/api/history?metric=memory");
    assert!(host["marks"].as_array().unwrap().is_empty());
    figures(&web, "/api/history?app=api&instance=1&metric=memory");
    // An app with a single instance also has figures by instance.
    figures(&web, "/api/history?app=other&instance=2&metric=memory");
    let series = web.get("/api/history/series").json();
    let metrics: Vec<&str> = series["series"].as_array().unwrap().iter().filter_map(|one| one["metric"].as_str()).collect();
    assert!(["cpu", "memory", "restarts", "load"].iter().all(|metric| metrics.contains(metric)), "{series}");
    for (path, status) in [("?app=api", 400), ("?app=none&metric=cpu", 404), ("?app=api&metric=cpu&from=9&to=1", 400)] {
        assert_eq!(web.get(&format!("/api/history{path}")).status, status, "{path}");
    }
    // A token for a namespace shows that namespace only, and nothing of the machine.
    let part = web.with("web token part --namespace jobs");
    figures(&part, "/api/history?app=other&metric=cpu");
    for path in ["?app=api&metric=cpu", "?app=api&namespace=default&metric=cpu", "?metric=cpu"] {
        assert_eq!(part.get(&format!("/api/history{path}")).status, 404, "{path}");
    }
    let series = part.get("/api/history/series").json();
    assert!(series["series"].as_array().unwrap().iter().all(|one| one["namespace"] == "jobs"), "{series}");
    let wrong = Web { token: "wrong".to_owned(), ..web };
    assert_eq!(wrong.get("/api/history?metric=cpu").status, 401);
}

/// Each event is marked once, even if processes are killed, and the mark is still there after a new
/// daemon's ring.
#[test]
fn event_marks_are_kept_once_across_kills() {
    let home = home();
    let web = recorded(&home);
    let path = "/api/history?app=other&metric=memory&from=1";
    figures_of(&web, path, 1);
    for round in 0..6 {
        match round % 3 {
            0 => kill(home.app("ostler-web").pid(), Signal::KILL),
            1 => kill(home.daemon_pid(), Signal::KILL),
            _ => {}
        }
        home.ok("restart other");
    }
    let marks = |kind: &str| {
        let answer = web.get(path).json();
        let times = |mark: &Value| (mark["kind"] == kind).then(|| mark["at"].as_u64().unwrap());
        answer["marks"].as_array().into_iter().flatten().filter_map(times).collect::<Vec<_>>()
    };
    let has_all = |kind: &str, count: usize| home.wait_until(kind, || web.accepts_connections() && marks(kind).len() >= count);
    has_all("online", 7);
    let before = (marks("online"), marks("exit"));
    assert_eq!((before.0.len(), before.1.len()), (7, 6), "{before:?}");
    // The daemon's events are gone, and so is the process that had the marks in memory.
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    home.wait_until("it is back", || {
        web.accepts_connections() && web.get("/api/apps").json()["apps"].as_array().is_some_and(|apps| apps.len() == 2)
    });
    has_all("online", 8);
    assert_eq!(marks("online")[..7], before.0);
}

/// When the dashboard exits, the files contain all records, and the command reads them without the
/// dashboard.
#[test]
fn terminal_shows_figures_after_dashboard_is_off() {
    let home = home();
    let web = recorded(&home);
    // A step is written when it is complete: the first sample of the next step completes it.
    figures_of(&web, "/api/history?app=api&metric=memory&points=2000", 2);
    let folder = home.dir().join("web/history");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    home.ok("web disable");
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let told = home.ok("stats api --since 2h");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("Memory") && line.contains("avg")), "{told:?}");
    assert!(lines.iter().any(|line| line.starts_with("0 queue") && line.contains("max 7")), "{told:?}");
    assert!(told.stderr.contains("web enable"), "{told:?}");
    let data = home.ok("stats api --json").json();
    assert_eq!((data[0]["app"].as_str(), data[0]["namespace"].as_str()), (Some("api"), Some("default")));
    let csv = home.ok("stats other --csv").stdout;
    assert!(csv.starts_with("at,namespace,instance,metric,min,avg,max\n") && csv.contains(",jobs,,cpu,"), "{csv}");
    let top = home.ok("top").stdout;
    let heading: Vec<&str> = top.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "STATE", "CPU", "MEM", "RESTARTS", "UPTIME"], "{top}");
    assert!(top.lines().any(|line| line.starts_with("api ")) && top.lines().any(|line| line.starts_with("other ")), "{top}");
    let top = home.ok("top --json").json();
    assert_eq!(top.as_array().unwrap().len(), 3, "the dashboard itself, too: {top}");
    let unknown = home.run("stats nobody").fails();
    assert!(unknown.stderr.contains("no metrics of nobody yet"), "{unknown:?}");
}

#[test]
fn stats_without_dashboard_suggest_web_enable() {
    let home = home();
    for words in ["stats api", "top"] {
        let told = home.run(words).fails();
        assert!(told.stderr.contains("`ostler web enable`"), "{words}: {told:?}");
    }
    assert!(home.run("stats api --since soon").fails().stderr.contains("--since"));
    assert!(!home.dir().join("web").exists(), "nothing was made");
}
