//! `flush`.

use ostler_core::files::own_stream;
use ostler_proto::control::{Failure, Response};

use crate::control::Control;
use crate::rights::Rights;

impl Control {
    pub(super) fn flush_logs(&mut self, target: Option<&str>) -> Response {
        let ids = match target {
            None => self.ctx.slots.iter().map(|slot| slot.id).collect(),
            Some(target) => match self.select(target, "") {
                Ok(ids) => ids,
                Err(failure) => return Response::Failed(failure),
            },
        };
        let mut logs: Vec<(String, Rights)> = Vec::new();
        if target.is_none() {
            logs.push((self.ctx.settings.daemon_log().to_string_lossy().into_owned(), Rights::default()));
        }
        for slot in ids.iter().filter_map(|id| self.ctx.slots.get(*id)) {
            let files = [&slot.files.out, &slot.files.error, &slot.files.combined];
            for path in files.into_iter().flatten() {
                if !logs.iter().any(|(known, _)| known == path) {
                    logs.push((path.clone(), Rights::of(slot.spec())));
                }
            }
        }
        let mut paths: Vec<String> = Vec::new();
        for (path, rights) in logs {
            // Only plain files can be emptied; `/dev/null`, pipes and terminals keep nothing, and the runtime's own output is not the app's.
            if own_stream(&path).is_some() {
                continue;
            }
            match rights.empty(path.as_ref()) {
                Ok(true) => paths.push(path),
                Ok(false) => {}
                Err(error) => return Response::Failed(Failure::Other(format!("cannot empty \"{path}\": {error}"))),
            }
        }
        for slot in ids {
            if let Some(slot) = self.ctx.slots.get_mut(slot) {
                slot.log_start = (0, 0);
            }
        }
        Response::Paths(paths)
    }
}
