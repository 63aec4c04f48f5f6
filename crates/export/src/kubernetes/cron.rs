//! Schedules: jobs, and restarts of rollouts.

use ostler_core::cron::{CronSpec, Overlap};
use ostler_core::message;
use ostler_core::text::language::translated;

use crate::cron::Fields;
use crate::service::Service;
use crate::yaml::{Map, Yaml};
use crate::{Notice, Plan};

use super::{Style, object, pod};

/// Image that restarts a rollout.
const KUBECTL: &str = "registry.k8s.io/kubectl:v1.33.0";
/// A run that is later than this is skipped, unless missed runs are started late.
const LATE_SECONDS: u32 = 60;

/// Returns the CronJob of a job.
pub(super) fn job(plan: &Plan<'_>, service: &Service<'_>, style: Style, notices: &mut Vec<Notice>) -> Option<Map> {
    let cron = service.cron()?;
    let mut map = schedule(service, cron, "job", notices)?;
    let job = cron.job.clone().unwrap_or_default();
    map.put("concurrencyPolicy", if cron.overlap == Overlap::Kill { "Replace" } else { "Forbid" });
    if cron.catch_up {
        map.comment("catch_up: without a deadline, missed runs are started later.");
    } else {
        map.put("startingDeadlineSeconds", LATE_SECONDS);
    }
    map.put("successfulJobsHistoryLimit", job.history).put("failedJobsHistoryLimit", job.history);
    if !service.is_started() {
        map.put("suspend", true);
    }
    let mut of_job = Map::new().with("backoffLimit", job.retries);
    of_job.put("template", pod::template(plan, service, style));
    map.put("jobTemplate", Map::new().with("spec", of_job));
    Some(object("batch/v1", "CronJob", &service.name).with("spec", map))
}

fn schedule(service: &Service<'_>, cron: &CronSpec, key: &str, notices: &mut Vec<Notice>) -> Option<Map> {
    match Fields::parse(&cron.pattern).and_then(|fields| fields.five()) {
        Ok(pattern) => {
            let mut map = Map::new().with("schedule", pattern);
            map.put_some("timeZone", cron.zone.as_ref());
            Some(map)
        }
        Err(why) => {
            let why =
                message!("{pattern} cannot be a CronJob: {reason}", pattern = format!("{:?}", cron.pattern), reason = translated(why));
            notices.push(Notice::new(service.spec.name.as_str(), key, why));
            None
        }
    }
}

/// Returns the objects for `cron_restart`. A pod with only this permission restarts the rollout at
/// the scheduled times, one pod after the other.
pub(super) fn restarts(_: &Plan<'_>, service: &Service<'_>, _: Style, notices: &mut Vec<Notice>) -> Vec<Map> {
    let Some(cron) = service.cron().filter(|_| !service.spec.is_job()) else { return Vec::new() };
    let Some(mut map) = schedule(service, cron, "cron_restart", notices) else { return Vec::new() };
    let name = format!("{}-restart", service.name);
    map.put("concurrencyPolicy", "Forbid").put("startingDeadlineSeconds", LATE_SECONDS).put("successfulJobsHistoryLimit", 1_u32);
    let mut container = Map::new().with("name", "restart").with("image", KUBECTL);
    container.put("command", Yaml::words(["kubectl", "rollout", "restart", &format!("deployment/{}", service.name)]));
    let mut security = Map::new().with("allowPrivilegeEscalation", false);
    security.put("capabilities", Map::new().with("drop", Yaml::words(["ALL"]))).put("readOnlyRootFilesystem", true);
    container.put("securityContext", security);
    let mut spec = Map::new().with("serviceAccountName", &name).with("restartPolicy", "Never");
    let profile = Map::new().with("type", "RuntimeDefault");
    spec.put("securityContext", Map::new().with("runAsNonRoot", true).with("runAsUser", 65_532_u32).with("seccompProfile", profile));
    spec.put("containers", vec![container.into()]);
    let template = Map::new().with("backoffLimit", 0_u32).with("template", Map::new().with("spec", spec));
    map.put("jobTemplate", Map::new().with("spec", template));
    let rule = Map::new()
        .with("apiGroups", Yaml::words(["apps"]))
        .with("resources", Yaml::words(["deployments"]))
        .with("resourceNames", Yaml::words([&service.name]))
        .with("verbs", Yaml::words(["get", "patch"]));
    let role = object("rbac.authorization.k8s.io/v1", "Role", &name).with("rules", vec![Yaml::from(rule)]);
    let reference = Map::new().with("apiGroup", "rbac.authorization.k8s.io").with("kind", "Role").with("name", &name);
    let subject = Map::new().with("kind", "ServiceAccount").with("name", &name);
    let binding =
        object("rbac.authorization.k8s.io/v1", "RoleBinding", &name).with("roleRef", reference).with("subjects", vec![Yaml::from(subject)]);
    vec![object("v1", "ServiceAccount", &name), role, binding, object("batch/v1", "CronJob", &name).with("spec", map)]
}
