//! `alerts`: current alerts, their receivers, silences, and channels. It works on the files of the
//! home. If the dashboard's process runs, it picks up each change at once.

use std::io::Read as _;

use ostler_alerts::channel::SERVICES;
use ostler_client::words::{shown, span};
use ostler_core::text::language::translated;
use ostler_core::text::units;
use ostler_core::{marked, message};
use ostler_web::alerts::channels::read_channel;
use ostler_web::alerts::{Overview, Settings, read_overview, test_blocking};
use serde_json::{Map, Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status, UsageError};
use crate::render;

/// Default length of a silence, ms.
const SILENCE_MS: u64 = 3_600_000;
/// Longest silence, ms.
const LONGEST_SILENCE_MS: u64 = 30 * 86_400_000;
/// Lines of the history.
const LINES: usize = 50;
/// Longest description of a channel that is read.
const MAX_BYTES: u64 = 64 << 10;

/// Runs `alerts [list|test|silence|unsilence|history|channel]`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match call.target() {
        None | Some("list") => list(cx, call),
        Some("history") => history(cx, call),
        Some("test") => test(cx, call),
        Some("silence") => silence(cx, call),
        Some("unsilence") => unsilence(cx, call),
        Some("channel") => channel(cx, call),
        Some(other) => {
            let reason =
                message!("expected list, test, silence, unsilence, history or channel, found {other}", other = format!("{other:?}"));
            let known = ["list", "test", "silence", "unsilence", "history", "channel"];
            Err(UsageError::unknown_among("alerts", reason, other, &known).into())
        }
    }
}

fn list(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let all = read_overview(cx.home()?);
    if call.has("json") {
        render::json(&mut cx.out, &serde_json::to_value(&all).unwrap_or_default());
        return Ok(Status::Ok);
    }
    let name = cx.program.name();
    for alert in &all.alerts {
        let app = shown(alert.app.as_deref().unwrap_or("ostler"));
        let notes = [
            (alert.status == "pending", marked!("not yet sent")),
            (alert.silenced, marked!("silenced")),
            (alert.flapping, marked!("flapping")),
        ];
        let notes: String = notes.iter().filter(|(is, _)| *is).map(|(_, note)| message!(" ({note})", note = translated(note))).collect();
        let since = span(all.at.saturating_sub(alert.since));
        let (severity, rule, text) = (translated(alert.severity.word()), shown(&alert.rule), shown(&alert.text));
        cx.out.line(match alert.count {
            0 | 1 => message!("{severity} {app} {rule}: {text}, for {since}{notes}", severity, app, rule, text, since, notes),
            times => message!(
                "{severity} {app} {rule}: {text}, {times} times, for {since}{notes}",
                severity,
                app,
                rule,
                text,
                times,
                since,
                notes
            ),
        });
    }
    if all.alerts.is_empty() && !all.channels.is_empty() {
        cx.out.line(message!("no alert is firing"));
    }
    silences(cx, &all);
    for channel in &all.channels {
        let waiting = if channel.waiting > 0 { message!(", {count} waiting", count = channel.waiting) } else { String::new() };
        let fault = channel.fault.as_ref().map(|fault| message!(", the last message was not sent: {error}", error = shown(fault)));
        cx.out.line(message!(
            "channel {name}: {service} at {place}, from {severity}{waiting}{fault}",
            name = channel.name,
            service = channel.service,
            place = channel.place,
            severity = translated(channel.severity.word()),
            waiting,
            fault = fault.unwrap_or_default()
        ));
    }
    if all.channels.is_empty() {
        cx.out.line(message!(
            "no channel is configured, so alerts are off; add one with `{name} alerts channel add <type> key=value…`",
            name
        ));
    } else if crate::web::row(cx)?.is_none() {
        cx.out.warn_err(message!("the process that evaluates and sends alerts is not running; `{name} web enable` starts it", name));
    }
    for problem in &all.problems {
        cx.out.warn_err(shown(problem));
    }
    Ok(Status::Ok)
}

fn silences(cx: &mut Cx, all: &Overview) {
    for silence in &all.silences {
        let app = silence.app.as_ref().map(|app| message!("app {app}", app = shown(app)));
        let rule = silence.rule.as_ref().map(|rule| message!("rule {rule}", rule = shown(rule)));
        let what: Vec<String> = app.into_iter().chain(rule).collect();
        let what = if what.is_empty() { message!("everything") } else { what.join(", ") };
        let (left, by) = (span(silence.until_ms.saturating_sub(all.at)), shown(&silence.by));
        let reason = if silence.reason.is_empty() { String::new() } else { format!(": {}", shown(&silence.reason)) };
        cx.out.line(message!(
            "silence {id}: {what}, for {time} more, by {user}{reason}",
            id = silence.id,
            what,
            time = left,
            user = by,
            reason
        ));
    }
}

