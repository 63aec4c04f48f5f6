//! Errands that a former daemon began.

use std::collections::BTreeMap;

use ostler_core::errand::Outcome;
use ostler_keeper::{Child, Inventory};
use ostler_sys::ProcRef;

use super::{Errand, ErrandRecord, Leader, Output, Stage, key, number_of};
use crate::control::Control;
use crate::engine::Work;
use crate::slots::processes::Leaders;

impl Control {
    /// As the journal has them; what became of them is seen next.
    pub(crate) fn remember_errands(&mut self, records: BTreeMap<u32, ErrandRecord>) {
        for (number, record) in records {
            let ErrandRecord { owner, spec, mark, deadline_ms, leader, verdict, group, log_start, .. } = record;
            let stage = leader.map_or(Stage::Asked, Stage::Runs);
            let errand = Errand { owner, spec, mark, deadline_ms, stage, verdict, capture: None, group, log_start };
            self.errands.last = self.errands.last.max(number);
            self.errands.all.insert(number, errand);
        }
    }

    /// What the keeper has of them.
    pub(crate) fn recover_errands(&mut self, inventory: &Inventory, leaders: &mut Leaders) {
        let mut found: BTreeMap<u32, &Child> = BTreeMap::new();
        for child in &inventory.children {
            let Some(number) = number_of(child.key) else { continue };
            found.insert(number, child);
            if !self.errands.all.contains_key(&number) {
                match child.ended {
                    Some(_) => self.ctx.effects.push(Work::Ack(child.key)),
                    // The journal may be what is wrong: what runs is never killed for that.
                    None => self.ctx.log.error(format_args!("process {} is of an unknown errand and is left alone", child.pid)),
                }
            }
        }
        for number in self.errands.all.keys().copied().collect::<Vec<_>>() {
            match found.get(&number) {
                Some(child) => self.errand_found(number, child),
                // The order never reached the keeper, or could not be carried out and the answer is lost. Or that keeper was killed, too.
                None => self.adopt_errand(number, leaders),
            }
        }
    }

    fn errand_found(&mut self, number: u32, child: &Child) {
        let Some(errand) = self.errands.all.get_mut(&number) else { return };
        errand.stage = Stage::Runs(Leader { pid: child.pid, start_ticks: child.start_ticks });
        let (begun_to_kill, is_captured) = (errand.verdict.is_some(), errand.spec.output == Output::Captured);
        if is_captured {
            errand.verdict = Some(Outcome::Lost);
        }
        match child.ended {
            Some(ended) => self.errand_exited(number, ended.ending),
            None if begun_to_kill || is_captured => self.kill_errand(number),
            None => {}
        }
    }

    fn errand_not_found(&mut self, number: u32) {
        let Some(errand) = self.errands.all.get_mut(&number) else { return };
        match errand.stage {
            Stage::Asked | Stage::Sent => {
                errand.stage = Stage::Asked;
                self.ctx.effects.push(Work::Errand(number));
            }
            // It ran under a keeper that was killed, too.
            Stage::Runs(_) | Stage::Ending { .. } => self.errand_exited(number, ostler_sys::Ending::Unknown),
        }
    }

    /// Daemon and keeper were killed: what still runs is watched by the new keeper.
    pub(crate) fn adopt_errands(&mut self, leaders: &mut Leaders) {
        for number in self.errands.all.keys().copied().collect::<Vec<_>>() {
            self.adopt_errand(number, leaders);
        }
    }

    fn adopt_errand(&mut self, number: u32, leaders: &mut Leaders) {
        match self.errand_survivor(number, leaders) {
            Some(process) => {
                self.ctx.keeper.adopt(key(number), process);
                self.errand_found(number, &Child { key: key(number), pid: process.pid, start_ticks: process.start_ticks, ended: None });
            }
            None => self.errand_not_found(number),
        }
    }

    /// The keeper was killed: what a new one has to watch.
    pub(crate) fn surviving_errands(&mut self, leaders: &mut Leaders) -> Vec<(u32, ProcRef)> {
        let numbers: Vec<u32> = self.errands.all.keys().copied().collect();
        numbers.into_iter().filter_map(|number| Some((number, self.errand_survivor(number, leaders)?))).collect()
    }

    /// A new keeper watches these; what the old one was asked for and did not do is asked for again.
    pub(crate) fn errands_behind_new_keeper(&mut self, survivors: &[(u32, ProcRef)]) {
        for number in self.errands.all.keys().copied().collect::<Vec<_>>() {
            match survivors.iter().find(|(survivor, _)| *survivor == number) {
                Some((_, process)) => {
                    if let Some(errand) = self.errands.all.get(&number)
                        && errand.stage == Stage::Sent
                    {
                        self.errand_spawned(number, process.pid, process.start_ticks);
                    }
                }
                None => self.errand_not_found(number),
            }
        }
    }

    fn errand_survivor(&self, number: u32, leaders: &mut Leaders) -> Option<ProcRef> {
        let errand = self.errands.all.get(&number)?;
        let process = match errand.stage {
            Stage::Runs(leader) | Stage::Ending { leader, exited: false, .. } => leader.process(),
            Stage::Asked | Stage::Sent => leaders.find(&errand.mark)?,
            Stage::Ending { exited: true, .. } => return None,
        };
        process.exists().then_some(process)
    }
}
