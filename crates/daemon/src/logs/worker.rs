//! Thread of a pipeline: see the theory of operation in the module above.

use ostler_core::text::causes::with_causes;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memchr::memrchr;
use ostler_sys::fd::epoll_wait;
use rustix::event::epoll;
use rustix::io::Errno;

use super::batch::{aim, has_part, is_moved, lock, to_u32, write_all};
use super::control::{Config, Control, PipelineEnd, PipelineError, RETRY, RuntimeStreams, WriterReport};
use super::format::{Batch, Formats, cut};
use super::open::OpenError;
use super::pipes::{self, PeekResult, Scratch};
use super::record::{BatchPhase, Checkpoint, Slot, TARGETS};
use super::sink::{OpenFiles, Sink, timespec};
use crate::platform::threads;

/// Bytes of the first peek into a pipe: enough for a line now and then.
const SMALL_LOOK: usize = 16 << 10;
/// Bytes of a peek at full speed: more would not fit the processor's caches.
const LARGE_LOOK: usize = 256 << 10;
/// Time to wait for the end of a line, because prompts must show up. Then the line is written
/// incomplete, and its rest follows on the same line.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for JSON, in which the rest becomes a separate object.
const JSON_PATIENCE: Duration = Duration::from_secs(5);

/// Beginning of a line, still in the pipe.
#[derive(Clone, Copy, Debug)]
struct PartialLine {
    bytes: usize,
    since: Instant,
    /// Time of the next peek. A peek copies the whole line so far, so long lines are peeked less
    /// often.
    next_peek: Instant,
}

/// State of the thread. All of it can be rebuilt from the record.
pub(super) struct Worker {
    pipes: [OwnedFd; 2],
    holding: OwnedFd,
    /// True until the record was read, if the holding pipe of the slot's last user is lost.
    is_holding_lost: bool,
    slot: Slot,
    checkpoint: Checkpoint,
    /// Targets of the recorded batch that must still be written, if a batch was left unfinished.
    pending: Option<[bool; TARGETS]>,
    format: Formats,
    sinks: Vec<Sink>,
    /// Per stream: its own file, the combined one, a runtime's output; indices into `sinks`.
    routes: [[Option<usize>; TARGETS]; 2],
    paths: Paths,
    files: OpenFiles,
    runtime: RuntimeStreams,
    report: Arc<dyn Fn(WriterReport) + Send + Sync>,
    control: Arc<Control>,
    scratch: Option<Scratch>,
    buffer: Vec<u8>,
    formatted: Batch,
    look: usize,
    partial: [Option<PartialLine>; 2],
    /// True, per stream, if it was skipped because it is too early for its partial line.
    skipped: [bool; 2],
    ended: [bool; 2],
    /// True if the record must be read again before anything else.
    distrusted: bool,
    in_trouble: bool,
}

impl Worker {
    pub(super) fn new(config: Config, control: Arc<Control>) -> Result<Self, PipelineError> {
        for pipe in &config.pipes {
            pipes::widen(pipe, pipes::WANTED_BYTES);
        }
        let [shown_out, shown_error] = config.shown;
        let paths = [config.out, config.error, config.combined, shown_out, shown_error];
        let paths = paths.map(|path| path.filter(|path| !super::is_nowhere(path)));
        let (sinks, routes) = open_all(&paths, &config.files, &config.runtime, &*config.report)?;
        Ok(Self {
            pipes: config.pipes,
            holding: config.holding,
            is_holding_lost: config.is_holding_lost,
            slot: Slot::new(File::from(config.record), config.slot),
            checkpoint: Checkpoint::default(),
            pending: None,
            format: config.format,
            sinks,
            routes,
            paths,
            files: config.files,
            runtime: config.runtime,
            report: config.report,
            control,
            scratch: None,
            buffer: Vec::new(),
            formatted: Batch::default(),
            look: SMALL_LOOK,
            partial: [None; 2],
            skipped: [false; 2],
            ended: [false; 2],
            distrusted: false,
            in_trouble: false,
        })
    }