fn history(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let all = read_overview(cx.home()?);
    if call.has("json") {
        render::json(&mut cx.out, &json!({ "history": all.history, "sent": all.sent }));
        return Ok(Status::Ok);
    }
    if all.history.is_empty() && all.sent.is_empty() {
        cx.out.info(message!("no alerts have been recorded"));
    }
    for change in all.history.iter().take(LINES).rev() {
        let app = if change.app.is_empty() { "ostler" } else { &change.app };
        let ago = span(all.at.saturating_sub(change.at));
        let what = format!("{} {} {}: {}", change.status, shown(app), shown(&change.rule), shown(&change.text));
        cx.out.line(format_args!("{}  {what}", message!("{age} ago", age = ago)));
    }
    for sent in all.sent.iter().take(LINES).rev() {
        let ago = span(all.at.saturating_sub(sent.at));
        let (channel, title) = (&sent.channel, shown(&sent.title));
        let what = match &sent.fault {
            None => message!("{channel} sent: {title}", channel, title),
            Some(fault) => message!("{channel} not sent ({error}): {title}", channel, error = shown(fault), title),
        };
        cx.out.line(format_args!("{}  {what}", message!("{age} ago", age = ago)));
    }
    Ok(Status::Ok)
}

fn test(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let settings = Settings::of(cx.home()?).read();
    settings.problems.iter().for_each(|problem| cx.out.warn_err(shown(problem)));
    let wanted = call.targets.get(1);
    let channels: Vec<_> = settings.channels.iter().filter(|channel| wanted.is_none_or(|name| *name == channel.policy.name)).collect();
    if channels.is_empty() {
        let Some(name) = wanted else { return Err(CliError::NotFound(message!("no channel is configured"))) };
        let known = settings.channels.iter().map(|channel| channel.policy.name.as_str());
        return Err(CliError::unknown(message!("there is no channel {name}", name = format!("{name:?}")), name, known, ""));
    }
    let mut results = Vec::new();
    for channel in channels {
        let (name, result) = (&channel.policy.name, test_blocking(channel).map_err(|error| error.to_string()));
        if !call.has("json") {
            match &result {
                Ok(()) => cx.out.info(message!("{name}: sent", name)),
                Err(why) => cx.out.error(format_args!("{name}: {}", shown(why))),
            }
        }
        results.push(json!({ "channel": name, "sent": result.is_ok(), "error": result.err() }));
    }
    let is_good = results.iter().all(|result| result["sent"] == true);
    if call.has("json") {
        render::json(&mut cx.out, &json!(results));
    }
    Ok(if is_good { Status::Ok } else { Status::Failed })
}

fn silence(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let for_ms = match call.value("for") {
        None => SILENCE_MS,
        Some(text) => units::millis(text).ok().filter(|ms| (1..=LONGEST_SILENCE_MS).contains(ms)).ok_or_else(|| UsageError::BadValue {
            option: "--for".into(),
            reason: message!("expected a time up to 30d such as 30m or 2h, found {text}", text = format!("{text:?}")),
        })?,
    };
    let pattern = |text: Option<&str>| text.filter(|text| *text != "all").map(str::to_owned);
    let (app, rule) = (pattern(call.targets.get(1).map(String::as_str)), pattern(call.value("rule")));
    let by = format!("uid {}", rustix::process::getuid().as_raw());
    let reason = call.value("reason").unwrap_or_default();
    let made = Settings::of(cx.home()?).silence(rule, app, for_ms, &by, reason).map_err(DashboardError::from)?;
    if call.has("json") {
        render::json(&mut cx.out, &serde_json::to_value(&made).unwrap_or_default());
    } else {
        let name = cx.program.name();
        let (id, time) = (&made.id, span(for_ms));
        cx.out.info(message!("Silence {id} for {time}; `{name} alerts unsilence {id}` ends it", id, time, name));
    }
    Ok(Status::Ok)
}

fn unsilence(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let Some(id) = call.targets.get(1) else {
        return Err(UsageError::BadValue { option: "unsilence".into(), reason: message!("expected the id of a silence, or all") }.into());
    };
    let ended = Settings::of(cx.home()?).unsilence(id).map_err(DashboardError::from)?;
    if ended == 0 && id != "all" {
        let program = cx.program.name();
        let hint = message!("`{program} alerts list` shows the silences", program);
        return Err(CliError::Unknown { text: message!("there is no silence {id}; nothing was changed", id = format!("{id:?}")), hint });
    }
    cx.out.info(if ended == 1 { message!("1 silence ended") } else { message!("{count} silences ended", count = ended) });
    Ok(Status::Ok)
}

