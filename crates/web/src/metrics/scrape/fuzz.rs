//! Checks of the parser of an app's page for any bytes; see [`crate::fuzz`].

use std::collections::HashSet;

use super::page::{Family, FamilyKind, FamilyValue, MOST_SERIES, Page, page};

/// Checks a page of Prometheus' text format: it is bounded, and its samples can be written and read
/// again.
pub fn prometheus_page(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let read = page(&text);
    assert!(read.families.len() <= 1000 && read.left_out <= text.lines().count());
    let samples: usize = read.families.iter().map(|family| family.series.len()).sum();
    assert!(samples <= MOST_SERIES && read.size() <= 3 * MOST_SERIES, "{samples} series");
    // A type after its samples splits them; the written page has no such order.
    let names: HashSet<&str> = read.families.iter().map(|family| &*family.name).collect();
    let is_part = |name: &str| {
        ["_bucket", "_sum", "_count", "_total"].iter().filter_map(|end| name.strip_suffix(end)).any(|base| names.contains(base))
    };
    if names.iter().any(|name| is_part(name)) {
        return;
    }
    let written = written(&read);
    let again = page(&written);
    assert_eq!(again.left_out, 0, "{written}");
    assert_eq!(shown(&again), shown(&read), "{written}");
}

/// Returns a page in a form that can be compared: a NaN equals itself.
fn shown(page: &Page) -> Vec<String> {
    page.families.iter().map(|family| format!("{} {:?} {:?}", family.name, family.kind, family.series)).collect()
}

fn written(page: &Page) -> String {
    page.families.iter().map(family).collect()
}

fn family(family: &Family) -> String {
    let Family { name, kind, series, .. } = family;
    let (word, by) = match kind {
        FamilyKind::Counter => ("counter", ""),
        FamilyKind::Gauge => ("gauge", ""),
        FamilyKind::Histogram => ("histogram", "le"),
        FamilyKind::Summary => ("summary", "quantile"),
        FamilyKind::Untyped => ("untyped", ""),
    };
    let mut out = format!("# TYPE {name} {word}\n");
    for one in series {
        let braces = |labels: &[&str]| {
            let labels: Vec<&str> = labels.iter().copied().filter(|label| !label.is_empty()).collect();
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
        };
        match &one.value {
            FamilyValue::One(value) => out.push_str(&format!("{name}{} {}\n", braces(&[&one.labels]), number(*value))),
            FamilyValue::Many(points) => {
                let point = if *kind == FamilyKind::Histogram { "_bucket" } else { "" };
                for (_, text, value) in &points.at {
                    let own = format!("{by}=\"{}\"", super::page::escaped(text));
                    out.push_str(&format!("{name}{point}{} {}\n", braces(&[&one.labels, &own]), number(*value)));
                }
                for (ending, value) in [("_sum", points.sum), ("_count", points.count)] {
                    if let Some(value) = value {
                        out.push_str(&format!("{name}{ending}{} {}\n", braces(&[&one.labels]), number(value)));
                    }
                }
            }
        }
    }
    out
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}
