//! Profiles that Node apps take of themselves for the dashboard, and their files.
//!
//! # Theory of operation
//! For each instance, the daemon gets a request (`Request::Profile`), and the app's preload writes
//! a file into the app's temporary folder. The app answers with a path, which is untrusted.
//! `ostler_client::profile_file` therefore opens, copies and removes the file with the rights of
//! the app's user. [`store`] keeps the copies in `<home>/web/profiles`, limited in number and size.
//! Only the page reads their contents.
//!
//! Running profiles are lost when this process exits: the app's file stays where the app has
//! written it.

mod store;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ostler_client::app_rights::AppRights;
use ostler_client::profile_file::{ProfileFileError, extension, take_over};
use ostler_proto::control::{Profile, Request};
use serde::{Deserialize, Serialize};

use crate::clock::now_ms;
use crate::daemon::Daemon;
use store::{MOST_BYTES, Store};

/// Maximum number of simultaneous profiles; each needs a waiting thread.
const UNDER_WAY: usize = 32;
/// The same per user, so that others have room.
const UNDER_WAY_OF_ONE: usize = 16;
/// Maximum number of failures that are shown.
const FAILURES: usize = 20;
/// Maximum size of a file that is copied.
const LARGEST: u64 = MOST_BYTES / 2;

/// Running instance to profile.
#[derive(Clone, Debug)]
pub(crate) struct ProfileTarget {
    pub(crate) id: u32,
    /// Rights of the user that it runs as.
    pub(crate) rights: AppRights,
}

/// Description of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileInfo {
    pub(crate) app: String,
    pub(crate) namespace: String,
    /// Id of the instance.
    pub(crate) instance: u32,
    pub(crate) kind: Profile,
    /// Start time, wall clock, ms.
    pub(crate) at: u64,
    /// Duration in ms; 0 for a heap.
    pub(crate) ms: u64,
    /// User who requested it.
    pub(crate) by: String,
}

/// Stored profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredProfile {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) subject: ProfileInfo,
    pub(crate) bytes: u64,
}

/// Failed profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedProfile {
    #[serde(flatten)]
    pub(crate) subject: ProfileInfo,
    pub(crate) reason: String,
}

/// All profiles of a home.
pub(crate) struct Profiles {
    state: RefCell<ProfilesState>,
}

struct ProfilesState {
    store: Store,
    running: Vec<ProfileInfo>,
    failed: VecDeque<FailedProfile>,
}

/// Reason for rejecting a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProfileError {
    #[error("instance {0} is being profiled already")]
    Busy(u32),
    #[error("at most {UNDER_WAY_OF_ONE} instances can be profiled at a time, {UNDER_WAY} by all users: choose one")]
    TooMany,
}

impl Profiles {
    /// Opens the profiles of a home. Incomplete files of a former process are removed.
    pub(crate) fn of(home: &Path) -> Self {
        let store = Store::open(crate::settings::names::folder(home).join("profiles"));
        Self { state: RefCell::new(ProfilesState { store, running: Vec::new(), failed: VecDeque::new() }) }
    }

    /// Starts to profile these instances; the work continues in the background.
    ///
    /// # Errors
    /// Returns a [`ProfileError`] if the request is rejected; no instance is profiled then.
    pub(crate) fn begin(self: &Rc<Self>, daemon: &Daemon, subject: &ProfileInfo, instances: &[ProfileTarget]) -> Result<(), ProfileError> {
        {
            let state = &mut *self.state.borrow_mut();
            let busy = |target: &&ProfileTarget| state.running.iter().any(|other| other.instance == target.id);
            if let Some(target) = instances.iter().find(busy) {
                return Err(ProfileError::Busy(target.id));
            }
            let of_user = state.running.iter().filter(|other| other.by == subject.by).count();
            if state.running.len() + instances.len() > UNDER_WAY || of_user + instances.len() > UNDER_WAY_OF_ONE {
                return Err(ProfileError::TooMany);
            }
            state.running.extend(instances.iter().map(|target| ProfileInfo { instance: target.id, ..subject.clone() }));
        }
        for target in instances {
            let subject = ProfileInfo { instance: target.id, ..subject.clone() };
            let (all, daemon, rights) = (Rc::clone(self), daemon.clone(), target.rights.clone());
            tokio::task::spawn_local(async move {
                let taken = all.take_one(&daemon, &subject, rights).await;
                all.is_done(subject, taken);
            });
        }
        Ok(())
    }

