//! Tests of the table of routes: lookup of rows, roles, the OpenAPI document and the documentation.

use hyper::Method;

use super::route::find;
use super::table::ROUTES;
use super::{errors, openapi};
use crate::access::Role;

#[test]
fn paths_resolve_to_routes() {
    for (path, expected) in [
        ("/api/apps", Some(("/api/apps", ""))),
        ("/api/apps/a%20b%2Fc", Some(("/api/apps/{name}", "a b/c"))),
        ("/api/%61pps/api/restart", Some(("/api/apps/{name}/restart", "api"))),
        ("/api/apps/api/explode", None),
        ("/api/apps/api/profile", Some(("/api/apps/{name}/profile", "api"))),
        ("/api/profiles/7", Some(("/api/profiles/{id}", "7"))),
        ("/api/profiles/", None),
        ("/api/apps/", None),
        ("/api/apps//restart", None),
        ("/api/apps/api/restart/", None),
        ("/api/errors/ab12", Some(("/api/errors/{id}", "ab12"))),
        ("/api/errors/ab12/resolve", Some(("/api/errors/{id}/resolve", "ab12"))),
        ("/api/errors/ab12/explode", None),
        ("/api/apps/%ff", None),
        ("/api/apps/%2", None),
        ("/api/access/token/ci", Some(("/api/access/token/{name}", "ci"))),
        ("/metrics", Some(("/metrics", ""))),
        ("/%6detrics", None),
        ("/metrics/", None),
        ("/API/apps", None),
        ("/api/", None),
        ("", None),
    ] {
        let found = find(ROUTES, path).map(|found| (found.rows()[0].path, found.name));
        assert_eq!(found, expected.map(|(path, name)| (path, name.to_owned())), "{path}");
    }
}

/// A path matches the rows of one path in the table, with one row for each method.
#[test]
fn no_route_hides_another() {
    for route in ROUTES {
        let path = route.path.replace("{name}", "x").replace("{id}", "x");
        let found = find(ROUTES, &path).unwrap();
        assert!(found.rows().iter().all(|row| row.path == route.path), "{path}");
        assert!(std::ptr::eq(found.route(&route.method).unwrap(), route), "{} {path} is in the table twice", route.method);
        assert!(route.path.matches('{').count() <= 1, "{path}: a path has one part in braces");
    }
}

#[test]
fn allowed_methods_of_paths_are_listed() {
    for (path, methods) in [
        ("/api/session", "GET, HEAD, POST, DELETE"),
        ("/api/profiles/7", "GET, HEAD, DELETE"),
        ("/api/apps", "GET, HEAD"),
        ("/api/apps/a/restart", "POST"),
        ("/api/alerts/silences/x", "DELETE"),
    ] {
        assert_eq!(find(ROUTES, path).unwrap().allow(), methods, "{path}");
    }
}

/// Roles of all routes.
#[test]
fn each_route_requires_its_role() {
    let role = |method: &Method, path: &str| find(ROUTES, path).unwrap().route(method).map(|route| route.role);
    for (method, path, needs) in [
        (Method::GET, "/api/apps", Some(Role::Viewer)),
        (Method::POST, "/api/apps", None),
        (Method::GET, "/api/ports", Some(Role::Viewer)),
        (Method::GET, "/api/hosts", Some(Role::Viewer)),
        (Method::POST, "/api/hosts", None),
        (Method::POST, "/api/ports", None),
        (Method::GET, "/api/apps/a/routes", Some(Role::Viewer)),
        (Method::GET, "/api/logs/live", Some(Role::Viewer)),
        (Method::GET, "/api/logs/search", Some(Role::Viewer)),
        (Method::POST, "/api/logs/search", None),
        (Method::GET, "/metrics", Some(Role::Viewer)),
        (Method::POST, "/api/apps/a/restart", Some(Role::Operator)),
        (Method::GET, "/api/apps/a/restart", None),
        (Method::POST, "/api/apps/a/scale", Some(Role::Operator)),
        (Method::POST, "/api/apps/a/delete", Some(Role::Admin)),
        (Method::POST, "/api/apps/a/flush", Some(Role::Admin)),
        (Method::GET, "/api/errors", Some(Role::Viewer)),
        (Method::GET, "/api/errors/x", Some(Role::Viewer)),
        (Method::POST, "/api/errors/x", None),
        (Method::POST, "/api/errors/x/resolve", Some(Role::Operator)),
        (Method::GET, "/api/errors/x/resolve", None),
        (Method::GET, "/api/traces", Some(Role::Viewer)),
        (Method::GET, "/api/traces/x", Some(Role::Viewer)),
        (Method::POST, "/api/traces", None),
        (Method::POST, "/api/apps/a/profile", Some(Role::Operator)),
        (Method::GET, "/api/apps/a/profile", None),
        (Method::GET, "/api/profiles", Some(Role::Viewer)),
        (Method::GET, "/api/profiles/7", Some(Role::Viewer)),
        (Method::DELETE, "/api/profiles/7", Some(Role::Operator)),
        (Method::POST, "/api/profiles/7", None),
        (Method::GET, "/api/access", Some(Role::Admin)),
        (Method::POST, "/api/access/token", Some(Role::Admin)),
        (Method::DELETE, "/api/access/token/x", Some(Role::Admin)),
        (Method::PUT, "/api/session", None),
        (Method::GET, "/api/alerts", Some(Role::Viewer)),
        (Method::POST, "/api/alerts/test", Some(Role::Admin)),
        (Method::POST, "/api/alerts/channels", Some(Role::Admin)),
        (Method::DELETE, "/api/alerts/channels/x", Some(Role::Admin)),
        (Method::POST, "/api/alerts/silences", Some(Role::Operator)),
        (Method::DELETE, "/api/alerts/silences/x", Some(Role::Operator)),
        (Method::GET, "/api/alerts/channels", Some(Role::Admin)),
        (Method::POST, "/api/alerts/channels/x", Some(Role::Admin)),
        (Method::GET, "/api/alerts/channels/x", None),
    ] {
        assert_eq!(role(&method, path), needs, "{method} {path}");
    }
}

