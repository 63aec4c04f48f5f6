//! The table of all processes, and everything that an app started.
//!
//! The table needs one pass over `/proc` with one buffer. It does not use
//! `/proc/<pid>/task/<tid>/children`, which many kernels lack. Four kinds of evidence identify the
//! processes of an app, because each alone has a gap. These are the parent chain (broken when a
//! middle process exits), and the session and the process group (left by `setsid`). For orphans,
//! the fourth is a marker variable in their environment (which a program may clear). A process that
//! escapes all four is still in its [`crate::cgroup`].

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::SecretBytes;
use crate::process::{ProcPath, ProcRef, ProcessEntry, STAT_BYTES, Stat, number};

/// Most processes in the list of [`with_descendants`].
const MOST_PROCESSES: usize = 1000;

impl ProcessEntry {
    /// Reads the current process with this pid.
    pub fn of(pid: i32) -> Option<Self> {
        crate::process::stat(pid).ok().map(Self::from)
    }
}

/// Value of a variable; `None` if the variable is missing or may not be read.
type Marker = Option<Vec<u8>>;

/// All processes at one moment, with indexes that make any number of queries cheap.
#[derive(Debug, Default)]
pub struct ProcTable {
    /// Sorted by pid.
    entries: Vec<ProcessEntry>,
    /// Indexes into `entries`, sorted by parent, session and group.
    by_parent: Vec<u32>,
    by_session: Vec<u32>,
    by_group: Vec<u32>,
    /// Processes whose environment need not be read.
    skip_environ: HashSet<i32>,
    /// Environments read for this table: (variable, pid) → value.
    markers: RefCell<HashMap<(String, i32), Marker>>,
}

impl ProcTable {
    /// Reads the table. Processes that exit during the scan are left out; a process that starts
    /// during the scan may be missing. The table is empty if `/proc` is missing.
    pub fn scan() -> Self {
        Self::scan_but(&HashMap::new())
    }

    /// Works like [`ProcTable::scan`], but takes these entries instead of reading them if their
    /// processes still exist. Reading is the expensive part: with a thousand sleeping apps, it
    /// takes most of a `list`.
    pub fn scan_but(known: &HashMap<i32, ProcessEntry>) -> Self {
        let read = || read_entries("/proc", known).unwrap_or_default();
        Self::from_entries(crate::simulated::ask(|kernel| kernel.entries()).unwrap_or_else(read))
    }

    /// Creates a table from given entries (for tests, and for other roots of `/proc`).
    pub fn from_entries(mut entries: Vec<ProcessEntry>) -> Self {
        entries.sort_unstable_by_key(|e| e.pid);
        let index = |key: fn(&ProcessEntry) -> i32| {
            let mut order: Vec<u32> = (0..entries.len() as u32).collect();
            order.sort_by_key(|&i| entries.get(i as usize).map_or(0, key));
            order
        };
        let (by_parent, by_session, by_group) = (index(|e| e.ppid), index(|e| e.sid), index(|e| e.pgid));
        Self { entries, by_parent, by_session, by_group, skip_environ: HashSet::new(), markers: RefCell::default() }
    }

    /// Reads a small table: one process with all its ancestors, and `others`. It is enough to
    /// decide whether that process is in a tree, because all evidence for that is among its
    /// ancestors.
    pub fn with_ancestors(pid: i32, others: impl IntoIterator<Item = i32>) -> Self {
        let mut found: HashMap<i32, ProcessEntry> =
            others.into_iter().filter_map(ProcessEntry::of).map(|entry| (entry.pid, entry)).collect();
        let mut seen = HashSet::new();
        let mut next = pid;
        // Pids may be reused between two reads, so a cycle is possible in theory.
        while next > 1 && seen.insert(next) {
            let Some(entry) = ProcessEntry::of(next) else { break };
            found.insert(next, entry);
            next = entry.ppid;
        }
        Self::from_entries(found.into_values().collect())
    }

    /// Notes processes that are certainly not orphans of any app (the main processes of all
    /// instances, the daemon). [`ProcTable::tree`] then need not read their environments, which
    /// would take most of its time with many apps.
    #[must_use]
    pub fn knowing(mut self, pids: impl IntoIterator<Item = i32>) -> Self {
        self.skip_environ.extend(pids);
        self
    }

