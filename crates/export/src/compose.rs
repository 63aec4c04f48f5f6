//! Compose: one service per app, complete for `docker stack deploy` in the form for a swarm.
//!
//! A port of a host belongs to one container. If the instances of an app share a port (a cluster,
//! `listen`), they therefore run in one container, where ostler shares the port among them. Any
//! other app gets one container per instance, each with a separate port of the host. In a swarm,
//! whose network spreads connections, each container runs one process.

use std::collections::BTreeSet;

use ostler_core::app::RestartBudget;
use ostler_core::health::CheckPhase;
use ostler_core::lifecycle::order::Condition;
use ostler_core::message;
use ostler_core::serving::AutoscaleSettings;
use serde_json::Value;

use crate::base::Base;
use crate::service::{Lifecycle, Replicas, Service};
use crate::yaml::{Dialect, Map, Yaml};
use crate::{Plan, container, dockerfile};

/// Default time between two health checks.
const INTERVAL_MS: u64 = 10_000;

/// Returns the files of `export compose`, and the next commands for the user.
pub(crate) fn files(plan: &mut Plan<'_>) -> (Vec<(String, String)>, Vec<String>) {
    let swarm = plan.options.swarm;
    let with_secrets: Vec<&Service<'_>> = plan.services.iter().filter(|service| mounts_secrets(service, swarm)).collect();
    let config = if swarm { "ostler.stack.yaml" } else { "ostler.compose.yaml" };
    let override_text = plan.services.iter().any(|service| has_override(service, swarm)).then(|| {
        let ours: Vec<&Service<'_>> = plan.services.iter().filter(|service| !service.has_official_image()).collect();
        container::file(plan.project, &ours, |service| container::EngineAdditions {
            secrets: mounted(service, swarm),
            range: range_inside(service, swarm),
        })
        .text(Dialect::Plain)
    });
    let mut notices = Vec::new();
    let mut map = Map::new();
    if swarm {
        map.comment("`docker stack deploy` requires the version; Compose itself does not.").put("version", "3.8");
    } else {
        map.put("name", crate::names::label(&plan.project.name));
    }
    let mut services = Map::new();
    let mut taken = BTreeSet::new();
    for service in &plan.services {
        services.put(&service.name, of(plan, service, &mut taken, &mut notices));
    }
    map.put("services", services);
    let mut volumes = Map::new();
    for service in &plan.services {
        if let Base::Official(official) = &service.base
            && official.data.is_some()
        {
            volumes.put(format!("{}-data", service.name), Map::new());
        }
    }
    map.put_filled("volumes", volumes);
    let mut secrets = Map::new();
    for service in &with_secrets {
        for name in mounted(service, swarm) {
            let mut source = Map::new();
            if swarm {
                source.comment(format!("docker secret create {}_{} -", service.name, secret_name(name)));
                source.put("external", true);
            } else {
                match service.spec.secrets.get(name) {
                    Some(ostler_core::app::secrets::SecretSource::File(path)) => {
                        source.put("file", plan.project.inside(path).map_or_else(|| path.clone(), |inside| joined_context(plan, inside)));
                    }
                    _ => {
                        source.comment("From the environment of the Compose command, or from a .env file beside this file.");
                        source.put("environment", name);
                    }
                }
            }
            secrets.put(format!("{}_{}", service.name, secret_name(name)), source);
        }
    }
    map.put_filled("secrets", secrets);
    if override_text.is_some() {
        map.comment("The apps with the paths of their secrets and their ranges of instances: mounted over the file of the image.");
        map.put("configs", Map::new().with("ostler", Map::new().with("file", format!("./{config}"))));
    }
    plan.notices.append(&mut notices);
    let name = if swarm { "stack.yaml" } else { "compose.yaml" };
    let mut files = vec![(name.to_owned(), map.text(Dialect::Compose))];
    files.extend(override_text.map(|text| (config.to_owned(), text)));
    if plan.options.context() == "." {
        files.extend(dockerfile::of_images(plan));
    }
    let mut next: Vec<String> = dockerfile::ostler_in_context(plan).into_iter().collect();
    if swarm {
        next.extend(plan.images.iter().map(|image| {
            format!(
                "docker build -f {} -t {}:{} . && docker push {}:{}",
                image.dockerfile,
                image.name,
                plan.options.tag(),
                image.name,
                plan.options.tag()
            )
        }));
        next.push(format!("docker stack deploy -c stack.yaml {}", crate::names::label(&plan.project.name)));
    } else {
        next.push("docker compose up --build --wait".into());
    }
    (files, next)
}

