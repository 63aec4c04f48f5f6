//! `/api/history`: past values with marks of events, and the list of available metrics.

use hyper::{Response, StatusCode};
use ostler_history::{Figure, QueryResult};
use serde_json::{Value, json};

use crate::access::Identity;
use crate::history::{self, ChartMark, Key, SeriesSubject};
use crate::http::query;
use crate::http::reply::{Body, error, json as reply};
use crate::site::{ClientRequest, Site};

/// Default and maximum number of values in an answer.
const USUAL: u64 = 300;
const MOST: u64 = 2000;
/// Default time range before now, in ms.
const HOUR_MS: u64 = 3_600_000;
/// Maximum number of marks in an answer; the newest are kept.
const MARKS: usize = 200;

/// Parsed query.
#[derive(Debug, PartialEq, Eq)]
struct HistoryQuery {
    metric: String,
    /// None = the machine.
    app: Option<String>,
    namespace: Option<String>,
    instance: Option<u32>,
    from: u64,
    to: u64,
    points: u64,
}

impl HistoryQuery {
    /// Parses a query string; returns the reason if it is invalid.
    fn parse(text: Option<&str>, now: u64) -> Result<Self, &'static str> {
        let given = |key: &str| query::value(text, key).filter(|value| !value.is_empty());
        let time = |key: &str, usual: u64| given(key).map_or(Some(usual), |text| text.parse().ok());
        let to = time("to", now).ok_or("to: expected milliseconds since 1970")?;
        let from = time("from", to.saturating_sub(HOUR_MS)).ok_or("from: expected milliseconds since 1970")?;
        if from > to {
            return Err("from is after to");
        }
        let instance = given("instance").map(|text| text.parse().map_err(|_| "instance: expected a number")).transpose()?;
        Ok(Self {
            metric: given("metric").ok_or("metric is missing: api/history/series lists the available ones")?,
            app: given("app"),
            namespace: given("namespace"),
            instance,
            from,
            to,
            points: query::number(text, "points", USUAL, MOST).max(1),
        })
    }

    /// Returns the name of its series, among the visible names.
    fn key(&self, known: impl Iterator<Item = Key>) -> Option<Key> {
        let Some(app) = &self.app else { return Some(Key::host(&self.metric)) };
        if let Some(namespace) = &self.namespace {
            return Some(Key::app(namespace, app, self.instance, &self.metric));
        }
        // The namespace is that of the app; if there are several, the first.
        let of_app = |key: Key| match key.subject {
            SeriesSubject::App { namespace, name, .. } if name == *app => Some(namespace),
            _ => None,
        };
        let namespace = known.filter_map(of_app).min()?;
        Some(Key::app(&namespace, app, self.instance, &self.metric))
    }
}

fn sees(identity: &Identity, key: &Key) -> bool {
    match &key.subject {
        SeriesSubject::Host => identity.sees_all(),
        SeriesSubject::App { namespace, .. } => identity.sees(namespace),
    }
}

