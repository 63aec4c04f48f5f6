//! Parser for an app's page: Prometheus' text format, and the parts of OpenMetrics that look the
//! same. Pure and bounded, because an app may write anything.

use std::collections::HashMap;

/// Maximum number of series on a page, including buckets.
pub(super) const MOST_SERIES: usize = 5_000;
/// Maximum number of families on a page.
const MOST_FAMILIES: usize = 1_000;
/// Maximum length of a line.
const LONGEST_LINE: usize = 8 << 10;
/// Maximum lengths of a name, a help text, and a label value.
const LONGEST_NAME: usize = 200;
const LONGEST_HELP: usize = 500;
const LONGEST_VALUE: usize = 1_000;
/// Maximum number of labels of a series.
const MOST_LABELS: usize = 32;
/// Labels that ostler sets. The same labels of an app get the prefix `exported_`, as in Prometheus
/// itself.
const OURS: &[&str] = &["app", "namespace", "worker"];

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Untyped,
}

/// Single value, or a whole histogram or summary, with its formatted labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Box<str>,
    pub(crate) value: FamilyValue,
}

/// Value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FamilyValue {
    One(f64),
    Many(SeriesPoints),
}

/// Histogram (counts up to a bound) or summary (values at a quantile).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SeriesPoints {
    /// Bound or quantile as a number and as text, and its value. Sorted.
    pub(crate) at: Vec<(f64, Box<str>, f64)>,
    pub(crate) sum: Option<f64>,
    pub(crate) count: Option<f64>,
}

/// Metric family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: Box<str>,
    pub(crate) kind: FamilyKind,
    pub(crate) help: Box<str>,
    pub(crate) series: Vec<Series>,
}

/// Contents of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) families: Vec<Family>,
    /// Number of samples that were invalid or too many.
    pub(crate) left_out: usize,
}

impl Page {
    /// Returns the number of samples that are kept.
    pub(crate) fn size(&self) -> usize {
        self.families.iter().flat_map(|family| &family.series).map(|series| series.value.size()).sum()
    }
}

impl FamilyValue {
    fn size(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(points) => points.at.len() + 2,
        }
    }
}

/// Parses a page.
pub(crate) fn page(text: &str) -> Page {
    let mut reader = Reader::default();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.len() > LONGEST_LINE {
            reader.page.left_out += 1;
        } else if let Some(comment) = line.strip_prefix('#') {
            reader.comment(comment.trim_start());
        } else if reader.samples >= MOST_SERIES || reader.sample(line).is_none() {
            reader.page.left_out += 1;
        }
    }
    for family in &mut reader.page.families {
        for series in &mut family.series {
            if let FamilyValue::Many(points) = &mut series.value {
                points.at.sort_by(|one, other| one.0.total_cmp(&other.0));
            }
        }
    }
    reader.page.families.retain(|family| !family.series.is_empty());
    reader.page
}

#[derive(Default)]
struct Reader {
    page: Page,
    samples: usize,
    /// Index of each family, by its name.
    families: HashMap<Box<str>, usize>,
    /// Index of each series in its family.
    series: HashMap<(usize, Box<str>), usize>,
}

