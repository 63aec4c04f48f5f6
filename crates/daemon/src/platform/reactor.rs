//! Reactor: one epoll for everything that the daemon watches. Without events it never wakes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::Timespec;

/// Owner of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// The keeper.
    Keeper,
    /// Signals sent to the daemon itself.
    Signals,
    /// Descriptor of the feature with this name, and its key there: 48 bits.
    Feature(&'static str, u64),
}

/// The native listening socket. Code that reopens it must watch it as this source.
pub(crate) const LISTENER: Source = Source::Feature("native", 0);

/// Bits of the key in a token; above them is the index of a feature in the list of names, beginning
/// with 1.
const KEY_BITS: u32 = 48;
const KEY_MASK: u64 = (1 << KEY_BITS) - 1;

/// Tokens of sources that are not features.
const KEEPER: u64 = 1 << 32;
const SIGNALS: u64 = 2 << 32;

impl Source {
    fn token(self, names: &[&'static str]) -> u64 {
        match self {
            Self::Keeper => KEEPER,
            Self::Signals => SIGNALS,
            Self::Feature(name, key) => {
                let place = names.iter().position(|known| *known == name).map_or(0, |at| at as u64 + 1);
                place << KEY_BITS | key & KEY_MASK
            }
        }
    }

    fn from_token(token: u64, names: &[&'static str]) -> Option<Self> {
        if let Some(place) = (token >> KEY_BITS).checked_sub(1) {
            return Some(Self::Feature(names.get(usize::try_from(place).ok()?)?, token & KEY_MASK));
        }
        match token {
            KEEPER => Some(Self::Keeper),
            SIGNALS => Some(Self::Signals),
            _ => None,
        }
    }
}

/// Readiness of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Owner of the descriptor.
    pub source: Source,
    /// True if the descriptor is readable (data, or end of file).
    pub readable: bool,
    /// True if the descriptor is writable.
    pub writable: bool,
}

/// Most events per wait; the next wait returns the rest.
const BATCH: usize = 256;

/// Epoll descriptor.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// Names of features that have descriptors.
    names: &'static [&'static str],
    /// Duration of the last wait.
    waited: Duration,
}

impl Reactor {
    /// Creates a reactor without features.
    #[cfg(test)]
    pub(crate) fn new() -> io::Result<Self> {
        Self::of_features(&[])
    }

    /// Creates a reactor for descriptors of these features.
    pub(crate) fn of_features(names: &'static [&'static str]) -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH), names, waited: Duration::ZERO })
    }

    /// Watches for input. Closing the descriptor stops that.
    pub(crate) fn add(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.token(self.names)), epoll::EventFlags::IN)?)
    }

    /// Watches for input and for room to write.
    pub(crate) fn add_for_write(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.token(self.names)), flags)?)
    }

    /// Watches for more input: unread bytes are not reported again.
    pub(crate) fn add_for_more(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.token(self.names)), flags)?)
    }

    /// Starts or stops watching for room to write.
    pub(crate) fn want_write(&self, fd: impl AsFd, source: Source, write: bool) -> io::Result<()> {
        let flags = if write { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(source.token(self.names)), flags)?)
    }

    /// Stops watching. Needed if another process holds a copy of the descriptor, because closing
    /// ours then changes nothing.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It is no error if the descriptor was not watched.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Returns the duration of the last wait. After a long wait, its events are recent.
    /// Otherwise they may have happened before it.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Waits until something is ready or the time is up. `None` waits without a limit.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let begun = Instant::now();
        let result = ostler_sys::fd::epoll_wait::wait(&self.epoll, &mut self.events, timeout.as_ref());
        self.waited = begun.elapsed();
        match result {
            Ok(()) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        Ok(self
            .events
            .iter()
            .filter_map(|event| {
                let flags = event.flags;
                Some(Ready {
                    source: Source::from_token(event.data.u64(), self.names)?,
                    readable: flags.intersects(epoll::EventFlags::IN | broken),
                    writable: flags.intersects(epoll::EventFlags::OUT | broken),
                })
            })
            .collect())
    }
}
