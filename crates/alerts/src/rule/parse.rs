//! A rule from JSON: an entry of `alerts: […]` in an ecosystem file, or of `rules` in
//! `alerts.json`.

use serde_json::Value;

use ostler_core::message;

use super::{Check, CheckTarget, Condition, Pattern, REPEAT_MS, Rule, Severity, Threshold};
use crate::fields::{Fields, Problem};
use crate::input::OccurrenceKind;

/// Keys that select the subject of a rule; a rule has exactly one.
const SUBJECTS: &[&str] = &["on", "metric", "error_rate", "absent", "log", "exception", "url", "tcp", "host", "forecast"];
/// Metrics of the machine.
const HOST: [&str; 4] = ["disk", "memory", "load", "cpu"];
/// All keys of a rule.
const KEYS: &[&str] = &[
    "on",
    "metric",
    "error_rate",
    "absent",
    "log",
    "exception",
    "url",
    "tcp",
    "host",
    "forecast",
    "name",
    "apps",
    "severity",
    "for",
    "channels",
    "repeat",
    "above",
    "below",
    "clear",
    "window",
    "count",
    "every",
    "timeout",
    "status",
    "certificate_days",
    "within",
];
const DAY: u64 = 86_400_000;
/// Maximum window: the time for which values of a metric are kept.
pub(crate) const MOST_WINDOW_MS: u64 = 3_600_000;

/// Reads a rule. `app` is the app whose settings contain the rule; the rule then applies to that
/// app.
///
/// # Errors
/// Returns every problem that was found.
pub fn rule(value: &Value, app: Option<&str>) -> Result<Rule, Vec<Problem>> {
    // Short form: only the name of an event.
    let short = value.as_str().map(|word| serde_json::json!({ "on": word }));
    let mut fields = Fields::of(short.as_ref().unwrap_or(value), KEYS)?;
    let condition = condition(&mut fields);
    let name = fields.text("name");
    let mut apps = fields.texts("apps");
    if let Some(app) = app {
        if fields.has("apps") {
            fields.fault("apps", message!("is allowed only in rules of alerts.json; a rule here applies to its own app"));
        }
        apps = vec![app.to_owned()];
    }
    let severity = fields.word("severity", Severity::WORDS);
    let for_ms = fields.time("for", 7 * DAY);
    let channels = fields.texts("channels");
    let repeat_ms = fields.time("repeat", 30 * DAY).map_or(REPEAT_MS, |ms| ms.max(60_000));
    let own_for = fields.has("absent");
    let made = condition.map(|(condition, own_name, usual_for)| {
        let own_name = name.as_deref().map_or(own_name, |name| crate::text::plain(name, crate::text::NAME));
        let name = app.map_or_else(|| own_name.clone(), |app| format!("{}/{own_name}", crate::text::plain(app, crate::text::NAME)));
        // The age of the last line already measures how long the log was silent.
        let is_age = matches!(&condition, Condition::Threshold(threshold) if threshold.metric == "log_age" && own_for);
        let for_ms = if is_age { 0 } else { for_ms.unwrap_or(usual_for) };
        Rule { name, condition, apps, severity, for_ms, channels, repeat_ms }
    });
    fields.end(made)
}

/// Reads the condition. Returns it with the default name and the default time for which it has to
/// hold.
fn condition(fields: &mut Fields<'_>) -> Option<(Condition, String, u64)> {
    let given: Vec<&str> = SUBJECTS.iter().copied().filter(|key| fields.has(key)).collect();
    match given[..] {
        ["on"] => events(fields),
        ["metric"] => {
            let metric = fields.text("metric")?;
            if metric.strip_prefix("host.").is_some_and(|name| !HOST.contains(&name)) {
                fields.fault("metric", message!("is not a metric of the machine: expected host.{names}", names = HOST.join(", host.")));
            }
            Some((threshold(fields, &metric, None)?, metric, 0))
        }
        ["error_rate"] => {
            let limit = fields.amount("error_rate")?;
            Some((threshold(fields, "error_rate", Some((true, limit)))?, "error_rate".into(), 60_000))
        }
        ["absent"] => absence(fields),
        ["log"] => log(fields),
        ["exception"] => {
            let (new, returned) =
                fields.word("exception", &[("new", (true, false)), ("returned", (false, true)), ("any", (true, true))])?;
            Some((Condition::Exception { new, returned }, "exception".into(), 0))
        }
        ["url" | "tcp"] => check(fields),
        ["host"] => {
            let metric = fields.word("host", &HOST.map(|name| (name, name)))?;
            let metric = format!("host.{metric}");
            Some((threshold(fields, &metric, None)?, metric, 60_000))
        }
        ["forecast"] => {
            fields.word("forecast", &[("memory", ())])?;
            let within_ms = fields.time("within", 7 * DAY).unwrap_or(3_600_000);
            Some((Condition::Forecast { within_ms }, "memory_forecast".into(), 0))
        }
        [] => {
            let text = message!("names no condition: expected one of {subjects}", subjects = SUBJECTS.join(", "));
            fields.problems.push(Problem { key: None, text });
            None
        }
        [first, ..] => {
            let second = given.get(1).copied().unwrap_or(first);
            fields.fault(second, message!("cannot be combined with {first}: a rule has one condition", first));
            None
        }
    }
}

