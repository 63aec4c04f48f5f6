//! From an order to a process.

use std::os::fd::OwnedFd;

use ostler_core::errand::Outcome;
use ostler_core::lifecycle::SpawnFailure;
use ostler_keeper::{CGROUP_TARGET, SpawnRequest, ToKeeper};

use super::capture::Capture;
use super::{Errand, ErrandSpec, Output, Owner, Stage, key};
use crate::control::Control;
use crate::engine::Work;
use crate::slots::unique_id;
use crate::supervisor::spawn::{errand_program, failure};

impl Control {
    /// Has a command run. Its owner is told once how it ended, when nothing of it is left; never before this returns. Returns its number.
    pub(crate) fn start_errand(&mut self, owner: Owner, spec: ErrandSpec) -> u32 {
        let number = self.errands.next_number();
        let errand = Errand {
            owner,
            mark: format!("errand:{}", unique_id()),
            deadline_ms: self.ctx.now.mono_ms.saturating_add(spec.timeout_ms),
            stage: Stage::Asked,
            verdict: None,
            capture: None,
            group: None,
            log_start: (0, 0),
            spec,
        };
        self.ctx.journal.push(&errand.record(number));
        self.errands.all.insert(number, errand);
        self.ctx.effects.push(Work::Errand(number));
        number
    }

    /// The journal has it: now it may begin.
    pub(crate) fn send_errand(&mut self, number: u32) {
        let Some(errand) = self.errands.all.get(&number) else { return };
        if errand.stage != Stage::Asked {
            return;
        }
        if let Some(verdict) = errand.verdict.clone() {
            return self.errand_over(number, verdict);
        }
        match self.errand_request(number) {
            Ok((request, fds)) => {
                if let Some(errand) = self.errands.all.get_mut(&number) {
                    errand.stage = Stage::Sent;
                    // The cgroup and where its lines begin.
                    self.ctx.journal.push(&errand.record(number));
                }
                self.ctx.keeper.say_with(ToKeeper::Spawn(Box::new(request)), fds);
            }
            Err(failure) => self.errand_over(number, Outcome::CouldNotStart(in_words(&failure.step, failure.errno))),
        }
    }

    fn errand_request(&mut self, number: u32) -> Result<(SpawnRequest, Vec<OwnedFd>), SpawnFailure> {
        let Some(Errand { spec, mark, .. }) = self.errands.all.get(&number) else { return Err(failure("find it", 0)) };
        let (spec, mark) = (spec.clone(), mark.clone());
        let home = self.ctx.settings.home.to_string_lossy().into_owned();
        let Some(slot) = self.ctx.slots.get(spec.slot) else { return Err(failure("its app was deleted", 0)) };
        let program = errand_program(slot, &spec, &mark, &home, &self.ctx.settings)?;
        let outputs = if spec.output == Output::Nowhere { None } else { self.outputs_beside(spec.slot)? };
        let (mut fds, mut targets) = (Vec::new(), Vec::new());
        let errno = |errno: rustix::io::Errno| failure("make a pipe", errno.raw_os_error());
        let capture = if spec.output == Output::Captured { Some(Capture::open(number, &self.ctx.reactor).map_err(errno)?) } else { None };
        let mut log_start = (0, 0);
        if let Some(outputs) = outputs {
            log_start = outputs.sizes;
            fds.push(outputs.error);
            targets.push(2);
            if capture.is_none() {
                fds.push(outputs.out);
                targets.push(1);
            }
        }
        let capture = capture.map(|(capture, writer)| {
            fds.push(writer);
            targets.push(1);
            capture
        });
        let group = self.ctx.groups.open_for_command(number, &mark);
        let group = group.map(|(path, folder)| {
            fds.push(folder);
            targets.push(CGROUP_TARGET);
            path
        });
        if let Some(errand) = self.errands.all.get_mut(&number) {
            (errand.capture, errand.group, errand.log_start) = (capture, group, log_start);
        }
        Ok((SpawnRequest { key: key(number), spec: program, targets }, fds))
    }

    /// The keeper has started it.
    pub(crate) fn errand_spawned(&mut self, number: u32, pid: i32, start_ticks: u64) {
        let Some(errand) = self.errands.all.get_mut(&number).filter(|errand| errand.stage == Stage::Sent) else { return };
        errand.stage = Stage::Runs(super::Leader { pid, start_ticks });
        self.ctx.journal.push(&errand.record(number));
        if errand.verdict.is_some() {
            self.kill_errand(number);
        }
    }

    /// The keeper could not start it.
    pub(crate) fn errand_not_spawned(&mut self, number: u32, step: &str, errno: i32) {
        let Some(errand) = self.errands.all.get(&number) else { return };
        let verdict = errand.verdict.clone();
        let program = errand.spec.command.argv.first().cloned().unwrap_or_default();
        let step = match step {
            "exec" => match ostler_sys::exec::explain(program.as_ref(), errno) {
                Some(reason) => format!("exec {program} ({reason})"),
                None => format!("exec {program}"),
            },
            step => step.to_owned(),
        };
        self.errand_over(number, verdict.unwrap_or_else(|| Outcome::CouldNotStart(in_words(&step, errno))));
    }
}

/// A step and why it failed.
fn in_words(step: &str, errno: i32) -> String {
    if errno == 0 { step.to_owned() } else { format!("{step}: {}", std::io::Error::from_raw_os_error(errno)) }
}
