//! Lines in ostler's own look: golden files, and widths.

use ostler_core::lifecycle::{PolicyName, ProcessEnding};
use ostler_proto::event::{EventCause, EventKind};
use unicode_width::UnicodeWidthStr as _;

use super::*;
use crate::home::Program;
use crate::logs::LineFormat;
use crate::logs::follow::Line;
use crate::logs::printer::Printer;
use crate::render::Screen;
use crate::tests::{assert_fits, data, golden_at_each_width};

const NOW_MS: u64 = data::NOW_MS;

fn source(kind: LogKind, id: u32, name: &str) -> Source {
    let path = format!("/h/logs/{name}-{id}-{kind:?}.log").into();
    Source { path, kind, id, name: name.into(), namespace: "default".into(), revision: None, rights: None }
}

fn event(id: u32, kind: EventKind, cause: EventCause, after: &str) -> Event {
    Event { epoch: 1, seq: 1, at_ms: NOW_MS, app: Some("shop".into()), id: Some(id), kind, cause, before: None, after: Some(after.into()) }
}

/// Returns the lines of three apps, a restart, and the daemon's own lines.
fn shown(view: &View) -> String {
    let (mut out, screen) = Screen::of(Program::Ostler);
    let mut printer = Printer::new(LineFormat::Own, None, None).with_view(view);
    let all = [
        source(LogKind::Daemon, 0, "ostler"),
        source(LogKind::Out, 0, "shop"),
        source(LogKind::Error, 0, "shop"),
        source(LogKind::Out, 1, "orders"),
        source(LogKind::Out, 2, "orders"),
        source(LogKind::Out, 3, "订单服务-with-a-long-name"),
    ];
    let own = printer.own().unwrap();
    own.add_sources(all.iter());
    own.processes.add(0, 18177);
    own.instances.add("shop", 0);
    let past: [(usize, &str); 7] = [
        (0, "2026-11-20T23:59:58: PM2 log: App [shop:0] online"),
        (0, "2026-11-21T03:50:00: PM2 error: no room"),
        (1, "[2026-11-21 03:50:01,250] listening"),
        (1, r#"{"time":1795233001500}"#),
        (3, "a line without a time"),
        (3, "  of the same log, indented"),
        (5, "2026-11-21 03:55:00 +00:00: 你好"),
    ];
    for (log, text) in past {
        printer.past(&mut out, &all[log], &Line::past(text.as_bytes()));
    }
    let policy = || EventCause::policy(PolicyName::Autorestart, "exited with code 1".to_owned());
    let mut present = |printer: &mut Printer, log: usize, text: &str, after_ms: u64| {
        printer.own_line(&mut out, &all[log], &Line::past(text.as_bytes()), Some(NOW_MS + after_ms));
    };
    present(&mut printer, 2, "Error: timed out", 120);
    present(&mut printer, 2, "    at f (shop.js:6:95)", 120);
    present(&mut printer, 4, "processed order 117", 310);
    present(&mut printer, 2, "    at the end", 311);
    for (kind, cause, after) in [
        (EventKind::Exit { pid: 18177, ending: ProcessEnding::Code(1), uptime_ms: 9 }, EventCause::App, "waiting restart"),
        (EventKind::Launched { pid: 19002 }, policy(), "launching"),
    ] {
        printer.happened(&mut Screen::of(Program::Ostler).0, &event(0, kind, cause, after));
    }
    present(&mut printer, 1, "", 320);
    printer.show_markers(&mut out);
    let partial = Line { is_partial: true, ..Line::past(b"name: ") };
    printer.own_line(&mut out, &all[1], &partial, Some(NOW_MS + 400));
    printer.own_line(&mut out, &all[1], &Line::past(b"2026-11-21 is typed"), Some(NOW_MS + 900));
    screen.taken(&mut out)
}

#[test]
fn lines_fit_and_match_golden_files() {
    golden_at_each_width("own-logs", shown);
}

#[test]
fn each_line_in_a_pipe_has_its_name() {
    let text = shown(&View::played(NOW_MS, None));
    let is_marked = |line: &str| ["ostler", "shop", "orders", "订单服务"].iter().any(|name| line.contains(name));
    assert!(text.lines().all(is_marked), "{text}");
    assert!(text.contains("2026-11-20 23:59:58.000 ostler") && !text.contains("PM2"), "{text}");
}

#[test]
fn columns_leave_half_of_the_terminal_to_the_text() {
    for name in data::hostile_names() {
        let name = crate::text::shown(&name);
        for width in 20..200 {
            let columns = LogColumns::new(Some(width), &TIME_WIDTHS, name.width());
            for is_error in [false, true] {
                let label = LogLabel { time: "13:14:58.120", name: &name, style: styles::BOLD, is_error, is_continued: false };
                let label = columns.label(&label, crate::render::Paint(false));
                assert!(label.width() <= width / 2 && columns.name <= width / 3, "{width}: {label:?}");
            }
            assert_fits(&rule(&format!("{name} restarted: pid 1 → 2"), styles::DIM, Some(width), crate::render::Paint(false)), width);
        }
    }
}

#[test]
fn time_of_arrival_is_more_exact_than_a_date_without_fraction() {
    let dated = |at_ms| DatedText { at_ms, text: b"", is_error: false };
    for (date, received, expected) in [
        (None, None, None),
        (None, Some(7), Some(7)),
        (Some(10_000), None, Some(10_000)),
        (Some(10_000), Some(10_900), Some(10_900)),
        (Some(10_000), Some(60_000), Some(10_000)),
    ] {
        assert_eq!(OwnLines::time_of(&dated(date), received), expected);
    }
}

#[test]
fn colours_of_a_text_end_with_its_line() {
    let (mut out, screen) = Screen::of(Program::Ostler);
    for (width, expected) in [(Some(80), "\u{1b}[31mred\u{1b}[0m\n"), (None, "\u{1b}[31mred\n")] {
        let mut printer = Printer::new(LineFormat::Own, None, None).with_view(&View::played(NOW_MS, width));
        let api = source(LogKind::Out, 0, "api");
        printer.own().unwrap().add_sources(std::iter::once(&api));
        printer.own_line(&mut out, &api, &Line::past(b"\x1b[31mred"), Some(NOW_MS));
        assert!(screen.taken(&mut out).ends_with(expected), "{width:?}");
    }
}

#[test]
fn a_requested_format_of_the_time_is_used_for_each_line() {
    let (mut out, screen) = Screen::of(Program::Ostler);
    let mut printer = Printer::new(LineFormat::Own, Some("YYYY/MM/DD"), None).with_view(&View::played(NOW_MS, Some(80)));
    let api = source(LogKind::Out, 0, "api");
    printer.own().unwrap().add_sources(std::iter::once(&api));
    printer.past(&mut out, &api, &Line::past(b"2020-05-05T12:00:00Z: old"));
    printer.past(&mut out, &api, &Line::past(b"unknown"));
    assert_eq!(screen.taken(&mut out), "2020/05/05 api   old\n           api   unknown\n");
}
