//! A base, and an overlay for each profile with only the changes of `env_production`.

use ostler_core::app::EnvMap;
use ostler_core::message;

use crate::service::{Service, is_secret};
use crate::yaml::{Dialect, Map, Yaml, documents};
use crate::{Notice, Plan, container, names};

use super::{Style, is_key, object, pod, sum_of, text, variables};

type Files = Vec<(String, String)>;

/// Returns the files, and the next commands for the user.
pub(super) fn files(plan: &Plan<'_>, notices: &mut Vec<Notice>) -> (Files, Vec<String>) {
    let mut files: Files = plan
        .services
        .iter()
        .map(|service| (format!("k8s/base/{}.yaml", service.name), text(plan, service, Style::Plain, notices)))
        .collect();
    let mut base = kustomization();
    base.put("resources", plan.services.iter().map(|service| Yaml::from(format!("{}.yaml", service.name))).collect::<Vec<_>>());
    if !plan.images.is_empty() {
        base.comment("`kustomize edit set image` changes the tag here.");
        let image = |image: &crate::image::Image| Yaml::from(Map::new().with("name", &image.name).with("newTag", plan.options.tag()));
        base.put("images", plan.images.iter().map(image).collect::<Vec<_>>());
    }
    files.insert(0, ("k8s/base/kustomization.yaml".into(), base.text(Dialect::Plain)));
    let profiles = profiles(plan);
    let mut next = vec!["kubectl apply -k k8s/base".to_owned()];
    for (profile, folder) in &profiles {
        let mut overlay = kustomization();
        overlay.put("resources", Yaml::words(["../../base"]));
        let mut patches = Vec::new();
        for service in &plan.services {
            let changes = patch(plan, service, profile, notices);
            if changes.is_empty() {
                continue;
            }
            patches.push(Yaml::from(Map::new().with("path", format!("{}.yaml", service.name))));
            files.push((format!("k8s/overlays/{folder}/{}.yaml", service.name), documents(&changes, Dialect::Plain)));
        }
        if !patches.is_empty() {
            overlay.put("patches", patches);
        }
        files.push((format!("k8s/overlays/{folder}/kustomization.yaml"), overlay.text(Dialect::Plain)));
        next.push(format!("kubectl apply -k k8s/overlays/{folder}"));
    }
    (files, next)
}

fn kustomization() -> Map {
    Map::new().with("apiVersion", "kustomize.config.k8s.io/v1beta1").with("kind", "Kustomization")
}

/// Returns the names of all profiles, and of their folders.
pub(super) fn profiles(plan: &Plan<'_>) -> Vec<(String, String)> {
    let mut all: Vec<&String> = plan.services.iter().flat_map(|service| service.spec.env.profiles.keys()).collect();
    all.sort();
    all.dedup();
    let folders = names::labels(all.iter().map(|name| name.as_str()));
    all.into_iter().cloned().zip(folders).collect()
}

/// Returns the variables of a profile that differ from the base, and the names of the secret ones.
pub(super) fn changes(plan: &Plan<'_>, service: &Service<'_>, profile: &str) -> (EnvMap, Vec<String>) {
    let (mut plain, mut secrets) = (EnvMap::new(), Vec::new());
    for (name, value) in service.spec.env.profiles.get(profile).into_iter().flatten().filter(|(name, _)| is_key(name)) {
        if is_secret(name, value) || service.secrets.contains(name) {
            secrets.push(name.clone());
            continue;
        }
        let value = container::in_image(plan.project, value);
        if service.env.get(name).map(|own| container::in_image(plan.project, own)).as_ref() != Some(&value) {
            plain.insert(name.clone(), value);
        }
    }
    (plain, secrets)
}

/// Returns the port that a profile sets.
pub(super) fn port(service: &Service<'_>, changes: &EnvMap) -> Option<u16> {
    let port = changes.get("PORT")?.trim().parse().ok().filter(|port| *port > 0)?;
    // Declared sockets are opened at their own ports, independently of the variable.
    (service.spec.listen.is_empty() && service.port.is_some()).then_some(port)
}

fn patch(plan: &Plan<'_>, service: &Service<'_>, profile: &str, notices: &mut Vec<Notice>) -> Vec<Map> {
    let (plain, secrets) = changes(plan, service, profile);
    let secrets: Vec<&String> = secrets.iter().filter(|name| !service.secrets.contains(name)).collect();
    let mut all = Vec::new();
    let base = variables(plan, service);
    if !plain.is_empty() {
        if base.is_empty() {
            let why =
                message!("env_{profile} has variables and env has none: add one to env, so that there is a ConfigMap to change", profile);
            notices.push(Notice::new(service.spec.name.as_str(), "env", why));
            return all;
        }
        let mut data = Map::new();
        for (name, value) in &plain {
            data.put(name, value);
        }
        all.push(object("v1", "ConfigMap", &service.name).with("data", data));
    }
    if plain.is_empty() && secrets.is_empty() {
        return all;
    }
    let mut merged: EnvMap = base.into_iter().collect();
    merged.extend(plain.iter().map(|(name, value)| (name.clone(), value.clone())));
    let merged: Vec<(String, String)> = merged.into_iter().collect();
    let annotations = Map::new().with("checksum/config", sum_of(&merged));
    let mut template = Map::new().with("metadata", Map::new().with("annotations", annotations));
    let mut container = Map::new().with("name", &service.name);
    if !secrets.is_empty() {
        container.put("env", secrets.iter().map(|name| pod::secret(service, name)).collect::<Vec<_>>());
    }
    if let Some(port) = port(service, &plain) {
        let entry = Map::new().with("name", "http").with("containerPort", port);
        container.comment("Other objects refer to the port by name, so change only this number.");
        container.put("ports", vec![entry.into(), Map::new().with("$patch", "replace").into()]);
    }
    if container.len() > 1 {
        template.put("spec", Map::new().with("containers", vec![Yaml::from(container)]));
    }
    let spec = Map::new().with("template", template);
    all.push(match service.kind {
        crate::service::Lifecycle::Server if super::has_data(service) => object("apps/v1", "StatefulSet", &service.name).with("spec", spec),
        crate::service::Lifecycle::Server => object("apps/v1", "Deployment", &service.name).with("spec", spec),
        crate::service::Lifecycle::Once => object("batch/v1", "Job", &service.name).with("spec", spec),
        crate::service::Lifecycle::Job => {
            object("batch/v1", "CronJob", &service.name).with("spec", Map::new().with("jobTemplate", Map::new().with("spec", spec)))
        }
    });
    all
}
