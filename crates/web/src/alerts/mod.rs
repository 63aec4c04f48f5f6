//! Alerts: `ostler-alerts` decides, this module does the I/O. Inputs are daemon events, metrics,
//! log lines and checks. Outputs are requests, mails and program runs.
//!
//! # Theory of operation
//! One task ([`run`]) owns the engine's state. Each step's messages and the position in the
//! daemon's events are written to disk ([`outbox`]) in one record before a message is sent. If any
//! process is killed, each event is therefore evaluated once. A message that may already have been
//! sent goes out again with the same id.
//!
//! Each channel is sent to independently ([`send`]), so a channel that hangs does not delay the
//! others. Without a channel nothing is evaluated, and the daemon is not queried.

pub mod channels;
mod check;
mod classify;
mod descriptions;
mod figures;
mod lines;
mod outbox;
mod overview;
mod report;
mod run;
mod send;
pub mod settings;
mod smtp;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use ostler_alerts::message::Message;
use ostler_alerts::render::DeliveryResult;

pub use overview::{Overview, overview};
pub(crate) use run::{VisibleState, start};
pub use settings::{AlertSettings, Settings, SettingsFile};

/// Alert state that requests can see.
pub(crate) type SharedState = Rc<RefCell<VisibleState>>;

/// Returns the name of this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reason why a test message was not delivered. The text contains no secrets.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The service refused the message, or cannot be reached now; in its words.
    #[error("{0}")]
    NotDelivered(String),
    /// No runtime could be started.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

/// Sends a test message immediately.
///
/// # Errors
/// Returns an error if the service did not take the message.
pub async fn test(channel: &ostler_alerts::channel::Channel) -> Result<(), TestError> {
    let now = crate::clock::now_ms();
    let id = format!("test-{:016x}", u64::from_ne_bytes(crate::access::random::<8>()));
    let message = Message::test(&channel.policy.name, &host_name(), id, now);
    match send::send(&channel.service, &message).await {
        DeliveryResult::Delivered => Ok(()),
        DeliveryResult::Later { why, .. } | DeliveryResult::Refused(why) => Err(TestError::NotDelivered(why)),
    }
}

/// Same as [`test`], for callers without a runtime.
///
/// # Errors
/// Returns an error in the same cases as [`test`].
pub fn test_blocking(channel: &ostler_alerts::channel::Channel) -> Result<(), TestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test(channel))
}

/// Returns the state of a home's alerts from its files, even if the dashboard is not running.
pub fn read_overview(home: &Path) -> Overview {
    let settings = Settings::of(home).read();
    let contents = outbox::read(home);
    overview(&contents, contents.state.as_ref(), &settings, crate::clock::now_ms())
}
