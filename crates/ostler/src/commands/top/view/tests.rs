//! Pictures at usual terminal sizes, accepted as in [`crate::tests`].

use ostler_core::lifecycle::ProcessEnding;
use ostler_history::Figure;
use ostler_proto::control::{LastExit, Monit, TableRow};

use super::*;
use crate::commands::top::source::Sample;
use crate::commands::top::state::Command;
use crate::full_screen::input::{Input, Key};
use crate::tests::data::{self, row};

const NOW_MS: u64 = 1_000_000;

fn past(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

fn answer(seed: u32) -> QueryResult {
    let figure = |place: u32| {
        let value = f64::from((place * 7 + seed * 13) % 23);
        Figure { at_ms: NOW_MS - 900_000 + u64::from(place) * 15_000, min: value, avg: value, max: value }
    };
    QueryResult { step_ms: 15_000, figures: (0..60).map(figure).collect(), reads: Default::default() }
}

/// Apps in the states that users meet, beside the difficult rows.
fn rows() -> Vec<TableRow> {
    let usage = |cpu_pct, megabytes: u64| Monit { cpu_pct, memory_bytes: megabytes << 20, processes: 1 };
    let exit = Some(LastExit { ago_ms: 780_000, ending: ProcessEnding::Code(1), requested: false });
    let down = |row: TableRow| TableRow { pid: 0, uptime_ms: None, last_exit: exit, monit: usage(0.0, 0), ..row };
    let mut rows = data::rows();
    rows.extend([
        TableRow { restarts: 5000, recent_exits: 8, monit: usage(2.8, 61), ..row(20, "shop") },
        TableRow { monit: usage(92.9, 54), ..row(21, "orders") },
        TableRow { monit: usage(3.0, 54), uptime_ms: Some(840_000), ..row(22, "orders") },
        down(TableRow { status: "stopped".into(), ..row(23, "legacy") }),
        down(TableRow { status: "errored".into(), restarts: 30, ..row(24, "mailer") }),
    ]);
    rows
}

fn sample(rows: Vec<TableRow>, has_past: bool) -> Sample {
    let history = [("nsA", "shop"), ("nsA", "orders"), ("default", "removed")];
    let past = history.iter().zip(1..).map(|((namespace, name), seed)| (past(namespace, name), answer(seed), answer(seed + 4))).collect();
    Sample { at_ms: NOW_MS, now: Ok(rows), past: has_past.then_some(past), has_past }
}

fn state_of(rows: Vec<TableRow>, size: (usize, usize), has_past: bool, is_ascii: bool) -> TopState {
    let mut state = TopState::new(is_ascii, false, 900_000, size);
    state.take(sample(rows, has_past));
    state
}

fn state(size: (usize, usize), has_past: bool) -> TopState {
    state_of(rows(), size, has_past, false)
}

fn press(state: &mut TopState, keys: &str) {
    for c in keys.chars() {
        assert_eq!(state.on_input(&Input::Key(Key::Char(c))), None);
    }
}

fn golden(name: &str, picture: &Picture) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../../../tests/snapshots");
    settings.bind(|| insta::assert_snapshot!(format!("top-{name}"), picture.text()));
}

#[test]
fn view_matches_golden_files_at_each_width() {
    for width in [20, 60, 80, 120, 200] {
        golden(&format!("{width}"), &draw(&state((width, 16), true)));
        let ascii = draw(&state_of(rows(), (width, 16), true, true));
        assert!(ascii.text().is_ascii(), "{}", ascii.text());
    }
    golden("80-ascii", &draw(&state_of(rows(), (80, 16), true, true)));
    golden("80-no-history", &draw(&state((80, 16), false)));
    for (keys, name) in [("a", "instances"), ("?", "help"), ("ss", "state-reversed")] {
        let mut state = state((80, 18), true);
        press(&mut state, keys);
        golden(&format!("80-{name}"), &draw(&state));
    }
    golden("80-empty", &draw(&state_of(Vec::new(), (80, 6), false, false)));
    let mut lost = state((80, 6), false);
    lost.take(Sample { at_ms: NOW_MS, now: Err("the daemon does not run\u{1b}[2J".into()), past: None, has_past: false });
    golden("80-lost", &draw(&lost));
}

#[test]
fn colours_are_omitted_if_unsupported() {
    let picture = draw(&state((80, 16), true));
    let bytes = |has_colors| {
        let mut out = Vec::new();
        crate::full_screen::paint::changes(None, &picture, has_colors, &mut out);
        String::from_utf8(out).unwrap()
    };
    let is_coloured = |text: &str| (30..=37).chain(90..=97).any(|color| text.contains(&format!(";{color}m")));
    assert!(is_coloured(&bytes(true)) && !is_coloured(&bytes(false)));
    assert!(!bytes(true).contains("\u{1b}[0;7m"), "inverse video");
}

fn names(state: &TopState) -> Vec<String> {
    state.rows.iter().map(|entry| entry.app.1.chars().take(6).collect()).collect()
}

