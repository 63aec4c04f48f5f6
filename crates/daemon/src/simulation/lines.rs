//! Lines that played processes write. In the end each line must be in each of its files once, whole
//! and in order.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ostler_core::app::{AppSpec, CombinedLog};
use ostler_core::logs::rotate::{ALL, RotateSpec};
use ostler_testkit::Rng;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::verdict::Verdict;

/// Prefix of dated lines: a date that never changes.
const DATE: &str = "at: ";
/// Most bytes of a line: a pipe takes this many in one write or none.
const LONGEST: usize = 4000;
/// Size at which logs are rotated here.
const MAX_SIZE: u64 = 3000;

/// App whose lines go through a log writer or directly into its files.
#[derive(Clone, Copy, Debug)]
struct LineStyle {
    json: bool,
    dated: bool,
    /// Whether its processes write halves of lines now and then. No other app writes to their
    /// files.
    halves: bool,
    has_combined: bool,
}

/// Process and its output (0) or error output (1).
type Stream = (i32, usize);

/// Lines that were written to a stream so far.
#[derive(Default)]
struct WrittenLines {
    app: String,
    lines: u32,
    /// End of an incomplete line.
    rest: Option<String>,
    /// Whether the disk was slow or full after that. The incomplete line may then end late or
    /// never.
    may_be_open: bool,
}

/// Lines of all processes of an episode.
#[derive(Default)]
pub(super) struct Lines {
    styles: BTreeMap<String, LineStyle>,
    written: BTreeMap<Stream, WrittenLines>,
    /// True when no process begins another line.
    pub are_good: bool,
    /// Whether lines may be missing because no process had their pipe any more.
    pub may_be_lost: bool,
    is_disk_good: bool,
}

/// Configures random destinations for the lines of an app.
pub(super) fn writes(spec: &mut AppSpec, home: &str, rng: &mut Rng) {
    let name = spec.name.clone();
    let path = |what: &str| format!("{home}/logs/{name}-{what}.log");
    let logs = &mut spec.logs;
    logs.json = rng.percent(25);
    logs.date_format = (!logs.json && rng.percent(60)).then(|| "[at]".to_owned());
    (logs.out_file, logs.error_file) = (Some(path("out")), Some(path("err")));
    if rng.percent(40) {
        // The files belong to this app alone, and are not renamed.
        logs.log_file = None;
        return;
    }
    if rng.percent(25) {
        (logs.out_file, logs.error_file) = (Some(path("both")), Some(path("both")));
    }
    logs.log_file = rng.percent(40).then(|| CombinedLog::Path(path("all")));
    logs.merge_logs = rng.percent(40);
    let is_piped = logs.json || logs.date_format.is_some() || logs.log_file.is_some();
    if is_piped && rng.percent(60) {
        spec.log_rotate =
            RotateSpec { max_size: Some(MAX_SIZE), retain: Some(ALL), compress: Some(rng.percent(50)), ..RotateSpec::default() }.into();
    }
}

impl Lines {
    pub(super) fn of(specs: &[AppSpec]) -> Self {
        let way = |spec: &AppSpec| {
            let logs = &spec.logs;
            let are_own = logs.log_file.is_none() && !logs.merge_logs && logs.out_file != logs.error_file;
            let way = LineStyle {
                json: logs.json,
                dated: logs.date_format.is_some(),
                halves: logs.date_format.is_some() && are_own && *spec.log_rotate == RotateSpec::default(),
                has_combined: logs.log_file.is_some(),
            };
            (spec.name.clone(), way)
        };
        Self { styles: specs.iter().map(way).collect(), is_disk_good: true, ..Self::default() }
    }

    /// Sets whether the disk accepts all writes from now on.
    pub(super) fn disk_is(&mut self, good: bool) {
        self.is_disk_good = good;
        self.written.values_mut().for_each(|said| said.may_be_open |= !good);
    }

    /// Returns true if no app writes lines.
    pub(super) fn is_empty(&self) -> bool {
        self.styles.is_empty()
    }

    /// Registers the output or error output of a new process.
    pub(super) fn begins(&mut self, app: &str, stream: Stream, fd: &OwnedFd) {
        if self.styles.contains_key(app) {
            // A pipe may be full, and no thread empties it while this one waits.
            let flags = fcntl_getfl(fd).unwrap_or(OFlags::empty());
            let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
            self.written.insert(stream, WrittenLines { app: app.to_owned(), ..WrittenLines::default() });
        }
    }