    /// Returns all processes, sorted by pid.
    pub fn entries(&self) -> &[ProcessEntry] {
        &self.entries
    }

    /// Returns the process with this pid.
    pub fn get(&self, pid: i32) -> Option<&ProcessEntry> {
        self.entries.binary_search_by_key(&pid, |e| e.pid).ok().and_then(|i| self.entries.get(i))
    }

    /// Returns the children of a process (for a reaper, including the orphans it got).
    pub fn children_of(&self, pid: i32) -> impl Iterator<Item = &ProcessEntry> {
        self.range(&self.by_parent, |e| e.ppid, pid)
    }

    /// Returns the members of a session.
    pub fn in_session(&self, sid: i32) -> impl Iterator<Item = &ProcessEntry> {
        self.range(&self.by_session, |e| e.sid, sid)
    }

    /// Returns the members of a process group.
    pub fn in_group(&self, pgid: i32) -> impl Iterator<Item = &ProcessEntry> {
        self.range(&self.by_group, |e| e.pgid, pgid)
    }

    /// Returns the running processes of a cgroup.
    pub fn in_cgroup(&self, group: &Path) -> Vec<ProcessEntry> {
        // A process that started after the scan is read individually.
        let entry = |pid: i32| self.get(pid).copied().or_else(|| ProcessEntry::of(pid));
        crate::cgroup::members(group).into_iter().filter_map(entry).filter(|entry| !entry.is_zombie()).collect()
    }

    fn range<'a>(&'a self, order: &'a [u32], key: fn(&ProcessEntry) -> i32, value: i32) -> impl Iterator<Item = &'a ProcessEntry> {
        let at = move |i: &u32| self.entries.get(*i as usize);
        let start = order.partition_point(|i| at(i).is_some_and(|e| key(e) < value));
        order.get(start..).unwrap_or_default().iter().filter_map(at).take_while(move |e| key(e) == value)
    }

    /// Returns all descendants of a process by the parent chain, without the process itself;
    /// parents come before children.
    pub fn descendants(&self, pid: i32) -> Vec<ProcessEntry> {
        let mut tree = Gathered { pids: HashSet::from([pid]), found: Vec::new() };
        self.children_of(pid).for_each(|e| tree.take(e));
        self.complete(tree)
    }

    /// Returns all running processes that an app's incarnation started, its leader first if that
    /// runs. Zombies are left out and parents come before children.
    ///
    /// `leader` is the main process, alive or not, which led its own session and group. `marker` is
    /// a variable that all its descendants inherit, with the `value` of this incarnation (or
    /// instance). Orphans belong to `reaper`, the keeper, or to process 1 if a keeper was once
    /// lost.
    pub fn tree(&self, leader: ProcRef, marker: &str, value: &[u8], reaper: i32) -> Vec<ProcessEntry> {
        let marked = |e: &ProcessEntry| self.marked(e.pid, marker, value);
        let mut tree = self.leader_and_session(leader, &|e| marked(e) != Some(false));
        let reapers = if reaper == 1 { &[1][..] } else { &[reaper, 1] };
        for e in reapers.iter().flat_map(|&reaper| self.children_of(reaper)) {
            let candidate = e.start_ticks >= leader.start_ticks && !e.is_zombie() && !self.skip_environ.contains(&e.pid);
            if candidate && !tree.pids.contains(&e.pid) && marked(e) == Some(true) {
                tree.take(e);
            }
        }
        self.running(tree)
    }

    /// Returns the processes of a running incarnation without the search for orphans: leader,
    /// session, group and all their descendants.
    pub fn live_tree(&self, leader: ProcRef) -> Vec<ProcessEntry> {
        self.running(self.leader_and_session(leader, &|_| true))
    }

    fn leader_and_session(&self, leader: ProcRef, may_be_ours: &dyn Fn(&ProcessEntry) -> bool) -> Gathered {
        let mut tree = Gathered::default();
        let holder = self.get(leader.pid);
        let lives = holder.is_some_and(|e| e.start_ticks == leader.start_ticks);
        if let Some(e) = holder.filter(|_| lives) {
            tree.take(e);
        }
        // The kernel does not reuse a pid that still names a session or a group. If another process
        // has it, ours were empty.
        if leader.pid > 0 && (lives || holder.is_none()) {
            let members = self.in_session(leader.pid).chain(self.in_group(leader.pid));
            members.filter(|e| e.start_ticks >= leader.start_ticks && (lives || may_be_ours(e))).for_each(|e| tree.take(e));
        }
        tree
    }

