//! Instances by their unique ids, as far as they are known: whose a span is, and whose a figure.
//!
//! The unique id is 122 random bits that only an app itself (its environment), its user and this home know, so whoever names it is the app, or was told by it. A
//! name can be claimed by anybody, and decides nothing.

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

use crate::daemon::{Daemon, News};

/// Time for which what is known is good, and the shortest between two questions after something has happened.
const KNOWN: Duration = Duration::from_secs(30);
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// Key of an attribute that is the query of an address.
const QUERY: &str = "url.query";

/// What is known of an instance.
#[derive(Debug)]
pub(crate) struct Instance {
    /// The app that spans of it are of.
    pub(crate) sender: Sender,
    /// The source that its figures name.
    pub(crate) origin: Origin,
    /// Values that nobody is shown.
    secrets: Vec<String>,
}

impl Instance {
    /// The text without secrets; none where it has none.
    pub(crate) fn hide(&self, key: Option<&str>, text: &str) -> Option<String> {
        hide(&self.secrets, key, text)
    }
}

/// The text without what is a secret by its key, its value or its place in an address; none where it has none.
pub(crate) fn hide(secrets: &[String], key: Option<&str>, text: &str) -> Option<String> {
    if key.is_some_and(looks_secret) {
        return (!text.is_empty()).then(|| MASK.to_owned());
    }
    // Alone, without what would tell where its parameters begin.
    if key == Some(QUERY) {
        return hide(secrets, None, &format!("?{text}")).map(|shown| shown.trim_start_matches('?').to_owned());
    }
    let may_have = text.contains("://") || text.contains(['?', '&']) || secrets.iter().any(|secret| text.contains(secret.as_str()));
    may_have.then(|| masked(text, secrets)).filter(|shown| shown != text)
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Rc<Instance>>,
    by_number: HashMap<u32, Rc<Instance>>,
    learned: Option<Instant>,
}

/// The instances.
pub(crate) struct Instances {
    daemon: Daemon,
    known: RefCell<Known>,
    /// What happened since; looked at when somebody asks, so that nothing wakes for it.
    news: RefCell<broadcast::Receiver<News>>,
    /// One asks at a time.
    asking: Mutex<()>,
}

impl Instances {
    pub(crate) fn of(daemon: Daemon) -> Self {
        let news = daemon.news();
        Self { daemon, known: RefCell::default(), news: RefCell::new(news), asking: Mutex::new(()) }
    }

    /// The instance of this unique id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Rc<Instance>> {
        self.known.borrow().by_id.get(id).cloned()
    }

    /// The instance of this number.
    pub(crate) fn by_number(&self, number: u32) -> Option<Rc<Instance>> {
        self.known.borrow().by_number.get(&number).cloned()
    }

    /// Asks the daemon, unless what is known is good. `missing` says whether something that is looked for is not known.
    pub(crate) async fn learn(&self, missing: impl Fn(&Self) -> bool) {
        self.ask(missing, false).await;
    }

    /// The same, also where it was asked a moment ago and something has happened since: then it waits for another moment.
    pub(crate) async fn learn_patiently(&self, missing: impl Fn(&Self) -> bool) {
        self.ask(missing, true).await;
    }

    async fn ask(&self, missing: impl Fn(&Self) -> bool, is_patient: bool) {
        if !missing(self) {
            return;
        }
        let _one = self.asking.lock().await;
        let happened = !self.news.borrow().is_empty();
        let learned = self.known.borrow().learned;
        if let Some(learned) = learned.filter(|_| happened && is_patient) {
            tokio::time::sleep_until(learned + ASKED_AGAIN).await;
        }
        let is_good = learned.is_some_and(|at| at.elapsed() < if happened { ASKED_AGAIN } else { KNOWN });
        // Whoever was before us may have asked for the same.
        if is_good || !missing(self) {
            return;
        }
        // What comes from now on is news.
        let from_now_on = self.news.borrow().resubscribe();
        self.news.replace(from_now_on);
        let asked = self.daemon.ask(|client| client.inspect(&[])).await;
        let mut known = self.known.borrow_mut();
        known.learned = Some(Instant::now());
        // What was known is better than nothing.
        let Ok(details) = asked else { return };
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
    fn secrets_are_nowhere() {
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
