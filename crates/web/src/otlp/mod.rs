//! OpenTelemetry: `ostler-otlp` decides, this module does the I/O. Traces of apps arrive at a
//! loopback port; metrics, events and log lines are sent.
//!
//! # Theory of operation
//! Both directions run on the thread that serves. The [`receiver`] reads one request at a time and
//! has no timer: it decides what to keep when a request or a query arrives. `service.instance.id`
//! identifies the app of a span: it is the unique id of the instance, which only the app, its user
//! and this home know ([`instances`]).
//!
//! The [`push`] sends the samples of the history, the daemon's events, and log lines. Data that its
//! receiver does not accept waits in bounded memory. If this process is killed, all of it is lost.

mod figures;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
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

/// Trace state that requests can see.
pub(crate) struct Traces {
    pub(crate) store: RefCell<Store>,
    pub(crate) state: RefCell<ReceiverState>,
}

/// State of the receiver for display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReceiverState {
    /// Its port; none = the receiver is off.
    pub(crate) port: Option<u16>,
    /// Why it does not listen; none = it listens.
    pub(crate) problem: Option<String>,
    /// Number of refused requests: too large, too many, or not OTLP.
    pub(crate) refused: u64,
}

/// State of the push for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PushState {
    /// Address of the receiver, without secret parts.
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// State of both directions.
pub(crate) struct Otlp {
    pub(crate) traces: Traces,
    /// None = nothing is sent.
    pub(crate) push: Option<RefCell<PushState>>,
}

/// Starts both directions on the thread that serves.
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

/// Writes a line to the log.
fn log_line(text: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("otlp: {text}\n"));
}