fn events(fields: &mut Fields<'_>) -> Option<(Condition, String, u64)> {
    let words = fields.texts("on");
    let mut kinds = Vec::new();
    for word in &words {
        match OccurrenceKind::ALARMS.iter().find(|kind| kind.word() == word) {
            Some(kind) => kinds.push(*kind),
            None => fields.unknown_word("on", word, &OccurrenceKind::ALARMS.iter().map(|kind| kind.word()).collect::<Vec<_>>()),
        }
    }
    let name = words.first()?.clone();
    (!kinds.is_empty()).then_some((Condition::Events(kinds), name, 0))
}

fn threshold(fields: &mut Fields<'_>, metric: &str, given: Option<(bool, f64)>) -> Option<Condition> {
    let (above, limit) = match (given, fields.amount("above"), fields.amount("below")) {
        (Some(given), ..) => given,
        (None, Some(limit), None) => (true, limit),
        (None, None, Some(limit)) => (false, limit),
        _ => {
            fields.fault("above", message!("expected either `above` or `below`"));
            return None;
        }
    };
    let (least, most) = range(metric);
    let key = if given.is_some() {
        metric
    } else if above {
        "above"
    } else {
        "below"
    };
    if above && limit >= most {
        fields.fault(key, message!("can never be true: {metric} is at most {most} %", metric, most));
    } else if !above && limit <= least {
        fields.fault(key, message!("can never be true: {metric} is never below {least}", metric, least));
    }
    let clear = fields.amount("clear").unwrap_or(limit);
    if (above && clear > limit) || (!above && clear < limit) {
        fields.fault("clear", message!("is on the wrong side of the limit: the alert would resolve before it fires"));
    }
    let window_ms = fields.time("window", MOST_WINDOW_MS).unwrap_or(0);
    Some(Condition::Threshold(Threshold { metric: metric.to_owned(), above, limit, clear, window_ms }))
}