/// Returns the secret variables that are files: in a swarm all, otherwise those that the app
/// declares as secrets.
fn mounted<'a>(service: &'a Service<'_>, swarm: bool) -> Vec<&'a String> {
    service.secrets.iter().filter(|name| swarm || service.spec.secrets.contains_key(*name)).collect()
}

fn mounts_secrets(service: &Service<'_>, swarm: bool) -> bool {
    !service.has_official_image() && !mounted(service, swarm).is_empty()
}

/// Returns true if it needs the file of apps that Compose mounts over that of the image.
fn has_override(service: &Service<'_>, swarm: bool) -> bool {
    mounts_secrets(service, swarm) || (!service.has_official_image() && range_inside(service, swarm).is_some())
}

/// Returns a name that Compose and Swarm accept.
fn secret_name(variable: &str) -> String {
    variable.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' }).collect()
}

fn joined_context(plan: &Plan<'_>, inside: &str) -> String {
    format!("{}/{inside}", plan.options.context().trim_end_matches('/'))
}

fn of(plan: &Plan<'_>, service: &Service<'_>, taken: &mut BTreeSet<u16>, notices: &mut Vec<crate::Notice>) -> Map {
    let swarm = plan.options.swarm;
    let spec = service.spec;
    let mut map = Map::new();
    map.put("image", plan.image_name(service));
    if let Some(image) = plan.image_of(service)
        && !swarm
    {
        let mut build = Map::new().with("context", plan.options.context());
        if image.dockerfile != "Dockerfile" {
            build.put("dockerfile", &image.dockerfile);
        }
        map.put("build", build);
    }
    if spec.namespace != "default" {
        map.put("labels", Map::new().with("ostler.namespace", &spec.namespace));
    }
    if !service.is_started() && !swarm {
        map.comment("Not started with the others: `docker compose --profile manual up`.").put("profiles", Yaml::words(["manual"]));
    }
    command(plan, service, &mut map, swarm);
    ports(service, &mut map, swarm, taken, notices);
    environment(plan, service, &mut map, swarm);
    if mounts_secrets(service, swarm) {
        let secret = |name: &String| {
            let source = format!("{}_{}", service.name, secret_name(name));
            let mut entry = Map::new().with("source", source);
            entry.put("target", format!("{}/{name}", container::SECRETS));
            if swarm {
                entry
                    .put("uid", dockerfile::USER.to_string())
                    .put("gid", dockerfile::USER.to_string())
                    .put("mode", Yaml::Verbatim("0400".into()));
            }
            Yaml::from(entry)
        };
        map.put("secrets", mounted(service, swarm).into_iter().map(secret).collect::<Vec<_>>());
    }
    if has_override(service, swarm) {
        let entry = Map::new().with("source", "ostler").with("target", format!("/app/{}", container::FILE));
        map.put("configs", vec![entry.into()]);
    }
    depends_on(plan, service, &mut map, swarm);
    health(service, &mut map);
    if !service.has_official_image() {
        map.put("stop_signal", "SIGTERM");
        map.put("stop_grace_period", format!("{}s", service.grace_seconds()));
        map.put("cap_drop", Yaml::words(["ALL"]));
        let kept = crate::sandbox::kept_capabilities(spec);
        if !kept.is_empty() {
            map.put("cap_add", Yaml::words(kept));
        }
        if crate::sandbox::is_read_only(spec) {
            map.put("read_only", true).put("tmpfs", Yaml::words(["/tmp"]));
            let notice = crate::sandbox::missing_volumes(spec);
            notices.extend(notice.map(|why| crate::Notice::new(spec.name.as_str(), "sandbox", why)));
        }
        if !swarm {
            map.put("security_opt", Yaml::words(["no-new-privileges:true"]));
        }
    } else if let Base::Official(official) = &service.base
        && let Some(path) = official.data
    {
        map.put("volumes", vec![Yaml::from(format!("{}-data:{path}", service.name))]);
    }
    if !spec.limits.rlimits.is_empty() {
        ulimits(service, &mut map, notices);
    }
    logging(service, &mut map);
    if !swarm {
        match service.kind {
            Lifecycle::Once => map.put("restart", "no"),
            _ if service.has_official_image() => map.put("restart", "unless-stopped"),
            _ => map.comment("ostler restarts the app; this restarts the container if ostler gives up.").put("restart", "unless-stopped"),
        };
    }
    map.put_filled("deploy", deploy(service, swarm));
    map
}