impl Reader {
    /// Parses `HELP name text` and `TYPE name kind`; other comments are ignored.
    fn comment(&mut self, comment: &str) -> Option<()> {
        let (word, rest) = comment.split_once([' ', '\t'])?;
        let (name, text) = rest.trim_start().split_once([' ', '\t']).unwrap_or((rest.trim(), ""));
        if !is_name(name, true) {
            return None;
        }
        match word {
            "HELP" => {
                let at = self.family(name, FamilyKind::Untyped)?;
                self.page.families[at].help = unescaped(text.trim(), LONGEST_HELP).into();
            }
            "TYPE" => {
                let kind = match text.trim() {
                    "counter" => FamilyKind::Counter,
                    "gauge" | "info" | "stateset" => FamilyKind::Gauge,
                    "histogram" => FamilyKind::Histogram,
                    "summary" => FamilyKind::Summary,
                    _ => FamilyKind::Untyped,
                };
                let at = self.family(name, kind)?;
                // A family that already has samples keeps its kind.
                if self.page.families[at].series.is_empty() {
                    self.page.families[at].kind = kind;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Returns the family of this name, and creates it if needed.
    fn family(&mut self, name: &str, kind: FamilyKind) -> Option<usize> {
        if let Some(at) = self.families.get(name) {
            return Some(*at);
        }
        if self.page.families.len() >= MOST_FAMILIES {
            return None;
        }
        self.page.families.push(Family { name: name.into(), kind, help: "".into(), series: Vec::new() });
        self.families.insert(name.into(), self.page.families.len() - 1);
        Some(self.page.families.len() - 1)
    }

    /// Parses a sample; none = it is left out.
    fn sample(&mut self, line: &str) -> Option<()> {
        let end = line.find(['{', ' ', '\t'])?;
        let name = &line[..end];
        if !is_name(name, true) {
            return None;
        }
        let after = line[end..].trim_start();
        let (labels, rest) = match after.strip_prefix('{') {
            Some(inside) => labels(inside)?,
            None => (Vec::new(), after),
        };
        let value = number(rest.split_whitespace().next()?)?;
        let (at, part) = self.family_of(name)?;
        match self.page.families[at].kind {
            FamilyKind::Counter if !(value.is_finite() && value >= 0.0) => None,
            FamilyKind::Histogram => self.point(at, part, labels, "le", value),
            FamilyKind::Summary => self.point(at, part, labels, "quantile", value),
            _ => self.one(at, &labels, value),
        }
    }

    /// Returns the family of a sample, and the sample's part in it.
    fn family_of(&mut self, name: &str) -> Option<(usize, SampleRole)> {
        for (ending, part) in [("_bucket", SampleRole::Point), ("_sum", SampleRole::Sum), ("_count", SampleRole::Count)] {
            if let Some(at) = name.strip_suffix(ending).and_then(|base| self.families.get(base)) {
                let kind = self.page.families[*at].kind;
                if kind == FamilyKind::Histogram || kind == FamilyKind::Summary && part != SampleRole::Point {
                    return Some((*at, part));
                }
            }
        }
        // OpenMetrics names a counter's family without the suffix.
        if let Some(base) = name.strip_suffix("_total")
            && let Some(at) = self.families.get(base).copied()
            && self.page.families[at].kind == FamilyKind::Counter
            && self.page.families[at].series.is_empty()
            && !self.families.contains_key(name)
        {
            self.page.families[at].name = name.into();
            self.families.insert(name.into(), at);
        }
        let at = self.family(name, FamilyKind::Untyped)?;
        // The bare name of a histogram has no meaning.
        (self.page.families[at].kind != FamilyKind::Histogram).then_some((at, SampleRole::Point))
    }

    fn one(&mut self, at: usize, labels: &[(&str, String)], value: f64) -> Option<()> {
        let labels = written(labels)?;
        // Of two series with the same labels, the first counts.
        if self.series.contains_key(&(at, labels.clone())) {
            return None;
        }
        self.add(at, labels, FamilyValue::One(value));
        Some(())
    }

    fn add(&mut self, at: usize, labels: Box<str>, value: FamilyValue) -> usize {
        let place = self.page.families[at].series.len();
        self.samples += 1;
        self.series.insert((at, labels.clone()), place);
        self.page.families[at].series.push(Series { labels, value });
        place
    }

    fn point(&mut self, at: usize, part: SampleRole, mut labels: Vec<(&str, String)>, by: &str, value: f64) -> Option<()> {
        let bound = match part {
            SampleRole::Point => {
                let (_, text) = labels.remove(labels.iter().position(|(name, _)| *name == by)?);
                Some((number(&text).filter(|bound| !bound.is_nan())?, text))
            }
            _ => None,
        };
        let is_histogram = self.page.families[at].kind == FamilyKind::Histogram;
        if is_histogram && part != SampleRole::Sum && !(value.is_finite() && value >= 0.0) || is_histogram && value.is_nan() {
            return None;
        }
        let labels = written(&labels)?;
        let place = match self.series.get(&(at, labels.clone())) {
            Some(place) => *place,
            None => self.add(at, labels, FamilyValue::Many(SeriesPoints::default())),
        };
        let FamilyValue::Many(points) = &mut self.page.families[at].series[place].value else { return None };
        match (part, bound) {
            (SampleRole::Sum, _) => points.sum = points.sum.or(Some(value)),
            (SampleRole::Count, _) => points.count = points.count.or(Some(value)),
            (SampleRole::Point, Some((bound, text))) => {
                if points.at.iter().any(|(known, ..)| *known == bound) {
                    return None;
                }
                points.at.push((bound, text.into(), value));
                self.samples += 1;
            }
            (SampleRole::Point, None) => return None,
        }
        Some(())
    }
}

/// Part of a histogram or summary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SampleRole {
    Point,
    Sum,
    Count,
}

/// Returns true for a valid name of a metric, or of a label (`has_colon` false).
fn is_name(name: &str, has_colon: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':' && has_colon;
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_part)
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust accepts more words than the format.
        _ if text.bytes().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) => None,
        _ => text.parse().ok(),
    }
}

/// Parses labels after the opening `{`. Returns them sorted, and the text after the `}`.
fn labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut all: Vec<(&str, String)> = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            all.sort();
            let is_twice = all.windows(2).any(|pair| pair[0].0 == pair[1].0);
            return (!is_twice).then_some((all, after));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        if !is_name(name, false) || name.starts_with("__") || value.len() > LONGEST_VALUE || all.len() >= MOST_LABELS {
            return None;
        }
        all.push((name, value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
    }
}

/// Parses a text up to its closing quote. Returns also the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
    None
}

fn unescaped(text: &str, longest: usize) -> String {
    let text: String = text.chars().take(longest).collect();
    text.replace("\\n", " ").replace("\\\\", "\\")
}

