//! Process as plain data: its identity, and the fields of its `stat` line.

/// A process. Two values with equal fields denote the same process: pids are reused, but not within
/// one clock tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcRef {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat` (`proc_pid_stat(5)`).
    pub start_ticks: u64,
}

/// Target of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The process only.
    Process,
    /// Its process group.
    Group,
}

/// Length of the short name of a process; unused bytes are zero.
pub const COMM_BYTES: usize = 15;

/// A process at the time when the table was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: i32,
    /// Parent process id.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// State letter of `proc_pid_stat(5)`.
    pub state: u8,
    /// CPU time of waited-for children, in clock ticks.
    pub children_ticks: u64,
    /// Short name; unused bytes are zero.
    pub comm: [u8; COMM_BYTES],
}

impl ProcessEntry {
    /// Returns its identity.
    pub fn process(&self) -> ProcRef {
        ProcRef { pid: self.pid, start_ticks: self.start_ticks }
    }

    /// Returns true if the process gave itself this short name
    /// ([`crate::process::title::set_comm`]), or if its program file has this name.
    pub fn has_comm(&self, name: &str) -> bool {
        let comm = self.comm.split(|&byte| byte == 0).next().unwrap_or_default();
        comm == name.as_bytes().get(..name.len().min(COMM_BYTES)).unwrap_or_default()
    }

    /// Returns true if it has exited and waits to be reaped.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

impl From<Stat> for ProcessEntry {
    fn from(Stat { pid, comm, ppid, pgid, sid, start_ticks, state, children_ticks, .. }: Stat) -> Self {
        Self { pid, ppid, pgid, sid, start_ticks, state, children_ticks, comm }
    }
}

/// The fields of `/proc/<pid>/stat` that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) comm: [u8; COMM_BYTES],
    pub(crate) state: u8,
    pub(crate) ppid: i32,
    pub(crate) pgid: i32,
    pub(crate) sid: i32,
    /// CPU time of its own, in clock ticks.
    pub(crate) own_ticks: u64,
    /// CPU time of waited-for children, in clock ticks.
    pub(crate) children_ticks: u64,
    pub(crate) start_ticks: u64,
    /// Wait status; 0 while the process runs, or if the reader may not know it.
    pub(crate) exit_code: i32,
}

impl From<ProcessEntry> for Stat {
    fn from(entry: ProcessEntry) -> Self {
        let ProcessEntry { pid, ppid, pgid, sid, start_ticks, state, children_ticks, comm } = entry;
        Self { pid, comm, state, ppid, pgid, sid, own_ticks: 0, children_ticks, start_ticks, exit_code: 0 }
    }
}

impl Stat {
    /// Parses the one line of the file. The name may contain blanks, parentheses and newlines, so
    /// fields count from the *last* `)`.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&b| b == b'(')?;
        let close = line.iter().rposition(|&b| b == b')')?;
        let pid = number(line.get(..open)?.trim_ascii())?;
        let mut comm = [0; COMM_BYTES];
        comm.iter_mut().zip(line.get(open + 1..close)?).for_each(|(to, from)| *to = *from);
        // Field 3 is the first after the name.
        let mut fields = line.get(close + 1..)?.split(|b| b.is_ascii_whitespace()).filter(|f| !f.is_empty());
        let state = *fields.next()?.first()?;
        let mut next = |skip: usize| fields.nth(skip).and_then(number::<i64>);
        let (ppid, pgid, sid) = (next(0)?, next(0)?, next(0)?);
        let own = u64::try_from(next(7)?).ok()? + u64::try_from(next(0)?).ok()?;
        let children = u64::try_from(next(0)?).ok()? + u64::try_from(next(0)?).ok()?;
        let start = u64::try_from(next(4)?).ok()?;
        // Some sandboxes truncate the line.
        let exit_code = next(29).unwrap_or(0);
        Some(Self {
            pid,
            comm,
            state,
            ppid: i32::try_from(ppid).ok()?,
            pgid: i32::try_from(pgid).ok()?,
            sid: i32::try_from(sid).ok()?,
            own_ticks: own,
            children_ticks: children,
            start_ticks: start,
            exit_code: i32::try_from(exit_code).unwrap_or(0),
        })
    }
}

pub(crate) fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
