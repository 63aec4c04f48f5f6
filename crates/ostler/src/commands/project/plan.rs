//! What `up` does to each app: only what differs is touched. Pure.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::diff::{Key, differences};
use ostler_proto::control::Detail;

use super::{is_member, service};
use crate::error::ProjectError;

/// What becomes of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is not there yet.
    Create,
    /// It is described otherwise now: the new description, and a restart.
    Change,
    /// It is as described, and nothing of it runs.
    Start,
    /// It runs as described.
    Leave,
}

impl Step {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Change => "changed",
            Self::Start => "started",
            Self::Leave => "unchanged",
        }
    }
}

/// Plan for a whole project.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The step of each app, in the order of the file.
    pub steps: Vec<Step>,
    /// Names of apps of the project that are in its file no more.
    pub orphans: Vec<String>,
}

/// Compares what is wanted with the instances of the project. `all`: names of all apps of the file, also of those that are not wanted now.
pub(crate) fn plan(wanted: &[AppSpec], all: &[String], members: &[Detail]) -> Plan {
    let step = |spec: &AppSpec| {
        let own: Vec<&Detail> = members.iter().filter(|member| member.spec.name == spec.name).collect();
        // The number of instances is the affair of `--scale` and the file; nothing is restarted for it.
        let is_other = |member: &&Detail| {
            differences(&member.spec, spec).iter().any(|difference| difference.key != Key::Attribute("instances".into()))
        };
        let is_down = |member: &&Detail| matches!(member.instance.status(), "stopped" | "errored" | "stopping");
        match own.first() {
            None => Step::Create,
            Some(first) if is_other(first) => Step::Change,
            // A job waits for its time.
            Some(_) if !spec.is_job() && own.iter().all(is_down) => Step::Start,
            Some(_) => Step::Leave,
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

/// The first thing that is in the way: an app that exists and is not of this project, in one line with what to do.
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
        // The same file by `start`: its apps would run twice, and want the same ports.
        let is_same = own.is_some_and(|own| Path::new(own) == file) && service(&spec.name, &spec.namespace).is_none();
        let is_wanted = wanted.iter().any(|wanted| service(&wanted.name, project) == Some(&spec.name));
        (is_same && is_wanted).then(|| ProjectError::Started(spec.name.clone()))
    })
}
