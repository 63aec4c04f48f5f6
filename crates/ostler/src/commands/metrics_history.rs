//! Historical metrics, as `stats` and `top` read them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use ostler_core::message;
use ostler_core::text::units;
use ostler_history::{Figure, Folder, History, QueryResult};
use ostler_web::history::{self, Key, SeriesSubject};
use ostler_web::settings::Settings;
use serde_json::{Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, UsageError};
use crate::render::metrics;

/// Points of a series in output for programs.
const POINTS: u64 = 300;

/// Namespace and name of an app.
pub(super) type App = (String, String);

/// Files of the past, and the requested time span.
pub(super) struct MetricsHistory {
    history: History<Folder>,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Points of a series.
    points: u64,
}

impl MetricsHistory {
    /// Opens the files of the home for the time span of `--since`. `text`: columns beside the bars.
    ///
    /// # Errors
    /// Returns an error if the files do not exist or cannot be read.
    pub(super) fn open(cx: &mut Cx, call: &Call, usual_ms: u64, text: usize) -> Result<Self, CliError> {
        let since = since(call, usual_ms)?;
        let home = cx.home()?.to_owned();
        let is_enabled = Settings::read(&home).is_ok_and(|settings| settings.enabled);
        let name = cx.program.name();
        let is_data = call.has("json") || call.has("csv");
        let points = if is_data { POINTS } else { metrics::room(cx.out.width(), text) as u64 };
        let to = cx.out.view().now_ms;
        let past = Self::read(&home, since, to, points).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if is_enabled => DashboardError::NoHistory,
            io::ErrorKind::NotFound => DashboardError::HistoryOff { program: name },
            _ => DashboardError::History { folder: history::folder(&home), source: error },
        })?;
        if !is_enabled {
            cx.out.warn_err(message!("the dashboard is off, so no new metrics are recorded: `{name} web enable` turns it on", name));
        }
        Ok(past)
    }

    /// Opens the files of a home, for a time span that ends at an instant.
    ///
    /// # Errors
    /// Returns an error if the files do not exist or cannot be read.
    pub(super) fn read(home: &Path, since_ms: u64, to: u64, points: u64) -> io::Result<Self> {
        Ok(Self { history: history::read(home)?, from: to.saturating_sub(since_ms), to, points })
    }

    /// Returns the CPU and memory use of each app in this time span.
    pub(super) fn usage(&self) -> Vec<(App, QueryResult, QueryResult)> {
        let of = |app: &App, metric: &str| self.ask(&Key::app(&app.0, &app.1, None, metric));
        let all = self.apps().into_iter().map(|app| {
            let (cpu, memory) = (of(&app, "cpu"), of(&app, "memory"));
            (app, cpu, memory)
        });
        all.filter(|(_, cpu, memory)| !cpu.figures.is_empty() || !memory.figures.is_empty()).collect()
    }

    /// Returns the names of all series.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        self.history.keys().filter_map(Key::parse).collect()
    }

    /// Returns the apps that have a series.
    pub(super) fn apps(&self) -> BTreeSet<App> {
        let app = |key: Key| match key.subject {
            SeriesSubject::App { namespace, name, .. } => Some((namespace, name)),
            SeriesSubject::Host => None,
        };
        self.keys().into_iter().filter_map(app).collect()
    }

    /// Returns the values of one series.
    pub(super) fn ask(&self, key: &Key) -> QueryResult {
        self.history.query(&key.text(), self.from, self.to, self.points)
    }
}

/// Returns the time span of `--since`, ms.
///
/// # Errors
/// Returns an error if the value is no time.
pub(super) fn since(call: &Call, usual_ms: u64) -> Result<u64, CliError> {
    let Some(text) = call.value("since") else { return Ok(usual_ms) };
    let reason = message!("expected a time such as 90s, 10m, 2h or 7d, found {found}", found = format!("{text:?}"));
    let since = units::millis(text).ok().filter(|ms| *ms > 0);
    Ok(since.ok_or(UsageError::BadValue { option: "--since".into(), reason })?)
}

/// Returns values in their JSON form: `[at, min, avg, max]`.
pub(super) fn rows(list: &[Figure]) -> Vec<Value> {
    list.iter().map(|figure| json!([figure.at_ms, rounded(figure.min), rounded(figure.avg), rounded(figure.max)])).collect()
}

/// Rounds to thousandths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
