//! Main processes of the apps of a home, found only by the marks in their environment. No state
//! file is needed.

use std::path::Path;

use ostler_keeper::{HOME_VAR, INCARNATION_VAR, ROLE_VAR};
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::tree::marker;
use ostler_sys::{ProcRef, ProcTable};

/// Variable in the environment of every process that an instance starts.
pub(crate) const MARK: &str = "unique_id";
/// Variable that distinguishes the incarnations of an instance.
pub(crate) const INC_MARK: &str = INCARNATION_VAR;
/// Variable with the home.
const HOME_MARK: &str = "PM2_HOME";

/// Session leader, as main processes are, with the marks of an instance of this home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkedLeader {
    pub unique_id: String,
    pub inc: u32,
    pub process: ProcRef,
    /// False if its app's remaining processes must not be killed (`treekill: false`).
    pub is_owned: bool,
}

/// Returns all marked processes: the newest incarnation of each instance first, and within one
/// incarnation the oldest process first.
pub(crate) fn marked(home: &Path) -> Vec<MarkedLeader> {
    let leads = |entry: &&ProcessEntry| entry.pid == entry.sid && !entry.is_zombie();
    let mut found: Vec<MarkedLeader> = ProcTable::scan().entries().iter().filter(leads).filter_map(|entry| read(entry, home)).collect();
    found.sort_by_key(|of| (std::cmp::Reverse(of.inc), of.process.start_ticks, of.process.pid));
    found
}

/// Returns true if a keeper, daemon or standby of this home runs.
pub(crate) fn has_manager(home: &Path) -> bool {
    let is_of_home =
        |pid| marker(pid, ROLE_VAR).is_some() && marker(pid, HOME_VAR).is_some_and(|of| of == home.as_os_str().as_encoded_bytes());
    ProcTable::scan().entries().iter().any(|entry| !entry.is_zombie() && is_of_home(entry.pid))
}

fn read(entry: &ProcessEntry, home: &Path) -> Option<MarkedLeader> {
    let text = |name| String::from_utf8(marker(entry.pid, name)?).ok();
    let mark = text(INC_MARK)?;
    let (unique_id, inc) = mark.split_once(':')?;
    // A hook or another command beside the app lacks this mark. A keeper that an app started has a
    // role.
    let is_main = text(MARK).as_deref() == Some(unique_id) && marker(entry.pid, ROLE_VAR).is_none();
    let is_here = marker(entry.pid, HOME_MARK)? == home.as_os_str().as_encoded_bytes();
    let inc = inc.parse().ok().filter(|_| is_main && is_here)?;
    Some(MarkedLeader {
        unique_id: unique_id.to_owned(),
        inc,
        process: entry.process(),
        is_owned: text("treekill").as_deref() != Some("false"),
    })
}
