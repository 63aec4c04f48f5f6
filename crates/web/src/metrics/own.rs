//! Metrics of apps' own pages (`scrape`), under the names that they have there.

use std::collections::{BTreeMap, HashSet};

use super::exposition::{Exposition, FamilyKind};
use crate::metrics::scrape::{self, AppFigures, Family, FamilyValue, Series, SeriesPoints};

/// Prefix of ostler's own names; metrics of apps with this prefix are left out.
const RESERVED: &str = "ostler_";
/// Help text for metrics whose app provides none.
const NO_HELP: &str = "Custom metric of the app.";

/// Adds the metrics of these apps, and the status of reading them.
pub(super) fn add(out: &mut Exposition, apps: &[&AppFigures]) {
    if apps.is_empty() {
        return;
    }
    out.family("ostler_app_scrape_up", FamilyKind::Gauge, None, "Whether the metrics page of the instance could be read.");
    for app in apps {
        for (worker, up) in &app.workers {
            let labels = [("app", app.app.as_str()), ("namespace", app.namespace.as_str()), ("worker", &worker.to_string())];
            out.sample(&labels, f64::from(u8::from(*up)));
        }
    }
    let mut left_out: Vec<usize> = apps.iter().map(|app| app.figures.left_out).collect();
    let mut taken = HashSet::new();
    for (name, of) in families(apps) {
        let Some(((_, _, first), rest)) = of.split_first() else { continue };
        let is_free = !name.starts_with(RESERVED) && names(name, first.kind).iter().all(|name| !taken.contains(name));
        if !is_free {
            of.iter().for_each(|(app, _, family)| left_out[*app] += family.series.len());
            continue;
        }
        taken.extend(names(name, first.kind));
        // Uses the first help text that an app provides. Other apps may have the same metric
        // without help.
        let help = of.iter().map(|(.., family)| &*family.help).find(|help| !help.is_empty()).unwrap_or(NO_HELP);
        out.own_family(name, first.kind, help);
        let is_same = |(app, _, family): &&(usize, Option<u32>, &Family)| {
            let same = family.kind == first.kind;
            if !same {
                left_out[*app] += family.series.len();
            }
            same
        };
        let same: Vec<_> = rest.iter().filter(is_same).collect();
        for (app, worker, family) in of.first().into_iter().chain(same) {
            let worker = worker.map(|worker| worker.to_string());
            let mut fixed = vec![("app", apps[*app].app.as_str()), ("namespace", apps[*app].namespace.as_str())];
            fixed.extend(worker.as_deref().map(|worker| ("worker", worker)));
            family.series.iter().for_each(|series| write(out, name, family.kind, &fixed, series));
        }
    }
    out.family(
        "ostler_app_scrape_left_out_samples",
        FamilyKind::Gauge,
        None,
        "Samples of the page that were skipped: invalid, with a reserved name, or too many.",
    );
    for (app, count) in apps.iter().zip(left_out) {
        #[expect(clippy::cast_precision_loss, reason = "the format knows floats alone")]
        out.sample(&[("app", &app.app), ("namespace", &app.namespace)], count as f64);
    }
}

/// Families of all apps by name: index of the app, instance, family.
type ByName<'a> = BTreeMap<&'a str, Vec<(usize, Option<u32>, &'a Family)>>;

fn families<'a>(apps: &[&'a AppFigures]) -> ByName<'a> {
    let mut all = ByName::new();
    for (at, app) in apps.iter().enumerate() {
        for family in &app.figures.summed {
            all.entry(&family.name).or_default().push((at, None, family));
        }
        for (worker, family) in &app.figures.by_worker {
            all.entry(&family.name).or_default().push((at, Some(*worker), family));
        }
    }
    all
}

/// Returns the names that a family uses, in either format.
fn names(name: &str, kind: scrape::FamilyKind) -> Vec<String> {
    let endings: &[&str] = match kind {
        scrape::FamilyKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
        scrape::FamilyKind::Summary => &["_sum", "_count", "_created"],
        _ => &[],
    };
    let base = (kind == scrape::FamilyKind::Counter).then(|| name.strip_suffix("_total")).flatten();
    let others = endings.iter().map(|ending| format!("{name}{ending}")).chain(base.map(str::to_owned));
    std::iter::once(name.to_owned()).chain(others).collect()
}

