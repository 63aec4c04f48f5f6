//! Routes of the API, one row each: method, path, role, handler, description. Dispatch, role
//! checks, `405` and the OpenAPI document use this table.

use super::act::{self, AppCommand};
use super::operation::Parameter;
use super::operation::ResponseContent::{Json, Other};
use super::operation::Schema::{Inline, Named};
use super::operation::about;
use super::route::{Handler, Route, delete, get, open, post, run};
use super::{
    access, alerts, apps, errors, events, history, hosts, live, logs, metrics, openapi, ports, profiles, schemas, search, session, traces,
};
use crate::access::Role::{Admin, Operator, Viewer};

const NO_APP: &str = "no such app, or not visible to you";
const NO_GROUP: &str = "no such error group, or not visible to you";
const NO_TRACE: &str = "no such trace, or not visible to you";
const NO_TOKEN: &str = "no such token";
const NO_PROFILE: &str = "no such profile, or not visible to you";
const NO_CHANNEL: &str = "no such channel";
const NO_DAEMON: &str = "the daemon does not answer";
const NO_HISTORY: &str = "the history is still loading";
const NO_READER: &str = "too many log readers, or the reader cannot be started";

const APP: Parameter = Parameter("app", "string", "only of this app");
const LINES: Parameter = Parameter("lines", "integer", "at most 5000; default 200");
const GROUP: Parameter = Parameter("id", "string", "its id, or the start of it");

/// Defines a row for a command on an app: word, role, verb, body.
macro_rules! order {
    ($word:literal, $role:expr, $verb:expr, $body:expr) => {
        post(
            concat!("/api/apps/{name}/", $word),
            $role,
            run!(|call| act::answer(&call.site, call.request, &call.identity, &call.name, $verb).await),
            about(concat!("Command: ", $word, "; answered when it is done"), Json(Named("Done"))).body($body).errors(&[
                (404, NO_APP),
                (503, NO_DAEMON),
                (409, "it failed; see lines"),
            ]),
        )
    };
}