    /// Takes one profile: requests it, copies its file, stores it.
    async fn take_one(&self, daemon: &Daemon, subject: &ProfileInfo, rights: AppRights) -> Result<(), String> {
        let request = Request::Profile { target: subject.instance.to_string(), kind: subject.kind, ms: subject.ms };
        let outcome = daemon.run_command(&subject.by, request).await.map_err(|problem| ostler_core::text::causes::with_causes(&problem))?;
        if let Err(failure) = outcome.result {
            return Err(outcome.lines.into_iter().next().unwrap_or_else(|| failure.to_string()));
        }
        let reported_path = outcome.returned.first().and_then(|one| one.get("value")?.as_str().map(std::path::PathBuf::from));
        let reported_path = reported_path.ok_or("the app reported no file")?;
        let (kind, part) = (subject.kind, self.state.borrow_mut().store.part().map_err(|problem| problem.to_string())?);
        let copied = tokio::task::spawn_blocking(move || copy(&reported_path, kind, &rights, &part).map(|bytes| (part, bytes)));
        let (part, bytes) = copied.await.map_err(|_| "the copy was aborted".to_owned())?.map_err(|problem| problem.to_string())?;
        let kept = self.state.borrow_mut().store.keep(subject, &part, bytes);
        kept.map_err(|problem| problem.to_string())
    }

    fn is_done(&self, subject: ProfileInfo, taken: Result<(), String>) {
        let mut state = self.state.borrow_mut();
        state.running.retain(|other| other.instance != subject.instance);
        if let Err(reason) = taken {
            state.failed.push_front(FailedProfile { subject, reason });
            state.failed.truncate(FAILURES);
        }
    }

    /// Returns the stored, running and failed profiles, the newest first.
    pub(crate) fn all(&self) -> (Vec<StoredProfile>, Vec<ProfileInfo>, Vec<FailedProfile>) {
        let state = self.state.borrow();
        (state.store.newest(), state.running.clone(), state.failed.iter().cloned().collect())
    }

    /// Returns a stored profile.
    pub(crate) fn find(&self, id: &str) -> Option<StoredProfile> {
        self.state.borrow().store.find(id).cloned()
    }

    /// Opens the file of a profile.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, for example because a user removed it.
    pub(crate) fn open(&self, kept: &StoredProfile) -> std::io::Result<File> {
        self.state.borrow().store.open_file(kept)
    }

    /// Removes a profile.
    ///
    /// # Errors
    /// Returns an error if a file cannot be removed; its entry stays, too.
    pub(crate) fn remove(&self, id: &str) -> std::io::Result<()> {
        self.state.borrow_mut().store.remove(id)
    }
}

/// Copies the file that an app names. A failed copy leaves no file.
fn copy(named: &Path, kind: Profile, rights: &AppRights, to: &PathBuf) -> Result<u64, ProfileFileError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(ProfileFileError::Write)?;
    take_over(named, kind, rights, &mut file, LARGEST).inspect_err(|_| drop(std::fs::remove_file(to)))
}

/// Returns the description of a new profile of an app.
pub(crate) fn subject(app: &crate::view::App, kind: Profile, ms: u64, by: &str) -> ProfileInfo {
    let ms = if kind == Profile::Heap { 0 } else { ms };
    ProfileInfo { app: app.name.clone(), namespace: app.namespace.clone(), instance: 0, kind, at: now_ms(), ms, by: by.to_owned() }
}

#[cfg(test)]
pub(crate) fn tests_subject() -> ProfileInfo {
    ProfileInfo { app: "api".into(), namespace: "default".into(), instance: 3, kind: Profile::Cpu, at: 1000, ms: 10, by: "token".into() }
}
