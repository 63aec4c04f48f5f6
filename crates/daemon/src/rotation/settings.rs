//! What the settings of the home say about rotation.

use ostler_core::rotate::settings::Rotation as Wanted;

use crate::control::Control;

impl Control {
    /// Somebody has changed the settings, or may have.
    pub(crate) fn refresh_settings(&mut self) {
        match self.settings.conf.refresh() {
            Ok(false) => return,
            Ok(true) => {}
            Err(problem) => return self.log.error(format_args!("{problem}; the settings stay as they were")),
        }
        let (wanted, problems) = Wanted::read(self.settings.conf.all());
        for problem in problems {
            self.log.error(format_args!("\"{}\": {problem}; it has no effect", self.settings.conf.path().display()));
        }
        self.rotation.wanted = wanted;
        self.rotation.schedule_changed = true;
        for folder in self.rotation.folders.values_mut() {
            folder.hurry();
        }
    }
}