    /// Adds all descendants of the found processes, and removes zombies from the result.
    fn running(&self, tree: Gathered) -> Vec<ProcessEntry> {
        let mut found = self.complete(tree);
        found.retain(|e| !e.is_zombie());
        found
    }

    fn complete(&self, mut tree: Gathered) -> Vec<ProcessEntry> {
        let mut next = 0;
        while let Some(pid) = tree.found.get(next).map(|e| e.pid) {
            self.children_of(pid).for_each(|e| tree.take(e));
            next += 1;
        }
        tree.found
    }

    /// Returns true if the process has this value of the marker; `None` = unknown (no such
    /// variable, or not readable).
    fn marked(&self, pid: i32, name: &str, value: &[u8]) -> Option<bool> {
        let mut markers = self.markers.borrow_mut();
        let found = markers.entry((name.to_owned(), pid)).or_insert_with(|| marker(pid, name));
        found.as_deref().map(|found| found == value)
    }
}

/// Processes found, in order and without duplicates.
#[derive(Default)]
struct Gathered {
    pids: HashSet<i32>,
    found: Vec<ProcessEntry>,
}

impl Gathered {
    fn take(&mut self, entry: &ProcessEntry) {
        if self.pids.insert(entry.pid) {
            self.found.push(*entry);
        }
    }
}

/// Reads `/proc`, or a folder of the same layout, in one pass.
fn read_entries(root: &str, known: &HashMap<i32, ProcessEntry>) -> Result<Vec<ProcessEntry>, Errno> {
    let root = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = [MaybeUninit::<u8>::uninit(); 8192];
    let mut dir = RawDir::new(&root, &mut names);
    let mut line = [0u8; STAT_BYTES];
    let mut path = Vec::with_capacity(16);
    let mut entries = Vec::new();
    while let Some(name) = dir.next() {
        let name = name?;
        let name = name.file_name().to_bytes();
        if !name.iter().all(u8::is_ascii_digit) {
            continue;
        }
        if let Some(entry) = number(name).and_then(|pid: i32| known.get(&pid)) {
            entries.push(*entry);
            continue;
        }
        path.clear();
        path.extend_from_slice(name);
        path.extend_from_slice(b"/stat");
        let Ok(fd) = rustix::fs::openat(&root, path.as_slice(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { continue };
        let Ok(n) = rustix::io::read(&fd, &mut line) else { continue };
        entries.extend(line.get(..n).and_then(Stat::parse).map(ProcessEntry::from));
    }
    Ok(entries)
}

/// Returns a process and its descendants of all threads, without a scan of all processes. The list
/// may lack processes that start or exit during the call, and ends after [`MOST_PROCESSES`].
pub fn with_descendants(pid: i32) -> Vec<i32> {
    let mut pids = vec![pid];
    let mut at = 0;
    while let Some(pid) = pids.get(at).copied().filter(|_| pids.len() < MOST_PROCESSES) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            pids.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
        at += 1;
    }
    pids
}

/// Returns the children of a process that has one thread, zombies included, as the kernel lists
/// them. Returns `None` if the kernel keeps no such list, or if children exit faster than the list
/// can be read.
pub fn children(pid: i32) -> Option<Vec<i32>> {
    /// Number of reads. If a child earlier in the list is reaped during a read, another child may
    /// be skipped. The reaped child is in the previous list but not in the next one, so two equal
    /// lists are complete.
    const LOOKS: usize = 4;
    if let Some(entries) = crate::simulated::ask(|kernel| kernel.entries()) {
        return Some(entries.iter().filter(|entry| entry.ppid == pid).map(|entry| entry.pid).collect());
    }
    let path = ProcPath::new(pid, &format!("/task/{pid}/children"));
    let mut before = read_numbers(&path)?;
    for _ in 1..LOOKS {
        let now = read_numbers(&path)?;
        if now == before {
            return Some(now);
        }
        before = now;
    }
    None
}

fn read_numbers(path: &ProcPath) -> Option<Vec<i32>> {
    let fd = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match rustix::io::read(&fd, &mut buffer) {
            Ok(0) => return text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(number).collect(),
            Ok(len) => text.extend_from_slice(buffer.get(..len)?),
            Err(_) => return None,
        }
    }
}

