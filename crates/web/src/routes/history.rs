//! `/api/history`: past values with marks of events, and the list of available metrics. A request
//! may ask for several metrics of one app, so that a view of the page needs one request.

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
/// Maximum number of metrics of a request, and of values of all metrics together.
const METRICS: usize = 32;
const MOST_OF_ALL: u64 = 10_000;
/// Maximum number of series that a pattern stands for.
const EXPANDED: usize = 64;
/// Default time range before now, in ms.
const HOUR_MS: u64 = 3_600_000;
/// Maximum number of marks in an answer; the newest are kept.
const MARKS: usize = 200;

/// Parsed query.
#[derive(Debug, PartialEq, Eq)]
struct HistoryQuery {
    /// At least one.
    metrics: Vec<String>,
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
        let metrics: Vec<String> = query::values(text, "metric").filter(|metric| !metric.is_empty()).collect();
        match metrics.len() {
            0 => return Err("metric is missing: api/history/series lists the available ones"),
            1..=METRICS => {}
            _ => return Err("metric: at most 32 at a time"),
        }
        let most = MOST.min(MOST_OF_ALL / u64::try_from(metrics.len()).unwrap_or(1));
        let instance = given("instance").map(|text| text.parse().map_err(|_| "instance: expected a number")).transpose()?;
        Ok(Self {
            metrics,
            app: given("app"),
            namespace: given("namespace"),
            instance,
            from,
            to,
            points: query::number(text, "points", USUAL, most).max(1),
        })
    }

    /// Returns the names of its series, among the visible names; none if there is no such app.
    fn keys(&self, known: impl FnOnce() -> Vec<Key>) -> Option<Vec<Key>> {
        let is_searched = self.app.is_some() && self.namespace.is_none() || self.metrics.iter().any(|metric| is_pattern(metric));
        let known = if is_searched { known() } else { Vec::new() };
        let of = |key: &dyn Fn(&str) -> Key| self.metrics.iter().flat_map(|metric| expanded(&key(metric), &known)).collect();
        let Some(app) = &self.app else { return Some(of(&Key::host)) };
        if let Some(namespace) = &self.namespace {
            return Some(of(&|metric| Key::app(namespace, app, self.instance, metric)));
        }
        // The namespace is that of the app; if there are several, the first.
        let of_app = |key: &Key| match &key.subject {
            SeriesSubject::App { namespace, name, .. } if name == app => Some(namespace.clone()),
            _ => None,
        };
        let namespace = known.iter().filter_map(of_app).min()?;
        Some(of(&|metric| Key::app(&namespace, app, self.instance, metric)))
    }

    /// Returns true if the answer is a list of series.
    fn wants_list(&self) -> bool {
        self.metrics.len() > 1 || self.metrics.iter().any(|metric| is_pattern(metric))
    }
}

/// Returns true if the name stands for several metrics.
fn is_pattern(metric: &str) -> bool {
    matches!(metric, "route:*" | "own:*")
}