fn channel(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let words: Vec<&str> = call.targets.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["add", ..] => add(cx, call, &words[1..]),
        ["remove", name] => {
            let removed = Settings::of(cx.home()?).remove_channel(name).map_err(DashboardError::from)?;
            if !removed {
                let all = Settings::of(cx.home()?).read().channels;
                let known = all.iter().map(|channel| channel.policy.name.as_str());
                return Err(CliError::unknown(
                    message!("there is no channel {name}; nothing was changed", name = format!("{name:?}")),
                    name,
                    known,
                    "",
                ));
            }
            cx.out.info(message!("Channel {name} was removed", name));
            Ok(Status::Ok)
        }
        [] | ["list"] => {
            let all = read_overview(cx.home()?);
            if call.has("json") {
                render::json(&mut cx.out, &serde_json::to_value(&all.channels).unwrap_or_default());
            }
            for channel in all.channels.iter().filter(|_| !call.has("json")) {
                cx.out.line(message!(
                    "{name}: {service} at {place}, from {severity}",
                    name = channel.name,
                    service = channel.service,
                    place = channel.place,
                    severity = translated(channel.severity.word())
                ));
            }
            Ok(Status::Ok)
        }
        _ => Err(UsageError::BadValue {
            option: "alerts channel".into(),
            reason: message!("expected list, add <type> key=value… or remove <name>"),
        }
        .into()),
    }
}

fn add(cx: &mut Cx, call: &Call, words: &[&str]) -> Result<Status, CliError> {
    let value = match words {
        // Other users can read a command line while the command runs.
        ["-"] | [] => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
            read.map_err(|source| CliError::File { what: marked!("read"), path: message!("standard input"), source })?;
            serde_json::from_str(&text).map_err(|error| bad(message!("standard input is not JSON: {error}", error)))?
        }
        [service, rest @ ..] => described(service, rest, call)?,
    };
    let channel = read_channel(&value).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bad(all.join("; "))
    })?;
    let name = channel.policy.name;
    let replaced = Settings::of(cx.home()?).add_channel(&name, value).map_err(DashboardError::from)?;
    let program = cx.program.name();
    cx.out.info(match replaced {
        true => message!("Channel {name} was changed; `{program} alerts test {name}` tests it", name, program),
        false => message!("Channel {name} was added; `{program} alerts test {name}` tests it", name, program),
    });
    if crate::web::row(cx)?.is_none() {
        cx.out.warn_err(message!("no alerts are sent until `{program} web enable` starts the process that evaluates them", program));
    }
    Ok(Status::Ok)
}

/// Parses the description of a channel from `key=value` words; the words after a `command` are its
/// program.
fn described(service: &str, words: &[&str], call: &Call) -> Result<Value, CliError> {
    let mut map = Map::new();
    map.insert("type".into(), service.into());
    let mut argv: Vec<&str> = call.app_args.iter().flatten().map(String::as_str).collect();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            if service == "command" {
                argv.push(word);
                continue;
            }
            return Err(bad(message!("expected key=value, found {word}", word = format!("{word:?}"))));
        };
        let value = match key {
            "port" => value.parse::<u64>().map_or_else(|_| value.into(), Value::from),
            "resolved" => value.parse::<bool>().map_or_else(|_| value.into(), Value::from),
            "to" => value.split(',').collect::<Vec<_>>().into(),
            "quiet" => quiet(value),
            _ => value.into(),
        };
        map.insert(key.to_owned(), value);
    }
    if !argv.is_empty() {
        map.insert("argv".into(), argv.into());
    }
    if !SERVICES.contains(&service) && words.is_empty() && service.starts_with('{') {
        return serde_json::from_str(service)
            .map_err(|error| bad(message!("{service} is not JSON: {error}", service = format!("{service:?}"), error)));
    }
    Ok(Value::Object(map))
}

/// Parses `22:00-07:00`, or the same with `@Zone/Name`.
fn quiet(text: &str) -> Value {
    let (times, zone) = text.split_once('@').unwrap_or((text, ""));
    let (from, to) = times.split_once('-').unwrap_or((times, ""));
    let mut value = json!({ "from": from, "to": to });
    if !zone.is_empty() {
        value["zone"] = zone.into();
    }
    value
}

fn bad(reason: String) -> CliError {
    UsageError::BadValue { option: "alerts channel add".into(), reason }.into()
}
