//! `flush`.

use std::fs::OpenOptions;
use std::path::Path;

use ostler_core::files::own_stream;
use ostler_proto::control::{Failure, Response};

use crate::control::Control;

impl Control {
    pub(super) fn flush_logs(&mut self, target: Option<&str>) -> Response {
        let ids = match target {
            None => self.registry.iter().map(|slot| slot.id).collect(),
            Some(target) => match self.select(target, "") {
                Ok(ids) => ids,
                Err(failure) => return Response::Failed(failure),
            },
        };
        let mut paths: Vec<String> = Vec::new();
        if target.is_none() {
            paths.push(self.settings.daemon_log().to_string_lossy().into_owned());
        }
        for slot in ids.iter().filter_map(|id| self.registry.get(*id)) {
            let files = [&slot.files.out, &slot.files.error, &slot.files.combined];
            for path in files.into_iter().flatten() {
                if !paths.contains(path) {
                    paths.push(path.clone());
                }
            }
        }
        // Only plain files can be emptied; `/dev/null`, pipes and terminals keep nothing, and the runtime's own output is not the app's.
        paths.retain(|path| own_stream(path).is_none() && Path::new(path).is_file());
        for path in &paths {
            if let Err(error) = OpenOptions::new().write(true).truncate(true).open(path) {
                return Response::Failed(Failure::Other(format!("cannot empty \"{path}\": {error}")));
            }
        }
        for slot in ids {
            if let Some(slot) = self.registry.get_mut(slot) {
                slot.log_start = (0, 0);
            }
        }
        Response::Paths(paths)
    }
}
