//! Effect of `up` on each app: only apps that differ are touched. Pure.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::diff::{Key, differences};
use ostler_core::marked;
use ostler_proto::control::Detail;

use super::{is_member, service};
use crate::error::ProjectError;

/// Step for an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppStep {
    /// The app does not exist yet.
    Create,
    /// Its description differs: the app gets the new description and a restart.
    Change,
    /// Its description is unchanged, and no instance of it runs.
    Start,
    /// It runs with an unchanged description.
    Leave,
}

impl AppStep {
    /// Returns the word for the step.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => marked!("created"),
            Self::Change => marked!("changed"),
            Self::Start => marked!("started"),
            Self::Leave => marked!("unchanged"),
        }
    }
}

/// Plan for a whole project.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The step of each app, in the order of the file.
    pub steps: Vec<AppStep>,
    /// Names of apps of the project that are no longer in its file.
    pub orphans: Vec<String>,
}

/// Compares the wanted apps with the instances of the project. `all`: names of all apps of the
/// file, including apps that are not wanted now.
pub(crate) fn plan(wanted: &[AppSpec], all: &[String], members: &[Detail]) -> Plan {
    let step = |spec: &AppSpec| {
        let own: Vec<&Detail> = members.iter().filter(|member| member.spec.name == spec.name).collect();
        // `--scale` and the file determine the number of instances; no app is restarted for it.
        let is_other = |member: &&Detail| {
            differences(&member.spec, spec).iter().any(|difference| difference.key != Key::Attribute("instances".into()))
        };
        let is_down = |member: &&Detail| matches!(member.instance.status(), "stopped" | "errored" | "stopping");
        match own.first() {
            None => AppStep::Create,
            Some(first) if is_other(first) => AppStep::Change,
            // A job waits for its scheduled time.
            Some(_) if !spec.is_job() && own.iter().all(is_down) => AppStep::Start,
            Some(_) => AppStep::Leave,
        }
    };
    let mut orphans: Vec<String> = Vec::new();
    for name in members.iter().map(|member| &member.spec.name) {
        if !all.contains(name) && !orphans.contains(name) {
            orphans.push(name.clone());
        }
    }
    Plan { steps: wanted.iter().map(step).collect(), orphans }
}

/// Returns the first conflict: an existing app that does not belong to this project. The text is
/// one line, with a hint.
pub(crate) fn foreign(wanted: &[AppSpec], project: &str, file: &Path, running: &[Detail]) -> Option<ProjectError> {
    running.iter().find_map(|detail| {
        let (spec, own) = (&detail.spec, detail.spec.config_file.as_deref());
        if is_member(detail, Some(file), Some(project)) {
            return None;
        }
        if wanted.iter().any(|wanted| wanted.name == spec.name) {
            let of = own.filter(|_| spec.namespace == project).map(str::to_owned);
            return Some(ProjectError::Taken { name: spec.name.clone(), of });
        }
        // If `start` used the same file, its apps would run twice and compete for the same ports.
        let is_same = own.is_some_and(|own| Path::new(own) == file) && service(&spec.name, &spec.namespace).is_none();
        let is_wanted = wanted.iter().any(|wanted| service(&wanted.name, project) == Some(&spec.name));
        (is_same && is_wanted).then(|| ProjectError::Started(spec.name.clone()))
    })
}
