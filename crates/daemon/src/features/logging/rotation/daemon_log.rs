//! Rotation of the daemon's own log, and the work after every rotation.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::Rotation;
use super::retention::{CheckedLog, RetentionJob};
use crate::engine::Ctx;
use crate::logs::reclaim::rename_to_free;
use crate::platform::rights::Rights;

impl Rotation {
    /// Handles the rotations of this turn together: rotates the own log, and orders the retention.
    pub(super) fn finish_rotations(&mut self, ctx: &mut Ctx) {
        self.rotate_own_log(ctx);
        let leftovers = std::mem::take(&mut self.leftovers);
        if self.rotated.is_empty() && !leftovers {
            return;
        }
        let apps = std::mem::take(&mut self.rotated);
        let mut groups: BTreeMap<String, (Vec<CheckedLog>, RetentionJob)> = BTreeMap::new();
        for live in self.live_logs(ctx, None).into_iter().filter(|live| leftovers || apps.contains(&live.app)) {
            let kept = CheckedLog { target: live.target, file: live.file, rights: live.rights };
            groups.entry(live.app).or_insert_with(|| (Vec::new(), RetentionJob::Keep(live.rule))).0.push(kept);
        }
        self.order_retention(ctx, groups.into_values());
    }

    /// Rotates `pm2.log` if it is large. Otherwise the check costs nothing.
    fn rotate_own_log(&mut self, ctx: &mut Ctx) {
        let Some(rule) = self.wanted.rotate.rule() else { return };
        if !ctx.io.log.is_larger_than(rule.max_size) {
            return;
        }
        let path = ctx.io.log.path().to_owned();
        // A user made the path a terminal, a pipe or a link on purpose.
        if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let Some((name, folder)) = path.file_name().and_then(|name| name.to_str()).zip(path.parent()) else { return };
        let date = self.date(&rule, ctx.now.wall_ms);
        let free = super::begin::free_name(name, &date, |name| folder.join(name).symlink_metadata().is_ok());
        let Some(rotated) = free.and_then(|rotated| Some(folder.join(rotated).to_str()?.to_owned())) else { return };
        let renamed = rename_to_free(&path, &rotated);
        // If the rename failed, the log is reopened, too. The next attempt comes when it has grown
        // by the same size again.
        ctx.io.log.reopen();
        match renamed {
            Ok(()) => ctx.io.log.line(format_args!("\"{rotated}\" has been created")),
            Err(error) => return ctx.io.log.error_once("own log", format_args!("\"{}\" cannot be rotated: {error}", path.display())),
        }
        if let Ok(meta) = std::fs::symlink_metadata(&path) {
            let kept = CheckedLog { target: path, file: (meta.dev(), meta.ino()), rights: Rights::default() };
            self.order_retention(ctx, [(vec![kept], RetentionJob::Keep(rule))]);
        }
    }
}