/// Returns the series that a name with a pattern stands for; otherwise only its own.
fn expanded(key: &Key, known: &[Key]) -> Vec<Key> {
    let Some(prefix) = key.metric.strip_suffix('*').filter(|_| is_pattern(&key.metric)) else { return vec![key.clone()] };
    let is_meant = |other: &&Key| other.subject == key.subject && other.metric.starts_with(prefix);
    known.iter().filter(is_meant).take(EXPANDED).cloned().collect()
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
            let known = || history.keys().filter_map(Key::parse).filter(|key| sees(&who, key)).collect();
            let keys = query.keys(known).filter(|keys| keys.iter().all(|key| sees(&who, key)))?;
            let of = |key: &Key| history::figures(history, key, query.from, query.to, query.points);
            Some(keys.iter().map(|key| (key.metric.clone(), of(key))).collect::<Vec<_>>())
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
        Some(Some(answers)) => reply(&shown(&query, &answers, &marks)),
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

/// Returns the answer: for one metric its values, for several metrics a list of series.
fn shown(query: &HistoryQuery, answers: &[(String, QueryResult)], marks: &[ChartMark]) -> Value {
    let mark = |mark: &ChartMark| json!({ "at": mark.at, "kind": mark.kind, "instance": mark.instance, "text": mark.text, "severity": mark.severity });
    let figure = |figure: &Figure| json!([figure.at_ms, rounded(figure.min), rounded(figure.avg), rounded(figure.max)]);
    let series = |(metric, answer): &(String, QueryResult)| json!({ "metric": metric, "step": answer.step_ms, "figures": answer.figures.iter().map(figure).collect::<Vec<_>>() });
    // A pattern stands for the metrics that have values.
    let is_shown = |(metric, answer): &&(String, QueryResult)| !answer.figures.is_empty() || query.metrics.contains(metric);
    let mut series: Vec<Value> = answers.iter().filter(is_shown).map(series).collect();
    let mut all = if query.wants_list() { json!({ "series": series }) } else { series.pop().unwrap_or_else(|| json!({})) };
    all["from"] = query.from.into();
    all["to"] = query.to.into();
    all["marks"] = marks.iter().map(mark).collect();
    all
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
        let many = HistoryQuery::parse(Some("metric=cpu&metric=route%3AGET+%2F&metric=&points=99999"), 100).unwrap();
        assert_eq!((&many.metrics[..], many.points), (&["cpu".to_owned(), "route:GET /".to_owned()][..], MOST));
        let most = vec!["metric=cpu"; METRICS].join("&");
        assert_eq!(HistoryQuery::parse(Some(&format!("{most}&points=99999")), 100).unwrap().points, 312);
        assert!(HistoryQuery::parse(Some(&format!("{most}&metric=cpu")), 100).is_err());
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
        let known = || vec![Key::host("cpu"), Key::app("b", "api", None, "cpu"), Key::app("c", "other", None, "cpu")];
        assert_eq!(query.keys(known), Some(vec![Key::app("b", "api", None, "cpu")]));
        assert_eq!(query.keys(|| vec![Key::host("cpu")]), None);
        let named = HistoryQuery { namespace: Some("x".into()), metrics: vec!["cpu".into(), "p95".into()], ..query };
        let unknown = || panic!("the names are complete");
        assert_eq!(named.keys(unknown), Some(vec![Key::app("x", "api", None, "cpu"), Key::app("x", "api", None, "p95")]));
    }

    #[test]
    fn pattern_stands_for_the_metrics_of_its_subject() {
        let query = HistoryQuery::parse(Some("metric=route%3A*&app=api&namespace=b"), 100).unwrap();
        let of = |name: &str, instance, metric: &str| Key::app("b", name, instance, metric);
        let known =
            || vec![of("api", None, "cpu"), of("api", None, "route:GET /"), of("api", Some(1), "route:GET /"), of("x", None, "route:/")];
        assert_eq!(query.keys(known), Some(vec![of("api", None, "route:GET /")]));
        let many = || (0..200).map(|n| of("api", None, &format!("route:{n}"))).collect();
        assert_eq!(query.keys(many).map(|keys| keys.len()), Some(EXPANDED));
        let literal = HistoryQuery::parse(Some("metric=own%3Aa*&app=api&namespace=b"), 100).unwrap();
        assert_eq!(literal.keys(known), Some(vec![of("api", None, "own:a*")]), "the name of a metric may end with *");
    }

    #[test]
    fn answer_has_one_series_or_a_list() {
        let query = |metrics: &[&str]| HistoryQuery {
            metrics: metrics.iter().map(|metric| (*metric).to_owned()).collect(),
            app: None,
            namespace: None,
            instance: None,
            from: 1,
            to: 2,
            points: 3,
        };
        let answer =
            QueryResult { step_ms: 10, figures: vec![Figure { at_ms: 1, min: 1.0, avg: 2.0, max: 3.0 }], ..QueryResult::default() };
        let figures = json!([[1, 1.0, 2.0, 3.0]]);
        let of = |metric: &str, answer: &QueryResult| (metric.to_owned(), answer.clone());
        let one = shown(&query(&["cpu"]), &[of("cpu", &answer)], &[]);
        assert_eq!(one, json!({ "metric": "cpu", "from": 1, "to": 2, "step": 10, "figures": figures, "marks": [] }));
        let two = shown(&query(&["cpu", "none"]), &[of("cpu", &answer), of("none", &QueryResult::default())], &[]);
        assert_eq!((&two["series"][0]["figures"], &two["series"][1]["figures"], &two["from"]), (&figures, &json!([]), &json!(1)));
        // A pattern gives a list, without series that have no values.
        let some = shown(&query(&["own:*"]), &[of("own:a", &answer), of("own:b", &QueryResult::default())], &[]);
        assert_eq!(some["series"], json!([{ "metric": "own:a", "step": 10, "figures": figures }]));
    }
}
