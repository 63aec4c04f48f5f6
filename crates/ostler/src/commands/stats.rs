//! `stats`: historical metrics, from the files that the dashboard's process keeps. The command
//! reads them directly: no daemon has to run.

use ostler_core::message;
use ostler_core::text::units;
use ostler_history::{Figure, QueryResult};
use ostler_web::history::{Key, SeriesSubject};
use serde_json::{Value, json};

use super::metrics_history::{App, MetricsHistory, rounded, rows};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status};
use crate::render::{json, metrics};

/// Default time span, ms.
const STATS_MS: u64 = 3_600_000;
/// Columns of the text beside the bars.
const STATS_TEXT: usize = 44;

/// Shows the metrics of one app.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let past = MetricsHistory::open(cx, call, STATS_MS, STATS_TEXT)?;
    let name = call.target().unwrap_or_default();
    let apps: Vec<App> = past.apps().into_iter().filter(|(_, app)| app == name).collect();
    if apps.is_empty() {
        let known = past.apps().into_iter().take(10).map(|(_, app)| ostler_client::words::shown(&app)).collect();
        return Err(DashboardError::NoFigures { app: ostler_client::words::shown(name), known }.into());
    }
    if call.has("json") {
        let all: Vec<Value> = apps.iter().map(|app| past.app_json(app)).collect();
        json(&mut cx.out, &all);
    } else if call.has("csv") {
        let text = past.csv(&apps);
        cx.out.text(text);
    } else {
        for app in &apps {
            past.show(cx, app);
        }
    }
    Ok(Status::Ok)
}

/// Metrics of an app that `stats` shows.
impl MetricsHistory {
    /// Returns the series of an app that have values in this time span.
    fn series(&self, (of_namespace, of_name): &App) -> Vec<(Option<u32>, String, QueryResult)> {
        let of_app = |key: &Key| match &key.subject {
            SeriesSubject::App { namespace, name, instance } if namespace == of_namespace && name == of_name => {
                Some((*instance, key.metric.clone()))
            }
            _ => None,
        };
        let asked = self.keys().into_iter().filter_map(|key| of_app(&key).map(|(instance, metric)| (instance, metric, self.ask(&key))));
        asked.filter(|(.., answer)| !answer.figures.is_empty()).collect()
    }

    fn app_json(&self, app: &App) -> Value {
        let one = |(instance, metric, answer): (Option<u32>, String, QueryResult)| json!({ "instance": instance, "metric": metric, "step": answer.step_ms, "figures": rows(&answer.figures) });
        let series: Vec<Value> = self.series(app).into_iter().map(one).collect();
        json!({ "app": app.1, "namespace": app.0, "from": self.from, "to": self.to, "series": series })
    }

    fn csv(&self, apps: &[App]) -> String {
        let mut text = String::from("at,namespace,instance,metric,min,avg,max\n");
        for app in apps {
            for (instance, metric, answer) in self.series(app) {
                let instance = instance.map(|id| id.to_string()).unwrap_or_default();
                for figure in &answer.figures {
                    let Figure { at_ms, min, avg, max } = figure;
                    let (namespace, metric) = (quoted(&app.0), quoted(&metric));
                    text.push_str(&format!(
                        "{at_ms},{namespace},{instance},{metric},{},{},{}\n",
                        rounded(*min),
                        rounded(*avg),
                        rounded(*max)
                    ));
                }
            }
        }
        text
    }

    fn show(&self, cx: &mut Cx, app: &App) {
        let width = cx.out.width();
        let columns = metrics::room(width, STATS_TEXT);
        let series = self.series(app);
        let (name, time) = (ostler_client::words::shown(&app.1), units::millis_text(self.to - self.from));
        let head = match series.is_empty() {
            true => message!("{app}, the last {time}: no metrics", app = name, time),
            false => message!("{app}, the last {time}", app = name, time),
        };
        let head = width.map_or(head.clone(), |width| crate::text::fit(&head, width));
        cx.out.text(format_args!("{head}\n"));
        for (instance, metric, answer) in series {
            let name = ostler_client::words::shown(metrics::name(&metric));
            let name = instance.map_or(name.clone(), |id| format!("{id} {name}"));
            let said = metrics::extremes(&answer.figures).map(|(min, average, max)| {
                let value = |number| metrics::value(&metric, number);
                let [min, average] = [min, average].map(|number| format!("{:<8}", value(number)));
                message!("min {min} avg {average} max {max}", min, average, max = value(max))
            });
            let bars = metrics::bars(&answer.figures, self.from, self.to, columns);
            cx.out.text(format_args!("{}\n", metrics::line(&name, &bars, &said.unwrap_or_default(), width).trim_end()));
        }
    }
}

/// Quotes a field of CSV. Text that a spreadsheet would run as a formula is made plain text.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_and_formulas_escaped() {
        for (text, field) in
            [("cpu", "cpu"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("=cmd()", "'=cmd()"), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(quoted(text), field);
        }
    }
}
