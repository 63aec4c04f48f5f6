//! Log writers for apps whose lines pass through us: who has one, which descriptors belong to it, and how the next daemon finds them.
//!
//! An instance keeps its pipes over its incarnations, so lines stay in order across a restart. The keeper holds every end of them, and
//! the memory in which each writer notes what is on its way (`crate::logs`).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use jiff::tz::TimeZone;
use ostler_core::date_format::{DateFormat, Stamper};
use ostler_core::files::own_stream;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::runtime::RuntimeSpec;
use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use super::last_words::LastWords;
use super::outputs::Outputs;
use crate::control::Control;
use crate::logs::{self, Config, Format, Formats, Handle, OpenFiles, Pipeline, PipelineError, Report, RuntimeStreams, Stamp};
use crate::reactor::{Reactor, Source};
use crate::rights::Rights;
use crate::runtime::ShownAs;
use crate::slots::Slot;

/// Name under which the keeper holds the writers' notes.
const NOTES: &str = "log-notes";
/// Prefix of the names of pipe ends: `log:<instance>:<place>:<end>`.
const PREFIX: &str = "log:";
/// How long an exit waits for what the process wrote last: the record of a crash shows it.
const LINES_END_WITHIN: Duration = Duration::from_millis(20);
/// Ends of one writer: read ends and write ends of output and error, and the holding pipe.
const ENDS: usize = 5;

/// A running writer.
#[derive(Debug)]
pub(crate) struct Piped {
    handle: Handle,
    /// Read ends, write ends (output, error), holding pipe.
    ends: [OwnedFd; ENDS],
    /// Its place in the notes.
    place: u32,
    /// What it was made for; another description needs another writer.
    made_for: Destination,
}

/// Where lines go and in which form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Destination {
    paths: [Option<String>; 3],
    json: bool,
    date_format: Option<String>,
    name: String,
    /// `pm_id`.
    #[serde(default)]
    process_id: u32,
    /// In front of a container: what it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<ShownAs>,
    /// With whose rights they are opened.
    #[serde(default, skip_serializing_if = "Rights::are_ours")]
    rights: Rights,
}

/// What all writers share.
pub(crate) struct Writers {
    pub(crate) files: OpenFiles,
    pub(super) runtime: RuntimeStreams,
    /// In front of a container: how it shows lines.
    pub(super) front: Option<RuntimeSpec>,
    notes: Option<OwnedFd>,
    places: BTreeSet<u32>,
    /// Writers of deleted instances that carry over the rest.
    pub(super) ending: BTreeMap<(u32, u32), LastWords>,
    pub(crate) wake: Arc<OwnedFd>,
    reports: mpsc::Receiver<((u32, u32), Report)>,
    sender: mpsc::Sender<((u32, u32), Report)>,
    /// Descriptors of writers that a former daemon had, until they are taken over.
    found: BTreeMap<(u32, u32), BTreeMap<usize, OwnedFd>>,
}

impl Writers {
    pub(crate) fn new(home: PathBuf, reactor: &Reactor) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        reactor.add(&wake, Source::Wake)?;
        let (sender, reports) = mpsc::channel();
        Ok(Self {
            files: OpenFiles::default(),
            // A daemon in the background has no streams of its own: what it opens as `/dev/stdout` is its log.
            runtime: RuntimeStreams { home, ..RuntimeStreams::default() },
            front: None,
            notes: None,
            places: BTreeSet::new(),
            ending: BTreeMap::new(),
            wake,
            reports,
            sender,
            found: BTreeMap::new(),
        })
    }

    /// In front of a container: our own standard output and error are its.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn in_front(mut self, spec: &RuntimeSpec) -> std::io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Some(Arc::new(fd)));
        self.runtime.stdout = copy(rustix::stdio::stdout())?;
        self.runtime.stderr = copy(rustix::stdio::stderr())?;
        self.front = Some(spec.clone());
        Ok(self)
    }

    /// Takes a descriptor that the keeper held. False = it is none of ours.
    pub(crate) fn take_back(&mut self, name: &str, fd: OwnedFd) -> bool {
        if name == NOTES {
            self.notes = Some(fd);
            return true;
        }
        let mut numbers = name.strip_prefix(PREFIX).into_iter().flat_map(|rest| rest.split(':')).map(str::parse::<u32>);
        let (Some(Ok(id)), Some(Ok(place)), Some(Ok(end))) = (numbers.next(), numbers.next(), numbers.next()) else { return false };
        self.found.entry((id, place)).or_default().insert(end as usize, fd);
        true
    }

    /// For the writer of an instance with these read ends and this holding pipe.
    pub(super) fn config(&self, id: u32, destination: &Destination, ends: [&OwnedFd; 3], place: u32) -> std::io::Result<Config> {
        let notes = self.notes.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let [out, error, combined] = destination.paths.clone().map(|path| path.map(PathBuf::from));
        let (wake, sender) = (Arc::clone(&self.wake), Mutex::new(self.sender.clone()));
        Ok(Config {
            name: format!("log-{id}"),
            out,
            error,
            combined,
            shown: destination.shown.map_or([None, None], |shown| shown.paths().map(|path| Some(PathBuf::from(path)))),
            format: format(destination),
            pipes: [ends[0].try_clone()?, ends[1].try_clone()?],
            holding: ends[2].try_clone()?,
            record: notes.try_clone()?,
            slot: place,
            files: self.files.clone(),
            runtime: RuntimeStreams { rights: destination.rights.clone(), ..self.runtime.clone() },
            report: Arc::new(move |report| {
                if let Ok(sender) = sender.lock() {
                    // Nobody listens any more when the daemon ends.
                    let _ = sender.send(((id, place), report));
                    let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
                }
            }),
        })
    }

    fn free_place(&mut self) -> u32 {
        let place = (0..).find(|place| !self.places.contains(place)).unwrap_or(0);
        self.places.insert(place);
        place
    }
}

