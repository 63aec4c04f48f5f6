//! The API: which path is what, and which role it needs.

mod access;
mod act;
mod alerts;
mod apps;
mod errors;
mod events;
mod history;
mod live;
mod logs;
mod metrics;
mod pm2;
mod profiles;
mod search;
mod session;
mod traces;

use std::rc::Rc;

use http_body_util::BodyExt as _;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Response, StatusCode};

use crate::access::audit::Entry;
use crate::access::{Identity, Role};
use crate::http::reply::{Body, Reason, error};
use crate::http::shares::Seated;
use crate::http::{assets, query};
use crate::site::{Asked, Site};
use crate::view::App;

pub(crate) use pm2::page as pm2_page;

/// A path of the API, read.
#[derive(Debug, PartialEq, Eq)]
enum Path {
    Session,
    Apps,
    App(String),
    Act(String, act::Verb),
    TakeProfile(String),
    Live,
    Events,
    Errors,
    Error(String),
    Resolve(String),
    Profiles,
    Profile(String),
    History,
    Series,
    Logs,
    LogsLive,
    LogsDownload,
    LogsSearch,
    Metrics,
    Access,
    Token(Option<String>),
    Alerts,
    AlertTest,
    Channels,
    Channel(String),
    Silences,
    Silence(String),
    Traces,
    Trace(String),
    OpenApi,
}

impl Path {
    /// The path and its decoded parts; none = there is none such.
    fn parse(path: &str) -> Option<Self> {
        if path == "/metrics" {
            return Some(Self::Metrics);
        }
        let rest = path.strip_prefix("/api/")?;
        let parts: Vec<String> = rest.split('/').map(query::decoded).collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Some(match parts[..] {
            ["session"] => Self::Session,
            ["apps"] => Self::Apps,
            ["apps", name] if !name.is_empty() => Self::App(name.to_owned()),
            ["apps", name, "profile"] if !name.is_empty() => Self::TakeProfile(name.to_owned()),
            ["apps", name, verb] if !name.is_empty() => Self::Act(name.to_owned(), act::Verb::parse(verb)?),
            ["live"] => Self::Live,
            ["events"] => Self::Events,
            ["errors"] => Self::Errors,
            ["errors", id] if !id.is_empty() => Self::Error(id.to_owned()),
            ["errors", id, "resolve"] if !id.is_empty() => Self::Resolve(id.to_owned()),
            ["profiles"] => Self::Profiles,
            ["profiles", id] if !id.is_empty() => Self::Profile(id.to_owned()),
            ["history"] => Self::History,
            ["history", "series"] => Self::Series,
            ["logs"] => Self::Logs,
            ["logs", "live"] => Self::LogsLive,
            ["logs", "download"] => Self::LogsDownload,
            ["logs", "search"] => Self::LogsSearch,
            ["access"] => Self::Access,
            ["access", "token"] => Self::Token(None),
            ["access", "token", name] if !name.is_empty() => Self::Token(Some(name.to_owned())),
            ["alerts"] => Self::Alerts,
            ["alerts", "test"] => Self::AlertTest,
            ["alerts", "channels"] => Self::Channels,
            ["alerts", "channels", name] if !name.is_empty() => Self::Channel(name.to_owned()),
            ["alerts", "silences"] => Self::Silences,
            ["alerts", "silences", id] if !id.is_empty() => Self::Silence(id.to_owned()),
            ["traces"] => Self::Traces,
            ["traces", id] if !id.is_empty() => Self::Trace(id.to_owned()),
            ["openapi.json"] => Self::OpenApi,
            _ => return None,
        })
    }

