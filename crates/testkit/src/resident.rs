//! Connection of the test process to the daemon of a home. A list over it costs a thousandth of a
//! command that prints one.

use std::path::Path;
use std::time::Duration;

use ostler_client::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::listing::ListedApp;

/// Time limit for an answer. If a test has stopped the daemon, the caller runs the command instead,
/// which calls for help.
const LIMIT: Duration = Duration::from_secs(2);

/// Connection to a responsive daemon.
pub(crate) struct Resident {
    client: Client,
}

impl Resident {
    /// Connects to the daemon of this home; `None` if none listens there.
    pub(crate) fn connect(home: &Path) -> Option<Self> {
        let mut client = Client::connect(home.join("ostler.sock")).ok()?.read_only();
        client.limit(LIMIT);
        Some(Self { client })
    }

    /// Connects, and subscribes to the events of the daemon.
    pub(crate) fn follow(home: &Path) -> Option<Self> {
        let mut resident = Self::connect(home)?;
        resident.client.subscribe(None).ok()?;
        Some(resident)
    }

    /// Returns the list by id, or `None` if the connection is unusable.
    pub(crate) fn list(&mut self) -> Option<Vec<ListedApp>> {
        let list = self.client.processes().ok()?;
        Some(ListedApp::parse_list(list.text()))
    }

    /// Waits for an event, at most `at_most`. Returns false if the connection is unusable.
    pub(crate) fn wait_for_event(&mut self, at_most: Duration) -> bool {
        let Ok(at_most) = Timespec::try_from(at_most) else { return false };
        let mut fds = [PollFd::new(&self.client, PollFlags::IN)];
        match poll(&mut fds, Some(&at_most)) {
            Ok(1..) => self.client.received_frames().is_ok(),
            _ => true,
        }
    }
}
