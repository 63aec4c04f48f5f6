//! Kubernetes: an app is a Deployment with one process per container, a job is a CronJob, an app
//! that runs once is a Job, a database is a StatefulSet.
//!
//! The same objects are written in three forms: plain files, a base with overlays, and templates of
//! a chart, whose variable parts are in its values.

mod cron;
mod helm;
mod kustomize;
mod network;
mod pod;
mod probes;
mod workload;

use ostler_core::message;

use crate::base::Base;
use crate::service::{Lifecycle, Replicas, Service};
use crate::yaml::{Dialect, Map, Yaml, documents};
use crate::{ManifestForm, Notice, Plan, container, names};

type Files = Vec<(String, String)>;

/// Returns the files of `export kubernetes`, and the next commands for the user.
pub(crate) fn files(plan: &mut Plan<'_>) -> (Files, Vec<String>) {
    let mut notices = Vec::new();
    for service in &plan.services {
        report(service, &mut notices);
    }
    let (files, mut next) = match plan.options.form {
        ManifestForm::Plain => {
            let files =
                plan.services.iter().map(|service| (format!("k8s/{}.yaml", service.name), text(plan, service, Style::Plain, &mut notices)));
            (files.collect(), vec!["kubectl apply -f k8s/".to_owned()])
        }
        ManifestForm::Kustomize => kustomize::files(plan, &mut notices),
        ManifestForm::Helm => helm::files(plan, &mut notices),
    };
    for service in &plan.services {
        next.splice(0..0, secrets_to_make(plan, service));
    }
    plan.notices.append(&mut notices);
    (files, next)
}

/// Form of the values that a user may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As plain values.
    Plain,
    /// From the values of a chart.
    Helm,
}

impl Style {
    fn dialect(self) -> Dialect {
        match self {
            Self::Plain => Dialect::Plain,
            Self::Helm => Dialect::Helm,
        }
    }

    /// Returns the value, or the expression for it in a chart.
    fn value(self, plain: impl Into<Yaml>, expression: &str) -> Yaml {
        match self {
            Self::Plain => plain.into(),
            Self::Helm => Yaml::Verbatim(expression.to_owned()),
        }
    }
}

/// Returns all objects of a service as one text.
fn text(plan: &Plan<'_>, service: &Service<'_>, style: Style, notices: &mut Vec<Notice>) -> String {
    documents(&objects(plan, service, style, notices), style.dialect())
}

/// Returns all objects of a service, in the order in which they are needed.
fn objects(plan: &Plan<'_>, service: &Service<'_>, style: Style, notices: &mut Vec<Notice>) -> Vec<Map> {
    let mut all = Vec::new();
    all.extend(config_map(plan, service, style, notices));
    match service.kind {
        Lifecycle::Job => all.extend(cron::job(plan, service, style, notices)),
        Lifecycle::Once => all.push(workload::job(plan, service, style)),
        Lifecycle::Server => {
            all.push(workload::server(plan, service, style));
            all.extend(network::service(service, style));
            all.extend(network::ingress(plan, service, style));
            all.extend(workload::autoscaler(service));
            all.extend(workload::disruption_budget(service));
            all.extend(cron::restarts(plan, service, style, notices));
        }
    }
    if plan.options.network_policy {
        all.extend(network::policy(plan, service, style));
    }
    for object in &mut all {
        label(plan, service, object);
    }
    all
}

/// Reports differences of Kubernetes that the table does not cover.
fn report(service: &Service<'_>, notices: &mut Vec<Notice>) {
    let mut report = |key: &str, why: String| notices.push(Notice::new(service.spec.name.as_str(), key, why));
    if service.replicas == Replicas::PerCpu && service.kind == Lifecycle::Server {
        report("instances", message!("one per CPU depends on the machine: 2 are set, change the number"));
    }
    if let (Replicas::Range(range), Some(limit)) = (&service.replicas, service.cpu_percent())
        && let grows_above = workload::grows_above(service.cpu_request().unwrap_or(100), range.cpu)
        && grows_above >= u64::from(limit) * 10
    {
        let why = message!(
            "it never scales up: cpu_quota limits each pod to {limit}m of CPU, and it scales up above {grows_above}m; lower `cpu` or \
             export.requests.cpu",
            limit = u64::from(limit) * 10,
            grows_above
        );
        report("instances", why);
    }
    if let Some(cron) = service.cron() {
        if cron.zone.is_none() {
            report("timezone", message!("without it, schedules follow the clock of the cluster, often UTC"));
        }
        if cron.overlap == ostler_core::cron::Overlap::Queue {
            report("overlap", message!("Kubernetes cannot queue runs: an overlapping run is skipped"));
        }
    }
    for name in service.env.keys().chain(&service.secrets).filter(|name| !is_key(name)) {
        report("env", message!("{name} is not a valid name in Kubernetes: it is skipped", name = format!("{name:?}")));
    }
}

