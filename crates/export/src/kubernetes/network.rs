//! Network access to an app: Service, Ingress, and NetworkPolicy.

use ostler_core::serving::Sticky;

use crate::Plan;
use crate::base::Base;
use crate::service::{Lifecycle, Service};
use crate::yaml::{Map, Yaml};

use super::{Style, labels, object, selector};

/// Default port of a Service.
const SERVICE_PORT: u16 = 80;

/// Returns a Service if the app has a port. Servers of the project are at port 80, and also at
/// their own port, so that addresses of a compose file stay valid.
pub(super) fn service(service: &Service<'_>, _: Style) -> Option<Map> {
    let all = ports_of(service);
    if all.is_empty() {
        return None;
    }
    let entry =
        |name: &str, port: u16, target: &str| Yaml::from(Map::new().with("name", name).with("port", port).with("targetPort", target));
    let mut ports = Vec::new();
    for (at, (name, port)) in all.iter().enumerate() {
        let outer = service.settings.service_port.unwrap_or(SERVICE_PORT);
        // No two entries may have the same number.
        let is_moved = at == 0 && !service.has_official_image() && all.iter().all(|(_, other)| *other != outer);
        if is_moved {
            ports.push(entry(name, outer, name));
            ports.push(entry(&format!("port-{port}"), *port, name));
        } else {
            ports.push(entry(name, *port, name));
        }
    }
    let mut map = Map::new().with("type", "ClusterIP").with("selector", selector(service));
    if matches!(service.spec.sticky, Some(Sticky::Address)) {
        map.put("sessionAffinity", "ClientIP");
    }
    map.put("ports", ports);
    Some(object("v1", "Service", &service.name).with("spec", map))
}

/// Returns the names of services that are reachable from outside: the servers of the project,
/// without databases.
fn exposed_services<'a>(plan: &'a Plan<'_>) -> Vec<&'a str> {
    let is_reached = |service: &&Service<'_>| {
        let is_web = !service.has_official_image()
            || matches!(service.base, Base::Official(official) if matches!(official.program, "nginx" | "caddy"));
        service.kind == Lifecycle::Server && service.port.is_some() && is_web
    };
    plan.services.iter().filter(is_reached).map(|service| service.name.as_str()).collect()
}

/// Returns an Ingress with the requested host. If there are several apps, each has a name below it.
pub(super) fn ingress(plan: &Plan<'_>, service: &Service<'_>, style: Style) -> Option<Map> {
    let host = plan.options.host.as_ref()?;
    let all = exposed_services(plan);
    if !all.contains(&service.name.as_str()) {
        return None;
    }
    let own = if all.len() == 1 { host.clone() } else { format!("{}.{host}", service.name) };
    let main = ports_of(service).first().map_or_else(String::new, |(name, _)| name.clone());
    let backend = Map::new().with("service", Map::new().with("name", &service.name).with("port", Map::new().with("name", main)));
    let path = Map::new().with("path", "/").with("pathType", "Prefix").with("backend", backend);
    let mut rule = Map::new();
    rule.put("host", style.value(own, "{{ $app.host | toJson }}"));
    rule.put("http", Map::new().with("paths", vec![Yaml::from(path)]));
    let mut map = Map::new();
    map.comment("Add ingressClassName and tls for your cluster.");
    map.put("rules", vec![rule.into()]);
    Some(object("networking.k8s.io/v1", "Ingress", &service.name).with("spec", map))
}

/// Returns the host of a service in its Ingress.
pub(super) fn host_of(plan: &Plan<'_>, service: &Service<'_>) -> Option<String> {
    let host = plan.options.host.as_ref()?;
    let all = exposed_services(plan);
    all.contains(&service.name.as_str()).then(|| if all.len() == 1 { host.clone() } else { format!("{}.{host}", service.name) })
}

/// Returns the policy of allowed callers: the other apps of the project and, with an Ingress, the
/// controller that forwards outside requests.
pub(super) fn policy(plan: &Plan<'_>, service: &Service<'_>, _: Style) -> Option<Map> {
    let ports: Vec<Yaml> = ports_of(service).into_iter().map(|(name, _)| Map::new().with("port", name).into()).collect();
    let mut map = Map::new().with("podSelector", Map::new().with("matchLabels", selector(service)));
    map.put("policyTypes", Yaml::words(["Ingress"]));
    if ports.is_empty() || service.kind != Lifecycle::Server {
        map.comment("No other workload calls this app.").put("ingress", Vec::<Yaml>::new());
        return Some(object("networking.k8s.io/v1", "NetworkPolicy", &service.name).with("spec", map));
    }
    let mut from = Vec::new();
    if host_of(plan, service).is_some() {
        let mut any = Map::new();
        any.comment("The Ingress controller; narrow this to its namespace.").put("namespaceSelector", Map::new());
        from.push(any.into());
    } else {
        // The common label of all objects of its part.
        let part = labels(plan, service).without("app.kubernetes.io/name");
        from.push(Map::new().with("podSelector", Map::new().with("matchLabels", part)).into());
    }
    map.put("ingress", vec![Map::new().with("from", from).with("ports", ports).into()]);
    Some(object("networking.k8s.io/v1", "NetworkPolicy", &service.name).with("spec", map))
}

/// Returns the names of ports: the first one is `http`, for a database `tcp`.
pub(super) fn ports_of(service: &Service<'_>) -> Vec<(String, u16)> {
    let all = if service.ports.is_empty() { service.port.into_iter().collect() } else { service.ports.clone() };
    let first = if service.has_official_image() { "tcp" } else { "http" };
    let name = |(at, port): (usize, u16)| (if at == 0 { first.to_owned() } else { format!("port-{port}") }, port);
    all.into_iter().enumerate().map(name).collect()
}