    /// Marks the record to be read again after a panic or an error.
    pub(super) fn distrust(&mut self) {
        self.distrusted = true;
        self.scratch = None;
    }

    pub(super) fn pause(&self, longest: Duration) {
        self.control.pause(longest);
    }

    pub(super) fn is_time_up(&self) -> bool {
        self.control.is_time_up()
    }

    /// Works until both streams have ended or the time is up. Failures are reported once and
    /// retried.
    pub(super) fn run(&mut self) -> PipelineEnd {
        let mut pause = RETRY.0;
        loop {
            match self.work() {
                Ok(ending) => return ending,
                Err(error) => {
                    if !std::mem::replace(&mut self.in_trouble, true) {
                        (self.report)(WriterReport::Trouble { reason: error.to_string() });
                    }
                    self.distrust();
                    self.control.pause(pause);
                    pause = (pause * 2).min(RETRY.1);
                    if self.control.is_time_up() {
                        return PipelineEnd::Unwritten;
                    }
                }
            }
        }
    }

    fn work(&mut self) -> io::Result<PipelineEnd> {
        let waiter = self.waiter()?;
        if std::mem::take(&mut self.distrusted) {
            self.settle()?;
        }
        if let Some(todo) = self.pending
            && !self.write_pending(todo)?
        {
            return Ok(PipelineEnd::Unwritten);
        }
        loop {
            let requests = self.control.take();
            if requests.reopen {
                self.reopen();
            }
            if requests.end_lines.0 != requests.end_lines.1 {
                if !self.carry_everything()? {
                    return Ok(PipelineEnd::Unwritten);
                }
                self.control.lines_ended(requests.end_lines.0);
            }
            let mut busy = false;
            for stream in 0..2 {
                match self.step(stream)? {
                    StepResult::Unwritten => return Ok(PipelineEnd::Unwritten),
                    StepResult::Worked => busy = true,
                    StepResult::Nothing => {}
                }
            }
            self.in_trouble = false;
            if self.ended == [true; 2] {
                return Ok(PipelineEnd::Drained);
            }
            if requests.finish_by.is_some_and(|by| threads::now() >= by) {
                return Ok(if self.carry_everything()? { PipelineEnd::TimeUp } else { PipelineEnd::Unwritten });
            }
            if !busy {
                self.rest(&waiter, requests.finish_by)?;
            }
        }
    }

    /// Creates an edge-triggered wait: an incomplete line stays in the pipe, and only *more* of it
    /// may wake the thread.
    fn waiter(&self) -> io::Result<OwnedFd> {
        let waiter = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&waiter, &self.control.waker, epoll::EventData::new_u64(2), epoll::EventFlags::IN)?;
        for pipe in &self.pipes {
            epoll::add(&waiter, pipe, epoll::EventData::new_u64(0), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        }
        Ok(waiter)
    }

    /// Sleeps until something happens, after freeing memory.
    fn rest(&mut self, waiter: &OwnedFd, finish_by: Option<Instant>) -> io::Result<()> {
        self.buffer = Vec::new();
        self.formatted.release();
        self.scratch = None;
        self.look = SMALL_LOOK;
        if threads::waits() {
            self.control.waker.clear();
            return Ok(());
        }
        let patience = self.patience();
        let due = |(partial, skipped): (&Option<PartialLine>, &bool)| {
            partial.map(|partial| if *skipped { partial.next_peek } else { partial.since + patience })
        };
        let next = self.partial.iter().zip(&self.skipped).filter_map(due).chain(finish_by).min();
        let timeout = next.map(|at| timespec(at.saturating_duration_since(threads::now())));
        match epoll_wait::wait(waiter, &mut Vec::with_capacity(3), timeout.as_ref()) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.control.waker.clear();
        Ok(())
    }

