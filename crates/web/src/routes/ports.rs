//! `/api/ports`: which app listens on which TCP port.

use std::collections::BTreeMap;

use hyper::Response;
use ostler_client::ports::PortScan;
use serde::Serialize;
use serde_json::json;

use super::apps::still_existing;
use super::problems::daemon_error;
use crate::access::Identity;
use crate::http::reply::{Body, json as reply};
use crate::site::Site;

/// Port on which instances of an app listen.
#[derive(Debug, PartialEq, Serialize)]
struct AppPort {
    port: u16,
    /// Whether the port is in the range from which the kernel picks ports itself.
    ephemeral: bool,
    app: String,
    namespace: String,
    instances: Vec<u32>,
}

/// Port and app, in the order of the answer.
type Key = (u16, String, String);

pub(super) async fn answer(site: &Site, identity: &Identity) -> Response<Body> {
    let snapshot = site.daemon.refresh_table().await;
    let running = snapshot.rows.iter().filter(|row| row.pid > 0 && identity.sees(&row.namespace));
    let targets = running.map(|row| row.id.to_string()).collect();
    let query = site.daemon.query(move |client| {
        let details = still_existing(client, targets)?;
        let (mut scan, mut found) = (PortScan::take(), Vec::new());
        for detail in &details {
            let key = |port| ((port, detail.spec.name.clone(), detail.spec.namespace.clone()), detail.id);
            found.extend(scan.ports(detail).into_iter().map(key));
        }
        Ok(grouped(found, |port| scan.is_ephemeral(port)))
    });
    match query.await {
        Ok(ports) => reply(&json!({ "ports": ports })),
        Err(problem) => daemon_error(&problem),
    }
}

/// Collects the instances of each port and app.
fn grouped(found: Vec<(Key, u32)>, is_ephemeral: impl Fn(u16) -> bool) -> Vec<AppPort> {
    let mut instances: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    for (key, id) in found {
        instances.entry(key).or_default().push(id);
    }
    let of_app = |((port, app, namespace), instances)| AppPort { port, ephemeral: is_ephemeral(port), app, namespace, instances };
    instances.into_iter().map(of_app).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_grouped_by_port_and_app() {
        let found = |port, app: &str, namespace: &str, id| ((port, app.to_owned(), namespace.to_owned()), id);
        let list = vec![
            found(40_000, "api", "default", 0),
            found(3000, "api", "default", 0),
            found(3000, "blue", "prod", 2),
            found(3000, "api", "default", 1),
            found(3000, "api", "prod", 3),
        ];
        let row = |port, app: &str, namespace: &str, instances: &[u32]| AppPort {
            port,
            ephemeral: port == 40_000,
            app: app.into(),
            namespace: namespace.into(),
            instances: instances.to_vec(),
        };
        let expected = [
            row(3000, "api", "default", &[0, 1]),
            row(3000, "api", "prod", &[3]),
            row(3000, "blue", "prod", &[2]),
            row(40_000, "api", "default", &[0]),
        ];
        assert_eq!(grouped(list, |port| port == 40_000), expected);
    }

    #[test]
    fn answer_has_the_documented_properties() {
        let [row] = &grouped(vec![((80, "api".into(), "default".into()), 0)], |_| false)[..] else { panic!("one row") };
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let schema = &super::super::schemas::ports()["properties"]["ports"]["items"];
        assert_eq!(keys(&serde_json::to_value(row).unwrap()), keys(&schema["properties"]));
    }
}
