//! `/api/hosts`: hosts of the hosts file, with the addresses of their dashboards.

use hyper::Response;
use serde_json::json;

use crate::access::{Identity, Role};
use crate::hosts::ConfiguredHost;
use crate::http::reply::{self, Body};
use crate::site::Site;

/// Lists the hosts. A user who sees only some namespaces of this machine sees no other machines.
/// Only admins see how to log in on a host.
pub(super) fn list(site: &Site, identity: &Identity) -> Response<Body> {
    let (hosts, problem) = match (site.hosts)(&site.home) {
        _ if !identity.sees_all() => (Vec::new(), None),
        Ok(hosts) if identity.role >= Role::Admin => (hosts, None),
        Ok(hosts) => (hosts.into_iter().filter_map(without_login).collect(), None),
        Err(problem) => (Vec::new(), Some(problem).filter(|_| identity.role >= Role::Admin)),
    };
    reply::json(&json!({ "hosts": hosts, "problem": problem }))
}

/// Removes the settings for `ssh`. Returns none if the host cannot be opened without them.
fn without_login(host: ConfiguredHost) -> Option<ConfiguredHost> {
    let is_open = host.is_here || host.dashboard.is_some();
    is_open.then_some(ConfiguredHost { user: None, port: None, ..host })
}