/// Returns the value of one variable in the initial environment of a process, or `None` if the
/// variable is missing or may not be read.
pub fn marker(pid: i32, name: &str) -> Option<Vec<u8>> {
    /// Maximum size that is read. The kernel's own limit for arguments and environment is a quarter
    /// of the stack limit; real environments are smaller.
    const MAX_BYTES: usize = 8 << 20;
    if let Some(value) = crate::simulated::ask(|kernel| kernel.variable(pid, name)) {
        return value;
    }
    let fd = rustix::fs::open(ProcPath::new(pid, "/environ").as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // The rest of the environment must not stay in memory: this reads any process, including those
    // with secrets.
    let mut environ = SecretBytes::with_capacity(8192);
    loop {
        match environ.read_from(&fd, MAX_BYTES) {
            Ok(0) if environ.len() < MAX_BYTES => break,
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    let mut variables = environ.split(|&b| b == 0);
    variables.find_map(|v| Some(v.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, ppid: i32, pgid: i32, sid: i32, start_ticks: u64) -> ProcessEntry {
        ProcessEntry { pid, ppid, pgid, sid, start_ticks, state: b'S', ..ProcessEntry::default() }
    }

    fn pids(entries: &[ProcessEntry]) -> Vec<i32> {
        entries.iter().map(|e| e.pid).collect()
    }

    /// keeper 10; app 20 with child 21, grandchild 22 in its own session, 23 in its own group;
    /// other app 30.
    fn sample() -> Vec<ProcessEntry> {
        vec![
            entry(10, 1, 10, 10, 1),
            entry(20, 10, 20, 20, 100),
            entry(21, 20, 20, 20, 101),
            entry(22, 21, 22, 22, 102),
            entry(23, 21, 23, 20, 103),
            entry(30, 10, 30, 30, 100),
            entry(31, 30, 30, 30, 101),
        ]
    }

    #[test]
    fn live_tree_is_found_by_parents_session_and_group() {
        let leader = ProcRef { pid: 20, start_ticks: 100 };
        let table = ProcTable::from_entries(sample());
        assert_eq!(pids(&table.live_tree(leader)), [20, 21, 23, 22]);
        assert_eq!(pids(&table.descendants(10)), [20, 30, 21, 31, 22, 23]);
        // The middle process exited: 22 was reparented and had left our session, 23 is still in it.
        let entries = sample().into_iter().filter(|e| e.pid != 21).map(|e| if e.ppid == 21 { ProcessEntry { ppid: 10, ..e } } else { e });
        assert_eq!(pids(&ProcTable::from_entries(entries.collect()).live_tree(leader)), [20, 23]);
    }

    #[test]
    fn session_of_a_dead_leader_is_found() {
        let entries: Vec<_> = sample().into_iter().filter(|e| e.pid != 20).collect();
        let table = ProcTable::from_entries(entries);
        assert_eq!(pids(&table.live_tree(ProcRef { pid: 20, start_ticks: 100 })), [21, 23, 22]);
    }

    #[test]
    fn recycled_pid_is_not_in_the_tree() {
        let table = ProcTable::from_entries(sample());
        assert!(table.live_tree(ProcRef { pid: 20, start_ticks: 50 }).is_empty());
        assert!(table.live_tree(ProcRef::default()).is_empty());
    }

    #[test]
    fn children_of_zombies_are_found_but_zombies_are_not() {
        let entries = sample().into_iter().map(|e| if e.pid == 21 { ProcessEntry { state: b'Z', ..e } } else { e });
        let table = ProcTable::from_entries(entries.collect());
        assert_eq!(pids(&table.live_tree(ProcRef { pid: 20, start_ticks: 100 })), [20, 23, 22]);
    }

    #[test]
    fn this_process_is_in_its_own_table() {
        let table = ProcTable::scan();
        let me = ProcRef::me();
        assert_eq!(table.get(me.pid).map(ProcessEntry::process), Some(me));
        let parent = table.get(me.pid).unwrap().ppid;
        assert!(table.children_of(parent).any(|e| e.pid == me.pid));
        assert!(table.entries().is_sorted_by_key(|e| e.pid));
    }

    #[test]
    fn process_is_only_in_the_trees_of_its_ancestors() {
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut inner = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(inner.stdout.take().unwrap()), &mut line).unwrap();
        let (me, outer, pid) = (ProcRef::me(), ProcRef::of(inner.id() as i32).unwrap(), line.trim().parse().unwrap());
        let other_ref = ProcRef::of(other.id() as i32).unwrap();
        let table = ProcTable::with_ancestors(pid, [other_ref.pid, -1, i32::MAX]);
        let is_in = |leader: ProcRef| table.descendants(leader.pid).iter().any(|entry| entry.pid == pid);
        assert!(is_in(me) && is_in(outer) && !is_in(other_ref));
        assert!(table.get(other_ref.pid).is_some());
        let _ = ProcessEntry::of(pid).unwrap().process().signal(9);
        for child in [&mut other, &mut inner] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn scan_skips_known_processes_and_drops_gone_ones() {
        let me = std::process::id() as i32;
        let known = |pid| (pid, ProcessEntry { pid, ppid: 77, ..ProcessEntry::default() });
        let table = ProcTable::scan_but(&HashMap::from([known(me), known(i32::MAX)]));
        assert_eq!(table.get(me).map(|e| e.ppid), Some(77));
        assert_eq!(table.get(i32::MAX), None);
    }

    #[test]
    fn hostile_process_names_are_parsed_correctly() {
        for name in ["a b", "x) R 1 1 1", "((", "))", "", "new\nline"] {
            let line = format!("77 ({name}) S 5 6 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 12345 8 9 18446744073709551615\n");
            let stat = Stat::parse(line.as_bytes()).unwrap_or_else(|| panic!("{name:?}"));
            assert_eq!((stat.pid, stat.state, stat.ppid, stat.pgid, stat.sid), (77, b'S', 5, 6, 7), "{name:?}");
            assert_eq!((stat.children_ticks, stat.start_ticks, stat.exit_code), (70, 12345, 0), "{name:?}");
        }
        for bad in ["", "77", "77 (x", "77 (x) S", "77 (x) S 1 2", "x (x) S 1 2 3"] {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn children_are_complete_while_others_exit() {
        let own = std::process::id();
        if !std::path::Path::new(&format!("/proc/{own}/task/{own}/children")).exists() {
            return;
        }
        // The children that exit and are reaped come before the three that stay.
        let script = "i=0; while [ $i -lt 100 ]; do sleep 1.$((i + 100)) & i=$((i+1)); done; for i in 1 2 3; do sleep 1000 & done; wait";
        let mut parent = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = parent.id().cast_signed();
        let stays = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"1000\0"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let stay = loop {
            assert!(std::time::Instant::now() < deadline, "{:?}", children(pid));
            let stay: Vec<i32> = children(pid).unwrap_or_default().into_iter().filter(stays).collect();
            if stay.len() == 3 {
                break stay;
            }
        };
        loop {
            assert!(std::time::Instant::now() < deadline, "{:?}", children(pid));
            let Some(now) = children(pid) else { continue };
            assert!(now.ends_with(&stay), "{stay:?} {now:?}");
            if now.len() == stay.len() {
                break;
            }
        }
        stay.iter().for_each(|&pid| _ = ProcRef::of(pid).unwrap().signal(crate::process::signal::KILL));
        parent.wait().unwrap();
        assert_eq!(children(pid), None);
    }

    #[test]
    fn a_marker_is_read_from_the_environment() {
        let mut child = std::process::Command::new("sleep").arg("100").env("MARK", "x=1").env("MARKER", "no").spawn().unwrap();
        let pid = child.id() as i32;
        // Until `execve`, the child still has our environment.
        while marker(pid, "MARK").is_none() {
            std::thread::yield_now();
        }
        assert_eq!(marker(pid, "MARK").unwrap(), b"x=1");
        assert_eq!(marker(pid, "MAR"), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(marker(pid, "MARK"), None);
    }
}