fn command(plan: &Plan<'_>, service: &Service<'_>, map: &mut Map, swarm: bool) {
    if service.has_official_image() {
        let words = service.command(plan.project);
        // Without other words, the image's own command runs.
        if words.len() > 1 {
            map.put("command", Yaml::words(words));
        }
        return;
    }
    let mut words: Vec<String> = ["ostler", "runtime", container::FILE, "--only", &service.name].map(str::to_owned).to_vec();
    if let Some(count) = instances_inside(service, swarm) {
        map.comment("All instances in one container: they share the port.");
        words.extend(["-i".into(), count]);
    } else if let Some(range) = range_inside(service, swarm) {
        let (min, max) = (range.min, range.max);
        map.comment(format!(
            "All instances in one container: they share the port. ostler runs {min} to {max} of them, depending on their load."
        ));
    } else if service.container_count() > 1 && !swarm {
        map.comment("One process per container, and several containers.");
    }
    if let Some(cron) = service.cron().filter(|_| service.kind != Lifecycle::Job) {
        words.extend(["--cron-restart".into(), cron.pattern.clone()]);
        if let Some(zone) = &cron.zone {
            words.extend(["--timezone".into(), zone.clone()]);
        }
    }
    map.put("command", Yaml::words(words));
}

/// Returns true if its instances can share the ports of one container, as they do outside a
/// container.
fn shares_a_container(service: &Service<'_>) -> bool {
    service.port.is_some() && service.spec.shares_its_ports()
}

/// Returns the instances that run in one container: `-i` of `runtime`.
fn instances_inside(service: &Service<'_>, swarm: bool) -> Option<String> {
    if swarm || !shares_a_container(service) {
        return None;
    }
    match &service.replicas {
        Replicas::Fixed(count) => (*count > 1).then(|| count.to_string()),
        Replicas::PerCpu => Some("max".into()),
        Replicas::Range(_) => None,
    }
}

/// Returns the range of instances that ostler keeps in one container, by their load.
fn range_inside<'a>(service: &'a Service<'_>, swarm: bool) -> Option<&'a AutoscaleSettings> {
    match &service.replicas {
        Replicas::Range(range) if !swarm && shares_a_container(service) => Some(range),
        _ => None,
    }
}

fn ports(service: &Service<'_>, map: &mut Map, swarm: bool, taken: &mut BTreeSet<u16>, notices: &mut Vec<crate::Notice>) {
    if service.has_official_image() && !matches!(service.base, Base::Official(official) if matches!(official.program, "nginx" | "caddy")) {
        if let Some(port) = service.port {
            map.comment("Reachable only by the other services.").put("expose", vec![Yaml::from(port.to_string())]);
        }
        return;
    }
    let all: Vec<u16> = if service.ports.is_empty() { service.port.into_iter().collect() } else { service.ports.clone() };
    if all.is_empty() {
        return;
    }
    let several = !swarm && !shares_a_container(service);
    let last = |port: u16| {
        if several { port.saturating_add(u16::try_from(service.container_count().saturating_sub(1)).unwrap_or(u16::MAX)) } else { port }
    };
    if let Some(port) = all.iter().find(|port| (**port..=last(**port)).any(|port| taken.contains(&port))) {
        map.comment(format!("Port {port} of the host is used by another service: this one is reachable only by other services."));
        map.put("expose", all.iter().map(|port| Yaml::from(port.to_string())).collect::<Vec<_>>());
        let why = message!("port {port} of the host is used by another app: it is not published", port);
        return notices.push(crate::Notice::new(service.spec.name.as_str(), "port", why));
    }
    all.iter().for_each(|port| taken.extend(*port..=last(*port)));
    let more = service.container_count().saturating_sub(1).min(u32::from(u16::MAX));
    if more > 0 && !swarm && !shares_a_container(service) {
        map.comment("A port of the host for each container.");
    }
    let port = |port: u16| {
        if swarm {
            Map::new().with("target", port).with("published", port).with("protocol", "tcp").with("mode", "ingress").into()
        } else if more > 0 && !shares_a_container(service) {
            Yaml::from(format!("{port}-{}:{port}", (u32::from(port) + more).min(65_535)))
        } else {
            Yaml::from(format!("{port}:{port}"))
        }
    };
    map.put("ports", all.into_iter().map(port).collect::<Vec<_>>());
}

