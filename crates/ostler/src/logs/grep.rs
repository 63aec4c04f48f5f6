//! `logs --grep`, `--since`, `--until`: selects lines, and finds the last of them in rotated files,
//! too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ostler_core::message;
use ostler_core::text::units;

use super::follow::Line;
use super::merge::PastLines;
use super::printer::Printer;
use super::search::{FoundLine, Hit, Pattern, Receiver, Search, moment, search};
use super::source::{Source, changed_ms};
use crate::cli::Call;
use crate::error::{CliError, UsageError};
use crate::render::Out;

/// Bytes of lines that are kept until they can be shown in order.
const MOST_BYTES: usize = 64 << 20;

/// Conditions that a line must meet.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) pattern: Pattern,
    since_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
}

impl Terms {
    /// Reads the conditions from the options; none if no such option is given.
    ///
    /// # Errors
    /// Returns an error if a pattern or a time is invalid.
    pub(super) fn of(call: &Call) -> Result<Option<Self>, UsageError> {
        let bad = |option: &str, reason: String| UsageError::BadValue { option: option.into(), reason };
        if !["grep", "since", "until"].iter().any(|name| call.value(name).is_some()) {
            let alone = ["regex", "ignore-case"].into_iter().find(|name| call.has(name));
            return match alone {
                Some(name) => Err(bad(&format!("--{name}"), message!("it needs --grep"))),
                None => Ok(None),
            };
        }
        let now = jiff::Zoned::now();
        let time = |name: &str| match call.value(name) {
            None => Ok(None),
            Some(text) => moment(text, &now).map(Some).ok_or_else(|| {
                bad(
                    &format!("--{name}"),
                    message!("expected a time such as 10m, 14:30 or \"2026-11-24 14:30\", found {text}", text = format!("{text:?}")),
                )
            }),
        };
        let (since_ms, until_ms) = (time("since")?, time("until")?);
        if since_ms.zip(until_ms).is_some_and(|(since, until)| since > until) {
            return Err(bad(
                "--until",
                message!("it is {time} before --since", time = units::millis_text(since_ms.unwrap_or(0) - until_ms.unwrap_or(0))),
            ));
        }
        let pattern = Pattern::new(call.value("grep").unwrap_or_default(), call.has("regex"), call.has("ignore-case"));
        Ok(Some(Self { pattern: pattern.map_err(|error| bad("--grep", error.to_string()))?, since_ms, until_ms }))
    }

    /// Shows the last `count` matching lines, in the order of each file. A log is searched up to
    /// the position in `ends_at`. `home` has the receive times of lines.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub(super) fn show_past(
        &self,
        home: Option<&Path>,
        sources: &[Source],
        count: u64,
        ends_at: &HashMap<PathBuf, u64>,
        printer: &mut Printer,
        out: &mut Out,
    ) -> Result<(), CliError> {
        let limit = usize::try_from(count).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(());
        }
        let query = Search {
            home: home.map(Path::to_owned),
            pattern: self.pattern.clone(),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            only_timed: false,
            before: None,
            at: None,
            limit,
            context: 0,
            within: None,
            ends_at: ends_at.clone(),
        };
        let mut matches = MatchBuffer { lines: Vec::new(), bytes: 0 };
        let result = search(sources, &query, &mut matches)?;
        let count = matches.lines.len();
        matches.show(sources, printer, out);
        if result.more.is_some() && count < limit {
            out.warn_err(message!("more than {most} MiB match; showing the last {count} lines", most = MOST_BYTES >> 20, count));
        }
        result.trouble.iter().for_each(|trouble| out.warn_err(message!("not searched: {trouble}", trouble)));
        Ok(())
    }
}

/// Lines, the last one first, each with the path of its log.
struct MatchBuffer {
    lines: Vec<(PathBuf, FoundLine)>,
    bytes: usize,
}

impl MatchBuffer {
    /// Shows the lines: for readers in the order of their times.
    fn show(self, sources: &[Source], printer: &mut Printer, out: &mut Out) {
        let mut past = PastLines::new(sources.iter().map(|source| changed_ms(&source.path)).collect());
        for (path, found) in self.lines.into_iter().rev() {
            let Some(log) = sources.iter().position(|source| source.path == path) else { continue };
            if printer.merges() {
                past.push(log, &found.text, found.time, false);
            } else if !out.is_closed() {
                printer.past(out, &sources[log], &Line { time: found.time, ..Line::past(&found.text) });
            }
        }
        past.drain(&mut |log, line| printer.past(out, &sources[log], line));
    }
}

impl Receiver for MatchBuffer {
    fn hit(&mut self, hit: &Hit<'_>) -> bool {
        self.bytes += hit.found.text.len() + hit.source.path.as_os_str().len() + size_of::<(PathBuf, FoundLine)>();
        self.lines.push((hit.source.path.clone(), hit.found.clone()));
        self.bytes < MOST_BYTES
    }

    fn progress(&mut self, _looked: u64, _of: u64) -> bool {
        true
    }
}
