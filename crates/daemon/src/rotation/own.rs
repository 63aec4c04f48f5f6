//! The daemon's own log, and what follows every rotation.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::care::{Job, Kept};
use crate::control::Control;
use crate::logs::handback::rename_to_free;
use crate::rights::Rights;

impl Control {
    /// What follows a rotation, once for all of this turn.
    pub(crate) fn follow_rotations(&mut self) {
        self.rotate_own_log();
        let leftovers = std::mem::take(&mut self.rotation.leftovers);
        if self.rotation.rotated.is_empty() && !leftovers {
            return;
        }
        let apps = std::mem::take(&mut self.rotation.rotated);
        let mut groups: BTreeMap<String, (Vec<Kept>, Job)> = BTreeMap::new();
        for live in self.live_logs(None).into_iter().filter(|live| leftovers || apps.contains(&live.app)) {
            let kept = Kept { target: live.target, file: live.file, rights: live.rights };
            groups.entry(live.app).or_insert_with(|| (Vec::new(), Job::Keep(live.rule))).0.push(kept);
        }
        self.order_care(groups.into_values());
    }

    /// Rotates `pm2.log` when it is large. Costs nothing as long as it is not.
    fn rotate_own_log(&mut self) {
        let Some(rule) = self.rotation.wanted.rotate.rule() else { return };
        if !self.ctx.log.is_larger_than(rule.max_size) {
            return;
        }
        let path = self.ctx.log.path().to_owned();
        // A terminal, a pipe, a link: whoever made it that knows why.
        if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let Some((name, folder)) = path.file_name().and_then(|name| name.to_str()).zip(path.parent()) else { return };
        let date = self.rotation.date(&rule, self.ctx.now.wall_ms);
        let free = super::begin::free_name(name, &date, |name| folder.join(name).symlink_metadata().is_ok());
        let Some(rotated) = free.and_then(|rotated| Some(folder.join(rotated).to_str()?.to_owned())) else { return };
        let renamed = rename_to_free(&path, &rotated);
        // Also if it could not be renamed: it is looked at anew when it has grown by as much again.
        self.ctx.log.reopen();
        match renamed {
            Ok(()) => self.ctx.log.line(format_args!("\"{rotated}\" has been created")),
            Err(error) => return self.ctx.log.error_once("own log", format_args!("\"{}\" cannot be rotated: {error}", path.display())),
        }
        if let Ok(meta) = std::fs::symlink_metadata(&path) {
            let kept = Kept { target: path, file: (meta.dev(), meta.ino()), rights: Rights::default() };
            self.order_care([(vec![kept], Job::Keep(rule))]);
        }
    }
}
