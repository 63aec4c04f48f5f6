//! Alerts: `ostler-alerts` decides, this performs. Events of the daemon, figures, lines and checks go in; requests, letters and programs come out.
//!
//! # Theory of operation
//! One task ([`run`]) owns the engine's state. What a step makes is on disk ([`outbox`]) before anything of it is sent, in one record with the position among the daemon's
//! events; so whatever is killed, each event is judged once, and a message that may have been sent before goes out again with its id. Each channel has its own way
//! ([`send`]), so one that hangs holds up no other. Without a channel nothing is judged, and nothing is asked.

mod check;
mod classify;
mod described;
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
use ostler_alerts::render::Verdict;

pub use overview::{Overview, overview};
pub(crate) use run::{Live, start};
pub use settings::{AlertSettings, Settings, SettingsFile};

/// What requests see of it.
pub(crate) type Shared = Rc<RefCell<Live>>;

/// Name of this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reason why a test message did not arrive. Its text has no secrets.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The service refused the message, or cannot be reached now; in its words.
    #[error("{0}")]
    NotDelivered(String),
    /// No runtime could be started.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

/// Sends a message that says that it is a test, at once, and says what became of it.
///
/// # Errors
/// Returns an error if the service did not take the message.
pub async fn test(channel: &ostler_alerts::channel::Channel) -> Result<(), TestError> {
    let now = crate::clock::now_ms();
    let id = format!("test-{:016x}", u64::from_ne_bytes(crate::access::random::<8>()));
    let message = Message::test(&channel.told.name, &host_name(), id, now);
    match send::send(&channel.service, &message).await {
        Verdict::Delivered => Ok(()),
        Verdict::Later { why, .. } | Verdict::Refused(why) => Err(TestError::NotDelivered(why)),
    }
}

/// The same for whoever has no runtime.
///
/// # Errors
/// As for [`test`].
pub fn test_blocking(channel: &ostler_alerts::channel::Channel) -> Result<(), TestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test(channel))
}

/// Everything that is known of the alerts of a home, read from its files: also where nothing runs.
pub fn look(home: &Path) -> Overview {
    let settings = Settings::of(home).read();
    let book = outbox::read(home);
    overview(&book, book.state.as_ref(), &settings, crate::clock::now_ms())
}