    /// The role that this method of it needs; none = there is no such method.
    fn role(&self, method: &Method) -> Option<Role> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::Session => (reads || matches!(*method, Method::POST | Method::DELETE)).then_some(Role::Viewer),
            Self::Act(_, verb) => (*method == Method::POST).then(|| verb.role()),
            Self::Resolve(_) | Self::TakeProfile(_) => (*method == Method::POST).then_some(Role::Operator),
            Self::Profile(_) if *method == Method::DELETE => Some(Role::Operator),
            Self::Access => reads.then_some(Role::Admin),
            Self::Token(None) => (*method == Method::POST).then_some(Role::Admin),
            Self::Token(Some(_)) | Self::Channel(_) => (*method == Method::DELETE).then_some(Role::Admin),
            Self::Channels | Self::AlertTest => (*method == Method::POST).then_some(Role::Admin),
            Self::Silences => (*method == Method::POST).then_some(Role::Operator),
            Self::Silence(_) => (*method == Method::DELETE).then_some(Role::Operator),
            _ => reads.then_some(Role::Viewer),
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Session => "GET, HEAD, POST, DELETE",
            Self::Profile(_) => "GET, HEAD, DELETE",
            Self::Act(..)
            | Self::TakeProfile(_)
            | Self::Resolve(_)
            | Self::Token(None)
            | Self::Channels
            | Self::AlertTest
            | Self::Silences => "POST",
            Self::Token(Some(_)) | Self::Channel(_) | Self::Silence(_) => "DELETE",
            _ => "GET, HEAD",
        }
    }
}