    fn patience(&self) -> Duration {
        if self.format.is_json() { JSON_PATIENCE } else { PATIENCE }
    }

    /// Runs one step for one stream.
    fn step(&mut self, stream: usize) -> io::Result<StepResult> {
        self.skipped[stream] = self.partial[stream].is_some_and(|partial| threads::now() < partial.next_peek);
        if self.ended[stream] || self.skipped[stream] {
            return Ok(StepResult::Nothing);
        }
        let seen = match self.peek(stream)? {
            PeekResult::Empty => return Ok(StepResult::Nothing),
            PeekResult::End => return self.close(stream),
            PeekResult::Bytes(seen) => seen,
        };
        if let Some(end) = memrchr(b'\n', &self.buffer) {
            self.partial[stream] = None;
            if seen == self.look {
                self.look = (self.look * 4).min(LARGE_LOOK);
            }
            return self.deliver(stream, end + 1, false);
        }
        let size = self.size(stream);
        if seen >= nearly(self.look) && self.look < size {
            self.look = (self.look * 4).min(size);
            return Ok(StepResult::Worked);
        }
        if seen >= nearly(size) {
            return self.deliver(stream, self.piece(seen), false);
        }
        if pipes::is_abandoned(&self.pipes[stream]) && pipes::level(&self.pipes[stream])? == seen {
            return self.deliver(stream, seen, true);
        }
        self.wait_for_the_rest(stream, seen)
    }

    fn wait_for_the_rest(&mut self, stream: usize, seen: usize) -> io::Result<StepResult> {
        let now = threads::now();
        let mut partial = self.partial[stream].unwrap_or(PartialLine { bytes: 0, since: now, next_peek: now });
        if self.format.is_json() && partial.bytes != seen {
            partial.since = now;
        }
        if now >= partial.since + self.patience() {
            self.partial[stream] = None;
            return self.deliver(stream, self.piece(seen), false);
        }
        partial.bytes = seen;
        partial.next_peek = now + Duration::from_millis(seen as u64 >> 15);
        self.partial[stream] = Some(partial);
        Ok(StepResult::Nothing)
    }

