//! Comparison of the rules of a process with the kernel and with ostler's rights.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::message;

/// Abilities of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Version of Landlock; 0 = none.
    pub landlock_abi: u32,
    /// Whether filters of system calls work.
    pub seccomp: bool,
    /// Whether ostler may create mount namespaces (`CAP_SYS_ADMIN`).
    pub mounts: bool,
}

/// Version of Landlock from which TCP ports are restricted, and its kernel.
const NET: (u32, &str) = (4, "6.7");
/// Version from which signals and abstract unix sockets are restricted.
const SCOPE: (u32, &str) = (6, "6.12");

/// Version of Landlock with all restrictions that are used here.
pub const FULL_ABI: u32 = SCOPE.0;

/// Restriction that a machine cannot apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Files: the kernel has no Landlock.
    Files,
    /// TCP ports: no Landlock, or an old version.
    Ports,
    /// Signals and abstract unix sockets: no Landlock, or an old version.
    Processes,
    /// System calls: filters are refused.
    SystemCalls,
    /// A separate `/tmp`: ostler may not mount.
    PrivateTmp,
}

/// State of the sandbox of a process: the applied restrictions, and the missing ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxReport {
    /// `web`, `strict` or `custom`.
    pub profile: String,
    /// Version of Landlock in the kernel; 0 = none.
    pub landlock_abi: u32,
    /// Whether files are restricted.
    pub files: bool,
    /// TCP ports that may be bound; none = all.
    pub bind_ports: Option<Vec<u16>>,
    /// TCP ports that may be connected to; none = all.
    pub connect_ports: Option<Vec<u16>>,
    /// Whether processes outside cannot be signalled.
    pub processes: bool,
    /// Whether `/tmp` is separate.
    pub private_tmp: bool,
    /// Number of capabilities that are kept; none = unchanged.
    pub capabilities: Option<u32>,
    /// Number of denied system calls.
    pub denied_calls: usize,
    /// Whether setuid programs gain no rights.
    pub no_new_privs: bool,
    /// Restrictions that the machine cannot apply.
    pub missing: Vec<Missing>,
}

/// Removes from a plan what the machine cannot do, and returns that. A separate `/tmp` is only missing
/// if the description demands it (`demands_tmp`).
pub fn reduce(plan: &mut Plan, support: Support, demands_tmp: bool) -> Vec<Missing> {
    let mut missing = Vec::new();
    let abi = support.landlock_abi;
    if abi < 1 && plan.files.take().is_some() {
        missing.push(Missing::Files);
    }
    if abi < NET.0 {
        let [bind, connect] = [plan.bind.take(), plan.connect.take()].map(|ports| ports.is_some());
        missing.extend((bind || connect).then_some(Missing::Ports));
    }
    if abi < SCOPE.0 && std::mem::take(&mut plan.isolates_processes) {
        missing.push(Missing::Processes);
    }
    if !support.seccomp && (!plan.denied_calls.is_empty() || plan.families.is_some()) {
        plan.denied_calls.clear();
        (plan.families, plan.denies_namespaces) = (None, false);
        missing.push(Missing::SystemCalls);
    }
    if !support.mounts && std::mem::take(&mut plan.private_tmp) && demands_tmp {
        missing.push(Missing::PrivateTmp);
    }
    missing
}

/// Describes a missing restriction and its reason.
pub fn missing_text(missing: Missing, abi: u32) -> String {
    let lacks = |what: String, (version, kernel): (u32, &str)| match abi {
        0 => message!("{what}: the kernel has no Landlock (Linux 5.13 or later, enabled)", what),
        _ => message!("{what}: version {abi} of Landlock cannot do it (Linux {kernel}, version {version})", what, abi, kernel, version),
    };
    match missing {
        Missing::Files => lacks(message!("files are not restricted"), (1, "5.13")),
        Missing::Ports => lacks(message!("TCP ports are not restricted"), NET),
        Missing::Processes => lacks(message!("signals are not restricted"), SCOPE),
        Missing::SystemCalls => message!("system calls are not restricted: the kernel or a container refuses filters (seccomp)"),
        Missing::PrivateTmp => message!("/tmp is shared: a private one needs root (CAP_SYS_ADMIN)"),
    }
}

