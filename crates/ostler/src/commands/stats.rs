//! `stats`, `top`: figures of the past, from the files that the dashboard's process keeps. They are read by themselves: no daemon has to run.

use std::collections::BTreeSet;
use std::io;

use ostler_core::units;
use ostler_history::{Answer, Figure, Folder, History};
use ostler_web::history::{self, Key, Of};
use ostler_web::settings::Settings;
use serde_json::{Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::{figures, json};

/// Time that is shown unless given, ms.
const STATS_MS: u64 = 3_600_000;
const TOP_MS: u64 = 900_000;
/// Figures of a series that programs get.
const POINTS: u64 = 300;
/// Columns of the text beside the bars.
const STATS_TEXT: usize = 44;
const TOP_TEXT: usize = 9;

/// A namespace and a name.
type App = (String, String);

/// Shows the figures of one app.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let past = Past::open(cx, call, STATS_MS)?;
    let name = call.target().unwrap_or_default();
    let apps: Vec<App> = past.apps().into_iter().filter(|(_, app)| app == name).collect();
    if apps.is_empty() {
        let known: Vec<String> = past.apps().into_iter().take(10).map(|(_, app)| ostler_client::words::shown(&app)).collect();
        let hint = if known.is_empty() { "there are none yet".to_owned() } else { format!("there are some of {}", known.join(", ")) };
        return Err(CliError::Failed(format!("there are no figures of {}; {hint}", ostler_client::words::shown(name))));
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

/// Shows processor and memory of all apps, the busiest first.
pub(crate) fn top(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let past = Past::open(cx, call, TOP_MS)?;
    let mut all: Vec<(App, Answer, Answer)> = past
        .apps()
        .into_iter()
        .map(|app| {
            let of = |metric: &str| past.ask(&Key::app(&app.0, &app.1, None, metric));
            let (cpu, memory) = (of("cpu"), of("memory"));
            (app, cpu, memory)
        })
        .filter(|(_, cpu, memory)| !cpu.figures.is_empty() || !memory.figures.is_empty())
        .collect();
    let use_of = |answer: &Answer| figures::extremes(&answer.figures).map_or(0.0, |(_, average, _)| average);
    all.sort_by(|(_, one, _), (_, other, _)| use_of(other).total_cmp(&use_of(one)));
    if call.has("json") {
        let list: Vec<Value> = all.iter().map(|(app, cpu, memory)| top_json(app, cpu, memory)).collect();
        json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    if all.is_empty() {
        cx.out.info("there are no figures of this time yet");
    }
    let (width, is_ascii) = (cx.out.width(), cx.out.is_ascii());
    let columns = figures::room(width, 2 * TOP_TEXT + 2) / 2;
    let heading = figures::line(
        &format!("the last {}", units::millis_text(past.to - past.from)),
        &format!("{:>TOP_TEXT$} {:columns$}", "cpu", ""),
        &format!("{:>TOP_TEXT$}", "memory"),
        width,
    );
    if !all.is_empty() {
        cx.out.text(format_args!("{}\n", heading.trim_end()));
    }
    for ((_, name), cpu, memory) in &all {
        let part = |metric: &str, answer: &Answer| {
            let last = answer.figures.last().map_or_else(|| "-".to_owned(), |figure| figures::value(metric, figure.avg));
            format!("{last:>TOP_TEXT$} {}", figures::bars(&answer.figures, past.from, past.to, columns, is_ascii))
        };
        let line = figures::line(&ostler_client::words::shown(name), &part("cpu", cpu), &part("memory", memory), width);
        cx.out.text(format_args!("{}\n", line.trim_end()));
    }
    Ok(Status::Ok)
}

fn top_json((namespace, name): &App, cpu: &Answer, memory: &Answer) -> Value {
    let of = |answer: &Answer| json!({ "step": answer.step_ms, "figures": rows(&answer.figures) });
    json!({ "app": name, "namespace": namespace, "cpu": of(cpu), "memory": of(memory) })
}

/// The files, and the time that is asked for.
struct Past {
    history: History<Folder>,
    from: u64,
    to: u64,
    /// Figures of a series.
    points: u64,
}

impl Past {
    fn open(cx: &mut Cx, call: &Call, usual_ms: u64) -> Result<Self, CliError> {
        let since = call.value("since").map_or(Ok(usual_ms), |text| {
            let reason = format!("expected a time such as 90s, 10m, 2h or 7d, found {text:?}");
            units::millis(text).ok().filter(|ms| *ms > 0).ok_or(UsageError::BadValue { option: "--since".into(), reason })
        })?;
        let home = cx.home()?.to_owned();
        let is_enabled = Settings::read(&home).is_ok_and(|settings| settings.enabled);
        let name = cx.program.name();
        let history = history::read(&home).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if is_enabled => {
                CliError::Failed("no history is kept yet: the dashboard has not recorded anything".into())
            }
            io::ErrorKind::NotFound => {
                CliError::Failed(format!("no history is kept: `{name} web enable` switches it on, with the dashboard"))
            }
            _ => CliError::Failed(format!("cannot read the history in \"{}\": {error}", history::folder(&home).display())),
        })?;
        if !is_enabled {
            cx.out.warn_err(format_args!("the history has ended: `{name} web enable` goes on with it"));
        }
        let to = cx.out.view().now_ms;
        let is_data = call.has("json") || call.has("csv");
        let points = if is_data { POINTS } else { figures::room(cx.out.width(), STATS_TEXT) as u64 };
        Ok(Self { history, from: to.saturating_sub(since), to, points })
    }

    fn keys(&self) -> BTreeSet<Key> {
        self.history.keys().filter_map(Key::parse).collect()
    }

    fn apps(&self) -> BTreeSet<App> {
        let app = |key: Key| match key.of {
            Of::App { namespace, name, .. } => Some((namespace, name)),
            Of::Host => None,
        };
        self.keys().into_iter().filter_map(app).collect()
    }

    fn ask(&self, key: &Key) -> Answer {
        self.history.query(&key.text(), self.from, self.to, self.points)
    }

    /// The series of an app that have figures in this time.
    fn series(&self, (of_namespace, of_name): &App) -> Vec<(Option<u32>, String, Answer)> {
        let of_app = |key: &Key| match &key.of {
            Of::App { namespace, name, instance } if namespace == of_namespace && name == of_name => Some((*instance, key.metric.clone())),
            _ => None,
        };
        let asked = self.keys().into_iter().filter_map(|key| of_app(&key).map(|(instance, metric)| (instance, metric, self.ask(&key))));
        asked.filter(|(.., answer)| !answer.figures.is_empty()).collect()
    }

    fn app_json(&self, app: &App) -> Value {
        let one = |(instance, metric, answer): (Option<u32>, String, Answer)| json!({ "instance": instance, "metric": metric, "step": answer.step_ms, "figures": rows(&answer.figures) });
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
        let (width, is_ascii) = (cx.out.width(), cx.out.is_ascii());
        let columns = figures::room(width, STATS_TEXT);
        let series = self.series(app);
        let mut head = format!("{}, the last {}", ostler_client::words::shown(&app.1), units::millis_text(self.to - self.from));
        if series.is_empty() {
            head.push_str(": no figures");
        }
        let head = width.map_or(head.clone(), |width| crate::text::fit(&head, width));
        cx.out.text(format_args!("{head}\n"));
        for (instance, metric, answer) in series {
            let own = metric.strip_prefix("own:").unwrap_or(&metric);
            let name = instance.map_or_else(|| ostler_client::words::shown(own), |id| format!("{id} {}", ostler_client::words::shown(own)));
            let said = figures::extremes(&answer.figures).map(|(min, average, max)| {
                let value = |number| figures::value(&metric, number);
                format!("min {:<8} avg {:<8} max {}", value(min), value(average), value(max))
            });
            let bars = figures::bars(&answer.figures, self.from, self.to, columns, is_ascii);
            cx.out.text(format_args!("{}\n", figures::line(&name, &bars, &said.unwrap_or_default(), width).trim_end()));
        }
    }
}

fn rows(list: &[Figure]) -> Vec<Value> {
    list.iter().map(|figure| json!([figure.at_ms, rounded(figure.min), rounded(figure.avg), rounded(figure.max)])).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A field of CSV. What a spreadsheet would take for a formula is text.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_csv() {
        for (text, field) in
            [("cpu", "cpu"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("=cmd()", "'=cmd()"), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(quoted(text), field);
        }
    }
}