    /// Carries all available bytes, and completes an incomplete line. Returns false if it cannot be
    /// written.
    fn carry_everything(&mut self) -> io::Result<bool> {
        for stream in 0..2 {
            let mut left = if self.ended[stream] { 0 } else { pipes::level(&self.pipes[stream])? };
            self.look = LARGE_LOOK;
            while left > 0 {
                let PeekResult::Bytes(seen) = self.peek(stream)? else { break };
                let count = memrchr(b'\n', &self.buffer).map_or(seen, |end| end + 1);
                left = left.saturating_sub(count);
                if matches!(self.deliver(stream, count, false)?, StepResult::Unwritten) {
                    return Ok(false);
                }
            }
            if matches!(self.end_line(stream)?, StepResult::Unwritten) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn peek(&mut self, stream: usize) -> io::Result<PeekResult> {
        let mut scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new()?,
        };
        scratch.widen(&self.holding, self.look);
        let peek = scratch.peek(&self.pipes[stream], self.look, &mut self.buffer);
        if peek.is_ok() {
            self.scratch = Some(scratch);
        }
        Ok(peek?)
    }

    /// Returns the most bytes of a peek.
    fn size(&mut self, stream: usize) -> usize {
        let pipe = pipes::widen(&self.pipes[stream], 0);
        let scratch = self.scratch.as_mut().map_or(SMALL_LOOK, |scratch| scratch.widen(&self.holding, pipe));
        pipe.min(scratch)
    }

    /// Returns the number of bytes of an incomplete line that are carried.
    fn piece(&self, seen: usize) -> usize {
        if self.format.is_json() { cut(&self.buffer[..seen]) } else { seen }
    }

    /// Handles the end of a stream.
    fn close(&mut self, stream: usize) -> io::Result<StepResult> {
        let turn = self.end_line(stream)?;
        self.ended[stream] = matches!(turn, StepResult::Worked);
        Ok(turn)
    }

    /// Completes an open line.
    fn end_line(&mut self, stream: usize) -> io::Result<StepResult> {
        self.partial[stream] = None;
        if !self.checkpoint.open[stream] {
            return Ok(StepResult::Worked);
        }
        self.buffer.clear();
        self.deliver(stream, 0, true)
    }

    /// Carries the first `count` bytes of the buffer (the first bytes of the pipe) to the files.
    fn deliver(&mut self, stream: usize, count: usize, close: bool) -> io::Result<StepResult> {
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        self.buffer.truncate(count);
        self.format.format(&self.buffer, stream, close, wall_ms, &mut self.formatted);
        loop {
            match self.deliver_formatted(stream, count, close, wall_ms)? {
                Some(turn) => return Ok(turn),
                None => self.follow()?,
            }
        }
    }

    /// Carries formatted lines. Returns `None` if a file was rotated.
    fn deliver_formatted(&mut self, stream: usize, count: usize, close: bool, wall_ms: u64) -> io::Result<Option<StepResult>> {
        let mut guards = lock(&self.sinks, &self.routes[stream]);
        if is_moved(&guards) {
            return Ok(None);
        }
        let leaves_open = !self.format.is_all_json() && !close && self.buffer.last() != Some(&b'\n');
        let targets = Default::default();
        let mut checkpoint =
            Checkpoint { phase: BatchPhase::Moving, stream, close, leaves_open, count: to_u32(count), wall_ms, targets, ..self.checkpoint };
        for (at, guard) in guards.iter().enumerate() {
            if let Some((sink, state)) = guard {
                checkpoint.targets[at] = aim(&self.formatted, sink, state, &checkpoint, at)?;
            }
        }
        self.checkpoint = checkpoint;
        self.slot.store(&checkpoint)?;
        if !write_all(&mut guards, &checkpoint, &self.formatted, [true; TARGETS], &self.control, &*self.report) {
            return Ok(Some(StepResult::Unwritten));
        }
        // Stored while the files are still locked: a batch that is recorded as in transit is never
        // in a rotated file.
        self.checkpoint.phase = BatchPhase::Copied;
        self.slot.store(&self.checkpoint)?;
        drop(guards);
        self.complete()?;
        Ok(Some(StepResult::Worked))
    }

    /// Completes a batch: all files have the recorded batch.
    fn complete(&mut self) -> io::Result<()> {
        let mut checkpoint = self.checkpoint;
        if checkpoint.phase == BatchPhase::Moving {
            checkpoint.phase = BatchPhase::Copied;
            self.slot.store(&checkpoint)?;
        }
        if checkpoint.phase == BatchPhase::Copied {
            let missing = (checkpoint.count as usize).saturating_sub(pipes::level(&self.holding)?);
            // The pipe has fewer bytes only if another process reads from it.
            pipes::hold(&self.pipes[checkpoint.stream], &self.holding, missing)?;
            checkpoint.phase = BatchPhase::Written;
            self.slot.store(&checkpoint)?;
        }
        if self.buffer.is_empty() {
            self.buffer.resize(4096, 0);
        }
        pipes::discard(&self.holding, &mut self.buffer)?;
        checkpoint.phase = BatchPhase::Idle;
        checkpoint.open[checkpoint.stream] = checkpoint.leaves_open;
        checkpoint.open_ends[checkpoint.stream] = checkpoint.targets.map(|target| target.offset + u64::from(target.length));
        self.slot.store(&checkpoint)?;
        self.checkpoint = checkpoint;
        self.pending = None;
        Ok(())
    }

    /// Starts with new pipes: the slot's content concerns other pipes.
    pub(super) fn start_afresh(&mut self) -> io::Result<()> {
        self.checkpoint = Checkpoint::default();
        self.slot.store(&self.checkpoint)
    }

    /// Completes the work of this slot's last user: a killed daemon, or this worker before an
    /// error.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.checkpoint = self.slot.load()?;
        self.pending = None;
        let is_holding_lost = std::mem::take(&mut self.is_holding_lost);
        match self.checkpoint.phase {
            BatchPhase::Idle => {
                let stray = pipes::level(&self.holding)?;
                if stray == 0 {
                    return Ok(());
                }
                // Impossible unless the record was lost: a duplicate is better than a loss.
                self.checkpoint = Checkpoint { phase: BatchPhase::Moving, count: to_u32(stray), ..self.checkpoint };
            }
            BatchPhase::Copied => {
                if is_holding_lost && !self.is_still_in_pipe()? {
                    self.checkpoint.phase = BatchPhase::Written;
                }
                return self.complete();
            }
            BatchPhase::Written => return self.complete(),
            BatchPhase::Moving => {}
        }
        self.read_batch()?;
        let checkpoint = self.checkpoint;
        self.format.format(&self.buffer, checkpoint.stream, checkpoint.close, checkpoint.wall_ms, &mut self.formatted);
        let mut guards = lock(&self.sinks, &self.routes[checkpoint.stream]);
        let mut todo = [false; TARGETS];
        for (at, guard) in guards.iter_mut().enumerate() {
            if let Some((sink, state)) = guard {
                todo[at] = !has_part(sink, state, &checkpoint.targets[at], self.formatted.for_target(at, checkpoint.targets[at].lead));
            }
        }
        drop(guards);
        if todo == [false; TARGETS] {
            return self.complete();
        }
        self.pending = Some(todo);
        Ok(())
    }