impl SandboxReport {
    /// Returns the report about a process with this plan.
    pub fn new(profile: &str, plan: &Plan, landlock_abi: u32, missing: Vec<Missing>) -> Self {
        Self {
            profile: profile.to_owned(),
            landlock_abi,
            files: plan.files.is_some(),
            bind_ports: plan.bind.clone(),
            connect_ports: plan.connect.clone(),
            processes: plan.isolates_processes,
            private_tmp: plan.private_tmp,
            capabilities: plan.capabilities.map(u64::count_ones),
            denied_calls: plan.denied_calls.len(),
            no_new_privs: plan.no_new_privs,
            missing,
        }
    }

    /// Returns the restrictions in words.
    pub fn applied(&self) -> Vec<String> {
        let ports = |ports: &[u16]| match ports {
            [] => message!("none"),
            ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
        };
        let words = [
            self.files.then(|| message!("files")),
            self.bind_ports.as_deref().map(|bind| message!("binds ports: {ports}", ports = ports(bind))),
            self.connect_ports.as_deref().map(|connect| message!("connects to ports: {ports}", ports = ports(connect))),
            self.processes.then(|| message!("signals")),
            self.private_tmp.then(|| message!("private /tmp")),
            self.capabilities.map(|count| message!("capabilities kept: {count}", count)),
            (self.denied_calls > 0).then(|| message!("system calls denied: {count}", count = self.denied_calls)),
            self.no_new_privs.then(|| message!("no new privileges")),
        ];
        words.into_iter().flatten().collect()
    }

    /// Returns the missing restrictions in words.
    pub fn missing(&self) -> Vec<String> {
        self.missing.iter().map(|missing| missing_text(*missing, self.landlock_abi)).collect()
    }

    /// Returns a line about the sandbox.
    pub fn line(&self) -> String {
        let mut parts = self.applied();
        parts.extend(self.missing().into_iter().map(|missing| message!("NOT: {missing}", missing)));
        message!("{profile} ({parts})", profile = self.profile, parts = parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Plan {
        Plan {
            files: Some(Vec::new()),
            bind: Some(vec![80]),
            connect: Some(Vec::new()),
            isolates_processes: true,
            private_tmp: true,
            denied_calls: vec!["bpf"],
            ..Plan::default()
        }
    }

    #[test]
    fn older_kernels_restrict_less_and_say_so() {
        for (landlock_abi, count, has_files, has_ports) in
            [(7, 0, true, true), (5, 1, true, true), (3, 2, true, false), (0, 3, false, false)]
        {
            let mut plan = full();
            let missing = reduce(&mut plan, Support { landlock_abi, seccomp: true, mounts: true }, false);
            assert_eq!(missing.len(), count, "{landlock_abi}: {missing:?}");
            assert_eq!((plan.files.is_some(), plan.bind.is_some()), (has_files, has_ports), "{landlock_abi}");
        }
    }

    #[test]
    fn private_tmp_without_rights_is_reported_only_if_it_was_set() {
        for (explicit, count) in [(true, 1), (false, 0)] {
            let mut plan = full();
            let missing = reduce(&mut plan, Support { landlock_abi: 7, seccomp: true, mounts: false }, explicit);
            assert_eq!((missing.len(), plan.private_tmp), (count, false));
        }
    }

    #[test]
    fn restrictions_have_words() {
        let report = SandboxReport::new("web", &full(), 3, vec![Missing::Ports]);
        let applied = ["files", "binds ports: 80", "connects to ports: none", "signals", "private /tmp", "system calls denied: 1"];
        assert_eq!(report.applied(), applied);
        let missing = "TCP ports are not restricted: version 3 of Landlock cannot do it (Linux 6.7, version 4)";
        assert_eq!(report.missing(), [missing]);
        assert_eq!(report.line(), format!("web ({}; NOT: {missing})", applied.join("; ")));
    }
}