fn destination(slot: &Slot, front: Option<&RuntimeSpec>) -> Destination {
    let logs = &slot.spec().logs;
    let shown = front.map(|front| ShownAs::new(front, &slot.files));
    // What is a stream of the container is shown there anyway, once.
    let is_shown = |path: &String| shown.is_some() && own_stream(path).is_some();
    let wanted = |path: &Option<String>| path.clone().filter(|path| !logs::is_nowhere(path.as_ref()) && !is_shown(path));
    Destination {
        paths: [wanted(&slot.files.out), wanted(&slot.files.error), wanted(&slot.files.combined)],
        json: logs.json,
        date_format: logs.date_format.clone().filter(|format| !format.is_empty()),
        name: slot.spec().name.clone(),
        process_id: slot.pm_id,
        shown,
        rights: Rights::of(slot.spec()),
    }
}

fn format(destination: &Destination) -> Formats {
    let shown = destination.shown.and_then(|shown| shown.format(destination.process_id, &destination.name));
    Formats { files: format_of_files(destination), shown }
}

fn format_of_files(destination: &Destination) -> Format {
    let stamp = destination.date_format.as_deref().map(stamp);
    match (destination.json, stamp) {
        (true, stamp) => Format::Json { stamp, process_id: destination.process_id, app_name: destination.name.clone() },
        (false, Some(stamp)) => Format::Dated(stamp),
        (false, None) => Format::Plain,
    }
}

fn stamp(format: &str) -> Stamp {
    let stamper = Mutex::new(Stamper::new(DateFormat::parse(format), TimeZone::system()));
    Box::new(move |wall_ms, out| {
        let mut stamper = stamper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        out.extend_from_slice(stamper.stamp(wall_ms));
    })
}

pub(super) fn end_name(id: u32, place: u32, end: usize) -> String {
    format!("{PREFIX}{id}:{place}:{end}")
}

fn failure(error: &PipelineError) -> SpawnFailure {
    let errno = match error {
        PipelineError::Open(error) => error.errno(),
        PipelineError::System { source, .. } => source.raw_os_error().unwrap_or(0),
    };
    SpawnFailure { step: error.to_string(), errno }
}

impl Control {
    /// Standard output and error for the next process of a slot.
    pub(super) fn outputs(&mut self, id: u32) -> Result<Option<Outputs>, SpawnFailure> {
        let Some(slot) = self.ctx.slots.get(id) else { return Ok(None) };
        let front = self.writers.front.as_ref();
        let rights = Rights::look_up(slot.spec());
        let wanted = destination(slot, front);
        let direct = match wanted.shown {
            Some(shown) if self.is_alone(slot, &wanted) => Some(super::outputs::shown(shown, &self.writers.runtime)?),
            None if !logs::needs_pipe(&slot.spec().logs) => {
                Some(super::outputs::direct(&slot.spec().logs, &slot.files, &self.ctx.settings.home, &rights)?)
            }
            _ => None,
        };
        if let Some(outputs) = direct {
            self.end_writer(id);
            outputs.aside.iter().for_each(|(path, aside)| self.log_set_aside(id, path.as_ref(), aside));
            return Ok(Some(outputs));
        }
        let alive = slot.piped.as_ref().is_some_and(|piped| piped.handle.is_alive() && piped.made_for == wanted);
        if !alive {
            self.end_writer(id);
            self.begin_writer(id, wanted)?;
        }
        let Some(slot) = self.ctx.slots.get(id) else { return Ok(None) };
        let Some(piped) = &slot.piped else { return Ok(None) };
        let copy =
            |fd: &OwnedFd| fd.try_clone().map_err(|error| SpawnFailure { step: "dup".into(), errno: error.raw_os_error().unwrap_or(0) });
        let length = |path: &Option<String>| path.as_deref().map_or(0, |path| logs::length(path.as_ref()));
        let sizes = (length(&slot.files.error), length(&slot.files.out));
        Ok(Some(Outputs { out: copy(&piped.ends[2])?, error: copy(&piped.ends[3])?, sizes, files: [None; 2], aside: Vec::new() }))
    }

