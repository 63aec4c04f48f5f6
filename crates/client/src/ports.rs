//! TCP ports on which instances listen, as the kernel shows them to this process.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ostler_proto::control::Detail;
use ostler_sys::ProcTable;
use ostler_sys::net::listening::{self, TcpTables};

/// Processes and listening sockets of one moment.
#[derive(Debug)]
pub struct PortScan {
    processes: ProcTable,
    tables: TcpTables,
    ephemeral: Option<RangeInclusive<u16>>,
}

impl PortScan {
    /// Reads the processes of the machine.
    pub fn take() -> Self {
        Self { processes: ProcTable::scan(), tables: TcpTables::default(), ephemeral: listening::ephemeral_ports() }
    }

    /// Returns true if the kernel picks such a port for a socket that requests none.
    pub fn is_ephemeral(&self, port: u16) -> bool {
        self.ephemeral.as_ref().is_some_and(|range| range.contains(&port))
    }

    /// Returns the ports on which an instance listens: those that its cluster workers share, and
    /// those of its own processes. Only root sees the ports of other users' processes.
    pub fn ports(&mut self, detail: &Detail) -> BTreeSet<u16> {
        let Some(pid) = detail.instance.pid() else { return BTreeSet::new() };
        let mut ports = self.ports_of_tree(pid);
        ports.extend(&detail.learned.ports);
        ports
    }

    /// Works like [`Self::ports`], without ports that the kernel picked for the instance's own
    /// processes: the next process has others.
    pub fn lasting_ports(&mut self, detail: &Detail) -> BTreeSet<u16> {
        let mut ports = self.ports(detail);
        ports.retain(|port| !self.is_ephemeral(*port) || detail.learned.ports.contains(port));
        ports
    }

    /// Returns the ports on which a process and its descendants listen.
    pub fn ports_of_tree(&mut self, pid: i32) -> BTreeSet<u16> {
        let tree: Vec<i32> = self.processes.descendants(pid).iter().map(|entry| entry.pid).chain([pid]).collect();
        self.tables.ports_of(&tree)
    }
}
