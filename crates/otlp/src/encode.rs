//! Encoding of metrics and log records as OTLP JSON.

use serde_json::{Value, json};

use crate::span::{TraceId, hex, id};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Source of metrics and records: the attributes of its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// `service.name`: the name of the app.
    pub service: String,
    /// `service.namespace`: the namespace of the app.
    pub namespace: Option<String>,
    /// `service.instance.id`: the unique id of the instance, the same as in its traces.
    pub instance: Option<String>,
    /// `ostler.instance`: number of the instance in lists.
    pub number: Option<u32>,
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Value at a point in time.
    Gauge,
    /// Total since a start time.
    Total,
}

/// Value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its unit as a UCUM code.
    pub unit: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its value; values that are not finite are left out.
    pub value: f64,
    /// Further attributes.
    pub attributes: Vec<(&'static str, String)>,
}

/// Severity of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Normal operation.
    Info,
    /// Possible problem.
    Warn,
    /// Problem that needs attention.
    Error,
}

impl Severity {
    fn number(self) -> (u8, &'static str) {
        match self {
            Self::Info => (9, "INFO"),
            Self::Warn => (13, "WARN"),
            Self::Error => (17, "ERROR"),
        }
    }
}

/// Log line or event.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Time in nanoseconds since 1970; none = unknown.
    pub at_ns: Option<u64>,
    /// Time at which it was read, in nanoseconds since 1970.
    pub observed_ns: u64,
    /// Its severity; none = unknown.
    pub severity: Option<Severity>,
    /// Its text.
    pub body: String,
    /// Name, if it is an event.
    pub event: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
    /// Further attributes.
    pub attributes: Vec<(&'static str, String)>,
}

