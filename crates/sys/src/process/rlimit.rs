//! Resource limits.

/// One limit to set; `u64::MAX` = unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*` number of this platform, see [`by_name`].
    pub resource: u32,
    /// The limit in effect.
    pub soft: u64,
    /// The limit up to which the process itself may raise the soft limit.
    pub hard: u64,
}

impl Rlimit {
    /// Sets the limit for this process, in the child of a spawn, without allocating. Returns false
    /// on an error, with the errno set.
    pub(crate) fn set_for_this_process(&self) -> bool {
        let limit = libc::rlimit64 { rlim_cur: self.soft, rlim_max: self.hard };
        // SAFETY: a live structure of the size that the call expects; the kernel rejects unknown
        // resources.
        unsafe { libc::setrlimit64(self.resource as _, &raw const limit) == 0 }
    }
}

#[expect(clippy::unnecessary_cast, reason = "a signed type with other C libraries")]
const NAMES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS as u32),
    ("core", libc::RLIMIT_CORE as u32),
    ("cpu", libc::RLIMIT_CPU as u32),
    ("data", libc::RLIMIT_DATA as u32),
    ("fsize", libc::RLIMIT_FSIZE as u32),
    ("locks", libc::RLIMIT_LOCKS as u32),
    ("memlock", libc::RLIMIT_MEMLOCK as u32),
    ("msgqueue", libc::RLIMIT_MSGQUEUE as u32),
    ("nice", libc::RLIMIT_NICE as u32),
    ("nofile", libc::RLIMIT_NOFILE as u32),
    ("nproc", libc::RLIMIT_NPROC as u32),
    ("rss", libc::RLIMIT_RSS as u32),
    ("rtprio", libc::RLIMIT_RTPRIO as u32),
    ("rttime", libc::RLIMIT_RTTIME as u32),
    ("sigpending", libc::RLIMIT_SIGPENDING as u32),
    ("stack", libc::RLIMIT_STACK as u32),
];

/// Returns the number of a resource by its lower-case name without prefix (`nofile`, `core`, …).
pub fn by_name(name: &str) -> Option<u32> {
    NAMES.iter().find(|(n, _)| *n == name).map(|&(_, number)| number)
}

/// Returns all names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|&(name, _)| name)
}

/// Limit of open files that the kernel gives its first process.
const KERNEL_DEFAULT: u64 = 1024;

/// Returns our own current limit of open files. If a sandbox refuses the call, that is the kernel's
/// default, which is low enough everywhere.
pub fn nofile() -> Rlimit {
    own_nofile().unwrap_or(Rlimit { resource: NOFILE, soft: KERNEL_DEFAULT, hard: KERNEL_DEFAULT })
}

#[expect(clippy::unnecessary_cast, reason = "a signed type with other C libraries")]
const NOFILE: u32 = libc::RLIMIT_NOFILE as u32;

/// Works like [`nofile`], and returns `None` if the call is refused. Rustix's function panics then.
fn own_nofile() -> Option<Rlimit> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure of the size that the call expects.
    let got = unsafe { libc::getrlimit64(libc::RLIMIT_NOFILE as _, &raw mut limit) };
    (got == 0).then_some(Rlimit { resource: NOFILE, soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises our own soft limit of open files to the hard one. Returns the previous limit, for
/// children, or `None` if it is unknown; then children inherit ours. If the kernel refuses, nothing
/// changes.
pub fn raise_nofile() -> Option<Rlimit> {
    let before = own_nofile()?;
    let _unchanged = Rlimit { soft: before.hard, ..before }.set_for_this_process();
    Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_names_are_sorted_and_found() {
        assert!(names().is_sorted());
        assert_eq!(by_name("nofile"), Some(nofile().resource));
        assert_eq!(by_name("NOFILE"), None);
        assert_eq!(by_name("files"), None);
    }

    #[test]
    fn raise_nofile_returns_the_old_limit() {
        let before = nofile();
        assert_eq!(raise_nofile(), Some(before));
        assert_eq!(nofile().soft, before.hard);
    }
}
