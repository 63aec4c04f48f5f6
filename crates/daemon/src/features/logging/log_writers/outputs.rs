//! Outputs of a process: the log files themselves, or pipes that end in a writer.

use std::os::fd::{AsFd, OwnedFd};

use ostler_core::lifecycle::SpawnFailure;
use ostler_core::lifecycle::runtime::RuntimeSpec;
use ostler_core::logs::files::own_stream;

use super::{LogWriters, NOTES, log_set_aside, reading};
use crate::engine::Ctx;
use crate::logs::{self, Destination, LogPipes, Outputs, Pipeline, PipelineError, RunningWriter, ShownAs, end_name};
use crate::platform::rights::Rights;
use crate::state::slots::Slot;
use crate::state::store::state_copy;

impl LogWriters {
    /// Returns standard output and error for the next process of a slot.
    pub(super) fn outputs(&mut self, ctx: &mut Ctx, id: u32) -> Result<Option<Outputs>, SpawnFailure> {
        let Some(slot) = ctx.state.slots.get(id) else { return Ok(None) };
        let rights = Rights::look_up(slot.spec());
        let wanted = destination(slot, ctx.state.log_files.front.as_ref());
        let direct = match wanted.shown {
            Some(shown) if is_alone(ctx, slot, &wanted) => Some(logs::outputs::shown(shown, &ctx.state.log_files.streams)?),
            None if !logs::needs_pipe(&slot.spec().logs) => {
                Some(logs::outputs::direct(&slot.spec().logs, &slot.live.files, &ctx.io.settings.home, &rights)?)
            }
            _ => None,
        };
        if let Some(outputs) = direct {
            self.end_writer(ctx, id);
            outputs.aside.iter().for_each(|(path, aside)| log_set_aside(ctx, id, path.as_ref(), aside));
            outputs.lost.iter().for_each(|why| ctx.note(id, format!("runs without this log until it is restarted: {why}")));
            return Ok(Some(outputs));
        }
        let alive = slot.live.piped.as_ref().is_some_and(|piped| piped.handle.is_alive() && piped.made_for == wanted);
        if !alive {
            self.end_writer(ctx, id);
            self.begin_writer(ctx, id, wanted)?;
        }
        let Some(piped) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.piped.as_mut()) else { return Ok(None) };
        // The end of the former process was not reported: its keeper died with it or after it.
        if piped.is_used {
            piped.end_lines();
        }
        piped.is_used = true;
        let ends = piped.copy_write_ends();
        let ends = ends.map_err(|error| SpawnFailure { step: "dup".into(), errno: error.raw_os_error().unwrap_or(0) })?;
        Ok(ctx.state.slots.get(id).map(|slot| piped_outputs(slot, ends)))
    }

    /// Returns standard output and error for a command beside a slot's process, which may still
    /// write to its first outputs.
    pub(super) fn outputs_of_command(&mut self, ctx: &mut Ctx, id: u32) -> Result<Option<Outputs>, SpawnFailure> {
        let Some(slot) = ctx.state.slots.get(id) else { return Ok(None) };
        let alive = slot.live.piped.as_ref().filter(|piped| piped.handle.is_alive());
        match alive.and_then(|piped| piped.copy_write_ends().ok()) {
            Some(ends) => Ok(Some(piped_outputs(slot, ends))),
            // In the foreground of a container, `outputs` finds where the lines are shown.
            None if ctx.state.log_files.front.is_some() || logs::needs_pipe(&slot.spec().logs) => self.outputs(ctx, id),
            None => logs::outputs::direct(&slot.spec().logs, &slot.live.files, &ctx.io.settings.home, &Rights::of(slot.spec())).map(Some),
        }
    }

    fn begin_writer(&mut self, ctx: &mut Ctx, id: u32, made_for: Destination) -> Result<(), SpawnFailure> {
        let system = |step: &'static str| move |source: std::io::Error| failure(&PipelineError::System { step, source });
        self.open_notes(ctx).map_err(system("create the notes"))?;
        let (out, out_writer) = logs::log_pipe().map_err(system("create the pipe"))?;
        let (error, error_writer) = logs::log_pipe().map_err(system("create the pipe"))?;
        let holding = logs::holding_pipe().map_err(system("create the pipe"))?;
        let ends = [out, error, out_writer, error_writer, holding];
        let place = self.free_place();
        let config = self.config(ctx, (id, place), &made_for, reading(&ends)).map_err(system("copy a descriptor"))?;
        let handle = Pipeline::spawn(config).map_err(|error| failure(&error))?;
        for (end, fd) in ends.iter().enumerate() {
            ctx.io.keeper.hold(&end_name(id, place, end), fd.as_fd());
        }
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.durable.log_pipes = LogPipes::of(place, &ends);
            slot.live.piped = Some(Box::new(RunningWriter { handle, ends, place, made_for, is_used: false }));
        }
        ctx.state.slots.changed(id);
        // If an app outlives daemon, keeper and standby, it blocks on a full pipe until a new
        // daemon finds it.
        ctx.state.state_file.write_with_next();
        Ok(())
    }

    /// Opens the writers' records, unless they are open.
    pub(super) fn open_notes(&mut self, ctx: &mut Ctx) -> std::io::Result<()> {
        if self.notes.is_none() {
            let notes = ctx.io.settings.keeps_copy.then(|| state_copy::open_log_notes(&ctx.io.settings.home)).flatten();
            let notes = notes.map_or_else(|| ostler_sys::fd::memfd::create("ostler-log-notes"), |file| Ok(file.into()))?;
            ctx.io.keeper.hold(NOTES, notes.as_fd());
            self.notes = Some(notes);
        }
        Ok(())
    }
}

