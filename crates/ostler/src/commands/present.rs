//! Apps of a config file that exist: a command with the file describes them anew, in their place.

use ostler_config::{Again, Context, Overlay, Problems, RawApp, normalize, normalize_again};
use ostler_core::app::AppSpec;
use ostler_core::lifecycle::Wanted;
use ostler_proto::control::Detail;

use crate::cx::Cx;
use crate::error::CliError;
use crate::left_behind;

/// Descriptions of all instances that exist.
#[derive(Default)]
pub(super) struct Present(Vec<Detail>);

impl Present {
    /// The instances of these names. No daemon is started unless a former one left apps behind.
    pub(super) fn of(cx: &mut Cx, names: &[String]) -> Result<Self, CliError> {
        let left_behind = left_behind::of(cx.home()?).is_some();
        if cx.running_client()?.is_none() && !left_behind {
            return Ok(Self::default());
        }
        let client = cx.client()?;
        if !client.list()?.iter().any(|row| names.contains(&row.name)) {
            return Ok(Self::default());
        }
        let stays = client.inspect(&[])?.into_iter().filter(|detail| detail.instance.wanted != Wanted::Gone);
        Ok(Self(stays.filter(|detail| names.contains(&detail.spec.name)).collect()))
    }

    /// The instances of the apps of a file.
    pub(super) fn of_file(cx: &mut Cx, apps: &[RawApp], overlay: &Overlay) -> Result<Self, CliError> {
        let names: Vec<String> = apps.iter().map(|app| overlay.name_of(app)).collect();
        Self::of(cx, &names)
    }

    /// The app of this script, if it is down.
    pub(super) fn down(&self, script: &str) -> Option<&AppSpec> {
        let last = self.0.iter().rfind(|detail| detail.spec.script == script)?;
        last.instance.state.is_down().then_some(&last.spec)
    }

    /// Describes an app of a file: anew if it exists, else for its first start.
    pub(super) fn describe(&self, raw: &RawApp, context: &Context, overlay: &Overlay) -> Result<Again, Problems> {
        match self.find(raw, overlay) {
            Some(old) => normalize_again(raw, context, overlay, old),
            None => normalize(raw, context, overlay).map(|app| Again { app, notes: Vec::new() }),
        }
    }

    /// The app before: the one of its name; if several apps share the name, the one of its script.
    fn find(&self, raw: &RawApp, overlay: &Overlay) -> Option<&AppSpec> {
        let name = overlay.name_of(raw);
        let fit = |spec: &&AppSpec| {
            let is_script = spec.given.open().get("script") == raw.attributes().get("script");
            (is_script, spec.namespace == raw.namespace())
        };
        // The first of the best.
        self.0.iter().rev().map(|detail| &detail.spec).filter(|spec| spec.name == name).max_by_key(fit)
    }
}
