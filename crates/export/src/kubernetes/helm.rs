//! A chart: the same objects as templates; image, number, variables, port, limits and host are
//! values.
//!
//! Names have no release prefix, because apps call each other by the same names everywhere. A
//! namespace can have one release.

use crate::base::Base;
use crate::service::{Replicas, Service};
use crate::yaml::{Dialect, Map, quoted};
use crate::{Notice, Plan, names};

use super::{Style, kustomize, network, pod, text, variables};

type Files = Vec<(String, String)>;

/// Returns the files, and the next commands for the user.
pub(super) fn files(plan: &Plan<'_>, notices: &mut Vec<Notice>) -> (Files, Vec<String>) {
    let chart = names::label(&plan.project.name);
    let folder = format!("helm/{chart}");
    let mut about = Map::new().with("apiVersion", "v2").with("name", &chart).with("type", "application");
    about.put("description", format!("{} apps of an ecosystem file", plan.services.len()));
    about.comment("Version of the chart; raise it with each change of its templates.").put("version", "0.1.0");
    about.put("appVersion", plan.options.tag());
    let mut values = Map::new();
    for service in &plan.services {
        values.put(&service.name, of(plan, service));
    }
    let mut files =
        vec![(format!("{folder}/Chart.yaml"), about.text(Dialect::Plain)), (format!("{folder}/values.yaml"), values.text(Dialect::Plain))];
    let mut next = vec![format!("helm upgrade --install {chart} {folder} --atomic --wait")];
    for (profile, word) in kustomize::profiles(plan) {
        let mut all = Map::new();
        for service in &plan.services {
            let (plain, _) = kustomize::changes(plan, service, &profile);
            let mut own = Map::new();
            own.put_some("port", kustomize::port(service, &plain));
            let mut env = Map::new();
            for (name, value) in &plain {
                env.put(name, value);
            }
            own.put_filled("env", env);
            all.put_filled(&service.name, own);
        }
        files.push((format!("{folder}/values-{word}.yaml"), if all.is_empty() { "{}\n".to_owned() } else { all.text(Dialect::Plain) }));
        next.push(format!("helm upgrade --install {chart} {folder} -f {folder}/values-{word}.yaml --atomic --wait"));
    }
    for service in &plan.services {
        let begin = format!("{{{{- $app := index .Values {} }}}}\n", quoted(&service.name, Dialect::Plain));
        files.push((format!("{folder}/templates/{}.yaml", service.name), begin + &text(plan, service, Style::Helm, notices)));
    }
    (files, next)
}

fn of(plan: &Plan<'_>, service: &Service<'_>) -> Map {
    let mut map = Map::new();
    let (repository, tag) = match (&service.base, plan.image_of(service)) {
        (Base::Official(official), _) => official.image.split_once(':').unwrap_or((official.image, "latest")),
        (_, image) => (image.map_or("", |image| image.name.as_str()), plan.options.tag()),
    };
    map.put("image", Map::new().with("repository", repository).with("tag", tag));
    if service.kind == crate::service::Lifecycle::Server && !matches!(service.replicas, Replicas::Range(_)) {
        map.put("replicas", service.count());
    }
    if let Some(port) = network::ports_of(service).first().map(|(_, port)| *port) {
        map.put("port", port);
    }
    map.put_some("host", network::host_of(plan, service));
    let mut env = Map::new();
    for (name, value) in variables(plan, service) {
        env.put(name, value);
    }
    map.put("env", env);
    map.put("resources", pod::resources_of(service));
    map
}