fn write(out: &mut Exposition, name: &str, kind: scrape::FamilyKind, fixed: &[(&str, &str)], series: &Series) {
    match &series.value {
        FamilyValue::One(value) => out.own_sample(name, "", fixed, &series.labels, None, *value),
        FamilyValue::Many(points) if kind == scrape::FamilyKind::Histogram => histogram(out, name, fixed, &series.labels, points),
        FamilyValue::Many(points) => {
            for (_, text, value) in &points.at {
                out.own_sample(name, "", fixed, &series.labels, Some(("quantile", text)), *value);
            }
            sums(out, name, fixed, &series.labels, points.sum, points.count);
        }
    }
}

/// Adds the buckets of a histogram with counts that never decrease, up to the total.
fn histogram(out: &mut Exposition, name: &str, fixed: &[(&str, &str)], labels: &str, points: &SeriesPoints) {
    let mut so_far = 0.0_f64;
    for (_, text, count) in points.at.iter().filter(|(bound, ..)| bound.is_finite()) {
        so_far = so_far.max(*count);
        out.own_sample(name, "_bucket", fixed, labels, Some(("le", text)), so_far);
    }
    let total = points.total().max(so_far);
    out.own_sample(name, "_bucket", fixed, labels, Some(("le", "+Inf")), total);
    sums(out, name, fixed, labels, Some(points.sum.unwrap_or(0.0)), Some(total));
}

fn sums(out: &mut Exposition, name: &str, fixed: &[(&str, &str)], labels: &str, sum: Option<f64>, count: Option<f64>) {
    for (ending, value) in [("_sum", sum), ("_count", count)] {
        if let Some(value) = value {
            out.own_sample(name, ending, fixed, labels, None, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    fn app(name: &str, pages: &[&str]) -> AppFigures {
        crate::metrics::scrape::tests_figures(name, pages)
    }

    fn exposition_of(apps: &[AppFigures], format: Format) -> String {
        let mut out = Exposition::new(format);
        add(&mut out, &apps.iter().collect::<Vec<_>>());
        out.end()
    }

    #[test]
    fn counters_are_summed_and_gauges_are_per_worker() {
        let one = "# HELP c_total Things \"done\".\n# TYPE c_total counter\nc_total{m=\"GET\"} 2\n# TYPE g gauge\ng 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
        let apps = [
            app("a\"b", &[one, one]),
            app("other", &["# TYPE g gauge\ng +Inf\n# TYPE c_total gauge\nc_total 9\n# TYPE h_count counter\nh_count 1\nostler_up 7\n"]),
        ];
        let text = exposition_of(&apps, Format::Text);
        for line in [
            "# HELP c_total Things \"done\".",
            "# TYPE c_total counter",
            "c_total{app=\"a\\\"b\",namespace=\"default\",m=\"GET\"} 4",
            "g{app=\"a\\\"b\",namespace=\"default\",worker=\"1\"} 1",
            "g{app=\"other\",namespace=\"default\",worker=\"0\"} +Inf",
            "# HELP g Custom metric of the app.",
            "h_bucket{app=\"a\\\"b\",namespace=\"default\",le=\"+Inf\"} 4",
            "h_sum{app=\"a\\\"b\",namespace=\"default\"} 6",
            "ostler_app_scrape_left_out_samples{app=\"other\",namespace=\"default\"} 3",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}\n{text}");
        }
        assert!(!text.contains("c_total{app=\"other\"") && !text.contains("ostler_up"), "{text}");
        let open = exposition_of(&apps, Format::OpenMetrics);
        assert!(open.contains("# TYPE c counter\n") && open.contains("\nc_total{app=") && open.ends_with("# EOF\n"), "{open}");
        assert_eq!(exposition_of(&[], Format::Text), "");
    }
}