/// Returns the smallest and the largest value that a metric can have.
fn range(metric: &str) -> (f64, f64) {
    match metric {
        "error_rate" | "host.disk" | "host.memory" | "host.cpu" => (0.0, 100.0),
        "cpu" | "memory" | "restarts" | "log_age" | "requests" | "host.load" => (0.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of at most a week")]
fn absence(fields: &mut Fields<'_>) -> Option<(Condition, String, u64)> {
    let is_log = fields.word("absent", &[("log", true), ("requests", false)])?;
    let for_ms = fields.time("for", 7 * DAY).unwrap_or(600_000);
    let threshold = |metric: &str, above, limit| Threshold { metric: metric.into(), above, limit, clear: limit, window_ms: 0 };
    Some(if is_log {
        let condition = Condition::Threshold(threshold("log_age", true, for_ms as f64 / 1000.0));
        (condition, "no_log".into(), 0)
    } else {
        (Condition::Threshold(threshold("requests", false, f64::MIN_POSITIVE)), "no_requests".into(), for_ms)
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 1000")]
fn log(fields: &mut Fields<'_>) -> Option<(Condition, String, u64)> {
    let text = fields.text("log")?;
    let pattern = match Pattern::parse(&text) {
        Ok(pattern) => pattern,
        Err(why) => {
            fields.fault("log", message!("is not a valid regular expression: {error}", error = crate::text::plain(&why.to_string(), 200)));
            return None;
        }
    };
    let count = fields.number("count", 1.0, 1000.0).unwrap_or(1.0) as usize;
    let window_ms = fields.time("window", MOST_WINDOW_MS).unwrap_or(60_000);
    if count > 1 && window_ms == 0 {
        fields.fault("window", message!("must be more than 0 if `count` is more than 1"));
    }
    Some((Condition::Log { pattern, count, window_ms }, format!("log {}", crate::text::plain(&text, 40)), 0))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within their bounds")]
fn check(fields: &mut Fields<'_>) -> Option<(Condition, String, u64)> {
    let status = fields.number("status", 100.0, 599.0).map(|status| status as u16);
    let days = fields.number("certificate_days", 0.0, 1000.0).map(|days| days as u32);
    let (every, timeout) = (fields.time("every", DAY), fields.time("timeout", 60_000));
    let (target, name) = if fields.has("url") {
        let url = fields.text("url")?;
        if crate::channel::Url::parse(&url).is_none() {
            fields.fault("url", message!("expected an address that starts with http:// or https://"));
            return None;
        }
        (CheckTarget::Http { url: url.clone(), status }, url)
    } else {
        let address = fields.text("tcp")?;
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            fields.fault("tcp", message!("expected host:port"));
            return None;
        }
        (CheckTarget::Tcp(address.clone()), address)
    };
    if days.is_some() && !matches!(&target, CheckTarget::Http { url, .. } if url.starts_with("https:")) {
        fields.fault("certificate_days", message!("needs an address that starts with https://"));
    }
    let check = Check {
        target,
        every_ms: every.unwrap_or(60_000).max(5000),
        timeout_ms: timeout.unwrap_or(10_000).max(100),
        certificate_days: days,
    };
    let name = format!("check {}", crate::text::plain(&ostler_core::logs::masking::masked(&name, &[]), 100));
    Some((Condition::Check(check), name, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_rule_parses() {
        for value in [
            json!("crash"),
            json!({ "on": ["crash", "errored"], "severity": "critical", "channels": "ops" }),
            json!({ "metric": "memory", "above": "400M", "clear": "350M", "window": "1m", "for": "5m", "repeat": "1h" }),
            json!({ "metric": "queue", "below": 5 }),
            json!({ "error_rate": "5%", "window": "5m" }),
            json!({ "absent": "requests", "for": "10m" }),
            json!({ "absent": "log", "for": "10m" }),
            json!({ "log": "OOM|panic", "count": 3, "window": "1m" }),
            json!({ "exception": "new" }),
            json!({ "url": "https://example.com/health", "every": "30s", "certificate_days": 14, "status": 204 }),
            json!({ "tcp": "db:5432" }),
            json!({ "host": "disk", "above": "90%" }),
            json!({ "forecast": "memory", "within": "1h" }),
        ] {
            let made = rule(&value, Some("api")).unwrap_or_else(|problems| panic!("{value}: {problems:?}"));
            assert!(made.covers("api") && !made.covers("other") && made.name.starts_with("api/"), "{value}");
        }
        let memory = rule(&json!({ "metric": "memory", "above": "400M" }), None).unwrap();
        assert!(matches!(memory.condition, Condition::Threshold(Threshold { limit, .. }) if limit == 419_430_400.0));
    }

    #[test]
    fn invalid_rules_report_key_and_suggestion() {
        for (value, key, text) in [
            (json!(7), "", "expected a table"),
            (json!({}), "", "names no condition"),
            (json!("crahs"), "on", "did you mean crash?"),
            (json!({ "on": "crash", "severty": "info" }), "severty", "did you mean severity?"),
            (json!({ "on": "crash", "severity": "criticl" }), "severity", "did you mean critical?"),
            (json!({ "on": "crash", "log": "x" }), "log", "cannot be combined with on"),
            (json!({ "metric": "cpu" }), "above", "either"),
            (json!({ "metric": "cpu", "above": 90, "clear": 95 }), "clear", "wrong side"),
            (json!({ "metric": "cpu", "above": 90, "for": "soon" }), "for", "expected a time"),
            (json!({ "log": "(" }), "log", "not a valid regular expression"),
            (json!({ "url": "ftp://x" }), "url", "http://"),
            (json!({ "tcp": "db" }), "tcp", "host:port"),
            (json!({ "on": "crash", "apps": "x" }), "apps", "alerts.json"),
        ] {
            let problems = rule(&value, Some("api")).unwrap_err();
            let found = problems.iter().any(|problem| problem.key.as_deref().unwrap_or_default() == key && problem.text.contains(text));
            assert!(found, "{value}: {problems:?}");
        }
    }
}
