//! Carry-over of deleted log files. A file is made again at the path. Output that running apps
//! write to the deleted file is carried over to it (`crate::logs::carry`) until their next start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{Reclaim, leader};
use crate::engine::Ctx;
use crate::logs::carry::{Carried, Carrier, CarrierReport, Deleted, end_of_lines};
use crate::logs::reclaim::FileKey;
use crate::logs::{OpenError, RuntimeStreams};
use crate::platform::rights::Rights;
use crate::state::store::Record;

/// Prefix of the names under which the keeper holds deleted files.
const PREFIX: &str = "carry:";
/// Longest time that an exit waits for the last output of its process, which the record of a crash
/// shows.
const LINES_END_WITHIN: Duration = Duration::from_millis(20);
/// Longest time that `reloadLogs` waits until a file is reopened.
const OPENED_WITHIN: Duration = Duration::from_secs(2);

/// All deleted files that are carried.
#[derive(Default)]
pub(super) struct CarriedFiles {
    all: BTreeMap<FileKey, (Carried, Arc<File>)>,
    carrier: Option<(Carrier, mpsc::Receiver<CarrierReport>)>,
    /// Files that a former daemon carried, and the descriptors that the keeper held for them.
    former: BTreeMap<FileKey, Carried>,
    found: BTreeMap<String, OwnedFd>,
}

fn held_name((device, inode): FileKey) -> String {
    format!("{PREFIX}{device:x}.{inode:x}")
}

impl CarriedFiles {
    pub(super) fn restore(&mut self, former: BTreeMap<FileKey, Carried>) {
        self.former = former;
    }

    /// Takes a descriptor that the keeper held. Returns it if it is no carried file.
    pub(super) fn adopt_fd(&mut self, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if !name.starts_with(PREFIX) {
            return Some(fd);
        }
        self.found.insert(name.to_owned(), fd);
        None
    }

    /// Returns the records for a journal that is rewritten.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let all = self.all.values().map(|(carried, _)| carried).chain(self.former.values());
        all.map(|carried| Record::Carry(Box::new(carried.clone())))
    }

    /// Returns the descriptors for a new keeper.
    pub(super) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.all.iter().map(|(key, (_, source))| (held_name(*key), source.as_fd()))
    }

    /// Carries the last output of a process to its path, if the disk is not slow.
    pub(super) fn finish(&self, ctx: &Ctx, id: u32) {
        let (Some((carrier, _)), Some(slot)) = (&self.carrier, ctx.state.slots.get(id)) else { return };
        for file in slot.durable.log_files.into_iter().flatten().filter(|file| self.all.contains_key(file)) {
            carrier.finish(file, LINES_END_WITHIN);
        }
    }

    /// Stops the carry-over of files whose apps have exited or were restarted.
    pub(super) fn end_unwritten(&self, ctx: &Ctx) {
        let Some((carrier, _)) = &self.carrier else { return };
        let writes = |file| ctx.state.slots.iter().any(|slot| slot.durable.log_files.contains(&Some(file)) && leader(slot).is_some());
        self.all.keys().filter(|file| !writes(**file)).for_each(|file| carrier.end(*file));
    }

    /// Carries the present rest of all files, and stops, before the daemon exits.
    pub(super) fn leave(&mut self) {
        let Some((carrier, _)) = self.carrier.take() else { return };
        self.all.keys().for_each(|file| carrier.finish(*file, OPENED_WITHIN));
    }
}

impl Reclaim {
    /// Begins to carry the output in a deleted file that this process has open. If the file is
    /// carried already, reopens its path.
    pub(super) fn carry(
        &mut self,
        ctx: &mut Ctx,
        file: FileKey,
        (path, rights): (&str, &Rights),
        writer: (i32, u32),
    ) -> Result<(), String> {
        if self.carries.all.contains_key(&file) {
            let reopened = self.carries.carrier.as_ref().map_or(Ok(()), |(carrier, _)| carrier.reopen(file, OPENED_WITHIN));
            return reopened.map_err(|error| error.to_string());
        }
        let source = open(file, writer).ok_or("its file was deleted and cannot be opened")?;
        let from = end_of_lines(&source).map_err(|error| error.to_string())?;
        let carried = Carried { file, path: path.to_owned(), from, rights: rights.clone() };
        self.begin_carrying(ctx, carried, source).map_err(|error| crate::platform::log::chain(&error))?;
        let ids: Vec<u32> =
            ctx.state.slots.iter().filter(|slot| slot.durable.log_files.contains(&Some(file))).map(|slot| slot.durable.id).collect();
        for id in ids {
            let Some(slot) = ctx.state.slots.get_mut(id) else { continue };
            let [error, out] = slot.durable.log_files.map(|own| own == Some(file));
            slot.durable.log_start = (if error { 0 } else { slot.durable.log_start.0 }, if out { 0 } else { slot.durable.log_start.1 });
            ctx.state.slots.changed(id);
        }
        ctx.io
            .log
            .line(format_args!("\"{path}\" was deleted and is recreated; the output of its app is copied to it until its next start"));
        Ok(())
    }

