//! Details of an instance for clients.

use std::rc::Rc;
use std::sync::Arc;

use ostler_proto::control::{AppFacts, Detail};

use super::{Axm, Slot};
use crate::platform::settings::Settings;
use crate::platform::settings::kept_settings;
use crate::state::store::LearnedRecord;

impl Slot {
    /// Returns the details that the slot knows itself. Others add what the slot waits for.
    pub(crate) fn detail(&self, settings: &Settings) -> Detail {
        let mut spec = self.spec().clone();
        spec.env.base = Arc::new((*self.base().vars).clone());
        Detail {
            id: self.durable.pm_id,
            index: self.durable.index,
            unique_id: self.durable.unique_id.clone(),
            user: self.user().to_string(),
            spec,
            instance: self.durable.instance.clone(),
            ticks: self.durable.ticks,
            learned: self.app_facts(),
            monit: self.live.cpu.monit(),
            files: self.live.files.clone(),
            home: settings.home.to_string_lossy().into_owned(),
            waits_for: Vec::new(),
            health: self.live.health.as_deref().cloned(),
            cause: self.durable.cause.as_deref().cloned(),
            observations: self.durable.observations.clone(),
            kept: kept_settings(self.spec(), settings).into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        }
    }

    /// Returns facts that the daemon found out about the process, and reports of the app itself.
    fn app_facts(&self) -> AppFacts {
        let LearnedRecord { node_version, sockets, own_sockets, status, working_tree, sandbox } = (*self.durable.learned).clone();
        let Axm { actions, monitor, options } = (*self.live.axm).clone();
        AppFacts {
            node_version,
            axm_actions: actions,
            axm_monitor: monitor,
            axm_options: options,
            sockets,
            own_sockets,
            status,
            working_tree,
            sandbox,
            ports: Vec::new(),
        }
    }

    /// Returns the name of the user that the app runs as: `uid` if set, otherwise the daemon's
    /// user.
    pub(crate) fn user(&self) -> Rc<str> {
        self.spec().uid.as_deref().map_or_else(crate::platform::users::daemon_user, crate::platform::users::name_of)
    }
}