    /// Writes some lines of a process, or the rest of one. Returns how many it began.
    pub(super) fn write(&mut self, stream: Stream, fd: impl AsFd, rng: &mut Rng) -> Option<u32> {
        let written = self.written.get_mut(&stream)?;
        let way = self.styles.get(&written.app)?;
        let put = |text: &str| matches!(rustix::io::write(&fd, text.as_bytes()), Ok(count) if count == text.len());
        if let Some(rest) = &written.rest {
            return put(rest).then(|| {
                written.rest = None;
                0
            });
        }
        if self.are_good {
            return None;
        }
        let wanted = rng.pick(&[1, 1, 2, 10, 60]);
        let long = rng.pick(&[0, 0, 20, 300, LONGEST - 100]);
        let mut done = 0;
        for _ in 0..wanted {
            let (pid, at) = stream;
            let number = written.lines + 1;
            let start = format!("<{} {pid} {at} {number} {}|", written.app, "x".repeat(long));
            let rest = format!("{pid} {at} {number}>\n");
            let is_half = way.halves && rng.percent(20);
            if !put(&if is_half { start } else { format!("{start}{rest}") }) {
                break;
            }
            (written.lines, done) = (number, done + 1);
            if is_half {
                written.rest = Some(rest);
                written.may_be_open = !self.is_disk_good;
                break;
            }
        }
        Some(done)
    }

    /// Checks when everything was carried: each line is in each of its files once.
    pub(super) fn at_rest(&self, folder: &Path) -> Verdict {
        if self.styles.is_empty() {
            return Ok(());
        }
        let mut seen = FoundLines::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            ensure!(!name.starts_with('.'), "{name} is left");
            let Some((app, rest)) = name.split_once('-') else { continue };
            let Some(way) = self.styles.get(app) else { continue };
            let text = text_of(&entry.path(), &name)?;
            let last = take(&text, way, rest.starts_with("all"), &mut seen).map_err(|what| format!("{name}: {what}"))?;
            let may_be_open = last.and_then(|last| self.written.get(&last)).is_some_and(|said| said.may_be_open);
            ensure!(text.is_empty() || text.ends_with('\n') || may_be_open, "{name} ends within a line");
        }
        self.judge(seen)
    }

    fn judge(&self, mut seen: FoundLines) -> Verdict {
        for (stream, said) in &self.written {
            let way = &self.styles[&said.app];
            for (number, combined) in (1..=said.lines).flat_map(|number| [(number, false), (number, true)]) {
                let wanted = u32::from(!combined || way.has_combined);
                let wanted = [wanted, if number == said.lines && said.rest.is_some() { 0 } else { wanted }];
                let found = seen.remove(&(*stream, number, combined)).unwrap_or_default();
                let is_lost = self.may_be_lost && found.iter().zip(wanted).all(|(found, wanted)| *found <= wanted);
                ensure!(
                    found == wanted || is_lost,
                    "line {number} of {stream:?} of {}: beginning and end are {found:?} times in its {}file, not {wanted:?}",
                    said.app,
                    if combined { "combined " } else { "" }
                );
            }
        }
        ensure!(seen.is_empty(), "nobody wrote {:?}", seen.first_key_value());
        Ok(())
    }
}

/// How often the beginning and the end of a line were found in its files. The key is its stream and
/// number, and whether the file is the combined one.
type FoundLines = BTreeMap<(Stream, u32, bool), [u32; 2]>;

fn text_of(path: &Path, name: &str) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    if !name.ends_with(".gz") {
        return String::from_utf8(bytes).map_err(|_| format!("{name} is no text"));
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).map_err(|error| format!("{name}: {error}"))?;
    Ok(text)
}

/// Reads a file: the lines of each stream must be in order, and whole unless its process wrote
/// halves. Returns the stream of the last line.
fn take(text: &str, way: &LineStyle, is_combined: bool, seen: &mut FoundLines) -> Result<Option<Stream>, String> {
    let mut last: BTreeMap<Stream, u32> = BTreeMap::new();
    let mut latest = None;
    for line in text.lines() {
        let content = plain(line, way).ok_or_else(|| format!("in another form: {line:.200}"))?;
        let pieces: Vec<&str> = content.split_inclusive(['|', '>']).collect();
        let mut ends = Vec::new();
        for piece in pieces {
            let (stream, number, end) = piece_of(piece).ok_or_else(|| format!("cut: {line:.200}"))?;
            let before = last.insert(stream, number);
            ensure!(before.is_none_or(|before| before <= number), "line {number} of {stream:?} comes after {before:?}");
            seen.entry((stream, number, is_combined)).or_default()[end] += 1;
            ends.push(end);
            latest = Some(stream);
        }
        ensure!(way.halves || ends == [0, 1], "a cut line: {line:.200}");
    }
    Ok(latest)
}

/// Returns a line as its process wrote it.
fn plain(line: &str, way: &LineStyle) -> Option<String> {
    if way.json {
        let object: serde_json::Value = serde_json::from_str(line).ok()?;
        return object["message"].as_str().map(|text| text.trim_end().to_owned());
    }
    if way.dated { line.strip_prefix(DATE).map(str::to_owned) } else { Some(line.to_owned()) }
}

/// Returns stream and number of a beginning (0) or an end (1) of a line.
fn piece_of(piece: &str) -> Option<(Stream, u32, usize)> {
    let (words, end) = match piece.strip_prefix('<') {
        Some(begun) => (begun.split_once(' ')?.1, 0),
        None => (piece.strip_suffix('>')?, 1),
    };
    let mut numbers = words.split(' ').map_while(|word| word.parse::<i32>().ok());
    let (pid, at, number) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(((pid, usize::try_from(at).ok()?), u32::try_from(number).ok()?, end))
}
