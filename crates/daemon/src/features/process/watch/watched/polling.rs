//! Polling of folders whose changes the kernel does not report.

use std::time::Duration;

use ostler_sys::time::clock;

use super::super::kernel::Kernel;
use super::super::tree::{self, DetectionMethod};
use super::{INTERVAL_MS, NameEvent, WatchedPaths};

impl WatchedPaths {
    /// Does the work that is due.
    pub(in crate::features::process::watch) fn work(&mut self, kernel: &mut Kernel) {
        if self.poll_due.is_some_and(|due| due <= clock::boot()) {
            self.poll_due(kernel);
        }
        self.catch_up(kernel);
    }

    /// Compares the folders that the kernel does not report.
    fn poll_due(&mut self, kernel: &mut Kernel) {
        let begin = clock::boot();
        for root in 0..self.roots.len() {
            if self.roots.get(root).is_some_and(|known| known.is_polled || kernel.fd().is_none()) {
                self.search_root(root, kernel);
            }
        }
        for node in self.tree.polled_folders() {
            self.poll_folder(node, kernel);
        }
        self.catch_up(kernel);
        self.schedule_poll(clock::boot().saturating_sub(begin));
    }

    pub(super) fn poll_folder(&mut self, node: u32, kernel: &mut Kernel) {
        let path = self.tree.path(node);
        let Ok(now) = tree::snapshot(&path, self.plan.follow) else { return };
        let Some(known) = self.tree.get_mut(node) else { return };
        let DetectionMethod::Polling(snapshot) = &mut known.noticed else { return };
        let before = std::mem::replace(snapshot, now.clone());
        for (name, stamp) in &before {
            if now.get(name).is_none_or(|after| after.is_folder != stamp.is_folder) {
                let what = if stamp.is_folder { NameEvent::MovedOut } else { NameEvent::Removed };
                self.happened(node, name, stamp.is_folder, what, kernel);
            }
        }
        for (name, stamp) in &now {
            match before.get(name) {
                Some(former) if former == stamp => {}
                Some(former) if former.is_folder == stamp.is_folder && !stamp.is_folder => {
                    self.happened(node, name, false, NameEvent::Written, kernel);
                }
                _ => self.happened(node, name, stamp.is_folder, NameEvent::MovedIn, kernel),
            }
        }
    }

    /// Plans the next comparison: the larger the tree, the longer the pause.
    pub(super) fn schedule_poll(&mut self, took: Duration) {
        let must =
            self.plan.polling == Some(true) || self.roots.iter().any(|root| root.is_polled) || !self.tree.polled_folders().is_empty();
        let interval = Duration::from_millis(self.plan.interval_ms.unwrap_or(INTERVAL_MS).max(10));
        let pause = self.rest_after(took);
        self.poll_due = must.then(|| clock::boot() + interval.max(pause));
    }
}
