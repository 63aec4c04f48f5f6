//! Pictures at usual terminal sizes, accepted as in [`crate::tests`].

use ostler_core::health::HealthState as Health;
use ostler_proto::control::{Monit, TableRow};

use super::*;
use crate::commands::monit::input::{Input, Key};
use crate::commands::monit::keys::on_input;
use crate::commands::monit::log_lines::LogLine;
use crate::commands::monit::state::{AppAction, DisplayOptions, MonitEvent};
use crate::full_screen::paint::changes;
use crate::render::View;
use crate::tests::data;

const SIZES: [(usize, usize); 3] = [(40, 12), (80, 24), (200, 50)];

/// Returns a machine that has had a problem for a while.
fn state(size: (usize, usize), is_ascii: bool) -> MonitState {
    let display = DisplayOptions { program: "ostler", is_pm2: false, is_ascii };
    let mut state = MonitState::new(display, View::played(data::NOW_MS, None), size, "id".into());
    let usage = |cpu_pct, memory_bytes| Monit { cpu_pct, memory_bytes, processes: 3 };
    for round in 0..30u32 {
        let wave = f64::from(round % 7) * 11.5;
        let mut rows = data::rows();
        let health = Some(Health::Unhealthy);
        rows.push(TableRow {
            restarts: 2,
            health,
            monit: usage(wave, 180_000_000 + u64::from(round) * 3_000_000),
            ..data::row(3, "checkout-service")
        });
        rows.push(TableRow { monit: usage(100.0 - wave, 90_000_000), ..data::row(10, "worker") });
        rows.sort_by_key(|row| row.id);
        state.apply(MonitEvent::Rows(rows));
    }
    state.select_at(1);
    state.apply(MonitEvent::Detail(Box::new(data::troubled())));
    for event in data::events() {
        state.apply(MonitEvent::Event(event));
    }
    for n in 1..=40 {
        state.apply(MonitEvent::Line(LogLine::new(format!("GET /cart/{n} 200 {n} ms").as_bytes(), false)));
    }
    for line in [
        "\u{1b}[31mError: connect ECONNREFUSED 10.0.0.5:5432\u{1b}[0m at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1607:16)",
        "\u{1b}]0;own title\u{7}\u{1b}[2J\u{1b}[Hbell \u{7} back \u{8} null \0 \u{9b}31m c1",
        "日本語のログ行 🚀 e\u{301} \u{202e}right to left",
        "a\ttab",
    ] {
        state.apply(MonitEvent::Line(LogLine::new(line.as_bytes(), true)));
    }
    state
}

fn golden(name: &str, picture: &Picture) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../../../tests/snapshots");
    settings.bind(|| insta::assert_snapshot!(format!("monit-{name}"), picture.text()));
}

fn press(state: &mut MonitState, keys: &str) {
    for c in keys.chars() {
        on_input(state, Input::Key(Key::Char(c)));
    }
}

#[test]
fn view_matches_golden_files_at_each_size() {
    for (width, height) in SIZES {
        golden(&format!("{width}x{height}"), &draw(&state((width, height), false)));
        let ascii = draw(&state((width, height), true));
        assert!(ascii.text().is_ascii(), "{}", ascii.text());
        golden(&format!("{width}x{height}-ascii"), &ascii);
    }
}

#[test]
fn single_panes_match_golden_files() {
    for (key, name) in [("2", "logs"), ("3", "metrics"), ("4", "info"), ("5", "why"), ("6", "events")] {
        let mut state = state((40, 12), false);
        press(&mut state, key);
        golden(&format!("40x12-{name}"), &draw(&state));
    }
    for width in [80, 120, 200] {
        let mut alone = state((width, 12), false);
        press(&mut alone, "z");
        golden(&format!("{width}x12-list"), &draw(&alone));
    }
}

#[test]
fn dialogs_and_messages_match_golden_files() {
    for (keys, name) in [("?", "help"), ("s", "stop"), ("/rock", "filter"), ("/nothing", "no-match"), ("c12", "scale")] {
        for (width, height) in [(40, 12), (80, 24)] {
            let mut state = state((width, height), false);
            press(&mut state, keys);
            golden(&format!("{width}x{height}-{name}"), &draw(&state));
        }
    }
    let mut state = state((80, 24), false);
    state.apply(MonitEvent::Link(LinkState::Down("the daemon is not running; waiting for it".into())));
    state.apply(MonitEvent::Answer { text: "stop 3: it did not\u{1b}[2J end".into(), is_good: false });
    golden("80x24-lost", &draw(&state));
    state.apply(MonitEvent::Rows(Vec::new()));
    state.apply(MonitEvent::Link(LinkState::Up));
    golden("80x24-empty", &draw(&state));
}

#[test]
fn crashed_apps_have_the_word_of_the_list() {
    let mut state = state((200, 50), false);
    assert!(draw(&state).text().contains("| 1 crashed |"));
    state.display.is_pm2 = true;
    assert!(draw(&state).text().contains("| 1 errored |"));
    state.display.is_pm2 = false;
    press(&mut state, "/crash");
    assert_eq!(state.shown.len(), 1, "the shown word is searched");
}

#[test]
fn colours_are_omitted_if_unsupported() {
    let picture = draw(&state((80, 24), false));
    let bytes = |has_colors| {
        let mut out = Vec::new();
        changes(None, &picture, has_colors, &mut out);
        String::from_utf8(out).unwrap()
    };
    let colored = |code: &str| bytes(true).contains(&format!("\u{1b}[0;{code}m"));
    assert!(colored("32") && colored("1;31") && colored("7"));
    let plain = bytes(false);
    let has = |color: u8| plain.contains(&format!("\u{1b}[0;{color}m")) || plain.contains(&format!("\u{1b}[0;1;{color}m"));
    assert!(!(30..=37).chain(90..=97).any(has), "{plain:?}");
}

#[test]
fn app_text_reaches_the_terminal_without_control_characters() {
    for (width, height) in SIZES {
        for keys in ["", "5", "6", "4z", "s"] {
            let mut state = state((width, height), false);
            for index in 0..6 {
                state.select_at(index);
                press(&mut state, keys);
                let picture = draw(&state);
                let text = picture.text();
                let is_bad = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
                assert!(!text.contains(is_bad), "{text:?}");
            }
        }
    }
}

#[test]
fn view_draws_at_any_size() {
    let states = [false, true].map(|is_ascii| state((80, 24), is_ascii));
    for width in (0..20).chain([39, 40, 41, 69, 70, 71, 149, 150, 300]) {
        for height in (0..16).chain([24, 30, 31, 50, 100]) {
            for keys in ["", "?", "s", "z", "2", "3", "4", "5", "6", "/a", "c1"] {
                let mut state = states[usize::from(width % 2 == 0)].clone();
                state.apply(MonitEvent::Resized(width, height));
                press(&mut state, keys);
                let picture = draw(&state);
                assert_eq!((picture.width, picture.height), (width, height));
                let action = AppAction::Scale { app: "api".into(), to: "-1".into() };
                state.dialog = Dialog::Confirm { question: "Stop?".into(), action };
                draw(&state);
            }
        }
    }
}