/// Answers a request that came through the first door.
pub(crate) async fn answer(site: Rc<Site>, asked: Asked) -> Response<Body> {
    let path = asked.head.uri.path();
    let Some(api) = Path::parse(path) else {
        let is_read = matches!(asked.head.method, Method::GET | Method::HEAD);
        let page = path.strip_prefix('/').filter(|_| is_read).and_then(|path| assets::answer(path, &asked.head));
        return page.unwrap_or_else(|| error(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    let Some(needs) = api.role(&asked.head.method) else {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(api.methods()));
        return response;
    };
    // It says itself who may.
    if api == Path::Session {
        return session::answer(&site, asked).await;
    }
    let identity = match site.identity(&asked.head) {
        Ok(Some(identity)) => identity,
        Ok(None) => return unknown(&site),
        Err(problem) => return broken(&problem),
    };
    asked.admit();
    let Some(seat) = site.shares.request(&identity) else { return too_many() };
    let refusal = Refusal::new(&api, &asked, &identity);
    let response = if identity.role < needs {
        error(StatusCode::FORBIDDEN, &format!("this needs the role {}, and you are {}", needs.word(), identity.role.word()))
    } else {
        perform(Rc::clone(&site), asked, api, identity).await
    };
    refusal.note(&site, &response);
    response.map(|body| Seated { body, _seat: seat }.boxed_unsync())
}

/// One identity has as many requests as it may have.
fn too_many() -> Response<Body> {
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "you have too many requests and streams at a time: close some");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Line of the audit log for an order that is not carried out, or a look that is not allowed. What is done has a line of its own.
struct Refusal {
    entry: Entry,
    is_order: bool,
}

impl Refusal {
    fn new(api: &Path, asked: &Asked, identity: &Identity) -> Self {
        let method = &asked.head.method;
        let (what, app) = match api {
            Path::Act(name, verb) => (verb.word().to_owned(), Some(name.clone())),
            Path::TakeProfile(name) => ("profile".to_owned(), Some(name.clone())),
            _ => (format!("{method} {}", asked.head.uri.path()), None),
        };
        let (who, from) = (identity.user.clone(), asked.from.map(|from| from.to_string()));
        let entry = Entry { at: crate::clock::now_ms(), who, from, what, app, namespace: None, result: String::new() };
        Self { entry, is_order: !matches!(*method, Method::GET | Method::HEAD) }
    }

    fn note(mut self, site: &Site, response: &Response<Body>) {
        let status = response.status();
        let is_refused = status == StatusCode::FORBIDDEN || self.is_order && !status.is_success();
        if !is_refused {
            return;
        }
        let reason = response.extensions().get::<Reason>().map_or_else(|| status.to_string(), |Reason(reason)| reason.clone());
        self.entry.result = if status.is_client_error() && status != StatusCode::CONFLICT { format!("refused: {reason}") } else { reason };
        self.entry.namespace = self.entry.app.as_ref().and_then(|app| site.daemon.latest().namespace_of(app));
        site.audit.refused(&self.entry);
    }
}

/// Modules (the dashboard and its alerts among them) belong to the machine: only an admin of all namespaces controls them.
fn guards_module(app: &App, identity: &Identity) -> Option<Response<Body>> {
    let is_allowed = app.kind != "module" || identity.role >= Role::Admin && identity.sees_all();
    (!is_allowed).then(|| error(StatusCode::FORBIDDEN, "modules belong to the machine: this needs the role admin, of all namespaces"))
}

async fn perform(site: Rc<Site>, asked: Asked, path: Path, identity: Identity) -> Response<Body> {
    match path {
        Path::Session => error(StatusCode::NOT_FOUND, "there is nothing here"),
        Path::Apps => apps::list(&site, &identity).await,
        Path::App(name) => apps::one(&site, &identity, &name).await,
        Path::Act(name, verb) => act::answer(&site, asked, &identity, &name, verb).await,
        Path::TakeProfile(name) => profiles::take(&site, asked, &identity, &name).await,
        Path::Profiles => profiles::list(&site, &identity),
        Path::Profile(id) if asked.head.method == Method::DELETE => profiles::remove(&site, &asked, &identity, &id),
        Path::Profile(id) => profiles::one(&site, &identity, &id),
        Path::Live => live::answer(&site, &asked, identity),
        Path::Events => events::answer(&site, &asked, &identity),
        Path::Errors => errors::list(&site, &asked, &identity).await,
        Path::Error(id) => errors::one(&site, &identity, &id).await,
        Path::Resolve(id) => errors::resolve(&site, asked, &identity, &id).await,
        Path::History => history::figures(&site, &asked, &identity).await,
        Path::Series => history::series(&site, &identity).await,
        Path::Logs => logs::past(&site, &asked, &identity).await,
        Path::LogsLive => logs::live(&site, &asked, &identity).await,
        Path::LogsDownload => logs::download(&site, &asked, &identity).await,
        Path::LogsSearch => search::answer(&site, &asked, &identity).await,
        Path::Metrics => metrics::answer(&site, &asked, &identity).await,
        Path::Access => access::list(&site, &identity),
        Path::Token(name) => access::token(&site, asked, &identity, name).await,
        Path::Alerts => alerts::list(&site, &identity).await,
        Path::AlertTest => alerts::test(&site, asked, &identity).await,
        Path::Channels => alerts::add_channel(&site, asked, &identity).await,
        Path::Channel(name) => alerts::remove_channel(&site, &asked, &identity, &name),
        Path::Silences => alerts::silence(&site, asked, &identity).await,
        Path::Silence(id) => alerts::unsilence(&site, &asked, &identity, &id),
        Path::Traces => traces::list(&site, &asked, &identity),
        Path::Trace(id) => traces::one(&site, &identity, &id),
        Path::OpenApi => {
            assets::answer("api/openapi.json", &asked.head).unwrap_or_else(|| error(StatusCode::NOT_FOUND, "there is nothing here"))
        }
    }
}

/// Nobody that is known.
fn unknown(site: &Site) -> Response<Body> {
    let password = site.store.borrow_mut().get().is_ok_and(|access| access.password.is_some());
    let value = serde_json::json!({ "error": "log in first: `ostler web open` makes a link", "logins": { "password": password } });
    let mut response = crate::http::reply::with_status(StatusCode::UNAUTHORIZED, &value);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Who may come in cannot be read, or not be written.
fn broken(problem: &crate::access::AccessError) -> Response<Body> {
    error(StatusCode::INTERNAL_SERVER_ERROR, &ostler_core::text::causes::with_causes(problem))
}

/// The daemon does not answer, or says no.
fn not_asked(problem: &crate::daemon::AskError) -> Response<Body> {
    use crate::daemon::AskError;
    use ostler_client::ClientError;
    use ostler_proto::control::Failure;
    let status = match problem {
        AskError::Client(ClientError::Refused(Failure::NotFound { .. })) => StatusCode::NOT_FOUND,
        AskError::Client(ClientError::Refused(_)) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &ostler_core::text::causes::with_causes(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API, described: OpenAPI 3.1.
    const OPENAPI: &str = include_str!("../../openapi.json");

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/api/apps", Some(Path::Apps)),
            ("/api/apps/a%20b%2Fc", Some(Path::App("a b/c".into()))),
            ("/api/apps/api/restart", Some(Path::Act("api".into(), act::Verb::Restart))),
            ("/api/apps/api/explode", None),
            ("/api/apps/api/profile", Some(Path::TakeProfile("api".into()))),
            ("/api/profiles/7", Some(Path::Profile("7".into()))),
            ("/api/profiles/", None),
            ("/api/apps/", None),
            ("/api/errors", Some(Path::Errors)),
            ("/api/errors/ab12", Some(Path::Error("ab12".into()))),
            ("/api/errors/ab12/resolve", Some(Path::Resolve("ab12".into()))),
            ("/api/errors/ab12/explode", None),
            ("/api/errors/", None),
            ("/api/traces", Some(Path::Traces)),
            ("/api/traces/0af7", Some(Path::Trace("0af7".into()))),
            ("/api/traces/", None),
            ("/api/apps/%ff", None),
            ("/api/apps/%2", None),
            ("/api/access/token/ci", Some(Path::Token(Some("ci".into())))),
            ("/metrics", Some(Path::Metrics)),
            ("/metrics/", None),
            ("/API/apps", None),
            ("", None),
        ] {
            assert_eq!(Path::parse(path), expected, "{path}");
        }
    }

    /// The table of who may do what.
    #[test]
    fn roles() {
        let role = |method: &Method, path: &str| Path::parse(path).unwrap().role(method);
        for (method, path, needs) in [
            (Method::GET, "/api/apps", Some(Role::Viewer)),
            (Method::POST, "/api/apps", None),
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
            (Method::GET, "/api/alerts/channels", None),
        ] {
            assert_eq!(role(&method, path), needs, "{method} {path}");
        }
    }

    /// The document says what the code does: each path and method with its role, and nothing else.
    #[test]
    fn the_document_is_true() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let parsed = Path::parse(&path.replace("{name}", "x").replace("{id}", "x")).unwrap_or_else(|| panic!("{path}"));
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let told = item[method.as_str().to_ascii_lowercase()]["x-role"].as_str().and_then(Role::parse);
                assert_eq!(told, parsed.role(&method), "{method} {path}");
            }
            described.push(parsed);
        }
        let verbs = ["start", "stop", "restart", "reload", "delete", "reset", "flush", "scale", "undo", "trigger", "send"];
        let acts = verbs.map(|verb| format!("/api/apps/x/{verb}"));
        let others = [
            "/api/session",
            "/api/apps",
            "/api/apps/x",
            "/api/live",
            "/api/events",
            "/api/errors",
            "/api/errors/x",
            "/api/errors/x/resolve",
            "/api/apps/x/profile",
            "/api/profiles",
            "/api/profiles/x",
            "/api/history",
            "/api/history/series",
            "/api/logs",
            "/api/logs/live",
            "/api/logs/download",
            "/api/logs/search",
            "/metrics",
            "/api/access",
            "/api/access/token",
            "/api/access/token/x",
            "/api/alerts",
            "/api/alerts/test",
            "/api/alerts/channels",
            "/api/alerts/channels/x",
            "/api/alerts/silences",
            "/api/alerts/silences/x",
            "/api/traces",
            "/api/traces/x",
            "/api/openapi.json",
        ];
        let all: Vec<Path> = acts.iter().map(String::as_str).chain(others).map(|path| Path::parse(path).unwrap()).collect();
        assert!(all.iter().all(|path| described.contains(path)) && all.len() == described.len());
    }

    /// Shapes of answers have the properties of the document, and no others.
    #[test]
    fn shapes_are_those_of_the_document() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let rows = vec![crate::view::tests_row(0, "api", "default", "online")];
        let all = crate::view::apps(&crate::snapshot::Snapshot { rows, ..Default::default() }, |_| true);
        let all = serde_json::to_value(&all).unwrap();
        let group = crate::errors::tests_group();
        let resolved = crate::errors::Resolved::default();
        let (short, full) = (errors::short(&group, &resolved), errors::full(&group, &resolved));
        let (short, full) = (serde_json::to_value(short).unwrap(), serde_json::to_value(full).unwrap());
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let subject = crate::profiles::tests_subject();
        let failed = crate::profiles::Failed { subject: subject.clone(), reason: "x".into() };
        let kept = crate::profiles::Kept { id: "1".into(), subject: subject.clone(), bytes: 1 };
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
}