    fn begin_carrying(&mut self, ctx: &mut Ctx, carried: Carried, source: File) -> Result<(), OpenError> {
        let system = |source| OpenError { path: carried.path.clone().into(), step: "copy output to", hint: String::new(), source };
        if self.carries.carrier.is_none() {
            let (sender, said) = mpsc::channel();
            let waker = self.waker(ctx).map_err(system)?;
            let carrier = Carrier::start(move |news| {
                // If the daemon is exiting, nothing receives the report.
                let _ = sender.send(news);
                waker.wake();
            });
            self.carries.carrier = Some((carrier.map_err(system)?, said));
        }
        let Some((carrier, _)) = &self.carries.carrier else { return Ok(()) };
        let (key, source) = (carried.file, Arc::new(source));
        let streams = RuntimeStreams { rights: carried.rights.clone(), ..ctx.state.log_files.streams.clone() };
        let deleted = Deleted { key, source: Arc::clone(&source), from: carried.from, path: carried.path.clone().into(), streams };
        carrier.begin(deleted, &ctx.state.log_files.open)?;
        ctx.io.keeper.hold(&held_name(key), source.as_fd());
        ctx.state.journal.push(&Record::Carry(Box::new(carried.clone())));
        ctx.state.log_files.carried.insert(key);
        self.carries.all.insert(key, (carried, source));
        Ok(())
    }

    /// Handles reports of the carrying thread.
    pub(super) fn on_carrier_news(&mut self, ctx: &mut Ctx) {
        let Some((_, said)) = &self.carries.carrier else { return };
        for said in said.try_iter().collect::<Vec<_>>() {
            match said {
                CarrierReport::Stuck(file, why) => {
                    if let Some((carried, _)) = self.carries.all.get(&file) {
                        ctx.io.log.error(format_args!(
                            "\"{}\" was deleted and cannot be recreated: {why}; its lines are kept in memory",
                            carried.path
                        ));
                    }
                }
                CarrierReport::Ended(file) => {
                    if self.carries.all.remove(&file).is_some() {
                        ctx.state.log_files.carried.remove(&file);
                        ctx.io.keeper.drop_held(&held_name(file));
                        ctx.state.journal.push(&Record::CarriedOver { file });
                    }
                }
            }
        }
        if self.carries.all.is_empty() {
            self.carries.carrier = None;
        }
    }

    /// Continues the carry-overs of a former daemon. If a process has exited since, its remaining
    /// output is carried.
    pub(super) fn recover_carries(&mut self, ctx: &mut Ctx) {
        let mut found = std::mem::take(&mut self.carries.found);
        for (file, carried) in std::mem::take(&mut self.carries.former) {
            let held = found.remove(&held_name(file)).map(File::from);
            let source = held.or_else(|| {
                let mut writers = ctx.state.slots.iter().filter(|slot| slot.durable.log_files.contains(&Some(file))).filter_map(leader);
                writers.find_map(|leader| [1, 2].into_iter().find_map(|fd| open(file, (leader.pid, fd))))
            });
            let path = carried.path.clone();
            let started = source.map(|source| self.begin_carrying(ctx, carried, source));
            if let Some(Err(error)) = &started {
                ctx.io.log.error(format_args!("\"{path}\": {}", crate::platform::log::chain(error)));
            }
            if !matches!(started, Some(Ok(()))) {
                ctx.state.journal.push(&Record::CarriedOver { file });
            }
        }
        found.keys().for_each(|name| ctx.io.keeper.drop_held(name));
    }
}

/// Opens the file that a process has open, if it is the expected file and has no name any more.
fn open(file: FileKey, (pid, fd): (i32, u32)) -> Option<File> {
    let source = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let meta = source.metadata().ok()?;
    ((meta.dev(), meta.ino()) == file && meta.is_file() && meta.nlink() == 0).then_some(source)
}
