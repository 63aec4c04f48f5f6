//! Names of series. Pure.

/// Separator between the parts of a name.
const BETWEEN: char = '\u{1f}';
const HOST: &str = "host";
const APP: &str = "app";
/// Stands for the whole app in place of an instance.
const ALL: &str = "-";

/// Subject of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeriesSubject {
    /// The machine.
    Host,
    /// An app as a whole, or one of its instances.
    App {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The id of an instance; none = all of them.
        instance: Option<u32>,
    },
}

/// Name of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its subject.
    pub subject: SeriesSubject,
    /// Its metric.
    pub metric: String,
}

impl Key {
    /// Returns the name of a metric of the machine.
    pub fn host(metric: &str) -> Self {
        Self { subject: SeriesSubject::Host, metric: clean(metric) }
    }

    /// Returns the name of a metric of an app, or of one of its instances.
    pub fn app(namespace: &str, name: &str, instance: Option<u32>, metric: &str) -> Self {
        Self { subject: SeriesSubject::App { namespace: clean(namespace), name: clean(name), instance }, metric: clean(metric) }
    }

    /// Returns the name of the same metric for the whole app; none if it is for the whole app
    /// already.
    pub fn of_app(&self) -> Option<Self> {
        match &self.subject {
            SeriesSubject::App { namespace, name, instance: Some(_) } => Some(Self::app(namespace, name, None, &self.metric)),
            _ => None,
        }
    }

    /// Returns the key of the series in the store.
    pub fn text(&self) -> String {
        match &self.subject {
            SeriesSubject::Host => format!("{HOST}{BETWEEN}{}", self.metric),
            SeriesSubject::App { namespace, name, instance } => {
                let instance = instance.map_or_else(|| ALL.to_owned(), |id| id.to_string());
                format!("{APP}{BETWEEN}{namespace}{BETWEEN}{name}{BETWEEN}{instance}{BETWEEN}{}", self.metric)
            }
        }
    }

    /// Parses a key of the store. Returns `None` for foreign keys.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(BETWEEN).collect();
        match parts[..] {
            [HOST, metric] => Some(Self::host(metric)),
            [APP, namespace, name, ALL, metric] => Some(Self::app(namespace, name, None, metric)),
            [APP, namespace, name, instance, metric] => Some(Self::app(namespace, name, Some(instance.parse().ok()?), metric)),
            _ => None,
        }
    }
}

/// Replaces the separator in a part of a name.
fn clean(part: &str) -> String {
    part.replace(BETWEEN, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn key_round_trips(namespace: String, name: String, metric: String, instance: Option<u32>) {
            for key in [Key::app(&namespace, &name, instance, &metric), Key::host(&metric)] {
                proptest::prop_assert_eq!(Key::parse(&key.text()), Some(key));
            }
        }

        #[test]
        fn parse_never_panics_on_any_text(text: String) {
            let _ = Key::parse(&text);
        }
    }

    #[test]
    fn keys_of_apps_and_host_never_collide() {
        let keys = [
            Key::host("cpu"),
            Key::app("a", "b", None, "cpu"),
            Key::app("a", "b", Some(1), "cpu"),
            Key::app("a\u{1f}b", "-", None, "cpu"),
            Key::app("", "a\u{1f}b", None, "cpu"),
        ];
        let texts: std::collections::BTreeSet<String> = keys.iter().map(Key::text).collect();
        assert_eq!(texts.len(), keys.len());
        assert_eq!(keys[2].of_app(), Some(keys[1].clone()));
        assert_eq!((keys[1].of_app(), keys[0].of_app()), (None, None));
    }
}