/// Formats labels and renames those that ostler sets; none = a renamed label would have the name of
/// another.
fn written(labels: &[(&str, String)]) -> Option<Box<str>> {
    let name_of = |name: &str| if OURS.contains(&name) { format!("exported_{name}") } else { name.to_owned() };
    let mut named: Vec<(String, &String)> = labels.iter().map(|(name, value)| (name_of(name), value)).collect();
    named.sort();
    if named.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    let pairs: Vec<String> = named.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    Some(pairs.join(",").into())
}

/// Returns the text in quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families_as_text(text: &str) -> Vec<String> {
        let page = page(text);
        page.families.iter().map(|family| format!("{} {:?} {:?} {:?}", family.name, family.kind, family.help, family.series)).collect()
    }

    fn parse_sample(text: &str) -> Option<(String, f64)> {
        let mut page = page(text);
        let mut family = page.families.pop()?;
        let series = family.series.pop()?;
        let FamilyValue::One(value) = series.value else { return None };
        Some((format!("{}{{{}}}", family.name, series.labels), value))
    }

    #[test]
    fn samples_parse_and_malformed_lines_are_skipped() {
        for (text, read) in [
            ("a 1", Some(("a{}", 1.0))),
            ("a{} 1.5e3 1764000000000", Some(("a{}", 1500.0))),
            ("a:b_c { x = \"y\" , } -Inf", Some(("a:b_c{x=\"y\"}", f64::NEG_INFINITY))),
            ("a{z=\"1\",b=\"q\\\"\\\\\\n}\"} 2 # {trace=\"x\"} 1", Some(("a{b=\"q\\\"\\\\\\n}\",z=\"1\"}", 2.0))),
            ("a{app=\"mine\",worker=\"w\"} 1", Some(("a{exported_app=\"mine\",exported_worker=\"w\"}", 1.0))),
            ("a{app=\"x\",exported_app=\"y\"} 1", None),
            ("a", None),
            ("a{x=\"y\" 1", None),
            ("a{x=\"y\",x=\"z\"} 1", None),
            ("a{__name__=\"b\"} 1", None),
            ("a{x=y} 1", None),
            ("a{\"quoted.name\"} 1", None),
            ("1a 1", None),
            ("\u{fc} 1", None),
            ("a infinity", None),
            ("a nan", None),
            ("a 0x1", None),
            ("# TYPE c counter\nc -1", None),
            ("# TYPE c counter\nc NaN", None),
        ] {
            assert_eq!(parse_sample(text), read.map(|(name, value)| (name.to_owned(), value)), "{text}");
        }
    }

    #[test]
    fn families_of_each_kind_parse() {
        let text = "# HELP h Time \\n to answer.\n# TYPE h histogram\nh_bucket{le=\"+Inf\",m=\"GET\"} 3\nh_bucket{le=\"0.5\",m=\"GET\"} 1\nh_sum{m=\"GET\"} 1.5\nh_count{m=\"GET\"} 3\nh 7\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 2\n# TYPE c counter\nc_total 4\n# EOF\n";
        assert_eq!(
            families_as_text(text),
            [
                "h Histogram \"Time   to answer.\" [Series { labels: \"m=\\\"GET\\\"\", value: Many(SeriesPoints { at: [(0.5, \"0.5\", 1.0), (inf, \"+Inf\", 3.0)], sum: Some(1.5), count: Some(3.0) }) }]",
                "s Summary \"\" [Series { labels: \"\", value: Many(SeriesPoints { at: [(0.5, \"0.5\", NaN)], sum: Some(1.0), count: Some(2.0) }) }]",
                "c_total Counter \"\" [Series { labels: \"\", value: One(4.0) }]",
            ]
        );
        assert_eq!(page(text).left_out, 1);
    }

    #[test]
    fn items_beyond_limits_are_counted() {
        let many: String = (0..100_000).map(|n| format!("# TYPE name_{n} gauge\nname_{n} 1\n")).collect();
        let read = page(&many);
        assert_eq!((read.families.len(), read.size(), read.left_out), (MOST_FAMILIES, MOST_FAMILIES, 99_000));
        let labels: String = (0..100_000).map(|n| format!("a{{id=\"{n}\"}} 1\n")).collect();
        let read = page(&labels);
        assert_eq!((read.size(), read.left_out), (MOST_SERIES, 95_000));
        let buckets: String =
            std::iter::once("# TYPE h histogram\n".to_owned()).chain((0..20_000).map(|n| format!("h_bucket{{le=\"{n}\"}} 1\n"))).collect();
        assert!(page(&buckets).size() <= MOST_SERIES + 2);
        let long = format!("a{{x=\"{}\"}} 1\n{} 1\nb 1\n", "y".repeat(2000), "z".repeat(10_000));
        assert_eq!((page(&long).size(), page(&long).left_out), (1, 2));
    }

    proptest::proptest! {
        #[test]
        fn page_never_panics_on_any_text(text in "(# (TYPE|HELP) [a-z_]{1,3} ?(counter|histogram|summary|x)?\n|[a-z_]{1,3}(\\{(le|app|[a-z]{1,2})=\"[^\n]{0,5}\",?\\})? [0-9.eINf+-]{0,5}\n|[^\n]{0,20}\n){0,20}") {
            let _ = page(&text);
        }
    }
}