#[test]
fn keys_sort_and_reverse() {
    let rows = ["api", "web", "bus"].iter().zip([(5.0, 9, 1, 10), (50.0, 1, 0, 30), (0.0, 5, 7, 20)]);
    let rows = rows.zip(0..).map(|((name, (cpu_pct, megabytes, restarts, uptime_ms)), id)| TableRow {
        monit: Monit { cpu_pct, memory_bytes: megabytes << 20, processes: 1 },
        restarts,
        uptime_ms: Some(uptime_ms),
        status: if *name == "bus" { "errored".into() } else { "online".into() },
        ..row(id, name)
    });
    let mut state = state_of(rows.collect(), (80, 16), false, false);
    assert_eq!(names(&state), ["web", "api", "bus"]);
    for (key, order) in [
        ("c", ["bus", "api", "web"]),
        ("m", ["api", "bus", "web"]),
        ("n", ["api", "bus", "web"]),
        ("n", ["web", "bus", "api"]),
        ("r", ["bus", "api", "web"]),
        ("u", ["api", "bus", "web"]),
        ("s", ["bus", "api", "web"]),
    ] {
        press(&mut state, key);
        assert_eq!(names(&state), order, "{key}");
    }
    assert_eq!(state.on_input(&Input::Key(Key::Char('q'))), Some(Command::Quit));
}

#[test]
fn instances_unfold_and_fold() {
    let rows = vec![row(0, "api"), row(1, "api"), row(2, "web")];
    let mut state = state_of(rows, (100, 16), false, false);
    assert!(draw(&state).text().contains("api ×2") && state.rows.len() == 2);
    press(&mut state, "a");
    assert!(draw(&state).text().contains("ID") && state.rows.len() == 3, "{}", draw(&state).text());
    assert!(draw(&state).text().contains("2 apps: 2 online"));
    press(&mut state, "a");
    assert_eq!(state.rows.len(), 2);
}

#[test]
fn any_key_closes_the_help() {
    let mut state = state((80, 16), false);
    press(&mut state, "?");
    assert!(draw(&state).text().contains("Keys"));
    press(&mut state, "q");
    assert!(!draw(&state).text().contains("Keys"));
}

/// A picture contains only the rows on the screen, however many apps there are.
#[test]
fn many_apps_scroll() {
    let rows = (0..1000).map(|id| row(id, &format!("app-{id:04}"))).collect();
    let mut state = state_of(rows, (60, 10), false, false);
    assert_eq!((state.rows.len(), state.visible().len()), (1000, 7));
    assert!(draw(&state).text().contains("app-0006") && !draw(&state).text().contains("app-0007"));
    for (key, first) in [(Key::PageDown, 7), (Key::Down, 8), (Key::End, 993), (Key::PageUp, 986), (Key::Home, 0), (Key::Up, 0)] {
        state.on_input(&Input::Key(key));
        assert_eq!(state.first, first, "{key:?}");
    }
    state.on_input(&Input::Wheel { x: 0, y: 0, up: false });
    assert_eq!(state.first, 3);
    state.on_input(&Input::Key(Key::End));
    // Fewer apps than before: the last page moves up.
    state.take(Sample { at_ms: NOW_MS, now: Ok(vec![row(0, "one")]), past: None, has_past: false });
    assert!(state.first == 0 && draw(&state).text().contains("one"));
}

fn any_name() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let hostile = [
        "日本語の名前".repeat(20),
        "🚀👩‍👩‍👧".into(),
        "שלום مرحبا\u{202e}".into(),
        "\u{1b}[31mred\u{1b}]0;x\u{7}".into(),
        "x".repeat(200),
        " ".into(),
    ];
    prop_oneof![proptest::sample::select(hostile.to_vec()), "[a-c]{1,3}", "\\PC{0,40}"]
}

fn any_row() -> impl proptest::strategy::Strategy<Value = TableRow> {
    use proptest::prelude::*;
    let status = proptest::sample::select(vec!["online", "stopped", "errored", "launching", "stopping", "waiting restart", "odd\u{1b}"]);
    (any_name(), status, any::<u32>(), any::<u64>(), proptest::option::of(any::<u64>()), -1.0..1e9f64, 0..9u32).prop_map(
        |(name, status, restarts, memory_bytes, uptime_ms, cpu_pct, recent_exits)| TableRow {
            status: status.into(),
            restarts,
            uptime_ms,
            recent_exits,
            monit: Monit { cpu_pct, memory_bytes, processes: 1 },
            ..row(restarts, &name)
        },
    )
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 150, ..Default::default() })]

    /// Any apps at any size, with a clock that jumps: each line fits, and no control character is left.
    #[test]
    fn any_apps_fit_any_terminal(
        rows in proptest::collection::vec(any_row(), 0..12),
        width in 20usize..=200,
        height in 1usize..20,
        at_ms in proptest::prelude::any::<u64>(),
        keys in "[cmnrusa?]{0,4}",
        is_ascii in proptest::prelude::any::<bool>(),
    ) {
        let mut state = state_of(rows.clone(), (width, height), true, is_ascii);
        state.take(Sample { at_ms, now: Ok(rows), past: None, has_past: true });
        for c in keys.chars() {
            state.on_input(&Input::Key(Key::Char(c)));
        }
        let picture = draw(&state);
        let text = picture.text();
        proptest::prop_assert_eq!(text.lines().count(), height);
        for line in text.lines() {
            proptest::prop_assert!(line.width() <= width, "{}: {}", width, line);
        }
        let is_bad = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
        proptest::prop_assert!(!text.contains(is_bad), "{:?}", text);
        // The name and the state of each app stay, however narrow the terminal is.
        let marked = |line: &str| line.contains(['●', '○', '✗', '◐', '↻', '!', '*', '-', 'x', '~', '@']);
        if keys.is_empty() {
            for line in text.lines().skip(2).take(state.visible().len()).filter(|_| height > 3) {
                proptest::prop_assert!(marked(line), "{}", text);
            }
        }
    }
}