pub(super) static ROUTES: &[Route] = &[
    get(
        "/api/session",
        Viewer,
        open!(|site, request| session::present(&site, &request.head)),
        about("Current session", Json(Named("Session"))),
    ),
    post(
        "/api/session",
        Viewer,
        open!(|site, request| session::login(&site, request).await),
        about("Signs in; the answer sets the cookie", Json(Named("Session")))
            .body(Inline(schemas::session_body))
            .errors(&[(429, "too many attempts; retry_after is the number of seconds to wait")]),
    ),
    delete("/api/session", Viewer, open!(|site, request| session::logout(&site, &request)), about("Signs out", Json(Named("Done")))),
    get("/api/apps", Viewer, run!(|call| apps::list(&call.site, &call.identity).await), about("All apps", Json(Named("Apps")))),
    get(
        "/api/apps/{name}",
        Viewer,
        run!(|call| apps::one(&call.site, &call.identity, &call.name).await),
        about("Details of one app", Json(Named("AppDetail"))).errors(&[(404, NO_APP), (503, NO_DAEMON)]),
    ),
    get(
        "/api/apps/{name}/routes",
        Viewer,
        run!(|call| apps::routes(&call.site, &call.identity, &call.name).await),
        about("Routes of a Node app in the last 10 to 20 s, busiest first", Json(Inline(schemas::app_routes))).errors(&[(404, NO_APP)]),
    ),
    order!("start", Operator, AppCommand::Start, Inline(schemas::one_instance)),
    order!("stop", Operator, AppCommand::Stop, Inline(schemas::one_instance)),
    order!("restart", Operator, AppCommand::Restart, Inline(schemas::one_instance)),
    order!("reload", Operator, AppCommand::Reload, Inline(schemas::one_instance)),
    order!("reset", Operator, AppCommand::Reset, Inline(schemas::one_instance)),
    order!("scale", Operator, AppCommand::Scale, Inline(schemas::scale)),
    order!("undo", Operator, AppCommand::Undo, Inline(schemas::undo)),
    order!("trigger", Operator, AppCommand::Trigger, Inline(schemas::trigger)),
    order!("send", Operator, AppCommand::Send, Inline(schemas::send)),
    order!("delete", Admin, AppCommand::Delete, Inline(schemas::one_instance)),
    order!("flush", Admin, AppCommand::Flush, Inline(schemas::one_instance)),
    get(
        "/api/hosts",
        Viewer,
        run!(|call| hosts::list(&call.site, &call.identity)),
        about("Hosts of the hosts file, with the addresses of their dashboards", Json(Inline(schemas::hosts))),
    ),
    get(
        "/api/ports",
        Viewer,
        run!(|call| ports::answer(&call.site, &call.identity).await),
        about("TCP ports on which apps listen", Json(Inline(schemas::ports))).errors(&[(503, NO_DAEMON)]),
    ),
    get(
        "/api/live",
        Viewer,
        run!(|call| live::answer(&call.site, &call.request, call.identity)),
        about(
            "Stream of the table and of events: `table`, `event`, `gone`; send the id as Last-Event-ID to resume",
            Other(&[("text/event-stream", Inline(schemas::text))]),
        )
        .described("server-sent events"),
    ),
    get(
        "/api/events",
        Viewer,
        run!(|call| events::answer(&call.site, &call.request, &call.identity)),
        about("Known events, newest first", Json(Inline(schemas::events))).parameters(&[
            APP,
            Parameter("before", "string", "only before this event, `epoch-sequence`; a number alone: below this sequence in any epoch"),
            Parameter("limit", "integer", "at most 1000; default 100"),
        ]),
    ),
    get(
        "/api/errors",
        Viewer,
        run!(|call| errors::list(&call.site, &call.request, &call.identity).await),
        about("Exceptions of apps in groups, most recent first", Json(Inline(schemas::errors))).parameters(&[APP]),
    ),
    get(
        "/api/errors/{id}",
        Viewer,
        run!(|call| errors::one(&call.site, &call.identity, &call.name).await),
        about("Details of one group", Json(Named("ErrorDetail"))).parameters(&[GROUP]).errors(&[(404, NO_GROUP)]),
    ),
    post(
        "/api/errors/{id}/resolve",
        Operator,
        run!(|call| errors::resolve(&call.site, call.request, &call.identity, &call.name).await),
        about("Marks a group as resolved; its next exception alerts as a regression", Json(Inline(schemas::errors_resolve_answer)))
            .parameters(&[GROUP])
            .body(Inline(schemas::errors_resolve_body))
            .errors(&[(404, NO_GROUP)]),
    ),
    get(
        "/api/logs",
        Viewer,
        run!(|call| logs::past(&call.site, &call.request, &call.identity).await),
        about("Recent log lines", Json(Inline(schemas::logs)))
            .parameters(&[
                APP,
                LINES,
                Parameter("contains", "string", "only lines with this text; lines then limits how many are searched, at most 100000"),
            ])
            .errors(&[(404, NO_APP), (503, NO_READER), (504, "the log files were not read in time")]),
    ),
    get(
        "/api/logs/live",
        Viewer,
        run!(|call| logs::live(&call.site, &call.request, &call.identity).await),
        about("Recent log lines, then new ones as a stream: `line`", Other(&[("text/event-stream", Inline(schemas::text))]))
            .described("server-sent events")
            .parameters(&[APP, LINES])
            .errors(&[(404, NO_APP), (503, NO_READER)]),
    ),
    get(
        "/api/logs/download",
        Viewer,
        run!(|call| logs::download(&call.site, &call.request, &call.identity).await),
        about("Downloads the current log files", Other(&[("text/plain", Inline(schemas::text))]))
            .parameters(&[APP])
            .errors(&[(404, NO_APP), (503, NO_READER)]),
    ),
    get(
        "/api/logs/search",
        Viewer,
        run!(|call| search::answer(&call.site, &call.request, &call.identity).await),
        about(
            "Searches log lines by their text, also in rotated and compressed files, newest first. The search stops when the \
             client disconnects, or after one minute with a cursor to continue from",
            Other(&[("application/x-ndjson", Named("LogRecord")), ("text/plain", Inline(schemas::text))]),
        )
        .described(
            "one JSON object per line: `begin`, then `hit` and `progress`, finally `end` (or `error`); with format=text only the log lines",
        )
        .parameters(&[
            APP,
            Parameter("q", "string", "the text; omitted: every line"),
            Parameter("regex", "integer", "1: the text is a regular expression"),
            Parameter("ignore_case", "integer", "1: case-insensitive"),
            Parameter("timed", "integer", "1: lines whose time is unknown or too uncertain are skipped and counted as `untimed`"),
            Parameter("from", "integer", "ms since 1970"),
            Parameter("to", "integer", "ms since 1970"),
            Parameter("stream", "string", "out or err; omitted: both"),
            Parameter("before", "string", "a cursor: only lines before it"),
            Parameter("at", "string", "a cursor: only that line, with its context"),
            Parameter("limit", "integer", "maximum number of lines, default 100, at most 1,000; as text at most 100,000"),
            Parameter("context", "integer", "lines before and after each hit, default 2, at most 100"),
            Parameter("format", "string", "text: a file to download"),
        ])
        .errors(&[(404, NO_APP), (400, "an invalid pattern, time or cursor"), (503, NO_READER)]),
    ),
    get(
        "/metrics",
        Viewer,
        run!(|call| metrics::answer(&call.site, &call.request, &call.identity).await),
        about(
            "Metrics for Prometheus, or in OpenMetrics format by Accept",
            Other(&[("text/plain", Inline(schemas::text)), ("application/openmetrics-text", Inline(schemas::text))]),
        )
        .parameters(&[Parameter("format", "string", "`pm2`: metric names of PM2's exporter")]),
    ),
    get(
        "/api/access",
        Admin,
        run!(|call| access::list(&call.site, &call.identity)),
        about("Tokens, settings, audit log", Json(Inline(schemas::access))),
    ),
    post(
        "/api/access/token",
        Admin,
        run!(|call| access::token(&call.site, call.request, &call.identity, None).await),
        about("Creates a token; it is shown only once", Json(Inline(schemas::access_token_answer)))
            .body(Inline(schemas::access_token_body)),
    ),
    delete(
        "/api/access/token/{name}",
        Admin,
        run!(|call| access::token(&call.site, call.request, &call.identity, Some(call.name)).await),
        about("Revokes a token", Json(Named("Done"))).errors(&[(404, NO_TOKEN)]),
    ),
    get(
        "/api/openapi.json",
        Viewer,
        run!(|call| openapi::answer(ROUTES, &call.request.head)),
        about("This document", Json(Inline(schemas::any_object))),
    ),
    get(
        "/api/alerts",
        Viewer,
        run!(|call| alerts::list(&call.site, &call.identity).await),
        about("Firing alerts, channels, silences and history", Json(Named("Alerts"))),
    ),
    post(
        "/api/alerts/test",
        Admin,
        run!(|call| alerts::test(&call.site, call.request, &call.identity).await),
        about("Sends a test message", Json(Inline(schemas::alerts_test_answer)))
            .body(Inline(schemas::alerts_test_body))
            .errors(&[(404, NO_CHANNEL)]),
    ),
    get(
        "/api/alerts/channels",
        Admin,
        run!(|call| alerts::channels(&call.site, &call.identity)),
        about("Settings of channels without their secrets", Json(Inline(schemas::alerts_channels))),
    ),
    post(
        "/api/alerts/channels",
        Admin,
        run!(|call| alerts::add_channel(&call.site, call.request, &call.identity).await),
        about("Adds a channel, or replaces the channel with that name", Json(Inline(schemas::alerts_channels_answer)))
            .body(Inline(schemas::alerts_channels_body)),
    ),
    post(
        "/api/alerts/channels/{name}",
        Admin,
        run!(|call| alerts::change_channel(&call.site, call.request, &call.identity, &call.name).await),
        about("Changes settings of a channel: null removes a setting, and missing settings stay", Json(Named("Done")))
            .body(Inline(schemas::alerts_channel_body))
            .errors(&[(404, NO_CHANNEL), (400, "an invalid setting, or a saved secret must be entered again for a new address")]),
    ),
    delete(
        "/api/alerts/channels/{name}",
        Admin,
        run!(|call| alerts::remove_channel(&call.site, &call.request, &call.identity, &call.name)),
        about("Removes a channel", Json(Named("Done"))).errors(&[(404, NO_CHANNEL)]),
    ),
    post(
        "/api/alerts/silences",
        Operator,
        run!(|call| alerts::silence(&call.site, call.request, &call.identity).await),
        about("Silences alerts for a time", Json(Named("Silence"))).body(Inline(schemas::alerts_silences_body)),
    ),
    delete(
        "/api/alerts/silences/{id}",
        Operator,
        run!(|call| alerts::unsilence(&call.site, &call.request, &call.identity, &call.name)),
        about("Ends a silence", Json(Named("Done"))).errors(&[(404, "no such silence")]),
    ),
    get(
        "/api/history",
        Viewer,
        run!(|call| history::figures(&call.site, &call.request, &call.identity).await),
        about("Metrics history, with the events of that time", Json(Inline(schemas::history)))
            .parameters(&[
                Parameter(
                    "metric",
                    "string",
                    "repeat it for up to 32 metrics; `route:*` and `own:*` stand for all of them that have values. cpu (percent of one core), memory, heap, heap-total (bytes), requests (a second), p50, p95, p99, loop, loop-p95, \
                     loop-p99 (ms), errors (percent of requests with 5xx), loop-use, gc (percent of time), handles, restarts (counter), \
                     restarted (restarts in each step), route:<route> (requests a second), own:<name>; for the machine cpu (percent of \
                     all cores), memory, disk (bytes), load",
                ),
                Parameter("app", "string", "omitted: the machine"),
                Parameter("namespace", "string", "namespace of the app"),
                Parameter("instance", "integer", "omitted: all instances"),
                Parameter("from", "integer", "ms since 1970; default: one hour before `to`"),
                Parameter("to", "integer", "ms since 1970; default: now"),
                Parameter("points", "integer", "approximate maximum number of values; default 300, at most 2000"),
            ])
            .errors(&[(400, "an invalid value"), (404, "there is no such series"), (503, NO_HISTORY)]),
    ),
    get(
        "/api/history/series",
        Viewer,
        run!(|call| history::series(&call.site, &call.identity).await),
        about("Available series", Json(Inline(schemas::history_series))).errors(&[(503, NO_HISTORY)]),
    ),
    get(
        "/api/traces",
        Viewer,
        run!(|call| traces::list(&call.site, &call.request, &call.identity)),
        about("Kept traces, newest first", Json(Inline(schemas::traces))).parameters(&[
            Parameter("app", "string", "only of this app; foreign traces belong to no app"),
            Parameter("min_ms", "number", "minimum duration"),
            Parameter("failed", "boolean", "true: only failed traces"),
            Parameter("route", "string", "text that the route contains"),
            Parameter("limit", "integer", "maximum number, default 100, at most 1000"),
        ]),
    ),
    get(
        "/api/traces/{id}",
        Viewer,
        run!(|call| traces::one(&call.site, &call.identity, &call.name)),
        about("One trace, with the spans visible to you", Json(Named("TraceDetail"))).errors(&[(404, NO_TRACE)]),
    ),
    post(
        "/api/apps/{name}/profile",
        Operator,
        run!(|call| profiles::take(&call.site, call.request, &call.identity, &call.name).await),
        about(
            "Starts profiling instances of a Node app and returns at once; heap snapshots require the role admin, because they contain \
             the app's secrets",
            Json(Inline(schemas::apps_profile_answer)),
        )
        .status(202)
        .body(Inline(schemas::apps_profile_body))
        .errors(&[
            (400, "the body is invalid, or no such instance is running"),
            (404, NO_APP),
            (409, "not a Node app, or already being profiled"),
            (503, NO_DAEMON),
        ]),
    ),
    get(
        "/api/profiles",
        Viewer,
        run!(|call| profiles::list(&call.site, &call.identity)),
        about("Profiles: kept, running and failed", Json(Inline(schemas::profiles))),
    ),
    get(
        "/api/profiles/{id}",
        Viewer,
        run!(|call| profiles::one(&call.site, &call.identity, &call.name)),
        about("The file as written by V8 (.cpuprofile, .heapprofile; .heapsnapshot for admins)", Json(Inline(schemas::anything)))
            .errors(&[(404, NO_PROFILE)]),
    ),
    delete(
        "/api/profiles/{id}",
        Operator,
        run!(|call| profiles::remove(&call.site, &call.request, &call.identity, &call.name)),
        about("Removes a profile", Json(Named("Done"))).errors(&[(404, NO_PROFILE)]),
    ),
];
