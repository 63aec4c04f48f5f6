//! Pods: one container with its permissions and settings.

use crate::base::Base;
use crate::dockerfile::USER;
use crate::service::{Lifecycle, Service};
use crate::yaml::{Map, Yaml};
use crate::{Plan, container};

use super::network::ports_of;
use super::probes::seconds;
use super::{Style, has_data, is_key, labels, probes, selector, sum_of, variables};

/// Seconds for which a stopping pod still serves, until it gets no new requests.
const DRAIN_SECONDS: u64 = 5;

/// Returns the template of pods.
pub(super) fn template(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Map {
    let mut metadata = Map::new().with("labels", labels(plan, service));
    let all = variables(plan, service);
    if style == Style::Helm || !all.is_empty() {
        let mut annotations = Map::new();
        annotations.comment("Changed variables create new pods.");
        annotations.put("checksum/config", style.value(sum_of(&all), "{{ $app.env | toJson | sha256sum | toJson }}"));
        metadata.put("annotations", annotations);
    }
    let mut spec = Map::new();
    if let Some(timeout) = service.cron().and_then(|cron| cron.job.as_ref()?.timeout_ms) {
        spec.comment("Time limit of each attempt.").put("activeDeadlineSeconds", seconds(timeout));
    }
    if service.kind != Lifecycle::Server {
        spec.put("restartPolicy", "Never");
    }
    if !service.has_official_image() {
        spec.comment("No app needs the cluster API.").put("automountServiceAccountToken", false);
        let profile = Map::new().with("type", "RuntimeDefault");
        let mut security = Map::new().with("runAsNonRoot", true).with("runAsUser", USER).with("runAsGroup", USER).with("fsGroup", USER);
        security.put("seccompProfile", profile);
        spec.put("securityContext", security);
    }
    if service.kind == Lifecycle::Server && !service.has_official_image() {
        spec.comment("preStop, then the app's own grace period (kill_timeout), drain and hooks.");
        spec.put("terminationGracePeriodSeconds", i64::try_from(DRAIN_SECONDS + service.grace_seconds()).unwrap_or(60));
        let mut spread = Map::new();
        spread.comment("Spread the pods over several nodes.");
        spread.put("maxSkew", 1_u32).put("topologyKey", "kubernetes.io/hostname").put("whenUnsatisfiable", "ScheduleAnyway");
        spread.put("labelSelector", Map::new().with("matchLabels", selector(service)));
        spec.put("topologySpreadConstraints", vec![spread.into()]);
    }
    spec.put("containers", vec![of_container(plan, service, style).into()]);
    if !service.has_official_image() {
        let volume = Map::new().with("name", own_tmp(service)).with("emptyDir", Map::new());
        spec.put("volumes", vec![volume.into()]);
    }
    Map::new().with("metadata", metadata).with("spec", spec)
}

/// Returns the name of the volume of `/tmp`, cut to a DNS label. It contains the name of the app,
/// because podman shares one volume among all pods that use the same name.
fn own_tmp(service: &Service<'_>) -> String {
    const MOST: usize = 63 - "-tmp".len();
    let name: String = service.name.chars().take(MOST).collect();
    format!("{}-tmp", name.trim_end_matches('-'))
}

fn of_container(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Map {
    let mut map = Map::new().with("name", &service.name);
    map.put("image", style.value(plan.image_name(service), "{{ printf \"%s:%v\" $app.image.repository $app.image.tag | toJson }}"));
    match (service.has_official_image(), service.kind) {
        (true, _) => {
            let words = service.command(plan.project);
            if words.len() > 1 {
                map.put("args", command(words.iter().skip(1)));
            }
        }
        (false, Lifecycle::Server) => {
            map.put("command", command(["ostler", "runtime", container::FILE, "--only", &service.name]));
        }
        (false, _) => {
            map.comment("Nothing to supervise: the job exits by itself, and Kubernetes schedules it.");
            map.put("command", command(service.command(plan.project)));
            map.put("workingDir", service.workdir(plan.project));
        }
    }
    if service.kind == Lifecycle::Server {
        ports(service, style, &mut map);
    }
    environment(service, style, &mut map);
    resources(service, style, &mut map);
    if service.kind == Lifecycle::Server {
        probes::put(service, &mut map);
    }
    if !service.has_official_image() {
        if service.kind == Lifecycle::Server {
            let sleep = Map::new().with("command", Yaml::words(["sleep", &DRAIN_SECONDS.to_string()]));
            let mut lifecycle = Map::new();
            lifecycle.comment("Keep serving while Kubernetes removes the pod from its endpoints.");
            lifecycle.put("preStop", Map::new().with("exec", sleep));
            map.put("lifecycle", lifecycle);
        }
        let mut security = Map::new().with("allowPrivilegeEscalation", false);
        let kept = crate::sandbox::kept_capabilities(service.spec);
        let mut capabilities = Map::new().with("drop", Yaml::words(["ALL"]));
        if !kept.is_empty() {
            capabilities.put("add", Yaml::words(kept));
        }
        security.put("capabilities", capabilities);
        if crate::sandbox::is_read_only(service.spec) {
            security.put("readOnlyRootFilesystem", true);
        } else {
            security.comment("Add `readOnlyRootFilesystem: true` if the app writes only to /tmp.");
        }
        map.put("securityContext", security);
    }
    let mut mounts = Vec::new();
    if !service.has_official_image() {
        mounts.push(Map::new().with("name", own_tmp(service)).with("mountPath", "/tmp").into());
    }
    if let (true, Base::Official(official)) = (has_data(service), &service.base) {
        mounts.push(Map::new().with("name", "data").with("mountPath", official.data.unwrap_or("/data")).into());
    }
    if !mounts.is_empty() {
        map.put("volumeMounts", mounts);
    }
    map
}

/// Returns the words of a command in which Kubernetes replaces nothing.
fn command<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Yaml {
    Yaml::words(words.into_iter().map(|word| unexpanded(word.as_ref())))
}

/// Escapes a text so that Kubernetes keeps it: Kubernetes replaces `$(NAME)`, and turns two dollar
/// signs into one.
fn unexpanded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '(')) {
            out.push('$');
        }
    }
    out
}