    /// Returns true if the pipe still begins with the batch of `self.checkpoint`, which all files
    /// have. The level of the lost holding pipe would show it. The lines in the files show it
    /// unless an app repeats the whole batch. If no file can be compared, the answer is false: a
    /// duplicate is better than a loss.
    fn is_still_in_pipe(&mut self) -> io::Result<bool> {
        let checkpoint = self.checkpoint;
        self.read_batch()?;
        self.checkpoint.count = checkpoint.count;
        if self.buffer.len() < checkpoint.count as usize {
            return Ok(false);
        }
        self.format.format(&self.buffer, checkpoint.stream, checkpoint.close, checkpoint.wall_ms, &mut self.formatted);
        Ok(checkpoint.targets.iter().zip(self.routes[checkpoint.stream]).enumerate().any(|(at, (target, route))| {
            let sink = route.and_then(|index| self.sinks.get(index)).filter(|sink| sink.regular && sink.key == target.key);
            target.length > 0 && sink.is_some_and(|sink| sink.has(target.offset, self.formatted.for_target(at, target.lead)))
        }))
    }

    /// Copies the whole batch of `self.checkpoint` into the buffer. It is in the app's pipe, or
    /// begins in the holding pipe if an older version wrote the record.
    fn read_batch(&mut self) -> io::Result<()> {
        let mut scratch = Scratch::new()?;
        scratch.widen(&self.holding, pipes::WANTED_BYTES);
        let (held, count) = (pipes::level(&self.holding)?, self.checkpoint.count as usize);
        let pipe = &self.pipes[self.checkpoint.stream];
        if held > 0 {
            let moved = pipes::hold(pipe, &self.holding, count.saturating_sub(held))?;
            scratch.peek(&self.holding, held + moved, &mut self.buffer)?;
        } else {
            self.buffer.clear();
            if count > 0 {
                scratch.peek(pipe, count, &mut self.buffer)?;
            }
        }
        // Fewer bytes than recorded are impossible unless the record belongs to other pipes. Then
        // the available bytes are all.
        self.checkpoint.count = to_u32(self.buffer.len());
        Ok(())
    }