    /// Standard output and error for something that runs beside a slot's process, which may still write as it began.
    pub(crate) fn outputs_beside(&mut self, id: u32) -> Result<Option<Outputs>, SpawnFailure> {
        let Some(slot) = self.ctx.slots.get(id) else { return Ok(None) };
        let copy = |fd: &OwnedFd| fd.try_clone().ok();
        let ends = slot.piped.as_ref().filter(|piped| piped.handle.is_alive()).map(|piped| (copy(&piped.ends[2]), copy(&piped.ends[3])));
        match ends {
            Some((Some(out), Some(error))) => {
                let length = |path: &Option<String>| path.as_deref().map_or(0, |path| logs::length(path.as_ref()));
                let sizes = (length(&slot.files.error), length(&slot.files.out));
                Ok(Some(Outputs { out, error, sizes, files: [None; 2], aside: Vec::new() }))
            }
            // In front of a container they know where its lines are shown.
            _ if self.writers.front.is_some() || logs::needs_pipe(&slot.spec().logs) => self.outputs(id),
            _ => super::outputs::direct(&slot.spec().logs, &slot.files, &self.ctx.settings.home, &Rights::of(slot.spec())).map(Some),
        }
    }

    /// Nobody has to look at its lines: they go to the container's output as they are, nowhere else, and nobody else's go there.
    fn is_alone(&self, slot: &Slot, wanted: &Destination) -> bool {
        let as_they_are = wanted.shown.is_some_and(|shown| shown.is_raw()) && !wanted.json && wanted.date_format.is_none();
        as_they_are && wanted.paths.iter().all(Option::is_none) && self.ctx.slots.serving().all(|other| other.pm_id == slot.pm_id)
    }

