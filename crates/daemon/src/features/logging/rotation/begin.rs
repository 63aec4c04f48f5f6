//! Beginning of one rotation: its preconditions, the new name, and the first steps.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use ostler_core::lifecycle::PolicyName;
use ostler_core::logs::date_format::DateFormat;
use ostler_core::logs::rotate::{DATE_FORMAT, Rule, name};
use ostler_proto::event::{EventCause, EventKind};
use rustix::fs::OFlags;

use super::Rotation;
use super::check::RotatableLog;
use crate::engine::{Ctx, FeatureRequest};
use crate::logs::reclaim::{Folder, Rotating, rename_to_free};

/// Most names that are tried.
const MOST_NAMES: u32 = 1000;

impl Rotation {
    /// Returns the date in the name of a file that is rotated now.
    pub(super) fn date(&mut self, rule: &Rule, wall_ms: u64) -> String {
        let mut date = Vec::new();
        DateFormat::parse(&rule.date_format).write(wall_ms, &self.zone(rule.tz.as_deref()), &mut date);
        String::from_utf8(date).unwrap_or_default()
    }

    /// Returns the formats of dates in names: the present one, and the default.
    pub(super) fn dates(&mut self, rule: &Rule, wall_ms: u64) -> Vec<String> {
        let usual = Rule { date_format: DATE_FORMAT.into(), ..rule.clone() };
        vec![self.date(rule, wall_ms), self.date(&usual, wall_ms)]
    }
}

/// Returns the first free name; its compressed form is free, too.
pub(super) fn free_name(file: &str, date: &str, is_there: impl Fn(&str) -> bool) -> Option<String> {
    let is_free = |name: &String| !is_there(name) && !is_there(&format!("{name}.gz"));
    (0..MOST_NAMES).map(|again| name::rotated(file, date, again)).find(is_free)
}

impl Rotation {
    /// Rotates a log, unless a rotation of it is in progress.
    pub(super) fn rotate(&mut self, ctx: &mut Ctx, live: &RotatableLog) {
        if ctx.state.log_files.moving.contains(&live.file) {
            return;
        }
        if let Err(reason) = self.try_rotate(ctx, live) {
            self.not_rotated(ctx, &live.path, &reason);
        }
    }

    fn try_rotate(&mut self, ctx: &mut Ctx, live: &RotatableLog) -> Result<(), String> {
        let folder = Folder::with(&live.target, live.file, &live.rights).map_err(|error| error.to_string())?;
        may_rotate(live, &folder)?;
        let file = live.target.file_name().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
        let date = self.date(&live.rule, ctx.now.wall_ms);
        let is_there = |name: &str| std::fs::symlink_metadata(folder.inside(name)).is_ok();
        let rotated = free_name(file, &date, is_there).ok_or("too many files with that name")?;
        if live.direct {
            let (path, target, rights) = (live.path.clone(), live.target.clone(), live.rights.clone());
            ctx.request(FeatureRequest::Rotate(Box::new(Rotating { path, target, file: live.file, rotated, rights, folder })));
            return Ok(());
        }
        // A file without line ends would grow without limit. Tearing a line is then better.
        let torn = live.size >= live.rule.max_size.saturating_mul(2);
        let (from, to) = (folder.inside(file), folder.inside(&rotated));
        let rename = || {
            rename_to_free(&from, &to)?;
            // A reader that follows the path finds the next file at once, with the same
            // permissions. If it cannot be made now, the next line makes it.
            let _ = successor(&from, &to);
            Ok(())
        };
        let moved = ctx.state.log_files.open.move_away(live.file, torn, || live.rights.act(rename));
        match moved.map_err(|error| folder.plain(&format!("cannot rename it to \"{to}\": {error}")))? {
            // The next check comes soon enough.
            None => Ok(()),
            Some(()) => {
                self.is_rotated(ctx, &live.path, [live.app.clone()], &folder.path().join(&rotated).to_string_lossy());
                Ok(())
            }
        }
    }

    pub(super) fn is_rotated(&mut self, ctx: &mut Ctx, path: &str, apps: impl IntoIterator<Item = String>, rotated: &str) {
        self.reported.remove(path);
        // The line has the words of pm2-logrotate.
        ctx.io.log.line(format_args!("\"{rotated}\" has been created"));
        for app in apps.into_iter().collect::<BTreeSet<_>>() {
            ctx.emit_for_app(&app, EventKind::LogRotated { file: rotated.into() }, EventCause::policy(PolicyName::LogRotate, None));
            self.rotated.insert(app);
        }
    }

    pub(super) fn not_rotated(&mut self, ctx: &mut Ctx, path: &str, reason: &str) {
        if self.is_news(path, reason) {
            ctx.io.log.error(format_args!("\"{path}\" cannot be rotated: {reason}"));
        }
    }
}

/// Checks the file. Files that do not belong to the app are left alone, even if the daemon could
/// change them.
fn may_rotate(live: &RotatableLog, folder: &Folder) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    let own = rustix::process::geteuid().as_raw();
    let is_ours = |uid: u32| uid == own || live.uid == Some(uid);
    let name = live.target.file_name().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
    let meta = std::fs::symlink_metadata(folder.inside(name)).map_err(fail)?;
    if !is_ours(meta.uid()) {
        return Err(format!("it belongs to another user ({})", meta.uid()));
    }
    let of_folder = std::fs::metadata(folder.inside(".")).map_err(fail)?;
    if meta.nlink() > 1 && of_folder.uid() != own {
        return Err("it has more than one hard link".into());
    }
    // A link of another user may lead to any file.
    let link = std::fs::symlink_metadata(&live.path).map_err(fail)?;
    if link.is_symlink() && link.uid() != own && link.uid() != 0 {
        return Err("its path is a symlink of another user".into());
    }
    Ok(())
}

/// Makes an empty file with the owner and mode of the former one.
fn successor(path: &str, old: &str) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(old)?;
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).custom_flags(flags).open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
        let _ = std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()));
    }
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(meta.mode() & 0o777))?;
    Ok(())
}
