//! What the settings of the home say about rotation.

use ostler_core::rotate::settings::Rotation as Wanted;

use crate::control::Control;

impl Control {
    /// Somebody has changed the settings, or may have.
    pub(crate) fn refresh_settings(&mut self) {
        match self.ctx.settings.conf.refresh() {
            Ok(false) => return,
            Ok(true) => {}
            Err(problem) => return self.ctx.log.error(format_args!("{problem}; the settings stay as they were")),
        }
        let (wanted, problems) = Wanted::read(self.ctx.settings.conf.all());
        for problem in problems {
            self.ctx.log.error(format_args!("\"{}\": {problem}; it has no effect", self.ctx.settings.conf.path().display()));
        }
        self.rotation.wanted = wanted;
        self.rotation.schedule_changed = true;
        for folder in self.rotation.folders.values_mut() {
            folder.hurry();
        }
    }
}
