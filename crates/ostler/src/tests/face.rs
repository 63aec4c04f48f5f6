//! ostler's own look: the list, one instance, the reasons of its state.

use ostler_client::source_line::SourceLine;
use ostler_core::lifecycle::ProcessEnding;
use ostler_proto::control::{Detail, LastExit, Monit, TableRow};
use ostler_proto::event::EventCause;

use super::{data, golden_at_each_width};
use crate::render::face::{AppGroup, UserName, WhyContext, app_list, describe_own, overview_line, why_short};
use crate::render::{DescribeContext, SortOrder, View};

fn listed(rows: Vec<TableRow>, is_each: bool, view: &View) -> String {
    let groups = AppGroup::all(rows, is_each, SortOrder::BY_NAME);
    app_list(&groups, "NAME", is_each, view) + &overview_line(&groups, Some("http://127.0.0.1:9616"), view)
}

/// Apps in the states that users meet, beside the difficult rows.
fn rows() -> Vec<TableRow> {
    let exit = |ago_ms, ending| Some(LastExit { ago_ms, ending, requested: false });
    let down = |row: TableRow| TableRow { pid: 0, uptime_ms: None, ..row };
    let usage = |cpu_pct, megabytes: u64| Monit { cpu_pct, memory_bytes: megabytes << 20, processes: 1 };
    let mut rows = data::rows();
    rows.extend([
        TableRow { restarts: 21, recent_exits: 8, monit: usage(2.8, 61), ..data::row(20, "shop") },
        TableRow { monit: usage(2.9, 54), ..data::row(21, "orders") },
        TableRow { monit: usage(3.0, 54), uptime_ms: Some(840_000), ..data::row(22, "orders") },
        down(TableRow { status: "stopped".into(), last_exit: exit(780_000, ProcessEnding::Code(1)), ..data::row(23, "legacy") }),
        down(TableRow {
            status: "errored".into(),
            restarts: 30,
            last_exit: exit(900_000, ProcessEnding::Code(1)),
            ..data::row(24, "mailer")
        }),
    ]);
    rows
}

#[test]
fn list_fits_and_matches_golden_files() {
    golden_at_each_width("own-list", |view| listed(rows(), false, view));
    golden_at_each_width("own-list-each", |view| listed(data::rows_with_health(), true, view));
}

#[test]
fn list_is_never_wider_than_the_terminal() {
    for width in 12..220 {
        for is_each in [false, true] {
            super::assert_fits(
                &app_list(&AppGroup::all(rows(), is_each, SortOrder::BY_NAME), "NAME", is_each, &View::played(0, Some(width))),
                width,
            );
        }
    }
}

#[test]
fn reasons_fit_and_match_golden_files() {
    let by = |command: &str| EventCause::User { command: command.into(), uid: 1000, pid: 81, on_behalf_of: None };
    let stopped = Detail { cause: Some(by("stop")), ..data::stopped() };
    let details = [data::troubled(), data::waiting(), stopped, data::crashed()];
    let events = data::events();
    golden_at_each_width("own-why", |view| {
        let source = SourceLine { number: 7, text: "  const url = config.database.url".into() };
        let explain = |detail: &Detail| {
            let source = Some(source.clone());
            why_short(
                detail,
                &WhyContext {
                    program: "ostler",
                    events: &events,
                    source,
                    is_one_of_many: detail.id > 0,
                    user: &|_| Some("deploy".into()),
                    view,
                },
            )
        };
        details.iter().map(explain).collect::<Vec<_>>().join("\n")
    });
}

#[test]
fn description_fits_and_matches_golden_files() {
    let env = [("PORT", "81"), ("HOME", "/root")].map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    for (name, detail) in [("own-describe", data::stopped()), ("own-describe-troubled", data::troubled())] {
        let user: UserName<'_> = &|_| Some("deploy".into());
        golden_at_each_width(name, |view| {
            describe_own(&detail, &DescribeContext { program: "ostler", user, env: &env, view, versioning: None })
        });
    }
}
