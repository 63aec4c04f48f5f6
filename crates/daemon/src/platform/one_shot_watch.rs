//! Watches of files and folders that fire once, so that a writer costs one wake-up and not one per
//! write.

use std::io;
use std::path::Path;

use ostler_sys::fs::inotify::{Inotify, WatchFlags};

use crate::platform::reactor::{Reactor, Source};

/// Armed watches, each with a key of its owner. Paths that lead to the same file share the kernel's
/// watch, and fire together.
#[derive(Debug)]
pub(crate) struct OneShotWatches<K> {
    inotify: Option<Inotify>,
    armed: Vec<(i32, K)>,
}

impl<K> Default for OneShotWatches<K> {
    fn default() -> Self {
        Self { inotify: None, armed: Vec::new() }
    }
}

impl<K: PartialEq> OneShotWatches<K> {
    /// Arms a watch. The next of these events wakes the daemon as `source`.
    ///
    /// # Errors
    /// Returns an error if the path does not exist or the kernel gives no more watches.
    pub(crate) fn arm(&mut self, path: &Path, events: WatchFlags, key: K, (reactor, source): (&Reactor, Source)) -> io::Result<()> {
        if self.inotify.is_none() {
            let inotify = Inotify::new()?;
            reactor.add(&inotify, source)?;
            self.inotify = Some(inotify);
        }
        let Some(inotify) = &self.inotify else { return Ok(()) };
        let number = inotify.watch(path, events | WatchFlags::ONESHOT)?;
        if !self.armed.iter().any(|(other, known)| *other == number && *known == key) {
            self.armed.push((number, key));
        }
        Ok(())
    }

    /// Returns the keys of watches that fired, or that the kernel removed. They are not armed any
    /// more.
    pub(crate) fn fired(&mut self) -> Vec<K> {
        let Some(inotify) = &self.inotify else { return Vec::new() };
        let (mut numbers, armed) = (Vec::new(), &mut self.armed);
        inotify.read(|event| numbers.push(event.watch));
        numbers.sort_unstable();
        armed.extract_if(.., |(number, _)| numbers.binary_search(number).is_ok()).map(|(_, key)| key).collect()
    }

    /// Removes the watches with these keys, and returns the keys.
    pub(crate) fn disarm(&mut self, is_unwanted: impl Fn(&K) -> bool) -> Vec<K> {
        let removed: Vec<(i32, K)> = self.armed.extract_if(.., |(_, key)| is_unwanted(key)).collect();
        for (number, _) in &removed {
            if let Some(inotify) = &self.inotify
                && !self.armed.iter().any(|(other, _)| other == number)
            {
                inotify.forget(*number);
            }
        }
        removed.into_iter().map(|(_, key)| key).collect()
    }

    /// Returns the keys of all armed watches.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.armed.iter().map(|(_, key)| key)
    }

    /// Returns unused memory.
    pub(crate) fn shrink(&mut self) {
        self.armed.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    const SOURCE: Source = Source::Feature("x", 0);

    #[test]
    fn watch_fires_once_for_each_key_of_a_file() {
        let folder = std::env::temp_dir().join(format!("ostler-one-shot-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, link) = (folder.join("a"), folder.join("b"));
        let mut file = fs::File::create(&path).unwrap();
        fs::hard_link(&path, &link).unwrap();
        let mut reactor = Reactor::of_features(&["x"]).unwrap();
        let mut watches = OneShotWatches::default();
        let arm = |watches: &mut OneShotWatches<u8>, path: &Path, key, reactor: &Reactor| {
            watches.arm(path, WatchFlags::MODIFY, key, (reactor, SOURCE)).unwrap();
        };
        arm(&mut watches, &path, 1, &reactor);
        arm(&mut watches, &link, 2, &reactor);
        assert_eq!((watches.keys().copied().collect::<Vec<_>>(), watches.fired()), (vec![1, 2], vec![]));
        file.write_all(b"x").unwrap();
        assert_eq!(reactor.wait(None).unwrap()[0].source, SOURCE);
        assert_eq!(watches.fired(), [1, 2]);
        file.write_all(b"x").unwrap();
        assert!(watches.fired().is_empty() && reactor.wait(Some(Duration::ZERO)).unwrap().is_empty());
        // The other key of the file stays armed.
        arm(&mut watches, &path, 3, &reactor);
        arm(&mut watches, &path, 4, &reactor);
        assert_eq!(watches.disarm(|key| *key == 3), [3]);
        file.write_all(b"x").unwrap();
        assert_eq!(watches.fired(), [4]);
        // A watch that is armed twice fires once.
        arm(&mut watches, &path, 6, &reactor);
        arm(&mut watches, &path, 6, &reactor);
        file.write_all(b"x").unwrap();
        assert_eq!(watches.fired(), [6]);
        assert!(
            watches.arm(&folder.join("missing"), WatchFlags::MODIFY, 5, (&reactor, SOURCE)).is_err() && watches.keys().next().is_none()
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