    /// Writes the unfinished batch again to the files that lack it. Returns false if the time ran
    /// out.
    fn write_pending(&mut self, todo: [bool; TARGETS]) -> io::Result<bool> {
        self.read_batch()?;
        let mut checkpoint = self.checkpoint;
        self.format.format(&self.buffer, checkpoint.stream, checkpoint.close, checkpoint.wall_ms, &mut self.formatted);
        while is_moved(&lock(&self.sinks, &self.routes[checkpoint.stream])) {
            self.follow()?;
        }
        let mut guards = lock(&self.sinks, &self.routes[checkpoint.stream]);
        if is_moved(&guards) {
            // The batch is retried from the record.
            return Err(io::ErrorKind::Interrupted.into());
        }
        for (at, guard) in guards.iter().enumerate() {
            if let (Some((sink, state)), true) = (guard, todo[at]) {
                checkpoint.targets[at] = aim(&self.formatted, sink, state, &checkpoint, at)?;
            }
        }
        checkpoint.phase = BatchPhase::Moving;
        self.checkpoint = checkpoint;
        self.slot.store(&checkpoint)?;
        let written = write_all(&mut guards, &checkpoint, &self.formatted, todo, &self.control, &*self.report);
        drop(guards);
        if written {
            self.complete()?;
        }
        Ok(written)
    }

    /// Opens the new file after a rotation. Lines wait until that succeeds.
    fn follow(&mut self) -> io::Result<()> {
        let opened = open_all(&self.paths, &self.files, &self.runtime, &*self.report);
        (self.sinks, self.routes) = opened.map_err(|error| io::Error::other(with_causes(&error)))?;
        Ok(())
    }

    /// Reopens the files; a file that cannot be opened stays as it was.
    fn reopen(&mut self) {
        match open_all(&self.paths, &self.files, &self.runtime, &*self.report) {
            Ok((sinks, routes)) => (self.sinks, self.routes) = (sinks, routes),
            Err(error) => (self.report)(WriterReport::NotReopened { reason: with_causes(&error) }),
        }
    }
}

/// Returns the level at which a pipe of this size counts as full. A pipe with small pieces can be
/// full at little more than half its size. The kernel does not split a small piece over two pages.
fn nearly(size: usize) -> usize {
    size / 2 - (size / 8).min(8192)
}

/// Result of a step.
enum StepResult {
    Nothing,
    Worked,
    Unwritten,
}

/// Paths of output file, error file, combined file, and the runtime's streams for output and error
/// output.
type Paths = [Option<std::path::PathBuf>; 5];

type OpenedSinks = (Vec<Sink>, [[Option<usize>; TARGETS]; 2]);

/// Opens every file once, even if several paths name it.
fn open_all(paths: &Paths, files: &OpenFiles, runtime: &RuntimeStreams, report: &dyn Fn(WriterReport)) -> Result<OpenedSinks, OpenError> {
    let mut sinks: Vec<Sink> = Vec::new();
    let mut indices = [None; 5];
    for (index, path) in indices.iter_mut().zip(paths) {
        let Some(path) = path else { continue };
        let sink = files.open(path, &runtime.places())?;
        if let Some(aside) = &sink.aside {
            report(WriterReport::SetAside { path: path.clone(), aside: aside.clone() });
        }
        let known = sinks.iter().position(|other| other.key == sink.key);
        *index = Some(known.unwrap_or(sinks.len()));
        if known.is_none() {
            sinks.push(sink);
        }
    }
    let [out, error, combined, shown_out, shown_error] = indices;
    // A line goes to the same file only once.
    let route = |own: Option<usize>, shown: Option<usize>| {
        let also = combined.filter(|index| own != Some(*index));
        [own, also, shown.filter(|index| ![own, also].contains(&Some(*index)))]
    };
    Ok((sinks, [route(out, shown_out), route(error, shown_error)]))
}