fn environment(plan: &Plan<'_>, service: &Service<'_>, map: &mut Map, swarm: bool) {
    if !service.env_files.is_empty() {
        map.put("env_file", service.env_files.iter().map(|path| Yaml::from(joined_context(plan, path))).collect::<Vec<_>>());
    }
    let mut env = Map::new();
    for (name, value) in &service.env {
        let value = container::in_image(plan.project, value);
        // A swarm reads values as Go templates.
        env.put(name, if swarm { value.replace("{{", "{{\"{{\"}}") } else { value });
    }
    for name in service.secrets.iter().filter(|name| service.has_official_image() || !mounted(service, swarm).contains(name)) {
        env.comment("Secret: from the environment of the Compose command, or from a .env file beside this file.");
        env.put(name, reference(name));
    }
    if let Base::Official(official) = &service.base
        && let Some(name) = official.password
        && !service.secrets.iter().any(|own| own == name)
    {
        env.comment("The image does not start without it. From the environment, or from a .env file beside this file.");
        env.put(name, reference(name));
    }
    map.put_filled("environment", env);
}

/// Returns a reference to a variable of the caller that is required for the start.
fn reference(name: &str) -> Yaml {
    let is_name =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    // Compose accepts no other names.
    let own: String =
        if is_name { name.to_owned() } else { name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect() };
    Yaml::Reference(format!("${{{own}:?is not set}}"))
}

fn depends_on(plan: &Plan<'_>, service: &Service<'_>, map: &mut Map, swarm: bool) {
    if service.depends_on.is_empty() {
        return;
    }
    if swarm {
        map.comment("A swarm starts all services at once: the app must wait for its dependencies.");
        map.put("depends_on", service.depends_on.iter().map(|(name, _)| Yaml::from(name)).collect::<Vec<_>>());
        return;
    }
    let mut all = Map::new();
    for (name, condition) in &service.depends_on {
        let word = match condition {
            Condition::Started => "service_started",
            // Compose refuses to wait for the health of a service without a check.
            Condition::Ready | Condition::Healthy if has_health(plan, name) => "service_healthy",
            Condition::Ready | Condition::Healthy => "service_started",
            Condition::Completed => "service_completed_successfully",
        };
        all.put(name, Map::new().with("condition", word));
    }
    map.put("depends_on", all);
}

/// Returns true if a service of this name has a health check.
fn has_health(plan: &Plan<'_>, name: &str) -> bool {
    plan.services.iter().filter(|service| service.name == name).any(|service| match &service.base {
        Base::Official(official) => official.health.is_some(),
        _ => service.kind == Lifecycle::Server,
    })
}

