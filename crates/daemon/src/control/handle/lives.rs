//! `save` and `resurrect`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response};
use ostler_proto::pm2::{Dump, DumpEntry, parse_dump};

use crate::control::{Control, Job, Step};
use crate::engine::Request;
use crate::slots::saved;

impl Control {
    pub(crate) fn resurrect(&mut self, client: u32, id: u64, origin: Origin) {
        let entries = match self.saved_list() {
            Ok((entries, told)) => {
                if let Some(told) = told {
                    self.ctx.reply(client, id, Response::Progress(Progress::Warning(told)));
                }
                entries
            }
            Err(failure) => return self.ctx.reply(client, id, Response::Failed(failure)),
        };
        // As PM2: a name that exists is left alone, as a whole.
        let present: BTreeSet<String> = self.ctx.slots.serving().map(|slot| slot.spec().name.clone()).collect();
        let mut fresh = Vec::new();
        let mut ids = Vec::new();
        for DumpEntry { spec, stopped, created_ms, ticks, .. } in entries {
            if present.contains(&spec.name) {
                continue;
            }
            let name = spec.script.clone();
            let stopped = stopped || spec.is_job();
            let (_, added) = self.ctx.add_instances(spec, &ostler_core::app::EnvMap::new(), 1);
            for &slot in &added {
                if let (Some(slot), Some(created)) = (self.ctx.slots.get_mut(slot), created_ms) {
                    // Shown to people only: crash-loop protection does not look at it.
                    if let Some(at) = slot.instance.counters.created.as_mut() {
                        at.wall_ms = created;
                    }
                }
            }
            added.iter().for_each(|id| self.ctx.request(Request::Schedule { id: *id, saved: Some(ticks) }));
            if !stopped {
                fresh.extend(&added);
            }
            self.ctx.reply(client, id, Response::Progress(Progress::Launched { name, ids: added.clone() }));
            ids.extend(added);
        }
        let waiting = self.until_up(&fresh);
        let job = self.action_job(client, id, Action::Restart, Vec::new(), origin.clone());
        self.begin(Job { step: Step::Start, waiting, shown: ids.clone(), ids, ..job });
        for id in fresh {
            self.feed(id, Event::Start(origin.clone()));
        }
    }

    /// The newest list that can be read, and what is to be told about newer ones. A damaged one is never deleted: it may be all that somebody
    /// has. Behind a damaged one, an empty list is not what anybody wants back as long as there is an older one that is not.
    fn saved_list(&mut self) -> Result<(Vec<DumpEntry>, Option<String>), Failure> {
        let backup = self.ctx.settings.dump_backup();
        let older = (1..saved::GENERATIONS).map(|generation| saved::older(&backup, generation));
        let paths: Vec<PathBuf> = [self.ctx.settings.dump_file(), backup.clone()].into_iter().chain(older).collect();
        let (mut problem, mut empty) = (None, None);
        for path in paths.iter().filter(|path| path.exists()) {
            let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
            match read.and_then(|text| parse_dump(&text).map_err(|error| crate::log::chain(&error))) {
                Ok(Dump { entries, rejected }) => {
                    for entry in rejected {
                        self.ctx.log.error(format_args!("{entry}"));
                    }
                    if entries.is_empty() && paths.first() != Some(path) {
                        empty.get_or_insert(path);
                        continue;
                    }
                    return Ok((entries, problem.map(|problem| format!("{problem}; restored from \"{}\"", path.display()))));
                }
                Err(error) => {
                    let line = format!("cannot read \"{}\": {error}", path.display());
                    self.ctx.log.error(format_args!("{line}"));
                    problem.get_or_insert(line);
                }
            }
        }
        match (problem, empty) {
            (None, None) => Err(Failure::NothingSaved),
            (problem, Some(path)) => Ok((Vec::new(), problem.map(|problem| format!("{problem}; \"{}\" is empty", path.display())))),
            (Some(problem), None) => Err(Failure::Other(problem)),
        }
    }

    /// The daemon was told by a signal to end: saves the list, then stops everything.
    pub(crate) fn shut_down(&mut self) {
        if !self.ctx.is_closing {
            self.ctx.request(Request::SaveList);
            // Nobody waits for the answer: client 0 does not exist.
            self.ctx.request(Request::End { client: 0, id: 0, origin: Origin::Shutdown });
        }
    }
}
