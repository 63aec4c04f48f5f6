//! Existing apps of a config file: a command with the file replaces their description.

use ostler_config::{Context, Overlay, Problems, RawApp, UpdatedApp, normalize, normalize_update};
use ostler_core::app::AppSpec;
use ostler_core::lifecycle::DesiredState;
use ostler_proto::control::Detail;

use crate::cx::Cx;
use crate::error::CliError;
use crate::left_behind;
use crate::preflight::name_fault;

/// Descriptions of the existing instances with certain names.
pub(super) struct Present {
    details: Vec<Detail>,
    /// Whether an app with the same name in another namespace counts as the same app.
    is_pm2: bool,
}

impl Present {
    /// Returns the instances with these names. No daemon is started, unless a former daemon left
    /// apps behind.
    pub(super) fn of(cx: &mut Cx, names: &[String]) -> Result<Self, CliError> {
        let (is_pm2, none) = (cx.program.is_pm2(), Vec::new());
        let left_behind = left_behind::of(cx.home()?).is_some();
        if cx.running_client()?.is_none() && !left_behind {
            return Ok(Self { details: none, is_pm2 });
        }
        let client = cx.client()?;
        if !client.list()?.iter().any(|row| names.contains(&row.name)) {
            return Ok(Self { details: none, is_pm2 });
        }
        let stays = client.inspect(&[])?.into_iter().filter(|detail| detail.instance.wanted != DesiredState::Gone);
        let details = stays.filter(|detail| names.contains(&detail.spec.name)).collect();
        Ok(Self { details, is_pm2 })
    }

    /// Returns the instances of the apps of a file.
    pub(super) fn from_file(cx: &mut Cx, apps: &[RawApp], overlay: &Overlay) -> Result<Self, CliError> {
        let names: Vec<String> = apps.iter().map(|app| overlay.name_of(app)).collect();
        Self::of(cx, &names)
    }

    /// Returns the app with this name and script, if it is stopped.
    pub(super) fn down(&self, spec: &AppSpec) -> Option<&AppSpec> {
        let is_same = |old: &AppSpec| old.script == spec.script && (self.is_pm2 || old.namespace == spec.namespace);
        let last = self.details.iter().rfind(|detail| is_same(&detail.spec))?;
        last.instance.state.is_down().then_some(&last.spec)
    }

    /// Returns why the app of a file cannot be started under its name, or none.
    pub(super) fn name_fault(&self, raw: &RawApp, overlay: &Overlay) -> Option<String> {
        self.name_fault_of(&overlay.name_of(raw))
    }

    /// Returns why no new app can have this name, or none. PM2 has no such rule.
    pub(super) fn name_fault_of(&self, name: &str) -> Option<String> {
        let is_new = self.details.iter().all(|detail| detail.spec.name != name);
        name_fault(name).filter(|_| is_new && !self.is_pm2)
    }

    /// Describes an app of a file: again if it exists, else for its first start.
    pub(super) fn describe(&self, raw: &RawApp, context: &Context, overlay: &Overlay) -> Result<UpdatedApp, Problems> {
        match self.find(raw, overlay) {
            Some(old) => normalize_update(raw, context, overlay, old),
            None => normalize(raw, context, overlay).map(|app| UpdatedApp { app, notes: Vec::new() }),
        }
    }

    /// Returns the targets for the existing apps of a file: names, or `namespace/name` if several
    /// namespaces have an app of that name.
    pub(super) fn targets(&self, apps: &[RawApp]) -> Vec<String> {
        let mut targets: Vec<String> = Vec::new();
        for spec in apps.iter().filter_map(|raw| self.find(raw, &Overlay::default())) {
            let mut namesakes = self.details.iter().map(|detail| &detail.spec).filter(|other| other.name == spec.name);
            let is_alone = self.is_pm2 || namesakes.all(|other| other.namespace == spec.namespace);
            let target = if is_alone { spec.name.clone() } else { format!("{}/{}", spec.namespace, spec.name) };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// Returns the previous app: the app with this name; if several apps share the name, the app
    /// with this script. Each namespace has its own apps, except in PM2.
    fn find(&self, raw: &RawApp, overlay: &Overlay) -> Option<&AppSpec> {
        let name = overlay.name_of(raw);
        let namespace = overlay.namespace.clone().unwrap_or_else(|| raw.namespace());
        // An earlier command may have chosen the namespace, which is then kept.
        let is_chosen = |spec: &AppSpec| overlay.namespace.is_none() && spec.options.contains_key("namespace");
        let is_same = |spec: &AppSpec| spec.name == name && (self.is_pm2 || spec.namespace == namespace || is_chosen(spec));
        let fit = |spec: &&AppSpec| {
            let is_script = spec.given.open().get("script") == raw.attributes().get("script");
            (is_script, spec.namespace == raw.namespace())
        };
        // The first of the best matches.
        self.details.iter().rev().map(|detail| &detail.spec).filter(|spec| is_same(spec)).max_by_key(fit)
    }
}