pub(super) async fn figures(site: &Site, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let query = match HistoryQuery::parse(request.head.uri.query(), crate::clock::now_ms()) {
        Ok(query) => query,
        Err(problem) => return error(StatusCode::BAD_REQUEST, problem),
    };
    let (recorder, who, table) = (site.daemon.recorder().clone(), identity.clone(), site.daemon.latest());
    // Files are read on a separate thread, not on the serving thread.
    let request = tokio::task::spawn_blocking(move || {
        let answer = recorder.query(|history| {
            let known = history.keys().filter_map(Key::parse).filter(|key| sees(&who, key));
            let key = query.key(known).filter(|key| sees(&who, key))?;
            Some(history::figures(history, &key, query.from, query.to, query.points))
        });
        let mut marks = recorder.marks().between(query.app.as_deref(), query.instance, query.from, query.to, MARKS);
        // Marks have the name of an app, but not its namespace.
        let is_seen =
            |mark: &ChartMark| mark.app.as_ref().is_some_and(|app| table.sees(app, mark.instance, |namespace| who.sees(namespace)));
        marks.retain(|mark| who.sees_all() || is_seen(mark));
        (query, answer, marks)
    });
    let Ok((query, answer, marks)) = request.await else { return error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost") };
    match answer {
        Some(Some(answer)) => reply(&shown(&query, &answer, &marks)),
        Some(None) => error(StatusCode::NOT_FOUND, "there is no such series"),
        None => error(StatusCode::SERVICE_UNAVAILABLE, "the history is still loading"),
    }
}

pub(super) async fn series(site: &Site, identity: &Identity) -> Response<Body> {
    let (recorder, who) = (site.daemon.recorder().clone(), identity.clone());
    let request = tokio::task::spawn_blocking(move || {
        recorder.query(|history| {
            let mut keys: Vec<Key> = history.keys().filter_map(Key::parse).filter(|key| sees(&who, key)).collect();
            keys.sort();
            (keys, history.left_out())
        })
    });
    match request.await {
        Ok(Some((keys, left_out))) => reply(&json!({ "series": keys.iter().map(named).collect::<Vec<_>>(), "left_out": left_out })),
        Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "the history is still loading"),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost"),
    }
}

fn named(key: &Key) -> Value {
    match &key.subject {
        SeriesSubject::Host => json!({ "app": null, "namespace": null, "instance": null, "metric": key.metric }),
        SeriesSubject::App { namespace, name, instance } => {
            json!({ "app": name, "namespace": namespace, "instance": instance, "metric": key.metric })
        }
    }
}

fn shown(query: &HistoryQuery, answer: &QueryResult, marks: &[ChartMark]) -> Value {
    let mark = |mark: &ChartMark| json!({ "at": mark.at, "kind": mark.kind, "instance": mark.instance, "text": mark.text, "severity": mark.severity });
    let figure = |figure: &Figure| json!([figure.at_ms, rounded(figure.min), rounded(figure.avg), rounded(figure.max)]);
    json!({
        "metric": query.metric,
        "from": query.from,
        "to": query.to,
        "step": answer.step_ms,
        "figures": answer.figures.iter().map(figure).collect::<Vec<_>>(),
        "marks": marks.iter().map(mark).collect::<Vec<_>>(),
    })
}

/// Rounds away digits that come only from summing.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parses_with_defaults_and_limits() {
        let query = HistoryQuery::parse(Some("metric=cpu&app=a%2Fb&instance=3&from=5&to=9&points=99999"), 100).unwrap();
        assert_eq!((query.app.as_deref(), query.instance, query.from, query.to, query.points), (Some("a/b"), Some(3), 5, 9, MOST));
        let usual = HistoryQuery::parse(Some("metric=cpu"), 2 * HOUR_MS).unwrap();
        assert_eq!((usual.app, usual.from, usual.to, usual.points), (None, HOUR_MS, 2 * HOUR_MS, USUAL));
        for (query, reason) in [
            ("", "metric is missing"),
            ("metric=", "metric is missing"),
            ("metric=cpu&from=9&to=5", "from is after to"),
            ("metric=cpu&from=-1", "from: expected milliseconds"),
            ("metric=cpu&to=soon", "to: expected milliseconds"),
            ("metric=cpu&instance=x", "instance: expected a number"),
        ] {
            let found = HistoryQuery::parse(Some(query), 100).unwrap_err();
            assert!(found.starts_with(reason), "{query}: {found}");
        }
    }

    #[test]
    fn namespace_defaults_to_that_of_a_visible_series() {
        let query = HistoryQuery::parse(Some("metric=cpu&app=api"), 100).unwrap();
        let known = || [Key::host("cpu"), Key::app("b", "api", None, "cpu"), Key::app("c", "other", None, "cpu")].into_iter();
        assert_eq!(query.key(known()), Some(Key::app("b", "api", None, "cpu")));
        assert_eq!(query.key(known().take(1)), None);
        let named = HistoryQuery { namespace: Some("x".into()), ..query };
        assert_eq!(named.key(known()), Some(Key::app("x", "api", None, "cpu")));
    }
}