impl Record {
    /// Returns the total length of its texts in bytes.
    pub fn len(&self) -> usize {
        self.body.len() + self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    /// Returns true if all texts are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Attributes that all requests of the process share.
#[derive(Clone, Debug)]
pub struct Sender {
    /// `host.name`.
    pub host: String,
    /// Version of the program.
    pub version: &'static str,
    /// Start time of totals, in nanoseconds since 1970.
    pub since_ns: u64,
}

/// `[{key, value: {stringValue}}]`.
fn pairs<'a>(list: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    list.map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

fn attributes(list: &[(&'static str, String)]) -> Value {
    pairs(list.iter().map(|(key, value)| (*key, value.as_str())))
}

impl Sender {
    fn scope(&self) -> Value {
        json!({ "name": "ostler", "version": self.version })
    }

    fn resource(&self, origin: &Origin) -> Value {
        let number = origin.number.map(|number| number.to_string());
        let all = [
            ("service.name", Some(origin.service.as_str())),
            ("service.namespace", origin.namespace.as_deref()),
            ("service.instance.id", origin.instance.as_deref()),
            ("ostler.instance", number.as_deref()),
            ("host.name", Some(self.host.as_str())),
        ];
        json!({ "attributes": pairs(all.into_iter().filter_map(|(key, value)| Some((key, value?)))) })
    }

    fn metric(&self, figure: &Figure, at_ns: u64) -> Value {
        // JSON in this protocol encodes 64-bit numbers as strings.
        let mut point =
            json!({ "attributes": attributes(&figure.attributes), "timeUnixNano": at_ns.to_string(), "asDouble": figure.value });
        let kind = match figure.kind {
            MetricKind::Gauge => json!({ "gauge": { "dataPoints": [point] } }),
            MetricKind::Total => {
                point["startTimeUnixNano"] = self.since_ns.to_string().into();
                json!({ "sum": { "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": [point] } })
            }
        };
        let mut metric = json!({ "name": figure.name, "unit": figure.unit });
        if let (Some(metric), Value::Object(kind)) = (metric.as_object_mut(), kind) {
            metric.extend(kind);
        }
        metric
    }
}

/// Encodes an `ExportMetricsServiceRequest` with the metrics of one moment.
pub fn metrics(sender: &Sender, groups: &[(Origin, Vec<Figure>)], at_ns: u64) -> Vec<u8> {
    let group = |(origin, figures): &(Origin, Vec<Figure>)| {
        let all: Vec<Value> = figures.iter().filter(|figure| figure.value.is_finite()).map(|figure| sender.metric(figure, at_ns)).collect();
        json!({ "resource": sender.resource(origin), "scopeMetrics": [{ "scope": sender.scope(), "metrics": all }] })
    };
    json!({ "resourceMetrics": groups.iter().map(group).collect::<Vec<_>>() }).to_string().into_bytes()
}

/// Encodes an `ExportLogsServiceRequest`.
pub fn logs(sender: &Sender, groups: &[(Origin, Vec<Record>)]) -> Vec<u8> {
    let group = |(origin, records): &(Origin, Vec<Record>)| {
        let all: Vec<Value> = records.iter().map(log_record).collect();
        json!({ "resource": sender.resource(origin), "scopeLogs": [{ "scope": sender.scope(), "logRecords": all }] })
    };
    json!({ "resourceLogs": groups.iter().map(group).collect::<Vec<_>>() }).to_string().into_bytes()
}

fn log_record(record: &Record) -> Value {
    let mut value = json!({
        "observedTimeUnixNano": record.observed_ns.to_string(),
        "body": { "stringValue": record.body },
        "attributes": attributes(&record.attributes),
    });
    if let Some(at_ns) = record.at_ns {
        value["timeUnixNano"] = at_ns.to_string().into();
    }
    if let Some((number, word)) = record.severity.map(Severity::number) {
        value["severityNumber"] = number.into();
        value["severityText"] = word.into();
    }
    if let Some(name) = &record.event {
        value["eventName"] = name.as_str().into();
    }
    if let Some(trace) = &record.trace {
        value["traceId"] = hex(trace).into();
    }
    value
}

/// Finds the trace id in a line, in any of the usual forms: `trace_id=…`, `"traceId":"…"`,
/// `trace-id: …`.
pub fn trace_of(line: &str) -> Option<TraceId> {
    let bytes = line.as_bytes();
    let begin = bytes.windows(5).enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(b"trace")).map(|(at, _)| at + 5);
    for at in begin.take(8) {
        let rest = &bytes[at..];
        let rest = rest.strip_prefix(b"_").or_else(|| rest.strip_prefix(b"-")).or_else(|| rest.strip_prefix(b".")).unwrap_or(rest);
        let Some((name, rest)) = rest.split_at_checked(2) else { continue };
        if !name.eq_ignore_ascii_case(b"id") {
            continue;
        }
        let value = rest.iter().position(|byte| !b"\"'=: ".contains(byte)).and_then(|begin| rest.get(begin..begin + 32));
        if let Some(id) = value.and_then(|value| id(std::str::from_utf8(value).ok()?)) {
            return Some(id);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender { host: "box".into(), version: "1", since_ns: 5 }
    }

    #[test]
    fn metrics_are_encoded_as_otlp_json() {
        let origin = Origin { service: "a\"b".into(), namespace: Some("default".into()), instance: Some("u-1".into()), number: Some(3) };
        let figure = |name: &str, kind, value| Figure { name: name.into(), unit: "By", kind, value, attributes: vec![("k", "v".into())] };
        let list = vec![figure("m", MetricKind::Gauge, 1.5), figure("t", MetricKind::Total, 7.0), figure("n", MetricKind::Gauge, f64::NAN)];
        let value: Value = serde_json::from_slice(&metrics(&sender(), &[(origin, list)], 1 << 60)).unwrap();
        let group = &value["resourceMetrics"][0];
        assert_eq!(group["resource"]["attributes"][0], json!({ "key": "service.name", "value": { "stringValue": "a\"b" } }));
        assert_eq!(group["resource"]["attributes"].as_array().unwrap().len(), 5);
        let metrics = group["scopeMetrics"][0]["metrics"].as_array().unwrap();
        assert_eq!(metrics.len(), 2, "what is no number is left out");
        let point = json!({ "attributes": [{ "key": "k", "value": { "stringValue": "v" } }], "timeUnixNano": "1152921504606846976", "asDouble": 1.5 });
        assert_eq!(metrics[0], json!({ "name": "m", "unit": "By", "gauge": { "dataPoints": [point] } }));
        assert_eq!(
            (&metrics[1]["sum"]["isMonotonic"], &metrics[1]["sum"]["dataPoints"][0]["startTimeUnixNano"]),
            (&json!(true), &json!("5"))
        );
    }

    #[test]
    fn log_records_are_encoded_as_otlp_json() {
        let record = Record {
            at_ns: Some(7),
            observed_ns: 8,
            severity: Some(Severity::Warn),
            body: "<b>\u{1b}".into(),
            event: Some("ostler.exit".into()),
            trace: Some([0xab; 16]),
            attributes: vec![],
        };
        let plain = Record { at_ns: None, severity: None, event: None, trace: None, ..record.clone() };
        let value: Value = serde_json::from_slice(&logs(&sender(), &[(Origin::default(), vec![record, plain])])).unwrap();
        let records = &value["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(
            (&records[0]["severityNumber"], &records[0]["traceId"], &records[0]["timeUnixNano"]),
            (&json!(13), &json!("ab".repeat(16)), &json!("7"))
        );
        assert_eq!(records[1].as_object().unwrap().keys().collect::<Vec<_>>(), ["observedTimeUnixNano", "body", "attributes"]);
    }

    #[test]
    fn trace_id_is_found_in_log_lines() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for line in [
            format!("trace_id={id} x"),
            format!("{{\"traceId\":\"{id}\"}}"),
            format!("x trace-id: {id}"),
            format!("TRACEID {id}"),
            format!("traced trace.id='{id}'"),
        ] {
            assert_eq!(trace_of(&line).map(|id| hex(&id)).as_deref(), Some(id), "{line}");
        }
        for line in [
            "",
            "trace",
            "trace_id=",
            "trace_id=0af7",
            "a trace of nothing",
            "trace_id=zzf7651916cd43dd8448eb211c80319c",
            "traceid=00000000000000000000000000000000",
        ] {
            assert_eq!(trace_of(line), None, "{line}");
        }
    }
}