/// Each shape that the document names exists.
#[test]
fn referenced_schemas_exist() {
    let document = openapi::document(ROUTES);
    let text = document.to_string();
    let named: Vec<&str> =
        text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect();
    assert!(named.len() > ROUTES.len());
    for name in named {
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not in openapi.json");
    }
}

/// The 404 of a route names the subject of its path: the word before the braces.
#[test]
fn not_found_names_the_subject_of_the_path() {
    let document = openapi::document(ROUTES);
    let mut count = 0;
    for route in ROUTES {
        let Some((before, _)) = route.path.split_once("/{") else { continue };
        let subject = before.rsplit('/').next().unwrap().trim_end_matches('s');
        let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
        let text = operation["responses"]["404"]["description"].as_str().unwrap_or_default();
        assert!(text.split([' ', ',']).any(|word| word == subject), "{} {}: {text:?}", route.method, route.path);
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// The dashboard's documentation page names each route.
#[test]
fn routes_are_documented() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dashboard.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split_once("## The API").unwrap().1;
    for route in ROUTES {
        let path = route.path.trim_start_matches('/');
        let of_app = route.verb().is_some_and(|verb| section.contains("api/apps/{name}/{verb}") && section.contains(verb));
        assert!(section.contains(path) || of_app, "docs/dashboard.md does not name {path}");
    }
}

/// Responses have exactly the properties of the document.
#[test]
fn responses_have_the_documented_properties() {
    let document = openapi::document(ROUTES);
    let trouble = Some(ostler_core::lifecycle::Trouble::Crashed);
    let rows = vec![ostler_proto::control::TableRow { trouble, ..crate::view::tests_row(0, "api", "default", "stopped") }];
    let all = crate::view::apps(&crate::snapshot::Snapshot { rows, ..Default::default() }, |_| true);
    let all = serde_json::to_value(&all).unwrap();
    let group = crate::errors::tests_group();
    let resolved = crate::errors::Resolved::default();
    let (short, full) = (errors::summary(&group, &resolved), errors::detail(&group, &resolved, errors::FoundContext::default()));
    let (short, full) = (serde_json::to_value(short).unwrap(), serde_json::to_value(full).unwrap());
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let subject = crate::profiles::tests_subject();
    let failed = crate::profiles::FailedProfile { subject: subject.clone(), reason: "x".into() };
    let kept = crate::profiles::StoredProfile { id: "1".into(), subject: subject.clone(), bytes: 1 };
    let [kept, running, failed] =
        [serde_json::to_value(kept), serde_json::to_value(subject), serde_json::to_value(failed)].map(Result::unwrap);
    for (name, value) in [
        ("Profile", &kept),
        ("ProfileUnderWay", &running),
        ("ProfileFailed", &failed),
        ("Apps", &all),
        ("Host", &all["host"]),
        ("App", &all["apps"][0]),
        ("Instance", &all["apps"][0]["instances"][0]),
        ("ErrorGroup", &short),
        ("ErrorDetail", &full),
        ("ErrorSeen", &full["releases"][0]),
    ] {
        assert_eq!(keys(value), keys(&document["components"]["schemas"][name]["properties"]), "{name}");
    }
    let mut store = ostler_otlp::store::Store::new(1 << 20);
    let span = ostler_otlp::span::Span { id: [1; 8], failed: true, ..Default::default() };
    store.add(&ostler_otlp::store::Sender::default(), [1; 16], span, 1);
    let trace = serde_json::to_value(store.get(&[1; 16], &|_| true)).unwrap();
    let summary = serde_json::to_value(store.list(&ostler_otlp::store::Filter { limit: 1, ..Default::default() }, &|_| true)).unwrap();
    let receiver = serde_json::to_value(crate::otlp::ReceiverState::default()).unwrap();
    for (name, value) in [
        ("Trace", &summary[0][0]),
        ("TraceDetail", &trace),
        ("TraceSpan", &trace["tree"][0]),
        ("TraceSender", &trace["from"][0]),
        ("TraceReceiver", &receiver),
    ] {
        assert_eq!(keys(value), keys(&document["components"]["schemas"][name]["properties"]), "{name}");
    }
    let alerts = serde_json::to_value(crate::alerts::Overview::sample()).unwrap();
    let parts = [
        ("Alerts", &alerts),
        ("Alert", &alerts["alerts"][0]),
        ("Channel", &alerts["channels"][0]),
        ("Silence", &alerts["silences"][0]),
        ("AlertChange", &alerts["history"][0]),
        ("AlertSent", &alerts["sent"][0]),
    ];
    for (name, value) in parts {
        assert_eq!(keys(value), keys(&document["components"]["schemas"][name]["properties"]), "{name}");
    }
}
