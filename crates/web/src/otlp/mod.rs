//! OpenTelemetry: `ostler-otlp` decides, this performs. Traces of apps come in at a port of loopback; figures, events and lines go out.
//!
//! # Theory of operation
//! Both run on the thread that serves. The [`receiver`] reads one request at a time, and has no timer: what is kept is decided when something comes or somebody looks. Whose a span is
//! says `service.instance.id`: it is the unique id of the instance, which only the app, its user and this home know ([`instances`]). The [`push`] takes what the history takes, the daemon's
//! events and lines of logs; what the receiver of that does not take waits in bounded memory. All of it is lost when this process is killed.

mod figures;
mod instances;
mod push;
mod receiver;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use ostler_http::Ending;
use ostler_otlp::queue::Counts;
use ostler_otlp::store::Store;
use serde::Serialize;

use crate::daemon::Daemon;
use crate::settings::Settings;
pub(crate) use instances::Instances;

/// What requests see of the traces.
pub(crate) struct Traces {
    pub(crate) store: RefCell<Store>,
    pub(crate) state: RefCell<ReceiverState>,
}

/// The receiver, as it is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReceiverState {
    /// Its port; none = traces are not taken.
    pub(crate) port: Option<u16>,
    /// Why it does not listen; none = it does.
    pub(crate) problem: Option<String>,
    /// Requests that were not taken: too large, too many, no OTLP.
    pub(crate) refused: u64,
}

/// What is sent, as it is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PushState {
    /// The receiver, without what may be secret.
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// Both ways.
pub(crate) struct Otlp {
    pub(crate) traces: Traces,
    /// None = nothing is sent.
    pub(crate) push: Option<RefCell<PushState>>,
}

/// Begins, on the thread that serves.
pub(crate) fn start(home: &Path, settings: &Settings, daemon: &Daemon, ending: &Ending) -> Rc<Otlp> {
    let port = settings.otlp.receiver_port();
    let push = settings.otlp.push.as_ref().and_then(crate::settings::otlp::Push::url);
    let otlp = Rc::new(Otlp {
        traces: Traces {
            store: RefCell::new(Store::new(settings.otlp.traces_bytes())),
            state: RefCell::new(ReceiverState { port, ..ReceiverState::default() }),
        },
        push: push.as_ref().map(|url| RefCell::new(PushState { to: url.origin(), counts: Counts::default() })),
    });
    if port.is_none() && push.is_none() {
        return otlp;
    }
    let instances = Rc::new(Instances::of(daemon.clone()));
    if let Some(port) = port {
        drop(tokio::task::spawn_local(receiver::run(port, Rc::clone(&otlp), Rc::clone(&instances), ending.clone())));
    }
    if let (Some(url), Some(push)) = (push, settings.otlp.push.clone()) {
        let pusher = push::Pusher::new(home, url, push, Rc::clone(&otlp), instances, daemon.clone());
        drop(tokio::task::spawn_local(pusher.run(ending.clone())));
    }
    otlp
}

/// A line for the log.
fn tell(text: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("otlp: {text}\n"));
}
