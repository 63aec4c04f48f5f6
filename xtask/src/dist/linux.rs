//! `.deb` and `.rpm`: their contents, and the description from which `nfpm` makes both.
//!
//! They contain no scripts. systemd itself reloads its units after an installation, and no running
//! process may stop because a package was installed. A package that is half installed or older
//! therefore only changes files.

use std::fmt::Write as _;

use super::arch::Arch;

/// A file of a package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PackagedFile {
    /// Name in the staging folder.
    pub(super) from: &'static str,
    /// Path on the machine.
    pub(super) to: &'static str,
    /// Kind of package that contains it; none: both.
    pub(super) only: Option<&'static str>,
    /// Permissions.
    pub(super) mode: &'static str,
}

const fn text(from: &'static str, to: &'static str) -> PackagedFile {
    PackagedFile { from, to, only: None, mode: "0644" }
}

const fn of(kind: &'static str, from: &'static str, to: &'static str) -> PackagedFile {
    PackagedFile { from, to, only: Some(kind), mode: "0644" }
}

/// All installed files.
pub(super) const FILES: &[PackagedFile] = &[
    PackagedFile { from: "ostler", to: "/usr/bin/ostler", only: None, mode: "0755" },
    text("ostler.1.gz", "/usr/share/man/man1/ostler.1.gz"),
    text("ostler@.service", "/usr/lib/systemd/system/ostler@.service"),
    text("ostler.bash", "/usr/share/bash-completion/completions/ostler"),
    of("deb", "_ostler", "/usr/share/zsh/vendor-completions/_ostler"),
    of("rpm", "_ostler", "/usr/share/zsh/site-functions/_ostler"),
    text("ostler.fish", "/usr/share/fish/vendor_completions.d/ostler.fish"),
    of("deb", "copyright", "/usr/share/doc/ostler/copyright"),
    of("deb", "changelog.gz", "/usr/share/doc/ostler/changelog.gz"),
    of("deb", "lintian", "/usr/share/lintian/overrides/ostler"),
    of("rpm", "LICENSE-MIT", "/usr/share/licenses/ostler/LICENSE-MIT"),
    of("rpm", "LICENSE-APACHE", "/usr/share/licenses/ostler/LICENSE-APACHE"),
];

/// Correct findings of lintian that are intended.
pub(super) const LINTIAN: &str = "\
# It runs on every Linux, and outlives whatever happens to libraries of the machine. Linked so that it can be loaded anywhere, it is taken for a library.
ostler: statically-linked-binary [usr/bin/ostler]
ostler: shared-library-lacks-prerequisites [usr/bin/ostler]
";

/// Description of a package.
pub(super) const SUMMARY: &str = "process manager for production, a drop-in replacement of PM2";

const DESCRIPTION: &str = "ostler starts apps, keeps them running whatever dies, shows what they do and
replaces them without losing a request. It reads PM2's files and answers to
PM2's commands.";

/// Returns the description of both packages for nfpm, whose paths are relative to `folder`.
pub(super) fn nfpm(arch: &Arch, version: &str, folder: &str, time: &str) -> String {
    let mut out = format!(
        "name: ostler\narch: {}\nplatform: linux\nversion: {version}\nversion_schema: semver\nsection: admin\npriority: optional\n\
         maintainer: ostler <ostler@ostler.invalid>\nhomepage: https://example.invalid/ostler\nlicense: MIT OR Apache-2.0\nmtime: {time}\n\
         description: |\n  {SUMMARY}\n",
        arch.debian
    );
    for line in DESCRIPTION.lines() {
        let _ = writeln!(out, "  {line}");
    }
    // The package must not contain the name of the build machine.
    out.push_str("rpm:\n  buildhost: localhost\n  summary: ");
    let _ = writeln!(out, "{SUMMARY}\n  packager: ostler\ndeb:\n  compression: xz\ncontents:");
    for file in FILES {
        let _ = writeln!(
            out,
            "  - src: {folder}/{}\n    dst: {}\n    file_info:\n      mode: {}\n      owner: root\n      group: root\n      mtime: {time}",
            file.from, file.to, file.mode
        );
        if let Some(only) = file.only {
            let _ = writeln!(out, "    packager: {only}");
        }
    }
    out
}

/// Returns `changelog` in Debian's format. `date` is in the format of RFC 5322.
pub(super) fn changelog(version: &str, date: &str) -> String {
    format!(
        "ostler ({version}) unstable; urgency=medium\n\n  * Release {version}: see CHANGELOG.md of the sources.\n\n -- ostler <ostler@ostler.invalid>  {date}\n"
    )
}

/// Returns `copyright` in Debian's format, with both licences. Source: DEP 5.
pub(super) fn copyright(mit: &str) -> String {
    let mut out = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: ostler\nSource: https://example.invalid/ostler\n\n\
                   Files: *\nCopyright: the ostler authors\nLicense: MIT or Apache-2.0\n\nLicense: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n\n\
                   License: MIT\n"
        .to_owned();
    for line in mit.trim().lines() {
        let _ = writeln!(out, " {}", if line.trim().is_empty() { "." } else { line.trim_end() });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::arch::ARCHES;
    use super::*;

    #[test]
    fn package_description_lists_every_file_once() {
        let text = nfpm(&ARCHES[1], "1.2.3", "/in", "2026-01-01T00:00:00Z");
        assert!(text.starts_with("name: ostler\narch: arm64\nplatform: linux\nversion: 1.2.3\n"));
        for kind in ["deb", "rpm"] {
            let of_kind = || FILES.iter().filter(|file| file.only.is_none_or(|only| only == kind));
            let paths: std::collections::BTreeSet<_> = of_kind().map(|file| file.to).collect();
            assert_eq!(paths.len(), of_kind().count());
            for file in of_kind() {
                assert!(text.contains(&format!("- src: /in/{}\n    dst: {}\n", file.from, file.to)), "{}", file.to);
            }
        }
    }

    #[test]
    fn empty_licence_lines_become_dots() {
        assert!(copyright("MIT\n\ntext\n").ends_with("License: MIT\n MIT\n .\n text\n"));
    }
}
