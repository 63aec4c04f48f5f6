//! `health`: how instances are. Nothing is measured for it, so that it can be asked each second.

use ostler_proto::control::{Failure, HealthRow, Response};

use crate::control::Control;
use crate::slots::Slot;

impl Control {
    pub(super) fn health(&self, targets: &[String]) -> Response {
        let mut ids = Vec::new();
        for target in targets {
            match self.ctx.slots.select(target, "") {
                Ok(found) => ids.extend(found),
                Err(Failure::Empty) => {}
                Err(failure) => return Response::Failed(failure),
            }
        }
        let wanted = |slot: &&Slot| targets.is_empty() || ids.contains(&slot.id);
        Response::Health(self.ctx.slots.serving().filter(wanted).map(row).collect())
    }
}

fn row(slot: &Slot) -> HealthRow {
    let status = slot.instance.status().to_owned();
    let check = slot.health.as_ref().and_then(|report| report.trouble());
    let trouble = slot.trouble.as_deref().map(str::to_owned).or(check);
    HealthRow { id: slot.pm_id, name: slot.spec().name.clone(), status, trouble }
}
