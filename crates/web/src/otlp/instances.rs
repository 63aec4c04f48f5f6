//! Instances by their unique ids, to find the app of a span or a metric.
//!
//! The unique id has 122 random bits. Only the app itself (through its environment), its user and
//! this home know it. A sender that names it is therefore the app, or got it from the app. Names
//! can be claimed by any sender and decide nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ostler_core::app::diff::looks_secret;
use ostler_core::logs::masking::{MASK, masked, secrets};
use ostler_otlp::encode::Origin;
use ostler_otlp::store::Sender;
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use crate::daemon::{Daemon, EventUpdate};

/// Time for which data is valid, and the minimum time between two queries after an event.
const KNOWN: Duration = Duration::from_secs(30);
const REFRESH_DELAY: Duration = Duration::from_secs(1);

/// Attribute key for the query of a URL.
const QUERY: &str = "url.query";

/// Data about an instance.
#[derive(Debug)]
pub(crate) struct Instance {
    /// App that its spans belong to.
    pub(crate) sender: Sender,
    /// Source that its metrics name.
    pub(crate) origin: Origin,
    /// Secret values that are never shown.
    secrets: Vec<String>,
}

impl Instance {
    /// Returns the text without secrets; none if it contains no secret.
    pub(crate) fn hide(&self, key: Option<&str>, text: &str) -> Option<String> {
        hide(&self.secrets, key, text)
    }
}

/// Returns the text without secrets, which are found by key, by value, or by their place in a URL.
/// Returns `None` if it contains no secret.
pub(crate) fn hide(secrets: &[String], key: Option<&str>, text: &str) -> Option<String> {
    if key.is_some_and(looks_secret) {
        return (!text.is_empty()).then(|| MASK.to_owned());
    }
    // A query alone has no `?` that marks the start of its parameters.
    if key == Some(QUERY) {
        return hide(secrets, None, &format!("?{text}")).map(|shown| shown.trim_start_matches('?').to_owned());
    }
    let may_have = text.contains("://") || text.contains(['?', '&']) || secrets.iter().any(|secret| text.contains(secret.as_str()));
    may_have.then(|| masked(text, secrets)).filter(|shown| shown != text)
}

#[derive(Default)]
struct InstanceCache {
    by_id: HashMap<String, Rc<Instance>>,
    by_number: HashMap<u32, Rc<Instance>>,
    loaded_at: Option<Instant>,
}

/// Known instances.
pub(crate) struct Instances {
    daemon: Daemon,
    known: RefCell<InstanceCache>,
    /// New events; only checked by queries, so that the process does not wake up for them.
    updates: RefCell<broadcast::Receiver<EventUpdate>>,
    /// Allows one query at a time.
    asking: Mutex<()>,
}

impl Instances {
    pub(crate) fn of(daemon: Daemon) -> Self {
        let updates = daemon.updates();
        Self { daemon, known: RefCell::default(), updates: RefCell::new(updates), asking: Mutex::new(()) }
    }

    /// Returns the instance of this unique id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Rc<Instance>> {
        self.known.borrow().by_id.get(id).cloned()
    }

    /// Returns the instance of this number.
    pub(crate) fn by_number(&self, number: u32) -> Option<Rc<Instance>> {
        self.known.borrow().by_number.get(&number).cloned()
    }

    /// Queries the daemon unless the data is valid. `missing` returns true if the caller lacks an
    /// instance.
    pub(crate) async fn refresh(&self, missing: impl Fn(&Self) -> bool) {
        self.query(missing, false).await;
    }

    /// Same as `refresh`. If an event happened just after the last query, it waits until a new
    /// query is allowed.
    pub(crate) async fn refresh_after_event(&self, missing: impl Fn(&Self) -> bool) {
        self.query(missing, true).await;
    }

    async fn query(&self, missing: impl Fn(&Self) -> bool, is_patient: bool) {
        if !missing(self) {
            return;
        }
        let _one = self.asking.lock().await;
        let happened = !self.updates.borrow().is_empty();
        let loaded_at = self.known.borrow().loaded_at;
        if let Some(loaded_at) = loaded_at.filter(|_| happened && is_patient) {
            tokio::time::sleep_until(loaded_at + REFRESH_DELAY).await;
        }
        let is_good = loaded_at.is_some_and(|at| at.elapsed() < if happened { REFRESH_DELAY } else { KNOWN });
        // The previous caller may have queried the same.
        if is_good || !missing(self) {
            return;
        }
        // Events from now on make the data outdated.
        let from_now_on = self.updates.borrow().resubscribe();
        self.updates.replace(from_now_on);
        let reply = self.daemon.query(|client| client.inspect(&[])).await;
        let mut known = self.known.borrow_mut();
        known.loaded_at = Some(Instant::now());
        // Outdated data is better than none.
        let Ok(details) = reply else { return };
        known.by_id.clear();
        known.by_number.clear();
        for detail in details {
            let (namespace, name) = (detail.spec.namespace.clone(), detail.spec.name.clone());
            let sender = Sender {
                app: Some((namespace.clone().into(), name.clone().into())),
                instance: Some(detail.id),
                service: name.clone().into(),
            };
            let origin =
                Origin { service: name, namespace: Some(namespace), instance: Some(detail.unique_id.clone()), number: Some(detail.id) };
            let secrets = secrets(&serde_json::to_value(&detail.spec).unwrap_or_default());
            let instance = Rc::new(Instance { sender, origin, secrets });
            known.by_number.insert(detail.id, Rc::clone(&instance));
            known.by_id.insert(detail.unique_id, instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_attributes() {
        let secrets = vec!["hunter22".to_owned()];
        for (key, text, expected) in [
            (Some("http.request.header.authorization"), "Bearer x", Some(MASK)),
            (Some("db.statement"), "select 'hunter22'", Some("select '******'")),
            (Some("url.full"), "https://me:pw@h/x?token=abc", Some("https://******@h/x?token=******")),
            (Some("url.query"), "page=2&token=abc", Some("page=2&token=******")),
            (Some("url.query"), "page=2", None),
            (Some("http.route"), "/x", None),
            (None, "no hunter22", Some("no ******")),
            (Some("password"), "", None),
        ] {
            assert_eq!(hide(&secrets, key, text).as_deref(), expected, "{text}");
        }
    }
}