    fn begin_writer(&mut self, id: u32, made_for: Destination) -> Result<(), SpawnFailure> {
        let system = |step: &'static str| move |source: std::io::Error| failure(&PipelineError::System { step, source });
        if self.writers.notes.is_none() {
            let notes = ostler_sys::memfd::create("ostler-log-notes").map_err(std::io::Error::from).map_err(system("make the notes"))?;
            self.ctx.keeper.hold(NOTES, notes.as_fd());
            self.writers.notes = Some(notes);
        }
        let (out, out_writer) = logs::log_pipe().map_err(system("make the pipe"))?;
        let (error, error_writer) = logs::log_pipe().map_err(system("make the pipe"))?;
        let holding = logs::holding_pipe().map_err(system("make the pipe"))?;
        let ends = [out, error, out_writer, error_writer, holding];
        let place = self.writers.free_place();
        let config = self.writers.config(id, &made_for, reading(&ends), place).map_err(system("copy a descriptor"))?;
        let handle = Pipeline::spawn(config).map_err(|error| failure(&error))?;
        for (end, fd) in ends.iter().enumerate() {
            self.ctx.keeper.hold(&end_name(id, place, end), fd.as_fd());
        }
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.piped = Some(Box::new(Piped { handle, ends, place, made_for }));
        }
        Ok(())
    }

    /// Goes on where the writers of a former daemon stopped. All of them look at what was on its way before the first one writes.
    pub(crate) fn take_over_writers(&mut self) {
        let found = std::mem::take(&mut self.writers.found);
        let (mut prepared, mut last_words) = (Vec::new(), Vec::new());
        for ((id, place), mut ends) in found {
            self.writers.places.insert(place);
            if self.writers.ending.contains_key(&(id, place)) {
                last_words.extend(self.prepare_last_words(id, place, &mut ends));
                continue;
            }
            let names: Vec<String> = ends.keys().map(|end| end_name(id, place, *end)).collect();
            let ends: Option<[OwnedFd; ENDS]> = ends.into_values().collect::<Vec<_>>().try_into().ok();
            let Some((slot, ends)) = self.ctx.slots.get(id).zip(ends) else {
                names.iter().for_each(|name| self.ctx.keeper.drop_held(name));
                continue;
            };
            let made_for = destination(slot, self.writers.front.as_ref());
            let pipeline = self
                .writers
                .config(id, &made_for, reading(&ends), place)
                .map_err(|source| PipelineError::System { step: "copy a descriptor", source })
                .and_then(Pipeline::prepare);
            match pipeline {
                Ok(pipeline) => prepared.push((id, place, ends, made_for, pipeline)),
                Err(error) => self.ctx.log.error(format_args!("logs of instance {id}: {}", crate::log::chain(&error))),
            }
        }
        self.begin_last_words(last_words);
        for (id, place, ends, made_for, pipeline) in prepared {
            match pipeline.start() {
                Ok(handle) => {
                    if let Some(slot) = self.ctx.slots.get_mut(id) {
                        slot.piped = Some(Box::new(Piped { handle, ends, place, made_for }));
                    }
                }
                Err(error) => self.ctx.log.error(format_args!("logs of instance {id}: {}", crate::log::chain(&error))),
            }
        }
    }

    /// For a new keeper.
    pub(crate) fn held_by_writers(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let notes = self.writers.notes.iter().map(|notes| (NOTES.to_owned(), notes.as_fd()));
        let ends = self
            .ctx
            .slots
            .iter()
            .filter_map(|slot| Some((slot.id, slot.piped.as_ref()?)))
            .flat_map(|(id, piped)| piped.ends.iter().enumerate().map(move |(end, fd)| (end_name(id, piped.place, end), fd.as_fd())));
        notes.chain(ends).chain(self.held_by_last_words())
    }

    fn log_set_aside(&mut self, id: u32, path: &Path, aside: &Path) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let (name, pm_id) = (&slot.spec().name, slot.pm_id);
        self.ctx.log.error(format_args!(
            "App [{name}:{pm_id}] \"{}\" belongs to root, and the user of the app may not write it: it is called \"{}\" now, a new one was begun",
            path.display(),
            aside.display()
        ));
    }

    /// A writer has something to say.
    pub(crate) fn hear_threads(&mut self) {
        let mut count = [0; 8];
        // Only clears it.
        let _ = rustix::io::read(&*self.writers.wake, &mut count);
        self.hear_copier();
        self.hear_carrier();
        while let Ok(((id, place), report)) = self.writers.reports.try_recv() {
            let name = self.ctx.slots.get(id).map(|slot| slot.spec().name.clone()).unwrap_or_default();
            let log = &mut self.ctx.log;
            match report {
                Report::Stuck { path, errno } => {
                    let why = std::io::Error::from_raw_os_error(errno);
                    log.error(format_args!("App [{name}:{id}] cannot write \"{}\": {why}; its lines wait", path.display()));
                }
                Report::Resumed { path } => log.line(format_args!("App [{name}:{id}] \"{}\" is written again", path.display())),
                Report::Nobody { path } => log.error(format_args!("App [{name}:{id}] nobody reads \"{}\" any more", path.display())),
                Report::SetAside { path, aside } => self.log_set_aside(id, &path, &aside),
                Report::NotReopened { reason } | Report::Trouble { reason } => log.error(format_args!("App [{name}:{id}] {reason}")),
                Report::Panicked { message } => {
                    log.error(format_args!("App [{name}:{id}] bug in its log writer, which goes on: {message}"))
                }
                Report::Ended(_) => self.last_words_said(id, place),
            }
        }
    }
}

/// Read ends and holding pipe.
fn reading(ends: &[OwnedFd; ENDS]) -> [&OwnedFd; 3] {
    [&ends[0], &ends[1], &ends[4]]
}

impl Piped {
    /// Its place in the notes.
    pub(super) fn place(&self) -> u32 {
        self.place
    }

    /// Where its lines go.
    pub(super) fn destination(&self) -> &Destination {
        &self.made_for
    }

    /// Its thread, and without the write ends what it reads from.
    pub(super) fn into_parts(self) -> (Handle, [OwnedFd; 3], Destination) {
        let [out, error, _, _, holding] = self.ends;
        (self.handle, [out, error, holding], self.made_for)
    }

    /// A process has ended; what it left without a newline is a line.
    pub(crate) fn end_lines(&self) {
        // A slow or full disk does not hold up the loop; then the lines come a little later.
        self.handle.end_lines(LINES_END_WITHIN);
    }

    /// Opens the files anew.
    pub(crate) fn reopen(&self) {
        self.handle.reopen();
    }
}
