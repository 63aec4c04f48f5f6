//! An instance as others are shown it.

use std::rc::Rc;
use std::sync::Arc;

use ostler_proto::control::Detail;

use super::Slot;
use crate::settings::Settings;
use crate::settings::kept_settings;

impl Slot {
    /// Everything about it that it knows itself; what it waits for, others know.
    pub(crate) fn detail(&self, settings: &Settings) -> Detail {
        let mut spec = self.spec().clone();
        spec.env.base = Arc::new((*self.base.vars).clone());
        Detail {
            id: self.pm_id,
            index: self.index,
            unique_id: self.unique_id.clone(),
            user: self.user().to_string(),
            spec,
            instance: self.instance.clone(),
            ticks: self.ticks,
            learned: (*self.learned).clone(),
            monit: self.cpu.monit(),
            files: self.files.clone(),
            home: settings.home.to_string_lossy().into_owned(),
            waits_for: Vec::new(),
            health: self.health.as_deref().cloned(),
            cause: self.cause.as_deref().cloned(),
            notes: self.notes.clone(),
            kept: kept_settings(self.spec(), settings).into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        }
    }

    /// Name of the user it runs as: of `uid` where given, else of the daemon.
    pub(crate) fn user(&self) -> Rc<str> {
        self.spec().uid.as_deref().map_or_else(crate::users::own, crate::users::name_of)
    }
}
