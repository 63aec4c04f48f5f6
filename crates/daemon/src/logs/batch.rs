//! Batch of log lines and the files that it goes to.

use std::io;
use std::sync::MutexGuard;

use super::control::{Control, RETRY, WriterReport};
use super::format::Batch;
use super::record::{Checkpoint, LineStart, TARGETS, TargetCheckpoint};
use super::sink::{FileState, Sink};

/// Files of a stream with their locks.
pub(super) type Guarded<'a> = [Option<(&'a Sink, MutexGuard<'a, FileState>)>; TARGETS];

/// Locks the files of a stream, always in the same order: two instances may share them.
pub(super) fn lock<'a>(sinks: &'a [Sink], route: &[Option<usize>; TARGETS]) -> Guarded<'a> {
    let mut order: [usize; TARGETS] = std::array::from_fn(|at| at);
    let sink = |at: usize| route[at].and_then(|index| sinks.get(index));
    order.sort_by_key(|&at| sink(at).map(|sink| sink.key));
    let mut guards: Guarded<'a> = Default::default();
    for at in order {
        guards[at] = sink(at).map(|sink| (sink, sink.lock()));
    }
    guards
}

/// Returns true if one of the files was rotated.
pub(super) fn is_moved(guards: &Guarded<'_>) -> bool {
    guards.iter().flatten().any(|(_, state)| state.moved)
}

/// Computes the position and form of a batch in one file.
pub(super) fn aim(formatted: &Batch, sink: &Sink, state: &FileState, checkpoint: &Checkpoint, at: usize) -> io::Result<TargetCheckpoint> {
    let offset = sink.length(state)?;
    let open_end = checkpoint.open[checkpoint.stream].then(|| checkpoint.open_ends[checkpoint.stream][at]);
    let lead = sink.lead(state, offset, open_end);
    let length = to_u32(formatted.for_target(at, lead).len());
    // The batch is only the end of an open line, and that line is no longer open here.
    let length = if checkpoint.count == 0 && lead != LineStart::Continue { 0 } else { length };
    Ok(TargetCheckpoint { key: sink.key, offset, length, lead })
}

/// Writes one batch to its files, and waits for room on the disk. Returns false if the time ran out
/// before.
pub(super) fn write_all(
    guards: &mut Guarded<'_>,
    checkpoint: &Checkpoint,
    formatted: &Batch,
    todo: [bool; TARGETS],
    control: &Control,
    report: &(dyn Fn(WriterReport) + Send + Sync),
) -> bool {
    for (at, guard) in guards.iter_mut().enumerate() {
        let Some((sink, state)) = guard else { continue };
        if !todo[at] || checkpoint.targets[at].length == 0 {
            continue;
        }
        let mut rest = formatted.for_target(at, checkpoint.targets[at].lead);
        let mut pause = RETRY.0;
        let mut stuck = false;
        while !rest.is_empty() {
            match sink.write_some(state, rest) {
                Ok(count) => {
                    state.reported_no_reader = false;
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    // One report is enough until the stream has a reader again.
                    if !std::mem::replace(&mut state.reported_no_reader, true) {
                        report(WriterReport::NoReader { path: sink.path.clone() });
                    }
                    break;
                }
                // The reader is slow, so this thread and the app wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if control.is_time_up() {
                        return false;
                    }
                    control.pause_until_writable(sink);
                }
                Err(error) => {
                    if !std::mem::replace(&mut stuck, true) {
                        report(WriterReport::Stuck { path: sink.path.clone(), errno: error.raw_os_error().unwrap_or(0) });
                    }
                    if control.is_time_up() {
                        return false;
                    }
                    control.pause(pause);
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
        if stuck {
            report(WriterReport::Resumed { path: sink.path.clone() });
        }
    }
    true
}

/// Returns true if a file has its part of a batch. An incomplete part is completed, or removed if
/// that fails.
pub(super) fn has_part(sink: &Sink, state: &mut FileState, target: &TargetCheckpoint, wanted: &[u8]) -> bool {
    if target.length == 0 && target.key != (0, 0) {
        return true;
    }
    if !sink.regular || sink.key != target.key {
        return false;
    }
    let Ok(length) = sink.length(state) else { return false };
    let Some(written) = length.checked_sub(target.offset) else { return false };
    let written = usize::try_from(written).unwrap_or(usize::MAX);
    let ours = wanted.len() == target.length as usize && sink.has(target.offset, &wanted[..written.min(wanted.len())]);
    // The bytes are not ours: the format has changed, or another program wrote them. They stay, and
    // the batch is written behind them.
    if !ours || written >= wanted.len() {
        return ours;
    }
    let mut rest = &wanted[written..];
    while !rest.is_empty() {
        match sink.write_some(state, rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                // Truncating needs no room on the disk. If it fails all the same, the part stays: a
                // duplicate is better than a loss.
                drop(sink.shorten(state, target.offset));
                return false;
            }
        }
    }
    true
}

/// Converts a count: batches are much smaller than 4 GiB.
pub(super) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
