//! Settings of the home about rotation.

use ostler_core::logs::rotate::settings::RotationSettings as Wanted;

use super::Rotation;
use crate::engine::Ctx;

impl Rotation {
    /// Reads the settings if the configuration has changed.
    pub(super) fn read_settings(&mut self, ctx: &mut Ctx) {
        let version = ctx.io.settings.conf.refresh(&mut ctx.io.log);
        if std::mem::replace(&mut self.settings_version, version) == version {
            return;
        }
        let (wanted, problems) = Wanted::read(ctx.io.settings.conf.all());
        for problem in problems {
            ctx.io.log.error(format_args!("\"{}\": {problem}; it has no effect", ctx.io.settings.conf.path().display()));
        }
        self.wanted = wanted;
        self.schedule_changed = true;
        for folder in self.folders.values_mut() {
            folder.hurry();
        }
    }
}
