//! Forms of PM2's list for clients that request it repeatedly. The parts that do not change while
//! an app lives are serialized once.
//!
//! They cost memory. There are thus none before the second request, and they are dropped a while
//! after the last.

use std::collections::HashMap;
use std::rc::Rc;

use ostler_core::app::EnvMap;
use ostler_proto::control::Files;
use ostler_proto::pm2::{Process, ProcessForm};

use crate::state::slots::{App, Base, Slot};

/// Time after the last request for which they are kept.
const KEPT_MS: u64 = 10_000;

/// Forms by slot.
#[derive(Debug, Default)]
pub(super) struct Forms {
    by_slot: HashMap<u32, CachedForm>,
    /// Number of requests since the forms were last dropped.
    questions: u32,
}

/// Form of an item, and the data that it was made of.
#[derive(Debug)]
struct CachedForm {
    /// Shared description, held so that no other description can have its address.
    app: Rc<App>,
    base: Rc<Base>,
    index: u32,
    unique_id: String,
    user: String,
    files: Files,
    kept: EnvMap,
    form: ProcessForm,
}

impl CachedForm {
    fn fits(&self, slot: &Slot, process: &Process<'_>) -> bool {
        let view = &process.view;
        Rc::ptr_eq(&self.app, slot.app())
            && Rc::ptr_eq(&self.base, slot.base())
            && self.index == view.index
            && self.unique_id == view.unique_id
            && self.user == view.user
            && self.files == *view.files
            && view.kept.is_none_or(|kept| self.kept == *kept)
    }

    fn of(slot: &Slot, process: &Process<'_>) -> Result<Self, serde_json::Error> {
        let view = &process.view;
        Ok(Self {
            app: Rc::clone(slot.app()),
            base: Rc::clone(slot.base()),
            index: view.index,
            unique_id: view.unique_id.to_owned(),
            user: view.user.to_owned(),
            files: view.files.clone(),
            kept: view.kept.cloned().unwrap_or_default(),
            form: ProcessForm::of(process)?,
        })
    }
}

impl Forms {
    /// Records a request. Returns the time until which the forms are kept.
    pub(super) fn note_request(&mut self, now_ms: u64) -> u64 {
        self.questions = self.questions.saturating_add(1);
        now_ms + KEPT_MS
    }

    /// Returns true from the second request on.
    pub(super) fn are_wanted(&self) -> bool {
        self.questions > 1
    }

    /// Drops the forms.
    pub(super) fn drop_all(&mut self) {
        *self = Self::default();
    }

    /// Appends an item.
    ///
    /// # Errors
    /// Returns an error if a value has no JSON form.
    pub(super) fn write(&mut self, slot: &Slot, process: &Process<'_>, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let id = slot.durable.id;
        if let Some(known) = self.by_slot.get(&id)
            && known.fits(slot, process)
            && known.form.write(process, out)?
        {
            return Ok(());
        }
        let known = CachedForm::of(slot, process)?;
        known.form.write(process, out)?;
        self.by_slot.insert(id, known);
        Ok(())
    }

    /// Forgets slots that are gone.
    pub(super) fn retain(&mut self, mut is_there: impl FnMut(u32) -> bool) {
        self.by_slot.retain(|id, _| is_there(*id));
    }
}
