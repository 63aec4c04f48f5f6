//! Architectures with packages, and their names in each packaging system.

use anyhow::{Context, Result};

/// Architecture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arch {
    /// Rust's target.
    pub(super) triple: &'static str,
    /// Name in archives, as `uname -m` prints it.
    pub(super) uname: &'static str,
    /// Debian's name; also nfpm's and Docker's.
    pub(super) debian: &'static str,
    /// RPM's name.
    pub(super) rpm: &'static str,
    /// Node's `process.arch`.
    pub(super) node: &'static str,
    /// Target of `zig cc -target`.
    pub(super) zig: &'static str,
}

/// All architectures.
pub(super) const ARCHES: &[Arch] = &[
    Arch { triple: "x86_64-unknown-linux-musl", uname: "x86_64", debian: "amd64", rpm: "x86_64", node: "x64", zig: "x86_64-linux-musl" },
    Arch {
        triple: "aarch64-unknown-linux-musl",
        uname: "aarch64",
        debian: "arm64",
        rpm: "aarch64",
        node: "arm64",
        zig: "aarch64-linux-musl",
    },
];

impl Arch {
    /// Returns the architecture with this name in any system.
    pub(super) fn named(name: &str) -> Result<&'static Self> {
        ARCHES
            .iter()
            .find(|arch| [arch.triple, arch.uname, arch.debian].contains(&name))
            .with_context(|| format!("no packages are made for `{name}`: x86_64 or aarch64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_name_is_unique() {
        for arch in ARCHES {
            for name in [arch.triple, arch.uname, arch.debian] {
                assert_eq!(Arch::named(name).unwrap(), arch);
            }
        }
        assert!(Arch::named("sparc").is_err());
    }
}
