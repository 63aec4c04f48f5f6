//! Workloads: Deployments, StatefulSets, Jobs; their number, and the minimum.

use crate::Plan;
use crate::service::{Replicas, Service};
use crate::yaml::{Map, Yaml};

use super::{Style, has_data, object, pod, probes, selector};

/// Returns a Deployment, or a StatefulSet for a service with data.
pub(super) fn server(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Map {
    if has_data(service) {
        return stateful(plan, service, style);
    }
    let spec = service.spec;
    let mut map = Map::new();
    if matches!(service.replicas, Replicas::Range(_)) {
        map.comment("No replicas: the HorizontalPodAutoscaler sets them, and each apply would reset them.");
    } else {
        map.put("replicas", style.value(service.count(), "{{ $app.replicas }}"));
    }
    map.put("selector", Map::new().with("matchLabels", selector(service)));
    let mut rolling = Map::new();
    rolling.comment("Never fewer than replicas: a new pod must be ready before an old one is stopped.");
    rolling.put("maxUnavailable", 0_u32).put("maxSurge", spec.rollout.batch.unwrap_or(1));
    map.put("strategy", Map::new().with("type", "RollingUpdate").with("rollingUpdate", rolling));
    if let Some(canary) = spec.rollout.canary_ms {
        map.comment("canary: a new pod must be ready for this long before the next one follows.");
        map.put("minReadySeconds", probes::seconds(canary));
    }
    map.put("template", pod::template(plan, service, style));
    object("apps/v1", "Deployment", &service.name).with("spec", map)
}

fn stateful(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Map {
    let mut map = Map::new().with("serviceName", &service.name).with("replicas", u32::from(service.is_started()));
    map.put("selector", Map::new().with("matchLabels", selector(service)));
    map.put("template", pod::template(plan, service, style));
    let mut requests = Map::new();
    requests.comment("Choose the size: the ecosystem file does not specify it.").put("storage", "10Gi");
    let claim = Map::new().with("accessModes", Yaml::words(["ReadWriteOnce"])).with("resources", Map::new().with("requests", requests));
    let claims = Map::new().with("metadata", Map::new().with("name", "data")).with("spec", claim);
    map.put("volumeClaimTemplates", vec![claims.into()]);
    object("apps/v1", "StatefulSet", &service.name).with("spec", map)
}

/// Returns a Job for an app that runs once (`autorestart: false`).
pub(super) fn job(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Map {
    let mut map = Map::new();
    map.comment("A Job cannot be changed: it is deleted one hour after it ends, or with `kubectl delete job`.");
    map.put("ttlSecondsAfterFinished", 3600_u32).put("backoffLimit", 0_u32);
    if !service.is_started() {
        map.put("suspend", true);
    }
    map.put("template", pod::template(plan, service, style));
    object("batch/v1", "Job", &service.name).with("spec", map)
}

/// Returns the autoscaler that sets the number of pods by the load.
pub(super) fn autoscaler(service: &Service<'_>) -> Option<Map> {
    let Replicas::Range(range) = &service.replicas else { return None };
    let target = Map::new().with("apiVersion", "apps/v1").with("kind", "Deployment").with("name", &service.name);
    let mut map = Map::new().with("scaleTargetRef", target).with("minReplicas", range.min.max(1)).with("maxReplicas", range.max);
    let mut cpu = Map::new();
    match service.cpu_request() {
        Some(request) => {
            cpu.comment(format!("Percent of the request: adds pods if they use more than {}m each.", grows_above(request, range.cpu)));
            cpu.put("type", "Utilization").put("averageUtilization", range.cpu);
        }
        None => {
            cpu.comment(format!(
                "{} percent of one core: without a request (export.requests.cpu, cpu_quota), a percentage has no base.",
                range.cpu
            ));
            cpu.put("type", "AverageValue").put("averageValue", format!("{}m", u64::from(range.cpu) * 10));
        }
    }
    let metric = Map::new().with("type", "Resource").with("resource", Map::new().with("name", "cpu").with("target", cpu));
    map.put("metrics", vec![metric.into()]);
    Some(object("autoscaling/v2", "HorizontalPodAutoscaler", &service.name).with("spec", map))
}

/// Returns the use above which pods are added, in thousandths of a core.
pub(super) fn grows_above(request_percent: u32, target_percent: u32) -> u64 {
    u64::from(request_percent) * u64::from(target_percent) / 10
}

/// Returns the limit for draining nodes, if there is more than one pod.
pub(super) fn disruption_budget(service: &Service<'_>) -> Option<Map> {
    let is_several = service.count() > 1 || matches!(&service.replicas, Replicas::Range(range) if range.max > 1);
    if !is_several || has_data(service) {
        return None;
    }
    let map = Map::new().with("maxUnavailable", 1_u32).with("selector", Map::new().with("matchLabels", selector(service)));
    Some(object("policy/v1", "PodDisruptionBudget", &service.name).with("spec", map))
}
