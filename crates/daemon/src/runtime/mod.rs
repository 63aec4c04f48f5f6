//! In front of a container (`ostler runtime`): its output is the apps' output, its end is theirs.
//!
//! The keeper is the first process there and keeps standard output and error as they came, so that `/proc/1/fd/1` is the container's log for
//! whatever runs in it. The daemon has copies of both, and decides the rest: what a signal means, when everything is over, and with which
//! code. All of it is known again by the next daemon: how to behave is in the environment, whether the starter is done is the keeper's
//! to say, and the apps are in the journal.

mod end;

use ostler_core::runtime::RuntimeSpec;
use ostler_keeper::{Inventory, RUNTIME_VAR, STARTER_KEY};

/// What starts the apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starter {
    /// It still runs.
    Runs,
    /// It has asked for everything that is to run.
    Done,
}

/// The daemon as the runtime of a container.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub spec: RuntimeSpec,
    starter: Starter,
    /// A program could not even be executed.
    pub unstartable: bool,
    /// Nothing runs, because somebody stopped or deleted it: this is over then (`mono_ms`).
    over_at_ms: Option<u64>,
    /// Somebody asked to stop everything; what still runs is killed then.
    stopping: Option<Stopping>,
    /// What the container ends with.
    code: u8,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    kill_at_ms: Option<u64>,
    killed: bool,
}

impl Runtime {
    /// From the environment that our keeper gave us; `None` in the background.
    ///
    /// # Errors
    /// It says what makes no sense.
    pub(crate) fn from_env(inventory: &Inventory) -> Result<Option<Self>, serde_json::Error> {
        let Ok(how) = std::env::var(RUNTIME_VAR) else { return Ok(None) };
        let spec = serde_json::from_str(&how)?;
        let is_known = inventory.children.iter().any(|child| child.key == STARTER_KEY);
        let starter = if is_known { Starter::Runs } else { Starter::Done };
        Ok(Some(Self { spec, starter, unstartable: false, over_at_ms: None, stopping: None, code: 0 }))
    }

    /// What the container ends with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Somebody is waiting for the end.
    pub(crate) fn is_hasty(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.killed)
    }

    /// When to look again although nothing happens.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let kill_at = self.stopping.filter(|stopping| !stopping.killed).and_then(|stopping| stopping.kill_at_ms);
        self.over_at_ms.into_iter().chain(kill_at).min()
    }
}
