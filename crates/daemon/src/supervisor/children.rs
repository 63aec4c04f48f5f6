//! Processes that features run beside instances.

use std::os::fd::OwnedFd;

use ostler_core::lifecycle::SpawnFailure;
use ostler_keeper::{CGROUP_TARGET, SpawnRequest, ToKeeper};

use super::spawn::{command_program, failure};
use crate::control::Control;
use crate::engine::{ChildEvent, ChildRequest};
use crate::state::store::command::Output;

/// Process that was requested from the keeper.
struct RequestedProcess {
    /// Folder of its cgroup.
    group: Option<Box<str>>,
    /// Sizes of the app's error and output log.
    log_start: (u64, u64),
}

impl Control {
    /// Requests processes for features from the keeper.
    pub(crate) fn ask_for_children(&mut self) {
        for child in std::mem::take(&mut self.ctx.outbox.children) {
            let key = child.key;
            match self.ask_for(child) {
                Ok(RequestedProcess { group, log_start }) => {
                    self.is_of_feature(key, ChildEvent::Requested { group: group.as_deref(), log_start })
                }
                Err(failure) => self.is_of_feature(key, ChildEvent::NotSpawned { step: &failure.step, errno: failure.errno }),
            };
        }
    }

    fn ask_for(&mut self, child: ChildRequest) -> Result<RequestedProcess, SpawnFailure> {
        let ChildRequest { key, spec, mark, out } = child;
        let home = self.ctx.io.settings.home.to_string_lossy().into_owned();
        let Some(slot) = self.ctx.state.slots.get(spec.slot) else { return Err(failure("its app was deleted", 0)) };
        let program = command_program(slot, &spec, &mark, &home, &self.ctx.io.settings)?;
        let outputs = if spec.output == Output::Nowhere { None } else { self.command_outputs(spec.slot)? };
        let (mut fds, mut targets): (Vec<OwnedFd>, Vec<i32>) = (Vec::new(), Vec::new());
        let mut give = |fd: OwnedFd, target: i32| {
            fds.push(fd);
            targets.push(target);
        };
        let log_start = outputs.as_ref().map_or((0, 0), |outputs| outputs.sizes);
        let mut stdout = out;
        if let Some(outputs) = outputs {
            give(outputs.error, 2);
            stdout = stdout.or(Some(outputs.out));
        }
        stdout.into_iter().for_each(|stdout| give(stdout, 1));
        let group = self.ctx.state.groups.open_for_command((key >> 32) as u32, &mark);
        let group = group.map(|(path, folder)| {
            give(folder, CGROUP_TARGET);
            path
        });
        self.ctx.io.keeper.send_with(ToKeeper::Spawn(Box::new(SpawnRequest { key, spec: program, targets, confinement: None })), fds);
        Ok(RequestedProcess { group, log_start })
    }
}