/// Returns true for a key of a ConfigMap or Secret that is also a valid name of a variable.
pub(super) fn is_key(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !name.is_empty()
        && name.len() <= 253
        && name.chars().all(good)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !matches!(name, "." | "..")
}

/// Returns the labels by which an object is found.
fn labels(plan: &Plan<'_>, service: &Service<'_>) -> Map {
    let namespace = &service.spec.namespace;
    let part = if namespace == "default" { names::label(&plan.project.name) } else { names::label_value(namespace) };
    selector(service).with("app.kubernetes.io/part-of", part)
}

/// Returns the labels of pods by which other objects find them; they never change.
fn selector(service: &Service<'_>) -> Map {
    Map::new().with("app.kubernetes.io/name", &service.name)
}

/// Returns an object without labels: they are the same for all and are added at the end.
pub(super) fn object(version: &str, kind: &str, name: &str) -> Map {
    Map::new().with("apiVersion", version).with("kind", kind).with("metadata", Map::new().with("name", name))
}

fn label(plan: &Plan<'_>, service: &Service<'_>, object: &mut Map) {
    object.enter("metadata", |metadata| {
        metadata.put("labels", labels(plan, service));
    });
}

/// Returns the variables that are not secret, as they are in the image.
fn variables(plan: &Plan<'_>, service: &Service<'_>) -> Vec<(String, String)> {
    let in_image = |value: &String| container::in_image(plan.project, value);
    service.env.iter().filter(|(name, _)| is_key(name)).map(|(name, value)| (name.clone(), in_image(value))).collect()
}

fn config_map(plan: &Plan<'_>, service: &Service<'_>, style: Style, _: &mut [Notice]) -> Option<Map> {
    let all = variables(plan, service);
    if all.is_empty() && style == Style::Plain {
        return None;
    }
    let mut data = Map::new();
    match style {
        Style::Plain => {
            for (name, value) in &all {
                data.put(name, value);
            }
        }
        Style::Helm => {
            data.verbatim("{{- range $name, $value := $app.env }}");
            data.verbatim("{{ $name | toJson }}: {{ $value | toString | toJson }}");
            data.verbatim("{{- end }}");
        }
    }
    Some(object("v1", "ConfigMap", &service.name).with("data", data))
}

/// Returns a checksum of the variables. It is part of the pods, so new values create new pods.
pub(super) fn sum_of(variables: &[(String, String)]) -> String {
    let text: String = variables.iter().map(|(name, value)| format!("{}:{name}={}:{value};", name.len(), value.len())).collect();
    let stamped = crate::stamped("sum", &text);
    // The line contains the checksum.
    stamped.split_once("(sum ").and_then(|(_, rest)| rest.split_once(')')).map(|(sum, _)| sum.to_owned()).unwrap_or_default()
}

/// Returns the command lines that create the secrets of the objects.
fn secrets_to_make(plan: &Plan<'_>, service: &Service<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let mut keys: Vec<String> = service.secrets.iter().filter(|name| is_key(name)).map(|name| format!("--from-literal={name}=…")).collect();
    keys.extend(pod::missing_password(service).map(|name| format!("--from-literal={name}=…")));
    if !keys.is_empty() {
        all.push(format!("kubectl create secret generic {}-secrets {}", service.name, keys.join(" ")));
    }
    if !service.env_files.is_empty() {
        let context = plan.options.context().trim_end_matches('/');
        let files: Vec<String> =
            service.env_files.iter().map(|path| format!("--from-env-file={}", crate::quote::sh(&format!("{context}/{path}")))).collect();
        all.push(format!("kubectl create secret generic {}-env {}", service.name, files.join(" ")));
    }
    all
}

/// Returns true for a service with data on a separate disk.
fn has_data(service: &Service<'_>) -> bool {
    matches!(service.base, Base::Official(official) if official.data.is_some())
}