fn health(service: &Service<'_>, map: &mut Map) {
    let spec = service.spec;
    if let Base::Official(official) = &service.base {
        if let Some(command) = official.health {
            let test = Yaml::words(["CMD-SHELL", command]);
            map.put("healthcheck", Map::new().with("test", test).with("interval", "10s").with("timeout", "5s").with("retries", 5_u32));
        }
        return;
    }
    if service.kind != Lifecycle::Server {
        // The image has a check, but it applies only to servers.
        map.put("healthcheck", Map::new().with("disable", true));
        return;
    }
    let check =
        spec.health().and_then(|health| [CheckPhase::Liveness, CheckPhase::Readiness].into_iter().find_map(|phase| health.check(phase)));
    let mut health = Map::new();
    health.comment("ostler runs the health check of the ecosystem file.");
    health.put("test", Yaml::words(["CMD", "ostler", "health"]));
    health.put("interval", seconds(check.map_or(INTERVAL_MS, |check| check.interval_ms).min(INTERVAL_MS)));
    health.put("timeout", "5s").put("retries", check.map_or(3, |check| check.failures));
    let grace = spec.health().and_then(|health| health.grace_ms).max(spec.ready.listen_timeout_ms).unwrap_or(10_000);
    health.put("start_period", seconds(grace));
    map.put("healthcheck", health);
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn ulimits(service: &Service<'_>, map: &mut Map, notices: &mut Vec<crate::Notice>) {
    let mut all = Map::new();
    for (name, soft, hard) in &service.spec.limits.rlimits {
        if matches!(name.as_str(), "as") {
            let why = message!("Docker has no ulimit {name}", name = format!("{name:?}"));
            notices.push(crate::Notice::new(service.spec.name.as_str(), "rlimits", why));
            continue;
        }
        let number = |bound: &Option<u64>| bound.map_or(-1, |bound| i64::try_from(bound).unwrap_or(-1));
        all.put(name, Map::new().with("soft", number(soft)).with("hard", number(hard)));
    }
    map.put_filled("ulimits", all);
}

fn logging(service: &Service<'_>, map: &mut Map) {
    let spec = service.spec;
    if spec.logs.disable_logs {
        map.put("logging", Map::new().with("driver", "none"));
        return;
    }
    let given = spec.given.open();
    let size_limit = given.get("max_log_size").or_else(|| given.get("log_rotate")?.get("max_size"));
    let bytes = size_limit.and_then(|size| match size {
        Value::String(text) => ostler_core::text::units::bytes(text).ok(),
        number => number.as_u64(),
    });
    let Some(bytes) = bytes.filter(|bytes| *bytes > 0) else { return };
    let kept = given.get("log_rotate").and_then(|rotate| rotate.get("retain")?.as_u64()).unwrap_or(10);
    let options = Map::new().with("max-size", format!("{}k", bytes.div_ceil(1024))).with("max-file", (kept + 1).to_string());
    map.put("logging", Map::new().with("driver", "json-file").with("options", options));
}

fn deploy(service: &Service<'_>, swarm: bool) -> Map {
    let spec = service.spec;
    let mut deploy = Map::new();
    // A service that only a user starts is a profile in Compose, and has the number 0 in a swarm.
    let count = match (swarm, shares_a_container(service)) {
        (true, _) => service.count(),
        (false, true) => 1,
        (false, false) => service.container_count(),
    };
    if swarm && matches!(service.replicas, Replicas::Range(_)) {
        deploy.comment("A swarm does not scale with the load: use `docker service scale`.");
    }
    if swarm && service.replicas == Replicas::PerCpu {
        deploy.comment("One per CPU depends on the machine: choose a number that fits all machines.");
    }
    if swarm || count != 1 {
        deploy.put("replicas", if service.has_official_image() { 1 } else { count });
    }
    let mut limits = Map::new();
    // Instances in one container share its limits.
    let shared = match &service.replicas {
        Replicas::Fixed(count) if !swarm && shares_a_container(service) => u64::from(*count).max(1),
        Replicas::Range(range) if !swarm && shares_a_container(service) => u64::from(range.max).max(1),
        _ => 1,
    };
    if let Some(percent) = service.cpu_percent() {
        let hundredths = u64::from(percent) * shared;
        limits.put("cpus", format!("{}.{:02}", hundredths / 100, hundredths % 100));
    }
    // With one instance per CPU, the number of instances that share the limit is unknown.
    let memory = service.memory_limit().filter(|_| swarm || service.replicas != Replicas::PerCpu || !shares_a_container(service));
    limits.put_some("memory", memory.map(|bytes| memory_text(bytes.saturating_mul(shared))));
    limits.put_some("pids", spec.hard_limits().and_then(|hard| hard.pids).map(|pids| i64::from(pids) * shared as i64));
    let mut reservations = Map::new();
    if let Some(percent) = service.settings.cpu_request.and_then(|_| service.cpu_request()) {
        reservations.put("cpus", format!("{}.{:02}", percent / 100, percent % 100));
    }
    let reserved = service.settings.memory_request.and_then(|_| service.memory_request()).or_else(|| service.soft_memory());
    reservations.put_some("memory", reserved.map(memory_text));
    let mut resources = Map::new();
    resources.put_filled("limits", limits);
    if swarm {
        resources.put_filled("reservations", reservations);
    }
    deploy.put_filled("resources", resources);
    if !swarm {
        return deploy;
    }
    let mut restart = Map::new();
    restart.put("condition", if service.kind == Lifecycle::Once { "none" } else { "any" });
    restart.put("delay", "5s");
    if let Some(RestartBudget { n, window_ms }) = spec.restart.budget {
        restart.put("max_attempts", n).put("window", seconds(window_ms));
    }
    deploy.put("restart_policy", restart);
    if service.kind != Lifecycle::Server {
        return deploy;
    }
    let rollout = &spec.rollout;
    let order = if service.has_official_image() { "stop-first" } else { "start-first" };
    let mut update = Map::new();
    if order == "start-first" {
        update.comment(
            "Starts the new one, and stops the old one when the new one is healthy: no gap. Swarm rolls back a release that does not \
             become healthy.",
        );
    }
    update.put("order", order).put("parallelism", rollout.batch.unwrap_or(1)).put("failure_action", "rollback");
    update.put("monitor", seconds(rollout.canary_ms.unwrap_or(15_000)));
    deploy.put("update_config", update);
    deploy.put("rollback_config", Map::new().with("order", order).with("parallelism", rollout.batch.unwrap_or(1)));
    deploy
}

/// Returns bytes in the largest unit with a whole number.
fn memory_text(bytes: u64) -> String {
    for (unit, size) in [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}b")
}