/// Returns the destination of the lines of a slot.
pub(super) fn destination(slot: &Slot, front: Option<&RuntimeSpec>) -> Destination {
    let logs = &slot.spec().logs;
    let shown = front.map(|front| ShownAs::new(front, &slot.live.files));
    // A path that is a stream of the container is shown there anyway, once.
    let is_shown = |path: &String| shown.is_some() && own_stream(path).is_some();
    let wanted = |path: &Option<String>| path.clone().filter(|path| !logs::is_nowhere(path.as_ref()) && !is_shown(path));
    Destination {
        paths: [wanted(&slot.live.files.out), wanted(&slot.live.files.error), wanted(&slot.live.files.combined)],
        json: logs.json,
        date_format: logs.date_format.clone().filter(|format| !format.is_empty()),
        name: slot.spec().name.clone(),
        process_id: slot.durable.pm_id,
        shown,
        rights: Rights::of(slot.spec()),
    }
}

/// Returns true if the slot's lines go unchanged to the container's output and nowhere else, and no
/// other app writes there. Then no writer is needed.
fn is_alone(ctx: &Ctx, slot: &Slot, wanted: &Destination) -> bool {
    let as_they_are = wanted.shown.is_some_and(|shown| shown.is_raw()) && !wanted.json && wanted.date_format.is_none();
    as_they_are
        && wanted.paths.iter().all(Option::is_none)
        && ctx.state.slots.serving().all(|other| other.durable.pm_id == slot.durable.pm_id)
}

fn piped_outputs(slot: &Slot, [out, error]: [OwnedFd; 2]) -> Outputs {
    let length = |path: &Option<String>| path.as_deref().map_or(0, |path| logs::length(path.as_ref()));
    let sizes = (length(&slot.live.files.error), length(&slot.live.files.out));
    Outputs { out, error, sizes, files: [None; 2], aside: Vec::new(), lost: Vec::new() }
}

fn failure(error: &PipelineError) -> SpawnFailure {
    let errno = match error {
        PipelineError::Open(error) => error.errno(),
        PipelineError::System { source, .. } => source.raw_os_error().unwrap_or(0),
    };
    SpawnFailure { step: error.to_string(), errno }
}
