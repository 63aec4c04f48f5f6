//! `errors`.

use ostler_web::errors::{Group, GroupState};
use serde_json::json;

use super::{assert_fits, data, golden_at_each_width, many_widths};
use crate::render::face::{ErrorContext, error_own, errors_own};
use crate::render::{View, error, errors};
use ostler_client::source_line::SourceLine;

fn group(id: &str, app: &str, kind: &str, message: &str, extra: &serde_json::Value) -> Group {
    let frame = |function: &str, own: bool| json!({ "function": function, "file": "/srv/app/lib/da\u{1b}ta.js", "line": 12, "own": own });
    let mut value = json!({
        "id": id, "app": app, "type": kind, "message": message, "culprit": "connect (/srv/app/lib/data.js:12)",
        "first": data::NOW_MS - 7_200_000, "last": data::NOW_MS - 12_000, "count": 500,
        "releases": [
            { "release": 1, "count": 480, "first": data::NOW_MS - 7_200_000 },
            { "release": 3, "version": "1.4.0", "count": 20, "first": data::NOW_MS - 60_000 },
        ],
        "sample": {
            "at": data::NOW_MS - 12_000, "instance": 2, "type": kind, "message": message,
            "frames": [frame("connect", true), frame("", false)], "before": ["token is ******", "\u{1b}[31mred"],
        },
    });
    value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// Returns an open group, a group that recurred, and a resolved group without times.
fn groups() -> [(Group, GroupState); 3] {
    let long = format!("no row {}", "日本語 x ".repeat(30));
    let returned = json!({ "returned": { "at": data::NOW_MS, "release": 3, "version": "1.4.0" } });
    [
        (group("3f9a1c0211223344", "a\u{1b}pi", "RangeError", "no row 7 of <b>", &json!({})), GroupState::Open),
        (group("a81b77de11223344", "worker", "ValueError", &long, &returned), GroupState::Returned),
        (
            group("0123456789abcdef", "old", "panic", "", &json!({ "culprit": "", "releases": [], "first": 0, "last": 0 })),
            GroupState::Resolved,
        ),
    ]
}

#[test]
fn exception_list_and_detail_match_golden_files() {
    let groups = groups();
    let list: Vec<(&Group, GroupState)> = groups.iter().map(|(group, state)| (group, *state)).collect();
    golden_at_each_width("exceptions", |view| errors(&list, view));
    let whole = super::View::played(data::NOW_MS, None);
    super::golden("exception", &groups.iter().map(|(group, state)| error(group, *state, None, &whole)).collect::<String>());
}

fn own(groups: &[(Group, GroupState)], view: &View) -> String {
    let list: Vec<(&Group, GroupState)> = groups.iter().map(|(group, state)| (group, *state)).collect();
    let mut out = errors_own(&list, "ostler", view);
    for (group, state) in groups {
        let source = Some(SourceLine { number: 12, text: "  const row = rows[id]; // no such row".into() });
        out += "\n";
        out += &error_own(group, &ErrorContext { program: "ostler", state: *state, resolved: None, source, view });
    }
    out
}

#[test]
fn exceptions_in_own_look_fit_and_match_golden_files() {
    golden_at_each_width("own-exceptions", |view| own(&groups(), view));
}

#[test]
fn exceptions_are_never_wider_than_the_terminal() {
    for name in data::hostile_names() {
        let mut whole = group("3f9a1c0211223344", &name, &name, &name, &json!({ "culprit": name }));
        whole.sample.before.push(name.clone());
        whole.sample.exception.frames[0].function.clone_from(&name);
        // The state is in the same lines as app and type.
        let brief = group("3f9a1c0211223344", &name, &name, "", &json!({ "culprit": "" }));
        for width in many_widths() {
            for (group, state) in [(&whole, GroupState::Open), (&brief, GroupState::Returned), (&brief, GroupState::Resolved)] {
                assert_fits(&own(&[(group.clone(), state)], &View::played(data::NOW_MS, Some(width))), width);
            }
        }
    }
}