fn ports(service: &Service<'_>, style: Style, map: &mut Map) {
    let port = |(at, (name, port)): (usize, (String, u16))| {
        let value = if at == 0 { style.value(port, "{{ $app.port }}") } else { port.into() };
        Yaml::from(Map::new().with("name", name).with("containerPort", value))
    };
    let all: Vec<Yaml> = ports_of(service).into_iter().enumerate().map(port).collect();
    if !all.is_empty() {
        map.put("ports", all);
    }
}

/// Returns the variable that an official image needs to start, unless the app has it.
pub(super) fn missing_password(service: &Service<'_>) -> Option<&'static str> {
    match &service.base {
        Base::Official(official) => official.password.filter(|name| !service.secrets.iter().any(|own| own == name)),
        _ => None,
    }
}

/// Returns a variable whose value is in the Secret of the app.
pub(super) fn secret(service: &Service<'_>, name: &str) -> Yaml {
    let reference = Map::new().with("name", format!("{}-secrets", service.name)).with("key", name);
    Map::new().with("name", name).with("valueFrom", Map::new().with("secretKeyRef", reference)).into()
}

fn environment(service: &Service<'_>, style: Style, map: &mut Map) {
    let mut from = Vec::new();
    if !service.env_files.is_empty() {
        let reference = Map::new().with("name", format!("{}-env", service.name));
        from.push(Map::new().with("secretRef", reference).into());
    }
    if style == Style::Helm || service.env.keys().any(|name| is_key(name)) {
        from.push(Map::new().with("configMapRef", Map::new().with("name", &service.name)).into());
    }
    if !from.is_empty() {
        map.put("envFrom", from);
    }
    let names = service.secrets.iter().map(String::as_str).filter(|name| is_key(name)).chain(missing_password(service));
    let secrets: Vec<Yaml> = names.map(|name| secret(service, name)).collect();
    if !secrets.is_empty() {
        map.put("env", secrets);
    }
}

/// Returns the requests and limits that the app sets. Invented values would be wrong.
pub(super) fn resources_of(service: &Service<'_>) -> Map {
    let cores = |percent: u32| format!("{}m", u64::from(percent) * 10);
    let mut requests = Map::new();
    requests.put_some("cpu", service.cpu_request().map(cores));
    requests.put_some("memory", service.memory_request().map(quantity));
    let mut limits = Map::new();
    limits.put_some("cpu", service.cpu_percent().map(cores));
    if service.hard_memory().is_none() && service.soft_memory().is_some() {
        limits.comment("A quarter above max_memory_restart: ostler restarts the app before it is killed.");
    }
    limits.put_some("memory", service.memory_limit().map(quantity));
    let mut all = Map::new();
    all.put_filled("requests", requests).put_filled("limits", limits);
    all
}

fn resources(service: &Service<'_>, style: Style, map: &mut Map) {
    match style {
        Style::Plain => {
            let all = resources_of(service);
            if all.is_empty() {
                map.comment("No resources: the ecosystem file has no memory_max, max_memory_restart, cpu_quota or export.requests.");
            }
            map.put_filled("resources", all);
        }
        Style::Helm => {
            map.put("resources", Yaml::Verbatim("{{ $app.resources | default dict | toJson }}".into()));
        }
    }
}

/// Returns bytes in the largest binary unit with a whole number.
fn quantity(bytes: u64) -> String {
    for (unit, size) in [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expands a text as Kubernetes documents it for `command` and `args`, with every variable set
    /// to `!`.
    fn expanded(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((_, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                out.push('!');
                rest = after;
            } else {
                out.push('$');
            }
        }
        out + rest
    }

    proptest! {
        #[test]
        fn kubernetes_expansion_restores_escaped_text(text in "[$()a]{0,12}") {
            prop_assert_eq!(expanded(&unexpanded(&text)), text);
        }
    }
}
