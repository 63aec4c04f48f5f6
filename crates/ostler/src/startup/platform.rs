//! Init systems: their names, and the one of this machine.

use std::path::Path;

/// One kind of init script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    Systemd,
    Upstart,
    Systemv,
    Openrc,
    Launchd,
    Rcd,
    RcdOpenbsd,
    Smf,
}

impl Platform {
    /// All platforms.
    pub(crate) const ALL: [Self; 8] =
        [Self::Systemd, Self::Upstart, Self::Systemv, Self::Openrc, Self::Launchd, Self::Rcd, Self::RcdOpenbsd, Self::Smf];

    /// Returns the platform for a word that PM2 knows.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "systemd" | "ubuntu" | "centos" | "arch" | "oracle" => Self::Systemd,
            "upstart" | "ubuntu14" | "ubuntu12" => Self::Upstart,
            "systemv" | "amazon" | "centos6" => Self::Systemv,
            "openrc" => Self::Openrc,
            "launchd" | "darwin" | "macos" => Self::Launchd,
            "rcd" | "freebsd" => Self::Rcd,
            "rcd-openbsd" | "openbsd" => Self::RcdOpenbsd,
            "smf" | "sunos" | "solaris" => Self::Smf,
            _ => return None,
        })
    }

    /// Returns its first word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Upstart => "upstart",
            Self::Systemv => "systemv",
            Self::Openrc => "openrc",
            Self::Launchd => "launchd",
            Self::Rcd => "rcd",
            Self::RcdOpenbsd => "rcd-openbsd",
            Self::Smf => "smf",
        }
    }

    /// Returns the platform by the programs that exist, in PM2's order.
    pub(crate) fn detect(has: impl Fn(&str) -> bool) -> Option<Self> {
        [
            ("systemctl", Self::Systemd),
            ("update-rc.d", Self::Upstart),
            ("chkconfig", Self::Systemv),
            ("rc-update", Self::Openrc),
            ("launchctl", Self::Launchd),
            ("sysrc", Self::Rcd),
            ("rcctl", Self::RcdOpenbsd),
            ("svcadm", Self::Smf),
        ]
        .into_iter()
        .find(|(program, _)| has(program))
        .map(|(_, platform)| platform)
    }

    /// Returns the platform of this machine.
    pub(crate) fn here() -> Option<Self> {
        // The `PATH` of a user often lacks the folders of administration programs.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into)).collect();
        Self::detect(|program| folders.iter().any(|folder: &std::path::PathBuf| folder.is_absolute() && is_file(&folder.join(program))))
    }
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_parses_every_pm2_name() {
        for (words, platform) in [
            ("systemd ubuntu centos arch oracle", Platform::Systemd),
            ("upstart ubuntu14 ubuntu12", Platform::Upstart),
            ("systemv amazon centos6", Platform::Systemv),
            ("launchd darwin macos", Platform::Launchd),
            ("openrc", Platform::Openrc),
            ("rcd freebsd", Platform::Rcd),
            ("rcd-openbsd openbsd", Platform::RcdOpenbsd),
            ("smf sunos solaris", Platform::Smf),
        ] {
            for word in words.split(' ') {
                assert_eq!(Platform::parse(word), Some(platform), "{word}");
            }
        }
        assert_eq!(Platform::parse("windows"), None);
        assert!(Platform::ALL.iter().all(|platform| Platform::parse(platform.name()) == Some(*platform)));
    }

    #[test]
    fn platform_follows_first_init_program_found() {
        for (programs, platform) in [
            (&["systemctl", "update-rc.d", "chkconfig"][..], Some(Platform::Systemd)),
            (&["update-rc.d", "chkconfig"], Some(Platform::Upstart)),
            (&["chkconfig"], Some(Platform::Systemv)),
            (&["rc-update"], Some(Platform::Openrc)),
            (&["launchctl"], Some(Platform::Launchd)),
            (&["sysrc"], Some(Platform::Rcd)),
            (&["rcctl"], Some(Platform::RcdOpenbsd)),
            (&["svcadm"], Some(Platform::Smf)),
            (&[], None),
        ] {
            assert_eq!(Platform::detect(|program| programs.contains(&program)), platform, "{programs:?}");
        }
    }
}
