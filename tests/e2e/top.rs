//! `top`: live on a real terminal, once in any other place, with past figures and without.

use ostler_testkit::{Terminal, fixture, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};
use crate::stats::{figures_of, recorded};

/// Returns the names on the screen, from the top.
fn names(screen: &str) -> Vec<String> {
    screen
        .lines()
        .skip(2)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with("app-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn live_top_works_without_the_dashboard() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app-idle", "", "hold");
    let busy = home.write("busy.sh", "#!/bin/sh\nwhile :; do :; done\n");
    home.ok(format!("start {busy} --name app-busy"));
    let mut terminal = Terminal::open(&home, "top", 100, 24);
    terminal.wait_for("no history: the dashboard is off");
    terminal.wait_until("the busy one is the first", |screen| names(screen) == ["app-busy", "app-idle"] && screen.contains("by cpu"));
    terminal.press("n");
    terminal.wait_until("by name", |screen| names(screen) == ["app-busy", "app-idle"] && screen.contains("by name"));
    terminal.press("n");
    terminal.wait_until("by name, turned round", |screen| names(screen) == ["app-idle", "app-busy"] && screen.contains("by name reversed"));
    // Changes appear while it runs.
    start_fixture(&home, "app-later", "", "hold");
    terminal.wait_until("the third one", |screen| names(screen).contains(&"app-later".to_owned()));
    home.ok("stop app-later");
    terminal.wait_for("○ stopped");
    home.ok("scale app-idle 3");
    terminal.wait_for("app-idle ×3");
    terminal.press("a");
    terminal.wait_until("each instance has a row", |screen| names(screen).iter().filter(|name| *name == "app-idle").count() == 3);
    terminal.press("a");
    terminal.press("?");
    terminal.wait_for("one row per instance");
    terminal.press("?");
    terminal.resize(20, 8);
    terminal.wait_until("it fits", |screen| names(screen).len() == 3 && screen.lines().all(|line| line.chars().count() <= 20));
    home.ok("kill");
    terminal.wait_until("nobody answers", |screen| names(screen).is_empty());
    terminal.press("q");
    assert!(terminal.end().success());
    terminal.assert_restored();
}

#[test]
fn terminal_is_restored_on_every_exit() {
    needs_program!("setsid");
    let home = home();
    start_fixture(&home, "app-idle", "", "hold");
    for keys in ["q", "\u{3}", "\u{1b}"] {
        let mut terminal = Terminal::open(&home, "top", 80, 24);
        terminal.wait_for("app-idle");
        terminal.press(keys);
        assert!(terminal.end().success(), "{keys:?}");
        terminal.assert_restored();
    }
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut terminal = Terminal::open(&home, "top", 80, 24);
        terminal.wait_for("app-idle");
        kill(terminal.pid(), signal);
        assert!(terminal.end().success(), "{signal:?}");
        terminal.assert_restored();
    }
}

#[test]
fn without_a_terminal_top_prints_once() {
    needs_program!("setsid");
    let home = home();
    // Neither current nor past figures.
    let nothing = home.run("top");
    assert!(nothing.code != 0 && nothing.stderr.contains("web enable"), "{nothing}");
    home.ok(format!("start {} --name app-idle -i 2 -- hold", fixture()));
    let text = home.ok("top").stdout;
    assert!(text.starts_with("NAME") && text.contains("app-idle ×2  ● online") && text.contains("1 app: 1 online"), "{text}");
    let each = home.ok("top --all").stdout;
    assert!(each.starts_with("NAME      ID") && each.matches("app-idle").count() == 2, "{each}");
    // A reader that closes the pipe early is no error.
    let first = home.cmd("").after("set -o pipefail; \"$0\" top --once | head -n 1; exit").run().ok();
    assert!(first.stdout.starts_with("NAME") && first.stdout.lines().count() == 1 && first.stderr.is_empty(), "{first}");
    let list = home.ok("top --json").json();
    assert!(
        list[0]["app"] == "app-idle" && list[0]["now"]["instances"] == 2 && list[0]["cpu"]["figures"] == serde_json::json!([]),
        "{list}"
    );
    let home = crate::setup::home();
    let web = recorded(&home);
    // A step is written when it is complete; the rest is written when the process exits.
    figures_of(&web, "/api/history?app=api&metric=memory&points=2000", 2);
    home.ok("web disable");
    let list = home.ok("top --json").json();
    let api = list.as_array().unwrap().iter().find(|one| one["app"] == "api").unwrap();
    assert!(api["now"]["online"] == 2 && !api["memory"]["figures"].as_array().unwrap().is_empty(), "{list}");
    let mut terminal = Terminal::open(&home, "top", 120, 24);
    terminal.wait_for("the last 15m");
    terminal.wait_until("bars of the past", |screen| screen.lines().any(|line| line.starts_with("api ") && line.contains('█')));
    terminal.press("q");
    assert!(terminal.end().success());
    // `--once` also prints once on a terminal.
    let mut terminal = Terminal::start(home.cmd("top --once"), 80, 24);
    assert!(terminal.end().success());
    terminal.wait_for("the last 15m");
    assert_eq!(terminal.modes(), Vec::<String>::new());
}
