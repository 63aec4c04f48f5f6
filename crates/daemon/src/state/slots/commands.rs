//! Commands that run for instances, readable by every feature. The feature that runs them keeps
//! this table up to date.

use std::collections::BTreeMap;

use ostler_sys::ProcRef;

use crate::state::store::command::{CommandOwner, CommandSpec, Output};

/// Progress of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The command was decided.
    Requested,
    /// The keeper was asked to start the process, and has not answered.
    Spawning,
    /// The main process of the command runs.
    Runs(ProcRef),
    /// The command has exited, or is being killed.
    Ending,
}

/// Running command.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub owner: CommandOwner,
    slot: u32,
    /// Mark that identifies its processes.
    mark: String,
    writes_logs: bool,
    pub progress: Progress,
    /// Whether it will be killed, or is being killed.
    pub is_called_off: bool,
}

/// Running commands by number, until their owners were notified of their exit.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    all: BTreeMap<u32, UnderWay>,
}

impl Commands {
    /// Adds a command.
    pub(crate) fn add(&mut self, number: u32, owner: CommandOwner, spec: &CommandSpec, mark: &str) {
        let writes_logs = spec.output != Output::Nowhere;
        let (slot, mark) = (spec.slot, mark.to_owned());
        let under_way = UnderWay { owner, slot, mark, writes_logs, progress: Progress::Requested, is_called_off: false };
        self.all.insert(number, under_way);
    }

    /// Returns a running command for changes.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut UnderWay> {
        self.all.get_mut(&number)
    }

    /// Removes a command after its owner was notified.
    pub(crate) fn remove(&mut self, number: u32) {
        self.all.remove(&number);
    }

    /// Returns true if no command is running.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Iterates over the running commands.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &UnderWay> {
        self.all.values()
    }

    /// Returns true if a command should run until it exits by itself.
    pub(crate) fn has_running(&self) -> bool {
        self.iter().any(|command| !command.is_called_off && command.progress != Progress::Ending)
    }

    /// Returns true if a hook of this slot runs.
    pub(crate) fn has_hook(&self, id: u32) -> bool {
        self.iter().any(|command| matches!(command.owner, CommandOwner::Hook { slot, .. } if slot == id))
    }

    /// Returns true if a command of this owner is running.
    pub(crate) fn has(&self, owner: &CommandOwner) -> bool {
        self.iter().any(|command| command.owner == *owner)
    }

    /// Returns true if a command is just being started.
    pub(crate) fn is_spawning(&self) -> bool {
        self.iter().any(|command| command.progress == Progress::Spawning)
    }

    /// Returns the processes that may write to the logs of this slot: main processes and their
    /// marks.
    pub(crate) fn writers_of(&self, slot: u32) -> Vec<(ProcRef, String)> {
        let leader = |command: &UnderWay| match command.progress {
            Progress::Runs(leader) => Some((leader, command.mark.clone())),
            Progress::Requested | Progress::Spawning | Progress::Ending => None,
        };
        self.iter().filter(|command| command.slot == slot && command.writes_logs).filter_map(leader).collect()
    }
}
